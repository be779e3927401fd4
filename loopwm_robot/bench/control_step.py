"""Time of one control step: planning by loop count and number of candidates, and the parts of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from ..agent import MPCAgent
from ..build import make_agent, make_env, spaces_of
from ..checkpoint import Checkpoint, CheckpointError, Spaces, find_checkpoint, load_checkpoint
from ..closed_loop import EVALUATION_SEED, ClosedLoopResult, evaluate
from ..config import EnvConfig, ModelConfig, PlannerConfig
from ..data.collect import split_observation
from ..device import check_device, find_device, seeded
from ..errors import RequestError
from ..models.build import build_model
from ..models.dynamics import DynamicsModel
from ..models.loop_control import ExitRule, FixedDepth
from ..models.loopwm import LoopWM
from ..progress import progress
from ..schema import plain
from ..threads import torch_threads
from .common import Claim, Findings, Row
from .profile import profile_control_step

WARM_UP = 20  # control steps before each measurement
DEADLINES = 0.99  # share of the control steps that have to be planned within the control interval


@dataclass(frozen=True)
class ControlStepBench:
    """Settings.

    Attributes:
        checkpoint: a .safetensors file or run folder; empty makes a fresh model, which costs the same time.
        seed: of the weights and the planner, at least 0.
        repeats: of each measurement, at least 1; the settings take turns.
        steps: control steps in a repeat, at least 1; rounded up to whole episodes.
        loops: loop counts to compare.
        num_samples: numbers of candidates to compare.
        profile_steps: control steps behind the table of parts, at least 1.
        threads: of torch, at least 1.
        device: where the model plans: cpu, cuda, cuda:N or auto.
        env: the environment.
        model: LoopWM, where there is no checkpoint.
        planner: the planner.
    """

    checkpoint: str = ""
    seed: int = 0
    repeats: int = 3
    steps: int = 300
    loops: tuple[int, ...] = (1, 2, 3, 4)
    num_samples: tuple[int, ...] = (64, 128, 256)
    profile_steps: int = 100
    threads: int = 1
    device: str = "cpu"
    env: EnvConfig = field(default_factory=EnvConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    planner: PlannerConfig = field(default_factory=PlannerConfig)

    def __post_init__(self) -> None:
        for name, low in (("seed", 0), ("repeats", 1), ("steps", 1), ("profile_steps", 1), ("threads", 1)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} is {getattr(self, name)}, allowed >= {low}")
        check_device(self.device)
        if self.loops and min(self.loops) < 1:
            raise ValueError(f"loops has {min(self.loops)}, allowed >= 1")
        for samples in self.num_samples:
            replace(self.planner, num_samples=samples)  # refuses what does not fit num_elites
        if self.planner.model != "learned":
            raise ValueError(f"planner.model is '{self.planner.model}', allowed 'learned' in this benchmark")


SCHEMA = ControlStepBench
QUICK: dict[str, Any] = {"repeats": 1, "steps": 60, "loops": [1, 2], "num_samples": [96], "profile_steps": 10}


@dataclass(frozen=True)
class Setting:
    """What is varied: how often the model loops, and how many candidates the planner has."""

    rule: ExitRule
    num_samples: int

    @property
    def loops(self) -> str:
        """Loop count, or the rule that chooses it."""
        return str(self.rule.num_loops) if isinstance(self.rule, FixedDepth) else "until converged"


def run(config: ControlStepBench) -> Findings:
    """Plan in closed loop with each setting in turn."""
    env = make_env(config.env)
    model, spaces, architecture, trained = prepare(config, env)
    usual = Setting(model.exit_rule, config.planner.num_samples)
    grid = [Setting(FixedDepth(loops), n) for n in config.num_samples for loops in config.loops]
    settings = [usual, *(setting for setting in grid if setting != usual)]
    episodes = math.ceil(config.steps / ((env.spec and env.spec.max_episode_steps) or config.steps))
    results: dict[Setting, list[ClosedLoopResult]] = {setting: [] for setting in settings}
    with torch_threads(config.threads), progress("control_step", config.repeats * len(settings)) as bar:
        for repeat in range(config.repeats):
            for setting in settings:
                agent = make_setting_agent(model, spaces, config, setting)
                warm_up(agent, env)
                seeds = range(EVALUATION_SEED + repeat * episodes, EVALUATION_SEED + (repeat + 1) * episodes)
                results[setting].append(evaluate(env, agent, seeds))
                bar.advance(plan_ms=1000 * float(np.median(results[setting][-1].plan_time)))
        agent = make_setting_agent(model, spaces, config, usual)
        obs, _, goal = split_observation(env.reset(seed=EVALUATION_SEED)[0])
        parts = profile_control_step(agent, obs, goal, config.profile_steps)
    env.close()
    ordered = sorted(settings, key=lambda setting: (setting.num_samples, setting.loops))
    rows = [plan_row(setting, results[setting], config.planner, setting == usual, trained) for setting in ordered]
    rows += part_rows(parts)
    notes = [
        f"Planning and encoding on {model.device}, {config.threads} torch thread(s), {episodes} episodes a repeat in "
        "closed loop. "
        "`loop updates` counts applications of the shared block to one candidate's latent state in one plan: "
        "lines with the same number cost the model the same arithmetic.",
        f"The model is {'the one of the checkpoint' if trained else 'fresh: its time is that of a trained one'}.",
    ]
    tested = claims(usual, results[usual], config.planner)
    return Findings([config.seed], rows, tested, notes, {"model": plain(architecture)})


def prepare(config: ControlStepBench, env: gym.Env[Any, Any]) -> tuple[LoopWM, Spaces, ModelConfig, bool]:
    """Model, what it fits, its architecture, and whether it was trained.

    Raises:
        RequestError: the checkpoint is missing, damaged or of another environment, or there is no such device.
    """
    device = find_device(config.device)
    spaces = spaces_of(env, config.env)
    if config.checkpoint:
        checkpoint = _load(config.checkpoint)
        try:
            checkpoint.spaces.require(spaces, config.checkpoint)
        except CheckpointError as error:
            raise RequestError(str(error)) from error
        return _looped(checkpoint.model).to(device), spaces, checkpoint.config, True
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = build_model(config.model, *spaces.of_model)
    return _looped(model.eval()).to(device), spaces, config.model, False


def _looped(model: DynamicsModel) -> LoopWM:
    if not isinstance(model, LoopWM):
        raise RequestError(f"control_step measures loops of LoopWM, got {type(model).__name__}; set model.kind=loopwm")
    return model


def make_setting_agent(model: LoopWM, spaces: Spaces, config: ControlStepBench, setting: Setting) -> MPCAgent:
    """A controller with a setting; the model is shared and keeps the setting's exit rule."""
    model.exit_rule = setting.rule
    planner = replace(config.planner, num_samples=setting.num_samples)
    return make_agent(model, spaces, planner, seeded(model.device, config.seed))


