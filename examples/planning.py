"""Plan with your own model, or with any function that scores actions: python examples/planning.py"""

from dataclasses import dataclass

import torch
from torch import Tensor

from planners import CEM, AvoidSphere, Composite, Reach, SamplingConfig, TrajectoryScorer


@dataclass
class Path:
    """What a model hands out: what is observed after each action (N, H, n)."""

    positions: Tensor

    def observations(self, columns: slice | None = None) -> Tensor:
        """All observed numbers, or some."""
        return self.positions if columns is None else self.positions[..., columns]

    def rewards(self) -> Tensor:
        """Rewards (N, H); here nothing gives any."""
        return self.positions.new_zeros(self.positions.shape[:2])


class Point:
    """An analytic model: a point in the plane that moves at up to 1 m/s."""

    nu, ctrl_dt = 2, 0.1

    def rollout(self, start: Tensor, actions: Tensor) -> Path:
        """Positions [m] after each of the actions (N, H, 2) in [-1, 1]."""
        return Path(start + self.ctrl_dt * actions.cumsum(1))


def main() -> None:
    """Go around a sphere on the way to a goal; then plan for a plain function."""
    planner = CEM(SamplingConfig(horizon=10), nu=2, ctrl_dt=0.1, generator=torch.Generator().manual_seed(0))

    sphere = AvoidSphere("position", centre=(0.5, 0.05), radius=0.2, hard=True)
    around = Composite([Reach("position", (1.0, 0.0)), sphere], {"position": slice(0, 2)}, ctrl_dt=0.1)
    at, plan = torch.zeros(2), None
    for step in range(15):
        score = TrajectoryScorer(Point(), at, around)
        plan = score.settle(planner.plan(score, None if plan is None else plan.shift()))
        at = at + 0.1 * plan.actions[0]
        print(f"{0.1 * (step + 1):.1f} s  x {at[0]:.2f} m  y {at[1]:+.2f} m{'' if plan.feasible else '  infeasible'}")

    plan = planner.plan(lambda actions: -(actions.sum(1) - 3).square().sum(-1))  # any score(actions) -> returns
    print(f"sums of the actions {', '.join(f'{x:.2f}' for x in plan.actions.sum(0))}, 3.00 wanted")


if __name__ == "__main__":
    main()
