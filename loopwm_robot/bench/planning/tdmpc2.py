"""One plan beside TD-MPC2's own code: the same budget, sizes, machine and threads, in processes that take turns.

The code is the user's checkout of github.com/nicklashansen/tdmpc2 (Hansen et al. 2024, arXiv 2310.16828), which is
imported as it is. Its agent puts everything on a GPU, so here the same parts are put together on the CPU. All weights
are fresh: they cost the same time, and say nothing about success.
"""

from __future__ import annotations

import importlib
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import yaml

from ...build import make_agent
from ...checkpoint import Spaces
from ...config import PlannerConfig
from ...models.actor_critic import ActorCriticConfig
from ...models.build import build_model
from ..common import BenchmarkError, Claim, Row
from .config import PlanningBench
from .timing import CTRL_DT, N_GOAL, N_OBS, NU

LOOPWM, EAGER, COMPILED = "LoopWM", "TD-MPC2, eager", "TD-MPC2, compiled"
TARGETS = {EAGER: 0.1, COMPILED: 0.2}
SIZE = 5
"""Of TD-MPC2's model [million parameters], its default for one task."""
WARM_UP = 2
TABLE = "one plan at TD-MPC2's budget: 512 candidates, 24 of a policy, 3 steps, 6 iterations, 64 elites"

Made = tuple[Callable[[], Any], int]
"""Makes a plan; parameters of the model behind it."""


class Settings(SimpleNamespace):
    """TD-MPC2's configuration: it asks for attributes, and for `get`."""

    def get(self, name: str, default: Any = None) -> Any:
        return getattr(self, name, default)


def loopwm(config: PlanningBench) -> Made:
    """Ours: rewards and terminal value are learned, and a policy proposes candidates, as in TD-MPC2."""
    settings = replace(config.model, actor_critic=ActorCriticConfig(enabled=True))
    model = build_model(settings, N_OBS, NU, N_GOAL, CTRL_DT).eval()
    planner = PlannerConfig(
        algorithm="mppi", objective="learned_reward", terminal_value=1.0, discount=0.95,
        horizon=3, num_samples=512, num_elites=64, iterations=6, prior_samples=24,
        init_std=1.0, min_std=0.05, max_std=2.0, posture_weight=0.0,
    )  # fmt: skip
    spaces = Spaces(env_id="none", control_mode="", n_obs=N_OBS, nu=NU, n_goal=N_GOAL, ctrl_dt=CTRL_DT)
    agent = make_agent(model, spaces, planner, torch.Generator().manual_seed(config.seeds[0]))
    agent.reset(np.zeros(N_GOAL, np.float32))
    obs = np.zeros(N_OBS, np.float32)
    return lambda: agent.act(obs), sum(p.numel() for p in model.parameters() if p.requires_grad)


def tdmpc2(config: PlanningBench, compiled: bool) -> Made:
    """TD-MPC2's `_plan` with its world model."""
    source = Path(config.tdmpc2).expanduser() / "tdmpc2"
    sys.path.insert(0, str(source))
    common, agents = importlib.import_module("common"), importlib.import_module("tdmpc2")
    values = yaml.safe_load((source / "config.yaml").read_text(encoding="utf-8"))
    values = {key: float(value) if _number(value) else value for key, value in values.items()}
    bins = (values["vmax"] - values["vmin"]) / (values["num_bins"] - 1)
    values |= common.MODEL_SIZE[SIZE]
    values |= {"obs_shape": {"state": (N_OBS + N_GOAL,)}, "action_dim": NU, "episode_length": 100, "compile": False}
    values |= {"multitask": False, "task_dim": 0, "tasks": ["reach"], "bin_size": bins}
    cfg = Settings(**values)
    agent = agents.TDMPC2.__new__(agents.TDMPC2)
    torch.nn.Module.__init__(agent)
    agent.cfg, agent.device = cfg, torch.device("cpu")
    agent.model = importlib.import_module("common.world_model").WorldModel(cfg).eval()
    agent.discount = agent._get_discount(cfg.episode_length)
    agent._prev_mean = torch.nn.Buffer(torch.zeros(cfg.horizon, NU))
    plan, obs = torch.compile(agent._plan) if compiled else agent._plan, torch.zeros(1, N_OBS + N_GOAL)

    def once() -> Any:
        with torch.no_grad():
            return plan(obs, t0=False, eval_mode=True)

    parts = [agent.model._encoder, agent.model._dynamics, agent.model._reward, agent.model._pi, agent.model._Qs]
    return once, sum(p.numel() for part in parts for p in part.parameters())


