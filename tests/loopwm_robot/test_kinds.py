"""Every kind of model through the same stack: checkpoint, evaluation, report, arm, training by command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from marks import slow_but
from point_env import PointEnv

from envs import observation_groups
from envs.exploration import PushExplorer
from envs.tasks.fixture_script import FixtureScript
from envs.tasks.stack import StackScript
from hardware import FakeClock
from loopwm_robot.bench.profile import profile_control_step
from loopwm_robot.build import check_model, make_env, make_explorer, planning_agent, spaces_of
from loopwm_robot.checkpoint import Checkpoint, Spaces, load_checkpoint, save_checkpoint
from loopwm_robot.cli.compose import compose, groups
from loopwm_robot.cli.deploy import DeployCommand
from loopwm_robot.cli.main import main
from loopwm_robot.config import (
    KINDS,
    LOOPED,
    CollectConfig,
    EnvConfig,
    EvaluateConfig,
    ModelConfig,
    PlannerConfig,
    TrainCommand,
    TrainConfig,
)
from loopwm_robot.data.collect import ExplorationPolicy, UniformPolicy, run_episode
from loopwm_robot.deploy import ControlConfig, make_bridge, run_reaches
from loopwm_robot.errors import RequestError
from loopwm_robot.evaluation import depths, evaluate_checkpoint, mean_loops, position_name, write_evaluation
from loopwm_robot.models.build import build_model
from loopwm_robot.models.cost import parameters
from loopwm_robot.models.ensemble import EnsembleConfig
from loopwm_robot.models.latent_mlp import LatentMLPConfig
from loopwm_robot.models.rssm import RSSMConfig
from loopwm_robot.report.html import build_report
from loopwm_robot.report.style import MODELS
from loopwm_robot.training.online import TrainingRun

FAST = PlannerConfig(horizon=3, num_samples=16, num_elites=4, iterations=1, keep_elites=2)
PUSH = EnvConfig(id="LoopWM/PandaPush-v0", control_mode="cartesian_delta")


def config(kind: str) -> ModelConfig:
    """A tiny model of a kind."""
    return ModelConfig(
        kind=kind,
        latent_dim=16,
        heads=2,
        mean_loops=2,
        max_loops=4,
        context=3 if kind in LOOPED else 0,
        latent_mlp=LatentMLPConfig(latent_dim=16, hidden=16, layers=1),
        rssm=RSSMConfig(deterministic=16, categoricals=2, classes=4, hidden=16, layers=1, context=3),
        ensemble=EnsembleConfig(members=2, hidden=16, layers=1),
    )


def checkpoint_of(model: ModelConfig, spaces: Spaces) -> Checkpoint:
    """An untrained checkpoint; its scaling is not the identity."""
    s = spaces
    torch.manual_seed(0)
    built = build_model(model, s.n_obs, s.nu, s.n_goal, s.ctrl_dt, s.groups).eval()
    built.obs_normalizer.fit(torch.randn(50, s.n_obs) * 0.5)
    return Checkpoint(built, model, s, {})


@pytest.fixture(scope="module")
def reach() -> tuple[gym.Env, Spaces]:
    env = make_env(EnvConfig())
    return env, spaces_of(env, EnvConfig())


@pytest.mark.parametrize("kind", slow_but(["loopwm"], KINDS))
def test_measured_and_reported(kind: str, reach: tuple[gym.Env, Spaces], tmp_path: Path) -> None:
    env, spaces = reach
    save_checkpoint(tmp_path / "c.safetensors", checkpoint_of(config(kind), spaces))
    checkpoint = load_checkpoint(tmp_path / "c.safetensors")
    counts = EvaluateConfig(episodes=1, untrained_episodes=1, held_out=1)
    evaluation = evaluate_checkpoint(checkpoint, env, FAST, counts, seed=0)
    summary = evaluation.summary()
    assert summary["model"] == kind and {"success_rate", "untrained.success_rate"} <= set(summary)
    assert {f"open_loop_{name}_h{h}" for name in ("rmse", "position_m") for h in (1, 5, 10, 20)} <= set(summary)
    assert all(isinstance(v, str) or np.isfinite(v) for v in summary.values())
    write_evaluation(evaluation, checkpoint, tmp_path)
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    page = build_report(tmp_path).read_text()
    assert f"<h1>{MODELS[kind]} reaches" in page
    # What a model has not is nowhere.
    assert ("mean_loops" in summary) == (kind in LOOPED)
    assert any(key.startswith("time_") for key in summary) == (kind in LOOPED)
    choice = kind == "loopwm"
    assert any(key.startswith("open_loop") and "_loops" in key for key in summary) == choice
    assert (tmp_path / "plots" / "loops.png").exists() == choice == ("Do more loops" in page)
    assert ("Position that the goal is about" in page) == (not choice)


@pytest.mark.parametrize("kind", KINDS)
def test_drives_the_arm(kind: str, reach: tuple[gym.Env, Spaces]) -> None:
    env, spaces = reach
    agent = planning_agent(checkpoint_of(config(kind), spaces), FAST, env, 0)
    arm = compose("deploy", ["checkpoint=x"], DeployCommand).arm
    base = env.unwrapped
    with make_bridge(arm, lockstep=True, clock=FakeClock(10.0)) as bridge:
        settings, goals = ControlConfig(steps_per_goal=5, warmup_plans=1), np.full((2, 3), 0.4)
        columns = spaces.position_columns
        result = run_reaches(agent, bridge, base.joint_delta, base.kinematics, columns, goals, settings)
    assert len(result.goals) == 2 and result.audit.limit_violations == 0 and result.ready == result.instants
    assert len(agent.memory) == agent.memory.context  # of what the arm did, also for the goal before


@pytest.mark.parametrize("kind", slow_but(["loopwm", "ensemble"], KINDS))
def test_trains_by_command(kind: str, tmp_path: Path) -> None:
    tiny = ["collect.episodes=2", "train.held_out=1", "train.rounds=2", "train.updates_per_round=2"]
    tiny += ["train.episodes_per_round=1", "train.update.batch_size=8", "train.gate.updates=2", "planner=cem_fast"]
    assert main(["train", f"model={'nano' if kind == 'loopwm' else kind}", *tiny, f"out={tmp_path / 'run'}"]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["model"] == kind and summary["train_updates"] == 4 and summary["train_transitions"] == 180
    assert load_checkpoint(tmp_path / "run" / "checkpoint.safetensors").config.kind == kind


def test_loop_counts_that_an_ablation_was_trained_for(reach: tuple[gym.Env, Spaces]) -> None:
    counts = {kind: depths(checkpoint_of(config(kind), reach[1])) for kind in LOOPED}
    assert counts == {"loopwm": None, "one_pass": [1], "untied": [2]}


def test_mean_loops_are_counted_with_full_context(reach: tuple[gym.Env, Spaces]) -> None:
    env, spaces = reach
    checkpoint = checkpoint_of(replace(config("loopwm"), exit="converged", exit_threshold=1e9), spaces)
    episodes = evaluate_checkpoint(checkpoint, env, FAST, EvaluateConfig(episodes=1, held_out=1), 0).held_out
    seen = []
    encode = checkpoint.model.encode
    spy = lambda obs, history: seen.append(history) or encode(obs, history=history)  # noqa: E731
    object.__setattr__(checkpoint.model, "encode", spy)
    assert mean_loops(checkpoint.model, episodes) == 1.0  # any change is below the threshold
    assert len(seen[0].mask) == len(episodes[0]) - 3 and bool(seen[0].mask.all())


@pytest.mark.parametrize("kind", LOOPED)
def test_the_parts_of_a_control_step_add_up(kind: str, reach: tuple[gym.Env, Spaces]) -> None:
    env, spaces = reach
    agent = planning_agent(checkpoint_of(config(kind), spaces), FAST, env, 0)
    obs, _ = env.reset(seed=0)
    parts = profile_control_step(agent, obs["observation"], obs["desired_goal"], repeats=9)
    assert all(seconds > 0 for seconds in parts.values())
    assert 0.2 < sum(parts.values()) / np.median(agent.timings[-9:]) < 5  # medians on a busy machine: no exact sum


def test_the_object_is_what_counts_in_pushing() -> None:
    """The goal is compared with the object's position, and every body has its columns."""
    env = make_env(PUSH)
    spaces = spaces_of(env, PUSH)
    obs, _ = env.reset(seed=3)
    assert np.array_equal(obs["observation"][spaces.position_columns], obs["achieved_goal"])
    arm = observation_groups(7)
    assert not np.allclose(obs["observation"][arm["ee_pos"]], obs["achieved_goal"], atol=0.02)
    assert np.array_equal(spaces.joint_columns, arm["q"]) and spaces.home == tuple(env.unwrapped.posture)
    assert sorted(c for columns in spaces.groups.values() for c in columns) == list(range(spaces.n_obs))
    assert position_name(spaces) == "Object"
    for tokens in ("single", "bodies", "parts"):
        model = replace(config("loopwm"), tokens=tokens)
        check_model(env, spaces, model)
        agent = planning_agent(checkpoint_of(model, spaces), FAST, env, 0)
        agent.reset(obs["desired_goal"])
        assert agent.act(obs["observation"]).shape == (3,)


