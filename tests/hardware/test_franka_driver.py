"""What is special about Franka arms, through franky on the emulator: checks, stops, recovery, lost packets, parity."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from hardware import ArmBridge, ArmPlan, DriverSpec, FakeClock, JointLimits
from hardware.conformance.franka_rig import HOME, FrankaRig
from hardware.conformance.session import Run, Session
from hardware.drivers.franka import FrankaDriver, worker
from hardware.drivers.franka import client as client_module
from hardware.drivers.franka.messages import Kind, Op, Report
from hardware.drivers.franka.servo import VelocityServo
from hardware.drivers.franka.states import States
from hardware.emulators import franka
from hardware.emulators.franka.arm import make_mjcf
from hardware.emulators.process import EmulatorProcess
from hardware.errors import (
    BridgeError,
    CommandRejected,
    Disconnected,
    DriverUnavailable,
    HardwareFault,
    LimitsMismatch,
    ModeError,
    TransportError,
)
from hardware.wire.franka_models import MODELS, parse_urdf

FILE = Path(__file__).parents[2] / "configs/arm/fr3.yaml"
FR3 = MODELS["fr3"]


@pytest.fixture
def rig():
    pytest.importorskip("franky", reason="franky-control is not installed: pip install 'loopwm-robot[franka]'")
    with FrankaRig() as rig:
        yield rig


def until(holds, seconds: float = 5.0) -> bool:
    give_up = time.monotonic() + seconds
    while not (found := holds()) and time.monotonic() < give_up:
        time.sleep(0.01)
    return bool(found)


def refused(session: Session, words: str) -> None:
    assert until(lambda: re.search(words, session.read().fault or ""))
    for call in (session.driver.enable, session.driver.clear_faults):
        with pytest.raises(HardwareFault, match=words):
            call()


# Connecting and enabling
# ----------------------------------------------------------------------------------------------------------------


def test_connecting_moves_nothing_and_an_arm_that_is_not_ready_is_refused_with_what_to_do(rig):
    with Session(rig) as session:
        assert session.info.model == "fr3 (fr3)" and session.info.q_max == pytest.approx(FR3.q_max)
        # Those of the client, which are below the arm's.
        assert session.info.dq_max == pytest.approx([2.175] * 4 + [2.61] * 3)
        state = rig.emulator.ask("state")
        assert state["moves"] == 0 and state["settings"]["set_collision_behavior"] == [20.0] * 28 + [30.0] * 24
        rig.inject("user_stop")
        refused(session, "user stop; release it")
        rig.emulator.ask("release")
        rig.inject("guide")
        refused(session, "guided by hand")
        rig.emulator.ask("release")
        rig.emulator.ask("lock")
        refused(session, "open the brakes and activate FCI")
        rig.emulator.ask("power")
        assert until(lambda: session.read().fault is None)
        session.driver.clear_faults()
        session.driver.enable()
        rig.wait(0.7)  # longer than the watchdog: before the first target the pose is held
        session.driver.enable()
        assert session.read().fault is None and rig.emulator.ask("state")["moves"] == 1
        session.driver.disable()
        assert not rig.emulator.ask("state")["moving"]


@pytest.mark.slow
def test_the_arm_takes_one_client_at_a_time(rig):
    with Session(rig):
        second = rig.make_driver()
        with pytest.raises(Disconnected, match="FCI activated"):
            second.open()


@pytest.mark.slow
@pytest.mark.skipif(Path("/sys/kernel/realtime").exists(), reason="this kernel has real time")
def test_a_kernel_without_real_time_is_told(rig):
    with pytest.raises(DriverUnavailable, match=r"realtime.*PREEMPT_RT.*realtime: false"):
        FrankaDriver(rig.host).open()


# Stops
# ----------------------------------------------------------------------------------------------------------------


def run_into_a_reflex_and_the_user_stop(rig, session) -> None:
    """A reflex is told and recovered from only on request; then the user stop is pressed, and told."""
    session.driver.enable()
    session.write(session.read().q)
    rig.inject("device_fault")
    assert until(lambda: "reflex: joint_reflex" in (session.read().fault or ""))
    with pytest.raises(HardwareFault, match="joint_reflex"):
        session.write(session.read().q)
    session.driver.clear_faults()
    assert session.read().fault is None and not rig.emulator.ask("state")["moving"]
    session.driver.enable()
    session.settle(np.array(HOME), 0.1)
    rig.inject("user_stop")
    assert until(lambda: "user stop" in (session.read().fault or ""))


def test_a_reflex_is_told_and_recovered_from_only_on_request(rig):
    with Session(rig) as session:
        run_into_a_reflex_and_the_user_stop(rig, session)


@pytest.mark.slow
def test_without_commands_the_arm_is_braked(rig):
    with Session(rig) as session:
        session.driver.enable()
        session.write(session.read().q + 0.05)
        assert until(lambda: "ended: no target came" in (session.read().fault or ""))
        way = rig.truth() - np.array(HOME)  # led there and not far beyond, however late a busy machine looks
        assert (way > 0.03).all() and (way < 0.1).all(), way
        with pytest.raises(HardwareFault, match="motion has ended"):
            session.write(session.read().q)


@pytest.mark.slow
def test_missing_packets_are_a_fault_in_the_arms_words():
    pytest.importorskip("franky")
    host = "127.99.2.3"
    with EmulatorProcess("franka", "--host", host, "--patience", "0.2") as emulator:
        driver = FrankaDriver(host, watchdog_s=1.0, realtime=False)
        driver.open()
        driver.enable()
        emulator.inject("drop", duration_s=0.2)  # the arm allows 20 ms
        assert until(lambda: "communication_constraints_violation" in (driver.read(0.0).fault or ""))
        driver.clear_faults()
        assert driver.read(0.0).fault is None
        driver.close()


@pytest.mark.slow
def test_a_client_that_dies_is_told_and_replaced_on_request(rig):
    with Session(rig) as session:
        session.driver.enable()
        session.driver._client._process.kill()
        assert until(lambda: session.driver._client.poll() or session.driver._client.lost)
        with pytest.raises(Disconnected):
            session.driver.read(0.0)
        with pytest.raises(TransportError):
            session.write(np.array(HOME))
        session.driver.clear_faults()  # the arm has stopped with an error of its own
        assert any("client is gone" in note for note in rig.emulator.ask("state")["notes"])
        session.driver.enable()
        session.settle(np.array(HOME), 0.1)


@pytest.mark.slow
def test_a_driver_that_goes_away_brakes_the_arm_first(rig):
    session = Session(rig)
    session.driver.enable()
    session.move(np.array(HOME) + 0.1, 0.6)
    session.driver.close()
    assert until(lambda: not rig.emulator.ask("state")["moving"])
    assert rig.emulator.ask("state")["mode"] == "IDLE", rig.emulator.ask("state")["notes"]


@pytest.mark.slow
def test_a_stop_on_a_silent_link_does_not_wait(rig):
    with Session(rig) as session:
        session.driver.enable()
        session.write(session.read().q)
        rig.inject("freeze")
        rig.wait(0.7)
        for call in (session.driver.stop, session.driver.disable):
            with pytest.raises(TransportError, match="stops by itself"):
                call()
        with pytest.raises(ModeError):
            session.write(np.array(HOME))
        rig.heal()


@pytest.mark.slow
def test_damaged_packets_and_the_vendors_errors_stay_inside(rig):
    with Session(rig) as session:
        session.driver.enable()
        rig.inject("corrupt")
        seen = []

        def told() -> bool:
            try:
                session.driver.write(np.array(HOME), 0.0)
                assert (np.abs(session.driver.read(0.0).q) < 7.0).all()
            except BridgeError as error:
                seen.append(error)
            return bool(seen)

        assert until(told, 10.0)


@pytest.mark.slow
def test_a_client_that_does_not_answer_is_ended(rig):
    with Session(rig) as session:
        client = session.driver._client
        os.kill(client._process.pid, signal.SIGSTOP)
        with pytest.raises(TransportError, match=r"not confirmed within 0\.1 s"):
            client.ask(Op.END, 0.1)
        assert client._process.poll() is not None
        with pytest.raises(Disconnected):
            session.driver.read(0.0)
        assert until(lambda: rig.emulator.ask("state")["mode"] == "IDLE")
        session.driver.clear_faults()
        assert session.read().fault is None


@pytest.mark.slow
def test_the_hand_is_read_and_goes_where_it_is_sent(rig):
    rig.make_driver = lambda: FrankaDriver(rig.host, watchdog_s=0.5, realtime=False, gripper=True)

    def opens_to(opening: float) -> bool:
        return until(lambda: session.read().gripper == pytest.approx(opening, abs=0.01))

    with Session(rig) as session:
        assert session.info.gripper and session.read().gripper == pytest.approx(0.5)
        with pytest.raises(ModeError, match="not enabled"):
            session.driver.gripper(1.0)
        session.driver.enable()
        with pytest.raises(CommandRejected, match=r"opening 1.5, allowed \[0, 1\]"):
            session.driver.gripper(1.5)
        for opening in (0.8, 0.2, 1.0):  # of those that come in a motion the last counts
            session.driver.gripper(opening)
        assert opens_to(1.0)
        rig.inject("hold", value=0.032)
        session.driver.gripper(0.0)
        assert opens_to(0.4)  # on the object, and the arm goes on
        session.driver.gripper(0.9)
        assert opens_to(0.9) and not session.read().fault


@pytest.mark.slow
def test_an_arm_without_a_hand_is_told_so(rig):
    with Session(rig) as session:
        assert not session.info.gripper and session.read().gripper is None
        session.driver.enable()
        with pytest.raises(ModeError, match="no hand"):
            session.driver.gripper(1.0)


# Without an arm
# ----------------------------------------------------------------------------------------------------------------


def test_nobody_there_is_told_at_once():
    pytest.importorskip("franky")
    with pytest.raises(Disconnected, match=r"refused.*FCI"):
        FrankaDriver("127.98.7.6", realtime=False).open()
    with pytest.raises(Disconnected, match="not open"):
        FrankaDriver("127.98.7.6").clear_faults()


@pytest.mark.slow
def test_a_controller_of_another_version_is_told():
    pytest.importorskip("franky")
    with socket.create_server(("127.98.7.7", 1337)) as server:

        def serve() -> None:
            client, _ = server.accept()
            client.recv(64)
            client.sendall(bytes.fromhex("00000000 00000000 0f000000 01 0500"))
            client.recv(64)

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(Disconnected, match=r"Incompatible library version.*server version: 5"):
            FrankaDriver("127.98.7.7", realtime=False).open()


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setattr(client_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DriverUnavailable, match=re.escape("loopwm-robot[franka]")):
        FrankaDriver("127.0.0.1").open()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"gain": 100.0}, r"gain 100.0 1/s, allowed \[0, 30\]"),
        ({"jerk": float("nan")}, "jerk nan"),
        ({"acceleration": 11.0}, r"acceleration 11.0 rad/s\^2, allowed \[0.1, 10\]"),
        ({"watchdog_s": 5.0}, "watchdog_s"),
        ({"collision_torque": 500.0}, "collision_torque"),
        ({"model": "panda"}, "known: fr3"),
        ({"joint_names": ["a"]}, "7 names"),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        FrankaDriver("127.0.0.1", **settings)


def test_reports_survive_the_trip():
    seven = tuple(float(x) for x in range(7))
    report = Report(Kind.LOST, False, 0.5, 1.5, seven, (0.5,) * 7, (2.0,) * 7, 4, True, 0.25, "the link is gone")
    assert Report.unpack(report.pack()) == report
    assert len(Report.unpack(Report(Kind.REPLY, text="ä" * 300).pack()).text) == 120


def test_the_configured_arm_can_be_built():
    arm = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    limits = JointLimits.from_mapping(arm)
    assert limits.names == FR3.joint_names
    np.testing.assert_array_less(limits.dq_max, np.array(FR3.dq_max))
    np.testing.assert_array_equal(limits.tau_max, FR3.tau_max)
    assert (limits.q_max <= np.array(FR3.q_max)).all() and (limits.q_min >= np.array(FR3.q_min)).all()
    FrankaDriver(**arm["driver_kwargs"])


def told(**changes) -> SimpleNamespace:
    """A state of the vendor's, as an arm at rest tells it."""
    fields = {"time": 1.0, "q": HOME, "dq": (0.0,) * 7, "tau_J": (0.0,) * 7, "q_d": HOME, "theta": HOME, "mode": 2}
    fields |= {"dq_d": (0.0,) * 7, "current_errors": "[]"} | changes
    seconds, mode = fields.pop("time"), fields.pop("mode")
    to_sec = SimpleNamespace(to_sec=lambda: seconds)
    return SimpleNamespace(**fields, time=to_sec, robot_mode=SimpleNamespace(value=mode))


