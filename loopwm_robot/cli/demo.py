"""loopwm demo: the main job end to end."""

from __future__ import annotations

from ..demo import DemoConfig, describe, run_demo
from ..runs import RunFolder
from .compose import compose
from .resume import resumed

CONFIG_NAME = "demo"
SCHEMA = DemoConfig


def run(overrides: list[str]) -> int:
    """Run the demo into a new run folder, or go on with an interrupted one."""
    config = compose(CONFIG_NAME, overrides, SCHEMA)
    with RunFolder.create("demo", config.out, config.resume) as folder:
        config = resumed(config, overrides, folder)
        summary = run_demo(config, folder)
        print(describe(summary))
        print(f"report: {folder.path / 'report.html'}")
    return 0
