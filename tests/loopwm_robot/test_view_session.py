"""The view's loop without a browser: what is asked for takes effect at the next plan."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from reach_spaces import reach_spaces

from loopwm_robot.agent import MPCAgent
from loopwm_robot.build import make_env, simulator_model, spaces_of
from loopwm_robot.config import EnvConfig, ModelConfig, PlannerConfig
from loopwm_robot.models.build import build_model
from loopwm_robot.models.simulator_config import SimulatorConfig
from loopwm_robot.view.controls import Controls
from loopwm_robot.view.frame import Frame
from loopwm_robot.view.session import Session
from loopwm_robot.view.settings import DEPTH, OBJECTIVE, SEARCH, Slider, changed, has_depth
from planners import ALGORITHMS, PlanningError

FAST = PlannerConfig(horizon=4, num_samples=16, num_elites=4, iterations=2, keep_elites=2)
ENV = EnvConfig()
EE = slice(28, 31)


@cache
def make_pair(env: EnvConfig) -> tuple[gym.Env[Any, Any], gym.Env[Any, Any]]:
    return make_env(env), make_env(env)


class Recorder:
    """A display that remembers."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.settled: list[Mapping[str, Any]] = []
        self.said: list[str] = []
        self.show, self.settle, self.say = self.frames.append, self.settled.append, self.said.append


def session(config: PlannerConfig = FAST, env: EnvConfig = ENV, **controls: Any) -> tuple[Session, Recorder]:
    pair, display = make_pair(env), Recorder()
    spaces = reach_spaces() if env == ENV else spaces_of(pair[0], env)
    torch.manual_seed(0)
    model: Any = build_model(ModelConfig(latent_dim=16, heads=2, plan_loops=2), *spaces.of_model)
    model.eval().requires_grad_(False)
    if config.model == "simulator":
        model = simulator_model(pair[0], SimulatorConfig())
    return Session(pair, model, spaces, config, Controls(speed=1e9, **controls), display), display


def test_frames_show_what_was_planned():
    s, display = session()
    s.run(3)
    blank, *frames = display.frames
    assert blank.plan is None and len(frames) == 3 and s.steps == 3
    for i, frame in enumerate(frames):
        assert frame.step == i and frame.plan is not None and frame.plan.horizon == 4
        assert frame.path.shape == (5, 3) and frame.candidates is not None and len(frame.candidates.paths) == 32
        assert np.allclose(frame.path, frame.candidates.chosen, atol=1e-6)
        assert len(frame.trail) == i + 1 and np.array_equal(frame.trail[-1], frame.path[0])
        assert frame.loops == 2 and frame.plan_time > 0 and frame.deadline == 0.05
        assert frame.distance == pytest.approx(np.linalg.norm(frame.goal - frame.path[0]), abs=1e-6)
        assert frame.ghost is not None and frame.ghost.shape == frame.qpos.shape
    assert frames[0].missed is None
    assert frames[1].missed == pytest.approx(np.linalg.norm(frames[1].path[0] - frames[0].path[1]))


def test_on_the_simulator_the_future_comes_true():
    s, display = session(replace(FAST, model="simulator"))
    s.run(1)
    (frame,) = display.frames[1:]
    assert frame.loops is None and frame.plan is not None and frame.ghost is not None
    for action in frame.plan.actions[1:]:
        s.env.step(action.numpy())
    assert np.allclose(s.base.data.qpos, frame.ghost, atol=1e-5)  # observations are float32
    assert np.allclose(s.base.data.site("ee").xpos, frame.path[-1], atol=1e-5)
    s.model.close()  # type: ignore[attr-defined]


