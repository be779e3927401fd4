"""Laws of the command generator: bounds that hold for any stream of actions."""

import numpy as np
import pytest

from envs import ArmKinematics, CartesianDelta, JointDelta, JointReference, interpolate, load_arm

T = 0.05
# Rounding of a few additions of numbers of order one; ten thousand times below what an encoder resolves.
EPS = 1e-9


def make(n: int = 7) -> JointDelta:
    arm = load_arm("panda")
    return JointDelta(arm.q_min[:n], arm.q_max[:n])


def random_streams(rng: np.random.Generator, num: int, steps: int, n: int) -> np.ndarray:
    """Actions (num, steps, n) of many tempers: noise, bang-bang, held at a bound, far out of range."""
    noise = rng.uniform(-1, 1, (num, steps, n))
    bang = np.sign(rng.normal(size=(num, steps, n)))
    held = np.repeat(np.sign(rng.normal(size=(num, 1, n))), steps, axis=1)
    kind = rng.integers(0, 4, (num, 1, 1))
    return np.choose(kind, [noise, bang, held, 50.0 * noise])


@pytest.mark.parametrize("seed", range(5))
def test_no_action_stream_breaks_a_limit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 6
    q_min = -rng.uniform(0.01, 2.0, n)
    q_max = rng.uniform(0.01, 2.0, n)
    mode = JointDelta(q_min, q_max, rng.uniform(0.01, 0.2), rng.uniform(0.5, 20.0, n), rng.uniform(0.01, 0.1))
    q0 = rng.uniform(q_min, q_max, (400, n))
    refs = mode.rollout(JointReference(q0, np.zeros((400, n))), random_streams(rng, 400, 200, n))
    assert (refs.q >= q_min - EPS).all() and (refs.q <= q_max + EPS).all()
    assert (np.abs(refs.dq) <= mode.dq_max + EPS).all()
    dq = np.concatenate([np.zeros((400, 1, n)), refs.dq], axis=1)
    assert (np.abs(np.diff(dq, axis=1)) <= mode.ddq_max * mode.ctrl_dt + EPS).all()
    # Within a step the velocity may change sign: the position must stay inside in between as well.
    start = JointReference(np.concatenate([q0[:, None], refs.q[:, :-1]], axis=1), dq[:, :-1])
    for fraction in np.linspace(0, 1, 11):
        q = interpolate(start, refs, fraction, mode.ctrl_dt)
        assert (q >= q_min - EPS).all() and (q <= q_max + EPS).all()


def test_from_every_reached_reference_braking_at_full_rate_stays_inside() -> None:
    rng = np.random.default_rng(7)
    mode = make()
    q0 = rng.uniform(mode.q_min, mode.q_max, (200, 7))
    refs = mode.rollout(JointReference(q0, np.zeros((200, 7))), random_streams(rng, 200, 60, 7))
    q, dq = refs.q, refs.dq
    for _ in range(10):
        v = np.sign(dq) * np.maximum(np.abs(dq) - mode.ddq_max * T, 0.0)
        q, dq = q + (dq + v) * T / 2, v
        assert (q >= mode.q_min - EPS).all() and (q <= mode.q_max + EPS).all()
    assert not dq.any()


def test_limit_is_reached_and_not_merely_respected() -> None:
    mode = make()
    refs = mode.rollout(JointReference(np.zeros(7) - 0.5, np.zeros(7)), np.ones((120, 7)))
    np.testing.assert_allclose(refs.q[-1], np.broadcast_to(mode.q_max, (7,)), atol=1e-6)
    assert (np.diff(refs.q[:, 0]) >= -EPS).all()


def test_held_action_reaches_the_speed_it_asks_for() -> None:
    mode = make()
    action = np.full(7, 0.4)
    action[3] = -0.4  # joint 4 of the Panda lies near its upper limit at zero
    ref = JointReference(load_arm("panda").home, np.zeros(7))
    for _ in range(4):
        ref = mode.advance(ref, action)
    moved = mode.advance(ref, action).q - ref.q
    np.testing.assert_allclose(moved, action * mode.action_scale, atol=EPS)


def test_rollout_is_repeated_advance_and_broadcasts() -> None:
    rng = np.random.default_rng(0)
    mode = make()
    actions = rng.uniform(-1, 1, (3, 8, 7))
    ref = JointReference(load_arm("panda").home, rng.uniform(-0.3, 0.3, 7))
    refs = mode.rollout(ref, actions)
    assert refs.q.shape == refs.dq.shape == (3, 8, 7)
    for i in range(3):
        step = ref
        for k in range(8):
            step = mode.advance(step, actions[i, k])
            np.testing.assert_array_equal(step.q, refs.q[i, k])
            np.testing.assert_array_equal(step.dq, refs.dq[i, k])


def test_advance_leaves_its_arguments_alone() -> None:
    mode = make()
    ref = JointReference(load_arm("panda").home.copy(), np.zeros(7))
    action = np.full(7, 3.0)
    mode.advance(ref, action)
    np.testing.assert_array_equal(ref.q, load_arm("panda").home)
    np.testing.assert_array_equal(action, 3.0)


