"""Environments of other packages that do the same work, where they are installed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

TASKS = ("Reach", "Push", "PickAndPlace")


class Stepped(Protocol):
    """What is timed, whatever its interface."""

    nu: int

    def reset(self, seed: int) -> None:
        """Begin an episode."""

    def step(self, action: NDArray[np.float64]) -> bool:
        """Run a control step with an action (nu,) in [-1, 1]; whether the episode is over."""

    def picture(self, size: int) -> NDArray[np.uint8]:
        """Draw (size, size, 3)."""

    def close(self) -> None:
        """Free everything."""


class Gymnasium:
    """An environment of Gymnasium's interface."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        self.env, self.nu = env, int(np.prod(env.action_space.shape or ()))
        space: Any = env.action_space
        self._middle, self._half = (space.low + space.high) / 2, (space.high - space.low) / 2

    def reset(self, seed: int) -> None:
        self.env.reset(seed=seed)

    def step(self, action: NDArray[np.float64]) -> bool:
        _, _, terminated, truncated, _ = self.env.step((self._middle + action * self._half).astype(np.float32))
        return terminated or truncated

    def picture(self, size: int) -> NDArray[np.uint8]:
        return np.asarray(self.env.render())

    def close(self) -> None:
        self.env.close()


class DmControl:
    """An environment of dm_control."""

    def __init__(self, env: Any) -> None:
        self.env, spec = env, env.action_spec()
        self.nu = int(spec.shape[0])
        self._middle, self._half = (spec.minimum + spec.maximum) / 2, (spec.maximum - spec.minimum) / 2

    def reset(self, seed: int) -> None:
        self.env.random_state.seed(seed)
        self.env.reset()

    def step(self, action: NDArray[np.float64]) -> bool:
        return bool(self.env.step(self._middle + action * self._half).last())

    def picture(self, size: int) -> NDArray[np.uint8]:
        return np.asarray(self.env.physics.render(size, size, camera_id=0))

    def close(self) -> None:
        self.env.close()


class Robosuite:
    """An environment of robosuite."""

    def __init__(self, env: Any) -> None:
        self.env, self.nu = env, int(env.action_dim)

    def reset(self, seed: int) -> None:
        self.env.reset()

    def step(self, action: NDArray[np.float64]) -> bool:
        return bool(self.env.step(action)[2])

    def picture(self, size: int) -> NDArray[np.uint8]:
        return np.asarray(self.env.sim.render(width=size, height=size))

    def close(self) -> None:
        self.env.close()


@dataclass(frozen=True)
class Peer:
    """A package and the environments of it that come closest to ours.

    Attributes:
        package: on PyPI.
        ids: name of its environment for some of `TASKS`.
        make: (name, size of pictures or 0 for none) -> environment.
        substeps: physics steps in a control step, of 2 ms, of 2.5 ms in Meta-World.
    """

    package: str
    ids: dict[str, str]
    make: Callable[[str, int], Stepped]
    substeps: int = 20

    @property
    def version(self) -> str | None:
        """Of what is installed; None where it is not."""
        try:
            return metadata.version(self.package)
        except metadata.PackageNotFoundError:
            return None


SUBSTEPS = 25
"""Physics steps in a control step of ours, where nothing else is asked for."""


def ours(name: str, size: int, substeps: int = SUBSTEPS) -> Stepped:
    """One of our environments by its id."""
    return Gymnasium(gym.make(name, **rate_of(substeps), **_pictures(size)))


def rate_of(substeps: int) -> dict[str, Any]:
    """Options of ours for a control step of so many physics steps, with as fast an arm."""
    return {"ctrl_dt": 0.002 * substeps, "action_scale": 0.003 * substeps}


def _pictures(size: int) -> dict[str, Any]:
    return {"render_mode": "rgb_array", "width": size, "height": size} if size else {}


def _robotics(name: str, size: int) -> Stepped:
    import gymnasium_robotics

    gym.register_envs(gymnasium_robotics)
    return Gymnasium(gym.make(name, **_pictures(size)))


def _dm_control(name: str, size: int) -> Stepped:
    from dm_control import manipulation

    return DmControl(manipulation.load(name, seed=0))


def _meta_world(name: str, size: int) -> Stepped:
    import metaworld  # noqa: F401 (registers its environments)

    return Gymnasium(gym.make("Meta-World/MT1", env_name=name, **_pictures(size)))


def _robosuite(name: str, size: int) -> Stepped:
    import robosuite

    options: dict[str, Any] = {"has_renderer": False, "has_offscreen_renderer": bool(size), "use_camera_obs": False}
    return Robosuite(robosuite.make(name, robots="Panda", **options))


PEERS = (
    Peer(
        "gymnasium-robotics",
        {"Reach": "FetchReach-v4", "Push": "FetchPush-v4", "PickAndPlace": "FetchPickAndPlace-v4"},
        _robotics,
    ),
    Peer("dm_control", {"Reach": "reach_site_features", "PickAndPlace": "place_brick_features"}, _dm_control),
    Peer("metaworld", {"Reach": "reach-v3", "Push": "push-v3", "PickAndPlace": "pick-place-v3"}, _meta_world, 5),
    Peer("robosuite", {"PickAndPlace": "Lift"}, _robosuite, 25),
)
