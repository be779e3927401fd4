"""The emulated Franka controller without sockets: motions, what it refuses, stops, recovery, the hand."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from hardware.emulators.franka import Controller, FrankaArm, main
from hardware.emulators.franka.gripper import MAX_WIDTH_M, Gripper
from hardware.errors import LimitsMismatch
from hardware.wire.franka import (
    Command,
    Control,
    Fault,
    Generator,
    GripperCommand,
    GripperStatus,
    Move,
    MoveStatus,
    Recovery,
    RobotMode,
    Status,
    pack_move,
)
from hardware.wire.franka_models import MODELS
from hardware.wire.franka_udp import SetPoint

FR3 = MODELS["fr3"]
ZERO = (0.0,) * 7
POSITION, VELOCITY, TORQUE = 0, 1, 4


def start(controller: Controller, generator: int = VELOCITY, control: int = 0) -> int:
    payload = struct.pack("<II", control, generator) + bytes(105)
    assert controller.handle(Command.MOVE, 7, payload) is None
    return controller.replies.pop()[2]


@pytest.fixture
def controller() -> Controller:
    return Controller(FrankaArm(FR3), FR3)


def stream(controller: Controller, cycles: int, acceleration: float = 0.0, jerk: float = 1000.0) -> None:
    """Answer each state with a speed of all joints that changes at an acceleration [rad/s^2]."""
    for _ in range(cycles):
        motion = controller.motion
        ddq = motion.ddq + np.clip(acceleration - motion.ddq, -jerk * 1e-3, jerk * 1e-3)
        dq = tuple((motion.dq + ddq * 1e-3).tolist())
        controller.tick(SetPoint(controller.time_ms, ZERO, dq, False))


def test_speeds_move_the_arm(controller):
    assert start(controller) == MoveStatus.STARTED and controller.mode is RobotMode.MOVE
    assert not controller.streamed  # its client waits for a state that tells of the motion, and is not waited for
    stream(controller, 3)
    assert controller.streamed
    stream(controller, 200, 2.0)
    stream(controller, 300, 0.0)
    stream(controller, 200, -2.0)
    moved = controller.arm.q - np.array(FR3.home)
    assert controller.mode is RobotMode.MOVE and (moved > 0.15).all()
    controller.tick(SetPoint(controller.time_ms, ZERO, ZERO, True))
    assert controller.replies == [(Command.MOVE, 7, MoveStatus.SUCCESS)] and controller.mode is RobotMode.IDLE
    for _ in range(200):
        controller.tick()
    np.testing.assert_allclose(controller.arm.q, controller.motion.q, atol=2e-3)


def test_positions_move_the_arm_as_well(controller):
    assert start(controller, POSITION) == MoveStatus.STARTED
    q0 = controller.motion.q
    for k in range(1, 801):
        s = k / 800
        q = q0 + 0.1 * s**3 * (10.0 - 15.0 * s + 6.0 * s * s)
        controller.tick(SetPoint(controller.time_ms, tuple(q.tolist()), ZERO, False))
    assert controller.mode is RobotMode.MOVE, controller.notes
    np.testing.assert_allclose(controller.motion.q, q0 + 0.1, atol=1e-9)


def lead(controller: Controller, speed: float = 1.0, generator: Generator = Generator.JOINT_POSITION) -> int:
    """Start a motion of the arm's own generator."""
    payload = pack_move(Move(generator, Control.JOINT_IMPEDANCE, (speed,) * 7))
    assert controller.handle(Command.MOVE, 7, payload) is None
    return controller.replies.pop()[2]


