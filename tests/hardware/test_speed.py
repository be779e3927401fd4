"""A share of the speed limits only slows the arm down; missing, old or no number, it is the cautious one."""

from __future__ import annotations

import numpy as np
import pytest

from hardware import ArmBridge, BridgeConfig, Mode, Reason, SafetyFilter
from hardware.errors import CommandRejected
from hardware.speed import SpeedScale

from .test_bridge_process import wait_for
from .test_safety import LIMITS, check, hostile

DT = 0.004


def settled(config: BridgeConfig, *asked: tuple[float, float], now: float = 10.0) -> float:
    scale = SpeedScale(config)
    for one in asked:
        scale.ask(*one)
    for _ in range(round(config.speed_ramp_s / config.dt) + 1):
        found = scale.step(now)
    return found


@pytest.mark.parametrize("asked", [np.nan, np.inf, -np.inf, 0.0, -1.0, 1.0000001, 2.0])
@pytest.mark.parametrize("patience", [0.0, 0.2])
def test_what_is_no_share_counts_as_the_cautious_one(asked, patience):
    config = BridgeConfig(speed_scale_s=patience, cautious_scale=0.3)
    assert settled(config, (1.0, 10.0), (asked, 10.0)) == pytest.approx(0.3)


def test_a_share_that_is_missing_or_old_counts_as_the_cautious_one():
    watched = BridgeConfig(speed_scale_s=0.2, cautious_scale=0.3)
    assert SpeedScale(watched).step(10.0) == 0.3  # from the first tick on
    assert settled(watched, (0.8, 9.9)) == pytest.approx(0.8)
    for t in (9.7, 12.0, np.nan, -np.inf):  # a time to come is none either
        assert settled(watched, (1.0, t)) == pytest.approx(0.3)
    free = BridgeConfig(cautious_scale=0.3)
    assert settled(free) == 1.0 and settled(free, (0.5, 0.0)) == pytest.approx(0.5)


def test_it_changes_at_its_pace_and_never_exceeds_one():
    config, rng = BridgeConfig(speed_ramp_s=0.4), np.random.default_rng(0)
    scale, last = SpeedScale(config), 1.0
    for k in range(2000):
        if k % 23 == 0:
            scale.ask(rng.choice([0.1, 0.9, 1.0, np.nan, 7.0, rng.random()]), k * DT)
        value = scale.step(k * DT)
        assert 0.0 < value <= 1.0 and abs(value - last) <= DT / 0.4 + 1e-12
        last = value


def test_no_request_is_faster_than_the_share_and_none_leaves_the_limits():
    rng, arms = np.random.default_rng(2), 32
    f = SafetyFilter(LIMITS, DT)
    f.reset(rng.uniform(LIMITS.q_min, LIMITS.q_max, (arms, 3)))
    path, scales = [f.q], []
    for k in range(1200):
        scales.append([1.0, 0.4, 0.1, 1.0][k // 80 % 4])
        path.append(f.step(hostile(rng, f.q, k), speed_scale=scales[-1]).q)
    path = np.array(path)
    check(path, LIMITS, DT)
    v = np.abs(np.diff(path, axis=0)) / DT
    for k in range(1, 1200):  # at most the share, or what full braking from the tick before leaves
        allowed = np.maximum(scales[k] * LIMITS.dq_max, v[k - 1] - LIMITS.ddq_max * DT)
        assert (v[k] <= allowed * (1 + 1e-9) + 1e-12).all()
    assert (v[60:80].max(axis=(0, 1)) > 0.9 * LIMITS.dq_max).any()


@pytest.mark.parametrize(("scale", "as_if"), [(5.0, 1.0), (np.inf, 1.0), (-1.0, 0.0), (np.nan, 0.0)])
def test_the_filter_takes_no_share_beyond_its_range(scale, as_if):
    filters = [SafetyFilter(LIMITS, DT) for _ in range(2)]
    for f in filters:
        f.reset([0.0, 0.0, 1.0])
    for k in range(300):
        request = [0.9 * (-1) ** (k // 70), 0.2, 2.0]
        a, b = (f.step(request, speed_scale=s) for f, s in zip(filters, (scale, as_if), strict=True))
        assert a.q.tolist() == b.q.tolist()
    assert as_if == 1.0 or filters[0].at_rest


def sweep(bridge: ArmBridge) -> None:
    """As fast as the limits allow, there and back."""
    start, t = bridge.snapshot().applied.applied, np.arange(81) * 0.05
    q, dq = start + 0.5 * (1 - np.cos(2.9 * t))[:, None], 1.45 * np.sin(2.9 * t)[:, None]
    ones = np.ones(len(start))
    bridge.submit(bridge.make_plan(q * ones, dq * ones, dt=0.05, validity=4.0))


def test_a_raised_share_slows_the_arm_and_a_lowered_one_stays_within_the_limits(running):
    sweep(running)
    running.advance(0.4)
    running.slow(0.2)
    running.advance(1.6)
    running.slow(1.0)
    running.advance(1.9)
    records, names = running.records(), running.limits.names
    share = np.abs(records["applied_dq"]).max(axis=1) / running.limits.dq_max[0]
    assert share[:100].max() > 0.5 and share[225:500].max() <= 0.2 + 1e-9 and share[600:].max() > 0.5
    assert running.audit().limit_violations == 0 and running.mode is Mode.RUNNING
    assert (records["reasons"][225:300] & Reason.SLOWED).any() and len(names) == records["reasons"].shape[1]
    told = [event.kind for event in running.events()]
    assert told.count("slowed") == 1 and told.count("full_speed") == 1
    assert running.snapshot().speed_scale == 1.0


def test_where_a_share_is_expected_the_arm_is_slow_until_one_comes_and_when_none_comes_any_more(spec, limits):
    with ArmBridge(spec, limits, lockstep=True, speed_scale_s=0.3, cautious_scale=0.1) as bridge:
        bridge.enable()
        bridge.start()
        sweep(bridge)
        for k in range(30):
            if 5 <= k < 18:
                bridge.slow(1.0 if k != 12 else np.nan)
            bridge.advance(0.1)
        records = bridge.records()
        share, scale = np.abs(records["applied_dq"]).max(axis=1) / limits.dq_max[0], records["speed_scale"]
        assert share[:125].max() <= 0.1 + 1e-9 and share[125:450].max() > 0.5
        assert scale[320:325].max() < 1.0  # the one that was no number
        assert scale[-1] == 0.1 and share[-50:].max() <= 0.1 + 1e-9
        assert bridge.audit().limit_violations == 0


@pytest.mark.parametrize("scale", [0.0, -0.1, 1.1, np.inf])
def test_nobody_can_ask_for_more(running, scale):
    with pytest.raises(CommandRejected, match="can only slow the arm down"):
        running.slow(scale)


def test_the_share_reaches_the_control_process(spec, limits):
    with ArmBridge(spec, limits, realtime="off", speed_scale_s=60.0, cautious_scale=0.5) as bridge:
        assert bridge.snapshot().speed_scale == 0.5
        bridge.slow(0.125)
        bridge.enable()
        bridge.start()  # at rest it is taken at once
        wait_for(lambda: bridge.snapshot().speed_scale == 0.125, what="the share")
