"""Watching the arm: is the measurement fresh, does the arm follow, does it complain."""

from __future__ import annotations

import numpy as np

from .config import BridgeConfig
from .interface import ArmState, Array
from .limits import JointLimits

_MEMORY = 4096


class Watch:
    """Keeps the last good measurement and judges it.

    Freshness is judged by the device's own clock: many vendor clients go on returning the last values of a
    dead link without an error.
    """

    def __init__(self, limits: JointLimits, config: BridgeConfig) -> None:
        self._limits, self._config = limits, config
        self.restart()

    def restart(self) -> None:
        """Forget everything, before a new connection."""
        self.state: ArmState | None = None
        self.stale = False
        self.frames = 0
        self._fresh_at = -np.inf
        self._times = np.full(_MEMORY, -np.inf)
        self._seqs = np.full(_MEMORY, -1, dtype=np.int64)
        self._reading = True
        self._write_lost_at: float | None = None
        self.settle()

    def settle(self) -> None:
        """Start following error, effort and temperature afresh, after seeding."""
        self._off_since: float | None = None
        self._strained_since: float | None = None
        self._hot_since: float | None = None
        self._warm = False

    def accept(self, state: ArmState, now: float) -> str | None:
        """Take a measurement.

        Returns:
            a complaint when the device clock ran backwards (a rebooted device), else None.
        """
        last = self.state
        self._reading = True
        if last is not None and state.t_device <= last.t_device:
            if state.t_device == last.t_device:
                if state.fault != last.fault:  # an old frame may still bring news of the device
                    self.state = state
                return None
            self.state = state
            return (
                f"device clock went back from {last.t_device:.3f} s to {state.t_device:.3f} s; "
                "has the device rebooted?"
            )
        self.state, self._fresh_at = state, now
        self.frames += 1
        slot = state.seq % _MEMORY
        self._times[slot], self._seqs[slot] = now, state.seq
        return None

    def missed(self) -> bool:
        """Note a failed read; True for the first of a row."""
        first, self._reading = self._reading, False
        return first

    def wrote(self) -> None:
        """Note a write that went through."""
        self._write_lost_at = None

    def write_missed(self, now: float) -> float:
        """Note a failed write; return for how long none has gone through [s], 0 for the first."""
        if self._write_lost_at is None:
            self._write_lost_at = now
        return now - self._write_lost_at

    def age(self, now: float) -> float:
        """Time since the last fresh measurement [s], infinite before the first."""
        return now - self._fresh_at

    def seen_at(self, seq: int) -> float | None:
        """When a frame was received [s], None when it is unknown or long gone."""
        slot = seq % _MEMORY
        return float(self._times[slot]) if seq >= 0 and self._seqs[slot] == seq else None

    def became_stale(self, now: float) -> bool | None:
        """Return True or False when staleness has just begun or ended, None when nothing changed."""
        stale = bool(self.age(now) > self._config.stale_s)
        changed, self.stale = stale is not self.stale, stale
        return stale if changed else None

    def device_fault(self) -> str | None:
        """The fault the device reports, None when it is content."""
        return None if self.state is None else self.state.fault

    def following(self, command: Array, now: float) -> str | None:
        """Compare the command (n,) [rad] with the measurement; a lasting gap is described in words."""
        if self.state is None:
            return None
        error = np.abs(command - self.state.q)
        worst = int(np.argmax(error))
        if error[worst] <= self._config.following_error_rad:
            self._off_since = None
            return None
        if self._off_since is None:
            self._off_since = now
        if now - self._off_since < self._config.following_error_s:
            return None
        return (
            f"joint '{self._limits.names[worst]}' is {error[worst]:.3f} rad from its command, "
            f"allowed {self._config.following_error_rad:g} rad for {self._config.following_error_s:g} s"
        )

    def effort(self, now: float) -> str | None:
        """Compare measured torques with their limits; a lasting excess is described in words.

        An arm that cannot tell its torques, or limits without ``tau_max``, are not watched.
        """
        share, limit = self._config.max_effort, self._limits.tau_max
        if share == 0.0 or limit is None or self.state is None or self.state.tau is None:
            return None
        load = np.abs(self.state.tau) / limit
        worst = int(np.argmax(load))
        if load[worst] <= share:
            self._strained_since = None
            return None
        if self._strained_since is None:
            self._strained_since = now
        if now - self._strained_since < self._config.max_effort_s:
            return None
        return (
            f"joint '{self._limits.names[worst]}' gives {self.state.tau[worst]:.3g} N m, allowed {share:.0%} of "
            f"{limit[worst]:g} N m for {self._config.max_effort_s:g} s"
        )

    def too_hot(self) -> str | None:
        """The joint furthest beyond its ``temperature_max``, in words; None where all are below or nothing is known."""
        limit, measured = self._limits.temperature_max, None if self.state is None else self.state.temperature
        if limit is None or measured is None:
            return None
        worst = int(np.argmax(measured - limit))
        if not measured[worst] > limit[worst]:
            return None
        return f"joint '{self._limits.names[worst]}' has {measured[worst]:.3g} deg C, allowed {limit[worst]:g} deg C"

    def heat(self, now: float) -> tuple[str | None, str | None]:
        """Compare measured temperatures with their limits.

        Returns:
            a warning, once, when a joint comes near its limit, and a lasting excess in words; None where there is none.
        """
        limit, measured = self._limits.temperature_max, None if self.state is None else self.state.temperature
        if limit is None or measured is None:
            return None, None
        left = limit - measured
        worst = int(np.argmin(left))
        near = bool(left[worst] < self._config.warm_c)
        warm, self._warm = near and not self._warm, near
        told = f"joint '{self._limits.names[worst]}' has {measured[worst]:.3g} deg C, allowed {limit[worst]:g} deg C"
        if left[worst] >= 0.0:
            self._hot_since = None
        elif self._hot_since is None:
            self._hot_since = now
        lasting = self._hot_since is not None and now - self._hot_since >= self._config.hot_s
        return (told if warm else None), (f"{told} for {self._config.hot_s:g} s" if lasting else None)


class Escalation:
    """Notices that the filter has to change too many of the latest requests.

    Args:
        config: ``escalate_share`` and ``escalate_s``.
    """

    def __init__(self, config: BridgeConfig) -> None:
        self._share = config.escalate_share
        self._recent = np.zeros(max(round(config.escalate_s / config.dt), 1), dtype=bool)
        self.restart()

    def restart(self) -> None:
        """Forget what was."""
        self._recent[:] = False
        self._at = self._count = 0

    def add(self, changed: bool) -> float | None:
        """Take one tick; return the share of changed ones if it is more than allowed, else None."""
        if self._share == 0.0:
            return None
        self._count += int(changed) - int(self._recent[self._at])
        self._recent[self._at] = changed
        self._at = (self._at + 1) % len(self._recent)
        share = self._count / len(self._recent)
        return share if share > self._share else None
