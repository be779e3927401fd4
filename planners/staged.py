"""Depth spent where it pays: a cheap scorer searches, the full one ranks the best of what was found.

The idea is that of multi-fidelity cross-entropy methods; here the two scorers are one model with few loops and with all
of them. A guard watches whether the cheap one ranks as the full one does, and gives it less to say where it does not.
"""

from __future__ import annotations

import torch
from torch import Tensor

PATIENCE = 5
"""Plans in a row that agree before fewer candidates are promoted again."""
RETRY = 20
"""Plans with the full scorer alone before the cheap one is tried again."""


class Promotion:
    """How many candidates the full scorer ranks: more, up to all, while the cheap scorer ranks otherwise.

    Args:
        least: candidates that are ranked where the two agree, at least 1.
        most: all of an iteration's; from there on the cheap scorer is not asked.
        agreement: rank correlation of the two among the promoted that counts as agreeing, in [-1, 1].
    """

    def __init__(self, least: int, most: int, agreement: float) -> None:
        self.least, self.most, self.agreement = min(least, most), most, agreement
        self.count = self.least
        self._agreed = self._without = 0

    def begin(self) -> bool:
        """A plan begins: whether the cheap scorer searches in it."""
        if self.count < self.most or self.least == self.most:
            return True
        self._without += 1
        if self._without <= RETRY:
            return False
        self._without, self.count = 0, max(self.least, self.most // 2)
        return True

    def observe(self, cheap: Tensor, full: Tensor) -> None:
        """What both scorers say about the promoted (P,); a non-finite full score ranks last."""
        agrees = rank_correlation(cheap, torch.where(torch.isfinite(full), full, -torch.inf)) >= self.agreement
        self._agreed = self._agreed + 1 if agrees else 0
        if not agrees:
            self.count = min(self.most, 2 * self.count)
        elif self._agreed >= PATIENCE and self.count > self.least:
            self.count, self._agreed = max(self.least, self.count // 2), 0


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's rank correlation of a and b (N,), in [-1, 1]; 1 where there is nothing to rank.

    Equal values share their mean rank; where all of one are equal the correlation is 1 if all of the other are, else 0.
    """
    if len(a) < 2:
        return 1.0
    x, y = _ranks(a), _ranks(b)
    x, y = x - x.mean(), y - y.mean()
    size = float(x.norm() * y.norm())
    if size == 0.0:
        return 1.0 if float(x.norm() + y.norm()) == 0.0 else 0.0
    return float(x @ y) / size


def _ranks(values: Tensor) -> Tensor:
    below = (values[:, None] > values).sum(1)
    same = (values[:, None] == values).sum(1)
    return (below + (same - 1) / 2).double()
