"""Where tensors live: everything that a model is fed is moved to it, and what leaves it is on the CPU again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from far_device import FAR, FarGenerator, far_device
from marks import slow_but
from picture_env import PictureEnv

from loopwm_robot import build as building
from loopwm_robot.build import make_agent
from loopwm_robot.checkpoint import Checkpoint, Spaces, load_checkpoint, save_checkpoint
from loopwm_robot.closed_loop import evaluate
from loopwm_robot.config import CollectConfig, EvaluateCommand, ModelConfig, PlannerConfig, TrainCommand, TrainConfig
from loopwm_robot.data.collect import ExplorationPolicy, run_episode
from loopwm_robot.device import check_device, find_device, settle
from loopwm_robot.errors import RequestError
from loopwm_robot.evaluation import mean_loops, untrained_copy
from loopwm_robot.models.build import build_model
from loopwm_robot.models.images import ImageConfig
from loopwm_robot.training import online
from loopwm_robot.training.gate import GateConfig
from loopwm_robot.training.losses import LossWeights
from loopwm_robot.training.metrics import open_loop_table
from loopwm_robot.training.online import TrainingRun
from loopwm_robot.training.trainer import UpdateConfig

SIZE, STEPS = 16, 6
VECTOR = Spaces("Disc", "", 2, 2, 2, 0.1, (0, 2))
MIXED = Spaces("Disc", "", 2, 2, 2, 0.1, (0, 2), image=(SIZE, SIZE, 3))
PICTURES = Spaces("Disc", "", 0, 2, 0, 0.1, image=(SIZE, SIZE, 3))
PLANNER = PlannerConfig(horizon=2, num_samples=8, num_elites=3, keep_elites=1, iterations=2, posture_weight=0)
LEARNED = PlannerConfig(horizon=2, num_samples=8, num_elites=3, keep_elites=1, iterations=2, objective="learned_reward")
PICTURE = ImageConfig(patch=8, hidden=8)
SMALL: dict[str, Any] = {"latent_dim": 8, "heads": 2, "max_loops": 2, "mean_loops": 2, "image": PICTURE}


class NumbersEnv(PictureEnv):
    """The disc without its picture."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("mixed", **kwargs)

    def _obs(self) -> Any:
        return {name: part for name, part in super()._obs().items() if name != "image"}


def test_cpu_is_there_and_auto_takes_what_there_is() -> None:
    assert find_device("cpu") == torch.device("cpu")
    assert find_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    settle()


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cpu:0", "auto:1", ""])
def test_unknown_devices_are_refused(name: str) -> None:
    for make in (check_device, find_device, lambda n: TrainCommand(device=n), lambda n: EvaluateCommand(device=n)):
        with pytest.raises(ValueError, match="allowed cpu, cuda, auto, or cuda:N"):
            make(name)


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RequestError, match="finds no GPU; see loopwm doctor"):
        find_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert find_device("cuda") == find_device("auto") == torch.device("cuda", 0)
    with pytest.raises(RequestError, match=r"'cuda:1', but torch .* finds 1 GPU"):
        find_device("cuda:1")


def test_the_far_device_refuses_to_mix() -> None:
    with far_device() as far:
        x = torch.ones(3).to(far)
        assert x.device == far and float((x + x).sum()) == 6
        assert x.cpu().numpy().tolist() == [1, 1, 1]
        with pytest.raises(RuntimeError, match="same device"):
            x + torch.ones(3)
        with pytest.raises((RuntimeError, TypeError)):
            x.numpy()


KINDS = {
    "numbers": (VECTOR, {}, PLANNER),
    "exits": (VECTOR, {"exit": "converged", "context": 3, "latent_noise": 0.1}, PLANNER),
    "chunks": (VECTOR, {"form": "step_consistent", "exit": "doubling"}, PLANNER),
    "mixed": (MIXED, {"context": 2}, PLANNER),
    "pictures": (PICTURES, {}, LEARNED),
    "latent_mlp": (VECTOR, {"kind": "latent_mlp"}, PLANNER),
    "rssm": (VECTOR, {"kind": "rssm"}, PLANNER),
    "ensemble": (VECTOR, {"kind": "ensemble"}, PLANNER),
}


def env_of(spaces: Spaces) -> PictureEnv:
    if not spaces.image:
        return NumbersEnv(steps=STEPS)
    return PictureEnv("mixed" if spaces.n_obs else "image", SIZE, STEPS)


def training(kind: str, folder: Path, device: str = "cpu") -> TrainingRun:
    spaces, settings, planner = KINDS[kind]
    chunks = (1, 2) if kind == "chunks" else (1,)
    loss = LossWeights(consistency=1, contraction=1)
    update = UpdateConfig(batch_size=4, sequence_length=3, observe_prob=0.5, chunks=chunks, loss=loss)
    train = TrainConfig(2, 2, 1, held_out=2, buffer_size=400, update=update, gate=GateConfig(updates=2, batch_size=4))
    collect = CollectConfig(episodes=3)
    model = ModelConfig(**{**SMALL, **settings})
    return TrainingRun(env_of(spaces), spaces, model, planner, collect, train, 0, folder, device)


