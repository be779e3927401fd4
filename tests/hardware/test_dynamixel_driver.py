"""What is special about Dynamixel arms: calibration, servo clocks, settings that are refused, restarts, parity."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from hardware import ArmBridge, DriverSpec, Mode
from hardware.conformance import make_rig
from hardware.conformance.dynamixel_rig import CALIBRATION, DynamixelRig, emulated_arm
from hardware.conformance.session import Run, Session
from hardware.drivers.dynamixel import Calibration, DynamixelDriver
from hardware.drivers.dynamixel import registers as reg
from hardware.drivers.dynamixel.servo_clock import ServoClock
from hardware.emulators.process import EmulatorProcess
from hardware.errors import (
    CommandRejected,
    ControlProcessError,
    Disconnected,
    HardwareFault,
    LimitsMismatch,
    ModeError,
    TransportError,
    TransportTimeout,
)

pytest.importorskip("dynamixel_sdk")

TICK = 2 * np.pi / 4096


# Calibration
# ----------------------------------------------------------------------------------------------------------------


def test_calibration_is_exact_and_invertible(tmp_path):
    calibration = Calibration.from_mapping({**CALIBRATION, "gripper": {"id": 9, "closed": 3000, "open": 1000}})
    assert calibration.names == ("shoulder", "elbow", "wrist") and calibration.ids == (7, 12, 3)
    ticks = np.array([2048.0 - 1024, 2100 - 1024, 1800 + 1024])
    np.testing.assert_allclose(calibration.to_rad(ticks), [np.pi / 2] * 3, atol=1e-12)
    np.testing.assert_array_equal(calibration.to_ticks(calibration.to_rad(ticks)), ticks)
    assert calibration.gripper.opening(3000) == 0.0 and calibration.gripper.opening(900) == 1.0
    assert calibration.gripper.position(0.25) == 2500
    file = tmp_path / "arm.json"
    file.write_text(json.dumps(calibration.to_mapping()))
    assert Calibration.load(file) == calibration


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "'joints' is missing"),
        ({"joints": {}}, "is empty"),
        ({"joints": {"a": {"id": 1}}, "joint": {}}, r"keys \['joint'\] are unknown"),
        ({"joints": {"a": {"id": 1}, "b": {"id": 1}}}, "each may be used only once"),
        ({"joints": {"a": {"id": 253}}}, r"servo id is 253, allowed a whole number in \[0, 252\]"),
        ({"joints": {"a": {"id": 1, "sign": 2}}}, "sign is 2, allowed -1 or 1"),
        ({"joints": {"a": {"id": 1, "zero": 0.5}}}, "zero is 0.5"),
        ({"joints": {"a": {"id": 1, "drive_mode": 4}}}, "drive_mode is 4"),
        ({"joints": {"a": {"id": 1, "offset": 4}}}, r"joint 'a' has \['offset'\]; known: id"),
        ({"joints": {"a": {}}}, "missing 1 required"),
        ({"joints": {"a": {"id": 1}}, "gripper": {"id": 2, "closed": 5, "open": 5}}, "two positions"),
    ],
)
def test_bad_calibrations_say_what_is_wrong(data, words):
    with pytest.raises(LimitsMismatch, match=words):
        Calibration.from_mapping(data)


def test_bad_calibration_files(tmp_path):
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "broken.json").write_text("{")
    for name, words in (("none", "cannot be read"), ("broken.json", "cannot be read"), ("list.json", "JSON object")):
        with pytest.raises(LimitsMismatch, match=words):
            Calibration.load(tmp_path / name)


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"operating_mode": "velocity"}, "known: position"),
        ({"watchdog_s": 3.0}, r"allowed 0 or \[0.02, 2.54\] s"),
        ({"max_age_s": 0.5}, "max_age_s"),
        ({"max_speed": float("nan")}, "max_speed"),
        ({"goal_current_a": 1.0}, "goal_current_a"),
        ({"operating_mode": "current_position"}, "goal_current_a"),
    ],
)
def test_bad_arguments(kwargs, words):
    with pytest.raises(ValueError, match=words):
        DynamixelDriver("none", CALIBRATION, **kwargs)


# Clocks
# ----------------------------------------------------------------------------------------------------------------


def test_servo_clocks_wrap_and_drift():
    """Over many turns of the counter the device time is that of the slowest servo, and nothing looks old."""
    clock, rates, starts = ServoClock(2), np.array([1.004, 0.996]), np.array([32_000.0, 5.0])
    for k in range(8000):
        now = 0.02 * k
        ticks = (starts + rates * now * 1e3).astype(int) % 32768
        t, age, odd = clock.update(ticks.tolist(), 100.0 + now)
        assert not odd and age < 0.01
    assert t == pytest.approx(0.996 * now, abs=0.003)


def test_a_long_silence_is_no_restart():
    clock = ServoClock(1)
    clock.update([100], 10.0)
    t, age, odd = clock.update([100 + 7 * 32768 % 32768], 10.0 + 7 * 32.768)
    assert t == pytest.approx(7 * 32.768) and age == pytest.approx(0.0, abs=1e-9) and not odd


def test_old_answers_show_their_age():
    clock = ServoClock(1)
    for k in range(100):
        clock.update([20 * k], 0.02 * k)
    t, age, odd = clock.update([20 * 99], 0.02 * 99 + 0.1)  # the same count again, 0.1 s later
    assert age == pytest.approx(0.1, abs=0.002) and not odd and t == pytest.approx(0.02 * 99)


def test_a_restart_does_not_fit_and_can_be_forgiven():
    clock = ServoClock(2)
    clock.update([5000, 5000], 0.0)
    assert clock.update([5020, 30], 0.02)[2] == [1]
    assert clock.update([5040, 50], 0.04)[2] == []
    clock.forgive()
    assert clock.update([30, 70], 0.06)[2] == []


# Settings
# ----------------------------------------------------------------------------------------------------------------


def emulate(**eeprom) -> EmulatorProcess:
    return EmulatorProcess("dynamixel", "--arm", json.dumps(emulated_arm(**eeprom)))


@pytest.mark.parametrize(
    ("eeprom", "words"),
    [
        ({"operating_mode": 4}, r"Operating Mode \(11\) is 4, needs 3; run `python -m hardware.drivers.dynamixel"),
        ({"drive_mode": 8}, r"Drive Mode \(10\) is 8, allowed 0 or 1"),
        ({"drive_mode": 1}, r"Drive Mode \(10\) 1 and Homing Offset \(20\) 0, but it was calibrated with 0 and 0"),
        ({"homing_offset": 9}, "calibrated with 0 and 0"),
    ],
)
def test_servos_set_up_in_another_way_are_refused(eeprom, words):
    with emulate(**eeprom) as emulator, pytest.raises(LimitsMismatch, match=words):
        DynamixelDriver(emulator.ready["port"], CALIBRATION).open()


def test_reversed_servos_and_offsets_keep_their_meaning():
    """Drive mode and homing offset belong to the calibration; what is measured is still the true angle."""
    with emulate(drive_mode=1, homing_offset=4096, min_position_limit=0, max_position_limit=4095) as emulator:
        joints = {}
        for name, servo in CALIBRATION["joints"].items():
            joints[name] = {**servo, "sign": -servo["sign"], "zero": 4096 - servo["zero"]}
            joints[name] |= {"drive_mode": 1, "homing_offset": 4096}
        driver = DynamixelDriver(emulator.ready["port"], {"joints": joints})
        driver.open()
        state = driver.read(time.monotonic() + 0.5)
        order = [list(emulator.ready["joints"]).index(name) for name in joints]
        np.testing.assert_allclose(state.q, emulator.truth()[order], atol=TICK)
        driver.close()


def test_who_does_not_answer_and_who_is_unknown():
    with emulate() as emulator:
        port = emulator.ready["port"]
        missing = {"joints": {**CALIBRATION["joints"], "hand": {"id": 40}}}
        with pytest.raises(Disconnected, match=r"servo 40 \('hand'\) does not answer .* at 1000000 bit/s"):
            DynamixelDriver(port, missing).open()
        with pytest.raises(ValueError, match="baudrate 1234"):
            DynamixelDriver(port, CALIBRATION, baudrate=1234).open()
        first = DynamixelDriver(port, CALIBRATION)
        first.open()
        with pytest.raises(Disconnected, match="used by another program"):
            DynamixelDriver(port, CALIBRATION).open()
        first.close()
    with pytest.raises(Disconnected, match="cannot be opened"):
        DynamixelDriver("/dev/there-is-no-such-port", CALIBRATION).open()


def test_a_quiet_servo_is_made_to_confirm(caplog):
    with emulate(return_delay_time=250) as emulator:
        driver = DynamixelDriver(emulator.ready["port"], CALIBRATION)
        driver.open()
        assert "Return Delay Time (9) is 500 us" in caplog.text
        driver._bus.set_unconfirmed(7, reg.STATUS_RETURN_LEVEL, 1)
        driver.close()
        driver.open()
        driver.enable()
        driver.disable()
        driver.close()


# Operation
# ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def rig():
    with DynamixelRig() as rig:
        yield rig


def test_targets_that_a_servo_would_ignore_are_refused(rig):
    with Session(rig) as session:
        session.driver.enable()
        q = session.read().q
        with pytest.raises(CommandRejected, match=r"joint 'elbow' asked to \d+, servo 12 allows \[600, 3300\] ticks"):
            session.write(q + np.array([0.0, -2.5, 0.0]))
        session.driver.disable()


def test_torque_follows_the_current(rig):
    """A held arm without gravity presses with nothing; one that is pushed ahead of itself presses that way."""
    with Session(rig) as session:
        session.driver.enable()
        q = session.read().q
        assert np.abs(session.settle(q).tau).max() < 0.5
        session.write(q + 0.3 * np.array([1.0, -1.0, 1.0]))
        rig.wait(0.01)
        tau = session.read().tau
        assert tau[0] > 0.0 and tau[1] < 0.0 and tau[2] > 0.0
        session.driver.disable()


def test_temperatures_come_in_turn_and_then_with_every_state(rig):
    with Session(rig) as session:
        assert session.read().temperature is None  # not all are known yet
        heat = [session.read().temperature for _ in range(3 * (2 * 3 + 1))][-1]
        assert heat is not None and heat.tolist() == [35.0] * 3
        rig.inject("hot", joint=1)
        for _ in range(3 * (2 * 3 + 1)):
            heat = session.read().temperature
        assert heat[1] > 80.0 and heat[0] == heat[2] == 35.0


def test_a_hot_servo_is_cured_by_a_reset(rig):
    with Run(rig) as run:
        run.start()
        rig.inject("hot", joint=1)
        assert run.ticks(5.0, lambda: run.executor.mode is Mode.FAULT)
        fault = run.executor.fault  # of the measurement, or of the command that was refused before it
        assert fault.startswith("device_fault: ") and "servo 12 ('elbow'): overheated" in fault
        with pytest.raises(HardwareFault, match="is latched"):
            run.executor.driver.write(rig.limits.q_min, 0.0)
        rig.heal()
        run.ticks(0.2)
        run.executor.reset(rig.clock.now(), acknowledge=True)
        run.ticker.restart()
        run.ticks(0.2)
        assert run.executor.mode is Mode.ENABLED, run.story()
        run.executor.start(rig.clock.now())
        run.swing()


def test_an_expired_watchdog_is_told_and_the_arm_stands(rig):
    """The planner's side goes silent: the servos stop by themselves, and say so when it comes back."""
    with Session(rig) as session:
        session.driver.enable()
        q = session.read().q
        session.write(q + 0.3)
        rig.wait(0.8)  # the watchdog is 0.5 s
        session.read()
        states = [session.read() for _ in range(4)]
        assert "bus watchdog expired" in states[-1].fault
        session.driver.clear_faults()
        session.driver.enable()
        assert session.read().fault is None
        session.driver.disable()


