"""Teleoperation: keys to actions, what is kept and what is not, the window without a screen."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from point_env import PointEnv

import loopwm_robot.teleop.window as window_module
from loopwm_robot.build import make_env, spaces_of
from loopwm_robot.cli.main import main
from loopwm_robot.config import EnvConfig
from loopwm_robot.data.datasets import read_dataset
from loopwm_robot.errors import RequestError
from loopwm_robot.teleop import Jog, Key, Stick, teleoperate
from loopwm_robot.teleop.jog import COMMANDS, DIRECTIONS
from loopwm_robot.teleop.window import Window

REACH = EnvConfig("LoopWM/PandaReach-v0", "cartesian_delta")


class Hands:
    """Presses what stands in a list, one entry a control step; then esc."""

    def __init__(self, steps: Iterable[Sequence[Key | Stick]]) -> None:
        self.steps, self.shown = list(steps), []

    def poll(self) -> Sequence[Key | Stick]:
        return self.steps.pop(0) if self.steps else [Key("escape")]

    def show(self, picture: Any, text: str) -> None:
        self.shown.append(text)

    def wait(self, dt: float) -> None:
        assert dt > 0

    def close(self) -> None:
        self.shown.append("closed")


def test_keys_and_sticks_become_actions() -> None:
    jog = Jog(4, speed=0.5)
    np.testing.assert_array_equal(jog.action(), [0, 0, 0, 1])
    assert jog.apply(Key("w")) is None and jog.apply(Key("a")) is None and jog.moving
    np.testing.assert_array_equal(jog.action(), [0.5, 0.5, 0, 1])
    assert jog.apply(Key("space")) == "gripper"
    jog.apply(Key("a", down=False))
    jog.apply(Key("left shift"))
    np.testing.assert_array_equal(jog.action(), [0.125, 0, 0, -1])
    jog.apply(Key("s"))  # against w
    np.testing.assert_array_equal(jog.action()[:3], [0, 0, 0])
    jog = Jog(3)
    jog.apply(Stick(2, -0.6)), jog.apply(Stick(0, 0.1))  # the second is within the dead zone
    np.testing.assert_allclose(jog.action(), [0, 0, -0.6])
    assert jog.apply(Key("space")) is None  # no gripper
    jog.apply(Key("q"))
    np.testing.assert_allclose(jog.action(), [0, 0, 0.4])
    assert [jog.apply(Key(name)) for name in COMMANDS] == list(COMMANDS.values())
    assert {axis for axis, _ in DIRECTIONS.values()} == {0, 1, 2}


@pytest.mark.parametrize(("nu", "speed", "message"), [(7, 1, "actions have 7 entries"), (3, 0, "speed is 0")])
def test_what_cannot_be_jogged_is_refused(nu: int, speed: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Jog(nu, speed)


def test_episodes_are_kept_and_discarded() -> None:
    class Drawn(PointEnv):
        def render(self):
            return None

    class Flat(Jog):
        """For a point in the plane."""

        def action(self):
            return super().action()[:2]

    idle: list[Key | Stick] = []
    first = [idle, [Key("w")], idle, [Key("w", False)], [Key("return")]]
    again = [[Key("return")], [Key("d")], idle, [Key("backspace")]]  # nothing to keep yet; then start again
    second = [[Key("d")], *[idle] * 20]  # until the environment ends it
    hands = Hands([*first, *again, *second])
    env = Drawn(steps=10)
    kept = list(teleoperate(env, hands, Flat(3), 3, lambda i: 7 + i))
    assert [len(one.episode) for one in kept] == [3, 10, 10]
    a, b = (one.episode for one in kept[:2])
    np.testing.assert_array_equal(a.action, [[1, 0], [1, 0], [0, 0]])
    assert a.truncated.tolist() == [False, False, True] and not a.terminated.any()
    assert (a.seed, b.seed) == (7, 8) and b.truncated[-1]
    env.reset(seed=8)
    np.testing.assert_allclose(b.obs[0, :2], env.x, atol=1e-6)  # the discarded start once more
    np.testing.assert_allclose(np.diff(b.achieved, axis=0), PointEnv.GAIN * b.action, atol=1e-6)
    assert hands.shown[0] == "episode 1 of 3, 0.0 s" and hands.shown[3].startswith("episode 1 of 3, 0.3 s")


def test_a_person_reaches_and_the_datasets_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Person(Hands):
        """Sees where the goal is and holds the keys that lead there; keeps two episodes, then leaves."""

        def __init__(self, title: str) -> None:
            super().__init__([])
            self.done = 0

        def poll(self) -> Sequence[Key | Stick]:
            if self.done == 2:
                return [Key("escape")]
            base = worlds[-1].unwrapped
            off = base.goal - base.vector_observation()[28:31]
            if np.linalg.norm(off) < 0.03:
                self.done += 1
                return [Key("return")]
            up_down = (("w", "s"), ("a", "d"), ("q", "e"))
            return [
                Key(name, bool(sign * gap > 0.01))
                for (plus, minus), gap in zip(up_down, off, strict=True)
                for name, sign in ((plus, 1), (minus, -1))
            ]

        def show(self, picture: Any, text: str) -> None:
            assert picture is None or picture.shape[-1] == 3

    worlds = []

    def made(config: EnvConfig, render: bool = False, **kwargs: Any) -> Any:
        assert render
        worlds.append(make_env(config, **kwargs))  # no pictures: the machine may have no GL
        return worlds[-1]

    monkeypatch.setattr("loopwm_robot.build.make_env", made)
    monkeypatch.setattr(window_module, "Window", Person)
    out = tmp_path / "run"
    words = ["teleop", "env=panda_reach_cartesian", "speed=1", "episodes=5", "max_steps=300", f"out={out}"]
    assert main(words) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["episodes"], summary["success_rate"]) == (2, 1.0)
    spaces = spaces_of(worlds[0], REACH)
    for path in (out, out / "lerobot"):
        episodes = read_dataset(path, spaces, None)
        assert len(episodes) == 2
        assert all(np.linalg.norm(one.achieved[-1] - one.goal) < 0.05 for one in episodes)


def test_joint_actions_are_refused() -> None:
    assert main(["teleop", "env=panda_reach"]) == 2


def test_the_window_without_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    import pygame

    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    window = Window("arm")
    window.poll()
    for kind, name in ((pygame.KEYDOWN, pygame.K_w), (pygame.KEYUP, pygame.K_w), (pygame.KEYDOWN, pygame.K_RETURN)):
        pygame.event.post(pygame.event.Event(kind, key=name))
    pygame.event.post(pygame.event.Event(pygame.JOYAXISMOTION, axis=1, value=-0.5))
    pygame.event.post(pygame.event.Event(pygame.JOYBUTTONDOWN, button=0))
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    found = window.poll()
    assert found == [Key("w"), Key("w", False), Key("return"), Stick(0, 0.5), Key("space"), Key("escape")]
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, :32] = (255, 0, 0)  # the left half is red
    window.show(picture, "episode 1")
    assert pygame.display.get_caption()[0] == "episode 1"
    surface = pygame.display.get_surface()
    assert surface.get_at((10, 200))[:3] == (255, 0, 0) and surface.get_at((600, 200))[:3] == (0, 0, 0)
    window.wait(0.001)
    window.close()


def test_without_pygame_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(RequestError, match=r'install it by pip install "loopwm-robot\[teleop\]"'):
        Window("arm")
