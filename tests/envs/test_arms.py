"""The Panda against its published numbers, computed independently of MuJoCo."""

import mujoco
import numpy as np
import pytest

from envs import ArmKinematics, known_arms, load_arm

# Craig DH parameters (a [m], d [m], alpha [rad]) of frankaemika.github.io/docs/control_parameters.html
DH = [
    (0.0, 0.333, 0.0),
    (0.0, 0.0, -np.pi / 2),
    (0.0, 0.316, np.pi / 2),
    (0.0825, 0.0, np.pi / 2),
    (-0.0825, 0.384, -np.pi / 2),
    (0.0, 0.0, np.pi / 2),
    (0.088, 0.0, np.pi / 2),
]
TOOL = 0.107 + 0.1034  # flange and hand [m]


def dh_tip(q: np.ndarray) -> np.ndarray:
    transform = np.eye(4)
    for (a, d, alpha), theta in zip(DH, q, strict=True):
        ca, sa, ct, st = np.cos(alpha), np.sin(alpha), np.cos(theta), np.sin(theta)
        transform = transform @ np.array(
            [
                [ct, -st, 0, a],
                [st * ca, ct * ca, -sa, -d * sa],
                [st * sa, ct * sa, ca, d * ca],
                [0, 0, 0, 1],
            ]
        )
    return transform[:3, 3] + TOOL * transform[:3, 2]


def test_forward_kinematics_is_the_published_one() -> None:
    arm = load_arm("panda")
    kinematics = ArmKinematics(arm)
    q = np.random.default_rng(0).uniform(arm.q_min, arm.q_max, (200, 7))
    expected = np.array([dh_tip(row) for row in q])
    np.testing.assert_allclose(
        kinematics.ee_pos(q), expected, atol=1e-6
    )  # 1 um, the digits of the quaternions


def test_jacobian_is_the_derivative() -> None:
    arm = load_arm("panda")
    kinematics = ArmKinematics(arm)
    q = np.random.default_rng(1).uniform(arm.q_min, arm.q_max, (5, 7))
    jac = kinematics.jacobian(q)
    assert jac.shape == (5, 3, 7)
    h = 1e-6
    for i, row in enumerate(q):
        for j in range(7):
            step = h * np.eye(7)[j]
            slope = (kinematics.ee_pos(row + step) - kinematics.ee_pos(row - step)) / (2 * h)
            np.testing.assert_allclose(jac[i, :, j], slope, atol=1e-7)


def test_limits_are_the_published_ones() -> None:
    arm = load_arm("panda")
    assert arm.joint_names == tuple(f"joint{i}" for i in range(1, 8)) and arm.n == 7
    np.testing.assert_allclose(arm.q_max, [2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973])
    np.testing.assert_allclose(arm.q_min, [-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973])
    np.testing.assert_allclose(arm.dq_max, [2.175] * 4 + [2.61] * 3)
    np.testing.assert_allclose(arm.ddq_max, [15, 7.5, 10, 12.5, 15, 20, 20])
    np.testing.assert_allclose(arm.tau_max, [87] * 4 + [12] * 3)
    assert arm.source.startswith("https://frankaemika.github.io")
    assert (arm.home > arm.q_min).all() and (arm.home < arm.q_max).all()


def test_masses_are_the_identified_ones() -> None:
    # Gaz et al. 2019: the links that move; the fixed hand adds 0.73 kg to link 7.
    model = load_arm("panda").load_model()
    carried = [float(model.body(f"link{i}").subtreemass[0]) for i in range(1, 8)] + [0.0]
    expected = [4.970684, 0.646926, 3.228604, 3.587895, 1.225946, 1.666555, 0.735522 + 0.73]
    np.testing.assert_allclose(-np.diff(carried), expected, atol=1e-6)


def test_actuators_follow_the_joints() -> None:
    model = load_arm("panda").load_model()
    assert [int(i) for i in model.actuator_trnid[:, 0]] == list(range(model.nu)) == list(range(model.njnt))
    np.testing.assert_array_equal(model.actuator_ctrlrange, model.jnt_range)
    np.testing.assert_array_equal(model.actuator_forcerange[:, 0], -model.actuator_forcerange[:, 1])


def test_gravity_is_compensated_everywhere() -> None:
    arm = load_arm("panda")
    model = arm.load_model()
    data = mujoco.MjData(model)
    rng = np.random.default_rng(2)
    for _ in range(20):
        data.qpos[:] = arm.home + rng.uniform(-0.5, 0.5, 7)
        data.ctrl[:] = data.qpos
        mujoco.mj_forward(model, data)
        if data.ncon == 0:
            np.testing.assert_allclose(data.qacc, 0.0, atol=1e-9)


def test_drawn_geoms_do_not_reach_the_physics() -> None:
    arm = load_arm("panda")
    lean, drawn = arm.load_model(), arm.load_model(visuals=True)
    assert lean.ngeom < drawn.ngeom
    assert all(int(model.npair) == 0 for model in (lean, drawn))
    np.testing.assert_allclose(lean.body_mass, drawn.body_mass)
    np.testing.assert_allclose(lean.body_inertia, drawn.body_inertia)
    visual = drawn.geom_group == 2
    assert not drawn.geom_contype[visual].any() and not drawn.geom_conaffinity[visual].any()


def test_description_cannot_be_written_to() -> None:
    arm = load_arm("panda")
    assert load_arm("panda") is arm
    with pytest.raises(ValueError, match="read-only"):
        arm.q_max[0] = 9.0


def test_unknown_arm_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'pandora' is unknown, known arms: .*panda"):
        load_arm("pandora")
    assert "panda" in known_arms()


def test_inverse_kinematics_reaches_what_it_says() -> None:
    arm = load_arm("panda")
    kinematics = ArmKinematics(arm)
    q = kinematics.solve_position([0.5, 0.2, 0.3])
    assert q is not None and (q >= arm.q_min).all() and (q <= arm.q_max).all()
    assert np.linalg.norm(kinematics.ee_pos(q) - [0.5, 0.2, 0.3]) < 1e-3
    assert kinematics.solve_position([1.5, 0.0, 0.3]) is None


def test_collisions_are_found() -> None:
    arm = load_arm("panda")
    kinematics = ArmKinematics(arm)
    assert kinematics.collision_free(arm.home)
    assert not kinematics.collision_free([0.0, 1.7, 0.0, -0.5, 0.0, 1.5, 0.0])  # stretched into the table


def test_wrong_number_of_joints_is_refused() -> None:
    kinematics = ArmKinematics(load_arm("panda"))
    with pytest.raises(ValueError, match=r"shape \(6,\), need \(\.\.\., 7\)"):
        kinematics.ee_pos(np.zeros(6))
