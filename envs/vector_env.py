"""Many environments of one task as one: Gymnasium's `VectorEnv` with native physics and batched numpy around it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from .action import JointReference
from .batch_physics import BatchPhysics, usable_cores
from .checks import checked_actions
from .control_modes import set_points
from .dynamics import ModelDynamics
from .observation import arm_observation
from .randomize import NOMINAL
from .stepping import NUM_HOLDS, EnvState, hold_fractions
from .tasks.goal import GoalEnv
from .warp_physics import WarpPhysics

FloatArray = NDArray[np.float64]
PHYSICS = ("mujoco", "warp")
Observations = dict[str, NDArray[np.float32]]
Step = tuple[Observations, FloatArray, NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]


class ArmVectorEnv(VectorEnv[Observations, NDArray[np.float32], NDArray[Any]]):
    """N environments of a task that is `batched`, each bit by bit what the single one with its seed is.

    References, observations, rewards and `info` are computed for all at once; Python loops over environments only where
    episodes begin.
    """

    def __init__(
        self,
        task: type[GoalEnv],
        num_envs: int = 1,
        *,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        threads: int | None = None,
        physics: str = "mujoco",
        device: str | None = None,
        **options: Any,
    ) -> None:
        """Make the environments.

        Args:
            task: class of the single environment.
            num_envs: how many, N.
            max_episode_steps: control steps after which an episode is truncated; None for never.
            autoreset_mode: `NextStep` (the step after the last one of an episode resets and ignores its action),
                `SameStep` (the last one resets, `info["final_obs"]` holds the true last observation) or `Disabled`.
            threads: of physics; None takes as many as there are cores.
            physics: `mujoco`, or `warp` for MuJoCo Warp: on a GPU, in single precision, so near the single environment
                and not bit by bit.
            device: of Warp, such as cuda:0; None takes a GPU where there is one.
            **options: of the single environment.

        Raises:
            ValueError: the task is not batched, a name is unknown, a number is out of range, or MuJoCo Warp does not
                know something in the scene.
            ImportError: MuJoCo Warp is not installed.
        """
        if physics not in PHYSICS:
            raise ValueError(f"physics is '{physics}', allowed {', '.join(PHYSICS)}")
        if not task.__dict__.get("batched"):
            raise ValueError(f"{task.__name__} is not batched; make it with vectorization_mode='sync' or 'async'")
        for name, value in (("num_envs", num_envs), ("threads", 1 if threads is None else threads)):
            if value < 1:
                raise ValueError(f"{name} is {value}, must be at least 1")
        self.single = task(**options)
        if not self.single.exact:
            raise ValueError(
                f"{task.__name__} with observation_noise, observation_delay or rate_jitter is not batched; make it "
                "with vectorization_mode='sync' or 'async'"
            )
        self.num_envs, self.max_episode_steps = num_envs, max_episode_steps
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**self.single.metadata, "autoreset_mode": self.autoreset_mode}
        self.render_mode = self.single.render_mode
        self.single_observation_space = self.single.observation_space
        self.single_action_space = self.single.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

        single, num = self.single, num_envs
        model = single.arm.load_model(edit=self._edit, gripper=single.gripper)
        models = [model] * num if single.randomize is None else [copy.copy(model) for _ in range(num)]
        self._dynamics = [] if single.randomize is None else [ModelDynamics(m, single.arm) for m in models]
        cores = usable_cores() if threads is None else threads
        # Tool centre point first; other positions of sites that are sensed are observed behind the robot.
        sensed = [int(model.sensor_objid[i]) for i in range(model.nsensor) if int(model.sensor_type[i]) == _POSITION]
        tip = int(model.site(single.arm.ee_site).id)
        sites = [tip, *(number for number in sensed if number != tip)]
        substeps = single.n_substeps // NUM_HOLDS
        self.physics: BatchPhysics | WarpPhysics
        if physics == "warp":
            self.physics = WarpPhysics(models, sites, substeps, device)
        else:
            self.physics = BatchPhysics(models, sites, substeps, cores)
        self._touch_columns = [
            int(model.sensor_adr[i]) for i in range(model.nsensor) if int(model.sensor_type[i]) == _CONTACT
        ]
        self._fractions = hold_fractions()
        self._n, self._moving = single.arm.n, single.arm.n + single.fingers.n
        self._nq, self._nv = int(model.nq), int(model.nv)
        self._ref = JointReference(np.zeros((num, self._n)), np.zeros((num, self._n)))
        self._goals = np.zeros((num, 3), dtype=np.float32)
        self._true = [NOMINAL] * num
        longest = 0 if single.randomize is None else single.randomize.delay[1]
        self._given = np.zeros((longest + 1, num, single.nu))  # actions, the latest first
        self._delays = np.zeros(num, dtype=np.intp)
        self._elapsed = np.zeros(num, dtype=np.int64)
        self._over = np.ones(num, dtype=bool)
        self._started = np.zeros(num, dtype=bool)
        self._random: list[tuple[np.random.Generator | None, int | None]] = [(None, None)] * num

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Start new episodes.

        Args:
            seed: of environment i is `seed` + i, or the i-th of a sequence.
            options: of the single environment, for each; `reset_mask` (N,) of bool restarts only some.

        Returns:
            Observations and info.

        Raises:
            ValueError: the seeds or the mask have another length, or an option is refused.
        """
        num, options = self.num_envs, dict(options or {})
        mask = np.asarray(options.pop("reset_mask", np.ones(num, dtype=bool)))
        if mask.shape != (num,) or mask.dtype != np.bool_ or not mask.any():
            raise ValueError(f"reset_mask has shape {mask.shape} of {mask.dtype}, need ({num},) of bool, not all false")
        if not (mask | self._started).all():
            raise ValueError("reset_mask leaves out environments that were never reset; reset all of them first")
        if seed is None or isinstance(seed, int):
            seed = [None if seed is None else seed + i for i in range(num)]
        if len(seed) != num:
            raise ValueError(f"{len(seed)} seeds for {num} environments; give one number, or one for each")
        begun = {i: self._begin(i, seed[i], options) for i in np.flatnonzero(mask).tolist()}
        obs, infos = self._observe(), dict[str, Any]()
        for i, (first, info) in begun.items():
            self._put(obs, i, first)
            infos = self._add_info(infos, info, i)
        return obs, infos

    def step(self, actions: ArrayLike) -> Step:
        """Run one control step in all environments.

        Args:
            actions: (N, nu) in [-1, 1].

        Returns:
            Observations, rewards (N,), terminated (N,), truncated (N,), info.

        Raises:
            ValueError: the actions have another shape or are not finite.
            RuntimeError: an episode is over and nothing resets it, or none has begun.
        """
        num, single = self.num_envs, self.single
        given = checked_actions(actions, (num, single.nu), single.control_mode)
        over = self._over.copy()
        if over.any() and (self.autoreset_mode != AutoresetMode.NEXT_STEP or not self._started.all()):
            raise RuntimeError(f"episodes of environments {np.flatnonzero(over).tolist()} are over; reset them first")
        going = ~over
        self._advance(given, np.flatnonzero(going))
        self._elapsed += 1
        obs = self._observe()
        goals = obs["achieved_goal"], obs["desired_goal"]
        rewards, values = single.judge(*goals)
        terminated = np.asarray(single.compute_terminated(*goals, None)) & going
        truncated = going & (self.max_episode_steps is not None and self._elapsed >= self.max_episode_steps)
        self._over = terminated | truncated
        values |= single.batch_info(self.physics.sensors[:, :, self._touch_columns])
        infos: dict[str, Any] = {}
        for name, value in values.items():
            infos[name], infos[f"_{name}"] = value, going.copy()
        for i in np.flatnonzero(over).tolist():  # the next step after the end
            first, info = self._begin(i, None, {})
            self._put(obs, i, first)
            rewards[i] = 0.0
            infos = self._add_info(infos, info, i)
        if self.autoreset_mode == AutoresetMode.SAME_STEP:
            for i in np.flatnonzero(self._over).tolist():
                last = {name: value[i].item() for name, value in values.items()}
                final = {name: value[i].copy() for name, value in obs.items()}
                first, info = self._begin(i, None, {})
                self._put(obs, i, first)
                infos = self._add_info(infos, {"final_obs": final, "final_info": last}, i)
                infos = self._add_info(infos, info, i)
        return obs, rewards, terminated, truncated, infos

    def state(self, i: int) -> EnvState:
        """State of environment i, for `set_state` of a single one."""
        delay = int(self._delays[i])
        return EnvState(
            self.physics.state[i].copy(),
            self.physics.warmstart[i].copy(),
            JointReference(self._ref.q[i].copy(), self._ref.dq[i].copy()),
            self._goals[i].astype(np.float64),
            self._given[:delay, i][::-1].copy(),
            self._true[i],
        )

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """Pictures of the environments, each (height, width, 3) uint8; None when `render_mode` is None."""
        if self.render_mode is None:
            return None
        pictures = []
        for i in range(self.num_envs):
            self.single.set_state(self.state(i))
            pictures.append(self.single.render())
        return tuple(picture for picture in pictures if picture is not None)

    def close_extras(self, **kwargs: Any) -> None:
        """Stop the threads and free the GL context, if any."""
        self.physics.close()
        self.single.close()

    # -- inside ----------------------------------------------------------------

    def _edit(self, spec: mujoco.MjSpec) -> None:
        self.single.edit_scene(spec)
        self.single.touch_sensors(spec)

    def _begin(self, i: int, seed: int | None, options: dict[str, Any]) -> tuple[Observations, dict[str, Any]]:
        """Start an episode of environment i in the single one, and take it over."""
        single = self.single
        single._np_random, single._np_random_seed = self._random[i]
        obs, info = single.reset(seed=seed, options=options)
        self._random[i] = single._np_random, single._np_random_seed
        state = single.get_state()
        if self._dynamics:
            self._dynamics[i].apply(state.dynamics)
        self.physics.place(i, state.physics, state.warmstart)
        self._ref.q[i], self._ref.dq[i] = state.ref.q, state.ref.dq
        self._goals[i] = single.goal
        self._given[:, i], self._delays[i], self._true[i] = 0.0, state.dynamics.delay, state.dynamics
        self._elapsed[i], self._over[i], self._started[i] = 0, False, True
        return obs, info

    def _advance(self, given: FloatArray, rows: NDArray[np.intp]) -> None:
        """Move references and physics by one control step; only that of `rows` counts."""
        single, mode, n = self.single, self.single.action_mode, self._n
        self._given[1:] = self._given[:-1]
        self._given[0] = given
        executed = self._given[self._delays, np.arange(self.num_envs)]  # (N, nu)
        targets, ref = set_points(mode, self._ref, executed[:, : mode.nu], self._fractions)
        self.physics.ctrl[..., :n] = targets
        if self._moving > n:
            self.physics.ctrl[..., n:] = single.fingers.targets(executed[:, -1])[:, None]
        self.physics.step(rows)
        if ref is None:
            _, qpos, qvel = self._split()
            ref = JointReference(qpos[:, :n].copy(), qvel[:, :n].copy())
        self._ref = ref

    def _split(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Time (N,), positions (N, nq) and velocities (N, nv)."""
        state, nq = self.physics.state, self._nq
        return state[:, 0], state[:, 1 : 1 + nq], state[:, 1 + nq : 1 + nq + self._nv]

    def _observe(self) -> Observations:
        single, n, moving = self.single, self._n, self._moving
        time, qpos, qvel = self._split()
        tip, others = self.physics.sites[:, 0], self.physics.sites[:, 1:]
        parts = [arm_observation(qpos[:, :n], qvel[:, :n], self._ref, tip)]
        if moving > n:
            parts.append(single.fingers.observe(qpos[:, n:moving], qvel[:, n:moving]))
        parts.append(others.reshape(len(others), -1).astype(np.float32))
        parts.append(single.surroundings(time, qpos[:, moving:], qvel[:, moving:]))
        vectors = np.concatenate(parts, axis=-1)
        achieved = vectors[:, single.goal_columns].copy()
        return {"observation": vectors, "achieved_goal": achieved, "desired_goal": self._goals.copy()}

    def _put(self, obs: Observations, i: int, first: Observations) -> None:
        for name, value in first.items():
            obs[name][i] = value


_POSITION = int(mujoco.mjtSensor.mjSENS_FRAMEPOS)
_CONTACT = int(getattr(mujoco.mjtSensor, "mjSENS_CONTACT", -1))
