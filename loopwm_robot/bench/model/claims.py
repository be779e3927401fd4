"""The claims of the paper and of the project, each with its number; what was not run makes no claim."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from itertools import product

from ..common import Claim
from .adaptive import BUDGET, STACK
from .chunks import LONGEST
from .efficiency import common_error, curve, parameters_for
from .results import Result, Results
from .variants import EQUAL_FLOPS, EQUAL_PARAMETERS

HARD = ("push", "hidden")
"""Data sets on which LoopWM has to be the best; on the others no worse."""
FAR = (20, 50)
NORM_BOUND = 10.0
"""Largest root mean square of a latent state: memory has 1, what is observed is in standard deviations of the data."""
CONTEXT, LOOPS = "20", "4"


def claims(results: Results, rule: str = "converged") -> list[Claim]:
    """All claims that the results allow.

    Args:
        results: of the run.
        rule: the exit rule that the claims on depth and difficulty are about.
    """
    makers = (looping, context, efficiency, dial, chunked, long_rollouts)
    found = [claim for make in makers for claim in make(results)]
    return found + list(difficulty(results, rule)) + list(speed(results)) + list(cheap(results, rule))


def looping(results: Results) -> Iterator[Claim]:
    """Worst seed of LoopWM against the best of the best peer; where it only has to be no worse, the other way round."""
    for dataset in results.datasets():
        for text, group in (("parameters", EQUAL_PARAMETERS), ("operations", EQUAL_FLOPS)):
            ratios = [r for h in FAR if (r := _ratio(results, dataset, group, h, dataset in HARD)) is not None]
            if ratios:
                how = "worst seed over the best" if dataset in HARD else "best seed over the worst"
                at = f"{dataset}: error of LoopWM at 20 and 50 steps, {how} of the best peer at equal {text}"
                yield Claim(at, max(ratios), 1.0, "lower", _seed_spread(results, dataset))


def _ratio(results: Results, dataset: str, group: Sequence[str], horizon: int, strict: bool) -> float | None:
    """Error of LoopWM over that of the peer with the lowest median."""
    mine = results.errors(dataset, "loopwm", horizon)
    peers = [errors for name in group if (errors := results.errors(dataset, name, horizon))]
    if not mine or not peers:
        return None
    if strict:
        return max(mine) / min(min(errors) for errors in peers)
    return min(mine) / max(min(peers, key=statistics.median))


def _seed_spread(results: Results, dataset: str) -> float | None:
    """Largest relative range of LoopWM's seeds at the far horizons."""
    found = [results.errors(dataset, "loopwm", h) for h in FAR]
    return max((max(e) - min(e)) / statistics.median(e) for e in found) if all(len(e) > 1 for e in found) else None


def context(results: Results) -> Iterator[Claim]:
    """Share of the gap from blind to told that context closes on unseen dynamics, and what loops add to it."""
    chosen = [r for r in results.of("hidden", "loopwm") if "context" in r.measures]
    for h in (1, 20):
        blind = {r.seed: r.error(h) for r in results.of("hidden", "blind")}
        told = {r.seed: r.error(h) for r in results.of("hidden", "told")}
        shares = []
        for r in chosen:
            low, high, mine = told.get(r.seed), blind.get(r.seed), _seen(r, LOOPS, h)
            if low is not None and high is not None and high > low:
                shares.append((high - mine) / (high - low))
        if chosen and len(shares) == len(chosen):
            text = f"hidden: share of the gap to a model told the truth that {CONTEXT} steps of context close"
            yield Claim.over(f"{text}, {h}-step error", shares, 0.5, "higher")
    if chosen:
        one, four = ([_seen(r, loops, 20) for r in chosen] for loops in ("1", LOOPS))
        text = f"hidden: 20-step error after {CONTEXT} steps of context, worst seed at four loops over the best at one"
        yield Claim(text, max(four) / min(one), 1.0, "lower")


def _seen(result: Result, loops: str, horizon: int) -> float:
    return float(result.measures["context"][CONTEXT][loops][f"h{horizon}"])


def efficiency(results: Results) -> Iterator[Claim]:
    """Parameters of other families over those of LoopWM at the lowest 20-step error that both reach."""
    for dataset in results.datasets():
        mine = curve(results, dataset, "loopwm")
        for family, name in (("untied", "the untied stack"), ("mlp", "the MLP")):
            theirs = curve(results, dataset, family)
            if not mine or not theirs:
                continue
            error = common_error((mine, theirs))
            own, other = parameters_for(mine, error), parameters_for(theirs, error)
            if own is not None and other is not None:
                text = f"{dataset}: parameters of {name} over LoopWM's at the lowest 20-step error both reach"
                yield Claim(text, other / own, 10, "higher")


def dial(results: Results) -> Iterator[Claim]:
    """Error falls up to the mean depth, and stays at 4 times the mean."""
    steps, ends = [], []
    for dataset in results.datasets():
        for r in results.of(dataset, "loopwm"):
            if not r.measures.get("loops"):
                continue
            error = {int(t): found["h20"] for t, found in r.measures["loops"].items()}
            mean = r.measures["mean_loops"]
            steps += [error[t + 1] / error[t] for t in range(1, mean)]
            ends.append(error[max(error)] / min(error.values()))
    if ends:
        worst = "worst data set and seed"
        text = f"20-step error with one more loop over that before, up to the mean depth, {worst}"
        if steps:
            yield Claim.over(text, steps, 1.0, "lower", max)
        text = f"20-step error at 4 times the mean depth over the lowest, {worst}"
        yield Claim.over(text, ends, 1.02, "lower", max)


