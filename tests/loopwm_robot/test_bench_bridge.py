"""The benchmark of the bridge: what it starts, what it makes of the recordings, and one short run of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hardware import Audit, Event, JointLimits
from hardware.records import record_dtype
from loopwm_robot.bench import bridge as bench
from loopwm_robot.bench.bridge import parity, reaches
from loopwm_robot.bench.bridge.delay import follow
from loopwm_robot.bench.bridge.paths import PATHS, SERVO_STEP
from loopwm_robot.bench.subruns import RunFailed
from loopwm_robot.cli.compose import compose
from loopwm_robot.cli.main import main
from loopwm_robot.config import TrainCommand
from loopwm_robot.deploy.arm_config import arm_file
from loopwm_robot.deploy.record import save_recording
from loopwm_robot.deploy.result import DeployResult
from loopwm_robot.errors import RequestError

LATE_S = 0.04


def recorded(folder: Path, wins: int, fault: str = "") -> None:
    """What a run on one joint leaves behind: it follows 40 ms late."""
    t = np.arange(500) * 0.004
    records = np.zeros(len(t), dtype=record_dtype(1))
    records["t"], records["sent"], records["tick"] = t, True, np.arange(len(t))
    records["applied"], records["q"] = np.sin(5.0 * t)[:, None], np.sin(5.0 * (t - LATE_S))[:, None]
    limits = JointLimits(("a",), *(np.array([x]) for x in (-2.0, 2.0, 9.0, 99.0, 9.0)), source="test")
    events = [Event(1, 0.0, "fault", fault)] if fault else []
    result = DeployResult([], 0.05, np.ones(1), 1, 1, 0, {}, Audit(0, 0, 0, 0, 0, 0, 0), limits, records, events)
    folder.mkdir(parents=True)
    save_recording(folder, result)
    arrays = dict(np.load(folder / "bridge.npz"))
    arrays |= {"success": np.arange(2) < wins, "final_distance": np.full(2, 0.01)}
    np.savez(folder / "bridge.npz", **arrays)


class Runner:
    """Leaves what `loopwm train` and `loopwm deploy` would."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.wins = 2
        self.fails: int | None = None
        self.interrupted = False

    def __call__(self, arguments: Sequence[str]) -> None:
        self.calls.append(list(arguments))
        keys = dict(text.split("=", 1) for text in arguments[1:])
        folder = Path(keys.get("out") or keys["resume"])
        if self.interrupted:
            folder.mkdir(parents=True)
            (folder / "config.yaml").write_text("{}")
            raise KeyboardInterrupt
        if arguments[0] == "deploy":
            recorded(folder, self.wins, "following_error" if self.fails == 1 else "")
        if self.fails is not None and arguments[0] == "deploy":
            raise RunFailed(arguments, self.fails)
        folder.mkdir(parents=True, exist_ok=True)
        summary = {"limit_violations": 0, "slowed_fraction": 0.01, "deadline_misses": 3}
        (folder / "summary.json").write_text(json.dumps(summary))


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Runs nothing; emulators do not run either."""

    @contextmanager
    def stand_in(path: Any) -> Any:
        yield arm_file(path.name), dict(path.address or {})

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reaches, "reachable", stand_in)
    return Runner()


def config(**settings: Any) -> bench.BridgeBench:
    return bench.BridgeBench(**{"seeds": (0,), "goals": 2, "parts": ("reaches",), **settings})


def test_each_path_is_trained_and_driven_as_a_user_does(runner: Runner) -> None:
    found = bench.run(config(), runner)
    assert [call[0] for call in runner.calls] == ["train", "deploy", "deploy", "train", "deploy", "train", "deploy"]
    assert runner.calls[0] == ["train", "env=panda_reach", "seed=0", "out=runs/bench_bridge/panda_reach_seed_0"]
    assert runner.calls[4] == [
        *("deploy", "arm=ur5e", "env=ur5e_reach", "checkpoint=runs/bench_bridge/ur5e_reach_seed_0", "deploy.goals=2"),
        *("seed=0", "out=runs/bench_bridge/ur5e_seed_0_goals_2", "deploy.allow_motion=true"),
        "arm.driver_kwargs={host: '127.0.0.91'}",
    ]
    assert not any("allow_motion" in text for text in runner.calls[1])  # the simulated arm needs no consent
    assert all(claim.met for claim in found.claims) and len(found.claims) == 16
    again = bench.run(config(), runner)
    assert len(runner.calls) == 7 and again.rows == found.rows
    tracking = [row for row in found.rows if row["table"] == "tracking of the commands"]
    assert all(row["delay_s"] == pytest.approx(LATE_S) and row["max_rad"] < 1e-3 for row in tracking)
    assert all(figure.draw(Path("figure.png")).stat().st_size > 1000 for figure in found.figures)


def test_a_fault_is_a_result_and_a_refusal_is_none(runner: Runner) -> None:
    runner.fails, runner.wins = 1, 1
    found = bench.run(config(paths=("ur5e",)), runner)
    claims = {claim.claim: (claim.value, claim.met) for claim in found.claims}
    assert claims == {
        "ur5e: success on 2 goals, worst of 1 seed(s)": (0.5, False),
        "ur5e: faults": (1.0, False),
    }
    assert found.notes[-1] == "ur5e, seed 0, ended in a fault: following_error."
    runner.fails = 2
    with pytest.raises(RunFailed, match="status 2"):
        bench.run(config(paths=("fr3",)), runner)


def test_an_interrupted_training_goes_on_and_an_interrupted_run_begins_anew(runner: Runner) -> None:
    runner.interrupted = True
    with pytest.raises(KeyboardInterrupt):
        bench.run(config(paths=("fr3",)), runner)
    runner.interrupted = False
    Path("runs/bench_bridge/fr3_seed_0_goals_2").mkdir()
    bench.run(config(paths=("fr3",)), runner)
    assert runner.calls[1] == ["train", "resume=runs/bench_bridge/fr3_reach_seed_0"]
    assert "out=runs/bench_bridge/fr3_seed_0_goals_2_2" in runner.calls[2]


def test_a_checkpoint_is_taken_where_it_is_said_to_be(runner: Runner) -> None:
    folder = Path("mine/ur5e_reach_0")
    folder.mkdir(parents=True)
    (folder / "checkpoint.safetensors").touch()
    bench.run(config(paths=("ur5e",), checkpoint="mine/{env}_{seed}"), runner)
    assert [call[0] for call in runner.calls] == ["deploy"] and f"checkpoint={folder}" in runner.calls[0]
    with pytest.raises(RequestError, match="mine/fr3_reach_0 does not exist; train with: loopwm train env=fr3_reach"):
        bench.run(config(paths=("fr3",), checkpoint="mine/{env}_{seed}"), runner)
    with pytest.raises(RequestError, match=r"allowed with \{seed\} in it for several seeds"):
        bench.run(config(seeds=(0, 1), checkpoint="mine/{env}"), runner)


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("goals=0", "goals is 0, allowed [1, 1000]"),
        ("paths=[so101]", "paths is ['so101'], allowed one or more of panda_sim, panda_dynamixel, ur5e, fr3"),
        ("checkpoint={arm}", "checkpoint is '{arm}', allowed {env} and {seed} in it: 'arm'"),
    ],
)
def test_a_wrong_request_gives_one_line(argument, line, capsys, tmp_path):
    assert main(["bench", "bridge", argument, f"out={tmp_path}"]) == 2
    assert line in capsys.readouterr().err


def test_delay_and_what_is_left_are_found_for_motions_read_at_other_times():
    t, rng = np.arange(0.0, 4.0, 0.01), np.random.default_rng(0)
    later_t = np.sort(np.concatenate([t + rng.uniform(0.0, 0.004, t.size), t]))
    later_t[1::7] = later_t[:-1:7]  # read twice

    def path(s):
        return np.stack([np.sin(3.0 * s), np.cos(2.0 * s)], axis=1)

    found = follow(t, path(t), later_t, path(later_t - 0.083) + np.array([0.0, 0.002]))
    assert found.delay == pytest.approx(0.083) and 1e-3 < found.rms < found.greatest
    assert found.greatest == pytest.approx(0.002, abs=2e-4)
    with pytest.raises(ValueError, match=r"allowed more than 0\.6 s"):
        follow(t[:20], path(t[:20]), t[:20], path(t[:20]))
    with pytest.raises(ValueError, match=r"within 0\.01 rad"):
        follow(t, path(0.0 * t), t, path(0.0 * t))


def test_the_fixed_plan_is_smooth_and_inside_the_limits_of_every_arm():
    for path in PATHS.values():
        arm = arm_file(path.name)
        bridge: Any = SimpleNamespace(now=lambda: 0.0, make_plan=lambda q, dq, **settings: (q, dq))
        q, dq = parity.fixed_plan(bridge, np.array(arm.home))  # type: ignore[misc]
        limits = arm.limits
        assert (np.abs(dq) < 0.5 * limits.dq_max).all() and (q > limits.q_min).all() and (q < limits.q_max).all()
        assert (np.abs(np.diff(dq, axis=0)) / parity.PLAN_DT < 0.6 * limits.ddq_max).all()
        np.testing.assert_allclose(np.gradient(q, parity.PLAN_DT, axis=0)[1:-1], dq[1:-1], atol=0.01)


@pytest.mark.slow
def test_a_servo_bus_carries_the_plan_as_the_simulated_arm_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("dynamixel_sdk")
    path = PATHS["panda_dynamixel"]
    row = parity.parity_row(path, tmp_path)
    assert row["greatest_difference_rad"] < 10 * SERVO_STEP and 0.0 <= row["delay_s"] < 0.1
    monkeypatch.setattr(parity, "ride", None)  # what is measured is not measured again
    assert parity.parity_row(path, tmp_path) == row


def test_the_quick_form_trains_with_settings_that_training_has():
    overrides = [f"experiment={bench.QUICK['experiment']}", "env=panda_reach"]
    assert compose("train", overrides, TrainCommand).train.rounds == 2