def _number(value: Any) -> bool:
    """Whether YAML took a number such as 3e-4 for a text."""
    try:
        return isinstance(value, str) and float(value) == float(value)
    except ValueError:
        return False


def make(name: str, config: PlanningBench) -> Made:
    """What a process times."""
    return loopwm(config) if name == LOOPWM else tdmpc2(config, name == COMPILED)


def _work(name: str, config: PlanningBench, pipe: Connection) -> None:
    """A process: builds, tells its parameters or what went wrong, then times as many plans as it is asked for."""
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seeds[0])
    try:
        plan, parameters = make(name, config)
        for _ in range(WARM_UP):
            plan()
    except Exception as error:  # of somebody else's code: it is told, not handled
        text = str(error).strip().splitlines()
        pipe.send(f"{type(error).__name__}: {text[0] if text else ''}")
        return
    pipe.send(parameters)
    while count := pipe.recv():
        found = []
        for _ in range(count):
            begun = time.perf_counter()
            plan()
            found.append(time.perf_counter() - begun)
        pipe.send(found)


@contextmanager
def process(name: str, config: PlanningBench) -> Iterator[tuple[Connection, int | str]]:
    """A process that plans, and its parameters or why it cannot plan."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    worker = context.Process(target=_work, args=(name, config, there), daemon=True)
    worker.start()
    there.close()
    try:
        late = f"was not ready within {config.start_s:g} s"
        try:
            ready = here.recv() if here.poll(config.start_s) else late
        except EOFError:
            ready = "ended at once"
        yield here, ready
    finally:
        worker.kill()
        worker.join()


def side_by_side(config: PlanningBench) -> tuple[list[Row], list[Claim], list[str]]:
    """Times of ours and theirs, repeat by repeat in turns.

    Raises:
        BenchmarkError: ours cannot plan, or theirs without compilation.
    """
    if not config.tdmpc2:
        return [], [], ["TD-MPC2 was left out: give tdmpc2=PATH of a checkout of github.com/nicklashansen/tdmpc2."]
    with process(LOOPWM, config) as (ours, parameters):
        if isinstance(parameters, str):
            raise BenchmarkError(f"LoopWM at TD-MPC2's budget {parameters}")
        rows: list[Row] = []
        claims: list[Claim] = []
        notes = ["TD-MPC2 is the code of the checkout, with fresh weights, in a process of its own."]
        for other in (EAGER, COMPILED):
            with process(other, config) as (theirs, size):
                if isinstance(size, str) and other == EAGER:
                    raise BenchmarkError(f"{other} {size}; it needs tensordict, and start_s={config.start_s:g} s")
                if isinstance(size, str):
                    notes.append(f"{other} {size}")
                    continue
                taken: dict[str, list[list[float]]] = {LOOPWM: [], other: []}
                for _ in range(config.repeats):
                    for name, pipe in ((LOOPWM, ours), (other, theirs)):
                        pipe.send(config.plans)
                        taken[name].append(pipe.recv())
                rows += [_row(name, other, n, taken[name]) for name, n in ((LOOPWM, parameters), (other, size))]
            ratios = [float(np.median(a) / np.median(b)) for a, b in zip(taken[LOOPWM], taken[other], strict=True)]
            text = f"time of a plan with LoopWM over that of {other}, worst repeat"
            claims.append(Claim.over(text, ratios, TARGETS[other], "lower", max))
        ours.send(0)
    return rows, claims, notes


def _row(name: str, other: str, parameters: int, times: list[list[float]]) -> Row:
    medians = [float(np.median(repeat)) for repeat in times]
    return {
        "table": TABLE,
        "planner": name,
        "in turns with": other if name == LOOPWM else LOOPWM,
        "parameters": parameters,
        "plan_time_s_p50": float(np.median(np.concatenate(times))),
        "plan_time_s_p95": float(np.quantile(np.concatenate(times), 0.95)),
        "spread_s": max(medians) - min(medians),
    }