def test_exploration_pushes_the_object_and_also_moves_anywhere() -> None:
    env = make_env(PUSH)
    policy = make_explorer(env, 3, CollectConfig(), np.random.default_rng(0))
    moved, kinds = [], set()
    for seed in range(16):
        episode, _ = run_episode(env, policy, seed)
        moved.append(np.linalg.norm(np.diff(episode.achieved, axis=0), axis=-1) > 1e-4)
        kinds.add(type(policy.chosen))
    assert np.mean(moved) > 0.2 and kinds == {PushExplorer, ExplorationPolicy}
    reach = make_explorer(make_env(EnvConfig()), 7, CollectConfig(), np.random.default_rng(0))
    assert isinstance(reach, ExplorationPolicy)


def test_exploration_opens_drawers() -> None:
    env = make_env(EnvConfig(id="LoopWM/PandaDrawerOpen-v0", control_mode="cartesian_delta"))
    policy = make_explorer(env, 3, CollectConfig(), np.random.default_rng(0))
    opened, kinds = [], set()
    for seed in range(6):
        episode, _ = run_episode(env, policy, seed)
        opened.append(np.linalg.norm(episode.achieved[-1] - episode.achieved[0]) > 0.02)
        kinds.add(type(policy.chosen))
    assert sum(opened) >= 2 and kinds == {FixtureScript, ExplorationPolicy}


