"""The executor: a plan is carried out while the next one is made.

In control step k the plan in force says what is done until the next one begins, `lead` steps later. The planner is
told, and plans from the state which that leads to:

    k: o_k --encode--> h --step a_k .. a_(k+lead-1)--> h' --plan--> a_(k+lead), ..  in force from k + lead on

It is a policy like any other: whoever steps an environment with what `act` returns needs no other loop. With a ticker
`act` waits for the control step's time, so that planning and acting go on side by side; without one the environment
stands still while a plan is made, and the lead alone says what time it took.
"""

from __future__ import annotations

import numpy as np

from hardware.clock import Clock

from ..types import Float32, Observed, Seen
from .interfaces import COMPENSATIONS, Planning, Situation
from .line import Line, blend
from .pace import Lead
from .ticker import Ticker

WARM_UP = 3
"""Plans before the first control step in wall time: the first one loads and compiles, the others are measured."""
_POLL_S = 0.001


class Executor:
    """Acts by the plan in force; asks for the next one as soon as the planner is free and none waits.

    Args:
        planning: makes plans.
        nu: action dimensions.
        lead: says when a plan begins that is asked for now.
        compensation: what is done about the time until then: "predict" plans from the state that the committed actions
            lead to; "shift" plans from the state that is seen and leaves out the actions whose time has passed; "none"
            carries out the plan from the state that is seen as if no time had passed.
        blend_steps: first actions of a plan that are mixed with what would have been done without it.
        ticker: of control steps in wall time; None steps as fast as can be.

    Attributes:
        timings: seconds that each plan took.
        leads: control steps from question to beginning, of each plan.
        seams: how far the first action of each plan is from what would have been done without it (max over nu).
        late: plans that were ready after they should have begun, and were dropped.
    """

    def __init__(
        self,
        planning: Planning,
        nu: int,
        lead: Lead,
        compensation: str = "predict",
        blend_steps: int = 0,
        ticker: Ticker | None = None,
    ) -> None:
        if compensation not in COMPENSATIONS:
            raise ValueError(f"compensation is '{compensation}', allowed {', '.join(COMPENSATIONS)}")
        self.planning, self.lead, self.compensation = planning, lead, compensation
        self.blend_steps, self.ticker = blend_steps, ticker
        self.timings: list[float] = []
        self.leads: list[int] = []
        self.seams: list[float] = []
        self.late = 0
        self._line = Line(nu)
        self._goal: Float32 = np.zeros(0, np.float32)
        self._k = self._origin = 0
        self._asked: tuple[int, int] | None = None
        self._seen: list[tuple[Float32, Float32]] = []
        self._warm = False

    def reset(self, goal: Float32) -> None:
        """Start an episode with a goal (n_goal,), from rest."""
        self.planning.reset(goal)
        self._goal, self._line = goal, Line(self._line.nu)
        self._k = self._origin = 0
        self._asked, self._seen = None, []
        if self.ticker is not None:
            self.ticker.restart()

    def act(self, obs: Seen) -> Float32:
        """Action (nu,) of this control step, in which obs (n_obs,) is seen."""
        if self.ticker is not None:
            if not self._warm:
                self._warm_up(obs, self.ticker.clock)
            self.ticker.wait()
        k = self._k
        self._take(k)
        if self._asked is None and not self._line.waits(k):
            self._ask(obs, k)
            self._take(k)
        action = self._line.action(k)
        self._seen.append((obs.vector if isinstance(obs, Observed) else obs, action))
        self._k += 1
        return action

    def statistics(self) -> dict[str, float]:
        """What happened so far, for a summary."""
        found: dict[str, float] = {"plans": len(self.timings), "late_plans": self.late}
        if self.leads:
            found["lead_steps_mean"] = float(np.mean(self.leads))
        if self.seams:
            found["seam_jump_p95"] = float(np.quantile(self.seams, 0.95))
        if self.ticker is not None and self.ticker.steps:
            found["late_step_fraction"] = self.ticker.late / self.ticker.steps
        return found

    def _ask(self, obs: Seen, k: int) -> None:
        begin = k + self.lead.lead
        origin = k if self.compensation == "shift" else begin  # the control step that the plan's first action is for
        imagined = self._line.actions(k, begin if self.compensation == "predict" else k)
        previous = self._line.actions(origin - 2, origin)
        self.planning.ask(Situation(obs, imagined, previous, origin - self._origin, tuple(self._seen)))
        self.leads.append(begin - k)
        self._asked, self._origin, self._seen = (begin, origin), origin, []

    def _take(self, k: int) -> None:
        """Take over a plan that is ready."""
        answer = self.planning.answer() if self._asked is not None else None
        if answer is None or self._asked is None:
            return
        (begin, origin), self._asked = self._asked, None
        self.timings.append(answer.seconds)
        self.lead.took(answer.seconds)
        if begin < k:
            self.late += 1
            return
        actions = answer.actions[begin - origin :]
        if self.blend_steps:
            actions = blend(actions, self._line.actions(begin, begin + self.blend_steps))
        if len(actions):
            self.seams.append(float(np.abs(actions[0] - self._line.action(begin)).max()))
        self._line.follow(begin, actions)

    def _warm_up(self, obs: Seen, clock: Clock) -> None:
        """Learn how long a plan takes while nothing moves."""
        still = np.zeros((2, self._line.nu), np.float32)
        for i in range(WARM_UP):
            self.planning.ask(Situation(obs, still[:1], still, 1))
            while (answer := self.planning.answer()) is None:
                clock.sleep_until(clock.now() + _POLL_S)
            if i:
                self.lead.took(answer.seconds)
        self.planning.reset(self._goal)
        self._warm = True
