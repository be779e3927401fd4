"""Targets that are posted to a Franka arm: the process of pylibfranka with an arm made up, and the whole driver."""

from __future__ import annotations

import math
import re
import socket
import time
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest

from hardware.conformance.franka_rig import HOME, FrankaAsyncRig
from hardware.conformance.session import Session
from hardware.drivers.franka import FrankaDriver, posting
from hardware.drivers.franka import client as client_module
from hardware.drivers.franka.messages import REPORT, Kind, Op, Report
from hardware.drivers.franka.posting import Posting
from hardware.drivers.franka.serving import Lost
from hardware.errors import Disconnected, DriverUnavailable, TransportError
from hardware.wire.franka import RobotMode
from hardware.wire.franka_models import MODELS
from tests.hardware.test_franka_driver import (
    compare_with_the_simulated_arm,
    run_into_a_reflex_and_the_user_stop,
    until,
)

FR3 = MODELS["fr3"]
IDENTITY = tuple(np.eye(4).ravel())


class NetworkException(RuntimeError):
    """As the vendor's."""


class Arm:
    """An arm behind the calls of pylibfranka that are used: a state for each look, 2 ms apart."""

    def __init__(self) -> None:
        self.mode, self.errors, self.time = RobotMode.IDLE, "[]", 1.0
        self.speed, self.targets, self.stopped = np.zeros(7), [], 0
        self.refuses: str | None = None
        self.gone = self.recovered = False
        self.started_with: list[float] = []
        self.NetworkException = NetworkException
        self.AsyncPositionControlHandler = SimpleNamespace(
            Configuration=lambda speeds, tolerance: speeds,
            JointPositionTarget=lambda q: q,
            configure=self.configure,
        )

    def read_once(self):
        if self.gone:
            raise NetworkException("libfranka: UDP receive: Timeout")
        self.time += 0.002
        return SimpleNamespace(
            time=SimpleNamespace(to_sec=lambda now=self.time: now),
            q=HOME,
            dq=np.zeros(7),
            tau_J=np.zeros(7),
            q_d=HOME,
            dq_d=self.speed,
            theta=HOME,
            robot_mode=SimpleNamespace(value=int(self.mode)),
            current_errors=self.errors,
            O_T_EE=tuple(FR3.forward(np.array(HOME)).T.ravel()),
            F_T_EE=IDENTITY,
        )

    def set_collision_behavior(self, *thresholds):
        assert [len(values) for values in thresholds] == [7, 7, 6, 6]

    def automatic_error_recovery(self):
        self.recovered, self.mode, self.errors = True, RobotMode.IDLE, "[]"

    def configure(self, robot, speeds):
        if self.refuses is None:
            self.mode, self.started_with = RobotMode.MOVE, speeds
        return SimpleNamespace(error_message=self.refuses, handler=self)

    def set_joint_position_target(self, target):
        if not self.gone:
            self.targets.append(np.array(target))
        return SimpleNamespace(was_successful=not self.gone, error_message="libfranka: server closed connection")

    def stop_control(self):
        self.stopped += 1
        if self.mode is RobotMode.MOVE:
            self.mode = RobotMode.IDLE


class Rehearsal:
    """A process of the client without the process."""

    def __init__(self, **settings) -> None:
        self.arm = Arm()
        self.ours, theirs = socket.socketpair()
        driver = FrankaDriver("127.0.0.1", client="pylibfranka", watchdog_s=0.05, **settings)
        self.posting = Posting(theirs, self.arm, self.arm, driver._settings)
        self.settings = driver._settings

    def ask(self, op: Op) -> list[Report]:
        """Have an order carried out; the reports on it."""
        self.posting._carry_out(op, time.monotonic(), np.zeros(7))
        return self.reports()

    def reports(self) -> list[Report]:
        self.ours.setblocking(False)
        try:
            data = self.ours.recv(1 << 20)
        except BlockingIOError:
            return []
        return [Report.unpack(data[i : i + REPORT.size]) for i in range(0, len(data), REPORT.size)]

    def looks(self, times: int = 3) -> Report:
        """Go on for a few turns; the last state that was told."""
        for _ in range(times):
            self.posting._go_on()
            self.posting._report()
        return self.reports()[-1]


@pytest.fixture
def rehearsal() -> Rehearsal:
    return Rehearsal(speed=2.0)


def test_enabling_holds_the_pose_and_targets_are_posted_as_they_are(rehearsal):
    state, reply = rehearsal.ask(Op.ENABLE)[-2:]
    assert reply.kind is Kind.REPLY and reply.ok and state.in_control and state.mode == RobotMode.MOVE
    assert rehearsal.arm.started_with == [2.0] * 7
    np.testing.assert_allclose(rehearsal.arm.targets, [HOME])
    time.sleep(0.06)  # before the first target the pose is held for longer than the watchdog's time
    assert rehearsal.looks().in_control
    target = np.array(HOME) + 0.1
    rehearsal.posting._carry_out(Op.FOLLOW, time.monotonic(), target)
    np.testing.assert_allclose(rehearsal.arm.targets[-1], target)
    count = len(rehearsal.arm.targets)
    time.sleep(0.012)
    assert rehearsal.looks().in_control
    np.testing.assert_allclose(rehearsal.arm.targets[count:], [target])  # once more: one may be lost on the way


