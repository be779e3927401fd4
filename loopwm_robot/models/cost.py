"""What a model costs: trained numbers, and floating-point operations of one transition."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ..types import Obs, Observed
from .block import counted_attention
from .dynamics import DynamicsModel
from .loop_control import FixedDepth
from .loopwm import LoopWM
from .untied import UntiedStack


def parameters(model: nn.Module) -> int:
    """Trained numbers in a model, all parts of it: also those that only training or monitoring needs."""
    return sum(p.numel() for p in model.parameters())


@torch.no_grad()
def transition_flops(model: DynamicsModel, loops: int | None = None, decode: bool = False) -> int:
    """Floating-point operations of `step` for one sample: multiplications and additions of its matrix products.

    Args:
        model: any dynamics model.
        loops: of a LoopWM; None takes the mean depth of its training. Other models have no choice.
        decode: also decode the whole observation after the step.

    Raises:
        ValueError: loops is below 1.
    """
    p = next(model.parameters())
    vector = torch.zeros(1, model.n_obs, device=p.device, dtype=p.dtype)
    obs: Obs = vector
    if isinstance(model, LoopWM) and model.vision is not None:
        obs = Observed(vector, torch.zeros(1, *model.vision.shape, device=p.device, dtype=torch.uint8))
    state = model.encode(obs)
    action = torch.zeros(1, model.nu, device=p.device, dtype=p.dtype)
    saved = None
    if isinstance(model, LoopWM) and not isinstance(model, UntiedStack):
        rule = FixedDepth(max(1, round(model.mean_loops)) if loops is None else loops)
        saved, model.exit_rule = model.exit_rule, rule
    try:
        # The counter knows the plain form of attention only.
        with counted_attention(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            state, _ = model.step(state, action)
            if decode:
                model.decode_normalised(state.h)
                if isinstance(model, LoopWM) and model.vision is not None:
                    model.decode_image(state.h)
    finally:
        if saved is not None:
            model.exit_rule = saved  # type: ignore[assignment]
    return int(counter.get_total_flops())

