"""The simulated arm as a device: units, order, time, and its ways to fail."""

from __future__ import annotations

import builtins

import numpy as np
import pytest

from hardware import FakeClock
from hardware.drivers.sim import SimArmDriver, SimFault
from hardware.errors import (
    Disconnected,
    DriverUnavailable,
    HardwareFault,
    LimitsMismatch,
    ModeError,
    TransportTimeout,
)

NAMES = ("shoulder", "elbow", "wrist")
HOME = np.array([0.2, -0.4, 0.3])


@pytest.fixture
def clock():
    return FakeClock(50.0)


@pytest.fixture
def make(mjcf, clock):
    def make(names=NAMES, **kwargs):
        driver = SimArmDriver(mjcf, names, clock=clock, **kwargs)
        driver.info = driver.open()
        return driver

    return make


def test_it_tells_what_it_is_and_starts_at_home(make):
    arm = make()
    assert arm.info.joint_names == NAMES and arm.info.native_hz == pytest.approx(500.0)
    assert arm.info.q_min == (-2.0,) * 3 and arm.info.q_max == (2.0,) * 3
    state = arm.read(0.0)
    np.testing.assert_allclose(state.q, HOME)
    assert state.t_host == 50.0 and state.tau is not None and state.fault is None


@pytest.mark.parametrize("friction", [0.0, 4.0])
def test_dry_friction_holds_against_a_small_push(make, clock, friction):
    arm = make(friction_nm=friction)
    arm.enable()
    arm.freedrive(True)
    arm.inject(kind="push", joint=0, value=2.0)
    for _ in range(5):
        clock.advance(0.2)
        arm.read(0.0)
    moved = abs(arm.true_q[0] - HOME[0])
    assert moved < 0.01 if friction else moved > 0.05


def test_joints_are_found_by_name_in_any_order_and_number(make, clock):
    arm = make(("wrist", "shoulder"))
    np.testing.assert_allclose(arm.read(0.0).q, [0.3, 0.2])
    arm.enable()
    arm.write(np.array([0.5, 0.2]), 0.0)
    clock.advance(2.0)
    for _ in range(10):  # lost time beyond a quarter of a second is not made up for
        clock.advance(0.2)
        arm.read(0.0)
    np.testing.assert_allclose(arm.read(0.0).q, [0.5, 0.2], atol=2e-3)
    assert arm._data.qpos[3] == pytest.approx(0.01, abs=1e-3)  # the finger kept its target


def test_home_may_be_a_keyframe_or_numbers(make):
    np.testing.assert_allclose(make(home="home").true_q, HOME)
    np.testing.assert_allclose(make(home=[0.1, 0.2, 0.3]).true_q, [0.1, 0.2, 0.3])
    with pytest.raises(LimitsMismatch, match=r"it has \['home'\]"):
        make(home="park")
    with pytest.raises(LimitsMismatch, match="3 finite numbers"):
        make(home=[0.1, 0.2])


def test_time_advances_with_the_clock_and_only_with_it(make, clock):
    arm = make()
    first = arm.read(0.0)
    assert arm.read(0.0) is first
    clock.advance(0.02)
    second = arm.read(0.0)
    assert second.t_device - first.t_device == pytest.approx(0.02) and second.seq == first.seq + 1


def test_it_falls_behind_rather_than_blocking(make, clock):
    arm = make()
    clock.advance(100.0)
    assert arm.read(0.0).t_device < 1.0
    clock.advance(0.1)
    assert arm.read(0.0).t_device < 1.0


def test_latency_delays_commands_and_measurements(mjcf):
    """The response over twice the latency lags by exactly that."""

    def respond(latency):
        clock = FakeClock()
        arm = SimArmDriver(mjcf, NAMES, latency_s=latency, clock=clock)
        arm.open()
        arm.enable()
        arm.write(HOME + 0.3, 0.0)
        out = []
        for _ in range(100):
            clock.advance(0.004)
            out.append(arm.read(0.0).q)
        return np.array(out)

    direct, late = respond(0.0), respond(0.02)
    np.testing.assert_allclose(late[10:], direct[:-10], atol=1e-12)
    np.testing.assert_allclose(late[:9], HOME * np.ones((9, 1)), atol=1e-9)


def test_quantisation_and_noise(make, clock):
    arm = make(quantisation_rad=0.01, noise_rad=0.05, seed=1)
    arm.enable()
    assert arm.write(np.array([0.123, 0.0, 0.0]), 0.0)[0] == pytest.approx(0.12)
    readings = []
    for _ in range(20):
        clock.advance(0.002)
        readings.append(arm.read(0.0).q)
    readings = np.array(readings)
    np.testing.assert_allclose(readings / 0.01, np.round(readings / 0.01), atol=1e-9)
    assert 0.02 < readings[:, 1].std() < 0.1


def test_it_obeys_only_when_enabled(make, clock):
    arm = make()
    with pytest.raises(ModeError, match="enable first"):
        arm.write(HOME, 0.0)
    arm.enable()
    arm.enable()
    arm.write(HOME + 0.2, 0.0)
    clock.advance(0.1)
    arm.read(0.0)
    arm.disable()
    held = arm.true_q
    clock.advance(0.2)
    arm.read(0.0)
    assert np.abs(arm.true_q - held).max() < 0.1
    arm.close()
    with pytest.raises(Disconnected):
        arm.read(0.0)


