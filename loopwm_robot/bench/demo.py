"""The demo as a user runs it, for several seeds: each in a process of its own, then 100 held-out goals."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..errors import RequestError
from ..progress import progress
from ..runs import write_text
from .common import Claim, Findings, Row, commit
from .subruns import Runner, attempt, read_json, run_process

RECORD = "bench.json"
GOALS = 100  # that the claims on success and precision are about
CONTROLLERS = ("random", "untrained", "simulator", "bridge")
HORIZONS = (1, 5, 10, 20)
NOT_MEASURED = "seed", "out", "resume"

Summary = Mapping[str, Any]


@dataclass(frozen=True)
class DemoBench:
    """Settings.

    Attributes:
        seeds: of the demos.
        episodes: held-out goals of `loopwm evaluate` on each checkpoint, at least 1.
        experiment: of the demo; empty is the default, which the claims are about.
        runs: folder of the run folders; finished runs in it are used again, interrupted ones go on.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    episodes: int = GOALS
    experiment: str = ""
    runs: str = "runs/bench_demo"

    def __post_init__(self) -> None:
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds is {list(self.seeds)}, allowed one or more different ones, each >= 0")
        if self.episodes < 1:
            raise ValueError(f"episodes is {self.episodes}, allowed >= 1")


SCHEMA = DemoBench
QUICK: dict[str, Any] = {"seeds": [0], "episodes": 2, "experiment": "smoke", "runs": "runs/bench_demo_quick"}


@dataclass(frozen=True)
class SeedResult:
    """One demo and the evaluation of its checkpoint.

    Attributes:
        seed: of the demo.
        folder: of the run.
        demo: its summary.json.
        held_out: summary.json of `loopwm evaluate`.
        wall_time_s: of the demo's whole process; None where it was interrupted, or not started by the benchmark.
        commit: that the demo ran on.
    """

    seed: int
    folder: Path
    demo: Summary
    held_out: Summary
    wall_time_s: float | None
    commit: str


def run(config: DemoBench, runner: Runner | None = None) -> Findings:
    """Run or take up the demos one after another.

    Args:
        config: settings.
        runner: runs a `loopwm` command line to its end; None starts a process.
    """
    with progress("bench demo", len(config.seeds)) as bar:
        results = []
        for seed in config.seeds:
            results.append(run_seed(config, seed, runner or run_process))
            bar.advance(success=float(results[-1].held_out["success_rate"]))
    notes = [
        "Wall time is that of the whole `loopwm demo` process, from its start to its report. "
        f"Success and precision are those of `loopwm evaluate` on {config.episodes} goals that training never saw."
    ]
    timed = [result for result in results if result.wall_time_s is not None]
    if len(timed) < len(results):
        missing = ", ".join(str(result.seed) for result in results if result.wall_time_s is None)
        notes.append(f"The wall time of seed(s) {missing} was not measured in one piece: no claim is made on it.")
    if config.experiment:
        notes.append(f"The claims are about the default demo, not about experiment={config.experiment}: none is made.")
    commits = list(dict.fromkeys(result.commit for result in results))
    rows = [row for table in (seed_row, stage_row) for row in map(table, results)]
    rows += [row for table in (controller_rows, open_loop_rows) for result in results for row in table(result)]
    return Findings(
        list(config.seeds),
        rows,
        [] if config.experiment else claims(results),
        notes,
        {"demo": demo_config(results[0].folder)},
        ", ".join(commits),
    )


def run_seed(config: DemoBench, seed: int, runner: Runner) -> SeedResult:
    """The demo of one seed and its evaluation; what is finished is not run again."""
    folder = Path(config.runs) / f"seed_{seed}"
    settings = [f"seed={seed}", *([f"experiment={config.experiment}"] if config.experiment else [])]
    record = read_json(folder / RECORD)
    if record and record["settings"] != settings:
        raise RequestError(
            f"{folder} was made with {' '.join(record['settings'])}, allowed {' '.join(settings)}; "
            "choose another folder with runs=FOLDER"
        )
    if not (folder / "summary.json").is_file():
        resumed = (folder / "config.yaml").is_file()
        now = commit()
        started = time.perf_counter()
        runner(["demo", f"resume={folder}"] if resumed else ["demo", *settings, f"out={folder}"])
        record = {"settings": settings, "commit": now}
        if not resumed:  # an interrupted run has lost the time of its first part
            record["wall_time_s"] = time.perf_counter() - started
        write_text(folder / RECORD, json.dumps(record, indent=2))
    demo = read_json(folder / "summary.json")
    if demo.get("seed") != seed:
        raise RequestError(f"{folder} holds seed {demo.get('seed')}, allowed {seed}; choose another with runs=FOLDER")
    held_out = evaluate_seed(folder, seed, config.episodes, runner)
    return SeedResult(seed, folder, demo, held_out, record.get("wall_time_s"), record.get("commit", "unknown"))


