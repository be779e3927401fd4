"""A controller reaches its goals through the Dynamixel driver, the vendor's client and the emulated bus."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from envs import ArmKinematics, JointDelta, load_arm
from hardware import Mode
from hardware.emulators.process import EmulatorProcess
from loopwm_robot.deploy import ArmConfig, ControlConfig, make_bridge, run_reaches
from loopwm_robot.deploy.rehearse import emulator_arguments
from loopwm_robot.errors import RequestError
from loopwm_robot.schema import build
from tests.loopwm_robot.test_deploy_control import GOALS, POSITION, Agent

ARM = load_arm("panda")
FILE = Path(__file__).parents[2] / "configs/arm/panda_dynamixel.yaml"


@pytest.fixture
def config(tmp_path) -> ArmConfig:
    """The arm's settings, on a port of this test's own."""
    values = yaml.safe_load(FILE.read_text())
    values["driver_kwargs"]["port"] = str(tmp_path / "bus")
    # Tests run on busy machines: a late tick must not look like a lost link.
    values["driver_kwargs"]["watchdog_s"] = 1.0
    values["bridge"] |= {"realtime": "off", "stale_after_s": 0.3, "disconnect_after_s": 1.0}
    values["bridge"] |= {"following_error_rad": 0.5, "following_error_s": 0.3}
    return build(ArmConfig, values, "arm")


@pytest.mark.slow
def test_two_goals_through_the_bus(config):
    pytest.importorskip("dynamixel_sdk")
    joint_delta = JointDelta(ARM.q_min, ARM.q_max)
    with EmulatorProcess("dynamixel", *emulator_arguments("dynamixel", config)) as emulator:
        np.testing.assert_allclose(emulator.truth(), ARM.home, atol=1e-6)
        with make_bridge(config, allow_motion=True) as bridge:
            agent = Agent(joint_delta)
            agent.bridge = bridge
            control = ControlConfig(steps_per_goal=60, success_m=0.05, max_state_age_s=0.3, max_deviation_rad=0.2)
            result = run_reaches(agent, bridge, joint_delta, ArmKinematics(ARM), POSITION, GOALS, control)
            assert bridge.mode is Mode.ENABLED
            true_q, applied = emulator.truth(), bridge.snapshot().applied.applied
        assert result.success.all(), result.final_distance
        assert result.audit.limit_violations == 0
        # The drives of the small wrist sag by up to a few ticks of the encoder.
        np.testing.assert_allclose(true_q, applied, atol=0.02)


def test_it_asks_for_consent(config):
    with pytest.raises(RequestError, match="allow_motion=true"):
        make_bridge(config)


def test_only_its_own_arm_is_played(config):
    with pytest.raises(RequestError, match="takes no arm, those that do: dynamixel"):
        emulator_arguments("toaster", config)
    with pytest.raises(RequestError, match=r"arm\.driver is 'sim', allowed 'dynamixel'"):
        emulator_arguments("dynamixel", replace(config, driver="sim"))
    with pytest.raises(RequestError, match=r"do not describe an arm for emulator 'dynamixel': 'calibration'"):
        emulator_arguments("dynamixel", replace(config, driver_kwargs={"port": "x"}))
