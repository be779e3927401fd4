"""Models with context get the transitions that really happened: in episodes, with noise, from goal to goal on arms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from point_env import PointEnv

from loopwm_robot.agent import MPCAgent
from loopwm_robot.closed_loop import evaluate
from loopwm_robot.data.buffer import ReplayBuffer
from loopwm_robot.data.collect import ExplorationPolicy, NoisyPolicy, Proposer, UniformPolicy, run_episode
from loopwm_robot.memory import Memory
from loopwm_robot.models.loopwm import Core, LoopWM
from loopwm_robot.types import Episode, History
from planners import CEM, LearnedReward, SamplingConfig

WINDOW, STEPS = 4, 7


class Listener(LoopWM):
    """A small LoopWM with context that keeps what it is handed."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(3, 2, 2, 0.1, Core(latent_dim=8, heads=2, mean_loops=1, max_loops=2, context=WINDOW))
        self.handed: list[History] = []

    def encode(self, obs, goal=None, history=None, depths=None):
        self.handed.append(history)
        return super().encode(obs, goal, history, depths)


@pytest.fixture
def agent() -> MPCAgent:
    config = SamplingConfig(horizon=2, num_samples=8, num_elites=2, keep_elites=1, iterations=1)
    planner = CEM(config, 2, 0.1, torch.Generator())
    return MPCAgent(Listener().eval(), planner, lambda goal: LearnedReward())


def assert_told(history: History, episode: Episode, t: int) -> None:
    """The history before step t is what the episode says, the latest last, nothing where nothing was."""
    known = min(t, WINDOW)
    assert history.obs.shape == (1, WINDOW, 3) and history.action.shape == (1, WINDOW, 2)
    assert history.mask[0].tolist() == [0.0] * (WINDOW - known) + [1.0] * known
    kept = history.mask[0] > 0
    assert np.array_equal(history.obs[0, kept], episode.obs[t - known : t])
    assert np.array_equal(history.action[0, kept], episode.action[t - known : t])


def test_each_step_is_told_what_was_done_before(agent):
    episode, _ = run_episode(PointEnv(STEPS), agent, 0)
    assert len(agent.model.handed) == STEPS
    for t, history in enumerate(agent.model.handed):
        assert_told(history, episode, t)


def test_noise_is_part_of_what_was_done(agent):
    noise = ExplorationPolicy(2, np.random.default_rng(0), scale=1.0)
    proposed = []
    propose = agent.propose
    agent.propose = lambda obs: proposed.append(propose(obs)) or proposed[-1]
    episode, _ = run_episode(PointEnv(STEPS), NoisyPolicy(agent, noise, 0.5), 0)
    assert (np.abs(episode.action - proposed) > 1e-3).any(axis=1).all()
    for t, history in enumerate(agent.model.handed):
        assert_told(history, episode, t)
    assert isinstance(agent, Proposer) and not isinstance(UniformPolicy(2, np.random.default_rng(0)), Proposer)


def test_an_episode_knows_nothing_of_the_one_before(agent):
    result = evaluate(PointEnv(STEPS), agent, [1, 2])
    for e, episode in enumerate(result.episodes):
        for t in range(STEPS):
            assert_told(agent.model.handed[e * STEPS + t], episode, t)


def test_the_same_body_may_go_on_to_another_goal(agent):
    obs, action = np.arange(3, dtype=np.float32), np.ones(2, np.float32)
    agent.reset(np.zeros(2, np.float32))
    agent.observe(obs, action)
    agent.reset(np.ones(2, np.float32), keep_memory=True)
    agent.state(obs)
    assert agent.model.handed[-1].mask[0].tolist() == [0, 0, 0, 1]
    assert agent.last_plan is None  # the plan was for the other goal
    agent.reset(np.ones(2, np.float32))
    agent.state(obs)
    assert not agent.model.handed[-1].mask.any() and len(agent.memory) == 0


def test_looking_twice_changes_nothing(agent):
    """A film asks for the state before it acts."""
    agent.reset(np.zeros(2, np.float32))
    obs = np.zeros(3, np.float32)
    agent.act(obs)
    a, b = agent.state(obs), agent.state(obs)
    assert torch.equal(a.h, b.h) and len(agent.memory) == 1
    agent.propose(obs)
    assert len(agent.memory) == 1


def test_what_is_remembered_is_a_copy(agent):
    obs, action = np.zeros(3, np.float32), np.zeros(2, np.float32)
    agent.reset(np.zeros(2, np.float32))
    agent.observe(obs, action)
    obs += 1
    action += 1
    history = agent.memory.history(3, 2)
    assert not history.obs.any() and not history.action.any()


def test_training_and_control_see_the_same(agent):
    """For every start in an episode: the memory and the replay buffer agree, and so do the states made from them."""
    episode, _ = run_episode(PointEnv(STEPS), UniformPolicy(2, np.random.default_rng(3)), 5)
    buffer = ReplayBuffer(STEPS + 1, 3, 2, 2)
    buffer.add(episode)
    batch = buffer.sample(64, 1, np.random.default_rng(0), context=WINDOW)
    starts = [int(np.flatnonzero((episode.obs == obs.numpy()).all(axis=1))[0]) for obs in batch.obs[:, 0]]
    assert set(starts) == set(range(STEPS))
    model = agent.model
    with torch.no_grad():
        sampled = model.encode(batch.obs[:, 0], history=batch.history).h
    for i, t in enumerate(starts):
        memory = Memory(WINDOW)
        for step in range(t):
            memory.add(episode.obs[step], episode.action[step])
        history, mask = memory.history(3, 2), batch.history.mask[i, :, None]
        assert torch.equal(history.mask[0], mask[:, 0])
        assert torch.equal(history.obs[0], batch.history.obs[i] * mask)
        assert torch.equal(history.action[0], batch.history.action[i] * mask)
        with torch.no_grad():
            assert torch.allclose(model.encode(batch.obs[i : i + 1, 0], history=history).h[0], sampled[i], atol=1e-6)


def test_models_without_context_are_called_as_ever():
    class Plain:
        nu, ctrl_dt = 2, 0.1

        def encode(self, obs, goal=None):
            return obs

    agent = MPCAgent(Plain(), None, None)
    agent._goal = torch.zeros(2)
    agent.observe(np.zeros(3, np.float32), np.zeros(2, np.float32))
    assert agent.state(np.ones(3, np.float32)).shape == (1, 3) and len(agent.memory) == 0
