"""Agent, closed loop, building blocks and evaluation."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
import yaml
from point_env import PointEnv

import envs
from loopwm_robot.agent import MPCAgent
from loopwm_robot.bench.profile import profile_control_step
from loopwm_robot.build import load_agent, make_agent, make_env, planning_agent, spaces_of
from loopwm_robot.checkpoint import Checkpoint, CheckpointError, Spaces, save_checkpoint
from loopwm_robot.closed_loop import EVALUATION_SEED, evaluate
from loopwm_robot.config import EnvConfig, EvaluateConfig, ModelConfig, PlannerConfig
from loopwm_robot.data.buffer import ReplayBuffer
from loopwm_robot.data.collect import UniformPolicy, run_episode
from loopwm_robot.errors import RequestError
from loopwm_robot.evaluation import evaluate_checkpoint, untrained_copy, write_evaluation
from loopwm_robot.models.build import build_model
from loopwm_robot.models.simulator import SimulatorModel
from loopwm_robot.objective import chosen_objective, observation_layout
from loopwm_robot.report.control import distances
from loopwm_robot.training.explore import reward_function
from planners import CEM, ReachPoint, SamplingConfig

NANO = ModelConfig(latent_dim=16, heads=2, mean_loops=1, max_loops=2, plan_loops=1)
FAST = PlannerConfig(horizon=4, num_samples=32, num_elites=6, iterations=2, keep_elites=2)


class PointModel:
    """The exact model of PointEnv behind the planner's interface."""

    nu, ctrl_dt = 2, 0.1

    def encode(self, obs, goal=None):
        return obs[0, :2]

    def rollout(self, state, actions):
        return PointTrajectory(state + 0.1 * actions.cumsum(1))


class PointTrajectory:
    def __init__(self, obs):
        self.obs = obs

    def observations(self, columns=None):
        return self.obs if columns is None else self.obs[..., columns]

    def rewards(self):
        return torch.zeros(self.obs.shape[:2])


def point_agent(seed: int = 0) -> MPCAgent:
    planner = CEM(SamplingConfig(horizon=4, num_samples=64), 2, 0.1, torch.Generator().manual_seed(seed))
    return MPCAgent(PointModel(), planner, lambda goal: ReachPoint(slice(0, 2), goal))


def panda_checkpoint() -> tuple[Checkpoint, gym.Env, EnvConfig]:
    config = EnvConfig()
    env = make_env(config)
    spaces = spaces_of(env, config)
    torch.manual_seed(0)
    model = build_model(NANO, spaces.n_obs, spaces.nu, spaces.n_goal, spaces.ctrl_dt, spaces.groups).eval()
    return Checkpoint(model, NANO, spaces, {}), env, config


def test_the_agent_reaches_with_an_exact_model():
    result = evaluate(PointEnv(15), point_agent(), range(10))
    assert result.success.all() and result.final_distance.max() < 0.05
    assert len(result.plan_time) == 150 and len(result.episodes) == 10
    summary = result.summary("x.")
    assert summary["x.success_rate"] == 1.0 and summary["x.control_rate_hz"] == pytest.approx(10)
    assert 0 <= summary["x.deadline_met_fraction"] <= 1


def test_evaluation_is_deterministic_and_ordered_by_seed():
    a, b = (evaluate(PointEnv(5), point_agent(), [3, 4]) for _ in range(2))
    assert np.array_equal(a.final_distance, b.final_distance)
    assert [e.seed for e in a.episodes] == [3, 4]


def test_evaluation_of_a_policy_without_plan_times():
    result = evaluate(PointEnv(5), UniformPolicy(2, np.random.default_rng(0)), [0])
    assert len(result.plan_time) == 0 and "plan_time_s_p50" not in result.summary()
    with pytest.raises(ValueError, match="0 episodes"):
        evaluate(PointEnv(5), UniformPolicy(2, np.random.default_rng(0)), [])


def test_plans_are_warm_started_by_the_executed_actions():
    agent, seen = point_agent(), []
    plan = agent.planner.plan
    steps = []
    agent.planner.plan = lambda score, warm=None, executed=1: (
        seen.append(warm) or steps.append(executed) or plan(score, warm, executed)
    )
    agent.reset(np.array([0.5, 0.0], np.float32))
    agent.act(np.zeros(3, np.float32))
    first = agent.last_plan
    agent.act(np.zeros(3, np.float32))
    assert seen[0] is None and torch.equal(seen[1], first.shift())
    second = agent.last_plan
    agent.plan(agent.state(np.zeros(3, np.float32)), executed=3)
    assert torch.equal(seen[2], second.shift(3)) and steps == [1, 1, 3]
    agent.reset(np.zeros(2, np.float32))
    assert agent.last_plan is None