def test_a_suspended_peer_does_not_stop_the_loop(rig):
    """SIGSTOP: nothing is read any more, so the terminal fills up; neither reading nor writing may block."""
    with Run(rig) as run:
        run.start()
        rig.emulator.suspend()
        assert run.ticks(20.0, lambda: run.executor.mode is Mode.FAULT)
        driver, blocked = run.executor.driver, []
        for _ in range(400):
            began = time.monotonic()
            with pytest.raises((TransportError, HardwareFault)):
                driver.write(run.executor.filter.q, began)
                driver.read(began + 0.001)
            blocked.append(time.monotonic() - began)
        rig.emulator.resume()
        assert float(np.median(blocked)) < 0.05


@pytest.mark.parametrize("delay", [0.12, 0.4])
def test_no_answer_older_than_allowed_gets_through(rig, delay):
    """A queue on the way delivers one answer a tick, each of them old: the servos' clocks tell."""
    with Session(rig) as session:
        session.driver.enable()
        ahead = []
        for _ in range(20):
            state = session.read()
            ahead.append(state.t_host - state.t_device)
            rig.wait(0.01)
        rig.inject("delay", value=delay)
        refused, old = 0, []
        for _ in range(150):
            began = rig.clock.now()
            try:
                state = session.driver.read(began + 0.01)
                old.append(state.t_host - state.t_device - min(ahead))
            except TransportTimeout:
                refused += 1
            rig.clock.sleep_until(began + 0.01)
        # Drift of 1 % a second is put up with: 15 ms in this time.
        assert refused > 100 and max(old, default=0.0) < 0.05 + 0.02
        rig.heal()
        rig.wait(delay + 0.1)
        session.read()


