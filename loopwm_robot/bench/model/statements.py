"""In plain words: where loops pay at inference, and what random depth does in training."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from .chunks import LONGEST
from .results import Results

HORIZON = "h20"


def statements(results: Results) -> list[str]:
    """Sentences made from the numbers, one for each question that was measured."""
    found = [at_inference(results), in_chunks(results)]
    found += [
        against(results, "one_pass", "the same block run once in training and at inference"),
        against(results, "one_pass_noise", "one pass trained with noise as large as random depth makes"),
        against(results, "depth_fixed", "a fixed depth in training"),
    ]
    found.append(gap(results))
    return [text for text in found if text]


def at_inference(results: Results) -> str:
    """The same weights read out at the mean depth and at one loop."""
    parts = []
    for dataset in results.datasets():
        chosen = [r for r in results.of(dataset, "loopwm") if r.measures.get("loops")]
        if chosen:
            mean = str(chosen[0].measures["mean_loops"])
            many, one = ([r.measures["loops"][t][HORIZON] for r in chosen] for t in (mean, "1"))
            parts.append(f"{dataset} {verdict(many, one)}")
    if not parts:
        return ""
    what = "the same weights at the mean depth against one loop, 20-step error"
    return f"Loops at inference ({what}): {', '.join(parts)}."


def in_chunks(results: Results) -> str:
    """The same where one transition holds many actions."""
    parts = []
    for dataset in results.datasets():
        chosen = [r for r in results.of(dataset, "chunks") if r.measures.get("chunks")]
        if chosen:
            mean = str(chosen[0].measures["mean_loops"])
            long = [r.measures["chunks"][str(LONGEST)] for r in chosen]
            parts.append(f"{dataset} {verdict([e[mean]['h24'] for e in long], [e['1']['h24'] for e in long])}")
    if not parts:
        return ""
    what = "the same weights at the mean depth against one loop, 24-step error"
    return f"Loops at inference in transitions of {LONGEST} control steps ({what}): {', '.join(parts)}."


def against(results: Results, variant: str, text: str) -> str:
    """LoopWM against another training."""
    parts = []
    for dataset in results.datasets():
        mine, theirs = results.errors(dataset, "loopwm", 20), results.errors(dataset, variant, 20)
        if mine and theirs:
            parts.append(f"{dataset} {verdict(mine, theirs)}")
    return f"LoopWM against {text} (20-step error): {', '.join(parts)}." if parts else ""


def gap(results: Results) -> str:
    """Where being told the truth does not help, there is nothing for context to close."""
    parts = []
    for h in (1, 20):
        blind = {r.seed: r.error(h) for r in results.of("hidden", "blind")}
        told = {r.seed: r.error(h) for r in results.of("hidden", "told")}
        if any((told[seed] or 0) >= (blind[seed] or 0) for seed in told.keys() & blind.keys()):
            parts.append(f"{h}-step error")
    if not parts:
        return ""
    what = " and ".join(parts)
    return f"On hidden, a model told the truth was no better than a blind one in the {what} of a seed: no claim there."


def verdict(mine: Sequence[float], theirs: Sequence[float]) -> str:
    """Such as `-12 % (better)`; better or worse only where the seeds do not overlap."""
    change = statistics.median(mine) / statistics.median(theirs) - 1
    if len(mine) < 2 or len(theirs) < 2:
        word = "one seed"
    elif max(mine) < min(theirs):
        word = "better"
    elif min(mine) > max(theirs):
        word = "worse"
    else:
        word = "within the spread of the seeds"
    return f"{100 * change:+.1f} % ({word})"
