"""Checks before anything moves: checkpoint, environment and arm must mean the same by every number."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from envs import Arm, JointDelta, load_arm, observation_groups, observation_size
from hardware import ArmBridge, Chain, DriverSpec, FakeClock

from ..errors import RequestError
from .arm_config import ArmConfig
from .chain import chain_of, compare_chain

if TYPE_CHECKING:
    from ..checkpoint import Spaces

TOLERANCE = 1e-6
"""Two limits that differ by less are the same, in their own units."""

SIMULATED = "sim"


def preflight(spaces: Spaces, config: ArmConfig, arm: Arm, joint_delta: JointDelta, allow_motion: bool = False) -> None:
    """Compare what the checkpoint was trained on with the arm it is about to drive.

    Args:
        spaces: of the checkpoint.
        config: settings of the arm.
        arm: the arm of the environment, as its MJCF describes it.
        joint_delta: what an action means in the environment.
        allow_motion: whether a person agreed that an arm other than the simulated one moves.

    Raises:
        RequestError: names everything that differs.
    """
    require_consent(config, allow_motion)
    problems = [
        *_compare_spaces(spaces, arm.n, joint_delta.ctrl_dt),
        *_compare_arm(config, arm),
    ]
    if not problems:
        problems = _compare_motion(config, joint_delta)
    if problems:
        raise RequestError(f"arm '{config.name}' ({config.driver}) cannot run this checkpoint: {'; '.join(problems)}")


def require_consent(config: ArmConfig, allow_motion: bool) -> None:
    """Refuse to move a physical arm by default.

    Raises:
        RequestError: the driver is not the simulated one, commands are sent, and nobody agreed.
    """
    moves = config.driver != SIMULATED and config.bridge.commands == "send"
    if moves and not allow_motion:
        raise RequestError(
            f"arm.driver is '{config.driver}', which may move a real arm, allowed without consent only "
            f"'{SIMULATED}', and any with arm.bridge.commands=dry_run or shadow; clear its workspace, keep the "
            "emergency stop at hand and pass deploy.allow_motion=true"
        )


def make_bridge(
    config: ArmConfig, *, allow_motion: bool = False, lockstep: bool = False, clock: FakeClock | None = None
) -> ArmBridge:
    """The bridge to the arm, not yet connected.

    Args:
        config: settings of the arm.
        allow_motion: whether a person agreed that an arm other than the simulated one moves.
        lockstep: run in this process on a fake clock.
        clock: the fake clock.

    Raises:
        RequestError: the arm is physical and nobody agreed.
    """
    require_consent(config, allow_motion)
    kwargs = dict(config.driver_kwargs)
    if config.driver == SIMULATED:
        built_in = {
            "mjcf_path": str(load_arm(config.name).compiled_file()),
            "joint_names": list(config.joint_names),
            "home": list(config.home),
        }
        kwargs = built_in | kwargs
    driver = DriverSpec(config.driver, kwargs)
    chain = None if config.scene.empty else arm_chain(config)
    return ArmBridge(
        driver, config.limits, lockstep=lockstep, clock=clock, config=config.bridge, chain=chain, scene=config.scene
    )


def arm_chain(config: ArmConfig) -> Chain:
    """Links of an arm: those its file gives, if they agree with the MJCF, else those of the MJCF.

    Raises:
        RequestError: they disagree.
    """
    theirs = chain_of(config.name)
    if not config.chain:
        return theirs
    ours = Chain.from_mapping(config.chain)
    problems = compare_chain(ours, theirs)
    if problems:
        raise RequestError(f"arm '{config.name}': {'; '.join(problems)}")
    return ours


def _compare_spaces(spaces: Spaces, n: int, ctrl_dt: float) -> list[str]:
    if spaces.control_mode != "joint_delta":
        return [f"its control_mode is '{spaces.control_mode}', allowed 'joint_delta'"]
    columns = observation_groups(n)["ee_pos"]
    expected = {
        "nu": n,
        "n_obs": observation_size(n),
        "n_goal": 3,
        "ctrl_dt": ctrl_dt,
        "position": (columns.start, columns.stop),
    }
    return [
        f"its {name} is {getattr(spaces, name)}, the arm's {value}"
        for name, value in expected.items()
        if getattr(spaces, name) != value
    ]


def _compare_arm(config: ArmConfig, arm: Arm) -> list[str]:
    own = config.name.endswith((".yaml", ".yml"))  # the file of an arm of the user's
    if (Path(config.name).stem if own else config.name) != arm.name:
        return [f"arm.name is '{config.name}', the environment's arm is '{arm.name}'"]
    if config.joint_names != arm.joint_names:
        names = f"{list(config.joint_names)}, the MJCF has {list(arm.joint_names)}"
        return [f"arm.joint_names are {names}, in this order"]
    limits = config.limits
    problems: list[str] = []
    # A stricter limit is a choice, a wider one a mistake.
    for key, ours, theirs, sign, unit in (
        ("q_min", limits.q_min, arm.q_min, -1.0, "rad"),
        ("q_max", limits.q_max, arm.q_max, 1.0, "rad"),
        ("dq_max", limits.dq_max, arm.dq_max, 1.0, "rad/s"),
        ("ddq_max", limits.ddq_max, arm.ddq_max, 1.0, "rad/s^2"),
        ("tau_max", limits.tau_max, arm.tau_max, 1.0, "N m"),
    ):
        problems += _exceeding(f"arm.{key}", ours, theirs, sign, unit, config.joint_names, "the MJCF allows")
    return problems


def _compare_motion(config: ArmConfig, joint_delta: JointDelta) -> list[str]:
    limits, names = config.limits, config.joint_names
    problems: list[str] = []
    for what, ours, theirs, sign, unit in (
        ("the lower end of the actions' range", joint_delta.q_min, limits.q_min, -1.0, "rad"),
        ("the upper end of the actions' range", joint_delta.q_max, limits.q_max, 1.0, "rad"),
        (
            "the speed of a full action, action_scale / ctrl_dt,",
            joint_delta.dq_max,
            limits.dq_max,
            1.0,
            "rad/s",
        ),
        ("the acceleration of the actions", joint_delta.ddq_max, limits.ddq_max, 1.0, "rad/s^2"),
    ):
        problems += _exceeding(what, ours, theirs, sign, unit, names, "arm limits allow")
    return problems


def _exceeding(
    what: str,
    ours: ArrayLike | None,
    theirs: ArrayLike,
    sign: float,
    unit: str,
    names: tuple[str, ...],
    allowed: str,
) -> list[str]:
    if ours is None:
        return []
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    excess = sign * (ours - theirs)
    i = int(np.argmax(excess))
    if not excess[i] > TOLERANCE:
        return []
    return [f"{what} of '{names[i]}' is {ours[i]:g} {unit}, {allowed} {theirs[i]:g} {unit}"]
