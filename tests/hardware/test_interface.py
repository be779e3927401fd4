"""What crosses the bridge is checked when it is made, and cannot be changed afterwards."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from hardware import Applied, ArmInfo, ArmPlan, ArmState, BridgeConfig, BridgeError, DriverSpec, Reason
from hardware.errors import DriverUnavailable, NonFinite, ShapeMismatch, StaleState, error_class

ROOT = Path(__file__).parents[2]


def plan(**changes) -> ArmPlan:
    fields = {
        "plan_id": 1,
        "t0": 0.0,
        "dt": 0.05,
        "q": np.zeros((4, 2)),
        "valid_until": 1.0,
        "joint_names": ("a", "b"),
    }
    return ArmPlan(**{**fields, **changes})


def test_arrays_are_read_only_copies():
    q = np.zeros(3)
    state = ArmState(0, 0.0, 0.0, q, np.zeros(3), tau=[1.0, 2.0, 3.0])
    q[0] = 5.0
    assert state.q[0] == 0.0 and state.q.dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        state.q[0] = 1.0


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"q": np.zeros((4, 3))}, ShapeMismatch),
        ({"q": np.zeros(4)}, ShapeMismatch),
        ({"q": np.zeros((0, 2))}, ShapeMismatch),
        ({"q": np.full((4, 2), np.nan)}, NonFinite),
        ({"dq": np.zeros((3, 2))}, ShapeMismatch),
        ({"dq": np.full((4, 2), np.inf)}, NonFinite),
        ({"q": np.zeros((1, 2)), "dq": np.ones((1, 2))}, ShapeMismatch),
        ({"dt": 0.0}, ShapeMismatch),
        ({"dt": np.nan}, ShapeMismatch),
        ({"t0": np.inf}, NonFinite),
        ({"valid_until": np.nan}, NonFinite),
    ],
)
def test_malformed_plans_cannot_be_made(changes, error):
    with pytest.raises(error) as caught:
        plan(**changes)
    assert isinstance(caught.value, BridgeError) and isinstance(caught.value, ValueError)


def test_plan_that_ends_moving_expires_with_its_last_knot():
    assert plan(valid_until=9.0).expires_at == 9.0
    assert plan(valid_until=9.0, dq=np.ones((4, 2))).expires_at == pytest.approx(0.15)
    assert plan(valid_until=0.1, dq=np.ones((4, 2))).expires_at == 0.1


@pytest.mark.parametrize("field", ["q", "dq", "tau"])
def test_states_with_nan_or_wrong_shape_cannot_be_made(field):
    good = {"q": np.zeros(3), "dq": np.zeros(3), "tau": np.zeros(3)}
    with pytest.raises(NonFinite):
        ArmState(0, 0.0, 0.0, **{**good, field: np.array([0.0, np.nan, 0.0])})
    with pytest.raises(ShapeMismatch):
        ArmState(0, 0.0, 0.0, **{**good, field: np.zeros((3, 2))})


def test_interventions_are_named():
    reasons = np.array([0, Reason.VELOCITY | Reason.POSITION], dtype=np.uint32)
    applied = Applied(1, 0.0, 3, np.zeros(2), np.zeros(2), np.zeros(2), reasons)
    assert applied.interventions(("a", "b")) == {"b": Reason.VELOCITY | Reason.POSITION}


def test_info_survives_a_trip_through_plain_data():
    info = ArmInfo("x", ("a", "b"), 500.0, q_min=(-1.0, -2.0), q_max=(1.0, 2.0))
    assert ArmInfo.from_mapping(asdict(info)) == info and info.dof == 2


@pytest.mark.parametrize(
    "settings",
    [
        {"rate_hz": 0.0},
        {"rate_hz": float("nan")},
        {"max_jump_rad": -1.0},
        {"on_exit": "drop"},
        {"realtime": "maybe"},
        {"stale_after_s": 0.2, "disconnect_after_s": 0.1},
        {"rate_hz": 10.0},  # three periods are longer than the time to a disconnect
        {"no_such": 1},
    ],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match="|".join([*settings, "stale_after"])):
        BridgeConfig.from_mapping(settings)


def test_settings_round_trip():
    config = BridgeConfig(rate_hz=500.0, on_exit="hold")
    assert BridgeConfig.from_mapping(config.to_mapping()) == config
    assert config.stale_s == 0.02 and BridgeConfig(rate_hz=100.0).stale_s == pytest.approx(0.03)


def test_driver_names():
    with pytest.raises(DriverUnavailable, match=r"known: .*\bsim\b"):
        DriverSpec("simm")
    with pytest.raises(DriverUnavailable, match="plain"):
        DriverSpec("sim", {"clock": object()})
    with pytest.raises(DriverUnavailable, match="cannot import"):
        DriverSpec("no_such_package.arm:Arm").create(None)
    with pytest.raises(DriverUnavailable, match="check the arguments"):
        DriverSpec("sim", {"no_such": 1}).create(None)


def test_errors_cross_a_process_border_by_name():
    assert error_class("StaleState") is StaleState
    assert error_class("os") is BridgeError and error_class("NoSuchError") is BridgeError


def test_import_loads_neither_torch_nor_mujoco():
    code = (
        "import sys, hardware, hardware.control_process\n"
        "print([m for m in ('torch', 'mujoco') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
