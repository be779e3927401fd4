"""Rows of the page: each table condenses the seeds to their median, with the smallest and the largest beside it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from itertools import product

from ..common import Row
from ..page import FOLDED
from .adaptive import BUDGET
from .chunks import AHEAD, LONGEST, PLANNED, fewest_loops
from .config import HORIZONS
from .efficiency import FAMILIES, curve
from .results import Result, Results
from .variants import EQUAL_FLOPS, EQUAL_PARAMETERS

UNITS = "in standard deviations of the data"
EXIT_KEYS = ("threshold", "mean_loops", "loops_contact", "loops_free", "correlation_error", "correlation_gain")


def rows(results: Results) -> list[Row]:
    """All tables."""
    makers: tuple[Callable[[Results], Iterator[Row]], ...] = (
        error_rows,
        contact_rows,
        regulariser_rows,
        loop_rows,
        exit_rows,
        chunk_rows,
        time_rows,
        context_rows,
        sweep_rows,
        long_rows,
        deferred_rows,
        seed_rows,
    )
    return [row for make in makers for row in make(results)]


def error_rows(results: Results) -> Iterator[Row]:
    """Open-loop errors of all models but those of the sweep over sizes."""
    for dataset in results.datasets():
        for variant in results.variants(dataset):
            if is_sweep(variant):
                continue
            chosen = results.of(dataset, variant)
            row: Row = {
                "table": f"{dataset}: open-loop error, {UNITS}",
                "model": variant,
                "equal": equal(variant),
                "parameters": chosen[0].record["parameters"],
                "operations": chosen[0].record["transition_flops"],
            }
            for h in HORIZONS:
                row |= spread(f"h{h}", results.errors(dataset, variant, h), h >= 20)
            row |= spread("object h20", results.errors(dataset, variant, 20, where="object"), False)
            row |= spread("seen h20", results.errors(dataset, variant, 20, "test_seen"), False)
            yield row | {"training_s": statistics.median(r.record["cpu_time_s"] for r in chosen)}


def contact_rows(results: Results) -> Iterator[Row]:
    """The same apart for predictions with and without contact on the way."""
    for dataset in results.datasets():
        for variant in results.variants(dataset):
            if is_sweep(variant) or not results.errors(dataset, variant, 1, where="contact"):
                continue
            row: Row = {"table": f"{dataset}: open-loop error with and without contact on the way", "model": variant}
            for where in ("contact", "free"):
                for h in HORIZONS:
                    row |= spread(f"{where} h{h}", results.errors(dataset, variant, h, where=where), False)
            yield row


def regulariser_rows(results: Results) -> Iterator[Row]:
    """What depth does as a regulariser in training, apart from what it does at inference."""
    for dataset, variant, chosen in every(results, "loops"):
        if variant != "loopwm":
            continue
        mean = str(chosen[0].measures["mean_loops"])
        read = {f"trained and read at {mean} loops on average": mean, "the same weights read at one loop": "1"}
        for text, loops in read.items():
            row: Row = {"table": "random depth: in training and at inference", "data": dataset, "model": text}
            for h in (1, 20, 50):
                row |= spread(f"h{h}", [r.measures["loops"][loops][f"h{h}"] for r in chosen], h == 20)
            yield row
        for name, text in (
            ("depth_fixed", f"always {mean} loops in training"),
            ("one_pass", "one pass"),
            ("one_pass_noise", "one pass, trained with the noise that random depth makes"),
        ):
            if results.of(dataset, name):
                row = {"table": "random depth: in training and at inference", "data": dataset, "model": text}
                for h in (1, 20, 50):
                    row |= spread(f"h{h}", results.errors(dataset, name, h), h == 20)
                yield row


def loop_rows(results: Results) -> Iterator[Row]:
    """Errors of the same weights read out at more and fewer loops."""
    for dataset, variant, chosen in every(results, "loops"):
        for h in (1, 20, 50):
            row: Row = {"table": "error by loops at inference", "data": dataset, "model": variant, "horizon": h}
            for loops in chosen[0].measures["loops"]:
                row[f"{loops} loop{'s' * (loops != '1')}"] = median(r.measures["loops"][loops][f"h{h}"] for r in chosen)
            yield row


def exit_rows(results: Results) -> Iterator[Row]:
    """Each exit rule, calibrated to an added error of 1 %."""
    for dataset, variant, chosen in every(results, "exits"):
        for rule in chosen[0].measures["exits"]:
            row: Row = {"table": "exits, calibrated on held-out episodes", "data": dataset, "model": variant}
            row["rule"] = rule
            for key in (*EXIT_KEYS, "added_error"):
                values = [r.measures["exits"][rule][key] for r in chosen if key in r.measures["exits"][rule]]
                if values:
                    row["added_error_fraction" if key == "added_error" else key] = median(values)
            yield row


def chunk_rows(results: Results) -> Iterator[Row]:
    """Transitions of several control steps: errors by loops, time at the fewest loops, and the exit of the longest."""
    table = "transitions of several control steps, step-consistent loops"
    for dataset, _, chosen in every(results, "chunks"):
        for chunk, h in product(chosen[0].measures["chunks"], AHEAD):
            row: Row = {"table": table, "data": dataset, "control steps of a transition": chunk, "horizon": h}
            for loops in chosen[0].measures["chunks"][chunk]:
                values = [r.measures["chunks"][chunk][loops][f"h{h}"] for r in chosen]
                row[f"{loops} loop{'s' * (loops != '1')}"] = median(values)
            yield row
    for dataset, _, chosen in every(results, "chunks"):
        for chunk in chosen[0].measures["chunks"]:
            loops = [fewest_loops(r.measures["chunks"][chunk]) for r in chosen]
            row = {"table": f"the same: fewest loops within {BUDGET:.0%} of the lowest error", "data": dataset}
            row |= {"control steps of a transition": chunk, "loops": median(loops)}
            row["loops of 8 control steps"] = LONGEST / int(chunk) * median(loops)
            both = zip(chosen, loops, strict=True)
            row |= spread("h48", [r.measures["chunks"][chunk][str(n)]["h48"] for r, n in both])
            if times := [r.times["chunks"][chunk] for r in chosen if "chunks" in r.times]:
                row[f"planning 512 x {PLANNED} steps_s"] = median(times)
            yield row
    for dataset, _, chosen in every(results, "chunk_exit"):
        row = {"table": f"the same: exit doubling in transitions of {LONGEST} control steps", "data": dataset}
        for key in EXIT_KEYS:
            if values := [r.measures["chunk_exit"][key] for r in chosen if key in r.measures["chunk_exit"]]:
                row[key] = median(values)
        yield row | {"added_error_fraction": median(r.measures["chunk_exit"]["added_error"] for r in chosen)}


def time_rows(results: Results) -> Iterator[Row]:
    """Time of imagining 512 x 10 transitions with each rule, and operations of an easy transition."""
    for dataset, (key, device) in product(results.datasets(), (("planning", "CPU"), ("planning_cuda", "CUDA"))):
        chosen = [r for r in results.of(dataset, "loopwm") if key in r.times]
        for rule in chosen[0].times[key] if chosen else ():
            row: Row = {"table": "time of 512 candidates x 10 steps, one thread", "data": dataset, "device": device}
            row |= {"rule": rule, "planning_s": median(r.times[key][rule] for r in chosen)}
            row["times faster than maximum"] = median(r.times[key]["maximum"] / r.times[key][rule] for r in chosen)
            if rule in chosen[0].times["free_flops"]:
                row["added_error_fraction"] = median(r.measures["exits"][rule]["added_error"] for r in chosen)
                row["operations, free motion"] = round(median(r.times["free_flops"][rule] for r in chosen))
            yield row


def context_rows(results: Results) -> Iterator[Row]:
    """Errors on unseen dynamics by what was seen before and by loops, with blind and told models beside them."""
    table = f"hidden dynamics: error by transitions seen before, {UNITS}"
    for variant in ("blind", "told"):
        for h in (1, 20):
            if values := results.errors("hidden", variant, h):
                row: Row = {"table": table, "model": variant, "seen": "", "loops": "", "horizon": h}
                yield row | spread("error", values)
    for dataset, variant, chosen in every(results, "context"):
        if dataset == "hidden" and variant in ("loopwm", "one_pass"):
            for seen, by_loops in chosen[0].measures["context"].items():
                for loops in by_loops:
                    for h in (1, 20):
                        values = [r.measures["context"][seen][loops][f"h{h}"] for r in chosen]
                        row = {"table": table, "model": variant, "seen": seen, "loops": loops, "horizon": h}
                        yield row | spread("error", values)


def sweep_rows(results: Results) -> Iterator[Row]:
    """Error at 20 steps by parameters."""
    for dataset in results.datasets():
        for family in FAMILIES:
            for point in curve(results, dataset, family):
                row: Row = {"table": "error at 20 steps by size", "data": dataset, "family": family}
                yield row | {"parameters": point.parameters, **spread("h20", point.errors)}


def long_rows(results: Results) -> Iterator[Row]:
    """Long rollouts: the worst of the seeds."""
    for dataset, variant, chosen in every(results, "long"):
        for split in chosen[0].measures["long"]:
            found = [r.measures["long"][split] for r in chosen]
            yield {
                "table": f"rollouts of {found[0]['steps'][-1]} steps, worst seed",
                "data": dataset,
                "model": variant,
                "actions": split.removeprefix("long_"),
                "starts": found[0]["starts"],
                "finite": all(f["finite"] for f in found),
                "largest state, RMS": max(f["state_norm"] for f in found),
                "error, last 100 steps": max(f["tail"] for f in found),
                "error of the mean": max(f["mean_tail"] for f in found),
            }


def deferred_rows(results: Results) -> Iterator[Row]:
    """Deferred decoding against decoding every step."""
    for dataset in results.datasets():
        if not results.of(dataset, "deferred"):
            continue
        for variant in ("loopwm", "deferred"):
            chosen = results.of(dataset, variant)
            row: Row = {"table": "deferred decoding", "data": dataset, "model": variant}
            row["training_s"] = median(r.record["cpu_time_s"] for r in chosen)
            row["error of the last step"] = median(r.measures["terminal"]["error"] for r in chosen)
            for h in (1, 20, 50):
                row |= spread(f"h{h}", results.errors(dataset, variant, h), False)
            for key in ("every", "last"):
                if times := [r.times["decoding"][key] for r in chosen if "decoding" in r.times]:
                    row[f"planning, decoding {key}_s"] = median(times)
            yield row


def seed_rows(results: Results) -> Iterator[Row]:
    """Every training."""
    for r in results:
        row: Row = {"table": f"{FOLDED}every training", "data": r.dataset, "model": r.variant, "seed": r.seed}
        for h in HORIZONS:
            if (error := r.error(h)) is not None:
                row[f"h{h}"] = error
        row |= {"training loss": r.record["losses"]["obs"]} if "losses" in r.record else {"failed": r.record["failed"]}
        if r.record["latent_noise"]:
            row["latent noise"] = r.record["latent_noise"]
        yield row | {"training_s": r.record["cpu_time_s"]}


def every(results: Results, key: str) -> Iterator[tuple[str, str, list[Result]]]:
    """Data set, variant and seeds for which something was measured."""
    for dataset in results.datasets():
        for variant in results.variants(dataset):
            chosen = [r for r in results.of(dataset, variant) if r.measures.get(key)]
            if chosen and not is_sweep(variant):
                yield dataset, variant, chosen


def is_sweep(variant: str) -> bool:
    """Whether a variant belongs to the sweep over sizes alone."""
    return variant.rpartition("_d")[2].isdigit()


def equal(variant: str) -> str:
    """What a model has in common with LoopWM."""
    if variant in EQUAL_PARAMETERS:
        return "parameters"
    return "operations" if variant in EQUAL_FLOPS else ""


def spread(name: str, values: Sequence[float], ends: bool = True) -> Row:
    """Median of the seeds, with the smallest and the largest where there are several and `ends` are wanted."""
    if not values:
        return {}
    found: Row = {name: statistics.median(values)}
    return found | {f"{name} min": min(values), f"{name} max": max(values)} if ends and len(values) > 1 else found


def median(values: Iterator[float] | Sequence[float]) -> float:
    """Median."""
    return float(statistics.median(values))
