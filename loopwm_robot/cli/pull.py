"""loopwm pull: fetch a shared model and verify it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ..errors import RequestError
from ..hub.config import PullCommand, is_repository
from ..runs import RunFolder
from .compose import compose

CONFIG_NAME = "pull"
SCHEMA = PullCommand


def run(overrides: list[str]) -> int:
    """Fetch into a folder that is made only once everything is verified."""
    config = compose(CONFIG_NAME, overrides, SCHEMA)
    from ..hub.card import spaces_rows
    from ..hub.package import copy, verify

    if not config.source:
        raise RequestError("pull needs source=OWNER/NAME or source=FOLDER, got neither; see --help")
    with tempfile.TemporaryDirectory() as name:
        staged = Path(name)
        if is_repository(config.source):
            from ..hub.remote import download

            download(config.source, config.revision, staged)
        else:
            source = Path(config.source).expanduser()
            if not source.is_dir():
                raise RequestError(f"source is {source}, allowed OWNER/NAME or a folder of loopwm push")
            copy(source, staged)
        checkpoint = verify(staged)
        folder = RunFolder.create("pull", config.out)
        copy(staged, folder.path)
    print(f"{checkpoint.config.kind}, {checkpoint.parameters} parameters")
    for spaces in checkpoint.known:
        for key, value in spaces_rows(spaces):
            print(f"  {key}: {value}")
    print(f"verified: {folder.path}")
    return 0
