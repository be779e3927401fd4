"""How fast the arm may be: a share of its speed limits that somebody who watches it sets, and that may only slow it."""

from __future__ import annotations

import math

from .config import BridgeConfig


class SpeedScale:
    """The share of the speed limits in force.

    A share is a number above 0, at most 1; whatever else comes (NaN included) counts as ``config.cautious_scale``, and
    so does, where ``config.speed_scale_s`` asks for one, a share that is missing or too old. The share in force moves
    towards the one asked for at an even pace, so that plans made for the slower arm take over before it binds.

    Args:
        config: ``speed_scale_s``, ``cautious_scale`` and ``speed_ramp_s``.
    """

    def __init__(self, config: BridgeConfig) -> None:
        self._config = config
        self._asked: float | None = None
        self._at = -math.inf
        self.value = 1.0
        self.restart(0.0)

    def restart(self, now: float) -> None:
        """Take what is asked for at once: the arm rests."""
        self.value = self._wanted(now)

    def ask(self, scale: float, t: float) -> None:
        """Ask for a share.

        Args:
            scale: of the speed limits, in (0, 1].
            t: when it was found [s].
        """
        fine = math.isfinite(t) and 0.0 < scale <= 1.0  # NaN is neither
        self._asked, self._at = (float(scale) if fine else self._config.cautious_scale), t

    def step(self, now: float) -> float:
        """Return the share in force at this tick."""
        wanted, most = self._wanted(now), self._config.dt / self._config.speed_ramp_s
        self.value = min(max(wanted, self.value - most), self.value + most)
        return self.value

    def _wanted(self, now: float) -> float:
        patience = self._config.speed_scale_s
        # A tick is as old as its nominal time: it may lie just before the share.
        if patience > 0.0 and (self._asked is None or not -self._config.dt <= now - self._at <= patience):
            return self._config.cautious_scale
        return 1.0 if self._asked is None else self._asked
