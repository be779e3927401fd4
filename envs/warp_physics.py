"""Physics of many environments at once on a GPU, by MuJoCo Warp."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from .batch_physics import FloatArray
from .dynamics import CHANGED_FIELDS
from .stepping import NUM_HOLDS

CONTACTS = 48
"""Contacts of an environment that there is room for."""


class WarpPhysics:
    """Steps N states as `BatchPhysics` does and looks the same from outside; in single precision, so not bit by bit.

    https://github.com/google-deepmind/mujoco_warp. All environments take a step together, one thread of the GPU each or
    more; on a CPU it is there for tests and slower than MuJoCo itself. The kernels are compiled at the first step,
    which can take a minute, once for a machine.

    Attributes:
        models: one for each environment, of the same scene.
        ctrl: set-points for the caller to write before a step, (N, NUM_HOLDS, nu).
        state: full physics at the end of the last step (N, time + nq + nv).
        warmstart: of the solver (N, nv).
        sensors: readings before the last physics step of each set-point (N, NUM_HOLDS, nsensordata).
        sites: positions of the sites at the end (N, sites, 3) [m].
    """

    def __init__(
        self, models: Sequence[mujoco.MjModel], sites: Sequence[int], substeps: int, device: str | None = None
    ) -> None:
        """Allocate everything.

        Args:
            models: one for each environment, which may all be the same one; changes in `CHANGED_FIELDS` hold from the
                next `place` on.
            sites: numbers of the sites whose positions are wanted.
            substeps: physics steps between two set-points.
            device: of Warp, such as cuda:0 or cpu; None takes a GPU where there is one.

        Raises:
            ImportError: the package is not installed.
            ValueError: there is no such device, or MuJoCo Warp does not know something in the scene.
        """
        self._wp, self._mjw = load_packages()
        self.models, self._substeps = list(models), substeps
        first, num = self.models[0], len(self.models)
        if first.na:
            raise ValueError(f"physics is 'warp' and the actuators have {first.na} states, allowed none")
        try:
            self._device = self._wp.get_device(device)
        except Exception as error:
            known = ", ".join(str(found) for found in self._wp.get_devices())
            raise ValueError(f"device is '{device}', allowed {known}") from error
        self.ctrl = np.zeros((num, NUM_HOLDS, int(first.nu)))
        self.sensors = np.zeros((num, NUM_HOLDS, int(first.nsensordata)))
        self.state, self.sites = np.zeros((num, 1 + int(first.nq) + int(first.nv))), np.zeros((num, len(sites), 3))
        self.warmstart = np.zeros((num, int(first.nv)))
        self._site_numbers = list(sites)
        rows = 2 * int(first.nv) + CONTACTS * 2 * max(int(first.geom_condim.max()) - 1, 1)
        with self._wp.ScopedDevice(self._device):
            try:
                self._model = self._mjw.put_model(first)
            except NotImplementedError as error:
                raise ValueError(f"physics is 'warp', which cannot do this scene: {error}") from error
            data = mujoco.MjData(first)
            self._data = self._mjw.put_data(first, data, nworld=num, nconmax=CONTACTS, njmax=rows)
            self._ctrl = self._wp.zeros((NUM_HOLDS, num, int(first.nu)), dtype=float)
            self._sensors = self._wp.zeros((NUM_HOLDS, num, int(first.nsensordata)), dtype=float)
        # What differs between the models, in the shapes of Warp's arrays.
        self._fields: dict[str, NDArray[np.float32]] = {}
        if any(model is not first for model in self.models):
            for name in CHANGED_FIELDS:
                one = getattr(self._model, name)
                each = np.array([getattr(model, name) for model in self.models], dtype=np.float32)
                self._fields[name] = each.reshape(num, *one.numpy().shape[1:])
                with self._wp.ScopedDevice(self._device):
                    setattr(self._model, name, self._wp.array(self._fields[name], dtype=one.dtype))
        self._changed = False
        self._graph: Any = None
        self._warm = False

    def place(self, i: int, state: FloatArray, warmstart: FloatArray) -> None:
        """Put an environment into a state, see `EnvState`; its model is read anew."""
        self.state[i], self.warmstart[i] = state, warmstart
        for name, each in self._fields.items():
            each[i] = getattr(self.models[i], name).reshape(each.shape[1:])
            self._changed = True

    def step(self, rows: NDArray[np.intp]) -> None:
        """Run the control step that `ctrl` holds in the environments `rows`.

        Raises:
            RuntimeError: an environment has more contacts or constraints than there is room for.
        """
        nq = int(self.models[0].nq)
        data = self._data
        with self._wp.ScopedDevice(self._device):
            if self._changed:
                for name, each in self._fields.items():
                    getattr(self._model, name).assign(each)
                self._changed = False
            data.time.assign(self.state[:, 0].astype(np.float32))
            data.qpos.assign(self.state[:, 1 : 1 + nq].astype(np.float32))
            data.qvel.assign(self.state[:, 1 + nq :].astype(np.float32))
            data.qacc_warmstart.assign(self.warmstart.astype(np.float32))
            self._ctrl.assign(self.ctrl.swapaxes(0, 1).astype(np.float32))
            self._launch()
        overflow = data.overflow.numpy()[rows]
        if overflow.any():
            i = int(rows[np.flatnonzero(overflow)[0]])
            raise RuntimeError(
                f"environment {i} has more than the {CONTACTS} contacts that physics='warp' has room for, or more "
                "constraints; make the scene simpler, or take physics='mujoco'"
            )
        new = np.concatenate([data.time.numpy()[:, None], data.qpos.numpy(), data.qvel.numpy()], axis=1)
        self.state[rows] = new[rows]
        self.warmstart[rows] = data.qacc_warmstart.numpy()[rows]
        self.sensors[rows] = self._sensors.numpy().swapaxes(0, 1)[rows]
        self.sites[rows] = data.site_xpos.numpy()[rows][:, self._site_numbers]

    def close(self) -> None:
        """Free the graph; the arrays go with this object."""
        self._graph = None

    def _launch(self) -> None:
        """One control step; on a GPU as a graph from the second time on, once everything is compiled."""
        if self._graph is not None:
            self._wp.capture_launch(self._graph)
        elif self._warm and self._device.is_cuda:
            with self._wp.ScopedCapture() as capture:
                self._control_step()
            self._graph = capture.graph
            self._wp.capture_launch(self._graph)
        else:
            self._control_step()
            self._warm = True

    def _control_step(self) -> None:
        wp, mjw, data = self._wp, self._mjw, self._data
        data.overflow.zero_()
        for k in range(NUM_HOLDS):
            wp.copy(data.ctrl, self._ctrl[k])
            for _ in range(self._substeps):
                mjw.step(self._model, data)
            wp.copy(self._sensors[k], data.sensordata)
        mjw.kinematics(self._model, data)  # sites are as before the last substep


def load_packages() -> tuple[Any, Any]:
    """The packages warp and mujoco_warp.

    Raises:
        ImportError: they are not installed; it says how to.
    """
    try:
        import warp

        warp.config.log_level = warp.LOG_WARNING  # else a line for each of hundreds of kernels
        import mujoco_warp
    except ImportError as error:
        raise ImportError(
            f"physics='warp' needs MuJoCo Warp ({error}); pip install 'loopwm-robot[warp]', of the same "
            f"minor version as MuJoCo, {mujoco.__version__}"
        ) from error
    return warp, mujoco_warp
