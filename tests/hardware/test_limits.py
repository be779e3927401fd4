from __future__ import annotations

import numpy as np
import pytest

from hardware import ArmInfo, JointLimits
from hardware.errors import LimitsMismatch

DATA = {
    "joint_names": ["a", "b"],
    "q_min": [-1.0, -2.0],
    "q_max": 1.0,
    "dq_max": 2.0,
    "ddq_max": [5.0, 6.0],
    "tau_max": [10.0, 20.0],
    "source": "a data sheet",
}


def test_mapping_round_trip():
    limits = JointLimits.from_mapping(DATA)
    assert limits.n == 2 and limits.q_max.tolist() == [1.0, 1.0]
    again = JointLimits.from_mapping(limits.to_mapping())
    assert again.to_mapping() == limits.to_mapping()
    with pytest.raises(ValueError, match="read-only"):
        limits.q_min[0] = -9.0


def test_limits_may_stand_under_their_own_key_beside_other_settings():
    limits = JointLimits.from_mapping(
        {"driver": "sim", "joint_names": ["a", "b"], "limits": {**DATA, "margin": 0.1}}
    )
    assert limits.q_min.tolist() == [-0.9, -1.9] and limits.q_max.tolist() == [0.9, 0.9]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"joint_names": None}, "joint_names"),
        ({"joint_names": ["a", "a"]}, "only once"),
        ({"dq_max": None}, "'dq_max' is missing"),
        ({"dq_max": [1.0, 2.0, 3.0]}, "expected 1 or 2"),
        ({"dq_max": "fast"}, "one number or a list"),
        ({"dq_max": [1.0, 0.0]}, "joint 'b': dq_max"),
        ({"q_min": 2.0}, "joint 'a': q_min"),
        ({"ddq_max": float("nan")}, "non-finite"),
        ({"tau_max": -1.0}, "tau_max"),
        ({"margin": 2.0}, "q_min"),
        ({"margin": -0.1}, "margin"),
    ],
)
def test_bad_limits_are_refused_with_the_subject(change, words):
    with pytest.raises(ValueError, match=words):
        JointLimits.from_mapping({**DATA, **change})


def test_device_must_have_our_joints_and_a_wider_range():
    limits = JointLimits.from_mapping(DATA)
    limits.check_device(ArmInfo("arm", ("a", "b"), 100.0))
    limits.check_device(ArmInfo("arm", ("a", "b"), 100.0, q_min=(-1.0, -2.5), q_max=(1.0, 1.0)))
    with pytest.raises(LimitsMismatch, match="order"):
        limits.check_device(ArmInfo("arm", ("b", "a"), 100.0))
    with pytest.raises(LimitsMismatch, match=r"joint 'b': q_max 1.0000 rad is outside the device's 0.9"):
        limits.check_device(ArmInfo("arm", ("a", "b"), 100.0, q_max=(1.0, 0.9)))
    fast = tuple(limits.dq_max)
    limits.check_device(ArmInfo("arm", ("a", "b"), 100.0, dq_max=fast))
    with pytest.raises(LimitsMismatch, match=r"joint 'a': dq_max .* rad/s is outside the device's 0.1000 rad/s"):
        limits.check_device(ArmInfo("arm", ("a", "b"), 100.0, dq_max=(0.1, fast[1])))
    assert np.isfinite(limits.tau_max).all()