def test_the_arm_leads_itself_to_targets_that_come_when_they_come(controller):
    assert lead(controller) == MoveStatus.STARTED and not controller.streamed
    start, speeds, rates = controller.motion.q.copy(), [], []
    for cycle in range(1200):
        goal = start + (0.3 if cycle < 200 else 0.5)
        told = SetPoint(controller.time_ms, tuple(goal.tolist()), ZERO, False) if cycle in (100, 200) else None
        controller.tick(told)
        speeds.append(controller.motion.dq.copy())
        rates.append(controller.motion.ddq.copy())
        if cycle == 99:
            np.testing.assert_array_equal(controller.motion.q, start)  # it waits for the first
    assert controller.mode is RobotMode.MOVE and not controller.errors
    assert np.max(speeds) == pytest.approx(1.0) and np.min(speeds) > -1e-9 and np.abs(rates).max() <= 8.0 + 1e-9
    np.testing.assert_allclose(controller.motion.q, start + 0.5, atol=1e-9)
    assert controller.motion.at_rest
    controller.tick(SetPoint(controller.time_ms, ZERO, ZERO, True))
    assert controller.replies == [(Command.MOVE, 7, MoveStatus.SUCCESS)] and controller.mode is RobotMode.IDLE


def test_a_target_out_of_range_or_a_speed_above_the_rating_is_refused(controller):
    assert lead(controller, 3.0) == MoveStatus.INVALID_ARGUMENT
    assert lead(controller, 0.0) == MoveStatus.INVALID_ARGUMENT
    assert lead(controller, 1.0, Generator.JOINT_VELOCITY) == MoveStatus.INVALID_ARGUMENT
    assert lead(controller) == MoveStatus.STARTED
    controller.tick()
    controller.tick(SetPoint(controller.time_ms, (3.0,) * 7, ZERO, False))
    assert controller.mode is RobotMode.REFLEX and controller.errors == {Fault.POSITION_LIMITS}


def refused(controller: Controller, dq: tuple[float, ...], fault: Fault) -> None:
    before = controller.motion.q.copy()
    controller.tick(SetPoint(controller.time_ms, ZERO, dq, False))
    assert controller.mode is RobotMode.REFLEX and controller.errors == {fault}
    assert controller.replies == [(Command.MOVE, 7, MoveStatus.REFLEX_ABORTED)]
    np.testing.assert_allclose(controller.motion.q, before, atol=3e-3)


def test_a_jump_of_the_speed_is_a_reflex(controller):
    start(controller)
    stream(controller, 3)
    refused(controller, (0.05,) * 7, Fault.VELOCITY_DISCONTINUITY)
    assert start(controller) == MoveStatus.NOT_POSSIBLE
    assert controller.handle(Command.AUTOMATIC_ERROR_RECOVERY, 8, b"") == bytes((Status.SUCCESS,))
    assert start(controller) == MoveStatus.STARTED


def test_a_jump_of_the_acceleration_is_a_reflex(controller):
    start(controller)
    stream(controller, 3)
    refused(controller, (0.008,) * 7, Fault.ACCELERATION_DISCONTINUITY)


def test_a_speed_near_the_end_of_a_range_is_a_reflex():
    home = np.array(FR3.home)
    home[1] = FR3.q_max[1] - 0.05  # there joint 2 may go at sqrt(2 * 2.585 * 0.05) - 0.25 = 0.258 rad/s
    controller = Controller(FrankaArm(FR3, home=home.tolist()), FR3)
    start(controller)
    stream(controller, 400, 2.0)
    assert controller.errors == {Fault.VELOCITY_LIMITS}
    for _ in range(400):
        controller.tick()
    assert controller.motion.q[1] <= FR3.q_max[1] and controller.motion.at_rest


def test_missing_setpoints_coast_and_then_stop(controller):
    start(controller)
    stream(controller, 3)
    stream(controller, 100, 2.0)
    speed = controller.motion.dq.copy()
    for _ in range(20):
        controller.tick()
    assert controller.mode is RobotMode.MOVE
    np.testing.assert_allclose(controller.motion.dq, speed + 0.02 * 2.0, atol=1e-6)
    controller.tick()
    assert controller.mode is RobotMode.REFLEX and controller.errors == {Fault.COMMUNICATION}
    for _ in range(200):
        controller.tick()
    assert controller.motion.at_rest


def test_the_stop_and_the_guiding_button_end_a_motion(controller):
    start(controller)
    stream(controller, 50, 2.0)
    controller.user_stop()
    assert controller.replies.pop() == (Command.MOVE, 7, MoveStatus.EMERGENCY_ABORTED)
    assert controller.handle(Command.AUTOMATIC_ERROR_RECOVERY, 8, b"") == bytes((Recovery.SAFETY_REJECTED,))
    controller.release()
    assert start(controller) == MoveStatus.STARTED
    controller.guide()
    assert controller.replies.pop()[2] == MoveStatus.SAFETY_PREEMPTED and controller.mode is RobotMode.GUIDING
    assert controller.handle(Command.AUTOMATIC_ERROR_RECOVERY, 8, b"") == bytes((Recovery.BY_HAND,))


