"""The driver `franka`: joint targets through franky or pylibfranka."""

from __future__ import annotations

import math

import numpy as np

from ...clock import Clock
from ...errors import CommandRejected, ModeError
from ...interface import ArmInfo, ArmState, Array
from ...wire.franka import RobotMode
from ...wire.franka_models import ACCELERATION, JERK, N, find
from ..client_driver import ClientDriver
from .client import CLIENTS, Client, require_package
from .messages import Op, Report, Settings

_RANGES = {
    "gain": (0.0, 30.0, "1/s"),
    "delay_s": (0.0, 0.1, "s"),
    "watchdog_s": (0.02, 1.0, "s"),
    "acceleration": (0.1, ACCELERATION, "rad/s^2"),
    "jerk": (10.0, JERK, "rad/s^3"),
    "collision_torque": (1.0, 100.0, "N m"),
    "collision_force": (1.0, 100.0, "N"),
    "speed": (0.05, 5.26, "rad/s"),
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


class FrankaDriver(ClientDriver[Client]):
    """A Franka Research 3.

    Connecting reads and sets the collision thresholds, nothing else. Enabling starts a motion that holds the pose. The
    brakes must be open and FCI activated: this driver never opens them. It does not reconnect by itself: a lost link
    stays lost until ``clear_faults``.

    Args:
        host: address of the arm.
        model: "fr3"; compared with what the arm says.
        gain: speed for each radian of distance from the target [1/s]; franky only.
        delay_s: targets are followed so late, which evens out ticks that come early or late [s]; franky only.
        watchdog_s: the arm is braked when no command came for so long [s].
        acceleration: bound on the joint accelerations [rad/s^2]; with pylibfranka that of stops alone.
        jerk: bound on the joint jerks [rad/s^3]; franky only.
        collision_torque: external torque at a joint at which the arm stops [N m].
        collision_force: external force at the tool at which the arm stops [N].
        realtime: refuse to run without a real-time kernel and priority; right on a real arm.
        gripper: read and command the Franka Hand, where there is one; franky only.
        client: "franky" follows the targets by joint velocities at 1 kHz; "pylibfranka" posts them, and the arm leads
            itself to each (experimental in libfranka).
        speed: bound on the joint speeds of the arm's own generator [rad/s]; pylibfranka only.
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
        client: str = "franky",
        speed: float = 2.62,
        joint_names: tuple[str, ...] | list[str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        values = locals()
        for name, (low, high, unit) in _RANGES.items():
            value = values[name]
            if not (math.isfinite(value) and low <= value <= high):
                raise ValueError(f"Franka {name} {value} {unit}, allowed [{low:g}, {high:g}] {unit}")
        if client not in CLIENTS:
            raise ValueError(f"Franka client '{client}' is unknown; known: {', '.join(CLIENTS)}")
        if gripper and client != "franky":
            raise ValueError(f"Franka gripper with client '{client}', allowed with 'franky' alone")
        self._model = find(model)
        names = tuple(joint_names or self._model.joint_names)
        if len(names) != N:
            raise ValueError(f"Franka joint_names {list(names)}, allowed {N} names from base to tool")
        meanwhile = "an arm that gets no set-points stops by itself"
        super().__init__(f"Franka {host}", names, max(watchdog_s, _SILENT_S), meanwhile, clock)
        bounds = (acceleration, jerk, collision_torque, collision_force)
        self._settings = Settings(host, model, gain, delay_s, watchdog_s, *bounds, realtime, gripper, client, speed)

    # ArmDriver
    # --------------------------------------------------------------------------------------------------

    def open(self) -> ArmInfo:
        """Connect, read the arm's description of itself and its states.

        Raises:
            LimitsMismatch: another model than ours.
            Disconnected: nobody there, another client is, or another version of the interface.
        """
        require_package(self._settings.client)
        self.close()
        client = Client(self._settings)
        self._opened(client)
        info = client.info
        assert info is not None  # it comes before the first state
        return ArmInfo(
            model=f"{self._model.name} ({info.text})",
            joint_names=self._names,
            native_hz=1000.0,
            q_min=info.q,
            q_max=info.dq,
            dq_max=info.tau,
            firmware="FCI 10",
            gripper=not math.isnan(info.gripper),
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
        self._require_no_fault(client)
        client.ask(Op.ENABLE, _ENABLE_S)
        self._enabled = True

    def write(self, q: Array, deadline: float) -> Array:
        """Send position targets (7,) [rad]; they are taken as they are.

        Raises:
            HardwareFault: the arm does not take commands.
            TransportTimeout: the link is silent.
        """
        del deadline
        client, target = self._target(q)
        client.send(Op.FOLLOW, target.tolist())
        return target

    def gripper(self, opening: float) -> None:
        """Send the hand to an opening, 0 closed to 1 open, without waiting; closed it presses on what is between."""
        client = self._answering()
        if not self._enabled or client.info is None or math.isnan(client.info.gripper):
            raise ModeError(f"{self._who}: it has no hand (driver_kwargs.gripper), or is not enabled")
        if not 0.0 <= opening <= 1.0:
            raise CommandRejected(f"{self._who}: gripper opening {opening}, allowed [0, 1]")
        client.send(Op.GRIP, [opening] + [0.0] * (N - 1))

    def stop(self) -> None:
        """Brake at the bound on the accelerations and hold."""
        self._linked()
        if self._enabled:
            self._answering().ask(Op.STOP, _STOP_S)

    def disable(self) -> None:
        """Brake and end the motion. The arm stays powered and holds itself. Idempotent."""
        enabled, self._enabled = self._enabled, False
        if self._client is None or not enabled:
            return
        self._answering().ask(Op.END, _END_S)

    def clear_faults(self) -> None:
        """Connect anew if the link was lost, recover from a reflex; ``enable`` starts a motion anew.

        Raises:
            HardwareFault: the arm needs a person.
        """
        client = self._linked(seen=True)
        client.poll()
        self._enabled = False
        if client.lost or client.age > self._silent_s:
            client.close()
            client = self._client = Client(self._settings)
        state = client.state
        if state is not None and (state.mode == RobotMode.REFLEX or state.text or state.in_control):
            client.ask(Op.RECOVER, _RECOVER_S)
        self._require_no_fault(client)

    # Inside
    # -----------------------------------------------------------------------------------------------------

    def _measured(self, state: Report, seq: int, t_host: float, fault: str | None) -> ArmState:
        q, dq, tau = np.array(state.q), np.array(state.dq), np.array(state.tau)
        opening = None if math.isnan(state.gripper) else state.gripper
        pressed = state.mode == RobotMode.USER_STOPPED
        return ArmState(seq, t_host, state.t_device, q, dq, tau, gripper=opening, fault=fault, estop=pressed)

    def _fault(self, state: Report | None) -> str | None:
        if state is None:
            return None
        mode = MODES.get(RobotMode(state.mode))
        if mode:
            return f"{mode}: {state.text}" if state.text else mode
        if self._enabled and not state.in_control:
            return f"the motion has ended: {state.text or 'the arm does not say why'}"
        return None
