"""Planning from the state in which a plan takes effect, instead of the one that is seen."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike

from planners import Plan

from ..types import Float32, Seen
from .interfaces import Answer, Situation


class AheadAgent(Protocol):
    """What planning ahead asks of an agent; `loopwm_robot.agent.MPCAgent` fits, its model must have `step`."""

    model: Any

    def reset(self, goal: Float32) -> None: ...
    def state(self, obs: Seen, ahead: int = 0) -> Any: ...
    def plan(self, state: Any, executed: int = 1, previous: Float32 | None = None) -> Plan: ...
    def observe(self, obs: Seen, action: Float32) -> None: ...


@torch.inference_mode()
def step(model: Any, state: Any, action: ArrayLike) -> Any:
    """The model's next state for one action (nu,)."""
    device = torch.device(getattr(model, "device", "cpu"))
    return model.step(state, torch.as_tensor(np.asarray(action, np.float32), device=device)[None])[0]


def imagine(agent: AheadAgent, obs: Seen, committed: Sequence[ArrayLike]) -> list[Any]:
    """The model's states now and after each of the committed actions.

    Args:
        agent: is reset; its goal becomes that of the moment after all of them, where it moves.
        obs: observation now (n_obs,).
        committed: L actions, each (nu,).

    Returns:
        L + 1 states; a plan that takes effect after the committed actions starts from the last one.
    """
    states = [agent.state(obs, len(committed))]
    for action in committed:
        states.append(step(agent.model, states[-1], action))
    return states


class AtOnce:
    """An agent that plans when it is asked, in this process.

    Args:
        agent: makes the plans.
    """

    def __init__(self, agent: AheadAgent) -> None:
        self.agent = agent
        self._answer: Answer | None = None

    def reset(self, goal: Float32) -> None:
        self.agent.reset(goal)
        self._answer = None

    def ask(self, situation: Situation) -> None:
        """Plan."""
        started = time.perf_counter()
        for obs, action in situation.seen:
            self.agent.observe(obs, action)
        state = imagine(self.agent, situation.obs, list(situation.committed))[-1]
        plan = self.agent.plan(state, situation.executed, situation.previous)
        self._answer = Answer(plan.actions.cpu().numpy(), time.perf_counter() - started)

    def answer(self) -> Answer | None:
        answer, self._answer = self._answer, None
        return answer
