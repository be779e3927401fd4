"""The peers of LoopWM: one interface for all, and what each of them promises."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from marks import slow_but
from point_env import PointEnv
from torch import Tensor

from loopwm_robot.checkpoint import Checkpoint, Spaces, load_checkpoint, save_checkpoint
from loopwm_robot.config import ModelConfig
from loopwm_robot.data.buffer import ReplayBuffer
from loopwm_robot.data.collect import ExplorationPolicy, run_episode
from loopwm_robot.models.build import build_model
from loopwm_robot.models.dynamics import DynamicsModel, Unroll
from loopwm_robot.models.ensemble import Ensemble, EnsembleConfig, bootstrap_weights
from loopwm_robot.models.latent_mlp import LatentMLP, LatentMLPConfig, simnorm
from loopwm_robot.models.rssm import RSSM, LayerNormGRU, RSSMConfig, categorical_kl
from loopwm_robot.training.losses import LossWeights, world_model_loss
from loopwm_robot.training.metrics import normalised_rmse, open_loop_predictions
from loopwm_robot.training.trainer import UpdateConfig, WorldModelTrainer
from loopwm_robot.types import History, SequenceBatch

N_OBS, NU, N_GOAL, DT = 6, 2, 3, 0.05
SMALL = ModelConfig(
    latent_mlp=LatentMLPConfig(latent_dim=32, hidden=32, layers=1),
    rssm=RSSMConfig(deterministic=32, categoricals=4, classes=6, hidden=32, context=3, free_nats=0.1),
    ensemble=EnsembleConfig(members=3, hidden=16, layers=2),
)
KINDS = ("latent_mlp", "rssm", "ensemble")
TOKENS = {"latent_mlp": (1, 32), "rssm": (1, 56), "ensemble": (3, N_OBS)}
every_kind = pytest.mark.parametrize("kind", KINDS)


def make(kind: str, seed: int = 0) -> DynamicsModel:
    """A small model with scaled inputs, away from the zeros that some layers start at."""
    torch.manual_seed(seed)
    model = build_model(replace(SMALL, kind=kind), N_OBS, NU, N_GOAL, DT)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.05)
    before = torch.randn(50, N_OBS) * 2 + 1
    model.fit_normalizers(before, before + torch.randn(50, N_OBS) * 0.1, torch.randn(50, N_GOAL))
    return model


def draw(batch: int = 5, length: int = 4, seed: int = 1) -> SequenceBatch:
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g)

    return SequenceBatch(
        obs=normal(batch, length + 1, N_OBS),
        action=normal(batch, length, NU).tanh(),
        reward=normal(batch, length),
        terminated=torch.zeros(batch, length),
        goal=normal(batch, N_GOAL),
        mask=torch.ones(batch, length),
        history=History(normal(batch, 3, N_OBS), normal(batch, 3, NU).tanh(), torch.ones(batch, 3)),
    )


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# -- the interface ---------------------------------------------------------


@every_kind
def test_shapes(kind):
    model, batch = make(kind), draw()
    state = model.encode(batch.obs[:, 0], batch.goal, batch.history)
    assert state.h.shape == (5, *TOKENS[kind])
    trajectory = model.rollout(state, batch.action)
    assert trajectory.h.shape == (5, 4, *TOKENS[kind]) and trajectory.loops.tolist() == [[1] * 4] * 5
    assert trajectory.observations().shape == (5, 4, N_OBS) and trajectory.rewards().shape == (5, 4)
    assert model.continue_logit(trajectory.h).shape == (5, 4)
    some = trajectory.observations(slice(2, 5))
    assert torch.allclose(some, trajectory.observations()[..., 2:5], atol=1e-6)
    for chunk in (1, 2):
        unrolled = model.unroll(batch, Unroll(0.5, chunk), generator())
        terms = [*unrolled.extra.values(), *([] if unrolled.obs_error is None else [unrolled.obs_error])]
        assert unrolled.h.shape == (5, 4 // chunk, *TOKENS[kind])
        assert all(term.shape == (5, 4 // chunk) for term in terms)


@every_kind
def test_gradients_reach_all_parameters(kind):
    model, batch = make(kind), draw()
    loss, terms = world_model_loss(model, batch, LossWeights(), torch.ones(N_OBS), Unroll(0.1), generator())
    loss.backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None or not bool((p.grad != 0).any())]
    assert not idle and all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert all(bool(torch.isfinite(term)) for term in terms.values())


@every_kind
def test_rollout_is_repeated_step_in_double_precision(kind):
    """Also from a single start state, and in chunks, which are so many steps."""
    model, batch = make(kind).double(), draw()
    obs, action = batch.obs[:1, 0].double(), batch.action.double()
    state = model.encode(obs, batch.goal[:1].double())
    trajectory = model.rollout(state, action)
    chunked = model.rollout(state, action, chunk=2)
    assert trajectory.h.dtype == torch.float64
    assert torch.allclose(chunked.h, trajectory.h[:, 1::2], atol=1e-12)
    for n in range(len(action)):
        one = state
        for k in range(action.shape[1]):
            one, _ = model.step(one, action[n : n + 1, k])
            assert torch.allclose(one.h, trajectory.h[n : n + 1, k], atol=1e-12)


@every_kind
def test_order_of_the_batch_does_not_matter(kind):
    model, batch, order = make(kind).double(), draw(), torch.tensor([3, 0, 4, 1, 2])
    history = History(*(x.double() for x in (batch.history.obs, batch.history.action, batch.history.mask)))
    shuffled = History(history.obs[order], history.action[order], history.mask[order])
    obs, action = batch.obs[:, 0].double(), batch.action.double()
    a = model.rollout(model.encode(obs, history=history), action).h
    b = model.rollout(model.encode(obs[order], history=shuffled), action[order]).h
    assert torch.allclose(a[order], b, atol=1e-12)


@every_kind
def test_imagination_is_reproducible_and_leaves_the_global_generator_alone(kind):
    model, batch = make(kind), draw()
    before = torch.get_rng_state()
    h = [model.rollout(model.encode(batch.obs[:, 0]), batch.action).h for _ in range(2)]
    losses = [
        world_model_loss(model, batch, LossWeights(), torch.ones(N_OBS), Unroll(0.5), generator(3))[0] for _ in range(2)
    ]
    assert torch.equal(*h) and torch.equal(*losses)
    assert torch.equal(before, torch.get_rng_state())


@every_kind
def test_padding_does_not_count(kind):
    model, batch = make(kind), draw()
    mask = torch.ones_like(batch.mask)
    mask[:, 2:] = 0
    batch = replace(batch, mask=mask)
    spoiled = replace(batch, obs=batch.obs.clone(), reward=batch.reward.clone())
    spoiled.obs[:, 3:] = 1e3
    spoiled.reward[:, 2:] = 1e3
    a, b = (
        world_model_loss(model, x, LossWeights(), torch.ones(N_OBS), Unroll(), generator())[0] for x in (batch, spoiled)
    )
    assert torch.equal(a, b)


@every_kind
@pytest.mark.parametrize("spoil, message", [("width", r"allowed \(\.\.\., 6\)"), ("nan", r"first at index \(2, 1\)")])
def test_bad_observations_are_refused(kind, spoil, message):
    obs = torch.zeros(4, N_OBS)
    obs[2, 1] = torch.nan if spoil == "nan" else 0
    with pytest.raises(ValueError, match=message):
        make(kind).encode(obs if spoil == "nan" else obs[:, :5])


@every_kind
def test_checkpoint_round_trip(kind, tmp_path):
    model, batch = make(kind).eval(), draw()
    spaces = Spaces("Test-v0", "", N_OBS, NU, N_GOAL, DT, (0, 2))
    save_checkpoint(tmp_path / "c.safetensors", Checkpoint(model, replace(SMALL, kind=kind), spaces, {}))
    loaded = load_checkpoint(tmp_path / "c.safetensors").model
    assert type(loaded) is type(model)
    state = model.encode(batch.obs[:, 0], batch.goal, batch.history)
    again = loaded.encode(batch.obs[:, 0], batch.goal, batch.history)
    a, b = model.rollout(state, batch.action), loaded.rollout(again, batch.action)
    assert torch.equal(a.observations(), b.observations()) and torch.equal(a.rewards(), b.rewards())


@pytest.mark.parametrize(
    "make_config, message",
    [
        (lambda: LatentMLPConfig(hidden=0), r"model\.latent_mlp\.hidden is 0, allowed \[1, 8192\]"),
        (lambda: LatentMLPConfig(latent_dim=30), r"latent_dim is 30, allowed multiples of .*simnorm_dim = 8"),
        (lambda: LatentMLPConfig(rho=1.5), r"model\.latent_mlp\.rho is 1\.5, allowed \[0, 1\]"),
        (lambda: RSSMConfig(classes=1), r"model\.rssm\.classes is 1, allowed \[2, 1024\]"),
        (lambda: RSSMConfig(free_nats=float("nan")), r"model\.rssm\.free_nats is nan, allowed"),
        (lambda: EnsembleConfig(members=0), r"model\.ensemble\.members is 0, allowed \[1, 256\]"),
    ],
)
def test_config_ranges(make_config, message):
    with pytest.raises(ValueError, match=message):
        make_config()


# -- the latent MLP --------------------------------------------------------


def test_simnorm_groups_are_points_on_a_simplex():
    z = simnorm(torch.randn(3, 5, 32) * 4, 8).unflatten(-1, (-1, 8))
    assert torch.allclose(z.sum(-1), torch.ones(3, 5, 4)) and bool((z >= 0).all())
    assert torch.equal(simnorm(torch.zeros(1, 16), 8), torch.full((1, 16), 1 / 8))
    h = make("latent_mlp").rollout(make("latent_mlp").encode(torch.randn(2, N_OBS)), torch.zeros(2, 3, NU)).h
    assert torch.allclose(h.unflatten(-1, (-1, 8)).sum(-1), torch.ones(2, 3, 1, 4))


def test_consistency_is_the_decayed_error_to_the_embedding():
    model, batch = make("latent_mlp"), draw()
    assert isinstance(model, LatentMLP)
    got = model.unroll(batch, Unroll(), generator())
    truth = torch.stack([model.encode(batch.obs[:, k]).h for k in range(1, 5)], 1)
    want = 20.0 * (got.h - truth).square().mean((-2, -1)) * torch.tensor([1.0, 0.5, 0.25, 0.125])
    assert torch.allclose(got.extra["consistency"], want, atol=1e-6)


def test_shown_observations_replace_the_imagined_state():
    model, batch = make("latent_mlp"), draw()
    shown = model.unroll(batch, Unroll(observe_prob=1.0), generator()).h
    single = [model.step(model.encode(batch.obs[:, k]), batch.action[:, k])[0].h for k in range(4)]
    assert torch.allclose(shown, torch.stack(single, 1), atol=1e-6)
    imagined = model.unroll(batch, Unroll(), generator()).h
    assert torch.allclose(imagined, model.rollout(model.encode(batch.obs[:, 0]), batch.action).h, atol=1e-6)


# -- the RSSM --------------------------------------------------------------


def test_kl_is_that_of_torch_and_not_negative():
    log_q, log_p = (torch.randn(7, 4, 6, generator=generator(s)).log_softmax(-1) for s in (0, 1))
    want = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=log_q), torch.distributions.Categorical(logits=log_p)
    )
    assert torch.allclose(categorical_kl(log_q, log_p), want.sum(-1), atol=1e-5)
    assert bool((categorical_kl(log_q, log_p) > 0).all())
    assert torch.equal(categorical_kl(log_q, log_q), torch.zeros(7))


def test_kl_terms_are_balanced_and_have_free_nats():
    """The first trains the prior alone, the second the posterior; below the free nats neither has a gradient."""
    batch = draw()
    names = {"kl_dyn": "prior_head.out.weight", "kl_rep": "posterior_head.out.weight"}
    for free, alive in ((0.0, True), (1e3, False)):
        model = make("rssm")
        assert isinstance(model, RSSM)
        model.config = replace(model.config, free_nats=free)
        extra = model.unroll(batch, Unroll(), generator()).extra
        if not alive:
            assert torch.allclose(extra["kl_dyn"], torch.full((5, 4), 0.5 * 1e3 / N_OBS))
        else:
            assert torch.allclose(extra["kl_rep"] / 0.1, extra["kl_dyn"] / 0.5) and bool((extra["kl_dyn"] > 0).all())
        for term, name in names.items():
            model.zero_grad()
            extra[term][:, 0].sum().backward(retain_graph=True)  # after one transition: later ones also feel z
            grad = model.get_parameter(name).grad
            assert (grad is not None and bool((grad != 0).any())) is alive
            other = model.get_parameter(names["kl_rep" if term == "kl_dyn" else "kl_dyn"]).grad
            if term == "kl_rep":
                assert other is None or not bool((other != 0).any())


def test_every_class_keeps_some_probability():
    model = make("rssm")
    assert isinstance(model, RSSM)
    probs = model.prior(torch.randn(9, 32) * 100).exp()
    assert probs.shape == (9, 4, 6) and float(probs.min().detach()) >= 0.01 / 6 * 0.999
    assert torch.allclose(probs.sum(-1), torch.ones(9, 4), atol=1e-5)


def test_training_states_are_one_hot_samples_of_the_posterior():
    model = make("rssm")
    assert isinstance(model, RSSM)
    batch = draw(batch=4000, length=1)
    obs, action = (x[:1].expand(4000, -1, -1) for x in (batch.obs, batch.action))
    batch = replace(batch, obs=obs, action=action, history=None)
    z = model.unroll(batch, Unroll(), generator()).h[:, 0, 0, 32:].unflatten(-1, (4, 6)).detach()
    assert torch.allclose(z.amax(-1), torch.ones(4000, 4)) and torch.allclose(z.sum(-1), torch.ones(4000, 4))
    first = torch.tanh(model.initial).expand(4000, -1)
    shares = model.posterior(first, batch.obs[:, 0])[0].exp()
    drawn = model._sample(model.posterior(first, batch.obs[:, 0]), generator(5)).unflatten(-1, (4, 6)).mean(0)
    assert torch.allclose(drawn, shares, atol=0.03)  # four deviations of a share among 4000


def test_history_matters_where_it_happened():
    """Masked transitions leave the initial state; no history is the same as none that happened."""
    model, batch = make("rssm").eval(), draw()
    history = batch.history
    nothing = model.encode(batch.obs[:, 0]).h
    masked = model.encode(batch.obs[:, 0], history=replace(history, mask=torch.zeros(5, 3))).h
    assert model.context == 3 and torch.equal(nothing, masked)
    late = torch.tensor([0.0, 0.0, 1.0]).expand(5, 3)
    last = model.encode(batch.obs[:, 0], history=replace(history, mask=late)).h
    assert torch.allclose(last, model.encode(batch.obs[:, 0], history=history.last(1)).h)
    assert not torch.allclose(last, nothing, atol=1e-3)


def test_gru_interpolates_between_state_and_candidate():
    cell = LayerNormGRU(3, 5).double()
    x, h = torch.randn(7, 3).double(), torch.randn(7, 5).double()
    new = cell(x, h)
    low, high = torch.minimum(h, torch.full_like(h, -1)), torch.maximum(h, torch.ones_like(h))
    assert bool(((new >= low) & (new <= high)).all())
    with torch.no_grad():
        cell.norm.bias[10:] = -1e3
    assert torch.equal(cell(x, h), h)


# -- the ensemble ----------------------------------------------------------


def test_nll_is_that_of_a_normal_distribution():
    model, batch = make("ensemble"), draw()
    assert isinstance(model, Ensemble)
    before, after = batch.obs[:, 0], batch.obs[:, 1]
    mean, log_var = model.change(model.encode(before).h, batch.action[:, 0])
    normal = torch.distributions.Normal(mean, (0.5 * log_var).exp())
    want = -normal.log_prob(model.delta_normalizer(after - before).unsqueeze(1)).mean(-1)
    assert torch.allclose(model.nll(before, batch.action[:, 0], after), want, rtol=1e-4)


def test_log_variance_stays_within_its_bounds():
    model = make("ensemble")
    assert isinstance(model, Ensemble)
    with torch.no_grad():
        model.out.bias[:, N_OBS:] = torch.tensor([-1e3, 1e3]).repeat(3)
    _, log_var = model.change(torch.randn(50, 3, N_OBS) * 100, torch.zeros(50, NU))
    low, high = model.min_log_var, model.max_log_var
    assert bool((log_var >= low - 1e-3).all() and (log_var <= high + 1e-3).all())
    assert torch.allclose(log_var[..., 0], low[0], atol=1e-3) and torch.allclose(log_var[..., 1], high[1], atol=1e-3)


def test_members_move_on_their_own_and_their_spread_is_the_disagreement():
    model, batch = make("ensemble"), draw()
    assert isinstance(model, Ensemble)
    start = model.encode(batch.obs[:, 0])
    assert torch.equal(model.disagreement(start.h), torch.zeros(5, N_OBS))
    h = model.rollout(start, batch.action).h
    spread = model.disagreement(h).mean((0, 2))
    assert spread.shape == (4,) and bool((spread[1:] > spread[:-1]).all())
    mean, _ = model.change(start.h, batch.action[:, 0])
    moved = model.obs_normalizer.inverse(start.h) + model.delta_normalizer.inverse(mean)
    assert torch.allclose(model.obs_normalizer.inverse(h[:, 0]), moved, atol=1e-5)


def test_bootstrap_samples_differ_between_members_and_stay():
    obs, action = torch.randn(20_000, 4, generator=generator()), torch.randn(20_000, 2, generator=generator(1))
    w = bootstrap_weights(obs, action, 3)
    share = [float((w == k).double().mean()) for k in range(3)]
    assert share == pytest.approx([np.exp(-1), np.exp(-1), np.exp(-1) / 2], abs=0.01)
    correlation = torch.corrcoef(w.T.double()) - torch.eye(3)
    assert float(correlation.abs().max()) < 0.03
    order = torch.randperm(20_000, generator=generator(2))
    assert torch.equal(bootstrap_weights(obs[order].double(), action[order].double(), 3), w[order])
    assert not torch.equal(bootstrap_weights(obs, -action, 3), w)


def test_a_member_learns_only_from_its_own_sample():
    model, batch = make("ensemble"), draw(batch=1, length=1, seed=8)
    loss, _ = world_model_loss(model, batch, LossWeights(), torch.ones(N_OBS), Unroll(), generator())
    loss.backward()
    weight = bootstrap_weights(batch.obs[:, 0], batch.action[:, 0], 3)[0]
    assert (model.get_parameter("out.weight").grad.abs().sum((1, 2)) > 0).tolist() == (weight > 0).tolist()
    assert 0 < int((weight == 0).sum()) < 3


def test_sampled_particles_spread_as_the_model_says():
    model = make("ensemble")
    assert isinstance(model, Ensemble)
    model.config = replace(model.config, sample=True)
    start = model.encode(torch.ones(1, N_OBS)).expand(4000)
    action = torch.zeros(4000, NU)
    _, log_var = model.change(start.h[:1], action[:1])
    want = (0.5 * log_var).exp() * model.delta_normalizer.std / model.obs_normalizer.std
    model.noise.manual_seed(1)
    h = model.step(start, action)[0].h
    assert torch.allclose(h.std(0), want[0], rtol=0.06)  # 5 deviations of an estimate from 4000
    model.noise.manual_seed(1)
    assert torch.equal(h, model.step(start, action)[0].h)


# -- learning --------------------------------------------------------------

LEARNING = {"latent_mlp": (300, 1e-2, 0.5), "rssm": (300, 1e-2, 0.65), "ensemble": (150, 1e-2, 0.15)}
"""Updates, learning rate, and the largest share of the error of predicting no motion that is left."""


@pytest.mark.parametrize("kind", slow_but(["ensemble"], KINDS))
def test_learns_the_point_mass(kind):
    """The open-loop error at five steps is clearly below that of predicting no motion."""
    updates, rate, share = LEARNING[kind]
    buffer, env = ReplayBuffer(1000, 3, 2, 2), PointEnv()
    policy = ExplorationPolicy(2, np.random.default_rng(0))
    for i in range(30):
        buffer.add(run_episode(env, policy, i)[0])
    torch.manual_seed(0)
    model = build_model(replace(SMALL, kind=kind), 3, 2, 2, 0.1)
    trainer = WorldModelTrainer(
        model,
        UpdateConfig(batch_size=32, sequence_length=3, learning_rate=rate),
        updates,
        np.random.default_rng(0),
        generator(),
        slice(0, 2),
    )
    trainer.fit_normalizers(buffer)
    values = [trainer.update(buffer) for _ in range(updates)]
    assert values[-1]["loss"] < values[0]["loss"] and values[-1]["reward"] < values[0]["reward"]
    episodes = [run_episode(env, policy, 100 + i)[0] for i in range(8)]
    predicted, truth = open_loop_predictions(model.eval(), episodes, 5, 2)
    first = range(model.context, 6, 2)
    start = torch.from_numpy(np.stack([e.obs[t] for e in episodes for t in first]))[:, None]
    std = model.obs_normalizer.std
    still = normalised_rmse(start.expand_as(truth), truth, std)[4]
    error = normalised_rmse(predicted, truth, std)[4]
    assert error < share * still