def test_the_ghost_of_an_object_stands_where_it_is_foreseen():
    config = EnvConfig(id="LoopWM/PandaPush-v0", control_mode="cartesian_delta")
    s, display = session(replace(FAST, model="simulator"), config)
    s.run(1)
    frame = display.frames[-1]
    assert frame.ghost is not None and frame.plan is not None
    for action in frame.plan.actions[1:]:
        s.env.step(action.numpy())
    assert np.allclose(s.base.data.qpos[:10], frame.ghost[:10], atol=1e-5)
    turned = abs(float(s.base.data.qpos[10:] @ frame.ghost[10:]))  # q and -q are the same orientation
    assert turned == pytest.approx(1, abs=1e-5)
    s.model.close()  # type: ignore[attr-defined]


def test_settings_take_effect_at_the_next_plan_and_keep_the_last_as_its_start():
    s, display = session()
    s.advance()
    before = s.agent.last_plan
    assert before is not None
    s.controls.set("horizon", 7)
    s.controls.set("num_samples", 24)
    s.controls.set("loops", 5)
    s.heed(s.controls.take())
    assert s.config.horizon == 7 and s.loops == 5
    warm = s.agent.last_plan
    assert warm is not None and torch.equal(warm.actions[:4], before.actions) and not warm.actions[4:].any()
    s.advance()
    frame = display.frames[-1]
    assert frame.plan is not None and frame.plan.horizon == 7 and frame.plan.scored == 48 and frame.loops == 5
    s.controls.set("loops", 0)
    s.controls.set("horizon", 2)
    s.heed(s.controls.take())
    s.advance()
    assert display.frames[-1].loops == 2 and display.frames[-1].path.shape == (3, 3)
    assert not display.said


def test_limits_on_rate_and_jerk_outlast_a_change():
    s, display = session(replace(FAST, model="simulator", rate_limit=0.3, jerk_limit=0.1))
    for k in range(8):
        if k == 4:
            s.controls.set("horizon", 6)
            s.heed(s.controls.take())
        s.advance()
    done = torch.stack([frame.plan.actions[0] for frame in display.frames if frame.plan is not None])
    assert len(done) == 8 and done.abs().max() > 0.2
    done = torch.cat([torch.zeros(2, done.shape[1]), done])
    assert done.diff(dim=0).abs().max() <= 0.3 + 1e-6 and done.diff(n=2, dim=0).abs().max() <= 0.1 + 1e-6
    s.model.close()  # type: ignore[attr-defined]


def test_the_algorithm_changes_in_full_motion():
    s, display = session()
    s.advance()
    for algorithm, kind in ALGORITHMS.items():
        s.controls.set("algorithm", algorithm)
        s.heed(s.controls.take())
        s.advance()
        assert type(s.agent.planner) is kind and s.config.algorithm == algorithm
        frame = display.frames[-1]
        assert frame.plan is not None and frame.plan.actions.isfinite().all() and not display.said


def test_staged_depth_needs_a_model_with_loops():
    s, display = session()
    s.controls.set("depth", "staged")
    s.controls.set("promoted", 4)
    s.heed(s.controls.take())
    s.advance()
    plan = display.frames[-1].plan
    assert has_depth(s.model) and plan is not None and (plan.scored, plan.scored_shallow) == (4, 32)
    other, shown = session(replace(FAST, model="simulator"))
    other.controls.set("loops", 3)
    other.heed(other.controls.take())
    assert not has_depth(other.model) and other.loops == 0 and shown.settled[-1]["loops"] == 0
    other.model.close()  # type: ignore[attr-defined]


def test_what_cannot_be_is_said_and_changes_nothing():
    s, display = session(replace(FAST, model="simulator"))
    planner = s.agent.planner
    s.controls.set("algorithm", "gradient")
    s.heed(s.controls.take())
    assert s.agent.planner is planner and s.config.algorithm == "cem"
    assert "has no gradient" in display.said[0] and display.settled[-1]["algorithm"] == "cem"
    s.controls.move_goal((9.0, 0.0, 0.0))
    s.heed(s.controls.take())
    assert "out of reach" in display.said[1] and np.allclose(display.frames[-1].goal, s.base.task_goal())
    s.model.close()  # type: ignore[attr-defined]


