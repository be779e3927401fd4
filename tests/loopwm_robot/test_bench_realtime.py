"""The real-time benchmark: its motions, what it makes of a ride, and a short one of its own."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from hardware import Guard, sample_plan
from loopwm_robot.bench import realtime, stalls
from loopwm_robot.bench.common import BenchmarkError
from loopwm_robot.bench.realtime import RealtimeBench, Ride
from loopwm_robot.cli.main import main
from loopwm_robot.deploy import make_bridge
from loopwm_robot.deploy.chain import chain_of

METRICS = {
    "realtime": True, "ticks": 300_000, "deadline_misses": 2, "skipped_ticks": 3,
    **{f"lateness_s_{p}": t for p, t in (("p50", 5e-6), ("p99", 60e-6), ("max", 4e-3))},
    **{f"filter_s_{p}": t for p, t in (("p50", 1e-4), ("p99", 4e-4), ("max", 1e-3))},
    **{f"cost_s_{p}": t for p, t in (("p50", 2e-4), ("p99", 5e-4), ("max", 2e-3))},
}  # fmt: skip


def test_motions_keep_to_half_of_the_limits_and_half_of_them_aim_at_obstacles():
    config = RealtimeBench()
    arm, rng = realtime.arm_settings(config), np.random.default_rng(0)
    goals = realtime.targets(config, arm, rng)
    clear = Guard(chain_of("panda"), arm.scene, 0.004).clearances(goals).min(axis=-1)
    assert (clear < 0.0).sum() == (clear > 0.02).sum() == 100
    bridge = make_bridge(arm, lockstep=True)
    plan = realtime.sweeping_plan(bridge, np.array(arm.home), goals[0])
    path = np.array([sample_plan(plan, t)[0] for t in np.arange(0.0, plan.t_end - plan.t0, 0.002)])
    v = np.diff(path, axis=0) / 0.002
    assert (np.abs(v).max(axis=0) <= 0.51 * bridge.limits.dq_max).all()
    assert (np.abs(np.diff(v, axis=0)).max(axis=0) / 0.002 <= 0.53 * bridge.limits.ddq_max).all()
    np.testing.assert_allclose(path[-1], goals[0], atol=1e-3)
    assert plan.ends_at_rest and realtime.arm_settings(RealtimeBench(scene=False)).scene.empty


def test_claims_are_those_of_the_budget(tmp_path):
    rides = [Ride(500.0, METRICS, np.array([0.0, 1e-5, 4e-3]), 0, 7, 20, 900)]
    met = {claim.claim: (claim.value, claim.target, claim.met) for claim in realtime.claims(rides)}
    assert met == {
        "deadlines missed at 500 Hz, of 300000": (2, 0, False),
        "lateness p99 at 500 Hz [us]": (pytest.approx(60.0), pytest.approx(200.0), True),
        "safety filter p99 at 500 Hz [us], budget 10% of the period": (pytest.approx(400.0), 200.0, False),
        "commands beyond a limit at 500 Hz": (0, 0, True),
    }
    cost = realtime.rows(rides)[1]
    assert cost["budget_s"] == pytest.approx(2e-4) and cost["filter_s_max"] == 1e-3 and cost["whole_tick_s_p50"] == 2e-4
    assert realtime.plot(rides, tmp_path / "late.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("seconds=1", "seconds is 1.0, allowed 5 to 36000"),
        ("rates_hz=[10]", "rates_hz is [10.0], allowed one or more of 100 to 1000"),
        ("arm=ur5e", "arm is 'ur5e', allowed fr3_sim, panda_sim"),
    ],
)
def test_a_wrong_request_gives_one_line(argument, line, capsys, tmp_path):
    assert main(["bench", "realtime", argument, f"out={tmp_path}"]) == 2
    assert line in capsys.readouterr().err


def test_what_the_machine_does_is_told_beside_it(monkeypatch):
    calls = []
    watched, gaps = stalls.stalls(0.5, "off", lambda: calls.append(time.sleep(0.01)))
    assert 0.05 < watched < 0.5 and len(calls) > 5 and (gaps > 5e-5).all()
    rows = realtime.stall_rows([500.0, 100.0], 10.0, np.array([1e-4, 3e-4, 3e-3, 0.02]))
    assert [row["longer_than_s"] for row in rows] == [2e-4, 2e-3, 1e-2]
    assert [row["stalls"] for row in rows] == [3, 2, 1] and rows[2]["share"] == pytest.approx(2e-3)
    monkeypatch.setattr(stalls, "_watch", broken)
    with pytest.raises(BenchmarkError, match="died"):
        stalls.stalls(0.5, "off", lambda: None)


def broken(*_: object) -> None:
    """Ends at once and says nothing."""


@pytest.mark.slow
def test_a_short_run(tmp_path: Path):
    assert main(["bench", "realtime", "seconds=5", "rates_hz=[100,500]", f"out={tmp_path}"]) == 0
    report = json.loads((tmp_path / "realtime.json").read_text(encoding="utf-8"))
    assert len(report["claims"]) == 8 and (tmp_path / "images/realtime_lateness.png").is_file()
    limits = [claim for claim in report["claims"] if claim["claim"].startswith("commands beyond")]
    assert all(claim["met"] for claim in limits)
    late, cost = ([row for row in report["rows"] if key in row] for key in ("lateness_s_p50", "filter_s_p50"))
    assert len(late) == len(cost) == 2 and all(row["ticks"] > 100 for row in late)
    assert all(0.0 < row["filter_s_p50"] < row["whole_tick_s_p50"] for row in cost)
