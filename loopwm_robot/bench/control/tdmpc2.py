"""TD-MPC2's own agent, buffer and training loop, from the user's checkout of github.com/nicklashansen/tdmpc2.

The code (Hansen et al. 2024, arXiv 2310.16828) is imported as it is and never changed. It is given our environment, and
asks our judge instead of its own evaluation. It puts everything on a GPU; on the CPU its modules see a stand-in for
`torch` whose every device is the CPU.
"""

from __future__ import annotations

import contextlib
import importlib
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import yaml

from ...build import make_env
from ...data.collect import split_observation
from .judge import Judge, Over, PeerRequest

NEEDS = ("tensordict", "torchrl")
STORED = 1_000_000
"""Transitions that its replay buffer takes, its default."""


class Settings(SimpleNamespace):
    """TD-MPC2's configuration: it asks for attributes, and for `get`."""

    def get(self, name: str, default: Any = None) -> Any:
        return getattr(self, name, default)


class OnCPU:
    """`torch` for modules that put everything on a GPU, on a machine or in a run without one."""

    cuda = SimpleNamespace(mem_get_info=lambda: (0, 0))
    optim = SimpleNamespace(Adam=lambda groups, capturable=False, **rest: torch.optim.Adam(groups, **rest))

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def device(*_: Any) -> torch.device:
        """Whatever is asked for."""
        return torch.device("cpu")


def staying(world_model: Any) -> Any:
    """Its model, on the CPU where it was made: torch copies no module with parameters that hold no data."""

    class Staying(world_model):
        def to(self, *_: Any) -> Any:
            self.init()  # as its own does after moving
            return self

    return Staying


def seen(raw: Any) -> torch.Tensor:
    """Observation and goal as one vector (n,)."""
    obs, _, goal = split_observation(raw)
    return torch.from_numpy(np.concatenate([np.asarray(obs, np.float32), goal]))


class TensorEnv:
    """An environment as its trainer wants it; it asks the judge after each step.

    Args:
        env: the task.
        judge: ends the training.
        seed: of the first reset.
    """

    def __init__(self, env: gym.Env[Any, Any], judge: Judge, seed: int) -> None:
        self.env, self.judge, self.steps = env, judge, 0
        self._seed: int | None = seed
        env.action_space.seed(seed)

    def reset(self) -> torch.Tensor:
        raw, _ = self.env.reset(seed=self._seed)
        self._seed = None
        return seen(raw)

    def rand_act(self) -> torch.Tensor:
        return torch.from_numpy(self.env.action_space.sample().astype(np.float32))

    def step(self, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, bool, dict[str, Any]]:
        self.judge.check(self.steps)
        self.steps += 1
        raw, reward, terminated, truncated, info = self.env.step(action.numpy())
        told = defaultdict(float, success=float(info.get("is_success", False)))
        told["terminated"] = torch.tensor(float(terminated))  # type: ignore[assignment]
        return seen(raw), torch.tensor(float(reward)), terminated or truncated, told


class PlanningActor:
    """Its agent without exploration."""

    def __init__(self, agent: Any) -> None:
        self.agent, self.first = agent, True

    def begin(self, raw: Any) -> None:
        self.first = True

    def act(self, raw: Any) -> Any:
        action = self.agent.act(seen(raw), t0=self.first, eval_mode=True)
        self.first = False
        return action.numpy()


def configuration(request: PeerRequest, source: Path, sizes: dict[int, dict[str, int]], env: gym.Env[Any, Any]) -> Any:
    """Its config.yaml with what its parser and its environments add.

    Args:
        request: what is asked.
        source: of its code.
        sizes: its table of models.
        env: the task.
    """
    values = yaml.safe_load((source / "config.yaml").read_text(encoding="utf-8"))
    values = {key: _number(value) for key, value in values.items() if value != "???" and key != "defaults"}
    values |= sizes[request.tdmpc2_size]
    length = env.spec.max_episode_steps if env.spec is not None else None
    if length is None:
        raise ValueError(f"{request.env.id} has no time limit, allowed a finite one")
    values |= {
        "multitask": False, "task_dim": 0, "tasks": ["task"], "episode_lengths": [length], "episode_length": length,
        "obs_shape": {"state": tuple(seen(env.reset(seed=0)[0]).shape)},
        "action_dim": int(np.prod(env.action_space.shape or ())),
        "bin_size": (values["vmax"] - values["vmin"]) / (values["num_bins"] - 1),
        "seed_steps": max(1000, 5 * length), "steps": request.limit_steps, "eval_freq": 1, "seed": request.seed,
        "buffer_size": min(STORED, request.limit_steps), "compile": request.tdmpc2_compile, "save_video": False,
    }  # fmt: skip
    return Settings(**values)


def train(request: PeerRequest, judge: Judge) -> None:
    """Learn until the judge ends it."""
    source = Path(request.tdmpc2).expanduser() / "tdmpc2"
    sys.path.insert(0, str(source))
    named = ("common", "tdmpc2", "common.buffer", "common.scale", "trainer.online_trainer")
    common, agents, buffers, scales, trainers = (importlib.import_module(name) for name in named)
    if request.device == "cpu" or not torch.cuda.is_available():
        for module in (agents, buffers, scales):
            module.torch = OnCPU()  # type: ignore[attr-defined]
        agents.WorldModel = staying(agents.WorldModel)  # type: ignore[attr-defined]
    importlib.import_module("common.seed").set_seed(request.seed)
    env = make_env(request.env)
    cfg = configuration(request, source, common.MODEL_SIZE, env)
    tasks, agent = TensorEnv(env, judge, request.seed), agents.TDMPC2(cfg)

    class Judged(trainers.OnlineTrainer):  # type: ignore[name-defined]
        """Its trainer, which asks the judge between the episodes."""

        def eval(self) -> dict[str, float]:
            judge.look(PlanningActor(agent), tasks.steps)
            return {}

    silent = SimpleNamespace(log=lambda *_: None, finish=lambda *_: None)
    trainer = Judged(cfg=cfg, env=tasks, agent=agent, buffer=buffers.Buffer(cfg), logger=silent)
    with contextlib.suppress(Over):
        trainer.train()
    about = {"package": f"tdmpc2 {_commit(source)}", "parameters": agent.model.total_params, "compiled": cfg.compile}
    judge.end(PlanningActor(agent), tasks.steps, about)
    env.close()


def _commit(source: Path) -> str:
    """Of the checkout, as far as it can be found."""
    found = subprocess.run(["git", "-C", str(source), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return found.stdout.strip() or "of unknown commit"


def _number(value: Any) -> Any:
    """YAML takes numbers such as 3e-4 for texts."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
