"""Joint speeds that lead to streamed joint targets: the speed of the targets plus what closes the distance.

Targets are followed a little late. So the speed of a target is known from those before and after it, and ticks that
come early or late are evened out.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from ...interface import Array
from ...wire.franka_models import Description

_SLOPE_S = 0.01  # on both sides, over which the speed of the targets is taken
_MARGIN = 0.98  # of the speeds that the arm allows


class VelocityServo:
    """Turns targets into speeds.

    Args:
        description: the arm's own limits.
        gain: speed for each radian of distance from the target [1/s].
        delay: how late targets are followed [s].
    """

    def __init__(self, description: Description, gain: float, delay: float) -> None:
        self._description, self._gain, self._delay = description, gain, delay
        self._targets: deque[tuple[float, Array]] = deque()

    def reset(self) -> None:
        """Forget the targets so far: the next one is taken as standing still."""
        self._targets.clear()

    @property
    def newest(self) -> float:
        """When the newest target was given [s]; long ago when there is none."""
        return self._targets[-1][0] if self._targets else -np.inf

    def add(self, t: float, target: Array) -> None:
        """Take a target (7,) [rad] that was given at a time [s], not before the last one."""
        self._targets.append((max(t, self.newest), target))
        while len(self._targets) > 2 and self._targets[1][0] < t - self._delay - 2.0 * _SLOPE_S:
            self._targets.popleft()

    def speeds(self, t: float, reference: Array, fresh: bool = True) -> Array:
        """Return joint speeds (7,) [rad/s] inside those that the arm allows where it is.

        Args:
            t: the present [s].
            reference: where the arm has been told to be (7,) [rad].
            fresh: whether that is so now; a distance to an old place is not closed.
        """
        if not self._targets:
            return np.zeros_like(reference)
        t -= self._delay
        feed = (self._at(t + _SLOPE_S) - self._at(t - _SLOPE_S)) / (2.0 * _SLOPE_S)
        low, high = self._description.speeds(reference)
        closing = self._gain * (self._at(t) - reference) if fresh else 0.0
        return np.clip(feed + closing, _MARGIN * low, _MARGIN * high)

    def _at(self, t: float) -> Array:
        # The target at a time, on straight lines between those given.
        later_t, later = self._targets[-1]
        for earlier_t, earlier in reversed(self._targets):
            if earlier_t <= t:
                way = min((t - earlier_t) / (later_t - earlier_t), 1.0) if later_t > earlier_t else 1.0
                return earlier + way * (later - earlier)
            later_t, later = earlier_t, earlier
        return later
