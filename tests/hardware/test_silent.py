"""Dry run and shadow: the arm is read, everything is worked out, and nothing reaches it."""

from __future__ import annotations

import numpy as np
import pytest

from hardware import ArmBridge, DriverSpec, Mode
from hardware.conformance.dynamixel_rig import CALIBRATION, DynamixelRig
from hardware.conformance.ur_rig import UrRig
from hardware.drivers.sim import SimArmDriver

SENT: list[str] = []


class Spy(SimArmDriver):
    """A simulated arm that notes whatever acts on it."""

    def __getattribute__(self, name: str):
        if name in ("enable", "write", "stop", "disable", "clear_faults", "gripper", "drive"):
            SENT.append(name)
        return super().__getattribute__(name)


def swing(bridge: ArmBridge, by: float = 0.3, **more) -> None:
    here = bridge.snapshot().applied.applied
    bridge.submit(bridge.make_plan([here, here + by, here], dt=0.5, validity=2.0, **more))


@pytest.fixture
def spy(spec) -> DriverSpec:
    SENT.clear()
    return DriverSpec(f"{__name__}:Spy", {**spec.kwargs, "gripper": "finger"})


@pytest.mark.parametrize("commands", ["dry_run", "shadow"])
def test_nothing_is_sent_whatever_happens(spy, limits, commands):
    with ArmBridge(spy, limits, lockstep=True, commands=commands) as bridge:
        driver = bridge._link.executor.driver._driver
        before = driver.true_q
        bridge.enable()
        bridge.start()
        swing(bridge, gripper=[0.0, 1.0, 0.5])
        bridge.advance(0.5)
        state, applied = bridge.observe(), bridge.snapshot().applied
        assert bridge.mode is Mode.RUNNING and np.abs(applied.applied - before).max() > 0.2
        follows = np.abs(state.q - applied.applied).max()
        assert follows < 0.01 if commands == "dry_run" else np.abs(state.q - before).max() < 1e-3
        assert state.gripper == (pytest.approx(1.0, abs=0.02) if commands == "dry_run" else pytest.approx(0.25))
        bridge.advance(1.5)
        bridge.stop()
        driver.inject(kind="device_fault")
        bridge.advance(0.1)
        assert bridge.mode is Mode.FAULT  # faults of the device show
        assert bridge.audit().limit_violations == 0 and commands in {event.kind for event in bridge.events()}
        np.testing.assert_allclose(driver.true_q, before, atol=1e-3)
    assert SENT == []


def test_the_spy_sees_what_is_sent(spy, limits):
    with ArmBridge(spy, limits, lockstep=True) as bridge:
        bridge.enable()
        bridge.start()
        swing(bridge, gripper=[0.0, 1.0, 0.5])
        bridge.advance(0.5)
    assert {"enable", "write", "gripper", "disable"} <= set(SENT)


def test_a_shadow_sees_the_arm_move_by_itself(spec, limits):
    """Somebody else drives it: no following error, for nothing is commanded."""
    with ArmBridge(spec, limits, lockstep=True, commands="shadow") as bridge:
        bridge.enable()
        bridge.start()
        driver = bridge._link.executor.driver._driver
        driver.enable()
        for k in range(60):
            driver.write(np.array([0.2, -0.4, 0.3]) + 0.01 * k, 0.0)
            bridge.advance(0.02)
        apart = np.abs(bridge.observe().q - bridge.snapshot().applied.applied).max()
        assert bridge.mode is Mode.HOLDING and apart > 0.3


@pytest.mark.slow
@pytest.mark.parametrize("commands", ["dry_run", "shadow"])
@pytest.mark.parametrize("name", ["dynamixel", "ur"])
def test_nothing_reaches_the_wire(name, commands):
    pytest.importorskip("dynamixel_sdk" if name == "dynamixel" else "rtde_control")
    with DynamixelRig() if name == "dynamixel" else UrRig() as rig:
        kwargs = (
            {"port": rig.emulator.ready["port"], "calibration": CALIBRATION}
            if name == "dynamixel"
            else {"host": rig.host, "frequency_hz": 125.0}
        )
        before = rig.truth()
        settings = {**rig.config.to_mapping(), "realtime": "off", "commands": commands}
        with ArmBridge(DriverSpec(name, kwargs), rig.limits, **settings) as bridge:
            bridge.enable()
            bridge.start()
            swing(bridge)
            bridge.advance(1.2)
            assert np.abs(bridge.records()["applied_dq"]).max() > 0.3 and bridge.mode is not Mode.FAULT
            np.testing.assert_allclose(rig.truth(), before, atol=1e-3)
            if name == "ur":
                assert rig.emulator.ask("state")["uploads"] == 0
        np.testing.assert_allclose(rig.truth(), before, atol=1e-3)
