"""One model for several environments: shared layers, a learned task embedding, and a view for each environment.

A view is a dynamics model like any other, with the sizes and the scaling of its environment. Its layers are those of
all. On their way in, numbers are laid to their places (places.py), with zeros at those that the environment lacks:

    observation  scaled by its own statistics; joint 3 at the place of joint 3, the object at that of the object
    action       those of one control mode at the same places
    task         z_e / max(1, |z_e|), beside every action and every goal

The task embedding is bounded as in TD-MPC2 (arXiv 2310.16828), which pads observations and actions with
zeros at their end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from .block import UNLIMITED
from .build import build_model, exit_rule
from .dynamics import DynamicsModel
from .latent_mlp import LatentMLP
from .loopwm import SPAN, LoopWM
from .normalizer import Normalizer
from .places import Places
from .rssm import RSSM

if TYPE_CHECKING:
    from ..checkpoint import Spaces
    from ..config import ModelConfig

WIDTH = 16
"""Numbers in a task embedding."""
KINDS = ("loopwm", "one_pass", "untied", "latent_mlp", "rssm")
"""Kinds of model that can be shared."""

Data = tuple[Tensor, Tensor, Tensor]
"""Observations, those one control step later (rows, n_obs), and goals (any, n_goal)."""
Layer = TypeVar("Layer", bound=nn.Module)


class Task(nn.Module):
    """The embedding of one environment.

    Args:
        table: of all environments (E, WIDTH).
        index: of this one.
    """

    def __init__(self, table: nn.Parameter, index: int) -> None:
        super().__init__()
        self.table, self.index = table, index

    def forward(self) -> Tensor:
        """z_e / max(1, |z_e|) (WIDTH,)."""
        z = self.table[self.index]
        bounded: Tensor = z / z.norm().clamp_min(1)
        return bounded


class Laid(nn.Module):
    """A shared layer as an environment uses it: what comes in is laid to its places, the rest are zeros.

    Args:
        layer: expects `n` numbers, and behind them a task embedding where there is a task.
        places: of each number that comes in.
        n: places.
        task: of the environment; None where the layer does not ask for it.
    """

    places: Tensor

    def __init__(self, layer: nn.Module, places: Sequence[int], n: int, task: Task | None = None) -> None:
        super().__init__()
        self.layer, self.n, self.task = layer, n, task
        self.register_buffer("places", torch.tensor(places, dtype=torch.long), persistent=False)

    def lay(self, x: Tensor) -> Tensor:
        """(..., len(places)) -> (..., n)."""
        return x.new_zeros(*x.shape[:-1], self.n).index_copy(-1, self.places, x)

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output for x (..., len(places))."""
        laid = self.lay(x)
        if self.task is not None:
            z = self.task().to(laid)
            laid = torch.cat([laid, z.expand(*laid.shape[:-1], -1)], dim=-1)
        y: Tensor = self.layer(laid)
        return y


class Picked(nn.Module):
    """A shared decoder as an environment uses it: only its own numbers are read.

    Args:
        layer: reads the numbers at some places.
        places: of the environment's numbers.
    """

    places: Tensor

    def __init__(self, layer: nn.Module, places: Sequence[int]) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("places", torch.tensor(places, dtype=torch.long), persistent=False)

    def forward(self, h: Tensor, columns: slice | None = None) -> Tensor:
        """All numbers of the environment, or only those in `columns`."""
        y: Tensor = self.layer(h, self.places if columns is None else self.places[columns])
        return y


class Own(nn.Module):
    """What an environment has for itself, beside its task embedding: scaling, range and levels, all from its data."""

    low: Tensor
    high: Tensor
    level: Tensor

    def __init__(self, spaces: Spaces, layers: DynamicsModel) -> None:
        super().__init__()
        self.obs_normalizer = Normalizer(spaces.n_obs)
        self.goal_normalizer = Normalizer(spaces.n_goal)
        self.delta_normalizer = Normalizer(spaces.n_obs)
        if isinstance(layers, LoopWM):
            self.register_buffer("low", torch.full_like(layers.coda.low, -UNLIMITED))
            self.register_buffer("high", torch.full_like(layers.coda.high, UNLIMITED))
            self.register_buffer("level", torch.zeros_like(layers.monitoring.level))


