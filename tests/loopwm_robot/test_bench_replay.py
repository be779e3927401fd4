"""loopwm bench replay: every buffer of every size is timed, and what is claimed is the ratio of two rows."""

from __future__ import annotations

import pytest

from loopwm_robot.bench import replay


def test_rows_and_claims() -> None:
    findings = replay.run(replay.ReplayConfig(rows=(1000, 4000), batch=8, repeats=3, peers=False))
    times = {(row["buffer"], row["rows"]): row["batch_time_s"] for row in findings.rows}
    assert set(times) == {(f"ours, {place}", size) for place in ("memory", "files") for size in (1000, 4000)}
    for claim, place in zip(findings.claims, ("memory", "files"), strict=True):
        assert claim.value == times[f"ours, {place}", 4000] / times[f"ours, {place}", 1000]
        assert claim.claim == f"ours, {place}: time of a batch from 4000 rows, of that from 1000"


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"rows": (10,)}, r"rows is \[10\], allowed one or more >= 1000"),
        ({"length": 51}, r"length is 51, allowed \[1, 50\]"),
        ({"repeats": 1}, r"repeats is 1, allowed \[3, 1000000\]"),
    ],
)
def test_settings_out_of_range(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replay.ReplayConfig(**changes)  # type: ignore[arg-type]
