"""The benchmark of the demo, with a stand-in for the processes that it starts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from loopwm_robot.bench import demo as bench
from loopwm_robot.bench.common import BenchmarkError, make_report
from loopwm_robot.bench.page import page
from loopwm_robot.errors import RequestError

SUMMARY = {
    "success_rate": 1.0,
    "episodes": 25,
    "final_distance_m_median": 0.009,
    "plan_time_s_p50": 0.02,
    "plan_time_s_p95": 0.025,
    "plan_time_s_p99": 0.03,
    "deadline_met_fraction": 0.99,
}


class Runner:
    """Writes what `loopwm demo` and `loopwm evaluate` would; can be interrupted."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.stop_at: str | None = None
        self.success = {0: 1.0, 1: 0.99, 2: 0.98}

    def __call__(self, arguments: Sequence[str]) -> None:
        command, *rest = arguments
        self.calls.append(list(arguments))
        keys = dict(text.split("=", 1) for text in rest)
        folder = Path(keys.get("out") or keys["resume"])
        seed = int(keys["seed"]) if "seed" in keys else int(folder.name.removeprefix("seed_"))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(f"seed: {seed}\nout: null\nresume: null\nmodel:\n  latent_dim: 64\n")
        if self.stop_at == command:
            raise KeyboardInterrupt
        values: dict[str, Any] = {**SUMMARY, "seed": seed}
        if command == "demo":
            values |= {f"time_stage_{stage}_s": 10.0 for stage in ("train", "evaluate", "video", "bridge")}
            values |= {f"random.{key}": value for key, value in SUMMARY.items() if "time" not in key}
            values |= {f"bridge.{key}": value for key, value in SUMMARY.items()}
            values |= {"bridge.episodes": 20, "bridge.limit_violations": 0, "bridge.deadline_misses": 3}
        else:
            values |= {"episodes": int(keys["evaluate.episodes"]), "success_rate": self.success[seed]}
            errors = {f"open_loop_rmse_h{h}_loops{n}": 0.01 * h for h in (1, 5, 10, 20) for n in (1, 2, 3, 12)}
            values |= errors
        (folder / "summary.json").write_text(json.dumps(values))


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.chdir(tmp_path)
    return Runner()


def test_each_seed_is_run_as_a_user_does_and_then_evaluated(runner: Runner) -> None:
    found = bench.run(bench.DemoBench(), runner)
    assert runner.calls[:2] == [
        ["demo", "seed=0", "out=runs/bench_demo/seed_0"],
        [
            "evaluate",
            "checkpoint=runs/bench_demo/seed_0",
            "evaluate.episodes=100",
            "seed=0",
            "out=runs/bench_demo/seed_0/evaluate_100",
        ],
    ]
    assert len(runner.calls) == 6
    values = [(claim.value, claim.target, claim.better, claim.met) for claim in found.claims]
    assert values[0] == (0.98, 0.98, "higher", True)
    assert values[1] == (0.009, 0.015, "lower", True)
    assert values[2][1:] == (480, "lower", True)
    assert values[3] == (1.0, 0.95, "higher", True)
    assert values[4] == (0, 0, "lower", True)
    assert found.claims[0].spread == pytest.approx(0.02)
    assert found.seeds == [0, 1, 2]
    assert found.config == {"demo": {"model": {"latent_dim": 64}}}


def test_the_page_tells_everything_of_every_seed(runner: Runner) -> None:
    config = bench.DemoBench(seeds=(0, 1))
    found = bench.run(config, runner)
    text = page(make_report("demo", "it", "loopwm bench demo", False, config, found, {"busy_cores_before": 0.0}))
    for table in ("Result by seed", "Time of the demo's stages", "Controllers", "Open-loop error"):
        assert f"## {table}" in text
    names = {row["controller"] for row in found.rows if "controller" in row}
    assert names == {"LoopWM, evaluate", "LoopWM, demo", "random", "bridge"}
    open_loop = [row for row in found.rows if "h20" in row]
    assert [row["loops"] for row in open_loop] == [1, 2, 3, 12] * 2
    assert all({"h1", "h5", "h10", "h20"} <= set(row) for row in open_loop)
    assert [row["wall_time_s"] for row in found.rows if "wall_time_s" in row]


def test_the_worst_seed_decides(runner: Runner) -> None:
    runner.success[1] = 0.97
    claim = bench.run(bench.DemoBench(), runner).claims[0]
    assert (claim.value, claim.met) == (0.97, False)


