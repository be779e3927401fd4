"""Hostile plans and faults at random instants, through the whole bridge to the simulated arm."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs import Arm
from hardware import (
    ArmBridge,
    BridgeConfig,
    BridgeError,
    Chain,
    DriverSpec,
    FakeClock,
    JointLimits,
    Mode,
    SceneConfig,
    audit,
    braking_time,
)

from .hostile import PLANS, hostile_plan
from .scene import Float64, Witness

FAULTS = ("freeze", "drop", "disconnect", "encoder_jump", "device_fault", "jam")
AT_REST = 1e-6  # [rad/s]
AFTERWARDS_S = 1.0  # how long a fault is looked at before the operator resets it


@dataclass(frozen=True, eq=False)
class BridgeRun:
    """What one run left behind: records of all ticks, true poses (ticks, n) [rad], faults, refused plans."""

    records: NDArray[np.void]
    true_q: Float64
    faults: int
    rejected: int


def run_bridge(
    arm: Arm,
    limits: JointLimits,
    chain: Chain,
    scene: SceneConfig,
    witness: Witness,
    targets: Float64,
    rate_hz: float,
    ticks: int,
    seed: int,
) -> BridgeRun:
    """Drive one simulated arm for a number of ticks; an operator resets each fault after a second."""
    rng, true_q = np.random.default_rng([seed, 1]), []
    with tempfile.TemporaryDirectory() as folder:
        path = witness.write(Path(folder) / "arm.mjb")
        kwargs = {"mjcf_path": str(path), "joint_names": list(arm.joint_names), "home": arm.home.tolist()}
        bridge = ArmBridge(
            DriverSpec("sim", kwargs),
            limits,
            lockstep=True,
            clock=FakeClock(100.0),
            config=BridgeConfig(rate_hz=rate_hz),
            chain=chain,
            scene=scene,
        )
        with bridge:
            driver: Any = bridge._link.executor.driver  # type: ignore[union-attr]  # the truth, beside the bridge

            def tick(count: int) -> None:
                for _ in range(count):
                    bridge.advance(bridge.config.dt)
                    true_q.append(driver.true_q)

            bridge.enable()
            bridge.start()
            until_fault, kinds = int(rng.integers(100, 400)), rng.permutation(FAULTS)
            while len(true_q) < ticks:
                hostile_plan(bridge, PLANS[int(rng.integers(len(PLANS)))], targets, rng)
                tick(int(rng.integers(1, 60)))
                if len(true_q) > until_fault:
                    kinds = np.roll(kinds, 1)
                    driver.inject(kind=str(kinds[0]), joint=int(rng.integers(arm.n)), value=0.6)
                    tick(int(AFTERWARDS_S * rate_hz / 4))
                    if bridge.mode is not Mode.FAULT:  # an arm at rest does not notice a jam
                        driver.heal()
                    tick(int(AFTERWARDS_S * rate_hz))
                    driver.heal()
                    tick(int(0.5 * rate_hz))
                    _recover(bridge)
                    until_fault = len(true_q) + int(rng.integers(100, 400))
                elif bridge.mode is Mode.FAULT:  # found by the bridge itself, such as a following error
                    tick(int(AFTERWARDS_S * rate_hz))
                    _recover(bridge)
            metrics, records = bridge.metrics(), bridge.records()
    return BridgeRun(records, np.array(true_q), int(metrics["faults"]), int(metrics["plans_rejected"]))


def _recover(bridge: ArmBridge) -> None:
    if bridge.mode is Mode.FAULT:
        for _ in range(20):
            try:
                bridge.reset(acknowledge=True)
                break
            except BridgeError:
                bridge.advance(0.1)
    bridge.start()


def late_stops(run: BridgeRun, limits: JointLimits, dt: float) -> tuple[int, int, int]:
    """Count stops after a fault.

    Returns:
        those that could be followed to their end, those of them that began in motion, and those that did not rest
        within the computed time.
    """
    mode, v = run.records["mode"], run.records["applied_dq"]
    followed = moving = late = 0
    for i in (np.flatnonzero((mode[1:] == Mode.FAULT) & (mode[:-1] != Mode.FAULT)) + 1).tolist():
        due = i - 1 + round(braking_time(v[i - 1], limits.ddq_max, dt) / dt)
        if due < len(v) and bool(np.all(mode[i:due] == Mode.FAULT)):
            followed += 1
            moving += bool((np.abs(v[i - 1]) > AT_REST).any())
            late += bool((np.abs(v[max(due, i)]) > AT_REST).any())
    return followed, moving, late


def as_requested(run: BridgeRun, limits: JointLimits, dt: float) -> tuple[int, NDArray[np.void]]:
    """Ticks that break a limit if the same requests are sent as they are."""
    records = run.records.copy()
    records["applied"] = records["requested"]
    return audit(records, limits, dt).limit_violations, records
