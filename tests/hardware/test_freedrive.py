"""Moving an arm by hand: nothing is sent meanwhile, the pose at the end is held, and what goes wrong ends it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hardware import ArmBridge, Mode
from hardware.config import DriverSpec
from hardware.conformance.ur_rig import UrRig
from hardware.drivers.sim import SimArmDriver
from hardware.errors import BridgeError, ModeError, SafetyStop, TransportTimeout


def pushed(spec: DriverSpec, *faults: dict) -> DriverSpec:
    return DriverSpec("sim", {**spec.kwargs, "faults": list(faults)})


PUSH = {"kind": "push", "joint": 0, "value": 15.0, "at_s": 1.0, "duration_s": 0.5}


@pytest.fixture
def written(monkeypatch):
    calls: list[float] = []
    write = SimArmDriver.write

    def noted(self, q, deadline):
        calls.append(deadline)
        return write(self, q, deadline)

    monkeypatch.setattr(SimArmDriver, "write", noted)
    return calls


def test_the_arm_goes_where_it_is_pushed_and_is_held_there(spec, limits, written):
    with ArmBridge(pushed(spec, PUSH), limits, lockstep=True) as bridge:
        bridge.enable()
        before = bridge.observe().q
        bridge.freedrive()
        assert bridge.mode is Mode.GUIDED and bridge.freedrive() is None
        written.clear()
        bridge.advance(2.0)
        assert not written
        moved = bridge.observe().q - before
        assert moved[0] > 0.2 and abs(moved[1:]).max() < 0.1  # it neither sags nor springs back
        bridge.end_freedrive()
        assert bridge.mode is Mode.ENABLED
        bridge.advance(1.0)
        snapshot = bridge.snapshot()
        np.testing.assert_allclose(snapshot.state.q, before + moved, atol=5e-3)
        np.testing.assert_allclose(snapshot.applied.applied, before + moved, atol=5e-3)
        bridge.home(before, share=0.5)
        assert bridge.audit().limit_violations == 0
        assert [e.kind for e in bridge.events() if e.kind.startswith("guided")] == ["guided", "guided_to"]


def test_what_does_not_go_together_with_a_hand_on_the_arm_is_refused(bridge):
    with pytest.raises(ModeError, match="CONNECTED, needs ENABLED"):
        bridge.freedrive()
    bridge.enable()
    bridge.start()
    with pytest.raises(ModeError, match="HOLDING, needs ENABLED"):
        bridge.freedrive()
    bridge.stop()
    bridge.freedrive()
    with pytest.raises(ModeError, match="may be moved by hand; stop"):
        bridge.disable()
    bridge.submit(bridge.make_plan([bridge.observe().q], dt=0.1))
    bridge.advance(0.1)
    assert "the bridge is GUIDED" in [e.text for e in bridge.events() if e.kind == "plan_rejected"][-1]
    with pytest.raises(ModeError, match="GUIDED, needs ENABLED"):
        bridge.start()
    bridge.stop()
    assert bridge.mode is Mode.ENABLED
    bridge.end_freedrive()  # it has ended already
    bridge.disable()


def test_an_arm_without_it_says_so(spec, limits, monkeypatch):
    opened = SimArmDriver.open
    monkeypatch.setattr(SimArmDriver, "open", lambda self: replace(opened(self), freedrive=False))
    with ArmBridge(spec, limits, lockstep=True) as bridge:
        bridge.enable()
        with pytest.raises(ModeError, match="this arm has none"):
            bridge.freedrive()
        assert bridge.mode is Mode.ENABLED


def test_an_arm_that_is_still_moved_at_the_end_is_a_fault_and_not_pulled_back(spec, limits, written, monkeypatch):
    monkeypatch.setattr(SimArmDriver, "_brake", lambda self: self._commands.clear())  # it does not hold
    with ArmBridge(pushed(spec, {**PUSH, "value": 30.0, "duration_s": 9.0}), limits, lockstep=True) as bridge:
        bridge.enable()
        bridge.advance(0.3)
        bridge.freedrive()
        monkeypatch.setattr(SimArmDriver, "freedrive", lambda self, on: None)  # nor does it end
        bridge.advance(1.0)
        written.clear()
        with pytest.raises(SafetyStop, match="freedrive: the arm still moves at"):
            bridge.end_freedrive()
        assert bridge.mode is Mode.FAULT and not written
        bridge.advance(0.5)
        assert not written


@pytest.mark.parametrize("kind", ["device_fault", "disconnect", "freeze"])
def test_a_fault_ends_it_and_nothing_is_written_until_the_reset(spec, limits, written, kind):
    trouble = {"kind": kind, "at_s": 1.7, "duration_s": 1.0}
    with ArmBridge(pushed(spec, PUSH, trouble), limits, lockstep=True) as bridge:
        bridge.enable()
        before = bridge.observe().q
        bridge.freedrive()
        written.clear()
        bridge.advance(2.5)
        assert bridge.mode is Mode.FAULT and not written
        bridge.advance(1.0)
        assert not written
        bridge.reset(acknowledge=True)
        bridge.advance(0.5)
        assert bridge.mode is Mode.ENABLED and written
        moved = bridge.observe().q - before
        assert moved[0] > 0.2  # held where it was left, not pulled back
        np.testing.assert_allclose(bridge.snapshot().applied.applied, before + moved, atol=5e-3)


def test_one_that_cannot_be_ended_is_a_fault(bridge, monkeypatch):
    bridge.enable()
    bridge.freedrive()

    def silent(self, on):
        raise TransportTimeout("no answer")

    monkeypatch.setattr(SimArmDriver, "freedrive", silent)
    with pytest.raises(BridgeError, match="no answer"):
        bridge.stop()
    assert bridge.mode is Mode.FAULT and "freedrive: no answer" in bridge.fault


def test_a_dry_run_leaves_the_arm_alone(spec, limits, monkeypatch):
    monkeypatch.delattr(SimArmDriver, "freedrive")
    with ArmBridge(spec, limits, lockstep=True, commands="dry_run") as bridge:
        bridge.enable()
        bridge.freedrive()
        bridge.advance(0.2)
        assert bridge.mode is Mode.GUIDED
        bridge.end_freedrive()
        assert bridge.mode is Mode.ENABLED


def test_closing_ends_it_first(spec, limits):
    with ArmBridge(pushed(spec, PUSH), limits, rate_hz=100.0, on_exit="disable") as bridge:
        bridge.enable()
        bridge.freedrive()
        assert bridge.mode is Mode.GUIDED
    kinds = [e.kind for e in bridge.events()]
    assert kinds[kinds.index("guided") :] == ["guided", "guided_to", "disabled", "closed"]


@pytest.mark.slow
def test_through_the_teach_mode_of_a_ur():
    pytest.importorskip("rtde_control")
    with UrRig() as rig:
        kwargs = {"host": rig.host, "model": "ur5e", "frequency_hz": 125.0, "watchdog_s": 0.3, "lookahead_s": 0.08}
        with ArmBridge(DriverSpec("ur", kwargs), rig.limits, config=rig.config) as bridge:
            guide(rig, bridge)


def guide(rig: UrRig, bridge: ArmBridge) -> None:
    """Push the base joint, by more than the following error, for longer than the watchdog waits."""
    bridge.enable()
    before = bridge.observe().q
    bridge.freedrive()
    rig.emulator.ask("push", joint=0, value=100.0)
    bridge.advance(0.6)  # several times the watchdog
    rig.emulator.ask("heal")
    bridge.advance(0.5)
    moved = bridge.observe().q - before
    assert bridge.mode is Mode.GUIDED and moved[0] > 0.15
    bridge.end_freedrive()
    bridge.advance(0.5)
    assert bridge.mode is Mode.ENABLED
    np.testing.assert_allclose(bridge.observe().q, before + moved, atol=0.01)
    state = rig.emulator.ask("state")
    assert state["running"] and not [note for note in state["notes"] if "ended" in note or "emulated" in note]
