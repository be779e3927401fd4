"""Figures: written, of sane size, not blank, and their numbers right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from envs import observation_groups
from hardware import JointLimits
from hardware.records import record_dtype
from loopwm_robot.closed_loop import ClosedLoopResult
from loopwm_robot.report.bridge import bridge_plot, liveliest, relative_to_limits
from loopwm_robot.report.control import distance_plot, distances, timing_plot
from loopwm_robot.report.curves import learning_curve
from loopwm_robot.report.depths import depth_histogram
from loopwm_robot.report.predictions import depth_plot, horizon_plot, prediction_plot
from loopwm_robot.report.style import band, controller_colour, figure
from loopwm_robot.types import Episode

POSITION = observation_groups(7)["ee_pos"]
LIMITS = JointLimits(("a", "b"), np.full(2, -3.0), np.full(2, 3.0), np.full(2, 2.0), np.full(2, 10.0))


@pytest.fixture(autouse=True)
def coarse_figures() -> None:
    """Figures as users get them."""


def history() -> list[dict[str, float]]:
    points: list[dict[str, float]] = [
        {"update": u, "loss": 10.0 / u, "obs": 8.0 / u, "reward": 1.0 / u, "round": 1 + (u > 50), "wall_time_s": u / 10}
        for u in range(10, 101, 10)
    ]
    points[4] |= {"val_rmse_h1": 0.1, "val_rmse_h5": 0.3, "success_rate": 0.5, "final_distance_m_median": 0.04}
    return points


def predictions(starts: int = 6, horizon: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    truth = torch.randn(starts, horizon, 31, generator=torch.Generator().manual_seed(0)).cumsum(1) * 0.01
    return truth + 0.001, truth


def result(lengths: tuple[int, ...] = (5, 5), offset: float = 0.0) -> ClosedLoopResult:
    episodes = []
    for steps in lengths:
        achieved = np.linspace([0.5, 0, 0], [offset, 0, 0], steps + 1).astype(np.float32)
        off = np.zeros(steps, np.bool_)
        obs, action = np.zeros((steps + 1, 2), np.float32), np.zeros((steps, 2), np.float32)
        reward, goal = np.zeros(steps, np.float32), np.zeros(3, np.float32)
        episodes.append(Episode(obs, achieved, goal, action, reward, off, off, 0.05, "test", 0))
    final = np.full(len(lengths), offset)
    return ClosedLoopResult(final < 0.05, final, np.full(5, 0.02), 0.05, episodes)


def records(ticks: int = 400, dt: float = 0.01) -> np.ndarray:
    """Two joints; the first swings with a peak speed of 1 rad/s, half of its limit."""
    rows = np.zeros(ticks, record_dtype(2))
    t = dt * np.arange(ticks)
    rows["t"], rows["tick"] = 50.0 + t, np.arange(ticks)
    rows["applied"][:, 0], rows["applied_dq"][:, 0] = -0.5 * np.cos(2 * t), np.sin(2 * t)
    rows["requested"] = rows["q"] = rows["applied"]
    rows["reasons"][50:60, 0] = 8
    rows["lateness"] = 1e-4
    return rows


PLOTS: dict[str, Callable[[Path], Path]] = {
    "learning": lambda path: learning_curve(history(), path),
    "learning without rounds": lambda path: learning_curve(
        [{"update": 1, "loss": 1.0}, {"update": 2, "loss": 0.5}], path
    ),
    "predictions": lambda path: prediction_plot(*predictions(), 0.05, POSITION, path),
    "one start": lambda path: prediction_plot(*predictions(1, 1), 0.05, POSITION, path),
    "horizons": lambda path: horizon_plot(*predictions(), POSITION, path),
    "depth": lambda path: depth_plot(
        {1: {1: (0.1, 0.01), 5: (0.2, 0.02)}, 4: {1: (0.05, 0.005), 5: (0.1, 0.01)}}, path
    ),
    "depth over decades": lambda path: depth_plot({1: {1: (0.001, 0.0001), 20: (1.0, 0.3)}}, path),
    "depths": lambda path: depth_histogram({"converged": [0, 5, 3, 1], "gate": [9, 0, 0, 0]}, path),
    "depths of one rule": lambda path: depth_histogram({"doubling": [0, 5, 3, 1]}, path),
    "distance": lambda path: distance_plot({"LoopWM": result((5, 3)), "random": result(offset=0.4)}, path),
    "timing": lambda path: timing_plot(np.linspace(0.01, 0.03, 50), 0.05, {"imagine": 0.015, "score": 0.001}, path),
    "timing of late plans": lambda path: timing_plot(np.linspace(0.2, 0.3, 50), 0.05, {"imagine": 0.25}, path),
    "timing without parts": lambda path: timing_plot(np.array([0.02]), 0.05, {}, path),
    "bridge": lambda path: bridge_plot(records(), LIMITS, path),
    "bridge interval": lambda path: bridge_plot(records(), LIMITS, path, (1.0, 2.0)),
}


@pytest.mark.parametrize("name", PLOTS)
def test_figure_is_written_small_and_not_blank(name: str, tmp_path: Path) -> None:
    path = tmp_path / "plots" / "figure.png"
    assert PLOTS[name](path) == path
    assert path.stat().st_size < 150_000
    with Image.open(path) as image:
        assert 900 <= image.width <= 2000 and 400 <= image.height <= 1400
        pixels = np.asarray(image.convert("RGB"))
    assert pixels[0, 0].min() > 250  # light background
    assert 0.005 < (pixels.min(axis=-1) < 200).mean() < 0.6
    assert [p.name for p in path.parent.iterdir()] == ["figure.png"]


@pytest.mark.parametrize(
    ("plot", "complaint"),
    [
        (lambda path: learning_curve([{"update": 1}], path), "none with a loss"),
        (lambda path: prediction_plot(torch.zeros(1, 2, 31), torch.zeros(1, 3, 31), 0.05, POSITION, path), "shape"),
        (lambda path: prediction_plot(*predictions(), 0.05, slice(7), path), "columns None:7 of 31, allowed three"),
        (lambda path: horizon_plot(*predictions(2, 3), POSITION, path, (5,)), "1 to 3"),
        (lambda path: depth_plot({}, path), "empty"),
        (lambda path: depth_histogram({}, path), "counts of loops are empty"),
        (lambda path: depth_histogram({"gate": [0, 0]}, path), "counts of loops are empty"),
        (lambda path: distance_plot({}, path), "no controller"),
        (lambda path: timing_plot(np.zeros(0), 0.05, {}, path), "empty"),
        (lambda path: timing_plot(np.ones(3), 0.05, {"x": -1.0}, path), "'x' took -1"),
        (lambda path: bridge_plot(records(2), LIMITS, path), "2 ticks"),
        (lambda path: bridge_plot(records(), LIMITS, path, (90.0, 99.0)), "interval"),
    ],
)
def test_useless_input_is_named_and_nothing_written(
    plot: Callable[[Path], Path], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=complaint):
        plot(tmp_path / "figure.png")
    assert not list(tmp_path.iterdir())


def test_a_failed_drawing_keeps_the_earlier_figure(tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    path.write_bytes(b"earlier")
    before = dict(matplotlib.rcParams)
    with pytest.raises(RuntimeError), figure(path, 2, 2):
        raise RuntimeError("in the middle")
    assert path.read_bytes() == b"earlier" and list(tmp_path.iterdir()) == [path]
    assert dict(matplotlib.rcParams) == before


def test_same_data_same_picture(tmp_path: Path) -> None:
    one, two = (learning_curve(history(), tmp_path / name) for name in ("a.png", "b.png"))
    assert one.read_bytes() == two.read_bytes()


def test_distances_are_euclidean_and_end_with_the_episode() -> None:
    table = distances(result((4, 2), offset=0.1))
    assert table.shape == (2, 5)
    np.testing.assert_allclose(table[0], np.linspace(0.5, 0.1, 5), atol=1e-6)
    np.testing.assert_allclose(table[1, :3], [0.5, 0.3, 0.1], atol=1e-6)
    assert np.isnan(table[1, 3:]).all()


def test_band_orders_quantiles_and_skips_missing() -> None:
    values = np.random.default_rng(0).normal(size=(50, 4))
    low, median, high = band(values)
    assert (low <= median).all() and (median <= high).all()
    padded = np.vstack([values, np.full((3, 4), np.nan)])
    np.testing.assert_array_equal(band(padded)[1], median)


def test_speed_and_acceleration_are_relative_to_the_limits() -> None:
    rows = records()
    speed, acceleration = relative_to_limits(rows, LIMITS)
    assert speed.max() == pytest.approx(0.5, abs=1e-3)  # 1 of 2 rad/s
    assert np.nanmax(acceleration) == pytest.approx(0.2, abs=1e-3)  # 2 of 10 rad/s^2
    rows["epoch"][200:] = 1  # enabled anew: no acceleration across the seam
    rows["applied_dq"][200:] += 5.0
    assert np.nanmax(relative_to_limits(rows, LIMITS)[1]) < 0.25


def test_the_liveliest_interval_holds_the_motion() -> None:
    rows = records(2000)
    rows["applied"][:1200] = rows["applied"][1200]
    time = rows["t"] - rows["t"][0]
    begin, end = liveliest(rows, time)
    assert begin >= 11.9 and end == pytest.approx(begin + 6.0)


def test_every_controller_keeps_its_colour() -> None:
    assert controller_colour("LoopWM") != controller_colour("untrained LoopWM")
    assert controller_colour("true simulator", 3) == controller_colour("simulator.")
    assert controller_colour("something else", 0) != controller_colour("something else", 1)
