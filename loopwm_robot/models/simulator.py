"""The true MuJoCo model behind the planner's model interface: the upper bound that learned models are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor

from envs.arm_env import ArmEnv
from envs.stepping import EnvState
from planners import Trajectory


@dataclass(frozen=True)
class EnvStateAhead:
    """The state after some actions that are not simulated yet.

    Attributes:
        start: state of the environment before them.
        actions: (L, nu).
    """

    start: EnvState
    actions: Tensor


SimulatedState = EnvState | EnvStateAhead


def from_start(state: SimulatedState, actions: Tensor) -> tuple[EnvState, Tensor, int]:
    """A state of the environment, what follows it (N, L + H, nu), and the L actions that come before `actions`."""
    if isinstance(state, EnvState):
        return state, actions, 0
    before = state.actions.to(actions).expand(len(actions), -1, -1)
    return state.start, torch.cat([before, actions], 1), len(state.actions)


@dataclass(frozen=True)
class SimulatedTrajectory:
    """Observations that really follow from the candidates."""

    obs: Tensor  # (N, H, n_obs)

    def observations(self, columns: slice | None = None) -> Tensor:
        """Observations after each action (N, H, n) in physical units."""
        return self.obs if columns is None else self.obs[..., columns]

    def rewards(self) -> Tensor:
        """The simulator knows states, not rewards.

        Raises:
            ValueError: always; the analytic objective works.
        """
        raise ValueError(
            "planner.objective is 'learned_reward' with planner.model 'simulator', allowed 'analytic'; "
            "the simulator has no learned reward: set planner.objective=analytic"
        )


class SimulatorModel:
    """Rolls candidates out in the physics of one environment, from the state that environment is in.

    Args:
        env: the environment that is being controlled; only its state is read.
        nthread: threads of physics.

    Raises:
        ValueError: env is not one of our arm environments.
    """

    def __init__(self, env: gym.Env[Any, Any], nthread: int = 1) -> None:
        base = env.unwrapped
        if not isinstance(base, ArmEnv):
            raise ValueError(
                f"planner.model is 'simulator' with {type(base).__name__}, allowed the environments of envs/; "
                "use planner.model=learned"
            )
        self._env = base
        self._simulator = base.simulator(nthread)  # with its objects, and the hidden dynamics of its episode

    @property
    def nu(self) -> int:
        """Number of action dimensions."""
        return self._env.nu

    @property
    def ctrl_dt(self) -> float:
        """Duration of one action [s]."""
        return self._env.ctrl_dt

    def encode(self, obs: Tensor, goal: Tensor | None = None) -> EnvState:
        """The environment's present state; obs (1, n_obs) is not needed."""
        return self._env.get_state()

    def close(self) -> None:
        """End the physics threads."""
        self._simulator.close()

    def step(self, state: SimulatedState, action: Tensor) -> tuple[EnvStateAhead, None]:
        """The state after an action (1, nu). Rollouts from there simulate it once more with every candidate."""
        start, actions, _ = from_start(state, action[None])
        return EnvStateAhead(start, actions[0]), None

    def rollout(self, state: SimulatedState, actions: Tensor) -> Trajectory:
        """Simulate action sequences (N, H, nu)."""
        start, actions, before = from_start(state, actions)
        observations = self._simulator.rollout(
            start.physics, start.ref, actions.cpu().numpy(), self._env.action_mode, start.warmstart, start.pending
        )
        return SimulatedTrajectory(torch.from_numpy(observations)[:, before:])
