"""What an executor asks a planner, and what it gets. No torch: a planner's process can be watched without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Actions = NDArray[np.float32]
COMPENSATIONS = ("predict", "shift", "none")
"""What may be done about the time that plans take; see `Executor`."""


@dataclass(frozen=True, eq=False)
class Situation:
    """What is known at the control step in which a plan is asked for.

    Attributes:
        obs: observation of this control step, (n_obs,) or an `Observed`.
        committed: actions that the planner should imagine before its plan begins (L, nu); they are carried out
            whatever it finds.
        previous: the two actions that come before the plan's first (2, nu), the latest last.
        executed: control steps from the beginning of the last plan to that of this one.
        seen: observation (n_obs,) and action (nu,) of each control step since the last question.
    """

    obs: Any
    committed: Actions
    previous: Actions
    executed: int
    seen: tuple[tuple[Actions, Actions], ...] = ()


@dataclass(frozen=True, eq=False)
class Answer:
    """A plan.

    Attributes:
        actions: (H, nu), each in [-1, 1].
        seconds: from the question to the answer [s].
    """

    actions: Actions
    seconds: float


class Planning(Protocol):
    """Makes one plan at a time."""

    def reset(self, goal: Actions) -> None:
        """A new episode starts, for a goal (n_goal,); a question that is still open is dropped."""
        ...

    def ask(self, situation: Situation) -> None:
        """Begin to plan."""
        ...

    def answer(self) -> Answer | None:
        """The plan that was asked for, once; None while it is being made."""
        ...
