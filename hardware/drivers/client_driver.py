"""What drivers behind a vendor's client process share: the link, how long it may be silent, the newest state.

A driver of this kind still tells what differs: its client and orders, and what counts as a fault of its device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

from ..clock import Clock, MonotonicClock
from ..errors import Disconnected, HardwareFault, ModeError, TransportTimeout
from ..interface import ArmState, Array, frozen
from .client_process import ClientProcess

C = TypeVar("C", bound=ClientProcess[Any])


class ClientDriver(ABC, Generic[C]):
    """The half of an ``ArmDriver`` that is the same for every vendor's client.

    Args:
        who: how errors call the device, such as "UR 10.0.0.2".
        joint_names: from base to tool.
        silent_s: a link counts as silent after this [s]: commands into it would come out all at once later.
        meanwhile: what the device does then, for errors.
        clock: time of reception.
    """

    def __init__(
        self, who: str, joint_names: tuple[str, ...], silent_s: float, meanwhile: str, clock: Clock | None
    ) -> None:
        self._who, self._names, self._silent_s, self._meanwhile = who, joint_names, silent_s, meanwhile
        self._clock: Clock = clock or MonotonicClock()
        self._client: C | None = None
        self._enabled, self._seq = False, 0
        self._last: ArmState | None = None

    @abstractmethod
    def _fault(self, state: Any) -> str | None:
        """What the device complains of in a state (None before the first), None where all is well."""

    @abstractmethod
    def _measured(self, state: Any, seq: int, t_host: float, fault: str | None) -> ArmState:
        """A state in the bridge's words."""

    def read(self, deadline: float) -> ArmState:
        """Return the newest state; on a silent link the last one, whose device time stands still."""
        del deadline  # states are pushed, nothing is waited for
        client = self._linked(seen=True)
        client.poll()
        report, last = client.state, self._last
        if client.lost or report is None:
            raise Disconnected(f"{self._who}: {client.lost}")
        fault = self._fault(report)
        if last is not None and report.t_device == last.t_device and fault == last.fault:
            return last
        if last is None or report.t_device != last.t_device:
            self._seq += 1
        self._last = self._measured(report, self._seq, self._clock.now() - client.age, fault)
        return self._last

    def close(self) -> None:
        """Break the connection; what still moves is stopped by the client or the device. Idempotent."""
        if self._client is not None:
            self._client.close()
        self._client, self._enabled = None, False

    # For the drivers
    # ---------------------------------------------------------------------------------------------------

    def _opened(self, client: C) -> None:
        """Begin with a client that has its first state."""
        self._client, self._enabled, self._last = client, False, None

    def _target(self, q: Array) -> tuple[C, Array]:
        """Check a target (n,) [rad] and that the device takes it.

        Raises:
            ModeError: the arm is not enabled.
            HardwareFault: the device does not take commands.
            TransportTimeout: the link is silent.
        """
        target = frozen(q, f"{self._who}: target q [rad]", (len(self._names),))
        if not self._enabled:
            raise ModeError(f"{self._who}: write before enable(); enable first")
        client = self._answering()
        fault = self._fault(client.state)
        if fault or client.state is None or not client.state.ok:
            raise HardwareFault(f"{self._who}: {fault or 'it takes no commands'}")
        return client, target

    def _require_no_fault(self, client: C) -> None:
        fault = self._fault(client.state)
        if fault:
            raise HardwareFault(f"{self._who}: {fault}")

    def _linked(self, seen: bool = False) -> C:
        """The client; one whose link is lost only where the caller looks at that by itself."""
        if self._client is None:
            raise Disconnected(f"{self._who}: not open; open() first")
        if self._client.lost and not seen:
            raise Disconnected(f"{self._who}: {self._client.lost}")
        return self._client

    def _answering(self) -> C:
        """The client, whose device has sent a state lately."""
        client = self._linked()
        client.poll()
        if client.lost:
            raise Disconnected(f"{self._who}: {client.lost}")
        if client.age > self._silent_s:
            raise TransportTimeout(f"{self._who}: no state for {client.age:.3f} s; {self._meanwhile}")
        return client
