"""What a critic may know in training and a policy may not: the true state and the hidden dynamics."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from .arm_env import ArmEnv
from .randomize import DYNAMICS_UNITS


class PrivilegedObservation(
    gym.Wrapper[dict[str, Any], NDArray[np.float32], dict[str, Any], NDArray[np.float32]],
    gym.utils.RecordConstructorArgs,
):
    """Adds the key "privileged": the observation vector without noise and delay, then `Dynamics.vector` of the episode.

    The other keys stay as they are, so that a policy that reads them alone can be deployed.

    Args:
        env: an arm environment, wrapped or not.

    Raises:
        ValueError: env is not one of ours.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        base, space = env.unwrapped, env.observation_space
        if not isinstance(base, ArmEnv) or not isinstance(space, gym.spaces.Dict):
            raise ValueError(
                f"PrivilegedObservation got {type(base).__name__} with {space}, allowed the environments of envs/ "
                "with their Dict observations"
            )
        self._base, true = base, base.vector_space()
        # Dynamics that are chosen in a reset may lie far outside the box that -1 and 1 stand for.
        far = np.full(len(DYNAMICS_UNITS), np.float32(1e3))
        low, high = np.concatenate([true.low, -far]), np.concatenate([true.high, far])
        box = gym.spaces.Box(low, high, dtype=np.float32)
        self.observation_space = gym.spaces.Dict({**space.spaces, "privileged": box})

    def groups(self) -> dict[str, slice]:
        """Columns of "privileged" by name: those of the observation vector, then one for each hidden parameter."""
        start = len(self._base.vector_space().low)
        hidden = {f"dynamics_{name}": slice(start + i, start + i + 1) for i, name in enumerate(DYNAMICS_UNITS)}
        return {**self._base.column_groups(), **hidden}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """See Env.reset; the observation has the truth."""
        obs, info = self.env.reset(seed=seed, options=options)
        return self._with_truth(obs), info

    def step(self, action: NDArray[np.float32]) -> Any:
        """See Env.step; the observation has the truth."""
        obs, *rest = self.env.step(action)
        return (self._with_truth(obs), *rest)

    def _with_truth(self, obs: dict[str, Any]) -> dict[str, Any]:
        hidden = self._base.dynamics.vector(self._base.randomize)
        return {**obs, "privileged": np.concatenate([self._base.vector_observation(), hidden])}
