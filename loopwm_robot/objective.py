"""What a planner configuration optimises: its objective, the costs beside it and the risk over several models."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from envs.observation import (
    FIXTURE_SIZES,
    HOLE_SIZES,
    OBJECT_SIZES,
    groups_of,
    observation_groups,
    observation_size,
    target_groups,
)
from planners import (
    Composite,
    KeepPosture,
    LearnedReward,
    Objective,
    ReachPoint,
    Risk,
    Sum,
    Term,
    TerminalValue,
    Uncertainty,
)

from .checkpoint import Spaces
from .config import PlannerConfig
from .errors import RequestError

POSITION = "position"
"""Group of the columns that the goal is about, in every layout that has them."""


def observation_layout(spaces: Spaces) -> dict[str, slice]:
    """Columns of the observation by the name of their group.

    For our arms the groups of `envs.observation`; for environments of others those that they say belong together and
    stand side by side. `position` is what the goal is about.
    """
    layout: dict[str, slice] = {}
    if spaces.joints[1]:
        n = spaces.joints[1] - spaces.joints[0]
        layout |= observation_groups(n)
        for sizes in (OBJECT_SIZES, FIXTURE_SIZES, HOLE_SIZES):
            if spaces.n_obs == observation_size(n) + sum(sizes.values()):
                layout |= groups_of(sizes, observation_size(n))
    else:
        for name, columns in spaces.groups.items():
            if list(columns) == list(range(columns[0], columns[0] + len(columns))):
                layout[name] = slice(columns[0], columns[-1] + 1)
    if spaces.target_columns is not None:
        layout |= target_groups(spaces.target[0])
    if spaces.position[1] > spaces.position[0]:
        layout[POSITION] = spaces.position_columns
    return layout


def chosen_objective(spaces: Spaces, config: PlannerConfig) -> str:
    """The objective that is meant: `auto` takes the distance to the goal where it can be seen."""
    if config.objective != "auto":
        return config.objective
    return "analytic" if _width(spaces) and _width(spaces) == spaces.n_goal else "learned_reward"


def _width(spaces: Spaces) -> int:
    """Columns of the position that the goal is about."""
    return spaces.position[1] - spaces.position[0]


def check_objective(spaces: Spaces, config: PlannerConfig, kind: str = "") -> None:
    """What the planner optimises can be computed from the observations, and with the model.

    Args:
        spaces: what is observed.
        config: the planner.
        kind: of the learned model; empty where it is not known yet.

    Raises:
        RequestError: the analytic objective is asked for where the observation has no position that fits the goal, a
            cost does not fit the observation, or risk is asked for over a single model.
    """
    if config.objective == "analytic" and (_width(spaces) == 0 or _width(spaces) != spaces.n_goal):
        raise RequestError(
            f"planner.objective is 'analytic' for {spaces.env_id}, whose observation has no position "
            "to compare with the goal; use planner.objective=learned_reward"
        )
    layout = observation_layout(spaces)
    goal = torch.zeros(spaces.n_goal) if spaces.n_goal else None
    for i, term in enumerate(config.terms):
        try:
            term.check(layout, goal)
        except ValueError as error:
            raise RequestError(f"planner.costs[{i}]: {error} (environment {spaces.env_id})") from error
    wanted = [] if config.risk == "none" else [f"planner.risk is '{config.risk}'"]
    wanted += ["planner.costs has 'uncertainty'"] * any(isinstance(term, Uncertainty) for term in config.terms)
    single = config.simulator.randomised < 2 if config.model == "simulator" else kind not in ("", "ensemble")
    if wanted and single:
        raise RequestError(
            f"{wanted[0]} with a single model, allowed with several; plan with a checkpoint of model=ensemble, or with "
            "planner.model=simulator planner.simulator.randomised=8"
        )


def objective_factory(spaces: Spaces, config: PlannerConfig) -> Callable[[Tensor], Objective]:
    """What makes the objective from a goal (n_goal,), or from one that moves, with its velocity (2, n_goal).

    A goal that moves is taken to go on as it does now for the length of the plan.

    Args:
        spaces: what is observed.
        config: the planner; `check_objective` says whether it fits.
    """
    home, layout = torch.tensor(spaces.home), observation_layout(spaces)
    shared = [term for term in config.terms if isinstance(term, Uncertainty)]  # about all models, hence beside the risk
    own = [term for term in config.terms if not isinstance(term, Uncertainty)]
    objective = chosen_objective(spaces, config)

    def base(goal: Tensor) -> Objective | None:
        near = within_horizon(goal)
        if not config.terminal_value:
            return near
        value = TerminalValue(config.discount, config.terminal_value)
        return value if near is None else Sum(near, value)

    def within_horizon(goal: Tensor) -> Objective | None:
        if objective == "none":
            return None
        if objective == "learned_reward":
            return LearnedReward(config.discount)
        reach = ReachPoint(
            spaces.position_columns, goal, config.discount, config.terminal_weight, config.action_weight
        )
        if not (config.posture_weight and spaces.home):
            return reach
        return Sum(reach, KeepPosture(spaces.joint_columns, home.to(goal.device), config.posture_weight))

    def make(goal: Tensor) -> Objective:
        if goal.ndim == 2:
            ahead = torch.arange(1, config.horizon + 1, device=goal.device) * spaces.ctrl_dt
            goal = goal[0] + ahead[:, None] * goal[1]  # (H, n_goal)

        def composite(terms: Sequence[Term], base: Objective | None) -> Objective:
            known = goal if len(goal) else None
            return Composite(terms, layout, spaces.ctrl_dt, known, base, config.discount)

        made = base(goal)
        if own:
            made = composite(own, made)
        if made is not None and config.risk != "none":
            made = Risk(made, config.risk, config.risk_alpha)
        if shared or made is None:
            made = composite(shared, made)
        return made

    return make
