"""The demo's controller through every driver, and one plan through each beside the simulated arm alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import RequestError
from ...progress import progress
from ..common import Claim, Figure, Findings
from ..subruns import Runner, run_process
from .parity import measured, parity_row
from .paths import PATHS
from .plots import draw_parity, draw_reaches
from .reaches import Reaches, deployed, trained

SUCCESS, SLOWED = 0.9, 0.05
PARTS = ("reaches", "parity")


@dataclass(frozen=True)
class BridgeBench:
    """Settings.

    Attributes:
        seeds: of the trainings and the runs.
        paths: ways to an arm: panda_sim, panda_dynamixel, ur5e, fr3.
        goals: in a chain, of each run, at least 1.
        parts: reaches, parity, or both.
        checkpoint: run folder of a trained controller, with {env} and {seed} in its name, such as
            runs/train/{env}_{seed}; empty trains them.
        experiment: of the training; empty is the default, which the claims are about.
        runs: folder of the run folders; finished runs in it are used again, interrupted ones go on.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    paths: tuple[str, ...] = tuple(PATHS)
    goals: int = 20
    parts: tuple[str, ...] = PARTS
    checkpoint: str = ""
    experiment: str = ""
    runs: str = "runs/bench_bridge"

    def __post_init__(self) -> None:
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds is {list(self.seeds)}, allowed one or more different ones, each >= 0")
        if not 1 <= self.goals <= 1000:
            raise ValueError(f"goals is {self.goals}, allowed [1, 1000]")
        for name, known in (("paths", tuple(PATHS)), ("parts", PARTS)):
            given = getattr(self, name)
            if not given or not set(given) <= set(known) or len(set(given)) < len(given):
                raise ValueError(f"{name} is {list(given)}, allowed one or more of {', '.join(known)}")
        try:
            self.checkpoint.format(env="", seed=0)
        except (KeyError, IndexError, ValueError) as error:
            text = f"checkpoint is '{self.checkpoint}', allowed {{env}} and {{seed}} in it: {error}"
            raise ValueError(text) from error


SCHEMA = BridgeBench
QUICK: dict[str, Any] = {"seeds": [0], "goals": 1, "experiment": "smoke_train", "runs": "runs/bench_bridge_quick"}


def run(config: BridgeBench, runner: Runner | None = None) -> Findings:
    """Train what is missing, drive every path, then compare them on one plan.

    Args:
        config: settings.
        runner: runs a `loopwm` command line to its end; None starts a process.

    Raises:
        RequestError: no such checkpoint.
        BenchmarkError: a run failed.
    """
    runs, paths, runner = Path(config.runs), [PATHS[name] for name in config.paths], runner or run_process
    if "{seed}" not in config.checkpoint and config.checkpoint and len(config.seeds) > 1:
        raise RequestError(f"checkpoint is '{config.checkpoint}', allowed with {{seed}} in it for several seeds")
    steps = len(paths) * (("parity" in config.parts) + len(config.seeds) * ("reaches" in config.parts))
    found: list[Reaches] = []
    rows, figures = [], []
    with progress("bench bridge", steps) as bar:
        for seed in config.seeds if "reaches" in config.parts else ():
            for path in paths:
                folder = trained(path, seed, config.checkpoint, config.experiment, runs, runner)
                found.append(deployed(path, seed, config.goals, folder, runs, runner))
                bar.advance(success=found[-1].success)
        parity = []
        for path in paths if "parity" in config.parts else ():
            parity.append(parity_row(path, runs))
            bar.advance()
    if found:
        rows = [one.row() for one in found] + [one.tracking() for one in found]
        caption = "distance to each goal of the chain at its end, one point for each goal and seed"
        figures.append(Figure("reaches", caption, lambda file: draw_reaches(found, file)))
    if parity:
        rows += parity
        rides = {path.name: measured(path.name, path, runs) for path in paths if path.name != path.direct}
        caption = "distance of the measured joints from the fixed plan, the greatest of all joints"
        figures.append(Figure("parity", caption, lambda file: draw_parity(rides, file)))
    made = [] if config.experiment else claims(found)
    commits = list(dict.fromkeys(one.commit for one in found))
    return Findings(
        list(config.seeds), rows, made, notes(config, found), commit=", ".join(commits) or None, figures=figures
    )


def claims(found: Sequence[Reaches]) -> list[Claim]:
    """What every path promises; the worst seed counts."""
    made = []
    for name in dict.fromkeys(one.path.name for one in found):
        here = [one for one in found if one.path.name == name]
        worst = f"worst of {len(here)} seed(s)"
        success = [one.success for one in here]
        made.append(Claim.over(f"{name}: success on {here[0].goals} goals, {worst}", success, SUCCESS, "higher", min))
        made.append(Claim.over(f"{name}: faults", [float(len(one.faults)) for one in here], 0, "lower", sum))
        for key, text, target in (
            ("limit_violations", "commands beyond a limit", 0.0),
            ("slowed_fraction", f"share of the time slowed by the alarm, {worst}", SLOWED),
        ):
            values = [float(one.summary[key]) for one in here if key in one.summary]
            if len(values) == len(here):
                made.append(Claim.over(f"{name}: {text}", values, target, "lower", max))
    return made


def notes(config: BridgeBench, found: Sequence[Reaches]) -> list[str]:
    """How it was measured."""
    told = [
        "Each path is the whole one: planner, bridge, driver, the vendor's client, the wire, an emulator of it in "
        "its own process, and the simulated arm behind it; panda_sim has no wire. Emulators say nothing about a motor.",
        "Delay and distances of the tracking are between commands and measured positions of a whole run, those of the "
        "parity between one plan on two arms; each at the delay with the least root mean square, in steps of 1 ms.",
    ]
    for one in found:
        told += [f"{one.path.name}, seed {one.seed}, ended in a fault: {text}." for text in one.faults]
    if config.experiment:
        told.append(f"The claims are about the default, not about experiment={config.experiment}: none is made.")
    return told
