"""The mismatch alarm: does the arm do what the model imagined a control step ago? If not, it is slowed down.

The model's monitor (`LoopWM.monitor`) scores the state imagined for an instant against what is observed then; 1 is what
99 of 100 states of normal motion stay below. The score becomes a share of the speed limits, which the bridge takes as
one more bound: nothing learned can make the arm faster, and without a score it is slow.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from ..errors import RequestError
from ..execution.ahead import step
from ..types import Float32

if TYPE_CHECKING:
    from .control_config import ControlConfig


class Alarm:
    """Keeps what was imagined for the next instant, scores it, and makes a share of the speed of the score.

    Args:
        model: `monitor(state, obs, steps)` scores and `step(state, action)` imagines.
        low: score up to which the whole speed is allowed.
        high: score from which only the slowest share is left.
        slowest: that share of the speed, in (0, 1].

    Attributes:
        scale: the share last found; the slowest before the first score.
        scores: (instant, score, share) of every score; a score that is no number is kept as infinity.
    """

    def __init__(self, model: Any, low: float, high: float, slowest: float) -> None:
        self._model, self._low, self._high, self._slowest = model, low, high, slowest
        self.scale = slowest
        self.scores: list[tuple[float, float, float]] = []
        self._expected: tuple[int, Any, int] | None = None

    @classmethod
    def of(cls, model: Any, config: ControlConfig, slowest: float) -> Alarm | None:
        """The alarm that a run asks for, None where it asks for none or the model has no monitor.

        Raises:
            RequestError: `alarm` is "on" and the model has no calibrated monitor.
        """
        if config.alarm == "off":
            return None
        if monitored(model):
            return cls(model, config.alarm_from, config.alarm_full, slowest)
        if config.alarm == "on":
            raise RequestError(
                f"deploy.alarm is 'on', but the model {type(model).__name__} has no calibrated monitor; train LoopWM "
                "with `loopwm train`, which calibrates it, or set deploy.alarm=auto"
            )
        return None

    def expect(self, k: int, state: Any, steps: int) -> None:
        """Keep the state imagined for instant k, so many control steps after the last observation."""
        self._expected = (k, state, steps)

    def forget(self) -> None:
        """Expect nothing: the arm does not do what was imagined."""
        self._expected = None

    def go_on(self, k: int, action: ArrayLike) -> None:
        """Imagine what was expected for instant k one step further, with the action (nu,) that is carried out."""
        if self._expected is None or self._expected[0] != k:
            self._expected = None
            return
        _, state, steps = self._expected
        self.expect(k + 1, step(self._model, state, action), steps + 1)

    @torch.inference_mode()
    def score(self, k: int, obs: Float32) -> float | None:
        """Score of the state that was imagined for instant k against obs (n_obs,); None where there is none.

        Returns:
            at least 0; infinity where the score, the observation or the state is no number.
        """
        if self._expected is None or self._expected[0] != k:
            return None
        _, state, steps = self._expected
        if not np.isfinite(obs).all():
            return math.inf
        device = torch.device(getattr(self._model, "device", "cpu"))
        found = self._model.monitor(state, torch.as_tensor(obs, dtype=torch.float32, device=device)[None], steps)
        value = float(found[0])
        return math.inf if math.isnan(value) else value

    def judge(self, k: int, score: float) -> float:
        """Share of the speed for a score: 1 up to `low`, falling evenly with its logarithm to the slowest at `high`."""
        if not score < self._high:  # NaN too
            self.scale = self._slowest
        elif score <= self._low:
            self.scale = 1.0
        else:
            way = math.log(score / self._low) / math.log(self._high / self._low)
            self.scale = min(1.0 + way * (self._slowest - 1.0), 1.0)
        self.scores.append((k, math.inf if math.isnan(score) else score, self.scale))
        return self.scale


def monitored(model: Any) -> bool:
    """Whether a model has a monitor with calibrated levels."""
    level = getattr(getattr(model, "monitoring", None), "level", None)
    return hasattr(model, "monitor") and hasattr(model, "step") and level is not None and bool((level > 0).all())
