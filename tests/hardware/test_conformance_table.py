"""The checks catch drivers that break the contract, and the table says so."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from hardware import conformance
from hardware.conformance import ALL_CHECKS, RIGS, ConformanceError, NotApplicable, __main__
from hardware.conformance.sim_rig import SimRig
from hardware.drivers.sim import SimArmDriver
from hardware.errors import BridgeError, DriverUnavailable, HardwareFault
from hardware.interface import ArmState

PAGE = Path(__file__).parents[2] / "docs/hardware/conformance.md"


def broken_rig(**methods) -> SimRig:
    """The simulated arm with methods of its driver replaced."""

    class Broken(SimRig):
        def make_driver(self):
            driver = super().make_driver()
            for name, method in methods.items():
                original = getattr(driver, name)
                setattr(driver, name, lambda *args, m=method, o=original: m(o, *args))
            return driver

    return Broken()


def changed(**changes):
    """A read whose states differ from the true ones."""

    def read(original, deadline):
        state = original(deadline)
        fields = {key: getattr(state, key) for key in ("seq", "t_host", "t_device", "q", "dq", "tau", "fault")}
        return ArmState(**fields | {key: change(state) for key, change in changes.items()})

    return read


def raising(error):
    def method(original, *args):
        raise error

    return method


def silent(original, q, deadline):
    """A write that keeps what the device says to itself."""
    try:
        return original(q, deadline)
    except BridgeError:
        return q


def honest(original, deadline):
    """A read that knows better than the encoder."""
    arm = original.__self__
    return changed(q=lambda state: arm.true_q)(original, deadline)


NUMBERS = count(1000.0)

CASES = {
    "positions_have_unit_order_and_zero": {"read": changed(q=lambda s: np.degrees(s.q))},
    "each_joint_moves_alone_and_by_as_much": {"write": lambda o, q, t: o(q[::-1], t)},
    "velocities_have_unit_and_sign": {"read": changed(dq=lambda s: s.q)},
    "time_and_numbers_advance": {"read": changed(t_device=lambda s: 1e3 * s.t_device)},
    "written_is_what_was_sent": {"write": lambda o, q, t: o(q, t) + 0.01},
    "malformed_commands_are_refused": {"write": lambda o, q, t: o(np.nan_to_num(np.resize(q, 3), posinf=0.0), t)},
    "stop_brings_to_rest": {"stop": lambda o: None},
    "ending_is_idempotent": {"disable": lambda o: None},
    "opening_moves_nothing": {"write": lambda o, q, t: q},
    "a_silent_link_never_blocks": {"read": raising(RuntimeError("of the vendor"))},
    "link_freeze": {"read": changed(t_device=lambda s: next(NUMBERS))},
    "link_unplug": {"read": changed(fault=lambda s: "x"), "write": raising(BridgeError("x"))},
    "a_device_fault_is_latched": {"read": changed(fault=lambda s: None), "write": silent},
    "an_emergency_stop_is_latched": {"read": changed(estop=lambda s: False)},
    "a_program_may_stop_at_once": {"stop": raising(RuntimeError("of the vendor"))},
    "an_encoder_jump_stops_the_arm": {"read": honest},
}


LETS_OUT: dict[str, type[Exception]] = {
    "a_silent_link_never_blocks": RuntimeError,
    "a_program_may_stop_at_once": RuntimeError,
    "link_unplug": HardwareFault,
}
"""What a driver lets out itself, where it is not the check that complains."""


@pytest.mark.parametrize("check", CASES)
def test_a_broken_driver_is_caught(check):
    with broken_rig(**CASES[check]) as rig, pytest.raises(LETS_OUT.get(check, ConformanceError)):
        ALL_CHECKS[check](rig)


def test_a_jump_on_enabling_is_caught():
    def enable(original):
        original()
        original.__self__.write(np.zeros(3), 0.0)

    with broken_rig(enable=enable) as rig, pytest.raises(ConformanceError, match="the arm moved"):
        ALL_CHECKS["enabling_holds_the_pose"](rig)


def test_an_arm_that_moves_by_itself_after_the_reset_is_caught():
    def clear_faults(original):
        original()
        original.__self__._data.qpos[0] += 0.2

    with broken_rig(clear_faults=clear_faults) as rig, pytest.raises(ConformanceError, match="moved the arm"):
        ALL_CHECKS["a_link_that_returns_needs_an_operator"](rig)


def test_limits_must_be_compared():
    def blind(original):
        return replace(original(), q_min=None, q_max=None)

    with broken_rig(open=blind) as rig, pytest.raises(ConformanceError, match="were taken"):
        ALL_CHECKS["limits_wider_than_the_device_are_refused"](rig)


def test_what_an_emulator_cannot_do_does_not_apply():
    with SimRig() as rig, pytest.raises(NotApplicable, match="no 'reboot'"):
        ALL_CHECKS["a_restart_is_noticed"](rig)
    with SimRig() as rig, pytest.raises(ValueError, match="make_driver"):
        rig.truth()
    with pytest.raises(ValueError, match=r"known: .*\bsim\b"):
        conformance.make_rig("toaster")


def test_the_page_is_that_of_these_checks_and_holds():
    """Written by `python -m hardware.conformance --out docs/hardware/conformance.md`."""
    text = PAGE.read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows[0] == "| Check | " + " | ".join(RIGS) + " |"
    assert [row.split(" | ")[0][2:] for row in rows[1:]] == [__main__.summary(check) for check in ALL_CHECKS]
    assert "FAILED" not in "".join(rows)


def test_the_table_is_made_and_a_failure_is_written_down(tmp_path, monkeypatch, capsys):
    def broken(rig):
        """It breaks."""
        raise ConformanceError("as it should")

    checks = {"opening_moves_nothing": ALL_CHECKS["opening_moves_nothing"], "broken": broken}
    checks["a_restart_is_noticed"] = ALL_CHECKS["a_restart_is_noticed"]
    monkeypatch.setattr(__main__, "ALL_CHECKS", checks)
    out = tmp_path / "folder" / "table.md"
    assert __main__.main(["sim", "--out", str(out)]) == 1
    text = out.read_text()
    assert "| It breaks. | FAILED |" in text and "- sim, `broken`: ConformanceError: as it should" in text
    assert "the emulator has no 'reboot'" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        __main__.main(["toaster"])
    assert isinstance(SimRig().make_driver(), SimArmDriver)


def test_a_driver_whose_package_is_missing_is_told_before_the_checks_begin(tmp_path, monkeypatch, capsys):
    def make(name):
        if name == "ur":
            raise DriverUnavailable("needs a package")
        return SimRig()

    monkeypatch.setattr(__main__, "make_rig", make)
    monkeypatch.setattr(__main__, "RIGS", {"sim": "", "ur": ""})
    monkeypatch.setattr(__main__, "ALL_CHECKS", {"opening_moves_nothing": ALL_CHECKS["opening_moves_nothing"]})
    assert __main__.main([]) == 0
    told = capsys.readouterr().out
    assert "left out: needs a package" in told and "sim" in told.splitlines()[-1]
    for arguments in (["ur"], ["--out", str(tmp_path / "page.md")]):
        with pytest.raises(SystemExit):
            __main__.main(arguments)
        captured = capsys.readouterr()
        assert "needs a package" in captured.err and not captured.out
    assert not (tmp_path / "page.md").exists()
