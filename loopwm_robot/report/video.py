"""A film of the arm reaching, with the planned path drawn in."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import imageio_ffmpeg
import numpy as np
import torch
from numpy.typing import NDArray

from envs import Polyline, observation_groups
from planners import AvoidSphere

from ..agent import MPCAgent
from ..data.collect import split_observation
from .candidates import CandidateWatch, Scene, ball
from .captions import Captions

Frame = NDArray[np.uint8]

PLANNED = (1.0, 0.50, 0.04, 1.0)
TRAVELLED = (0.10, 0.47, 0.80, 0.55)
CONSIDERED = (("high score", (253, 231, 37)), ("low score", (68, 1, 84)))
"""Legend of the candidates: the ends of `candidates.COLOURS`."""
HOLD_STEPS = 12
"""Control steps shown after the goal has been reached, before the next reach begins."""


class VideoError(RuntimeError):
    """No video can be made here: pictures cannot be drawn, or not be encoded."""


@dataclass(frozen=True)
class ReachVideo:
    """What was filmed.

    Attributes:
        video: H.264 file.
        poster: PNG of one moment in mid-motion.
        frames: pictures in the video, one for each control step.
        successes: reaches that ended within the radius of success.
    """

    video: Path
    poster: Path
    frames: int
    successes: int


@dataclass(frozen=True)
class Moment:
    """A picture before a control step, how good a poster it would make, and whether the step ended in success."""

    picture: Frame
    appeal: float
    success: bool


def record_reaches(
    env: gym.Env[Any, Any],
    agent: MPCAgent,
    seeds: Sequence[int],
    path: Path,
    fps: int = 20,
    *,
    width: int | None = None,
    columns: slice | None = None,
    hold_steps: int | None = HOLD_STEPS,
    candidates: int = 0,
    obstacles: Sequence[AvoidSphere] = (),
) -> ReachVideo:
    """Film one reach for each seed; a `poster.png` goes beside the video.

    Args:
        env: an arm environment with render_mode `rgb_array`.
        agent: drives it; its plans are decoded with its own model.
        seeds: of the resets.
        path: the video, a name that ends in .mp4; an existing file is replaced in one step.
        fps: pictures a second; the control rate gives real time.
        width: of the video [pixels]; pictures of a larger environment are scaled down, which smooths their
            edges. None keeps the environment's size.
        columns: of the end-effector position in the observation; None takes them from the arm.
        hold_steps: control steps to show once the goal is reached and held; None shows whole episodes.
        candidates: paths to draw of those that each plan was chosen from, coloured by score; 0 draws none.
        obstacles: spheres to draw.

    Returns:
        what was filmed.

    Raises:
        VideoError: pictures cannot be drawn or encoded on this machine; nothing is left behind.
        ValueError: there are no seeds.
    """
    if not len(seeds):
        raise ValueError("record_reaches got 0 seeds, allowed >= 1; name the reaches to film")
    if columns is None:
        columns = observation_groups(env.unwrapped.arm.n)["ee_pos"]  # type: ignore[attr-defined]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.mp4")
    best: Moment | None = None
    frames = successes = 0
    writer: Encoder | None = None
    before, watch = agent.watch, CandidateWatch(agent, columns) if candidates else None
    scene = Scene(columns, watch, candidates, [ball(sphere) for sphere in obstacles])
    try:
        for index, seed in enumerate(seeds):
            captions = Captions(f"Goal {index + 1} of {len(seeds)}", width, CONSIDERED if watch else ())
            moment = None
            for moment in _reach(env, agent, seed, scene, captions, hold_steps):
                if writer is None:
                    writer = Encoder(temporary, moment.picture.shape[1], moment.picture.shape[0], fps)
                writer.write(moment.picture)
                frames += 1
                if best is None or moment.appeal > best.appeal:
                    best = moment
            successes += bool(moment is not None and moment.success)
        if writer is None or best is None:
            raise VideoError("no picture was drawn, because no episode has a step")
        writer.close()
        temporary.replace(path)
    finally:
        agent.watch = before
        if writer is not None:
            writer.close()
        temporary.unlink(missing_ok=True)
    poster = path.with_name("poster.png")
    Captions.save(best.picture, poster)
    return ReachVideo(path, poster, frames, successes)


@torch.inference_mode()
def planned_path(agent: MPCAgent, state: Any, columns: slice) -> NDArray[np.float64]:
    """End-effector positions (H, 3) [m] that the model foresees under the last plan, from the state it began in."""
    if agent.last_plan is None:
        raise ValueError("the agent has no plan, allowed after act(); act first")
    trajectory: Any = agent.model.rollout(state, agent.last_plan.actions[None])
    return np.asarray(trajectory.observations(columns)[0], np.float64)


def path_length(points: NDArray[np.float64]) -> float:
    """Length of a polyline (K, 3) [m]."""
    return float(np.linalg.norm(np.diff(points, axis=0), axis=-1).sum())


def visible_pixels(picture: Frame) -> int:
    """Pixels in which the planned path can be seen, for the arm often hides a part of it."""
    red, green, blue = (picture[..., i].astype(np.int16) for i in range(3))
    return int(((red > green + 60) & (green > blue + 40)).sum())


def draw(env: gym.Env[Any, Any], overlay: Sequence[Polyline]) -> Frame:
    """Picture (height, width, 3) of the present state with paths.

    Raises:
        VideoError: the environment does not draw, or cannot on this machine.
    """
    base: Any = env.unwrapped
    try:
        picture = base.render(overlay=overlay)
    except RuntimeError as error:
        raise VideoError(f"pictures cannot be drawn here: {error}") from error
    if picture is None:
        raise VideoError("the environment draws no pictures; make it with render_mode='rgb_array'")
    return picture


def _reach(
    env: gym.Env[Any, Any],
    agent: MPCAgent,
    seed: int,
    scene: Scene,
    captions: Captions,
    hold_steps: int | None,
) -> Iterator[Moment]:
    """Run one episode and yield a moment for each control step."""
    raw, info = env.reset(seed=seed)
    obs, achieved, goal = split_observation(raw)
    agent.reset(goal)
    travelled = [np.asarray(achieved, np.float64)]
    dt = float(env.unwrapped.ctrl_dt)  # type: ignore[attr-defined]
    done, held, step = False, 0, 0
    while not done and (hold_steps is None or held <= hold_steps):
        state = agent.state(obs)
        scene.begin()
        action = agent.act(obs)
        planned = np.vstack([achieved, planned_path(agent, state, scene.columns)])
        passed = np.asarray(travelled)
        paths = [Polyline(passed, TRAVELLED, 0.004), Polyline(planned, PLANNED, 0.006)]
        picture = draw(env, [*scene.overlay(obs, state), *paths])
        raw, _, terminated, truncated, after = env.step(action)
        yield Moment(
            captions.add(picture, step * dt, float(info["distance"]), agent.timings[-1], bool(info["is_success"])),
            visible_pixels(picture) * min(1.0, path_length(passed) / max(path_length(planned), 1e-6)),
            bool(after["is_success"]),
        )
        obs, achieved, _ = split_observation(raw)
        travelled.append(np.asarray(achieved, np.float64))
        info, done, step = after, terminated or truncated, step + 1
        held = held + 1 if info["is_success"] else 0


class Encoder:
    """H.264 with 4:2:0 colours and the index in front: what every browser plays.

    Args:
        path: the file, a name that ends in .mp4.
        width: of the pictures [pixels].
        height: of the pictures [pixels].
        fps: pictures a second.

    Raises:
        VideoError: ffmpeg is missing, or fails.
    """

    def __init__(self, path: Path, width: int, height: int, fps: int) -> None:
        self._size = (height - height % 2, width - width % 2)  # 4:2:0 needs even sizes
        options = ["-crf", "21", "-preset", "medium", "-movflags", "+faststart", "-threads", "2"]
        self._stream: Any = imageio_ffmpeg.write_frames(
            str(path),
            self._size[::-1],
            fps=fps,
            codec="libx264",
            pix_fmt_in="rgb24",
            pix_fmt_out="yuv420p",
            macro_block_size=2,
            output_params=options,
            ffmpeg_log_level="error",
        )
        try:
            self._stream.send(None)
        except (RuntimeError, OSError) as error:
            raise VideoError(f"the video cannot be encoded here: {error}; reinstall imageio-ffmpeg") from error

    def write(self, picture: Frame) -> None:
        """Append a picture (height, width, 3)."""
        height, width = self._size
        try:
            self._stream.send(np.ascontiguousarray(picture[:height, :width]))
        except OSError as error:
            raise VideoError(f"the video cannot be written: {error}; is the disk full?") from error

    def close(self) -> None:
        """Finish the file. Closing twice is harmless."""
        self._stream.close()
