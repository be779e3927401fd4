"""One fixed plan through the simulated arm alone and through each driver: what does the wire change?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hardware import ArmBridge, ArmPlan, sample_plan

from ...deploy.arm_config import ArmConfig, arm_file
from ...deploy.preflight import make_bridge
from ...deploy.rest import bring_to_rest
from ...files import whole_file
from ..common import BenchmarkError, Row
from .delay import Float64, follow
from .paths import ArmPath, reachable

SECONDS, REST_S = 6.0, 0.5
PLAN_DT = 0.05
AMPLITUDE = 0.25
"""Of each joint [rad]: at most 0.9 rad/s and 4 rad/s^2, inside the limits of all arms."""

TRIES = 3
LEFT = ("held", "fault", "plan_rejected", "plan_expired")
"""Events after which the bridge is not on the plan."""


@dataclass(frozen=True, eq=False)
class Ride:
    """The fixed plan on one arm.

    Attributes:
        t: times of the measurements since the start of the plan (T,) [s].
        q: measured positions (T, n) [rad].
        asked: the plan at the same times (T, n) [rad].
    """

    t: Float64
    q: Float64
    asked: Float64


def fixed_plan(bridge: ArmBridge, home: Float64) -> ArmPlan:
    """All joints at once, each at a frequency of its own, from rest to rest."""
    t = np.arange(round(SECONDS / PLAN_DT) + 1) * PLAN_DT
    n = len(home)
    turn = 2.0 * np.pi * np.linspace(0.3, 0.5, n)
    swell, swelling = np.sin(np.pi * t / SECONDS) ** 2, np.pi / SECONDS * np.sin(2.0 * np.pi * t / SECONDS)
    wave, waving = np.sin(t[:, None] * turn), turn * np.cos(t[:, None] * turn)
    q = home + AMPLITUDE * swell[:, None] * wave
    dq = AMPLITUDE * (swelling[:, None] * wave + swell[:, None] * waving)
    dq[[0, -1]] = 0.0
    t0 = bridge.now() + 0.2
    return bridge.make_plan(q, dq, dt=PLAN_DT, t0=t0, validity=SECONDS + PLAN_DT)


def ride(arm: ArmConfig) -> Ride:
    """Carry out the fixed plan, again where a busy machine cut it short.

    Raises:
        BenchmarkError: it was never carried out to its end.
    """
    for _ in range(TRIES):
        found = _ride(arm)
        if isinstance(found, Ride):
            return found
    raise BenchmarkError(f"arm {arm.name} ({arm.driver}) left the plan {TRIES} times: {found}; is the machine busy?")


def _ride(arm: ArmConfig) -> Ride | str:
    with make_bridge(arm, allow_motion=True) as bridge:
        bridge.enable()
        bridge.start()
        plan = fixed_plan(bridge, np.array(arm.home))
        bridge.submit(plan)
        bridge.sleep_until(plan.t_end + REST_S)
        records, events = bridge.records(), bridge.events()
        bring_to_rest(bridge)
    left = [e.text for e in events if e.kind in LEFT and (e.t < plan.t_end or e.kind == "fault")]
    if left:
        return left[-1]
    records = records[records["sent"]]
    t = records["t"] - records["state_age"]
    asked = np.array([sample_plan(plan, max(at - plan.t0, 0.0))[0] for at in t])
    return Ride(t - plan.t0, records["q"], asked)


def measured(name: str, path: ArmPath | None, runs: Path) -> Ride:
    """The ride of an arm, from its file where it has been measured.

    Args:
        name: file of configs/arm.
        path: the way to it through a wire, None for the simulated arm.
        runs: folder of the files.
    """
    file = runs / f"parity_{name}.npz"
    if not file.is_file():
        if path is None:
            found = ride(arm_file(name))
        else:
            with reachable(path) as (arm, _):
                found = ride(arm)
        runs.mkdir(parents=True, exist_ok=True)
        with whole_file(file) as stream:
            np.savez_compressed(stream, allow_pickle=False, t=found.t, q=found.q, asked=found.asked)
    with np.load(file, allow_pickle=False) as arrays:
        return Ride(arrays["t"], arrays["q"], arrays["asked"])


def parity_row(path: ArmPath, runs: Path) -> Row:
    """A driver beside the simulated arm alone."""
    direct = measured(path.direct, None, runs)
    here = direct if path.name == path.direct else measured(path.name, path, runs)
    apart, asked = follow(direct.t, direct.q, here.t, here.q), follow(here.t, here.asked, here.t, here.q)
    row: Row = {"table": "parity: one fixed plan through the simulated arm alone and through each driver"}
    row |= {"path": path.name, "against": path.direct, "step_on_the_wire_rad": path.step}
    row |= {"delay_s": apart.delay, "rms_rad": apart.rms, "greatest_difference_rad": apart.greatest}
    if path.step:
        row["in_steps"] = apart.greatest / path.step
    return row | {"delay_to_the_plan_s": asked.delay, "greatest_distance_to_the_plan_rad": asked.greatest}
