"""The film: as many pictures as steps, playable, and one clear error where it cannot be made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image

import envs
from envs import observation_groups
from loopwm_robot.agent import MPCAgent
from loopwm_robot.report import video as video_module
from loopwm_robot.report.captions import Captions
from loopwm_robot.report.video import (
    Encoder,
    VideoError,
    draw,
    path_length,
    planned_path,
    record_reaches,
    visible_pixels,
)
from planners import Plan, ReachPoint

gym.register_envs(envs)
STEPS = 4


class Still:
    """A model in which nothing ever moves."""

    nu, ctrl_dt = 7, 0.05

    def encode(self, obs: torch.Tensor, goal: torch.Tensor | None = None) -> torch.Tensor:
        return obs

    def rollout(self, state: torch.Tensor, actions: torch.Tensor) -> Any:
        class Trajectory:
            def observations(self, columns: slice | None = None) -> torch.Tensor:
                repeated = state[:, None].expand(len(actions), actions.shape[1], -1).clone()
                repeated[..., -1] += 0.02 * torch.arange(1, actions.shape[1] + 1)  # foresees a rise of the arm
                return repeated if columns is None else repeated[..., columns]

        return Trajectory()


class OnePlan:
    """Always the same small motion."""

    def plan(self, score: Any, warm_start: torch.Tensor | None = None, executed: int = 1) -> Plan:
        actions = torch.full((5, 7), 0.3)
        return Plan(actions, torch.zeros_like(actions), 0.0, 0.05, 1, 0, 0.0)


def make_agent() -> MPCAgent:
    columns = observation_groups(7)["ee_pos"]
    return MPCAgent(Still(), OnePlan(), lambda goal: ReachPoint(columns, goal))


def make_env(render_mode: str | None = "rgb_array", **options: Any) -> gym.Env[Any, Any]:
    options = {"width": 160, "height": 120, "max_episode_steps": STEPS, **options}
    return gym.make("LoopWM/PandaReach-v0", render_mode=render_mode, **options)


def test_one_picture_for_each_step_at_the_rate_asked_for(tmp_path: Path) -> None:
    env = make_env()
    film = record_reaches(env, make_agent(), [0, 1], tmp_path / "video" / "reaches.mp4", fps=20)
    env.close()
    assert film.frames == 2 * STEPS and film.successes == 0
    frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(film.video))
    assert frames == film.frames and seconds == pytest.approx(film.frames / 20, abs=0.05)
    reader = imageio_ffmpeg.read_frames(str(film.video))
    meta = next(reader)
    reader.close()
    assert meta["codec"] == "h264" and meta["pix_fmt"].startswith("yuv420p") and meta["size"] == (160, 120)
    head = film.video.read_bytes()
    assert head.index(b"moov") < head.index(b"mdat")  # plays before it is loaded as a whole
    with Image.open(film.poster) as poster:
        assert poster.size == (160, 120) and np.asarray(poster).std() > 10
        assert visible_pixels(np.asarray(poster)) > 10  # the planned path is in it
    assert sorted(p.name for p in film.video.parent.iterdir()) == ["poster.png", "reaches.mp4"]


def test_a_reach_ends_after_the_goal_was_held(tmp_path: Path) -> None:
    env = make_env(threshold=5.0, max_episode_steps=20)  # every place counts as the goal
    agent = make_agent()
    film = record_reaches(env, agent, [0], tmp_path / "short.mp4", hold_steps=2)
    assert film.frames == 3 and film.successes == 1 and len(agent.timings) == 3
    whole = record_reaches(env, agent, [0], tmp_path / "whole.mp4", hold_steps=None)
    assert whole.frames == 20
    env.close()


def test_larger_pictures_are_scaled_down_to_even_sizes(tmp_path: Path) -> None:
    env = make_env(width=322, height=240)
    film = record_reaches(env, make_agent(), [0], tmp_path / "reaches.mp4", width=161)
    env.close()
    reader = imageio_ffmpeg.read_frames(str(film.video))
    assert next(reader)["size"] == (160, 120)
    reader.close()


def test_without_rendering_one_clear_error_and_nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VideoError, match="render_mode"):
        record_reaches(make_env(None), make_agent(), [0], tmp_path / "reaches.mp4")

    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("no GL context with MUJOCO_GL=egl")

    env = make_env()
    monkeypatch.setattr(env.unwrapped, "render", refuse)
    with pytest.raises(VideoError, match="no GL context") as caught:
        record_reaches(env, make_agent(), [0], tmp_path / "reaches.mp4")
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert not list(tmp_path.iterdir())


def test_without_ffmpeg_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "missing"))
    with pytest.raises(VideoError, match="cannot be encoded"):
        Encoder(tmp_path / "a.mp4", 32, 32, 20)


def test_a_stop_in_the_middle_keeps_the_earlier_film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "reaches.mp4"
    path.write_bytes(b"earlier")
    calls = iter(range(100))

    def breaks(env: Any, overlay: Any) -> np.ndarray:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return draw(env, overlay)

    monkeypatch.setattr(video_module, "draw", breaks)
    env = make_env()
    with pytest.raises(KeyboardInterrupt):
        record_reaches(env, make_agent(), [0], path)
    env.close()
    assert path.read_bytes() == b"earlier" and list(tmp_path.iterdir()) == [path]


def test_a_stopped_encoder_says_so(tmp_path: Path) -> None:
    encoder = Encoder(tmp_path / "a.mp4", 32, 32, 20)

    class Broken:
        def send(self, _: Any) -> None:
            raise OSError("no space left")

        def close(self) -> None: ...

    encoder.close()
    encoder._stream = Broken()
    with pytest.raises(VideoError, match="no space left"):
        encoder.write(np.zeros((32, 32, 3), np.uint8))


def test_no_seeds_no_film(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="0 seeds"):
        record_reaches(make_env(), make_agent(), [], tmp_path / "reaches.mp4")


def test_planned_path_is_decoded_from_the_state_it_began_in() -> None:
    agent = make_agent()
    columns = observation_groups(7)["ee_pos"]
    with pytest.raises(ValueError, match="no plan"):
        planned_path(agent, torch.zeros(1, 31), columns)
    agent.reset(np.zeros(3, np.float32))
    agent.act(np.zeros(31, np.float32))
    points = planned_path(agent, torch.zeros(1, 31), columns)
    np.testing.assert_allclose(points[:, 2], 0.02 * np.arange(1, 6), rtol=1e-6)
    assert path_length(points) == pytest.approx(0.08)
    assert path_length(points[:1]) == 0.0


def test_captions_leave_the_middle_of_the_picture_alone() -> None:
    picture = np.full((240, 320, 3), 170, np.uint8)
    written = Captions("Goal 1 of 2").add(picture, 0.5, 0.031, 0.02, True)
    assert (picture == 170).all() and written.shape == picture.shape
    assert (written[:20] != 170).any() and (written[100:] == 170).all()
    other = Captions("Goal 2 of 2").add(picture, 0.5, 0.031, 0.02, True)
    assert (written != other).any()
