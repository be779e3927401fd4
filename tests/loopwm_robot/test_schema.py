"""Conversion of plain values to typed fields."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from loopwm_robot.errors import RequestError
from loopwm_robot.schema import build, keys, plain, type_of, unknown_key


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclass
class Everything:
    count: int = 0
    gain: float = 0.0
    on: bool = False
    name: str = ""
    where: Path = Path("/")
    mode: Literal["a", "b"] = "a"
    colour: Colour = Colour.RED
    maybe: float | None = None
    either: int | str = 0
    pair: tuple[int, float] = (0, 0.0)
    many: list[int] = field(default_factory=list)
    bare: list = field(default_factory=list)
    weights: dict[str, float] = field(default_factory=dict)
    anything: Any = None
    derived: int = field(init=False, default=3)


@dataclass
class Needs:
    first: int
    second: int


@dataclass
class Holder:
    needs: Needs


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("count", 3, 3),
        ("count", 1e2, 100),
        ("count", "1e2", 100),
        ("count", 2**70, 2**70),
        ("gain", 3, 3.0),
        ("gain", "1e-3", 1e-3),
        ("on", True, True),
        ("name", 5, "5"),
        ("where", "a/b", Path("a/b")),
        ("mode", "b", "b"),
        ("colour", "BLUE", Colour.BLUE),
        ("colour", 2, Colour.BLUE),
        ("maybe", None, None),
        ("maybe", 2, 2.0),
        ("either", 4, 4),
        ("either", "x", "x"),
        ("pair", [1, 2], (1, 2.0)),
        ("many", (1, 2), [1, 2]),
        ("bare", [1, "x"], [1, "x"]),
        ("weights", {"a": 1}, {"a": 1.0}),
        ("anything", {"a": [1]}, {"a": [1]}),
    ],
)
def test_values_become_the_type_of_the_field(name: str, value: Any, expected: Any) -> None:
    got = getattr(build(Everything, {name: value}), name)
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("count", "inf", "count is 'inf', allowed a whole number"),
        ("gain", "wide", "gain is 'wide', allowed a number"),
        ("gain", True, "gain is True, allowed a number"),
        ("on", "yes", "on is 'yes', allowed true or false"),
        ("name", [1], "name is .*, allowed a text"),
        ("where", None, "where is None, allowed a path"),
        ("mode", "c", "mode is 'c', allowed a, b"),
        ("colour", "PINK", "colour is 'PINK', allowed RED, BLUE"),
        ("maybe", "x", "maybe is 'x', allowed a number"),
        ("either", [1], "either is .*, allowed a text"),
        ("pair", [1], "pair has 1 entries, allowed exactly 2"),
        ("weights", 3, "weights is 3, allowed a mapping"),
        ("weights", {"a": "b"}, "weights.a is 'b', allowed a number"),
        ("derived", 4, "unknown key 'derived'"),
    ],
)
def test_a_wrong_value_is_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        build(Everything, {name: value})


def test_missing_keys_are_named() -> None:
    with pytest.raises(RequestError, match=r"needs\.second not given"):
        build(Holder, {"needs": {"first": 1}})
    with pytest.raises(RequestError, match=r"^first, second not given"):
        build(Needs, {})


def test_a_request_error_of_a_range_check_passes_unchanged() -> None:
    @dataclass
    class Strict:
        x: int = 0

        def __post_init__(self) -> None:
            raise RequestError("as it is")

    with pytest.raises(RequestError, match=r"^as it is$"):
        build(Strict, {}, "some.path")


def test_a_bug_in_a_schema_is_not_taken_for_a_wrong_request() -> None:
    @dataclass
    class Broken:
        x: complex = 0j

        def __post_init__(self) -> None:
            raise TypeError("a bug")

    with pytest.raises(TypeError, match="cannot hold"):
        build(Broken, {"x": 1})
    with pytest.raises(TypeError, match="a bug"):
        build(Broken, {})


def test_plain_and_build_are_inverse() -> None:
    value = Everything(
        count=2, colour=Colour.BLUE, pair=(1, 2.5), many=[3], weights={"a": 0.5}, where=Path("x")
    )
    as_plain = plain(value)
    assert as_plain["colour"] == "BLUE" and as_plain["pair"] == [1, 2.5] and as_plain["where"] == "x"
    assert "derived" not in as_plain
    assert build(Everything, as_plain) == value
    assert plain(np.float32(0.5)) == 0.5


def test_type_of_follows_dotted_keys() -> None:
    assert type_of(Holder, "needs.first") is int
    assert type_of(Holder, "needs") is Needs
    assert type_of(Holder, "needs.third") is None
    assert type_of(Holder, "needs.first.deeper") is None


def test_keys_lists_leaves_only() -> None:
    assert [key for key, _ in keys(Holder)] == ["needs.first", "needs.second"]


def test_an_unknown_key_below_an_unknown_group_lists_the_top() -> None:
    assert unknown_key("no.such.thing", Holder) == "unknown key 'no.such.thing'; known keys: needs"
