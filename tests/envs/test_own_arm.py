"""Arms that are not of this package: described by a YAML file, with MJCF or URDF of any origin."""

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import pytest
import yaml
from gymnasium.utils.env_checker import check_env

from envs import (
    ArmKinematics,
    ButtonPressEnv,
    DoorOpenEnv,
    DrawerOpenEnv,
    PegInsertEnv,
    PushEnv,
    PushExplorer,
    ReachEnv,
    find_workspace,
    load_arm,
)
from envs.tasks.fixture import FixtureEnv

# As others write them: motors instead of servos, fingers of which one slides and one turns, scenery, a keyframe.
MJCF = """
<mujoco>
  <compiler angle="radian"/>
  <option timestep="0.01" gravity="0 0 -3"/>
  <default><geom density="500" contype="1" conaffinity="1"/><joint armature="0.05" damping="0.2"/></default>
  <worldbody>
    <light pos="0 0 3"/>
    <geom name="floor" type="plane" size="1 1 0.1" pos="0 0 -0.5"/>
    <body name="crate" pos="0.4 0 0.1"><freejoint/><geom type="box" size="0.1 0.1 0.1"/></body>
    <body name="base" pos="0 0 0.05">
      <geom type="cylinder" size="0.05 0.04"/>
      <body name="turret" pos="0 0 0.15">
        <joint name="pan" axis="0 0 1"/>
        <geom type="capsule" size="0.03" fromto="0 0 -0.08 0 0 -0.02"/>
        <body name="upper">
          <joint name="lift" axis="0 1 0" range="-2 2" limited="true"/>
          <geom type="capsule" size="0.025" fromto="0 0 0.06 0 0 0.3"/>
          <body name="fore" pos="0 0 0.36">
            <joint name="elbow" axis="0 1 0" range="-2.6 2.6" limited="true"/>
            <geom type="capsule" size="0.022" fromto="0 0 0.06 0 0 0.22"/>
            <body name="wrist" pos="0 0 0.28">
              <joint name="flex" axis="0 1 0" range="-2 2" limited="true"/>
              <geom type="capsule" size="0.02" fromto="0 0 0.02 0 0 0.05"/>
              <site name="tip" pos="0 0 0.12" euler="0 0 0.5"/>
              <body name="left" pos="0 0.01 0.07">
                <joint name="slide" type="slide" axis="0 1 0" range="0 0.03" limited="true"/>
                <geom type="box" size="0.008 0.004 0.03" pos="0 0 0.02"/>
              </body>
              <body name="right" pos="0 -0.01 0.07" euler="0 0 3.14159265">
                <joint name="hinge" axis="1 0 0" range="-0.6 0.6" limited="true" pos="0 0 0.005"/>
                <geom type="box" size="0.008 0.004 0.03" pos="0 0.004 0.02"/>
              </body>
            </body>
          </body>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="pan"/><motor joint="lift"/></actuator>
  <sensor><jointpos joint="pan"/></sensor>
  <keyframe><key qpos="0.4 0 0.1 1 0 0 0 0.1 0.1 0.1 0.1 0 0"/></keyframe>
</mujoco>
"""
URDF = """
<robot name="four">
  <link name="base">
    <inertial><mass value="1"/><inertia ixx="0.01" iyy="0.01" izz="0.01" ixy="0" ixz="0" iyz="0"/></inertial>
  </link>
  {links}
</robot>
"""
LINK = """
  <link name="l{i}">
    <inertial><origin xyz="0 0 {half}"/><mass value="0.5"/>
      <inertia ixx="0.004" iyy="0.004" izz="0.001" ixy="0" ixz="0" iyz="0"/></inertial>
    <collision><origin xyz="0 0 {half}"/><geometry><cylinder radius="0.02" length="{inner}"/></geometry></collision>
  </link>
  <joint name="j{i}" type="revolute"><parent link="{parent}"/><child link="l{i}"/><origin xyz="0 0 {offset}"/>
    <axis xyz="{axis}"/><limit lower="-2.5" upper="2.5" effort="30" velocity="2"/></joint>
"""
GRIPPER = {"joints": {"slide": [0.0, 0.03], "hinge": [0.0, -0.5]}, "force": 5}
ARM: dict[str, Any] = {
    "model": "arm.xml",
    "joints": ["pan", "lift", "elbow", "flex"],
    "home": [0.0, 0.2, 1.5, 1.3],
    "ee": "tip",
    "tau_max": 30,
    "gripper": GRIPPER,
}


