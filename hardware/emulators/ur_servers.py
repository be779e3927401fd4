"""The sockets of the emulated controller: RTDE, dashboard, script port, primary interface; and a link that fails."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

from ..wire import WireError, rtde, ur_primary
from . import ur_dashboard, ur_outputs
from .ur_controller import Controller

DASHBOARD_PORT, SCRIPT_PORT = 29999, 30003

_Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Link:
    """What lies between the client and the controller.

    Attributes:
        frozen: nothing passes in either direction, connections stay open.
        drop: whether RTDE data packages are lost, both ways.
        corrupt: whether RTDE data packages are damaged on their way to the client.
        delay: how late RTDE data packages reach the client [s].
        plugged: whether connections are possible.
    """

    def __init__(self) -> None:
        self.heal()

    def heal(self) -> None:
        """A good cable again."""
        self.frozen = self.drop = self.corrupt = False
        self.delay, self.plugged = 0.0, True


class Servers:
    """All servers of one controller.

    Args:
        controller: what is served.
        host: address to listen on.
        seed: of the damage to packages.
    """

    def __init__(self, controller: Controller, host: str, seed: int = 0) -> None:
        self.controller, self.host, self.link = controller, host, Link()
        self._random = random.Random(seed)
        self._writers: set[asyncio.StreamWriter] = set()
        self._streams: list[_RtdeConnection] = []

    async def start(self) -> None:
        """Listen on the controller's ports."""
        for port, serve in (
            (DASHBOARD_PORT, self._dashboard),
            (ur_primary.PORT, self._primary),
            (ur_primary.READ_ONLY_PORT, self._primary),
            (SCRIPT_PORT, self._script),
            (rtde.PORT, self._rtde),
        ):
            await asyncio.start_server(self._guarded(serve), self.host, port)

    def hang_up(self) -> None:
        """Close all connections at once."""
        for writer in list(self._writers):
            writer.transport.abort()

    def publish(self) -> None:
        """Send the state of this cycle to whoever is due."""
        for stream in list(self._streams):
            payload = stream.due()
            if payload is None or self.link.frozen or self.link.drop:
                continue
            package = bytearray(rtde.pack(rtde.DATA_PACKAGE, payload))
            if self.link.corrupt:
                # Never the right type of package: RTDE has no checksum of its own (TCP has), so that a client believes
                # the numbers of a package whose header is whole.
                package[2] = (rtde.DATA_PACKAGE + self._random.randrange(1, 256)) % 256
                for _ in range(8):
                    package[self._random.randrange(3, len(package))] = self._random.randrange(256)
            if self.link.delay:
                asyncio.get_running_loop().call_later(self.link.delay, stream.send, bytes(package))
            else:
                stream.send(bytes(package))

    def _guarded(self, serve: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if not self.link.plugged:
                writer.transport.abort()
                return
            self._writers.add(writer)
            try:
                await serve(reader, writer)
            except (OSError, WireError, asyncio.IncompleteReadError) as error:
                self.controller.notes.append(f"connection ended: {error}")
            finally:
                self._writers.discard(writer)
                with contextlib.suppress(OSError):
                    writer.close()

        return guarded

    async def _receive(self, reader: asyncio.StreamReader) -> bytes:
        data = await reader.read(65536)
        while self.link.frozen:  # arrives when the cable is good again
            await asyncio.sleep(0.01)
        return data

    async def _dashboard(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{ur_dashboard.GREETING}\n".encode())
        buffer = b""
        while data := await self._receive(reader):
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                reply = ur_dashboard.answer(self.controller, line.decode(errors="replace"))
                writer.write(f"{reply}\n".encode())
            if len(buffer) > 4096:
                raise WireError("dashboard line longer than 4096 bytes")

    async def _script(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        buffer = b""
        while data := await self._receive(reader):
            buffer += data
            if buffer.endswith(b"\nend\n"):  # the program is one definition, closed without indentation
                self.controller.upload(buffer.decode(errors="replace"))
                buffer = b""
            if len(buffer) > 1 << 20:
                raise WireError("script longer than 1 MiB")

    async def _primary(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ur_primary.pack_configuration(self.controller.configuration()))
        while await self._receive(reader):
            pass

    async def _rtde(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _RtdeConnection(self.controller, writer)
        self._streams.append(connection)
        stream = rtde.Stream()
        try:
            while data := await self._receive(reader):
                for kind, payload in stream.feed(data):
                    if kind == rtde.DATA_PACKAGE and self.link.drop:
                        continue
                    reply = connection.handle(kind, payload)
                    if reply is not None:
                        writer.write(rtde.pack(kind, reply))
        finally:
            self._streams.remove(connection)


class _RtdeConnection:
    """One RTDE client."""

    def __init__(self, controller: Controller, writer: asyncio.StreamWriter) -> None:
        self._controller, self._writer = controller, writer
        self._inputs: list[rtde.Recipe] = []
        self._outputs: list[str] = []
        self._recipe: rtde.Recipe | None = None
        self._every, self._count, self._started = 1, 0, False

    def handle(self, kind: int, payload: bytes) -> bytes | None:
        """Carry out a package and return the payload of the reply, None for none."""
        if kind == rtde.REQUEST_PROTOCOL_VERSION:
            (version,) = rtde.unpack("H", payload, "protocol version")
            return bytes([version == rtde.PROTOCOL_VERSION])
        if kind == rtde.GET_URCONTROL_VERSION:
            return b"".join(part.to_bytes(4, "big") for part in ur_dashboard.POLYSCOPE)
        if kind == rtde.SETUP_OUTPUTS:
            return self._setup_outputs(payload)
        if kind == rtde.SETUP_INPUTS:
            return self._setup_inputs(payload)
        if kind in (rtde.START, rtde.PAUSE):
            self._started = kind == rtde.START and self._recipe is not None
            return bytes([kind == rtde.PAUSE or self._started])
        if kind == rtde.DATA_PACKAGE:
            number = payload[0] if payload else 0
            if not 1 <= number <= len(self._inputs):
                raise WireError(f"RTDE input recipe {number}, set up are 1 to {len(self._inputs)}")
            self._controller.inputs(self._inputs[number - 1].unpack(payload[1:]))
        return None

    def due(self) -> bytes | None:
        """Data of this cycle, None when this client gets none."""
        if not self._started or self._recipe is None:
            return None
        self._count += 1
        if self._count % self._every:
            return None
        getters = [ur_outputs.output(name)[1] for name in self._outputs]
        return b"\x01" + self._recipe.pack([get(self._controller) for get in getters if get is not None])

    def send(self, package: bytes) -> None:
        """Write a package unless the client is gone or no longer reads."""
        transport = self._writer.transport
        if not transport.is_closing() and transport.get_write_buffer_size() < 1 << 20:
            self._writer.write(package)

    def _setup_outputs(self, payload: bytes) -> bytes:
        frequency, names = rtde.parse_outputs(payload)
        types = [ur_outputs.output(name)[0] for name in names]
        if rtde.NOT_FOUND not in types:
            self._outputs, self._recipe = names, rtde.Recipe(names, types)
            self._every = max(1, round(1.0 / (self._controller.dt * frequency)))
        return b"\x01" + ",".join(types).encode()

    def _setup_inputs(self, payload: bytes) -> bytes:
        names = rtde.parse_names(payload)
        types = [ur_outputs.input_type(name) for name in names]
        if rtde.NOT_FOUND in types:
            return b"\x00" + ",".join(types).encode()
        self._inputs.append(rtde.Recipe(names, types))
        return bytes([len(self._inputs)]) + ",".join(types).encode()
