"""Datasets in and out: what was written is read, what cannot be used is refused by file, episode and step."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from point_env import PointEnv

from loopwm_robot.checkpoint import Spaces
from loopwm_robot.data import datasets
from loopwm_robot.data.buffer import ReplayBuffer
from loopwm_robot.data.collect import ExplorationPolicy, run_episode
from loopwm_robot.data.datasets import about, read_dataset, split, write_dataset
from loopwm_robot.data.recorded import DatasetError, check_recorded
from loopwm_robot.errors import RequestError
from loopwm_robot.training.explore import reward_function
from loopwm_robot.types import Episode

SPACES = Spaces("LoopWM/Point-v0", "joint_delta", 3, 2, 2, 0.1, (0, 2))
NEEDS = {"minari": ("minari", "h5py"), "lerobot": ("pyarrow",), "npz": ()}
ORDER = ("obs", "action", "reward", "achieved", "goal", "terminated")


def make(count: int = 4) -> tuple[list[Episode], gym.Env[Any, Any]]:
    env = gym.wrappers.TimeLimit(PointEnv(10**9), 10)
    env.unwrapped.spec = gym.envs.registration.EnvSpec(SPACES.env_id, "point_env:PointEnv", max_episode_steps=10)
    policy = ExplorationPolicy(2, np.random.default_rng(0))
    episodes = [run_episode(env, policy, i)[0] for i in range(count)]
    return [replace(e, env_id=SPACES.env_id) for e in episodes], env


def write(folder: Path, form: str, episodes: list[Episode], env: gym.Env[Any, Any], spaces: Spaces = SPACES) -> Path:
    for name in NEEDS[form]:
        pytest.importorskip(name)
    if form != "npz":
        return write_dataset(folder, form, episodes, env, about(spaces))
    buffer = ReplayBuffer(1000, *spaces.sizes)
    for episode in episodes:
        buffer.add(episode)
    folder.mkdir(parents=True, exist_ok=True)
    buffer.save(folder / "episodes.npz", about(spaces))
    return folder


def same(a: Episode, b: Episode, steps: int) -> None:
    for name in ORDER:
        mine, theirs = getattr(a, name), getattr(b, name)
        if name != "goal":
            rows = steps + (name in ("obs", "achieved"))
            mine, theirs = mine[:rows], theirs[:rows]
        assert np.array_equal(mine, theirs), name
    assert a.ctrl_dt == b.ctrl_dt and a.env_id == b.env_id


@pytest.mark.parametrize("form, steps", [("npz", 10), ("minari", 10), ("lerobot", 9)])
def test_what_was_written_is_read(tmp_path: Path, form: str, steps: int) -> None:
    """LeRobot's frames have no observation after the last action: one transition less."""
    episodes, env = make()
    path = write(tmp_path / "run", form, episodes, env)
    again = read_dataset(path, SPACES, None)
    assert len(again) == 4 and all(len(episode) == steps for episode in again)
    for before, after in zip(episodes, again, strict=True):
        same(before, after, steps)
        assert after.truncated.tolist() == [False] * (steps - 1) + [True]


def test_minari_itself_reads_what_was_written(tmp_path: Path) -> None:
    episodes, env = make()
    path = write(tmp_path / "run", "minari", episodes, env)
    import minari

    dataset = minari.MinariDataset(path / "data")
    assert dataset.total_episodes == 4 and dataset.total_steps == 40 and dataset.id == "loopwm-point/random-v0"
    assert dataset.env_spec.id == SPACES.env_id
    (first,) = dataset.iterate_episodes([0])
    assert np.array_equal(first.observations["observation"], episodes[0].obs)
    assert np.array_equal(first.actions, episodes[0].action) and first.truncations[-1]


def test_minari_in_arrow_files_is_read(tmp_path: Path) -> None:
    episodes, _ = make()
    pytest.importorskip("minari")
    pytest.importorskip("pyarrow")
    from minari.data_collector import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    box = gym.spaces.Box(-5, 5, (3,), np.float32)
    storage = MinariStorage.new(tmp_path / "d", box, gym.spaces.Box(-1, 1, (2,), np.float32), data_format="arrow")
    parts = [(e.obs, e.action, e.reward, e.terminated, e.truncated) for e in episodes]
    names = ("observations", "actions", "rewards", "terminations", "truncations")
    storage.update_episodes([EpisodeBuffer(id=i, **dict(zip(names, p, strict=True))) for i, p in enumerate(parts)])
    again = read_dataset(tmp_path / "d", SPACES, None)
    assert np.array_equal(again[2].obs, episodes[2].obs) and np.array_equal(again[2].goal, episodes[2].obs[-1, :2])


