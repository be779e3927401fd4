"""From YAML files and overrides to a configuration dataclass.

Hydra picks the files and merges them; `loopwm_robot.schema` checks every key and value against the dataclass.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import hydra
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.table import Table

from ..schema import build, field_types, keys, plain, type_of, unknown_key
from .errors import RequestError, one_line

T = TypeVar("T")

PIPE_WIDTH = 120  # of a table that no terminal asks for


def compose(config_name: str, overrides: Sequence[str], schema: type[T], config_dir: Path | None = None) -> T:
    """Read a configuration.

    Args:
        config_name: YAML file in the configuration folder, without its ending.
        overrides: KEY=VALUE and GROUP=OPTION, as written on the command line.
        schema: the dataclass that holds the defaults and checks the ranges.
        config_dir: folder of the YAML files; None takes the project's own.

    Returns:
        An instance of `schema`.

    Raises:
        RequestError: an unknown key or option, a value of the wrong type or out of range, a broken YAML file.
    """
    folder = _config_dir(config_dir)
    requests = [_prepare(text, folder, config_name, schema) for text in overrides]
    try:
        with hydra.initialize_config_dir(str(folder), version_base=None):
            config = hydra.compose(config_name, overrides=requests)
        values = OmegaConf.to_container(config, resolve=True)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise RequestError(f"configuration {folder / config_name}.yaml: {_first_sentence(error)}") from error
    named = _with_options(_mapping(values, str(folder / f"{config_name}.yaml")), schema, folder)
    return build(schema, named)


def _with_options(values: Mapping[str, Any], schema: type, folder: Path) -> Mapping[str, Any]:
    """Options in the place of their names in a list of groups: envs=[panda_reach] holds that option of the group env.

    Raises:
        RequestError: the group has no such option.
    """
    found = dict(values)
    for key, hint in field_types(schema).items():
        inner, given = get_args(hint)[:1], values.get(key)
        if get_origin(hint) is tuple and dataclasses.is_dataclass(inner[0]) and isinstance(given, list):
            group = key.removesuffix("s")
            for name in given:
                if isinstance(name, str):
                    _check_option(group, name, folder)
            found[key] = [read(folder / group / f"{x}.yaml") if isinstance(x, str) else x for x in given]
    return found


def named(overrides: Sequence[str], key: str) -> str | None:
    """The first of some KEY=VALUE that sets a key or something below it; None where none does."""
    return next((text for text in overrides if re.match(rf"\+*{key}[.=]", text)), None)


def load(path: Path, schema: type[T], overrides: Sequence[str] = ()) -> T:
    """Read the resolved configuration that a run saved.

    Args:
        path: a `config.yaml` of a run folder.
        schema: its dataclass.
        overrides: KEY=VALUE changes to it; groups cannot be chosen again.

    Raises:
        RequestError: the file is not what a run wrote, or an override is wrong.
        OSError: the file cannot be read.
    """
    values = read(path)
    try:
        config = OmegaConf.create(dict(values))
        for text in overrides:
            key, value = _split(text)
            if type_of(schema, key) is None:
                raise RequestError(unknown_key(key, schema))
            OmegaConf.update(config, key, _parse(key, value, schema))
        resolved = OmegaConf.to_container(config, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise RequestError(f"configuration {path}: {_first_sentence(error)}") from error
    return build(schema, _mapping(resolved, str(path)))


def read(path: Path) -> Mapping[str, Any]:
    """The keys and values of a YAML file, unchecked.

    Raises:
        RequestError: it holds something else.
        OSError: it cannot be read.
    """
    try:
        return _mapping(yaml.safe_load(path.read_text(encoding="utf-8")), str(path))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise RequestError(f"configuration {path}: {_first_sentence(error)}") from error


def groups(config_dir: Path | None = None) -> dict[str, list[str]]:
    """Configuration groups, each with its options."""
    folder = _config_dir(config_dir)
    found: dict[str, list[str]] = {}
    for file in sorted(folder.glob("**/*.yaml")):
        group = file.parent.relative_to(folder).as_posix()
        if group != ".":
            found.setdefault(group, []).append(file.stem)
    return found


def print_keys(config_name: str, schema: type, config_dir: Path | None = None) -> None:
    """Print the groups with their options, and every key with its default and meaning."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_WIDTH)
    defaults = plain(compose(config_name, [], schema, config_dir))
    folder, known = _config_dir(config_dir), field_types(schema)
    options = {
        group: [name for name in names if set(_top_keys(group, name, folder)) <= set(known)]
        for group, names in groups(folder).items()
    }
    if any(options.values()):
        table = Table(title="groups", title_justify="left", box=None, pad_edge=False)
        table.add_column("group", style="bold")
        table.add_column("options")
        for group, names in options.items():
            if names:
                table.add_row(group, ", ".join(names))
        console.print(table)
        console.print()
    table = Table(title="keys", title_justify="left", box=None, pad_edge=False)
    table.add_column("key", style="bold", no_wrap=True)
    table.add_column("default")
    table.add_column("meaning")
    for key, meaning in sorted(keys(schema), key=lambda entry: "." in entry[0]):  # short keys first
        value = defaults
        for part in key.split("."):
            value = value[part]
        table.add_row(key, _shown(value), meaning.replace("[", r"\["))
    console.print(table)


