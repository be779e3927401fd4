"""Objectives and the composition of model and objective."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from planners import (
    CEM,
    Composite,
    KeepPosture,
    LearnedReward,
    Reach,
    ReachPoint,
    SamplingConfig,
    Sum,
    TrajectoryScorer,
)


class Fixed:
    """A trajectory with known content."""

    def __init__(self, obs: Tensor, reward: Tensor) -> None:
        self.obs, self.reward = obs, reward

    def observations(self, columns: slice | None = None) -> Tensor:
        return self.obs if columns is None else self.obs[..., columns]

    def rewards(self) -> Tensor:
        return self.reward


OBS = torch.tensor([[[0.0, 3.0, 4.0], [0.0, 0.0, 0.0]], [[9.0, 0.0, 0.0], [9.0, 6.0, 8.0]]])  # (2, 2, 3)
ACTIONS = torch.tensor([[[1.0], [1.0]], [[0.0], [0.0]]])  # (2, 2, 1)


def test_learned_reward_is_the_discounted_sum():
    reward = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert torch.equal(LearnedReward(0.5)(Fixed(OBS, reward), ACTIONS), torch.tensor([2.0, 5.0]))


def test_reach_point_by_hand():
    trajectory = Fixed(OBS, torch.zeros(2, 2))
    columns, origin = slice(1, 3), torch.zeros(2)
    assert torch.equal(ReachPoint(columns, origin)(trajectory, ACTIONS), torch.tensor([-5.0, -10.0]))
    assert torch.equal(ReachPoint(columns, origin, discount=0.5)(trajectory, ACTIONS), torch.tensor([-5.0, -5.0]))
    assert torch.equal(
        ReachPoint(columns, origin, terminal_weight=2.0)(trajectory, ACTIONS), torch.tensor([-5.0, -30.0])
    )
    assert torch.equal(ReachPoint(columns, origin, action_weight=3.0)(trajectory, ACTIONS), torch.tensor([-8.0, -10.0]))


def test_a_target_that_moves_is_another_one_after_each_action():
    path = torch.tensor([[0.0, 4.0], [6.0, 0.0]])
    trajectory = Fixed(OBS, torch.zeros(2, 2))
    assert torch.equal(ReachPoint(slice(1, 3), path)(trajectory, ACTIONS), torch.tensor([-3.0 - 6.0, -4.0 - 8.0]))
    both = Composite([Reach("x"), Reach("x", when="terminal")], {"x": slice(1, 3)}, 0.1, path)
    assert torch.equal(both(trajectory, ACTIONS), torch.tensor([-3.0 - 2 * 6.0, -4.0 - 2 * 8.0]))
    with pytest.raises(ValueError, match=r"target has shape \(1, 2, 2\)"):
        ReachPoint(slice(1, 3), path[None])


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="discount is 0"):
        LearnedReward(0)
    with pytest.raises(ValueError, match=r"terminal_weight is -1"):
        ReachPoint(slice(0, 2), torch.zeros(2), terminal_weight=-1)
    with pytest.raises(ValueError, match=r"target has shape \(3,\), allowed \(2,\)"):
        ReachPoint(slice(0, 2), torch.zeros(3))
    with pytest.raises(ValueError, match="allowed finite"):
        ReachPoint(slice(0, 1), torch.tensor([torch.nan]))


class PointMass:
    """Position moves by 0.1 times the action: an analytic model behind the protocols."""

    nu, ctrl_dt = 2, 0.05

    def rollout(self, state: Tensor, actions: Tensor) -> Fixed:
        return Fixed(state + 0.1 * actions.cumsum(1), torch.zeros(actions.shape[:2]))


def test_receding_horizon_control_of_a_point_mass():
    model, goal = PointMass(), torch.tensor([0.4, -0.3])
    objective = ReachPoint(slice(0, 2), goal)
    planner = CEM(SamplingConfig(horizon=5, num_samples=128, iterations=4), 2, 0.05, torch.Generator().manual_seed(0))
    state, plan = torch.zeros(2), None
    for _ in range(15):
        plan = planner.plan(TrajectoryScorer(model, state, objective), None if plan is None else plan.shift())
        state = state + 0.1 * plan.actions[0]
    assert torch.linalg.vector_norm(state - goal) < 0.01  # a tenth of the largest step


def test_posture_by_hand_and_sums():
    trajectory = Fixed(OBS, torch.zeros(2, 2))
    posture = KeepPosture(slice(1, 3), torch.tensor([3.0, 0.0]), weight=2.0)
    expected = torch.tensor([-2.0 * (16 / 2 + 9 / 2), -2.0 * (9 / 2 + (9 + 64) / 2)])
    assert torch.allclose(posture(trajectory, ACTIONS), expected)
    reach = ReachPoint(slice(1, 3), torch.zeros(2))
    both = Sum(reach, posture)
    assert torch.allclose(both(trajectory, ACTIONS), reach(trajectory, ACTIONS) + expected)
    with pytest.raises(ValueError, match="posture weight is -1"):
        KeepPosture(slice(0, 1), torch.zeros(1), -1)
    with pytest.raises(ValueError, match=r"posture has shape \(2,\), allowed \(1,\)"):
        KeepPosture(slice(0, 1), torch.zeros(2), 1)
