"""Pictures: shape, content, overlays, errors."""

import numpy as np
import pytest

from envs import Marker, Polyline, ReachEnv, SceneRenderer, load_arm

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
    with pytest.raises(ValueError, match="'front' is unknown, known cameras: main"):
        SceneRenderer(arm, camera="front")
    with pytest.raises(ValueError, match="image size is 0 x 40 pixels"):
        SceneRenderer(arm, 0, 40)
    renderer = SceneRenderer(arm, 60, 40)
    with pytest.raises(ValueError, match=r"path has shape \(4, 2\)"):
        renderer.render(arm.home, [Polyline(np.zeros((4, 2)))])
    renderer.close()
    with pytest.raises(RuntimeError, match="closed"):
        renderer.render(arm.home)


def test_machine_without_gl_gets_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setitem(__import__("sys").modules, "mujoco.glfw", None)
    with pytest.raises(RuntimeError, match="set MUJOCO_GL to egl or osmesa"):
        SceneRenderer(load_arm("panda"), 60, 40)
