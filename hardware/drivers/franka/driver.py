"""The driver `franka`: joint targets followed by joint velocities through franky."""

from __future__ import annotations

import math

import numpy as np

from ...clock import Clock, MonotonicClock
from ...errors import Disconnected, HardwareFault, ModeError, TransportTimeout
from ...interface import ArmInfo, ArmState, Array, frozen
from ...wire.franka import RobotMode
from ...wire.franka_models import ACCELERATION, JERK, N, find
from .client import Client, require_package
from .messages import Op, Report, Settings

_RANGES = {
    "gain": (0.0, 30.0, "1/s"),
    "delay_s": (0.0, 0.1, "s"),
    "watchdog_s": (0.02, 1.0, "s"),
    "acceleration": (0.1, ACCELERATION, "rad/s^2"),
    "jerk": (10.0, JERK, "rad/s^3"),
    "collision_torque": (1.0, 100.0, "N m"),
    "collision_force": (1.0, 100.0, "N"),
}
_STOP_S, _ENABLE_S, _END_S, _RECOVER_S = 1.0, 4.0, 3.0, 8.0
_SILENT_S = 0.05  # at least

MODES = {
    RobotMode.OTHER: "not operational; open the brakes and activate FCI in Desk",
    RobotMode.GUIDING: "guided by hand; let go of the button at the wrist",
    RobotMode.REFLEX: "reflex",
    RobotMode.USER_STOPPED: "user stop; release it at the arm",
    RobotMode.AUTOMATIC_ERROR_RECOVERY: "error recovery in progress",
}


