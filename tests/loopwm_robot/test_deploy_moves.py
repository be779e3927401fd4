"""Every driver goes home slowly and is parked, on its emulator."""

from __future__ import annotations

import numpy as np
import pytest

from hardware import Mode
from loopwm_robot.bench.bridge.paths import PATHS, reachable
from loopwm_robot.deploy import make_bridge


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "client"), [("panda_dynamixel", "dynamixel_sdk"), ("ur5e", "rtde_control"), ("fr3", "franky")]
)
def test_home_and_park(name, client):
    pytest.importorskip(client)
    with reachable(PATHS[name]) as (arm, _), make_bridge(arm, allow_motion=True) as bridge:
        bridge.enable()
        away = np.array(arm.home) + 0.1
        bridge.home(away, share=0.2)
        assert bridge.mode is Mode.HOLDING and np.abs(bridge.observe().q - away).max() < 0.02
        bridge.park(arm.home, share=0.2)
        assert bridge.mode is Mode.CONNECTED and np.abs(bridge.observe().q - arm.home).max() < 0.02
        assert bridge.audit().limit_violations == 0
