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

from .stepping import PHYSICS_STATE

FloatArray = NDArray[np.float64]


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class BatchPhysics:
    """Steps N states through whole control steps in MuJoCo's own loop, `mujoco.rollout`, which holds no Python lock.

    Each thread calls it for one environment after the other: what decides the next step in contact is also the solver's
    warm start, which one call for all of them would lose. So each repeats bit by bit what a single environment does,
    whatever the number of threads.

    Attributes:
        models: one for each environment.
        ctrl: for the caller to write before a step, (N, steps, nu).
        state: full physics at the end of the last step (N, time + nq + nv + na).
        warmstart: of the solver (N, nv).
        sensors: readings before each physics step (N, steps, nsensordata).
        sites: positions of the sites at the end (N, sites, 3) [m].
    """

    def __init__(self, models: Sequence[mujoco.MjModel], sites: Sequence[int], steps: int, nthread: int) -> None:
        """Allocate everything.

        Args:
            models: one for each environment, which may all be the same one; not copied.
            sites: numbers of the sites whose positions are wanted.
            steps: physics steps in a control step.
            nthread: number of threads, this one included.
        """
        self.models = list(models)
        first, num = self.models[0], len(self.models)
        size = int(mujoco.mj_stateSize(first, PHYSICS_STATE))
        self.ctrl = np.zeros((num, steps, int(first.nu)))
        self.sensors = np.zeros((num, steps, int(first.nsensordata)))
        self.state, self.sites = np.zeros((num, size)), np.zeros((num, len(sites), 3))
        self.warmstart = np.zeros((num, int(first.nv)))
        self._states = np.zeros((num, steps, size))
        self._site_numbers = list(sites)
        # What each call gets, made once: views of one row.
        self._arguments: list[tuple[list[mujoco.MjModel], FloatArray, FloatArray, dict[str, Any]]] = [
            (
                [model],
                self.state[i : i + 1],
                self.ctrl[i : i + 1],
                {
                    "nstep": steps,
                    "skip_checks": True,
                    "initial_warmstart": self.warmstart[i : i + 1],
                    "state": self._states[i : i + 1],
                    "sensordata": self.sensors[i : i + 1],
                },
            )
            for i, model in enumerate(self.models)
        ]
        workers = min(nthread, num)
        self._data = [mujoco.MjData(first) for _ in range(workers)]
        self._loops: list[Any] = [mujoco.rollout.Rollout(nthread=0) for _ in range(workers)]
        self._pool = ThreadPoolExecutor(workers - 1, "physics") if workers > 1 else None

    def place(self, i: int, state: FloatArray, warmstart: FloatArray) -> None:
        """Put an environment into a state, see `EnvState`."""
        self.state[i], self.warmstart[i] = state, warmstart

    def step(self, rows: NDArray[np.intp]) -> None:
        """Run the control step that `ctrl` holds in the environments `rows`."""
        todo = iter(rows.tolist())  # shared: who is done early takes the next one
        helpers = range(1, len(self._data))
        others = [self._pool.submit(self._work, k, todo) for k in helpers] if self._pool is not None else []
        self._work(0, todo)
        for other in others:
            other.result()
        self.state[rows] = self._states[rows, -1]

    def close(self) -> None:
        """Stop the threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def _work(self, k: int, rows: Iterator[int]) -> None:
        """What thread k does."""
        data, rollout = self._data[k], self._loops[k].rollout
        warmstart, one = data.qacc_warmstart, [data]
        positions = [data.site_xpos[number] for number in self._site_numbers]
        for i in rows:
            model, state, ctrl, options = self._arguments[i]
            rollout(model, one, state, ctrl, **options)
            mujoco.mj_kinematics(model[0], data)  # sites are as before the last substep
            self.warmstart[i] = warmstart
            for place, position in zip(self.sites[i], positions, strict=True):
                place[:] = position
