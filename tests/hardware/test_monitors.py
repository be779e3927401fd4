"""Effort and escalation: what makes the bridge stop although every command is within its limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hardware import ArmBridge, BridgeConfig, BridgeError, JointLimits, Mode
from hardware.watch import Escalation


def running(spec, limits: JointLimits, **settings) -> ArmBridge:
    bridge = ArmBridge(spec, limits, lockstep=True, **settings)
    bridge.connect()
    bridge.enable()
    bridge.start()
    return bridge


def jump(bridge: ArmBridge, by: float) -> None:
    """A set-point beside the command: the filter has to make a motion of it."""
    q = bridge.snapshot().applied.applied + by
    bridge.submit(bridge.make_plan(q[None], dt=0.05, validity=5.0))


def test_lasting_effort_brakes_and_latches(spec, limits):
    limits = replace(limits, tau_max=np.full(3, 5.0))
    with running(spec, limits, max_effort=0.5, max_effort_s=0.05) as bridge:
        bridge.advance(0.2)
        assert bridge.mode is Mode.HOLDING  # at rest the drives hardly press
        bridge._link.executor.driver.inject(kind="jam")
        jump(bridge, 0.09)  # too little for a following error
        bridge.advance(1.0)
        assert bridge.mode is Mode.FAULT and bridge.fault.startswith("effort: joint '")
        assert "allowed 50% of 5 N m for 0.05 s" in bridge.fault


@pytest.mark.parametrize(("tau_max", "share"), [(None, 0.5), ([5.0] * 3, 0.0)])
def test_effort_is_not_watched_without_a_limit(spec, limits, tau_max, share):
    with running(spec, replace(limits, tau_max=tau_max), max_effort=share) as bridge:
        bridge._link.executor.driver.inject(kind="jam")
        jump(bridge, 0.09)
        bridge.advance(1.0)
        assert bridge.mode is Mode.RUNNING


def test_too_many_interventions_stop_the_arm_until_it_is_started_again(spec, limits):
    with running(spec, limits, escalate_share=0.2, escalate_s=0.4) as bridge:
        for _ in range(40):
            if bridge.mode in (Mode.RUNNING, Mode.HOLDING):
                jump(bridge, 0.09)
            bridge.advance(0.02)
        bridge.advance(0.5)
        assert bridge.mode is Mode.ENABLED
        told = [event for event in bridge.events() if event.kind == "escalated"]
        assert len(told) == 1 and told[0].value > 0.2 and "of the last 0.4 s" in told[0].text
        bridge.start()
        bridge.advance(0.1)
        assert bridge.mode is Mode.HOLDING


def test_the_share_is_that_of_the_window():
    monitor = Escalation(BridgeConfig(rate_hz=10.0, escalate_share=0.5, disconnect_after_s=1.0))
    pattern = np.random.default_rng(0).random(200) < 0.5
    for k, changed in enumerate(pattern):
        share = pattern[max(k - 9, 0) : k + 1].sum() / 10
        assert monitor.add(bool(changed)) == (share if share > 0.5 else None)
    monitor.restart()
    assert monitor.add(True) is None
    always = Escalation(BridgeConfig())
    assert all(always.add(True) is None for _ in range(500))


def test_a_joint_that_gets_hot_is_told_of_then_stops_the_arm(spec, limits):
    limits = replace(limits, temperature_max=[60.0, 80.0, 60.0])
    with running(spec, limits, warm_c=10.0, hot_s=0.2) as bridge:
        driver, kinds = bridge._link.executor.driver, lambda: [event.kind for event in bridge.events()]
        driver.inject(kind="hot", joint=1, value=71.0)
        bridge.advance(0.5)
        assert kinds().count("warm") == 1 and bridge.mode is Mode.HOLDING
        assert bridge.observe().temperature.tolist() == [25.0, 71.0, 25.0]
        driver.heal()
        driver.inject(kind="hot", joint=1, value=81.0, duration_s=0.1)
        bridge.advance(0.3)
        assert bridge.mode is Mode.HOLDING  # shorter than hot_s
        jump(bridge, 0.09)
        bridge.advance(0.05)
        driver.inject(kind="hot", joint=1, value=80.5)
        bridge.advance(0.5)
        assert bridge.fault == "temperature: joint 'elbow' has 80.5 deg C, allowed 80 deg C for 0.2 s"
        assert bridge.audit().limit_violations == 0 and not bridge.records()["applied_dq"][-1].any()
        with pytest.raises(BridgeError, match=r"80\.5 deg C, allowed 80 deg C; let it cool down"):
            bridge.reset(acknowledge=True)
        driver.heal()
        bridge.advance(0.1)
        bridge.reset(acknowledge=True)
        assert bridge.mode is Mode.ENABLED


def test_a_hot_arm_is_not_enabled_and_one_without_limits_not_watched(spec, limits):
    for heat_max in ([50.0] * 3, None):
        with ArmBridge(spec, replace(limits, temperature_max=heat_max), lockstep=True, hot_s=0.0) as bridge:
            bridge._link.executor.driver.inject(kind="hot", joint=2, value=99.0)
            bridge.advance(0.1)
            if heat_max is None:
                bridge.enable()
                bridge.advance(0.1)
                assert bridge.mode is Mode.ENABLED
            else:
                with pytest.raises(BridgeError, match=r"'wrist' has 99 deg C, allowed 50 deg C; let it cool down"):
                    bridge.enable()
