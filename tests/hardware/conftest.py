"""A small arm for the tests of the bridge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hardware import ArmBridge, BridgeConfig, DriverSpec, FakeClock, JointLimits

NAMES = ("shoulder", "elbow", "wrist")

MJCF = """
<mujoco model="threelink">
  <compiler angle="radian"/>
  <option timestep="0.002" integrator="implicitfast"/>
  <default>
    <geom type="capsule" size="0.03" density="800" contype="0" conaffinity="0"/>
    <joint axis="0 1 0" limited="true" damping="0.5" armature="0.1"/>
  </default>
  <worldbody>
    <body name="link1" pos="0 0 0.5" gravcomp="1">
      <joint name="shoulder" range="-2 2"/>
      <geom fromto="0 0 0 0 0 0.3"/>
      <body name="link2" pos="0 0 0.3" gravcomp="1">
        <joint name="elbow" range="-2 2"/>
        <geom fromto="0 0 0 0 0 0.25"/>
        <body name="link3" pos="0 0 0.25" gravcomp="1">
          <joint name="wrist" range="-2 2"/>
          <geom fromto="0 0 0 0 0 0.1"/>
          <body name="finger" pos="0 0 0.1" gravcomp="1">
            <joint name="finger" type="slide" axis="1 0 0" range="0 0.04"/>
            <geom type="box" size="0.01 0.01 0.02"/>
          </body>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator>
    <position name="finger_drive" joint="finger" kp="100" kv="10"/>
    <position name="drive3" joint="wrist" kp="400" kv="15"/>
    <position name="drive1" joint="shoulder" kp="800" kv="30"/>
    <position name="drive2" joint="elbow" kp="600" kv="25"/>
  </actuator>
  <keyframe>
    <key name="home" qpos="0.2 -0.4 0.3 0.01" ctrl="0.01 0.3 0.2 -0.4"/>
  </keyframe>
</mujoco>
"""

HOME = np.array([0.2, -0.4, 0.3])


@pytest.fixture(scope="session")
def mjcf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("arm") / "threelink.xml"
    path.write_text(MJCF)
    return path


@pytest.fixture
def limits() -> JointLimits:
    return JointLimits(NAMES, [-1.5] * 3, [1.5] * 3, [1.5] * 3, [7.5] * 3, source="made up for tests")


@pytest.fixture
def spec(mjcf: Path) -> DriverSpec:
    return DriverSpec("sim", {"mjcf_path": str(mjcf), "joint_names": list(NAMES)})


@pytest.fixture
def bridge(spec: DriverSpec, limits: JointLimits):
    """A lock-step bridge, connected."""
    with ArmBridge(spec, limits, lockstep=True, clock=FakeClock(100.0), config=BridgeConfig()) as bridge:
        yield bridge


@pytest.fixture
def running(bridge: ArmBridge) -> ArmBridge:
    """The same, ready for plans."""
    bridge.enable()
    bridge.start()
    return bridge