def chunked(results: Results) -> Iterator[Claim]:
    """In transitions of several control steps: error falls up to the mean depth and stays, and loops go where it is."""
    for dataset in results.datasets():
        chosen = [r for r in results.of(dataset, "chunks") if "chunks" in r.measures]
        if not chosen:
            continue
        what = f"{dataset}, transitions of {LONGEST} control steps"
        steps, ends = [], []
        for r in chosen:
            error = {int(t): found["h24"] for t, found in r.measures["chunks"][str(LONGEST)].items()}
            steps += [error[t + 1] / error[t] for t in range(1, r.measures["mean_loops"])]
            ends.append(error[max(error)] / min(error.values()))
        text = f"{what}: 24-step error with one more loop over that before, up to the mean depth, worst seed"
        yield Claim.over(text, steps, 1.0, "lower", max)
        text = f"{what}: 24-step error at 4 times the mean depth over the lowest, worst seed"
        yield Claim.over(text, ends, 1.02, "lower", max)
        found = [r.measures["chunk_exit"] for r in chosen]
        if all("loops_contact" in f for f in found):
            ratios = [f["loops_contact"] / f["loops_free"] for f in found]
            yield Claim.over(f"{what}: loops in contact over loops in free motion", ratios, 1.5, "higher")
        text = f"{what}: rank correlation of the loops used with the error left at one loop"
        yield Claim.over(text, [f["correlation_error"] for f in found], 0.4, "higher")


def difficulty(results: Results, rule: str) -> Iterator[Claim]:
    """Loops go where it is hard."""
    for dataset in results.datasets():
        exits = (r.measures.get("exits", {}) for r in results.of(dataset, "loopwm"))
        found = [about[rule] for about in exits if rule in about]
        if found and all("loops_contact" in f for f in found):
            ratios = [f["loops_contact"] / f["loops_free"] for f in found]
            yield Claim.over(f"{dataset}: loops in contact over loops in free motion", ratios, 1.5, "higher")
            correlations = [f["correlation_error"] for f in found]
            text = f"{dataset}: rank correlation of the loops used with the error left at one loop"
            yield Claim.over(text, correlations, 0.4, "higher")


def speed(results: Results) -> Iterator[Claim]:
    """Time with the fastest exit rule within the error budget against always looping to the maximum."""
    for dataset, (key, device) in product(results.datasets(), (("planning", "CPU"), ("planning_cuda", "CUDA"))):
        factors = []
        for r in results.of(dataset, "loopwm"):
            if key in r.times:
                spent = r.times[key]
                good = [spent[n] for n, about in r.measures["exits"].items() if about["added_error"] <= BUDGET]
                factors.append(spent["maximum"] / min([*good, spent["maximum"]]))
        if factors:
            text = f"{dataset}: time of 512 candidates x 10 steps on {device} at the largest depth over that with exits"
            yield Claim.over(f"{text} that add at most {BUDGET:.0%} error", factors, 2.0, "higher")


def cheap(results: Results, rule: str) -> Iterator[Claim]:
    """Operations of an easy transition."""
    for dataset in results.datasets():
        found = [r for r in results.of(dataset, "loopwm") if rule in r.times.get("free_flops", {})]
        if not found or "loops_free" not in found[0].measures["exits"][rule]:
            continue
        deep = [r.times["stack_flops"] / r.times["free_flops"][rule] for r in found]
        yield Claim.over(
            f"{dataset}: operations of a {STACK}-layer stack over those of a free-motion transition", deep, 25, "higher"
        )
        stack = same_accuracy(results, dataset)
        if stack is not None:
            text = f"{dataset}: operations of an untied stack of equal 20-step error over those of such a transition"
            yield Claim.over(text, [stack / r.times["free_flops"][rule] for r in found], 1.0, "higher")


def same_accuracy(results: Results, dataset: str) -> float | None:
    """Operations of the cheapest untied stack whose 20-step error is no higher than that of LoopWM."""
    mine = results.median(dataset, "loopwm", 20)
    found = []
    for name in results.variants(dataset):
        theirs = results.median(dataset, name, 20)
        if name.startswith("untied") and mine is not None and theirs is not None and theirs <= mine:
            found.append(float(results.of(dataset, name)[0].record["transition_flops"]))
    return min(found) if found else None


def long_rollouts(results: Results) -> Iterator[Claim]:
    """Rollouts of 1,000 steps: finite, bounded, and no worse than predicting the mean of the data."""
    chosen = [r for dataset in results.datasets() for r in results.of(dataset, "loopwm")]
    found = [about for r in chosen for about in r.measures.get("long", {}).values()]
    if not found:
        return
    steps, starts = found[0]["steps"][-1], min(f["starts"] for f in found)
    text = f"imagined rollouts of {steps} steps from {starts} starts"
    yield Claim(f"{text} with non-finite states, of {len(found)}", sum(not f["finite"] for f in found), 0, "lower")
    yield Claim.over(f"{text}: largest state, RMS", [f["state_norm"] for f in found], NORM_BOUND, "lower", max)
    ratios = [f["tail"] / f["mean_tail"] for f in found]
    yield Claim.over(f"{text}: error of the last 100 over that of the mean, worst", ratios, 1.0, "lower", max)
