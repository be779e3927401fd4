"""The simulator with other dynamics than the true ones: deliberately wrong, or several that were drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs.dynamics import ModelDynamics, add_payload
from envs.randomize import Dynamics, find_ranges
from planners import EnsembleTrajectory, Trajectory

from .simulator import SimulatedState, SimulatedTrajectory, SimulatorModel, from_start
from .simulator_config import SimulatorConfig


class BelievingSimulator(SimulatorModel):
    """Simulates candidates with the dynamics that it believes in, from the true state.

    Args:
        env: the environment that is being controlled; only its state is read.
        config: the beliefs.
        nthread: threads of physics.

    Attributes:
        drawn: the dynamics that were drawn, before what is fixed in all of them; empty where none were.

    Raises:
        ValueError: env is not one of our arm environments.
    """

    def __init__(self, env: gym.Env[Any, Any], config: SimulatorConfig, nthread: int = 1) -> None:
        super().__init__(env, nthread)
        self._simulator.close()  # the true one
        self.config = config
        ranges = find_ranges(config.ranges)
        rng = np.random.default_rng(config.seed)
        self.drawn = [] if ranges is None else [ranges.sample(rng) for _ in range(config.randomised)]
        model = self._env.arm.load_model(edit=self._edit, gripper=self._env.gripper)
        self._dynamics = ModelDynamics(model, self._env.arm)
        self._simulator = self._env.simulator(nthread, model)

    def beliefs(self, truth: Dynamics) -> list[Dynamics]:
        """The dynamics to simulate, where `truth` is how the arm really is."""
        fixed: dict[str, Any] = self.config.fixed
        return [replace(dynamics, **fixed) for dynamics in self.drawn or [truth]]

    def rollout(self, state: SimulatedState, actions: Tensor) -> Trajectory:
        """Simulate action sequences (N, H, nu); an `EnsembleTrajectory` where several dynamics are believed in."""
        start, actions, before = from_start(state, actions)
        candidates, parts = actions.cpu().numpy(), []
        for dynamics in self.beliefs(start.dynamics):
            self._dynamics.apply(dynamics)
            queue = believed_queue(start.pending, dynamics.delay, self.nu)
            observations = self._simulator.rollout(
                start.physics, start.ref, candidates, self._env.action_mode, start.warmstart, queue
            )
            parts.append(SimulatedTrajectory(torch.from_numpy(observations)[:, before:]))
        return parts[0] if len(parts) == 1 else EnsembleTrajectory(parts)

    def _edit(self, spec: mujoco.MjSpec) -> None:
        self._env.edit_scene(spec)
        if self._env.randomize is None:  # otherwise it has one
            add_payload(spec, self._env.arm)


def believed_queue(pending: NDArray[np.float64], delay: int, nu: int) -> NDArray[np.float64]:
    """Actions that wait to be executed (delay, nu), oldest first, in the eyes of who believes in another delay.

    The latest of those that really wait; earlier ones are gone, and count as zeros.
    """
    queue = np.zeros((delay, nu))
    known = min(delay, len(pending))
    if known:
        queue[-known:] = pending[-known:]
    return queue
