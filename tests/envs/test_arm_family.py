"""Every arm against its published numbers, computed independently of MuJoCo, and in the tasks."""

from math import pi

import gymnasium as gym
import mujoco
import numpy as np
import pytest

import envs
from envs import ArmKinematics, PushEnv, PushExplorer, ReachEnv, find_workspace, known_arms, load_arm
from envs.arms.arm import Arm

ARMS = known_arms()
H = pi / 2
# Craig DH parameters (a [m], d [m], alpha [rad]): frankarobotics.github.io/docs/control_parameters.html
FRANKA = [(0, 0.333, 0), (0, 0, -H), (0, 0.316, H), (0.0825, 0, H), (-0.0825, 0.384, -H), (0, 0, H), (0.088, 0, H)]
# UFACTORY xArm developer manual, modified DH parameters
XARM7 = [(0, 0.267, 0), (0, 0, -H), (0, 0.293, H), (0.0525, 0, H), (0.0775, 0.3425, H), (0, 0, H), (0.076, 0.097, -H)]
# Standard DH parameters: universal-robots.com, "DH Parameters for calculations of kinematics and dynamics"
UR5E = [(0, 0.1625, H), (-0.425, 0, 0), (-0.3922, 0, 0), (0, 0.1333, H), (0, 0.0997, -H), (0, 0.0996, 0)]
# Origins of the joints (xyz [m], rpy [rad]) and of the gripper's frame: so101_new_calib.urdf of SO-ARM100
SO101 = [
    ((0.0388353, -8.97657e-09, 0.0624), (3.14159, 4.18253e-17, -3.14159)),
    ((-0.0303992, -0.0182778, -0.0542), (-1.5708, -1.5708, 0)),
    ((-0.11257, -0.028, 1.73763e-16), (-3.63608e-16, 8.74301e-16, 1.5708)),
    ((-0.1349, 0.0052, 3.62355e-17), (4.02456e-15, 8.67362e-16, -1.5708)),
    ((5.55112e-17, -0.0611, 0.0181), (1.5708, 0.0486795, 3.14159)),
]
SO101_TIP = ((-0.0079 + 0.012, -0.000218121, -0.0981274), (0, 3.14159, 0))  # between the jaws, not on the fixed one
MOVING_MASS = {  # [kg], with the gripper; sources beside the numbers in the MJCF files
    "panda": 4.970684 + 0.646926 + 3.228604 + 3.587895 + 1.225946 + 1.666555 + 0.735522 + 0.73,
    "fr3": 2.92746535 + 2.93553703 + 2.24490137 + 2.61559558 + 2.32712076 + 1.81703765 + 0.62714329 + 0.73,
    "ur5e": 3.761 + 8.058 + 2.846 + 1.37 + 1.3 + 0.365 + 0.66320197 + 2 * 0.12883083,
    "xarm7": 2.382 + 1.869 + 1.6383 + 1.7269 + 1.3203 + 1.325 + 0.17 + 0.54156 + 2 * 0.10493458,
    "so101": 0.100006 + 0.103 + 0.104 + 0.079 + 0.087 + 0.012,
}


