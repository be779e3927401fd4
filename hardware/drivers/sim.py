"""A simulated arm behind the driver interface: MuJoCo, advanced to the present time whenever it is read or
written.

It behaves like a device: it runs on its own clock, takes position targets, and can be told to fail.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..clock import Clock, MonotonicClock
from ..errors import (
    CommandRejected,
    Disconnected,
    DriverUnavailable,
    HardwareFault,
    LimitsMismatch,
    ModeError,
    TransportTimeout,
)
from ..interface import ArmInfo, ArmState, Array, frozen
from ..plain import refuse_unknown

_MAX_LAG_S = 0.25
"""Lost time beyond this is not made up for [s]: a machine that slept must not freeze the control loop."""

FAULTS = ("freeze", "drop", "disconnect", "encoder_jump", "device_fault", "estop", "jam", "hot", "push")

_AMBIENT_C = 25.0
_PRESSED = "emergency stop"


@dataclass(frozen=True)
class SimFault:
    """A failure at a time.

    Attributes:
        kind: "freeze": reads return the last values without an error and writes vanish; "drop": reads and
            writes time out; "disconnect": the link is gone; "encoder_jump": a joint reads wrong by ``value``
            [rad]; "device_fault": the arm stops and reports ``text`` until cleared; "estop": it stops and takes nothing
            while its button is pressed; "jam": the joints stand
            still however the drives press; "hot": a joint has ``value`` [deg C]; "push": somebody pushes a joint with
            ``value`` [N m].
        at_s: start, since the arm was opened [s].
        duration_s: length [s]; a device fault stays until it is cleared.
        joint: index of the joint.
        value: size [rad].
        text: fault text.
    """

    kind: str
    at_s: float = 0.0
    duration_s: float = float("inf")
    joint: int = 0
    value: float = 0.0
    text: str = "protective stop"

    def __post_init__(self) -> None:
        if self.kind not in FAULTS:
            raise ValueError(f"fault kind '{self.kind}' is unknown; known: {', '.join(FAULTS)}")

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> SimFault:
        """Build from plain data; an unknown key lists the known ones."""
        refuse_unknown(cls, data, "fault settings")
        return cls(**data)

    def active(self, t: float) -> bool:
        """Whether it holds at a time since opening [s]."""
        return self.at_s <= t < self.at_s + self.duration_s


class SimArmDriver:
    """A MuJoCo arm with position actuators.

    Args:
        mjcf_path: model file, MJCF or compiled (MJB).
        joint_names: joints to drive, in the order of all vectors; other actuators keep their first target.
        home: start pose: name of a keyframe, positions (n,) [rad], or None for the keyframe "home" or the
            first, if any.
        latency_s: delay of commands and of measurements, each way [s].
        noise_rad: standard deviation of the encoders [rad].
        friction_nm: dry friction of the joints beside that of the model [N m].
        quantisation_rad: step of the encoders and of the targets [rad], 0 for none.
        gripper: a joint with an actuator of its own that opens the gripper, closed at its lower limit; None for none.
        faults: failures to come, as ``SimFault`` or plain mappings.
        seed: of the encoder noise.
        clock: where time comes from.
    """

    def __init__(
        self,
        mjcf_path: str | Path,
        joint_names: Sequence[str],
        home: str | Sequence[float] | None = None,
        latency_s: float = 0.0,
        noise_rad: float = 0.0,
        friction_nm: float = 0.0,
        quantisation_rad: float = 0.0,
        faults: Sequence[SimFault | Mapping[str, Any]] = (),
        seed: int = 0,
        clock: Clock | None = None,
        gripper: str | None = None,
    ) -> None:
        self._gripper = gripper
        for name, value, unit in (
            ("latency_s", latency_s, "s"),
            ("noise_rad", noise_rad, "rad"),
            ("friction_nm", friction_nm, "N m"),
            ("quantisation_rad", quantisation_rad, "rad"),
        ):
            high = 100.0 if name == "friction_nm" else 1.0
            if not (np.isfinite(value) and 0.0 <= value <= high):
                raise ValueError(f"simulated arm {name} {value} {unit}, allowed [0, {high:g}] {unit}")
        self._path, self._names, self._home = Path(mjcf_path), tuple(joint_names), home
        self._latency, self._noise, self._quantum = latency_s, noise_rad, quantisation_rad
        self._friction = friction_nm
        self._faults = [f if isinstance(f, SimFault) else SimFault.from_mapping(f) for f in faults]
        self._rng = np.random.default_rng(seed)
        self._clock: Clock = clock or MonotonicClock()
        self._open = self._enabled = self._guided = self._pushed = False
        self._latched: str | None = None
        self._cleared: set[int] = set()

    # ArmDriver
    # --------------------------------------------------------------------------------------------------

    def open(self) -> ArmInfo:
        """Load the model and start its clock; the joints are held by their brakes."""
        self._mj = mj = _mujoco()
        if not self._path.is_file():
            raise DriverUnavailable(
                f"simulated arm: model '{self._path}' is not a file; give the path of an MJCF or MJB file"
            )
        load = mj.MjModel.from_binary_path if self._path.suffix == ".mjb" else mj.MjModel.from_xml_path
        self._model = model = load(str(self._path))
        self._data = mj.MjData(model)
        self._locate()
        model.dof_frictionloss[self._dof] += self._friction
        self._go_home()
        mj.mj_forward(model, self._data)
        self._opened_at = self._base = self._clock.now()
        self._steps = self._seq = 0
        self._commands: deque[tuple[float, Array]] = deque()
        self._measured: deque[tuple[float, Array, Array, Array]] = deque()
        self._last: ArmState | None = None
        self._open, self._enabled = True, False
        self._brake()
        self._sample()
        q_min, q_max = model.jnt_range[self._joints].T
        limited = bool(np.asarray(model.jnt_limited)[self._joints].all())
        return ArmInfo(
            model=f"simulated {self._path.stem}",
            joint_names=self._names,
            native_hz=1.0 / model.opt.timestep,
            q_min=tuple(q_min.tolist()) if limited else None,
            q_max=tuple(q_max.tolist()) if limited else None,
            firmware=f"mujoco {mj.__version__}",
            gripper=self._gripper is not None,
            freedrive=True,
        )

    def enable(self) -> None:
        """Release the brakes onto the present pose."""
        self.advance()
        if self._latched is not None:
            raise HardwareFault(f"simulated arm: '{self._latched}' is latched; clear it first")
        if not self._enabled:
            self._brake()
            self._enabled = True

    def read(self, deadline: float) -> ArmState:
        """Return the newest measurement that has arrived."""
        del deadline  # a simulated read does not block
        self.advance()
        self._link_check()
        if self._fault("freeze") and self._last is not None:
            return self._last
        now = self._clock.now()
        while len(self._measured) > 1 and self._measured[1][0] <= now - self._base - self._latency + 1e-9:
            self._measured.popleft()
        t_device, q, dq, tau = self._measured[0]
        if self._last is not None and t_device == self._last.t_device and self._latched == self._last.fault:
            return self._last
        if self._noise:
            q = q + self._rng.normal(0.0, self._noise, q.shape)
        jump = self._fault("encoder_jump")
        if jump is not None:
            q = q.copy()
            q[jump.joint] += jump.value
        self._seq += 1
        heat = np.full(len(self._names), _AMBIENT_C)
        hot = self._fault("hot")
        if hot is not None:
            heat[hot.joint] = hot.value
        q = self._quantised(q)
        opening = self._opening()
        pressed = self._fault("estop") is not None
        self._last = ArmState(self._seq, now, t_device, q, dq, tau, opening, self._latched, heat, pressed)
        return self._last

    def write(self, q: Array, deadline: float) -> Array:
        """Send targets (n,) [rad]; anything not finite or of another shape is refused."""
        del deadline
        self.advance()
        self._link_check()
        if not self._enabled:
            raise ModeError("simulated arm: write before enable(); enable first")
        if self._latched is not None:
            raise HardwareFault(f"simulated arm: '{self._latched}' is latched, targets are ignored")
        wire = self._quantised(frozen(q, "simulated arm: target q [rad]", (len(self._names),)))
        if not self._fault("freeze"):
            self._commands.append((self._clock.now() - self._base + self._latency, wire))
            self.advance()
        return wire

    def gripper(self, opening: float) -> None:
        """Send the gripper to an opening, 0 closed to 1 open."""
        self.advance()
        self._link_check()
        if self._gripper is None or not self._enabled:
            raise ModeError("simulated arm: it has no gripper, or is not enabled")
        if not 0.0 <= opening <= 1.0:
            raise CommandRejected(f"gripper opening {opening}, allowed [0, 1]")
        drive, _, closed, widest = self._finger
        self._data.ctrl[drive] = closed + opening * (widest - closed)

    def _opening(self) -> float | None:
        if self._gripper is None:
            return None
        _, place, closed, widest = self._finger
        return min(max(float((self._data.qpos[place] - closed) / (widest - closed)), 0.0), 1.0)

    def freedrive(self, on: bool) -> None:
        """Let the joints go where they are pushed, damped by their drives, or hold them where they are."""
        self.advance()
        self._link_check()
        if not self._enabled:
            raise ModeError("simulated arm: freedrive before enable(); enable first")
        self._brake()
        self._guided = on

    def stop(self) -> None:
        """Hold the present pose at once."""
        self.advance()
        self._link_check()
        self._brake()

    def disable(self) -> None:
        """Brakes on."""
        if self._open:
            self.advance()
            self._brake()
        self._enabled = False

    def clear_faults(self) -> None:
        """Clear a latched device fault; one whose time is not over comes back, as does an emergency stop."""
        self._link_check()
        self._latched = None

    def close(self) -> None:
        """Forget the transport."""
        self._open = False

    def drive(self, limp: ArrayLike, tau_max: ArrayLike) -> None:
        """Switch single drives, as servo arms can.

        Args:
            limp: joints whose drive gives no torque, (n,) true or false.
            tau_max: largest torque of each drive (n,) [N m]; a smaller one of the model stays in force.
        """
        self.advance()
        off, model, drives = np.asarray(limp, dtype=bool)[:, None], self._model, self._actuators
        model.actuator_gainprm[drives] = np.where(off, 0.0, self._gains[0])
        model.actuator_biasprm[drives] = np.where(off, 0.0, self._gains[1])
        low, high = self._forces.T
        bound = np.asarray(tau_max, dtype=np.float64)
        model.actuator_forcelimited[drives] = True
        model.actuator_forcerange[drives] = np.stack([np.maximum(low, -bound), np.minimum(high, bound)], axis=1)

    # Failing on purpose
    # -----------------------------------------------------------------------------------------

    def inject(self, fault: SimFault | None = None, **settings: Any) -> None:
        """Let something fail from now on (or ``at_s`` after opening)."""
        settings.setdefault("at_s", self._clock.now() - self._opened_at)
        self._faults.append(fault or SimFault.from_mapping(settings))

    def heal(self) -> None:
        """End all failures but a latched device fault, which needs ``clear_faults``."""
        self._faults.clear()
        self._cleared.clear()

    @property
    def true_q(self) -> Array:
        """True joint positions (n,) [rad], without noise or latency."""
        return np.array(self._data.qpos[self._qpos])

    # Inside
    # -----------------------------------------------------------------------------------------------------

    def _locate(self) -> None:
        mj, model = self._mj, self._model
        known = [mj.mj_id2name(model, mj.mjtObj.mjOBJ_JOINT, i) for i in range(model.njnt)]
        missing = [name for name in self._names if name not in known]
        if missing:
            raise LimitsMismatch(f"simulated arm: no joints {missing} in {self._path.name}; it has {known}")
        self._joints = np.array([known.index(name) for name in self._names])
        self._qpos, self._dof = model.jnt_qposadr[self._joints], model.jnt_dofadr[self._joints]
        drives: dict[int, int] = {}
        for i in range(model.nu):
            # Compared as numbers: MuJoCo 4 no longer equates an int with its enumeration.
            if int(model.actuator_trntype[i]) == int(mj.mjtTrn.mjTRN_JOINT):
                drives.setdefault(int(model.actuator_trnid[i, 0]), i)
        undriven = [n for n, j in zip(self._names, self._joints, strict=True) if int(j) not in drives]
        if undriven:
            raise LimitsMismatch(
                f"simulated arm: joints {undriven} have no actuator of their own in {self._path.name}"
            )
        self._actuators = np.array([drives[int(j)] for j in self._joints])
        if self._gripper is not None:
            if self._gripper not in known or known.index(self._gripper) not in drives:
                raise LimitsMismatch(f"simulated arm: gripper joint '{self._gripper}' is missing or has no actuator")
            joint = known.index(self._gripper)
            self._finger = drives[joint], int(model.jnt_qposadr[joint]), *model.jnt_range[joint].tolist()
        self._gains = (
            np.array(model.actuator_gainprm[self._actuators]),
            np.array(model.actuator_biasprm[self._actuators]),
        )
        limited = np.asarray(model.actuator_forcelimited, dtype=bool)[self._actuators, None]
        self._forces = np.where(limited, model.actuator_forcerange[self._actuators], [-np.inf, np.inf])

    def _go_home(self) -> None:
        mj, model, data, home = self._mj, self._model, self._data, self._home
        if home is None or isinstance(home, str):
            key = mj.mj_name2id(model, mj.mjtObj.mjOBJ_KEY, "home" if home is None else home)
            if key < 0 and home is not None:
                names = [mj.mj_id2name(model, mj.mjtObj.mjOBJ_KEY, i) for i in range(model.nkey)]
                raise LimitsMismatch(
                    f"simulated arm: no keyframe '{home}' in {self._path.name}; it has {names}"
                )
            if key < 0 and model.nkey:
                key = 0
            if key >= 0:
                mj.mj_resetDataKeyframe(model, data, key)
            return
        pose = np.asarray(home, dtype=np.float64)
        if pose.shape != (len(self._names),) or not np.isfinite(pose).all():
            raise LimitsMismatch(
                f"simulated arm: home {list(home)}, expected {len(self._names)} finite numbers [rad]"
            )
        data.qpos[self._qpos] = pose

    def advance(self) -> None:
        if not self._open:
            raise Disconnected("simulated arm: not open; open() first")
        model, data, step = self._model, self._data, self._model.opt.timestep
        due = int((self._clock.now() - self._base) / step + 1e-6)
        if (due - self._steps) * step > _MAX_LAG_S:
            excess = due - self._steps - int(_MAX_LAG_S / step)
            self._base += excess * step
            due -= excess
        while self._steps < due:
            t = self._steps * step
            while self._commands and self._commands[0][0] <= t + 1e-9:
                data.ctrl[self._actuators] = self._commands.popleft()[1]
            self._latch(self._base - self._opened_at + t)
            jammed = data.qpos[self._qpos] if self._fault("jam") else None
            if self._guided or self._faults or self._pushed:
                self._push()
            self._mj.mj_step(model, data)
            if jammed is not None:
                data.qpos[self._qpos], data.qvel[self._dof] = jammed, 0.0
            self._steps += 1
            self._sample()

    def _push(self) -> None:
        """What acts on the joints from outside: the hand that guides them, and faults."""
        data, push, outer = self._data, self._fault("push"), np.zeros(len(self._names))
        if self._guided:  # gravity is balanced, and the drives only damp
            data.ctrl[self._actuators] = data.qpos[self._qpos]
            outer += data.qfrc_bias[self._dof] - data.qfrc_gravcomp[self._dof]
        if push is not None:
            outer[push.joint] += push.value
        data.qfrc_applied[self._dof] = outer
        self._pushed = bool(outer.any())

    def _sample(self) -> None:
        data = self._data
        sample = (
            self._steps * self._model.opt.timestep,
            data.qpos[self._qpos],
            data.qvel[self._dof],
            data.qfrc_actuator[self._dof],
        )
        self._measured.append(sample)  # fancy indices copy
        if not self._latency:
            while len(self._measured) > 1:
                self._measured.popleft()

    def _latch(self, t: float) -> None:
        for i, fault in enumerate(self._faults):
            if fault.kind == "device_fault" and i not in self._cleared and fault.active(t):
                self._cleared.add(i)
                self._latched = fault.text
                self._brake()
            if fault.kind == "estop" and self._latched != _PRESSED and fault.active(t):
                self._latched = _PRESSED
                self._brake()

    def _brake(self) -> None:
        self._guided = False
        self._commands.clear()
        self._data.ctrl[self._actuators] = self._data.qpos[self._qpos]

    def _link_check(self) -> None:
        if self._fault("disconnect"):
            raise Disconnected("simulated arm: the link is gone")
        if self._fault("drop"):
            raise TransportTimeout("simulated arm: no answer")

    def _fault(self, kind: str) -> SimFault | None:
        t = self._clock.now() - self._opened_at
        return next((f for f in self._faults if f.kind == kind and f.active(t)), None)

    def _quantised(self, q: Array) -> Array:
        return np.array(q) if not self._quantum else np.round(q / self._quantum) * self._quantum


def _mujoco() -> Any:
    try:
        import mujoco
    except ImportError as error:
        raise DriverUnavailable("the driver 'sim' needs MuJoCo: pip install 'mujoco>=3.3,<3.12'") from error
    return mujoco
