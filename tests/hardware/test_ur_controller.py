"""The emulated controller without sockets: program, registers, watchdog, power and safety."""

from __future__ import annotations

import numpy as np
import pytest

from hardware.emulators import ur_dashboard, ur_outputs
from hardware.emulators.ur_arm import HOME, UrArm, make_mjcf
from hardware.emulators.ur_controller import MARKS, Controller, RobotMode, SafetyMode
from hardware.emulators.ur_motion import Motion
from hardware.errors import LimitsMismatch
from hardware.wire.ur_models import MODELS

DT = 0.008
SCRIPT = "\n".join(MARKS)


@pytest.fixture
def controller() -> Controller:
    return Controller(UrArm(MODELS["ur5e"], DT), MODELS["ur5e"], DT, unlock_after=0.1)


def send(c: Controller, command: int, *doubles: float, ticks: int = 1) -> None:
    registers = {f"input_double_register_{i}": x for i, x in enumerate(doubles)}
    c.inputs({"input_int_register_0": command, **registers})
    run(c, ticks)


def run(c: Controller, ticks: int) -> None:
    for _ in range(ticks):
        c.tick()


def started(c: Controller) -> Controller:
    c.upload(SCRIPT)
    run(c, 2)
    assert c.running and c.int_out[0] == 1
    return c


def servo(c: Controller, q: np.ndarray, ticks: int) -> None:
    for _ in range(ticks):
        send(c, 11, *q, 0.0, 0.0, DT, 0.1, 300.0)


def test_servoing_follows_a_ramp_by_the_lookahead_late() -> None:
    motion, speed = Motion(np.zeros(6), 0.002), 0.5
    for k in range(1000):
        motion.servo(np.full(6, speed * k * 0.002), 0.1)
        motion.step()
    np.testing.assert_allclose(speed * 999 * 0.002 - motion.q, speed * 0.1, atol=speed * 0.004)


def test_a_stop_decelerates_all_joints_together() -> None:
    motion = Motion(np.zeros(6), 0.01)
    motion.dq = np.array([1.0, -0.5, 0.0, 0.2, 0.0, 0.0])
    motion.stop(2.0)
    way = motion.step() * 0.0
    while not motion.at_rest:
        before, q = motion.dq, motion.q
        way = motion.step() - q
        assert np.abs(motion.dq).max() <= np.abs(before).max() - 2.0 * 0.01 + 1e-9
        np.testing.assert_allclose(np.cross(motion.dq[:3], [1.0, -0.5, 0.0]), 0.0, atol=1e-12)
    np.testing.assert_allclose(way, 0.0)


def test_commands_need_a_program_and_unknown_ones_end_it(controller: Controller) -> None:
    q = controller.arm.true_q
    servo(controller, q + 0.2, 20)
    np.testing.assert_allclose(controller.arm.true_q, q, atol=1e-6)
    started(controller)
    send(controller, 1)
    assert not controller.running and "not emulated" in controller.notes[-1]


def test_a_script_that_is_not_known_is_refused(controller: Controller) -> None:
    controller.upload("def other():\n movej([0,0,0,0,0,0])\nend\n")
    assert not controller.running and "refused" in controller.notes[-1]


def test_servo_and_stop_as_the_client_speaks(controller: Controller) -> None:
    started(controller)
    q = controller.arm.true_q
    servo(controller, q + 0.1, 200)
    np.testing.assert_allclose(controller.arm.true_q, q + 0.1, atol=2e-3)
    servo(controller, q, 3)
    send(controller, 16, 10.0, ticks=100)
    assert controller.int_out[0] == 2 and controller.motion.at_rest
    send(controller, 0)
    assert controller.int_out[0] == 1
    send(controller, 9, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 4.0, ticks=50)
    assert controller.motion.dq[0] == pytest.approx(0.2)
    send(controller, 15, 4.0, ticks=50)
    assert controller.motion.at_rest
    send(controller, 0)
    send(controller, 37, *([0.0] * 6), ticks=2)
    assert controller.int_out[1] == 1
    send(controller, 0)
    send(controller, 37, 7.0, *([0.0] * 5), ticks=2)
    assert controller.int_out[1] == 0
    send(controller, 0)
    send(controller, 47, ticks=2)
    assert controller.int_out[1] == 1
    send(controller, 255)
    assert controller.running  # the script wants the register cleared between two commands
    send(controller, 0)
    send(controller, 255)
    assert not controller.running