class FrankaDriver:
    """A Franka Research 3.

    Connecting reads and sets the collision thresholds, nothing else. Enabling starts a motion that holds the pose. The
    brakes must be open and FCI activated: this driver never opens them. It does not reconnect by itself: a lost link
    stays lost until ``clear_faults``.

    Args:
        host: address of the arm.
        model: "fr3"; compared with what the arm says.
        gain: speed for each radian of distance from the target [1/s].
        delay_s: targets are followed so late, which evens out ticks that come early or late [s].
        watchdog_s: the arm is braked when no command came for so long [s].
        acceleration: bound on the joint accelerations [rad/s^2].
        jerk: bound on the joint jerks [rad/s^3].
        collision_torque: external torque at a joint at which the arm stops [N m].
        collision_force: external force at the tool at which the arm stops [N].
        realtime: refuse to run without a real-time kernel and priority; right on a real arm.
        gripper: read the opening of the Franka Hand.
        joint_names: names of the joints from base to tool.
        clock: time of reception.
    """

    def __init__(
        self,
        host: str,
        model: str = "fr3",
        gain: float = 15.0,
        delay_s: float = 0.025,
        watchdog_s: float = 0.1,
        acceleration: float = ACCELERATION,
        jerk: float = 0.5 * JERK,
        collision_torque: float = 20.0,
        collision_force: float = 30.0,
        realtime: bool = True,
        gripper: bool = False,
        joint_names: tuple[str, ...] | list[str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        values = locals()
        for name, (low, high, unit) in _RANGES.items():
            value = values[name]
            if not (math.isfinite(value) and low <= value <= high):
                raise ValueError(f"Franka {name} {value} {unit}, allowed [{low:g}, {high:g}] {unit}")
        self._model = find(model)
        self._names: tuple[str, ...] = tuple(joint_names or self._model.joint_names)
        if len(self._names) != N:
            raise ValueError(f"Franka joint_names {list(self._names)}, allowed {N} names from base to tool")
        self._host, self._silent_s = host, max(watchdog_s, _SILENT_S)
        bounds = (acceleration, jerk, collision_torque, collision_force)
        self._settings = Settings(host, model, gain, delay_s, watchdog_s, *bounds, realtime, gripper)
        self._clock: Clock = clock or MonotonicClock()
        self._client: Client | None = None
        self._enabled, self._seq = False, 0
        self._last: ArmState | None = None

    # ArmDriver
    # --------------------------------------------------------------------------------------------------

    def open(self) -> ArmInfo:
        """Connect, read the arm's description of itself and its states.

        Raises:
            LimitsMismatch: another model than ours.
            Disconnected: nobody there, another client is, or another version of the interface.
        """
        require_package()
        self.close()
        self._client = Client(self._settings)
        self._enabled, self._last = False, None
        info = self._client.info
        assert info is not None  # it comes before the first state
        return ArmInfo(
            model=f"{self._model.name} ({info.text})",
            joint_names=self._names,
            native_hz=1000.0,
            q_min=info.q,
            q_max=info.dq,
            dq_max=info.tau,
            firmware="FCI 10",
        )

    def enable(self) -> None:
        """Start the motion; it holds the present pose until the first target.

        Raises:
            HardwareFault: the arm is not ready.
        """
        client = self._linked()
        client.poll()
        if self._enabled and client.state is not None and client.state.in_control:
            return
        self._enabled = False
        fault = self._fault(client.state)
        if fault:
            raise HardwareFault(f"Franka {self._host}: {fault}")
        client.ask(Op.ENABLE, _ENABLE_S)
        self._enabled = True

    def read(self, deadline: float) -> ArmState:
        """Return the newest state; on a silent link the last one, whose device time stands still."""
        del deadline  # states are pushed, nothing is waited for
        client = self._linked(seen=True)
        client.poll()
        report = client.state
        if client.lost or report is None:
            raise Disconnected(f"Franka {self._host}: {client.lost}")
        fault = self._fault(report)
        last = self._last
        if last is not None and report.t_device == last.t_device and fault == last.fault:
            return last
        if last is None or report.t_device != last.t_device:
            self._seq += 1
        q, dq, tau = np.array(report.q), np.array(report.dq), np.array(report.tau)
        gripper = None if math.isnan(report.gripper) else report.gripper
        received = self._clock.now() - client.age
        self._last = ArmState(self._seq, received, report.t_device, q, dq, tau, gripper=gripper, fault=fault)
        return self._last

    def write(self, q: Array, deadline: float) -> Array:
        """Send position targets (7,) [rad]; they are taken as they are.

        Raises:
            HardwareFault: the arm does not take commands.
            TransportTimeout: the link is silent.
        """
        del deadline
        target = frozen(q, "Franka target q [rad]", (N,))
        if not self._enabled:
            raise ModeError(f"Franka {self._host}: write before enable(); enable first")
        client = self._linked()
        client.poll()
        self._require_answers(client)
        state = client.state
        assert state is not None
        fault = self._fault(state)
        if fault or not state.ok:
            raise HardwareFault(f"Franka {self._host}: {fault or 'the motion takes no commands'}")
        client.send(Op.FOLLOW, target.tolist())
        return target

    def stop(self) -> None:
        """Brake at the bound on the accelerations and hold."""
        client = self._linked()
        if self._enabled:
            client.poll()
            self._require_answers(client)
            client.ask(Op.STOP, _STOP_S)

    def disable(self) -> None:
        """Brake and end the motion. The arm stays powered and holds itself. Idempotent."""
        client, enabled = self._client, self._enabled
        self._enabled = False
        if client is None or not enabled:
            return
        client.poll()
        self._require_answers(client)
        client.ask(Op.END, _END_S)

    def clear_faults(self) -> None:
        """Connect anew if the link was lost, recover from a reflex; ``enable`` starts a motion anew.

        Raises:
            HardwareFault: the arm needs a person.
        """
        if self._client is None:
            raise Disconnected(f"Franka {self._host}: not open; open() first")
        client = self._client
        client.poll()
        self._enabled = False
        if client.lost or client.age > self._silent_s:
            client.close()
            client = self._client = Client(self._settings)
        state = client.state
        if state is not None and (state.mode == RobotMode.REFLEX or state.text or state.in_control):
            client.ask(Op.RECOVER, _RECOVER_S)
        fault = self._fault(client.state)
        if fault:
            raise HardwareFault(f"Franka {self._host}: {fault}")

    def close(self) -> None:
        """Break the connection; a motion that still runs is braked first. Idempotent."""
        if self._client is not None:
            self._client.close()
        self._client, self._enabled = None, False

    # Inside
    # -----------------------------------------------------------------------------------------------------

    def _linked(self, seen: bool = False) -> Client:
        if self._client is None:
            raise Disconnected(f"Franka {self._host}: not open; open() first")
        if self._client.lost and not seen:
            raise Disconnected(f"Franka {self._host}: {self._client.lost}")
        return self._client

    def _require_answers(self, client: Client) -> None:
        if client.lost:
            raise Disconnected(f"Franka {self._host}: {client.lost}")
        if client.age > self._silent_s:
            raise TransportTimeout(
                f"Franka {self._host}: no state for {client.age:.3f} s; an arm that gets no set-points stops by itself"
            )

    def _fault(self, state: Report | None) -> str | None:
        if state is None:
            return None
        mode = MODES.get(RobotMode(state.mode))
        if mode:
            return f"{mode}: {state.text}" if state.text else mode
        if self._enabled and not state.in_control:
            return f"the motion has ended: {state.text or 'the arm does not say why'}"
        return None
