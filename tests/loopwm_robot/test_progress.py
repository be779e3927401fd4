"""Progress as lines and as a bar."""

from __future__ import annotations

import io
import re

import pytest

from loopwm_robot.progress import LINE_INTERVAL, duration, progress, status


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A file that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return Terminal()


def test_lines_come_at_most_once_in_an_interval() -> None:
    out, clock = io.StringIO(), Clock()
    with progress("train", 100, file=out, clock=clock) as bar:
        for _ in range(100):
            clock.now += 0.25
            bar.advance(1, loss=0.125)
    lines = out.getvalue().splitlines()
    assert len(lines) == 25.0 / LINE_INTERVAL
    assert re.fullmatch(r"\d\d:\d\d:\d\d train 20/100 20%  4/s  0:20 left  loss 0\.125", lines[0])
    assert lines[-1].endswith("train 100/100 100%  4/s  loss 0.125")


def test_quick_work_still_leaves_a_line() -> None:
    out = io.StringIO()
    with progress("train", 3, file=out, clock=Clock()) as bar:
        bar.advance(3)
    assert out.getvalue().endswith("train 3/3 100%\n")


def test_resumed_work_counts_but_does_not_speed_up_the_rate() -> None:
    out, clock = io.StringIO(), Clock()
    with progress("train", 100, done=50, file=out, clock=clock) as bar:
        clock.now += 10
        bar.advance(10)
    assert "train 60/100 60%  1/s  0:40 left" in out.getvalue()


def test_lines_in_between_carry_the_time() -> None:
    out = io.StringIO()
    with progress("train", file=out, clock=Clock()) as bar:
        bar.write("saved")
    assert re.search(r"^\d\d:\d\d:\d\d saved$", out.getvalue(), re.M)


def test_an_error_passes_and_leaves_no_final_line() -> None:
    out = io.StringIO()
    with pytest.raises(ValueError, match="stop"), progress("train", 10, file=out):
        raise ValueError("stop")
    assert out.getvalue() == ""


def test_the_default_is_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("train", 1) as bar:
        bar.advance()
    captured = capsys.readouterr()
    assert "train 1/1" in captured.err and captured.out == ""


def test_a_terminal_shows_a_bar_with_rate_metrics_and_lines(terminal: Terminal) -> None:
    with progress("train", 10, done=2, file=terminal) as bar:
        bar.advance(8, loss=0.5, stage="last")
        bar.write("saved [x]")
    text = terminal.getvalue()
    assert "train" in text and "10/10 100%" in text and "loss 0.5" in text and "stage last" in text
    assert "saved [x]" in text


def test_bars_nest(terminal: Terminal) -> None:
    with progress("outer", 2, file=terminal) as outer:
        with progress("inner", file=terminal) as inner:
            inner.advance(7)
        outer.advance(2)
    text = terminal.getvalue()
    assert "outer" in text and "inner" in text
    with progress("again", 1, file=terminal) as bar:  # the screen is free again
        bar.advance()
    assert "again" in terminal.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3600, "1:00:00"), (36125, "10:02:05")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_status_of_slow_and_unknown_work() -> None:
    assert status("", 3, None, 0.05, {}) == "3  20 s each"
    assert status("x", 0, 0, 0.0, {}) == "x 0/0 0%"