def test_without_targets_the_motion_is_braked_and_ended(rehearsal):
    rehearsal.ask(Op.ENABLE)
    rehearsal.posting._carry_out(Op.FOLLOW, time.monotonic(), np.array(HOME))
    time.sleep(0.06)
    report = rehearsal.looks()
    assert not report.in_control and report.text == "no target came for 0.05 s" and rehearsal.arm.stopped == 1
    rehearsal.posting._carry_out(Op.FOLLOW, time.monotonic(), np.array(HOME))
    assert not rehearsal.looks().ok
    assert rehearsal.ask(Op.RECOVER)[-1].ok and rehearsal.arm.recovered and not rehearsal.looks().text


def test_a_target_that_was_held_up_is_not_posted(rehearsal):
    rehearsal.ask(Op.ENABLE)
    rehearsal.posting._carry_out(Op.FOLLOW, time.monotonic() - 0.1, np.array(HOME) + 0.1)
    np.testing.assert_allclose(rehearsal.arm.targets, [HOME])


def test_a_stop_is_a_target_where_the_joints_can_come_to_rest(rehearsal):
    rehearsal.ask(Op.ENABLE)
    rehearsal.arm.speed = np.array([1.0, -1.0, 0.0, 0.5, 0.0, 0.0, 0.0])
    assert rehearsal.ask(Op.STOP)[-1].ok
    way = rehearsal.arm.targets[-1] - np.array(HOME)
    # v^2 / (2 * 7 rad/s^2), and 4 ms until the arm knows.
    np.testing.assert_allclose(way[:4], [0.0754, -0.0754, 0.0, 0.0199], atol=1e-4)
    time.sleep(0.06)
    assert rehearsal.looks().in_control  # it holds there
    rehearsal.arm.speed = np.zeros(7)
    assert rehearsal.ask(Op.END)[-1].ok and rehearsal.arm.stopped == 1
    assert rehearsal.ask(Op.STOP)[-1].ok and rehearsal.ask(Op.END)[-1].ok and rehearsal.arm.stopped == 1


def test_a_stop_does_not_go_beyond_a_target_that_lies_ahead(rehearsal):
    rehearsal.ask(Op.ENABLE)
    rehearsal.posting._carry_out(Op.FOLLOW, time.monotonic(), np.array(HOME) + 0.03)
    rehearsal.arm.speed = np.array([1.0, -1.0, 0.0, 0.5, 0.0, 0.0, 0.0])
    assert rehearsal.ask(Op.STOP)[-1].ok
    way = rehearsal.arm.targets[-1] - np.array(HOME)
    np.testing.assert_allclose(way[:4], [0.03, -0.0754, 0.0, 0.0199], atol=1e-4)


def test_what_the_arm_refuses_is_told(rehearsal):
    rehearsal.arm.refuses = "libfranka: Move command rejected: command not possible in the current mode!"
    reply = rehearsal.ask(Op.ENABLE)[-1]
    assert not reply.ok and reply.text.startswith("Move command rejected")


def test_a_reflex_ends_the_motion_in_the_arms_words(rehearsal):
    rehearsal.ask(Op.ENABLE)
    rehearsal.arm.mode, rehearsal.arm.errors = RobotMode.REFLEX, '["joint_reflex"]'
    report = rehearsal.looks()
    assert (report.mode, report.text, report.in_control) == (RobotMode.REFLEX, "joint_reflex", False)
    assert rehearsal.arm.stopped == 1 and rehearsal.looks().text == "joint_reflex"


def test_a_recovery_is_answered_once_the_arm_tells_it(rehearsal):
    rehearsal.ask(Op.ENABLE)
    rehearsal.arm.mode, rehearsal.arm.errors = RobotMode.REFLEX, '["joint_reflex"]'
    rehearsal.looks()
    read_once, late = rehearsal.arm.read_once, [RobotMode.REFLEX] * 3

    def from_before():
        state = read_once()
        if rehearsal.arm.recovered and late:
            state.robot_mode, state.current_errors = SimpleNamespace(value=int(late.pop())), '["joint_reflex"]'
        return state

    rehearsal.arm.read_once = from_before
    state, reply = rehearsal.ask(Op.RECOVER)[-2:]
    assert reply.ok and (state.mode, state.text) == (RobotMode.IDLE, "")


