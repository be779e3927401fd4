"""The benchmark of the environments measures what it says, and would notice what goes wrong."""

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from envs import PushEnv, ReachEnv
from loopwm_robot.bench import envs as bench
from loopwm_robot.bench.envs import checks, experts, images, pairs, peers, speed
from loopwm_robot.bench.envs.config import PARTS, EnvsBench
from loopwm_robot.cli.main import main

REACH = "LoopWM/PandaReach-v0"
TINY = ["seeds=[0]", "steps=5", "num_envs=[2]", "batch_steps=2", "frames=2"]


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other packages, one task and one arm."""
    monkeypatch.setattr(speed, "PEERS", ())
    monkeypatch.setattr(images, "PEERS", ())
    monkeypatch.setattr(pairs, "PEERS", ())
    for module in (speed, pairs, bench):
        monkeypatch.setattr(module, "TASKS", ("Reach",))
    for module in (bench, checks):
        monkeypatch.setattr(module, "our_ids", lambda arms: [REACH])


def measured(folder: Path, monkeypatch: pytest.MonkeyPatch, *parts: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Rows by table, and whether each claim is met."""
    for module in (bench, checks):
        monkeypatch.setattr(module, "CONTROL_MODES", ("joint_delta",))
    few = ["determinism_steps=3", "stability_steps=4", "episodes=1", "arms=[panda]", f"parts=[{','.join(parts)}]"]
    few.append(f"runs={folder / 'runs'}")
    assert main(["bench", "envs", *TINY, *few, f"out={folder}"]) == 0
    values = json.loads((folder / "envs.json").read_text(encoding="utf-8"))
    tables: dict[str, list[dict[str, Any]]] = {}
    for row in values["rows"]:
        tables.setdefault(row["table"], []).append(row)
    return tables, {claim["claim"]: claim["met"] for claim in values["claims"]}


