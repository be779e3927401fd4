"""Collectors on a Ray cluster: processes on this machine or on many, which may die and come back."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from ..closed_loop import ClosedLoopResult
from ..ray_cluster import cluster
from .crew import Collector, Crew, CrewError, Errand, Recipe, Weights

log = logging.getLogger(__name__)

AHEAD = 2
"""Errands that a collector has at a time: one that it runs, and one that waits so that it need not."""
ATTEMPTS = 4
"""How often an errand is tried before the run gives up: its collectors died, or their machines did."""
PATIENCE_S = 300.0
"""How long the run waits while nobody answers, as after the loss of all machines [s]."""
LOOK_S = 10.0
"""How often it says so meanwhile [s]."""


class Station:
    """What a collector's process runs; Ray makes an actor of it.

    Args:
        recipe: settings of the run.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._collector, self._version = Collector(recipe), -1

    def run(self, version: int, weights: list[Any], errand: Errand) -> ClosedLoopResult:
        """An errand, with weights of a version that are fetched once; `weights` holds their reference."""
        import ray

        if version != self._version:
            self._collector.load(ray.get(weights[0]))
            self._version = version
        return self._collector.run(errand)

    def pid(self) -> int:
        """Number of the process."""
        return os.getpid()


class RayCrew:
    """A crew of actors, each on one core of the cluster. Ray starts one that died again, where there is room.

    Args:
        recipe: settings of the run; its `train.collectors` are their number.
    """

    def __init__(self, recipe: Recipe) -> None:
        import ray

        actor: Any = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=0)(Station)
        self.actors: list[Any] = [actor.remote(recipe) for _ in range(recipe.train.collectors)]
        self._version = 0

    def collect(self, weights: Weights, todo: Sequence[Errand]) -> Iterator[tuple[int, ClosedLoopResult]]:
        """Hand errands out, `AHEAD` to a collector, so that no more results than that wait anywhere."""
        import ray

        lost = (ray.exceptions.RayActorError, ray.exceptions.ObjectLostError, ray.exceptions.RaySystemError)
        self._version += 1
        holder = [ray.put(dict(weights))]
        waiting = list(range(len(todo)))[::-1]
        tried = [0] * len(todo)
        running: dict[Any, tuple[int, int]] = {}
        load = [0] * len(self.actors)
        while waiting or running:
            while waiting and min(load) < AHEAD:
                who = load.index(min(load))
                number = waiting.pop()
                running[self.actors[who].run.remote(self._version, holder, todo[number])] = (number, who)
                load[who] += 1
            done = self._answer(list(running))
            number, who = running.pop(done)
            load[who] -= 1
            try:
                result: ClosedLoopResult = ray.get(done)
            except lost as error:
                tried[number] += 1
                reason = str(error).strip().splitlines()[0]
                if tried[number] >= ATTEMPTS:
                    raise CrewError(
                        f"episodes {list(todo[number].seeds)} were lost {ATTEMPTS} times, last with: {reason}; look at "
                        "the collectors' logs in /tmp/ray, then go on with resume="
                    ) from error
                log.warning("a collector was lost (%s); its episodes are collected again", reason)
                waiting.append(number)
                if isinstance(error, ray.exceptions.ActorUnavailableError):
                    time.sleep(2.0 ** tried[number])  # it is about to come back: not all attempts in one restart
                continue
            except ray.exceptions.RayTaskError as error:
                raise CrewError(f"episodes {list(todo[number].seeds)} failed: {error.cause}") from error
            yield number, result

    def _answer(self, running: list[Any]) -> Any:
        """The first of some answers."""
        import ray

        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            done, _ = ray.wait(running, num_returns=1, timeout=LOOK_S)
            if done:
                return done[0]
            alive = sum(node["Alive"] for node in ray.nodes())
            log.info("no episodes from %d collectors for %g s; machines: %d", len(self.actors), LOOK_S, alive)
        raise CrewError(f"no collector has answered for {PATIENCE_S:g} s; see `ray status`, then go on with resume=")

    def close(self) -> None:
        """End the collectors."""
        import ray

        for actor in self.actors:
            ray.kill(actor)


@contextmanager
def crew_of(recipe: Recipe) -> Iterator[Crew | None]:
    """The collectors that a run asks for; None where the learner collects.

    Raises:
        RequestError: ray is not installed, or there is no cluster at `train.ray`.
    """
    count, address = recipe.train.collectors, recipe.train.ray
    if count == 0:
        yield None
        return
    cores = max(count, os.cpu_count() or 1)  # a collector more than there are cores still gets its turn
    with cluster(f"train.collectors={count} train.ray={address}", address, cores), closing(RayCrew(recipe)) as crew:
        yield crew
