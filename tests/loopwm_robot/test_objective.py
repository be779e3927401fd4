"""The planner's objective by configuration: costs by name, risk, and what does not fit."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from reach_spaces import reach_spaces

from envs import object_groups, observation_groups
from loopwm_robot.build import make_agent, make_env, simulator_model, spaces_of
from loopwm_robot.checkpoint import Checkpoint, Spaces
from loopwm_robot.cli.compose import compose, load
from loopwm_robot.config import EnvConfig, EvaluateCommand, ModelConfig, PlannerConfig
from loopwm_robot.errors import RequestError
from loopwm_robot.evaluation import moved, simulator_agent, untrained_agent
from loopwm_robot.models.build import build_model
from loopwm_robot.models.ensemble import EnsembleConfig
from loopwm_robot.models.simulator import SimulatorModel
from loopwm_robot.models.simulator_config import SimulatorConfig
from loopwm_robot.objective import check_objective, objective_factory, observation_layout
from loopwm_robot.schema import plain
from planners import AvoidSphere, Composite, ReachPoint, Risk, Sum, Uncertainty
from planners.terms import TERMS

FAST = PlannerConfig(horizon=3, num_samples=16, num_elites=4, iterations=1, keep_elites=2)
SPHERE = {"cost": "avoid_sphere", "of": "ee_pos", "centre": [0.5, 0.0, 0.3], "radius": 0.1, "hard": True}
UNSURE = {"cost": "uncertainty", "of": "ee_pos"}
ENSEMBLE = ModelConfig(kind="ensemble", ensemble=EnsembleConfig(members=3, hidden=8, layers=1))


def ensemble() -> Checkpoint:
    torch.manual_seed(0)
    model = build_model(ENSEMBLE, *reach_spaces().of_model).eval().requires_grad_(False)
    return Checkpoint(model, ENSEMBLE, reach_spaces(), {})


def test_columns_have_the_names_of_the_observation():
    layout = observation_layout(reach_spaces())
    assert {name: layout[name] for name in observation_groups(7)} == observation_groups(7)
    assert layout["position"] == layout["ee_pos"] and "object_pos" not in layout
    config = EnvConfig(id="LoopWM/PandaPush-v0", control_mode="cartesian_delta")
    env = make_env(config)
    layout = observation_layout(spaces_of(env, config))
    env.close()
    assert {name: layout[name] for name in object_groups(31)} == object_groups(31)
    assert layout["position"] == layout["object_pos"]
    config = EnvConfig(id="LoopWM/UR5eDoorOpen-v0", control_mode="cartesian_delta")
    env = make_env(config)
    layout = observation_layout(spaces_of(env, config))
    env.close()
    assert layout["position"] == layout["part_pos"] == slice(27, 30) and layout["travel_rate"] == slice(33, 34)
    other = Spaces("Other", "", 6, 2, 0, 0.1, groups={"cart": (0, 1), "pole": (2, 5), "hook": (3, 4)})
    assert observation_layout(other) == {"cart": slice(0, 2), "hook": slice(3, 5)}


def test_without_costs_the_objective_is_what_it_was():
    goal = torch.tensor([0.5, 0.0, 0.3])
    assert isinstance(objective_factory(reach_spaces(), FAST)(goal), Sum)
    assert isinstance(objective_factory(reach_spaces(), replace(FAST, posture_weight=0))(goal), ReachPoint)


def test_costs_stand_beside_the_objective_or_alone():
    goal = torch.tensor([0.5, 0.0, 0.3])
    both = objective_factory(reach_spaces(), replace(FAST, costs=(SPHERE,)))(goal)
    assert isinstance(both, Composite) and isinstance(both.base, Sum) and both.constrained
    assert both.terms == (AvoidSphere("ee_pos", (0.5, 0.0, 0.3), 0.1, hard=True),)
    alone = replace(FAST, objective="none", costs=({"cost": "reach", "of": "position"},), risk="cvar", risk_alpha=0.5)
    risk = objective_factory(reach_spaces(), alone)(goal)
    assert isinstance(risk, Risk) and (risk.measure, risk.alpha) == ("cvar", 0.5)
    assert isinstance(risk.objective, Composite) and risk.objective.base is None
    assert torch.equal(risk.objective.goal, goal)
    doubtful = objective_factory(reach_spaces(), replace(alone, costs=(*alone.costs, UNSURE)))(goal)
    assert isinstance(doubtful, Composite) and doubtful.terms == (Uncertainty("ee_pos"),)  # about all models
    assert isinstance(doubtful.base, Risk) and doubtful.base.objective.terms == risk.objective.terms


def test_from_the_command_line_and_back_from_its_file(tmp_path):
    costs = "[{cost: avoid_sphere, of: ee_pos, centre: [0.5, 0.0, 0.3], radius: 0.1, hard: true}]"
    overrides = [
        f"planner.costs={costs}",
        "planner.model=simulator",
        "planner.simulator.randomised=8",
        "planner.simulator.gain=0.5",
        "planner.risk=cvar",
    ]
    config = compose("evaluate", overrides, EvaluateCommand)
    assert config.planner.costs == (SPHERE,)
    assert config.planner.simulator == SimulatorConfig(randomised=8, gain=0.5)
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(plain(config)))
    assert load(file, EvaluateCommand) == config


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match=r"planner.costs\[1\].cost is 'fly'"):
        replace(FAST, costs=(SPHERE, {"cost": "fly"}))
    with pytest.raises(ValueError, match=r"planner.objective is 'none' without planner.costs"):
        replace(FAST, objective="none")
    with pytest.raises(ValueError, match=r"planner.risk is 'best', allowed none, mean, cvar, worst"):
        replace(FAST, risk="best")
    with pytest.raises(ValueError, match=r"planner.risk_alpha is 0"):
        replace(FAST, risk_alpha=0)
    with pytest.raises(ValueError, match=r"planner.simulator is set with planner.model 'learned'"):
        replace(FAST, simulator=SimulatorConfig(payload=1.0))
    for wrong, message in (
        ({"payload": 99.0}, r"planner.simulator: payload is 99.0 kg, allowed \[0, 20\]"),
        ({"randomised": -1}, r"planner.simulator.randomised is -1"),
        ({"seed": -1}, r"planner.simulator.seed is -1"),
        ({"ranges": "wide"}, r"planner.simulator.ranges is 'wide', allowed training, unseen"),
    ):
        with pytest.raises(ValueError, match=message):
            SimulatorConfig(**wrong)
    with pytest.raises(RequestError, match=r"planner.costs\[0\]: reach.of is 'hand', allowed q, .* LoopWM/PandaReach"):
        check_objective(reach_spaces(), replace(FAST, costs=({"cost": "reach", "of": "hand"},)))


@pytest.mark.parametrize("change", [{"risk": "worst"}, {"costs": (UNSURE,)}])
def test_risk_wants_several_models(change):
    config = replace(FAST, **change)
    with pytest.raises(RequestError, match=r"with a single model, allowed with several"):
        check_objective(reach_spaces(), config, "loopwm")
    with pytest.raises(RequestError, match=r"planner.simulator.randomised=8"):
        check_objective(reach_spaces(), replace(config, model="simulator"), "ensemble")
    check_objective(reach_spaces(), config, "ensemble")
    check_objective(reach_spaces(), config)  # nobody knows the model yet
    check_objective(reach_spaces(), replace(config, model="simulator", simulator=SimulatorConfig(randomised=2)))


def test_members_of_the_learned_ensemble():
    """Alone they are what they say, together their mean; a single one is never sure of less than it knows."""
    model = ensemble().model
    state = model.encode(torch.zeros(1, 31), torch.zeros(1, 3))
    trajectory = model.rollout(state, torch.rand(5, 4, 7, generator=torch.Generator().manual_seed(0)))
    parts = [member.observations() for member in trajectory.members()]
    assert len(parts) == 3 and not torch.allclose(parts[0], parts[1])
    assert torch.allclose(torch.stack(parts).mean(0), trajectory.observations(), atol=1e-5)
    assert torch.equal(trajectory.terminal().members()[1].observations(), parts[1][:, -1:])
    spread = torch.stack(parts).std(0, correction=0) / model.obs_normalizer.std
    assert torch.allclose(spread, model.disagreement(trajectory.h), atol=1e-5)


def test_planning_with_the_learned_ensemble_and_risk():
    config = replace(FAST, costs=(SPHERE, UNSURE), risk="cvar")
    agent = untrained_agent(ensemble(), config, seed=0)
    agent.reset(np.array([0.5, 0.0, 0.5], np.float32))
    agent.act(np.zeros(31, np.float32))
    assert np.isfinite(agent.last_plan.score) and agent.last_plan.feasible


def test_the_comparisons_leave_out_what_one_model_cannot_say():
    doubtful = replace(
        FAST, model="simulator", costs=(SPHERE, UNSURE), risk="worst", simulator=SimulatorConfig(randomised=2)
    )
    one = moved(doubtful, "learned")
    assert (one.model, one.costs, one.risk, one.simulator.true) == ("learned", (SPHERE,), "none", True)
    several = moved(doubtful, "learned", several=True)
    assert (several.costs, several.risk, several.simulator.true) == ((SPHERE, UNSURE), "worst", True)
    env = make_env(EnvConfig())
    agent = simulator_agent(ensemble(), replace(doubtful, model="learned", simulator=SimulatorConfig()), env, 0)
    assert type(agent.model) is SimulatorModel
    agent.model.close()
    env.close()


def test_the_page_lists_the_costs_and_its_examples_are_right():
    page = (Path(__file__).parents[2] / "docs" / "objectives.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (.*?) \|", page, re.M)
    assert {name: kind for name, kind, _ in rows} == {name: term.__name__ for name, term in TERMS.items()}
    for name, _, listed in rows:
        own = [field.name for field in fields(TERMS[name]) if field.kw_only is not True]
        assert re.findall(r"`(\w+)`", listed) == own
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.S)
    (line,) = re.findall(r"'planner.costs=(\[.*hard: true.*\])'", page)
    for costs in (yaml.safe_load(example)["costs"], yaml.safe_load(line)):
        check_objective(reach_spaces(), replace(FAST, costs=tuple(costs)))


SEEDS = range(10)
RADIUS = 0.08


def closest(env, seed: int, hard: bool) -> tuple[float, float, int]:
    """Reach from the home pose; a sphere stands half-way on the straight line to the goal.

    Returns:
        least distance of the path to its centre [m], distance to the goal at the end [m], plans that were infeasible.
    """
    home = {"q": env.unwrapped.arm.home}
    obs, info = env.reset(seed=seed, options=home)
    while info["distance"] < 3 * RADIUS:  # neither end stands in the sphere
        obs, info = env.reset(options=home)
    start, goal = obs["achieved_goal"].astype(float), obs["desired_goal"].astype(float)
    centre = (start + goal) / 2
    sphere = {**SPHERE, "centre": centre.tolist(), "radius": RADIUS}
    config = PlannerConfig(
        model="simulator", num_samples=32, num_elites=8, keep_elites=4, iterations=2, costs=(sphere,) if hard else ()
    )
    model = simulator_model(env, config.simulator)
    agent = make_agent(model, reach_spaces(), config, torch.Generator().manual_seed(seed))
    agent.reset(obs["desired_goal"])
    nearest, infeasible = np.inf, 0
    for _ in range(50):
        obs, _, _, _, info = env.step(agent.act(obs["observation"]))
        line = start + np.linspace(0, 1, 11)[:, None] * (obs["achieved_goal"] - start)
        nearest = min(nearest, float(np.linalg.norm(line - centre, axis=1).min()))
        start, infeasible = obs["achieved_goal"].astype(float), infeasible + (not agent.last_plan.feasible)
    model.close()
    return nearest, float(info["distance"]), infeasible


@pytest.mark.slow
def test_a_sphere_in_the_way_is_avoided_on_all_seeds_and_otherwise_is_not():
    env = make_env(EnvConfig())
    for seed in SEEDS:
        through, _, _ = closest(env, seed, hard=False)
        around, distance, infeasible = closest(env, seed, hard=True)
        assert through < RADIUS - 0.005, f"seed {seed}: the plain path comes no nearer than {through:.3f} m"
        assert around >= RADIUS - 1e-4, f"seed {seed}: {around:.4f} m"  # a tenth of a millimetre: float32 rounding
        assert distance < 0.05 and infeasible == 0, f"seed {seed}: {distance:.3f} m, {infeasible} infeasible plans"
    env.close()
