"""Environments: speed beside others and beside the physics alone, determinism, stability, solvability, pictures."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from envs.control_modes import CONTROL_MODES

from ...progress import progress
from ..common import Claim, Figure, Findings, Row
from .checks import DEEP, LONG, determinism, our_ids, stability
from .config import EnvsBench
from .experts import solve
from .images import SIZES, image_rates, image_rows
from .peers import PEERS, TASKS
from .plots import draw
from .speed import OURS, Rates, batched, single, speed_rows

__all__ = ["QUICK", "SCHEMA", "EnvsBench", "run"]

SCHEMA = EnvsBench
QUICK: dict[str, Any] = {
    "arms": ["panda"],
    "seeds": [0, 1],
    "steps": 150,
    "num_envs": 16,
    "batch_steps": 10,
    "determinism_steps": 15,
    "stability_steps": 100,
    "episodes": 3,
    "frames": 20,
}


def run(config: EnvsBench) -> Findings:
    """Measure the parts that are asked for."""
    ids = our_ids(config.arms)
    total = {
        "speed": len(config.seeds) + 12,
        "determinism": len(ids),
        "stability": len(ids) * len(CONTROL_MODES),
        "solvability": len(ids),
        "images": len(config.seeds),
    }
    rows: list[Row] = []
    claims: list[Claim] = []
    notes = [
        "Random actions; all rates but those of the physics alone include resets. The physics alone is one call of "
        "mujoco.rollout for all environments. A control step is 50 ms here (25 physics steps), 40 ms (20) in Fetch and "
        "dm_control."
    ]
    figures = []
    with progress("envs", sum(total[part] for part in config.parts)) as bar:
        if "speed" in config.parts:
            alone, left_out = single(config, bar.advance)
            many, shares = batched(config, bar.advance)
            rows += speed_rows(config, alone, many, shares)
            claims += speed_claims(alone, shares)
            notes += left_out
            caption = "Control steps a second, median of the repeats."
            figures.append(Figure("speed", caption, partial(draw, alone, many)))
        if "determinism" in config.parts:
            found = determinism(config.arms, config.determinism_steps, bar.advance)
            rows += found
            claims += determinism_claims(found)
        if "stability" in config.parts:
            found = []
            for name in ids:
                for mode in CONTROL_MODES:
                    found.append(stability(name, mode, config.stability_steps))
                    bar.advance()
            rows += found
            claims += stability_claims(found)
        if "solvability" in config.parts:
            tried = {name: solve(name, config.episodes, bar.advance) for name in ids}
            found = [row for row in tried.values() if row is not None]
            rows += found
            claims += solvability_claims(found)
            if without := [name for name, row in tried.items() if row is None]:
                notes.append(f"No script: {', '.join(without)}.")
        if "images" in config.parts:
            pictures, left_out = image_rates(config, bar.advance)
            rows += image_rows(pictures)
            claims += image_claims(pictures)
            notes += left_out
            notes.append(f"Pictures by the backend MUJOCO_GL={os.environ.get('MUJOCO_GL', 'default')} everywhere.")
    versions = {peer.package: peer.version or "not installed" for peer in PEERS}
    return Findings(list(config.seeds), rows, claims, notes, {"packages": versions}, figures=figures)


def speed_claims(alone: Rates, shares: dict[tuple[str, ...], list[float]]) -> list[Claim]:
    """Not slower than others, and not much slower than the physics."""
    made = []
    for task in TASKS:
        others = {key[0]: rates for key, rates in alone.items() if key[1] == task and key[0] != OURS}
        if others:
            best = [max(rates) for rates in zip(*others.values(), strict=True)]
            ratios = [mine / other for mine, other in zip(alone[OURS, task], best, strict=True)]
            text = f"{task}: steps a second over those of the fastest other package"
            made.append(Claim.over(text, ratios, 1.0, "higher"))
    for cores in ("1", "2"):
        of = {key: values for key, values in shares.items() if key[2] == cores}
        if of:
            worst = min(of, key=lambda key: sorted(of[key])[len(of[key]) // 2])
            text = f"many at once over the physics alone on {cores} core{'s' * (cores == '2')}, worst task and mode"
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