@pytest.mark.parametrize(
    "change",
    [
        {"time": 5.0},
        {"time": 0.5},
        {"time": 1.0},
        {"q": (1e30,) * 7, "theta": (1e30,) * 7},
        {"q": (0.5,) * 7},
        {"theta": (0.0,) * 7},
        {"dq": (float("nan"),) * 7},
        {"current_errors": '["joint_reflex"]'},
    ],
)
def test_a_state_that_makes_no_sense_is_left_out(change):
    states = States()
    assert states.take(told(), 10.0) is not None
    assert states.take(told(**{"time": 1.1} | change), 10.1) is None
    found = states.take(told(time=1.2), 10.2) or states.take(told(time=1.3), 10.3)
    assert found is not None and found.t_device <= 1.3


def test_an_arm_may_leave_its_motors_out():
    states, silent = States(), {"theta": (0.0,) * 7}
    assert states.take(told(**silent), 10.0) is not None
    assert states.take(told(time=1.1, **silent), 10.1) is not None
    assert states.take(told(time=1.2, theta=(0.5,) * 7), 10.2) is None


def test_a_new_mode_counts_when_it_is_told_twice():
    states, reflex = States(), {"mode": 4, "current_errors": '["joint_reflex", "tau_J_range_violation"]'}
    states.take(told(), 10.0)
    assert states.take(told(time=1.001, **reflex), 10.001) is None
    found = states.take(told(time=1.002, **reflex), 10.002)
    assert found is not None and (found.mode, found.errors) == (4, "joint_reflex, tau_J_range_violation")


