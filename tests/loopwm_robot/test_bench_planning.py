"""The planning benchmark in tiny form: its problems, what it compares, and what it claims."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from marks import slow_but

from loopwm_robot.bench import planning, shelf
from loopwm_robot.bench.common import Claim
from loopwm_robot.bench.planning import closed_loop, quality, solvers, tdmpc2, timing
from loopwm_robot.bench.planning.config import PARTS, PlanningBench
from loopwm_robot.bench.planning.problems import lqr, nothing, obstacles
from loopwm_robot.cli.main import main
from loopwm_robot.config import ModelConfig
from planners import ALGORITHMS

TINY = ["seeds=[0,1]", "candidates=[8]", "repeats=2", "plans=2", "evaluations=[100]", "deadlines=[0.5]"]
TINY += ["deadline_plans=4", "fixed_plans=3", "busy=false", "model=nano"]
TINY += ["rates=[20]", "kinds=[loopwm]", "train_seeds=[0]", "train_episodes=1", "train_rounds=1", "train_updates=2"]
TINY += ["episodes=1", "depth_episodes=1"]


@pytest.fixture
def quick_tuning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "TUNING", (101,))
    monkeypatch.setattr(quality, "ITERATIONS", (1,))


def ours(name: str) -> solvers.Solver:
    return next(solver for solver in solvers.OURS if solver.name == name)


@pytest.mark.parametrize("seed", range(3))
def test_the_optimum_of_the_linear_quadratic_problem_is_exact(seed: int) -> None:
    """Costs of a point that Newton's step leads to, as the cost is a quadratic; it lies within the bounds."""
    problem = lqr(seed)
    size = problem.horizon * problem.nu

    def cost(flat: torch.Tensor) -> torch.Tensor:
        return -problem.score(flat.reshape(1, problem.horizon, problem.nu))[0]

    zero = torch.zeros(size)
    slope = torch.autograd.functional.jacobian(cost, zero)
    curvature = torch.autograd.functional.hessian(cost, zero)
    best = torch.linalg.solve(curvature, -slope)
    assert float(cost(best)) == pytest.approx(problem.optimum, rel=1e-4)
    assert 0.3 < best.abs().max() < 0.95
    assert not torch.equal(problem.x0, lqr(seed + 1).x0)


@pytest.mark.parametrize("seed", range(4))
def test_the_straight_way_through_the_obstacle_field_is_barred_and_start_and_goal_are_free(seed: int) -> None:
    problem = obstacles(seed)
    assert problem.inside is not None
    line = torch.stack([torch.linspace(-1, 1, 201), torch.zeros(201)], -1)
    barred = problem.inside(line)
    assert barred.any() and not barred[0] and not barred[-1]
    free, blocked = torch.zeros(1, 4), torch.zeros(1, 4)
    free[0, 1] = -0.7 if seed % 2 else 0.7
    blocked[0, 1] = 0.04 * (1 if seed % 2 else -1)
    assert problem.cost(blocked, torch.zeros(1, 2)) > problem.cost(free, torch.zeros(1, 2))
    assert torch.equal(obstacles(seed).x0, problem.x0)


def test_scores_are_sums_along_the_states() -> None:
    problem, actions = obstacles(0), torch.rand(3, 20, 2) - 0.5
    states = problem.states(actions)
    assert states.shape == (3, 20, 4)
    assert torch.allclose(problem.score(actions), -problem.cost(states, actions).sum(1), rtol=1e-5)


def test_every_algorithm_takes_part() -> None:
    assert {solver.name for solver in solvers.OURS} == set(ALGORITHMS)


@pytest.mark.parametrize("name", [solver.name for solver in solvers.OURS])
def test_ours_plan_with_the_number_of_evaluations_that_is_asked_for(name: str) -> None:
    counted = []
    problem = lqr(0)
    watched = timing.replace(problem, cost=lambda x, u: counted.append(len(x)) or problem.cost(x, u))
    solver = ours(name)
    first = solver.make(watched, 20, 3, solver.grid[-1], 0)()
    assert first.shape == (8, 2) and first.abs().max() <= 1
    evaluations = sum(counted) / problem.horizon
    assert evaluations == 60 if name != "icem" else 57 <= evaluations <= 60  # rounded in each iteration
    assert torch.equal(first, solver.make(problem, 20, 3, solver.grid[-1], 0)())


