"""What every dynamics model can do: encode an observation, step it with actions, decode what will be seen.

LoopWM, its ablations and its peers share this interface, so that the trainer, the planners and the benchmarks take any.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..types import History, LatentState, LoopInfo, Obs, Observed, SequenceBatch
from .actor_critic import ActorCritic, ActorCriticConfig
from .heads import Head
from .normalizer import Normalizer


@dataclass(frozen=True)
class Unroll:
    """How training sequences are imagined.

    Attributes:
        observe_prob: chance that an observation after the first is shown to the model, in [0, 1].
        chunk: control steps m of a transition; the sequence length is a multiple of it.
    """

    observe_prob: float = 0.0
    chunk: int = 1


@dataclass(frozen=True)
class Unrolled:
    """A training batch as the model imagined it: K transitions of m control steps each, K m = L.

    Attributes:
        h: latent state after each transition (B, K, S, d).
        obs_error: error of each predicted observation (B, K) where the model has its own; None takes the weighted
            squared error of the decoded state.
        extra: further loss terms of the model, weights included, by name: (B, K).
    """

    h: Tensor
    obs_error: Tensor | None = None
    extra: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class LatentTrajectory:
    """K imagined latent states of N candidates; decoded late, and only as far as asked."""

    model: DynamicsModel
    h: Tensor  # (N, K, S, d)
    goal: Tensor | None  # (N or 1, n_goal)
    loops: Tensor  # (N, K) int64

    def observations(self, columns: slice | None = None) -> Tensor:
        """Predicted observations after each transition (N, K, n) in physical units."""
        return self.model.decode(self.h, columns)

    def rewards(self) -> Tensor:
        """Predicted rewards (N, K)."""
        return self.model.reward(self.h, self.goal)

    def images(self) -> Tensor:
        """Pictures after each transition (N, K, H, W, C) uint8, for models that see some; decoded only here.

        Raises:
            ValueError: the model sees no pictures.
        """
        return self.model.decode_image(self.h)

    def terminal_value(self) -> Tensor:
        """What is expected to come after the last state (N,): discounted rewards under the learned policy.

        Raises:
            ValueError: the model has learned no value.
        """
        return self.model.value(self.h[:, -1], self.goal)

    def terminal(self) -> LatentTrajectory:
        """Only the last state: what deferred decoding scores (eq 18)."""
        return LatentTrajectory(self.model, self.h[:, -1:], self.goal, self.loops[:, -1:])


class DynamicsModel(nn.Module, ABC):
    """Base of all dynamics models.

    Args:
        n_obs: numbers in an observation.
        nu: action dimensions.
        n_goal: numbers in a goal; 0 where the task has none. Only the reward head sees the goal.
        ctrl_dt: duration of one action [s].
        features: numbers that describe a latent state to the reward and continuation heads.
        hidden: width of those heads.
    """

    context: int = 0
    """Transitions of history that `encode` looks at."""

    def __init__(self, n_obs: int, nu: int, n_goal: int, ctrl_dt: float, features: int, hidden: int) -> None:
        super().__init__()
        self.n_obs, self._nu, self.n_goal, self._ctrl_dt = n_obs, nu, n_goal, ctrl_dt
        self.obs_normalizer = Normalizer(n_obs)
        self.goal_normalizer = Normalizer(n_goal)
        self.delta_normalizer = Normalizer(n_obs)  # change of the observation in one control step
        self.reward_head = Head(features + n_goal, 1, hidden)
        self.continue_head = Head(features, 1, hidden)
        self.num_features = features
        self.actor_critic: ActorCritic | None = None

    @property
    def nu(self) -> int:
        """Number of action dimensions."""
        return self._nu

    @property
    def ctrl_dt(self) -> float:
        """Duration of one action [s]."""
        return self._ctrl_dt

    @property
    def device(self) -> torch.device:
        """Where the model is, and its inputs have to be."""
        return self.obs_normalizer.mean.device

    # -- a model defines ---------------------------------------------------

    @abstractmethod
    def encode(self, obs: Obs, goal: Tensor | None = None, history: History | None = None) -> LatentState:
        """State before the first action.

        Args:
            obs: (B, n_obs), physical units; models with pictures are shown them beside, see LoopWM.encode.
            goal: (B or 1, n_goal), for the reward head; None where rewards are not asked for.
            history: the transitions before obs, for models with context; None means nothing is known.

        Raises:
            ValueError: obs has another width or non-finite numbers; the message gives the index of the culprit.
        """

    @abstractmethod
    def step(self, state: LatentState, action: Tensor) -> tuple[LatentState, LoopInfo]:
        """One imagined transition from h (B, S, d) with action (B, nu), or (B, m, nu) for a chunk of m steps."""

    @abstractmethod
    def decode_normalised(self, h: Tensor, columns: slice | None = None) -> Tensor:
        """Observation after h in normalised units: (..., S, d) -> (..., n)."""

    @abstractmethod
    def unroll(self, batch: SequenceBatch, how: Unroll, generator: torch.Generator) -> Unrolled:
        """Imagine a training batch along its recorded actions, with gradients."""

    def features(self, h: Tensor) -> Tensor:
        """What the reward and continuation heads see: (..., S, d) -> (..., features)."""
        return h.flatten(-2)

    def widen(self, obs: Tensor) -> None:
        """Learn that observations (rows, n_obs) are possible; for models that keep to what was ever seen."""
        return None

    # -- all models share ----------------------------------------------------

    def numbers(self, obs: Obs) -> Tensor:
        """obs (..., n_obs) for models that see nothing else, checked.

        Raises:
            ValueError: there is a picture, another width, or a non-finite number.
        """
        if isinstance(obs, Observed):
            raise ValueError(
                f"obs has a picture, allowed numbers (..., {self.n_obs}) for this {type(self).__name__}; "
                "make a LoopWM with image=(H, W, C)"
            )
        check_finite("obs", obs, self.n_obs)
        return obs

    def fit_normalizers(self, obs: Tensor, following: Tensor, goals: Tensor) -> None:
        """Take the scaling from data.

        Args:
            obs: observations (rows, n_obs).
            following: the observations one control step after them (rows, n_obs).
            goals: (any, n_goal).
        """
        self.obs_normalizer.fit(torch.cat([obs, following[-1:]]))
        self.delta_normalizer.fit(following - obs, min_std=1e-4)
        if self.n_goal:
            self.goal_normalizer.fit(goals)

    def rollout(self, state: LatentState, actions: Tensor, chunk: int = 1) -> LatentTrajectory:
        """Imagine action sequences; nothing is decoded yet.

        Args:
            state: one start state, or one for each candidate.
            actions: (N, H, nu), each in [-1, 1].
            chunk: control steps m in one transition; H must be a multiple of it, and the states are m steps apart.

        Raises:
            ValueError: actions have another width, H is no multiple of chunk, or there are non-finite numbers.
        """
        check_finite("actions", actions, self.nu)
        if actions.shape[1] % chunk:
            raise ValueError(f"horizon is {actions.shape[1]} steps, allowed multiples of chunk = {chunk}")
        if len(state.h) != len(actions):
            state = state.expand(len(actions))
        states, loops = [], []
        for k in range(0, actions.shape[1], chunk):
            state, info = self.step(state, actions[:, k] if chunk == 1 else actions[:, k : k + chunk])
            states.append(state.h)
            loops.append(info.num_loops)
        return LatentTrajectory(self, torch.stack(states, 1), state.goal, torch.stack(loops, 1))

    def decode(self, h: Tensor, columns: slice | None = None) -> Tensor:
        """Observation after h: (..., S, d) -> (..., n) in physical units, all numbers or those of `columns`."""
        return self.obs_normalizer.inverse(self.decode_normalised(h, columns), columns)

    def decode_image(self, h: Tensor) -> Tensor:
        """Picture after h: (..., S, d) -> (..., H, W, C) uint8, for models that see some.

        Raises:
            ValueError: this one does not.
        """
        raise ValueError(
            f"{type(self).__name__} was made without pictures, allowed decode(); make a LoopWM with image=(H, W, C)"
        )

    def reward(self, h: Tensor, goal: Tensor | None) -> Tensor:
        """Predicted reward of the transitions that led to h (B, K, S, d); goal (B or 1, n_goal) -> (B, K)."""
        return self.reward_head(self.with_goal(self.features(h), goal)).squeeze(-1)

    def with_goal(self, features: Tensor, goal: Tensor | None) -> Tensor:
        """Features (B, ..., n) with the goal (B or 1, n_goal) beside them, normalised: (B, ..., n + n_goal)."""
        if not self.n_goal:
            return features
        if goal is None:
            raise ValueError(f"the state has no goal, allowed {self.n_goal} numbers; pass goal to encode()")
        g = self.goal_normalizer(goal)
        g = g.view(len(g), *[1] * (features.ndim - 2), -1)
        return torch.cat([features, g.expand(*features.shape[:-1], -1)], dim=-1)

    def observed(self, obs: Obs, imagined: Tensor) -> Tensor:
        """Latent states of observations (B, n_obs); of what they do not show as it was imagined (B, S, d)."""
        return self.encode(obs).h

    def learn_to_act(self, config: ActorCriticConfig) -> None:
        """Put a fresh policy and value beside the model."""
        self.actor_critic = ActorCritic(self.num_features + self.n_goal, self.nu, config)

    def value(self, h: Tensor, goal: Tensor | None) -> Tensor:
        """What the learned policy is expected to earn after h (B, S, d); goal (B or 1, n_goal) -> (B,).

        Raises:
            ValueError: the model has learned no value.
        """
        return self._learned().value(self.with_goal(self.features(h), goal))

    def act(self, h: Tensor, goal: Tensor | None) -> Tensor:
        """The learned policy's actions (B, nu) in states h (B, S, d); goal (B or 1, n_goal).

        Raises:
            ValueError: the model has learned no policy.
        """
        return self._learned().act(self.with_goal(self.features(h), goal))

    def _learned(self) -> ActorCritic:
        if self.actor_critic is None:
            raise ValueError(
                f"this {type(self).__name__} has learned no policy and no value; train with "
                "model.actor_critic.enabled=true"
            )
        return self.actor_critic

    def continue_logit(self, h: Tensor) -> Tensor:
        """Logit of "the episode goes on after this transition": (..., S, d) -> (...)."""
        return self.continue_head(self.features(h)).squeeze(-1)


def check_finite(name: str, values: Tensor, width: int) -> None:
    """Refuse values (..., width) of another width or with non-finite numbers.

    Raises:
        ValueError: names the first culprits by their indices.
    """
    if values.shape[-1] != width:
        raise ValueError(f"{name} has shape {tuple(values.shape)}, allowed (..., {width})")
    if not bool(torch.isfinite(values).all()):
        bad = torch.nonzero(~torch.isfinite(values))
        shown = ", ".join(str(tuple(index)) for index in bad[:4].tolist())
        raise ValueError(
            f"{name} has {len(bad)} non-finite number(s), first at index {shown}, allowed finite; look at their source"
        )
