"""Hidden dynamics: what may differ between two arms that look the same, and the ranges it is drawn from."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]

DYNAMICS_UNITS: dict[str, str] = {
    "payload": "kg",
    "friction": "N m",
    "damping": "1",
    "gain": "1",
    "delay": "control steps",
}
"""Parameters in the order of `Dynamics.vector`, with units."""
OBJECT_DYNAMICS = ("object_mass", "object_friction", "object_size")
"""Factors on what lies on the table."""
FACTORS = (*OBJECT_DYNAMICS, "link_length")
"""Parameters that are not in the vector."""
LOGARITHMIC = ("damping", "gain")
"""Factors, drawn and normalised by their logarithm; the others are drawn uniformly."""


@dataclass(frozen=True)
class Dynamics:
    """What one arm is like; the default is the arm of the MJCF.

    Attributes:
        payload: mass carried at the tool centre point [kg]. Gravity compensation does not know it.
        friction: dry friction of the strongest joints [N m]; the others have it in proportion to their torque limits.
        damping: factor on the damping of the joints.
        gain: factor on the stiffness and damping (kp and kv) of the position servos.
        delay: control steps between an action and its execution.
        object_mass: factor on the mass of what moves freely on the table.
        object_friction: factor on its friction.
        object_size: factor on its size in the plane; the height stays.
        link_length: factor on the distances between the joints, and on to the tool, and on where each link's mass is.
            Kinematics that were worked out for the arm of the MJCF are then a little wrong, as on an arm that was not
            calibrated.
    """

    payload: float = 0.0
    friction: float = 0.0
    damping: float = 1.0
    gain: float = 1.0
    delay: int = 0
    object_mass: float = 1.0
    object_friction: float = 1.0
    object_size: float = 1.0
    link_length: float = 1.0

    def __post_init__(self) -> None:
        """Refuse impossible values.

        Raises:
            ValueError: a value is not finite or out of range.
        """
        for name, low, high in (
            ("payload", 0.0, 20.0),
            ("friction", 0.0, 50.0),
            ("damping", 0.01, 100.0),
            ("gain", 0.01, 2.0),  # stiffer servos are unstable at a physics step of 2 ms
            ("delay", 0, 20),
            ("object_mass", 0.1, 10.0),
            ("object_friction", 0.1, 10.0),
            ("object_size", 0.7, 1.3),
            ("link_length", 0.9, 1.1),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                unit = DYNAMICS_UNITS.get(name, "1")
                raise ValueError(f"{name} is {value} {unit}, allowed [{low:g}, {high:g}]")
        if self.delay != int(self.delay):
            raise ValueError(f"delay is {self.delay} control steps, must be a whole number")

    def vector(self, ranges: DynamicsRanges | None = None) -> NDArray[np.float32]:
        """The parameters, for a model that is told the truth.

        Args:
            ranges: what -1 and 1 stand for; the box shared by `TRAINING` and `UNSEEN` by default.

        Returns:
            Array (5,) in the order of `DYNAMICS_UNITS`, in [-1, 1] within the ranges; 0 where a range is one value.
        """
        box = TRAINING if ranges is None else ranges
        values = []
        for name in DYNAMICS_UNITS:
            low, high, value = (_coordinate(name, v) for v in (*getattr(box, name), getattr(self, name)))
            values.append(2.0 * (value - low) / (high - low) - 1.0 if high > low else 0.0)
        return np.array(values, dtype=np.float32)


NOMINAL = Dynamics()
"""The arm of the MJCF."""


@dataclass(frozen=True)
class Combination:
    """A region of the parameters: all intervals that are given hold at once, ends included."""

    payload: Interval | None = None
    friction: Interval | None = None
    damping: Interval | None = None
    gain: Interval | None = None
    delay: tuple[int, int] | None = None

    def contains(self, dynamics: Dynamics) -> bool:
        """Whether the parameters lie in the region."""
        intervals = ((field.name, getattr(self, field.name)) for field in fields(self))
        return all(i is None or i[0] <= getattr(dynamics, name) <= i[1] for name, i in intervals)


@dataclass(frozen=True)
class DynamicsRanges:
    """Where the dynamics of an episode are drawn from: a box, without or within held-out combinations.

    Attributes:
        payload: lowest and highest value [kg].
        friction: lowest and highest value [N m].
        damping: lowest and highest factor.
        gain: lowest and highest factor.
        delay: lowest and highest number of control steps.
        held_out: combinations that are left out.
        unseen: draw only from the held-out combinations instead of leaving them out.
        object_mass: lowest and highest factor, drawn uniformly, as the three below.
        object_friction: lowest and highest factor.
        object_size: lowest and highest factor.
        link_length: lowest and highest factor.
    """

    payload: Interval = (0.0, 3.0)
    friction: Interval = (0.0, 12.0)
    damping: Interval = (0.5, 10.0)
    gain: Interval = (0.1, 1.0)
    delay: tuple[int, int] = (0, 2)
    held_out: tuple[Combination, ...] = ()
    unseen: bool = False
    object_mass: Interval = (1.0, 1.0)
    object_friction: Interval = (1.0, 1.0)
    object_size: Interval = (1.0, 1.0)
    link_length: Interval = (1.0, 1.0)

    def __post_init__(self) -> None:
        """Refuse ranges that cannot be drawn from.

        Raises:
            ValueError: an interval is upside down or holds impossible values, or nothing is left to draw.
        """
        for name in (*DYNAMICS_UNITS, *FACTORS):
            low, high = getattr(self, name)
            if not low <= high:
                unit = DYNAMICS_UNITS.get(name, "1")
                raise ValueError(f"range of {name} is ({low}, {high}) {unit}, must be (low, high)")
            for value in (low, high):
                Dynamics(**{name: value})
        if self.unseen and not self.held_out:
            raise ValueError("unseen is True without held_out combinations; name the combinations to draw from")

    def value(self, name: str, share: float) -> float:
        """A parameter from where it stands in its range, the inverse of `Dynamics.vector`.

        Args:
            name: of the parameter.
            share: -1 at the low end, 1 at the high one.
        """
        low, high = (_coordinate(name, end) for end in getattr(self, name))
        found = low + (share + 1.0) * (high - low) / 2.0
        return float(np.clip(math.exp(found) if name in LOGARITHMIC else found, *getattr(self, name)))

    @staticmethod
    def at(dynamics: Dynamics) -> DynamicsRanges:
        """Ranges of one value each. Args: dynamics: the values."""
        values: dict[str, Any] = {name: (getattr(dynamics, name),) * 2 for name in ranges_fields()}
        return DynamicsRanges(**values)

    def contains(self, dynamics: Dynamics) -> bool:
        """Whether `sample` could have drawn these parameters."""
        box = Combination(self.payload, self.friction, self.damping, self.gain, self.delay)
        for name in FACTORS:
            low, high = getattr(self, name)
            if not low <= getattr(dynamics, name) <= high:
                return False
        return box.contains(dynamics) and any(c.contains(dynamics) for c in self.held_out) == self.unseen

    def sample(self, rng: np.random.Generator) -> Dynamics:
        """Draw the dynamics of an episode.

        Args:
            rng: source of randomness.

        Returns:
            Payload and friction uniform in their range, damping and gain log-uniform, every delay equally likely;
            drawn again until the held-out combinations allow it.

        Raises:
            ValueError: the held-out combinations left nothing in 1000 draws.
        """
        for _ in range(1000):
            drawn = Dynamics(
                payload=float(rng.uniform(*self.payload)),
                friction=float(rng.uniform(*self.friction)),
                damping=_log_uniform(rng, self.damping),
                gain=_log_uniform(rng, self.gain),
                delay=int(rng.integers(self.delay[0], self.delay[1] + 1)),
                **self._factors(rng),
            )
            if self.contains(drawn):
                return drawn
        raise ValueError("held_out leaves nothing to draw in 1000 tries; make the combinations smaller or larger")

    def _factors(self, rng: np.random.Generator) -> dict[str, float]:
        """Draw what is not in the vector; a single value takes no random number, so that seeds keep their meaning."""
        ends = {name: getattr(self, name) for name in FACTORS}
        return {name: float(rng.uniform(low, high)) if low < high else low for name, (low, high) in ends.items()}


HELD_OUT = (
    Combination(payload=(2.0, 3.0), friction=(8.0, 12.0)),
    Combination(payload=(1.0, 2.0), delay=(2, 2)),
    Combination(friction=(4.0, 8.0), delay=(0, 0)),
)
"""Pairs of thirds: heavy with rough, medium weight with the longest delay, medium friction without delay. Together a
third of the box. Every single value of every parameter occurs in training, and only these pairs do not."""
TRAINING = DynamicsRanges(held_out=HELD_OUT)
"""The box without the held-out combinations."""
UNSEEN = DynamicsRanges(held_out=HELD_OUT, unseen=True)
"""The held-out combinations of the same box."""
STANDARD_RANGES: dict[str, DynamicsRanges] = {"training": TRAINING, "unseen": UNSEEN}


def ranges_fields() -> dict[str, float]:
    """Parameters that have a range, with their values for the arm of the MJCF."""
    return {field.name: getattr(NOMINAL, field.name) for field in fields(Dynamics)}


def find_ranges(ranges: DynamicsRanges | str | None) -> DynamicsRanges | None:
    """Ranges by name.

    Args:
        ranges: a name in `STANDARD_RANGES`, the path of a YAML file as in `envs.ranges_file`, or ranges or None, which
            are returned as they are.

    Raises:
        ValueError: the name is unknown, or the file is not one of ranges.
    """
    if not isinstance(ranges, str):
        return ranges
    if ranges.endswith((".yaml", ".yml")):
        from .ranges_file import read_ranges

        return read_ranges(Path(ranges).expanduser())
    if ranges not in STANDARD_RANGES:
        known = ", ".join(STANDARD_RANGES)
        raise ValueError(
            f"randomize {ranges!r} is unknown, known ranges: {known}; or pass a DynamicsRanges, or the path of a "
            "YAML file"
        )
    return STANDARD_RANGES[ranges]


def _coordinate(name: str, value: float) -> float:
    return math.log(value) if name in LOGARITHMIC else float(value)


def _log_uniform(rng: np.random.Generator, interval: Interval) -> float:
    low, high = interval
    # The exponential of a logarithm may miss the ends by a rounding.
    return float(np.clip(math.exp(rng.uniform(math.log(low), math.log(high))), low, high))