@pytest.mark.parametrize("name", ["pytorch_mppi", "pytorch_icem"])
@pytest.mark.parametrize("make", [lqr, obstacles])
def test_others_plan_as_well_and_leave_the_global_generator_alone(name: str, make: Any) -> None:
    solver = {"pytorch_mppi": solvers.mppi_peer, "pytorch_icem": solvers.icem_peer}[name]()
    counted: list[int] = []
    problem = make(0)
    watched = timing.replace(problem, dynamics=lambda x, u: counted.append(len(x)) or problem.dynamics(x, u))
    before = torch.get_rng_state()
    with solvers.seeded(0):
        plan = solver.make(watched, 40, 3, solver.grid[1], 0)
        actions = plan()
    assert actions.shape == (problem.horizon, 2) and actions.abs().max() <= 1
    assert sum(counted) == 3 * 40 * problem.horizon
    assert torch.equal(torch.get_rng_state(), before)
    costs = [quality.plan_cost(solver, problem, 100, 1000, solver.grid[1], 0) for _ in range(2)]
    assert max(costs) < -float(problem.score(torch.zeros(1, problem.horizon, 2)))
    assert costs[0] == costs[1] or name == "pytorch_icem"  # whose noise has no seed


def test_peers_that_are_not_installed_are_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_mppi", None)
    monkeypatch.setitem(sys.modules, "pytorch_icem", None)
    found, versions = solvers.available()
    assert found == list(solvers.OURS) and set(versions.values()) == {"not installed"}
    text = " ".join(planning.notes(versions))
    assert "pip install pytorch-mppi pytorch-icem" in text and "none installed" in text


