"""The model card: README.md with the front matter that huggingface.co reads, made from a checkpoint and its run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from ..checkpoint import Checkpoint, Spaces
from ..report.quantities import Summary, quantity
from ..report.tables import model_name

FIGURES = (
    ("success_rate", "Success on held-out goals"),
    ("episodes", "Held-out goals"),
    ("final_distance_m_median", "Final distance, median"),
    ("plan_time_s_p50", "Planning time, median"),
    ("bridge.success_rate", "Success in real time through the bridge"),
    ("random.success_rate", "For comparison: random actions"),
    ("open_loop_rmse_h1", "Open-loop error, 1 step ahead [σ of the data]"),
    ("open_loop_rmse_h5", "Open-loop error, 5 steps ahead [σ of the data]"),
    ("train_transitions", "Transitions of data"),
    ("train_updates", "Gradient updates"),
    ("train_time_s", "Training time"),
)


def model_card(checkpoint: Checkpoint, summary: Summary, config: Mapping[str, Any], license_name: str) -> str:
    """Text of the card.

    Args:
        checkpoint: the model.
        summary: figures of its run and of its evaluation; may be empty.
        config: settings of its run; may be empty.
        license_name: of the weights.
    """
    known = checkpoint.known
    ids = ", ".join(s.env_id for s in known)
    name = model_name({"model": checkpoint.config.kind})
    front: dict[str, Any] = {
        "license": license_name,
        "library_name": "loopwm-robot",
        "pipeline_tag": "robotics",
        "tags": ["robotics", "world-model", "model-predictive-control", "loopwm"],
    }
    rate = summary.get("success_rate")
    if isinstance(rate, float | int):
        metric = {"type": "success_rate", "value": float(rate), "name": "Success on held-out goals"}
        task = {"type": "robotics", "name": "robotics"}
        result = {"task": task, "dataset": {"name": ids, "type": "simulation"}, "metrics": [metric]}
        front["model-index"] = [{"name": f"{name} {ids}", "results": [result]}]
    figures = [(label, q.text) for key, label in FIGURES if (q := quantity(summary, key)) is not None]
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---",
        f"# {name} for {ids}",
        f"A world model of {checkpoint.parameters:,} parameters, trained by loopwm-robot. A planner tries out motions "
        "in its imagination and sends the best to the arm.",
        "## Use it",
        "```\nloopwm pull source=OWNER/NAME out=model\n"
        + "".join(
            f"loopwm evaluate checkpoint=model env.id={s.env_id} env.control_mode={s.control_mode}\n" for s in known
        )
        + "```",
        "The weights are safetensors with their configuration in the header; nothing is unpickled. `manifest.json` has "
        "the SHA-256 of every file, which `loopwm pull` checks.",
        "## What it sees and does",
        *(_table(("", ""), spaces_rows(s)) for s in known),
    ]
    if figures:
        parts += ["## Figures", _table(("figure", "value"), figures)]
    if config:
        settings = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
        parts += ["## Settings", f"<details><summary>config.yaml</summary>\n\n```yaml\n{settings}```\n\n</details>"]
    parts += [
        "## Limits",
        "It knows what stands above and no other arm, task or control rate. The figures are from simulation. This is "
        "research software, not a certified safety function: an arm needs the safety filter of the bridge, and limits "
        "of its own.",
    ]
    return "\n\n".join(parts) + "\n"


def spaces_rows(s: Spaces) -> list[tuple[str, str]]:
    """What a model sees and does, in words."""
    rows = [
        ("environment", s.env_id),
        ("observation", f"{s.n_obs} numbers" + (f" and pictures {list(s.image)}" if s.image else "")),
        ("action", f"{s.nu} numbers in [-1, 1]" + (f", {s.control_mode}" if s.control_mode else "")),
        ("control step", f"{s.ctrl_dt:g} s"),
    ]
    return [*rows, ("goal", f"{s.n_goal} numbers")] if s.n_goal else rows


def _table(header: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    lines = [f"| {a} | {b} |" for a, b in (header, ("---", "---"), *rows)]
    return "\n".join(lines)
