"""Which settings of a planner can be changed while it plans, and within what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from planners import ALGORITHMS
from planners.config import DEPTHS

from ..config import PlannerConfig
from ..models.loopwm import LoopWM
from ..models.untied import UntiedStack

LOOPS = "loops"
"""Name of the one setting that is the model's: loops in every transition, 0 for its own exit rule."""


@dataclass(frozen=True)
class Slider:
    """A number that a slider sets.

    Attributes:
        name: of the setting, a field of PlannerConfig or LOOPS.
        low, high: ends of the slider; a configuration may lie beyond them, see `over`.
        step: between its values; whole numbers where it is an int.
        hint: what it means, with its unit.
    """

    name: str
    low: float
    high: float
    step: float
    hint: str

    def over(self, value: float) -> Slider:
        """The same slider, made long enough for a value."""
        return replace(self, low=min(self.low, value), high=max(self.high, value))


@dataclass(frozen=True)
class Choice:
    """A name out of some. Attributes: name: of the setting. options: allowed names. hint: what it means."""

    name: str
    options: tuple[str, ...]
    hint: str


SEARCH: tuple[Slider | Choice, ...] = (
    Choice("algorithm", tuple(ALGORITHMS), "how candidates are proposed and what is learned from them"),
    Slider("num_samples", 8, 512, 8, "candidates in each iteration"),
    Slider("num_elites", 2, 128, 1, "candidates that refit the distribution"),
    Slider("iterations", 1, 12, 1, "refits in each plan"),
    Slider("horizon", 1, 30, 1, "actions in a plan"),
    Slider("deadline", 0, 0.1, 0.001, "time for a plan [s]; 0 does all iterations"),
    Slider("init_std", 0.02, 1.0, 0.01, "deviation that a search begins with"),
    Slider("noise_smoothing", 0.0, 0.98, 0.01, "correlation of the noise of successive actions"),
    Slider("noise_beta", 0.0, 4.0, 0.1, "icem: exponent of the noise's spectrum"),
    Slider("temperature", 0.05, 5.0, 0.05, "mppi: of the softmax over scores"),
)
OBJECTIVE: tuple[Slider | Choice, ...] = (
    Slider("action_weight", 0.0, 2.0, 0.05, "price of large actions [m]"),
    Slider("posture_weight", 0.0, 1.0, 0.01, "price of leaving the home posture [m/rad^2]"),
    Slider("terminal_weight", 0.0, 10.0, 0.1, "extra weight of the last step's distance"),
)
DEPTH: tuple[Slider | Choice, ...] = (
    Slider(LOOPS, 0, 12, 1, "loops in every transition; 0 leaves the model its own exit rule"),
    Choice("depth", DEPTHS, "staged searches with few loops and ranks the best with all"),
    Slider("shallow_loops", 1, 8, 1, "staged: loops of the shallow model"),
    Slider("promoted", 1, 128, 1, "staged: candidates that the whole model ranks"),
)


def changed(config: PlannerConfig, wishes: Mapping[str, Any]) -> PlannerConfig:
    """A configuration with other values; what cannot be beside them follows.

    Args:
        config: the present one.
        wishes: fields of PlannerConfig with their new values; a deadline of 0 is none.

    Returns:
        the new one: no more elites than candidates, none kept beyond them, no more knots than actions, and
        a first deviation within its bounds.

    Raises:
        ValueError: a value is out of range, or does not go with the model.
    """
    known = {field.name for field in fields(PlannerConfig)}
    if unknown := [name for name in wishes if name not in known]:
        raise ValueError(f"planner.{unknown[0]} is unknown, allowed {', '.join(sorted(known))}")
    values = {field.name: getattr(config, field.name) for field in fields(PlannerConfig)} | dict(wishes)
    if values["deadline"] == 0:
        values["deadline"] = None
    values["num_elites"] = min(values["num_elites"], values["num_samples"])
    values["keep_elites"] = min(values["keep_elites"], values["num_elites"])
    values["knots"] = min(values["knots"], values["horizon"])
    values["init_std"] = min(max(values["init_std"], values["min_std"]), values["max_std"])
    return PlannerConfig(**values)


def has_depth(model: Any) -> bool:
    """Whether the loops of a model can be chosen: LoopWM, but not its ablations."""
    return isinstance(model, LoopWM) and not isinstance(model, UntiedStack) and model.max_loops > 1


def shown(config: PlannerConfig, name: str) -> Any:
    """The value that a slider or choice shows; 0 for no deadline."""
    value = getattr(config, name)
    return 0.0 if value is None else value
