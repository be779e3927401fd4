"""From configuration to model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .dynamics import DynamicsModel
from .ensemble import Ensemble
from .latent_mlp import LatentMLP
from .loop_control import Converged, Doubling, ExitRule, FixedDepth, Gated, SecondOrder
from .loopwm import Core, LoopWM
from .rssm import RSSM
from .tokens import Groups
from .untied import UntiedStack

if TYPE_CHECKING:
    from ..config import ModelConfig

UNCALIBRATED = {"converged": 0.1, "second_order": 0.1, "doubling": 0.1, "gate": 0.5}
"""Thresholds of the exit rules before calibration."""


def build_model(
    config: ModelConfig,
    n_obs: int,
    nu: int,
    n_goal: int,
    ctrl_dt: float,
    groups: Groups | None = None,
    image: Sequence[int] = (),
) -> DynamicsModel:
    """A dynamics model with fresh weights from the global torch generator.

    Args:
        config: kind and settings.
        n_obs, nu, n_goal: sizes of observation, action and goal.
        ctrl_dt: duration of an action [s].
        groups: columns of the observation that belong together; without them the tokens must be "single".
        image: height, width and channels of the pictures; empty where there are none.

    Raises:
        ValueError: there are pictures, and the kind of model sees none; or its settings do not fit.
    """
    model = _dynamics(config, (n_obs, nu, n_goal, ctrl_dt), groups, image)
    if config.actor_critic.enabled:
        model.learn_to_act(config.actor_critic)
    return model


def _dynamics(
    config: ModelConfig, sizes: tuple[int, int, int, float], groups: Groups | None, image: Sequence[int]
) -> DynamicsModel:
    if image and config.kind in ("latent_mlp", "rssm", "ensemble"):
        raise ValueError(
            f"model.kind is '{config.kind}' for observations with pictures, allowed loopwm, one_pass, untied; "
            "or set env.obs_mode=vector"
        )
    if config.kind == "latent_mlp":
        return LatentMLP(*sizes, config.latent_mlp)
    if config.kind == "rssm":
        return RSSM(*sizes, config.rssm)
    if config.kind == "ensemble":
        return Ensemble(*sizes, config.ensemble)
    core = core_of(config)
    kind = UntiedStack if config.kind == "untied" else LoopWM
    shape = None
    if image:
        height, width, channels = image
        shape = (height, width, channels)
    model = kind(*sizes, core, groups=groups, tokens=config.tokens, image=shape, image_config=config.image)
    if config.kind == "loopwm":
        model.exit_rule = exit_rule(config, model)
    return model


def core_of(config: ModelConfig) -> Core:
    """The looped core that the configuration describes."""
    once = config.kind == "one_pass"
    return Core(
        latent_dim=config.latent_dim,
        heads=config.heads,
        mlp_ratio=config.mlp_ratio,
        form=config.form,
        gain=config.gain,
        norm=config.norm,
        depth="fixed" if once else config.depth,
        mean_loops=1.0 if once else config.mean_loops,
        max_loops=1 if once else config.max_loops,
        latent_noise=config.latent_noise,
        context=config.context,
    )


def exit_rule(config: ModelConfig, model: LoopWM) -> ExitRule:
    """The exit rule that the configuration names, with its threshold or the one that calibration left in the model."""
    if config.exit == "fixed":
        return FixedDepth(config.plan_loops)
    given = config.gate_threshold if config.exit == "gate" else config.exit_threshold
    threshold = model.exit_thresholds.get(config.exit, UNCALIBRATED[config.exit]) if given is None else given
    return make_exit_rule(config.exit, threshold, config.max_loops, model)


def make_exit_rule(name: str, threshold: float, max_loops: int, model: LoopWM) -> ExitRule:
    """An adaptive exit rule by name: converged, second_order, gate or doubling."""
    if name == "gate":
        return Gated(threshold, 1, max_loops, model.gate_logit)
    if name == "doubling":
        return Doubling(threshold, max_loops, model.disagreement)
    return {"converged": Converged, "second_order": SecondOrder}[name](threshold, 1, max_loops)
