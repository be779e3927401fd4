"""The benchmark of trained controllers: watching, measuring and comparing, with runs that only pretend to train."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import yaml
from point_env import PointEnv

from envs.ranges_file import read_ranges
from loopwm_robot.bench import control, shelf, subruns
from loopwm_robot.bench.common import Row
from loopwm_robot.bench.control import (
    collectors,
    ddp,
    judge,
    metaworld,
    ours,
    published,
    race,
    tasks,
    together,
    transfer,
)
from loopwm_robot.bench.control import settings as settings_of_runs
from loopwm_robot.bench.control.config import TOGETHER, ControlBench
from loopwm_robot.bench.control.curve import Curve, Point
from loopwm_robot.bench.control.races import NEAR, RACES
from loopwm_robot.bench.control.target import PolicyActor, Score, Target, measure
from loopwm_robot.cli.compose import compose
from loopwm_robot.cli.main import main
from loopwm_robot.closed_loop import EVALUATION_SEED
from loopwm_robot.config import EnvConfig, TrainCommand
from loopwm_robot.errors import RequestError
from loopwm_robot.schema import plain

POINT, OTHER = EnvConfig("Test/Point-v0", "", ""), EnvConfig("Test/OtherPoint-v0", "", "")
SUCCESS = Target()


@pytest.fixture(autouse=True)
def point() -> None:
    """A task that takes no simulator."""
    for config in (POINT, OTHER):
        if config.id not in gym.registry:
            gym.register(config.id, "point_env:PointEnv", max_episode_steps=10, kwargs={"steps": 10})


class Still:
    """Does nothing, and remembers with which goal it began."""

    def __init__(self) -> None:
        self.goals: list[np.ndarray] = []

    def reset(self, goal: np.ndarray) -> None:
        self.goals.append(goal)

    def act(self, obs: np.ndarray) -> np.ndarray:
        return np.zeros(2, np.float32)


class Straight(Still):
    """Goes to the goal."""

    def act(self, obs: np.ndarray) -> np.ndarray:
        return np.clip((self.goals[-1] - obs[:2]) / PointEnv.GAIN, -1, 1)


def test_everybody_meets_the_goals_of_an_evaluation_and_a_hopeless_measurement_ends_early() -> None:
    env, good, bad = PointEnv(), Straight(), Still()
    found = measure(env, PolicyActor(good), 20, SUCCESS)
    assert found.episodes == 20 and found.success == 1.0
    goals = [env.reset(seed=EVALUATION_SEED + i)[0]["desired_goal"] for i in range(20)]
    np.testing.assert_array_equal(good.goals, goals)
    found = measure(env, PolicyActor(bad), 20, SUCCESS)
    assert 4 <= found.episodes < 20 and found.success < 0.95
    assert measure(env, PolicyActor(bad), 20).episodes == 20
    returns = Target("return", -0.5, 0.0)
    assert measure(env, PolicyActor(bad), 20, returns).episodes < 20
    assert measure(env, PolicyActor(good), 1, returns).mean_return > measure(env, PolicyActor(bad), 1).mean_return


class Clock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(ours, "time", made)
    monkeypatch.setattr(judge, "time", made)
    return made


class Runner:
    """Leaves what `loopwm train` would: a round every ten seconds, whose checkpoint is named by its round."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.calls = clock, list[list[str]]()
        self.rounds, self.interrupt_after = 3, -1
        self.starts = 0

    def __call__(self, arguments: Sequence[str], look: Callable[[], bool]) -> bool:
        self.calls.append(list(arguments))
        keys = dict(text.split("=", 1) for text in arguments[1:])
        folder = Path(keys.get("out") or keys["resume"])
        (folder / "training").mkdir(parents=True, exist_ok=True)
        several = (POINT, OTHER) if "envs" in keys else ()
        (folder / "config.yaml").write_text(yaml.safe_dump(plain(TrainCommand(seed=3, env=POINT, envs=several))))
        last = folder / "training" / "last.safetensors"
        for n in range(self.starts + 1, self.rounds + 1):
            self.clock.now += 9.0
            look()
            self.clock.now += 1.0
            new = last.with_name("new")
            new.write_text(json.dumps({"rounds": n, "transitions": 50 * n}))
            os.replace(new, last)
            if not look():
                return False
            if n == self.interrupt_after:
                self.clock.now += 5.0
                raise KeyboardInterrupt
        (folder / "checkpoint.safetensors").write_text(last.read_text())
        return look() or True


