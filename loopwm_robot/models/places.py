"""Where the numbers of several environments stand when one layer reads all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

Named = Sequence[tuple[str, Sequence[int]]]
"""Names, each with the numbers of an environment that it stands for."""


@dataclass(frozen=True)
class Places:
    """Places of the numbers of E environments among n: those with the same name share theirs, in their order.

    Attributes:
        n: places in all.
        of: for each environment the place of each of its numbers; no two of them share one.
        named: places by name.
    """

    n: int
    of: tuple[tuple[int, ...], ...]
    named: Mapping[str, tuple[int, ...]]

    @staticmethod
    def make(environments: Sequence[Named]) -> Places:
        """Give every name as many places as the environment with most numbers under it needs.

        Args:
            environments: for each one its names; every number stands under exactly one.
        """
        widths: dict[str, int] = {}
        for name, numbers in chain.from_iterable(environments):
            widths[name] = max(widths.get(name, 0), len(numbers))
        named = {}
        n = 0
        for name, width in widths.items():
            named[name] = tuple(range(n, n + width))
            n += width
        of = []
        for names in environments:
            place = {number: named[name][i] for name, numbers in names for i, number in enumerate(numbers)}
            of.append(tuple(place[number] for number in sorted(place)))
        return Places(n, tuple(of), named)