def test_bad_observations_and_order_of_calls():
    agent = point_agent()
    with pytest.raises(ValueError, match="no goal"):
        agent.plan(torch.zeros(2))
    agent.reset(np.zeros(2, np.float32))
    with pytest.raises(ValueError, match=r"indices \[1\]"):
        agent.act(np.array([0, np.nan, 0], np.float32))


def test_spaces_of_our_environment_and_of_others():
    checkpoint, env, _ = panda_checkpoint()
    s = checkpoint.spaces
    assert (s.n_obs, s.nu, s.n_goal, s.ctrl_dt) == (31, 7, 3, 0.05)
    obs, _ = env.reset(seed=0)
    assert np.allclose(obs["observation"][s.position_columns], obs["achieved_goal"], atol=1e-6)
    env.close()
    config = EnvConfig(id="Pendulum-v1", control_mode="", reward="")
    other = make_env(config)
    assert other.action_space.high.tolist() == [1.0]  # instead of 2 N m
    spaces = spaces_of(other, config)
    assert (spaces.n_obs, spaces.nu, spaces.n_goal, spaces.position) == (3, 1, 0, (0, 0))
    assert chosen_objective(s, PlannerConfig()) == "analytic"
    assert chosen_objective(spaces, PlannerConfig()) == "learned_reward"
    with pytest.raises(ValueError, match="has actions Discrete"):
        make_env(EnvConfig(id="CartPole-v1", control_mode="", reward=""))


def test_unknown_environments_and_arguments_are_refused():
    with pytest.raises(ValueError, match=r"ours: LoopWM/.*LoopWM/PandaReach-v0"):
        make_env(EnvConfig(id="LoopWM/PandaReech-v0"))
    with pytest.raises(ValueError, match="refuses its arguments"):
        make_env(EnvConfig(id="CartPole-v1"))
    with pytest.raises(RequestError, match=r"arm file .*nowhere\.yaml cannot be read"):
        make_env(EnvConfig(arm="nowhere.yaml"))


def test_an_arm_of_the_users_takes_the_place_of_the_ids(tmp_path):
    folder = Path(envs.__file__).parent / "arms"
    about = yaml.safe_load((folder / "ur5e.yaml").read_text()) | {"model": str(folder / "ur5e.xml")}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(about))
    config = EnvConfig(arm=str(tmp_path / "mine.yaml"))
    env = make_env(config)
    assert env.unwrapped.arm.name == "mine"
    assert spaces_of(env, config).nu == 6


def test_the_analytic_objective_needs_a_position():
    spaces = Spaces("Other", "", 4, 2, 0, 0.1, (0, 2))
    with pytest.raises(ValueError, match=r"planner\.objective=learned_reward"):
        make_agent(PointModel(), spaces, replace(FAST, objective="analytic"), torch.Generator())
    agent = make_agent(PointModel(), spaces, FAST, torch.Generator())  # auto
    agent.reset(np.zeros(0, np.float32))
    assert agent.act(np.zeros(4, np.float32)).shape == (2,)


def test_the_simulator_is_the_true_model():
    """What it foresees for the plan is what the environment does."""
    checkpoint, env, _ = panda_checkpoint()
    agent = planning_agent(checkpoint, replace(FAST, model="simulator"), env, 0)
    obs, _ = env.reset(seed=0)
    agent.reset(obs["desired_goal"])
    agent.act(obs["observation"])
    foreseen = agent.model.rollout(agent.model.encode(None), agent.last_plan.actions[None]).observations()[0]
    for k, action in enumerate(agent.last_plan.actions.numpy()):
        obs, *_ = env.step(action)
        assert np.allclose(obs["observation"], foreseen[k], atol=1e-4)
    assert agent.model.nu == 7 and agent.model.ctrl_dt == 0.05
    with pytest.raises(ValueError, match=r"planner\.objective=analytic"):
        agent.model.rollout(agent.model.encode(None), agent.last_plan.actions[None]).rewards()
    with pytest.raises(ValueError, match="allowed the environments of envs/"):
        SimulatorModel(PointEnv())


