"""Errors of a deployment that has begun; a request that is wrong from the start is a RequestError."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .result import DeployResult


class DeployError(RuntimeError):
    """The run on the arm ended early. The bridge was brought to rest before this was raised.

    Attributes:
        result: what was recorded until then, with the goals that were finished; None when nothing was.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.result: DeployResult | None = None


def fault_error(fault: str) -> DeployError:
    """The error for a latched fault, wherever it is noticed first."""
    return DeployError(f"the bridge has latched a fault: {fault}; look at the arm, then reset it")
