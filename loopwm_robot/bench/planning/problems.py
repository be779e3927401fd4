"""Problems that every planner package can be given: dynamics, a running cost, a start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Function = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Problem:
    """Minimise the sum of running costs over a horizon.

    Attributes:
        name: of the problem.
        dynamics: states (N, nx), actions (N, nu) -> next states (N, nx).
        cost: states after an action (..., nx), that action (..., nu) -> (...).
        x0: start (nx,).
        nu: action dimensions, each in [-1, 1].
        horizon: number of actions H.
        dt: duration of one action [s].
        optimum: least cost, where it is known.
        inside: obstacles that states (..., nx) are in (...), where there are any.
    """

    name: str
    dynamics: Function
    cost: Function
    x0: Tensor
    nu: int
    horizon: int
    dt: float
    optimum: float | None = None
    inside: Callable[[Tensor], Tensor] | None = None

    def states(self, actions: Tensor) -> Tensor:
        """What action sequences (N, H, nu) lead to (N, H, nx)."""
        x, found = self.x0.expand(len(actions), -1), []
        for u in actions.unbind(1):
            x = self.dynamics(x, u)
            found.append(x)
        return torch.stack(found, 1)

    def score(self, actions: Tensor) -> Tensor:
        """Minus the cost of action sequences (N, H, nu) -> (N,)."""
        x, total = self.x0.expand(len(actions), -1), torch.zeros(len(actions))
        for u in actions.unbind(1):
            x = self.dynamics(x, u)
            total = total + self.cost(x, u)
        return -total


def nothing(nu: int, horizon: int) -> Problem:
    """A model that costs as little time as one can."""
    return Problem("nothing", lambda x, u: x, lambda x, u: u[..., 0], torch.zeros(4), nu, horizon, 0.05)


def _point_mass(dt: float) -> tuple[Tensor, Tensor]:
    """x' = A x + B u for position and speed in the plane, u the acceleration."""
    a = torch.kron(torch.tensor([[1.0, dt], [0.0, 1.0]]), torch.eye(2))
    return a, torch.kron(torch.tensor([[dt**2 / 2], [dt]]), torch.eye(2))


def lqr(seed: int) -> Problem:
    """Bring a point mass in the plane to rest: linear, quadratic, its optimum by the Riccati recursion.

    The start is drawn until the optimum lies within the bounds, so that they do not change it.
    """
    dt, horizon = 0.2, 8
    a, b = _point_mass(dt)
    q, r = torch.diag(torch.tensor([1.0, 1.0, 0.1, 0.1])), 0.05 * torch.eye(2)
    value = torch.zeros(4, 4)
    gains: list[Tensor] = []
    for _ in range(horizon):
        s = q + value
        gain = torch.linalg.solve(r + b.T @ s @ b, b.T @ s @ a)
        value = a.T @ s @ (a - b @ gain)
        gains.insert(0, gain)
    generator = torch.Generator().manual_seed(seed)
    while True:
        x0 = (torch.rand(4, generator=generator) - 0.5) * torch.tensor([0.6, 0.6, 0.3, 0.3])
        x, largest = x0, 0.0
        for gain in gains:
            u = -gain @ x
            x, largest = a @ x + b @ u, max(largest, float(u.abs().max()))
        if 0.3 < largest < 0.95:
            break
    return Problem(
        "linear-quadratic",
        lambda x, u: x @ a.T + u @ b.T,
        lambda x, u: ((x @ q) * x).sum(-1) + ((u @ r) * u).sum(-1),
        x0,
        2,
        horizon,
        dt,
        optimum=float(x0 @ value @ x0),
    )


def obstacles(seed: int, discs: int = 8) -> Problem:
    """Lead a point mass through a field of discs to a goal on the other side; being inside a disc is expensive.

    The start, the goal and a way around each of the two are kept free; the first disc stands in the straight way.
    """
    dt, horizon, radius = 0.2, 20, 0.16
    a, b = _point_mass(dt)
    goal = torch.tensor([1.0, 0.0])
    generator = torch.Generator().manual_seed(1000 + seed)
    centres = [torch.tensor([0.0, 0.04 * (1 if seed % 2 else -1)])]
    while len(centres) < discs:
        c = (torch.rand(2, generator=generator) - 0.5) * torch.tensor([1.6, 1.4])
        free = min((c - goal).norm(), (c + goal).norm()) > 0.35
        if free and all((c - other).norm() > 0.45 for other in centres):
            centres.append(c)
    field = torch.stack(centres)

    def depth(x: Tensor) -> Tensor:
        """How far inside the discs, added up; 0 outside all."""
        distance = (x[..., None, :2] - field).square().sum(-1).clamp_min(1e-12).sqrt()
        return (radius - distance).clamp_min(0).sum(-1)

    def cost(x: Tensor, u: Tensor) -> Tensor:
        far = (x[..., :2] - goal).square().sum(-1) + 0.05 * x[..., 2:].square().sum(-1)
        return far + 200 * depth(x) + 0.01 * u.square().sum(-1)

    x0 = torch.tensor([-1.0, 0.0, 0.0, 0.0])
    dynamics = lambda x, u: x @ a.T + u @ b.T  # noqa: E731
    return Problem("obstacle field", dynamics, cost, x0, 2, horizon, dt, inside=lambda x: depth(x) > 0)
