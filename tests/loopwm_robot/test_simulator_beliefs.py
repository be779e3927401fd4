"""The simulator with dynamics that are wrong on purpose, or drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from point_env import PointEnv

from envs import DYNAMICS_UNITS, UNSEEN, Dynamics
from loopwm_robot.build import make_env, simulator_model
from loopwm_robot.config import EnvConfig
from loopwm_robot.models.simulator import SimulatorModel
from loopwm_robot.models.simulator_beliefs import BelievingSimulator, believed_queue
from loopwm_robot.models.simulator_config import SimulatorConfig

ACTIONS = torch.rand(6, 5, 7, generator=torch.Generator().manual_seed(0)) * 2 - 1
TRUTH = Dynamics(payload=1.5, friction=3.0, damping=2.0, gain=0.5, delay=1)
NOMINAL = SimulatorConfig(payload=0.0, friction=0.0, damping=1.0, gain=1.0, delay=0)


def hidden(dynamics: Dynamics = TRUTH) -> gym.Env[Any, Any]:
    """An arm with hidden dynamics, in motion."""
    env = make_env(EnvConfig(id="LoopWM/PandaReachHidden-v0"))
    env.reset(seed=0, options={"dynamics": dynamics})
    for action in ACTIONS[0, :3].numpy():
        env.step(action)
    return env


def imagined(model: SimulatorModel) -> torch.Tensor:
    observations = model.rollout(model.encode(None), ACTIONS).observations()  # type: ignore[arg-type]
    model.close()
    return observations


def belief(**values: Any) -> SimulatorConfig:
    return SimulatorConfig(**values)


def of_the_arm(dynamics: Dynamics) -> dict[str, Any]:
    return {name: getattr(dynamics, name) for name in DYNAMICS_UNITS}


def test_who_believes_the_truth_sees_what_happens():
    env = hidden()
    true = imagined(simulator_model(env, SimulatorConfig()))
    told = of_the_arm(TRUTH)
    assert torch.allclose(imagined(simulator_model(env, belief(**told))), true, atol=1e-6)
    for k, action in enumerate(ACTIONS[2].numpy()):
        obs, *_ = env.step(action)
        assert np.allclose(obs["observation"], true[2, k], atol=1e-4)
    env.close()


def test_nominal_beliefs_are_the_arm_of_the_file():
    env = make_env(EnvConfig())
    env.reset(seed=0)
    assert torch.allclose(
        imagined(simulator_model(env, NOMINAL)), imagined(simulator_model(env, SimulatorConfig())), atol=1e-5
    )
    env.close()


@pytest.mark.parametrize("wrong", [{"payload": 3.0}, {"friction": 9.0}, {"damping": 8.0}, {"gain": 0.2}, {"delay": 2}])
def test_a_wrong_belief_changes_what_is_foreseen_and_nothing_else(wrong: dict[str, Any]):
    env = hidden()
    before = env.unwrapped.get_state()
    true = imagined(simulator_model(env, SimulatorConfig()))
    ee = slice(28, 31)
    assert (imagined(simulator_model(env, belief(**wrong))) - true)[..., ee].abs().max() > 1e-3  # metres
    assert torch.equal(imagined(simulator_model(env, SimulatorConfig())), true)
    after = env.unwrapped.get_state()
    assert np.array_equal(after.physics, before.physics) and after.dynamics == before.dynamics
    env.close()


def test_what_is_not_set_follows_the_truth_of_the_episode():
    env = hidden()
    model = BelievingSimulator(env, belief(damping=8.0))
    assert model.beliefs(env.unwrapped.dynamics) == [replace(TRUTH, damping=8.0)]
    other = Dynamics(payload=0.5)
    env.reset(seed=1, options={"dynamics": other})
    assert model.beliefs(env.unwrapped.dynamics) == [replace(other, damping=8.0)]
    model.close()
    env.close()


def test_drawn_dynamics_are_members_and_share_what_is_fixed():
    env = hidden()
    model = BelievingSimulator(env, belief(randomised=3, seed=5, ranges="unseen", damping=1.0))
    beliefs = model.beliefs(TRUTH)
    assert all(UNSEEN.contains(dynamics) for dynamics in model.drawn)
    assert len(set(beliefs)) == 3 and {dynamics.damping for dynamics in beliefs} == {1.0}
    again = BelievingSimulator(env, belief(randomised=3, seed=5, ranges="unseen", damping=1.0))
    assert again.beliefs(TRUTH) == beliefs
    again.close()
    trajectory = model.rollout(model.encode(None), ACTIONS)  # type: ignore[arg-type]
    members = trajectory.members()  # type: ignore[attr-defined]
    for member, dynamics in zip(members, beliefs, strict=True):
        assert torch.equal(imagined(simulator_model(env, belief(**of_the_arm(dynamics)))), member.observations())
    mean = torch.stack([member.observations() for member in members]).mean(0)
    assert torch.allclose(trajectory.observations(), mean, atol=1e-6)
    model.close()
    env.close()


def test_the_queue_of_another_delay():
    pending = np.arange(4.0).reshape(2, 2)
    assert believed_queue(pending, 2, 2).tolist() == pending.tolist()
    assert believed_queue(pending, 1, 2).tolist() == [[2.0, 3.0]]
    assert believed_queue(pending, 3, 2).tolist() == [[0.0, 0.0], [0.0, 1.0], [2.0, 3.0]]
    assert believed_queue(pending, 0, 2).shape == (0, 2)
    assert believed_queue(np.zeros((0, 0)), 1, 2).tolist() == [[0.0, 0.0]]


def test_objects_are_simulated_too():
    config = EnvConfig(id="LoopWM/PandaPush-v0", control_mode="cartesian_delta")
    env = make_env(config)
    env.reset(seed=0)
    actions = torch.rand(2, 3, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    model = simulator_model(env, belief(damping=3.0))
    assert model.rollout(model.encode(None), actions).observations().shape == (2, 3, 40)  # type: ignore[arg-type]
    model.close()
    env.close()


def test_other_environments_are_refused():
    with pytest.raises(ValueError, match="allowed the environments of envs/"):
        simulator_model(PointEnv(), belief(payload=1.0))
