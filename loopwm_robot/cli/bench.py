"""usage: loopwm bench [NAME] [--quick] [--page] [KEY=VALUE ...]

Without a name: the benchmarks and their keys. Results go to docs/benchmarks/NAME.json and the page NAME.md made from
it; out=FOLDER writes elsewhere.

--quick  the short form: shows in a minute that the benchmark works; writes NAME_quick.json and .md
--page   measure nothing: write the page again from the JSON that is there
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from ..bench import BENCHMARKS
from ..errors import RequestError
from ..schema import build, field_types, plain, type_of, unknown_key

FLAGS = ("--quick", "--page")
GROUPS = ("env", "model", "planner")  # of the demo's configuration, with its YAML files and options


def run(arguments: list[str]) -> int:
    """List the benchmarks, or run one.

    Raises:
        RequestError: an unknown name, flag or key, or a value out of range.
    """
    flags = {text for text in arguments if text.startswith("-")}
    names = [text for text in arguments if text not in flags and "=" not in text]
    overrides = [text for text in arguments if "=" in text and text not in flags]
    if unknown := sorted(flags - set(FLAGS)):
        raise RequestError(f"bench got {unknown[0]}, allowed {', '.join(FLAGS)}")
    if not names:
        if overrides or flags:
            raise RequestError(f"bench got {arguments[0]} but no name, known: {', '.join(BENCHMARKS)}")
        print(listing())
        return 0
    if len(names) > 1:
        raise RequestError(f"bench got {' '.join(names)}, allowed one benchmark at a time")
    if names[0] not in BENCHMARKS:
        raise RequestError(f"unknown benchmark '{names[0]}'; known: {', '.join(BENCHMARKS)}")
    from ..bench.common import FOLDER

    out = [text.partition("=")[2] for text in overrides if text.startswith("out=")]
    folder = Path(out[-1] if out else FOLDER).expanduser()
    overrides = [text for text in overrides if not text.startswith("out=")]
    if "--page" in flags:
        return rewrite_page(names[0], "--quick" in flags, overrides, folder)
    return measure(names[0], "--quick" in flags, overrides, folder)


def measure(name: str, quick: bool, overrides: list[str], folder: Path) -> int:
    """Run a benchmark and write its results."""
    from ..bench.common import machine, make_report, portable_path, write_report
    from ..bench.page import claim_line

    module = importlib.import_module(BENCHMARKS[name][0])
    config = settings(module, quick, overrides)
    _check_writable(folder)
    where = machine()
    findings = module.run(config)
    values = [f"{key}={portable_path(value)}" for key, _, value in (text.partition("=") for text in overrides)]
    command = shlex.join(["loopwm", "bench", name, *(["--quick"] if quick else []), *values])
    report = make_report(name, BENCHMARKS[name][1], command, quick, config, findings, where)
    page = write_report(report, folder, findings.figures)
    for claim in report["claims"]:
        print(claim_line(claim))
    for note in report["notes"][1:]:
        print(note)
    print(f"results in {page}")
    return 0


def rewrite_page(name: str, quick: bool, overrides: Sequence[str], folder: Path) -> int:
    """Make the page again from the results."""
    from ..bench.common import result_name
    from ..bench.page import page
    from ..runs import write_text

    if overrides:
        raise RequestError(f"bench {name} --page got {overrides[0]}, allowed out=FOLDER; it measures nothing")
    source = folder / f"{result_name(name, quick)}.json"
    if not source.is_file():
        raise RequestError(f"{source} does not exist; measure first: loopwm bench {name}")
    try:
        text = page(json.loads(source.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{source} is not what a benchmark wrote ({error}); measure again") from error
    print(f"page {write_text(source.with_suffix('.md'), text)}")
    return 0


def listing() -> str:
    """Names, what they measure and their keys with the defaults."""
    width = max(map(len, BENCHMARKS))
    lines = ["usage: loopwm bench NAME [--quick] [--page] [KEY=VALUE ...]", ""]
    for name, (module, about) in BENCHMARKS.items():
        lines.append(f"  {name:{width}}  {about}")
        schema = importlib.import_module(module).SCHEMA
        values = plain(schema())
        keys = [f"{key}.*" if key in GROUPS else f"{key}={_shown(value)}" for key, value in values.items()]
        lines.append(f"  {'':{width}}  keys: {' '.join(keys)}")
    return "\n".join([*lines, "", "--quick takes a minute (model: ten); out=FOLDER writes not to docs/benchmarks."])


def settings(module: ModuleType, quick: bool, overrides: Sequence[str]) -> Any:
    """Settings of a benchmark: its defaults, the demo's environment, model and planner, then the overrides.

    Raises:
        RequestError: an unknown key, or a value of the wrong type or out of range.
    """
    schema = module.SCHEMA
    fields = field_types(schema)
    groups = [key for key in GROUPS if dataclasses.is_dataclass(fields.get(key))]
    # QUICK holds settings of the benchmark alone; its values come before those of the user.
    values: dict[str, Any] = dict(module.QUICK) if quick else {}
    of_groups = []
    for text in overrides:
        key, _, value = text.partition("=")
        if key.split(".")[0].lstrip("+") in groups:
            of_groups.append(text)
        elif type_of(schema, key) is None:
            raise RequestError(unknown_key(key, schema))
        else:
            values[key] = _parsed(value, type_of(schema, key))
    if groups:
        values = {**_of_demo(groups, of_groups), **values}
    return build(schema, values)


def _of_demo(groups: Sequence[str], overrides: Sequence[str]) -> Mapping[str, Any]:
    from ..demo import DemoConfig
    from .compose import compose

    config = compose("demo", overrides, DemoConfig)
    return {group: plain(getattr(config, group)) for group in groups}


def _parsed(text: str, hint: Any) -> Any:
    """A value as YAML reads it; a text stays what it is."""
    if hint is str:
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text  # the schema names the key and what is allowed


def _shown(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"[{text}]" if isinstance(value, list) else text


def _check_writable(folder: Path) -> None:
    """Find out before measuring."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise type(error)(f"{folder} cannot be written ({reason}); choose another with out=FOLDER") from error
