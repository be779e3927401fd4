"""The record of a deployment survives the trip through files."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from hardware import Event, JointLimits, audit
from hardware.records import record_dtype
from loopwm_robot.deploy import DeployResult, GoalResult, load_recording, save_recording
from loopwm_robot.types import Episode

LIMITS = JointLimits(("a", "b"), [-1.0] * 2, [1.0] * 2, [1.0] * 2, [5.0] * 2, source="made up")


def result(goals: int = 2) -> DeployResult:
    rng = np.random.default_rng(0)
    records = np.zeros(5, record_dtype(2))
    records["t"], records["tick"], records["sent"] = np.arange(5) * 0.01, np.arange(5), True
    records["applied"] = records["requested"] = 0.01 * np.arange(5)[:, None] ** 2 * 0.01
    steps = 4

    def goal(i: int) -> GoalResult:
        episode = Episode(
            obs=rng.normal(size=(steps + 1, 6)).astype(np.float32),
            achieved=rng.normal(size=(steps + 1, 3)).astype(np.float32),
            goal=rng.normal(size=3).astype(np.float32),
            action=rng.uniform(-1, 1, (steps, 2)).astype(np.float32),
            reward=np.zeros(steps, np.float32),
            terminated=np.zeros(steps, np.bool_),
            truncated=np.zeros(steps, np.bool_),
            ctrl_dt=0.05,
            env_id="env",
            seed=i,
        )
        return GoalResult(i == 0, 0.01 + i, episode, episode.action + np.float32(0.1))

    events = [Event(0, 0.5, "enabled", "holding – the pose"), Event(1, 0.7, "running", "plan 3", 3.0)]
    return DeployResult(
        goals=[goal(i) for i in range(goals)],
        ctrl_dt=0.05,
        plan_time=np.array([0.01, 0.02]),
        instants=8,
        ready=6,
        reseeds=0,
        metrics={"rate_hz": 100.0},
        audit=audit(records, LIMITS, 0.01),
        limits=LIMITS,
        records=records,
        events=events,
    )


def test_round_trip(tmp_path):
    saved = result()
    save_recording(tmp_path, saved)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bridge.npz", "events.jsonl"]
    loaded = load_recording(tmp_path)
    np.testing.assert_array_equal(loaded.records, saved.records)
    assert loaded.ctrl_dt == 0.05 and loaded.limits.to_mapping() == LIMITS.to_mapping()
    assert [(e.seq, e.t, e.kind, e.text) for e in loaded.events] == [(e.seq, e.t, e.kind, e.text) for e in saved.events]
    assert math.isnan(loaded.events[0].value) and loaded.events[1].value == 3.0
    np.testing.assert_array_equal(loaded.arrays["obs"][1], saved.episodes[1].obs)
    np.testing.assert_array_equal(loaded.arrays["requested"][0], saved.goals[0].requested)
    np.testing.assert_array_equal(loaded.arrays["final_distance"], [0.01, 1.01])
    assert audit(loaded.records, loaded.limits, 0.01) == saved.audit


def test_events_are_plain_json_lines(tmp_path):
    save_recording(tmp_path, result())
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert lines[0]["value"] is None and lines[1]["kind"] == "running"


def test_a_run_that_ended_early_is_kept_too(tmp_path):
    save_recording(tmp_path, result(goals=0))
    loaded = load_recording(tmp_path)
    assert len(loaded.records) == 5 and "obs" not in loaded.arrays
    assert "success_rate" not in result(goals=0).summary()


def test_a_failed_write_leaves_the_old_record(tmp_path, monkeypatch):
    save_recording(tmp_path, result())
    before = (tmp_path / "bridge.npz").read_bytes()

    def full(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="no space"):
        save_recording(tmp_path, result(goals=1))
    assert (tmp_path / "bridge.npz").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", ["missing", "truncated", "bad line"])
def test_a_damaged_record_gives_one_clear_error(tmp_path, damage):
    save_recording(tmp_path, result())
    if damage == "missing":
        (tmp_path / "events.jsonl").unlink()
    elif damage == "truncated":
        path = tmp_path / "bridge.npz"
        path.write_bytes(path.read_bytes()[:200])
    else:
        (tmp_path / "events.jsonl").write_text('{"seq": 1}\n')
    with pytest.raises(ValueError, match="cannot be read"):
        load_recording(tmp_path)


def test_summary_counts(tmp_path):
    summary = result().summary("bridge.")
    assert summary["bridge.deadline_met_fraction"] == 0.75 and summary["bridge.deadline_misses"] == 2
    assert summary["bridge.success_rate"] == 0.5 and summary["bridge.tick_rate_hz"] == 100.0
    assert "bridge.faults" not in summary  # the control process never told
