"""Pictures: laws of encoder and decoder, what is refused, replay, checkpoints, and that something is learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from picture_env import PictureEnv, draw
from torch import Tensor

from loopwm_robot.agent import MPCAgent
from loopwm_robot.bench.profile import profile_control_step
from loopwm_robot.build import check_model, check_objective, load_agent, make_agent, make_env, spaces_of
from loopwm_robot.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from loopwm_robot.cli.checkpoints import open_checkpoint
from loopwm_robot.cli.checks import check_arm
from loopwm_robot.config import EnvConfig, ModelConfig, PlannerConfig
from loopwm_robot.data.buffer import ReplayBuffer
from loopwm_robot.data.collect import ExplorationPolicy, NumbersOnly, UniformPolicy, run_episode, split_observation
from loopwm_robot.errors import RequestError
from loopwm_robot.models.build import build_model
from loopwm_robot.models.cost import transition_flops
from loopwm_robot.models.dynamics import Unroll
from loopwm_robot.models.images import ENCODERS, ImageConfig, ImageNormalizer, Vision
from loopwm_robot.models.loopwm import Core, LoopWM
from loopwm_robot.models.untied import UntiedStack
from loopwm_robot.training.calibrate import calibrate_monitor
from loopwm_robot.training.gate import GateConfig, gate_examples
from loopwm_robot.training.losses import LossWeights, chosen_steps, image_error, vector_error, world_model_loss
from loopwm_robot.training.metrics import Starts, image_rmse, imagine, open_loop_rmse, picture_std
from loopwm_robot.training.trainer import UpdateConfig, WorldModelTrainer
from loopwm_robot.types import Episode, LatentState, Observed, SequenceBatch

SHAPE = (16, 24, 3)
CONFIG = ImageConfig(patch=8, hidden=16, layers=1)
N_OBS, NU, N_GOAL = 4, 2, 3


def make_model(
    n_obs: int = N_OBS, image: tuple[int, int, int] | None = SHAPE, config: ImageConfig = CONFIG, **core: Any
) -> LoopWM:
    """A small model away from the identity that it starts at."""
    torch.manual_seed(0)
    c = Core(**{"latent_dim": 16, **core})
    model = LoopWM(n_obs, NU, N_GOAL, 0.1, c, image=image, image_config=config).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * 0.2)
    return model


def seen(*lead: int, n_obs: int = N_OBS, seed: int = 0) -> Observed[Tensor]:
    g = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (*lead, *SHAPE), generator=g, dtype=torch.uint8)
    return Observed(torch.randn(*lead, n_obs, generator=g), image)


def actions(batch: int = 5, horizon: int = 3) -> Tensor:
    return torch.rand(batch, horizon, NU, generator=torch.Generator().manual_seed(3)) * 2 - 1


def batch_of(size: int = 4, length: int = 3, n_obs: int = N_OBS) -> SequenceBatch:
    obs, ones = seen(size, length + 1, n_obs=n_obs), torch.ones(size, length)
    goal = torch.zeros(size, N_GOAL)
    return SequenceBatch(obs.vector, actions(size, length), -ones, 0 * ones, goal, ones, None, obs.image)


# -- laws --------------------------------------------------------------------


@pytest.mark.parametrize("n_obs", [0, N_OBS])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_shapes_and_equivariance_to_batch_order(n_obs: int, encoder: str) -> None:
    model = make_model(n_obs, config=replace(CONFIG, encoder=encoder))
    obs, a, order = seen(5, n_obs=n_obs), actions(), torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        imagined = model.rollout(model.encode(obs), a)
        other = model.rollout(model.encode(obs[order]), a[order])
    assert imagined.h.shape == (5, 3, (n_obs > 0) + 6, 16)
    assert imagined.observations().shape == (5, 3, n_obs)
    assert imagined.images().shape == (5, 3, *SHAPE) and imagined.images().dtype == torch.uint8
    assert imagined.terminal().images().shape == (5, 1, *SHAPE)
    torch.testing.assert_close(imagined.h[order], other.h, rtol=1e-4, atol=1e-5)


def test_squares_stand_where_their_tokens_were() -> None:
    """Only the pixels of a token's square depend on the token."""
    vision = make_model().vision
    assert vision is not None
    tokens = torch.randn(1, 6, 16, generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[0, 4] += 1  # second row, second column
    differs = (vision.decode_normalised(tokens) != vision.decode_normalised(changed)).any(-1)[0]
    assert differs[8:, 8:16].all() and int(differs.sum()) == 64
    image = torch.zeros(1, *SHAPE, dtype=torch.uint8)
    lit = image.clone()
    lit[0, 8:, 8:16] = 255
    dark, bright = (vision.features(vision.normalizer(x).movedim(-1, 1)) for x in (image, lit))
    moved = dark != bright
    assert moved.any(1)[0].nonzero().tolist() == [[1, 1]]


@pytest.mark.parametrize("parts", [1, 7])
def test_pictures_are_coded_in_parts_of_bounded_size(parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, obs = make_model(), seen(7)
    with torch.no_grad():
        whole = model.encode(obs).h
        drawn = model.decode_image(whole)
        monkeypatch.setattr("loopwm_robot.models.images.AT_ONCE", parts)
        torch.testing.assert_close(model.encode(obs).h, whole, rtol=1e-5, atol=1e-5)
        assert int((model.decode_image(whole).int() - drawn.int()).abs().max()) <= 1


def test_without_pictures_nothing_changes() -> None:
    """The numbers' part of a mixed model that hides the tokens of the picture is the model of numbers."""
    kept = [name for name in make_model().state_dict() if not name.startswith("vision.")]
    assert [*make_model(image=None).state_dict()] == kept
    mixed, plain = make_model(), make_model(image=None)
    mixed.encoder.load_state_dict(plain.encoder.state_dict())
    mixed.obs_head.load_state_dict(plain.obs_head.state_dict())
    obs = seen(5)
    with torch.no_grad():
        assert torch.equal(mixed.encode(obs).h[:, :1], plain.encode(obs.vector).h)
        state = mixed.encode(obs)
        assert torch.equal(mixed.decode(state.h), plain.decode(state.h[:, :1]))
    torch.testing.assert_close(mixed.decode(state.h), obs.vector)  # read off, as it is


def test_a_new_model_draws_the_mean_picture_and_says_that_nothing_changes() -> None:
    torch.manual_seed(0)
    model = LoopWM(N_OBS, NU, 0, 0.1, Core(latent_dim=16), image=SHAPE, image_config=CONFIG)
    obs = seen(5)
    assert model.vision is not None
    model.vision.normalizer.fit(obs.image)
    with torch.no_grad():
        state = model.encode(obs)
        imagined = model.rollout(state, actions())
    torch.testing.assert_close(imagined.h[:, -1], state.h, rtol=0, atol=0.02)  # Abar is close to one
    mean = obs.image.float().mean(0).round()
    assert float((imagined.images()[0, 0].float() - mean).abs().max()) <= 1
    # In units of the variance of the data, the mean picture has an error of 1.
    error = image_error(model, state.h, obs)
    assert float(error.detach().mean()) == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("form", ["implicit", "paper", "step_consistent"])
def test_imagined_states_stay_inside_their_bound(form: str) -> None:
    model = make_model(form=form)
    with torch.no_grad():
        start = model.encode(seen(5))
        h = model.rollout(start, actions(5, 300)).h
    bound = model.state_bound(float(start.h.abs().max()))
    assert bound.shape == h.shape[2:]
    assert (h.abs() <= bound * 1.0001).all()
    images = model.image_tokens(h)
    torch.testing.assert_close(images.square().mean(-1), torch.ones(images.shape[:-1]), rtol=1e-3, atol=1e-3)


def test_nothing_is_drawn_before_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    model, decode = make_model(), Vision.decode_normalised
    monkeypatch.setattr(Vision, "decode_normalised", lambda self, x: drawn.append(len(x)) or decode(self, x))
    with torch.no_grad():
        imagined = model.rollout(model.encode(seen(5), torch.zeros(1, N_GOAL)), actions())
        imagined.observations()
        imagined.rewards()
        assert not drawn
        imagined.terminal().images()
    assert drawn == [5]


def test_monitor_and_context_see_pictures() -> None:
    model, obs = make_model(context=2), seen(5)
    with torch.no_grad():
        state = model.encode(obs)
        model.monitoring.level.fill_(1.0)
        assert model.monitor(state, obs).shape == (5,)
        other = Observed(obs.vector, 255 - obs.image)
        assert (model.mismatch(state.h, other) != model.mismatch(state.h, obs)).all()


def test_costs_count_the_tokens() -> None:
    few, many = (make_model(config=replace(CONFIG, patch=p)) for p in (8, 4))
    assert transition_flops(few) < transition_flops(many)
    assert transition_flops(few, decode=True) > transition_flops(few)


# -- what is refused -----------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda o: o.vector, "obs has no picture"),
        (lambda o: Observed(o.vector, o.image.float()), "float32, allowed torch.uint8"),
        (lambda o: Observed(o.vector, o.image[:, :8]), r"\(2, 8, 24, 3\), allowed \(..., 16, 24, 3\)"),
        (lambda o: Observed(o.vector, o.image.movedim(-1, 1)), "allowed"),
        (lambda o: Observed(o.vector, o.image[:1]), "same leading dimensions"),
        (lambda o: Observed(o.vector[:, :3], o.image), r"obs has shape \(2, 3\), allowed \(..., 4\)"),
        (lambda o: Observed(o.vector.index_fill(1, torch.tensor([2]), torch.nan), o.image), r"index \(0, 2\)"),
    ],
)
def test_what_is_no_such_picture_is_refused(change: Callable[[Any], Any], text: str) -> None:
    model = make_model()
    model.monitoring.level.fill_(1.0)
    state = model.encode(seen(2))
    for use in (model.encode, lambda obs: model.monitor(state, obs)):
        with pytest.raises(ValueError, match=text):
            use(change(seen(2)))


