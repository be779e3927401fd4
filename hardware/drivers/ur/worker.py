"""The vendor's client in a process of its own: ``python -m hardware.drivers.ur.worker`` (started by the driver).

ur_rtde 1.6.5 waits without a bound (for the first state, for a command's end up to 300 s) and keeps the interpreter's
lock while it does, reconnects and sends a command again by itself, and reads damaged packages without checks. None of
that may reach the control loop: here it can hang or crash, and the driver ends it. The control connection is opened
without uploading a program, so that a reconnection by the client can never start one.
"""

from __future__ import annotations

import select
import signal
import socket
import sys
import time
from typing import Any

from .messages import ORDER, Kind, Op, Report

VARIABLES = ["timestamp", "actual_q", "actual_qd", "joint_temperatures", "robot_mode", "safety_mode", "runtime_state"]
PLAYING = 2
_START_S = 5.0
_PARENT_GONE = 0
_KEPT: list[Worker] = []  # never destroyed: the client's destructors wait for threads that may never end


class Worker:
    """Receives states, sends commands.

    Args:
        link: to the driver.
        host: the controller.
        frequency: of the RTDE connections [Hz].
        receive: the vendor's receive interface.
    """

    def __init__(self, link: socket.socket, host: str, frequency: float, receive: Any) -> None:
        self._link, self._host, self._frequency, self._receive = link, host, frequency, receive
        self._control: Any = None
        self._taken = self._streaming = True
        self._kick = self._guiding = False
        self._last = -1.0
        self._buffer = b""

    def run(self) -> None:
        """Serve until the driver is gone or the link is lost."""
        while True:
            readable, _, _ = select.select([self._link], [], [], 0.4 / self._frequency)
            if readable:
                data = self._link.recv(65536)
                if not data:
                    return
                self._buffer += data
                while len(self._buffer) >= ORDER.size:
                    order, self._buffer = self._buffer[: ORDER.size], self._buffer[ORDER.size :]
                    op, *numbers = ORDER.unpack(order)
                    self._carry_out(Op(op), numbers[:6], numbers[6:])
            if not self._receive.isConnected():
                self._send(Report(Kind.LOST, False, text="the controller closed the connection"))
                return
            self._report()

    def _report(self) -> None:
        r = self._receive
        stamp = r.getTimestamp()
        if stamp == self._last:
            return
        self._last = stamp
        if self._kick:  # nothing is streamed yet, so nothing can move: keep the program alive
            self._control.kickWatchdog()
        modes = (r.getRobotMode(), r.getSafetyMode(), r.getRuntimeState())
        q, dq = tuple(r.getActualQ()), tuple(r.getActualQd())
        heat = tuple(r.getJointTemperatures())
        self._send(Report(Kind.STATE, self._taken, time.monotonic(), stamp, q, dq, heat, *modes))

    def _carry_out(self, op: Op, six: list[float], three: list[float]) -> None:
        if op in (Op.SERVOJ, Op.SPEEDJ):
            self._kick = False
            if self._control is None:
                self._taken = False
            elif op is Op.SERVOJ:
                self._taken = bool(self._control.servoJ(six, 0.0, 0.0, *three))
            else:
                self._taken = bool(self._control.speedJ(six, three[0], three[1]))
            return
        if op is Op.ENABLE:
            problem = self._enable(1.0 / three[0])
        elif op is Op.STOP:
            problem = self._stop(three[0], bool(three[1]))
            self._kick = False  # nobody commands from here on, so nobody keeps the program alive
        elif op in (Op.FREEDRIVE, Op.END_FREEDRIVE):
            problem = self._freedrive(op is Op.FREEDRIVE)
        else:
            problem = self._end()
        self._report()  # the state in which the order was carried out comes before the reply
        self._send(Report(Kind.REPLY, not problem, text=problem))

    def _enable(self, frequency: float) -> str:
        import rtde_control

        interface = rtde_control.RTDEControlInterface
        if self._control is None:
            self._control = interface(self._host, self._frequency, interface.FLAG_NO_WAIT)
        control = self._control
        if not control.isConnected() and not control.reconnect():
            return "the control connection cannot be made again"
        if control.isProgramRunning():
            return "another program runs on the controller; stop it at the pendant"
        if not control.reuploadScript():
            return "the control program was not uploaded"
        until = time.monotonic() + _START_S
        while not control.isProgramRunning() or self._receive.getRuntimeState() != PLAYING:
            if time.monotonic() > until:
                return f"the control program did not start within {_START_S:g} s; see the pendant's log"
            time.sleep(0.002)
        if not control.setWatchdog(frequency):
            control.stopScript()
            return "the controller did not take the watchdog"
        self._taken = self._kick = True
        return ""

    def _freedrive(self, on: bool) -> str:
        if self._control is None or not self._control.isProgramRunning():
            self._guiding = False
            return "the control program does not run" if on else ""
        self._guiding, self._kick = on, True  # nothing is streamed meanwhile
        done = self._control.teachMode() if on else self._control.endTeachMode()
        return "" if done else f"the controller did not {'begin' if on else 'end'} freedrive"

    def _stop(self, rate: float, speed: bool) -> str:
        if self._control is None or not self._control.isProgramRunning():
            return ""  # no program, no motion
        if self._guiding and (problem := self._freedrive(False)):
            return problem
        done = self._control.speedStop(rate) if speed else self._control.servoStop(rate)
        return "" if done else "the controller did not confirm the stop"

    def _end(self) -> str:
        self._kick = False
        if self._control is not None and self._control.isProgramRunning():
            self._control.stopScript()
            if self._control.isProgramRunning():
                return "the control program did not end"
        return ""

    def _send(self, report: Report) -> None:
        self._link.sendall(report.pack())


def main(arguments: list[str]) -> int:
    """Run the client: file descriptor of the link, host, frequency [Hz]."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-c is for the bridge, which brakes first
    import rtde_receive

    fd, host, frequency = int(arguments[0]), arguments[1], float(arguments[2])
    link = socket.socket(fileno=fd)
    try:
        receive = rtde_receive.RTDEReceiveInterface(host, frequency, VARIABLES)
        worker = Worker(link, host, frequency, receive)
        _KEPT.append(worker)
        worker.run()
    except (BrokenPipeError, ConnectionResetError):
        return _PARENT_GONE
    except Exception as error:  # whatever the vendor raises, told to the driver
        link.sendall(Report(Kind.LOST, False, text=f"{type(error).__name__}: {error}").pack())
        return 1
    return 0


if __name__ == "__main__":
    import os

    status = main(sys.argv[1:])
    os._exit(status)  # without the destructors