def test_a_dead_link_is_told(rehearsal):
    rehearsal.ask(Op.ENABLE)
    rehearsal.arm.gone = True
    with pytest.raises(Lost, match="server closed"):
        rehearsal.posting._carry_out(Op.FOLLOW, time.monotonic(), np.array(HOME))
    with pytest.raises(Lost, match="UDP receive: Timeout"):
        rehearsal.posting._report()


def test_an_arm_of_other_geometry_is_told(rehearsal):
    state = rehearsal.arm.read_once()
    report = posting.info(state, rehearsal.settings)
    assert report.ok and report.text == "fr3" and report.tau == (2.0,) * 7 and math.isnan(report.gripper)
    flange = np.eye(4)
    flange[2, 3] = 0.1
    state.F_T_EE = tuple(flange.T.ravel())  # a tool that the pose does not know of
    report = posting.info(state, rehearsal.settings)
    assert not report.ok and report.text == "its tool is 0.100 m from where that of 'fr3' would be"


def test_a_missing_package_names_its_extra(monkeypatch):
    monkeypatch.setattr(client_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DriverUnavailable, match=re.escape("loopwm-robot[pylibfranka]")):
        FrankaDriver("127.0.0.1", client="pylibfranka").open()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"client": "libfranka"}, "known: franky, pylibfranka"),
        ({"client": "pylibfranka", "gripper": True}, "allowed with 'franky' alone"),
        ({"speed": 6.0}, r"speed 6.0 rad/s, allowed \[0.05, 5.26\]"),
    ],
)
def test_settings_are_checked(settings, words):
    with pytest.raises(ValueError, match=words):
        FrankaDriver("127.0.0.1", **settings)


# Through the vendor's client
# ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def rig():
    if find_spec("pylibfranka") is None:  # not imported here: one process cannot have it and franky
        pytest.skip("pylibfranka is not installed: pip install 'loopwm-robot[pylibfranka]'")
    with FrankaAsyncRig() as rig:
        yield rig


def test_the_arm_is_led_through_the_vendors_client(rig):
    with Session(rig) as session:
        assert session.info.model == "fr3 (fr3)" and session.info.dq_max == pytest.approx([2.62] * 7)
        state = rig.emulator.ask("state")
        assert state["moves"] == 0 and state["settings"]["set_collision_behavior"] == [20.0] * 28 + [30.0] * 24
        session.driver.enable()
        rig.wait(0.7)  # longer than the watchdog: before the first target the pose is held
        goal = np.array(HOME) + 0.05
        session.move(goal, 0.5)
        np.testing.assert_allclose(session.settle(goal, 0.3).q, goal, atol=4e-3)
        session.driver.disable()
        assert not rig.emulator.ask("state")["moving"]


@pytest.mark.slow
def test_a_reflex_is_recovered_from_only_on_request(rig):
    with Session(rig) as session:
        run_into_a_reflex_and_the_user_stop(rig, session)
        rig.emulator.ask("release")
        assert until(lambda: "motion has ended" in (session.read().fault or ""))
        session.driver.clear_faults()
        session.driver.enable()


@pytest.mark.slow
def test_without_commands_the_arm_comes_to_rest_at_the_last_target(rig):
    with Session(rig) as session:
        session.driver.enable()
        session.write(session.read().q + 0.05)
        assert until(lambda: "ended: no target came" in (session.read().fault or ""))
        np.testing.assert_allclose(rig.truth() - np.array(HOME), 0.05, atol=5e-3)


@pytest.mark.slow
def test_a_driver_that_goes_away_brakes_the_arm_first(rig):
    session = Session(rig)
    session.driver.enable()
    session.move(np.array(HOME) + 0.1, 0.6)
    session.driver.close()
    assert until(lambda: not rig.emulator.ask("state")["moving"])
    assert rig.emulator.ask("state")["mode"] == "IDLE", rig.emulator.ask("state")["notes"]


@pytest.mark.slow
def test_a_client_that_dies_is_told_and_replaced_on_request(rig):
    with Session(rig) as session:
        session.driver.enable()
        session.driver._client._process.kill()
        assert until(lambda: session.driver._client.poll() or session.driver._client.lost)
        with pytest.raises(Disconnected):
            session.driver.read(0.0)
        session.driver.clear_faults()
        session.driver.enable()
        session.settle(np.array(HOME), 0.1)


@pytest.mark.slow
def test_a_plan_moves_the_simulated_arm_and_the_arm_on_the_wire_alike(rig, tmp_path):
    compare_with_the_simulated_arm(rig, tmp_path)


@pytest.mark.slow
def test_a_stop_on_a_silent_link_does_not_wait(rig):
    with Session(rig) as session:
        session.driver.enable()
        session.write(session.read().q)
        rig.inject("freeze")
        rig.wait(0.7)
        for call in (session.driver.stop, session.driver.disable):
            with pytest.raises(TransportError):
                call()
        rig.heal()
