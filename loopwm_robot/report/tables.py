"""Tables and facts of the report, made from the keys of summary.json; what is missing there is left out."""

from __future__ import annotations

import re

from .document import Cell, Facts, Table
from .quantities import Quantity, Summary, quantity
from .style import MODELS, controller_colour

CONTROLLERS = (
    ("", "{model}"),
    ("bridge.", "{model} in real time, via bridge"),
    ("simulator.", "True simulator"),
    ("untrained.", "{model}, untrained"),
    ("random.", "Random actions"),
)
"""Prefix in the summary and name of each controller, best first."""

COLUMNS = (
    ("success_rate", "Success"),
    ("final_distance_m_median", "Final distance"),
    ("plan_time_s_p50", "Planning"),
    ("plan_time_s_p95", "95 % under"),
    ("deadline_met_fraction", "In time"),
    ("episodes", "Goals"),
)

TRAINING = (
    ("parameters", "Parameters"),
    ("train_transitions", "Transitions of data"),
    ("train_updates", "Gradient updates"),
    ("train_time_s", "Training time"),
    ("wall_time_s", "Whole run"),
    ("mean_loops", "Loops per prediction, mean"),
)

PLANNING = (
    ("plan_time_s_p50", "Median"),
    ("plan_time_s_p95", "95 % under"),
    ("plan_time_s_p99", "99 % under"),
    ("deadline_met_fraction", "Deadlines met"),
    ("control_rate_hz", "Control rate"),
)

BRIDGE = (
    ("bridge.success_rate", "Success"),
    ("bridge.episodes", "Goals"),
    ("bridge.final_distance_m_median", "Median distance at the end"),
    ("bridge.limit_violations", "Commands outside the limits"),
    ("bridge.deadline_misses", "Deadline misses"),
    ("bridge.deadline_met_fraction", "Plans in time"),
    ("bridge.plan_time_s_p95", "Planning, 95 % under"),
    ("bridge.worst_speed", "Highest speed, share of limit"),
    ("bridge.worst_acceleration", "Highest acceleration, share"),
    ("bridge.ticks", "Control ticks"),
    ("bridge.interventions", "Ticks changed by the filter"),
    ("bridge.control_rate_hz", "Planning rate"),
    ("bridge.tick_rate_hz", "Control rate"),
    ("bridge.tick_lateness_s_p99", "99 % of ticks late by less than"),
)

STEP = re.compile(r"time_(?!stage_)(\w+)_s")
STAGES = re.compile(r"time_stage_(\w+)_s")
"""Keys of durations: parts of a control step, stages of the whole run."""

_OPEN_LOOP = re.compile(r"open_loop_(rmse|position_m)_h(\d+)(?:_loops(\d+))?")
_ERRORS = {"position_m": "Position that the goal is about", "rmse": "Whole observation [σ]"}


def model_name(summary: Summary) -> str:
    """How people call the model of a run."""
    kind = str(summary.get("model", "loopwm"))
    return MODELS.get(kind, kind)


def pick(summary: Summary, names: tuple[tuple[str, str], ...]) -> list[tuple[str, Quantity]]:
    """Names with the quantities that the summary has."""
    found = [(name, quantity(summary, key)) for key, name in names]
    return [(name, q) for name, q in found if q is not None]


def comparison(summary: Summary) -> Table | None:
    """Controllers side by side, with bars of success; None where nobody's success is known."""
    model = model_name(summary)
    rivals = [(p, name.format(model=model)) for p, name in CONTROLLERS if p + "success_rate" in summary]
    columns = [(key, head) for key, head in COLUMNS if any(prefix + key in summary for prefix, _ in rivals)]
    if not rivals:
        return None
    rows = []
    for prefix, name in rivals:
        colour = controller_colour(prefix or "loopwm")
        cells = [Cell(name, colour=colour)]
        for key, _ in columns:
            share = float(summary[prefix + key]) if key == "success_rate" else None
            cells.append(Cell(quantity(summary, prefix + key), share, colour))
        rows.append(cells)
    caption = "Final distance and planning time are medians. All but the random actions come from the same planner."
    return Table(["Controller", *(head for _, head in columns)], rows, caption)


def depth(summary: Summary, kind: str) -> Table | None:
    """Open-loop errors, a row for each loop count and a column for each horizon.

    Args:
        summary: of the run.
        kind: `position_m` or `rmse`.
    """
    found = [match for match in map(_OPEN_LOOP.fullmatch, summary) if match and match[1] == kind and match[3]]
    loops = sorted({int(match[3]) for match in found})
    steps = sorted({int(match[2]) for match in found})
    if not found:
        return None
    rows = [
        [
            Cell(f"{count} loop{'s' * (count != 1)}"),
            *(Cell(quantity(summary, f"open_loop_{kind}_h{h}_loops{count}")) for h in steps),
        ]
        for count in loops
    ]
    header = ["Steps ahead", *map(str, steps)]
    caption = {
        "position_m": "Root mean square error of the foreseen position that the goal is about, on recorded motion.",
        "rmse": "Root mean square error of the whole observation, in standard deviations of the data.",
    }[kind]
    return Table(header, rows, caption)


def errors(summary: Summary) -> Table | None:
    """Open-loop errors of a model without a choice of loop counts, a column for each horizon; else None."""
    found = [match for match in map(_OPEN_LOOP.fullmatch, summary) if match]
    if not found or any(match[3] for match in found):
        return None
    steps = sorted({int(match[2]) for match in found})
    rows = [
        [Cell(name), *(Cell(quantity(summary, f"open_loop_{kind}_h{h}")) for h in steps)]
        for kind, name in _ERRORS.items()
        if any(match[1] == kind for match in found)
    ]
    caption = "Root mean square errors on recorded motion; σ is the standard deviation of the data."
    return Table(["Steps ahead", *map(str, steps)], rows, caption)


def times(summary: Summary, keys: re.Pattern[str], *header: str) -> Table | None:
    """Durations whose keys match, longest first, with bars of their share; None where there are none."""
    found = {key: (match[1], float(summary[key])) for key in summary if (match := keys.fullmatch(key))}
    total = sum(seconds for _, seconds in found.values())
    if total <= 0:
        return None
    rows = [
        [
            Cell(name.replace("_", " ").capitalize()),
            Cell(quantity(summary, key), seconds / total, controller_colour("loopwm")),
        ]
        for key, (name, seconds) in sorted(found.items(), key=lambda item: -item[1][1])
    ]
    return Table(header, rows)


def facts(summary: Summary, names: tuple[tuple[str, str], ...]) -> list[Facts]:
    """Facts as a list of blocks: one, or none where the summary has none of them."""
    items = pick(summary, names)
    return [Facts(items)] if items else []


def everything(summary: Summary) -> Table:
    """All entries of the summary with their exact values, for the end of the page."""
    rows = [[Cell(key), Cell(Quantity(key, value, str(value)))] for key, value in summary.items()]
    return Table(["Key of summary.json", "Value"], rows)