def write(folder: Path, text: str = MJCF, name: str = "own", **changes: Any) -> Path:
    about = {key: value for key, value in {**ARM, **changes}.items() if value is not None}
    (folder / about.get("model", "arm.xml")).write_text(text)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(about))
    return path


def urdf_arm(folder: Path) -> Path:
    lengths = (0.15, 0.35, 0.3, 0.12)
    links = [
        LINK.format(
            i=i,
            half=length / 2,
            inner=length - 0.08,
            parent=f"l{i - 1}" if i > 1 else "base",
            offset=(0.05, *lengths)[i - 1],
            axis="0 0 1" if i == 1 else "0 1 0",
        )
        for i, length in enumerate(lengths, 1)
    ]
    joints = [f"j{i}" for i in range(1, 5)]
    tip = {"ee": "l4", "ee_pos": [0, 0, 0.12], "gripper": None, "tau_max": None}
    return write(folder, URDF.format(links="".join(links)), "four", model="four.urdf", joints=joints, **tip)


@pytest.fixture(params=("mjcf", "urdf"))
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write(tmp_path) if request.param == "mjcf" else urdf_arm(tmp_path)


@pytest.mark.parametrize("mode", ("joint_delta", "cartesian_delta"))
@pytest.mark.parametrize("task", (ReachEnv, PushEnv))
def test_every_task_and_control_mode(path: Path, task: type, mode: str) -> None:
    env = task(str(path), control_mode=mode)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env, skip_render_check=True)
    assert env.action_space.shape == ((4,) if mode == "joint_delta" else (3,))
    made = gym.make("envs:LoopWM/PandaReach-v0", arm=str(path)).unwrapped
    assert isinstance(made, ReachEnv) and made.arm is env.arm


@pytest.mark.slow
@pytest.mark.parametrize("task", (ButtonPressEnv, DoorOpenEnv, DrawerOpenEnv, PegInsertEnv))
def test_scripts_solve_the_tasks(path: Path, task: type[FixtureEnv]) -> None:
    env, done = task(str(path)), 0
    script = env.script()
    for seed in range(10):
        obs, _ = env.reset(seed=seed)
        script.reset(obs["desired_goal"])
        for _ in range(100):
            obs, *_, info = env.step(script.act(obs["observation"]))
        done += info["is_success"]
    assert done >= 9


@pytest.mark.parametrize("task", (ButtonPressEnv, DrawerOpenEnv))
def test_a_table_without_room_is_refused(tmp_path: Path, task: type[FixtureEnv]) -> None:
    corners = {"table_low": [0.3, 0.0], "table_high": [0.3, 0.0] if task is ButtonPressEnv else [0.33, 0.03]}
    with pytest.raises(ValueError, match=r"arm 'own' has no room on its table for this task: .* give its file"):
        task(str(write(tmp_path, **corners)))


def test_it_does_what_it_is_told(path: Path) -> None:
    env = ReachEnv(str(path))
    for seed in range(3):
        obs, _ = env.reset(seed=seed)
        target = env.kinematics.solve_position(obs["desired_goal"], env.ref.q)
        assert target is not None
        for _ in range(60):
            *_, info = env.step(np.clip((target - env.ref.q) / 0.15, -1, 1))
        assert info["distance"] < 0.01
    assert not any(int(warning.number) for warning in env.data.warning)


def test_only_the_robot_is_taken_from_the_file(tmp_path: Path) -> None:
    arm = load_arm(write(tmp_path))
    model = arm.load_model()
    names = {model.body(i).name for i in range(model.nbody)} | {model.geom(i).name for i in range(model.ngeom)}
    assert "crate" not in names and "floor" not in names and model.nq == model.nu == 4 and model.nkey == 0
    assert model.opt.timestep == 0.002 and model.opt.gravity[2] == -9.81
    np.testing.assert_allclose(arm.q_min, [-2 * np.pi, -2, -2.6, -2])  # a joint without limits turns once
    np.testing.assert_allclose(arm.tau_max, 30)


