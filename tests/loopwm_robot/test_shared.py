"""One model for several environments: what is shared, what is an environment's own, what never mixes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from loopwm_robot.checkpoint import Spaces, short_names
from loopwm_robot.config import ModelConfig
from loopwm_robot.models.actor_critic import ActorCriticConfig
from loopwm_robot.models.build import build_model
from loopwm_robot.models.dynamics import DynamicsModel, LatentTrajectory
from loopwm_robot.models.latent_mlp import LatentMLPConfig
from loopwm_robot.models.loopwm import LoopWM
from loopwm_robot.models.places import Places
from loopwm_robot.models.rssm import RSSMConfig
from loopwm_robot.models.shared import WIDTH, Laid, SharedModel
from loopwm_robot.types import History

LONG = {"joint1": (0, 3), "joint2": (1, 4), "joint3": (2, 5), "ee": (6, 7)}
SHORT = {"joint1": (0, 2), "joint2": (1, 3), "ee": (4, 5), "object": (6, 7, 8)}
ARM = Spaces("LoopWM/LongReach-v0", "joint_delta", 8, 3, 2, 0.1, (6, 8), groups=LONG)
OTHER = Spaces("LoopWM/ShortPush-v0", "cartesian_delta", 9, 2, 3, 0.05, (6, 9), groups=SHORT)
SHORTER = replace(OTHER, env_id="LoopWM/ShortReach-v0", control_mode="joint_delta", nu=2)

SMALL = ModelConfig(
    latent_dim=16,
    heads=2,
    mean_loops=2,
    max_loops=4,
    latent_mlp=LatentMLPConfig(latent_dim=16, hidden=16),
    rssm=RSSMConfig(deterministic=8, categoricals=4, classes=2, hidden=16, context=2),
)
CONFIGS = [
    SMALL,
    replace(SMALL, tokens="parts", context=3),
    replace(SMALL, tokens="bodies", form="step_consistent", exit="doubling"),
    replace(SMALL, latent_dim=8),  # the observed numbers do not fit: they are embedded
    replace(SMALL, kind="untied"),
    replace(SMALL, kind="latent_mlp"),
    replace(SMALL, kind="rssm"),
]
NAMES = ["single", "parts", "bodies", "embedded", "untied", "latent_mlp", "rssm"]


def made(config: ModelConfig, *spaces: Spaces) -> SharedModel:
    """A shared model away from the identity it starts at, with ranges from random data."""
    torch.manual_seed(0)
    model = SharedModel(config, spaces)
    data = [(torch.randn(50, s.n_obs), torch.randn(50, s.n_obs) * 1.1, torch.randn(9, s.n_goal)) for s in spaces]
    model.fit_normalizers(data)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return model


def imagined(model: DynamicsModel, seed: int = 1, batch: int = 4, horizon: int = 3) -> LatentTrajectory:
    g = torch.Generator().manual_seed(seed)
    history = None
    if model.context:
        past = torch.randn(batch, 2, model.n_obs, generator=g), torch.randn(batch, 2, model.nu, generator=g)
        history = History(*past, torch.ones(batch, 2))
    goal = torch.randn(batch, model.n_goal, generator=g)
    state = model.encode(torch.randn(batch, model.n_obs, generator=g), goal, history)
    return model.rollout(state, torch.rand(batch, horizon, model.nu, generator=g) * 2 - 1)


def everything(model: DynamicsModel) -> Tensor:
    """All that a planner can read from an imagined trajectory, in one vector."""
    trajectory = imagined(model)
    return torch.cat([trajectory.observations().flatten(), trajectory.rewards().flatten()])


def test_numbers_of_the_same_name_share_a_place() -> None:
    places = Places.make([list(LONG.items()), list(SHORT.items())])
    assert places.n == 11 and places.named == {
        "joint1": (0, 1),
        "joint2": (2, 3),
        "joint3": (4, 5),
        "ee": (6, 7),
        "object": (8, 9, 10),
    }
    assert places.of == ((0, 2, 4, 1, 3, 5, 6, 7), (0, 2, 1, 3, 6, 7, 8, 9, 10))
    model = made(SMALL, ARM, OTHER, SHORTER)
    assert model.action.of == ((0, 1, 2), (3, 4), (0, 1)) and model.action.n == 5


def test_environments_without_named_parts_are_laid_in_order() -> None:
    model = made(SMALL, replace(ARM, groups={}), OTHER)
    assert model.obs.n == 9 and model.obs.of == (tuple(range(8)), tuple(range(9)))


def test_padding_changes_nothing_for_a_single_environment() -> None:
    """With the task embedding at zero, the view predicts what a model of that environment alone does."""
    torch.manual_seed(0)
    own = ModelConfig(latent_dim=16, heads=2, tokens="parts", context=3)
    shared = made(own, ARM)
    alone = build_model(own, *ARM.of_model)
    with torch.no_grad():
        shared.table.zero_()
        state = dict(shared.layers.state_dict())
        nu, spans = ARM.nu, 3
        state["action_embedder.weight"] = state["action_embedder.weight"][:, :nu]
        keep = [*range(8 + nu), *range(8 + nu + WIDTH, 16 + nu + WIDTH)]
        wide = state["transition_up.weight"].unflatten(1, (-1, spans))
        state["transition_up.weight"] = wide[:, keep].flatten(1)
        order = shared.obs.of[0]
        for name in ("linear", "up"):
            goal = [*range(alone.num_features + ARM.n_goal)]
            state[f"reward_head.{name}.weight"] = state[f"reward_head.{name}.weight"][:, goal]
        for name in ("obs", "goal", "delta"):
            for part in ("mean", "std"):
                state[f"{name}_normalizer.{part}"] = getattr(getattr(shared.views[0], f"{name}_normalizer"), part)
        state["coda.low"], state["coda.high"] = shared.own[0].low, shared.own[0].high
        up = state["transition_up.weight"].unflatten(1, (-1, spans))
        back = [*order, *(8 + a for a in range(nu)), *(8 + nu + c for c in order)]
        state["transition_up.weight"] = up[:, back].flatten(1)
    alone.load_state_dict(state)
    assert torch.allclose(everything(shared.views[0]), everything(alone), atol=1e-5)


@pytest.mark.parametrize("config", CONFIGS, ids=NAMES)
def test_what_an_environment_lacks_never_influences_its_predictions(config: ModelConfig) -> None:
    """Shared weights at the places of others' actions and observed numbers have no gradient and no effect."""
    model = made(config, ARM, OTHER)
    view = model.views[0]
    mine = everything(view)
    mine.square().sum().backward()
    lacking = [place for place in range(model.action.n) if place not in model.action.of[0]]
    assert lacking == [3, 4]
    wrapped = {"latent_mlp": ("dynamics", 16), "rssm": ("mixer", 8)}.get(config.kind, ("action_embedder", 0))
    layer = getattr(model.layers, wrapped[0])
    weight = layer.weight if isinstance(layer, torch.nn.Linear) else next(layer.parameters())
    others = [wrapped[1] + place for place in lacking]
    assert weight.grad[:, others].abs().max() == 0
    assert weight.grad[:, wrapped[1] + model.action.of[0][0]].abs().max() > 0
    with torch.no_grad():
        weight[:, others] += 7.0
    assert torch.equal(everything(view), mine)
    absent = [place for place in range(model.obs.n) if place not in model.obs.of[0]]
    if isinstance(view, LoopWM) and config.tokens == "single" and config.latent_dim == 16:
        assert imagined(view).h[..., 0, absent].abs().max() == 0


