"""Fine-tuning: another arm is learned, and the old one less forgotten with an anchor or with old data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from point_env import PointEnv

from loopwm_robot.checkpoint import Checkpoint, Spaces
from loopwm_robot.config import CollectConfig, ModelConfig, PlannerConfig, TrainCommand, TrainConfig
from loopwm_robot.data.collect import ExplorationPolicy, run_episode
from loopwm_robot.errors import RequestError
from loopwm_robot.training.anchor import Anchor
from loopwm_robot.training.finetune import Origin, held_out_error
from loopwm_robot.training.online import TrainingRun
from loopwm_robot.training.trainer import UpdateConfig
from loopwm_robot.types import Episode

SPACES = Spaces("Point", "", 3, 2, 2, 0.1, (0, 2))
UPDATE = UpdateConfig(batch_size=32, sequence_length=3, learning_rate=3e-3)


class StrongPoint(PointEnv):
    """Another arm: an action moves it three times as far."""

    GAIN = 0.3


def motion(env: PointEnv, count: int, seed: int) -> list[Episode]:
    policy = ExplorationPolicy(2, np.random.default_rng(seed))
    return [run_episode(env, policy, seed + i)[0] for i in range(count)]


def make_run(folder: Path, updates: int, update: UpdateConfig = UPDATE) -> TrainingRun:
    train = TrainConfig(1, updates_per_round=updates, update=update)
    env = gym.wrappers.TimeLimit(StrongPoint(10**9), 10)
    parts = (ModelConfig(kind="latent_mlp"), PlannerConfig(), CollectConfig(), train)
    return TrainingRun(env, SPACES, *parts, 0, folder)


OLD, OLD_HELD_OUT = motion(PointEnv(), 12, 0), motion(PointEnv(), 3, 100)
NEW, NEW_HELD_OUT = motion(StrongPoint(), 6, 200), motion(StrongPoint(), 3, 300)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    run = make_run(tmp_path_factory.mktemp("old"), 150, replace(UPDATE, learning_rate=1e-2))
    run.use_data(OLD, OLD_HELD_OUT)
    return run.run()


def fine_tuned(folder: Path, trained: Checkpoint, old: list[Episode], **update: float) -> TrainingRun:
    run = make_run(folder, 50, replace(UPDATE, learning_rate=1e-3, **update))
    run.use_data(NEW, NEW_HELD_OUT)
    run.begin_from(Origin(trained, old, OLD_HELD_OUT))
    run.run()
    return run


@pytest.mark.slow
def test_the_new_is_learned_and_the_old_less_forgotten(trained: Checkpoint, tmp_path: Path) -> None:
    before = {name: t.clone() for name, t in trained.model.state_dict().items()}
    free = fine_tuned(tmp_path / "free", trained, [])
    anchored = fine_tuned(tmp_path / "anchored", trained, [], anchor=60.0)
    mixed = fine_tuned(tmp_path / "mixed", trained, OLD)
    for run in (free, anchored, mixed):
        e = run.errors
        assert e["new_rmse_h5_after"] < e["new_rmse_h5_before"]
        assert e["old_rmse_h5_before"] == held_out_error(trained.model, OLD_HELD_OUT)
        assert e["old_rmse_h5_after"] == run.history[-1]["val_old_rmse_h5"] == run.summary()["old_rmse_h5_after"]
        for part in ("obs", "delta", "goal"):  # the scaling is kept
            for name in (f"{part}_normalizer.mean", f"{part}_normalizer.std"):
                assert torch.equal(run.model.state_dict()[name], before[name]), name
    for run in (anchored, mixed):
        assert run.errors["old_rmse_h5_after"] < free.errors["old_rmse_h5_after"]
    assert all(torch.equal(before[name], t) for name, t in trained.model.state_dict().items())


def test_an_anchor_holds_each_weight_within_its_reach() -> None:
    """Adam's step is the learning rate at most where the gradient is constant; the anchor balances it at 1 / s."""
    weight = torch.nn.Parameter(torch.full((3,), 0.5))
    optimizer, anchor = torch.optim.Adam([weight], lr=0.01), Anchor([weight], 20.0)
    for _ in range(100):
        weight.grad = torch.tensor([1.0, -1.0, 0.0])
        optimizer.step()
        anchor.pull(0.01)
    # After n steps 1 / strength * (1 - (1 - rate * strength)^n) times (1 - rate * strength).
    assert (weight.detach() - 0.5).tolist() == pytest.approx([-0.04, 0.04, 0.0], abs=1e-4)


def test_a_model_of_other_actions_is_refused(trained: Checkpoint) -> None:
    Origin(trained).require(replace(SPACES, env_id="Other", home=(1.0,)), "a")
    with pytest.raises(RequestError, match=r"init a was trained for nu 2 \(environment 3\); fine-tune it on an"):
        Origin(trained).require(replace(SPACES, nu=3), "a")


@pytest.mark.parametrize(
    "changes, name",
    [({"old_data": "x"}, "old_data"), ({"train": TrainConfig(update=UpdateConfig(anchor=1))}, "train.update.anchor")],
)
def test_what_belongs_to_fine_tuning_needs_a_model(changes: dict[str, object], name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} is set without init, allowed beside it"):
        TrainCommand(**changes)  # type: ignore[arg-type]