def test_time_inside_the_model_is_no_overhead(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that only the problem's functions move, nothing is left for the planner."""
    now = 0.0

    def slow(x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        nonlocal now
        now += 0.25
        return x

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now)
    monkeypatch.setattr(timing, "nothing", lambda nu, horizon: timing.replace(nothing(nu, horizon), dynamics=slow))
    for name in ("cem", "gradient"):
        assert timing.overhead_times(ours(name), 8, 3, 0) == pytest.approx([0, 0, 0], abs=1e-9)
    assert now == 2 * (timing.WARM_UP + 3) * timing.ITERATIONS * timing.HORIZON * 0.25


def test_the_setting_is_chosen_on_other_seeds_than_those_reported() -> None:
    assert not set(quality.TUNING) & set(PlanningBench().seeds)
    made = []

    def make(seed: int) -> Any:
        made.append(seed)
        return lqr(seed)

    chosen = quality.tuned(ours("predictive_sampling"), make, 20, 100)
    assert chosen in ours("predictive_sampling").grid and made == list(quality.TUNING)
    assert quality.tuned(ours("random_shooting"), make, 20, 100) == solvers.STD


@pytest.mark.slow
def test_all_parts_are_measured(tmp_path: Path, quick_tuning: None) -> None:
    parts = "parts=[overhead,share,quality,deadline]"
    assert main(["bench", "planning", *TINY, parts, f"runs={tmp_path}/runs", f"out={tmp_path}"]) == 0
    values = json.loads((tmp_path / "planning.json").read_text(encoding="utf-8"))
    tables: dict[str, list[dict[str, Any]]] = {}
    for row in values["rows"]:
        tables.setdefault(row["table"].split(",")[0].split(":")[0], []).append(row)
    names = ["overhead of one plan", "planner's share of a plan with LoopWM", "linear-quadratic", "obstacle field"]
    assert list(tables) == [*names, "receding horizon", "deadlines", "details"]
    assert all(row["overhead_s_median"] > 0 for row in tables["overhead of one plan"])
    assert 0 < tables["planner's share of a plan with LoopWM"][0]["planner_fraction"] < 1
    for name in ("linear-quadratic", "obstacle field"):
        lines = tables[name]
        assert set(ALGORITHMS) <= {row["planner"] for row in lines}
        assert [row["median"] for row in lines] == sorted(row["median"] for row in lines)
        assert all(-1e-4 < row["least"] <= row["median"] <= row["largest"] for row in lines)
    kept, fixed = tables["deadlines"]
    assert (kept["planner"], kept["plans"], fixed["plans"]) == ("with deadline", 3, 2)
    assert kept["plans_not_valid"] == 0 and kept["plan_time_s_p50"] <= kept["plan_time_s_max"]
    assert [row["part"] for row in tables["details"]] == ["overhead", "share", "quality", "deadline"]
    claims = [claim["claim"].split(":")[0] for claim in values["claims"]]
    assert claims[claims.index("cem") :][:3] == ["cem", "icem", "mppi"]
    assert "late plans" in claims[-2] and "without a valid" in claims[-1]
    page = (tmp_path / "planning.md").read_text(encoding="utf-8")
    assert "images/planning_planners.png" in page and (tmp_path / "images" / "planning_planners.png").is_file()


@pytest.mark.parametrize("part", slow_but(["overhead"], PARTS))
def test_a_part_can_be_measured_alone(part: str, tmp_path: Path, quick_tuning: None) -> None:
    assert main(["bench", "planning", *TINY, f"parts=[{part}]", f"runs={tmp_path}/runs", f"out={tmp_path}"]) == 0
    values = json.loads((tmp_path / "planning.json").read_text(encoding="utf-8"))
    assert len(values["rows"]) > (part != "tdmpc2")  # where each unit comes from
    assert len(values["figures"]) == (part in ("overhead", "quality", "rate"))


def test_trained_models_are_used_again_and_look_as_far_ahead_at_every_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PlanningBench(
        kinds=("one_pass",), rates=(10,), train_seeds=(3,), train_episodes=1, train_rounds=1, train_updates=2,
        episodes=1, runs=str(tmp_path), model=ModelConfig(latent_dim=16),
    )  # fmt: skip
    free, kept = closed_loop.rate_rows(config, "one_pass", 10, 3)
    assert (free["deadline_s"], kept["deadline_s"]) == ("none", pytest.approx(0.08))
    assert free["mean_horizon"] == 3 and 2 <= kept["mean_horizon"] <= 3 and free["mean_iterations"] == 3
    assert (tmp_path / "one_pass_10hz_seed3" / "checkpoint.safetensors").is_file()
    monkeypatch.setattr(closed_loop, "TrainingRun", None)  # nothing is trained any more
    again, _ = closed_loop.rate_rows(config, "one_pass", 10, 3)
    assert again["success"] == free["success"] and again["final_distance_m_p50"] == free["final_distance_m_p50"]


def test_claims_on_closed_loops_compare_seed_with_seed() -> None:
    def row(seed: int, rate: float, deadline: object, success: float) -> dict[str, object]:
        return {"model": "loopwm", "seed": seed, "control_rate_hz": rate, "deadline_s": deadline, "success": success}

    rows = [row(0, 20, "none", 1.0), row(0, 20, 0.04, 0.9), row(1, 20, "none", 0.8), row(1, 20, 0.04, 0.8)]
    (claim,) = closed_loop.rate_claims(rows)  # type: ignore[arg-type]
    assert claim.value == pytest.approx(0.9) and not claim.met
    same = {"full_depth_loops": 12, "seed": 0, "episodes": 100}
    depth = [
        {**same, "depth": d, "success": s, "block_applications": n, "plan_time_s_p50": t}
        for d, s, n, t in (("full", 0.9, 768.0, 0.02), ("staged", 0.88, 256.0, 0.012))
    ]
    applied, faster, lost = closed_loop.depth_claims(depth)  # type: ignore[arg-type]
    assert applied.value == pytest.approx(3) and applied.met and not faster.met and lost.met


def test_another_process_can_be_kept_busy_and_is_gone_afterwards() -> None:
    import multiprocessing

    with timing.busy_process():
        assert len(multiprocessing.active_children()) == 1
    assert not multiprocessing.active_children()


def test_claims_compare_like_with_like() -> None:
    times = {("mppi", 512): [[1.0], [3.0]], ("pytorch_mppi", 512): [[2.0], [2.0]], ("icem", 512): [[1.0], [1.0]]}
    (claim,) = planning.overhead_claims({key: np.array(value) for key, value in times.items()})
    assert (claim.value, claim.spread, claim.met) == (1.5, 1.0, False)
    late = [
        {"planner": planner, "machine": machine, "late_fraction": share, "plans_not_valid": 0}
        for planner, machine, share in (
            ("with deadline", timing.IDLE, 0.0005),
            ("with deadline", timing.BUSY, 0.5),
            ("fixed iterations", timing.IDLE, 1.0),
        )
    ]
    share, valid = planning.deadline_claims(late)  # type: ignore[arg-type]
    assert share.value == pytest.approx(0.05) and share.met and valid.met


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("parts=[speed]", "parts has 'speed', allowed overhead, share, quality, tdmpc2, deadline, rate, depth"),
        ("full_depths=[1]", "full_depths is [1], allowed one or more, each >= 2"),
        ("tdmpc2=nowhere", "tdmpc2 is 'nowhere', which has no tdmpc2/tdmpc2.py, allowed a checkout of"),
        ("seeds=[1,1]", "seeds is [1, 1], allowed one or more different ones"),
        ("seeds=[]", "seeds is []"),
        ("repeats=0", "repeats is 0, allowed >= 1"),
        ("candidates=[4]", "candidates is [4], allowed one or more, each >= 8"),
        ("evaluations=[]", "evaluations is []"),
        ("deadlines=[0]", "deadlines is [0.0]"),
        ("rates=[0.5]", "rates is [0.5] Hz, allowed one or more, each in [1, 500] Hz"),
        ("kinds=[mlp]", "kinds has 'mlp', allowed loopwm"),
        ("train_seeds=[]", "train_seeds is []"),
        ("episodes=0", "episodes is 0, allowed >= 1"),
        ("deadline_plans=1", "deadline_plans is 1, allowed >= 2"),
    ],
)
def test_a_wrong_request_gives_one_line(change: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "planning", change]) == 2
    assert line in capsys.readouterr().err


