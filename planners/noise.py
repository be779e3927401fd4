"""Noise that is correlated in time, as linear maps of white noise: one matrix product for all candidates."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LARGE = 256
"""Numbers in a candidate from which one product for all costs more than one product for each candidate."""


def smoothing_matrix(horizon: int, correlation: float) -> Tensor:
    """Lower-triangular (H, H) that turns white noise into first-order autoregressive noise of unit variance."""
    steps = torch.arange(horizon)
    lag = (steps[:, None] - steps[None, :]).clamp_min(0).float()
    matrix = torch.tril(correlation**lag) if correlation else torch.eye(horizon)
    matrix[:, 1:] *= math.sqrt(1 - correlation**2)
    return matrix


def colouring_matrix(horizon: int, beta: float) -> Tensor:
    """(H, H) that turns white noise into noise of unit variance with the power spectrum f^-beta.

    The spectrum is that of a period of 2 H steps, of which H are used, so that the ends are not alike (Timmer and
    Koenig 1995; in planning: Pinneri et al. 2020, iCEM).

    Args:
        horizon: H, at least 1.
        beta: 0 is white, 1 pink, 2 Brownian.
    """
    period = 2 * horizon
    frequency = torch.arange(horizon + 1, dtype=torch.float64).clamp_min(1) / period  # the mean as the slowest
    power = frequency**-beta
    lag = torch.arange(horizon, dtype=torch.float64)[:, None]
    weight = torch.full((horizon + 1,), 2.0, dtype=torch.float64)
    weight[[0, -1]] = 1.0  # zero and Nyquist frequency occur once
    wave = torch.cos(2 * math.pi * torch.arange(horizon + 1, dtype=torch.float64) * lag / period)
    correlation = (wave * power * weight).sum(1)
    correlation = correlation / correlation[0]
    steps = torch.arange(horizon)
    covariance = correlation[(steps[:, None] - steps[None, :]).abs()]
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp_min(0).sqrt()).float()


def for_all(colour: Tensor, nu: int) -> Tensor:
    """The same map for all actions at once: white (N, K nu) @ it; a single product of small matrices is the fastest.

    Args:
        colour: (K, K).
        nu: number of action dimensions.

    Returns:
        (K nu, K nu), or colour itself, which is applied to each candidate, where that would be too large to be of use.
    """
    if nu == 1:
        return colour.T.contiguous()
    if len(colour) * nu > LARGE:
        return colour
    return torch.kron(colour.contiguous(), torch.eye(nu).to(colour)).T.contiguous()
