"""Configuration dataclasses from plain mappings; an error names the key, the value and what is allowed."""

from __future__ import annotations

import dataclasses
import difflib
import enum
import inspect
import re
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import RequestError

T = TypeVar("T")

_KINDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    Path: "a path",
}


def build(schema: type[T], values: Mapping[str, Any], path: str = "") -> T:
    """Make a configuration from nested mappings; keys left out keep their default.

    Args:
        schema: a dataclass whose `__post_init__` checks the ranges.
        values: nested mappings of plain values, as YAML gives them.
        path: dotted key of this mapping, for messages.

    Returns:
        An instance of `schema`.

    Raises:
        RequestError: an unknown key, a value of the wrong type or out of range, a missing key.
    """
    return _build(schema, values, path, schema)


def _build(schema: type[T], values: Mapping[str, Any], path: str, root: type) -> T:
    hints = field_types(schema)
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{path}.{name}" if path else str(name)
        if name not in hints:
            raise RequestError(unknown_key(key, root))
        arguments[name] = _convert(hints[name], value, key, root)
    try:
        return schema(**arguments)
    except RequestError:
        raise
    except ValueError as error:
        # The check of a dataclass that can be used alone does not know where it stands.
        where = f"{path}: " if path and path not in str(error) else ""
        raise RequestError(f"{where}{error}") from error
    except TypeError as error:
        missing = [f.name for f in dataclasses.fields(schema) if _required(f) and f.name not in arguments]  # type: ignore[arg-type]
        if not missing:
            raise
        names = ", ".join(f"{path}.{name}" if path else name for name in missing)
        raise RequestError(f"{names} not given and without default; write KEY=VALUE") from error


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _convert(hint: Any, value: Any, key: str, root: type) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(hint, value, key, root)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if isinstance(value, Mapping):
            return _build(hint, value, key, root)
        names = ", ".join(field_types(hint))
        raise RequestError(f"{key} is {value!r}, allowed a group of keys: {names}; write {key}.NAME=VALUE")
    if origin is Literal:
        if value in get_args(hint):
            return value
        raise RequestError(f"{key} is {value!r}, allowed {', '.join(map(str, get_args(hint)))}")
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        for member in hint:
            if value in (member, member.name, member.value):
                return member
        raise RequestError(f"{key} is {value!r}, allowed {', '.join(member.name for member in hint)}")
    if origin in (list, tuple) or hint in (list, tuple):
        return _convert_sequence(hint, value, key, root)
    if origin is dict or hint is dict:
        if not isinstance(value, Mapping):
            raise RequestError(f"{key} is {value!r}, allowed a mapping such as {{name: value}}")
        item = (get_args(hint) or (Any, Any))[1]
        return {name: _convert(item, entry, f"{key}.{name}", root) for name, entry in value.items()}
    return _convert_scalar(hint, value, key)


def _convert_union(hint: Any, value: Any, key: str, root: type) -> Any:
    choices = get_args(hint)
    if value is None and type(None) in choices:
        return None
    concrete = [choice for choice in choices if choice is not type(None)]
    for choice in concrete[:-1]:
        try:
            return _convert(choice, value, key, root)
        except RequestError:
            continue
    return _convert(concrete[-1], value, key, root)


def _convert_sequence(hint: Any, value: Any, key: str, root: type) -> Any:
    if not isinstance(value, list | tuple):
        raise RequestError(f"{key} is {value!r}, allowed a list such as [1, 2]")
    inner = get_args(hint) or (Any,)
    fixed = get_origin(hint) is tuple and Ellipsis not in inner
    if fixed and len(value) != len(inner):
        raise RequestError(f"{key} has {len(value)} entries, allowed exactly {len(inner)}")
    items = inner if fixed else (inner[0],) * len(value)
    pairs = enumerate(zip(items, value, strict=True))
    converted = [_convert(item, entry, f"{key}[{i}]", root) for i, (item, entry) in pairs]
    return tuple(converted) if tuple in (hint, get_origin(hint)) else converted


def _convert_scalar(hint: Any, value: Any, key: str) -> Any:
    if hint is Any:
        return value
    allowed = _KINDS.get(hint)
    if allowed is None:
        raise TypeError(f"configuration key {key} has type {hint}, which a configuration cannot hold")
    if hint is bool and isinstance(value, bool):
        return value
    if hint in (str, Path) and isinstance(value, str | int | float | Path):
        return hint(value)
    # YAML reads 1e-3 as a text: accept it where a number is due.
    if hint in (int, float) and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
            if hint is float:
                return number
            return value if isinstance(value, int) else _whole(number)
        except (ValueError, OverflowError):
            pass
    raise RequestError(f"{key} is {value!r}, allowed {allowed}")


def _whole(number: float) -> int:
    if number != int(number):
        raise ValueError("not a whole number")
    return int(number)


def field_types(schema: Any) -> dict[str, Any]:
    """Names and resolved types of the fields of a dataclass that its constructor takes."""
    hints = get_type_hints(schema)
    return {field.name: hints[field.name] for field in dataclasses.fields(schema) if field.init}


def type_of(schema: type, key: str) -> Any:
    """Type of a dotted key, or None where there is no such key."""
    hint: Any = schema
    for part in key.split("."):
        if not dataclasses.is_dataclass(hint):
            return None
        hint = field_types(hint).get(part)
        if hint is None:
            return None
    return hint


def keys(schema: type, path: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys of all values in a dataclass, each with its meaning from the docstring's Attributes."""
    meanings = _meanings(schema)
    for name, hint in field_types(schema).items():
        key = f"{path}.{name}" if path else name
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            yield from keys(hint, key)
        else:
            yield key, meanings.get(name, "")


def _meanings(schema: type) -> dict[str, str]:
    """The entries `name: text` in the Attributes sections of a class and its bases."""
    found: dict[str, str] = {}
    for cls in reversed(schema.__mro__):
        section = re.search(
            r"^ *Attributes: *\n((?: +\S.*\n?| *\n)*)", inspect.cleandoc(cls.__doc__ or ""), re.M
        )
        for entry in re.finditer(r"^( +)(\w+):[ ]*(.*(?:\n\1 +.*)*)", section[1] if section else "", re.M):
            found[entry[2]] = " ".join(entry[3].split())
    return found


def unknown_key(key: str, schema: type) -> str:
    """Message for a key that the schema does not have, with the nearest ones."""
    known = [name for name, _ in keys(schema)]
    parent, _, last = key.rpartition(".")
    # The same word elsewhere, then a slip of the pen beside it, then one in the words before.
    near = [name for name in known if name.rpartition(".")[2] == last]
    beside = [name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == parent]
    slips = [f"{parent}.{name}".lstrip(".") for name in difflib.get_close_matches(last, beside, 3, 0.7)]
    near += [name for name in slips or difflib.get_close_matches(key, known, 3, 0.85) if name not in near]
    if near:
        return f"unknown key '{key}'; did you mean {' or '.join(map(repr, near[:3]))}?"
    while parent and not dataclasses.is_dataclass(type_of(schema, parent)):
        parent = parent.rpartition(".")[0]
    names = ", ".join(field_types(type_of(schema, parent) if parent else schema))
    return f"unknown key '{key}'; known {f'under {parent}' if parent else 'keys'}: {names}"


def plain(value: Any) -> Any:
    """A configuration as nested dicts and lists of plain values, ready for YAML or JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if field.init]
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item") and not isinstance(value, str | int | float | bool):  # a NumPy scalar
        return value.item()
    return value
