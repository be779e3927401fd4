"""The executor in lock-step: which actions are carried out, what the planner is told, and what that is worth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from odd_planners import Numbered
from point_env import PointEnv
from tiny_models import NU, inputs, make_model, randomised

from loopwm_robot.agent import MPCAgent
from loopwm_robot.build import make_agent, make_env, planning_agent, spaces_of
from loopwm_robot.checkpoint import Checkpoint, Spaces
from loopwm_robot.closed_loop import evaluate
from loopwm_robot.config import EnvConfig, EvaluateConfig, ModelConfig, PlannerConfig
from loopwm_robot.errors import RequestError
from loopwm_robot.execution.ahead import AtOnce, imagine
from loopwm_robot.execution.executor import Executor
from loopwm_robot.execution.line import Line, blend
from loopwm_robot.execution.pace import GivenLead
from loopwm_robot.execution.run import check_execution, executing
from loopwm_robot.models.simulator import SimulatorModel
from planners import CEM, ReachPoint, SamplingConfig

BALL = {"of": "position", "centre": [0, 0, 0], "radius": 0.1, "hard": True}
POINT = Spaces("Point", "", 3, 2, 2, 0.1, (0, 2))


class Imagined:
    def __init__(self, obs: torch.Tensor) -> None:
        self.obs = obs

    def observations(self, columns: slice) -> torch.Tensor:
        return self.obs[..., columns]


class PointModel:
    """The exact model of PointEnv; keeps the states that candidates start from."""

    nu, ctrl_dt = 2, 0.1

    def __init__(self) -> None:
        self.starts: list[torch.Tensor] = []

    def encode(self, obs, goal=None):
        return obs[:, :2]

    def step(self, state, action):
        return state + 0.1 * action, None

    def rollout(self, state, actions):
        self.starts.append(state[0])
        return Imagined(state[:, None] + 0.1 * actions.cumsum(1))


def point_agent(seed: int = 0, **settings: object) -> MPCAgent:
    few = {"horizon": 6, "num_samples": 64, "num_elites": 8, "keep_elites": 2, "iterations": 3}
    config = SamplingConfig(**{**few, **settings})  # type: ignore[arg-type]
    planner = CEM(config, 2, 0.1, torch.Generator().manual_seed(seed))
    return MPCAgent(PointModel(), planner, lambda goal: ReachPoint(slice(0, 2), goal))


def lagging(lead: int, compensation: str = "predict", blend_steps: int = 0, **settings: object) -> Executor:
    return Executor(AtOnce(point_agent(**settings)), 2, GivenLead(lead), compensation, blend_steps)


def carried_out(lead: int, compensation: str, steps: int, horizon: int = 8) -> tuple[list[float], Numbered]:
    """First action of every step, with plans that can be told apart."""
    planner = Numbered(horizon)
    executor = Executor(planner, 2, GivenLead(lead), compensation)
    executor.reset(np.zeros(2, np.float32))
    actions = [executor.act(np.full(3, k, np.float32)) for k in range(steps)]
    return [round(float(a[0]), 2) for a in actions], planner


@pytest.mark.parametrize("limits", [{}, {"rate_limit": 0.3, "jerk_limit": 0.2}], ids=["free", "limited"])
def test_without_latency_it_is_the_agent_bit_for_bit(limits):
    alone = evaluate(PointEnv(8), point_agent(**limits), range(3))
    carried = evaluate(PointEnv(8), lagging(0, **limits), range(3))
    for a, b in zip(alone.episodes, carried.episodes, strict=True):
        assert np.array_equal(a.action, b.action) and np.array_equal(a.obs, b.obs)
    assert len(carried.plan_time) == 24 and carried.execution["lead_steps_mean"] == 0 and not alone.execution


def test_a_plan_begins_when_it_is_ready_and_the_one_before_goes_on_until_then():
    assert carried_out(0, "predict", 4)[0] == [1, 2, 3, 4]
    assert carried_out(1, "predict", 5)[0] == [0, 1, 2, 3, 4]
    assert carried_out(2, "predict", 7)[0] == [0, 0, 1, 1.01, 2, 2.01, 3]
    assert carried_out(2, "none", 7)[0] == [0, 0, 1, 1.01, 2, 2.01, 3]
    assert carried_out(2, "shift", 7)[0] == [0, 0, 1.02, 1.03, 2.02, 2.03, 3.02]


def test_after_the_end_of_a_plan_nothing_is_asked_for():
    assert carried_out(3, "predict", 8, horizon=2)[0] == [0, 0, 0, 1, 1.01, 0, 2, 2.01]


@pytest.mark.parametrize("compensation", ["predict", "shift", "none"])
def test_the_planner_is_told_what_is_settled(compensation):
    actions, planner = carried_out(2, compensation, 8)
    ahead = 0 if compensation == "shift" else 2
    assert len(planner.asked) == 4
    padded = np.concatenate([[0, 0], actions])
    for i, situation in enumerate(planner.asked):
        k = 2 * i
        assert situation.obs[0] == k and situation.executed == (ahead if i == 0 else 2)
        imagined = actions[k : k + 2] if compensation == "predict" else []
        np.testing.assert_allclose(situation.committed[:, 0], imagined, atol=1e-6)
        assert situation.committed.shape == (len(imagined), 2)
        np.testing.assert_allclose(situation.previous[:, 0], padded[k + ahead : k + ahead + 2], atol=1e-6)
        assert [obs[0] for obs, _ in situation.seen] == list(range(max(k - 2, 0), k))
        np.testing.assert_allclose([a[0] for _, a in situation.seen], actions[max(k - 2, 0) : k], atol=1e-6)


def test_a_new_episode_begins_at_rest():
    executor = Executor(planner := Numbered(), 2, GivenLead(2))
    for goal in (1.0, 2.0):
        executor.reset(np.full(2, goal, np.float32))
        assert not executor.act(np.zeros(3, np.float32)).any()
    assert [goal[0] for goal in planner.goals] == [1, 2]
    assert planner.asked[1].executed == 2 and not planner.asked[1].previous.any() and not planner.asked[1].seen


def test_plans_start_from_the_state_that_the_model_predicts():
    executor = lagging(2)
    agent = executor.planning.agent
    executor.reset(np.array([0.4, 0.0], np.float32))
    env = PointEnv(20)
    obs, _ = env.reset(seed=0)
    foreseen = {}
    for k in range(9):
        agent.model.starts.clear()
        action = executor.act(obs["observation"])
        if agent.model.starts:
            foreseen[k + 2] = agent.model.starts[0].numpy()
        obs, *_ = env.step(action)
        if k + 1 in foreseen:  # the model is exact, so the plan's start is where the point is when it begins
            np.testing.assert_allclose(obs["observation"][:2], foreseen[k + 1], atol=1e-6)
    assert len(foreseen) == 5


def test_the_prediction_is_what_the_learned_model_says():
    model = randomised(make_model())
    obs, goal, actions = inputs(1, 3)
    agent = MPCAgent(model, CEM(SamplingConfig(), NU, 0.05, torch.Generator()), lambda g: ReachPoint(slice(0, 3), g))
    agent.reset(goal[0].numpy())
    states = imagine(agent, obs[0].numpy(), list(actions[0].numpy()))
    with torch.inference_mode():
        state = model.encode(obs, goal)
        assert torch.equal(states[0].h, state.h)
        for found, action in zip(states[1:], actions[0], strict=True):
            state, _ = model.step(state, action[None])
            assert torch.equal(found.h, state.h)


def test_the_simulator_predicts_what_the_environment_does():
    env = make_env(EnvConfig())
    env.reset(seed=3)
    model, rng = SimulatorModel(env), np.random.default_rng(0)
    actions = torch.from_numpy(rng.uniform(-1, 1, (5, 7)).astype(np.float32))
    state = model.encode(torch.zeros(1))
    straight = model.rollout(state, actions[None]).observations()[0]
    for action in actions[:3]:
        state, _ = model.step(state, action[None])
    ahead = model.rollout(state, actions[None, 3:].expand(4, -1, -1)).observations()
    assert ahead.shape == (4, 2, 31) and torch.equal(ahead[2], straight[3:])
    for action in actions:
        obs, *_ = env.step(action.numpy())
    np.testing.assert_allclose(obs["observation"], ahead[0, -1], atol=1e-4)
    model.close()
    env.close()


def test_compensation_beats_none_with_an_exact_model():
    away = {}
    for compensation in ("predict", "shift", "none"):
        result = evaluate(PointEnv(24), lagging(3, compensation), range(10))
        away[compensation] = float(np.median(result.final_distance))
    assert away["predict"] < 0.02 and away["predict"] < away["shift"] / 2 and away["predict"] < away["none"] / 4


def test_limits_hold_from_plan_to_plan_by_construction():
    for lead in (1, 2, 3):
        executor = lagging(lead, rate_limit=0.25, jerk_limit=0.2, num_samples=16)
        for episode in evaluate(PointEnv(20), executor, [0, 1]).episodes:
            change = np.diff(episode.action, axis=0, prepend=np.zeros((1, 2)))
            assert 0.2 < np.abs(change).max() <= 0.25 + 1e-6
            assert np.abs(np.diff(change, axis=0)).max() <= 0.2 + 1e-6


def test_blending_goes_over_from_one_plan_to_the_other():
    new, old = np.ones((4, 1), np.float32), np.zeros((3, 1), np.float32)
    np.testing.assert_allclose(blend(new, old)[:, 0], [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(blend(new[:1], old)[:, 0], [0.25])
    assert np.array_equal(blend(new, old[:0]), new) and np.array_equal(blend(old, old), old)
    rng = np.random.default_rng(0)
    a, b = rng.uniform(-1, 1, (2, 6, 3))
    mixed = blend(a, b[:4])
    assert (mixed <= np.maximum(a, b) + 1e-12).all() and (mixed >= np.minimum(a, b) - 1e-12).all()
    jump = np.abs(mixed[0] - b[0])  # from what would have been done
    np.testing.assert_allclose(jump, np.abs(a[0] - b[0]) / 5)


def test_blended_seams_are_smaller():
    seams = [
        evaluate(PointEnv(20), lagging(2, blend_steps=steps, num_samples=16), range(5)).execution["seam_jump_p95"]
        for steps in (0, 3)
    ]
    assert 0 < seams[1] < seams[0] / 2


def test_a_goal_that_moves_is_met_where_it_is_when_the_plan_takes_effect():
    spaces = Spaces("Moving", "", 6, 2, 2, 0.1, (0, 2), target=(2, 6))
    config = PlannerConfig(horizon=4, num_samples=256, num_elites=16, iterations=4, action_weight=0.0)
    agent = make_agent(PointModel(), spaces, config, torch.Generator().manual_seed(0))
    executor = Executor(AtOnce(agent), 2, GivenLead(2))
    point, goal, velocity, away = np.zeros(2), np.zeros(2), np.array([0.4, -0.2]), []
    executor.reset(goal.astype(np.float32))
    for _ in range(16):
        point = point + 0.1 * executor.act(np.concatenate([point, goal, velocity]).astype(np.float32))
        goal = goal + 0.1 * velocity
        away.append(np.linalg.norm(point - goal))
    assert np.median(away[6:]) < 0.01  # a plan for the goal of its question would be two steps of 0.045 behind


def test_what_is_kept_does_not_grow_with_the_episode():
    executor = Executor(planner := Numbered(), 2, GivenLead(2))
    executor.reset(np.zeros(2, np.float32))
    for _ in range(500):
        executor.act(np.zeros(3, np.float32))
    assert len(executor._line._plans) <= 4 and len(executor._seen) <= 2
    assert max(len(situation.seen) for situation in planner.asked) == 2


def test_an_action_is_not_an_alias_of_the_plan():
    line = Line(2)
    line.follow(0, np.zeros((2, 2), np.float32))
    line.action(0)[:] = 5
    assert not line.action(0).any()


def test_settings_that_do_not_fit_are_refused():
    for wrong in (
        {"execution": "async"},
        {"compensation": "guess"},
        {"latency_s": -0.1},
        {"latency_s": float("nan")},
        {"blend_steps": -1},
        {"execution": "realtime", "latency_s": 0.1},
        {"execution": "realtime", "simulator_episodes": 1},
    ):
        with pytest.raises(ValueError, match=r"evaluate\..*allowed"):
            EvaluateConfig(**wrong)
    with pytest.raises(ValueError, match="compensation is 'guess', allowed predict, shift, none"):
        Executor(Numbered(), 2, GivenLead(0), "guess")

    planner = PlannerConfig(horizon=4, num_elites=2, keep_elites=0)
    ours = replace(POINT, control_mode="joint_position")
    limited, hard = replace(planner, rate_limit=0.1), replace(planner, costs=({"cost": "avoid_sphere", **BALL},))
    realtime = EvaluateConfig(execution="realtime")
    for spaces, settings, config, message in (
        (POINT, planner, EvaluateConfig(latency_s=0.41), "latency_s is 0.41 s .*allowed up to 4 control steps"),
        (POINT, planner, EvaluateConfig(latency_s=0.3, compensation="shift"), "allowed up to 2 control steps"),
        (POINT, replace(planner, horizon=1), replace(realtime, compensation="shift"), "horizon 1"),
        (POINT, replace(planner, model="simulator"), realtime, "allowed learned"),
        (ours, planner, EvaluateConfig(latency_s=0.05), "joint_position"),
        (POINT, limited, EvaluateConfig(blend_steps=2), r"blend_steps is 2 with planner\.rate_limit"),
        (POINT, hard, EvaluateConfig(blend_steps=2), "hard constraint"),
    ):
        with pytest.raises(RequestError, match=message):
            check_execution(spaces, settings, config)
    for config in (EvaluateConfig(), EvaluateConfig(latency_s=0.4), EvaluateConfig(blend_steps=2), realtime):
        check_execution(POINT, planner, config)
    check_execution(ours, planner, EvaluateConfig())
    check_execution(POINT, limited, EvaluateConfig(latency_s=0.2))


def test_the_policy_that_settings_ask_for():
    for config, lead in (
        (EvaluateConfig(), None),
        (EvaluateConfig(latency_s=0.1), 1),
        (EvaluateConfig(latency_s=0.11), 2),
        (EvaluateConfig(blend_steps=1), 0),
    ):
        point = Checkpoint(None, ModelConfig(), POINT, {})
        with executing(lambda *_: point_agent(), point, PlannerConfig(horizon=6), config, 0) as policy:
            if lead is None:
                assert isinstance(policy, MPCAgent)
            else:
                assert isinstance(policy, Executor) and policy.lead.lead == lead


@pytest.mark.slow
def test_on_the_true_model_an_arm_needs_the_compensation():
    config = EnvConfig()
    env = make_env(config)
    spaces = spaces_of(env, config)
    planner = PlannerConfig(model="simulator", horizon=8, num_samples=48, num_elites=6, keep_elites=3, iterations=3)
    away = {}
    for compensation in ("predict", "shift", "none"):
        settings = EvaluateConfig(latency_s=0.2, compensation=compensation)

        def make(checkpoint: Checkpoint, planner: PlannerConfig, seed: int) -> MPCAgent:
            return planning_agent(checkpoint, planner, env, seed)

        with executing(make, Checkpoint(None, ModelConfig(), spaces, {}), planner, settings, 0) as policy:
            away[compensation] = float(np.median(evaluate(env, policy, range(6)).final_distance))
    assert away["predict"] < 0.02 and away["predict"] < away["none"] / 2
    env.close()
