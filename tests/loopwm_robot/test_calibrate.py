"""Calibration on held-out data: thresholds within an error budget, an alarm that normal states seldom raise."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import gymnasium as gym
import numpy as np
import pytest
import torch
from marks import slow_but
from point_env import PointEnv

from loopwm_robot.config import ModelConfig
from loopwm_robot.data.buffer import ReplayBuffer
from loopwm_robot.data.collect import ExplorationPolicy, run_episode
from loopwm_robot.models.build import build_model, make_exit_rule
from loopwm_robot.models.loop_control import Converged, Doubling, FixedDepth, Gated
from loopwm_robot.models.loopwm import LoopWM
from loopwm_robot.training.calibrate import Thresholds, calibrate_exits, calibrate_monitor, cheapest, exit_names
from loopwm_robot.training.gate import GateConfig, fit_exit_gate
from loopwm_robot.training.metrics import Starts, imagine, normalised_rmse
from loopwm_robot.training.trainer import UpdateConfig, WorldModelTrainer
from loopwm_robot.types import Episode, LatentState

SMALL = ModelConfig(latent_dim=16, heads=2, mean_loops=3, max_loops=4)
HORIZONS = (1, 5)


class ScaledPoint(PointEnv):
    """The point with actions of another strength than the model knows."""

    def __init__(self, steps: int, scale: float) -> None:
        super().__init__(steps)
        self.scale = scale

    def step(self, action):
        before = self.x
        super().step(action)
        self.x = before + self.scale * (self.x - before)
        return self._obs(), 0.0, False, self.t >= self.steps, self._info()


def record(seed: int, count: int, steps: int = 30, env: gym.Env | None = None) -> list[Episode]:
    policy = ExplorationPolicy(2, np.random.default_rng(seed))
    return [run_episode(env or PointEnv(steps), policy, 1000 * seed + i)[0] for i in range(count)]


@cache
def trained(config: ModelConfig) -> dict[str, torch.Tensor]:
    """Weights after 200 updates."""
    torch.manual_seed(0)
    model = build_model(config, 3, 2, 2, 0.1)
    buffer, rng = ReplayBuffer(2000, 3, 2, 2), np.random.default_rng(0)
    for episode in record(1, 40):
        buffer.add(episode)
    generator = torch.Generator().manual_seed(0)
    trainer = WorldModelTrainer(model, UpdateConfig(32, 4), 200, rng, generator, slice(0, 2))
    trainer.fit_normalizers(buffer)
    for _ in range(200):
        trainer.update(buffer)
    fit_exit_gate(model, buffer, GateConfig(updates=20, batch_size=64), torch.ones(3), rng)
    return model.state_dict()


def make(**changes: object) -> LoopWM:
    config = replace(SMALL, **changes)
    model = build_model(config, 3, 2, 2, 0.1)
    model.load_state_dict(trained(config))
    return model.eval()


@torch.inference_mode()
def error_of(model: LoopWM, episodes: list[Episode], rule) -> tuple[float, float]:
    """Mean normalised error at 1 and 5 steps, and mean loops."""
    starts = Starts.of(episodes, 5, 5, model.context)
    trajectory = imagine(model, starts, rule)
    rmse = normalised_rmse(trajectory.observations(), starts.truth, model.obs_normalizer.std)
    return float(rmse[[0, 4]].mean()), float(trajectory.loops.double().mean())


@pytest.mark.parametrize(
    "changes", slow_but([{}], [{}, {"form": "paper"}, {"form": "step_consistent"}, {"context": 3}]), ids=str
)
def test_thresholds_keep_the_error_budget(changes):
    model, episodes = make(**changes), record(2, 6)
    report = calibrate_exits(model, episodes, budget=0.02)
    assert set(report) == set(exit_names(model)) == set(model.exit_thresholds)
    fixed = [error_of(model, episodes, FixedDepth(t))[0] for t in range(1, 5)]
    for name, about in report.items():
        rule = make_exit_rule(name, model.exit_thresholds[name], 4, model)
        error, loops = error_of(model, episodes, rule)
        assert about["error"] == pytest.approx(error, rel=1e-5) and about["mean_loops"] == pytest.approx(loops)
        assert about["reference_error"] == pytest.approx(min(fixed), rel=1e-5)
        assert about["reference_loops"] == 1 + int(np.argmin(fixed))
        assert about["met"] == (error <= 1.02 * min(fixed) * (1 + 1e-6))
    assert any(about["met"] for about in report.values())


def test_chunks_have_thresholds_of_their_own():
    model, episodes = make(form="step_consistent"), record(2, 6)
    single = calibrate_exits(model, episodes, budget=0.02)["doubling"]
    chunked = calibrate_exits(model, episodes, budget=0.02, horizons=(1, 2), chunk=3)["doubling"]
    assert chunked["threshold"] == model.exit_thresholds["doubling"] != single["threshold"]
    starts = Starts.of(episodes, 6, 5)
    truth = starts.after(3).truth
    assert torch.equal(truth, starts.truth[:, [2, 5]])
    rule = make_exit_rule("doubling", chunked["threshold"], 4, model)
    for chosen, key in ((rule, "error"), (FixedDepth(int(chunked["reference_loops"])), "reference_error")):
        predicted = imagine(model, starts, chosen, chunk=3).observations()
        rmse = normalised_rmse(predicted, truth, model.obs_normalizer.std)
        assert chunked[key] == pytest.approx(float(rmse.mean()), rel=1e-5)


def test_a_generous_budget_costs_the_fewest_loops_and_a_smaller_one_never_less():
    """With any error accepted every rule stops as soon as it can."""
    model, episodes = make(), record(2, 6)
    free = calibrate_exits(model, episodes, budget=1e9)
    assert {name: about["mean_loops"] for name, about in free.items()} == {
        "converged": 1.0,
        "second_order": 2.0,
        "gate": 1.0,
    }
    loops = [calibrate_exits(model, episodes, budget=b)["converged"]["mean_loops"] for b in (0.0, 0.05, 0.5)]
    assert loops == sorted(loops, reverse=True)


def test_a_rule_that_misses_the_budget_takes_its_lowest_error_and_says_so():
    """A gate that says the same everywhere can stop at once or never; here both are worse than the best fixed depth."""
    model, episodes = make(), record(2, 6)
    with torch.no_grad():
        model.gate.weight.zero_()
        model.gate.bias.zero_()
    fixed = {t: error_of(model, episodes, FixedDepth(t))[0] for t in range(1, 5)}
    best = min(fixed, key=lambda t: fixed[t])
    assert best not in (1, 4), "choose another seed: the test needs a best depth in between"
    about = calibrate_exits(model, episodes, budget=0.0)["gate"]
    expected = min((1, 4), key=lambda t: fixed[t])
    assert about["met"] == 0 and about["threshold"] == model.exit_thresholds["gate"]
    assert about["threshold"] == 0 if expected == 1 else about["threshold"] >= 0.5  # g is 0.5 everywhere
    assert about["mean_loops"] == expected and about["error"] == pytest.approx(fixed[expected], rel=1e-5)


@pytest.mark.parametrize(
    "form, rule",
    [
        pytest.param("paper", Converged(0.5, 1, 4), marks=pytest.mark.slow),
        pytest.param("paper", FixedDepth(2), marks=pytest.mark.slow),
        pytest.param("step_consistent", Doubling(0.5, 4), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_the_rule_in_use_takes_its_threshold(form, rule):
    model = make(form=form)
    model.exit_rule = rule
    calibrate_exits(model, record(2, 4))
    names = {Converged: "converged", Doubling: "doubling"}
    expected = rule if type(rule) is FixedDepth else replace(rule, threshold=model.exit_thresholds[names[type(rule)]])
    if isinstance(expected, Doubling):  # with the measure that it was calibrated for
        expected = replace(expected, measure=model.disagreement)
    assert model.exit_rule == expected
    assert expected != rule or type(rule) is FixedDepth


def test_the_gate_in_use_keeps_its_gate():
    model = make()
    model.exit_rule = Gated(0.9, 1, 4, model.gate_logit)
    calibrate_exits(model, record(2, 4))
    assert model.exit_rule.threshold == model.exit_thresholds["gate"] and model.exit_rule.gate == model.gate_logit


def test_models_without_a_choice_of_depth_get_nothing():
    model = build_model(replace(SMALL, kind="untied"), 3, 2, 2, 0.1)
    assert calibrate_exits(model, record(2, 2)) == {} == model.exit_thresholds


def test_calibration_changes_no_weight_and_is_deterministic():
    model, episodes = make(), record(2, 4)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    first = calibrate_exits(model, episodes)
    assert calibrate_exits(model, episodes) == first
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_search_takes_the_loosest_that_is_accepted():
    """Also of an error that falls, rises and falls again; nothing accepted: the lowest; all accepted: q = 1."""
    for errors, accepted, expected in (
        (lambda q: 1.0 if q > 0.6 else 0.1, 0.2, 0.6),
        (lambda q: 0.1 if 0.7 < q < 0.8 or q == 0 else 1.0, 0.2, 0.8),
        (lambda q: 1.0 + q, 0.5, 0.0),
        (lambda q: 1.0 + abs(q - 0.25), 0.5, 0.25),
        (lambda q: 0.0, 0.5, 1.0),
        (lambda q: 1.0 if q > 0 else 0.1, 0.2, 0.0),
    ):
        q, error, loops = cheapest(lambda q, errors=errors: (errors(q), 10 * (1 - q)), accepted)
        assert q == pytest.approx(expected, abs=1 / 128 + 1e-9) and error == errors(q) and loops == 10 * (1 - q)


def test_thresholds_run_from_always_to_never():
    statistic = torch.linspace(0.1, 0.9, 101)
    below, above = Thresholds(statistic, False), Thresholds(statistic, True)
    assert below.at(0) == 0 and below.at(1) > 0.9 and below.at(0.25) == pytest.approx(0.3, abs=1e-5)
    assert above.at(0) == 1 and above.at(1) == 0 and above.at(0.25) == pytest.approx(0.7, abs=1e-5)


def test_short_episodes_are_used_as_far_as_they_go():
    model = make()
    report = calibrate_exits(model, record(2, 4, steps=3))
    assert report["converged"]["error"] > 0
    assert len(calibrate_monitor(model, record(2, 4, steps=3), steps=20)) == 3


def test_bad_requests_are_refused():
    model = make()
    with pytest.raises(ValueError, match=r"error budget is -0\.1, allowed >= 0"):
        calibrate_exits(model, record(2, 2), budget=-0.1)
    with pytest.raises(ValueError, match="no episode has 5 steps"):
        calibrate_exits(model, [])
    with pytest.raises(ValueError, match="monitored steps are 65, allowed 1 to 64"):
        calibrate_monitor(model, record(2, 2), steps=65)
    with pytest.raises(ValueError, match="no episode has 20 steps"):
        calibrate_monitor(model, [])


# -- monitor --------------------------------------------------------------------------------------


def scores(model: LoopWM, episodes: list[Episode], steps: int) -> torch.Tensor:
    """Score of the imagined state after 1..steps steps from every start (N, steps)."""
    starts = Starts.of(episodes, steps, 1, model.context)
    h = imagine(model, starts).h
    with torch.inference_mode():
        each = [model.monitor(LatentState(h[:, k]), starts.truth[:, k], k + 1) for k in range(steps)]
    return torch.stack(each, 1)


@pytest.mark.parametrize("changes", slow_but([{}], [{}, {"form": "step_consistent"}, {"context": 3}]), ids=str)
def test_one_normal_state_in_a_hundred_raises_an_alarm(changes):
    """On episodes that nobody saw before; 0.3 to 2 %, since neighbouring starts depend on one another."""
    model, steps = make(**changes), 10
    levels = calibrate_monitor(model, record(2, 200), steps)
    assert (levels > 0).all() and (levels.diff() >= 0).all()
    assert torch.equal(model.monitoring.level[:steps], levels)
    alarms = scores(model, record(3, 200), steps) > 1
    assert 0.003 <= alarms.double().mean() <= 0.02


@pytest.mark.parametrize("scale", [-1.0, 4.0])
def test_the_alarm_goes_off_when_the_dynamics_changes(scale):
    """Actions that move the point the other way, or four times as far: most rollouts raise it within five steps."""
    model, steps = make(), 5
    calibrate_monitor(model, record(2, 100), steps)
    normal, changed = (
        scores(model, record(3, 40, env=env), steps).amax(1) for env in (PointEnv(30), ScaledPoint(30, scale))
    )
    assert (normal > 1).double().mean() < 0.05 and (changed > 1).double().mean() > 0.6
    assert normal.median() < 0.5 and changed.median() > 1.3


def test_every_looped_model_has_a_monitor():
    model = build_model(replace(SMALL, kind="untied"), 3, 2, 2, 0.1)
    calibrate_monitor(model, record(2, 3), 4)
    assert (model.monitoring.level > 0).all()
