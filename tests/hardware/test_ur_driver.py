"""What is special about Universal Robots' arms, through ur_rtde on the emulator: checks, stops, watchdog, parity."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from hardware import ArmBridge, ArmPlan, DriverSpec, FakeClock, JointLimits
from hardware.conformance.process_rig import loopback
from hardware.conformance.session import Run, Session
from hardware.conformance.ur_rig import HOME, UrRig
from hardware.drivers.ur import UrDriver
from hardware.drivers.ur import client as client_module
from hardware.drivers.ur import controller as controller_module
from hardware.drivers.ur.messages import Kind, Report
from hardware.emulators import ur
from hardware.emulators.process import EmulatorProcess
from hardware.emulators.ur_arm import make_mjcf
from hardware.errors import (
    BridgeError,
    Disconnected,
    DriverUnavailable,
    HardwareFault,
    LimitsMismatch,
    ModeError,
    TransportError,
)
from hardware.wire.ur_models import JOINT_NAMES, MODELS

FILE = Path(__file__).parents[2] / "configs/arm/ur5e.yaml"


@pytest.fixture
def rig():
    pytest.importorskip("rtde_control")
    with UrRig() as rig:
        yield rig


def until(holds, seconds: float = 5.0) -> bool:
    give_up = time.monotonic() + seconds
    while not (found := holds()) and time.monotonic() < give_up:
        time.sleep(0.01)
    return bool(found)


def refused(session: Session, words: str) -> None:
    with pytest.raises(HardwareFault, match=words):
        session.driver.enable()


# Connecting and enabling
# ----------------------------------------------------------------------------------------------------------------


def test_connecting_uploads_and_starts_nothing(rig):
    with Session(rig) as session:
        assert session.info.model == "ur5e (UR5)" and session.info.firmware == "PolyScope 5.12"
        assert session.info.q_max == pytest.approx([2 * np.pi] * 6)
        state = rig.emulator.ask("state")
        assert state["uploads"] == 0 and not state["running"]
        assert session.read().temperature.tolist() == [25.0] * 6


def test_another_model_is_refused(rig):
    driver = UrDriver(rig.host, "ur3e")
    with pytest.raises(LimitsMismatch, match="drives a UR5"):
        driver.open()


def test_an_arm_that_is_not_ready_is_refused_with_what_to_do(rig):
    with Session(rig) as session:
        rig.inject("local")
        refused(session, "remote control")
        rig.heal()
        rig.inject("estop")
        assert until(lambda: "emergency stop" in (session.read().fault or ""))
        refused(session, "emergency stop")
        with pytest.raises(HardwareFault, match="emergency stop"):
            session.driver.clear_faults()
        rig.emulator.ask("release")
        assert until(lambda: "POWER_OFF" in (session.read().fault or ""))
        refused(session, "release the brakes")
        rig.emulator.ask("power")
        assert until(lambda: session.read().fault is None)
        session.driver.clear_faults()
        session.driver.enable()
        session.driver.disable()


def test_another_program_is_not_pushed_aside(rig):
    with Session(rig) as first:
        first.driver.enable()
        second = rig.make_driver()
        second.open()
        with pytest.raises(HardwareFault, match="another program runs"):
            second.enable()
        second.close()
        assert rig.emulator.ask("state")["uploads"] == 1


# Stops
# ----------------------------------------------------------------------------------------------------------------


def test_a_protective_stop_is_told_and_unlocked_only_on_request(rig):
    with Session(rig) as session:
        session.driver.enable()
        session.write(session.read().q)
        rig.inject("device_fault")
        assert until(lambda: "protective stop" in (session.read().fault or ""))
        with pytest.raises(HardwareFault, match="protective stop"):
            session.write(session.read().q)
        with pytest.raises(HardwareFault, match="Cannot unlock"):
            session.driver.clear_faults()
        rig.wait(0.3)
        session.driver.clear_faults()
        assert session.read().fault is None and not rig.emulator.ask("state")["running"]
        session.driver.enable()
        session.settle(np.array(HOME), 0.1)


def test_without_commands_the_controller_stops_by_itself(rig):
    with Session(rig) as session:
        session.driver.enable()
        session.write(session.read().q + 0.05)
        assert until(lambda: "ended" in (session.read().fault or ""))
        assert any("watchdog" in note for note in rig.emulator.ask("state")["notes"])
        with pytest.raises(HardwareFault, match="program has ended"):
            session.write(session.read().q)


def test_a_stop_ends_freedrive_and_leaves_the_arm_to_the_watchdog(rig):
    with Session(rig) as session:
        session.driver.enable()
        session.driver.freedrive(True)
        assert not until(lambda: session.read().fault, 0.8)  # longer than the watchdog waits
        session.driver.stop()
        assert until(lambda: "ended" in (session.read().fault or ""), 3.0)
        assert any("watchdog" in note for note in rig.emulator.ask("state")["notes"])


def test_a_client_that_dies_is_told_and_replaced_on_request(rig):
    with Session(rig) as session:
        session.driver.enable()
        session.driver._client._process.kill()
        assert until(lambda: session.driver._client.poll() or session.driver._client.lost)
        with pytest.raises(Disconnected):
            session.driver.read(0.0)
        with pytest.raises(TransportError):
            session.write(np.array(HOME))
        rig.wait(0.7)  # the controller's watchdog ends the program that is left
        session.driver.clear_faults()
        session.driver.enable()
        session.settle(np.array(HOME), 0.1)


def test_a_stop_on_a_silent_link_does_not_wait(rig):
    with Session(rig) as session:
        session.driver.enable()
        session.write(session.read().q)
        rig.inject("freeze")
        rig.wait(0.3)
        for call in (session.driver.stop, session.driver.disable):
            with pytest.raises(TransportError, match="watchdog stops the arm"):
                call()
        with pytest.raises(ModeError):
            session.write(np.array(HOME))
        rig.heal()


def test_speeds_lead_to_the_same_place(rig):
    driver = UrDriver(rig.host, "ur5e", frequency_hz=125.0, mode="speedj", watchdog_s=0.5)
    rig.make_driver = lambda: driver
    with Session(rig) as session:
        session.driver.enable()
        goal = np.array(HOME) + 0.1
        session.move(goal, 0.8)
        session.settle(goal, 1.0)
        np.testing.assert_allclose(rig.truth(), goal, atol=5e-3)
        session.driver.stop()
        session.driver.disable()


# Without an arm
# ----------------------------------------------------------------------------------------------------------------


def test_nobody_there_is_told_at_once():
    pytest.importorskip("rtde_control")
    with pytest.raises(Disconnected, match="port 29999 cannot be reached"):
        UrDriver("127.98.7.6").open()
    with pytest.raises(Disconnected, match="no state over RTDE"):
        client_module.Client("127.98.7.6", 125.0)
    with pytest.raises(Disconnected, match="not open"):
        UrDriver("127.98.7.6").clear_faults()


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setattr(client_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DriverUnavailable, match=re.escape("loopwm-robot[ur]")):
        UrDriver("127.0.0.1").open()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"lookahead_s": 0.01}, r"lookahead_s 0.01 s, allowed \[0.03, 0.2\]"),
        ({"gain": float("nan")}, "gain nan"),
        ({"watchdog_s": 5.0}, "watchdog_s"),
        ({"mode": "torque"}, "allowed servoj, speedj"),
        ({"model": "ur99"}, "known"),
        ({"joint_names": ["a"]}, "6 names"),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        UrDriver("127.0.0.1", **settings)


def test_reports_survive_the_trip():
    report = Report(Kind.LOST, False, 0.5, 1.5, tuple(range(6)), (0.5,) * 6, (31.5,) * 6, 7, 3, 2, "the link is gone")
    assert Report.unpack(report.pack()) == report
    assert len(Report.unpack(Report(Kind.REPLY, text="ä" * 300).pack()).text) == 80


def test_versions():
    assert controller_module.polyscope_version("URSoftware 5.12.2.1101661 (Jul 01 2022)") == (5, 12)
    assert controller_module.polyscope_version("could not understand") == (0, 0)


# Emulator and documents
# ----------------------------------------------------------------------------------------------------------------


def test_the_side_channel(rig):
    with pytest.raises(ValueError, match="known: freeze"):
        rig.emulator.ask("dance")
    assert set(rig.faults) - {"kill"} <= set(ur.FAULTS)
    rig.inject("safeguard")
    assert rig.emulator.ask("state")["safety_mode"] == "SAFEGUARD_STOP"
    rig.heal()
    assert rig.emulator.ask("state")["safety_mode"] == "NORMAL"


def test_an_address_in_use_is_told(capfd):
    with EmulatorProcess("ur", "--host", "127.99.1.2", "--rate", "125", "--off") as first:
        assert first.ask("state")["robot_mode"] == "POWER_OFF"
        assert ur.main(["--host", "127.99.1.2", "--rate", "125"]) == 1
    assert "choose another --host" in capfd.readouterr().err


def test_the_configured_arm_can_be_built():
    arm = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    limits = JointLimits.from_mapping(arm)
    assert limits.names == JOINT_NAMES
    model = MODELS["ur5e"]
    np.testing.assert_array_less(limits.dq_max, np.array(model.dq_max) + 1e-4)
    np.testing.assert_array_equal(limits.tau_max, model.tau_max)
    assert (limits.q_max <= np.array(model.q_max) + 1e-4).all()
    UrDriver(**arm["driver_kwargs"])
    assert loopback().startswith("127.")


# Parity
# ----------------------------------------------------------------------------------------------------------------


def swing(start: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    t = np.arange(41) * 0.05
    shape = 0.2 * np.array([1.0, -1.0, 0.5, 1.0, -0.5, 1.0])
    q = start + 0.5 * (1.0 - np.cos(np.pi * t / 2.0))[:, None] * shape
    dq = 0.25 * np.pi * np.sin(np.pi * t / 2.0)[:, None] * shape
    dq[[0, -1]] = 0.0
    return q, dq, 0.05


def test_a_plan_moves_the_simulated_arm_and_the_arm_on_the_wire_alike(rig, tmp_path):
    q, dq, dt = swing(np.array(HOME))
    file = tmp_path / "ur5e.xml"
    file.write_text(make_mjcf(MODELS["ur5e"], HOME))
    spec = DriverSpec("sim", {"mjcf_path": str(file), "joint_names": list(JOINT_NAMES)})
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
        wired_plan = ArmPlan(1, now, dt, q, now + 4.0, JOINT_NAMES, dq)
        assert run.executor.submit(wired_plan, now)
        run.ticks(3.0)
        wired = run.sink.table(6)
    t = np.arange(0.3, 2.6, 0.02)

    def at(records, t0, column):
        return np.stack([np.interp(t, records["t"] - t0, records[column][:, i]) for i in range(6)], axis=1)

    # The same plan through the same filter: the same commands.
    np.testing.assert_allclose(at(wired, now, "applied"), at(direct, plan.t0, "applied"), atol=3e-3)

    # The same motion, later by the servo's lookahead and the way over the wire.
    def apart(delay: float) -> float:
        return float(np.abs(at(wired, now + delay, "q") - at(direct, plan.t0, "q")).max())

    delays = np.arange(0.0, 0.3, 0.005)
    best = min(delays, key=apart)
    assert 0.04 <= best <= 0.2, f"delay {best:.3f} s"
    assert apart(best) < 0.01, f"{apart(best):.4f} rad apart at a delay of {best:.3f} s"
    np.testing.assert_allclose(rig.truth(), q[-1], atol=5e-3)


def test_errors_of_the_vendor_stay_inside(rig):
    with Session(rig) as session:
        session.driver.enable()
        rig.inject("corrupt")
        seen = []

        def told() -> bool:
            try:
                session.driver.write(np.array(HOME), 0.0)
                session.driver.read(0.0)
            except BridgeError as error:
                seen.append(error)
            return bool(seen)

        assert until(told)


def test_a_dashboard_that_is_silent_or_hangs_up_is_told():
    with socket.create_server(("127.97.3.1", controller_module.DASHBOARD_PORT)) as server:
        kept: list[socket.socket] = []

        def serve() -> None:
            first, _ = server.accept()
            first.close()
            kept.append(server.accept()[0])

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(Disconnected, match="hung up"):
            controller_module.dashboard("127.97.3.1", "robotmode")
        with pytest.raises(TransportError, match="does not answer"):
            controller_module.dashboard("127.97.3.1", "robotmode", timeout=0.1)
    with socket.create_server(("127.97.3.1", 30011)) as server:
        threading.Thread(target=lambda: server.accept()[0].close(), daemon=True).start()
        with pytest.raises(TransportError, match="primary interface"):
            controller_module.configuration("127.97.3.1", timeout=0.5)


def test_a_client_that_does_not_answer_is_ended(rig):
    with Session(rig) as session:
        client = session.driver._client
        os.kill(client._process.pid, signal.SIGSTOP)
        with pytest.raises(TransportError, match=r"not confirmed within 0\.1 s"):
            client.ask(client_module.Op.END, 0.1)
        assert client._process.poll() is not None
        with pytest.raises(Disconnected):
            session.driver.read(0.0)
        session.driver.clear_faults()
        assert session.read().fault is None
