"""A controller reaches a goal through the Franka driver, the vendor's client and the emulated controller."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml

from envs import ArmKinematics, JointDelta, load_arm, observation_groups
from hardware import Mode
from hardware.emulators.process import EmulatorProcess
from loopwm_robot.deploy import ArmConfig, ControlConfig, make_bridge, run_reaches
from loopwm_robot.deploy.rehearse import emulator_arguments
from loopwm_robot.errors import RequestError
from loopwm_robot.schema import build
from tests.loopwm_robot.test_deploy_control import Agent

ARM = load_arm("fr3")
FOLDER = Path(__file__).parents[2] / "configs/arm"
GOALS = np.array([[0.45, 0.15, 0.4]])


@pytest.fixture
def config() -> ArmConfig:
    """The arm's settings, at an address of this test's own."""
    values = yaml.safe_load((FOLDER / "fr3.yaml").read_text())
    values["driver_kwargs"] |= {"host": "127.0.0.79", "watchdog_s": 0.5}  # late on a busy machine is not lost
    values["bridge"] |= {"realtime": "off", "stale_after_s": 0.3, "disconnect_after_s": 1.0}
    values["bridge"] |= {"following_error_rad": 0.5, "following_error_s": 0.3}
    return build(ArmConfig, values, "arm")


@pytest.mark.slow
@pytest.mark.parametrize(("client", "extra"), [("franky", "franka"), ("pylibfranka", "pylibfranka")])
def test_a_goal_through_the_controller(config, client, extra):
    if find_spec(client) is None:  # one process cannot import both
        pytest.skip(f"{client} is not installed: pip install 'loopwm-robot[{extra}]'")
    config = replace(config, driver_kwargs=dict(config.driver_kwargs) | {"client": client})
    joint_delta, position = JointDelta(ARM.q_min, ARM.q_max), observation_groups(ARM.n)["ee_pos"]
    patient = ("--lost-packets", "200", "--patience", "0.2")
    with EmulatorProcess("franka", *emulator_arguments("franka", config), *patient) as emulator:
        np.testing.assert_allclose(emulator.truth(), ARM.home, atol=1e-6)
        with make_bridge(config, allow_motion=True) as bridge:
            agent = Agent(joint_delta, arm=ARM)
            agent.bridge = bridge
            control = ControlConfig(steps_per_goal=120, success_m=0.05, max_state_age_s=0.3, max_deviation_rad=0.2)
            result = run_reaches(agent, bridge, joint_delta, ArmKinematics(ARM), position, GOALS, control)
            assert bridge.mode is Mode.ENABLED
            true_q, applied = emulator.truth(), bridge.snapshot().applied.applied
        assert result.success.all(), result.final_distance
        assert result.audit.limit_violations == 0
        np.testing.assert_allclose(true_q, applied, atol=0.01)


def test_the_two_files_of_the_arm_differ_in_the_driver_and_what_its_client_cannot():
    real, sim = (yaml.safe_load((FOLDER / name).read_text()) for name in ("fr3.yaml", "fr3_sim.yaml"))
    assert real.pop("driver") == "franka" and sim.pop("driver") == "sim"
    assert real.pop("driver_kwargs")["host"] == "127.0.0.1"  # no arm is moved by a default
    sim.pop("driver_kwargs")
    for key in ("dq_max", "ddq_max"):
        assert (np.array(real.pop(key)) <= sim.pop(key)).all()
    assert real.pop("source").startswith(sim.pop("source"))
    assert real.pop("firmware") == ["FCI 10"]
    assert real == sim


def test_it_asks_for_consent(config):
    with pytest.raises(RequestError, match="allow_motion=true"):
        make_bridge(config)