def test_what_depends_follows_and_is_shown():
    s, display = session()
    s.controls.set("num_samples", 8)
    s.controls.set("num_elites", 12)
    s.heed(s.controls.take())
    assert (s.config.num_samples, s.config.num_elites, s.config.keep_elites) == (8, 8, 2)
    assert display.settled[-1]["num_elites"] == 8 and "num_samples" not in display.settled[-1]


def test_the_goal_moves_and_the_arm_stays():
    s, display = session()
    s.advance()
    plan, qpos = s.agent.last_plan, s.base.data.qpos.copy()
    s.controls.move_goal((0.5, 0.1, 0.4))
    s.controls.move_goal((0.5, 0.1, 0.5))
    s.heed(s.controls.take())
    assert np.allclose(s.base.task_goal(), (0.5, 0.1, 0.5)) and np.allclose(display.frames[-1].goal, (0.5, 0.1, 0.5))
    assert s.agent.last_plan is plan and np.array_equal(s.base.data.qpos, qpos)
    s.advance()
    frame = display.frames[-1]
    assert np.allclose(frame.goal, (0.5, 0.1, 0.5)) and np.allclose(s.agent._goal, frame.goal)
    assert frame.distance == pytest.approx(np.linalg.norm(frame.path[0] - (0.5, 0.1, 0.5)), abs=1e-6)
    s.controls.new_goal()
    s.heed(s.controls.take())
    assert not np.allclose(s.base.task_goal(), (0.5, 0.1, 0.5))
    s.controls.reset()
    s.heed(s.controls.take())
    assert s.agent.last_plan is None and not np.array_equal(s.base.data.qpos, qpos)
    assert display.frames[-1].plan is None and len(s.foresight._trail) == 0


def test_a_tour_goes_on_once_the_goal_was_held(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("loopwm_robot.view.session.HOLD", 0.15)
    s, _ = session()
    goal = s.base.task_goal()
    monkeypatch.setattr(s.base, "threshold", 10.0)  # any place is the goal
    for _ in range(2):
        s.advance(tour=True)
    assert np.array_equal(s.base.task_goal(), goal)
    s.advance(tour=True)
    assert not np.array_equal(s.base.task_goal(), goal)


def test_paused_it_does_the_steps_that_are_asked_for():
    s, display = session(paused=True)
    s.controls.step()
    s.controls.step()
    thread = threading.Thread(target=s.run)
    thread.start()
    while s.steps < 2:
        s.controls.wait(0.01)
    s.controls.stop()
    thread.join(20)
    assert not thread.is_alive() and s.steps == 2 and len(display.frames) == 3


def test_a_search_that_fails_pauses(monkeypatch: pytest.MonkeyPatch):
    def fail(*_args: Any, **_kwargs: Any) -> None:
        raise PlanningError("all 16 candidates have non-finite scores")

    s, display = session()
    monkeypatch.setattr(MPCAgent, "act", fail)
    s.advance()
    assert display.said == ["all 16 candidates have non-finite scores; paused"]
    assert s.controls.take().paused and s.steps == 0


def test_every_slider_sets_what_there_is():
    """Both ends of every slider, and every choice, are settings that a planner accepts."""
    for setting in (*SEARCH, *OBJECTIVE, *DEPTH):
        values = (setting.low, setting.high) if isinstance(setting, Slider) else setting.options
        for value in values if setting.name != "loops" else ():
            config = changed(PlannerConfig(), {setting.name: value})
            assert getattr(config, setting.name) == (value if (setting.name, value) != ("deadline", 0) else None)
    with pytest.raises(ValueError, match=r"planner.speed is unknown, allowed action_weight"):
        changed(PlannerConfig(), {"speed": 1})
    assert Slider("horizon", 1, 30, 1, "").over(40).high == 40