def test_the_layout_of_lerobot(tmp_path: Path) -> None:
    episodes, env = make()
    path = write(tmp_path / "run", "lerobot", episodes, env)
    import pyarrow.parquet as parquet

    info = json.loads((path / "meta/info.json").read_text(encoding="utf-8"))
    assert (info["codebase_version"], info["fps"], info["total_frames"]) == ("v3.0", 10, 40)
    assert info["features"]["action"] == {"dtype": "float32", "shape": [2], "names": ["joint_delta_0", "joint_delta_1"]}
    listed = parquet.read_table(path / "meta/episodes/chunk-000/file-000.parquet").to_pydict()
    assert listed["dataset_from_index"] == [0, 10, 20, 30] and listed["dataset_to_index"] == [10, 20, 30, 40]
    frames = parquet.read_table(path / info["data_path"].format(chunk_index=0, file_index=0))
    assert set(frames.column_names) == set(info["features"])
    assert frames["index"].to_pylist() == list(range(40)) and frames["frame_index"].to_pylist() == [*range(10)] * 4
    stats = json.loads((path / "meta/stats.json").read_text(encoding="utf-8"))
    assert stats["action"]["max"] == [float(max(e.action[:, i].max() for e in episodes)) for i in range(2)]
    tasks = parquet.read_table(path / "meta/tasks.parquet")
    assert tasks.to_pydict() == {"task_index": [0], "task": ["LoopWM/Point-v0: random motion"]}


def test_a_lerobot_dataset_of_others_is_completed(tmp_path: Path) -> None:
    """No rewards and no goals: what was achieved is the position, the goal where the episode ended, as in hindsight."""
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    episodes, env = make()
    obs = np.concatenate([e.obs[:-1] for e in episodes])
    action = np.concatenate([e.action for e in episodes])
    for i in range(2):  # variable lists, as pandas writes them, in two files
        rows = slice(20 * i, 20 * i + 20)
        columns = {"observation.state": obs[rows].tolist(), "action": action[rows].tolist()}
        number = np.repeat([2 * i, 2 * i + 1], 10)
        file = tmp_path / f"data/chunk-000/file-00{i}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pa.table({**columns, "episode_index": number}), file)
    features = {name: {"dtype": "float32", "shape": [2], "names": None} for name in columns}
    (tmp_path / "meta").mkdir()
    info = {"codebase_version": "v3.0", "robot_type": "so100", "fps": 10, "features": features}
    (tmp_path / "meta/info.json").write_text(json.dumps(info), encoding="utf-8")
    again = read_dataset(tmp_path, SPACES, reward_function(env))
    assert [len(e) for e in again] == [9] * 4 and np.array_equal(again[1].action, episodes[1].action[:9])
    goal = episodes[1].obs[9, :2]
    assert np.array_equal(again[1].goal, goal) and again[1].reward[-1] == 0
    assert again[1].reward[0] == pytest.approx(-np.linalg.norm(episodes[1].obs[1, :2] - goal), abs=1e-6)  # float32 [m]


def broken(name: str, value: Any) -> Callable[[list[Episode]], None]:
    def spoil(episodes: list[Episode]) -> None:
        array = getattr(episodes[2], name).copy()
        array[4] = value
        object.__setattr__(episodes[2], name, array)

    return spoil


@pytest.mark.parametrize("form", ["npz", "minari", "lerobot"])
@pytest.mark.parametrize(
    "spoil, said",
    [
        (broken("action", np.nan), r"episode 2, step 4: action is nan, allowed finite numbers"),
        (broken("obs", np.inf), r"episode 2, step 4: obs is inf"),
        (broken("action", 7), r"episode 2, step 4: an action of size 7, allowed \[-1, 1\]"),
    ],
)
def test_numbers_that_cannot_be_learnt_from(
    tmp_path: Path, form: str, spoil: Callable[[list[Episode]], None], said: str
) -> None:
    episodes, env = make()
    spoil(episodes)
    path = write(tmp_path / "run", form, episodes, env)
    with pytest.raises(DatasetError, match=rf"dataset {tmp_path}/run.*: {said}"):
        read_dataset(path, SPACES, None)


