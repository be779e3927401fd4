"""Questions to the controller beside RTDE, each with a bound on the wait: dashboard lines, and its own limits."""

from __future__ import annotations

import re
import socket
import time

from ...errors import Disconnected, TransportTimeout
from ...wire import ur_primary

DASHBOARD_PORT = 29999
_MAX_LINE = 4096


def _connect(host: str, port: int, timeout: float) -> socket.socket:
    try:
        return socket.create_connection((host, port), timeout)
    except OSError as error:
        raise Disconnected(
            f"UR {host}: port {port} cannot be reached ({error}); same network, controller on, services enabled?"
        ) from error


def dashboard(host: str, *commands: str, timeout: float = 2.0) -> list[str]:
    """Send commands to the dashboard server and return its replies, one line each.

    Raises:
        Disconnected: it cannot be reached.
        TransportTimeout: it does not answer.
    """
    until = time.monotonic() + timeout
    with _connect(host, DASHBOARD_PORT, timeout) as sock:
        replies, buffer = [], b""
        for command in (None, *commands):  # the greeting comes first
            try:
                if command is not None:
                    sock.sendall(f"{command}\n".encode())
                while b"\n" not in buffer:
                    sock.settimeout(max(until - time.monotonic(), 1e-3))
                    data = sock.recv(_MAX_LINE)
                    if not data or len(buffer) > _MAX_LINE:
                        raise Disconnected(f"UR {host}: the dashboard server hung up")
                    buffer += data
            except OSError as error:
                raise TransportTimeout(f"UR {host}: the dashboard server does not answer '{command}'") from error
            line, _, buffer = buffer.partition(b"\n")
            replies.append(line.decode(errors="replace").strip())
    return replies[1:]


def polyscope_version(reply: str) -> tuple[int, int]:
    """Read major and minor from the reply to PolyscopeVersion; (0, 0) when there are none."""
    match = re.search(r"(\d+)\.(\d+)", reply)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def configuration(host: str, timeout: float = 3.0) -> ur_primary.Configuration:
    """Read the controller's configuration from its primary interface.

    Raises:
        Disconnected: it cannot be reached, or hangs up.
        TransportTimeout: no configuration came.
    """
    until = time.monotonic() + timeout
    with _connect(host, ur_primary.READ_ONLY_PORT, timeout) as sock:
        stream = ur_primary.Stream()
        while (left := until - time.monotonic()) > 0.0:
            sock.settimeout(left)
            try:
                data = sock.recv(65536)
            except OSError as error:
                raise TransportTimeout(f"UR {host}: the primary interface is silent") from error
            if not data:
                raise Disconnected(f"UR {host}: the primary interface hung up")
            for kind, payload in stream.feed(data):
                found = ur_primary.find_configuration(payload) if kind == ur_primary.ROBOT_STATE else None
                if found is not None:
                    return found
    raise TransportTimeout(f"UR {host}: no configuration on the primary interface within {timeout:g} s")
