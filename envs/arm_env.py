"""Gymnasium environment of a position-controlled arm; tasks add goals and rewards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import gymnasium as gym
import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .action import JointDelta, JointReference
from .arms.arm import Arm, load_arm
from .checks import check_rates, checked_action, checked_start
from .control_modes import CONTROL_MODES, ActionMode, action_names, make_action_mode, servos_off, set_points
from .dynamics import ModelDynamics, add_payload
from .fingers import GRIPPER_UNITS, Fingers
from .kinematics import ArmKinematics
from .observation import arm_observation, observation_groups, observation_size, observation_tokens
from .pickling import Pickled
from .randomize import NOMINAL, Dynamics, DynamicsRanges, find_ranges
from .rendering import Marker, Polyline, SceneRenderer
from .sensors import Sensors
from .simulator import BatchSimulator
from .stepping import NUM_HOLDS, PHYSICS_STATE, EnvState, hold_fractions, substeps_per_hold
from .workspace import find_workspace

FloatArray = NDArray[np.float64]
Observation = dict[str, NDArray[np.float32]]


class ArmEnv(Pickled, gym.Env[Observation, NDArray[np.float32]]):
    """Base of the arm tasks: physics, action modes, start poses, observation vector, pictures, state."""

    gripper: ClassVar[bool] = False
    """Whether the fingers move: one more action, from closed (-1) to open (1), and two more columns to observe."""
    batched: ClassVar[bool] = False
    """Whether `ArmVectorEnv` may step many at once. Each class says so for itself, once its `surroundings` depend on
    nothing but their arguments, its contacts are seen by `touch_sensors`, and `batch_info` makes of them what
    `task_info` says."""
    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012 (declared as an instance variable by gym.Env)

    def __init__(
        self,
        arm: str = "panda",
        control_mode: str = "joint_delta",
        render_mode: str | None = None,
        *,
        ctrl_dt: float = 0.05,
        action_scale: float = 0.075,
        ddq_max: float = 7.5,
        cartesian_scale: float = 0.02,
        start_noise: float = 0.25,
        randomize: DynamicsRanges | str | None = None,
        observation_noise: Mapping[str, float] | None = None,
        observation_delay: int = 0,
        rate_jitter: float = 0.0,
        width: int = 480,
        height: int = 360,
        camera: str = "main",
        samples: int = 0,
    ) -> None:
        """Load the arm.

        Args:
            arm: name of an arm, see `known_arms`, or the path of a YAML file that describes one.
            control_mode: one of `envs.control_modes.CONTROL_MODES`: `joint_delta`, `joint_position`, `joint_velocity`,
                `joint_torque` (action (n,)), `cartesian_delta` or `cartesian_position` (action (3,), of the tool
                centre point).
            render_mode: None or `rgb_array`.
            ctrl_dt: control step [s], a multiple of five physics steps.
            action_scale: joint displacement per control step at full action, in every mode but `joint_velocity`
                and `joint_torque` the greatest one [rad].
            ddq_max: acceleration limit of the reference [rad/s^2].
            cartesian_scale: tip displacement per control step at full action, for `cartesian_position` the greatest
                one [m].
            start_noise: half width of the uniform noise around the home pose at reset [rad].
            randomize: what the dynamics of each episode are drawn from: ranges, `training` or `unseen`
                (see `envs.randomize`), or the path of a YAML file of ranges. None is the arm of the MJCF.
            observation_noise: standard deviation by group of `column_groups`, in its unit, e.g. {"q": 0.001}.
            observation_delay: control steps by which observations are late; the goal is not.
            rate_jitter: every control step takes up to this share more or less time, uniformly, in [0, 0.5].
            width: of rendered images [pixels].
            height: of rendered images [pixels].
            camera: name of a camera in the arm's MJCF.
            samples: multisampling of edges, 0 or 4; smoother, and several times slower in software.

        Raises:
            ValueError: a name is unknown or a number is out of range.
        """
        if control_mode not in CONTROL_MODES:
            raise ValueError(
                f"control_mode {control_mode!r} is unknown, known modes: {', '.join(CONTROL_MODES)}"
            )
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(f"render_mode {render_mode!r} is unknown, known modes: None, rgb_array")
        if not 0.0 <= start_noise <= 1.0:
            raise ValueError(f"start_noise is {start_noise} rad, allowed [0, 1] rad")
        if not 0.0 <= rate_jitter <= 0.5:
            raise ValueError(f"rate_jitter is {rate_jitter}, allowed [0, 0.5] of a control step")
        self.arm: Arm = load_arm(arm)
        self.workspace = find_workspace(self.arm)
        self.control_mode = control_mode
        self.render_mode = render_mode
        self.ctrl_dt = float(ctrl_dt)
        self.start_noise, self.rate_jitter = float(start_noise), float(rate_jitter)
        self.randomize = find_ranges(randomize)
        self.model = self.arm.load_model(edit=self.edit_scene, gripper=self.gripper)
        self.data = mujoco.MjData(self.model)
        self.n_substeps = substeps_per_hold(self.model, self.ctrl_dt) * NUM_HOLDS
        check_rates(action_scale, ctrl_dt, ddq_max, self.arm)
        self.kinematics = ArmKinematics(self.arm)
        self.joint_delta = JointDelta(self.arm.q_min, self.arm.q_max, action_scale, ddq_max, ctrl_dt)
        self.action_mode: ActionMode = make_action_mode(
            control_mode, self.arm, self.joint_delta, self.kinematics, self.posture, self.workspace, cartesian_scale
        )
        self.fingers = Fingers(self.arm, self.gripper)
        names = action_names(control_mode, self.arm)
        self._action_names = (*names, "gripper") if self.gripper else names
        self.nu = len(self._action_names)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (self.nu,), np.float32)
        self.ref = JointReference(self.arm.home.copy(), np.zeros(self.arm.n))
        self._model_dynamics = None if self.randomize is None else ModelDynamics(self.model, self.arm)
        self._dynamics = NOMINAL
        self._pending = np.zeros((0, self.nu))

        self._hold_substeps = self.n_substeps // NUM_HOLDS
        self._fractions = hold_fractions()
        # Views into MuJoCo's own memory: attribute access on MjData makes a new array each time.
        n = self.arm.n
        self._qpos, self._qvel, self._ctrl = self.data.qpos[:n], self.data.qvel[:n], self.data.ctrl[:n]
        hand = slice(n, n + self.fingers.n)
        self._hand_qpos, self._hand_qvel = self.data.qpos[hand], self.data.qvel[hand]
        self._hand_ctrl = self.data.ctrl[hand]
        self._object_qpos, self._object_qvel = self.data.qpos[hand.stop :], self.data.qvel[hand.stop :]
        self._ee_pos = self.data.site_xpos[int(self.model.site(self.arm.ee_site).id)]
        self._picture = (int(width), int(height), camera)
        self._samples = int(samples)
        self._renderer: SceneRenderer | None = None
        groups, space = self.column_groups(), self.vector_space()
        self._sensors = Sensors(observation_noise, observation_delay, groups, space, self.kinematics)

    # -- for tasks ------------------------------------------------------------

    def edit_scene(self, spec: mujoco.MjSpec) -> None:
        """Add to the arm's MJCF before it is compiled; tasks add their objects after calling this one."""
        if self.workspace.scale != 1.0:  # the same view of a smaller arm
            for camera in spec.cameras:
                camera.pos = self.workspace.scale * np.array(camera.pos)
        if self.randomize is not None:
            add_payload(spec, self.arm)
        if self.control_mode == "joint_torque":
            servos_off(spec, self.arm)

    @property
    def posture(self) -> FloatArray:
        """Joint pose (n,) [rad] that the Cartesian modes stay close to."""
        return self.arm.home

    @property
    def exact(self) -> bool:
        """Whether observations are what is, at once, and control steps take their time."""
        return self._sensors.perfect and not self.rate_jitter

    def touch_sensors(self, spec: mujoco.MjSpec) -> None:
        """Add the contact sensors of the task, for `batch_info`; see `envs.touch`."""

    def batch_info(self, touches: FloatArray) -> dict[str, NDArray[Any]]:
        """Entries of `info` of many environments at once.

        Args:
            touches: readings of `touch_sensors` after each set-point (N, NUM_HOLDS, sensors).

        Returns:
            Arrays (N,) of what a single environment says of the same step.
        """
        return {}

    def after_hold(self) -> None:
        """Called after the physics steps of each set-point, `NUM_HOLDS` times per control step."""

    @property
    def robot_columns(self) -> int:
        """Columns of the observation that describe the robot; those of objects follow."""
        return observation_size(self.arm.n) + (len(GRIPPER_UNITS) if self.gripper else 0)

    def vector_space(self) -> gym.spaces.Box:
        """Bounds of the observation vector.

        They are wide enough for contact and tracking errors, and finite as Gymnasium wishes.
        """
        n, joints = self.arm.n, self.joint_delta
        high = np.empty(observation_size(n))
        low = np.empty_like(high)
        groups = observation_groups(n)
        low[groups["q"]], high[groups["q"]] = joints.q_min - 0.5, joints.q_max + 0.5
        # Released from contact, joints overshoot their rating.
        high[groups["dq"]] = np.maximum(20.0 * self.arm.dq_max, self.action_mode.dq_max)
        high[groups["q_error"]] = joints.q_max - joints.q_min + 0.5
        high[groups["ref_dq"]] = self.action_mode.dq_max + 1e-6
        high[groups["ee_pos"]] = 2.0
        for name in ("dq", "q_error", "ref_dq", "ee_pos"):
            low[groups[name]] = -high[groups[name]]
        if self.gripper:
            low, high = np.concatenate([low, [-0.5, -50.0]]), np.concatenate([high, [1.5, 50.0]])
        return gym.spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)

    def surroundings(self, time: FloatArray, qpos: FloatArray, qvel: FloatArray) -> NDArray[np.float32]:
        """Columns of the observation that follow those of the robot; the base class has none.

        The predictor uses it too, for many states at once.

        Args:
            time: since the start of the episode (...) [s].
            qpos: positions of what is not the robot (..., nq - n).
            qvel: velocities (..., nv - n).

        Returns:
            New array (..., columns), float32.
        """
        return np.zeros((*np.shape(time), 0), dtype=np.float32)

    def vector_observation(self) -> NDArray[np.float32]:
        """Observation vector of the present state, a new array (4 n + 3,) and what tasks and gripper add."""
        parts = [arm_observation(self._qpos, self._qvel, self.ref, self._ee_pos)]
        if self.gripper:
            parts.append(self.fingers.observe(self._hand_qpos, self._hand_qvel))
        parts.append(self.surroundings(np.array(self.data.time), self._object_qpos, self._object_qvel))
        return np.concatenate(parts)

    def column_groups(self) -> dict[str, slice]:
        """Columns of the observation vector by the name of what they say; tasks add theirs."""
        groups = observation_groups(self.arm.n)
        if self.gripper:
            start = observation_size(self.arm.n)
            groups |= {name: slice(start + i, start + i + 1) for i, name in enumerate(GRIPPER_UNITS)}
        return groups

    def sensed_observation(self) -> NDArray[np.float32]:
        """`vector_observation` through the sensors, with their noise and delay; once in each control step."""
        return self._sensors.read(self.vector_observation(), self.np_random)

    def advance(self, action: ArrayLike) -> None:
        """Run the physics for one control step.

        The reference is sampled at the instants at which the set-point is written, and held in between.

        Args:
            action: (nu,) in [-1, 1]; values outside are clipped.

        Raises:
            ValueError: the action has another shape or is not finite.
        """
        a = checked_action(action, self.nu, self.control_mode, self._action_names)
        if len(self._pending):
            self._pending = np.concatenate([self._pending, a[None]])
            a, self._pending = self._pending[0], self._pending[1:]
        if self.gripper:
            self._hand_ctrl[:] = self.fingers.targets(a[-1])
        targets, ref = set_points(self.action_mode, self.ref, a[: self.action_mode.nu], self._fractions)
        for target, substeps in zip(targets, self._hold_lengths(), strict=True):
            self._ctrl[:] = target
            mujoco.mj_step(self.model, self.data, substeps)
            self.after_hold()
        # mj_step leaves positions of sites as they were before its last substep.
        mujoco.mj_kinematics(self.model, self.data)
        self.ref = JointReference(self._qpos.copy(), self._qvel.copy()) if ref is None else ref

    def place(self, q: ArrayLike | None, dynamics: Dynamics | None = None) -> None:
        """Put the arm at rest.

        Args:
            q: joint positions (n,) [rad]; None draws a collision-free pose around home.
            dynamics: of the episode; None draws them from `randomize`, after everything else that is drawn.

        Raises:
            ValueError: q has another shape or leaves the position limits, or the dynamics cannot be applied.
        """
        pose = self.random_start() if q is None else checked_start(q, self.arm)
        if self.randomize is not None:
            drawn = self.randomize.sample(self.np_random)
            dynamics = drawn if dynamics is None else dynamics
        self._begin(NOMINAL if dynamics is None else dynamics)
        self._sensors.reset()
        mujoco.mj_resetData(self.model, self.data)
        self._qpos[:] = pose
        self._ctrl[:] = 0.0 if self.control_mode == "joint_torque" else pose
        self._hand_qpos[:] = self._hand_ctrl[:] = self.fingers.opened
        self.place_objects()
        self.ref = JointReference(pose, np.zeros(self.arm.n))
        mujoco.mj_forward(self.model, self.data)

    def random_start(self) -> FloatArray:
        """Draw a start pose (n,) [rad] around home in which the arm touches nothing."""
        home, noise = self.arm.home, self.start_noise
        low = np.maximum(home - noise, self.arm.q_min)
        high = np.minimum(home + noise, self.arm.q_max)
        for _ in range(100):
            pose = self.np_random.uniform(low, high)
            if self.kinematics.collision_free(pose):
                return pose
        raise RuntimeError(f"no collision-free start in 100 draws: start_noise is {noise} rad; lower it")

    def place_objects(self) -> None:
        """Write the start of what surrounds the arm into `data`; the base class has nothing."""

    def markers(self) -> Sequence[Marker]:
        """Spheres that belong to the task, for pictures."""
        return ()

    def task_goal(self) -> FloatArray:
        """Goal of the task (3,) [m]; the base class has none."""
        return np.zeros(3)

    def set_task_goal(self, goal: FloatArray) -> None:
        """Restore the goal of the task; the base class has none."""

    # -- public ------------------------------------------------------------

    def observation_tokens(self) -> dict[str, tuple[int, ...]]:
        """Columns of the observation vector that belong together, see `envs.observation.observation_tokens`."""
        tokens = observation_tokens(self.arm.n)
        if self.gripper:
            start = observation_size(self.arm.n)
            tokens["gripper"] = (start, start + 1)
        return tokens

    @property
    def dynamics(self) -> Dynamics:
        """True dynamics of the episode."""
        return self._dynamics

    def simulator(self, nthread: int = 1, model: mujoco.MjModel | None = None) -> BatchSimulator:
        """Predictor of observations.

        Args:
            nthread: threads of physics.
            model: of the same scene; None shares this environment's, hence also the dynamics of its episode.
        """
        model = self.model if model is None else model
        options: dict[str, Any] = {"gripper": self.gripper, "surroundings": self.surroundings}
        return BatchSimulator(self.arm, nthread, self.ctrl_dt, model, **options)

    def get_state(self) -> EnvState:
        """Copy the state; `set_state` goes back to it."""
        size = mujoco.mj_stateSize(self.model, PHYSICS_STATE)
        physics = np.empty(size)
        mujoco.mj_getState(self.model, self.data, physics, PHYSICS_STATE)
        ref = JointReference(self.ref.q.copy(), self.ref.dq.copy())
        warmstart, goal = self.data.qacc_warmstart.copy(), self.task_goal().copy()
        late = self._sensors.waiting.copy()
        return EnvState(physics, warmstart, ref, goal, self._pending.copy(), self._dynamics, late)

    def set_state(self, state: EnvState) -> None:
        """Go back to a state of `get_state`, from this or an equal environment.

        Raises:
            ValueError: the dynamics of the state cannot be applied.
        """
        self._begin(state.dynamics)
        self._pending, self._sensors.waiting = state.pending.copy(), state.late.copy()
        mujoco.mj_setState(self.model, self.data, state.physics, PHYSICS_STATE)
        self.data.qacc_warmstart[:] = state.warmstart
        self.ref = JointReference(state.ref.q.copy(), state.ref.dq.copy())
        self.set_task_goal(state.goal.copy())
        mujoco.mj_kinematics(self.model, self.data)

    def render(self, overlay: Sequence[Polyline] = ()) -> NDArray[np.uint8] | None:
        """Draw the present state.

        Args:
            overlay: paths to draw in, `Polyline` or tuples (points (K, 3) [m], rgba, radius [m]).

        Returns:
            Image (height, width, 3), uint8; None when `render_mode` is None.
        """
        if self.render_mode is None:
            return None
        if self._renderer is None:
            self._renderer = SceneRenderer(
                self.arm,
                *self._picture,
                samples=self._samples,
                model=self.arm.load_model(visuals=True, edit=self.edit_scene, gripper=self.gripper),
            )
        self.dress(self._renderer.model)
        return self._renderer.render(self.data.qpos, overlay, self.markers())

    def dress(self, model: mujoco.MjModel) -> None:
        """Give objects in a model for pictures the size that they have in this episode."""
        if self._model_dynamics is not None:
            self._model_dynamics.dress(model)

    def close(self) -> None:
        """Free the GL context, if any."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    # -- inside ------------------------------------------------------------

    def _hold_lengths(self) -> Sequence[int]:
        """Physics steps after each set-point of a control step."""
        if not self.rate_jitter:
            return (self._hold_substeps,) * NUM_HOLDS
        share = 1.0 + self.np_random.uniform(-self.rate_jitter, self.rate_jitter)
        ends = np.rint(share * self._hold_substeps * np.arange(NUM_HOLDS + 1))
        return [int(length) for length in np.diff(ends)]

    def _begin(self, dynamics: Dynamics) -> None:
        """Give the model these dynamics, with nothing pending but zeros."""
        if self._model_dynamics is not None:
            if dynamics != self._dynamics:
                self._model_dynamics.apply(dynamics)
        elif dynamics != NOMINAL:
            raise ValueError(
                f"{dynamics} needs an environment that can change its model; make it with randomize, "
                "e.g. randomize='training'"
            )
        self._dynamics = dynamics
        self._pending = np.zeros((dynamics.delay, self.nu))
