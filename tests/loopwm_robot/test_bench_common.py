"""What all benchmarks share: claims, results, pages, where they were measured."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from loopwm_robot.bench import common
from loopwm_robot.bench.common import Claim, Findings, commit, make_report, portable_path, write_report
from loopwm_robot.bench.page import claim_line, page

ROOT = Path(__file__).resolve().parents[2]
RESULTS = sorted((ROOT / "docs" / "benchmarks").glob("*.json"))
KEYS = {"machine", "commit", "config", "seeds", "rows", "claims"}
CLAIM_KEYS = ["claim", "value", "spread", "target", "better", "met"]


@dataclass(frozen=True)
class Settings:
    seeds: tuple[int, ...] = (0, 1)
    checkpoint: str = ""


def report(quick: bool = False, **config: Any) -> dict[str, Any]:
    findings = Findings(
        seeds=[0, 1],
        rows=[
            {"table": "speed", "name": "a|b", "plan_time_s_p50": 0.0123456789, "count": 3},
            {"table": "speed", "name": "c", "success_rate": 0.5},
            {"table": "parts", "share_fraction": 1.0, "default": True},
        ],
        claims=[Claim.over("success, worst", [1.0, 0.97], 0.98, "higher", min), Claim("time [ms]", 3, 5, "lower")],
        notes=["A note."],
        config={"more": {"file": str(Path.cwd() / "runs" / "x")}},
    )
    where = {"cpu": "a processor", "cores": 2, "busy_cores_before": 0.1, "torch": "2"}
    command = "loopwm bench thing"
    return make_report("thing", "what it measures", command, quick, Settings(**config), findings, where)


@pytest.mark.parametrize(
    ("better", "value", "met"),
    [
        ("higher", 0.97, False),
        ("higher", 0.98, True),
        ("higher", 1.0, True),
        ("lower", 0.99, False),
        ("lower", 0.98, True),
        ("lower", 0.0, True),
    ],
)
def test_a_claim_is_met_on_its_good_side_and_at_its_bound(better: Any, value: float, met: bool) -> None:
    claim = Claim("x", value, 0.98, better)
    assert claim.met is met
    assert claim.plain()["met"] is met
    assert claim_line(claim.plain()).startswith("met" if met else "MISS")


def test_spread_is_the_range_of_the_measurements() -> None:
    claim = Claim.over("x", [3.0, 1.0, 2.0], 2.5, "lower")
    assert (claim.value, claim.spread, claim.met) == (2.0, 2.0, True)
    assert Claim.over("x", [3.0, 1.0, 2.0], 2.5, "lower", max).met is False
    assert Claim.over("x", [3.0], 0, "higher").spread is None


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["value", "target", "spread"])
def test_a_claim_without_a_number_cannot_be_made(where: str, number: float) -> None:
    numbers = {"value": 1.0, "target": 1.0, "spread": 0.0, where: number}
    with pytest.raises(ValueError, match=f"claim 'x' has {where}"):
        Claim("x", better="higher", **numbers)
    with pytest.raises(ValueError, match="allowed higher, lower"):
        Claim("x", 1, 1, "bigger")  # type: ignore[arg-type]


def test_the_result_has_the_agreed_form_and_nothing_of_the_machine() -> None:
    result = report(checkpoint=str(Path.cwd() / "runs" / "a"))
    assert set(result) >= KEYS
    assert [list(claim) for claim in result["claims"]] == [CLAIM_KEYS] * 2
    assert [claim["met"] for claim in result["claims"]] == [False, True]
    assert result["config"] == {"seeds": [0, 1], "checkpoint": "runs/a", "more": {"file": "runs/x"}}
    assert result["rows"][0]["plan_time_s_p50"] == 0.0123457
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_quick_results_and_their_page_stand_beside_the_full_ones(tmp_path: Path) -> None:
    full = write_report(report(), tmp_path)
    before = full.read_text(encoding="utf-8")
    quick = write_report(report(quick=True), tmp_path)
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["thing.json", "thing.md", "thing_quick.json", "thing_quick.md"]
    assert full.read_text(encoding="utf-8") == before
    assert "no evidence" in quick.read_text(encoding="utf-8") and "no evidence" not in before


def test_a_result_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    write_report(report(), tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    broken = report()
    broken["rows"][0]["count"] = float("nan")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_report(broken, tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_the_page_shows_claims_then_tables_then_how_to_repeat() -> None:
    text = page(report())
    marks = ["# thing: what", "| success, worst | 0.97 | 0.03 | ≥ 0.98 | **no** |", "| time [ms] | 3 |  | ≤ 5 | yes |"]
    marks += ["A note.", "## Speed", "| a\\|b | 12.3 ms | 3 |  |", "| c |  |  | 50 % |", "## Parts", "| 100 % | yes |"]
    marks += ["loopwm bench thing", "- Machine: processor a processor, cores 2", "- Commit: ", "- Seeds: 0, 1"]
    places = [text.index(mark) for mark in marks]
    assert places == sorted(places)
    assert "other work" not in text
    assert "No claim was tested." in page({**report(), "claims": []})


def test_a_busy_machine_is_mentioned() -> None:
    where = {"busy_cores_before": 1.5}
    result = make_report("thing", "it", "loopwm", False, Settings(), Findings([0], [], []), where)
    assert "other work" in result["notes"][-1]


def test_the_machine_is_described_and_not_named() -> None:
    where = common.machine()
    assert set(where) >= {"cpu", "cores", "memory_gib", "python", "torch", "mujoco"}
    assert where["cores"] >= 1 and where["memory_gib"] > 0 and where["cpu"]
    assert platform.node() not in where.values()
    assert not any(os.sep in str(value) for value in where.values())


def test_busy_cores_are_counted_while_this_process_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 0 0 900 0 0 0 0 0 0\ncpu0 1\n")
    assert common.busy_cores(0, stat) == 0.0, "no tick has passed"

    def work(_: float) -> None:  # half of the ticks are busy
        stat.write_text("cpu  150 0 0 940 10 0 0 0 0 0\ncpu0 1\n")

    monkeypatch.setattr(common.time, "sleep", work)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert common.busy_cores(1, stat) == pytest.approx(2.0)
    assert common.busy_cores(1, tmp_path / "none") == pytest.approx(os.getloadavg()[0], abs=5)


def test_a_processor_without_a_model_name_still_has_one(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor : 0\nmodel name : Fast One\n")
    assert common.cpu_model(info) == "Fast One"
    info.write_text("processor : 0\n")
    assert common.cpu_model(info) == common.cpu_model(tmp_path / "none") != ""


def test_paths_are_told_without_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert portable_path("runs/x") == "runs/x"
    assert portable_path(str(tmp_path / "runs" / "x")) == "runs/x"
    assert portable_path(str(tmp_path.parent / "elsewhere" / "y.safetensors")) == "y.safetensors"


def test_the_commit_tells_what_was_measured(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    (clone / "docs" / "benchmarks").mkdir(parents=True)

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", "-C", str(clone), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        git("init", "-q")
    except FileNotFoundError:
        pytest.skip("needs git")
    assert commit(clone) == "unknown"  # nothing committed yet
    (clone / "a.py").write_text("1")
    git("add", "a.py")
    git("commit", "-qm", "a")
    head = git("rev-parse", "HEAD")
    assert commit(clone) == head
    (clone / "docs" / "benchmarks" / "env.json").write_text("{}")
    assert commit(clone) == head, "results do not make the code another"
    (clone / "b.py").write_text("2")
    assert commit(clone) == f"{head}+dirty"
    assert commit(clone / "docs") == "unknown", "a package inside another repository"


def test_without_git_the_commit_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit() == "unknown"


@pytest.mark.parametrize("file", RESULTS, ids=lambda file: file.stem)
def test_committed_results_and_pages_belong_together(file: Path) -> None:
    result = json.loads(file.read_text(encoding="utf-8"))
    assert set(result) >= KEYS
    for claim in result["claims"]:
        assert list(claim) == CLAIM_KEYS
        limits = {key: claim[key] for key in CLAIM_KEYS[:-1]}
        assert Claim(**limits).met is claim["met"]
    text = file.with_suffix(".md").read_text(encoding="utf-8")
    assert text == page(result), f"write it again: loopwm bench {result['benchmark']} --page"
