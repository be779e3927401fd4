"""`python -m hardware.drivers.dynamixel`: scan, zero, setup, on the emulator."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hardware.conformance.dynamixel_rig import CALIBRATION, emulated_arm
from hardware.drivers.dynamixel import Calibration, DynamixelDriver
from hardware.drivers.dynamixel.__main__ import main
from hardware.emulators.process import EmulatorProcess

pytest.importorskip("dynamixel_sdk")


@pytest.fixture
def emulator():
    """Servos as they come from the factory, but for their IDs."""
    arm = emulated_arm(operating_mode=1, return_delay_time=250, min_position_limit=0, max_position_limit=4095)
    with EmulatorProcess("dynamixel", "--arm", json.dumps(arm)) as emulator:
        yield emulator


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "arm.json"
    path.write_text(json.dumps(CALIBRATION | {"gripper": None}))
    return str(path)


def test_scan_shows_who_is_there(emulator, capsys):
    emulator.inject("hot", joint=0)
    assert main(["scan", emulator.ready["port"], "--ids", "3", "7", "12"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["XL330-M288", "XM430-W350", "XM430-W350"]
    assert "torque off" in lines[0] and lines[2].endswith("overheated")
    assert main(["scan", emulator.ready["port"], "--ids", "4"]) == 1
    assert "no servo answers" in capsys.readouterr().out


def test_setup_makes_servos_fit_for_the_driver(emulator, file):
    port = emulator.ready["port"]
    assert main(["setup", port, file, "--range", "elbow", "-1.8", "2.2"]) == 0
    driver = DynamixelDriver(port, CALIBRATION)
    info = driver.open()
    assert info.q_min[1] == pytest.approx(-1.8, abs=2e-3) and info.q_max[1] == pytest.approx(2.2, abs=2e-3)
    assert info.q_min[1] >= -1.8 and info.q_max[1] <= 2.2
    driver.enable()
    driver.close()
    assert main(["setup", port, file]) == 1  # the torque is on


def test_zero_takes_the_present_pose_for_a_known_one(emulator, file, capsys):
    order = [list(emulator.ready["joints"]).index(name) for name in CALIBRATION["joints"]]
    pose = emulator.truth()[order]
    assert main(["zero", emulator.ready["port"], file, "--pose", *map(str, pose)]) == 0
    found = Calibration.from_mapping(json.loads(capsys.readouterr().out))
    for name, servo in CALIBRATION["joints"].items():
        assert abs(found.joints[name].zero - servo["zero"]) <= 1
    assert main(["zero", emulator.ready["port"], file]) == 0
    at_zero = Calibration.from_mapping(json.loads(capsys.readouterr().out))
    ticks = Calibration.from_mapping(CALIBRATION).to_ticks(pose)
    np.testing.assert_allclose([servo.zero for servo in at_zero.joints.values()], ticks, atol=1)


def test_wrong_requests(emulator, file, capsys):
    port = emulator.ready["port"]
    for arguments, words in (
        (["zero", port, file, "--pose", "1"], "has 1 numbers, expected 3"),
        (["setup", port, file, "--range", "knee", "0", "1"], r"names ['knee']"),
        (["setup", port, file, "--range", "wrist", "-3", "3"], "mount the horn"),
        (["scan", "/dev/no-such-port"], "cannot be opened"),
        (["setup", port, "/no/such/file"], "cannot be read"),
    ):
        assert main(arguments) == 1
        assert words in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["setup", port])