@pytest.mark.parametrize("config", CONFIGS, ids=NAMES)
def test_the_task_matters_and_its_embedding_learns(config: ModelConfig) -> None:
    model = made(config, ARM, replace(ARM, env_id="LoopWM/Twin-v0"))
    one, two = model.views
    for name in ("obs", "goal", "delta"):
        getattr(two, f"{name}_normalizer").load_state_dict(getattr(one, f"{name}_normalizer").state_dict())
    if isinstance(one, LoopWM) and isinstance(two, LoopWM):
        two.coda.low.copy_(one.coda.low)
        two.coda.high.copy_(one.coda.high)
    a, b = everything(one), everything(two)
    assert not torch.allclose(a, b, atol=1e-3)
    a.sum().backward()
    assert model.table.grad[0].abs().min() > 0 and model.table.grad[1].abs().max() == 0


def test_a_task_embedding_is_bounded() -> None:
    model = made(SMALL, ARM, OTHER)
    with torch.no_grad():
        model.table[0] *= 1000
        model.table[1] *= 0.5 / model.table[1].norm()
    lengths = [view.action_embedder.task().norm().item() for view in model.views]
    assert lengths[0] == pytest.approx(1.0) and lengths[1] == pytest.approx(0.5)


@pytest.mark.parametrize("config", CONFIGS, ids=NAMES)
def test_views_have_sizes_of_their_own_and_no_weights(config: ModelConfig) -> None:
    model = made(config, ARM, OTHER)
    weights = {id(p) for p in model.parameters()}
    assert len(model.state_dict()) == len(set(model.state_dict()))
    for view, s in zip(model.views, (ARM, OTHER), strict=True):
        assert (view.n_obs, view.nu, view.n_goal, view.ctrl_dt) == (s.n_obs, s.nu, s.n_goal, s.ctrl_dt)
        assert {id(p) for p in view.parameters()} == weights
        trajectory = imagined(view)
        assert trajectory.observations().shape == (4, 3, s.n_obs)
        every, some = trajectory.observations(), trajectory.observations(s.position_columns)
        assert torch.allclose(every[..., s.position_columns], some, atol=1e-6)
        assert torch.isfinite(trajectory.rewards()).all()
    with pytest.raises(ValueError, match=r"obs has shape \(1, 9\), allowed \(..., 8\)"):
        model.views[0].encode(torch.zeros(1, 9))


