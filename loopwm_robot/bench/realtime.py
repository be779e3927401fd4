"""The bridge in real time beside a busy planner: lateness of its ticks, missed deadlines, cost of the safety filter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hardware import ArmBridge, ArmPlan, Guard, Mode
from hardware.moves import sweep, sweep_time

from ..agent import MPCAgent
from ..build import make_agent, make_env, spaces_of
from ..closed_loop import EVALUATION_SEED
from ..config import EnvConfig, ModelConfig, PlannerConfig, config_dir
from ..data.collect import split_observation
from ..deploy.arm_config import ArmConfig, arm_file
from ..deploy.chain import chain_of
from ..deploy.preflight import SIMULATED, make_bridge
from ..errors import RequestError
from ..models.build import build_model
from ..progress import progress
from ..report.style import figure
from ..threads import torch_threads
from ..types import Seen
from .common import BenchmarkError, Claim, Figure, Findings, Row
from .safety.scene import make_scene
from .stalls import stalls

BUDGET = 0.1
"""Share of the control period that the safety filter may take."""

_PLAN_DT = 0.05
_DRAIN_S = 5.0
_WATCH_S = 60.0
"""How long the machine itself is watched at most [s]."""

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class RealtimeBench:
    """Settings.

    Attributes:
        seconds: in motion at each rate, 5 to 36000 [s].
        rates_hz: control rates to measure, each 100 to 1000 [Hz].
        scene: whether the arm moves among obstacles, with self-collision, workspace and speed of the tool checked.
        margin_m: distance to keep from them, 0 to 0.1 [m].
        speed_max: of the tool centre point, 0 for none [m/s].
        realtime: scheduling of the control process: auto, on or off.
        arm: of configs/arm, a simulated one.
        seed: of the goals and of the model's weights, at least 0.
        env: what the planner plans for.
        model: that it plans with, fresh.
        planner: that runs all the time.
    """

    seconds: float = 600.0
    rates_hz: tuple[float, ...] = (100.0, 250.0, 500.0)
    scene: bool = True
    margin_m: float = 0.02
    speed_max: float = 1.5
    realtime: str = "auto"
    arm: str = "panda_sim"
    seed: int = 0
    env: EnvConfig = field(default_factory=EnvConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    planner: PlannerConfig = field(default_factory=PlannerConfig)

    def __post_init__(self) -> None:
        for name, low, high in (
            ("seconds", 5.0, 36_000.0),
            ("margin_m", 0.0, 0.1),
            ("speed_max", 0.0, 10.0),
            ("seed", 0, np.inf),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}, allowed {low:g} to {high:g}")
        if not self.rates_hz or not all(100.0 <= rate <= 1000.0 for rate in self.rates_hz):
            raise ValueError(f"rates_hz is {list(self.rates_hz)}, allowed one or more of 100 to 1000")


SCHEMA = RealtimeBench
QUICK: dict[str, Any] = {"seconds": 20.0}


@dataclass(frozen=True, eq=False)
class Ride:
    """What one rate left behind: metrics of the bridge, lateness of every tick [s], and counts."""

    rate_hz: float
    metrics: dict[str, Any]
    lateness: Float64
    violations: int
    interventions: int
    motions: int
    plans: int


def run(config: RealtimeBench) -> Findings:
    """Move the simulated arm at each rate in turn while this process plans without a pause."""
    arm = arm_settings(config)
    agent, obs = busy_planner(config)
    rides = []
    with torch_threads(1), progress("realtime", 1 + len(config.rates_hz)) as bar:
        watch_s = min(config.seconds, _WATCH_S)
        watched, gaps = stalls(watch_s, config.realtime, lambda: agent.act(obs))
        bar.advance()
        for rate in config.rates_hz:
            rides.append(ride(config, arm, rate, agent, obs))
            bar.advance(late_p99_us=1e6 * rides[-1].metrics["lateness_s_p99"])
    drawn = [Figure("lateness", "share of the ticks that ran later than a time", lambda path: plot(rides, path))]
    table = [*rows(rides), *stall_rows(config.rates_hz, watched, gaps)]
    return Findings([config.seed], table, claims(rides), notes(config, rides), figures=drawn)


def arm_settings(config: RealtimeBench) -> ArmConfig:
    """The arm's file, with the scene.

    Raises:
        RequestError: there is no such simulated arm.
    """
    found = arm_file(config.arm)
    if found.driver != SIMULATED:
        known = sorted(path.stem for path in (config_dir() / "arm").glob("*_sim.yaml"))
        raise RequestError(f"arm is '{config.arm}', allowed {', '.join(known)}")
    return replace(found, scene=make_scene(config.margin_m, config.speed_max)) if config.scene else found


def busy_planner(config: RealtimeBench) -> tuple[MPCAgent, Seen]:
    """A controller with a fresh model, which costs the time of a trained one, and what it looks at."""
    env = make_env(config.env)
    spaces = spaces_of(env, config.env)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = build_model(config.model, *spaces.of_model).eval()
    agent = make_agent(model, spaces, config.planner, torch.Generator().manual_seed(config.seed))
    obs, _, goal = split_observation(env.reset(seed=EVALUATION_SEED)[0])
    env.close()
    agent.reset(goal)
    assert isinstance(obs, np.ndarray)  # no pictures were asked for
    return agent, obs


def ride(config: RealtimeBench, arm: ArmConfig, rate: float, agent: MPCAgent, obs: Seen) -> Ride:
    """Drive the arm at one rate.

    Raises:
        BenchmarkError: the bridge latched a fault, or records were lost.
    """
    settings = replace(arm.bridge, rate_hz=rate, realtime=config.realtime)
    rng, lateness = np.random.default_rng(config.seed), []
    violations = interventions = motions = plans = 0
    goals = targets(config, arm, rng)
    with make_bridge(replace(arm, bridge=settings)) as bridge:
        bridge.enable()
        bridge.start()
        end, drain = bridge.now() + config.seconds, bridge.now() + _DRAIN_S
        while (now := bridge.now()) < end:
            snapshot = bridge.snapshot()
            if snapshot.mode.latched:
                raise BenchmarkError(f"at {rate:g} Hz the bridge latched a fault: {snapshot.fault}")
            if snapshot.mode is Mode.HOLDING and snapshot.applied is not None and not snapshot.applied.dq.any():
                bridge.submit(sweeping_plan(bridge, snapshot.applied.applied, goals[int(rng.integers(len(goals)))]))
                motions += 1
            agent.act(obs)  # the load: a plan like any other, without a pause
            plans += 1
            if now > drain or bridge.now() >= end:
                drain = now + _DRAIN_S
                checked, records = bridge.audit(), bridge.records(clear=True)
                violations, interventions = violations + checked.limit_violations, interventions + checked.interventions
                lateness.append(records["lateness"][records["sent"]])
        bridge.stop()
        bridge.advance(0.2)
        metrics = bridge.metrics()
    if metrics["lost_records"]:
        raise BenchmarkError(f"at {rate:g} Hz {metrics['lost_records']} records were lost: the planner took too long")
    return Ride(rate, metrics, np.concatenate(lateness), violations, interventions, motions, plans)


def targets(config: RealtimeBench, arm: ArmConfig, rng: np.random.Generator) -> Float64:
    """Poses (k, n) [rad] anywhere within the limits; with a scene half of them are inside an obstacle."""
    poses = rng.uniform(arm.q_min, arm.q_max, (4000, arm.n))
    if not config.scene:
        return poses[:200]
    clear = Guard(chain_of(arm.name), arm.scene, 1.0 / arm.bridge.rate_hz).clearances(poses).min(axis=-1)
    return np.concatenate([poses[clear > config.margin_m][:100], poses[clear < -0.01][:100]])


def sweeping_plan(bridge: ArmBridge, start: Float64, goal: Float64) -> ArmPlan:
    """A smooth motion from rest to rest at up to half of the speeds and accelerations; a second at least."""
    intervals = int(np.ceil(max(1.0, sweep_time(bridge.limits, goal - start, 0.5)) / _PLAN_DT))
    seconds = intervals * _PLAN_DT
    q, dq = sweep(start, goal, seconds, intervals)
    return bridge.make_plan(q, dq, dt=_PLAN_DT, validity=seconds + _PLAN_DT)


def rows(rides: Sequence[Ride]) -> list[Row]:
    """Tables: punctuality, and cost."""
    table: list[Row] = []
    for one in rides:
        m = one.metrics
        table.append(
            {
                "table": "punctuality",
                "rate_hz": one.rate_hz,
                "realtime": m["realtime"],
                "ticks": m["ticks"],
                **{f"lateness_s_{p}": m[f"lateness_s_{p}"] for p in ("p50", "p99", "max")},
                "deadline_misses": m["deadline_misses"],
                "skipped_ticks": m["skipped_ticks"],
            }
        )
    for one in rides:
        m = one.metrics
        table.append(
            {
                "table": "cost of a tick",
                "rate_hz": one.rate_hz,
                "budget_s": BUDGET / one.rate_hz,
                **{f"filter_s_{p}": m[f"filter_s_{p}"] for p in ("p50", "p99", "max")},
                **{f"whole_tick_s_{p}": m[f"cost_s_{p}"] for p in ("p50", "p99", "max")},
                "motions": one.motions,
                "interventions": one.interventions,
                "limit_violations": one.violations,
                "plans_beside": one.plans,
            }
        )
    return table


def stall_rows(rates_hz: Sequence[float], watched: float, gaps: Float64) -> list[Row]:
    """Table of how long the machine holds up a process of the same priority that only reads the clock."""
    return [
        {
            "table": "the machine itself",
            "longer_than_s": longest,
            "watched_s": watched,
            "stalls": int((gaps > longest).sum()),
            "share": float(gaps[gaps > longest].sum() / watched),
            "longest_s": float(gaps.max(initial=0.0)),
        }
        for longest in sorted({2e-4, *(1.0 / rate for rate in rates_hz)})
    ]


def claims(rides: Sequence[Ride]) -> list[Claim]:
    """No deadline is missed, no limit broken, and the filter keeps to its budget."""
    listed = []
    for one in rides:
        rate, m = one.rate_hz, one.metrics
        budget = 1e6 * BUDGET / rate
        ticks, late, cost = m["ticks"], 1e6 * m["lateness_s_p99"], 1e6 * m["filter_s_p99"]
        listed += [
            Claim(f"deadlines missed at {rate:g} Hz, of {ticks}", m["deadline_misses"], 0, "lower"),
            Claim(f"lateness p99 at {rate:g} Hz [us]", late, budget, "lower"),
            Claim(f"safety filter p99 at {rate:g} Hz [us], budget {BUDGET:.0%} of the period", cost, budget, "lower"),
            Claim(f"commands beyond a limit at {rate:g} Hz", one.violations, 0, "lower"),
        ]
    return listed


def notes(config: RealtimeBench, rides: Sequence[Ride]) -> list[str]:
    """How it was measured."""
    granted = ", ".join(f"{one.rate_hz:g} Hz {'yes' if one.metrics['realtime'] else 'no'}" for one in rides)
    among = "among obstacles, half of its goals inside one" if config.scene else "without obstacles"
    return [
        f"{config.seconds:g} s at each rate: the simulated arm moves {among}; MuJoCo runs inside the tick and is part "
        "of the whole tick, not of the filter. A deadline is missed when a tick begins more than a period late.",
        "The process that sends the plans makes plans with LoopWM without a pause, on one torch thread. SCHED_FIFO for "
        f"the control process: {granted}. Percentiles are upper edges of bins 12 % wide; maxima are exact.",
        "The machine itself: a process of the same priority that only reads the clock, beside the same planner. What "
        "holds it up (the kernel, or the host of a virtual machine) holds up a control loop as well.",
    ]


def plot(rides: Sequence[Ride], path: Path) -> Path:
    """Share of the ticks that ran later than a time, one line for each rate."""
    with figure(path, 6.4, 3.6) as fig:
        axes = fig.subplots()
        for one in rides:
            late = np.sort(np.maximum(one.lateness, 1e-6)) * 1e6
            axes.plot(late, 1.0 - np.arange(len(late)) / len(late), label=f"{one.rate_hz:g} Hz")
        axes.set(xscale="log", yscale="log", xlabel="lateness [µs]", ylabel="share of the ticks that were later")
        axes.legend()
    return path
