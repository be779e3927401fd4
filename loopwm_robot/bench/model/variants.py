"""What is compared, and how large each model is: equal parameters, or equal operations a transition.

At equal parameters: one_pass, one_pass_noise, untied_narrow, mlp, rssm, ensemble. At equal operations: one_pass_wide,
untied, mlp_wide, rssm_wide, ensemble_wide.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ...config import ModelConfig
from ...models.block import FORMS, NORMS
from ...models.build import build_model
from ...models.cost import parameters, transition_flops
from ...models.loop_control import DEPTHS
from ...training.trainer import UpdateConfig
from ..common import BenchmarkError
from .chunks import CHUNKS
from .config import ModelBench
from .datasets import Dataset

PARAMETER_TOLERANCE, FLOPS_TOLERANCE = 0.05, 0.1
LOOPED = ("loopwm", "one_pass", "untied")
EQUAL_PARAMETERS = ("one_pass", "one_pass_noise", "untied_narrow", "mlp", "rssm", "ensemble")
EQUAL_FLOPS = ("one_pass_wide", "untied", "mlp_wide", "rssm_wide", "ensemble_wide")
SHORT = {"latent_mlp": "mlp"}
WHERE = {
    "depth": ("push", "hidden"),
    "chunks": ("push", "hidden"),
    "context": ("hidden",),
    "sweep": ("push", "hidden"),
    "deferred": ("push",),
}
"""Data sets of the parts that are not for all."""

Cost = Callable[[ModelConfig], float]


@dataclass(frozen=True)
class Variant:
    """A model and how it is trained.

    Attributes:
        name: in tables and folders.
        model: its settings.
        update: those of its training.
        told: it sees the hidden parameters.
        noise_like: a variant of the same seed whose spread of depths decides model.latent_noise; empty leaves it.
    """

    name: str
    model: ModelConfig
    update: UpdateConfig
    told: bool = False
    noise_like: str = ""


def variants(config: ModelBench, dataset: Dataset) -> list[Variant]:
    """Everything that is trained on a data set, LoopWM first."""
    base, update = loopwm(config, dataset), config.update()
    parts = [part for part in config.parts if dataset.name in WHERE.get(part, config.datasets)]
    found = [Variant("loopwm", base, update)]
    if "main" in parts or "long" in parts:
        found += main_variants(config, dataset, base)
    if "depth" in parts:
        found += [Variant(name, model, update) for name, model in depth_models(base).items()]
    if "chunks" in parts:
        found.append(chunked(base, update))
    if "context" in parts:
        found += [
            Variant("one_pass", replace(base, kind="one_pass"), update),
            Variant("blind", replace(base, context=0), update),
            Variant("told", replace(base, context=0), update, told=True),
        ]
    if "sweep" in parts:
        found += sweep_variants(config, dataset, base)
    if "deferred" in parts:
        found.append(Variant("deferred", base, deferred(update, config.updates)))
    first: dict[str, Variant] = {}
    for variant in found:
        first.setdefault(variant.name, variant)
    return list(first.values())


def loopwm(config: ModelBench, dataset: Dataset) -> ModelConfig:
    """LoopWM as it is compared on a data set, read out at its mean depth."""
    base = replace(config.model, exit="fixed", plan_loops=max(1, round(config.model.mean_loops)))
    if any(name.startswith("object") for name in dataset.groups):
        base = replace(base, tokens=config.object_tokens)
    return replace(base, context=config.context) if dataset.name == "hidden" else base


def main_variants(config: ModelBench, dataset: Dataset, base: ModelConfig) -> list[Variant]:
    """The ablations and peers at equal parameters and at equal operations."""
    update = config.update()
    once = replace(base, kind="one_pass")
    size, work = size_on(dataset), work_on(dataset)
    found = [
        Variant("one_pass", once, update),
        Variant("one_pass_noise", once, update, noise_like="loopwm"),
        Variant("untied_narrow", sized(base, "untied", size, size(base), PARAMETER_TOLERANCE), update),
        Variant("one_pass_wide", sized(base, "one_pass", work, work(base), FLOPS_TOLERANCE), update),
        Variant("untied", sized(base, "untied", work, work(base), FLOPS_TOLERANCE), update),
    ]
    for kind in ("latent_mlp", "rssm", "ensemble"):
        name = SHORT.get(kind, kind)
        theirs = replace(update, learning_rate=config.peer_learning_rates[kind])
        found.append(Variant(name, sized(base, kind, size, size(base), PARAMETER_TOLERANCE), theirs))
        found.append(Variant(f"{name}_wide", sized(base, kind, work, work(base), FLOPS_TOLERANCE), theirs))
    return found


def depth_models(base: ModelConfig) -> dict[str, ModelConfig]:
    """One thing changed at a time: the distribution of depths, the form of the loop, the norm."""
    found = {f"depth_{kind}": replace(base, depth=kind) for kind in DEPTHS if kind != base.depth}
    found |= {f"form_{form}": replace(base, form=form) for form in FORMS if form != base.form}
    return found | {f"norm_{norm}": replace(base, norm=norm) for norm in NORMS if norm != base.norm}


def sweep_variants(config: ModelBench, dataset: Dataset, base: ModelConfig) -> list[Variant]:
    """LoopWM, the untied stack and the MLP in several sizes; the MLP has the parameters of the LoopWM of each width."""
    update = config.update()
    theirs = replace(update, learning_rate=config.peer_learning_rates["latent_mlp"])
    size = size_on(dataset)
    found = []
    for width in config.widths:
        looped = replace(base, latent_dim=width, heads=min(base.heads, width))
        usual = width == base.latent_dim
        found += [
            Variant("loopwm" if usual else f"loopwm_d{width}", looped, update),
            Variant(f"untied_d{width}", replace(looped, kind="untied"), update),
            Variant("mlp" if usual else f"mlp_d{width}", sized(base, "latent_mlp", size, size(looped), None), theirs),
        ]
    return found


def chunked(base: ModelConfig, update: UpdateConfig) -> Variant:
    """Step-consistent loops that learn transitions of 1, 2, 4 and 8 control steps, and deeper ones than of one step."""
    model = replace(base, form="step_consistent", depth="lognormal_poisson", mean_loops=4.0, max_loops=16, plan_loops=4)
    return Variant("chunks", model, replace(update, chunks=CHUNKS))


def deferred(update: UpdateConfig, updates: int) -> UpdateConfig:
    """Deferred decoding: terminal loss, latent consistency, contraction budget, horizon curriculum (section 3.5)."""
    loss = replace(update.loss, decode="terminal", consistency=1.0, contraction=0.1)
    return replace(update, loss=loss, curriculum=max(1, updates // (2 * update.sequence_length)))


def size_on(dataset: Dataset) -> Cost:
    """Trained numbers of a model for a data set."""
    return lambda model: parameters(build_model(model, *dataset.sizes, dataset.groups))


def work_on(dataset: Dataset) -> Cost:
    """Operations of a transition of a model for a data set."""
    return lambda model: transition_flops(build_model(model, *dataset.sizes, dataset.groups))


def sized(base: ModelConfig, kind: str, cost: Cost, target: float, tolerance: float | None) -> ModelConfig:
    """A model of another kind with a given cost.

    Args:
        base: settings of the looped kinds; the width changes, then a little the width of the feed-forward layer.
        kind: of the model.
        cost: grows with the width.
        target: of the cost.
        tolerance: largest deviation, as a share of the target; None takes what comes nearest.

    Raises:
        BenchmarkError: no width comes near enough.
    """
    if kind in LOOPED:
        model = nearest([replace(base, kind=kind, latent_dim=base.heads * k) for k in range(1, 129)], cost, target)
        model = nearest([replace(model, mlp_ratio=base.mlp_ratio * (0.5 + 0.01 * k)) for k in range(151)], cost, target)
    else:
        model = nearest([peer(base, kind, width) for width in range(4, 1500)], cost, target)
    if kind == "rssm":  # its categories come in whole groups: the hidden width takes up what is left
        sizes, width = model.rssm, model.rssm.hidden
        hidden = range(max(1, width // 2), 2 * width)
        model = nearest([replace(model, rssm=replace(sizes, hidden=n)) for n in hidden], cost, target)
    found = cost(model)
    if tolerance is not None and abs(found / target - 1) > tolerance:
        raise BenchmarkError(f"a {kind} model comes to a cost of {found:g}, allowed {target:g} within {tolerance:.0%}")
    return model


def peer(base: ModelConfig, kind: str, width: int) -> ModelConfig:
    """A peer of some width in its usual proportions."""
    if kind == "latent_mlp":
        group = base.latent_mlp.simnorm_dim
        latent = group * max(1, round(width / 2 / group))
        return replace(base, kind=kind, latent_mlp=replace(base.latent_mlp, hidden=width, latent_dim=latent))
    if kind == "rssm":
        groups = max(1, round(width / base.rssm.classes))
        context = max(base.context, base.rssm.context)
        sizes = replace(base.rssm, deterministic=width, hidden=width, categoricals=groups, context=context)
        return replace(base, kind=kind, rssm=sizes)
    return replace(base, kind=kind, ensemble=replace(base.ensemble, hidden=width))


def nearest(models: Sequence[ModelConfig], cost: Cost, target: float) -> ModelConfig:
    """Of models with rising costs, the one whose cost comes nearest to the target."""
    high = 1
    while high < len(models) and cost(models[high - 1]) < target:  # wide models take long to make
        high = min(2 * high, len(models))
    at = bisect_left(models, target, high // 2, high, key=cost)
    around = models[max(0, at - 1) : at + 1]
    return min(around, key=lambda model: abs(cost(model) - target))