@pytest.mark.slow
def test_bits_and_pictures_are_compared(tmp_path: Path, alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    tables, met = measured(tmp_path, monkeypatch, "determinism", "images")
    (bits,) = tables["details: control modes with any bit different"]
    assert bits["native"] and bits["in_another_process"] == bits["one_of_many"] == 0
    assert met["trajectories with any bit different as one of many, of 1"]
    assert [row["pixels"] for row in tables.get("pictures of reaching", [])] in ([64, 128], [])


def test_speed_and_sanity_give_rows_and_claims(tmp_path: Path, alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    tables, met = measured(tmp_path, monkeypatch, "speed", "stability", "solvability")
    (one,) = tables["one environment, one core"]
    assert one["id"] == REACH and 0 < one["slowest_repeat"] <= one["steps_per_second"]
    many = tables["2 environments at once"]
    assert {row["control_mode"] for row in many} == {"joint_delta", "cartesian_delta"}
    for row in many:
        assert row["share_fraction"] == pytest.approx(row["steps_per_second"] / row["physics_alone"], rel=1e-4)
    (shaken,) = tables["details: random actions"]
    assert shaken["steps"] == 4 and shaken["warnings"] == shaken["not_finite"] == 0
    (solved,) = tables["details: episodes solved by a script"]
    assert (solved["script"], solved["episodes"], solved["solved"]) == ("Straight", 1, 1)
    assert met["warnings of MuJoCo, of 4 random control steps"]
    assert (tmp_path / "images" / "envs_speed.png").is_file()


def test_peers_that_are_not_installed_are_named(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = peers.Peer("no-such-package", {"Reach": "x"}, peers.ours)
    broken = peers.Peer("numpy", {"Reach": "NoSuchEnv-v0"}, peers.ours)
    monkeypatch.setattr(speed, "PEERS", (absent, broken))
    rates, notes = speed.single(EnvsBench(seeds=(0,), steps=3), lambda: None)
    assert list(rates) == [(speed.OURS, "Reach", "25"), (speed.OURS, "Reach", "20")]  # numpy's is there, but broken
    assert notes[0] == "no-such-package is not installed and was left out."
    assert notes[1].startswith("NoSuchEnv-v0 of numpy was left out: ")


def test_a_peer_is_compared_where_it_is_there(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "PEERS", peers.PEERS[:1])
    rates, notes = speed.single(EnvsBench(seeds=(0, 1), steps=3), lambda: None)
    assert notes == [] and all(len(values) == 2 for values in rates.values())
    theirs = rates["gymnasium-robotics", "Reach", "20"]
    (claim,) = bench.speed_claims(rates, {}, {}, {})
    expected = [mine / other for mine, other in zip(rates[speed.OURS, "Reach", "20"], theirs, strict=True)]
    assert claim.value == pytest.approx(np.median(expected)) and claim.claim.startswith("Reach, one core, one alone")


@pytest.mark.slow
def test_on_two_cores_others_have_two_processes(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "usable_cores", lambda: 2)
    broken = peers.Peer("numpy", {"Reach": "NoSuchEnv-v0"}, peers.ours)
    monkeypatch.setattr(pairs, "PEERS", (peers.PEERS[0], broken))
    rates, notes = pairs.pair_rates(EnvsBench(seeds=(0, 1), steps=20), lambda: None)
    ((key, theirs),) = rates.items()
    assert key == ("gymnasium-robotics", "Reach", "20") and len(theirs) == 2 and min(theirs) > 0
    assert notes[0].startswith("NoSuchEnv-v0 of numpy was left out on 2 cores: ")
    many = {("Reach", "joint_delta", "2", "20", "64"): [3 * rate for rate in theirs]}
    (claim, *_) = bench.speed_claims({}, rates, many, {("Reach", "joint_delta", "2", "20", "64"): [0.9]})
    assert claim.claim.startswith("Reach, two cores, 64 at once") and claim.value == pytest.approx(3.0)
    monkeypatch.setattr(pairs, "usable_cores", lambda: 1)
    assert pairs.pair_rates(EnvsBench(), lambda: None) == ({}, [])


def test_a_trajectory_with_another_bit_has_another_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    first = checks.digest(REACH, "joint_delta", 5, 0)
    assert first == checks.digest(REACH, "joint_delta", 5, 0)
    assert first == checks.digests_of_many(REACH, "joint_delta", 5, (0, 1), 1)[0]
    assert first != checks.digest(REACH, "joint_delta", 5, 1) != checks.digest(REACH, "cartesian_delta", 5, 1)
    judge = ReachEnv.judge

    def almost(self: ReachEnv, *goals: Any) -> Any:
        reward, info = judge(self, *goals)
        return np.nextafter(reward, 1.0), info

    monkeypatch.setattr(ReachEnv, "judge", almost)
    assert first != checks.digest(REACH, "joint_delta", 5, 0)


def test_digests_agree_over_the_ends_of_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = ("envs.tasks.reach:ReachEnv", "envs.vectorized:tasks.reach.ReachEnv")
    gym.register("LoopWM/Short-v0", entries[0], max_episode_steps=3, vector_entry_point=entries[1])
    try:
        for native in (True, False):
            monkeypatch.setattr(ReachEnv, "batched", native)
            many = checks.digests_of_many("LoopWM/Short-v0", "joint_delta", 8, (4, 2), 1)
            assert many == [checks.digest("LoopWM/Short-v0", "joint_delta", 8, seed) for seed in (4, 2)]
    finally:
        del gym.registry["LoopWM/Short-v0"]


def test_things_deep_in_one_another_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "DEEP", -1.0)  # every contact is
    row = checks.stability("LoopWM/PandaPush-v0", "cartesian_delta", 10)
    assert row["deep_for_long"] == 10 - checks.LONG
    monkeypatch.setattr(PushEnv, "vector_observation", lambda self: np.full(40, np.nan, np.float32))
    assert checks.stability("LoopWM/PandaPush-v0", "cartesian_delta", 2)["not_finite"] == 2


@pytest.mark.parametrize("task", ("Reach", "ReachAvoid", "Push", "PickAndPlace"))
def test_the_scripts_solve(task: str) -> None:
    row = experts.solve(f"LoopWM/Panda{task}-v0", 1, lambda: None)
    assert row is not None and row["solved"] == 1


def test_a_task_without_a_script_has_none() -> None:
    class Bare(PushEnv):
        script = None

    env = Bare()
    assert experts.expert(ReachEnv(control_mode="cartesian_delta")) is not None
    env.script = lambda: "its own"  # type: ignore[assignment]
    assert experts.expert(env) == "its own"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parts": ("speed", "x")}, f"parts has 'x', allowed {', '.join(PARTS)}"),
        ({"seeds": (1, 1)}, "different ones"),
        ({"arms": ()}, "arms is empty"),
        ({"frames": 0}, "frames is 0, allowed >= 1"),
    ],
)
def test_wrong_settings_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EnvsBench(**change)


def test_a_picture_on_which_nothing_is_to_be_seen_is_told() -> None:
    class Blank:
        nu = 1

        def reset(self, seed: int) -> None:
            pass

        def step(self, action: np.ndarray) -> bool:
            return False

        def picture(self, size: int) -> np.ndarray:
            return np.full((size, size, 3), 7, np.uint8)

        def close(self) -> None:
            pass

    with pytest.raises(RuntimeError, match="one colour"):
        images.image_rate(Blank(), 8, 2, 0)
