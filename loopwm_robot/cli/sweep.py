"""usage: loopwm sweep train|demo KEY=A,B ... [jobs=N] [ray=ADDRESS] [out=FOLDER], or loopwm sweep resume=FOLDER

Trains with every combination of the values that are given with commas, or as range(0,3); other settings are those of
the command. jobs runs go at a time (1; on Ray as many as it has cores for), each in a folder of its own inside out;
none makes runs/sweep/TIME. Afterwards compare.html puts them side by side. With ray=auto, an address or local they run
on a Ray cluster (extra ray), each on a core where one is free; out is then a folder that all its machines see. A value
with a comma of its own is quoted: 'costs="[{a: 1}, {b: 2}]"'.

Example: loopwm sweep train seed=0,1,2 model=small,base jobs=2
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from contextlib import nullcontext

import hydra.errors
from hydra.core.override_parser.overrides_parser import OverridesParser

from ..errors import RequestError
from ..ray_runs import ray_start
from ..runs import RunFolder
from ..schema import build
from ..sweep import SweepPlan, combinations, run_sweep
from .compose import compose, read
from .errors import one_line

COMMANDS = ("train", "demo")
MAX_RUNS = 1000
MAX_JOBS = 256


def run(overrides: list[str]) -> int:
    """Do a sweep, or what is left of one."""
    own = {key: _last(overrides, key) for key in ("out", "resume", "jobs", "ray")}
    rest = [text for text in overrides if text.partition("=")[0] not in own]
    if own["resume"] is not None:
        if rest or own["out"] is not None:
            raise RequestError(f"resume goes on with the settings of its sweep, got also {' '.join(rest) or 'out'}")
        with RunFolder.create("sweep", resume=own["resume"]) as folder:
            plan = build(SweepPlan, read(folder.path / "config.yaml"))
            if own["jobs"] is not None:
                plan = SweepPlan(plan.command, plan.settings, _jobs(own["jobs"]))
            return _do(plan, folder, own["ray"])
    plan = _plan(rest, _jobs(own["jobs"] or ("1" if own["ray"] is None else str(MAX_JOBS))))
    with RunFolder.create("sweep", own["out"]) as folder:
        folder.save_config(plan)
        return _do(plan, folder, own["ray"])


def _do(plan: SweepPlan, folder: RunFolder, ray: str | None) -> int:
    with nullcontext() if ray is None else ray_start(ray) as start:
        runs = run_sweep(plan, folder.path, start)
    folder.write_summary({"runs": len(runs), "command": plan.command})
    if len(runs) > 1:
        from ..report.compare import compare_runs, read_runs

        print(f"comparison: {compare_runs(read_runs(runs), folder.path)}")
    return 0


def _plan(rest: Sequence[str], jobs: int) -> SweepPlan:
    """All runs, each with settings that its command accepts."""
    if not rest or rest[0] not in COMMANDS:
        raise RequestError(f"sweep got '{rest[0] if rest else ''}', allowed {' or '.join(COMMANDS)} first; see --help")
    command = rest[0]
    settings = combinations([_choices(text) for text in rest[1:]])
    if len(settings) > MAX_RUNS:
        raise RequestError(f"sweep has {len(settings)} runs, allowed {MAX_RUNS}; give fewer values")
    module = importlib.import_module(f"{__package__}.{command}")
    for overrides in settings.values():
        compose(module.CONFIG_NAME, overrides, module.SCHEMA)
    return SweepPlan(command, settings, jobs)


def _choices(text: str) -> list[str]:
    """KEY=VALUE for each value that a text names."""
    key, _, value = text.partition("=")
    try:
        override = OverridesParser.create().parse_override(text)
    except hydra.errors.HydraException as error:
        if "," not in value:
            return [text]
        raise RequestError(f"'{text}' is no KEY=A,B ({one_line(error).split(' See ')[0]}); quote it") from error
    if not override.is_sweep_override():
        return [text]
    if not override.is_discrete_sweep():
        raise RequestError(f"'{text}' names no single values, allowed KEY=A,B or KEY=range(FIRST,END)")
    return [f"{key}={chosen}" for chosen in override.sweep_string_iterator()]


def _last(overrides: Sequence[str], key: str) -> str | None:
    return next((text.partition("=")[2] for text in reversed(overrides) if text.startswith(f"{key}=")), None)


def _jobs(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= MAX_JOBS:
        raise RequestError(f"jobs is '{text}', allowed [1, {MAX_JOBS}] runs at a time")
    return int(text)