def test_models_without_pictures_refuse_them() -> None:
    model = make_model(image=None)
    with pytest.raises(ValueError, match="obs has a picture, allowed numbers"):
        model.encode(seen(2))
    for use in (lambda: model.decode_image(torch.zeros(1, 1, 16)), lambda: picture_std(model)):
        with pytest.raises(ValueError, match=r"without pictures"):
            use()
    with pytest.raises(ValueError, match=r"without pictures"):
        image_error(model, torch.zeros(1, 1, 16), seen(1))
    for kind in ("latent_mlp", "rssm", "ensemble"):
        with pytest.raises(ValueError, match=f"model.kind is '{kind}' for observations with pictures"):
            build_model(ModelConfig(kind=kind), N_OBS, NU, 0, 0.1, None, SHAPE)
        with pytest.raises(ValueError, match="obs has a picture"):
            build_model(ModelConfig(kind=kind), N_OBS, NU, 0, 0.1).encode(seen(2))


def test_settings_are_checked() -> None:
    for settings, text in (
        ({"encoder": "resnet"}, "allowed vit, conv"),
        ({"patch": 6}, "multiples of 4"),
        ({"patch": 128}, r"allowed \[4, 64\]"),
        ({"hidden": 0}, "model.image.hidden"),
        ({"layers": 0}, "model.image.layers"),
    ):
        with pytest.raises(ValueError, match=text):
            ImageConfig(**settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"20 x 24 pixels, allowed multiples of model.image.patch = 8"):
        make_model(image=(20, 24, 3))
    with pytest.raises(ValueError, match="0 numbers"):
        make_model(0, None)
    with pytest.raises(ValueError, match=r"for model.context"):
        make_model(0, context=3)
    with pytest.raises(ValueError, match="image_steps is 0"):
        LossWeights(image_steps=0)


