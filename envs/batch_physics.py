"""Physics of many environments at once, stepped by a pool of threads."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import mujoco
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
    them would lose. So each state repeats bit by bit what a single environment does, whatever the number of threads.
    MuJoCo holds no Python lock while it steps.

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
        self.models, self._substeps = list(models), substeps
        first, num = self.models[0], len(self.models)
        self.ctrl = np.zeros((num, NUM_HOLDS, int(first.nu)))
        self.sensors = np.zeros((num, NUM_HOLDS, int(first.nsensordata)))
        self.state = np.zeros((num, int(mujoco.mj_stateSize(first, PHYSICS_STATE))))
        self.warmstart, self.sites = np.zeros((num, int(first.nv))), np.zeros((num, len(sites), 3))
        self._site_numbers = list(sites)
        # Views of what belongs to one environment, made once.
        holds = [list(zip(*pair, strict=True)) for pair in zip(self.ctrl, self.sensors, strict=True)]
        positions = [list(row) for row in self.sites]
        self._views = list(zip(self.models, self.state, self.warmstart, holds, positions, strict=True))
        workers = min(nthread, num)
        self._data = [mujoco.MjData(first) for _ in range(workers)]
        self._pool = ThreadPoolExecutor(workers - 1, "physics") if workers > 1 else None

    def place(self, i: int, state: FloatArray, warmstart: FloatArray) -> None:
        """Put an environment into a state, see `EnvState`."""
        self.state[i], self.warmstart[i] = state, warmstart

    @property
    def warnings(self) -> NDArray[np.int64]:
        """How often MuJoCo gave each of its warnings, by `mujoco.mjtWarning`.

        Where a state is so bad that MuJoCo resets it, a thread begins to count anew with that warning.
        """
        return np.array([[warning.number for warning in data.warning] for data in self._data]).sum(axis=0)

    def step(self, rows: NDArray[np.intp]) -> None:
        """Run the control step that `ctrl` holds in the environments `rows`."""
        todo = iter(rows.tolist())  # shared: who is done early takes the next one
        helpers = range(1, len(self._data))
        others = [self._pool.submit(self._work, k, todo) for k in helpers] if self._pool is not None else []
        self._work(0, todo)
        for other in others:
            other.result()

    def close(self) -> None:
        """Stop the threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def _work(self, k: int, rows: Iterator[int]) -> None:
        """What thread k does."""
        data, substeps, step = self._data[k], self._substeps, mujoco.mj_step
        # Attribute access on MjData makes a new array each time.
        warm, written, sensed = data.qacc_warmstart, data.ctrl, data.sensordata
        positions = [data.site_xpos[number] for number in self._site_numbers]
        for i in rows:
            model, state, warmstart, holds, sites = self._views[i]
            mujoco.mj_setState(model, data, state, PHYSICS_STATE)
            warm[:] = warmstart
            for ctrl, readings in holds:
                written[:] = ctrl
                step(model, data, substeps)
                readings[:] = sensed
            mujoco.mj_getState(model, data, state, PHYSICS_STATE)
            warmstart[:] = warm
            mujoco.mj_kinematics(model, data)  # sites are as before the last physics step
            for place, position in zip(sites, positions, strict=True):
                place[:] = position