def evaluate_seed(folder: Path, seed: int, episodes: int, runner: Runner) -> Summary:
    """`loopwm evaluate` on a demo's checkpoint, in a folder inside the demo's."""
    out = attempt(folder / f"evaluate_{episodes}", "summary.json")
    if not out.exists():
        runner(["evaluate", f"checkpoint={folder}", f"evaluate.episodes={episodes}", f"seed={seed}", f"out={out}"])
    return read_json(out / "summary.json")


def claims(results: Sequence[SeedResult]) -> list[Claim]:
    """What the demo promises; the worst seed counts."""
    n = len(results)
    worst = f"worst of {n} seed(s)"
    found = []
    held_out = [result.held_out for result in results]
    if all(summary["episodes"] >= GOALS for summary in held_out):
        goals = min(summary["episodes"] for summary in held_out)
        success = [float(summary["success_rate"]) for summary in held_out]
        distance = [float(summary["final_distance_m_median"]) for summary in held_out]
        found += [
            Claim.over(f"success on {goals} held-out goals, {worst}", success, 0.98, "higher", min),
            Claim.over(f"median final distance [m], {worst}", distance, 0.015, "lower", max),
        ]
    walls = [result.wall_time_s for result in results if result.wall_time_s is not None]
    if len(walls) == n:
        found.append(Claim.over(f"time of the demo [s], {worst}", walls, 480, "lower", max))
    demos = [result.demo for result in results]
    if all("bridge.success_rate" in demo for demo in demos):
        success = [float(demo["bridge.success_rate"]) for demo in demos]
        goals = min(demo["bridge.episodes"] for demo in demos)
        text = f"success on {goals} goals in real time through the bridge, {worst}"
        found.append(Claim.over(text, success, 0.95, "higher", min))
    if all("bridge.limit_violations" in demo for demo in demos):
        violations = [float(demo["bridge.limit_violations"]) for demo in demos]
        text = f"commands outside the limits in the bridge, sum of {n} seed(s)"
        found.append(Claim.over(text, violations, 0, "lower", sum))
    return found


def seed_row(result: SeedResult) -> Row:
    """One line of the table of results."""
    row: Row = {"table": "result by seed", "seed": result.seed}
    if result.wall_time_s is not None:
        row["wall_time_s"] = result.wall_time_s
    names = ("success_rate", "episodes", "final_distance_m_median", "final_distance_m_max")
    times = ("plan_time_s_p50", "plan_time_s_p95", "plan_time_s_p99", "deadline_met_fraction", "mean_loops")
    row |= _some(result.held_out, *names, *times, "parameters")
    row |= _some(result.demo, "bridge.success_rate", "bridge.limit_violations", "bridge.deadline_misses")
    return row


def stage_row(result: SeedResult) -> Row:
    """Where the time of the demo went."""
    stages = [key for key in result.demo if key.startswith("time_stage_")]
    times = {key.removeprefix("time_stage_"): result.demo[key] for key in stages}
    return {"table": "time of the demo's stages", "seed": result.seed, **times, **_some(result.demo, "train_updates")}


def controller_rows(result: SeedResult) -> list[Row]:
    """LoopWM beside its comparisons, in the demo and in the longer evaluation."""
    names = ("success_rate", "episodes", "final_distance_m_median", "plan_time_s_p50", "plan_time_s_p95")
    more = ("plan_time_s_p99", "deadline_met_fraction")
    sources = [("LoopWM, evaluate", result.held_out, ""), ("LoopWM, demo", result.demo, "")]
    sources += [(name, result.demo, f"{name}.") for name in CONTROLLERS if f"{name}.episodes" in result.demo]
    return [
        {
            "table": "controllers",
            "seed": result.seed,
            "controller": label,
            **{key.removeprefix(prefix): v for key, v in _some(summary, *(prefix + n for n in names + more)).items()},
        }
        for label, summary, prefix in sources
    ]


def open_loop_rows(result: SeedResult) -> list[Row]:
    """Errors of predictions without feedback, by loop count."""
    start = "open_loop_rmse_h1_loops"
    counts = sorted(int(key.removeprefix(start)) for key in result.held_out if key.startswith(start))
    rows: list[Row] = []
    for loops in counts:
        row: Row = {"table": "open-loop error, in standard deviations of the data", "seed": result.seed, "loops": loops}
        for horizon in HORIZONS:
            key = f"open_loop_rmse_h{horizon}_loops{loops}"
            if key in result.held_out:
                row[f"h{horizon}"] = result.held_out[key]
        rows.append(row)
    return rows


def demo_config(folder: Path) -> dict[str, Any]:
    """The resolved configuration of a demo, without what differs between the seeds."""
    values = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    return {key: value for key, value in values.items() if key not in NOT_MEASURED}


def _some(summary: Summary, *keys: str) -> Row:
    return {key: summary[key] for key in keys if key in summary}
