"""Where the time of one control step goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..agent import MPCAgent
from ..device import settle
from ..models.loopwm import LoopWM
from ..types import Float32, Seen


class Stopwatch:
    """Adds up the time spent in methods of an object while it is active; time in an inner one counts there only."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inner = [0.0]  # time in watched calls inside each running one
        self._undo: list[Callable[[], None]] = []

    def watch(self, owner: Any, method: str, label: str) -> None:
        """Time calls of owner.method under a label."""
        timed = self.timed(getattr(owner, method), label)
        # nn.Module keeps attributes in its own tables; object.__setattr__ puts the wrapper beside them.
        object.__setattr__(owner, method, timed)
        self._undo.append(lambda: object.__delattr__(owner, method))

    def timed(self, function: Callable[..., Any], label: str) -> Callable[..., Any]:
        """A function that does the same and is timed under a label."""

        def call(*args: Any, **kwargs: Any) -> Any:
            settle()
            started = time.perf_counter()
            self._inner.append(0.0)
            try:
                return function(*args, **kwargs)
            finally:
                settle()
                spent, inner = time.perf_counter() - started, self._inner.pop()
                self._inner[-1] += spent
                self.seconds[label] = self.seconds.get(label, 0.0) + spent - inner

        return call

    def __enter__(self) -> Stopwatch:
        return self

    def __exit__(self, *_: object) -> None:
        while self._undo:
            self._undo.pop()()


def profile_control_step(agent: MPCAgent, obs: Seen, goal: Float32, repeats: int = 30) -> dict[str, float]:
    """Median over repeats of the seconds that each part of one control step takes.

    Args:
        agent: with a LoopWM model.
        obs: an observation (n_obs,), with its picture where there is one.
        goal: of the episode (n_goal,).
        repeats: control steps after five of warm-up.

    Returns:
        {"encode", "prelude", "loops", "coda", "rollout bookkeeping", "decode and score", "planner"}: disjoint parts of
        the step. The loops that refine a belief from context count as loops.

    Raises:
        ValueError: the agent's model is not LoopWM.
    """
    model = agent.model
    if not isinstance(model, LoopWM):
        raise ValueError(f"profiling needs LoopWM, got {type(model).__name__}; set planner.model=learned")
    agent.reset(goal)
    for _ in range(5):
        agent.act(obs)
    rows: list[dict[str, float]] = []
    for _ in range(repeats):
        with Stopwatch() as watch, torch.inference_mode():
            watch.watch(model, "encode", "encode")
            watch.watch(model.prelude, "forward", "prelude")
            watch.watch(model.action_embedder, "forward", "prelude")
            for block in (model.block, *getattr(model, "further", ())):
                watch.watch(block, "condition", "prelude")
                watch.watch(block, "forward", "loops")
            watch.watch(model.coda, "forward", "coda")
            watch.watch(model, "rollout", "rollout")
            objective = agent.make_objective(torch.as_tensor(goal, device=agent.device))
            agent.use_objective(watch.timed(objective, "decode and score"))
            started = time.perf_counter()
            agent.act(obs)
            total = time.perf_counter() - started
        s = watch.seconds
        rows.append(
            {
                "encode": s["encode"],
                "prelude": s["prelude"],
                "loops": s["loops"],
                "coda": s["coda"],
                "rollout bookkeeping": s["rollout"],
                "decode and score": s["decode and score"],
                "planner": total - sum(s.values()),
            }
        )
    return {name: float(np.median([row[name] for row in rows])) for name in rows[0]}
