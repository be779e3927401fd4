"""Observation -> plan -> action: a model and a planner in a receding-horizon loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from planners import Objective, Plan, Planner, RolloutModel, SamplingPlanner, Scorer, TrajectoryScorer, Watch

from .memory import Memory
from .policy import PolicyPrior
from .types import Float32, Obs, Observed, Seen

ObjectiveFactory = Callable[[Tensor], Objective]
"""Makes the objective from a goal that stays (n_goal,), or from one that moves (2, n_goal): where it is now, and its
velocity."""


class EncodingModel(RolloutModel, Protocol):
    """A rollout model that can start from an observation.

    One with an attribute `context` above 0 is also handed that many past transitions: encode(obs, goal, history=...).
    """

    def encode(self, obs: Any, goal: Tensor | None = None) -> Any:
        """State for obs (1, n_obs), with its picture where the model sees some, and goal (1, n_goal)."""
        ...


class MPCAgent:
    """Plans at every control step, executes the first action, warm-starts the next plan with the rest.

    `act` is for loops that carry out what it returns. Where something else may be done, such as an action with noise,
    `propose` and then `observe` what really was done: models with context infer the dynamics from it.

    Args:
        model: imagines.
        planner: optimises.
        make_objective: what the goal means.
        shallow: the same model with fewer loops, where the planner searches with one.
        policy: what a learned policy would do, among the planner's candidates; None where there is none.
        target: columns in the observation of a goal that moves, then of its velocity: every observation tells it anew.

    Attributes:
        memory: what was seen and done, for models with context.
        last_plan: the plan behind the last action; None before the first.
        timings: seconds spent in each control step, for each episode step since construction.
        watch: is shown every iteration of each plan: trajectories, actions and scores; see `planners.TrajectoryScorer`.
    """

    def __init__(
        self,
        model: EncodingModel,
        planner: Planner,
        make_objective: ObjectiveFactory,
        shallow: RolloutModel | None = None,
        policy: PolicyPrior | None = None,
        *,
        target: slice | None = None,
    ) -> None:
        self.model, self.planner, self.make_objective, self.shallow = model, planner, make_objective, shallow
        self.policy, self.target = policy, target
        self.memory = Memory(int(getattr(model, "context", 0)))
        self.last_plan: Plan | None = None
        self.timings: list[float] = []
        self.watch: Watch | None = None
        self._goal = torch.zeros(0)
        self._objective: Objective | None = None
        self._follows = False

    def reset(self, goal: Float32, *, keep_memory: bool = False) -> None:
        """Start an episode with a goal (n_goal,).

        Args:
            goal: what to reach.
            keep_memory: the same body goes on, from where it is: what it did before still tells how it moves.
        """
        if not keep_memory:
            self.memory.clear()
        self.aim(goal)
        self.last_plan = None

    def aim(self, goal: Float32) -> None:
        """Go for another goal (n_goal,) in the same episode; the last plan still warms the next."""
        self._goal = torch.as_tensor(goal, dtype=torch.float32, device=self.device)
        self.use_objective(self.make_objective(self._goal))
        self._follows = self.target is not None

    def retune(
        self,
        model: EncodingModel,
        planner: SamplingPlanner,
        make_objective: ObjectiveFactory,
        shallow: RolloutModel | None = None,
        policy: PolicyPrior | None = None,
    ) -> None:
        """Plan in another way from the next plan on, in the same episode; arguments as of the class.

        The last plan still warms the next: cut to another horizon, or followed by no motion.
        """
        before = self.planner
        self.model, self.planner, self.make_objective, self.shallow = model, planner, make_objective, shallow
        self.policy = policy
        if self._objective is not None:
            follows = self._follows
            self.use_objective(make_objective(self._goal))
            self._follows = follows
        if self.last_plan is not None:
            kept, horizon = min(self.last_plan.horizon, planner.config.horizon), planner.config.horizon
            parts = (self.last_plan.actions, self.last_plan.std)
            actions, std = (torch.cat([x[:kept], x.new_zeros(horizon - kept, planner.nu)]) for x in parts)
            self.last_plan = replace(self.last_plan, actions=actions, std=std)
            planner.take_over(before, actions) if isinstance(before, SamplingPlanner) else planner.follow(actions)

    def use_objective(self, objective: Objective) -> None:
        """Optimise something else for the rest of the episode."""
        self._objective, self._follows = objective, False

    @property
    def device(self) -> torch.device:
        """Where the model is; observations and actions of the agent are arrays."""
        return torch.device(getattr(self.model, "device", "cpu"))

    @torch.inference_mode()
    def state(self, obs: Seen, ahead: int = 0) -> Any:
        """The model's state for an observation (n_obs,), what was observed before it, and the goal.

        Args:
            obs: what is seen now.
            ahead: control steps until the next plan begins; a goal that moves is taken to where it is then.

        Raises:
            ValueError: obs has non-finite numbers; the message gives their indices.
        """
        vector, image = (obs.vector, obs.image) if isinstance(obs, Observed) else (obs, None)
        tensor = torch.as_tensor(vector, dtype=torch.float32, device=self.device)
        if not bool(torch.isfinite(tensor).all()):
            bad = torch.nonzero(~torch.isfinite(tensor)).flatten().tolist()
            raise ValueError(f"obs has non-finite numbers at indices {bad}, allowed finite; check the sensor")
        if self.target is not None:
            now = tensor[self.target].reshape(2, -1)
            if ahead:
                now = torch.stack([now[0] + ahead * self.model.ctrl_dt * now[1], now[1]])
            self._goal = now[0]
            if self._follows:
                self._objective = self.make_objective(now)
        seen: Obs = tensor[None]
        if image is not None:
            seen = Observed(tensor[None], torch.as_tensor(np.ascontiguousarray(image), device=self.device)[None])
        if not self.memory.context:
            return self.model.encode(seen, self._goal[None])
        model: Any = self.model
        history = self.memory.history(len(tensor), model.nu).to(self.device)
        return model.encode(seen, self._goal[None], history=history)

    @torch.inference_mode()
    def plan(self, state: Any, executed: int = 1, previous: Float32 | None = None) -> Plan:
        """Plan from a model state.

        Args:
            state: in which the plan begins.
            executed: actions of the last plan that were carried out, or left out, since that began.
            previous: what is carried out before this plan begins (1 or more, nu), the latest last; None takes the
                actions of the last plan. Limits on rate and jerk follow on it.
        """
        if self._objective is None:
            raise ValueError("the agent has no goal, allowed one goal an episode; call reset(goal) first")
        warm_start = self.last_plan.shift(executed) if self.last_plan is not None else None
        score = TrajectoryScorer(self.model, state, self._objective, watch=self.watch, shallow=self.shallow)
        plan = self._search(score, state, warm_start, executed, previous)
        self.last_plan = score.settle(plan)
        if self.last_plan.actions is not plan.actions and isinstance(self.planner, SamplingPlanner):
            self.planner.follow(self.last_plan.actions)
        return self.last_plan

    def _search(
        self, score: Scorer, state: Any, warm_start: Tensor | None, executed: int, previous: Float32 | None
    ) -> Plan:
        more: dict[str, Any] = {}
        if isinstance(self.planner, SamplingPlanner):
            if previous is not None:
                more["previous"] = torch.as_tensor(previous, dtype=torch.float32)
            if self.policy is not None:
                more["prior"] = self.policy.at(state)
        return self.planner.plan(score, warm_start, executed, **more)

    def propose(self, obs: Seen) -> Float32:
        """Action (nu,) that the plan for observation (n_obs,) begins with; nothing is remembered yet."""
        started = time.perf_counter()
        plan = self.plan(self.state(obs))
        action: Float32 = plan.actions[0].cpu().numpy()
        self.timings.append(time.perf_counter() - started)
        return action

    def observe(self, obs: Seen, action: Float32) -> None:
        """Remember that `action` (nu,) was carried out after `obs` (n_obs,) was seen."""
        self.memory.add(obs.vector if isinstance(obs, Observed) else obs, action)

    def act(self, obs: Seen) -> Float32:
        """Action (nu,) for observation (n_obs,), remembered as the one that is carried out."""
        action = self.propose(obs)
        self.observe(obs, action)
        return action
