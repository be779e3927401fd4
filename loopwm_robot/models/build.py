"""From configuration to model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .loop_control import Converged, ExitRule, FixedDepth, Gated, SecondOrder
from .loopwm import LoopWM

if TYPE_CHECKING:
    from ..config import ModelConfig


def build_loopwm(config: ModelConfig, n_obs: int, nu: int, n_goal: int, ctrl_dt: float) -> LoopWM:
    """A LoopWM with fresh weights from the global torch generator, and the exit rule of the configuration."""
    model = LoopWM(
        n_obs,
        nu,
        n_goal,
        ctrl_dt,
        latent_dim=config.latent_dim,
        tokens=config.tokens,
        heads=config.heads,
        mlp_ratio=config.mlp_ratio,
        mean_loops=config.mean_loops,
        max_loops=config.max_loops,
    )
    model.exit_rule = exit_rule(config, model)
    return model


def exit_rule(config: ModelConfig, model: LoopWM) -> ExitRule:
    """The exit rule that the configuration names."""
    if config.exit == "gate":
        return Gated(config.gate_threshold, 1, config.max_loops, model.gate_logit)
    adaptive = {"converged": Converged, "second_order": SecondOrder}
    if config.exit in adaptive:
        return adaptive[config.exit](config.exit_threshold, 1, config.max_loops)
    return FixedDepth(config.plan_loops)
