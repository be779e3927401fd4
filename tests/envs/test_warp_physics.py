"""MuJoCo Warp behind the same interface: near what MuJoCo does, whatever the episode, the rows and the dynamics."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import pytest

import envs
from envs import TRAINING, ArmVectorEnv, observation_groups
from envs.action import JointReference
from envs.dynamics import CHANGED_FIELDS, ModelDynamics
from envs.randomize import Dynamics
from envs.tasks.push import PushEnv
from envs.warp_physics import CONTACTS, WarpPhysics

gym.register_envs(envs)
needs_warp = pytest.mark.skipif(
    find_spec("mujoco_warp") is None, reason="MuJoCo Warp is not installed: pip install 'loopwm-robot[warp]'"
)
REACH, PUSH = "LoopWM/PandaReach-v0", "LoopWM/PandaPush-v0"


def both(name: str, num: int, **options: Any) -> tuple[ArmVectorEnv, ArmVectorEnv]:
    plain = gym.make_vec(name, num, autoreset_mode="SameStep", **options)
    warp = gym.make_vec(name, num, autoreset_mode="SameStep", physics="warp", device="cpu", **options)
    assert isinstance(plain, ArmVectorEnv) and isinstance(warp, ArmVectorEnv)
    assert isinstance(warp.physics, WarpPhysics)
    return plain, warp


@needs_warp
@pytest.mark.slow
@pytest.mark.parametrize("mode", ["joint_delta", "joint_torque"])
def test_free_motion_is_that_of_mujoco_over_the_ends_of_episodes(mode):
    plain, warp = both(REACH, 3, max_episode_steps=4, control_mode=mode)
    first, other = plain.reset(seed=1), warp.reset(seed=1)
    np.testing.assert_array_equal(first[0]["observation"], other[0]["observation"])
    rng = np.random.default_rng(0)
    for _ in range(10):
        actions = rng.uniform(-1, 1, plain.action_space.shape)
        ours, theirs = plain.step(actions), warp.step(actions)
        for key in ours[0]:
            np.testing.assert_allclose(theirs[0][key], ours[0][key], atol=5e-4, err_msg=key)
        np.testing.assert_allclose(theirs[1], ours[1], atol=1e-4)
        np.testing.assert_array_equal(theirs[3], ours[3])
    plain.close()
    warp.close()


@needs_warp
@pytest.mark.slow
def test_each_step_of_a_push_is_that_of_mujoco():
    """From the same state each time: a hand that bounces on an object is chaos, in whatever precision."""
    plain, warp = both(PUSH, 6, control_mode="cartesian_delta")
    obs, _ = plain.reset(seed=3)
    warp.reset(seed=3)
    tip = observation_groups(plain.single.arm.n)["ee_pos"]
    touched, moved, apart = [], [], []
    for _ in range(25):  # the hand goes to the object and on
        for i in range(6):
            warp.physics.place(i, plain.physics.state[i], plain.physics.warmstart[i])
        warp._ref = JointReference(plain._ref.q.copy(), plain._ref.dq.copy())
        way = obs["achieved_goal"] - obs["observation"][:, tip]
        actions = np.clip(20.0 * way, -1, 1).astype(np.float32)
        ours, theirs = plain.step(actions), warp.step(actions)
        touched.append((ours[4]["contact"].copy(), theirs[4]["contact"].copy()))
        moved.append(np.linalg.norm(ours[0]["achieved_goal"] - obs["achieved_goal"], axis=1))
        apart.append(np.linalg.norm(theirs[0]["achieved_goal"] - ours[0]["achieved_goal"], axis=1))
        obs = ours[0]
    first, other = (np.array(column) for column in zip(*touched, strict=True))
    assert first.any(axis=0).all() and (first == other).mean() > 0.88  # the hand bounces within a step
    pushed = first & (np.array(moved) > 2e-3)
    assert pushed.sum() > 15 and np.median(np.array(apart)[pushed] / np.array(moved)[pushed]) < 0.1
    plain.close()
    warp.close()


@needs_warp
@pytest.mark.slow
def test_each_environment_has_its_own_dynamics():
    plain, warp = both("LoopWM/PandaReachHidden-v0", 4, max_episode_steps=5)
    plain.reset(seed=2)
    warp.reset(seed=2)
    assert len({true.payload for true in warp._true}) == 4
    rng = np.random.default_rng(0)
    for _ in range(8):  # beyond the end of the episode, where new dynamics are drawn
        actions = rng.uniform(-1, 1, plain.action_space.shape)
        ours, theirs = plain.step(actions), warp.step(actions)
        np.testing.assert_allclose(theirs[0]["observation"], ours[0]["observation"], atol=2e-3)
    plain.close()
    warp.close()


@needs_warp
@pytest.mark.slow
def test_rows_that_are_left_out_stay_where_they_are():
    plain, warp = both(REACH, 3)
    plain.reset(seed=0)
    warp.reset(seed=0)
    before = warp.physics.state.copy()
    warp.physics.ctrl[:] = warp._ref.q[:, None] + 0.05
    warp.physics.step(np.array([0, 2]))
    assert (warp.physics.state[1] == before[1]).all()
    assert (np.abs(warp.physics.state[[0, 2], 1:8] - before[[0, 2], 1:8]).max(axis=1) > 1e-3).all()
    plain.close()
    warp.close()


@needs_warp
@pytest.mark.slow
def test_too_many_contacts_are_told():
    scene = "".join(
        f'<body pos="{k % 10 / 20} {k // 10 / 20} .019"><freejoint/><geom type="box" size=".02 .02 .02"/></body>'
        for k in range(CONTACTS // 4 + 5)
    )
    model = mujoco.MjModel.from_xml_string(
        f'<mujoco><worldbody><geom type="plane" size="2 2 1"/>{scene}<body><joint name="j"/>'
        '<geom size=".01" mass="1" contype="0" conaffinity="0"/><site/></body></worldbody>'
        '<actuator><motor joint="j"/></actuator><sensor><jointpos joint="j"/></sensor></mujoco>'
    )
    physics = WarpPhysics([model], [0], 2, "cpu")
    data = mujoco.MjData(model)
    physics.place(0, np.concatenate([[0.0], data.qpos, data.qvel]), np.zeros(model.nv))
    with pytest.raises(RuntimeError, match=f"environment 0 has more than the {CONTACTS} contacts"):
        physics.step(np.array([0]))


@needs_warp
def test_what_it_cannot_do_is_refused():
    with pytest.raises(ValueError, match="device is 'cuda:7', allowed cpu"):
        gym.make_vec(REACH, 2, physics="warp", device="cuda:7")
    with pytest.raises(ValueError, match="allowed 'mujoco' where a task or its options are not batched"):
        gym.make_vec("LoopWM/PandaStack-v0", 2, physics="warp")


def test_physics_have_names():
    with pytest.raises(ValueError, match="physics is 'gpu', allowed mujoco, warp"):
        gym.make_vec(REACH, 2, physics="gpu")


def test_without_the_package_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "warp", None)
    with pytest.raises(ImportError, match=r"pip install 'loopwm-robot\[warp\]'"):
        gym.make_vec(REACH, 2, physics="warp")


def test_the_fields_that_dynamics_change_are_listed():
    env = PushEnv(randomize=TRAINING)
    model = env.model
    fields = [name for name in dir(model) if isinstance(getattr(model, name), np.ndarray)]
    unused = {name for name in fields if name.startswith(("cam_", "light_"))} | {"dof_M0", "dof_length"}
    dynamics = ModelDynamics(model, env.arm)
    before = {name: getattr(model, name).copy() for name in fields}
    strange = Dynamics(
        payload=0.7, friction=2.0, damping=2.0, gain=0.8, object_mass=2.0, object_friction=2.0, object_size=1.2,
        link_length=1.05,
    )  # fmt: skip
    dynamics.apply(strange)
    changed = {name for name in fields if not np.array_equal(before[name], getattr(model, name))}
    assert changed - unused <= set(CHANGED_FIELDS)
    assert {"body_mass", "dof_damping", "geom_size", "body_pos", "actuator_gainprm"} <= changed