def test_finished_units_are_used_again_by_the_same_code_with_the_same_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def make() -> shelf.Measured:
        made.append(len(made))
        return [{"table": "t", "n": len(made)}], [Claim("c", 1.0, 2.0, "lower")], ["note"]

    monkeypatch.setattr(shelf, "busy_cores", lambda span: 0.0)
    monkeypatch.setattr(shelf, "commit", lambda: "one")
    kept = shelf.Shelf(tmp_path)
    first = kept.measure("rate", "a", {"seeds": (0,)}, make)
    assert kept.measure("rate", "a", {"seeds": (0,)}, make) == first and len(made) == 1
    assert kept.all("rate") == [first] and kept.all("depth") == []
    assert kept.measure("rate", "a", {"seeds": (1,)}, make).rows == [{"table": "t", "n": 2}]
    monkeypatch.setattr(shelf, "commit", lambda: "two")
    assert shelf.Shelf(tmp_path).measure("rate", "a", {"seeds": (1,)}, make).commit == "two" and len(made) == 3
    (tmp_path / "rate_a.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"rate_a.json is not what the benchmark wrote .* remove it"):
        kept.all("rate")


def test_an_archive_carries_finished_units_to_another_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def make() -> shelf.Measured:
        made.append("")
        return [{"table": "t", "n": len(made)}], [Claim("c", 1.0, 2.0, "lower")], ["note"]

    monkeypatch.setattr(shelf, "busy_cores", lambda span: 0.0)
    monkeypatch.setattr(shelf, "commit", lambda: "one")
    monkeypatch.setattr(shelf, "cpu_model", lambda: "this")
    archive = tmp_path / "units.jsonl"
    before = shelf.Shelf(tmp_path / "a").measure("rate", "a", {}, make)
    here = shelf.Shelf(tmp_path / "a", archive=str(archive))
    assert here.measure("rate", "a", {}, make) == before and here.measure("depth", "b", {}, make).rows[0]["n"] == 2
    there = shelf.Shelf(tmp_path / "b", archive=str(archive))
    assert there.all("rate") == [before] and [unit.name for unit in there.all("depth")] == ["b"]
    assert there.measure("rate", "a", {}, make) == before and not (tmp_path / "b").exists() and len(made) == 2
    monkeypatch.setattr(shelf, "commit", lambda: "two")
    there = shelf.Shelf(tmp_path / "b", archive=str(archive))
    assert there.measure("depth", "b", {}, make, any_commit=True).commit == "one" and len(made) == 2
    assert there.measure("rate", "a", {}, make).commit == "two" and len(made) == 3
    old = shelf.Shelf(tmp_path / "a", archive=str(archive))
    assert old.measure("depth", "b", {"episodes": 2}, make, any_commit=True).rows[0]["n"] == 4
    there.measure("depth", "b", {}, make, any_commit=True)
    assert len(made) == 5  # the archive has other settings by now
    assert old.measure("depth", "b", {}, make, any_commit=True).rows[0]["n"] == 5  # not the one that its folder has
    (again,) = shelf.Shelf(tmp_path / "c", archive=str(archive)).all("rate")
    assert (again.commit, again.processor) == ("two", "this") and len(archive.read_text().splitlines()) == 2
    assert shelf.origin_rows([again])[0]["processor"] == "this"
    archive.write_text(archive.read_text() + "{}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"line 3 of .*units.jsonl is not what the benchmark wrote .* remove it"):
        shelf.Shelf(tmp_path / "d", archive=str(archive))


def test_without_a_checkout_tdmpc2_is_left_out_with_a_note() -> None:
    rows, claims, (note,) = tdmpc2.side_by_side(PlanningBench())
    assert not rows and not claims and "give tdmpc2=PATH" in note


def test_plans_take_turns_with_those_of_another_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other side answers from a thread: one that plans in a quarter of the time, and one that cannot start."""
    asked: list[tuple[str, int]] = []

    class Pipe:
        def __init__(self, name: str) -> None:
            self.name = name

        def send(self, count: int) -> None:
            asked.append((self.name, count))

        def recv(self) -> list[float]:
            return [0.02 if self.name == tdmpc2.LOOPWM else 0.08] * asked[-1][1]

    @contextmanager
    def process(name: str, config: PlanningBench) -> Iterator[tuple[Pipe, int | str]]:
        yield Pipe(name), "was not ready within 3 s" if name == tdmpc2.COMPILED else 7

    monkeypatch.setattr(tdmpc2, "process", process)
    config = replace(PlanningBench(repeats=2, plans=3))
    object.__setattr__(config, "tdmpc2", "somewhere")
    rows, (claim,), notes = tdmpc2.side_by_side(config)
    assert asked == [(tdmpc2.LOOPWM, 3), (tdmpc2.EAGER, 3)] * 2 + [(tdmpc2.LOOPWM, 0)]
    assert claim.value == pytest.approx(0.25) and claim.target == 0.1 and not claim.met
    assert [row["plan_time_s_p50"] for row in rows] == [0.02, 0.08] and "compiled was not ready" in notes[-1]


def test_ours_plans_at_the_budget_of_tdmpc2() -> None:
    plan, parameters = tdmpc2.loopwm(PlanningBench(model=ModelConfig(latent_dim=16)))
    action = plan()
    assert action.shape == (timing.NU,) and np.isfinite(action).all() and parameters > 1000
