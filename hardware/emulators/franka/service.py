"""One service of the emulated controller: a TCP port for commands, UDP to and from the client, a link that fails.

The arm takes one client at a time, and so does the gripper.
"""

from __future__ import annotations

import contextlib
import random
import selectors
import socket
import struct
from collections import deque
from collections.abc import Callable

from ...wire import WireError
from ...wire.franka import Stream, pack_message, unpack

Handler = Callable[[int, int, bytes], bytes | None]
"""Carries out (command, number, payload); the payload of the reply, None when it comes later."""

_MAX_LATE = 4096


class Link:
    """What lies between the client and the controller.

    Attributes:
        frozen: nothing passes in either direction, connections stay open.
        drop: whether datagrams are lost, both ways.
        corrupt: whether datagrams to the client are damaged.
        delay: how late datagrams reach the client [s].
        plugged: whether connections are possible.
    """

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self.heal()

    def heal(self) -> None:
        """A good cable again."""
        self.frozen = self.drop = self.corrupt = False
        self.delay, self.plugged = 0.0, True

    @property
    def good(self) -> bool:
        """Whether what a client sends can be expected to arrive in time."""
        return self.plugged and not (self.frozen or self.drop or self.corrupt or self.delay)

    def damage(self, datagram: bytes) -> bytes:
        """Return a datagram as a bad cable delivers it: bytes changed, now and then some missing."""
        data = bytearray(datagram)
        for _ in range(24):
            data[self._random.randrange(len(data))] = self._random.randrange(256)
        return bytes(data[: self._random.choice((len(data), self._random.randrange(len(data))))])


class Service:
    """Sockets of one service. Watched by a selector of the emulator's loop, which also calls ``send_late``.

    Args:
        selector: where sockets are registered, with the function that serves them as data.
        address: to listen on.
        header: of the TCP messages.
        link: the cable.
        handle: carries out commands.
        on_datagram: takes what a client streams.
        on_lost: called when a client has gone.
        note: takes a line about what went wrong.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        address: tuple[str, int],
        header: struct.Struct,
        link: Link,
        handle: Handler,
        on_datagram: Callable[[bytes], None],
        on_lost: Callable[[], None],
        note: Callable[[str], None],
    ) -> None:
        self._selector, self._header, self._link = selector, header, link
        self._handle, self._on_datagram, self._on_lost, self._note = handle, on_datagram, on_lost, note
        self._listener = socket.create_server(address, backlog=4)
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind((address[0], 0))
        for sock, serve in ((self._listener, self._accept), (self._udp, self._take)):
            sock.setblocking(False)
            selector.register(sock, selectors.EVENT_READ, serve)
        self._client: socket.socket | None = None
        self._stream = Stream(header)
        self._peer: tuple[str, int] | None = None
        self._late: deque[tuple[float, bytes]] = deque(maxlen=_MAX_LATE)

    @property
    def connected(self) -> bool:
        """Whether a client gets states."""
        return self._peer is not None

    def connect(self, payload: bytes) -> None:
        """Take the port that a client names in its Connect; from now on it gets states."""
        if self._client is not None:
            port = int(unpack("HH", payload, "Connect")[1])
            self._peer = (self._client.getpeername()[0], port) if port else None

    def reply(self, command: int, number: int, payload: bytes) -> None:
        """Send a reply; a client that is gone gets none."""
        if self._client is not None:
            with contextlib.suppress(OSError):
                self._client.sendall(pack_message(command, number, payload, self._header))

    def publish(self, datagram: bytes, now: float) -> None:
        """Send a state to the client, as the link allows at a time [s]."""
        if self._peer is None or self._link.frozen or self._link.drop:
            return
        if self._link.corrupt:
            datagram = self._link.damage(datagram)
        if self._link.delay:
            self._late.append((now + self._link.delay, datagram))
        else:
            self._send(datagram)

    def send_late(self, now: float) -> None:
        """Send what was held up until a time [s]."""
        while self._late and self._late[0][0] <= now:
            self._send(self._late.popleft()[1])

    def hang_up(self) -> None:
        """Cut the connection."""
        if self._client is None:
            return
        self._selector.unregister(self._client)
        with contextlib.suppress(OSError):
            # A reset, as of a device that is gone: the client need not wait.
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._client.close()
        self._client, self._peer, self._stream = None, None, Stream(self._header)
        self._late.clear()
        self._on_lost()

    def close(self) -> None:
        """Close all sockets."""
        self.hang_up()
        self._listener.close()
        self._udp.close()

    def _send(self, datagram: bytes) -> None:
        if self._peer is not None:
            with contextlib.suppress(OSError):
                self._udp.sendto(datagram, self._peer)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        if self._client is not None:
            self._serve()  # it may be about to go
        if not self._link.plugged or self._client is not None:
            client.close()
            return
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._client = client
        self._selector.register(client, selectors.EVENT_READ, self._serve)

    def _serve(self) -> None:
        assert self._client is not None
        try:
            data = self._client.recv(65536)
            if not data:
                self.hang_up()
                return
            for command, number, payload in self._stream.feed(data):
                reply = self._handle(command, number, payload)
                if reply is not None:
                    self.reply(command, number, reply)
        except BlockingIOError:
            return
        except (OSError, WireError) as error:
            self._note(f"connection ended: {error}")
            self.hang_up()

    def _take(self) -> None:
        while True:
            try:
                datagram = self._udp.recv(4096)
            except OSError:
                return
            if not self._link.drop:
                self._on_datagram(datagram)