def test_the_watchdog_ends_the_program(controller: Controller) -> None:
    started(controller)
    send(controller, 35, 10.0, ticks=2)
    send(controller, 0)
    servo(controller, controller.arm.true_q + 0.2, 10)
    run(controller, 11)
    assert controller.running
    run(controller, 2)
    assert not controller.running and "watchdog" in controller.notes[-1]
    run(controller, 100)
    assert controller.motion.at_rest


def test_an_absurd_step_is_a_protective_stop_and_moves_little(controller: Controller) -> None:
    started(controller)
    q = controller.arm.true_q
    servo(controller, q + 2.0, 50)
    assert controller.safety_mode is SafetyMode.PROTECTIVE_STOP
    np.testing.assert_allclose(controller.arm.true_q, q, atol=1e-3)


def test_protective_stop_unlocks_only_after_a_while(controller: Controller) -> None:
    started(controller)
    send(controller, 31)
    assert controller.safety_mode is SafetyMode.PROTECTIVE_STOP and not controller.running
    send(controller, 0)
    assert "Cannot unlock" in ur_dashboard.answer(controller, "unlock protective stop")
    controller.upload(SCRIPT)
    assert not controller.running
    run(controller, 20)
    assert ur_dashboard.answer(controller, "unlock protective stop") == "Protective stop releasing"
    started(controller)


def test_emergency_stop_ends_without_power_and_release_does_not_give_it_back(controller: Controller) -> None:
    started(controller)
    controller.emergency_stop()
    run(controller, 100)
    assert controller.robot_mode is RobotMode.POWER_OFF
    assert "could not" in ur_dashboard.answer(controller, "power on")
    controller.release()
    assert controller.safety_mode is SafetyMode.NORMAL and controller.robot_mode is RobotMode.POWER_OFF
    assert "could not" in ur_dashboard.answer(controller, "brake release")
    assert ur_dashboard.answer(controller, "power on") == "Powering on"
    assert ur_dashboard.answer(controller, "brake release") == "Brake releasing"
    assert controller.robot_mode is RobotMode.RUNNING
    controller.safeguard_stop()
    assert ur_dashboard.answer(controller, "safetymode") == "Safetymode: SAFEGUARD_STOP"


def test_a_restart_forgets_everything_but_the_pose(controller: Controller) -> None:
    started(controller)
    q = controller.arm.true_q
    controller.restart()
    assert controller.timestamp == 0.0 and not controller.running
    assert controller.robot_mode is RobotMode.POWER_OFF
    run(controller, 50)
    np.testing.assert_allclose(controller.arm.true_q, q, atol=1e-3)


def test_dashboard_words(controller: Controller) -> None:
    def ask(words: str) -> str:
        return ur_dashboard.answer(controller, words)

    assert ask("PolyscopeVersion").startswith("URSoftware 5.12.2")
    assert ask("robotmode\r") == "Robotmode: RUNNING" and ask("is in remote control") == "true"
    assert ask("programState").startswith("STOPPED") and ask("get robot model") == "UR5"
    assert "could not understand" in ask("dance")
    started(controller)
    assert ask("running") == "Program running: true" and ask("stop") == "Stopped" and not controller.running


def test_outputs_have_the_size_of_their_type_and_unknown_ones_are_told(controller: Controller) -> None:
    from hardware.wire.rtde import Recipe

    for name in (*ur_outputs.OUTPUTS, "output_int_register_3", "output_double_register_47"):
        kind, get = ur_outputs.output(name)
        assert get is not None
        recipe = Recipe([name], [kind])
        value = recipe.unpack(recipe.pack([get(controller)]))[name]
        np.testing.assert_allclose(value, get(controller))
    assert ur_outputs.output("output_int_register_48") == ("NOT_FOUND", None)
    assert ur_outputs.input_type("input_int_register_1") == "INT32"
    assert ur_outputs.input_type("output_int_register_1") == "NOT_FOUND"
    assert ur_outputs.input_type("external_force_torque") == "VECTOR6D"
    assert ur_outputs.input_type("standard_digital_output_mask") == "UINT8"


def test_another_model_file_may_stand_behind(tmp_path) -> None:
    file = tmp_path / "arm.xml"
    file.write_text(make_mjcf(MODELS["ur3e"], HOME))
    arm = UrArm(MODELS["ur3e"], DT, str(file), home=[0.3] * 6)
    np.testing.assert_allclose(arm.true_q, 0.3)
    with pytest.raises(LimitsMismatch, match="has 6"):
        UrArm(MODELS["ur3e"], DT, joints=("a",))