class SharedModel(nn.Module):
    """Layers that several environments share, and a view for each of them.

    Args:
        config: kind and settings.
        spaces: of the environments.
        device: where all of it is.

    Attributes:
        spaces: of the environments.
        views: the model as each of them sees it.
        layers: what they share.
        table: task embeddings before they are bounded (E, WIDTH).

    Raises:
        ValueError: the model cannot be shared by these environments, see `check_shared`.
    """

    def __init__(self, config: ModelConfig, spaces: Sequence[Spaces], device: torch.device | str = "cpu") -> None:
        check_shared(config, spaces)
        super().__init__()
        self.spaces = tuple(spaces)
        self.obs, self.action = observation_places(spaces), action_places(spaces)
        self.n_goal = max(s.n_goal for s in spaces)
        sizes = (self.obs.n, self.action.n + WIDTH, self.n_goal + WIDTH, spaces[0].ctrl_dt)
        self.layers = build_model(config, *sizes, self.obs.named if all(s.groups for s in spaces) else None)
        self.table = nn.Parameter(torch.randn(len(spaces), WIDTH) / math.sqrt(WIDTH))
        self.own = nn.ModuleList(Own(s, self.layers) for s in spaces)
        self.to(device)
        self.views = tuple(self._view(config, s, i) for i, s in enumerate(spaces))

    def fit_normalizers(self, data: Sequence[Data]) -> None:
        """Take the scaling of each environment from its data, and the steps of observed channels from all.

        A step that is usual in several environments starts at the geometric mean of theirs.
        """
        pace, count = (torch.zeros(self.obs.n, device=self.table.device) for _ in range(2))
        for view, some in zip(self.views, data, strict=True):
            DynamicsModel.fit_normalizers(view, *some)
            if isinstance(view, LoopWM):
                usual = view.usual_step().log()
                pace, count = pace + view.laid(usual), count + view.laid(torch.ones_like(usual))
        for view, (obs, following, _) in zip(self.views, data, strict=True):
            if isinstance(view, LoopWM):
                view.set_steps((pace / count).exp())
                view.fit_range(obs, following)

    def _view(self, config: ModelConfig, spaces: Spaces, i: int) -> DynamicsModel:
        """The model as an environment sees it; what it shares with the others is not copied."""
        own, task = self.own[i], Task(self.table, i)
        view: Any = sibling(self.layers)
        view.n_obs, view.n_goal, view._nu, view._ctrl_dt = spaces.n_obs, spaces.n_goal, spaces.nu, spaces.ctrl_dt
        for name in ("obs_normalizer", "goal_normalizer", "delta_normalizer"):
            setattr(view, name, getattr(own, name))
        n, features, obs, action = self.obs.n, view.num_features, self.obs.of[i], self.action.of[i]

        def with_action(layer: nn.Module, before: int) -> Laid:
            """A layer that reads `before` numbers, then an action."""
            return Laid(layer, [*range(before), *(before + a for a in action)], before + self.action.n, task)

        goal = range(features + spaces.n_goal)
        view.reward_head = Laid(view.reward_head, goal, features + self.n_goal, task)
        view.encoder = Laid(view.encoder, obs, n)
        if isinstance(self.layers, LoopWM):
            view.obs_head = Picked(view.obs_head, obs)
            view.action_embedder = with_action(view.action_embedder, 0)
            view.coda, view.monitoring = sibling(view.coda), sibling(view.monitoring)
            view.coda.low, view.coda.high, view.monitoring.level = own.low, own.high, own.level
            if view.context:
                known = [*obs, *(n + a for a in action), *(n + self.action.n + WIDTH + c for c in obs)]
                spans = [SPAN * place + k for place in known for k in range(SPAN)]
                view.transition_up = Laid(view.transition_up, spans, SPAN * (2 * n + self.action.n + WIDTH))
            view.exit_thresholds = {}
            if config.kind == "loopwm":
                view.exit_rule = exit_rule(config, view)
        else:
            view.decoder = Picked(view.decoder, obs)
            if isinstance(self.layers, LatentMLP):
                view.dynamics = with_action(view.dynamics, self.layers.config.latent_dim)
            elif isinstance(self.layers, RSSM):
                view.mixer = with_action(view.mixer, self.layers.stochastic)
        built: DynamicsModel = view.to(self.table.device)
        return built


def check_shared(config: ModelConfig, spaces: Sequence[Spaces]) -> None:
    """A model can be shared by environments.

    Raises:
        ValueError: its kind cannot, it has a policy, there are pictures, or parts of the observation are named wrongly
            or, where tokens stand for them, not at all.
    """
    if config.kind not in KINDS:
        raise ValueError(f"model.kind is '{config.kind}' for several environments, allowed {', '.join(KINDS)}")
    if config.actor_critic.enabled:
        raise ValueError("model.actor_critic.enabled is true for several environments, allowed false")
    for s in spaces:
        if s.image or not s.n_obs:
            raise ValueError(f"{s.env_id} shows pictures, allowed numbers for several environments; take it out")
        named = sorted(column for columns in s.groups.values() for column in columns)
        if s.groups and named != list(range(s.n_obs)):
            raise ValueError(f"{s.env_id} names columns {named}, allowed each of its {s.n_obs} once")
        if config.kind in ("loopwm", "one_pass", "untied") and config.tokens != "single" and not s.groups:
            raise ValueError(
                f"model.tokens is '{config.tokens}' with {s.env_id}, whose observation has no named parts; "
                "set model.tokens=single"
            )


def observation_places(spaces: Sequence[Spaces]) -> Places:
    """Numbers of the same part at the same places; where an environment has no named parts, all by their order."""
    if all(s.groups for s in spaces):
        return Places.make([list(s.groups.items()) for s in spaces])
    return Places.make([[("all", range(s.n_obs))] for s in spaces])


def action_places(spaces: Sequence[Spaces]) -> Places:
    """Actions of the same control mode at the same places; those of an unknown one share theirs."""
    return Places.make([[(s.control_mode, range(s.nu))] for s in spaces])


def sibling(module: Layer) -> Layer:
    """A module with the same parts, which can be replaced one by one; the parts are not copied."""
    twin = copy(module)
    for name in ("_parameters", "_buffers", "_modules"):
        object.__setattr__(twin, name, dict(getattr(module, name)))
    return twin
