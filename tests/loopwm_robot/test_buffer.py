"""Replay buffer: what goes in comes out, in order and within its episode."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from loopwm_robot.data.buffer import ReplayBuffer
from loopwm_robot.data.storage import IN_MEMORY, Place
from loopwm_robot.types import Episode


def make_episode(index: int, steps: int = 6, terminal: bool = False) -> Episode:
    """Every number tells its episode and step: obs = (index, t), action = index + t / 100."""
    t = np.arange(steps + 1, dtype=np.float32)
    terminated = np.zeros(steps, np.bool_)
    terminated[-1] = terminal
    return Episode(
        obs=np.stack([np.full(steps + 1, index, np.float32), t], 1),
        achieved=t[:, None] + 100 * index,
        goal=np.array([index], np.float32),
        action=(index + t[:-1, None] / 100).astype(np.float32),
        reward=-t[1:],
        terminated=terminated,
        truncated=~terminated,
        ctrl_dt=0.05,
        env_id="test",
        seed=index,
    )


def filled(capacity: int = 100, episodes: int = 5) -> ReplayBuffer:
    buffer = ReplayBuffer(capacity, 2, 1, 1)
    for i in range(episodes):
        buffer.add(make_episode(i))
    return buffer


def test_sequences_are_consecutive_and_stay_in_their_episode():
    batch = filled().sample(500, 4, np.random.default_rng(0))
    episode, t = batch.obs[..., 0], batch.obs[..., 1]
    assert (episode == episode[:, :1]).all()
    real = batch.mask.bool()
    assert ((t[:, 1:] - t[:, :-1])[real] == 1).all() and ((t[:, 1:] - t[:, :-1])[~real] == 0).all()
    expected = episode[:, :-1] + t[:, :-1] / 100
    assert np.allclose(batch.action[..., 0][real], expected[real], atol=1e-6)
    assert (batch.reward[real] == -t[:, 1:][real]).all()
    assert (batch.goal[:, 0] == episode[:, 0]).all()


def test_every_transition_starts_a_sequence_equally_often():
    buffer = filled(episodes=2)
    batch = buffer.sample(24_000, 1, np.random.default_rng(0))
    key = (batch.obs[:, 0, 0] * 10 + batch.obs[:, 0, 1]).numpy()
    _, counts = np.unique(key, return_counts=True)
    assert len(counts) == len(buffer) == 12
    assert np.abs(counts - 2000).max() < 5 * np.sqrt(2000)  # five sigma


def test_short_episodes_are_padded_and_masked():
    buffer = ReplayBuffer(50, 2, 1, 1)
    buffer.add(make_episode(0, steps=2, terminal=True))
    batch = buffer.sample(200, 5, np.random.default_rng(0))
    assert set(batch.mask.sum(1).tolist()) == {1.0, 2.0}
    assert (batch.terminated * batch.mask).sum(1).eq(1).all()  # the end is seen once, not once a padded step


def test_the_oldest_episodes_make_room():
    buffer = ReplayBuffer(20, 2, 1, 1)  # two episodes of 7 rows
    for i in range(5):
        buffer.add(make_episode(i))
        episodes = set(buffer.sample(300, 2, np.random.default_rng(i)).obs[..., 0].unique().tolist())
        assert episodes == {float(max(0, i - 1)), float(i)}


def test_a_longer_episode_drops_what_it_overwrites_as_a_whole():
    buffer = ReplayBuffer(22, 2, 1, 1)
    for i in range(3):
        buffer.add(make_episode(i))  # rows 0-6, 7-13, 14-20
    buffer.add(make_episode(9, steps=9))  # rows 0-9: episode 1 loses its first rows
    batch = buffer.sample(500, 3, np.random.default_rng(0))
    assert set(batch.obs[..., 0].unique().tolist()) == {2.0, 9.0}


def test_hindsight_goals_get_their_own_reward():
    def reward(achieved, desired):
        return -np.abs(achieved - desired)[..., 0]

    batch = filled().sample(400, 3, np.random.default_rng(0), reward, relabel_fraction=1.0)
    achieved = batch.obs[:, 1:, 1] + 100 * batch.obs[:, 1:, 0]
    assert np.allclose(batch.reward.numpy(), -(achieved - batch.goal).abs().numpy(), atol=1e-4)
    own = filled().sample(400, 3, np.random.default_rng(0), reward, relabel_fraction=0.0)
    real = own.mask.bool()
    assert (own.reward == -own.obs[:, 1:, 1])[real].all()


def test_sampling_is_deterministic_and_does_not_change_the_buffer():
    buffer = filled()
    before = buffer.observations.copy()
    a, b = (buffer.sample(50, 3, np.random.default_rng(1), lambda x, y: -np.abs(x - y)[..., 0]) for _ in range(2))
    assert a.reward.equal(b.reward) and a.obs.equal(b.obs) and np.array_equal(before, buffer.observations)


@pytest.mark.parametrize("first, second", [(False, True), (True, False)])
def test_save_and_load_give_the_same_samples(tmp_path, first, second):
    """Bit for bit, in memory and in files, also after more episodes; the file itself is the same again."""
    places = {False: IN_MEMORY, True: Place(0, tmp_path / "replay")}
    buffer, other = (ReplayBuffer(20, 2, 1, 1, place=places[mapped]) for mapped in (first, second))
    assert (buffer.mapped, other.mapped) == (first, second)
    assert first or not list((tmp_path / "replay").iterdir())  # nothing is left behind, whatever ends the process
    for i in range(4):
        buffer.add(make_episode(i))
    buffer.save(tmp_path / "b.npz")
    other.load(tmp_path / "b.npz")
    other.save(tmp_path / "again.npz")
    with np.load(tmp_path / "b.npz") as old, np.load(tmp_path / "again.npz") as new:
        assert old.files == new.files and all(np.array_equal(old[name], new[name]) for name in old.files)
    for b in (buffer, other):
        b.add(make_episode(7))
    a, b = (x.sample(100, 3, np.random.default_rng(0), context=2) for x in (buffer, other))
    for name in ("obs", "action", "reward", "terminated", "goal", "mask"):
        assert getattr(a, name).equal(getattr(b, name)), name
    assert a.history.obs.equal(b.history.obs) and len(buffer) == len(other)


def test_rows_lie_in_files_past_a_size(tmp_path):
    row = 4 * (2 + 1 + 1 + 1 + 1 + 1) + 8  # obs, achieved, goal, action, reward, terminated; remaining [bytes]
    for limit, mapped in ((100 * row, False), (100 * row - 1, True), (None, False)):
        assert ReplayBuffer(100, 2, 1, 1, place=Place(limit, tmp_path)).mapped is mapped
    if hasattr(os, "posix_fallocate"):
        with pytest.raises(OSError, match=r"a replay buffer of 3.6e\+07 GB does not fit on the disk.*buffer_size"):
            ReplayBuffer(10**15, 2, 1, 1, place=Place(0, tmp_path))


def test_the_number_of_transitions_is_counted_right():
    """The count that is kept is what the rows say, while episodes of all lengths overwrite one another."""
    buffer, rng = ReplayBuffer(40, 2, 1, 1), np.random.default_rng(0)
    for i in range(60):
        buffer.add(make_episode(i, int(rng.integers(1, 20))))
        assert len(buffer) == len(buffer.transitions()[0])
    assert len(buffer.transitions(5)[0]) == 5


def test_bad_files_are_refused_and_lose_nothing(tmp_path):
    buffer = filled()
    before = buffer.observations.copy()
    buffer.save(tmp_path / "b.npz")
    data = (tmp_path / "b.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(data[: len(data) // 2])
    for name, match in (("cut.npz", "cannot be read"), ("none.npz", "cannot be read")):
        with pytest.raises(ValueError, match=match):
            buffer.load(tmp_path / name)
    with pytest.raises(ValueError, match=r"obs has shape \(35, 2\), allowed up to \(10, 2\)"):
        ReplayBuffer(10, 2, 1, 1).load(tmp_path / "b.npz")
    assert np.array_equal(before, buffer.observations)
    buffer = filled(2000, 200)
    buffer.save(tmp_path / "b.npz")
    flipped = bytearray((tmp_path / "b.npz").read_bytes())
    flipped[flipped.index(buffer.observations.tobytes()) + 9] ^= 1  # one bit of an observation
    (tmp_path / "flipped.npz").write_bytes(flipped)
    with pytest.raises(ValueError, match=r"cannot be read \(Bad CRC-32"):
        buffer.load(tmp_path / "flipped.npz")
    assert len(buffer) == 0  # never a mixture of two


def check_history(buffer: ReplayBuffer, context: int, seed: int = 0) -> None:
    """What precedes each sequence is what really happened before it, in its episode, and nothing else."""
    batch = buffer.sample(300, 2, np.random.default_rng(seed), context=context)
    past, start = batch.history, batch.obs[:, 0]
    assert past.obs.shape == (300, context, 2) and past.action.shape == (300, context, 1)
    episode, t = start[:, :1], start[:, 1:]
    back = torch.arange(context, 0, -1)
    expected = (back <= t).float()  # what happened: `t` transitions, the latest last
    assert torch.equal(past.mask, expected) and 0 < expected.mean() < 1
    real = past.mask.bool()
    assert (past.obs[..., 0] == episode.expand(-1, context))[real].all()
    assert (past.obs[..., 1] == (t - back))[real].all()
    assert torch.allclose(past.action[..., 0][real], (episode + (t - back) / 100)[real], atol=1e-5)
    assert torch.isfinite(past.obs).all() and (past.obs[..., 0] == episode).all()  # padding stays in the episode too


@pytest.mark.parametrize("context", [1, 3, 9])
def test_history_is_what_happened_before(context):
    check_history(filled(), context)


def test_history_after_the_oldest_episodes_made_room():
    buffer = ReplayBuffer(22, 2, 1, 1)
    for i, steps in enumerate((6, 6, 6, 9, 3, 8, 6)):  # episodes of several lengths overwrite one another
        buffer.add(make_episode(i, steps))
        check_history(buffer, 4, seed=i)


def test_history_after_load(tmp_path):
    """Also of a file in which an episode lost its first rows."""
    buffer = ReplayBuffer(22, 2, 1, 1)
    for i in range(3):
        buffer.add(make_episode(i))
    buffer.add(make_episode(9, steps=9))
    buffer.save(tmp_path / "b.npz")
    other = ReplayBuffer(30, 2, 1, 1)
    for i in range(20, 24):
        other.add(make_episode(i, steps=4))  # what was there before leaves no trace
    other.load(tmp_path / "b.npz")
    check_history(other, 4)
    a, b = (x.sample(100, 3, np.random.default_rng(0), context=4).history for x in (buffer, other))
    assert a.obs.equal(b.obs) and a.action.equal(b.action) and a.mask.equal(b.mask)
    other.add(make_episode(5, steps=5))
    check_history(other, 4)


def test_history_is_given_to_those_who_ask_and_changes_nothing_else():
    buffer = filled()
    plain, asked = (buffer.sample(50, 3, np.random.default_rng(0), context=w) for w in (0, 2))
    assert plain.history is None and asked.history is not None and plain.obs.equal(asked.obs)


def test_the_history_of_a_model_ends_where_its_sequence_starts():
    """The last transition of the history leads to the first observation of the sequence."""
    batch = filled().sample(100, 2, np.random.default_rng(0), context=3)
    happened = batch.history.mask[:, -1].bool()
    assert torch.equal(batch.history.obs[happened, -1, 1] + 1, batch.obs[happened, 0, 1])


def test_transitions_are_the_neighbours_of_each_episode():
    obs, following = filled().transitions()
    assert len(obs) == 30 and (following - obs == [0, 1]).all()


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match="capacity is 1 rows, allowed >= 2"):
        ReplayBuffer(1, 2, 1, 1)
    with pytest.raises(ValueError, match="episode has 7 rows, allowed <= 5"):
        ReplayBuffer(5, 2, 1, 1).add(make_episode(0))
    with pytest.raises(ValueError, match="holds 0 transitions"):
        ReplayBuffer(5, 2, 1, 1).sample(1, 1, np.random.default_rng(0))


def test_episodes_are_checked():
    good = make_episode(0)
    fields = {name: getattr(good, name) for name in good.__dataclass_fields__}
    with pytest.raises(ValueError, match=r"episode\.obs has 6 rows, allowed 7"):
        Episode(**{**fields, "obs": good.obs[:-1]})
    bad = good.reward.copy()
    bad[2] = np.nan
    with pytest.raises(ValueError, match=r"episode\.reward has non-finite"):
        Episode(**{**fields, "reward": bad})
