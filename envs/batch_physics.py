"""Physics of many environments at once, stepped by a pool of threads."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mujoco
import mujoco.rollout
import numpy as np
from numpy.typing import NDArray

from .stepping import NUM_HOLDS, PHYSICS_STATE

FloatArray = NDArray[np.float64]


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class BatchPhysics:
    """Steps N states through whole control steps, one after the other in each thread.

    What decides the next step in contact is also the solver's warm start, which one call of `mujoco.rollout` for all of
    them would lose. So each state has a call of its own, and repeats bit by bit what a single environment does,
    whatever the number of threads. MuJoCo holds no Python lock within it; threads that ask for the lock at every
    set-point wait for each other.

    Attributes:
        models: one for each environment.
        ctrl: set-points for the caller to write before a step, (N, NUM_HOLDS, nu).
        state: full physics at the end of the last step (N, time + nq + nv + na).
        warmstart: of the solver (N, nv).
        sensors: readings before the last physics step of each set-point (N, NUM_HOLDS, nsensordata).
        sites: positions of the sites at the end (N, sites, 3) [m].
    """

    def __init__(self, models: Sequence[mujoco.MjModel], sites: Sequence[int], substeps: int, nthread: int) -> None:
        """Allocate everything.

        Args:
            models: one for each environment, which may all be the same one; not copied.
            sites: numbers of the sites whose positions are wanted.
            substeps: physics steps between two set-points.
            nthread: number of threads, this one included.
        """
        self.models = list(models)
        first, num = self.models[0], len(self.models)
        nu = int(first.nu)
        self.ctrl = np.zeros((num, NUM_HOLDS, nu))
        self.sensors = np.zeros((num, NUM_HOLDS, int(first.nsensordata)))
        self.state = np.zeros((num, int(mujoco.mj_stateSize(first, PHYSICS_STATE))))
        self.warmstart, self.sites = np.zeros((num, int(first.nv))), np.zeros((num, len(sites), 3))
        self._each = np.zeros((num, NUM_HOLDS, substeps, nu))  # set-points of all physics steps
        # Views of what belongs to one environment, made once; those for a rollout have its leading axis.
        rollouts = [
            ([model], state[None], warmstart[None], each.reshape(1, NUM_HOLDS * substeps, nu))
            for model, state, warmstart, each in zip(
                self.models, self.state, self.warmstart, self._each, strict=True
            )
        ]
        self._views = list(zip(rollouts, self.state, self.warmstart, self.sensors, map(list, self.sites), strict=True))
        workers = min(nthread, num)
        self._threads = [_Thread(first, sites, substeps) for _ in range(workers)]
        self._pool = ThreadPoolExecutor(workers - 1, "physics") if workers > 1 else None

    def place(self, i: int, state: FloatArray, warmstart: FloatArray) -> None:
        """Put an environment into a state, see `EnvState`."""
        self.state[i], self.warmstart[i] = state, warmstart

    @property
    def warnings(self) -> NDArray[np.int64]:
        """How often MuJoCo gave each of its warnings, by `mujoco.mjtWarning`."""
        return np.sum([thread.warnings for thread in self._threads], axis=0)

    def step(self, rows: NDArray[np.intp]) -> None:
        """Run the control step that `ctrl` holds in the environments `rows`."""
        self._each[:] = self.ctrl[:, :, None]
        todo = iter(rows.tolist())  # shared: who is done early takes the next one
        others = [self._pool.submit(self._work, thread, todo) for thread in self._threads[1:]] if self._pool else []
        self._work(self._threads[0], todo)
        for other in others:
            other.result()

    def close(self) -> None:
        """Stop the threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def _work(self, thread: _Thread, rows: Iterator[int]) -> None:
        """What a thread does."""
        data, rollout = thread.data, thread.rollout.rollout
        # Attribute access on MjData makes a new array each time.
        warm, numbers = data.qacc_warmstart, data.warning.number
        none = np.zeros_like(numbers).tobytes()  # compared faster than by numpy
        states, sensors = thread.states, thread.sensors
        end, held = states[0, -1], sensors[0, thread.substeps - 1 :: thread.substeps]
        for i in rows:
            (model, start, warm_start, controls), state, warmstart, readings, sites = self._views[i]
            rollout(
                model,
                [data],
                start,
                controls,
                skip_checks=True,
                nstep=states.shape[1],
                initial_warmstart=warm_start,
                state=states,
                sensordata=sensors,
            )
            if numbers.tobytes() != none:  # a rollout ends where MuJoCo warns, a single environment goes on
                thread.go_on(model[0], state, warmstart, self.ctrl[i], readings)
            else:
                state[:], readings[:] = end, held
            warmstart[:] = warm
            mujoco.mj_kinematics(model[0], data)  # sites are as before the last physics step
            for place, position in zip(sites, thread.positions, strict=True):
                place[:] = position


class _Thread:
    """What belongs to one thread."""

    def __init__(self, model: mujoco.MjModel, sites: Sequence[int], substeps: int) -> None:
        self.data = mujoco.MjData(model)
        self.rollout: Any = mujoco.rollout.Rollout(nthread=0)
        self.substeps = substeps
        steps = (1, NUM_HOLDS * substeps)
        self.states = np.zeros((*steps, int(mujoco.mj_stateSize(model, PHYSICS_STATE))))
        self.sensors = np.zeros((*steps, int(model.nsensordata)))
        self.positions = [self.data.site_xpos[number] for number in sites]
        self.warnings = np.zeros(len(self.data.warning), dtype=np.int64)

    def go_on(
        self, model: mujoco.MjModel, state: FloatArray, warmstart: FloatArray, ctrl: FloatArray, readings: FloatArray
    ) -> None:
        """Run the control step again, whatever MuJoCo warns of, and count that.

        Where a state is so bad that MuJoCo resets it, it forgets the warnings before.
        """
        data = self.data
        data.warning.number[:] = 0
        mujoco.mj_setState(model, data, state, PHYSICS_STATE)
        data.qacc_warmstart[:] = warmstart
        for held, read in zip(ctrl, readings, strict=True):
            data.ctrl[:] = held
            mujoco.mj_step(model, data, self.substeps)
            read[:] = data.sensordata
        mujoco.mj_getState(model, data, state, PHYSICS_STATE)
        self.warnings += data.warning.number
