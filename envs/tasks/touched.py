"""Tasks with a thing to touch: `info` says at how many set-points of the last control step the robot did."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arm_env import FloatArray
from ..touch import touch_of_body
from .goal import GoalEnv
from .push_scene import OBJECT_BODY, ContactProbe


class TouchedEnv(GoalEnv):
    """Adds `contact` and `contact_steps` to `info`. Subclasses set `_probe` when the model is there, and begin an
    episode with `_contact_steps` at 0."""

    _probe: ContactProbe
    _contact_steps = 0

    def advance(self, action: ArrayLike) -> None:
        """Run the physics for one control step; see `ArmEnv.advance`."""
        self._contact_steps = 0
        super().advance(action)

    def after_hold(self) -> None:
        """Look for contact."""
        self._contact_steps += self._probe.pushing(self.data)

    def touch_sensors(self, spec: mujoco.MjSpec) -> None:
        """Contacts of the object with the robot."""
        touch_of_body(spec, OBJECT_BODY)

    def batch_info(self, touches: FloatArray) -> dict[str, NDArray[Any]]:
        """See `task_info`."""
        steps: NDArray[np.int64] = (touches > 0).any(axis=2).sum(axis=1)
        return {"contact": steps > 0, "contact_steps": steps}

    def task_info(self) -> dict[str, Any]:
        """Contact during the last step."""
        return {"contact": self._contact_steps > 0, "contact_steps": self._contact_steps}
