"""Planner-made episodes by several collectors: what each is asked for, and how their answers become one result.

A round is cut into errands, each some episodes in a row with random numbers of their own. So the answer to an errand
does not depend on who runs it or when: any number of collectors gives the same result, and one that dies is replaced
by another that runs its errand again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from ..build import make_agent, make_env, spaces_of
from ..closed_loop import ClosedLoopResult
from ..config import CollectConfig, EnvConfig, ModelConfig, PlannerConfig, TrainConfig
from ..data.collect import ExplorationPolicy
from ..threads import torch_threads
from .arena import Player, make_models

Weights = Mapping[str, np.ndarray]
"""All that is learned, and the scaling with it, by its name in `state_dict`."""


class CrewError(RuntimeError):
    """Collectors that are lost, or that fail again and again."""


@dataclass(frozen=True)
class Recipe:
    """What a collector is made from: settings that travel to its process.

    Attributes:
        environments: of the run.
        model, planner, collect, train: settings of the run.
    """

    environments: tuple[EnvConfig, ...]
    model: ModelConfig
    planner: PlannerConfig
    collect: CollectConfig
    train: TrainConfig


@dataclass(frozen=True)
class Errand:
    """Episodes in a row for one collector.

    Attributes:
        arena: number of the environment.
        seeds: of the resets.
        noise: seed of everything else that is random.
    """

    arena: int
    seeds: tuple[int, ...]
    noise: int


def errands(arenas: int, seeds: Sequence[int], chain: int, noise: int) -> list[Errand]:
    """Cut a round into errands at the episodes that start afresh.

    Args:
        arenas: number of environments; each gets all episodes.
        seeds: of the resets of a round.
        chain: episodes in a row that start where the one before ended.
        noise: of the round.
    """
    parts = [tuple(seeds[i : i + chain]) for i in range(0, len(seeds), chain)]
    about = [(arena, part) for arena in range(arenas) for part in range(len(parts))]
    numbers = np.random.SeedSequence(noise).generate_state(len(about))
    return [Errand(arena, parts[part], int(number)) for (arena, part), number in zip(about, numbers, strict=True)]


def joined(results: Sequence[ClosedLoopResult]) -> ClosedLoopResult:
    """One result of several, in their order."""
    return ClosedLoopResult(
        np.concatenate([result.success for result in results]),
        np.concatenate([result.final_distance for result in results]),
        np.concatenate([result.plan_time for result in results]),
        results[0].ctrl_dt,
        [episode for result in results for episode in result.episodes],
    )


class Collector:
    """Plans in its own environments with the weights that it is given, on the CPU.

    Args:
        recipe: settings of the run.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._train, collect = recipe.train, recipe.collect
        envs = [make_env(config) for config in recipe.environments]
        spaces = [spaces_of(env, config) for env, config in zip(envs, recipe.environments, strict=True)]
        views, shared = make_models(recipe.model, spaces, torch.device("cpu"))
        self._weights: torch.nn.Module = views[0] if shared is None else shared
        self._generator, self._players = torch.Generator(), []
        for env, space, model in zip(envs, spaces, views, strict=True):
            explorer = ExplorationPolicy(space.nu, np.random.default_rng(), collect.correlation, collect.scale)
            agent = make_agent(model.eval(), space, recipe.planner, self._generator)
            self._players.append(Player(env, space, agent, explorer))

    def load(self, weights: Weights) -> None:
        """Plan with these weights from now on."""
        self._weights.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in weights.items()})

    def run(self, errand: Errand) -> ClosedLoopResult:
        """The episodes of an errand; the same for the same weights, whatever was run before."""
        player = self._players[errand.arena]
        self._generator.manual_seed(errand.noise)
        player.explorer.rng = np.random.default_rng(errand.noise)
        with torch_threads(1):
            return player.play(errand.seeds, self._train)


class Crew(Protocol):
    """Several collectors."""

    def collect(self, weights: Weights, todo: Sequence[Errand]) -> Iterator[tuple[int, ClosedLoopResult]]:
        """Run errands with some weights.

        Args:
            weights: to plan with.
            todo: the errands.

        Yields:
            number of an errand and its result, in the order in which they are finished.

        Raises:
            CrewError: an errand cannot be done.
        """
        ...

    def close(self) -> None:
        """Let the collectors go."""
        ...


class OneCollector:
    """A crew of one, in this process: what it collects is what any other crew would."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def collect(self, weights: Weights, todo: Sequence[Errand]) -> Iterator[tuple[int, ClosedLoopResult]]:
        self._collector.load(weights)
        for number, errand in enumerate(todo):
            yield number, self._collector.run(errand)

    def close(self) -> None:
        return None
