"""Slow motions to a pose: they arrive, keep to their share of the limits, and say so when something is in the way."""

from __future__ import annotations

import numpy as np
import pytest

from hardware import ArmBridge, Mode
from hardware.config import DriverSpec
from hardware.errors import BridgeError, LimitsMismatch, ModeError

POSE = np.array([1.1, 0.5, -0.6])


def test_it_arrives_slowly_in_stages_and_holds(bridge):
    bridge.enable()
    bridge.home(POSE, share=0.1)
    assert bridge.mode is Mode.HOLDING
    np.testing.assert_allclose(bridge.observe().q, POSE, atol=0.02)
    assert bridge.metrics()["plans_accepted"] == 2  # 9.4 s of way
    audit = bridge.audit()
    assert audit.limit_violations == 0 and 0.09 < audit.worst_speed < 0.1005 and audit.worst_acceleration < 0.05
    before = bridge.now()
    bridge.home(POSE)  # it is there already
    assert bridge.now() - before < 0.5


def test_parking_ends_with_the_servos_off(running):
    running.park([0.0, 0.0, 0.0], share=0.5)
    assert running.mode is Mode.CONNECTED
    assert abs(running.observe().q).max() < 0.02


def test_what_cannot_be_is_refused_before_anything_moves(bridge):
    with pytest.raises(ModeError, match="CONNECTED"):
        bridge.home(POSE)
    bridge.enable()
    before = bridge.observe().q
    with pytest.raises(LimitsMismatch, match=r"pose of 'elbow' is 1\.6 rad, allowed \[-1\.5, 1\.5\] rad"):
        bridge.home([0.0, 1.6, 0.0])
    with pytest.raises(LimitsMismatch, match=r"share is 0\.8 of the limits"):
        bridge.park(POSE, share=0.8)
    bridge.start()
    bridge.submit(bridge.make_plan([before, before + 0.05], [[0.0] * 3, [0.1] * 3], dt=1.0, t0=bridge.now() + 0.01))
    bridge.advance(0.5)
    with pytest.raises(ModeError, match="RUNNING, allowed ENABLED or HOLDING"):
        bridge.home(POSE)


def test_an_arm_that_is_stopped_on_its_way_is_not_switched_off(spec, limits):
    faults = [{"kind": "jam", "at_s": 1.0}]
    stuck = DriverSpec("sim", {**spec.kwargs, "faults": faults})
    with ArmBridge(stuck, limits, lockstep=True) as bridge:
        bridge.enable()
        with pytest.raises(BridgeError, match="FAULT on its way to a pose: following_error"):
            bridge.park(POSE, share=0.5)
        assert bridge.mode is Mode.FAULT  # disabled it would be CONNECTED


def test_a_pose_that_is_not_reached_is_told(spec, limits):
    faults = [{"kind": "jam", "at_s": 1.0}]
    with ArmBridge(DriverSpec("sim", {**spec.kwargs, "faults": faults}), limits, lockstep=True) as bridge:
        bridge.enable()
        pose = bridge.observe().q + 0.15  # within the following error
        with pytest.raises(BridgeError, match=r"rad from the pose, allowed 0\.02 rad; see the events"):
            bridge.home(pose, share=0.05)
        assert bridge.mode is Mode.HOLDING
