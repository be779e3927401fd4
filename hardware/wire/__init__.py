"""Wire formats of robot controllers: bytes in, plain values out; no sockets and no vendor packages.

Drivers and emulators share them, and the fuzz tests feed them rubbish: a parser either returns values or raises
``WireError``, and it never reads further than the bytes it was given.
"""

from __future__ import annotations

from ..errors import TransportError


class WireError(TransportError):
    """Bytes that do not follow the protocol."""