def turn(axis: str, angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    matrix = np.eye(4)
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix[[i, i, j, j], [i, j, i, j]] = c, -s, s, c
    return matrix


def shift(x: float, y: float, z: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = x, y, z
    return matrix


def origin(xyz: tuple[float, ...], rpy: tuple[float, ...]) -> np.ndarray:
    return shift(*xyz) @ turn("z", rpy[2]) @ turn("y", rpy[1]) @ turn("x", rpy[0])


def craig(table: list, q: np.ndarray, tool: float) -> np.ndarray:
    pose = np.eye(4)
    for (a, d, alpha), theta in zip(table, q, strict=True):
        pose = pose @ turn("x", alpha) @ shift(a, 0, 0) @ turn("z", theta) @ shift(0, 0, d)
    return pose @ shift(0, 0, tool)


def standard(table: list, q: np.ndarray, tool: float) -> np.ndarray:
    pose = turn("z", pi)  # from base_link of ROS, x ahead, to the base of the controller
    for (a, d, alpha), theta in zip(table, q, strict=True):
        pose = pose @ turn("z", theta) @ shift(0, 0, d) @ shift(a, 0, 0) @ turn("x", alpha)
    return pose @ shift(0, 0, tool)


def urdf(q: np.ndarray) -> np.ndarray:
    pose = np.eye(4)
    for (xyz, rpy), theta in zip(SO101, q, strict=True):
        pose = pose @ origin(xyz, rpy) @ turn("z", theta)
    return pose @ origin(*SO101_TIP)


PUBLISHED = {
    "panda": lambda q: craig(FRANKA, q, 0.107 + 0.1034),
    "fr3": lambda q: craig(FRANKA, q, 0.107 + 0.1034),
    "xarm7": lambda q: craig(XARM7, q, 0.172),
    "ur5e": lambda q: standard(UR5E, q, 0.145),
    "so101": urdf,
}


@pytest.fixture(params=ARMS)
def arm(request: pytest.FixtureRequest) -> Arm:
    return load_arm(request.param)


def test_forward_kinematics_is_the_published_one(arm: Arm) -> None:
    kinematics = ArmKinematics(arm)
    for q in np.random.default_rng(0).uniform(arm.q_min, arm.q_max, (100, arm.n)):
        pose = PUBLISHED[arm.name](q)
        np.testing.assert_allclose(kinematics.ee_pos(q), pose[:3, 3], atol=1e-5)  # 10 um: the digits of pi in URDFs
        np.testing.assert_allclose(kinematics.tool_axis(q), pose[:3, 2], atol=1e-4)


@pytest.mark.parametrize(
    ("name", "q_min", "q_max", "dq_max", "ddq_max", "tau_max"),
    [
        (
            "fr3",
            [-2.7437, -1.7837, -2.9007, -3.0421, -2.8065, 0.5445, -3.0159],
            [2.7437, 1.7837, 2.9007, -0.1518, 2.8065, 4.5169, 3.0159],
            [2.62] * 4 + [5.26, 4.18, 5.26],
            10,
            [87] * 4 + [12] * 3,
        ),
        (
            "ur5e",
            np.radians([-360, -360, -180, -360, -360, -360]),
            np.radians([360, 360, 180, 360, 360, 360]),
            np.radians(180),
            7.5,
            [150] * 3 + [28] * 3,
        ),
        (
            "xarm7",
            [-2 * pi, -2.059, -2 * pi, -0.19198, -2 * pi, -1.69297, -2 * pi],
            [2 * pi, 2.0944, 2 * pi, 3.927, 2 * pi, pi, 2 * pi],
            3.14,
            10,
            [50, 50, 30, 30, 30, 20, 20],
        ),
        (
            "so101",
            [-1.91986, -1.74533, -1.69, -1.65806, -2.74385],
            [1.91986, 1.74533, 1.69, 1.65806, 2.84121],
            4.7,
            20,
            2.94,
        ),
    ],
)
def test_limits_are_the_published_ones(name, q_min, q_max, dq_max, ddq_max, tau_max) -> None:
    arm = load_arm(name)
    for values, expected in (
        (arm.q_min, q_min),
        (arm.q_max, q_max),
        (arm.dq_max, dq_max),
        (arm.ddq_max, ddq_max),
        (arm.tau_max, tau_max),
    ):
        np.testing.assert_allclose(values, np.broadcast_to(expected, (arm.n,)), atol=1e-7)


def test_mass_is_the_published_one(arm: Arm) -> None:
    model = arm.load_model()
    first = int(model.jnt_bodyid[0])
    np.testing.assert_allclose(model.body_subtreemass[first], MOVING_MASS[arm.name], atol=2e-5)


def test_compiled_file_is_the_model_bit_by_bit(arm: Arm) -> None:
    first, again = arm.compiled_file(), arm.compiled_file()
    assert first == again and first.suffix == ".mjb"
    model, loaded = arm.load_model(), mujoco.MjModel.from_binary_path(str(first))
    for name in ("body_pos", "body_quat", "body_inertia", "actuator_gainprm", "jnt_range", "geom_size", "dof_armature"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(model, name))
    first.write_bytes(b"torn")
    assert arm.compiled_file().read_bytes()[:4] != b"torn"


def test_servos_follow_the_joints_and_gravity_is_compensated(arm: Arm) -> None:
    for gripper in (False, True):
        model = arm.load_model(gripper=gripper)
        assert [int(i) for i in model.actuator_trnid[:, 0]] == list(range(model.nu)) == list(range(model.njnt))
        assert model.nu == arm.n + gripper * len(arm.fingers)
        data = mujoco.MjData(model)
        data.qpos[: arm.n] = data.ctrl[: arm.n] = arm.home
        for i, (closed, opened) in enumerate(arm.fingers.values() if gripper else ()):
            data.qpos[arm.n + i] = data.ctrl[arm.n + i] = (closed + opened) / 2
        mujoco.mj_forward(model, data)
        assert data.ncon == 0
        np.testing.assert_allclose(data.qacc, 0.0, atol=1e-9)


@pytest.mark.parametrize("name", ARMS)
def test_fingers_open_and_close(name: str) -> None:
    arm = load_arm(name)
    model = arm.load_model(gripper=True)
    data = mujoco.MjData(model)
    data.qpos[: arm.n] = data.ctrl[: arm.n] = arm.home
    closed, opened = np.array(list(arm.fingers.values())).T
    for target in (opened, closed, opened):
        data.ctrl[arm.n :] = target
        mujoco.mj_step(model, data, 500)
        stroke = np.abs(opened - closed)
        assert (np.abs(data.qpos[arm.n :] - target) < 0.03 * stroke).all()
        np.testing.assert_allclose(data.qpos[: arm.n], arm.home, atol=0.01)
    assert not any(int(warning.number) for warning in data.warning)


def test_a_joint_follows_its_servo_without_overshoot(arm: Arm) -> None:
    model = arm.load_model()
    data = mujoco.MjData(model)
    for joint in range(arm.n):
        mujoco.mj_resetData(model, data)
        data.qpos[:] = data.ctrl[:] = arm.home
        data.ctrl[joint] += 0.05
        peak = 0.0
        for _ in range(250):
            mujoco.mj_step(model, data)
            peak = max(peak, data.qpos[joint] - arm.home[joint])
        assert peak < 0.05 * 1.1
        np.testing.assert_allclose(data.qpos[joint] - arm.home[joint], 0.05, atol=0.003)


def test_the_workspace_can_be_reached_without_touching(arm: Arm) -> None:
    space, kinematics = find_workspace(arm), ArmKinematics(arm)
    assert 0.3 < space.scale <= 1.0 and (space.reach_low < space.reach_high).all()
    rng = np.random.default_rng(0)
    for point in rng.uniform(space.reach_low, space.reach_high, (50, 3)):
        q = kinematics.solve_position(point)
        assert q is not None and kinematics.collision_free(q), point
    for xy in rng.uniform(space.table_low, space.table_high, (50, 2)):
        q = kinematics.solve_position((*xy, 0.06 * space.scale), space.posture)
        assert q is not None and kinematics.collision_free(q), xy
    assert kinematics.tool_axis(space.posture)[2] < -0.99


@pytest.mark.parametrize("name", ARMS)
def test_reach_is_solved_by_inverse_kinematics(name: str) -> None:
    env = ReachEnv(name)
    for seed in range(5):
        obs, _ = env.reset(seed=seed)
        target = env.kinematics.solve_position(obs["desired_goal"], env.ref.q)
        assert target is not None
        for _ in range(60):
            *_, info = env.step(np.clip((target - env.ref.q) / 0.15, -1, 1))
        assert info["is_success"] and info["distance"] < 0.005


@pytest.mark.parametrize("name", ARMS)
def test_push_is_solved_by_the_script(name: str) -> None:
    env = PushEnv(name)
    area = {"low": env.goal_low, "high": env.goal_high, "size": env.workspace.scale}
    done = 0
    for seed in range(6):
        obs, _ = env.reset(seed=seed)
        policy = PushExplorer(np.random.default_rng(0), env.arm.n, **area, noise=0, goal_share=1, wander_share=0)
        policy.reset(obs["desired_goal"])
        reached = False
        for _ in range(100):
            obs, *_, info = env.step(policy.act(obs["observation"]))
            reached = reached or info["is_success"]
        done += reached
    assert done >= 5
    assert not any(int(warning.number) for warning in env.data.warning)


def test_every_arm_is_registered_with_every_task() -> None:
    ids = {name for name in gym.registry if name.startswith("LoopWM/")}
    for spelled in ("Panda", "FR3", "UR5e", "SO101", "XArm7"):
        for task in ("Reach", "Push"):
            assert f"LoopWM/{spelled}{task}-v0" in ids
    assert {gym.spec(name).kwargs["arm"] for name in ids} == set(ARMS) and envs.known_arms() == ARMS
