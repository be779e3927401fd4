"""A checkpoint through the bridge: an untrained model in a lock-step or real run, and its files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from loopwm_robot.build import make_env, spaces_of
from loopwm_robot.checkpoint import Checkpoint
from loopwm_robot.cli.compose import compose
from loopwm_robot.cli.deploy import DeployCommand
from loopwm_robot.closed_loop import EVALUATION_SEED
from loopwm_robot.config import EnvConfig, ModelConfig, PlannerConfig
from loopwm_robot.deploy.errors import DeployError
from loopwm_robot.deploy.record import load_recording
from loopwm_robot.deploy.run import DRY_RUN, SHADOW, DeployConfig, deploy_checkpoint, held_out_goals
from loopwm_robot.errors import RequestError
from loopwm_robot.models.build import build_model

NANO = ModelConfig(latent_dim=16, heads=2, mean_loops=1, max_loops=2, plan_loops=1)
FAST = PlannerConfig(horizon=4, num_samples=32, num_elites=6, iterations=1, keep_elites=2)


@pytest.fixture(scope="module")
def parts():
    """Checkpoint, environment and arm that fit together."""
    config = EnvConfig()
    env = make_env(config)
    spaces = spaces_of(env, config)
    torch.manual_seed(0)
    model = build_model(NANO, spaces.n_obs, spaces.nu, spaces.n_goal, spaces.ctrl_dt, spaces.groups).eval()
    yield Checkpoint(model, NANO, spaces, {}), env, compose("deploy", ["checkpoint=x"], DeployCommand).arm
    env.close()


def test_goals_are_those_of_the_evaluation(parts):
    _, env, _ = parts
    goals = held_out_goals(env, 3)
    obs, _ = env.reset(seed=EVALUATION_SEED + 2)
    assert goals.shape == (3, 3) and np.array_equal(goals[2], obs["desired_goal"])


def test_a_run_leaves_its_recording_and_figure(parts, tmp_path):
    checkpoint, env, arm = parts
    config = DeployConfig(goals=1, steps_per_goal=10, warmup_plans=1)
    result = deploy_checkpoint(checkpoint, env, FAST, arm, config, 0, tmp_path)
    assert len(result.goals) == 1 and result.audit.limit_violations == 0
    recording = load_recording(tmp_path)
    assert np.array_equal(recording.records["applied"], result.records["applied"])
    assert (tmp_path / "plots" / "bridge.png").stat().st_size > 1000


def test_a_fault_ends_the_run_and_keeps_the_recording(parts, tmp_path):
    checkpoint, env, arm = parts
    faulty = replace(arm, driver_kwargs={"faults": [{"kind": "device_fault", "at_s": 1.0}]})
    config = DeployConfig(goals=3, steps_per_goal=40, warmup_plans=1)
    with pytest.raises(DeployError, match="fault"):
        deploy_checkpoint(checkpoint, env, FAST, faulty, config, 0, tmp_path)
    assert any(event.kind == "fault" for event in load_recording(tmp_path).events)


def test_a_dry_run_comes_first_where_it_is_asked_for(parts, tmp_path):
    checkpoint, env, arm = parts
    config = DeployConfig(goals=1, dry_goals=2, steps_per_goal=10, warmup_plans=1)
    result = deploy_checkpoint(checkpoint, env, FAST, arm, config, 0, tmp_path)
    dry, real = load_recording(tmp_path / DRY_RUN), load_recording(tmp_path)
    assert len(result.goals) == 1 and len(dry.records) > len(real.records) > 100
    # The arm itself lags behind its commands; in a dry run its pose is that of the commands.
    assert np.abs(np.diff(dry.records["applied"][:, 0])).max() > 0.0
    assert np.abs(real.records["q"] - real.records["applied"]).max() > 1e-3
    assert np.abs(np.roll(dry.records["applied"], 1, 0) - dry.records["q"])[5:].max() < 1e-6


def test_a_shadow_sees_only_what_the_arm_does_by_itself(parts, tmp_path):
    checkpoint, env, arm = parts
    config = DeployConfig(goals=1, shadow_goals=1, dry_goals=1, steps_per_goal=10, warmup_plans=1)
    deploy_checkpoint(checkpoint, env, FAST, arm, config, 0, tmp_path)
    shadow, dry = load_recording(tmp_path / SHADOW), load_recording(tmp_path / DRY_RUN)
    assert np.ptp(shadow.records["q"], axis=0).max() < 1e-3 < 0.01 < np.ptp(shadow.records["applied"], axis=0).max()
    assert np.ptp(dry.records["q"], axis=0).max() > 0.01
    assert (tmp_path / "bridge.npz").is_file()


def test_a_fault_in_the_dry_run_ends_it_before_anything_is_sent(parts, tmp_path):
    checkpoint, env, arm = parts
    faulty = replace(arm, driver_kwargs={"faults": [{"kind": "device_fault", "at_s": 1.0}]})
    config = DeployConfig(goals=1, dry_goals=3, steps_per_goal=40, warmup_plans=1)
    with pytest.raises(DeployError, match="fault"):
        deploy_checkpoint(checkpoint, env, FAST, faulty, config, 0, tmp_path)
    assert (tmp_path / DRY_RUN / "bridge.npz").is_file() and not (tmp_path / "bridge.npz").exists()


def test_what_does_not_fit_is_refused_before_anything_moves(parts, tmp_path):
    checkpoint, env, arm = parts
    other = replace(checkpoint, spaces=replace(checkpoint.spaces, control_mode="cartesian_delta"))
    with pytest.raises(RequestError, match="cartesian_delta"):
        deploy_checkpoint(other, env, FAST, arm, DeployConfig(goals=1), 0, tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"deploy\.goals is 0"):
        DeployConfig(goals=0)
    for key in ("dry_goals", "shadow_goals"):
        with pytest.raises(ValueError, match=rf"deploy\.{key} is -1"):
            DeployConfig(**{key: -1})
