"""The last records and events of a bridge whose owner is gone, as files; written by the control process."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np

from .memory import BridgeMemory

RECORDS, EVENTS = "black_box.npz", "black_box.jsonl"


def write_black_box(memory: BridgeMemory, folder: Path) -> Path:
    """Write what the rings of a bridge still hold: ``record_s`` seconds of ticks, and the events.

    ``RECORDS`` has the arrays ``records`` (see ``records.record_dtype``) and ``limits`` (JSON); ``EVENTS`` has one
    JSON object a line, as the recording of a deployment.

    Args:
        memory: of the bridge.
        folder: an existing one.

    Returns:
        the file with the records.

    Raises:
        OSError: the folder is missing or full; nothing half-written stays behind.
    """
    records, _, _ = memory.read_records(0)
    events, _, _ = memory.read_events(0)
    path, lines = folder / RECORDS, []
    for event in events:
        value = event.value if math.isfinite(event.value) else None
        line = {"seq": event.seq, "t": event.t, "kind": event.kind, "text": event.text, "value": value}
        lines.append(json.dumps(line) + "\n")
    for target in (path, folder / EVENTS):
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                if target is path:
                    np.savez(file, records=records, limits=np.array(json.dumps(memory.spec.limits.to_mapping())))
                else:
                    file.write("".join(lines).encode())
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    return path
