"""The flight recorder of a deployment: every control tick, every event, every episode, in the run folder."""

from __future__ import annotations

import json
import math
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardware import Event, JointLimits

from ..files import whole_file
from ..runs import write_text
from .errors import DeployError
from .result import DeployResult

RECORDING = "bridge.npz"
EVENTS = "events.jsonl"


@dataclass(frozen=True, eq=False)
class Recording:
    """A deployment read back.

    Attributes:
        records: one row for each control tick, requested beside applied.
        limits: limits in force.
        events: log of the bridge.
        arrays: for E goals of T steps: goal (E, 3), success (E,), final_distance (E,), obs (E, T+1, n_obs),
            action as applied and requested (E, T, nu); plan_time (P,) [s];
            mismatch (S, 3): control instant, score of the model's monitor, share of the speed.
        ctrl_dt: control step [s].
    """

    records: NDArray[np.void]
    limits: JointLimits
    events: list[Event]
    arrays: Mapping[str, NDArray[Any]]
    ctrl_dt: float


def save_recording(folder: Path, result: DeployResult) -> None:
    """Write `bridge.npz` and `events.jsonl`, each all or nothing; no pickles."""
    arrays: dict[str, NDArray[Any]] = {
        "records": result.records,
        "limits": np.array(json.dumps(result.limits.to_mapping())),
        "ctrl_dt": np.array(result.ctrl_dt),
        "success": result.success,
        "final_distance": result.final_distance,
        "plan_time": result.plan_time,
        "mismatch": result.mismatch,
    }
    if result.goals:
        arrays |= {
            "goal": np.array([episode.goal for episode in result.episodes]),
            "obs": np.array([episode.obs for episode in result.episodes]),
            "action": np.array([episode.action for episode in result.episodes]),
            "requested": np.array([goal.requested for goal in result.goals]),
        }
    with whole_file(folder / RECORDING) as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    lines = [json.dumps(_event_line(event), ensure_ascii=False, allow_nan=False) for event in result.events]
    write_text(folder / EVENTS, "".join(line + "\n" for line in lines))


def keep_recording(folder: Path, result: DeployResult) -> None:
    """Write the recording; where the folder takes no more, into a new one in the system's temporary folder.

    Raises:
        DeployError: the recording lies elsewhere, or is lost; the message says where, and why.
    """
    try:
        save_recording(folder, result)
    except OSError as error:
        why = f"the recording cannot be written to {folder}: {error.strerror or error}; make room"
        try:
            elsewhere = Path(tempfile.mkdtemp(prefix="loopwm-recording-"))
            save_recording(elsewhere, result)
        except OSError as also:
            raise DeployError(f"{why}. It is lost: nor can the temporary folder take it ({also})") from error
        raise DeployError(f"{why}. It is kept in {elsewhere}") from error


def load_recording(folder: Path) -> Recording:
    """Read what `save_recording` wrote.

    Raises:
        ValueError: a file is missing or damaged.
    """
    try:
        with np.load(folder / RECORDING, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        lines = (folder / EVENTS).read_text(encoding="utf-8").splitlines()
        events = [_event(json.loads(line)) for line in lines]
        records, ctrl_dt = arrays.pop("records"), float(arrays.pop("ctrl_dt"))
        limits = JointLimits.from_mapping(json.loads(str(arrays.pop("limits"))))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"the recording in {folder} cannot be read ({error}); deploy again") from error
    return Recording(records, limits, events, arrays, ctrl_dt)


def _event_line(event: Event) -> dict[str, Any]:
    value = event.value if math.isfinite(event.value) else None
    return {"seq": event.seq, "t": event.t, "kind": event.kind, "text": event.text, "value": value}


def _event(line: dict[str, Any]) -> Event:
    value = line.pop("value")
    return Event(value=math.nan if value is None else value, **line)
