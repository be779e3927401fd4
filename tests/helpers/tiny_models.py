"""Small LoopWMs in all their variants, away from the identity that they start at."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from loopwm_robot.models.block import FORMS
from loopwm_robot.models.loopwm import Core, LoopWM
from loopwm_robot.models.tokens import TOKEN_SCHEMES
from loopwm_robot.types import History, SequenceBatch

N_OBS, NU, N_GOAL, DT = 9, 2, 3, 0.05
GROUPS = {"joint1": (0, 3), "joint2": (1, 4), "ee": (2, 5, 6), "object": (7, 8)}
"""Interleaved, and of different sizes."""


@dataclass(frozen=True)
class Variant:
    """A combination of settings."""

    form: str
    gain: str
    norm: str
    tokens: str
    context: int
    latent_dim: int = 16

    def __str__(self) -> str:
        return f"{self.form}-{self.gain}-{self.norm}-{self.tokens}{self.latent_dim}-context{self.context}"


def _variants() -> list[Variant]:
    """Every form with every token scheme, gain, norm and with and without context: any two settings meet somewhere.

    A single token of 8 channels cannot hold the 9 observed numbers: its state is an embedding.
    """
    rest = (
        (("zoh", "hidden", 0), ("euler", "pre", 3)),
        (("zoh", "sandwich", 3), ("euler", "hidden", 3)),
        (("zoh", "pre", 0), ("euler", "sandwich", 0)),
    )
    rows = []
    for (i, form), (j, tokens) in product(enumerate(FORMS), enumerate(TOKEN_SCHEMES)):
        for k, (gain, norm, context) in enumerate(rest[(i + j) % 3]):
            rows.append(Variant(form, gain, norm, tokens, context, 8 if tokens == "single" and k else 16))
    return rows


VARIANTS = _variants()


def make_model(seed: int = 0, *, tokens: str = "single", **core: object) -> LoopWM:
    """A model with fresh weights, 16 wide unless `core` says otherwise."""
    torch.manual_seed(seed)
    settings = {"latent_dim": 16, **core}
    return LoopWM(N_OBS, NU, N_GOAL, DT, Core(**settings), groups=GROUPS, tokens=tokens).eval()  # type: ignore[arg-type]


def randomised(model: LoopWM, seed: int = 1, scale: float = 0.2) -> LoopWM:
    """Leave the identity initialisation: every parameter moves."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * scale)
    return model


def make_variant(v: Variant, **core: object) -> LoopWM:
    """A randomised model of a variant."""
    settings = {"form": v.form, "gain": v.gain, "norm": v.norm, "context": v.context, "latent_dim": v.latent_dim}
    return randomised(make_model(tokens=v.tokens, **{**settings, **core}))


def inputs(batch: int = 5, horizon: int = 4, seed: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Observations, goals and action sequences."""
    g = torch.Generator().manual_seed(seed)
    obs, goal = torch.randn(batch, N_OBS, generator=g), torch.randn(batch, N_GOAL, generator=g)
    return obs, goal, torch.rand(batch, horizon, NU, generator=g) * 2 - 1


def make_history(batch: int = 5, steps: int = 3, seed: int = 3) -> History:
    """Transitions that all happened."""
    g = torch.Generator().manual_seed(seed)
    obs, action = torch.randn(batch, steps, N_OBS, generator=g), torch.rand(batch, steps, NU, generator=g) * 2 - 1
    return History(obs, action, torch.ones(batch, steps))


def history_for(model: LoopWM, batch: int = 5) -> History | None:
    """What the model wants to see of the past."""
    return make_history(batch, model.context) if model.context else None


def sequences(batch: int = 6, length: int = 4, context: int = 0, seed: int = 4) -> SequenceBatch:
    """A training batch of random numbers."""
    g = torch.Generator().manual_seed(seed)
    ones = torch.ones(batch, length)
    return SequenceBatch(
        torch.randn(batch, length + 1, N_OBS, generator=g),
        torch.rand(batch, length, NU, generator=g) * 2 - 1,
        torch.randn(batch, length, generator=g),
        0 * ones,
        torch.randn(batch, N_GOAL, generator=g),
        ones,
        make_history(batch, context) if context else None,
    )
