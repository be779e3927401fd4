"""Laws of the guarded filter: no request brings a pair closer than its margin, and the stop in store is clear."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from hardware import ArmBridge, BridgeConfig, DriverSpec, Guard, JointLimits, Mode, Reason, SafetyFilter
from hardware.chain import Body, Chain, ChainJoint
from hardware.errors import LimitsMismatch
from hardware.memory import BridgeSpec
from hardware.scene import Box, Capsule, Plane, SceneConfig, Workspace

NAMES = ("shoulder", "elbow", "wrist")
# The arm of conftest.py, with a fatter hand.
CHAIN = Chain(
    joints=(
        ChainJoint("shoulder", (0.0, 0.0, 0.5), axis=(0.0, 1.0, 0.0)),
        ChainJoint("elbow", (0.0, 0.0, 0.3), axis=(0.0, 1.0, 0.0)),
        ChainJoint("wrist", (0.0, 0.0, 0.25), axis=(0.0, 1.0, 0.0)),
    ),
    bodies=(
        Body("post", 0, (0.0, 0.0, 0.0), (0.0, 0.0, 0.4), 0.04),
        Body("upper", 1, (0.0, 0.0, 0.05), (0.0, 0.0, 0.3), 0.03),
        Body("fore", 2, (0.0, 0.0, 0.05), (0.0, 0.0, 0.25), 0.03),
        Body("hand", 3, (0.0, 0.0, 0.0), (0.0, 0.0, 0.1), 0.04),
        Body("tcp", 3, (0.0, 0.0, 0.1), (0.0, 0.0, 0.1)),
        Body("bend", 2, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
    ),
    pairs=(("post", "fore"), ("post", "hand"), ("hand", "upper")),
)
LIMITS = JointLimits(NAMES, [-2.8] * 3, [2.8] * 3, [2.0, 2.0, 3.0], [6.0, 8.0, 20.0])
SCENE = SceneConfig(
    margin_m=0.02,
    self_collision=True,
    planes=(Plane("table", (0.0, 0.0, 0.15), (0.0, 0.0, 2.0)),),
    boxes=(Box("crate", (0.55, 0.0, 0.6), (0.1, 0.2, 0.05), (0.9, 0.0, 0.4, 0.0)),),
    capsules=(Capsule("rod", (-0.45, -0.5, 0.8), (-0.45, 0.5, 0.8), 0.03),),
)
START = np.array([0.0, 0.3, -0.3])
DT = 0.004


def hostile(rng: np.random.Generator, q: np.ndarray, k: int) -> np.ndarray:
    """A request (arms, 3): targets anywhere, jumps, bang-bang, now and then no numbers."""
    kinds = np.stack(
        [
            rng.uniform(-3.0, 3.0, q.shape),
            np.full(q.shape, 5.0 * np.sign(np.sin(0.02 * k))),
            q + rng.normal(0.0, 0.2, q.shape),
            np.where(rng.random((len(q), 1)) < 0.1, np.nan, 4.0 * np.cos(np.arange(3) + len(q) + k // 90)),
            np.broadcast_to(np.random.default_rng(k // 120).uniform(-3, 3, 3), q.shape),
        ]
    )
    return kinds[(np.arange(len(q)) + k // 150) % len(kinds), np.arange(len(q))]


def drive(guard: Guard | None, arms: int = 8, ticks: int = 400, dt: float = DT) -> np.ndarray:
    """Commands (ticks + 1, arms, 3) under hostile requests."""
    rng, f = np.random.default_rng(1), SafetyFilter(LIMITS, dt, guard=guard)
    f.reset(np.tile(START, (arms, 1)))
    path = [f.q]
    for k in range(ticks):
        path.append(f.brake().q if k % 211 == 210 else f.step(hostile(rng, f.q, k)).q)
    return np.array(path)


@pytest.mark.parametrize("dt", [0.004, 0.01])
def test_no_request_brings_a_pair_closer_than_its_margin(dt):
    guard = Guard(CHAIN, SCENE, dt)
    free = guard.clearances(drive(None, dt=dt))
    assert (free.min(axis=(0, 1)) < 0.0).sum() >= 2  # without the guard several pairs collide
    path = drive(guard, dt=dt)
    kept = guard.clearances(path)
    assert (kept >= SCENE.margin_m - 1e-12).all()
    assert (kept.min(axis=(0, 1)) < SCENE.margin_m + 0.01).sum() >= 2  # and with it the arm does get there
    between = np.linspace(path[:-1], path[1:], 7)[1:-1]
    assert (guard.clearances(between) > 0.0).all()
    v = np.diff(path, axis=0) / dt
    a = np.diff(v, axis=0, prepend=0.0 * v[:1]) / dt
    assert (np.abs(path) <= 2.8).all() and (np.abs(v) <= LIMITS.dq_max * (1 + 1e-9)).all()
    assert (np.abs(a) <= LIMITS.ddq_max * (1 + 1e-9) + 1e-14 / dt**2).all()


def test_the_stop_in_store_is_clear_at_every_tick_and_is_what_runs():
    guard, rng = Guard(CHAIN, SCENE, DT), np.random.default_rng(4)
    f = SafetyFilter(LIMITS, DT, guard=guard)
    f.reset(np.tile(START, (5, 1)))
    for k in range(250):
        f.step(hostile(rng, f.q, k))
        stop = f.stop_path
        assert (guard.clearances(stop) >= SCENE.margin_m - 1e-12).all()
        assert len(stop) * DT >= f.stopping_time - 1e-12
    assert len(stop) > 5
    for pose in stop:
        q = f.brake().q if k % 2 else f.step(np.full((5, 3), np.nan)).q
        np.testing.assert_array_equal(q, pose)
    assert f.at_rest


def test_a_request_in_free_space_passes_to_the_last_bit():
    f = SafetyFilter(LIMITS, DT, guard=Guard(CHAIN, SCENE, DT))
    f.reset(START)
    for k in range(1, 800):
        request = START + 0.2 * (1 - np.cos(0.004 * k * 2.0))
        out = f.step(request)
        assert out.q.tolist() == request.tolist() and not out.reasons.any()


def test_an_obstacle_stops_the_arm_short_and_lets_it_go_again():
    guard = Guard(CHAIN, SCENE, DT)
    f = SafetyFilter(LIMITS, DT, guard=guard)
    f.reset(START)
    for _ in range(450):
        out = f.step([1.6, 0.0, 0.0])  # through the crate
    assert f.at_rest and (out.reasons & Reason.COLLISION).all()
    nearest = guard.names[int(guard.clearances(f.q).argmin())]
    assert "crate" in nearest and SCENE.margin_m <= guard.clearances(f.q).min() < SCENE.margin_m + 0.02
    for _ in range(450):
        out = f.step(START)
    np.testing.assert_allclose(f.q, START, atol=1e-9)
    assert not out.reasons.any()


def test_points_stay_in_their_workspace_and_out_of_their_own_obstacles():
    scene = SceneConfig(
        margin_m=0.0,
        workspaces=(Workspace((-0.25, -1.0, 0.6), (0.3, 1.0, 2.0), ("tcp", "bend")),),
        capsules=(Capsule("ball", (0.0, 0.0, 1.25), (0.0, 0.0, 1.25), 0.1, ("tcp",)),),
    )
    guard = Guard(CHAIN, scene, DT)
    at = CHAIN.ends(drive(guard))[:, :, [CHAIN.index("tcp"), CHAIN.index("bend")], 0]
    low, high = np.array([-0.25, 0.6]), np.array([0.3, 2.0])
    assert (at[..., [0, 2]] >= low - 1e-12).all() and (at[..., [0, 2]] <= high + 1e-12).all()
    assert (at[..., 0].max() > 0.28) and (at[..., 0].min() < -0.23)
    assert np.linalg.norm(at[:, :, 0] - [0.0, 0.0, 1.25], axis=-1).min() >= 0.1 - 1e-12
    outside = CHAIN.ends(drive(None))[..., CHAIN.index("tcp"), 0, 0]
    assert outside.max() > 0.4
    f = SafetyFilter(LIMITS, DT, guard=guard)
    f.reset(START)
    assert any((f.step([1.2, 0.0, 0.0]).reasons & Reason.WORKSPACE).any() for _ in range(300))


def test_points_keep_their_speed_also_while_stopping():
    guard, rng = Guard(CHAIN, SceneConfig(speed_max=0.25), DT), np.random.default_rng(2)
    f = SafetyFilter(LIMITS, DT, guard=guard)
    f.reset(np.tile(START, (5, 1)))
    tcp, path, reasons = CHAIN.index("tcp"), [f.q], np.uint32(0)
    for k in range(250):
        out = f.step(hostile(rng, f.q, k))
        path.append(out.q)
        reasons |= np.bitwise_or.reduce(out.reasons, axis=None)
        stop = CHAIN.ends(np.concatenate([out.q[None], f.stop_path]))[..., tcp, 0, :]
        assert (np.linalg.norm(np.diff(stop, axis=0), axis=-1) <= 0.25 * DT * (1 + 1e-6)).all()
    speed = np.linalg.norm(np.diff(CHAIN.ends(np.array(path))[..., tcp, 0, :], axis=0), axis=-1) / DT
    assert 0.2 < speed.max() <= 0.25 * (1 + 1e-6) and reasons & Reason.POINT_SPEED


def test_an_arm_enabled_too_close_may_only_move_away():
    guard = Guard(CHAIN, SceneConfig(planes=(Plane("wall", (0.15, 0.0, 0.0), (-1.0, 0.0, 0.0)),)), DT)
    pose = np.array([0.2, 0.0, 0.0])  # the hand reaches a little into the wall
    assert -0.05 < guard.clearances(pose).min() < 0.0
    assert "hand and wall" in guard.too_close(pose)
    f = SafetyFilter(LIMITS, DT, guard=guard)
    f.reset(pose)
    for _ in range(50):
        out = f.step(pose + 0.3)
    np.testing.assert_array_equal(out.q, pose)
    last = guard.clearances(pose).min()
    for _ in range(400):
        f.step([0.0, 0.0, 0.0])
        assert guard.clearances(f.q).min() >= min(last, 0.02)
        last = guard.clearances(f.q).min()
    np.testing.assert_allclose(f.q, 0.0, atol=1e-9)


def test_what_the_check_calls_clear_is_clear():
    """Random motions, long steps among them, against every pose and points between."""
    guard, rng = Guard(CHAIN, SCENE, DT), np.random.default_rng(3)
    arms, ticks = 400, 40
    now = rng.uniform(-2.8, 2.8, (arms, 3))
    now = now[(guard.clearances(now) >= SCENE.margin_m).all(axis=-1)]
    speed = rng.normal(0.0, 1.0, now.shape) * rng.choice([0.001, 0.01, 0.05], (len(now), 1))
    path = now + np.cumsum(np.broadcast_to(speed, (ticks, *speed.shape)), axis=0)
    answer = guard.check(now, path)
    poses = np.concatenate([now[None], path])
    truth = guard.clearances(poses)
    assert (truth[:, answer == 0] >= SCENE.margin_m).all()
    fine = np.linspace(poses[:-1], poses[1:], 9).reshape(-1, *now.shape)
    assert (guard.clearances(fine)[:, answer == 0] > 0.0).all()
    clearly = (truth >= SCENE.margin_m + 0.05).all(axis=(0, 2)) & (np.abs(speed).max(axis=1) < 0.02)
    assert clearly.sum() > 20 and not answer[clearly].any()
    assert 20 < (answer != 0).sum() < len(now) - 20
    one = [int(guard.check(a, b)) for a, b in zip(now, np.swapaxes(path, 0, 1), strict=True)]
    assert one == answer.tolist()


def criterion(guard: Guard, now: np.ndarray, path: np.ndarray, far: float = np.inf) -> np.ndarray:
    """What ``check`` promises, for every pair at every tick: reasons (arms,) of motions (ticks, arms, n)."""
    rows, pairs = np.concatenate([now[None], path]), guard.pairs
    d, steps = guard.clearances(rows), np.abs(np.diff(rows, axis=0))
    bad = (d[1:] < np.minimum(pairs.rows["margin"], d[0])).any(axis=0)
    touch = (0.5 * (d[1:] + d[:-1] - steps @ pairs.motion.T) < 0.0).any(axis=0)
    bad |= touch & (d[0] >= pairs.rows["margin"]) & (pairs.rows["margin"] > 0.0)
    found = np.bitwise_or.reduce(np.where(bad, pairs.rows["reason"], 0), axis=-1)
    at = CHAIN.ends(rows)[:, :, [CHAIN.index(name) for name in guard.scene.speed_of], 0]
    fast = (np.linalg.norm(np.diff(at, axis=0), axis=-1) > far).any(axis=(0, 2))
    return np.where((rows == rows[0]).all(axis=(0, 2)), 0, found | np.where(fast, int(Reason.POINT_SPEED), 0))


@pytest.mark.parametrize("ticks", [1, 2, 3, 40, 157])
def test_the_check_by_halves_is_the_check_of_every_tick(ticks):
    """Proofs over many ticks leave nothing out: random motions, some of one joint, some from within a margin."""
    workspace = Workspace((-0.4, -1.0, 0.3), (0.4, 1.0, 1.2), ("tcp", "hand"))
    scene = replace(SCENE, workspaces=(workspace,), speed_max=0.5, speed_of=("tcp", "bend"))
    guard, rng, seen = Guard(CHAIN, scene, DT), np.random.default_rng(ticks), set()
    for spread in (0.0003, 0.003, 0.03):
        now = rng.uniform(-2.0, 2.0, (600, 3))
        speed = rng.normal(0.0, spread, now.shape) * (rng.random(now.shape) < 0.6)
        bend = rng.normal(0.0, spread / ticks, now.shape)
        k = np.arange(1.0, ticks + 1)[:, None, None]
        path = now + k * speed + k**2 * bend * (np.arange(600) % 2)[:, None]
        answer = guard.check(now, path)
        np.testing.assert_array_equal(answer, criterion(guard, now, path, 0.5 * DT * (1 + 1e-9)))
        seen |= {int(bits) for bits in answer}
    assert {0, int(Reason.COLLISION), int(Reason.WORKSPACE), int(Reason.POINT_SPEED)} <= seen


def test_a_pair_within_its_margin_may_be_carried_about():
    """What moves two bodies alike brings them no closer, whatever rounding makes of their distance."""
    chain = replace(CHAIN, pairs=(("hand", "upper"),))
    guard, now = Guard(chain, SceneConfig(margin_m=0.3, self_collision=True), DT), np.array([0.0, 0.5, 1.0])
    assert guard.too_close(now) == ["hand and upper"]
    way = np.linspace(0.0, 0.7, 100)[1:, None]
    assert not guard.check(now, now + way * [1.0, 0.0, 0.0])
    assert guard.check(now, now + way * [0.0, 0.0, 1.0]) == Reason.COLLISION


def test_no_number_is_not_clear():
    now = np.zeros(3)
    for guard in (Guard(CHAIN, SCENE, DT), Guard(CHAIN, SceneConfig(speed_max=0.5), DT)):
        assert guard.check(now, np.full((4, 3), np.nan)) and guard.check(now, np.full((4, 3), np.inf))


def test_pairs_that_cannot_move_are_left_out():
    chain = Chain(CHAIN.joints, (*CHAIN.bodies, Body("hub", 1, (0, -0.1, 0), (0, 0.1, 0), 0.1)))
    names = Guard(chain, SceneConfig(planes=(Plane("table", (0, 0, 0.45), (0, 0, 1)),)), DT).names
    assert names == ["upper and table", "fore and table", "hand and table"]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"margin": 0.1}, "keys margin are unknown; known: margin_m"),
        ({"margin_m": -0.1}, "margin_m -0.1 m, allowed [0, 1] m"),
        ({"speed_max": float("nan")}, "speed_max nan m/s"),
        ({"planes": [{"name": "t", "point": [0, 0, 0]}]}, "normal"),
        ({"planes": [{"name": "t", "point": [0, 0, 0], "normal": [0, 0, 0]}]}, "normal of length 0"),
        ({"boxes": [{"name": "b", "pos": [0, 0, 0], "half_size": [1, -1, 1]}]}, "half edges of at least 0"),
        ({"capsules": [{"name": "c", "start": [0, 0, 0], "end": [0, 0, 0], "radius": -1}]}, "radius -1 m"),
        ({"capsules": [{"name": "c", "start": [0, 0, float("inf")], "end": [0, 0, 0], "radius": 1}]}, "non-finite"),
        ({"workspaces": [{"lower": [0, 0, 1], "upper": [1, 1, 1]}]}, "must be below upper"),
    ],
)
def test_a_wrong_scene_is_refused(data, text):
    with pytest.raises(LimitsMismatch, match=re.escape(text)):
        SceneConfig.from_mapping(data)


def test_a_scene_needs_a_chain_that_fits(limits):
    driver = DriverSpec("sim", {})
    with pytest.raises(LimitsMismatch, match="needs the chain"):
        ArmBridge(driver, limits, scene=SCENE)
    other = Chain(CHAIN.joints[:2])
    with pytest.raises(LimitsMismatch, match="names and order"):
        ArmBridge(driver, limits, chain=other, scene=SceneConfig(speed_max=1.0))
    with pytest.raises(LimitsMismatch, match="no body or point 'gripper'; known: post"):
        ArmBridge(driver, limits, chain=CHAIN, scene=SceneConfig(speed_max=1.0, speed_of=("gripper",)))
    assert BridgeSpec(driver, limits, BridgeConfig()).guard() is None


def test_scene_and_chain_reach_the_control_process(limits):
    spec = BridgeSpec(DriverSpec("sim", {}), limits, BridgeConfig(), CHAIN, SCENE)
    read = BridgeSpec.from_bytes(spec.to_bytes())
    assert read.chain == CHAIN and read.scene == SCENE
    assert BridgeSpec.from_bytes(BridgeSpec(spec.driver, limits, spec.config).to_bytes()).guard() is None


def test_a_plan_into_an_obstacle_ends_short_of_it(spec, limits):
    scene = SceneConfig(boxes=(Box("crate", (0.5, 0.0, 0.9), (0.1, 0.2, 0.1)),))
    with ArmBridge(spec, limits, lockstep=True, chain=CHAIN, scene=scene) as bridge:
        bridge.enable()
        bridge.start()
        q0 = bridge.snapshot().applied.applied
        t = np.linspace(0.0, 1.0, 41)[:, None]
        bridge.submit(bridge.make_plan(q0 + t * ([1.2, 0.0, 0.0] - q0), dt=0.05, validity=5.0))
        bridge.advance(2.0)
        guard, records = bridge._spec.guard(), bridge.records()
        assert bridge.mode is Mode.RUNNING and bridge.audit().limit_violations == 0
        assert (records["reasons"][-1] & Reason.COLLISION).all() and not records["applied_dq"][-1].any()
        assert guard.clearances(records["applied"]).min() >= 0.02
        assert guard.clearances(records["q"]).min() > 0.0  # nor does the simulated arm touch it
        assert guard.clearances(records["requested"]).min() < 0.0
        assert any(e.kind == "limited" and "COLLISION" in e.text for e in bridge.events())


def test_enabling_too_close_is_told(spec, limits):
    scene = SceneConfig(planes=(Plane("ceiling", (0.0, 0.0, 1.1), (0.0, 0.0, -1.0)),))
    with ArmBridge(spec, limits, lockstep=True, chain=CHAIN, scene=scene) as bridge:
        bridge.enable()
        told = [e for e in bridge.events() if e.kind == "too_close"]
        assert len(told) == 1 and "hand and ceiling" in told[0].text


def test_a_rehearsed_tick_leaves_no_trace():
    """Nothing that a filter does is changed by computing ticks for practice before it."""
    guard, rng = Guard(CHAIN, SCENE, DT), np.random.default_rng(5)
    plain, practised = (SafetyFilter(LIMITS, DT, guard=guard) for _ in range(2))
    for f in (plain, practised):
        f.reset(np.tile(START, (5, 1)))
    held = 0
    for k in range(400):
        practised.rehearse()
        request = hostile(rng, plain.q, k)
        steps = [f.brake() if k % 97 > 92 else f.step(request) for f in (plain, practised)]
        for one, other in zip(*steps, strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(plain.stop_path, practised.stop_path)
        held += int((steps[0].reasons & Reason.COLLISION > 0).any())
    assert held > 10 and practised.stopping_time == plain.stopping_time
