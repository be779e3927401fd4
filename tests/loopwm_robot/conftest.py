"""Coarse figures: what they show is tested, not their look, and drawing takes most of the time of a short run."""

from __future__ import annotations

import pytest

from loopwm_robot.report import style


@pytest.fixture(autouse=True)
def coarse_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of the pixels in each direction and no layout; test files about figures have a fixture of this name."""
    monkeypatch.setattr(style, "DPI", style.DPI // 4)
    monkeypatch.setattr(style, "LAYOUT", None)
