"""Safety: hostile requests, plans and faults, with the filter and without; MuJoCo and the audit are witnesses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs import Arm, load_arm
from hardware import Guard, JointLimits, SafetyFilter, audit
from hardware.records import record_dtype

from ...deploy.chain import chain_of
from ...progress import progress
from ..common import Claim, Findings, Row
from .bridge import as_requested, late_stops, run_bridge
from .hostile import KINDS, HostileRequests
from .scene import Float64, Witness, make_scene


@dataclass(frozen=True)
class SafetyBench:
    """Settings.

    Attributes:
        seeds: one run each, different ones.
        arms: arms in parallel, a multiple of 8: one kind of requests each in turn.
        ticks: control ticks of all arms together for each seed, at least 1000.
        bridge_ticks: ticks of one simulated arm through the whole bridge for each seed, at least 100.
        rate_hz: control rate, 100 to 1000 [Hz].
        margin_m: distance to keep, 0 to 0.1 [m].
        speed_max: of the tool centre point, 0 for none [m/s].
        stop_every: ticks between stops of all arms, at least 10.
        arm: arm of envs.arms.
    """

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    arms: int = 32
    ticks: int = 200_000
    bridge_ticks: int = 4000
    rate_hz: float = 250.0
    margin_m: float = 0.02
    speed_max: float = 1.5
    stop_every: int = 250
    arm: str = "panda"

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds is {list(self.seeds)}, allowed one or more different ones, each at least 0")
        if self.arms < 1 or self.arms % len(KINDS):
            raise ValueError(f"arms is {self.arms}, allowed a multiple of {len(KINDS)}")
        for name, low, high in (
            ("ticks", 1000, np.inf),
            ("bridge_ticks", 100, np.inf),
            ("rate_hz", 100.0, 1000.0),
            ("margin_m", 0.0, 0.1),
            ("speed_max", 0.0, 10.0),
            ("stop_every", 10, np.inf),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}, allowed {low:g} to {high:g}")


SCHEMA = SafetyBench
QUICK: dict[str, Any] = {"seeds": [0], "arms": 8, "ticks": 4000, "bridge_ticks": 1500}


@dataclass(frozen=True, eq=False)
class Stream:
    """Requests and commands of all arms (ticks, arms, n) [rad], and how the stops went."""

    requested: Float64
    applied: Float64
    stops: int
    late: int
    longest_s: float


def run(config: SafetyBench) -> Findings:
    """Drive arms at the filter, then one arm at the bridge, for each seed."""
    arm, chain, dt = load_arm(config.arm), chain_of(config.arm), 1.0 / config.rate_hz
    limits = JointLimits(arm.joint_names, arm.q_min, arm.q_max, arm.dq_max, arm.ddq_max)
    scene = make_scene(config.margin_m, config.speed_max)
    witness, guard = Witness(arm, scene), Guard(chain, scene, dt)
    targets = poses_inside(guard, arm)
    found: list[dict[str, Any]] = []
    with progress("safety", 2 * len(config.seeds)) as bar:
        for seed in config.seeds:
            stream = drive(config, limits, guard, arm, targets, seed)
            one = filter_results(stream, limits, witness, scene.workspaces[0], dt)
            bar.advance(violations=one["violations"].sum(), collisions=one["collisions"].sum())
            ride = run_bridge(
                arm, limits, chain, scene, witness, targets, config.rate_hz, config.bridge_ticks, seed
            )
            checked = audit(ride.records, limits, dt)
            broken, _ = as_requested(ride, limits, dt)
            stops, moving, late = late_stops(ride, limits, dt)
            touching, _ = witness.look(ride.true_q)
            commanded, _ = witness.look(ride.records["applied"])
            asked, _ = witness.look(np.clip(ride.records["requested"], arm.q_min, arm.q_max))
            one["bridge"] = {
                "ticks": len(ride.records),
                "limit_violations": checked.limit_violations,
                "collisions_of_the_arm": int(touching.sum()),
                "collisions_of_commands": int(commanded.sum()),
                "faults": ride.faults,
                "stops_followed": stops,
                "of_these_from_motion": moving,
                "stops_late": late,
                "plans_refused": ride.rejected,
                "limit_violations_without_filter": broken,
                "collisions_without_filter": int(asked.sum()),
            }
            found.append(one)
            bar.advance(faults=ride.faults, late=late)
    return Findings(list(config.seeds), rows(config, found), claims(config, found), notes(config, found))


def poses_inside(guard: Guard, arm: Arm, tries: int = 4000) -> Float64:
    """Poses (k, n) [rad] in which something overlaps by at least a centimetre, or a point is that far outside."""
    poses = np.random.default_rng(0).uniform(arm.q_min, arm.q_max, (tries, arm.n))
    return np.asarray(poses[(guard.clearances(poses) < -0.01).any(axis=-1)])


def drive(config: SafetyBench, limits: JointLimits, guard: Guard, arm: Arm, targets: Float64, seed: int) -> Stream:
    """Send hostile requests to all arms; now and then stop them all and see whether they stop in time."""
    rng, dt = np.random.default_rng([seed, 0]), 1.0 / config.rate_hz
    safety = SafetyFilter(limits, dt, guard=guard)
    safety.reset(np.tile(arm.home, (config.arms, 1)))
    request = HostileRequests(limits, targets, config.arms, rng)
    asked, sent = [safety.q], [safety.q]
    stops = late = 0
    longest, k = 0.0, 0
    while len(sent) * config.arms < config.ticks:
        wanted = request(safety.q, k)
        velocity = None if rng.random() < 0.7 else rng.choice([0.0, 5.0, -5.0], wanted.shape)
        asked.append(wanted)
        sent.append(safety.step(wanted, velocity).q)
        k += 1
        if k % config.stop_every == 0:
            time = safety.stopping_time
            for _ in range(round(time / dt)):
                asked.append(asked[-1])
                sent.append(safety.brake().q)
            stops, longest = stops + config.arms, max(longest, time)
            late += int((np.abs(safety.dq) > 1e-6).any(axis=-1).sum())
    return Stream(np.array(asked), np.array(sent), stops, late, longest)


def filter_results(
    stream: Stream, limits: JointLimits, witness: Witness, workspace: Any, dt: float
) -> dict[str, Any]:
    """Count what the audit and MuJoCo see; arrays are per kind of requests."""
    ticks, arms, n = stream.applied.shape
    kinds = np.arange(arms) % len(KINDS)
    finite = np.asarray((np.isfinite(stream.requested) & (np.abs(stream.requested) < 1e3)).all(axis=-1))
    # What cannot be sent at all keeps the arm where it was.
    bare = stream.requested.copy()
    for k in range(1, ticks):
        bare[k] = np.where(finite[k][:, None], bare[k], bare[k - 1])
    out: dict[str, Any] = {"ticks": ticks * arms, "stops": stream.stops, "late": stream.late}
    out["longest_s"] = stream.longest_s
    for name, path in (("", stream.applied), ("bare_", bare)):
        violations = np.zeros(len(KINDS), dtype=np.int64)
        for i in range(arms):
            violations[kinds[i]] += audit(_records(path[:, i], dt), limits, dt).limit_violations
        touching, tool = witness.look(np.clip(path, limits.q_min, limits.q_max).reshape(-1, n))
        tool = tool.reshape(ticks, arms, 3)
        out[f"{name}violations"] = violations
        out[f"{name}collisions"] = _per_kind(touching.reshape(ticks, arms), kinds)
        out[f"{name}speed"] = float(np.linalg.norm(np.diff(tool, axis=0), axis=-1).max() / dt)
        outside = np.maximum(np.asarray(workspace.lower) - tool, tool - np.asarray(workspace.upper))
        out[f"{name}outside"] = _per_kind((outside > 1e-9).any(axis=-1), kinds)
    out["not_numbers"] = _per_kind(~finite, kinds)
    return out


def _per_kind(flags: NDArray[np.bool_], kinds: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.array([int(flags[:, kinds == kind].sum()) for kind in range(len(KINDS))])


def _records(path: Float64, dt: float) -> NDArray[np.void]:
    records = np.zeros(len(path), dtype=record_dtype(path.shape[1]))
    records["tick"], records["sent"], records["epoch"] = np.arange(len(path)), True, 1
    records["t"], records["applied"], records["requested"] = np.arange(len(path)) * dt, path, path
    return records


def rows(config: SafetyBench, found: list[dict[str, Any]]) -> list[Row]:
    """Tables: by kind of requests, and by seed at the bridge."""
    table: list[Row] = []
    for kind, name in enumerate(KINDS):
        total = {key: sum(int(one[key][kind]) for one in found) for key, value in found[0].items() if np.ndim(value)}
        table.append(
            {
                "table": "ticks by kind of requests, all seeds",
                "requests": name,
                "ticks": sum(one["ticks"] for one in found) // len(KINDS),
                "limits_broken": total["violations"],
                "collisions": total["collisions"],
                "outside_workspace": total["outside"],
                "without_filter:_not_numbers": total["not_numbers"],
                "limits_broken_": total["bare_violations"],
                "collisions_": total["bare_collisions"],
                "outside_workspace_": total["bare_outside"],
            }
        )
    for seed, one in zip(config.seeds, found, strict=True):
        table.append({"table": "through the bridge to the simulated arm", "seed": seed, **one["bridge"]})
    return table


def claims(config: SafetyBench, found: list[dict[str, Any]]) -> list[Claim]:
    """All of them are zeros, and the speed."""
    ticks = sum(one["ticks"] for one in found)
    stops = sum(one["stops"] for one in found)
    bridge = [one["bridge"] for one in found]
    followed = sum(one["stops_followed"] for one in bridge)

    def none(what: str, values: list[int]) -> Claim:
        return Claim.over(what, values, 0, "lower", sum)

    listed = [
        none(f"ticks with a limit broken by a command, of {ticks}", [int(one["violations"].sum()) for one in found]),
        none(f"ticks with a collision of the command, of {ticks}", [int(one["collisions"].sum()) for one in found]),
        none(f"ticks with the tool outside its workspace, of {ticks}", [int(one["outside"].sum()) for one in found]),
        none(f"stops that took longer than computed, of {stops}", [one["late"] for one in found]),
        none("bridge: ticks with a limit broken by a command", [one["limit_violations"] for one in bridge]),
        none("bridge: ticks with a collision of the simulated arm", [one["collisions_of_the_arm"] for one in bridge]),
        none(
            f"bridge: stops after a fault that took longer than computed, of {followed}",
            [one["stops_late"] for one in bridge],
        ),
    ]
    if config.speed_max:
        speeds = [one["speed"] for one in found]
        listed.append(
            Claim.over("largest speed of the tool [m/s]", speeds, config.speed_max * (1 + 1e-6), "lower", max)
        )
    return listed


def notes(config: SafetyBench, found: list[dict[str, Any]]) -> list[str]:
    """How it was counted."""
    bare, longest = max(one["bare_speed"] for one in found), max(one["longest_s"] for one in found)
    return [
        f"{config.arms} arms in parallel at {config.rate_hz:g} Hz between a table, a crate and a rod, margin "
        f"{100 * config.margin_m:g} cm; every {config.stop_every} ticks all are stopped. Limits are counted by "
        "`hardware.audit`, which differences the commands; collisions, workspace and speed by MuJoCo on its own model.",
        "Without filter: the same requests sent as they are (those that are no numbers are left out, positions are "
        "cut off at the end stops). Its commands are not what the kinds would have chosen had they seen that arm.",
        f"Without filter the tool would have been sent at up to {bare:.3g} m/s; the longest stop took {longest:.3g} s.",
        "At the bridge, plans of all kinds (stale, reordered, flooding and wrong names too) and a fault of the "
        "device about every three seconds; collisions are those of the simulated arm itself, with its lag.",
    ]