def test_stop_holds_where_the_arm_is(make, clock):
    arm = make()
    arm.enable()
    arm.write(HOME + 1.0, 0.0)
    clock.advance(0.03)
    arm.stop()
    for _ in range(10):
        clock.advance(0.1)
        arm.read(0.0)
    assert np.abs(arm.read(0.0).dq).max() < 1e-3 and np.abs(arm.true_q - HOME - 1.0).max() > 0.3


def test_faults(make, clock):
    arm = make(
        faults=[{"kind": "drop", "at_s": 0.1, "duration_s": 0.1}, SimFault("encoder_jump", 0.3, 0.1, 1, 0.5)]
    )
    arm.enable()
    clock.advance(0.15)
    with pytest.raises(TransportTimeout):
        arm.read(0.0)
    with pytest.raises(TransportTimeout):
        arm.write(HOME, 0.0)
    clock.advance(0.1)
    honest = arm.read(0.0).q
    clock.advance(0.1)
    np.testing.assert_allclose(arm.read(0.0).q - honest, [0.0, 0.5, 0.0], atol=1e-6)
    clock.advance(0.1)
    arm.inject(kind="freeze")
    stuck = arm.read(0.0)
    arm.write(HOME + 1.0, 0.0)
    clock.advance(0.1)
    assert arm.read(0.0) is stuck
    arm.heal()
    np.testing.assert_allclose(arm.read(0.0).q, HOME, atol=1e-6)
    arm.inject(kind="device_fault", text="too hot")
    clock.advance(0.01)
    assert arm.read(0.0).fault == "too hot"
    with pytest.raises(HardwareFault, match="too hot"):
        arm.write(HOME, 0.0)
    with pytest.raises(HardwareFault, match="clear it"):
        arm.enable()
    arm.clear_faults()
    clock.advance(0.01)
    assert arm.read(0.0).fault is None
    arm.inject(kind="disconnect")
    with pytest.raises(Disconnected):
        arm.read(0.0)


@pytest.mark.parametrize("guided", [False, True])
def test_what_pushes_the_arm_ends(make, clock, guided):
    arm = make()
    arm.enable()
    arm.freedrive(guided)
    arm.inject(kind="push", joint=0, value=20.0)
    clock.advance(0.05)
    arm.read(0.0)
    assert arm._data.qfrc_applied.any()
    arm.heal()
    arm.freedrive(False)
    clock.advance(0.05)
    arm.read(0.0)
    assert not arm._data.qfrc_applied.any()


def test_a_jammed_arm_stands_still_while_its_drives_press(make, clock):
    arm = make()
    arm.enable()
    arm.inject(kind="jam")
    arm.write(HOME + 0.3, 0.0)
    for _ in range(20):
        clock.advance(0.01)
        state = arm.read(0.0)
    np.testing.assert_allclose(state.q, HOME, atol=1e-6)
    assert not state.dq.any() and (state.tau > 50.0).all()
    arm.stop()
    clock.advance(0.01)
    assert np.abs(arm.read(0.0).tau).max() < 1.0


@pytest.mark.parametrize(
    ("kwargs", "error", "words"),
    [
        ({"names": ("shoulder", "knee")}, LimitsMismatch, r"no joints \['knee'\]"),
        ({"latency_s": -1.0}, ValueError, "latency_s"),
        ({"noise_rad": float("nan")}, ValueError, "noise_rad"),
        ({"faults": [{"kind": "explode"}]}, ValueError, "known: freeze"),
        ({"faults": [{"kind": "drop", "when": 1}]}, ValueError, "settings when"),
    ],
)
def test_bad_arguments_name_what_is_known(make, kwargs, error, words):
    with pytest.raises(error, match=words):
        make(**kwargs)


def test_missing_model_and_joint_without_actuator(tmp_path, clock):
    with pytest.raises(DriverUnavailable, match="not a file"):
        SimArmDriver(tmp_path / "none.xml", NAMES, clock=clock).open()
    path = tmp_path / "bare.xml"
    path.write_text(
        "<mujoco><worldbody><body><joint name='j' axis='0 0 1'/><geom size='0.1'/></body></worldbody>"
        "</mujoco>"
    )
    with pytest.raises(LimitsMismatch, match="no actuator"):
        SimArmDriver(path, ["j"], clock=clock).open()


def test_without_a_keyframe_or_range(tmp_path, clock):
    path = tmp_path / "free.xml"
    path.write_text(
        "<mujoco><worldbody><body><joint name='j' axis='0 0 1'/><geom size='0.1'/></body></worldbody>"
        "<actuator><position joint='j' kp='1'/></actuator></mujoco>"
    )
    arm = SimArmDriver(path, ["j"], clock=clock)
    assert arm.open().q_min is None and arm.true_q.tolist() == [0.0]


def test_without_mujoco_the_error_says_what_to_install(mjcf, clock, monkeypatch):
    real = builtins.__import__

    def no_mujoco(name, *args, **kwargs):
        if name == "mujoco":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_mujoco)
    with pytest.raises(DriverUnavailable, match="pip install 'mujoco"):
        SimArmDriver(mjcf, NAMES, clock=clock).open()
