"""The mismatch alarm of a deployment: what was imagined against what is seen, and how fast the arm may then be."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_models import inputs, make_model, randomised

from envs import ArmKinematics, JointDelta
from hardware import BridgeConfig
from loopwm_robot.deploy import ControlConfig
from loopwm_robot.deploy.alarm import Alarm, monitored
from loopwm_robot.deploy.run import SCORE_STEPS, _bridge
from loopwm_robot.errors import RequestError

from .test_deploy_control import ARM, COLUMNS, CONFIG, GOALS, ExactModel, Setup, arm_config, no_jump

BRIDGE = {"speed_scale_s": 0.3, "cautious_scale": 0.25}


def loopwm(calibrated: bool = True):
    model = randomised(make_model()).eval()
    if calibrated:
        model.monitoring.calibrate(torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) + 0.5)
    return model


def test_scores_are_those_of_the_models_own_monitor():
    model = loopwm()
    obs, _, actions = inputs()
    alarm = Alarm(model, 1.5, 6.0, 0.25)
    with torch.inference_mode():
        one = model.step(model.encode(obs[:1]), actions[:1, 0])[0]
        two = model.step(one, actions[:1, 1])[0]
        expected = [float(model.monitor(state, obs[1:2], steps)) for steps, state in ((1, one), (2, two))]
    seen = obs[1].numpy()
    assert alarm.score(7, seen) is None
    alarm.expect(7, one, 1)
    assert alarm.score(6, seen) is None and alarm.score(7, seen) == pytest.approx(expected[0])
    alarm.go_on(7, actions[0, 1].numpy())
    assert alarm.score(7, seen) is None and alarm.score(8, seen) == pytest.approx(expected[1], rel=1e-5)
    alarm.go_on(11, actions[0, 1].numpy())  # an instant was left out
    assert alarm.score(12, seen) is None


def test_the_share_falls_with_the_score_and_no_number_is_the_worst():
    alarm = Alarm(None, 1.5, 6.0, 0.25)
    assert alarm.scale == 0.25  # before the first score
    scores = [0.0, 1.0, 1.5, 2.0, 3.0, 5.9, 6.0, 100.0, math.inf, math.nan]
    shares = [alarm.judge(k, score) for k, score in enumerate(scores)]
    assert shares[:3] == [1.0] * 3 and shares[4] == pytest.approx(0.625) and shares[6:] == [0.25] * 4
    assert (np.diff(shares) <= 0.0).all() and len(alarm.scores) == 10
    assert all(not math.isnan(score) for _, score, _ in alarm.scores)


def test_what_cannot_be_scored_is_the_worst():
    alarm = Alarm(loopwm(), 1.5, 6.0, 0.25)
    obs, _, actions = inputs()
    with torch.inference_mode():
        state = alarm._model.step(alarm._model.encode(obs[:1]), actions[:1, 0])[0]
        alarm.expect(1, replace(state, h=state.h * math.nan), 1)
    assert alarm.score(1, obs[1].numpy()) == math.inf
    alarm.expect(1, state, 1)
    assert alarm.score(1, obs[1].numpy() * np.nan) == math.inf


def test_it_is_there_where_the_model_has_a_calibrated_monitor():
    auto = ControlConfig()
    assert isinstance(Alarm.of(loopwm(), auto, 0.25), Alarm) and monitored(loopwm())
    assert Alarm.of(loopwm(calibrated=False), auto, 0.25) is None
    assert Alarm.of(loopwm(), replace(auto, alarm="off"), 0.25) is None
    with pytest.raises(RequestError, match="no calibrated monitor"):
        Alarm.of(object(), replace(auto, alarm="on"), 0.25)
    for wrong in ({"alarm": "maybe"}, {"alarm_from": 7.0}, {"alarm_full": float("nan")}):
        with pytest.raises(ValueError, match=r"deploy\.alarm"):
            ControlConfig(**wrong)


def test_the_bridge_expects_scores_where_there_are_some(tmp_path):
    config = _bridge(BridgeConfig(), tmp_path, True, 0.05)
    assert config.speed_scale_s == pytest.approx(SCORE_STEPS * 0.05) and config.black_box == str(tmp_path)
    assert _bridge(BridgeConfig(), tmp_path, False, 0.05).speed_scale_s == 0.0
    assert _bridge(BridgeConfig(speed_scale_s=2.0), tmp_path, True, 0.05).speed_scale_s == 2.0


class Watched(ExactModel):
    """Scores by the distance of the measured joints from the imagined reference, 1 at 50 mrad; or as it is told."""

    class monitoring:
        level = torch.ones(1)

    told: float | None = None

    def monitor(self, state, obs, steps: int = 1) -> torch.Tensor:
        away = np.abs(obs[0].double().numpy()[COLUMNS["q"]] - state.q).max() / 0.05
        return torch.tensor([away if self.told is None else self.told])


@pytest.fixture
def setup() -> Setup:
    made = Setup(JointDelta(ARM.q_min, ARM.q_max), ArmKinematics(ARM), arm_config(bridge=BRIDGE))
    made.agent.model = Watched(made.joint_delta)
    return made


def speeds(result) -> np.ndarray:
    """Largest command of each tick as a share of the limits."""
    return np.abs(result.records["applied_dq"] / result.limits.dq_max).max(axis=1)


def test_normal_motion_is_not_slowed(setup):
    result = setup.run(GOALS[:1])
    assert result.success.all() and result.reseeds == 0
    no_jump(result)
    assert len(result.mismatch) == 59 and (result.mismatch[:, 1] < 1.5).all()
    assert result.summary()["slowed_fraction"] == 0.0 and speeds(result).max() > 0.3


@pytest.mark.parametrize("score", [100.0, math.nan])
def test_a_raised_score_slows_the_arm_along_its_way(setup, score):
    setup.agent.before = {14: lambda: setattr(setup.agent.model, "told", score)}
    result = setup.run(GOALS[:1], replace(CONFIG, steps_per_goal=30))
    free, slowed = result.records["speed_scale"] == 1.0, result.records["speed_scale"] == 0.25
    assert result.audit.limit_violations == 0 and result.audit.interventions == 0  # plans are slower, not cut short
    assert speeds(result)[slowed].max() <= 0.25 and speeds(result)[free].max() > 0.3
    told = math.inf if math.isnan(score) else score
    assert result.reseeds == 0 and result.mismatch[-1, 1:].tolist() == [told, 0.25]


def test_an_arm_that_does_something_else_is_found_out(setup):
    """An encoder slips, by less than what the bridge calls a following error."""
    setup.agent.before = {6: lambda: setup.driver.inject(kind="encoder_jump", joint=1, value=0.15)}
    result = setup.run(GOALS[:1], replace(CONFIG, steps_per_goal=30))
    assert result.mismatch[:6, 1].max() < 1.5 and result.mismatch[7:, 1].min() > 1.5
    assert result.summary()["slowed_fraction"] > 0.7 and result.records["speed_scale"][-1] < 0.9


def test_without_scores_the_bridge_makes_the_arm_slow(setup, monkeypatch):
    monkeypatch.setattr(Alarm, "score", lambda *_: None)
    result = setup.run(GOALS[:1], replace(CONFIG, steps_per_goal=20))
    assert (result.records["speed_scale"] == 0.25).all() and speeds(result).max() <= 0.25
    assert len(result.mismatch) == 0 and result.audit.limit_violations == 0