def test_finished_runs_are_used_again_with_their_time_and_commit(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "commit", lambda: "first")
    first = bench.run(bench.DemoBench(), runner)
    monkeypatch.setattr(bench, "commit", lambda: "second")
    count = len(runner.calls)
    again = bench.run(bench.DemoBench(), runner)
    assert len(runner.calls) == count
    assert again.claims == first.claims and again.commit == "first"
    more = bench.run(bench.DemoBench(seeds=(0, 2), episodes=101), runner)
    assert [call[0] for call in runner.calls[count:]] == ["evaluate", "evaluate"]
    assert "101 held-out goals" in more.claims[0].claim


def test_an_interrupted_demo_goes_on_and_makes_no_claim_on_time(runner: Runner) -> None:
    runner.stop_at = "demo"
    with pytest.raises(KeyboardInterrupt):
        bench.run(bench.DemoBench(seeds=(1,)), runner)
    runner.stop_at = None
    found = bench.run(bench.DemoBench(seeds=(1,)), runner)
    assert runner.calls[1] == ["demo", "resume=runs/bench_demo/seed_1"]
    assert not any("time of the demo" in claim.claim for claim in found.claims)
    assert len(found.claims) == 4
    assert "wall time of seed(s) 1" in found.notes[-1]


def test_an_interrupted_evaluation_begins_anew(runner: Runner) -> None:
    runner.stop_at = "evaluate"
    with pytest.raises(KeyboardInterrupt):
        bench.run(bench.DemoBench(seeds=(0,)), runner)
    runner.stop_at = None
    found = bench.run(bench.DemoBench(seeds=(0,)), runner)
    assert [call[0] for call in runner.calls] == ["demo", "evaluate", "evaluate"]
    assert runner.calls[-1][-1].endswith("evaluate_100_2")
    assert len(found.claims) == 5
    bench.run(bench.DemoBench(seeds=(0,)), runner)
    assert len(runner.calls) == 3


def test_fewer_goals_or_another_experiment_make_no_claim_on_the_default_demo(runner: Runner) -> None:
    few = bench.run(bench.DemoBench(seeds=(0,), episodes=10), runner)
    assert not any("held-out" in claim.claim or "distance" in claim.claim for claim in few.claims)
    smoke = bench.run(bench.DemoBench(seeds=(0,), experiment="smoke", runs="runs/smoke"), runner)
    assert smoke.claims == [] and "experiment=smoke" in smoke.notes[-1]
    assert ["demo", "seed=0", "experiment=smoke", "out=runs/smoke/seed_0"] in runner.calls


def test_runs_of_other_settings_are_refused(runner: Runner) -> None:
    bench.run(bench.DemoBench(seeds=(0,), experiment="smoke"), runner)
    with pytest.raises(RequestError, match="experiment=smoke, allowed seed=0; choose another folder"):
        bench.run(bench.DemoBench(seeds=(0,)), runner)
    Path("runs/bench_demo/seed_0").rename("runs/bench_demo/seed_5")
    Path("runs/bench_demo/seed_5/bench.json").unlink()
    with pytest.raises(RequestError, match="holds seed 0, allowed 5"):
        bench.run(bench.DemoBench(seeds=(5,)), runner)


def test_a_damaged_record_is_named(runner: Runner) -> None:
    bench.run(bench.DemoBench(seeds=(0,)), runner)
    Path("runs/bench_demo/seed_0/summary.json").write_text("{")
    with pytest.raises(BenchmarkError, match=r"seed_0/summary\.json is damaged"):
        bench.run(bench.DemoBench(seeds=(0,)), runner)


def test_a_failing_process_stops_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(BenchmarkError, match="loopwm demo seed=0 ended with status 1"):
        bench.run_process(["demo", "seed=0"])
    monkeypatch.setattr(sys, "executable", "true")
    bench.run_process(["demo"])


@pytest.mark.parametrize("leaves", [True, False])
def test_an_interrupt_waits_for_the_process(monkeypatch: pytest.MonkeyPatch, leaves: bool) -> None:
    seen: list[str] = []

    class Process:
        def __init__(self, command: list[str]) -> None:
            seen.append(command[-1])

        def __enter__(self) -> Process:
            return self

        def __exit__(self, *_: object) -> None:
            seen.append("waited")

        def wait(self, timeout: float | None = None) -> int:
            if timeout is None:
                raise KeyboardInterrupt
            if not leaves:
                raise subprocess.TimeoutExpired("loopwm", timeout)
            return 130

        def terminate(self) -> None:
            seen.append("terminated")

    monkeypatch.setattr(subprocess, "Popen", Process)
    with pytest.raises(KeyboardInterrupt) as caught:
        bench.run_process(["demo"])
    assert seen == (["demo", "waited"] if leaves else ["demo", "terminated", "waited"])
    assert caught.value.__notes__ == ["go on with: the same command"]
