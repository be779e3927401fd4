"""From configuration to working parts: environment, spaces, agent."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

import envs
from envs.action import CartesianDelta
from envs.adapters import fitted
from envs.arm_env import ArmEnv
from envs.exploration import PushExplorer
from envs.observation import observation_groups
from envs.pixels import PixelObservation
from envs.tasks.fixture import FixtureEnv
from envs.tasks.pick_and_place import PickAndPlaceEnv, PickScript
from envs.tasks.push import PushEnv
from envs.tasks.stack import StackEnv, StackScript
from planners import RolloutModel, SamplingPlanner, make_planner

from .agent import EncodingModel, MPCAgent, ObjectiveFactory
from .checkpoint import Checkpoint, Spaces, find_checkpoint, load_checkpoint
from .config import LOOPED, CollectConfig, EnvConfig, ModelConfig, PlannerConfig
from .data.collect import ExplorationPolicy, MixedPolicy, NumbersOnly, Policy, control_interval, split_observation
from .device import find_device, seeded
from .errors import RequestError
from .models.dynamics import DynamicsModel
from .models.loopwm import LoopWM
from .models.simulator import SimulatorModel
from .models.simulator_beliefs import BelievingSimulator
from .models.simulator_config import SimulatorConfig
from .models.tokens import TokenLayout
from .objective import check_objective, objective_factory
from .policy import PolicyPrior
from .training.metrics import HORIZONS
from .types import Observed

gym.register_envs(envs)

ANYWHERE = 0.25
"""Share of the exploring episodes in which the arm moves at random although there is an object."""
SCRIPT_NOISE = 0.15
"""Standard deviation of the noise on scripts that solve a task."""


def make_env(config: EnvConfig, render: bool = False, **kwargs: Any) -> gym.Env[Any, Any]:
    """Make the environment.

    Args:
        config: which one.
        render: with pictures.
        kwargs: further arguments of the environment.

    Raises:
        RequestError: Gymnasium does not know the id, or the environment refuses its arguments.
    """
    arguments: dict[str, Any] = {**config.kwargs(), **kwargs}
    if render:
        arguments["render_mode"] = "rgb_array"
    try:
        env = gym.make(config.id, **arguments)
    except ImportError as error:
        raise RequestError(f"env.id '{config.id}' cannot be made: {error}") from error
    except gym.error.Error as error:
        ours = sorted(name for name in gym.registry if name.startswith("LoopWM/"))
        raise RequestError(f"env.id '{config.id}' cannot be made ({error}); ours: {', '.join(ours)}") from error
    except TypeError as error:
        raise RequestError(
            f"env.id '{config.id}' refuses its arguments ({error}); write env=gym before env.id"
        ) from error
    except ValueError as error:
        raise RequestError(str(error)) from error
    if config.obs_mode != "vector":
        try:
            env = PixelObservation(env, config.obs_mode, config.image_size)
        except ValueError as error:
            raise RequestError(f"env.obs_mode is '{config.obs_mode}' for env.id '{config.id}': {error}") from error
    try:
        return fitted(env)
    except ValueError as error:
        raise RequestError(str(error)) from error


def spaces_of(env: gym.Env[Any, Any], config: EnvConfig) -> Spaces:
    """Sizes and meaning of what the environment takes and gives.

    An environment of others may say more about its observation, as ours do: `goal_columns`, a slice of the columns
    that the goal is compared with, `target_columns`, those of a goal that moves and then of its velocity, and
    `observation_tokens()`, the columns that belong together by name.
    """
    obs, _, goal = split_observation(env.observation_space.sample())
    image = obs.image.shape if isinstance(obs, Observed) else ()
    base: Any = env.unwrapped
    layout: dict[str, Any] = {}
    columns: slice | None = getattr(base, "goal_columns", None) if len(obs) else None
    if isinstance(base, ArmEnv) and len(obs):
        groups = observation_groups(base.arm.n)
        columns = groups["ee_pos"] if columns is None else columns
        layout["joints"] = (groups["q"].start, groups["q"].stop)
        layout["home"] = tuple(float(q) for q in base.posture)
    if columns is not None:
        layout["position"] = (columns.start, columns.stop)
    moving: slice | None = getattr(base, "target_columns", None) if len(obs) else None
    if moving is not None:
        layout["target"] = (moving.start, moving.stop)
    if hasattr(base, "observation_tokens") and len(obs):
        layout["groups"] = {name: tuple(map(int, some)) for name, some in base.observation_tokens().items()}
    return Spaces(
        env_id=config.id,
        control_mode=config.control_mode,
        n_obs=len(obs),
        nu=int(np.prod(env.action_space.shape or ())),
        n_goal=len(goal),
        ctrl_dt=control_interval(env),
        image=image,
        obs_mode=config.obs_mode,
        **layout,
    )


def make_explorer(env: gym.Env[Any, Any], nu: int, config: CollectConfig, rng: np.random.Generator) -> Policy:
    """What explores an environment before there is a model: random motion; where there is an object, mostly a script.

    Args:
        env: to be explored.
        nu: action dimensions.
        config: of the random motion.
        rng: source of randomness.
    """
    base = env.unwrapped
    anywhere = ExplorationPolicy(nu, rng, config.correlation, config.scale)
    if isinstance(base, PushEnv | FixtureEnv) and isinstance(base.action_mode, CartesianDelta):
        seen = split_observation(env.observation_space.sample())[0]
        if not len(seen):  # nobody can read off a picture where the object is
            return anywhere
        script: Policy
        if isinstance(base, FixtureEnv):
            script = base.script(rng, noise=SCRIPT_NOISE)
        elif isinstance(base, PickAndPlaceEnv):
            grasping = StackScript if isinstance(base, StackEnv) else PickScript
            script = grasping(base, rng, noise=SCRIPT_NOISE)
        else:
            area: dict[str, Any] = {"low": base.goal_low, "high": base.goal_high, "size": base.workspace.scale}
            script = PushExplorer(rng, base.arm.n, base.action_mode.action_scale, **area)
        if isinstance(seen, Observed):
            script = NumbersOnly(script)
        return MixedPolicy(script, anywhere, ANYWHERE, rng)
    return anywhere


def check_model(env: gym.Env[Any, Any], spaces: Spaces, config: ModelConfig, chunks: Sequence[int] = (1,)) -> None:
    """The model can be built for the environment, trained on its episodes and measured.

    Args:
        env: supplies the episodes.
        spaces: of env.
        config: the model.
        chunks: lengths of a transition in training, in control steps.

    Raises:
        RequestError: names the setting that does not fit.
    """
    if spaces.image and config.kind not in LOOPED:
        raise RequestError(
            f"model.kind is '{config.kind}' for {spaces.env_id}, whose observations have pictures, allowed "
            f"{', '.join(LOOPED)}; or set env.obs_mode=vector"
        )
    if config.context and not spaces.n_obs:
        raise RequestError(
            f"model.context is {config.context} for {spaces.env_id}, whose observations are pictures only, allowed 0: "
            "the past is remembered in numbers; set env.obs_mode=mixed"
        )
    if config.kind in LOOPED:
        try:
            TokenLayout.make(spaces.n_obs, spaces.groups, config.tokens)
            if spaces.image:
                height, width, channels = spaces.image
                config.image.grid((height, width, channels))
        except ValueError as error:
            raise RequestError(f"{error} (environment {spaces.env_id})") from error
        if max(chunks) > 1 and config.form != "step_consistent":
            raise RequestError(
                f"train.update.chunks is {list(chunks)} with model.form '{config.form}', allowed [1]; "
                "set model.form=step_consistent"
            )
    elif config.context:
        other = "set model.rssm.context" if config.kind == "rssm" else "leave it out"
        raise RequestError(f"model.context is {config.context} with model.kind '{config.kind}', allowed 0; {other}")
    name, context = ("model.rssm", config.rssm.context) if config.kind == "rssm" else ("model", config.context)
    steps = env.spec.max_episode_steps if env.spec is not None else None
    longest = None if steps is None else max(0, steps - max(HORIZONS))
    if longest is not None and context > longest:
        raise RequestError(
            f"{name}.context is {context} control steps, allowed up to {longest} for {spaces.env_id}, whose "
            f"episodes have {steps}: predictions are measured {max(HORIZONS)} steps ahead"
        )


def make_agent(
    model: EncodingModel, spaces: Spaces, config: PlannerConfig, generator: torch.Generator
) -> MPCAgent:
    """A receding-horizon controller around a model.

    Args:
        model: a dynamics model, or the simulator.
        spaces: what the model was trained on.
        config: planner settings.
        generator: of the planner's noise, on the model's device.

    Raises:
        RequestError: the objective cannot be computed from the observation, see `check_objective`; or the model does
            not imagine in chunks of control steps.
    """
    model = _in_strides(model, config)
    return MPCAgent(model, *_planning(model, spaces, config, generator), target=spaces.target_columns)


def retune(agent: MPCAgent, model: EncodingModel, spaces: Spaces, config: PlannerConfig) -> None:
    """Give an agent of `make_agent` another model or other settings, from its next plan on.

    Args:
        agent: goes on with its goal, its memory, its last plan and its random numbers.
        model, spaces, config: as of `make_agent`.

    Raises:
        RequestError: see `make_agent`; the agent stays as it was.
    """
    model = _in_strides(model, config)
    agent.retune(model, *_planning(model, spaces, config, agent.planner.generator))  # type: ignore[attr-defined]


def check_strides(config: PlannerConfig, kind: str, form: str) -> None:
    """The model can imagine transitions as long as the planner wants them.

    Raises:
        RequestError: it cannot.
    """
    if config.chunk > 1 and not (kind in LOOPED and form == "step_consistent"):
        what = f"model.form '{form}'" if kind in LOOPED else f"model.kind '{kind}'"
        raise RequestError(
            f"planner.chunk is {config.chunk} with {what}, allowed 1; train model=small model.form=step_consistent "
            f"train.update.chunks=[1,{config.chunk}]"
        )


def _in_strides(model: EncodingModel, config: PlannerConfig) -> EncodingModel:
    """The model as the planner imagines with it."""
    if config.chunk == 1:
        return model
    if not isinstance(model, LoopWM):
        raise RequestError(f"planner.chunk is {config.chunk} with a {type(model).__name__}, allowed 1")
    check_strides(config, "loopwm", model.core.form)
    return model.in_strides(config.chunk)


def _planning(
    model: EncodingModel, spaces: Spaces, config: PlannerConfig, generator: torch.Generator
) -> tuple[SamplingPlanner, ObjectiveFactory, RolloutModel | None, PolicyPrior | None]:
    """Planner, objective, shallow model and policy of an agent."""
    check_objective(spaces, config)
    learned = isinstance(model, DynamicsModel) and model.actor_critic is not None
    if config.terminal_value and not learned:
        raise RequestError(
            f"planner.terminal_value is {config.terminal_value} with a model that has learned no value, allowed 0; "
            "train with model.actor_critic.enabled=true"
        )
    planner = make_planner(config.algorithm, config, spaces.nu, spaces.ctrl_dt, generator)
    shallow = None
    if config.depth == "staged" and isinstance(model, LoopWM):
        shallow = model.at_depth(config.shallow_loops)
    policy = None
    if isinstance(model, DynamicsModel) and model.actor_critic is not None and config.prior_samples:
        policy = PolicyPrior(model, config.horizon, generator)
    return planner, objective_factory(spaces, config), shallow, policy


def trained_on(spaces: Spaces) -> EnvConfig:
    """The environment of some spaces, as its id makes it."""
    size = spaces.image[0] if spaces.obs_mode != "vector" else EnvConfig().image_size
    return EnvConfig(spaces.env_id, spaces.control_mode, reward="", obs_mode=spaces.obs_mode, image_size=size)


def load_agent(
    path: str | Path, planner: PlannerConfig | None = None, seed: int = 0, device: str = "cpu", env_id: str = ""
) -> tuple[MPCAgent, gym.Env[Any, Any]]:
    """A trained controller and an environment it was trained for.

    Args:
        path: a checkpoint, or a run folder that holds one.
        planner: settings of the planner; none takes the defaults.
        seed: of the planner's noise.
        device: where it plans: cpu, cuda, cuda:N or auto.
        env_id: Gymnasium id of the environment, where the model knows several; empty takes the first.

    Returns:
        agent and environment: `action = agent.act(obs)` after `agent.reset(goal)`.

    Raises:
        CheckpointError: the file is missing or damaged, or the environment has changed since.
        RequestError: there is no such device, or the model knows no such environment.
    """
    file = find_checkpoint(path)
    checkpoint = load_checkpoint(file, find_device(device))
    known = {s.env_id: s for s in reversed(checkpoint.known)}
    if env_id and env_id not in known:
        raise RequestError(
            f"env_id is '{env_id}' for checkpoint {file}, allowed {', '.join(sorted(known))}; take one of these"
        )
    s = known[env_id] if env_id else checkpoint.spaces
    config = trained_on(s)
    env = make_env(config)
    checkpoint = checkpoint.at(spaces_of(env, config), file)
    return planning_agent(checkpoint, planner or PlannerConfig(), env, seed), env


def planning_agent(
    checkpoint: Checkpoint, config: PlannerConfig, env: gym.Env[Any, Any], seed: int
) -> MPCAgent:
    """The controller that a planner configuration asks for: on the checkpoint's model, or on the true model of env.

    It plans where its model is: the true one on the CPU, the learned one wherever the checkpoint was moved.
    """
    if config.model == "simulator":
        return make_agent(
            simulator_model(env, config.simulator), checkpoint.spaces, config, torch.Generator().manual_seed(seed)
        )
    return learned_agent(checkpoint, config, seed)


def learned_agent(checkpoint: Checkpoint, config: PlannerConfig, seed: int) -> MPCAgent:
    """The controller on the checkpoint's model."""
    return make_agent(checkpoint.model, checkpoint.spaces, config, seeded(checkpoint.model.device, seed))


def simulator_model(env: gym.Env[Any, Any], config: SimulatorConfig) -> SimulatorModel:
    """The simulator that a configuration asks for, with a thread for each core.

    Raises:
        ValueError: env is not one of our arm environments.
    """
    threads = os.cpu_count() or 1
    return SimulatorModel(env, threads) if config.true else BelievingSimulator(env, config, threads)