@pytest.fixture
def runner(clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Runner:
    """Trains nothing; a controller is as good as its round."""

    def load(path: Path, device: Any = None) -> Any:
        loaded = SimpleNamespace(info=json.loads(path.read_text()), parameters=7)
        loaded.at = lambda spaces, file: loaded
        return loaded

    def score(checkpoint: Any, env: EnvConfig, planner: Any, goals: int, seed: int, target: Any = None) -> Score:
        n = checkpoint.info["rounds"]
        return Score(min(1.0, 0.45 * n), 10.0 * n, 0.1 / n, goals)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(settings_of_runs, "load_checkpoint", load)
    for module in (ours, tasks, transfer, metaworld, together):
        monkeypatch.setattr(module, "agent_score", score)
    monkeypatch.setattr(shelf, "busy_cores", lambda span: 0.0)
    return Runner(clock)


def curve(folder: Path, record: ours.Record, target: Target | None = SUCCESS) -> Curve:
    return ours.curve_of(folder, record, 10, 1, target, lambda point: None)


def test_each_round_is_kept_with_its_time_and_measured_up_to_the_target(runner: Runner, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    record = ours.trained(folder, ["env=x"], 1000.0, runner)
    assert [round(one.time_s) for one in record.snapshots] == [10, 20, 30] and record.end == "done"
    found = curve(folder, record)
    held_out = TrainCommand().train.held_out * 10
    assert [(p.time_s, p.steps, p.success) for p in found.points] == [
        (10.0, 50 + held_out, 0.45),
        (20.0, 100 + held_out, 0.9),
        (30.0, 150 + held_out, 1.0),
    ]
    assert found.end == "reached" and found.about["parameters"] == 7 and found == curve(folder, record)
    first = found.first(SUCCESS)
    assert first is not None and first.time_s == 30.0 and found.before(120 + held_out) == found.points[1]
    assert ours.trained(folder, ["env=x"], 1000.0, runner) == record and len(runner.calls) == 1
    with pytest.raises(RequestError, match=r"was made with env=x, allowed env=y; choose another folder"):
        ours.trained(folder, ["env=y"], 1000.0, runner)


def test_an_interrupted_training_goes_on_from_the_time_of_its_last_round(runner: Runner, tmp_path: Path) -> None:
    folder, runner.interrupt_after = tmp_path / "run", 2
    with pytest.raises(KeyboardInterrupt):
        ours.trained(folder, ["env=x"], 1000.0, runner)
    runner.interrupt_after, runner.starts = -1, 1  # the second round was not saved whole: it is done again
    record = ours.trained(folder, ["env=x"], 1000.0, runner)
    assert runner.calls[1] == ["train", f"resume={folder}"]
    found = curve(folder, record)
    assert [(p.time_s, p.success) for p in found.points] == [(10.0, 0.45), (30.0, 0.9), (40.0, 1.0)]


def test_a_training_that_takes_too_long_is_stopped_and_goes_on_with_more(runner: Runner, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    record = ours.trained(folder, ["env=x"], 15.0, runner)
    found = curve(folder, record)
    assert record.end == found.end == "limit" and len(found.points) == 2 and found.first(SUCCESS) is None
    assert ours.trained(folder, ["env=x"], 15.0, runner) == record and len(runner.calls) == 1
    runner.starts = 2
    record = ours.trained(folder, ["env=x"], 50.0, runner)
    assert record.end == "done" and curve(folder, record).end == "reached"
    row = race.rows_of(RACES["panda_reach"], "loopwm", 0, curve(folder, record), 15.0)[0]
    assert row["reached"] is False  # what came after the limit does not count


@pytest.mark.parametrize("fails", [False, True])
def test_a_run_is_stopped_when_the_look_says_so_or_fails(
    fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, note = tmp_path / "python", tmp_path / "pid"
    script.write_text(f"#!/bin/sh\necho $$ > {note}\nexec sleep 100\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))

    def look() -> bool:
        begun = note.is_file() and bool(note.read_text())
        if begun and fails:
            raise OSError("full")
        return not begun

    if fails:
        with pytest.raises(OSError, match="full"):
            subruns.run_watched(["train"], look)
    else:
        assert not subruns.run_watched(["train"], look)
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)


def request(**changes: Any) -> judge.PeerRequest:
    about: dict[str, Any] = {"peer": "sac", "env": POINT, "goal": True, "target": SUCCESS, "seed": 0, "threads": 1}
    about |= {"device": "cpu", "goals": 5, "first_s": 10.0, "spacing": 2.0, "limit_s": 100.0}
    return judge.PeerRequest(**{**about, **changes})


def test_others_are_measured_at_growing_times_that_do_not_count(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = judge.Judge(request(), tmp_path / "curve.json", clock.now)
    real = judge.measure

    def slowly(*arguments: Any) -> Score:
        clock.now += 1000.0
        return real(*arguments)

    monkeypatch.setattr(judge, "measure", slowly)
    bad, good = PolicyActor(Still()), PolicyActor(Straight())
    for steps in range(10, 80, 10):
        clock.now += 5.0
        one.check(steps)
        one.look(bad, steps)
    assert [(p.time_s, p.steps) for p in one.curve.points] == [(10.0, 20), (20.0, 40)]
    clock.now += 5.0
    with pytest.raises(judge.Over):
        one.look(good, 80)
    one.end(good, 80, {"parameters": 3})
    found = Curve.load(tmp_path / "curve.json")
    assert found.end == "reached" and found.time_s == 40.0 and found.points[-1].success == 1.0
    clock.now += 100.0
    with pytest.raises(judge.Over):
        one.check(81)


def test_others_may_be_measured_after_so_many_steps_instead(clock: Clock, tmp_path: Path) -> None:
    asked = request(target=None, marks=(20, 50), limit_steps=50)
    one = judge.Judge(asked, tmp_path / "curve.json", clock.now)
    for steps in (10, 20, 30, 40, 50):
        clock.now += 50.0 if steps < 40 else 1e-3
        one.look(PolicyActor(Straight()), steps)
    assert [p.steps for p in one.curve.points] == [20, 50]
    with pytest.raises(judge.Over):
        one.check(50)
    one.end(PolicyActor(Straight()), 50, {})
    assert Curve.load(tmp_path / "curve.json").end == "limit" and len(one.curve.points) == 2


class Peer:
    """Leaves the curve that it is told to."""

    def __init__(self, *times: float | None) -> None:
        self.times, self.calls = list(times), list[judge.PeerRequest]()

    def __call__(self, asked: judge.PeerRequest, folder: Path) -> None:
        self.calls.append(asked)
        taken = self.times[(len(self.calls) - 1) % len(self.times)]
        (folder / "request.json").write_text(json.dumps({"request": plain(asked)}))
        at = asked.limit_s if taken is None else taken
        points = (Point(1.0, 10, 0.0, 0.0, None, 5), Point(at, 900, 0.0 if taken is None else 1.0, 950.0, None, 5))
        Curve(points, "limit" if taken is None else "reached", at, 900, {"package": "p 1"}).save(folder / "curve.json")


def runners(runner: Runner, peer: Any = None) -> race.Runners:
    return race.Runners(runner, peer or Peer(100.0), lambda count, arguments: None)


def settings(**changes: Any) -> ControlBench:
    return ControlBench(**{"parts": ("race",), "seeds": (0, 1), "goals": 10, "limit_s": 200.0, **changes})


def test_the_race_compares_seed_by_seed_with_the_best_of_the_others(
    runner: Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(race, "available", lambda config: (["sac", "tdmpc2"], ["left out: nobody"]))
    peer = Peer(90.0, None, 120.0, 80.0)  # sac and tdmpc2 of seed 0, then of seed 1
    found = control.run(settings(races=("panda_push", "fetch_reach")), runners(runner, peer))
    (claim,) = found.claims  # FetchReach is a smoke test
    assert claim.claim == (
        "panda_push: time to 0.95 success over the best of SAC + HER, TD-MPC2, median of 2 seed(s)"
    )
    assert claim.value == pytest.approx((30 / 90 + 30 / 80) / 2) and not claim.met
    lines = {(r["task"], r["controller"]): r for r in found.rows if r["table"] == race.SUMMARY}
    assert lines["panda_push", "LoopWM"]["time_s"] == 30.0 and lines["panda_push", "LoopWM"]["reached"] == "2 of 2"
    assert lines["panda_push", "TD-MPC2"]["time_s"] == "not within 200 s"
    sac = [one for one in peer.calls if one.peer == "sac"]
    assert all(one.env.reward == "sparse" for one in sac) and sac[0].goal and sac[0].limit_s == 200.0
    assert all(one.env.reward == "dense" for one in peer.calls if one.peer == "tdmpc2")
    assert runner.calls[0][:3] == ["train", *RACES["panda_push"].settings[:2]]
    assert {"env=panda_push", "seed=0", "train.threads=2"} <= set(runner.calls[0])
    calls = len(runner.calls), len(peer.calls)
    again = control.run(settings(races=("panda_push",), seeds=(0,)), runners(runner, peer))
    assert (len(runner.calls), len(peer.calls)) == calls and again.rows == found.rows  # the page keeps all there is
    assert found.notes[-1] == "left out: nobody"
    assert all(figure.draw(tmp_path / "figure.png").stat().st_size > 1000 for figure in found.figures)


def outcome(controller: str, time_s: float, reached: bool, seed: int = 0, task: str = "panda_push") -> Row:
    return {"task": task, "controller": controller, "seed": seed, "reached": reached, "time_s": time_s, "limit_s": 60.0}


def test_who_does_not_get_there_has_taken_the_limit() -> None:
    behind = [outcome("LoopWM", 55.0, False), outcome("SAC + HER", 30.0, True)]
    ahead = [outcome("LoopWM", 12.0, True), outcome("SAC + HER", 58.0, False)]
    nobody = [outcome("LoopWM", 12.0, False), outcome("SAC + HER", 58.0, False)]
    values = [race.race_claims(rows)[0].value for rows in (behind, ahead, nobody)]
    assert values == [2.0, 0.2, 1.0]
    assert race.race_claims([outcome("LoopWM", 12.0, True)]) == []
    assert race.race_claims([*ahead, outcome("LoopWM", 1.0, True, 1)])[0].value == 0.2  # a seed that only we ran


def test_a_peer_that_was_interrupted_begins_anew_and_another_request_is_refused(tmp_path: Path) -> None:
    folder, peer = tmp_path / "sac_seed_0", Peer(50.0)
    folder.mkdir()
    Curve((Point(1.0, 10, 0.0, 0.0, None, 5),)).save(folder / "curve.json")
    assert race.peer_curve(request(), folder, peer).end == "reached" and len(peer.calls) == 1
    race.peer_curve(request(), folder, peer)
    assert len(peer.calls) == 1
    with pytest.raises(RequestError, match="was made with another goals; choose another folder with runs=FOLDER"):
        race.peer_curve(request(goals=6), folder, peer)


def test_who_is_not_installed_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race.importlib.util, "find_spec", lambda name: None)
    found, notes = race.available(ControlBench())
    assert found == [] and "pip install stable-baselines3" in notes[0] and "give tdmpc2=PATH" in notes[1]


def test_unseen_arms_are_off_by_no_more_than_they_may_be_and_always_the_same(tmp_path: Path) -> None:
    arms, nominal = transfer.unseen(0.3, 50), transfer.NOMINAL
    assert arms[:20] == transfer.unseen(0.3, 20) and len(set(arms)) == 50
    for name in ("payload", "friction", "damping"):
        off = [getattr(arm, name) / getattr(nominal, name) - 1 for arm in arms]
        assert max(map(abs, off)) <= 0.3 and min(off) < -0.2 and max(off) > 0.2
    assert {arm.delay for arm in arms} == {1, 2, 3}
    of_training, tests = transfer.arm_files(ControlBench(arms=3, tuned_arms=1, runs=str(tmp_path)))
    assert all(read_ranges(of_training[transfer.RANDOM]).contains(arm) for arm in arms)
    assert [read_ranges(file).sample(np.random.default_rng(0)) for file in tests] == arms[:3]
    assert read_ranges(of_training[transfer.FIXED]).sample(np.random.default_rng(0)) == nominal


def test_transfer_trains_tests_and_tunes(runner: Runner) -> None:
    found = control.run(settings(parts=("transfer",), seeds=(0,), arms=2, tuned_arms=1), runners(runner))
    fixed, randomised, collected, tuned = runner.calls
    assert "env.randomize=runs/bench_control/transfer/arms_0.3/nominal.yaml" in fixed
    assert "env.randomize=runs/bench_control/transfer/arms_0.3/randomised.yaml" in randomised
    assert collected[0] == "collect" and "collect.episodes=60" in collected
    assert {"train=finetune", "init=runs/bench_control/transfer/randomised_seed_0"} <= set(tuned)
    assert any(text.startswith("data=") for text in tuned) and any(text.startswith("old_data=") for text in tuned)
    assert sum(row["table"] == transfer.ARMS for row in found.rows) == 6
    assert [claim.value for claim in found.claims] == [1.0]  # nothing was lost, so nothing can be brought back


def test_claims_of_transfer() -> None:
    def arm(name: str, success: float) -> Row:
        return {"trained on": transfer.RANDOM, "seed": 0, "arm": name, "success": success}

    arms = [arm("nominal", 0.8), arm("arm_00", 0.4), arm("arm_01", 0.8)]
    tuned: list[Row] = [{"seed": 0, "success before": 0.4, "success after": 0.7}]
    kept, closed = transfer.transfer_claims(arms, tuned)
    assert kept.value == pytest.approx(0.75) and not kept.met
    assert closed.value == pytest.approx(0.75) and closed.met
    assert transfer.transfer_claims([], tuned) == []


@pytest.mark.parametrize("steps", [500, 800, 20_000, 100_000, 500_000])
def test_a_budget_of_steps_is_used_up_and_not_exceeded(steps: int) -> None:
    values = {key: int(value) for key, value in (text.split("=") for text in metaworld.budget(steps, 0.25))}
    between = values["train.rounds"] - 1
    episodes = values["collect.episodes"] + values["train.held_out"] + between * values["train.episodes_per_round"]
    assert episodes * metaworld.EPISODE == steps and values["train.buffer_size"] > steps
    assert values["train.rounds"] * values["train.updates_per_round"] == pytest.approx(0.25 * steps, rel=0.05)


def test_meta_world_stands_beside_what_was_published(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, target in (("TD-MPC2", (0.60, 0.90)), ("SAC", (0.07, 0.36)), ("DreamerV3", (0.10, 0.32))):
        means = [np.mean(published.PUBLISHED[name][steps]) for steps in (100_000, 500_000)]
        assert means == pytest.approx(target, abs=0.006)
    monkeypatch.setattr(race, "available", lambda config: ([], []))
    config = settings(parts=("metaworld",), seeds=(0,), metaworld=("reach", "push"), steps=(20_000, 100_000))
    found = control.run(config, runners(runner))
    lines = {(r["steps"], r["controller"]): r for r in found.rows if r["table"] == metaworld.TABLE}
    assert lines[100_000, "LoopWM"]["reach"] == 1.0 and "mean" not in lines[100_000, "LoopWM"]
    assert lines[100_000, "TD-MPC2, published"]["mean"] == pytest.approx(0.6)
    assert (20_000, "TD-MPC2, published") not in lines and not found.claims
    missing = "Meta-World, not run for 100000 steps: pick_place, drawer_open, door_open, peg_insert_side, button_press."
    assert missing in found.notes
    config = settings(parts=("metaworld",), seeds=(0,), steps=(100_000,))
    (claim,) = control.run(config, runners(runner)).claims
    assert claim.target == 0.7 and claim.value == 1.0 and "seven tasks after 100000 steps" in claim.claim


def test_tasks_stand_beside_td_mpc2_and_the_worst_seed_counts(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race, "available", lambda config: (["tdmpc2"], []))

    def true_model(config: ControlBench, task: str, several: race.Runners) -> list[Row]:
        return [{"table": tasks.TABLE, "task": task, "controller": tasks.TRUE, "seed": 0, "success": 0.5}]

    monkeypatch.setattr(tasks, "true_model", true_model)
    config = settings(parts=("tasks",), seeds=(0, 1), tasks=("panda_peg_insert",))
    found = control.run(config, runners(runner, Peer(None)))
    rows = [row for row in found.rows if row["table"] == tasks.TABLE]
    assert [row["controller"] for row in rows] == ["LoopWM", "LoopWM", "TD-MPC2", "TD-MPC2", "true model"]
    (claim,) = found.claims
    assert claim.claim == "panda_peg_insert: success, worst of 2 seed(s)" and claim.value == 1.0 and claim.met


def test_one_model_for_all_stands_beside_one_for_each(runner: Runner) -> None:
    config = settings(parts=("together",), seeds=(0, 1), together=("panda_reach", "ur5e_reach"))
    found = control.run(config, runners(runner))
    rows = [row for row in found.rows if row["table"] == together.TABLE]
    shared = [row for row in rows if row["model"] == together.ONE]
    assert [row["seed"] for row in shared] == [0, 0, 1, 1] and len(rows) == 8 and together.NOTE in found.notes
    assert "env=panda_reach" in runner.calls[0] and "envs=[panda_reach,ur5e_reach]" in runner.calls[2]
    (claim,) = found.claims
    assert claim.value == 0.0 and claim.met and "one model for 2 environments" in claim.claim
    shared[0]["success"], shared[2]["success"] = 0.8, 0.98
    (claim,) = together.together_claims(rows)
    assert claim.value == pytest.approx(10.0) and not claim.met
    assert together.together_claims(shared) == []


def test_data_parallel_speed_is_over_what_the_cores_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = ((64, 0, 1, 10.0), (64, 0, 2, 17.0), (64, 0, 4, 12.0), (32, 0, 1, 5.0), (32, 1, 2, 6.0), (32, 0, 2, 7.0))
    rows: list[Row] = [
        {"batch": batch, "seed": seed, "processes": n, "cores": 2, "updates a second": rate}
        for batch, seed, n, rate in (*rates, (32, 1, 1, 5.0), (32, 2, 2, 1.0))  # the last one has none to compare with
    ]
    found = ddp.ddp_claims(rows)
    assert [(round(claim.value, 6), claim.met) for claim in found] == [(0.65, False), (0.85, True), (0.6, False)]
    assert found[0].spread == pytest.approx(0.1) and found[0].claim.startswith("batches of 32 sequences: ")
    assert ddp.ddp_claims([*rows[1:3], {"processes": 2, "cores": 2, "updates a second": 1.0}]) == []


@pytest.mark.slow
def test_collectors_are_counted_over_what_the_cores_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = ((0, 1.7), (1, 1.6), (2, 2.88), (4, 1.6))
    rows: list[Row] = [{"collectors": n, "cores": 2, "episodes a second": rate} for n, rate in rates]
    assert [(claim.value, claim.met) for claim in collectors.collector_claims(rows)] == [
        (pytest.approx(0.9), True),
        (0.5, False),
    ]
    (row,) = collectors.timed(settings(collected=1), 0)
    assert row["episodes"] == 1 and row["episodes a second"] > 0


def test_an_experiment_makes_no_claims(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race, "available", lambda config: (["sac"], []))
    found = control.run(settings(experiment="smoke", races=("panda_push",)), runners(runner))
    assert not found.claims and runner.calls[0][1] == "experiment=smoke" and "none is made" in found.notes[-1]


def test_trainings_can_be_composed_and_are_about_the_environments_that_others_get() -> None:
    for name, one in RACES.items():
        config = compose("train", [*one.settings, f"env={name}"], TrainCommand)
        assert config.env == one.env
        value = config.model.actor_critic
        assert not value.enabled or value.discount == config.planner.discount
    every = compose("train", [*together.SETTINGS, f"envs=[{','.join(TOGETHER)}]"], TrainCommand)
    assert len(every.envs) == len(TOGETHER) == 12
    for name, env in tasks.ENVS.items():
        assert compose("train", [*tasks.SETTINGS, f"env={name}"], TrainCommand).env == env
    for name in published.METAWORLD:
        settings = [*NEAR, *metaworld.budget(20_000, 0.25), f"env=metaworld_{name}"]
        assert compose("train", settings, TrainCommand).env == metaworld.env_of(name)
    quick = control.QUICK["experiment"]
    assert compose("train", [f"experiment={quick}", "env=metaworld_reach"], TrainCommand).train.rounds == 2
    config = compose("train", [*transfer.CONTEXT, f"env={transfer.ENV}"], TrainCommand)
    assert (config.env.id, config.model.context) == (transfer.ID, 10)


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("races=[ur5e]", "races is ['ur5e'], allowed different ones of panda_reach, panda_push, fetch_push"),
        ("spacing=1", "spacing is 1.0, allowed > 1"),
        ("arms=3", "arms is 3, allowed >= 2 and >= tuned_arms = 5"),
        ("steps=[5,3]", "steps is [5, 3], allowed one or more, ascending, each >= 1"),
        ("tdmpc2=nowhere", "tdmpc2 is 'nowhere', which has no tdmpc2/tdmpc2.py"),
        ("her_reward=none", "her_reward is 'none', allowed sparse, dense"),
    ],
)
def test_a_wrong_request_gives_one_line(argument: str, line: str, capsys: Any, tmp_path: Path) -> None:
    assert main(["bench", "control", argument, f"out={tmp_path}"]) == 2
    assert line in capsys.readouterr().err