# -- replay and training -------------------------------------------------------


def episode(steps: int = 6, index: int = 0) -> Episode:
    t = np.arange(steps + 1)
    image = np.zeros((steps + 1, 4, 4, 3), np.uint8)
    image[:] = (10 * index + t)[:, None, None, None]
    obs = np.stack([np.full(steps + 1, index), t], 1).astype(np.float32)
    zeros, flags = np.zeros(steps, np.float32), np.zeros(steps, np.bool_)
    achieved, goal = np.zeros((steps + 1, 0), np.float32), np.zeros(0, np.float32)
    return Episode(obs, achieved, goal, zeros[:, None], zeros, flags, flags, 0.1, "t", 0, image)


def test_replay_keeps_bytes_and_gives_them_back(tmp_path: Path) -> None:
    buffer = ReplayBuffer(60, 2, 1, 0, (4, 4, 3))
    for i in range(5):
        buffer.add(episode(index=i))
    assert buffer._rows["image"].nbytes == 60 * 48
    buffer.save(tmp_path / "e.npz")
    other = ReplayBuffer(60, 2, 1, 0, (4, 4, 3))
    other.load(tmp_path / "e.npz")
    for held in (buffer, other):
        batch = held.sample(64, 3, np.random.default_rng(0))
        assert batch.image is not None and batch.image.dtype == torch.uint8 and batch.image.shape == (64, 4, 4, 4, 3)
        assert torch.equal(batch.image[..., 0, 0, 0].float(), 10 * batch.obs[..., 0] + batch.obs[..., 1])
        assert isinstance(batch.seen, Observed) and torch.equal(batch.seen[:, 1].image, batch.image[:, 1])
    images = buffer.images(8)
    assert images is not None and len(images) == 8
    assert ReplayBuffer(60, 2, 1, 0).images(8) is None
    plain = ReplayBuffer(60, 2, 1, 0)
    for held, wrong in ((plain, episode()), (buffer, replace(episode(), image=None))):
        with pytest.raises(ValueError, match="episode has pictures of shape"):
            held.add(wrong)
    with pytest.raises(ValueError, match=r"cannot be read"):
        buffer.load(tmp_path / "missing.npz")
    plain.add(replace(episode(), image=None))
    plain.save(tmp_path / "plain.npz")
    with pytest.raises(ValueError, match="image"):
        buffer.load(tmp_path / "plain.npz")