# From targets to speeds
# ----------------------------------------------------------------------------------------------------------------

DESCRIPTION = parse_urdf(FR3.urdf())
DELAY_S = 0.025


def follow(path, seconds: float, jitter: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An ideal arm led along a path by ticks at 250 Hz, early and late by up to a jitter [s]."""
    servo, rng = VelocityServo(DESCRIPTION, 15.0, DELAY_S), np.random.default_rng(0)
    q, dt, at, led = np.array(HOME), 1e-3, [], []
    ticks = np.arange(0.0, seconds, 0.004)
    ticks = np.sort(ticks + rng.uniform(0.0, jitter, ticks.size))
    for t in np.arange(0.0, seconds, dt):
        while ticks.size and ticks[0] <= t:
            servo.add(float(ticks[0]), path(float(ticks[0])))
            ticks = ticks[1:]
        q = q + servo.speeds(t, q) * dt
        at.append(t)
        led.append(q)
    at = np.array(at)
    return at, np.array(led), np.stack([path(t - DELAY_S) for t in at])


@pytest.mark.parametrize("jitter", [0.0, 0.01])
def test_a_path_is_followed_by_the_delay_and_without_overshoot(jitter):
    def path(t):
        s = np.clip(t / 1.0, 0.0, 1.0)
        return np.array(HOME) + 0.3 * s**3 * (10.0 - 15.0 * s + 6.0 * s * s)

    _, led, wanted = follow(path, 1.3, jitter)
    assert np.abs(led - wanted).max() < 3e-3
    assert led[:, 1].max() <= HOME[1] + 0.3 + 2e-4 and led[-1] == pytest.approx(path(2.0), abs=1e-4)


def test_speeds_stay_inside_those_that_the_arm_allows():
    servo = VelocityServo(DESCRIPTION, 15.0, DELAY_S)
    np.testing.assert_array_equal(servo.speeds(0.0, np.array(HOME)), 0.0)
    assert servo.newest == -np.inf
    servo.add(1.0, np.array(HOME) + 2.0)
    low, high = DESCRIPTION.speeds(np.array(HOME))
    np.testing.assert_allclose(servo.speeds(1.0, np.array(HOME)), 0.98 * high)
    # From an old place nothing is closed: what is left is the speed of the targets, here none.
    np.testing.assert_array_equal(servo.speeds(1.0, np.array(HOME), fresh=False), 0.0)
    servo.reset()
    servo.add(2.0, np.array(HOME) - 2.0)
    np.testing.assert_allclose(servo.speeds(2.0, np.array(HOME)), 0.98 * low)


# Emulator
# ----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_side_channel(rig):
    with pytest.raises(ValueError, match="known: freeze"):
        rig.emulator.ask("dance")
    assert set(rig.faults) - {"kill", "estop"} <= set(franka.FAULTS)
    rig.inject("guide")
    assert rig.emulator.ask("state")["mode"] == "GUIDING"
    rig.heal()
    assert rig.emulator.ask("state")["mode"] == "IDLE"


def test_an_address_in_use_is_told(capfd):
    with EmulatorProcess("franka", "--host", "127.99.1.3", "--locked") as first:
        assert first.ask("state")["mode"] == "OTHER"
        assert franka.main(["--host", "127.99.1.3"]) == 1
    assert "choose another --host" in capfd.readouterr().err


@pytest.mark.slow
def test_the_vendors_gripper_client_works_the_hand(rig):
    import franky

    hand = franky.Gripper(rig.host)
    assert hand.server_version == 3 and hand.max_width == pytest.approx(0.08)
    assert hand.move(0.06, 0.1) and hand.width == pytest.approx(0.06, abs=1e-3)
    assert not hand.grasp(0.03, 0.1, 20.0)
    rig.inject("hold", value=0.03)
    assert hand.move(0.06, 0.1) and hand.grasp(0.03, 0.1, 20.0) and hand.is_grasped
    assert hand.width == pytest.approx(0.03)


# Parity
# ----------------------------------------------------------------------------------------------------------------


def swing(start: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    t = np.arange(41) * 0.05
    shape = 0.2 * np.array([1.0, -1.0, 0.5, 1.0, -0.5, 1.0, 1.0])
    q = start + 0.5 * (1.0 - np.cos(np.pi * t / 2.0))[:, None] * shape
    dq = 0.25 * np.pi * np.sin(np.pi * t / 2.0)[:, None] * shape
    dq[[0, -1]] = 0.0
    return q, dq, 0.05


@pytest.mark.slow
def test_a_plan_moves_the_simulated_arm_and_the_arm_on_the_wire_alike(rig, tmp_path):
    compare_with_the_simulated_arm(rig, tmp_path)


def compare_with_the_simulated_arm(rig: FrankaRig, tmp_path: Path) -> None:
    q, dq, dt = swing(np.array(HOME))
    file = tmp_path / "fr3.xml"
    file.write_text(make_mjcf(FR3, HOME))
    spec = DriverSpec("sim", {"mjcf_path": str(file), "joint_names": list(FR3.joint_names)})
    with ArmBridge(spec, rig.limits, lockstep=True, clock=FakeClock(10.0), rate_hz=125.0) as bridge:
        bridge.enable()
        bridge.start()
        plan = bridge.make_plan(q, dq, dt=dt, validity=4.0)
        bridge.submit(plan)
        bridge.advance(3.0)
        direct = bridge.records()
    with Run(rig) as run:
        run.start()
        now = rig.clock.now()
        wired_plan = ArmPlan(1, now, dt, q, now + 4.0, FR3.joint_names, dq)
        assert run.executor.submit(wired_plan, now)
        run.ticks(3.0)
        wired = run.sink.table(7)
    t = np.arange(0.3, 2.6, 0.02)

    def at(records, t0, column):
        return np.stack([np.interp(t, records["t"] - t0, records[column][:, i]) for i in range(7)], axis=1)

    # The same plan through the same filter: the same commands.
    np.testing.assert_allclose(at(wired, now, "applied"), at(direct, plan.t0, "applied"), atol=3e-3)

    # The same motion, later by the servo's delay and the way over the wire.
    def apart(delay: float) -> float:
        return float(np.abs(at(wired, now + delay, "q") - at(direct, plan.t0, "q")).max())

    delays = np.arange(0.0, 0.3, 0.005)
    best = min(delays, key=apart)
    assert 0.01 <= best <= 0.2, f"delay {best:.3f} s"
    assert apart(best) < 0.015, f"{apart(best):.4f} rad apart at a delay of {best:.3f} s"
    np.testing.assert_allclose(rig.truth(), q[-1], atol=5e-3)


def test_the_geometry_is_compared():
    settings = FrankaDriver("127.0.0.1")._settings
    assert worker._info(DESCRIPTION, settings).ok
    moved, turned = DESCRIPTION.origins.copy(), DESCRIPTION.rolls.copy()
    moved[3, 0] += 0.01
    turned[2] *= -1.0
    for other, words in ((replace(DESCRIPTION, origins=moved), "0.010 m"), (replace(DESCRIPTION, rolls=turned), "2.0")):
        report = worker._info(other, settings)
        assert not report.ok and words in report.text


def test_an_arm_of_other_geometry_is_refused(monkeypatch):
    class Other:
        """A client whose arm says that it is another."""

        def __init__(self, arguments, pass_fds, **_):
            link = socket.socket(fileno=os.dup(pass_fds[0]))
            link.sendall(Report(Kind.INFO, False, text="it describes itself as 'fp3'").pack())
            link.close()

        def wait(self, timeout=None):
            return 0

    monkeypatch.setattr(subprocess, "Popen", Other)
    monkeypatch.setattr(client_module, "require_package", lambda: None)
    with pytest.raises(LimitsMismatch, match=r"fp3.*set driver_kwargs\.model"):
        client_module.Client(FrankaDriver("127.0.0.1")._settings)
