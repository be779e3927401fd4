"""``python -m hardware.drivers.dynamixel COMMAND``: look for servos, set them up, find their zeros.

No command switches the torque on or off, and none moves anything.

scan   which servos answer, and how they are set up
zero   take the present pose for a known one: prints the calibration with the zeros that follow
setup  write what the driver needs into the servos' EEPROM, and their position limits; the torque must be off
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...errors import BridgeError, LimitsMismatch
from . import registers as reg
from .bus import DynamixelBus, scan
from .calibration import Calibration
from .setup import read_facts, write_settings


def main(arguments: Sequence[str]) -> int:
    """Run one command; 0 done, 1 it failed, 2 the request is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m hardware.drivers.dynamixel",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=("scan", "zero", "setup"))
    parser.add_argument("port", help="serial port, such as /dev/ttyUSB0")
    parser.add_argument("calibration", nargs="?", help="file, for zero and setup")
    parser.add_argument("--baudrate", type=int, default=1_000_000, help="bit/s (1000000)")
    parser.add_argument("--ids", type=int, nargs="+", default=range(20), help="addresses to scan (0 to 19)")
    parser.add_argument("--pose", type=float, nargs="+", help="the pose that the arm is in, for zero [rad]")
    parser.add_argument("--operating-mode", choices=tuple(reg.OPERATING_MODES), default="position")
    parser.add_argument(
        "--range", nargs=3, action="append", default=[], metavar=("JOINT", "LOW", "HIGH"), help="for setup [rad]"
    )
    options = parser.parse_args(list(arguments))
    if options.command != "scan" and options.calibration is None:
        parser.error(f"{options.command} needs a calibration file")
    try:
        bus = DynamixelBus(options.port, options.baudrate)
        try:
            if options.command == "scan":
                return show(bus, options.ids)
            calibration = Calibration.load(options.calibration)
            if options.command == "zero":
                print(json.dumps(zeroed(bus, calibration, options.pose).to_mapping(), indent=2))
                return 0
            ranges = {joint: (float(low), float(high)) for joint, low, high in options.range}
            return set_up(bus, calibration, reg.OPERATING_MODES[options.operating_mode], ranges)
        finally:
            bus.close()
    except (BridgeError, ValueError) as error:
        print(f"{Path(options.port).name}: error: {error}", file=sys.stderr)
        return 1


def show(bus: DynamixelBus, ids: Sequence[int]) -> int:
    """Print the servos that answer; 1 when there are none."""
    found = scan(bus, ids)
    for id, (number, firmware) in sorted(found.items()):
        if number not in reg.MODELS:
            print(f"{id:3}  model number {number}, not supported")
            continue
        facts, error = read_facts(bus, id), bus.get(id, reg.HARDWARE_ERROR)
        position = bus.get(id, reg.PRESENT_POSITION, signed=True)
        print(
            f"{id:3}  {facts.model.name:12} firmware {firmware}, operating mode {facts.operating_mode}, drive mode "
            f"{facts.drive_mode}, position {position} in [{facts.position_min}, {facts.position_max}], torque "
            f"{'on' if facts.torque else 'off'}{', ' + reg.hardware_error_text(error) if error else ''}"
        )
    if not found:
        print(f"no servo answers on '{bus.name}' at {bus.baudrate} bit/s; other baud rate, power, cable?")
    return 0 if found else 1


def zeroed(bus: DynamixelBus, calibration: Calibration, pose: Sequence[float] | None) -> Calibration:
    """The calibration with zeros such that the present pose is the given one [rad], without one all zeros.

    Raises:
        LimitsMismatch: the pose has not one number for each joint.
    """
    angles = [0.0] * len(calibration.ids) if pose is None else list(pose)
    if len(angles) != len(calibration.ids):
        raise LimitsMismatch(f"--pose has {len(angles)} numbers, expected {len(calibration.ids)}, one a joint")
    joints = {}
    for (name, servo), angle in zip(calibration.joints.items(), angles, strict=True):
        facts = read_facts(bus, servo.id, name)
        position = bus.get(servo.id, reg.PRESENT_POSITION, signed=True)
        joints[name] = replace(
            servo,
            zero=round(position - servo.sign * angle / reg.RAD_PER_TICK),
            drive_mode=facts.drive_mode & 1,
            homing_offset=facts.homing_offset,
        )
    return Calibration(joints, calibration.gripper)


def set_up(
    bus: DynamixelBus, calibration: Calibration, mode: int, ranges: dict[str, tuple[float, float]]
) -> int:
    """Write settings into all servos of an arm.

    Args:
        bus: the bus.
        calibration: the servos.
        mode: Operating Mode (11).
        ranges: position limits of joints [rad]; those left out keep theirs.

    Raises:
        LimitsMismatch: a range is for no joint, or leaves the servo's turn.
    """
    if unknown := sorted(set(ranges) - set(calibration.names)):
        raise LimitsMismatch(f"--range names {unknown}, the calibration has {list(calibration.names)}")
    limits: dict[str, tuple[int, int]] = {}
    for name, ends in ranges.items():
        servo = calibration.joints[name]
        low, high = sorted(servo.zero + servo.sign * np.array(ends) / reg.RAD_PER_TICK)
        if not (ends[0] < ends[1] and low >= 0 and high <= reg.TICKS_PER_TURN - 1):
            raise LimitsMismatch(
                f"joint '{name}': [{ends[0]:g}, {ends[1]:g}] rad is [{low:.0f}, {high:.0f}] ticks, allowed rising "
                f"within [0, {reg.TICKS_PER_TURN - 1}]; mount the horn so that the range lies within the servo's turn"
            )
        limits[name] = int(np.ceil(low)), int(np.floor(high))
    for name, servo in calibration.joints.items():
        write_settings(bus, servo.id, mode, servo.drive_mode, servo.homing_offset, limits.get(name))
        print(f"{servo.id:3}  '{name}' is set up")
    if calibration.gripper is not None:
        write_settings(bus, calibration.gripper.id, mode, 0, 0, None)
        print(f"{calibration.gripper.id:3}  gripper is set up")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
