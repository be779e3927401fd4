"""Fine-tuning: a trained model learns another arm, or the real one, and does not forget what it knew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..checkpoint import Checkpoint, Spaces
from ..data.recorded import MEASURED
from ..errors import RequestError
from ..models.dynamics import DynamicsModel
from ..types import Episode
from .metrics import Starts, imagine, open_loop_rmse

SHARED = ("control_mode", "n_obs", "nu", "n_goal", "ctrl_dt", "position", "groups", "image", "obs_mode", "target")
"""What the old and the new environment have to have in common; arm and task may be others."""


@dataclass(frozen=True)
class Origin:
    """Where a fine-tuning starts.

    Attributes:
        checkpoint: the trained model; its scaling of the observations stays.
        old: episodes of what it was trained on, to learn from again; may be empty.
        held_out: of the same, to measure on; may be empty.
    """

    checkpoint: Checkpoint
    old: Sequence[Episode] = ()
    held_out: Sequence[Episode] = field(default=())

    def require(self, spaces: Spaces, path: Path | str) -> None:
        """Check that the model can learn an environment.

        Raises:
            RequestError: names what differs.
        """
        mine = self.checkpoint.spaces
        differing = [
            f"{name} {getattr(mine, name)!r} (environment {getattr(spaces, name)!r})"
            for name in SHARED
            if getattr(mine, name) != getattr(spaces, name)
        ]
        if differing:
            raise RequestError(
                f"init {path} was trained for {', '.join(differing)}; "
                "fine-tune it on an environment with the same observation and actions, or train anew"
            )


def held_out_error(model: DynamicsModel, episodes: Sequence[Episode]) -> float:
    """Open-loop error five steps ahead, in deviations of the data that the model's scaling comes from."""
    starts = Starts.of(episodes, MEASURED, 5, model.context).to(model.device)
    return float(open_loop_rmse(model, imagine(model, starts), starts)[-1])
