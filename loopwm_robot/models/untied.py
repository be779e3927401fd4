"""The ablation that LoopWM is compared with at equal FLOPs: T blocks of their own instead of one looped T times."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from ..types import LoopInfo
from .block import Conditioning, RecurrentBlock
from .chunks import Chunk
from .images import ImageConfig, Shape
from .loop_control import FixedDepth
from .loopwm import Core, LoopWM
from .tokens import Groups


class UntiedStack(LoopWM):
    """LoopWM whose T = mean_loops loops have a block each; the depth is fixed, in training and at inference.

    Args: see LoopWM.
    """

    def __init__(
        self,
        n_obs: int,
        nu: int,
        n_goal: int,
        ctrl_dt: float,
        core: Core | None = None,
        *,
        groups: Groups | None = None,
        tokens: str = "single",
        image: Shape | None = None,
        image_config: ImageConfig | None = None,
    ) -> None:
        core = core or Core()
        count = max(1, round(core.mean_loops))
        form = "paper" if core.form == "implicit" else core.form  # blocks that differ have no common fixed point
        core = replace(core, form=form, depth="fixed", mean_loops=float(count), max_loops=count)
        what = {"groups": groups, "tokens": tokens, "image": image, "image_config": image_config}
        super().__init__(n_obs, nu, n_goal, ctrl_dt, core, **what)  # type: ignore[arg-type]
        c = core
        sizes = (self.tokens, c.latent_dim, c.heads, c.mlp_ratio, c.form, c.gain, c.norm)
        more = (RecurrentBlock(*sizes) for _ in range(count - 1))
        self.further = nn.ModuleList(more)  # after self.block
        self.exit_rule = FixedDepth(count)

    def blocks(self) -> tuple[RecurrentBlock, ...]:
        """One for each loop."""
        return self.block, *(block for block in self.further if isinstance(block, RecurrentBlock))

    def at_depth(self, loops: int) -> None:
        """There is none: no block may be left out."""
        return None

    def _refine(self, h: Tensor, drive: Conditioning | Chunk, depths: Tensor | None) -> tuple[Tensor, LoopInfo]:
        """Every block once, with gradients through all; `drive` is what the first made of the prelude's output."""
        blocks = self.blocks()
        count = len(blocks)
        drive = drive.for_depth(count)
        for t, block in enumerate(blocks):
            own = drive if t == 0 else block.condition(drive.start, drive.e, drive.attended, drive.bias, drive.duration)
            h = block(h, own.for_depth(count).at(count - t))
        return h, LoopInfo.fixed(len(h), count, h.device)
