"""usage: loopwm compare RUN RUN ... [out=FOLDER]

Puts training runs side by side on one self-contained page, compare.html: learning curves over one another, final
figures in a table, the settings that differ. A run is the folder of loopwm train or loopwm demo; one that has not
finished yet is shown as far as it is. out is the folder of the page; none makes runs/compare/TIME.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import RequestError
from ..runs import RunFolder


def run(overrides: list[str]) -> int:
    """Compare the runs that are named."""
    from ..report.compare import compare_runs, read_runs

    outs = [text[4:] for text in overrides if text.startswith("out=")]
    folders = [Path(text).expanduser() for text in overrides if not text.startswith("out=")]
    if len(folders) < 2 or len(outs) > 1:
        raise RequestError(
            f"compare got {len(folders)} run(s) and {len(outs)} out=, allowed two or more runs and one out=FOLDER; "
            "write loopwm compare RUN RUN ..."
        )
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise RequestError("compare got the same run twice, allowed each once; leave it out")
    runs = read_runs(folders)
    with RunFolder.create("compare", outs[0] if outs else None) as folder:
        print(f"comparison: {compare_runs(runs, folder.path)}")
    return 0