def test_whole_evaluation_and_its_figures(tmp_path):
    checkpoint, env, _ = panda_checkpoint()
    counts = EvaluateConfig(episodes=2, random_episodes=1, untrained_episodes=1, simulator_episodes=1, held_out=1)
    threads = torch.get_num_threads()
    evaluation = evaluate_checkpoint(checkpoint, env, FAST, counts, seed=0)
    assert torch.get_num_threads() == threads
    summary = evaluation.summary()
    for name in ("", "random.", "untrained.", "simulator."):
        assert 0 <= summary[f"{name}success_rate"] <= 1
    assert summary["mean_loops"] == 1.0 and summary["episodes"] == 2
    for horizon in (1, 5, 10, 20):
        assert summary[f"open_loop_rmse_h{horizon}"] == summary[f"open_loop_rmse_h{horizon}_loops1"]
    step = sum(value for key, value in summary.items() if key.startswith("time_"))
    assert 0 < step < 5  # seconds, the parts of one control step
    write_evaluation(evaluation, checkpoint, tmp_path)
    for name in ("distance", "timing", "predictions", "loops"):
        assert (tmp_path / "plots" / f"{name}.png").stat().st_size > 1000


def test_an_evaluation_in_which_plans_take_time():
    checkpoint, env, _ = panda_checkpoint()
    late = EvaluateConfig(episodes=1, untrained_episodes=1, random_episodes=1, held_out=1, latency_s=0.1)
    evaluation = evaluate_checkpoint(checkpoint, env, FAST, late, seed=0)
    summary = evaluation.summary()
    for name in ("", "untrained."):
        assert summary[f"{name}lead_steps_mean"] == 2 and summary[f"{name}plans"] == 30
        assert not evaluation.results[name.strip(".") or "loopwm"].episodes[0].action[:2].any()
    assert "random.plans" not in summary
    with pytest.raises(RequestError, match=r"evaluate\.latency_s is 0\.3 s"):
        evaluate_checkpoint(checkpoint, env, FAST, replace(late, latency_s=0.3), seed=0)


@pytest.mark.slow
def test_an_evaluation_in_wall_time():
    checkpoint, env, _ = panda_checkpoint()
    began = time.monotonic()
    realtime = EvaluateConfig(episodes=1, untrained_episodes=1, held_out=1, execution="realtime")
    summary = evaluate_checkpoint(checkpoint, env, FAST, realtime, seed=0).summary()
    assert time.monotonic() - began > 2 * 59 * 0.05  # seconds
    for name in ("", "untrained."):
        assert summary[f"{name}plans"] > 20 and 1 <= summary[f"{name}lead_steps_mean"] <= 4
        assert 0 <= summary[f"{name}late_step_fraction"] <= 1


def test_the_untrained_copy_shares_the_scaling_only():
    checkpoint, _, _ = panda_checkpoint()
    checkpoint.model.obs_normalizer.mean.fill_(3.0)
    state = torch.get_rng_state()
    copy = untrained_copy(checkpoint, seed=5)
    assert torch.equal(torch.get_rng_state(), state)  # no side effect on other random numbers
    assert torch.equal(copy.obs_normalizer.mean, checkpoint.model.obs_normalizer.mean)
    assert not torch.equal(copy.encoder.linear.weight, checkpoint.model.encoder.linear.weight)


def test_profile_parts_are_positive_and_leave_the_model_as_it_was():
    checkpoint, env, _ = panda_checkpoint()
    agent = planning_agent(checkpoint, FAST, env, 0)
    obs, _ = env.reset(seed=0)
    parts = profile_control_step(agent, obs["observation"], obs["desired_goal"], repeats=3)
    assert all(value > 0 for value in parts.values())
    assert "forward" not in vars(checkpoint.model.prelude) and "rollout" not in vars(checkpoint.model)
    with pytest.raises(ValueError, match="needs LoopWM"):
        profile_control_step(point_agent(), np.zeros(3, np.float32), np.zeros(2, np.float32))


def test_a_trained_controller_is_loaded_with_its_environment(tmp_path):
    checkpoint, _, _ = panda_checkpoint()
    save_checkpoint(tmp_path / "checkpoint.safetensors", checkpoint)
    agent, own = load_agent(tmp_path)
    obs, info = own.reset(seed=1)
    agent.reset(obs["desired_goal"])
    obs, *_ = own.step(agent.act(obs["observation"]))
    assert own.unwrapped.control_mode == "joint_delta" and info["distance"] > 0
    other = replace(checkpoint, spaces=replace(checkpoint.spaces, home=(0.0,) * 7))
    save_checkpoint(tmp_path / "other.safetensors", other)
    with pytest.raises(CheckpointError, match="was trained for home"):
        load_agent(tmp_path / "other.safetensors")


