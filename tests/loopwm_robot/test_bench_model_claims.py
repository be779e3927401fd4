"""Claims, tables and figures of the benchmark of the models, from made-up results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from loopwm_robot.bench.common import Findings, make_report, write_report
from loopwm_robot.bench.model import ModelBench, notes
from loopwm_robot.bench.model.claims import claims
from loopwm_robot.bench.model.config import HORIZONS
from loopwm_robot.bench.model.efficiency import Point, common_error, curve, parameters_for
from loopwm_robot.bench.model.plots import figures
from loopwm_robot.bench.model.results import Result, Results
from loopwm_robot.bench.model.statements import statements, verdict
from loopwm_robot.bench.model.tables import rows

CONTACT = {"loops_contact": 3.0, "loops_free": 1.5, "mean_loops": 2.0, "threshold": 0.1}
EXIT = {**CONTACT, "correlation_error": 0.5, "correlation_gain": 0.3, "added_error": 0.005}


@pytest.fixture(autouse=True)
def coarse_figures() -> None:
    """Figures as users get them."""


def errors(level: float) -> dict[str, Any]:
    return {f"h{h}": level * h**0.5 for h in HORIZONS}


def made(dataset: str, variant: str, seed: int, level: float, parameters: int = 1000, **more: Any) -> Result:
    """A result whose error is `level` at one step and grows as the root of the horizon."""
    open_loop = {"all": errors(level), "contact": errors(1.1 * level), "free": errors(0.9 * level), "starts": 9}
    open_loop["curve"] = [level * h**0.5 for h in range(1, 51)]
    record = {"parameters": parameters, "transition_flops": 10 * parameters, "cpu_time_s": 60.0, "latent_noise": 0.0}
    times = more.pop("times", {})
    measures = {"open_loop": {"test": open_loop}, "terminal": {"error": level}, **more}
    return Result(dataset, variant, seed, {**record, "losses": {"obs": 0.1}}, measures, times)


def looped(dataset: str, seed: int, level: float) -> Result:
    """A LoopWM with everything measured."""
    depths = {t: errors(level * factor) for t, factor in (("1", 1.2), ("2", 1.1), ("3", 1.0), ("12", 1.05))}
    seen = {s: {t: errors(level * f) for t, f in (("1", 1.2), ("4", 1.0))} for s in ("5", "20", "50")}
    long = {"finite": True, "state_norm": 1.0, "starts": 7, "steps": [1, 1000], "errors": [0.1, 0.9]}
    long |= {"mean_errors": [1.0, 1.0], "tail": 0.9, "mean_tail": 1.0}
    times = {
        "planning": {"converged": 1.0, "gate": 0.5, "maximum": 3.0},
        "free_flops": {"converged": 5e3, "gate": 5e3},
        "stack_flops": 1e6,
    }
    exits = {"converged": EXIT, "gate": {**EXIT, "added_error": 0.02}}
    more = {"loops": depths, "mean_loops": 3, "exits": exits, "context": seen, "times": times}
    return made(dataset, "loopwm", seed, level, **more, long={"long_explore": long, "long_uniform": long})


def chunked(seed: int, level: float) -> Result:
    """Transitions of several control steps, where loops pay."""
    errors = {"1": 3.0, "2": 1.5, "3": 1.005, "12": 1.03}
    by_loops = {t: dict.fromkeys(("h8", "h24", "h48"), level * e) for t, e in errors.items()}
    found = {"mean_loops": 3, "chunks": dict.fromkeys(("1", "2", "4", "8"), by_loops), "chunk_exit": EXIT}
    return made("push", "chunks", seed, level, times={"chunks": {"1": 2.0, "2": 1.0, "4": 0.5, "8": 0.25}}, **found)


@pytest.fixture
def results() -> Results:
    found = []
    for seed, factor in enumerate((1.0, 1.1)):
        for dataset in ("reach", "push", "hidden"):
            found.append(looped(dataset, seed, 0.10 * factor))
            for variant, level in (("mlp", 0.2), ("one_pass", 0.12), ("mlp_wide", 0.15), ("untied", 0.09)):
                found.append(made(dataset, variant, seed, level * factor, 4000))
        for family, width, level, size in (
            ("loopwm", 8, 0.3, 100), ("untied", 8, 0.4, 200), ("untied", 64, 0.09, 3000), ("mlp", 8, 0.5, 100),
        ):  # fmt: skip
            found.append(made("push", f"{family}_d{width}", seed, level * factor, size))
        found += [made("hidden", "blind", seed, 0.3 * factor), made("hidden", "told", seed, 0.05 * factor)]
    found += [chunked(seed, 0.1) for seed in range(2)]
    return Results(found)


def by_text(results: Results) -> dict[str, Any]:
    return {claim.claim: claim for claim in claims(results)}


def test_the_worst_seed_is_compared_where_loops_must_win(results: Results) -> None:
    found = by_text(results)
    text = "error of LoopWM at 20 and 50 steps"
    claim = found[f"push: {text}, worst seed over the best of the best peer at equal parameters"]
    assert claim.value == pytest.approx(0.11 / 0.12) and claim.met and claim.spread == pytest.approx(0.01 / 0.105)
    claim = found[f"push: {text}, worst seed over the best of the best peer at equal operations"]
    assert claim.value == pytest.approx(0.11 / 0.09) and not claim.met
    claim = found[f"reach: {text}, best seed over the worst of the best peer at equal operations"]
    assert claim.value == pytest.approx(0.10 / 0.099)


def test_context_closes_a_share_of_the_gap(results: Results) -> None:
    found = by_text(results)
    [one, twenty] = [c for text, c in found.items() if "share of the gap" in text]
    assert one.value == twenty.value == pytest.approx((0.3 - 0.1) / (0.3 - 0.05))
    [loops] = [c for text, c in found.items() if "four loops" in text]
    assert loops.value == pytest.approx(0.11 / 0.12) and loops.met


def test_depth_is_a_dial_and_follows_difficulty(results: Results) -> None:
    found = {text: c for text, c in by_text(results).items() if "control steps" not in text}
    [falls] = [c for text, c in found.items() if "one more loop" in text]
    assert falls.value == pytest.approx(1.1 / 1.2) and falls.met
    [deep] = [c for text, c in found.items() if "4 times the mean" in text]
    assert deep.value == pytest.approx(1.05) and not deep.met
    assert found["push: loops in contact over loops in free motion"].value == 2
    assert found["push: rank correlation of the loops used with the error left at one loop"].value == 0.5


def test_loops_pay_where_a_transition_is_long(results: Results) -> None:
    found = [c for text, c in by_text(results).items() if text.startswith("push, transitions of 8 control steps")]
    assert [c.value for c in found] == [pytest.approx(1.005 / 1.5), pytest.approx(1.03 / 1.005), 2.0, 0.5]
    assert [c.met for c in found] == [True, False, True, True]
    assert "8 control steps (the same" in statements(results)[1] and "push -66.5 % (better)" in statements(results)[1]
    cheapest = [row for row in rows(results) if "fewest loops within 1%" in row["table"]]
    assert [row["loops"] for row in cheapest] == [3] * 4
    assert [row["loops of 8 control steps"] for row in cheapest] == [24, 12, 6, 3]


def test_a_rule_that_adds_too_much_error_saves_no_time(results: Results) -> None:
    [claim] = [c for text, c in by_text(results).items() if text.startswith("push: time of 512")]
    assert claim.value == 3.0  # the gate would be faster, and adds 2 %


def test_easy_transitions_are_compared_with_stacks(results: Results) -> None:
    found = {text: c for text, c in by_text(results).items() if text.startswith("push: operations of")}
    assert [c.value for c in found.values()] == [200, 6]  # of 3000 x 10 and 4000 x 10 the smaller, over 5e3


def test_long_rollouts_count_their_worst(results: Results) -> None:
    [bad, norm, tail] = [c for text, c in by_text(results).items() if text.startswith("imagined rollouts")]
    assert (bad.value, norm.value, tail.value) == (0, 1.0, 0.9) and bad.met and norm.met and tail.met
    assert "1000 steps from 7 starts" in bad.claim


def test_efficiency_is_read_at_the_lowest_error_that_both_reach(results: Results) -> None:
    assert [p.parameters for p in curve(results, "push", "loopwm")] == [100, 1000]
    assert [p.parameters for p in curve(results, "push", "untied")] == [200, 3000]
    points = [Point(100, [0.4]), Point(1000, [0.2]), Point(10000, [0.3])]
    assert parameters_for(points, 0.5) == 100 and parameters_for(points, 0.2) == pytest.approx(1000)
    assert parameters_for(points, 0.4 * 0.5**0.5) == pytest.approx(1000**0.5 * 10)
    assert parameters_for(points, 0.1) is None
    assert common_error([points, [Point(1, [0.25])]]) == 0.25
    [untied, mlp] = [c for text, c in by_text(results).items() if text.startswith("push: parameters of")]
    assert 1 < untied.value < 10
    assert mlp.value == pytest.approx(4000 / parameters_for(curve(results, "push", "loopwm"), 0.21 * 20**0.5))


def test_plain_words_say_better_only_outside_the_spread(results: Results) -> None:
    loops, _, once = statements(results)
    assert "push -16.7 % (better)" in loops  # 0.10 to 0.11 against 0.12 to 0.132
    assert once.startswith("LoopWM against the same block run once") and "push -16.7 % (better)" in once
    assert verdict([2.0, 2.1], [1.0, 1.1]) == "+95.2 % (worse)"
    assert verdict([1.0, 1.2], [1.1, 1.3]) == "-8.3 % (within the spread of the seeds)"
    assert verdict([1.0], [2.0]) == "-50.0 % (one seed)"
    assert statements(Results([])) == []
    useless = [made("hidden", "blind", 0, 0.1), made("hidden", "told", 0, 0.1)]
    assert "no better than a blind one in the 1-step error and 20-step error" in statements(Results(useless))[-1]


def test_what_was_not_run_makes_no_claim() -> None:
    assert claims(Results([made("push", "loopwm", 0, 0.1)])) == []
    assert claims(Results([])) == []
    diverged = Result("push", "loopwm", 0, {"failed": "loss inf", "latent_noise": 0.0, "cpu_time_s": 1.0}, {})
    alone = Results([diverged, made("push", "mlp", 0, 0.1)])
    assert claims(alone) == []
    assert "Training diverged: loopwm on push (seed 0)" in notes(ModelBench(), alone)[-1]
    assert [row["failed"] for row in rows(alone) if "failed" in row] == ["loss inf"]


def test_the_page_shows_tables_and_figures(results: Results, tmp_path: Path) -> None:
    shown = figures(results)
    assert [f.name for f in shown] == ["error", "loops", "chunks", "parameters", "depth", "context", "long"]
    few = [f for f in shown if f.name in ("parameters", "context")]
    findings = Findings([0, 1], rows(results), claims(results), notes(ModelBench(), results), figures=few)
    report = make_report("model", "it", "loopwm bench model", True, ModelBench(), findings, {"busy_cores_before": 0.0})
    text = write_report(report, tmp_path, few).read_text(encoding="utf-8")
    for figure in few:
        assert f"](images/model_quick_{figure.name}.png)" in text and figure.caption in text
        with Image.open(tmp_path / f"images/model_quick_{figure.name}.png") as image:
            assert image.width > 600
    assert "<details><summary>Every training</summary>" in text
    assert "## Push: open-loop error, in standard deviations of the data" in text
    tables = {row["table"] for row in json.loads((tmp_path / "model_quick.json").read_text())["rows"]}
    assert len(tables) == 17
    main = [row for row in rows(results) if row["table"].startswith("push: open-loop error, ")]
    assert [row["model"] for row in main] == ["loopwm", "mlp", "one_pass", "mlp_wide", "untied", "chunks"]
    assert [row["equal"] for row in main] == ["", "parameters", "parameters", "operations", "operations", ""]
    assert main[0]["h20 min"] == pytest.approx(0.1 * 20**0.5) and main[0]["h20 max"] == pytest.approx(0.11 * 20**0.5)


@pytest.mark.slow
def test_all_figures_are_drawn(results: Results, tmp_path: Path) -> None:
    for figure in figures(results):
        figure.draw(tmp_path / f"{figure.name}.png")
        assert (tmp_path / f"{figure.name}.png").stat().st_size > 5000