def test_episodes_check_their_pictures() -> None:
    e = episode()
    assert e.image is not None
    with pytest.raises(ValueError, match="allowed 7 for 6 actions"):
        replace(e, image=e.image[:-1])
    with pytest.raises(ValueError, match="float32"):
        replace(e, image=e.image.astype(np.float32))
    part = e.seen(slice(0, 2))
    assert isinstance(part, Observed) and len(part) == 2 and part.image.shape == (2, 4, 4, 3)
    assert not isinstance(replace(e, image=None).seen(0), Observed)


def test_scaling_comes_from_the_data() -> None:
    g = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (700, 4, 4, 3), generator=g, dtype=torch.uint8)  # more than are read at once
    normalizer = ImageNormalizer((4, 4, 3))
    normalizer.fit(images)
    x = normalizer(images)
    torch.testing.assert_close(x.mean(0), torch.zeros(4, 4, 3), rtol=0, atol=1e-5)
    assert float(x.square().mean()) == pytest.approx(1, rel=1e-5)
    assert torch.equal(normalizer.inverse(x), images)
    normalizer.fit(images[:1].expand(5, -1, -1, -1))
    assert float(normalizer.std) == pytest.approx(1 / 255)
    assert torch.equal(normalizer.inverse(torch.full((4, 4, 3), 1e4)), torch.full((4, 4, 3), 255, dtype=torch.uint8))


@pytest.mark.parametrize("n_obs", [0, N_OBS])
@pytest.mark.parametrize("decode", ["every", "terminal"])
@pytest.mark.parametrize("kind", [LoopWM, UntiedStack])
def test_the_loss_reaches_encoder_and_decoder(n_obs: int, decode: str, kind: type[LoopWM]) -> None:
    torch.manual_seed(0)
    model = kind(n_obs, NU, N_GOAL, 0.1, Core(latent_dim=16, mean_loops=2), image=SHAPE, image_config=CONFIG)
    assert model.vision is not None
    weights, g = LossWeights(decode=decode, consistency=1.0), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(2):  # what draws starts at zero
        loss, terms = world_model_loss(model, batch_of(n_obs=n_obs), weights, torch.ones(n_obs), Unroll(0.5), g)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.isfinite(loss) and set(terms) == {"obs", "reward", "terminated", "image", "consistency"}
    assert (float(terms["obs"]) == 0) == (n_obs == 0)
    for part in (model.vision.features, model.vision.mixer, model.vision.draw):
        assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in part.parameters() if p.ndim > 1)
    vector = vector_error(model, torch.zeros(2, model.tokens, 16), seen(2, n_obs=n_obs), torch.ones(n_obs))
    assert vector.shape == (2,) and bool((vector > 0).all()) == (n_obs > 0)


def test_few_pictures_of_a_sequence_are_drawn() -> None:
    g = torch.Generator().manual_seed(0)
    counts = torch.zeros(6)
    for _ in range(300):
        some = chosen_steps(6, 2, g)
        assert len(some) == 2 and some[0] < some[1]
        counts[some] += 1
    assert (counts > 60).all()  # 100 expected, five sigma are 41
    assert chosen_steps(3, 8, g).tolist() == [0, 1, 2]