def test_torque_limits_come_from_the_model_where_the_file_has_none(tmp_path: Path) -> None:
    np.testing.assert_allclose(load_arm(urdf_arm(tmp_path)).tau_max, 30)
    with pytest.raises(ValueError, match=r"arm.xml has no torque limits; give tau_max"):
        load_arm(write(tmp_path, tau_max=None))


def test_frozen_fingers_stand_where_moving_ones_would(tmp_path: Path) -> None:
    arm = load_arm(write(tmp_path, gripper={**GRIPPER, "hold": 0.7}))
    frozen, moving = arm.load_model(), arm.load_model(gripper=True)
    poses = []
    for model in (frozen, moving):
        data = mujoco.MjData(model)
        data.qpos[:4] = arm.home
        data.qpos[4:] = [0.021, -0.35][: model.nq - 4]
        mujoco.mj_forward(model, data)
        boxes = np.flatnonzero(model.geom_type == int(mujoco.mjtGeom.mjGEOM_BOX))
        poses.append(np.concatenate([data.geom_xpos[boxes], data.geom_xmat[boxes]], axis=1))
    assert poses[0].shape == (2, 12)
    np.testing.assert_allclose(poses[0], poses[1], atol=1e-9)


def test_base_can_be_moved_and_turned(tmp_path: Path) -> None:
    plain = load_arm(write(tmp_path))
    moved = load_arm(write(tmp_path, name="moved", base_pos=[0.1, 0.2, 0.3], base_yaw=np.pi / 2))
    q = [0.3, 0.2, 1.0, 0.4]
    x, y, z = ArmKinematics(plain).ee_pos(q)
    np.testing.assert_allclose(ArmKinematics(moved).ee_pos(q), [0.1 - y, 0.2 + x, 0.3 + z], atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": None}, "lacks 'model': the MJCF or URDF file"),
        ({"joints": None}, "lacks 'joints': joint names from base to tip"),
        ({"home": None}, "lacks 'home': a pose"),
        ({"joints": "pan"}, "joints is 'pan', must be a list of names"),
        ({"joints": ["pan", "lift", "elbow", "bend"]}, "joint 'bend' is not in arm.xml, which has: pan, lift, elbow"),
        ({"joints": ["lift", "pan", "elbow", "flex"]}, "the model has the order"),
        ({"joints": ["pan", "lift", "elbow", "slide"], "gripper": None}, "joint 'slide' does not turn"),
        ({"home": [0.0, 0.2, 1.5]}, r"home is \[0.0, 0.2, 1.5\], must be 4 finite numbers"),
        ({"home": [0.0, 0.2, 1.5, 9.0]}, r"home of joint 'flex' is 9 rad, allowed \[-2, 2\]"),
        ({"home": [0.0, 1.9, 1.5, 1.3]}, "touch in the home pose .* choose another home"),
        ({"ee": "toe"}, "site 'toe' for the tool centre point is not in arm.xml, sites there: tip"),
        ({"ee": "toe", "ee_pos": [0, 0, 0]}, "ee names the body 'toe', arm.xml has: .*wrist"),
        ({"ee_pos": [0, 0]}, r"ee_pos is \[0, 0\], must be 3 finite numbers"),
        ({"tau_max": -1}, "tau_max is -1, must be positive"),
        ({"tau_max": [1, 2]}, "tau_max is .* must be 1 or 4 finite numbers"),
        ({"speed": 3}, "'speed' is unknown, known keys: model, joints, home"),
        ({"reach_low": [0, 0, 0]}, "reach_low and reach_high go together"),
        ({"gripper": "claw"}, "gripper 'claw' is unknown, known: franka_hand"),
        ({"gripper": 3}, "gripper is 3, must be a name or a mapping"),
        ({"gripper": {"joints": {"slide": [0, 0.03]}}}, "gripper lacks 'force'"),
        ({"gripper": {"joints": {}, "force": 1}}, "gripper.joints is {}, must be name: "),
        ({"gripper": {"joints": {"slide": [0]}, "force": 1}}, "gripper.joints.slide is .* must be 2 finite numbers"),
        ({"gripper": {**GRIPPER, "force": 0}}, "gripper.force is 0.0 and hold 0.5, allowed above 0"),
        ({"gripper": {"joints": {"thumb": [0, 1]}, "force": 1}}, "joint 'thumb' is not in arm.xml"),
        ({"gripper": "franka_hand"}, "has no site 'flange' for the gripper; name one in 'flange'"),
        ({"gripper": {**GRIPPER, "model": "hand.xml"}}, "gripper.model .*hand.xml is not a file"),
    ],
)
def test_what_is_missing_or_wrong_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = write(tmp_path, **changes)
    with pytest.raises(ValueError, match=message) as error:
        ReachEnv(str(path))
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere.yaml cannot be read: No such file"):
        load_arm(tmp_path / "nowhere.yaml")
    (tmp_path / "text.yaml").write_text("a: [")
    with pytest.raises(ValueError, match="is not YAML"):
        load_arm(tmp_path / "text.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(ValueError, match="holds list, must be a mapping"):
        load_arm(tmp_path / "list.yaml")
    with pytest.raises(ValueError, match=r"model .*arm.xml of arm 'own' cannot be read"):
        load_arm(write(tmp_path, "<mujoco><worldbody></mujoco>"))
    with pytest.raises(ValueError, match=r"gone.xml is not a file"):
        path = write(tmp_path)
        path.write_text(path.read_text().replace("arm.xml", "gone.xml"))
        load_arm(path.rename(tmp_path / "other.yaml"))


def test_an_arm_without_gripper_says_so(tmp_path: Path) -> None:
    arm = load_arm(urdf_arm(tmp_path))
    assert arm.fingers == {}
    with pytest.raises(ValueError, match="arm 'four' has no gripper, which the task needs"):
        arm.load_model(gripper=True)


def test_an_arm_that_reaches_nothing_says_so(tmp_path: Path) -> None:
    arm = load_arm(write(tmp_path, base_pos=[0, 0, -0.5], home=[0.0, 0.0, 0.0, 0.0]))
    with pytest.raises(ValueError, match=r"touch in the home pose|no box around the tool centre point"):
        find_workspace(arm)


# -- models of others ------------------------------------------------------------


def needs(name: str) -> None:
    """A package of others: part of the extra `dev`, but for robosuite, which cannot stand beside our versions."""
    if importlib.util.find_spec(name) is None:
        assert name == "robosuite", f"{name} is part of the extra 'dev'"
        pytest.skip("robosuite is not installed; see docs/environments.md")


def reaches_and_pushes(name: str, *, push: bool = True) -> None:
    env = ReachEnv(name)
    obs, _ = env.reset(seed=0)
    target = env.kinematics.solve_position(obs["desired_goal"], env.ref.q)
    assert target is not None
    for _ in range(60):
        *_, info = env.step(np.clip((target - env.ref.q) / 0.15, -1, 1))
    assert info["distance"] < 0.005
    if push:
        env = PushEnv(name)
        area = {"low": env.goal_low, "high": env.goal_high, "size": env.workspace.scale}
        policy = PushExplorer(np.random.default_rng(0), env.arm.n, **area, noise=0, goal_share=1, wander_share=0)
        best = []
        for seed in range(3):
            obs, _ = env.reset(seed=seed)
            policy.reset(obs["desired_goal"])
            best.append(min(env.step(policy.act(env.vector_observation()))[4]["distance"] for _ in range(100)))
        assert (np.array(best) < env.threshold).sum() >= 2
    assert not any(int(warning.number) for warning in env.data.warning)


def test_the_jaco_of_dm_control() -> None:
    needs("dm_control")
    reaches_and_pushes("jaco")
    arm = load_arm("jaco")
    assert arm.load_model(gripper=True).nu == 9
    assert gym.make("LoopWM/PandaReach-v0", arm="jaco").unwrapped.arm is arm


def test_the_pusher_of_gymnasium() -> None:
    reaches_and_pushes("pusher", push=False)  # its wrist cannot point down


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "package"),
    [("fetch", "gymnasium_robotics"), ("iiwa", "robosuite"), ("kinova3", "robosuite")],
)
def test_arms_of_other_packages(name: str, package: str) -> None:
    needs(package)
    reaches_and_pushes(name)


def test_a_package_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="package 'no_such_package' is not installed"):
        load_arm(write(tmp_path, package="no_such_package"))
    with pytest.raises(ValueError, match=r"arm 'jacko' is unknown, known arms: fr3, .*, fetch, iiwa, jaco"):
        load_arm("jacko")
