"""The safety benchmark in tiny form: that it counts what it says, and that its witnesses see."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from envs import load_arm
from hardware import Guard, JointLimits
from loopwm_robot.bench import safety
from loopwm_robot.bench.safety import bridge as ride
from loopwm_robot.bench.safety.hostile import KINDS, PLANS, HostileRequests
from loopwm_robot.bench.safety.scene import Witness, make_scene
from loopwm_robot.cli.main import main
from loopwm_robot.deploy.chain import chain_of

ARM = load_arm("panda")
LIMITS = JointLimits(ARM.joint_names, ARM.q_min, ARM.q_max, ARM.dq_max, ARM.ddq_max)
SCENE = make_scene(0.02, 1.5)
GUARD = Guard(chain_of("panda"), SCENE, 0.004)


@pytest.fixture(scope="module")
def witness() -> Witness:
    return Witness(ARM, SCENE)


def test_the_witness_and_the_guard_see_the_same_collisions(witness: Witness) -> None:
    poses = np.random.default_rng(1).uniform(ARM.q_min, ARM.q_max, (400, ARM.n))
    touching, tool = witness.look(poses)
    apart = GUARD.clearances(poses)
    bodies = [i for i, name in enumerate(GUARD.names) if "workspace" not in name]
    assert 40 < touching.sum() < 360
    assert (apart[touching][:, bodies].min(axis=1) < 1e-3).all()  # the guard misses none
    np.testing.assert_allclose(tool, chain_of("panda").ends(poses)[:, chain_of("panda").index("tcp"), 0], atol=1e-9)
    assert not witness.look(ARM.home[None])[0].any()


def test_every_kind_of_requests_is_hostile(witness: Witness) -> None:
    targets = safety.poses_inside(GUARD, ARM, 500)
    request = HostileRequests(LIMITS, targets, 8, np.random.default_rng(0))
    q = np.tile(ARM.home, (8, 1))
    stream = np.array([request(q, k) for k in range(900)])
    assert not np.isfinite(stream[:, 0]).all() and np.isfinite(stream[:, 1]).all()
    steps = np.abs(np.diff(np.clip(np.nan_to_num(stream[:, 1:]), -9.0, 9.0), axis=0)) > LIMITS.dq_max * 0.004
    assert steps.any(axis=(0, 2)).all()  # each breaks the speed limit
    assert witness.look(stream[::10, KINDS.index("aimed at obstacles")])[0].any()


def test_the_benchmark_in_small(tmp_path: Path) -> None:
    small = ["seeds=[3]", "arms=8", "ticks=1600", "stop_every=60", "bridge_ticks=300", f"out={tmp_path}"]
    assert main(["bench", "safety", *small]) == 0
    report = json.loads((tmp_path / "safety.json").read_text(encoding="utf-8"))
    assert len(report["claims"]) == 8 and all(claim["met"] for claim in report["claims"])
    kinds = [row for row in report["rows"] if "requests" in row]
    assert [row["requests"] for row in kinds] == list(KINDS)
    assert all(row["limits_broken"] == row["collisions"] == 0 for row in kinds)
    assert sum(row["limits_broken_"] for row in kinds) > 500  # and without the filter
    assert kinds[0]["without_filter:_not_numbers"] > 20
    through = next(row for row in report["rows"] if "faults" in row)
    assert through["ticks"] >= 300 and through["limit_violations_without_filter"] > 0


def test_faults_of_all_kinds_are_followed_to_rest(witness: Witness) -> None:
    run = ride.run_bridge(
        ARM, LIMITS, chain_of("panda"), SCENE, witness, safety.poses_inside(GUARD, ARM, 500), 100.0, 900, 0
    )
    followed, in_motion, late = ride.late_stops(run, LIMITS, 0.01)
    assert run.faults >= followed >= 1 and followed >= in_motion and late == 0 and run.rejected > 0
    moving = run.records.copy()
    moving["applied_dq"] = 1.0
    changed = ride.BridgeRun(moving, run.true_q, run.faults, run.rejected)
    assert ride.late_stops(changed, LIMITS, 0.01)[2] > 0  # an arm that goes on would be seen
    assert set(PLANS) >= {"stale", "reordered", "flooding", "wrong names"}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["seeds=[1,1]"], "seeds is [1, 1], allowed one or more different ones"),
        (["arms=12"], "arms is 12, allowed a multiple of 8"),
        (["margin_m=0.5"], "margin_m is 0.5, allowed 0 to 0.1"),
        (["ticks=5"], "ticks is 5, allowed 1000"),
    ],
)
def test_a_wrong_request_gives_one_line(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["bench", "safety", *arguments, f"out={tmp_path}"]) == 2
    assert line in capsys.readouterr().err