def test_interpolation_agrees_with_its_derivative_and_its_ends() -> None:
    rng = np.random.default_rng(1)
    mode = make()
    ref0 = JointReference(load_arm("panda").home, rng.uniform(-1, 1, 7))
    ref1 = mode.advance(ref0, rng.uniform(-1, 1, 7))
    np.testing.assert_allclose(interpolate(ref0, ref1, 0.0, T), ref0.q, atol=EPS)
    np.testing.assert_allclose(interpolate(ref0, ref1, 1.0, T), ref1.q, atol=EPS)
    h = 1e-4
    for f in (0.1, 0.5, 0.9):
        speed = (interpolate(ref0, ref1, f + h, T) - interpolate(ref0, ref1, f - h, T)) / (2 * h * T)
        np.testing.assert_allclose(speed, (1 - f) * ref0.dq + f * ref1.dq, atol=1e-7)
    assert interpolate(ref0, ref1, np.linspace(0, 1, 5)[:, None], T).shape == (5, 7)


def test_cubic_hermite_through_the_knots_is_the_same_motion() -> None:
    mode = make()
    ref0 = JointReference(load_arm("panda").home, np.full(7, 0.3))
    ref1 = mode.advance(ref0, np.full(7, -1.0))
    for s in np.linspace(0, 1, 9):
        hermite = (
            (2 * s**3 - 3 * s**2 + 1) * ref0.q
            + (s**3 - 2 * s**2 + s) * T * ref0.dq
            + (3 * s**2 - 2 * s**3) * ref1.q
            + (s**3 - s**2) * T * ref1.dq
        )
        np.testing.assert_allclose(hermite, interpolate(ref0, ref1, s, T), atol=EPS)


def test_reference_outside_its_limits_returns_at_the_allowed_acceleration() -> None:
    mode = make(1)
    ref = JointReference(mode.q_max + 0.1, np.array([0.5]))
    speeds = [ref.dq]
    for _ in range(30):
        ref = mode.advance(ref, [1.0])
        speeds.append(ref.dq)
    assert (np.abs(np.diff(speeds, axis=0)) <= mode.ddq_max * T + EPS).all()
    assert ref.q[0] <= mode.q_max[0] + EPS


@pytest.mark.parametrize(
    "change",
    [
        {"action_scale": 0.0},
        {"ddq_max": -1.0},
        {"ctrl_dt": float("nan")},
        {"q_min": [1.0], "q_max": [0.0]},
        {"q_min": [0.0], "q_max": [1.0, 2.0]},
        {"q_max": [float("inf")]},
    ],
)
def test_impossible_limits_are_refused(change: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        JointDelta(**({"q_min": [0.0], "q_max": [1.0]} | change))


class TestCartesian:
    arm = load_arm("panda")
    kinematics = ArmKinematics(arm)

    def make(self) -> CartesianDelta:
        return CartesianDelta(make(), self.kinematics, self.arm.home)

    @pytest.mark.parametrize("axis", range(3))
    @pytest.mark.parametrize("sign", (-1.0, 1.0))
    def test_tip_moves_along_the_asked_axis(self, axis: int, sign: float) -> None:
        mode = self.make()
        ref = JointReference(self.arm.home, np.zeros(7))
        action = np.zeros(3)
        action[axis] = sign
        before = self.kinematics.ee_pos(ref.q)
        for _ in range(8):
            ref = mode.advance(ref, action)
        moved = self.kinematics.ee_pos(ref.q) - before
        assert sign * moved[axis] > 0.1  # 8 steps of 2 cm less the acceleration phase
        assert np.abs(np.delete(moved, axis)).max() < 0.01

    def test_zero_action_keeps_the_tip_and_pulls_towards_the_posture(self) -> None:
        mode = self.make()
        ref = JointReference(self.arm.home + 0.3 * np.array([1, 0, -1, 0, 1, 0, 0]), np.zeros(7))
        tip, gap = self.kinematics.ee_pos(ref.q), np.linalg.norm(ref.q - self.arm.home)
        for _ in range(40):
            ref = mode.advance(ref, np.zeros(3))
        assert np.linalg.norm(self.kinematics.ee_pos(ref.q) - tip) < 0.02
        assert np.linalg.norm(ref.q - self.arm.home) < gap

    def test_batch_equals_loop(self) -> None:
        rng = np.random.default_rng(0)
        mode = self.make()
        actions = rng.uniform(-1, 1, (4, 5, 3))
        ref = JointReference(self.arm.home, np.zeros(7))
        refs = mode.rollout(ref, actions)
        for i in range(4):
            np.testing.assert_allclose(mode.rollout(ref, actions[i]).q, refs.q[i], atol=EPS)

    def test_limits_hold_at_the_end_of_the_workspace(self) -> None:
        mode = self.make()
        limits = mode.joints
        refs = mode.rollout(JointReference(self.arm.home, np.zeros(7)), np.tile([1.0, 0.5, -1.0], (200, 1)))
        assert (refs.q >= limits.q_min - EPS).all() and (refs.q <= limits.q_max + EPS).all()
        assert (np.abs(np.diff(refs.dq, axis=0)) <= limits.ddq_max * T + EPS).all()
