"""Training one model in several environments: shares, rounds, resuming, checkpoints, requests."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from point_env import PointEnv

from loopwm_robot.checkpoint import CheckpointError, Spaces, load_checkpoint, load_tensors, save_checkpoint
from loopwm_robot.cli.compose import compose
from loopwm_robot.cli.main import main
from loopwm_robot.config import CollectConfig, EnvConfig, ModelConfig, PlannerConfig, TrainCommand, TrainConfig
from loopwm_robot.data.buffer import shares
from loopwm_robot.data.datasets import read_dataset
from loopwm_robot.errors import RequestError
from loopwm_robot.hub.package import make_package, verify
from loopwm_robot.models.dynamics import DynamicsModel, Unroll
from loopwm_robot.models.latent_mlp import LatentMLPConfig
from loopwm_robot.schema import plain
from loopwm_robot.tracking import tag
from loopwm_robot.training.gate import GateConfig
from loopwm_robot.training.online import TrainingRun
from loopwm_robot.training.refused import load_batch
from loopwm_robot.training.trainer import TrainingError, UpdateConfig
from loopwm_robot.types import SequenceBatch


class CubeEnv(PointEnv):
    """The point in three dimensions."""

    DIMS = 3


POINT = Spaces("Point-v0", "", 3, 2, 2, 0.1, (0, 2), groups={"point": (0, 1), "one": (2,)})
CUBE = Spaces("Cube-v0", "", 4, 3, 3, 0.1, (0, 3), groups={"point": (0, 1, 2), "one": (3,)})
SMALL = ModelConfig(latent_dim=16, heads=2, mean_loops=2.0, max_loops=3, plan_loops=2)
UPDATE = UpdateConfig(batch_size=33, sequence_length=3)


def make_run(folder: Path, model: ModelConfig = SMALL) -> TrainingRun:
    environments = [gym.wrappers.TimeLimit(env(10**9), 10) for env in (PointEnv, CubeEnv)]
    return TrainingRun(
        environments[0],
        POINT,
        model,
        PlannerConfig(horizon=3, num_samples=32, num_elites=6, iterations=2, keep_elites=2),
        CollectConfig(episodes=6),
        TrainConfig(2, 20, episodes_per_round=2, held_out=2, update=UPDATE, gate=GateConfig(updates=10)),
        0,
        folder,
        others=[(environments[1], CUBE)],
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    run = make_run(tmp_path_factory.mktemp("several"))
    save_checkpoint(run.folder / "c.safetensors", run.run())
    return run


def test_shares_differ_by_one_at_most() -> None:
    assert shares(256, 3) == [86, 85, 85] and shares(4, 2) == [2, 2] and shares(5, 1) == [5]


def test_a_run_in_two_environments_says_how_each_went(finished: TrainingRun) -> None:
    summary = finished.summary()
    assert summary["env_id"] == "Point-v0, Cube-v0" and summary["train_updates"] == 40
    for name, arena in zip(("Point", "Cube"), finished.arenas, strict=True):
        assert len(arena.buffer) == summary[f"{name}.train_transitions"] == 80  # 6 explored, 2 planned, of 10 steps
        for key in ("best_success_rate", "best_final_distance_m_median", "open_loop_rmse_h1", "open_loop_rmse_h5"):
            assert np.isfinite(summary[f"{name}.{key}"]), key
        for rule in ("converged", "second_order", "gate"):
            assert summary[f"{name}.exit_{rule}_threshold"] == arena.model.exit_thresholds[rule]
        assert (arena.model.monitoring.level > 0).all()
    both = [summary[f"{name}.open_loop_rmse_h5"] for name in ("Point", "Cube")]
    assert summary["open_loop_rmse_h5"] == pytest.approx(np.mean(both)) and summary["train_transitions"] == 160
    assert finished.arenas[0].model.exit_thresholds != finished.arenas[1].model.exit_thresholds


def test_both_environments_are_learned(finished: TrainingRun) -> None:
    first, last = ([e for e in finished.history if "val_rmse_h1" in e][i] for i in (0, -1))
    for name in ("Point", "Cube"):
        assert last[f"{name}.val_rmse_h1"] < first[f"{name}.val_rmse_h1"]
    assert not torch.equal(finished.shared.table, make_run(finished.folder).shared.table)


def test_every_batch_has_equal_shares_and_no_sequence_of_two_environments(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for arena in run.arenas:
        run._begin(arena)
    run.shared.fit_normalizers([(torch.randn(9, n), torch.randn(9, n), torch.zeros(1, n - 1)) for n in (3, 4)])
    seen: list[SequenceBatch] = []
    losses = run.trainer._losses

    def noted(how: Unroll, model: DynamicsModel, weight: torch.Tensor, batch: SequenceBatch, *rest: Any) -> Any:
        seen.append(batch)
        return losses(how, model, weight, batch, *rest)

    run.trainer._losses = noted  # type: ignore[method-assign]
    for _ in range(3):
        run.trainer.update(*(arena.buffer for arena in run.arenas))
    assert len(seen) == 6
    for batches in zip(seen[0::2], seen[1::2], strict=True):
        assert [len(batch.action) for batch in batches] == [17, 16]
        for batch, arena in zip(batches, run.arenas, strict=True):
            known = {row.tobytes() for row in arena.buffer.observations}
            assert all(row.numpy().tobytes() in known for row in batch.obs.flatten(0, 1))


@pytest.mark.parametrize("kind", ["loopwm", "latent_mlp"])
def test_an_interrupted_run_resumes_to_the_same_weights(tmp_path: Path, kind: str, finished: TrainingRun) -> None:
    model = replace(SMALL, kind=kind, latent_mlp=LatentMLPConfig(latent_dim=16, hidden=16))
    unbroken = finished
    if kind != "loopwm":
        unbroken = make_run(tmp_path / "a", model=model)
        unbroken.run()

    def stop(_: object) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        make_run(tmp_path / "b", model=model).run(stop)
    resumed = make_run(tmp_path / "b", model=model)
    assert resumed.restore() and resumed.rounds_done == 1
    resumed.run()
    for (name, a), b in zip(
        unbroken.shared.state_dict().items(), resumed.shared.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name
    for mine, theirs in zip(unbroken.arenas, resumed.arenas, strict=True):
        assert np.array_equal(mine.buffer.observations, theirs.buffer.observations)
    losses = [[entry["loss"] for entry in run.history] for run in (unbroken, resumed)]
    assert losses[0] == losses[1]
    kept = sorted(path.name for path in (tmp_path / "b").glob("round_*"))
    assert kept == ["round_2.0.npz", "round_2.1.npz", "round_2.safetensors"]


def test_a_checkpoint_knows_its_environments(finished: TrainingRun) -> None:
    path = finished.folder / "c.safetensors"
    loaded = load_checkpoint(path)
    assert loaded.known == (POINT, CUBE) and loaded.spaces == POINT
    for arena, spaces in zip(finished.arenas, (POINT, CUBE), strict=True):
        checkpoint = loaded.at(spaces, path)
        obs, actions = torch.randn(2, spaces.n_obs), torch.rand(2, 3, spaces.nu)
        mine, theirs = (m.rollout(m.encode(obs), actions).observations() for m in (arena.model, checkpoint.model))
        assert torch.equal(mine, theirs) and checkpoint.spaces == spaces
        assert checkpoint.model.exit_thresholds == arena.model.exit_thresholds
        assert torch.equal(checkpoint.model.monitoring.level, arena.model.monitoring.level)
    again = finished.folder / "again.safetensors"
    save_checkpoint(again, loaded.at(CUBE, path))
    (mine, header), (theirs, other) = load_tensors(path), load_tensors(again)
    assert header == other and all(torch.equal(mine[name], theirs[name]) for name in (*mine, *theirs))


def test_an_environment_that_the_checkpoint_has_not_seen(finished: TrainingRun) -> None:
    path = finished.folder / "c.safetensors"
    loaded = load_checkpoint(path)
    with pytest.raises(CheckpointError, match=r"c.safetensors knows no Far-v0 \(joint_delta\), allowed Point-v0, C"):
        loaded.at(replace(POINT, env_id="Far-v0", control_mode="joint_delta"), path)
    with pytest.raises(CheckpointError, match=r"was trained for n_obs 4 \(environment 5\)"):
        loaded.at(replace(CUBE, n_obs=5), path)


def test_a_shared_model_can_be_given_away(finished: TrainingRun, tmp_path: Path) -> None:
    config = TrainCommand(envs=(EnvConfig(arm="/secret/arm.yaml"), EnvConfig("LoopWM/UR5eReach-v0")))
    checkpoint = load_checkpoint(finished.folder / "c.safetensors")
    make_package(tmp_path / "given", checkpoint, finished.summary(), plain(config), "apache-2.0")
    assert verify(tmp_path / "given").known == (POINT, CUBE)
    card = (tmp_path / "given" / "README.md").read_text(encoding="utf-8")
    assert "for Point-v0, Cube-v0" in card and "env.id=Cube-v0" in card and "| observation | 4 numbers |" in card
    assert "arm: arm.yaml" in card and "/secret" not in card


def test_a_replay_of_several_environments_is_no_dataset(finished: TrainingRun, tmp_path: Path) -> None:
    (tmp_path / "training").symlink_to(finished.folder)
    with pytest.raises(ValueError, match="is none, allowed"):
        read_dataset(tmp_path, POINT, None)


def test_a_loss_that_is_not_finite_keeps_the_batch_of_every_environment(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for arena in run.arenas:
        run._begin(arena)
    run.trainer.reward_fn = lambda achieved, desired: np.full(achieved.shape[:-1], np.inf)
    with pytest.raises(TrainingError, match=r"update 0: loss (inf|nan)"):
        run.trainer.update(*(arena.buffer for arena in run.arenas))
    assert load_batch(tmp_path / "refused_batch.npz").obs.shape == (17, 4, 3)
    assert load_batch(tmp_path / "refused_batch.1.npz").obs.shape == (16, 4, 4)


def test_curves_of_an_environment_have_its_name() -> None:
    assert tag("Point.val_rmse_h5") == "held_out/rmse_h5/Point" and tag("success_rate") == "planned/success_rate"
    assert tag("Cube.success_rate") == "planned/success_rate/Cube"


def test_names_in_envs_are_those_of_the_settings() -> None:
    config = compose("train", ["envs=[panda_reach,ur5e_push]"], TrainCommand)
    assert config.envs == (EnvConfig(), EnvConfig("LoopWM/UR5ePush-v0", "cartesian_delta"))
    assert config.environments == config.envs and TrainCommand().environments == (EnvConfig(),)


@pytest.mark.parametrize(
    "request_, message",
    [
        (["envs=[panda_reach,panda_rech]"], r"env 'panda_rech' is unknown; did you mean 'panda_reach'\?"),
        (["envs=[panda_reach]"], "envs has 1 environment, allowed two or more"),
        (["envs=[panda_reach,panda_push,panda_reach]"], r"envs\[2\] is LoopWM/PandaReach-v0 with control_mode"),
        (["envs=[panda_reach,panda_push]", "data=x"], "data is set beside envs, allowed with a single environment"),
        (["envs=[panda_reach,panda_push]", "init=x"], "init is set beside envs, allowed with a single environment"),
        (["envs=panda_reach"], r"envs is 'panda_reach', allowed a list"),
    ],
)
def test_wrong_requests(request_: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        compose("train", request_, TrainCommand)


TINY = ["collect.episodes=2", "train.held_out=1", "train.rounds=2", "train.updates_per_round=2"]
TINY += ["train.episodes_per_round=1", "train.update.batch_size=8", "train.gate.updates=2", "planner=cem_fast"]
ENVS = "envs=[panda_reach,panda_push,ur5e_reach]"


@pytest.mark.slow
def test_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three arms and tasks: train, evaluate each, refuse another, resume what is finished, refuse what does not fit."""
    run = tmp_path / "run"
    assert main(["train", ENVS, "model=nano", "model.tokens=parts", *TINY, f"out={run}"]) == 0
    summary = json.loads((run / "summary.json").read_text())
    names = ("PandaReach", "PandaPush", "UR5eReach")
    assert all(f"{name}.best_success_rate" in summary and f"{name}.open_loop_rmse_h5" in summary for name in names)
    assert all((run / "plots" / name / "predictions.png").is_file() for name in names)
    few = ["evaluate.episodes=1", "evaluate.held_out=1", "planner=cem_fast", "plan_picture=false"]
    for env in ("panda_reach", "panda_push", "ur5e_reach"):
        out = tmp_path / env
        assert main(["evaluate", f"checkpoint={run}", f"env={env}", *few, f"out={out}"]) == 0
        assert "success_rate" in json.loads((out / "summary.json").read_text())
    capsys.readouterr()
    assert main(["evaluate", f"checkpoint={run}", "env=ur5e_push", *few]) == 2
    assert "knows no LoopWM/UR5ePush-v0 (cartesian_delta), allowed LoopWM/PandaReach-v0" in capsys.readouterr().err
    assert main(["train", f"resume={run}"]) == 0
    for more, message in (
        (["env=panda_reach"], "env=panda_reach beside envs, allowed one of them"),
        (["model=ensemble"], "model.kind is 'ensemble' for several environments"),
        (["train.update.batch_size=2"], "train.update.batch_size is 2 for 3 environments, allowed >= 3"),
    ):
        assert main(["train", ENVS, *more, f"out={tmp_path / 'none'}"]) == 2
        assert message in capsys.readouterr().err
    assert main(["train", "env=panda_reach", f"init={run}"]) == 2
    assert "knows 3 environments, allowed one" in capsys.readouterr().err
