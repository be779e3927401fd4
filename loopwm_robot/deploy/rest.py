"""The end of a run, however it comes: the arm rests, what was recorded is kept, and only then errors go on."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from hardware import ArmBridge, BridgeError

from .errors import DeployError, fault_error

_LOG = logging.getLogger(__name__)
_STOP_TIMEOUT_S = 10.0
_COUNTERS_S = 0.15
"""The control process brings its counters up to date ten times a second."""


def bring_to_rest(bridge: ArmBridge) -> None:
    """Brake and wait until the command rests; never raises, as an error may be on its way already."""
    try:
        if bridge.mode.active:
            bridge.stop(timeout=_STOP_TIMEOUT_S)
        give_up = bridge.now() + _STOP_TIMEOUT_S
        while bridge.now() < give_up:
            applied = bridge.snapshot().applied
            if applied is None or not applied.dq.any():
                break
            bridge.advance(2.0 * bridge.config.dt)
        bridge.advance(_COUNTERS_S)
    except BridgeError as error:
        _LOG.warning("the arm could not be brought to rest in order: %s", error)


def as_failure(bridge: ArmBridge, error: BaseException) -> BaseException:
    """What the caller gets to see: an error of the bridge becomes a DeployError, all others stay what they are."""
    if not isinstance(error, BridgeError):
        return error
    fault = bridge.fault
    return fault_error(fault) if fault else DeployError(f"the bridge refused: {error}")


@contextmanager
def undisturbed() -> Iterator[None]:
    """Inside, Ctrl-C and SIGTERM are ignored: stopping and keeping the record are bounded in time, and come first."""
    with _handled(signal.SIG_IGN, signal.SIGINT, signal.SIGTERM):
        yield


@contextmanager
def interruptible() -> Iterator[None]:
    """Inside, SIGTERM is what Ctrl-C is: the run ends in order."""
    with _handled(_interrupt, signal.SIGTERM):
        yield


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(f"signal {number}")


@contextmanager
def _handled(handler: signal._HANDLER, *numbers: signal.Signals) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only there can signals be handled
        yield
        return
    before = [signal.signal(number, handler) for number in numbers]
    try:
        yield
    finally:
        for number, old in zip(numbers, before, strict=True):
            signal.signal(number, old)