def test_half_an_arm_is_not_left_on(rig):
    """The second servo has shut down and refuses the torque: the first gives its own up again."""
    rig.inject("overload", joint=1)
    with Session(rig) as session:
        with pytest.raises(HardwareFault, match=r"servo 12 .* refuses to write 1 to Torque Enable"):
            session.driver.enable()
        assert rig.emulator.ask("truth")["torque"] == [False] * 3
        session.driver.clear_faults()
        session.driver.enable()
        assert rig.emulator.ask("truth")["torque"] == [True] * 3
        state = session.read()
        assert state.fault is None
        session.driver.disable()


def test_stop_on_a_dead_link_says_so(rig):
    with Session(rig) as session:
        session.driver.stop()  # not enabled: does no harm
        session.driver.enable()
        rig.inject("freeze")
        with pytest.raises(TransportTimeout, match="stop was not delivered"):
            session.driver.stop()
        rig.inject("unplug")
        with pytest.raises(Disconnected, match="is gone"):
            session.read()
        for call in (session.driver.disable, session.driver.stop, session.driver.clear_faults):
            with pytest.raises(Disconnected, match="is gone"):
                call()


def test_a_silent_servo_keeps_no_other_from_stopping_and_letting_go(rig, monkeypatch):
    """The elbow answers nothing any more; the others stop where they are, and lose their torque when asked."""
    with Session(rig) as session:
        driver, bus = session.driver, session.driver._bus
        driver.enable()
        q = session.read().q
        for servo in (7, 12, 3):
            bus.set(servo, reg.PROFILE_VELOCITY, 10)
        goal = q + np.array([-0.4, 0.4, -0.4])
        session.write(goal)
        rig.wait(0.2)
        sync_read, set_ = bus.sync_read, bus.set

        def deaf(ids):
            if 12 in ids:
                raise TransportTimeout("servo 12 is silent")

        monkeypatch.setattr(bus, "sync_read", lambda ids, *args: deaf(ids) or sync_read(ids, *args))
        monkeypatch.setattr(bus, "set", lambda id, *args: deaf((id,)) or set_(id, *args))
        with pytest.raises(TransportTimeout, match="not delivered to servo 12: servo 12 is silent"):
            driver.stop()
        rig.wait(0.2)
        rested = rig.truth()
        rig.wait(0.3)
        moved, left = np.abs(rig.truth() - rested), np.abs(rig.truth() - goal)
        assert moved[[0, 2]].max() < rig.settle_rad and left[[0, 2]].min() > 0.1
        assert moved[1] > 0.02
        with pytest.raises(TransportTimeout, match="servo 12 is silent"):
            driver.disable()
        torque = dict(zip(rig.emulator.ready["joints"], rig.emulator.ask("truth")["torque"], strict=True))
        assert torque == {"shoulder": False, "elbow": True, "wrist": False}


