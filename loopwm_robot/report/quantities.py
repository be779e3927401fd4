"""From keys of summary.json to what people read: units, names, number of digits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Number = str | bool | int | float
Summary = Mapping[str, Number]


@dataclass(frozen=True)
class Quantity:
    """One entry of the summary, ready to show.

    Attributes:
        key: in summary.json.
        value: exactly as it stands there.
        text: what people read, with its unit.
    """

    key: str
    value: Number
    text: str


def quantity(summary: Summary, key: str) -> Quantity | None:
    """The entry of a key, None where the summary has none."""
    if key not in summary:
        return None
    return Quantity(key, summary[key], show(key, summary[key]))


def show(key: str, value: Any) -> str:
    """Write a value with the unit that its key implies.

    Shares become percent, metres of position centimetres, seconds of planning milliseconds, long times minutes.
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    name = key.rsplit(".", 1)[-1]
    if re.search(r"(_rate|_fraction|^worst_speed|^worst_acceleration)$", name):
        return f"{digits(100 * value, 3 if abs(value) < 0.999 or value == 1 else 4)} %"
    if re.search(r"(^|_)(distance|position)_m(_|$)", name):
        return f"{digits(100 * value, 2)} cm"
    if re.search(r"_s(_p\d+|_max|_mean|_median)?$", name):
        return duration(value)
    if name.endswith("_hz"):
        return f"{digits(value, 3)} Hz"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")  # a thin no-break space between thousands
    return digits(value, 3)


def duration(seconds: float) -> str:
    """A time span in the unit that suits it."""
    if abs(seconds) >= 90:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest:02d} s" if minutes < 90 else f"{seconds / 3600:.1f} h"
    if abs(seconds) >= 1:
        return f"{digits(seconds, 3)} s"
    return f"{digits(1000 * seconds, 3)} ms"


def digits(value: float, significant: int) -> str:
    """Significant digits without an exponent where that is readable, and without trailing zeros after the point."""
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 10**6:
        return f"{value:.{significant}g}"
    text = f"{float(f'{value:.{significant}g}'):.10f}".rstrip("0").rstrip(".")
    return text if abs(value) < 10**significant else f"{value:.0f}"