def test_scaling_and_range_are_an_environments_own() -> None:
    torch.manual_seed(0)
    model = SharedModel(SMALL, (ARM, OTHER))
    small, large = torch.rand(100, 8), 100 + 50 * torch.rand(100, 9)
    after = small + 0.02 * torch.rand(100, 8), large + 2 * torch.rand(100, 9)
    model.fit_normalizers([(small, after[0], torch.zeros(1, 2)), (large, after[1], torch.zeros(1, 3))])
    one, two = model.views
    assert one.obs_normalizer.mean.max() < 1 and two.obs_normalizer.mean.min() > 100
    for view, data in ((one, small), (two, large)):
        seen = view.laid(view.obs_normalizer(data))
        assert torch.allclose(view.coda.high[0, :11], seen.amax(0), atol=0.2)
        assert torch.allclose(view.coda.low[0, :11], seen.amin(0), atol=0.2)
    paces = [view.usual_step() for view in model.views]
    found = model.layers.coda.log_delta[0, :11].exp().tolist()
    assert found[0] == pytest.approx(float((paces[0][0] * paces[1][0]).sqrt()), rel=1e-4)  # of both arms
    assert found[4] == pytest.approx(float(paces[0][2]), rel=1e-4)  # joint3 of the one that has it
    before = model.views[0].coda.high.clone()
    model.views[1].widen(large * 10)
    assert torch.equal(model.views[0].coda.high, before)


def test_a_state_goes_where_it_came_from() -> None:
    model, other = made(SMALL, ARM, OTHER), SharedModel(SMALL, (ARM, OTHER))
    other.load_state_dict(model.state_dict())
    for a, b in zip(model.views, other.views, strict=True):
        assert torch.equal(everything(a), everything(b))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"kind": "ensemble"}, "model.kind is 'ensemble' for several environments, allowed loopwm"),
        ({"actor_critic": ActorCriticConfig(True)}, "model.actor_critic.enabled is true for several"),
        ({"tokens": "parts"}, "model.tokens is 'parts' with LoopWM/LongReach-v0, whose observation has no named"),
    ],
)
def test_what_cannot_be_shared(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SharedModel(replace(SMALL, **changes), (replace(ARM, groups={}), OTHER))
    with pytest.raises(ValueError, match="LoopWM/LongReach-v0 shows pictures, allowed numbers"):
        SharedModel(SMALL, (replace(ARM, image=(8, 8, 3)), OTHER))


def test_short_names() -> None:
    assert short_names([ARM, OTHER]) == ["LongReach", "ShortPush"]
    twin = replace(ARM, control_mode="joint_position")
    assert short_names([ARM, twin]) == ["LongReach_joint_delta", "LongReach_joint_position"]


def test_a_layer_that_is_laid_sees_zeros_elsewhere() -> None:
    laid = Laid(torch.nn.Identity(), (2, 0), 4)
    assert laid(torch.tensor([[5.0, 6.0]])).tolist() == [[6.0, 0.0, 5.0, 0.0]]
