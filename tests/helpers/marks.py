"""Parametrisations whose long tail is slow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def slow_but(fast: Iterable[Any], values: Iterable[Any]) -> list[Any]:
    """All values, those that are not `fast` marked slow."""
    quick = list(fast)
    return [value if value in quick else pytest.param(value, marks=pytest.mark.slow) for value in values]
