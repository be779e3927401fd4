"""Pictures as observations: a wrapper around the arm environments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from .arm_env import ArmEnv
from .looks import Look, LookRanges, ModelLook
from .rendering import SceneRenderer

OBS_MODES = ("image", "mixed")
FAR = 100.0
"""Greatest distance that `depth` shows [m]."""
LOOK_STREAM = 77
"""Keeps the random numbers of looks apart from those of the environment, which has the same seed."""


class PixelObservation(
    gym.Wrapper[dict[str, Any], NDArray[np.float32], dict[str, Any], NDArray[np.float32]],
    gym.utils.RecordConstructorArgs,
):
    """Adds pictures of the arm and its objects to the observation: "image", of further cameras "image_NAME".

    The goal is not drawn: what moves does not depend on what we want, and hindsight may replace it. With `looks` each
    reset draws a look from its own generator, so that seeds give the same episodes as without; `look` is the present
    one, and the reset option `look` chooses it.

    Args:
        env: an arm environment, wrapped or not.
        obs_mode: image (the picture replaces the vector) or mixed (it stands beside the vector).
        size: pixels of a side, a multiple of 2, 16 to 512.
        camera: name of a camera of the scene (main, top, front, left, right, table), or several.
        depth: also distances [m], under "depth", (size, size) of float32.
        segmentation: also what each pixel shows, under "segmentation", (size, size) of uint8; see `rendering.CLASSES`.
        looks: how far cameras, lights and colours differ from episode to episode; None not at all.

    Raises:
        ValueError: env is not one of ours, or the mode or the size is not allowed.
        RuntimeError: at the first reset, where no GL context can be opened on this machine.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        obs_mode: str = "mixed",
        size: int = 64,
        camera: str | Sequence[str] = "main",
        *,
        depth: bool = False,
        segmentation: bool = False,
        looks: LookRanges | None = None,
    ) -> None:
        more: dict[str, Any] = {"depth": depth, "segmentation": segmentation, "looks": looks}
        gym.utils.RecordConstructorArgs.__init__(self, obs_mode=obs_mode, size=size, camera=camera, **more)
        gym.Wrapper.__init__(self, env)
        base = env.unwrapped
        if not isinstance(base, ArmEnv):
            raise ValueError(
                f"PixelObservation got {type(base).__name__}, allowed the environments of envs/; for others use "
                "gymnasium.wrappers.AddRenderObservation"
            )
        if obs_mode not in OBS_MODES:
            raise ValueError(f"obs_mode is '{obs_mode}', allowed {', '.join(OBS_MODES)}")
        if not 16 <= size <= 512 or size % 2:
            raise ValueError(f"image size is {size} pixels, allowed even numbers in [16, 512]")
        self._cameras = (camera,) if isinstance(camera, str) else tuple(camera)
        if not self._cameras or len(set(self._cameras)) < len(self._cameras):
            raise ValueError(f"camera is {camera!r}, allowed one or more different names")
        self._base, self._size, self._keeps_vector = base, size, obs_mode == "mixed"
        self._depth, self._segmentation, self._looks = depth, segmentation, looks
        self.look = Look()
        self._draw_look = np.random.default_rng()
        self._model_look: ModelLook | None = None
        self._renderer: SceneRenderer | None = None
        space = env.observation_space
        if not isinstance(space, gym.spaces.Dict):
            raise ValueError(f"PixelObservation got observations {space}, allowed a Dict with the key 'observation'")
        parts = {name: part for name, part in space.spaces.items() if self._keeps_vector or name != "observation"}
        kinds: dict[str, gym.spaces.Box[Any]] = {"image": gym.spaces.Box(0, 255, (size, size, 3), np.uint8)}
        if depth:
            kinds["depth"] = gym.spaces.Box(0.0, np.float32(FAR), (size, size), np.float32)
        if segmentation:
            kinds["segmentation"] = gym.spaces.Box(0, 255, (size, size), np.uint8)
        pictures = {kind + end: box for end in self._ends() for kind, box in kinds.items()}
        self.observation_space = gym.spaces.Dict({**parts, **pictures})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """See Env.reset; the observation has a picture."""
        options = dict(options or {})
        look = options.pop("look", None)
        obs, info = self.env.reset(seed=seed, options=options)
        if seed is not None:
            self._draw_look = np.random.default_rng([seed, LOOK_STREAM])
        drawn = Look() if self._looks is None else self._looks.sample(self._draw_look)
        self.look = drawn if look is None else look
        self._eyes()[1].apply(self.look)
        return self._with_picture(obs), info

    def step(self, action: NDArray[np.float32]) -> Any:
        """See Env.step; the observation has a picture."""
        obs, *rest = self.env.step(action)
        return (self._with_picture(obs), *rest)

    def close(self) -> None:
        """Free the GL context, and close the environment."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
        super().close()

    def _eyes(self) -> tuple[SceneRenderer, ModelLook]:
        if self._renderer is None or self._model_look is None:
            base, size = self._base, self._size
            model = base.arm.load_model(visuals=True, edit=base.edit_scene, gripper=base.gripper)
            self._renderer = SceneRenderer(base.arm, size, size, self._cameras[0], model=model)
            self._model_look = ModelLook(model, self._renderer.kinds)
            self._model_look.apply(self.look)
        return self._renderer, self._model_look

    def _ends(self) -> list[str]:
        """What follows in the keys of each camera."""
        return ["", *(f"_{name}" for name in self._cameras[1:])]

    def _pictures(self) -> dict[str, NDArray[Any]]:
        renderer, qpos = self._eyes()[0], self._base.data.qpos
        self._base.dress(renderer.model)
        found: dict[str, NDArray[Any]] = {}
        for camera, end in zip(self._cameras, self._ends(), strict=True):
            renderer.use(camera)
            found["image" + end] = renderer.render(qpos)
            if self._depth:
                found["depth" + end] = np.minimum(renderer.depth(qpos), np.float32(FAR))
            if self._segmentation:
                found["segmentation" + end] = renderer.segmentation(qpos)
        return found

    def _with_picture(self, obs: dict[str, Any]) -> dict[str, Any]:
        kept = {name: part for name, part in obs.items() if self._keeps_vector or name != "observation"}
        return {**kept, **self._pictures()}