def test_a_restart_closes_the_brakes_and_forgets(controller):
    controller.handle(Command.SET_JOINT_IMPEDANCE, 1, struct.pack("<7d", *range(7)))
    assert controller.settings
    start(controller)
    stream(controller, 50, 2.0)
    controller.restart()
    assert controller.mode is RobotMode.OTHER and not controller.settings and controller.time_ms == 0
    held = controller.arm.q.copy()
    for _ in range(100):
        controller.tick()
    np.testing.assert_allclose(controller.arm.q, held, atol=5e-3)
    assert start(controller) == MoveStatus.NOT_POSSIBLE
    controller.power(True)
    assert start(controller) == MoveStatus.STARTED


def test_settings_are_not_taken_in_motion_and_torques_not_at_all(controller):
    payload = struct.pack("<52d", *range(52))
    assert controller.handle(Command.SET_COLLISION_BEHAVIOR, 1, payload) == bytes((Status.SUCCESS,))
    assert controller.settings[Command.SET_COLLISION_BEHAVIOR][1] == 1.0
    assert start(controller, TORQUE, 2) == MoveStatus.INVALID_ARGUMENT
    assert start(controller) == MoveStatus.STARTED
    assert controller.handle(Command.SET_COLLISION_BEHAVIOR, 2, payload) == bytes((Status.NOT_POSSIBLE,))
    assert controller.handle(Command.STOP_MOVE, 3, b"") == bytes((Status.SUCCESS,))
    assert controller.replies.pop()[2] == MoveStatus.PREEMPTED
    assert controller.handle(Command.CONNECT, 4, struct.pack("<HH", 5, 1)) == bytes((1, 10, 0))


def test_a_client_that_goes_away_in_motion_is_an_error(controller):
    start(controller)
    stream(controller, 10)
    controller.hang_up()
    assert controller.mode is RobotMode.REFLEX and not controller.replies


def test_the_hand_opens_grasps_and_drops():
    hand = Gripper()
    assert hand.handle(GripperCommand.MOVE, 1, struct.pack("<dd", 0.07, 0.1)) is None
    hand.step(0.2)
    assert hand.width == pytest.approx(0.06) and not hand.replies
    hand.step(0.2)
    assert hand.replies.pop() == (GripperCommand.MOVE, 1, GripperStatus.SUCCESS) and hand.width == pytest.approx(0.07)
    grasp = struct.pack("<5d", 0.03, 0.005, 0.005, 0.1, 20.0)
    hand.held = 0.032
    hand.handle(GripperCommand.GRASP, 2, grasp)
    hand.step(1.0)
    assert hand.replies.pop()[2] == GripperStatus.SUCCESS and hand.grasped and hand.width == pytest.approx(0.032)
    hand.held = 0.0
    hand.handle(GripperCommand.GRASP, 3, grasp)
    hand.step(1.0)
    assert hand.replies.pop()[2] == GripperStatus.UNSUCCESSFUL and not hand.grasped
    hand.handle(GripperCommand.HOMING, 4, b"")
    assert hand.handle(GripperCommand.STOP, 5, b"") == bytes((0, 0))
    assert hand.replies.pop() == (GripperCommand.HOMING, 4, GripperStatus.ABORTED)
    too_wide = struct.pack("<dd", MAX_WIDTH_M + 0.01, 0.1)
    assert hand.handle(GripperCommand.MOVE, 6, too_wide) == GripperStatus.FAIL.to_bytes(2, "little")


def test_wrong_arms_are_refused(capsys):
    with pytest.raises(LimitsMismatch, match="2 joints"):
        FrankaArm(FR3, joints=("a", "b"))
    with pytest.raises(SystemExit):
        main(["--home=0,1"])
    assert "2 numbers, allowed 7" in capsys.readouterr().err
