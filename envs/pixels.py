"""Pictures as observations: a wrapper around the arm environments."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from .arm_env import ArmEnv
from .rendering import SceneRenderer

OBS_MODES = ("image", "mixed")


class PixelObservation(
    gym.Wrapper[dict[str, Any], NDArray[np.float32], dict[str, Any], NDArray[np.float32]],
    gym.utils.RecordConstructorArgs,
):
    """Adds a picture of the arm and its objects to the observation, under the key "image".

    The goal is not drawn: what moves does not depend on what we want, and hindsight may replace it.

    Args:
        env: an arm environment, wrapped or not.
        obs_mode: image (the picture replaces the vector) or mixed (it stands beside the vector).
        size: pixels of a side, a multiple of 2, 16 to 512.
        camera: name of a camera in the arm's MJCF.

    Raises:
        ValueError: env is not one of ours, or the mode or the size is not allowed.
        RuntimeError: at the first reset, where no GL context can be opened on this machine.
    """

    def __init__(self, env: gym.Env[Any, Any], obs_mode: str = "mixed", size: int = 64, camera: str = "main") -> None:
        gym.utils.RecordConstructorArgs.__init__(self, obs_mode=obs_mode, size=size, camera=camera)
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
        self._base, self._size, self._camera, self._keeps_vector = base, size, camera, obs_mode == "mixed"
        self._renderer: SceneRenderer | None = None
        space = env.observation_space
        if not isinstance(space, gym.spaces.Dict):
            raise ValueError(f"PixelObservation got observations {space}, allowed a Dict with the key 'observation'")
        parts = {name: part for name, part in space.spaces.items() if self._keeps_vector or name != "observation"}
        picture = gym.spaces.Box(0, 255, (size, size, 3), np.uint8)
        self.observation_space = gym.spaces.Dict({**parts, "image": picture})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """See Env.reset; the observation has a picture."""
        obs, info = self.env.reset(seed=seed, options=options)
        return self._with_picture(obs), info

    def step(self, action: NDArray[np.float32]) -> Any:
        """See Env.step; the observation has a picture."""
        obs, *rest = self.env.step(action)
        return (self._with_picture(obs), *rest)

    def picture(self) -> NDArray[np.uint8]:
        """Picture (size, size, 3) of the present state."""
        if self._renderer is None:
            model = self._base.arm.load_model(visuals=True, edit=self._base.edit_scene)
            self._renderer = SceneRenderer(self._base.arm, self._size, self._size, self._camera, model=model)
        return self._renderer.render(self._base.data.qpos)

    def close(self) -> None:
        """Free the GL context, and close the environment."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
        super().close()

    def _with_picture(self, obs: dict[str, Any]) -> dict[str, Any]:
        kept = {name: part for name, part in obs.items() if self._keeps_vector or name != "observation"}
        return {**kept, "image": self.picture()}
