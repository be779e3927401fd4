"""System identification finds what the recorded arm was like, and says what the recordings do not tell."""

from __future__ import annotations

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

from envs import Dynamics, DynamicsRanges, ReachEnv
from envs.identify import Recorded, identify
from envs.identify.recordings import reference_lag
from envs.observation import observation_groups

TRUE = Dynamics(payload=1.3, friction=4.0, damping=3.0, gain=0.5, delay=1)
ANY = DynamicsRanges()
FEW = {"segments": 8, "population": 16, "generations": 3, "refinements": 6, "box": ANY}
EXACT = 0.05
"""Relative error up to which a parameter counts as found."""


def record(env: ReachEnv, dynamics: Dynamics, scale: float = 1.0, episodes: int = 2) -> list[Recorded]:
    """Episodes with correlated random actions."""
    found = []
    for episode in range(episodes):
        rng, action = np.random.default_rng(episode), np.zeros(env.nu)
        obs = [env.reset(seed=episode, options={"dynamics": dynamics})[0]["observation"]]
        actions = []
        for _ in range(45):
            action = 0.7 * action + 0.7 * rng.normal(size=env.nu)
            actions.append((scale * np.clip(action, -1, 1)).astype(np.float32))
            obs.append(env.step(actions[-1])[0]["observation"])
        found.append(Recorded(np.array(obs), np.array(actions)))
    return found


def as_a_real_arm(env: ReachEnv, recorded: Recorded, delay: int) -> Recorded:
    """The same with the reference that was told, instead of that which arrived at the drives later."""
    groups = observation_groups(env.arm.n)
    obs, q = recorded.obs.copy(), recorded.obs[:, groups["q"]]
    moved = np.concatenate([obs[delay:], np.repeat(obs[-1:], delay, axis=0)])
    obs[:, groups["q_error"]] = moved[:, groups["q"]] + moved[:, groups["q_error"]] - q
    obs[:, groups["ref_dq"]] = moved[:, groups["ref_dq"]]
    steps = len(obs) - delay
    return Recorded(obs[:steps], recorded.action[: steps - 1])


def test_finds_what_the_arm_was_like() -> None:
    env = ReachEnv(randomize=ANY)
    episodes = record(env, TRUE)
    found = identify(env, episodes, **FEW)
    for name in ("payload", "friction", "damping", "gain"):
        assert getattr(found.dynamics, name) == pytest.approx(getattr(TRUE, name), rel=EXACT), name
    assert found.dynamics.delay == 1 and found.ranges.contains(found.dynamics)
    assert all(estimate.told and estimate.low <= estimate.value <= estimate.high for estimate in found.estimates)
    assert found.error[0] < 0.02 * found.nominal_error[0]
    # A real arm's reference is what it was told, so that the delay is seen in its joints alone.
    real = [as_a_real_arm(env, episode, 1) for episode in episodes]
    assert [reference_lag(env, some, 2) for some in (episodes, real)] == [1, 0]
    known = DynamicsRanges.at(replace(TRUE, delay=0))
    quick = {"segments": 4, "population": 8, "generations": 1, "refinements": 0}
    again = identify(env, real, box=replace(known, delay=(0, 2)), **quick)
    assert again.dynamics.delay == 1 and again.estimates[-1].told


def test_says_what_an_arm_at_rest_does_not_tell() -> None:
    env = ReachEnv(randomize=ANY)
    fit = {**FEW, "segments": 4, "population": 8, "generations": 1, "refinements": 1}
    found = identify(env, record(env, Dynamics(), scale=0.0, episodes=1), ("damping", "delay"), **fit)
    damping, delay = found.estimates
    assert not damping.told and not delay.told and "not told by these data" in str(damping)
    assert found.ranges.damping == ANY.damping and found.ranges.delay == ANY.delay
    assert found.dynamics.payload == 0.0 and found.ranges.payload == (0.0, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["cartesian_delta", "joint_velocity"])
def test_finds_it_with_noise_in_every_mode(mode: str) -> None:
    made = ReachEnv("ur5e", mode, randomize=ANY, observation_noise={"q": 1e-4, "dq": 1e-3})
    true = Dynamics(payload=2.0, friction=6.0, damping=5.0, gain=0.7, delay=2)
    found = identify(made, record(made, true, episodes=4), box=ANY, seed=1)
    for estimate in found.estimates:
        assert not estimate.told or getattr(found.dynamics, estimate.name) == pytest.approx(
            getattr(true, estimate.name), rel=EXACT
        ), str(estimate)
    assert found.dynamics.delay == 2 and sum(estimate.told for estimate in found.estimates) >= 4


def test_wrong_requests_are_refused() -> None:
    env = gym.make("LoopWM/PandaReach-v0").unwrapped
    assert isinstance(env, ReachEnv)
    short = Recorded(np.zeros((4, 31), np.float32), np.zeros((3, 7), np.float32))
    for episodes, settings, text in (
        ([], {}, "no episode"),
        ([short], {"parameters": ("mass",)}, "allowed payload, friction"),
        ([short], {"population": 2}, "population is 2, must be at least 8"),
        ([short], {"threads": 0}, "threads is 0"),
        ([short], {}, "has 3 steps, need 10"),
        ([short, short], {}, "no episode has 10 steps"),
        ([Recorded(short.obs[:, :9], short.action)], {}, r"need \(T\+1, 31 or more\)"),
        ([Recorded(short.obs * np.nan, short.action)], {"steps": 2}, "not finite"),
    ):
        with pytest.raises(ValueError, match=text):
            identify(env, episodes, **settings)
