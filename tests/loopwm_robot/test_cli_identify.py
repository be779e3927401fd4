"""loopwm identify reads what loopwm collect records, and what it writes is read back as ranges."""

import json
from pathlib import Path

import gymnasium as gym
import pytest

from envs.randomize import DYNAMICS_UNITS, find_ranges
from loopwm_robot.cli.main import main
from loopwm_robot.config import IDENTIFIABLE


@pytest.mark.slow
def test_recordings_become_ranges(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arm = tmp_path / "arm.yaml"
    arm.write_text("payload: 2.0\ngain: 0.4\n", encoding="utf-8")
    data, out = tmp_path / "data", tmp_path / "found"
    assert main(["collect", f"env.randomize={arm}", "collect.episodes=2", f"out={data}"]) == 0
    few = ["segments=4", "population=8", "generations=2", "refinements=4", "threads=1", "parameters=[payload,gain]"]
    assert main(["identify", f"data={data}", *few, f"out={out}"]) == 0
    assert "payload" in capsys.readouterr().out
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert summary["payload"] == pytest.approx(2.0, rel=0.05) and summary["gain"] == pytest.approx(0.4, rel=0.05)
    assert summary["error_rad"] < 0.1 * summary["nominal_error_rad"]
    assert (out / "plots" / "identified.png").is_file()
    env = gym.make("LoopWM/PandaReach-v0", randomize=str(out / "dynamics.yaml")).unwrapped
    env.reset(seed=0)
    assert env.dynamics.payload == summary["payload"] and env.dynamics.damping == 1.0  # type: ignore[attr-defined]
    ranges = find_ranges(str(out / "ranges.yaml"))
    assert ranges is not None and ranges.contains(env.dynamics)  # type: ignore[attr-defined]


def test_every_hidden_parameter_can_be_asked_for() -> None:
    assert tuple(DYNAMICS_UNITS) == IDENTIFIABLE


def test_wrong_requests_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for overrides, text in (
        ([], "data is empty"),
        (["data=x", "parameters=[mass]"], "parameters is 'mass', allowed payload"),
        (["data=x", "parameters=[]"], "parameters is empty, allowed one or more of payload, friction, damping, gain"),
        (["data=x", "population=3"], "population is 3, allowed finite numbers >= 8"),
    ):
        assert main(["identify", *overrides, f"out={tmp_path / 'out'}"]) == 2
        assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("mass: 1", "allowed the keys payload"),
        ("payload: heavy", "allowed a number or"),
        ("gain: [0.5]", "allowed a number or"),
        ("gain: [0.1, 9]", "gain is 9"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_file_of_ranges_says_what_is_wrong(tmp_path: Path, content: str, text: str) -> None:
    path = tmp_path / "ranges.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=text):
        find_ranges(str(path))