def warm_up(agent: MPCAgent, env: gym.Env[Any, Any]) -> None:
    """Plan a few times, so that memory and kernels are there."""
    obs, _, goal = split_observation(env.reset(seed=EVALUATION_SEED)[0])
    agent.reset(goal)
    for _ in range(WARM_UP):
        agent.act(obs)


def plan_row(
    setting: Setting, results: list[ClosedLoopResult], planner: PlannerConfig, usual: bool, trained: bool
) -> Row:
    """One line of the table of planning times."""
    times = np.concatenate([result.plan_time for result in results])
    p50, p95, p99 = np.quantile(times, (0.5, 0.95, 0.99))
    each = [float(np.quantile(result.plan_time, 0.99)) for result in results]
    row: Row = {
        "table": "planning time",
        "num_samples": setting.num_samples,
        "loops": setting.loops,
        "default": usual,
        "control_steps": len(times),
        "plan_time_s_p50": float(p50),
        "plan_time_s_p95": float(p95),
        "plan_time_s_p99": float(p99),
        "plan_time_s_max": float(times.max()),
        **({"p99_spread_s": max(each) - min(each)} if len(each) > 1 else {}),
        "deadline_met_fraction": float((times <= results[0].ctrl_dt).mean()),
    }
    if isinstance(setting.rule, FixedDepth):
        plans = setting.num_samples * planner.iterations * math.ceil(planner.horizon / planner.chunk)
        row["loop_updates"] = plans * setting.rule.num_loops
    if trained:
        row["success_rate"] = float(np.concatenate([result.success for result in results]).mean())
        distances = np.concatenate([result.final_distance for result in results])
        row["final_distance_m_median"] = float(np.median(distances))
    return row


def part_rows(parts: dict[str, float]) -> list[Row]:
    """The table of where the time goes, largest part first."""
    total = sum(parts.values())
    ordered = sorted(parts.items(), key=lambda item: -item[1])
    return [
        {"table": "parts of one control step, default setting", "part": part, "time_s": t, "share_fraction": t / total}
        for part, t in ordered
    ]


def claims(usual: Setting, results: list[ClosedLoopResult], planner: PlannerConfig) -> list[Claim]:
    """The control interval is kept with the default setting."""
    what = f"{usual.num_samples} x {planner.iterations} candidates of {planner.horizon} steps, loops: {usual.loops}"
    interval = results[0].ctrl_dt
    p99 = [1000 * float(np.quantile(result.plan_time, 0.99)) for result in results]
    in_time = [float((result.plan_time <= interval).mean()) for result in results]
    return [
        Claim.over(f"planning time p99 [ms], worst repeat, {what}", p99, 1000 * interval, "lower", max),
        Claim.over(f"share of deadlines met, worst repeat, {what}", in_time, DEADLINES, "higher", min),
    ]


def _load(name: str) -> Checkpoint:
    try:
        return load_checkpoint(find_checkpoint(name))
    except CheckpointError as error:
        raise RequestError(str(error)) from error