@pytest.mark.parametrize(("task", "script"), [("Slide", PushExplorer), ("Stack", StackScript)])
def test_exploration_uses_the_script_of_the_task(task: str, script: type) -> None:
    env = make_env(EnvConfig(id=f"LoopWM/Panda{task}-v0", control_mode="cartesian_delta"))
    policy = make_explorer(env, env.action_space.shape[0], CollectConfig(), np.random.default_rng(0))
    for seed in range(10):
        episode, _ = run_episode(env, policy, seed)
        if type(policy.chosen) is script:
            break
    assert type(policy.chosen) is script
    assert np.linalg.norm(episode.achieved - episode.achieved[0], axis=-1).max() > 0.05


def test_planned_episodes_with_objects_start_afresh(tmp_path: Path) -> None:
    """A posture from the episode before may be where the object is now."""
    training = TrainConfig(buffer_size=500, chain=5)
    for env_config, chained in ((EnvConfig(), True), (PUSH, False)):
        env = make_env(env_config)
        spaces = spaces_of(env, env_config)
        run = TrainingRun(env, spaces, config("loopwm"), FAST, CollectConfig(), training, 0, tmp_path)
        before, _ = run_episode(env, UniformPolicy(spaces.nu, np.random.default_rng(0)), 0)
        arena = run.arenas[0]
        assert (arena.chained_start(1, before, training.chain) is not None) == chained
        assert arena.chained_start(0, before, training.chain) is None