def test_observations_that_nobody_looks_at_are_not_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    model, encoded, forward = make_model(), [], Vision.forward
    monkeypatch.setattr(Vision, "forward", lambda self, x: encoded.append(len(x)) or forward(self, x))
    obs = seen(4)
    shown = torch.tensor([0.0, 1.0, 0.0, 1.0]).view(4, 1, 1) > 0
    with torch.no_grad():
        part = model._shown(obs, shown)
        nothing = model._shown(obs, shown & False)
        assert encoded == [2]
        assert torch.equal(part[[0, 2]], torch.zeros_like(part[[0, 2]])) and not nothing.any()
        torch.testing.assert_close(part[[1, 3]], model.embed(obs)[[1, 3]])


# -- end to end ------------------------------------------------------------------


def train(
    mode: str, updates: int, episodes: int = 30, size: int = 32
) -> tuple[LoopWM, list[Episode], gym.Env[Any, Any], EnvConfig]:
    torch.manual_seed(0)
    env, config = PictureEnv(mode, size), EnvConfig("Disc", "", "")
    s = spaces_of(env, config)
    rng = np.random.default_rng(0)
    explorer = ExplorationPolicy(s.nu, rng, 0.8, 0.8)
    recorded = [run_episode(env, explorer, i)[0] for i in range(episodes)]
    held_out = [recorded.pop() for _ in range(5)]
    buffer = ReplayBuffer(2000, *s.sizes)
    for e in recorded:
        buffer.add(e)
    c = ModelConfig(latent_dim=32, image=ImageConfig(hidden=128, layers=1))
    model = build_model(c, s.n_obs, s.nu, s.n_goal, s.ctrl_dt, s.groups, s.image)
    assert isinstance(model, LoopWM)
    how = UpdateConfig(batch_size=32, sequence_length=4)
    trainer = WorldModelTrainer(model, how, updates, rng, torch.Generator().manual_seed(0), s.position_columns)
    trainer.fit_normalizers(buffer)
    for _ in range(updates):
        trainer.update(buffer)
    states, stop = gate_examples(model, buffer, GateConfig(batch_size=4), torch.ones(s.n_obs), rng)
    assert len(states) == len(stop)
    return model.eval().requires_grad_(False), held_out, env, config


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["image", "mixed"])
def test_a_disc_is_predicted_better_than_by_its_last_picture(mode: str, tmp_path: Path) -> None:
    model, held_out, env, config = train(mode, 150)
    starts = Starts.of(held_out, 8, 3)
    assert starts.image is not None and starts.truth_image is not None
    imagined = imagine(model, starts)
    error = image_rmse(imagined.images(), starts.truth_image, picture_std(model))
    still = image_rmse(starts.image[:, None].expand_as(starts.truth_image), starts.truth_image, picture_std(model))
    assert (error[2:] < 0.8 * still[2:]).all(), (error, still)
    assert (error < 1).all()  # the mean picture
    if mode == "image":
        assert torch.equal(open_loop_rmse(model, imagined, starts), error)
    calibrate_monitor(model, held_out, 4, stride=3)
    end = LatentState(model.rollout(model.encode(starts.seen), starts.action[:, :4]).h[:, -1])
    assert float((model.monitor(end, starts.truth_seen[:, 3], 4) <= 1).float().mean()) > 0.9
    # A checkpoint says the same as the model.
    spaces = spaces_of(env, config)
    c = ModelConfig(latent_dim=32, image=ImageConfig(hidden=128, layers=1))
    save_checkpoint(tmp_path / "c.safetensors", Checkpoint(model, c, spaces, {}))
    loaded = load_checkpoint(tmp_path / "c.safetensors")
    assert loaded.spaces == spaces
    with torch.no_grad():
        again = loaded.model.rollout(loaded.model.encode(starts.seen), starts.action)
    assert torch.equal(again.images(), imagined.images())
    objective = "analytic" if mode == "mixed" else "learned_reward"
    planner = PlannerConfig(horizon=3, num_samples=24, num_elites=6, keep_elites=2, objective=objective)
    agent = make_agent(loaded.model, spaces, planner, torch.Generator().manual_seed(0))
    assert isinstance(agent, MPCAgent)
    if mode == "mixed":  # the goal is reached with the decoded position
        after = run_episode(env, agent, 100)[1]["distance"]
        assert after < 0.3
    else:
        with pytest.raises(RequestError, match="no position"):
            check_objective(spaces, replace(planner, objective="analytic"))
        assert len(run_episode(env, agent, 100)[0]) == 15


