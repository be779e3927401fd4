"""The emulated servos behave as the manual says; the side channel; the wire's failures."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from hardware import FakeClock
from hardware.conformance.dynamixel_rig import emulated_arm
from hardware.drivers.dynamixel import registers as reg
from hardware.emulators import EMULATORS, load
from hardware.emulators import __main__ as entry
from hardware.emulators.console import Console, parse
from hardware.emulators.dynamixel import Mounting, Server, ServoArm, main
from hardware.emulators.dynamixel import packets as dxl
from hardware.emulators.dynamixel.bus import Bus
from hardware.emulators.dynamixel.line import Line, LineFault
from hardware.emulators.dynamixel.packets import Packet, Parser
from hardware.emulators.dynamixel.servo import RAD_PER_TICK, SPEED_UNIT
from hardware.emulators.dynamixel.table import MODELS
from hardware.errors import DriverUnavailable

ELBOW, WRIST, SHOULDER = 12, 3, 7


class Host:
    """Talks to the bus of an arm on a clock that is moved by hand."""

    def __init__(self, **eeprom) -> None:
        arm = emulated_arm(**eeprom)
        self.clock = FakeClock(50.0)
        mountings = [Mounting.from_mapping(servo) for servo in arm["servos"]]
        self.arm = ServoArm(arm["mjcf_path"], mountings, self.clock, arm["home"])
        self.bus = Bus(self.arm)

    def ask(self, id: int, instruction: int, params: bytes = b"", intact: bool = True) -> list[Packet]:
        answers = self.bus.handle(Packet(id, instruction, params, intact), self.clock.now())
        self.arm.advance()
        return [packet for answer in answers for packet in Parser().feed(answer, 0.0)]

    def one(self, id: int, instruction: int, params: bytes = b"") -> tuple[int, bytes]:
        (packet,) = self.ask(id, instruction, params)
        assert packet.id == id and packet.instruction == dxl.STATUS
        return packet.params[0], packet.params[1:]

    def write(self, id: int, name: str, value: int) -> int:
        register = self.servo(id).model.registers[name]
        params = register.address.to_bytes(2, "little") + register.encode(value)
        return self.one(id, dxl.WRITE, params)[0]

    def read(self, id: int, name: str) -> int:
        register = self.servo(id).model.registers[name]
        params = register.address.to_bytes(2, "little") + register.size.to_bytes(2, "little")
        return register.decode(self.one(id, dxl.READ, params)[1])

    def servo(self, id: int):
        return next(servo for servo in self.arm.servos if servo.id == id)

    def wait(self, seconds: float, step: float = 0.01) -> None:
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            self.arm.advance()


@pytest.fixture
def host() -> Host:
    return Host()


def test_the_drivers_registers_are_those_of_the_servos():
    """The two tables were written apart; they must agree, and with the manual."""
    names = {r.name.lower().replace(" ", "_"): r for r in vars(reg).values() if isinstance(r, reg.Register)}
    assert len(names) == 16
    for model in MODELS.values():
        for name, register in names.items():
            assert (model.registers[name].address, model.registers[name].size) == register[1:], name
        assert model.number in reg.MODELS and reg.MODELS[model.number].name.lower() == model.name
        assert reg.MODELS[model.number].amp == model.amps_per_unit
        for register in model.registers.values():
            assert register.low <= register.initial <= register.high or not register.writable
    manual = {"realtime_tick": 120, "present_current": 126, "present_velocity": 128, "present_position": 132}
    assert all(MODELS["xl330-m288"].registers[name].address == address for name, address in manual.items())
    assert pytest.approx(SPEED_UNIT) == reg.RAD_S_PER_UNIT == pytest.approx(0.0239808, rel=1e-4)


def test_positions_are_ticks_of_the_shaft(host):
    q = dict(zip(host.arm.joints, host.arm.truth(), strict=True))
    assert host.read(SHOULDER, "present_position") == round(2048 - q["shoulder"] / RAD_PER_TICK)
    assert host.read(WRIST, "present_position") == round(1800 + q["wrist"] / RAD_PER_TICK)


def test_nothing_moves_without_torque_and_all_with_it(host):
    start = host.read(ELBOW, "present_position")
    assert host.write(ELBOW, "goal_position", start + 100) == 0
    host.wait(0.5)
    assert abs(host.read(ELBOW, "present_position") - start) <= 1
    assert host.write(ELBOW, "torque_enable", 1) == 0  # holds where it is, whatever was asked before
    host.wait(0.5)
    assert abs(host.read(ELBOW, "present_position") - start) <= 1
    host.write(ELBOW, "goal_position", start + 100)
    host.wait(0.02)
    assert host.read(ELBOW, "present_velocity") > 10 and host.read(ELBOW, "moving") == 1
    assert host.read(ELBOW, "present_current") != 0
    host.wait(0.8)
    assert abs(host.read(ELBOW, "present_position") - start - 100) <= 1
    np.testing.assert_allclose(host.arm.truth()[0], (2100 - start - 100) * RAD_PER_TICK, atol=2e-3)


def test_profile_velocity_and_velocity_mode():
    host = Host(operating_mode=1)
    host.write(ELBOW, "torque_enable", 1)
    assert host.write(ELBOW, "goal_velocity", 500) == dxl.DATA_LIMIT
    start = host.read(ELBOW, "present_position")
    host.write(ELBOW, "goal_velocity", 20)
    host.wait(0.5)
    way = (host.read(ELBOW, "present_position") - start) * RAD_PER_TICK
    assert way == pytest.approx(20 * SPEED_UNIT * 0.5, rel=0.2)
    host.write(ELBOW, "torque_enable", 0)
    assert host.write(ELBOW, "operating_mode", 3) == 0
    host.write(ELBOW, "torque_enable", 1)
    host.write(ELBOW, "profile_velocity", 20)
    start = host.read(ELBOW, "present_position")
    host.write(ELBOW, "goal_position", start - 400)
    host.wait(0.5)
    way = (start - host.read(ELBOW, "present_position")) * RAD_PER_TICK
    assert way == pytest.approx(20 * SPEED_UNIT * 0.5, rel=0.2)


@pytest.mark.parametrize(
    ("torque", "name", "value", "error"),
    [
        (0, "model_number", 5, dxl.ACCESS),
        (0, "present_position", 5, dxl.ACCESS),
        (1, "operating_mode", 3, dxl.ACCESS),
        (0, "operating_mode", 0, dxl.DATA_RANGE),
        (0, "operating_mode", 16, dxl.DATA_RANGE),
        (0, "led", 2, dxl.DATA_RANGE),
        (0, "goal_position", 500, dxl.DATA_LIMIT),
        (0, "goal_current", 1193, 0),
        (0, "goal_pwm", 886, dxl.DATA_RANGE),
        (0, "bus_watchdog", 128, dxl.DATA_RANGE),
    ],
)
def test_what_a_servo_refuses(host, torque, name, value, error):
    host.write(ELBOW, "torque_enable", torque)
    assert host.write(ELBOW, name, value) == error


def test_parts_and_gaps_of_the_table(host):
    assert host.one(ELBOW, dxl.WRITE, bytes([116, 0, 1, 0]))[0] == dxl.DATA_LENGTH
    assert host.one(ELBOW, dxl.WRITE, bytes([117, 0, 1]))[0] == dxl.ACCESS
    assert host.one(ELBOW, dxl.WRITE, bytes([66, 0, 1]))[0] == dxl.ACCESS
    assert host.one(ELBOW, dxl.WRITE, bytes([116, 0]))[0] == dxl.DATA_LENGTH
    assert host.one(ELBOW, dxl.READ, bytes([132, 0]))[0] == dxl.DATA_LENGTH
    assert host.one(ELBOW, dxl.READ, bytes([0, 4, 4, 0]))[0] == dxl.ACCESS
    assert host.one(ELBOW, 0x77)[0] == dxl.BAD_INSTRUCTION
    before = host.read(ELBOW, "profile_velocity")
    data = (7).to_bytes(4, "little") + (9).to_bytes(4, "little")  # profile velocity, goal position out of limits
    assert host.one(ELBOW, dxl.WRITE, bytes([112, 0]) + data)[0] == dxl.DATA_LIMIT
    assert host.read(ELBOW, "profile_velocity") == before  # all or nothing


def test_indirect_addresses(host):
    """Present position and temperature side by side; a goal written through indirect data keeps its rules."""
    for i, target in enumerate([132, 133, 134, 135, 146]):
        assert host.one(ELBOW, dxl.WRITE, bytes([168 + 2 * i, 0, target, 0]))[0] == 0
    data = host.one(ELBOW, dxl.READ, bytes([224, 0, 5, 0]))[1]
    assert int.from_bytes(data[:4], "little") == host.read(ELBOW, "present_position") and data[4] == 35
    for i in range(4):
        host.one(ELBOW, dxl.WRITE, bytes([168 + 2 * i, 0, 116 + i, 0]))
    assert host.one(ELBOW, dxl.WRITE, bytes([224, 0]) + (2000).to_bytes(4, "little"))[0] == 0
    assert host.read(ELBOW, "goal_position") == 2000
    assert host.one(ELBOW, dxl.WRITE, bytes([224, 0]) + (1).to_bytes(4, "little"))[0] == dxl.DATA_LIMIT
    host.write(ELBOW, "torque_enable", 1)
    assert host.one(ELBOW, dxl.WRITE, bytes([168, 0, 132, 0]))[0] == dxl.ACCESS


def test_registered_writes_wait_for_action(host):
    goal = (2000).to_bytes(4, "little")
    assert host.one(ELBOW, dxl.REG_WRITE, bytes([116, 0]) + goal)[0] == 0
    assert host.read(ELBOW, "registered_instruction") == 1 and host.read(ELBOW, "goal_position") != 2000
    assert host.ask(dxl.BROADCAST, dxl.ACTION) == []
    assert host.read(ELBOW, "goal_position") == 2000 and host.read(ELBOW, "registered_instruction") == 0
    assert host.one(ELBOW, dxl.ACTION)[0] == dxl.RESULT_FAIL


def test_group_reads_answer_in_the_order_asked_for(host):
    position = dict.fromkeys((WRIST, ELBOW, SHOULDER))
    for id in position:
        position[id] = host.servo(id).position.to_bytes(4, "little")
    order = bytes([ELBOW, SHOULDER, WRIST])
    answers = host.ask(dxl.BROADCAST, dxl.SYNC_READ, bytes([132, 0, 4, 0]) + order + bytes([99]))
    assert [answer.id for answer in answers] == list(order)
    assert all(answer.params[1:] == position[answer.id] for answer in answers)
    bulk = bytes([ELBOW, 132, 0, 4, 0, WRIST, 146, 0, 1, 0])
    answers = host.ask(dxl.BROADCAST, dxl.BULK_READ, bulk)
    assert [(a.id, len(a.params)) for a in answers] == [(ELBOW, 5), (WRIST, 2)]
    (fast,) = host.ask(dxl.BROADCAST, dxl.FAST_BULK_READ, bulk)
    assert fast.params[:6] == bytes([0, ELBOW]) + position[ELBOW]
    assert host.ask(dxl.BROADCAST, dxl.FAST_SYNC_READ, bytes([132, 0, 4, 0, ELBOW, 99])) == []
    assert host.ask(ELBOW, dxl.SYNC_READ, bytes([132, 0, 4, 0, ELBOW])) == []


def test_group_writes(host):
    goal = (2000).to_bytes(4, "little")
    host.ask(dxl.BROADCAST, dxl.SYNC_WRITE, bytes([116, 0, 4, 0, ELBOW]) + goal + bytes([WRIST]) + goal)
    host.ask(dxl.BROADCAST, dxl.BULK_WRITE, bytes([SHOULDER, 116, 0, 4, 0]) + goal + bytes([ELBOW, 65, 0, 1, 0, 1]))
    assert [host.read(id, "goal_position") for id in (ELBOW, WRIST, SHOULDER)] == [2000] * 3
    assert host.read(ELBOW, "led") == 1
    host.ask(ELBOW, dxl.SYNC_WRITE, bytes([116, 0, 4, 0, ELBOW]) + (1900).to_bytes(4, "little"))
    host.ask(dxl.BROADCAST, dxl.SYNC_WRITE, bytes([116, 0, 0, 0, ELBOW]))
    assert host.read(ELBOW, "goal_position") == 2000


def test_status_return_level(host):
    host.write(ELBOW, "status_return_level", 1)
    assert host.ask(ELBOW, dxl.WRITE, bytes([65, 0, 1])) == [] and host.read(ELBOW, "led") == 1
    host.ask(ELBOW, dxl.WRITE, bytes([68, 0, 0]))
    assert host.ask(ELBOW, dxl.READ, bytes([65, 0, 1, 0])) == []
    assert host.ask(dxl.BROADCAST, dxl.SYNC_READ, bytes([132, 0, 4, 0, ELBOW])) == []
    assert len(host.ask(ELBOW, dxl.PING)) == 1 and len(host.ask(dxl.BROADCAST, dxl.PING)) == 3


def test_damaged_and_foreign_packets(host):
    (answer,) = host.ask(ELBOW, dxl.PING, intact=False)
    assert answer.params[0] == dxl.BAD_CRC
    assert host.ask(dxl.BROADCAST, dxl.PING, intact=False) == []
    assert host.ask(ELBOW, dxl.STATUS) == [] and host.ask(99, dxl.PING) == []


def test_bus_watchdog_stops_and_locks(host):
    host.write(ELBOW, "torque_enable", 1)
    start = host.read(ELBOW, "present_position")
    host.write(ELBOW, "profile_velocity", 10)
    host.write(ELBOW, "goal_position", start + 800)
    host.write(ELBOW, "bus_watchdog", 5)
    for _ in range(10):
        host.wait(0.05)
        host.ask(99, dxl.PING)  # any instruction on the bus will do
    assert host.read(ELBOW, "bus_watchdog") == 5
    host.wait(0.2)
    assert host.read(ELBOW, "bus_watchdog") == 0xFF
    stopped = host.read(ELBOW, "present_position")
    assert host.write(ELBOW, "goal_position", stopped + 10) == dxl.DATA_RANGE
    host.wait(0.5)
    assert abs(host.read(ELBOW, "present_position") - stopped) <= 2
    host.write(ELBOW, "bus_watchdog", 0)
    assert host.write(ELBOW, "goal_position", stopped + 10) == 0


def test_heat_shuts_down_until_a_reboot(host):
    host.write(ELBOW, "torque_enable", 1)
    servo = host.servo(ELBOW)
    servo.temperature = 90
    host.wait(0.02)
    assert host.read(ELBOW, "hardware_error_status") == 0x04 and not servo.torque
    assert host.ask(ELBOW, dxl.PING)[0].params[0] == dxl.ALERT
    servo.temperature = 35
    assert host.write(ELBOW, "torque_enable", 1) == dxl.ALERT | dxl.RESULT_FAIL
    assert host.ask(ELBOW, dxl.REBOOT) and host.ask(ELBOW, dxl.PING) == []
    host.wait(0.3)
    assert host.one(ELBOW, dxl.PING)[0] == 0 and host.write(ELBOW, "torque_enable", 1) == 0
    assert host.read(ELBOW, "realtime_tick") < 500
    servo.trip(0x08)  # not among those that shut down by themselves
    assert servo.torque and servo.error == dxl.ALERT


def test_reset_to_the_factory(host):
    host.write(ELBOW, "led", 1)
    host.write(ELBOW, "torque_enable", 1)
    assert host.one(ELBOW, dxl.FACTORY_RESET, b"\x01")[0] == dxl.ACCESS
    host.write(ELBOW, "torque_enable", 0)
    assert host.one(ELBOW, dxl.FACTORY_RESET, b"\x07")[0] == dxl.RESULT_FAIL
    host.ask(dxl.BROADCAST, dxl.FACTORY_RESET, b"\xff")
    assert host.read(ELBOW, "min_position_limit") == 600
    assert host.one(ELBOW, dxl.FACTORY_RESET, b"\x01")[0] == 0
    host.wait(0.3)
    assert host.read(ELBOW, "min_position_limit") == 0 and host.read(ELBOW, "return_delay_time") == 250
    host.ask(WRIST, dxl.FACTORY_RESET, b"\xff")
    host.wait(0.3)
    assert host.read(1, "model_number") == 1200
    assert host.one(ELBOW, dxl.CLEAR, b"\x01DXL\x22")[0] == 0 and host.one(ELBOW, dxl.CLEAR)[0] == dxl.RESULT_FAIL
    assert host.write(ELBOW, "id", 40) == 0 and host.one(40, dxl.PING)[0] == 0


def test_an_encoder_that_jumps_moves_the_shaft(host):
    host.write(ELBOW, "torque_enable", 1)
    seen, true = host.read(ELBOW, "present_position"), host.arm.truth()[0]
    host.servo(ELBOW).jump_ticks = 100
    assert host.read(ELBOW, "present_position") == seen + 100
    host.wait(0.8)
    assert abs(host.read(ELBOW, "present_position") - seen) <= 1
    assert host.arm.truth()[0] - true == pytest.approx(100 * RAD_PER_TICK, abs=3e-3)  # mounted the other way round


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "ax-12"}, "known: xl330-m288, xm430-w350"),
        ({"sign": 0}, "allowed -1 or 1"),
        ({"id": 253}, r"allowed \[0, 252\]"),
        ({"scale": 0.0}, "scale is 0.0"),
        ({"strength": float("nan")}, "strength is nan"),
        ({"colour": 1}, "settings colour are unknown"),
        ({"eeprom": {"led": 1}}, "'led' is no EEPROM register"),
        ({"id": 3}, r"ids \[3, 3, 7\]"),
    ],
)
def test_bad_arms(change, words):
    servos = emulated_arm()["servos"]
    servos[0] = servos[0] | change
    with pytest.raises(ValueError, match=words):
        ServoArm(emulated_arm()["mjcf_path"], [Mounting.from_mapping(s) for s in servos], FakeClock())


# Wire and side channel
# ----------------------------------------------------------------------------------------------------------------


def test_line_faults():
    line = Line()
    line.faults.append(LineFault.from_mapping("drop", 1.0, {"duration_s": 1.0}))
    line.faults.append(LineFault("delay", 3.0, 1.0, value=0.5))
    line.faults.append(LineFault("corrupt", 5.0))
    line.faults.append(LineFault("drop", 10.0, probability=0.5))
    assert line.heard(0.0) and not line.heard(1.5) and line.heard(2.0)
    line.send(b"lost....", 1.5)
    assert line.due(1.9) == b""
    line.send(b"late....", 3.5)
    assert line.next_due == 4.0 and line.due(3.9) == b"" and line.due(4.0) == b"late...."
    line.send(b"damaged.", 6.0)
    damaged = line.due(6.0)
    assert len(damaged) == 8 and sum(a != b for a, b in zip(damaged, b"damaged.", strict=True)) == 1
    assert 300 < sum(line.heard(11.0) for _ in range(1000)) < 700
    line.heal()
    assert line.heard(11.0)
    for kind, settings, words in (("melt", {}, "known: freeze"), ("drop", {"value": -1}, "value is -1")):
        with pytest.raises(ValueError, match=words):
            LineFault.from_mapping(kind, 0.0, settings)
    with pytest.raises(ValueError, match="settings when are unknown"):
        LineFault.from_mapping("drop", 0.0, {"when": 1})


@pytest.fixture
def server():
    host = Host()
    server = Server(host.arm, host.clock)
    yield server
    server.close()


def test_commands_of_the_side_channel(server):
    def do(line):
        return server.console.carry_out(line)

    assert len(do("truth")["q"]) == 3
    jump = "encoder_jump joint=2 value=0.3"
    for line in ("freeze duration_s=1", '{"do": "corrupt"}', "hot joint=1", "overload", jump):
        assert do(line) == {"ok": True}, line
    assert server.arm.servos[2].jump_ticks == 196 and server.arm.servos[0].get("hardware_error_status") == 0x20
    assert do("reboot joint=0") == do("power_loss duration_s=0.2") == do("heal") == {"ok": True}
    assert server.line.faults == [] and server.arm.servos[2].jump_ticks == 0
    for line, words in (
        ("hot joint=9", "joint is 9"),
        ("hot degrees=9", "settings degrees"),
        ("melt", "known: truth"),
        ("drop when", "no key=value pair"),
        ("{broken", "no JSON object"),
        ('{"kind": 1}', '"do"'),
        ("hot joint=x", "invalid literal"),
    ):
        assert words in do(line)["error"], line
    assert do("unplug") == do("quit") == {"ok": True} and server.console.ended


def test_a_server_answers_on_its_terminal(server):
    port = os.open(server.port, os.O_RDWR | os.O_NOCTTY)
    server.console.open = False
    os.write(port, dxl.frame(ELBOW, dxl.PING))
    server.step()
    answer = os.read(port, 100)
    assert Parser().feed(answer, 0.0)[0].id == ELBOW
    server.command("freeze", {})
    os.write(port, dxl.frame(ELBOW, dxl.PING))
    server.step()
    os.set_blocking(port, False)
    with pytest.raises(BlockingIOError):
        os.read(port, 100)
    os.close(port)


@pytest.mark.parametrize("name", EMULATORS)
def test_an_emulator_runs_in_the_background(name):
    """Its input is /dev/null then, where no command ever comes from."""
    arm = ["--arm", json.dumps(emulated_arm())] if name == "dynamixel" else []
    command = [sys.executable, "-m", "hardware.emulators", name, *arm]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert "ready" in process.stdout.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.3)
        finally:
            process.kill()


def test_the_console_reads_lines_in_pieces(capsys):
    read, write = os.pipe()
    heard = []
    console = Console(lambda word, settings: heard.append((word, settings)) or {"ok": True}, until_eof=True, file=read)
    assert console.fileno() == read
    os.write(write, b"free")
    console.poll()
    os.write(write, b"ze joint=1 name=x\n\nheal\n")
    console.poll()
    assert heard == [("freeze", {"joint": 1, "name": "x"}), ("heal", {})]
    os.write(write, b"x" * 60_000)
    console.poll()
    os.write(write, b"x" * 60_000)
    console.poll()
    assert "longer than" in capsys.readouterr().out
    os.close(write)
    console.poll()
    assert console.ended and not console.open
    os.close(read)
    console.poll()
    assert parse("  heal ") == ("heal", {})


def test_emulators_by_name(capsys):
    assert load("dynamixel") is main and entry.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in EMULATORS)
    with pytest.raises(DriverUnavailable, match=r"known: .*\bdynamixel\b"):
        load("toaster")


@pytest.mark.parametrize(
    ("arm", "words"),
    [
        ("{}", "the key 'servos' is missing"),
        ('{"servos": 5, "mjcf_path": "x"}', "not iterable"),
        ("/no/such/file", "No such file"),
        ('{"servos": [], "mjcf_path": "x"}', "need at least one"),
        ('{"servos": [{"joint": "a", "id": 1}], "mjcf_path": "x"}', "not a file"),
    ],
)
def test_bad_descriptions_end_with_one_line(arm, words, capsys):
    with pytest.raises(SystemExit):
        entry.main(["dynamixel", "--arm", arm])
    error = capsys.readouterr().err.splitlines()[-1]
    assert "error: --arm" in error and words in error
