"""What there is to see at one instant: the arm, its plan and the future that the model foresees under it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from envs import ArmEnv
from planners import Plan

from ..agent import MPCAgent
from ..checkpoint import Spaces
from ..objective import observation_layout
from ..report.candidates import Candidates
from ..types import Float32, Observed, Seen

TRAIL = 60
"""Control steps of the way so far that are shown."""

FloatArray = NDArray[np.float64]


def _nowhere() -> FloatArray:
    return np.zeros((0, 3))


@dataclass(frozen=True)
class Frame:
    """An instant, just before the first action of its plan is carried out.

    Attributes:
        step: control steps done since the view began.
        qpos: of the environment's model (nq,).
        goal: of the episode (n_goal,).
        plan: None where none has been made for this instant.
        path: positions of the end effector under the plan (H + 1, 3) [m]; empty without.
        trail: where it has been (K, 3) [m].
        ghost: qpos that the model foresees at the end of the plan (nq,).
        candidates: what was considered.
        plan_time: time spent on encoding and planning [s].
        deadline: what that is compared with [s]: the planner's deadline, or the control step.
        loops: mean loops of the model in the candidates' transitions; None where it has none.
        missed: distance between where the end effector is and where the last plan foresaw it [m].
        distance: to the goal [m]; None where the environment does not say.
        success: whether the goal is reached.
    """

    step: int
    qpos: FloatArray
    goal: Float32
    plan: Plan | None = None
    path: FloatArray = field(default_factory=_nowhere)
    trail: FloatArray = field(default_factory=_nowhere)
    ghost: FloatArray | None = None
    candidates: Candidates | None = None
    plan_time: float = 0.0
    deadline: float = 0.0
    loops: float | None = None
    missed: float | None = None
    distance: float | None = None
    success: bool = False


class Display(Protocol):
    """What shows a session."""

    def show(self, frame: Frame) -> None:
        """Show an instant."""
        ...

    def settle(self, values: Mapping[str, Any]) -> None:
        """These settings are not what was asked for: show the values that they have."""
        ...

    def say(self, message: str) -> None:
        """Tell people something."""
        ...


class Foresight:
    """Decodes plans, and remembers what they said of the step that came next.

    Args:
        env: whose arm is shown.
        spaces: what its observations mean.
    """

    def __init__(self, env: ArmEnv, spaces: Spaces) -> None:
        self.env, self.spaces, self.layout = env, spaces, observation_layout(spaces)
        self._trail: deque[FloatArray] = deque(maxlen=TRAIL)
        self._next: FloatArray | None = None

    def forget(self) -> None:
        """Another episode begins."""
        self._trail.clear()
        self._next = None

    @torch.inference_mode()
    def frame(self, agent: MPCAgent, obs: Seen, state: Any, candidates: Candidates | None) -> Frame:
        """The instant of an agent's last plan.

        Args:
            agent: has just planned.
            obs: what it planned for.
            state: the model's state for it.
            candidates: what it considered.
        """
        plan = agent.last_plan
        if plan is None:
            raise ValueError("the agent has no plan, allowed after act(); act first")
        trajectory: Any = agent.model.rollout(state, plan.actions[None])
        ahead = np.asarray(trajectory.observations()[0].cpu(), np.float64)  # (H, n_obs)
        qpos = self.env.data.qpos.copy()
        path, missed = _nowhere(), None
        if "ee_pos" in self.layout:
            columns = self.layout["ee_pos"]
            now = np.asarray((obs.vector if isinstance(obs, Observed) else obs)[columns], np.float64)
            path = np.vstack([now, ahead[:, columns]])
            missed = None if self._next is None else float(np.linalg.norm(now - self._next))
            self._trail.append(now)
            self._next = path[1]
        loops = None
        if candidates is not None and candidates.loops is not None:
            loops = float(candidates.loops.mean())
        return Frame(
            step=0,
            qpos=qpos,
            goal=np.zeros(0, np.float32),
            plan=plan,
            path=path,
            trail=np.array(self._trail).reshape(-1, 3),
            ghost=self._pose(qpos, ahead[-1]),
            candidates=candidates,
            plan_time=agent.timings[-1],
            loops=loops,
            missed=missed,
        )

    def _pose(self, qpos: FloatArray, obs: FloatArray) -> FloatArray | None:
        """qpos (nq,) as an observation (n_obs,) says, what it does not say as it is; None where that is no pose."""
        pose, n = qpos.copy(), self.env.arm.n
        if not self.spaces.joints[1]:
            return None
        pose[:n] = obs[self.spaces.joint_columns]
        if "object_pos" in self.layout:
            start = n + self.env.fingers.n
            cosine, sine = obs[self.layout["object_yaw"]]
            half = math.atan2(sine, cosine) / 2
            pose[start : start + 3] = obs[self.layout["object_pos"]]
            pose[start + 3 : start + 7] = math.cos(half), 0.0, 0.0, math.sin(half)
        return pose if np.isfinite(pose).all() else None
