"""Physics of many environments at once: one MuJoCo state each, stepped by a pool of threads."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

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

    It is called once for each environment, with an `MjData` that stays with the environment: what decides the next step
    in contact is also the solver's warm start, which one call for all of them would lose. So each repeats bit by bit
    what a single environment does, whatever the number of threads.

    Attributes:
        ctrl: for the caller to write before a step, (N, steps, nu).
        state: full physics at the end of the last step (N, time + nq + nv + na).
        warmstart: of the solver (N, nv).
        sensors: readings before each physics step (N, steps, nsensordata).
        tips: position of the tool centre point at the end (N, 3) [m].
    """

    def __init__(self, models: Sequence[mujoco.MjModel], site: str, steps: int, nthread: int) -> None:
        """Allocate everything.

        Args:
            models: one for each environment, which may all be the same one; not copied.
            site: name of the site of the tool centre point.
            steps: physics steps in a control step.
            nthread: number of threads, this one included.
        """
        self._models = list(models)
        first, num = self._models[0], len(self._models)
        size = int(mujoco.mj_stateSize(first, PHYSICS_STATE))
        self._data = [mujoco.MjData(model) for model in self._models]
        self.ctrl = np.zeros((num, steps, int(first.nu)))
        self.sensors = np.zeros((num, steps, int(first.nsensordata)))
        self.state, self.tips = np.zeros((num, size)), np.zeros((num, 3))
        self.warmstart = np.zeros((num, int(first.nv)))
        self._states = np.zeros((num, steps, size))
        self._warm = [data.qacc_warmstart for data in self._data]
        self._tip = [data.site_xpos[int(first.site(site).id)] for data in self._data]
        self._rollouts = [mujoco.rollout.Rollout(nthread=0) for _ in self._models]
        self._calls = [
            partial(
                self._rollouts[i].rollout,
                [self._models[i]],
                [self._data[i]],
                self.state[i : i + 1],
                self.ctrl[i : i + 1],
                nstep=steps,
                skip_checks=True,
                initial_warmstart=self.warmstart[i : i + 1],
                state=self._states[i : i + 1],
                sensordata=self.sensors[i : i + 1],
            )
            for i in range(num)
        ]
        self._helpers = min(nthread, num) - 1
        self._pool = ThreadPoolExecutor(self._helpers, "physics") if self._helpers else None

    def place(self, i: int, state: FloatArray, warmstart: FloatArray) -> None:
        """Put an environment into a state, see `EnvState`."""
        self.state[i], self.warmstart[i] = state, warmstart

    def step(self, rows: NDArray[np.intp]) -> None:
        """Run the control step that `ctrl` holds in the environments `rows`."""
        todo = iter(rows.tolist())  # shared: who is done early takes the next one
        if self._pool is None:
            self._work(todo)
        else:
            others = [self._pool.submit(self._work, todo) for _ in range(self._helpers)]
            self._work(todo)
            for other in others:
                other.result()
        self.state[rows] = self._states[rows, -1]

    def close(self) -> None:
        """Stop the threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def _work(self, rows: Iterator[int]) -> None:
        for i in rows:
            self._calls[i]()
            mujoco.mj_kinematics(self._models[i], self._data[i])  # sites are as before the last substep
            self.warmstart[i], self.tips[i] = self._warm[i], self._tip[i]
