"""Settings of the simulator as a planning model: what it believes of the arm, where that differs from the truth."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class SimulatorConfig:
    """What the planner's simulator believes; the defaults are the truth.

    Attributes:
        payload: mass in the hand [kg], 0 to 20; none is the true one.
        friction: dry friction of the strongest joints [N m], 0 to 50; none is the true one.
        damping: factor on the joints' damping, 0.01 to 100; none is the true one.
        gain: factor on the servos' stiffness and damping, 0.01 to 2; none is the true one.
        delay: control steps between an action and its execution, 0 to 20; none is the true one.
        randomised: number K of dynamics to draw, which all are simulated; planner.risk says what then counts. What is
            set above is the same in all. 0 draws none, at most 256.
        ranges: what they are drawn from: training or unseen, see envs.randomize.
        seed: of the draw, at least 0.
    """

    payload: float | None = None
    friction: float | None = None
    damping: float | None = None
    gain: float | None = None
    delay: int | None = None
    randomised: int = 0
    ranges: str = "training"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, high in (("randomised", self.randomised, 256), ("seed", self.seed, 2**32 - 1)):
            if not 0 <= value <= high:
                raise ValueError(f"planner.simulator.{name} is {value}, allowed [0, {high}]")
        if self.ranges not in ("training", "unseen"):
            raise ValueError(f"planner.simulator.ranges is '{self.ranges}', allowed training, unseen")
        if self.fixed:
            from envs.randomize import Dynamics  # here, for it brings MuJoCo along

            try:
                Dynamics(**self.fixed)  # type: ignore[arg-type]
            except ValueError as error:
                raise ValueError(f"planner.simulator: {error}") from error

    @property
    def fixed(self) -> dict[str, float]:
        """Parameters of `envs.Dynamics` that are believed whatever is true."""
        names = ("payload", "friction", "damping", "gain", "delay")
        return {name: value for name, value in asdict(self).items() if name in names and value is not None}

    @property
    def true(self) -> bool:
        """Whether it believes the truth."""
        return not self.fixed and not self.randomised
