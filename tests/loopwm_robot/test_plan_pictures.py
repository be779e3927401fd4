"""Pictures of a plan: what is in them is what the planner considered."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from PIL import Image
from reach_spaces import reach_spaces

from loopwm_robot.build import make_agent, make_env, planning_agent, spaces_of
from loopwm_robot.checkpoint import Checkpoint, Spaces, save_checkpoint
from loopwm_robot.cli.main import main
from loopwm_robot.config import EnvConfig, ModelConfig, PlannerConfig
from loopwm_robot.models.build import build_model
from loopwm_robot.plan_pictures import film_plans, picture_plan
from loopwm_robot.report import video
from loopwm_robot.report.candidates import BROKEN, Candidates, CandidateWatch, ball, best, spheres
from loopwm_robot.report.plan_plot import loops_used, plan_plot
from planners import AvoidSphere, Reach

FAST = PlannerConfig(horizon=4, num_samples=20, num_elites=5, iterations=2, keep_elites=2)
SPHERE = {"cost": "avoid_sphere", "of": "ee_pos", "centre": [0.5, 0.0, 0.5], "radius": 0.1, "hard": True}
EE = slice(28, 31)


@pytest.fixture(autouse=True)
def coarse_figures() -> None:
    """Figures as users get them."""


def untrained() -> Checkpoint:
    torch.manual_seed(0)
    config = ModelConfig(latent_dim=16, heads=2, plan_loops=2)
    model = build_model(config, *reach_spaces().of_model).eval().requires_grad_(False)
    return Checkpoint(model, config, reach_spaces(), {})


def some(scores: list[float], loops: bool = False) -> Candidates:
    n = len(scores)
    paths = np.random.default_rng(0).normal(size=(n, 4, 3)).cumsum(1) * 0.02
    values = np.array(scores)
    return Candidates(
        paths,
        values,
        np.arange(n) // 3,
        best(values, 2),
        np.arange(3 * n).reshape(n, 3) if loops else None,
        paths[0],
    )


def test_colours_go_by_rank_and_name_what_breaks_a_constraint():
    candidates = some([3.0, -1.0, math.nan, 100.0, -2e9, -5.0])
    assert candidates.shade().tolist() == pytest.approx([2 / 3, 1 / 3, 0, 1, 0, 0])
    assert candidates.broken.tolist() == [False, False, False, False, True, False]
    assert candidates.colours()[4] == pytest.approx(BROKEN)
    assert candidates.elite.tolist() == [True, False, False, True, False, False]
    assert candidates.shown(99).tolist() == [4, 5, 1, 0, 3]
    assert candidates.shown(3).tolist() == [4, 1, 3]  # worst, middle, best
    lines = candidates.polylines(2)
    assert len(lines) == 2 and lines[1].radius > lines[0].radius
    assert np.array_equal(lines[1].points, candidates.paths[3])
    assert some([1.0]).shade().tolist() == [1.0]


def test_watching_shows_what_was_considered_and_changes_no_plan():
    checkpoint, env = untrained(), make_env(EnvConfig())
    raw, _ = env.reset(seed=0)
    obs, goal = raw["observation"], raw["desired_goal"]
    plain, watched = (planning_agent(checkpoint, FAST, env, 0) for _ in range(2))
    plain.reset(goal)
    watched.reset(goal)
    watch = CandidateWatch(watched, EE)
    with pytest.raises(ValueError, match=r"considered no candidates"):
        watch.candidates(obs, None)
    for _ in range(2):
        watch.begin()
        state = watched.state(obs)
        assert np.array_equal(watched.act(obs), plain.act(obs))
    seen = watch.candidates(obs, state)
    assert seen.paths.shape == (40, 5, 3) and seen.chosen.shape == (5, 3)
    assert np.allclose(seen.paths[:, 0], obs[EE]) and np.allclose(seen.chosen[0], obs[EE])
    assert seen.iteration.tolist() == [0] * 20 + [1] * 20
    assert seen.elite.reshape(2, 20).sum(1).tolist() == [5, 5]
    assert seen.scores[seen.elite].min() >= seen.scores[~seen.elite & (seen.iteration == 1)].min()
    assert seen.loops.shape == (40, 4) and (seen.loops == 2).all() and seen.feasible
    env.close()


def colours_in(path: Path) -> int:
    with Image.open(path) as image:
        assert image.width > 1000
        return len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0))


@pytest.mark.parametrize(
    "candidates",
    [
        pytest.param(some([3.0, -1.0, math.nan, 100.0, -2e9, -5.0], loops=True), marks=pytest.mark.slow),
        replace(some([-1e9, -2e9]), feasible=False),
    ],
    ids=["mixed", "infeasible"],
)
def test_the_picture_is_drawn_whatever_happened(tmp_path: Path, candidates: Candidates):
    file = tmp_path / "plan.png"
    goal, obstacle = (0.1, 0.0, 0.2), AvoidSphere("ee_pos", (0.05, 0.0, 0.1), 0.05)
    assert plan_plot(candidates, file, goal, [obstacle]) == file
    assert colours_in(file) > 20


def test_loops_in_words():
    candidates = some([3.0, -1.0], loops=True)  # 0 to 5
    assert loops_used(candidates) == "loops: mean 2.50, elites 2.50, 0 to 5"
    assert loops_used(replace(candidates, loops=np.full((2, 3), 2))) == "2 loops in every transition"


def test_spheres_among_the_costs():
    sphere = AvoidSphere("ee_pos", (0.5, 0.0, 0.5), 0.1)
    assert spheres([Reach("q"), sphere, AvoidSphere("object_pos", (0, 0, 0), 1)]) == [sphere]
    drawn = ball(sphere)
    assert drawn.radius == 0.1 and np.allclose(drawn.points, sphere.centre, atol=1e-4)


@pytest.mark.slow
def test_a_plan_on_the_simulator_is_pictured_with_its_obstacle(tmp_path: Path):
    env = make_env(EnvConfig())
    planner = replace(FAST, model="simulator", costs=(SPHERE,))
    assert picture_plan(untrained(), env, planner, 0, tmp_path / "plan.png") == tmp_path / "plan.png"
    assert colours_in(tmp_path / "plan.png") > 20
    env.close()


@pytest.mark.slow
def test_where_the_goal_is_about_an_object_the_hand_is_pictured(tmp_path: Path):
    config = EnvConfig(id="LoopWM/PandaPush-v0", control_mode="cartesian_delta")
    env = make_env(config)
    pushing = replace(untrained(), spaces=spaces_of(env, config))
    assert picture_plan(pushing, env, replace(FAST, model="simulator"), 0, tmp_path / "plan.png") is not None
    assert colours_in(tmp_path / "plan.png") > 20
    env.close()


def test_without_an_end_effector_there_is_no_picture(tmp_path: Path):
    blind = replace(untrained(), spaces=Spaces("Other", "", 4, 2, 0, 0.1))
    assert picture_plan(blind, gym.make("CartPole-v1"), FAST, 0, tmp_path / "plan.png") is None
    assert not list(tmp_path.iterdir())


def test_films_hold_the_candidates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The same film without them has fewer colours between the arm and the table."""
    monkeypatch.setattr("loopwm_robot.plan_pictures.FILM", {"width": 160, "height": 120, "max_episode_steps": 3})
    pictures: list[np.ndarray] = []
    overlays: list[int] = []
    draw = video.draw

    def spy(env, overlay):
        overlays.append(len(overlay))
        pictures.append(draw(env, overlay))
        return pictures[-1]

    monkeypatch.setattr(video, "draw", spy)
    planner = replace(FAST, model="simulator", costs=(SPHERE,))  # a new learned model moves nothing
    film = film_plans(untrained(), EnvConfig(), planner, 0, 1, tmp_path / "plans.mp4")
    assert film.frames == 3 and film.video.stat().st_size > 1000
    assert overlays == [40 + 1 + 2] * 3  # all candidates, the sphere, the plan and the way so far
    with_candidates = pictures.pop()
    monkeypatch.setattr("loopwm_robot.plan_pictures.SHOWN", 0)
    film_plans(untrained(), EnvConfig(), planner, 0, 1, tmp_path / "plain.mp4")
    assert overlays[-1] == 3
    assert np.abs(with_candidates.astype(int) - pictures[-1]).max() > 30