@pytest.mark.parametrize("config", [PUSH, EnvConfig(id="LoopWM/PandaReachHidden-v0")], ids=["push", "hidden"])
def test_the_simulator_knows_objects_and_hidden_dynamics(config: EnvConfig) -> None:
    """The true model foresees what the environment then does."""
    env = make_env(config)
    spaces = spaces_of(env, config)
    checkpoint = checkpoint_of(ModelConfig(latent_dim=16, heads=2), spaces)
    agent = planning_agent(checkpoint, replace(FAST, model="simulator"), env, 0)
    rng = np.random.default_rng(0)
    for seed in range(3):
        obs, _ = env.reset(seed=seed)
        for _ in range(3):
            env.step(rng.uniform(-1, 1, spaces.nu).astype(np.float32))
        actions = rng.uniform(-1, 1, (1, 5, spaces.nu)).astype(np.float32)
        foreseen = agent.model.rollout(agent.model.encode(None), torch.from_numpy(actions)).observations()[0]
        for k, action in enumerate(actions[0]):
            obs, *_ = env.step(action)
            assert np.allclose(obs["observation"], foreseen[k], atol=1e-3)
    agent.model.close()


def test_environments_of_others_may_say_what_their_columns_mean() -> None:
    class Telling(PointEnv):
        goal_columns = slice(0, 2)

        def observation_tokens(self):
            return {"object": [0, 1], "constant": [2]}

    other = EnvConfig(id="Point-v0", control_mode="", reward="")
    plain, telling = spaces_of(PointEnv(), other), spaces_of(Telling(), other)
    assert plain.position == (0, 0) and plain.groups == {} and plain.home == ()
    assert telling.position == (0, 2) and telling.groups == {"object": (0, 1), "constant": (2,)}
    assert position_name(telling) == "Object" and position_name(plain) == "Position"


def test_an_environment_without_positions_is_measured(tmp_path: Path) -> None:
    other = EnvConfig(id="Point-v0", control_mode="", reward="")
    checkpoint = checkpoint_of(ModelConfig(latent_dim=16, heads=2), spaces_of(PointEnv(), other))
    planner = replace(FAST, objective="learned_reward")
    evaluation = evaluate_checkpoint(checkpoint, PointEnv(25), planner, EvaluateConfig(episodes=1, held_out=1), 0)
    write_evaluation(evaluation, checkpoint, tmp_path)
    assert "open_loop_rmse_h20" in evaluation.summary() and not [k for k in evaluation.summary() if "position" in k]
    assert not (tmp_path / "plots" / "predictions.png").exists() and (tmp_path / "plots" / "timing.png").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": "parts"}, "model.tokens is 'parts'.*set model.tokens=single"),
        ({"context": 41}, r"model\.context is 41 control steps, allowed up to 40 .* have 60"),
        ({"kind": "rssm", "rssm": RSSMConfig(context=50)}, r"model\.rssm\.context is 50 control steps"),
        ({"kind": "rssm", "context": 5}, r"model\.context is 5 with model\.kind 'rssm'.*set model\.rssm\.context"),
        ({"kind": "ensemble", "context": 5}, r"model\.context is 5 with model\.kind 'ensemble'.*leave it out"),
    ],
)
def test_models_that_cannot_be_trained_are_refused(
    changes: dict, message: str, reach: tuple[gym.Env, Spaces]
) -> None:
    env, spaces = reach
    with pytest.raises(RequestError, match=message):
        check_model(env, replace(spaces, groups={}), ModelConfig(**changes))


def test_chunks_need_the_step_consistent_form(reach: tuple[gym.Env, Spaces]) -> None:
    with pytest.raises(RequestError, match=r"train\.update\.chunks is \[1, 4\]"):
        check_model(*reach, ModelConfig(), (1, 4))
    check_model(*reach, ModelConfig(form="step_consistent"), (1, 4))
    check_model(*reach, ModelConfig(kind="ensemble"), (1, 4))


SIZES = {"nano": (2e4, 5e4), "small": (8e4, 1.5e5), "base": (5e5, 1e6), "large": (5e6, 1e7)}


@pytest.mark.parametrize("name", groups()["model"])
def test_presets(name: str, reach: tuple[gym.Env, Spaces]) -> None:
    env, spaces = reach
    model = compose("train", [f"model={name}"], TrainCommand).model
    check_model(env, spaces, model)
    low, high = SIZES.get(name, (1e4, 2e6))
    assert low <= parameters(checkpoint_of(model, spaces).model) <= high
    assert model.kind == (name if name in KINDS else "loopwm")
    if name in ("base", "large"):
        assert model.tokens == "parts" and model.context > 0
