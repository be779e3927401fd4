"""Pictures: shape, content, overlays, errors."""

import sys

import numpy as np
import pytest

from envs import Marker, Polyline, ReachEnv, SceneRenderer, load_arm
from envs.gl import backends, open_context

PATH = np.stack([np.linspace(0.3, 0.6, 10), np.zeros(10), np.full(10, 0.4)], axis=1)


def test_picture_of_the_environment() -> None:
    env = ReachEnv(render_mode="rgb_array", width=120, height=80)
    env.reset(seed=0)
    first = env.render()
    assert first.shape == (80, 120, 3) and first.dtype == np.uint8
    assert first.std() > 10 and len(np.unique(first.reshape(-1, 3), axis=0)) > 100
    before = first.copy()
    state = env.get_state()
    for _ in range(10):
        env.step(np.full(7, -1.0))
    assert (env.render() != before).any()
    np.testing.assert_array_equal(first, before)  # a picture handed out is never drawn over
    env.set_state(state)
    np.testing.assert_array_equal(env.render(), before)
    env.close()
    env.close()
    np.testing.assert_array_equal(env.render(), before)  # opens a new context
    env.close()


def test_paths_are_drawn_in_their_colour() -> None:
    env = ReachEnv(render_mode="rgb_array", width=120, height=80)
    env.reset(seed=0)
    plain = env.render()
    drawn = env.render(overlay=[(PATH, (1.0, 0.0, 0.0, 1.0), 0.01)])
    changed = (plain != drawn).any(axis=-1)
    assert 20 < changed.sum() < 0.1 * changed.size
    pixels = drawn[changed].astype(int)
    assert np.median(pixels[:, 0] - pixels[:, 2]) > 50
    np.testing.assert_array_equal(env.render(), plain)
    env.close()


def test_goal_is_visible() -> None:
    env = ReachEnv(render_mode="rgb_array", width=240, height=180)
    env.reset(seed=0, options={"goal": (0.6, -0.2, 0.3)})
    image = env.render().astype(int)
    green = (image[..., 1] > image[..., 0] + 40) & (image[..., 1] > image[..., 2] + 40)
    assert green.sum() > 40
    env.close()


def test_render_mode_none_draws_nothing() -> None:
    env = ReachEnv()
    env.reset(seed=0)
    assert env.render() is None


@pytest.mark.parametrize("options", ({"shadows": True}, {"samples": 4}))
def test_slower_and_finer_pictures(options: dict) -> None:
    arm = load_arm("panda")
    images = []
    for extra in ({}, options):
        renderer = SceneRenderer(arm, 60, 40, **extra)
        images.append(renderer.render(arm.home, [Polyline(PATH)], [Marker((0.5, 0.0, 0.3))]))
        renderer.close()
    assert images[0].shape == images[1].shape and (images[0] != images[1]).any()


def test_full_scene_leaves_the_rest_out() -> None:
    arm = load_arm("panda")
    renderer = SceneRenderer(arm, 60, 40, max_geom=10)
    assert renderer.render(arm.home, [Polyline(PATH)], [Marker((0.5, 0.0, 0.3))]).std() > 0
    renderer.close()


def test_errors() -> None:
    arm = load_arm("panda")
    with pytest.raises(ValueError, match="'back' is unknown, known cameras: main, top, front"):
        SceneRenderer(arm, camera="back")
    with pytest.raises(ValueError, match="image size is 0 x 40 pixels"):
        SceneRenderer(arm, 0, 40)
    renderer = SceneRenderer(arm, 60, 40)
    with pytest.raises(ValueError, match=r"path has shape \(4, 2\)"):
        renderer.render(arm.home, [Polyline(np.zeros((4, 2)))])
    renderer.close()
    with pytest.raises(RuntimeError, match="closed"):
        renderer.render(arm.home)


def test_every_view_shows_the_arm_and_none_the_same() -> None:
    pictures = []
    for camera in ("main", "top", "front", "left", "right", "table"):
        env = ReachEnv("so101", render_mode="rgb_array", width=96, height=72, camera=camera)
        env.reset(seed=0)
        image = env.render().astype(int)
        env.close()
        yellow = (image[..., 0] > image[..., 2] + 60) & (image[..., 1] > image[..., 2] + 40)
        assert yellow.sum() > 10, camera
        pictures.append(image)
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


class FakeContext:
    """Of a back end that works, or does not."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def GLContext(self, width: int, height: int) -> "FakeContext":
        if self.error is not None:
            raise self.error
        self.size = (width, height)
        return self

    def make_current(self) -> None:
        self.current = True


def test_the_first_back_end_that_works_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    works = FakeContext()
    monkeypatch.setitem(sys.modules, "mujoco.egl", FakeContext(ImportError("no libEGL")))
    monkeypatch.setitem(sys.modules, "mujoco.osmesa", works)
    assert open_context(60, 40) is works and works.size == (60, 40) and works.current
    monkeypatch.setitem(sys.modules, "mujoco.osmesa", FakeContext(AttributeError("no\nglGetError")))
    wanted = r"no GL context .* tried egl: no libEGL \(.*libegl1\); osmesa: no glGetError \(.*libosmesa6\); install one"
    with pytest.raises(RuntimeError, match=wanted):
        SceneRenderer(load_arm("panda"), 60, 40)


@pytest.mark.parametrize(
    ("environ", "platform", "names"),
    [
        ({}, "linux", ("egl", "osmesa")),
        ({"DISPLAY": ":0"}, "linux", ("glfw", "egl", "osmesa")),
        ({"DISPLAY": ":0", "MUJOCO_GL": "EGL"}, "linux", ("egl",)),
        ({}, "darwin", ("cgl",)),
    ],
)
def test_what_is_tried(environ: dict[str, str], platform: str, names: tuple[str, ...]) -> None:
    assert backends(environ, platform) == names


@pytest.mark.parametrize(
    ("value", "message"),
    [("off", "MUJOCO_GL is 'off', which switches drawing off"), ("vulkan", "allowed egl, osmesa, glfw, cgl, or unset")],
)
def test_what_cannot_draw_is_refused(value: str, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        backends({"MUJOCO_GL": value}, "linux")
