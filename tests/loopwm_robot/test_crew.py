"""Collectors in processes of their own: who collects, in which order, and who dies meanwhile makes no difference."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loopwm_robot.build import make_env, spaces_of
from loopwm_robot.cli.main import main
from loopwm_robot.closed_loop import ClosedLoopResult
from loopwm_robot.config import CollectConfig, EnvConfig, ModelConfig, PlannerConfig, TrainConfig
from loopwm_robot.training.crew import Collector, CrewError, Errand, OneCollector, Recipe, Weights, errands
from loopwm_robot.training.gate import GateConfig
from loopwm_robot.training.online import TrainingRun
from loopwm_robot.training.ray_crew import ATTEMPTS, RayCrew, Station, crew_of
from loopwm_robot.training.trainer import UpdateConfig

REACH = EnvConfig()
RECIPE = Recipe(
    (REACH,),
    ModelConfig(latent_dim=16, heads=2, mean_loops=2.0, max_loops=3, plan_loops=2),
    PlannerConfig(horizon=3, num_samples=16, num_elites=4, iterations=2, keep_elites=2),
    CollectConfig(episodes=2),
    TrainConfig(
        2, 5, episodes_per_round=5, chain=2, held_out=1, update=UpdateConfig(batch_size=8, sequence_length=3),
        gate=GateConfig(updates=5), collectors=2,
    ),
)  # fmt: skip


def make_run(folder: Path, crew: Any = None, recipe: Recipe = RECIPE) -> TrainingRun:
    (env, spaces), *others = [(env := make_env(config), spaces_of(env, config)) for config in recipe.environments]
    parts = (recipe.model, recipe.planner, recipe.collect, recipe.train)
    return TrainingRun(env, spaces, *parts, 0, folder, others=others, crew=crew)


def outcome(run: TrainingRun) -> dict[str, np.ndarray]:
    """Weights after a run, and all that its buffers hold."""
    found = {name: tensor.numpy() for name, tensor in run.run().model.state_dict().items()}
    for arena in run.arenas:
        found[f"{arena.name} observations"] = np.array(arena.buffer.observations)
    return found


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)


def weights_of(recipe: Recipe = RECIPE) -> Weights:
    return {k: t.numpy() for k, t in make_run(Path("unused"), recipe=recipe).weights.state_dict().items()}


class Backwards:
    """A crew that finishes the last errand first, each by a new collector."""

    def collect(self, weights: Weights, todo: Sequence[Errand]) -> Iterator[tuple[int, ClosedLoopResult]]:
        for number in reversed(range(len(todo))):
            collector = Collector(RECIPE)
            collector.load(weights)
            yield number, collector.run(todo[number])

    def close(self) -> None:
        return None


def test_a_round_is_cut_where_episodes_start_afresh() -> None:
    found = errands(2, [10, 11, 12, 13, 14], 2, 7)
    assert [(e.arena, e.seeds) for e in found] == [(a, s) for a in (0, 1) for s in ((10, 11), (12, 13), (14,))]
    assert len({e.noise for e in found}) == 6 and found == errands(2, [10, 11, 12, 13, 14], 2, 7)
    assert {e.noise for e in found}.isdisjoint(e.noise for e in errands(2, [10, 11, 12, 13, 14], 2, 8))


def test_an_errand_does_not_depend_on_what_was_run_before() -> None:
    collector, weights = Collector(RECIPE), weights_of()
    collector.load(weights)
    first, second = errands(1, [1, 2, 3], 2, 0)
    results = [collector.run(errand) for errand in (first, second, first)]
    for one, other in zip(results[0].episodes, results[2].episodes, strict=True):
        np.testing.assert_array_equal(one.action, other.action)
        np.testing.assert_array_equal(one.obs, other.obs)
    a, b = results[0].episodes
    assert np.abs(b.obs[0, :7] - a.obs[-1, :7]).max() < 0.05  # the arm starts where it was
    assert np.abs(results[1].episodes[0].obs[0, :7] - b.obs[-1, :7]).max() > 0.05
    other = replace(first, noise=first.noise + 1)
    assert np.abs(collector.run(other).episodes[0].action - a.action).max() > 0.01


def test_the_order_of_answers_makes_no_difference(tmp_path: Path) -> None:
    one = make_run(tmp_path / "one", OneCollector(Collector(RECIPE)))
    other = make_run(tmp_path / "other", Backwards())
    assert_same(outcome(one), outcome(other))
    assert len(one.buffer) == (2 + 5) * 60
    planned = [next(entry for entry in run.history if "success_rate" in entry) for run in (one, other)]
    assert planned[0]["final_distance_m_median"] == planned[1]["final_distance_m_median"]


@pytest.mark.slow
def test_one_model_for_two_environments_is_collected_for_in_both(tmp_path: Path) -> None:
    recipe = replace(RECIPE, environments=(REACH, EnvConfig("LoopWM/UR5eReach-v0")))
    run = make_run(tmp_path, OneCollector(Collector(recipe)), recipe)
    outcome(run)
    assert [len(arena.buffer) for arena in run.arenas] == [7 * 60, 7 * 60]
    assert run.arenas[1].buffer.observations.shape[1] != run.arenas[0].buffer.observations.shape[1]


def test_ray_is_asked_for_by_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    for command in ("train", "demo"):
        assert main([command, "train.collectors=2", f"out={tmp_path / 'run'}"]) == 2
        assert "pip install 'loopwm-robot[ray]'" in capsys.readouterr().err
    assert main(["train", "train.ray=auto", f"out={tmp_path / 'run'}"]) == 2
    assert "train.ray is 'auto' with train.collectors 0" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    with crew_of(replace(RECIPE, train=replace(RECIPE.train, collectors=0))) as crew:
        assert crew is None


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """What comes out where a collector in this process does everything."""
    return outcome(make_run(tmp_path_factory.mktemp("alone"), OneCollector(Collector(RECIPE))))


@pytest.mark.slow
def test_collectors_that_are_killed_come_back(tmp_path: Path, alone: dict[str, np.ndarray]) -> None:
    ray = pytest.importorskip("ray")
    with crew_of(RECIPE) as crew:
        assert isinstance(crew, RayCrew)
        pids = ray.get([actor.pid.remote() for actor in crew.actors])
        killer = threading.Thread(target=lambda: [(time.sleep(0.3), os.kill(pid, signal.SIGKILL)) for pid in pids])
        collect = crew.collect

        def harassed(weights: Weights, todo: Sequence[Errand]) -> Iterator[tuple[int, ClosedLoopResult]]:
            killer.start()
            return collect(weights, todo)

        crew.collect = harassed  # type: ignore[method-assign]
        assert_same(outcome(make_run(tmp_path, crew)), alone)
        killer.join()
        after = ray.get([actor.pid.remote() for actor in crew.actors])
    assert set(after).isdisjoint(pids)
    assert not ray.is_initialized()


@pytest.mark.slow
def test_machines_may_come_and_go(tmp_path: Path, alone: dict[str, np.ndarray]) -> None:
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        recipe = replace(RECIPE, train=replace(RECIPE.train, ray=cluster.address))
        with crew_of(recipe) as crew:
            assert isinstance(crew, RayCrew)
            collect = crew.collect

            def unplugged(weights: Weights, todo: Sequence[Errand]) -> Iterator[tuple[int, ClosedLoopResult]]:
                for i, found in enumerate(collect(weights, todo)):
                    if i == 0:
                        cluster.remove_node(nodes[0], allow_graceful=False)
                        cluster.add_node(num_cpus=1)
                    yield found

            crew.collect = unplugged  # type: ignore[method-assign]
            assert_same(outcome(make_run(tmp_path, crew, recipe)), alone)
    finally:
        cluster.shutdown()


class Deadly(Station):
    """A collector that dies of every errand."""

    def run(self, version: int, weights: list[Any], errand: Errand) -> ClosedLoopResult:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class Broken(Station):
    """A collector whose environment breaks."""

    def run(self, version: int, weights: list[Any], errand: Errand) -> ClosedLoopResult:
        raise ZeroDivisionError("the arm fell off")


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "text"), [(Deadly, f"were lost {ATTEMPTS} times"), (Broken, "the arm fell off")])
def test_what_cannot_be_collected_ends_the_run(kind: type, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setattr("loopwm_robot.training.ray_crew.Station", kind)
    with crew_of(RECIPE) as crew, pytest.raises(CrewError, match=text):
        assert crew is not None
        list(crew.collect(weights_of(), errands(1, [1, 2, 3], 2, 0)))


@pytest.mark.slow
def test_the_command_collects_on_ray_and_goes_on_where_it_was(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    small = ["model=nano", "planner=cem_fast", "collect.episodes=2", "train.rounds=2", "train.updates_per_round=5"]
    small += ["train.held_out=1", "train.episodes_per_round=4", "train.chain=1", "train.update.batch_size=8"]
    found = []
    for count in (1, 2):
        out = tmp_path / str(count)
        assert main(["train", *small, f"train.collectors={count}", "train.gate.updates=5", f"out={out}"]) == 0
        found.append((out / "checkpoint.safetensors").read_bytes()[-4000:])
    assert found[0] == found[1]
    missing = ["train", *small, "train.collectors=1", "train.ray=127.0.0.1:1", f"out={tmp_path / 'none'}"]
    assert main(missing) == 2
