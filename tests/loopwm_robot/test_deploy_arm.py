"""The arm's settings against its MJCF, and the checks before anything moves."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import envs
from envs import JointDelta, load_arm, observation_groups, observation_size
from hardware import FakeClock, Mode
from loopwm_robot.checkpoint import Spaces
from loopwm_robot.deploy import ArmConfig, make_bridge, preflight
from loopwm_robot.errors import RequestError
from loopwm_robot.schema import build, plain

FOLDER = Path(__file__).parents[2] / "configs/arm"
ARM = load_arm("panda")
POSITION = observation_groups(ARM.n)["ee_pos"]
SPACES = Spaces(
    env_id="LoopWM/PandaReach-v0",
    control_mode="joint_delta",
    n_obs=observation_size(ARM.n),
    nu=ARM.n,
    n_goal=3,
    ctrl_dt=0.05,
    position=(POSITION.start, POSITION.stop),
)


def values(**changes) -> dict:
    return yaml.safe_load((FOLDER / "panda_sim.yaml").read_text()) | changes


def config(**changes) -> ArmConfig:
    return build(ArmConfig, values(**changes), "arm")


@pytest.fixture
def joint_delta() -> JointDelta:
    return JointDelta(ARM.q_min, ARM.q_max)


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_arm_file_agrees_with_its_mjcf(file):
    arm_config = build(ArmConfig, yaml.safe_load(file.read_text()), "arm")
    arm, limits = load_arm(arm_config.name), arm_config.limits
    assert arm_config.joint_names == arm.joint_names == limits.names
    for key in ("q_min", "q_max", "tau_max"):
        np.testing.assert_array_equal(getattr(limits, key), getattr(arm, key), err_msg=key)
    stricter = arm_config.driver == "franka"  # whose client has the Panda's speeds built in
    for key in ("dq_max", "ddq_max"):
        own, published = getattr(limits, key), getattr(arm, key)
        assert (own <= published).all() if stricter else np.array_equal(own, published), key
    np.testing.assert_allclose(arm_config.home, arm.home, atol=1e-12)
    assert arm_config.source == limits.source and arm_config.source.startswith(arm.source)
    assert stricter or arm_config.source == arm.source


def test_settings_survive_the_trip_through_a_file():
    first = config(bridge={"rate_hz": 500})
    assert build(ArmConfig, yaml.safe_load(yaml.safe_dump(plain(first)))) == first
    assert first.bridge.rate_hz == 500.0 and first.n == 7


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"q_min": [0.0] * 6}, "arm.q_min has 6 entries, allowed 7"),
        ({"dq_max": [2.0] * 6 + [0.0]}, "arm.dq_max of 'joint7' is 0.0 rad/s, allowed [0.001, 100] rad/s"),
        ({"tau_max": [float("nan")] + [1.0] * 6}, "arm.tau_max of 'joint1' is nan N m"),
        ({"q_min": values()["q_max"]}, "allowed below q_max"),
        ({"home": [0.0] * 7}, "arm.home of 'joint4' is 0.0 rad, allowed [-3.0718, -0.0698] rad"),
        ({"joint_names": ["a"] * 7}, "each only once"),
        ({"driver": ""}, "arm.driver is ''"),
        ({"bridge": {"rate_hz": 50}}, "arm.bridge.rate_hz is 50 Hz, allowed [100, 2000] Hz"),
        ({"bridge": {"rate_hz": 5000}}, "arm.bridge"),
        ({"bridge": {"rate": 500}}, "unknown key 'arm.bridge.rate'"),
    ],
)
def test_settings_out_of_range(changes, text):
    with pytest.raises(RequestError, match=re.escape(text)):
        config(**changes)


def test_a_matching_checkpoint_passes(joint_delta):
    preflight(SPACES, config(), ARM, joint_delta)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"control_mode": "cartesian_delta"}, "control_mode is 'cartesian_delta', allowed 'joint_delta'"),
        ({"nu": 6}, "its nu is 6, the arm's 7"),
        ({"n_obs": 30}, "its n_obs is 30, the arm's 31"),
        ({"ctrl_dt": 0.1}, "its ctrl_dt is 0.1, the arm's 0.05"),
        ({"position": (0, 3)}, "its position is (0, 3), the arm's (28, 31)"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(joint_delta, change, text):
    with pytest.raises(RequestError, match=re.escape(text)):
        preflight(replace(SPACES, **change), config(), ARM, joint_delta)


def test_all_differences_are_named_at_once(joint_delta):
    with pytest.raises(RequestError, match=r"its nu is 6.*; its n_goal is 2.*arm\.dq_max of 'joint1' is 9"):
        preflight(replace(SPACES, nu=6, n_goal=2), config(dq_max=[9.0] * 7), ARM, joint_delta)


def test_joints_in_another_order_are_refused(joint_delta):
    names = ["joint2", "joint1", *ARM.joint_names[2:]]
    with pytest.raises(RequestError, match="in this order"):
        preflight(SPACES, config(joint_names=names), ARM, joint_delta)


def test_another_arm_is_refused(joint_delta):
    with pytest.raises(RequestError, match=r"arm.name is 'ur5e', the environment's arm is 'panda'"):
        preflight(SPACES, config(name="ur5e"), ARM, joint_delta)


@pytest.mark.parametrize("key", ["q_min", "q_max", "dq_max", "ddq_max", "tau_max"])
def test_limits_wider_than_the_mjcf_are_refused(joint_delta, key):
    wider = np.array(values()[key]) + (-0.1 if key == "q_min" else 0.1)
    with pytest.raises(RequestError, match=rf"arm\.{key} of 'joint\d' is .* the MJCF allows"):
        preflight(SPACES, config(**{key: wider.tolist()}), ARM, joint_delta)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"dq_max": [1.0] * 7}, "speed of a full action, action_scale / ctrl_dt, of 'joint1' is 1.5 rad/s"),
        ({"ddq_max": [7.5] * 6 + [5.0]}, "acceleration of the actions of 'joint7' is 7.5 rad/s^2"),
        ({"q_max": [2.0, *values()["q_max"][1:]]}, "upper end of the actions' range of 'joint1' is 2.8973 rad"),
    ],
)
def test_actions_beyond_stricter_limits_are_refused(joint_delta, changes, text):
    with pytest.raises(RequestError, match=re.escape(text)):
        preflight(SPACES, config(**changes), ARM, joint_delta)


def test_stricter_limits_with_actions_to_match_pass():
    strict = config(dq_max=[1.0] * 7, ddq_max=[5.0] * 7)
    preflight(SPACES, strict, ARM, JointDelta(ARM.q_min, ARM.q_max, action_scale=0.05, ddq_max=5.0))


def test_a_real_arm_needs_consent(joint_delta):
    real = config(driver="some_vendor.driver:Arm", driver_kwargs={"host": "192.0.2.1"})
    for attempt in (lambda: preflight(SPACES, real, ARM, joint_delta), lambda: make_bridge(real)):
        with pytest.raises(RequestError, match="allow_motion=true"):
            attempt()
    preflight(SPACES, real, ARM, joint_delta, allow_motion=True)
    bridge = make_bridge(real, allow_motion=True)  # nothing is imported before connect
    assert bridge.mode is Mode.CLOSED


def test_the_simulated_arm_starts_at_home():
    with make_bridge(config(), lockstep=True, clock=FakeClock(10.0)) as bridge:
        np.testing.assert_allclose(bridge.observe().q, ARM.home, atol=1e-3)
        assert bridge.config.rate_hz == 250.0 and bridge.limits.names == ARM.joint_names


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*_sim.yaml")), ids=lambda path: path.stem)
def test_every_simulated_arm_moves_through_the_bridge(file):
    arm_config = build(ArmConfig, yaml.safe_load(file.read_text()), "arm")
    clock = FakeClock(10.0)
    with make_bridge(arm_config, lockstep=True, clock=clock) as bridge:
        np.testing.assert_allclose(bridge.observe().q, arm_config.home, atol=1e-3)
        assert bridge.limits.names == load_arm(arm_config.name).joint_names


def test_an_arm_of_the_users_is_known_by_its_file(tmp_path, joint_delta):
    path = tmp_path / "mine.yaml"
    about = yaml.safe_load((Path(envs.__file__).parent / "arms/panda.yaml").read_text())
    path.write_text(yaml.safe_dump(about | {"model": str(ARM.about.model)}))
    own = config(name=str(path))
    preflight(SPACES, own, load_arm(path), joint_delta)
    with make_bridge(own, lockstep=True, clock=FakeClock(10.0)) as bridge:
        np.testing.assert_allclose(bridge.observe().q, ARM.home, atol=1e-3)
    with pytest.raises(RequestError, match=r"arm.name is '.*mine.yaml', the environment's arm is 'panda'"):
        preflight(SPACES, own, ARM, joint_delta)