def test_models_that_do_not_fit_are_refused_before_anything_runs() -> None:
    env, config = PictureEnv("image", 24), EnvConfig("Disc", "", "")
    spaces = spaces_of(env, config)
    assert spaces.n_obs == 0 and spaces.image == (24, 24, 3) and spaces.position == (0, 0)
    for model, text in (
        (ModelConfig(kind="rssm"), "model.kind is 'rssm'"),
        (ModelConfig(context=3), "model.context is 3"),
        (ModelConfig(), "multiples of model.image.patch = 16"),
    ):
        with pytest.raises(RequestError, match=text):
            check_model(env, spaces, model)
    check_model(env, spaces, ModelConfig(image=ImageConfig(patch=8)))


def test_observations_of_many_kinds_are_understood() -> None:
    picture = draw(np.zeros((1, 2)), 16)[0]
    for raw, numbers in (
        (picture, 0),
        ({"pixels": picture, "state": np.ones(3)}, 3),
        ({"image": picture, "achieved_goal": np.ones(2, "f"), "desired_goal": np.ones(2, "f")}, 0),
    ):
        obs, achieved, goal = split_observation(raw)
        assert isinstance(obs, Observed) and len(obs) == numbers and obs.image is picture
        assert len(achieved) == len(goal)
    assert not isinstance(split_observation(np.ones((2, 2, 3)))[0], Observed)  # floats are numbers
    with pytest.raises(ValueError, match=r"allowed \(H, W, C\) of uint8"):
        split_observation({"image": np.ones((4, 4)), "observation": np.ones(2)})
    policy = NumbersOnly(UniformPolicy(2, np.random.default_rng(0)))
    policy.reset(np.zeros(0, np.float32))
    assert policy.act(Observed(np.ones(3, np.float32), picture)).shape == (2,)


@pytest.mark.parametrize("mode", ["image", "mixed"])
def test_an_agent_of_a_checkpoint_sees_the_pictures_it_was_trained_on(mode: str, tmp_path: Path) -> None:
    config = EnvConfig(obs_mode=mode, image_size=32)
    env = make_env(config)
    spaces = spaces_of(env, config)
    env.close()
    assert spaces.image == (32, 32, 3) and spaces.obs_mode == mode and spaces.n_obs == (31 if mode == "mixed" else 0)
    c = ModelConfig(latent_dim=8, heads=2, image=ImageConfig(hidden=8, layers=1))
    model = build_model(c, spaces.n_obs, spaces.nu, spaces.n_goal, spaces.ctrl_dt, spaces.groups, spaces.image)
    save_checkpoint(tmp_path / "c.safetensors", Checkpoint(model, c, spaces, {}))
    objective = "analytic" if mode == "mixed" else "learned_reward"
    planner = PlannerConfig(horizon=2, num_samples=8, num_elites=4, keep_elites=1, iterations=1, objective=objective)
    agent, again = load_agent(tmp_path / "c.safetensors", planner)
    raw, _ = again.reset(seed=0)
    obs, _, goal = split_observation(raw)
    agent.reset(goal)
    assert agent.act(obs).shape == (7,)
    parts = profile_control_step(agent, obs, goal, 2)
    assert min(parts.values()) >= 0
    again.close()
    # What it shows is part of what has to fit, and an arm shows nothing.
    plain = replace(config, obs_mode="vector")
    with pytest.raises(RequestError, match="obs_mode"):
        open_checkpoint(str(tmp_path / "c.safetensors"), plain, ["env.obs_mode=vector"])
    with pytest.raises(RequestError, match="the bridge has no camera"):
        check_arm(spaces, again, None, False)  # type: ignore[arg-type]


def test_environments_of_others_bring_their_own_pictures() -> None:
    with pytest.raises(RequestError, match="AddRenderObservation"):
        make_env(EnvConfig("MountainCarContinuous-v0", "", "", "mixed"))
    for settings in ({"obs_mode": "pixels"}, {"image_size": 8}, {"image_size": 65}):
        with pytest.raises(ValueError, match=r"env\.(obs_mode|image_size) is"):
            EnvConfig(**settings)  # type: ignore[arg-type]
