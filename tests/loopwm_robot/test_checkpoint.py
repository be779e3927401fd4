"""Checkpoints survive the round trip, and nothing damaged or foreign is accepted."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from loopwm_robot.checkpoint import (
    Checkpoint,
    CheckpointError,
    Spaces,
    load_checkpoint,
    save_checkpoint,
    save_tensors,
)
from loopwm_robot.config import ModelConfig
from loopwm_robot.models.build import UNCALIBRATED, build_model
from loopwm_robot.models.loop_control import Converged, FixedDepth

CONFIG = ModelConfig(latent_dim=16, heads=2, exit="converged", exit_threshold=0.1, max_loops=5)
SPACES = Spaces("Test-v0", "joint_delta", 6, 2, 3, 0.05, (3, 6))


def make() -> Checkpoint:
    torch.manual_seed(0)
    model = build_model(CONFIG, SPACES.n_obs, SPACES.nu, SPACES.n_goal, SPACES.ctrl_dt)
    model.obs_normalizer.fit(torch.randn(100, 6) * 3 + 1)
    return Checkpoint(model.eval(), CONFIG, SPACES, {"updates": 7})


def test_round_trip_predicts_the_same(tmp_path):
    saved = make()
    save_checkpoint(tmp_path / "c.safetensors", saved)
    loaded = load_checkpoint(tmp_path / "c.safetensors")
    assert loaded.config == CONFIG and loaded.spaces == SPACES and loaded.info == {"updates": 7}
    assert loaded.model.exit_rule == Converged(0.1, 1, 5) and not loaded.model.training
    obs, actions = torch.randn(3, 6), torch.rand(3, 4, 2)
    a, b = (c.model.rollout(c.model.encode(obs), actions).observations() for c in (saved, loaded))
    assert torch.equal(a, b)
    assert loaded.parameters == sum(p.numel() for p in saved.model.parameters())
    assert os.listdir(tmp_path) == ["c.safetensors"]  # no temporary file is left
    (tmp_path / "plain").touch()
    assert (tmp_path / "c.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode  # readable as any file


def test_calibrated_exits_and_groups_survive(tmp_path):
    """A threshold in the configuration wins over the one that calibration left."""
    groups = {"joint1": (0, 2), "ee": (1, 3, 4), "object": (5,)}
    spaces, config = replace(SPACES, groups=groups), replace(CONFIG, exit_threshold=None, tokens="bodies", context=4)
    sizes = (6, 2, 3, 0.05, groups)
    model = build_model(config, *sizes)
    assert model.exit_rule == Converged(UNCALIBRATED["converged"], 1, 5)
    model.exit_thresholds = {"converged": 0.25, "gate": 0.75}
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, Checkpoint(model, config, spaces, {}))
    loaded = load_checkpoint(path)
    assert loaded.spaces == spaces and loaded.model.layout.names == ("robot", "object") and loaded.model.context == 4
    assert loaded.model.exit_rule == Converged(0.25, 1, 5) and loaded.model.exit_thresholds["gate"] == 0.75
    save_checkpoint(path, Checkpoint(model, replace(config, exit_threshold=0.5), spaces, {}))
    assert load_checkpoint(path).model.exit_rule == Converged(0.5, 1, 5)
    save_checkpoint(path, Checkpoint(model, replace(config, exit="gate"), spaces, {}))
    assert load_checkpoint(path).model.exit_rule.threshold == 0.75


@pytest.mark.parametrize("kind", ["one_pass", "untied", "latent_mlp", "rssm", "ensemble"])
def test_other_kinds_survive(tmp_path, kind):
    torch.manual_seed(0)
    config = replace(CONFIG, kind=kind)
    model = build_model(config, SPACES.n_obs, SPACES.nu, SPACES.n_goal, SPACES.ctrl_dt).eval()
    model.fit_normalizers(torch.randn(50, 6) * 3 + 1, torch.randn(50, 6), torch.randn(50, 3))
    save_checkpoint(tmp_path / "c.safetensors", Checkpoint(model, config, SPACES, {}))
    loaded = load_checkpoint(tmp_path / "c.safetensors")
    obs, goal, actions = torch.randn(3, 6), torch.randn(3, 3), torch.rand(3, 4, 2)
    a, b = (m.rollout(m.encode(obs, goal), actions) for m in (model, loaded.model))
    assert type(loaded.model) is type(model) and loaded.config == config
    assert torch.equal(a.observations(), b.observations()) and torch.equal(a.rewards(), b.rewards())


def test_another_version_is_refused(tmp_path):
    path = tmp_path / "old.safetensors"
    save_tensors(path, {"w": torch.zeros(1)}, {"format": "loopwm-robot checkpoint 1"})
    with pytest.raises(CheckpointError, match="format 'loopwm-robot checkpoint 1', allowed 'loopwm-robot checkpoint"):
        load_checkpoint(path)


def test_fixed_exit():
    assert build_model(replace(CONFIG, exit="fixed", plan_loops=4), 6, 2, 3, 0.05).exit_rule == FixedDepth(4)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated_files_are_refused(tmp_path, keep):
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, make())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(path)


def test_missing_foreign_and_non_finite_files_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        load_checkpoint(tmp_path / "none.safetensors")
    foreign = tmp_path / "foreign.safetensors"
    save_file({"w": torch.zeros(3)}, foreign)
    with pytest.raises(CheckpointError, match="has format None"):
        load_checkpoint(foreign)
    bad = make()
    with torch.no_grad():
        bad.model.action_embedder.weight[0, 0] = torch.nan
    save_checkpoint(tmp_path / "nan.safetensors", bad)
    with pytest.raises(CheckpointError, match=r"tensor action_embedder\.weight has non-finite"):
        load_checkpoint(tmp_path / "nan.safetensors")


def test_weights_that_do_not_fit_the_configuration_are_refused(tmp_path):
    other = replace(make(), config=replace(CONFIG, latent_dim=32))
    save_checkpoint(tmp_path / "c.safetensors", other)
    with pytest.raises(CheckpointError, match="does not fit its own configuration"):
        load_checkpoint(tmp_path / "c.safetensors")


def test_another_environment_is_named():
    other = replace(SPACES, env_id="Other-v0", nu=3)
    with pytest.raises(CheckpointError, match=r"env_id 'Test-v0' \(environment 'Other-v0'\), nu 2 \(environment 3\)"):
        SPACES.require(other, "c.safetensors")
    SPACES.require(SPACES, "c.safetensors")


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, make())
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(path, replace(make(), info={"updates": 8}))
    assert path.read_bytes() == before


def test_a_flipped_bit_is_found(tmp_path):
    """The weights still load: only the digest knows that they are not those that were written."""
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, make())
    content = bytearray(path.read_bytes())
    content[-3] ^= 1  # in the last number's mantissa
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{path} is damaged \(its content does not have the digest"):
        load_checkpoint(path)