def test_the_agent_is_left_as_it_was(tmp_path: Path):
    env = gym.make("LoopWM/PandaReach-v0", render_mode="rgb_array", width=64, height=48, max_episode_steps=2)
    agent = make_agent(untrained().model, reach_spaces(), FAST, torch.Generator().manual_seed(0))
    video.record_reaches(env, agent, [0], tmp_path / "a.mp4", candidates=5)
    assert agent.watch is None
    env.close()


def test_by_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("loopwm_robot.plan_pictures.FILM", {"width": 64, "height": 48, "max_episode_steps": 2})
    save_checkpoint(tmp_path / "checkpoint.safetensors", untrained())
    base = ["evaluate", f"checkpoint={tmp_path}", "planner=cem_fast", "evaluate.episodes=1", "evaluate.held_out=1"]
    assert main([*base, f"out={tmp_path / 'a'}", "film_episodes=1"]) == 0
    assert (tmp_path / "a/plots/plan.png").stat().st_size > 1000
    assert (tmp_path / "a/video/plans.mp4").stat().st_size > 1000


@pytest.mark.slow
def test_a_film_that_cannot_be_made_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*_args, **_kwargs):
        raise video.VideoError("no GL here")

    monkeypatch.setattr("loopwm_robot.plan_pictures.record_reaches", broken)
    save_checkpoint(tmp_path / "checkpoint.safetensors", untrained())
    base = ["evaluate", f"checkpoint={tmp_path}", "planner=cem_fast", "evaluate.episodes=1", "evaluate.held_out=1"]
    assert main([*base, f"out={tmp_path / 'a'}", "film_episodes=1", "plan_picture=false"]) == 0
    assert "no GL here" in (tmp_path / "a/log.txt").read_text()
    assert not (tmp_path / "a/plots/plan.png").exists()
    assert (tmp_path / "a/summary.json").is_file()
