"""The search: the cross-entropy method over normalised parameters, then Gauss-Newton steps from its best."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arm_env import ArmEnv
from ..randomize import DYNAMICS_UNITS, Dynamics, DynamicsRanges
from .candidates import Candidates
from .recordings import Recorded, Segments, cut
from .uncertainty import Estimate, covariance, estimates

FloatArray = NDArray[np.float64]

RESOLUTION = (1e-4, 1e-3)
"""Least error that is told from none: position [rad], velocity [rad/s]; that of a 16-bit encoder."""
ELITES = 0.2
"""Share of the candidates that the next ones are drawn around."""
SCOUTS = 8
"""Pieces that the cross-entropy method looks at; Gauss-Newton takes all."""
OUTLIER = 5.0
"""Pieces with an error of so many medians are left out: the arm touched something there."""
STEP = 0.02
"""Difference for derivatives, of parameters in [-1, 1]."""
STARTS = 3
"""Searches at most: where pieces were left out, another one may explain them."""
DAMPINGS = (0.0, 1e-2, 0.1, 1.0)
"""Tried at once in each Gauss-Newton step, in units of the curvature."""
AROUND = 10
"""Candidates around the longest of these steps."""
CLOSE_DELAY = 1.2
"""The data do not tell the delay where another one has less than so many times the error."""


@dataclass(frozen=True, eq=False)
class Identified:
    """Dynamics of the arm that was recorded.

    Attributes:
        dynamics: best estimate.
        estimates: each parameter that was fitted, with its uncertainty.
        ranges: to randomise in: two standard deviations around what the data tell, the range searched for the rest.
        error: root mean square of position [rad] and velocity [rad/s] over a piece, fitted.
        nominal_error: the same of the arm of the MJCF.
        segments: pieces of the recordings that were fitted.
        predicted: their positions and velocities by the best estimate (S, K, 2 n).
        runs: candidates that were rolled out.
    """

    dynamics: Dynamics
    estimates: tuple[Estimate, ...]
    ranges: DynamicsRanges
    error: tuple[float, float]
    nominal_error: tuple[float, float]
    segments: Segments
    predicted: FloatArray
    runs: int


def _nothing() -> None:
    """Nobody waits."""


def identify(
    env: ArmEnv,
    episodes: Sequence[Recorded],
    parameters: Sequence[str] = tuple(DYNAMICS_UNITS),
    box: DynamicsRanges | None = None,
    *,
    seed: int = 0,
    steps: int = 10,
    segments: int = 24,
    population: int = 32,
    generations: int = 5,
    refinements: int = 8,
    threads: int = 1,
    advance: Callable[[], None] = _nothing,
) -> Identified:
    """Fit hidden dynamics to recorded episodes.

    Every piece of a recording starts where the arm was measured and is rolled out with what its servos were told;
    position and velocity after each control step are compared. The arm should move freely and all its joints at once,
    fast and slow: parameters that do not show in the motion cannot be found, and are said to be unknown.

    Args:
        env: of the arm and control mode of the recordings; its objects play no part.
        episodes: recordings.
        parameters: to fit, names of `DYNAMICS_UNITS`; the others stay as in the MJCF.
        box: where to search; that of `TRAINING` by default.
        seed: of the search.
        steps: control steps of a piece.
        segments: pieces at most.
        population: candidates of a generation, at least 8.
        generations: of the cross-entropy method, at least 1.
        refinements: Gauss-Newton steps at most.
        threads: of physics.
        advance: called after each generation and refinement, `generations + refinements` times.

    Returns:
        The dynamics, and how well they are known.

    Raises:
        ValueError: an argument is out of range, or the recordings do not fit.
    """
    for name in parameters:
        if name not in DYNAMICS_UNITS:
            raise ValueError(f"parameter {name!r} is unknown, allowed {', '.join(DYNAMICS_UNITS)}")
    limits = (("steps", steps, 1), ("segments", segments, 1), ("population", population, 8), ("threads", threads, 1))
    for label, number, least in (*limits, ("generations", generations, 1), ("refinements", refinements, 0)):
        if number < least:
            raise ValueError(f"{label} is {number}, must be at least {least}")
    if not episodes or not parameters:
        raise ValueError("there is no episode or no parameter to fit; give one or more")
    box = DynamicsRanges() if box is None else box
    names = tuple(name for name in DYNAMICS_UNITS if name in parameters and name != "delay")
    delays = box.delay[1] if "delay" in parameters else 0
    pieces = cut(env, episodes, steps, segments, delays)
    search = _Search(Candidates(env, threads), pieces, names, box, delays - pieces.lag if delays else 0)
    try:
        rng, found = np.random.default_rng(seed), []
        for _ in range(STARTS):
            z, delay = search.scout(rng, population, generations, advance)
            search.drop_outliers(z, delay)
            z = search.refine(z, delay, rng, refinements, advance)
            error = search.drop_outliers(z, delay)
            found.append((error, z, delay))
            advance = _nothing
            if len(search.pieces) == len(pieces):  # it explains all there is
                break
        _, z, delay = min(found, key=lambda one: one[0])
        search.drop_outliers(z, delay)
        return search.judge(z, delay, "delay" in parameters)
    finally:
        search.candidates.close()


class _Search:
    """A fit in progress; parameters are vectors z (p,) in [-1, 1]."""

    def __init__(
        self, candidates: Candidates, pieces: Segments, names: tuple[str, ...], box: DynamicsRanges, delays: int
    ) -> None:
        self.candidates, self.pieces, self.names, self.box, self.delays = candidates, pieces, names, box, max(delays, 0)
        moved = np.concatenate([pieces.q[:, 1:] - pieces.q[:, :1], pieces.dq[:, 1:] - pieces.dq[:, :1]], axis=-1)
        floor = np.repeat(RESOLUTION, pieces.q.shape[-1])
        self.floor, self.usual = floor, np.maximum(moved.std(axis=(0, 1)), floor)
        self.all, self.scale = pieces, self.usual

    def dynamics(self, z: FloatArray, delay: int = 0) -> Dynamics:
        values = {name: self.box.value(name, each) for name, each in zip(self.names, np.clip(z, -1, 1), strict=True)}
        return Dynamics(**values, delay=delay)

    def residuals(self, zs: FloatArray, delays: Iterable[int], pieces: Segments) -> FloatArray:
        """Differences of candidates (C, p) to what was measured (C, S, K, 2 n) [rad, rad/s]."""
        asked = [(self.dynamics(z), int(delay)) for z, delay in zip(zs, delays, strict=True)]
        return self.candidates.predict(pieces, asked) - pieces.measured

    def scout(
        self, rng: np.random.Generator, population: int, generations: int, advance: Callable[[], None]
    ) -> tuple[FloatArray, int]:
        """The cross-entropy method: a normal distribution of z, a table of the delay."""
        self.pieces, self.scale = self.all, self.usual
        size, some = len(self.names), np.unique(np.linspace(0, len(self.pieces) - 1, SCOUTS).round().astype(int))
        few = self.pieces.take(some)
        share = np.full(self.delays + 1, 1.0 / (self.delays + 1))
        zs = rng.uniform(-1, 1, (population, size))
        best = (np.inf, zs[0], 0)
        for _ in range(generations):
            delays = rng.choice(len(share), population, p=share)
            left = np.abs(self.residuals(zs, delays, few) / self.scale)
            # The mean of absolute values, not of squares: one piece with a contact shall not decide.
            loss = np.where(np.isfinite(left), left, np.inf).mean(axis=(1, 2, 3))
            order = np.argsort(loss)[: max(2, round(ELITES * population))]
            if loss[order[0]] < best[0]:
                best = (float(loss[order[0]]), zs[order[0]].copy(), int(delays[order[0]]))
            mean, std = zs[order].mean(axis=0), zs[order].std(axis=0) + 0.02
            share = 0.9 * np.bincount(delays[order], minlength=len(share)) / len(order) + 0.1 / len(share)
            zs = np.clip(rng.normal(mean, std, (population, size)), -1, 1)
            zs[0] = best[1]
            advance()
        return best[1], best[2]

    def drop_outliers(self, z: FloatArray, delay: int) -> float:
        """Leave pieces out in which something else acted on the arm; weigh columns by their errors from here on.

        Returns:
            The median of the errors of all pieces, in units of the usual motion.
        """
        self.pieces, self.scale = self.all, self.usual
        left = self.residuals(z[None], [delay], self.pieces)[0]
        size = np.sqrt(((left / self.scale) ** 2).mean(axis=(1, 2)))
        kept = np.flatnonzero(size <= OUTLIER * np.median(size))
        self.pieces = self.pieces.take(kept)
        self.scale = np.sqrt((left[kept] ** 2).mean(axis=(0, 1)) + self.floor**2)
        return float(np.median(size))

    def refine(
        self, z: FloatArray, delay: int, rng: np.random.Generator, refinements: int, advance: Callable[[], None]
    ) -> FloatArray:
        """Gauss-Newton steps by finite differences, several lengths at once and some around them."""
        done = not self.names
        for _ in range(refinements):
            if not done:
                left, slope = self.linearised(z, delay)
                before, curve = float(left @ left), slope.T @ slope
                curve += 1e-9 * np.eye(len(z)) * max(float(curve.trace()), 1.0)
                damped = [curve + damping * np.diag(curve.diagonal()) for damping in DAMPINGS]
                steps = np.array([-np.linalg.solve(c, slope.T @ left) for c in damped])
                # Friction has kinks, and its valleys are found by looking around in the metric of the curvature.
                chance = np.linalg.solve(np.linalg.cholesky(curve).T, rng.normal(size=(len(z), AROUND))).T
                chance *= np.sqrt(before / len(z)) * np.linspace(0.1, 1.0, AROUND)[:, None]
                tries = np.clip(z + np.concatenate([steps, 2 * steps[:2], steps[0] + chance]), -1, 1)
                after = self.residuals(tries, [delay] * len(tries), self.pieces) / self.scale
                losses = (after**2).sum(axis=(1, 2, 3))
                best = int(losses.argmin())
                done = not losses[best] < (1 - 1e-4) * before
                if losses[best] < before:
                    z = tries[best]
            advance()
        return z

    def linearised(self, z: FloatArray, delay: int) -> tuple[FloatArray, FloatArray]:
        """Residuals (m,) in units of their deviation, and their derivatives (m, p)."""
        step = np.where(z > 0, -STEP, STEP)  # stays inside
        zs = np.concatenate([z[None], z + np.diag(step)])
        all_of = (self.residuals(zs, [delay] * len(zs), self.pieces) / self.scale).reshape(len(zs), -1)
        return all_of[0], ((all_of[1:] - all_of[0]) / step[:, None]).T

    def judge(self, z: FloatArray, delay: int, with_delay: bool) -> Identified:
        """What was found, and how sure it is."""
        predicted = self.residuals(z[None], [delay], self.pieces)[0]
        self.scale = np.sqrt((predicted**2).mean(axis=(0, 1)) + self.floor**2)
        found: tuple[Estimate, ...] = ()
        if self.names:
            _, slope = self.linearised(z, delay)
            found = estimates(self.names, z, covariance(slope, 1.0 / predicted.shape[1]), self.box)
        total = delay + self.pieces.lag
        if with_delay:
            found = (*found, self._delay(z, delay, total))
        nominal = self.candidates.predict(self.pieces, [(Dynamics(), 0)])[0] - self.pieces.measured
        told = {e.name: (e.low, e.high) for e in found if e.told}
        fixed = {name: (getattr(Dynamics(), name),) * 2 for name in DYNAMICS_UNITS}
        searched = {e.name: getattr(self.box, e.name) for e in found}
        return Identified(
            self.dynamics(z, total),
            found,
            DynamicsRanges(**{**fixed, **searched, **told}),
            _errors(predicted),
            _errors(nominal),
            self.pieces,
            predicted + self.pieces.measured,
            self.candidates.runs,
        )

    def _delay(self, z: FloatArray, delay: int, total: int) -> Estimate:
        """The delay, and those that explain the data nearly as well."""
        count = self.delays + 1
        left = self.residuals(np.repeat(z[None], count, axis=0), range(count), self.pieces) / self.scale
        size = np.sqrt((left**2).mean(axis=(1, 2, 3)))
        close = np.flatnonzero(size <= CLOSE_DELAY * size[delay]) + self.pieces.lag
        return Estimate("delay", total, int(close.min()), int(close.max()), len(close) == 1)


def _errors(left: FloatArray) -> tuple[float, float]:
    n = left.shape[-1] // 2
    return float(np.sqrt((left[..., :n] ** 2).mean())), float(np.sqrt((left[..., n:] ** 2).mean()))
