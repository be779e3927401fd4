"""From the settings of an evaluation to the policy that carries plans out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from ..agent import MPCAgent
from ..checkpoint import CHECKPOINT_FILE, Checkpoint, Spaces, load_checkpoint, save_checkpoint
from ..config import EvaluateConfig, PlannerConfig
from ..data.collect import Policy
from ..errors import RequestError
from ..models.simulator import SimulatorModel
from .ahead import AtOnce
from .executor import Executor
from .pace import GivenLead, Pace, steps_in
from .process import PlannerProcess
from .ticker import Ticker

MakeAgent = Callable[[Checkpoint, PlannerConfig, int], MPCAgent]
"""Makes an agent from a checkpoint, settings of the planner and its seed."""
MARGIN_S = 0.005
"""In wall time a plan should be ready this long before it begins [s]."""
_POSITIONS = ("joint_position", "cartesian_position")
"""Control modes in which the action 0 is a place to go to."""


def longest_lead(planner: PlannerConfig, compensation: str) -> int:
    """Control steps that a plan may take: then the one before still has actions until it begins."""
    return planner.horizon // 2 if compensation == "shift" else planner.horizon


def check_execution(spaces: Spaces, planner: PlannerConfig, config: EvaluateConfig) -> None:
    """Plans can be carried out in the way that is asked for.

    Raises:
        RequestError: names the setting that does not fit.
    """
    check_blend(planner, config.blend_steps, "evaluate.blend_steps")
    realtime = config.execution == "realtime"
    lead, longest = steps_in(config.latency_s, spaces.ctrl_dt), longest_lead(planner, config.compensation)
    if realtime and planner.model == "simulator":
        raise RequestError(
            "planner.model is 'simulator' with evaluate.execution 'realtime', allowed learned: the true model is in "
            "the process of the environment; set evaluate.execution=lockstep and evaluate.latency_s"
        )
    if (realtime or lead) and spaces.control_mode in _POSITIONS:
        raise RequestError(
            f"env.control_mode is '{spaces.control_mode}' where plans take time, allowed modes in which the action 0 "
            "asks for no motion: it is carried out until the first plan begins; set evaluate.execution=lockstep "
            "evaluate.latency_s=0"
        )
    if max(lead, int(realtime)) > longest:
        what = "evaluate.execution is 'realtime'" if realtime else f"evaluate.latency_s is {config.latency_s:g} s"
        raise RequestError(
            f"{what} with planner.horizon {planner.horizon}, allowed up to {longest} control steps of "
            f"{spaces.ctrl_dt:g} s, after which a plan has no more actions; raise planner.horizon"
        )


def check_blend(planner: PlannerConfig, steps: int, name: str) -> None:
    """Blending does not undo what the planner holds by construction.

    Args:
        planner: its settings.
        steps: actions that are blended.
        name: of that setting, for the message.

    Raises:
        RequestError: it would.
    """
    limits = {"planner.rate_limit": planner.rate_limit, "planner.jerk_limit": planner.jerk_limit}
    broken = [key for key, limit in limits.items() if limit is not None]
    broken += ["a hard constraint in planner.costs"] * any(term.hard for term in planner.terms)
    if steps and broken:
        raise RequestError(
            f"{name} is {steps} with {broken[0]}, which blended actions may break, allowed 0; leave one of them out"
        )


@contextmanager
def executing(
    make: MakeAgent, checkpoint: Checkpoint, planner: PlannerConfig, config: EvaluateConfig, seed: int
) -> Iterator[Policy]:
    """The policy that carries out the plans of an agent.

    Args:
        make: makes the agent of the next three; in real time a function of a module, called in the planner's process.
        checkpoint: its model; in real time it gets there as a file.
        planner: settings of its planner.
        config: how plans are carried out; see `check_execution`.
        seed: of its planner.

    Yields:
        the agent itself where plans take no time and are not blended.
    """
    nu, ctrl_dt = checkpoint.spaces.nu, checkpoint.spaces.ctrl_dt
    if config.execution == "realtime":
        pace = Pace(ctrl_dt, MARGIN_S, longest_lead(planner, config.compensation))
        with TemporaryDirectory() as folder:
            file, device = Path(folder) / CHECKPOINT_FILE, checkpoint.model.device
            save_checkpoint(file, checkpoint)
            with PlannerProcess(partial(_at_once, make, file, device, planner, seed, config.threads)) as process:
                yield Executor(process, nu, pace, config.compensation, config.blend_steps, Ticker(ctrl_dt))
        return
    agent, lead = make(checkpoint, planner, seed), steps_in(config.latency_s, ctrl_dt)
    try:
        if lead or config.blend_steps:
            yield Executor(AtOnce(agent), nu, GivenLead(lead), config.compensation, config.blend_steps)
        else:
            yield agent
    finally:
        if isinstance(agent.model, SimulatorModel):
            agent.model.close()


def _at_once(
    make: MakeAgent, file: Path, device: torch.device, planner: PlannerConfig, seed: int, threads: int
) -> AtOnce:
    torch.set_num_threads(threads)
    return AtOnce(make(load_checkpoint(file, device), planner, seed))
