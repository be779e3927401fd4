"""The benchmark of the dynamics models: LoopWM, its ablations and its peers on four data sets."""

from __future__ import annotations

from ...report.quantities import duration
from ..common import Findings
from .claims import claims
from .config import QUICK, ModelBench
from .plots import figures
from .results import Results
from .running import collect
from .statements import statements
from .tables import rows

SCHEMA = ModelBench

__all__ = ["QUICK", "SCHEMA", "ModelBench", "run"]


def run(config: ModelBench) -> Findings:
    """Record the data sets, train and measure every model, and draw conclusions."""
    try:
        results = collect(config)
    except KeyboardInterrupt as error:
        error.add_note("go on with: the same command")
        raise
    rule = "doubling" if config.model.form == "step_consistent" else "converged"
    commits = list(dict.fromkeys(result.record["commit"] for result in results))
    return Findings(
        list(config.seeds),
        rows(results),
        claims(results, rule),
        notes(config, results),
        commit=", ".join(commits),
        figures=figures(results),
    )


def notes(config: ModelBench, results: Results) -> list[str]:
    """What a reader of the numbers has to know."""
    data = config.data
    found = [
        "Errors are root mean squares over all observed numbers, each in units of its standard deviation in the "
        "training data, of predictions without feedback along recorded actions; h20 is the error of the 20th step.",
        f"All models learn from the same {data.train * data.steps:,} transitions of a data set in {config.updates:,} "
        f"updates of {config.batch_size} sequences of {config.sequence_length} steps, and are measured on "
        f"{data.test} other episodes. Parameters are all trained numbers; operations are those of the matrix products "
        "of one transition, LoopWM at its mean depth. Every number is the median of the seeds.",
    ]
    found += statements(results)
    spent = duration(sum(result.record["cpu_time_s"] for result in results))
    found.append(f"{len(results.all)} trainings took {spent} of processor time, {config.jobs} at a time.")
    if "hidden" in config.datasets:
        found.append(
            f"On hidden, LoopWM, its ablations and the RSSM see the last {config.context} transitions (the RSSM "
            f"{config.model.rssm.context} elsewhere); MLP and ensemble have no place for them, as published. Test "
            "dynamics are combinations that training never saw."
        )
    if diverged := results.diverged():
        names = ", ".join(f"{r.variant} on {r.dataset} (seed {r.seed})" for r in diverged)
        found.append(f"Training diverged: {names}. These are in no table but the last.")
    return found