@pytest.mark.parametrize("form", ["npz", "minari", "lerobot"])
def test_a_dataset_of_another_arm_is_refused(tmp_path: Path, form: str) -> None:
    episodes, env = make()
    path = write(tmp_path / "run", form, episodes, env)
    with pytest.raises(DatasetError, match=r"recorded with env_id 'LoopWM/Point-v0', allowed 'LoopWM/Other-v0' here"):
        read_dataset(path, replace(SPACES, env_id="LoopWM/Other-v0"), None)
    with pytest.raises(DatasetError, match=r"has a control step of 0\.1 s, allowed 0\.05 s here"):
        read_dataset(path, replace(SPACES, ctrl_dt=0.05), None)
    with pytest.raises(DatasetError, match=r"episode 0: action has shape \(\d+, 2\), allowed \(\d+, 7\)"):
        read_dataset(path, replace(SPACES, nu=7), None)
    if form != "minari":  # it has no place for it but the environment's own arguments
        with pytest.raises(DatasetError, match="control_mode 'joint_delta', allowed 'cartesian_delta'"):
            read_dataset(path, replace(SPACES, control_mode="cartesian_delta"), None)


@pytest.mark.parametrize(
    "form, damaged", [("npz", "episodes.npz"), ("minari", "main_data.hdf5"), ("lerobot", "file-000.parquet")]
)
def test_damaged_and_empty_datasets_are_refused(tmp_path: Path, form: str, damaged: str) -> None:
    episodes, env = make()
    path = write(tmp_path / "run", form, episodes, env)
    file = next(p for p in sorted(path.rglob(damaged)) if "meta" not in p.parts)
    content = file.read_bytes()
    for cut in (content[: len(content) // 2], b""):
        file.write_bytes(cut)
        with pytest.raises(DatasetError, match="cannot be read"):
            read_dataset(path, SPACES, None)
    file.unlink()
    with pytest.raises(DatasetError):
        read_dataset(path, SPACES, None)
    if form == "npz":
        empty = write(tmp_path / "empty", form, [], env)
        with pytest.raises(DatasetError, match="has 0 episodes, allowed >= 1"):
            read_dataset(empty, SPACES, None)


def test_what_is_no_dataset_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    for path, said in ((tmp_path, "is none"), (tmp_path / "gone", "does not exist")):
        with pytest.raises(DatasetError, match=rf"{said}, allowed episodes\.npz.*LeRobot v3"):
            read_dataset(path, SPACES, None)
    (tmp_path / "meta").mkdir()
    for text, said in (("{", "cannot be read"), ('{"codebase_version": "v2.1", "fps": 5, "features": {}}', "v2.1")):
        (tmp_path / "meta/info.json").write_text(text)
        with pytest.raises(DatasetError, match=said):
            read_dataset(tmp_path, SPACES, None)


def test_some_episodes_are_held_out_evenly(tmp_path: Path) -> None:
    episodes, _ = make(10)
    learn, measure = split(episodes, 20, tmp_path)
    assert len(learn) == 8 and [e.seed for e in measure] == [2, 7]
    assert len(split(episodes[:2], 20, tmp_path)[1]) == 1 and len(split(episodes, 1, tmp_path)[1]) == 1
    with pytest.raises(DatasetError, match="has 1 episode, allowed >= 2"):
        split(episodes[:1], 20, tmp_path)
    with pytest.raises(DatasetError, match=r"has 88 rows, allowed 50; raise train\.buffer_size"):
        check_recorded(learn, measure, 50)
    short = [replace(e, **{n: getattr(e, n)[:3] for n in ("obs", "achieved")}, **cut(e)) for e in measure]
    with pytest.raises(DatasetError, match="have 2 steps at most, allowed >= 5"):
        check_recorded(learn, short, 500)


def cut(episode: Episode) -> dict[str, Any]:
    return {name: getattr(episode, name)[:2] for name in ("action", "reward", "terminated", "truncated")}


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(RequestError, match=r"pyarrow is not installed; pip install 'loopwm-robot\[lerobot\]'"):
        datasets.check_format("lerobot", SPACES)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(RequestError, match=r"pip install 'loopwm-robot\[minari\]'"):
        datasets.check_format("minari", SPACES)
    with pytest.raises(RequestError, match="allowed npz for pictures"):
        datasets.check_format("minari", replace(SPACES, image=(64, 64, 3)))