def test_a_gripper_is_a_servo_of_its_own():
    arm = emulated_arm()
    arm["servos"][0]["joint"] = "elbow"
    calibration = {
        "joints": {name: CALIBRATION["joints"][name] for name in ("shoulder", "wrist")},
        "gripper": {"id": 12, "closed": 2000, "open": 2600},
    }
    with EmulatorProcess("dynamixel", "--arm", json.dumps(arm)) as emulator:
        driver = DynamixelDriver(emulator.ready["port"], calibration, watchdog_s=0.0)
        driver.open()
        with pytest.raises(ModeError, match="not enabled"):
            driver.gripper(0.5)
        driver.enable()
        with pytest.raises(CommandRejected, match=r"opening 1.5, allowed \[0, 1\]"):
            driver.gripper(1.5)
        driver.gripper(0.5)
        time.sleep(0.6)
        state = driver.read(time.monotonic() + 0.5)
        assert state.gripper == pytest.approx(0.5, abs=0.02) and state.q.shape == (2,)
        driver.disable()
        driver.close()


@pytest.mark.parametrize("mode", ["extended_position", "current_position"])
def test_modes_without_limits_in_the_servo(mode):
    current = 0.5 if mode == "current_position" else None
    with emulate(operating_mode={"extended_position": 4, "current_position": 5}[mode]) as emulator:
        driver = DynamixelDriver(emulator.ready["port"], CALIBRATION, operating_mode=mode, goal_current_a=current)
        info = driver.open()
        assert info.q_min is None and info.q_max is None
        driver.enable()
        q = driver.read(time.monotonic() + 0.5).q
        for _ in range(60):
            driver.write(q + 0.1, 0.0)
            time.sleep(0.01)
        np.testing.assert_allclose(driver.read(time.monotonic() + 0.5).q, q + 0.1, atol=4 * TICK)
        driver.disable()
        driver.close()