def seeded_anywhere(device: torch.device, seed: int) -> torch.Generator:
    return (FarGenerator() if device == FAR else torch.Generator()).manual_seed(seed)


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> None:
    """`cuda` names the far device."""
    for module in (online, building):
        monkeypatch.setattr(module, "find_device", lambda name: FAR if name == "cuda" else torch.device("cpu"))
    monkeypatch.setattr("loopwm_robot.training.calibrate.GRID", 2)  # every operation goes through Python
    monkeypatch.setattr("loopwm_robot.training.calibrate.REFINE", 1)
    for part in (online, building):
        monkeypatch.setattr(part, "seeded", seeded_anywhere)


@pytest.mark.usefixtures("far")
@pytest.mark.parametrize("kind", slow_but(["pictures"], KINDS))
def test_training_planning_and_measuring_stay_on_the_device(kind: str, tmp_path: Path) -> None:
    near = training(kind, tmp_path / "near")
    with pytest.raises(KeyboardInterrupt):
        near.run(on_round=interrupt)
    with far_device() as device:
        run = training(kind, tmp_path / "far", "cuda")
        checkpoint = run.run()
        assert checkpoint.model.device == device
        assert all(p.device == device for p in run.model.parameters())
        env, spaces = env_of(run.spaces), run.spaces
        agent = make_agent(checkpoint.model, spaces, run.planner_config, seeded_anywhere(device, 0))
        result = evaluate(env, agent, [7])
        assert all(isinstance(e.action, np.ndarray) for e in result.episodes)
        held_out = [run_episode(env, ExplorationPolicy(2, np.random.default_rng(0)), i)[0] for i in range(2)]
        table = open_loop_table(checkpoint.model, held_out, spaces.position_columns, (1, 3))
        assert np.isfinite([error for row in table.values() for errors in row.values() for error in errors[:1]]).all()
        assert untrained_copy(checkpoint, 0).device == device
        if hasattr(checkpoint.model, "exit_rule"):
            assert mean_loops(checkpoint.model, held_out) >= 1
        save_checkpoint(tmp_path / "far.safetensors", checkpoint)
    loaded = load_checkpoint(tmp_path / "far.safetensors").model
    assert loaded.device == torch.device("cpu")
    for name, tensor in checkpoint.model.state_dict().items():
        assert torch.equal(tensor.data_on_cpu, loaded.state_dict()[name]), name
    # The same weights, batches and random numbers: the first updates agree, before rounding grows.
    assert run.history[0]["loss"] == pytest.approx(near.history[0]["loss"], rel=1e-2)


@pytest.mark.usefixtures("far")
def test_a_run_goes_on_where_it_was_not_begun(tmp_path: Path) -> None:
    run = training("mixed", tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        run.run(on_round=interrupt)
    with far_device() as device:
        other = training("mixed", tmp_path / "run", "cuda")
        assert other.restore() and other.rounds_done == 1
        assert other.run().model.device == device
    back = training("mixed", tmp_path / "run")
    assert back.restore() and back.rounds_done == 2


def interrupt(_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.usefixtures("far")
def test_planner_noise_of_another_kind_of_device_is_drawn_anew(tmp_path: Path) -> None:
    run = training("numbers", tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        run.run(on_round=interrupt)
    state = torch.zeros(16, dtype=torch.uint8)  # what a CUDA generator has
    other = training("numbers", tmp_path / "run")
    before = other.planner_noise.get_state()
    other.planner_noise = type("Other", (), {"get_state": lambda _: state, "set_state": None})()  # type: ignore[assignment]
    assert other.restore()
    assert before.shape != state.shape


def test_checkpoints_are_loaded_to_a_device(tmp_path: Path) -> None:
    config = ModelConfig(**SMALL)
    model = build_model(config, 2, 2, 2, 0.1, None, MIXED.image).eval()
    save_checkpoint(tmp_path / "c.safetensors", Checkpoint(model, config, MIXED, {}))
    with far_device() as device:
        assert load_checkpoint(tmp_path / "c.safetensors", device).model.device == device


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("kind", KINDS)
def test_training_on_a_gpu(kind: str, tmp_path: Path) -> None:
    run = training(kind, tmp_path / "gpu", "cuda")
    checkpoint = run.run()
    assert checkpoint.model.device.type == "cuda"
    save_checkpoint(tmp_path / "c.safetensors", checkpoint)
    near, far = (load_checkpoint(tmp_path / "c.safetensors", device).model for device in ("cpu", "cuda"))
    episode = run.held_out[0]
    tables = [open_loop_table(m, [episode], run.spaces.position_columns, (1, 3)) for m in (near, far)]
    first, second = ([row[3][0] for row in table.values()] for table in tables)
    np.testing.assert_allclose(first, second, rtol=0.02)
