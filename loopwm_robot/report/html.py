"""The report of a run folder: what is in the folder decides what is on the page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from . import tables
from .document import Block, Details, Facts, Hero, Image, Section, Video, write_page
from .quantities import Quantity, Summary, quantity

REPORT = "report.html"
VIDEO, POSTER = "video/reaches.mp4", "video/poster.png"

CAPTIONS = {
    "learning_curve": "Left: losses on training data (lines) and errors on held-out episodes (markers, in standard "
    "deviations), on a logarithmic scale; lower is better. Right: how the planner did with the model of each round, "
    "with noise added to its actions so that the data shows more. These episodes join the data of the next round.",
    "distance": "Left: distance to the goal; a line is the median over episodes, its band holds the "
    "middle 80 %. Right: each dot is the end of one episode on a logarithmic scale; left of the dashed line counts as "
    "success.",
    "predictions": "Recorded motion of three starts, one colour each: broad lines are what happened, dashed lines what "
    "the model foresaw from the first observation and the actions alone, without seeing anything in between. Lower "
    "right: how the error grows with the time ahead.",
    "horizons": "Each dot is one coordinate of the position at one start. On the grey diagonal, prediction and "
    "truth agree.",
    "loops": "The model refines each predicted state in a loop. A line is one loop count: where lines lie on one "
    "another, further loops no longer change the prediction.",
    "depths": "How many loops a transition takes on held-out motion when an exit decides, for each rule with its "
    "calibrated threshold.",
    "timing": "Top: each control step's planning time; what is left of the red line was in time. Bottom: what one "
    "step's time is spent on, and what is left until the deadline.",
    "bridge": "Left: for the joints that moved most, the position asked for, the position sent and the position "
    "measured; orange shade marks where the safety filter changed the request. Right: speed and acceleration of the "
    "commands as a share of the limit (dashed), and how late the control ticks began.",
}
"""How to read each figure `plots/NAME.png`."""


def build_report(folder: Path) -> Path:
    """Make `report.html` from what lies in a run folder; it can be made again at any time.

    Args:
        folder: with summary.json and, where they apply, config.yaml, plots/*.png, video/reaches.mp4 and
            video/poster.png.

    Returns:
        The page.

    Raises:
        ValueError: summary.json is missing or is not a flat JSON object.
    """
    path = folder / "summary.json"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{folder} has no summary.json, allowed the folder of a finished run") from error
    except ValueError as error:
        raise ValueError(f"{path} cannot be read ({error}), allowed one JSON object; run again") from error
    if not isinstance(summary, dict) or any(isinstance(v, dict | list) for v in summary.values()):
        raise ValueError(f"{path} is no flat JSON object, allowed keys with texts and numbers; run again")
    return write_report(folder, summary, sections(folder, summary))


def write_report(folder: Path, summary: Summary, parts: Sequence[Section]) -> Path:
    """Write `report.html` with the headline of the summary, the film of the folder and the given sections."""
    shown = {key: value for key, value in summary.items() if value is not None}
    return write_page(folder / REPORT, headline(folder, shown), parts, f"loopwm-robot · run folder {folder.name}")


def headline(folder: Path, summary: Summary) -> Hero:
    """The result in one sentence, the figures that matter most, the film."""
    kicker = str(summary.get("env_id", "Run report"))
    rate = quantity(summary, "success_rate")
    episodes = quantity(summary, "episodes")
    title, lead = "Run report", "What was measured in this run, and how to read it."
    if rate is not None:
        title = f"{tables.model_name(summary)} reaches {rate.text.replace(' ', chr(0xA0))} of its goals"
        looped = "looped " if summary.get("model", "loopwm") == "loopwm" else ""
        lead = f"A {looped}world model learned how the arm moves; a planner tries out motions in its imagination"
        lead += " and sends the best to the arm"
        lead += f", here towards {episodes.text} goals that were never trained on." if episodes else "."
        rivals = [
            f"{quantity(summary, key).text} {name}"  # type: ignore[union-attr]
            for key, name in (("untrained.success_rate", "untrained"), ("random.success_rate", "with random actions"))
            if key in summary
        ]
        lead += f" For comparison: {' and '.join(rivals)}." if rivals else ""
    tiles = (
        ("final_distance_m_median", "Final distance, median"),
        ("plan_time_s_p50", "Planning time, median"),
        ("deadline_met_fraction", "Plans in time"),
        ("train_time_s", "Training time"),
    )
    return Hero(kicker, title, lead, tables.pick(summary, tiles), film(folder))


def film(folder: Path) -> Video | Image | None:
    """The film of the reaches, else its poster, else nothing."""
    video, poster = folder / VIDEO, folder / POSTER
    if video.is_file():
        caption = "Orange: the path the model foresees for the present plan. Blue: the path so far. Green: the goal."
        return Video(video, caption, poster if poster.is_file() else None)
    return Image(poster, "The arm on its way to a goal.", "Robot arm") if poster.is_file() else None


def sections(folder: Path, summary: Summary) -> list[Section]:
    """The parts of the page below the headline."""
    summary = {key: value for key, value in summary.items() if value is not None}
    plots = {path.stem: path for path in sorted((folder / "plots").glob("*.png"))}

    def plot(name: str) -> list[Block]:
        path = plots.pop(name, None)
        return [] if path is None else [Image(path, CAPTIONS[name], name.replace("_", " "))]

    comparison, errors = tables.comparison(summary), tables.errors(summary)
    parts = [
        _part("How it compares", [comparison] if comparison else [], plot("distance")),
        _part("What was trained, and how long it took", _training(summary), plot("learning_curve")),
        _part("What the model foresees", [errors] if errors else [], plot("predictions") + plot("horizons")),
        _part("Do more loops predict better?", _depth_tables(summary), plot("loops") + plot("depths")),
        _part("Where the time of a control step goes", _timing(summary), plot("timing")),
        _part("On the arm, through the bridge", _bridge(summary), plot("bridge")),
    ]
    others: list[Block] = [Image(path, name.replace("_", " ").capitalize(), name) for name, path in plots.items()]
    parts.append(Section("More figures", others))
    parts.append(Section("Configuration and environment", _configuration(folder, summary)))
    return [part for part in parts if part.blocks]


def _part(title: str, words: Sequence[Block], figures: Sequence[Block]) -> Section:
    return Section(title, [*words, *figures])


def _training(summary: Summary) -> list[Block]:
    stages = tables.times(summary, tables.STAGES, "Stage of the run", "Time")
    return [*tables.facts(summary, tables.TRAINING), *([stages] if stages else [])]


def _depth_tables(summary: Summary) -> list[Block]:
    return [table for table in (tables.depth(summary, "position_m"), tables.depth(summary, "rmse")) if table]


def _timing(summary: Summary) -> list[Block]:
    parts = tables.times(summary, tables.STEP, "Part of a control step", "Time")
    return [*tables.facts(summary, tables.PLANNING), *([parts] if parts else [])]


def _bridge(summary: Summary) -> list[Block]:
    blocks: list[Block] = list(tables.facts(summary, tables.BRIDGE))
    if blocks:
        blocks.insert(
            0,
            "The same model drives the arm in real time: its plans cross to a control process of its own, which "
            "interpolates them, keeps every command inside the limits, and brakes and holds when a plan runs out.",
        )
    return blocks


def _configuration(folder: Path, summary: Summary) -> list[Block]:
    blocks: list[Block] = []
    texts: list[tuple[str, Quantity | str]] = [
        (key.replace("_", " ").capitalize(), Quantity(key, value, str(value)))
        for key, value in summary.items()
        if isinstance(value, str) or key == "seed"
    ]
    if texts:
        blocks.append(Facts(texts))
    config = folder / "config.yaml"
    if config.is_file():
        blocks.append(Details("config.yaml", config.read_text(encoding="utf-8")))
    if summary:
        blocks.append(Details("All numbers of summary.json", table=tables.everything(summary)))
    return blocks