def moving_target() -> tuple[MPCAgent, Spaces]:
    """An agent for a point whose goal moves; observation: point, goal, velocity of the goal."""
    spaces = Spaces("Moving", "", 6, 2, 2, 0.1, (0, 2), target=(2, 6))
    config = replace(FAST, num_samples=256, num_elites=16, iterations=4, action_weight=0.0)
    return make_agent(PointModel(), spaces, config, torch.Generator().manual_seed(0)), spaces


def test_a_goal_that_moves_is_read_from_every_observation_and_met_ahead():
    agent, _ = moving_target()
    point, goal, velocity = np.zeros(2), np.zeros(2), np.array([0.4, -0.2])
    agent.reset(goal.astype(np.float32))
    away = []
    for _ in range(10):
        point = point + 0.1 * agent.act(np.concatenate([point, goal, velocity]).astype(np.float32))
        goal = goal + 0.1 * velocity
        away.append(np.linalg.norm(point - goal))
    assert np.median(away) < 0.01  # without looking ahead it would always be a step of 0.045 behind
    goal, velocity = np.array([-0.3, 0.3]), np.zeros(2)  # it jumps, and stays
    for _ in range(8):
        point = point + 0.1 * agent.act(np.concatenate([point, goal, velocity]).astype(np.float32))
    assert np.linalg.norm(point - goal) < 0.1


def test_an_objective_of_ones_own_is_kept_where_the_goal_moves():
    agent, _ = moving_target()
    agent.reset(np.zeros(2, np.float32))
    agent.use_objective(ReachPoint(slice(0, 2), torch.tensor([0.0, 1.0])))
    action = agent.act(np.array([0, 0, 1, 0, 0, 0], np.float32))
    assert action[1] > 0.5 and abs(action[0]) < 0.5
    agent.reset(np.zeros(2, np.float32))
    assert agent.act(np.array([0, 0, 1, 0, 0, 0], np.float32))[0] > 0.5


def test_moving_goals_are_recorded_and_evaluated():
    """With the true model, on our own task."""
    config = EnvConfig(id="LoopWM/PandaTrackPath-v0", control_mode="cartesian_delta")
    env = gym.wrappers.TimeLimit(make_env(config).unwrapped, 12)
    spaces = spaces_of(env, config)
    assert spaces.target_columns == env.unwrapped.target_columns == slice(31, 37)
    assert reward_function(env) is None and observation_layout(spaces)["target_vel"] == slice(34, 37)
    planner = replace(FAST, model="simulator", costs=({"cost": "reach", "of": "ee_pos", "when": "terminal"},))
    agent = planning_agent(Checkpoint(None, NANO, spaces, {}), planner, env, 0)
    result = evaluate(env, agent, [0])
    goals = result.episodes[0].goal
    assert goals.shape == (13, 3) and np.ptp(goals, axis=0).max() > 0.01
    np.testing.assert_array_equal(goals, result.episodes[0].obs[:, 31:34])
    curve = distances(result)[0]
    np.testing.assert_allclose(curve[-1], result.final_distance[0], atol=1e-6)
    assert curve[-1] < curve[0]
    agent.model.close()
    buffer = ReplayBuffer(20, *spaces.sizes)
    buffer.add(result.episodes[0])
    np.testing.assert_array_equal(buffer.goals, goals)
    env.close()


@pytest.mark.slow
def test_on_the_true_model_the_arm_follows_and_looking_ahead_is_what_does_it():
    config = EnvConfig(id="LoopWM/PandaTrackPath-v0", control_mode="cartesian_delta")
    env = make_env(config)
    spaces = spaces_of(env, config)
    planner = PlannerConfig(
        model="simulator", horizon=4, num_samples=32, num_elites=6, keep_elites=3, iterations=3
    )
    errors = []
    for ahead in (True, False):
        agent = planning_agent(Checkpoint(None, NANO, spaces, {}), planner, env, 0)
        make = agent.make_objective
        if not ahead:
            agent.make_objective = lambda goal, make=make: make(goal[0] if goal.ndim == 2 else goal)
        _, info = run_episode(env, agent, EVALUATION_SEED)
        errors.append(info["tracking_error"])
        agent.model.close()
    assert errors[0] < 0.004 and errors[1] > 4 * errors[0]
    env.close()
