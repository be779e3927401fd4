"""Data sets of the benchmark of the models."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drift_data import drift_dataset

from envs import UNSEEN
from loopwm_robot.bench.model import generate as generation
from loopwm_robot.bench.model.datasets import DataConfig, load_dataset, save_dataset
from loopwm_robot.bench.model.finger import GROUPS, FingerEnv, FingerExplorer
from loopwm_robot.bench.model.generate import SOURCES, dataset, generate, lengths

TINY = DataConfig(steps=100, train=2, calibrate=1, test=1, long=1, long_steps=120)


def needs_dm_control() -> None:
    """A dependency, but for Python 3.13, where labmaze has no wheel."""
    if sys.version_info >= (3, 13):
        pytest.importorskip("dm_control")


@pytest.mark.parametrize("name", SOURCES)
def test_each_is_the_same_every_time_and_names_every_column(name: str) -> None:
    if name == "finger":
        needs_dm_control()
    first, second = generate(name, TINY), generate(name, TINY)
    assert first.digest() == second.digest()
    n_obs, nu, _, dt = first.sizes
    assert sorted(c for columns in first.groups.values() for c in columns) == list(range(n_obs)) and dt > 0
    assert {split: (len(s.episodes), len(s)) for split, s in first.splits.items()} == {
        split: (episodes, episodes * steps) for split, (episodes, steps) in lengths(name, TINY).items()
    }
    for split, part in first.splits.items():
        assert np.array_equal(part.episodes[0].action, second.splits[split].episodes[0].action)
        assert part.episodes[0].action.shape[1] == nu
    seeds = [e.seed for s in first.splits.values() for e in s.episodes]
    assert len(set(seeds)) == len(seeds)  # nothing is learned from what is tested
    assert (first.splits["train"].hidden is not None) == (name == "hidden")
    assert (first.splits["train"].contact is not None) == (name in ("push", "finger"))


@pytest.mark.parametrize("name", ["push", "finger"])
def test_a_fifth_of_the_transitions_touches_the_object(name: str) -> None:
    if name == "finger":
        needs_dm_control()
    config = DataConfig(steps=100, train=10, calibrate=1, test=1, long=0)
    fraction = generate(name, config).contact_fraction()
    assert fraction is not None and 0.2 < fraction < 0.8


def test_the_test_dynamics_are_unseen() -> None:
    env = SOURCES["hidden"].make(3, "test")
    other = SOURCES["hidden"].make(3, "train")
    for seed in range(20):
        env.reset(seed=seed)
        other.reset(seed=seed)
        assert UNSEEN.contains(env.unwrapped.dynamics)
        assert not UNSEEN.contains(other.unwrapped.dynamics)


def test_a_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    data, path = drift_dataset(hidden=True), tmp_path / "data.npz"
    save_dataset(path, data, TINY)
    again, settings = load_dataset(path)
    assert settings["steps"] == 100 and again.digest() == data.digest()
    assert (again.groups, again.position, again.ctrl_dt) == (data.groups, data.position, data.ctrl_dt)
    for name, split in data.splits.items():
        assert np.array_equal(again.splits[name].contact, split.contact)
        assert np.array_equal(again.splits[name].hidden, split.hidden)
        for mine, theirs in zip(split.episodes, again.splits[name].episodes, strict=True):
            assert np.array_equal(mine.obs, theirs.obs) and mine.seed == theirs.seed
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="cannot be read"):
        load_dataset(path)


def test_a_data_set_is_made_once_for_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(generation, "generate", lambda name, config, bar: made.append(config) or drift_dataset())
    path = tmp_path / "data.npz"
    for config in (TINY, TINY, DataConfig(train=3), DataConfig(train=3)):
        dataset("push", config, path)
    assert made == [TINY, DataConfig(train=3)]
    path.write_bytes(b"damaged")
    dataset("push", DataConfig(train=3), path)
    assert len(made) == 3


def test_told_models_see_the_parameters_and_are_measured_on_the_rest() -> None:
    data = drift_dataset(hidden=True)
    told = data.told()
    assert told.sizes[0] == data.sizes[0] + 1 and told.measured == data.measured
    assert told.groups["hidden"] == (4,)
    for episode, parameters in zip(told.splits["test"].episodes, data.splits["test"].hidden, strict=True):
        assert np.all(episode.obs[:, 4] == parameters[0])
    assert np.array_equal(told.std[:4], data.std) and np.array_equal(told.mean[:4], data.mean)
    assert told.columns == data.columns == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="has no hidden parameters"):
        drift_dataset().told()


def test_errors_are_in_units_of_the_training_data() -> None:
    data = drift_dataset()
    rows = np.concatenate([e.obs for e in data.splits["train"].episodes])
    assert np.allclose(data.std, rows.std(0), rtol=1e-5) and np.allclose(data.mean, rows.mean(0), rtol=1e-4, atol=1e-6)
    for episode in data.splits["train"].episodes:
        episode.obs[:, 2] = 0.5 + 1e-4 * episode.obs[:, 2]
    assert drift_dataset().columns == [0, 1, 2, 3]
    assert replace(data).columns == [0, 1, 3]  # one that hardly varies has no unit to be told in
    assert len(data.buffer()) == len(data.splits["train"])


def test_the_finger_is_an_environment() -> None:
    needs_dm_control()
    env = FingerEnv()
    first, info = env.reset(seed=3)
    assert first.shape == (9,) and first.dtype == np.float32 and info == {"contact": False}
    assert np.array_equal(first, env.reset(seed=3)[0]) and not np.array_equal(first, env.reset(seed=4)[0])
    assert sorted(c for columns in GROUPS.values() for c in columns) == list(range(9))
    env.reset(seed=3)
    obs, reward, terminated, truncated, info = env.step(np.array([9.0, -9.0]))  # clipped
    assert np.isfinite(obs).all() and reward in (0.0, 1.0) and not (terminated or truncated)
    env.reset(seed=3)
    assert np.array_equal(obs, env.step(np.array([1.0, -1.0]))[0])


def test_touch_needs_contact() -> None:
    needs_dm_control()
    env, touching = FingerEnv(), 0
    explorer = FingerExplorer(np.random.default_rng(0))
    obs, _ = env.reset(seed=0)
    for _ in range(300):
        obs, _, _, _, info = env.step(explorer.act(obs))
        touching += info["contact"]
        assert info["contact"] or not obs[7:].any()
    assert touching > 20


def test_wrong_amounts_are_refused() -> None:
    with pytest.raises(ValueError, match=r"data.train is 0, allowed >= 1"):
        DataConfig(train=0)
