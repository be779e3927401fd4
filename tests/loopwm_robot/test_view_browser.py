"""The view in a real browser: what it shows, and that what people do in it arrives."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from chromium import Page, find_chromium, open_page
from PIL import Image
from reach_spaces import reach_spaces

from loopwm_robot.build import make_env
from loopwm_robot.config import EnvConfig, ModelConfig, PlannerConfig, ViewConfig
from loopwm_robot.models.build import build_model
from loopwm_robot.view.controls import Controls
from loopwm_robot.view.session import Session
from loopwm_robot.view.viewer import Viewer

pytest.importorskip("viser", reason="the extra 'view' is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium on PATH (Debian: apt-get install chromium)"),
]

FAST = PlannerConfig(horizon=4, num_samples=16, num_elites=4, iterations=2, keep_elites=2)
SLIDER = """(() => {
  const label = [...document.querySelectorAll('label')].find(e => e.innerText.trim() === NAME);
  let row = label; while (row && !row.querySelector('[role=slider]')) row = row.parentElement;
  return row && row.querySelector('[role=slider]');
})()"""


@dataclass
class Shown:
    """A view and the page that shows it."""

    session: Session
    viewer: Viewer
    page: Page

    def until(self, true: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait for something to become true."""
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, f"not true within {seconds} s"
            time.sleep(0.05)

    def click(self, text: str) -> None:
        """Click the button with a text."""
        buttons = "[...document.querySelectorAll('button')]"
        self.page.evaluate(f"{buttons}.find(e => e.innerText.trim() === '{text}').click()")

    def canvas(self) -> tuple[np.ndarray, tuple[float, float]]:
        """What the 3D view shows (H, W, 3), and where its upper left corner is [pixels]."""
        rect = "document.querySelector('canvas[data-engine]').getBoundingClientRect()"
        x, y, width, height = map(int, self.page.evaluate(f"(r => [r.x, r.y, r.width, r.height])({rect})"))
        with Image.open(io.BytesIO(self.page.screenshot())) as image:
            return np.asarray(image.convert("RGB"))[y : y + height, x : x + width], (x, y)

    def settled(self) -> np.ndarray:
        """What the 3D view shows once meshes are loaded and drawn: it stays the same for two seconds (H, W, 3)."""
        pictures = [self.canvas()[0]]

        def still() -> bool:
            time.sleep(1.0)
            pictures.append(self.canvas()[0])
            latest = pictures[-3:]
            same = [a.shape == b.shape and (a != b).any(-1).mean() < 0.001 for a, b in pairwise(latest)]
            return len(latest) == 3 and all(same) and len(np.unique(latest[-1].reshape(-1, 3), axis=0)) > 500

        self.until(still)
        return pictures[-1]

    def pixel(self, point: np.ndarray) -> np.ndarray:
        """Where the page shows a point (3,) [m], as (x, y) [pixels]."""
        camera = next(iter(self.viewer.server.get_clients().values())).camera
        picture, corner = self.canvas()
        forward = camera.look_at - camera.position
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, camera.up_direction)
        right /= np.linalg.norm(right)
        away = point - camera.position
        height, width = picture.shape[:2]
        scale = height / 2 / np.tan(camera.fov / 2) / (away @ forward)
        x, y = scale * (away @ right), scale * (away @ np.cross(right, forward))
        return np.array([width / 2 + x, height / 2 - y]) + corner


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Shown]:
    env = make_env(EnvConfig()), make_env(EnvConfig())
    torch.manual_seed(0)
    model: Any = build_model(ModelConfig(latent_dim=16, heads=2, plan_loops=2), *reach_spaces().of_model)
    model.eval().requires_grad_(False)
    controls = Controls(tour=False)
    viewer = Viewer(env[0].unwrapped, FAST, ViewConfig(port=0), controls, True)  # type: ignore[arg-type]
    session = Session(env, model, reach_spaces(), FAST, controls, viewer)
    thread = threading.Thread(target=session.run)
    thread.start()
    try:
        with open_page(viewer.url, tmp_path) as page:
            page.wait_for("document.body?.innerText.includes('num_samples')")
            page.wait_for("document.querySelector('canvas[data-engine]') !== null")
            yield Shown(session, viewer, page)
    finally:
        controls.stop()
        thread.join(30)
        viewer.close()


def test_a_browser_shows_the_arm_and_steers_the_planner(shown: Shown):
    session, page = shown.session, shown.page
    before = session.steps
    shown.until(lambda: session.steps > before + 2)

    # It is steered: three steps of the slider, of eight candidates each.
    page.evaluate(f"{SLIDER.replace('NAME', repr('num_samples'))}.focus()")
    for _ in range(3):
        page.press("ArrowRight", 39)
    shown.until(lambda: session.config.num_samples == 40)
    shown.until(lambda: session.frame.plan is not None and session.frame.plan.scored == 80)

    # What was asked for and cannot be is put right in the page: more elites than candidates.
    page.evaluate(f"{SLIDER.replace('NAME', repr('num_elites'))}.focus()")
    page.press("End", 35)
    shown.until(lambda: session.config.num_elites == 40)
    page.wait_for(f"{SLIDER.replace('NAME', repr('num_elites'))}.getAttribute('aria-valuenow') === '40'")

    shown.click("Pause")
    page.wait_for("document.body.innerText.includes('Go on')")
    shown.until(lambda: session.controls.lasting("paused"))
    time.sleep(1.0)  # the step in progress
    before = session.steps
    shown.click("Step")
    shown.until(lambda: session.steps == before + 1)

    # The numbers are those of the plan, and the picture is one.
    frame = session.frame
    assert frame.plan is not None and frame.distance is not None
    page.wait_for(f"document.body.innerText.includes('{frame.plan.score:.3f}')")
    page.wait_for(f"document.body.innerText.includes('{100 * frame.distance:.1f} cm')")
    page.wait_for("document.body.innerText.includes('2.00 a transition')")
    picture = shown.settled()
    assert min(picture.shape[:2]) > 300 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 500

    # Without the arm and the plan it is another: the colours were theirs.
    for handle in (*shown.viewer.scene._bodies.values(), *shown.viewer.scene._ghosts.values()):
        handle.visible = False
    shown.until(lambda: (np.abs(shown.canvas()[0].astype(int) - picture).max(-1) > 30).mean() > 0.05)


def test_the_goal_is_dragged(shown: Shown):
    """The blue arrow of the goal moves it up, and the arm gets the goal that is shown."""
    session, page = shown.session, shown.page
    session.controls.keep(paused=True)
    shown.until(lambda: bool(shown.viewer.server.get_clients()))
    time.sleep(1.0)
    goal = session.base.task_goal().copy()
    start, end = (shown.pixel(goal + np.array([0, 0, up])) for up in (0.11, 0.19))
    page.drag(*start, *(end - start))
    shown.until(lambda: session.base.task_goal()[2] > goal[2] + 0.03)
    moved = session.base.task_goal()
    assert np.allclose(moved[:2], goal[:2], atol=1e-4) and moved[2] < goal[2] + 0.15
    assert np.allclose(session.agent._goal, moved)
    shown.until(lambda: np.allclose(shown.viewer.scene._goal.position, moved, atol=1e-4))
