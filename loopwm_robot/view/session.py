"""The loop behind the view: plan, show, act, and heed what was asked for in between. It knows no browser."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from envs import ArmEnv
from planners import PlanningError

from ..agent import EncodingModel
from ..build import make_agent, retune
from ..checkpoint import Spaces
from ..closed_loop import EVALUATION_SEED
from ..config import PlannerConfig
from ..data.collect import split_observation
from ..device import seeded
from ..objective import observation_layout
from ..report.candidates import CandidateWatch
from .controls import Controls, Wishes
from .frame import Display, Foresight, Frame
from .settings import LOOPS, changed, has_depth, shown

HOLD = 1.0
"""How long a goal is held before a tour goes on to the next [s]."""


class Session:
    """A planner that drives a simulated arm until it is told to stop.

    Episodes have no time limit here: they go on until a reset is asked for or the environment ends them.

    Args:
        env: an arm environment of ours, and a second one like it, on which goals are drawn and checked.
        model: imagines.
        spaces: of env.
        config: what the planner begins with.
        controls: what people ask for.
        display: is shown every control step.
        seed: of the planner.
        clock: tells the time [s].

    Attributes:
        config: the planner's settings as they are now.
        loops: of the model in every transition; 0 for its own exit rule.
        steps: control steps done.
    """

    def __init__(
        self,
        env: tuple[gym.Env[Any, Any], gym.Env[Any, Any]],
        model: EncodingModel,
        spaces: Spaces,
        config: PlannerConfig,
        controls: Controls,
        display: Display,
        seed: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.env, self._other = env
        self.base: ArmEnv = self.env.unwrapped  # type: ignore[assignment]
        self.model, self.spaces, self.config = model, spaces, config
        self.controls, self.display, self.clock = controls, display, clock
        self.loops = self.steps = 0
        device = torch.device(getattr(model, "device", "cpu"))
        self.agent = make_agent(model, spaces, config, seeded(device, seed))
        layout = observation_layout(spaces)
        self.watch = CandidateWatch(self.agent, layout["ee_pos"]) if "ee_pos" in layout else None
        self.foresight = Foresight(self.base, spaces)
        self._drawn = self._owed = self._held = 0
        self.begin()

    def run(self, steps: int | None = None) -> None:
        """Go on until stopped.

        Args:
            steps: control steps after which to end; None for no end.
        """
        due = self.clock()
        while steps is None or self.steps < steps:
            wishes = self.controls.take()
            if wishes.stop:
                return
            self.heed(wishes)
            if wishes.paused and not self._owed:
                self.controls.wait(1.0)
                due = self.clock()
                continue
            self._owed = max(0, self._owed - 1) if wishes.paused else 0
            self.advance(wishes.tour)
            due = max(due + self.spaces.ctrl_dt / wishes.speed, self.clock())  # what is lost is not made up for
            self.controls.rest(due - self.clock())

    def heed(self, wishes: Wishes) -> None:
        """Do what was asked for, but for going on; what cannot be done is said and left."""
        self._owed += wishes.steps
        try:
            if wishes.settings:
                self._set(wishes.settings)
            if wishes.reset:
                self.begin()
            if wishes.goal is not None:
                self._aim({"goal": wishes.goal})
            if wishes.new_goal:
                self._aim({})
        except ValueError as error:
            self.display.say(str(error))
            self.display.show(self.frame)

    def begin(self) -> None:
        """Start an episode, with the next goal of an evaluation."""
        raw, self._info = self.env.reset(seed=EVALUATION_SEED + self._drawn)
        self._drawn += 1
        self._held = 0
        self._obs, self._achieved, self._goal = split_observation(raw)
        self.agent.reset(self._goal)
        self.foresight.forget()
        self._show(Frame(self.steps, self.base.data.qpos.copy(), self._goal))

    def advance(self, tour: bool = False) -> None:
        """Plan, show, act: one control step."""
        state = self.agent.state(self._obs)
        if self.watch is not None:
            self.watch.begin()
        try:
            action = self.agent.act(self._obs)
        except PlanningError as error:
            self.display.say(f"{error}; paused")
            self.controls.keep(paused=True)
            return
        candidates = None if self.watch is None else self.watch.candidates(self._obs, state)
        frame = self.foresight.frame(self.agent, self._obs, state, candidates)
        self._show(
            replace(
                frame,
                step=self.steps,
                goal=self._goal,
                distance=self._info.get("distance"),
                success=bool(self._info.get("is_success", False)),
                deadline=self.config.deadline or self.spaces.ctrl_dt,
            )
        )
        raw, _, terminated, _, self._info = self.env.step(action)
        self._obs, self._achieved, self._goal = split_observation(raw)
        self.steps += 1
        self._held = self._held + 1 if self._info.get("is_success", False) else 0
        if terminated:
            self.begin()
        elif tour and self._held * self.spaces.ctrl_dt >= HOLD:
            self._aim({})

    def _set(self, wishes: Mapping[str, Any]) -> None:
        """Change settings of planner and model, all or none."""
        before = self._present()
        own = {name: value for name, value in wishes.items() if name != LOOPS}
        loops = int(wishes.get(LOOPS, self.loops)) if has_depth(self.model) else 0
        try:
            config = changed(self.config, own)
            model: Any = self.model
            model = model.with_loops(loops) if loops else model
            retune(self.agent, model, self.spaces, config)
            self.config, self.loops = config, loops
        finally:
            # Only what is not as it was asked for: people may be at the other sliders.
            present = self._present()
            self.display.settle({k: v for k, v in present.items() if wishes.get(k, before[k]) != v})

    def _present(self) -> dict[str, Any]:
        """All settings as sliders show them."""
        names = (field.name for field in fields(self.config))
        return {**{name: shown(self.config, name) for name in names}, LOOPS: self.loops}

    def _aim(self, options: dict[str, Any]) -> None:
        """Give the episode another goal: the one in options, checked, or one that is drawn."""
        raw, _ = self._other.reset(seed=EVALUATION_SEED + self._drawn, options=options)
        self._drawn += not options
        self._held = 0
        self._goal = split_observation(raw)[2]
        self._info = {"distance": float(np.linalg.norm(self._achieved - self._goal))}
        self.base.set_task_goal(np.asarray(self._goal, np.float64))
        self.agent.aim(self._goal)
        self._show(replace(self.frame, goal=self._goal))

    def _show(self, frame: Frame) -> None:
        self.frame = frame
        self.display.show(frame)
