"""What an agent remembers of an episode, for models that infer hidden dynamics from what happened."""

from __future__ import annotations

from collections import deque

import numpy as np
import torch

from .types import Float32, History


class Memory:
    """The latest transitions of an episode, at most as many as the model looks at.

    Args:
        context: transitions W that are kept; 0 keeps none.
    """

    def __init__(self, context: int) -> None:
        self.context = context
        self._seen: deque[tuple[Float32, Float32]] = deque(maxlen=context)

    def __len__(self) -> int:
        return len(self._seen)

    def clear(self) -> None:
        """Forget everything: another episode begins."""
        self._seen.clear()

    def add(self, obs: Float32, action: Float32) -> None:
        """Keep that `action` (nu,) was carried out after `obs` (n_obs,) was seen; both are copied."""
        if self.context:
            self._seen.append((np.array(obs, np.float32), np.array(action, np.float32)))

    def history(self, n_obs: int, nu: int) -> History:
        """What is kept, as a batch of one: (1, W, .), padded in front with zeros where less has happened.

        Args:
            n_obs, nu: sizes of an observation and an action, for the padding.
        """
        obs, action = np.zeros((1, self.context, n_obs), np.float32), np.zeros((1, self.context, nu), np.float32)
        mask = np.zeros((1, self.context), np.float32)
        for i, (seen, done) in enumerate(self._seen, self.context - len(self._seen)):
            obs[0, i], action[0, i], mask[0, i] = seen, done, 1
        return History(torch.from_numpy(obs), torch.from_numpy(action), torch.from_numpy(mask))
