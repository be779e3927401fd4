"""How a control step is cut into set-points and physics steps; the state of an environment."""

from __future__ import annotations

from dataclasses import dataclass, field

import mujoco
import numpy as np
from numpy.typing import NDArray

from .action import JointReference
from .randomize import NOMINAL, Dynamics

FloatArray = NDArray[np.float64]

PHYSICS_STATE = int(mujoco.mjtState.mjSTATE_FULLPHYSICS)
NUM_HOLDS = 5
"""Set-points written to the actuators per control step: 100 Hz at 20 Hz control."""


@dataclass(frozen=True, eq=False)
class EnvState:
    """Everything that decides how an environment goes on, save its random generator and time limit.

    Attributes:
        physics: MuJoCo's full physics state (time, qpos, qvel, act).
        warmstart: the solver's warm start (nv,), so that a restored run repeats bit by bit.
        ref: reference of the command generator.
        goal: goal of the task (3,) [m]; where it moves or the task remembers more, all of that.
        pending: actions that wait to be executed, oldest first, (delay, nu).
        dynamics: of the episode.
        late: observation vectors that were measured and not yet shown, oldest first, (delay, n_obs).
    """

    physics: FloatArray
    warmstart: FloatArray
    ref: JointReference
    goal: FloatArray
    pending: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))
    dynamics: Dynamics = NOMINAL
    late: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))


def substeps_per_hold(model: mujoco.MjModel, ctrl_dt: float) -> int:
    """Physics steps between two set-points.

    Args:
        model: the arm's model.
        ctrl_dt: control step [s].

    Returns:
        The number, at least 1.

    Raises:
        ValueError: the control step is not a multiple of `NUM_HOLDS` physics steps.
    """
    quantum = NUM_HOLDS * float(model.opt.timestep)
    count = round(ctrl_dt / quantum)
    if count < 1 or abs(count * quantum - ctrl_dt) > 1e-9:
        raise ValueError(f"ctrl_dt is {ctrl_dt} s, must be a positive multiple of {quantum:g} s")
    return count


def hold_fractions() -> FloatArray:
    """Instants of the set-points within a control step, (NUM_HOLDS, 1), in units of the control step.

    A set-point is the reference at the instant of writing, as a driver on a real arm would sample it.
    """
    return np.arange(NUM_HOLDS, dtype=np.float64)[:, None] / NUM_HOLDS
