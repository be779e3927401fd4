"""Environments: speed beside others and beside the physics alone, determinism, stability, solvability, pictures."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import mujoco

from envs.control_modes import CONTROL_MODES

from ...progress import progress
from ...schema import plain
from ..common import Claim, Figure, Findings, Row
from ..shelf import Measured, Shelf, origin_rows
from .checks import DEEP, LONG, determinism, our_ids, stability
from .config import PARTS, EnvsBench
from .experts import solve
from .images import SIZES, image_rates, image_rows
from .pairs import pair_rates
from .peers import PEERS, SUBSTEPS, TASKS
from .plots import draw
from .speed import MODES, OURS, Rates, batched, rates_for, single, speed_rows

__all__ = ["QUICK", "SCHEMA", "EnvsBench", "run"]

SCHEMA = EnvsBench
QUICK: dict[str, Any] = {
    "arms": ["panda"],
    "seeds": [0, 1],
    "steps": 150,
    "num_envs": [16],
    "batch_steps": 10,
    "determinism_steps": 15,
    "stability_steps": 100,
    "episodes": 3,
    "frames": 20,
    "runs": "runs/bench_envs_quick",
}


def run(config: EnvsBench) -> Findings:
    """Measure the parts that are asked for; the page has all that were ever measured in this folder of runs."""
    shelf = Shelf(Path(config.runs).expanduser() / "parts", archive=config.archive)
    ids = our_ids(config.arms)
    total = {
        "speed": 2 * len(config.seeds) + sum(4 * len(config.num_envs) + 2 * len(rates_for(task)[1:]) for task in TASKS),
        "determinism": len(ids),
        "stability": len(ids) * len(CONTROL_MODES),
        "solvability": len(ids),
        "images": len(config.seeds),
    }
    with progress("envs", sum(total[part] for part in config.parts)) as bar:
        for part in config.parts:
            uses, measure = MEASURES[part]
            made = partial(measure, config, ids, bar.advance)
            shelf.measure(part, "", {key: plain(getattr(config, key)) for key in uses}, made)
    units = [unit for part in PARTS for unit in shelf.all(part)]
    rows = [row for unit in units for row in unit.rows] + origin_rows(units)
    claims = [claim for unit in units for claim in unit.claims]
    speed = [row for unit in units if unit.part == "speed" for row in unit.rows]
    caption = "Control steps a second, median of the repeats, each package with its own number of physics steps in one."
    figures = [Figure("speed", caption, partial(draw, speed))] if speed else []
    versions = {peer.package: peer.version or "not installed" for peer in PEERS}
    notes = [note for unit in units for note in unit.notes]
    return Findings(list(config.seeds), rows, claims, notes, {"packages": versions}, figures=figures)


def _speed(config: EnvsBench, ids: list[str], advance: Callable[[], None]) -> Measured:
    alone, left_out = single(config, advance)
    pairs, left_out_in_pairs = pair_rates(config, advance)
    many, shares = batched(config, advance)
    versions = [f"{peer.package} {peer.version}" for peer in PEERS if peer.version is not None]
    notes = [
        "Random actions; all rates but those of the physics alone include resets. The physics alone is one call of "
        "mujoco.rollout for all environments. Others are compared with ours at as many physics steps in a control "
        "step: 20 of 2 ms in Fetch and dm_control, 5 of 2.5 ms in Meta-World. They step many environments one after "
        "the other, so on one core no faster than one; on two cores they have two processes that wait for nobody.",
        f"The speeds are those with {', '.join([f'mujoco {mujoco.__version__}', *versions])}.",
    ]
    rows, claims = speed_rows(alone, pairs, many, shares), speed_claims(alone, pairs, many, shares)
    return rows, claims, notes + left_out + left_out_in_pairs


def _determinism(config: EnvsBench, ids: list[str], advance: Callable[[], None]) -> Measured:
    found = determinism(config.arms, config.determinism_steps, advance)
    return found, determinism_claims(found), []


def _stability(config: EnvsBench, ids: list[str], advance: Callable[[], None]) -> Measured:
    found = []
    for name in ids:
        for mode in CONTROL_MODES:
            found.append(stability(name, mode, config.stability_steps))
            advance()
    return found, stability_claims(found), []


def _solvability(config: EnvsBench, ids: list[str], advance: Callable[[], None]) -> Measured:
    tried = {name: solve(name, config.episodes, advance) for name in ids}
    found = [row for row in tried.values() if row is not None]
    without = [name for name, row in tried.items() if row is None]
    return found, solvability_claims(found), [f"No script: {', '.join(without)}."] if without else []


def _images(config: EnvsBench, ids: list[str], advance: Callable[[], None]) -> Measured:
    pictures, left_out = image_rates(config, advance)
    backend = os.environ.get("MUJOCO_GL", "default")
    notes = [*left_out, f"Pictures by the backend MUJOCO_GL={backend} everywhere."]
    return image_rows(pictures), image_claims(pictures), notes


Measure = Callable[[EnvsBench, list[str], Callable[[], None]], Measured]
MEASURES: dict[str, tuple[tuple[str, ...], Measure]] = {
    "speed": (("seeds", "steps", "num_envs", "batch_steps"), _speed),
    "determinism": (("arms", "determinism_steps"), _determinism),
    "stability": (("arms", "stability_steps"), _stability),
    "solvability": (("arms", "episodes"), _solvability),
    "images": (("seeds", "frames"), _images),
}
"""Part -> the settings that it depends on, and what measures it."""


def speed_claims(alone: Rates, pairs: Rates, many: Rates, shares: Rates) -> list[Claim]:
    """Faster than others on a core and on two, and not much slower than the physics."""
    made = []
    numbers = list(dict.fromkeys(key[-1] for key in shares))
    first = numbers[0] if numbers else ""
    for task in TASKS:
        one = {key: rates for key, rates in alone.items() if key[1] == task and key[0] != OURS}
        two = {key: rates for key, rates in pairs.items() if key[1] == task}
        for text, others, mine in (
            (f"one core, {first} at once", one, {n: many.get((task, MODES[0], "1", n, first)) for _, _, n in one}),
            (f"two cores, {first} at once", two, {n: many.get((task, MODES[0], "2", n, first)) for _, _, n in two}),
            ("one core, one alone", one, {n: alone.get((OURS, task, n)) for _, _, n in one}),
        ):
            ratios = {
                key[0]: [a / b for a, b in zip(rates, theirs, strict=True)]
                for key, theirs in others.items()
                if (rates := mine[key[2]]) is not None
            }
            if ratios:
                best = min(ratios, key=lambda package: sorted(ratios[package])[len(ratios[package]) // 2])
                about = f"{task}, {text}: steps a second over those of the fastest other package ({best})"
                made.append(Claim.over(about, ratios[best], 3.0, "higher"))
    for num, cores in product(numbers, ("1", "2")):
        of = {key: values for key, values in shares.items() if key[2:] == (cores, str(SUBSTEPS), num)}
        if of:
            worst = min(of, key=lambda key: sorted(of[key])[len(of[key]) // 2])
            text = f"{num} at once over the physics alone on {cores} core{'s' * (cores == '2')}, worst task and mode"
            made.append(Claim.over(f"{text} ({worst[0]}, {worst[1]})", of[worst], 0.85, "higher"))
    return made


def determinism_claims(found: list[Row]) -> list[Claim]:
    """Not one bit."""
    count = len(found) * len(CONTROL_MODES)
    listed = {"in_another_process": "in another process", "one_of_many": "as one of many"}
    return [
        Claim(f"trajectories with any bit different {text}, of {count}", _sum(found, key), 0, "lower")
        for key, text in listed.items()
    ]


def stability_claims(found: list[Row]) -> list[Claim]:
    """Nothing goes wrong."""
    steps = _sum(found, "steps")
    listed = {
        "warnings": "warnings of MuJoCo",
        "not_finite": "observations that are not finite",
        "out_of_bounds": "observations out of their bounds",
        "deep_for_long": f"control steps with something deeper than {1000 * DEEP:g} mm for more than {LONG}",
    }
    return [
        Claim(f"{text}, of {steps} random control steps", _sum(found, key), 0, "lower") for key, text in listed.items()
    ]


def solvability_claims(found: list[Row]) -> list[Claim]:
    """Every task can be solved with every arm."""
    if not found:
        return []
    worst = 100 * min(int(row["solved"]) / int(row["episodes"]) for row in found)
    return [Claim(f"episodes solved by a script [%], worst of {len(found)} arm x task", worst, 95.0, "higher")]


def image_claims(rates: dict[tuple[str, int], list[float]]) -> list[Claim]:
    """Not slower than others."""
    made = []
    for size in SIZES:
        others = [values for (package, pixels), values in rates.items() if pixels == size and package != OURS]
        if others and (OURS, size) in rates:
            ratios = [mine / max(rest) for mine, *rest in zip(rates[OURS, size], *others, strict=True)]
            text = f"pictures a second at {size} pixels over those of the fastest other package"
            made.append(Claim.over(text, ratios, 1.0, "higher"))
    return made


def _sum(found: list[Row], key: str) -> int:
    return sum(int(row[key]) for row in found)
