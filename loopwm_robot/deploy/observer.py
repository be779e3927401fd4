"""Looking at the arm at control instants, and keeping the books: is the bridge where the reference says?

The reference is never measured, it is known: the bridge follows plans exactly. This module checks that
against the bridge's own word at every instant, and starts anew from an arm at rest whenever the two part:
after an expired plan, a refused plan or a hold by somebody else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from envs import ArmKinematics, JointReference, arm_observation
from hardware import Applied, ArmBridge, ArmState, Mode, Snapshot

from ..types import Float32
from .errors import DeployError, fault_error
from .track import SAME_TIME, Float64, Track

if TYPE_CHECKING:
    from .control_config import ControlConfig

_SILENT_S = 1.0
"""A control loop that has not ticked for so long is gone [s]."""

TAKE_OVER_TICKS = 2
"""Ticks that the bridge may take until a plan whose time has come shows in the snapshot."""


@dataclass(frozen=True, eq=False)
class Look:
    """The arm at one control instant.

    Attributes:
        k: number of the instant.
        obs: observation (n_obs,).
        ref: reference (n,) in the observation.
        state: measurement to plan from; None when the look came too late or the measurement was too old.
        on_track: whether the bridge followed the reference until now.
        speed_scale: share of the speed limits that the bridge had in force.
    """

    k: int
    obs: Float32
    ref: JointReference
    state: ArmState | None
    on_track: bool
    speed_scale: float = 1.0


class Observer:
    """Observations on the grid of control instants.

    Args:
        bridge: the bridge.
        kinematics: of the arm.
        ctrl_dt: control step [s].
        config: settings of the loop.

    Attributes:
        reseeds: how often the reference began anew from a braked arm.
    """

    def __init__(self, bridge: ArmBridge, kinematics: ArmKinematics, ctrl_dt: float, config: ControlConfig) -> None:
        self.bridge, self.kinematics, self.ctrl_dt, self.config = bridge, kinematics, ctrl_dt, config
        self.reseeds = 0
        self._tracks: list[Track] = []
        self._last: Look | None = None
        self._t0 = 0.0

    def track(self, k: int) -> Track | None:
        """What the bridge follows from control instant k to the next; None while it brakes."""
        begun = [track for track in self._tracks if track.start <= k]
        return begun[-1] if begun else None

    def waiting(self, k: int) -> bool:
        """Whether the bridge has a plan that begins after control instant k."""
        return bool(self._tracks) and self._tracks[-1].start > k

    def begin(self, lead: float) -> None:
        """Let instant 0 be `lead` [s] from now; the arm must rest.

        Raises:
            DeployError: it does not, or takes no plans.
        """
        snapshot = self.bridge.snapshot()
        _, applied = self._in_control(snapshot)
        if snapshot.mode is not Mode.HOLDING or applied.dq.any():
            raise DeployError(f"the arm is {snapshot.mode.name} and may move; hold() it before a run begins")
        self._t0 = self.bridge.now() + lead
        self._tracks, self._last = [Track.resting(0, applied.applied)], None

    def time(self, k: float) -> float:
        """Time of control instant k [s]."""
        return self._t0 + k * self.ctrl_dt

    def expect(self, track: Track) -> None:
        """Note a track that was handed to the bridge."""
        self._tracks = [*self._tracks[-4:], track]

    def look(self, k: int) -> Look:
        """Wait for control instant k and observe; again for the same k: what was seen the first time.

        Raises:
            DeployError: a fault is latched, the bridge was stopped, or its control loop is silent.
        """
        if self._last is not None and self._last.k == k:
            return self._last
        self.bridge.sleep_until(self.time(k))
        snapshot = self.bridge.snapshot()
        state, applied = self._in_control(snapshot)
        if self.bridge.now() - self.time(k) > self.config.late_s:
            self._last = self._look_back(k)
            return self._last
        fresh = self.bridge.now() - state.t_host <= self.config.max_state_age_s
        on_track = self._reconcile(snapshot, applied, k, fresh)
        track = self.track(k)
        if track is None:  # carry the command of the last tick on
            ref = JointReference(applied.applied + applied.dq * (self.time(k) - snapshot.t), applied.dq)
        else:
            ref = track.ref(k)
        q = state.q + state.dq * (self.time(k) - state.t_host) if fresh else state.q
        obs, seen = self._observe(q, state.dq, ref), state if fresh else None
        self._last = Look(k, obs, ref, seen, on_track, snapshot.speed_scale)
        return self._last

    # Keeping the books
    # --------------------------------------------------------------------------------------------------------

    def _reconcile(self, snapshot: Snapshot, applied: Applied, k: int, fresh: bool) -> bool:
        """Compare the tracks with the bridge; returns whether it followed them until now."""
        on_track = bool(self._tracks) and self._agrees(snapshot, applied)
        if self._tracks and not on_track:
            self._tracks = []
            if snapshot.mode.follows:
                self.bridge.hold()
        elif (track := self.track(k)) is not None and not track.follows(k + 1):
            self._tracks = []  # it expires at this very instant, or has
        elif not self._tracks and snapshot.mode.follows:
            self.bridge.hold()  # on a plan that came late
        if not self._tracks and fresh and snapshot.mode is Mode.HOLDING and not applied.dq.any():
            self._tracks = [Track.resting(k, applied.applied)]
            self.reseeds += 1
        return on_track

    def _agrees(self, snapshot: Snapshot, applied: Applied) -> bool:
        instant = (snapshot.t - self._t0) / self.ctrl_dt
        take_over = TAKE_OVER_TICKS * self.bridge.config.dt / self.ctrl_dt
        for i, track in enumerate(self._tracks):
            begin = -np.inf if i == 0 else track.start - SAME_TIME
            end = np.inf if i + 1 == len(self._tracks) else self._tracks[i + 1].start + take_over
            rests = snapshot.plan_id == -1 and instant >= track.rests_from - SAME_TIME
            if begin <= instant <= end and (rests or snapshot.plan_id == track.plan_id):
                deviation = np.abs(applied.applied - track.position(instant, self.ctrl_dt)).max()
                return bool(deviation <= self.config.max_deviation_rad)
        return False

    def _in_control(self, snapshot: Snapshot) -> tuple[ArmState, Applied]:
        silent = self.bridge.now() - snapshot.t
        if snapshot.mode.latched:
            raise fault_error(snapshot.fault)
        if silent > _SILENT_S:
            raise DeployError(f"the control loop last ticked {silent:.1f} s ago, allowed {_SILENT_S:g} s")
        if not snapshot.mode.active or snapshot.state is None or snapshot.applied is None:
            raise DeployError(
                f"the bridge is {snapshot.mode.name}, allowed RUNNING or HOLDING; somebody stopped the arm"
            )
        return snapshot.state, snapshot.applied

    # Observing
    # --------------------------------------------------------------------------------------------------------

    def _observe(self, q: Float64, dq: Float64, ref: JointReference) -> Float32:
        return arm_observation(q, dq, ref, self.kinematics.ee_pos(q))

    def _look_back(self, k: int) -> Look:
        """Observation of an instant that has passed, from the records of the control process."""
        records, t = self.bridge.records(), self.time(k)
        records = records[records["sent"]]
        row = records[max(int(np.searchsorted(records["t"], t, side="right")) - 1, 0)]
        measured_at = row["t"] + row["lateness"] - row["state_age"]
        q = row["q"] + row["dq"] * (t - measured_at)
        ref = JointReference(row["applied"] + row["applied_dq"] * (t - row["t"]), row["applied_dq"])
        track = self.track(k)
        followed = track is not None and track.follows(k)
        return Look(k, self._observe(q, row["dq"], ref), ref, None, followed, float(row["speed_scale"]))