def _config_dir(folder: Path | None) -> Path:
    if folder is None:
        from ..config import config_dir

        folder = config_dir()
    return folder.resolve()


def _split(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[\w.+/@-]+", key):
        raise RequestError(f"'{text}' is not an override, allowed KEY=VALUE; see --help for the keys")
    return key.lstrip("+"), value


def _prepare(text: str, folder: Path, config_name: str, schema: type) -> str:
    """An override in Hydra's own grammar."""
    key, value = _split(text)
    if re.fullmatch(r"[\w/]+", key) and not key.startswith("/") and (folder / key).is_dir():
        _check_option(key, value, folder)
        _check_fit(key, value, folder, config_name, schema)
        return text if text.startswith("+") or key in _chosen(folder, config_name) else f"+{text}"
    if type_of(schema, key) is None:
        raise RequestError(unknown_key(key, schema))
    # ++ because the files need not name the key: the dataclass has its default.
    return f"++{key}={_quoted(key, value, schema)}"


def _check_option(group: str, option: str, folder: Path) -> None:
    names = sorted(file.stem for file in (folder / group).glob("*.yaml"))
    if option in names:
        return
    near = difflib.get_close_matches(option, names, 1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise RequestError(f"{group} '{option}' is unknown; {hint}known: {', '.join(names)}")


def _check_fit(group: str, option: str, folder: Path, config_name: str, schema: type) -> None:
    """A group must be one of the command's, an experiment may set only what the command has."""
    sets = _top_keys(group, option, folder)
    foreign = [name for name in sets if name not in field_types(schema)]
    if foreign:
        raise RequestError(
            f"{group}={option} sets {', '.join(foreign)}, which loopwm {config_name} does not have, "
            f"allowed {', '.join(field_types(schema))}; leave it out"
        )


def _top_keys(group: str, option: str, folder: Path) -> list[str]:
    """Keys of the configuration that an option of a group sets."""
    text = (folder / group / f"{option}.yaml").read_text(encoding="utf-8")
    if not re.search(r"^# @package _global_", text, re.M):
        return [group.partition("/")[0]]
    content = read(folder / group / f"{option}.yaml")
    chosen = [name for entry in content.get("defaults", []) if isinstance(entry, Mapping) for name in entry]
    return [*(name for name in content if name != "defaults"), *map(_group_name, chosen)]


def _group_name(entry: str) -> str:
    """The group that a line of a defaults list is about, such as `override /model@there`."""
    return re.sub(r"^(optional |override )*/?", "", entry).partition("@")[0]


def _chosen(folder: Path, config_name: str) -> set[str]:
    """Groups that a file's defaults list already chooses an option for."""
    file = folder / f"{config_name}.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
    entries = content.get("defaults", []) if isinstance(content, Mapping) else []
    names = [name for entry in entries if isinstance(entry, Mapping) for name in entry]
    return set(map(_group_name, names))


def _quoted(key: str, value: str, schema: type) -> str:
    """The value, quoted where Hydra would not read it as one plain value.

    Paths and names come as a shell gives them: spaces, commas, brackets and leading zeros are part of them.
    """
    hint = type_of(schema, key)
    is_quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "'\""
    if is_quoted or (value == "null" and hint not in (str, Path)):
        return value
    if not _is_text(hint):
        try:
            if not OverridesParser.create().parse_override(f"++{key}={value}").is_sweep_override():
                return value
        except HydraException:
            pass
    escaped = re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + ("\\'" if match[2] else ""), value)
    return f"'{escaped}'"


def _parse(key: str, value: str, schema: type) -> Any:
    """The value of an override, as Hydra reads it."""
    return OverridesParser.create().parse_override(f"++{key}={_quoted(key, value, schema)}").value()


def _is_text(hint: Any) -> bool:
    """True for str, Path and those or None."""
    if get_origin(hint) in (Union, UnionType):
        return any(choice in (str, Path) for choice in get_args(hint))
    return hint in (str, Path)


def _mapping(values: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise RequestError(f"configuration {where} holds {type(values).__name__}, allowed a mapping of keys")
    return values


def _first_sentence(error: Exception) -> str:
    return one_line(error).split(" Config search path")[0].split(" full_key:")[0].split(" See https://")[0]


def _shown(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()
    return text.replace("[", r"\[")