# Parity
# ----------------------------------------------------------------------------------------------------------------


def drive(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Carry out one plan on a rig; return time since its start [s], applied and measured positions [rad]."""
    with make_rig(name) as rig:
        rig.config = DynamixelRig.config
        with Run(rig) as run:
            run.start()
            began = run.executor.counts["ticks"]
            run.swing(seconds=3.0)
            run.ticks(2.0)
            assert run.executor.mode is Mode.RUNNING, run.story()
            rows = run.sink.table(3)
    rows = rows[(rows["tick"] > began) & (rows["mode"] == Mode.RUNNING) & rows["sent"]]
    return rows["t"] - rows["t"][0], rows["applied"], rows["q"]


@pytest.mark.slow
def test_the_bus_moves_the_arm_as_the_simulation_alone():
    """One plan both ways: equal trajectories within quantisation and delay."""
    t_sim, applied_sim, q_sim = drive("sim")
    t_dxl, applied_dxl, q_dxl = drive("dynamixel")
    assert len(t_sim) > 150 and len(t_dxl) > 100
    inside = t_dxl < t_sim[-1] - 0.1

    def error(delay: float, sim: np.ndarray, dxl: np.ndarray) -> float:
        shifted = np.array([np.interp(t_dxl - delay, t_sim, sim[:, j]) for j in range(3)]).T
        return float(np.quantile(np.abs(shifted - dxl)[inside], 0.99))

    # The seeds differ by half a tick of the encoder; the start of the plan by less than a control period.
    delays = np.arange(-0.010, 0.0401, 0.0005)
    assert min(error(d, applied_sim, applied_dxl) for d in delays) < 1.0 * TICK
    assert min(error(d, q_sim, q_dxl) for d in delays) < 3.0 * TICK
    assert np.abs(q_dxl[-1] - q_dxl[0]).min() > 0.1


def test_through_the_whole_bridge_and_its_control_process(rig):
    kwargs = {"port": rig.emulator.ready["port"], "calibration": CALIBRATION, "watchdog_s": 0.5}
    config = DynamixelRig.config.to_mapping() | {"realtime": "off"}
    with ArmBridge(DriverSpec("dynamixel", kwargs), rig.limits, **config) as bridge:
        assert bridge.info.model == "Dynamixel XL330-M288 XM430-W350" and bridge.info.firmware == "46"
        bridge.enable()
        bridge.start()
        start = bridge.snapshot().applied.applied
        bridge.submit(bridge.make_plan([start, start + 0.2], dt=1.0, validity=1.5))
        bridge.advance(1.3)
        bridge.stop()
        np.testing.assert_allclose(rig.truth(), start + 0.2, atol=4 * TICK)
        assert bridge.audit().limit_violations == 0


def test_an_emulator_that_is_gone_says_so():
    emulator = emulate()
    emulator.kill()
    with pytest.raises(ControlProcessError, match="dynamixel"):
        emulator.ask("truth")
    emulator.close()
    with pytest.raises(ControlProcessError, match="ended"):
        EmulatorProcess("dynamixel", "--arm", "{}")
