"""The tasks of the race, the settings of our training for each, and who else runs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...config import EnvConfig
from .target import Target

OURS, SAC, TDMPC2 = "loopwm", "sac", "tdmpc2"
PEERS = (SAC, TDMPC2)
NAMES = {OURS: "LoopWM", SAC: "SAC", TDMPC2: "TD-MPC2"}


@dataclass(frozen=True)
class Race:
    """A task.

    Attributes:
        name: option of configs/env.
        env: what it says, for those who are not started by `loopwm train`.
        target: that ends it.
        settings: of `loopwm train`.
        goal: whether it has goals, so that hindsight helps.
        smoke: too easy for a claim.
    """

    name: str
    env: EnvConfig
    target: Target
    settings: tuple[str, ...]
    goal: bool = True
    smoke: bool = False

    def seen_by(self, peer: str, her_reward: str) -> EnvConfig:
        """The environment of somebody: all but the reward is the same."""
        return replace(self.env, reward=her_reward) if peer == SAC and self.goal else self.env


def rounds(count: int, updates: int, episodes: int, explored: int) -> tuple[str, ...]:
    """Settings of the rounds of a training, which is measured after each."""
    return (
        f"train.rounds={count}",
        f"train.updates_per_round={updates}",
        f"train.episodes_per_round={episodes}",
        f"collect.episodes={explored}",
    )


VALUE = ("model.actor_critic.enabled=true", "planner.terminal_value=1.0")
"""For rewards that lie beyond the planner's horizon."""
FAR = (*VALUE, "model.actor_critic.discount=0.99", "planner.discount=0.99")
NEAR = (*VALUE, "planner.discount=0.95")
"""With the discount that the value is learned with."""

RACES = {
    race.name: race
    for race in (
        Race(
            "panda_reach",
            EnvConfig("LoopWM/PandaReach-v0", "joint_delta", "dense"),
            Target(),
            rounds(20, 225, 4, 150),
        ),
        Race(
            "panda_push",
            EnvConfig("LoopWM/PandaPush-v0", "cartesian_delta", "dense"),
            Target(),
            ("model.tokens=bodies", *rounds(60, 250, 5, 200)),
        ),
        Race(
            "fetch_push",
            EnvConfig("fetch/Push-v4", "", "dense"),
            Target(),
            (*NEAR, *rounds(80, 250, 10, 300)),
        ),
        Race(
            "dm_reacher_hard_repeat2",
            EnvConfig("dm/reacher-hard-repeat2-v0", "", ""),
            Target("return", 900.0, 1000.0),
            (*FAR, *rounds(80, 250, 2, 20)),
            goal=False,
        ),
        Race(
            "fetch_reach",
            EnvConfig("fetch/Reach-v4", "", "dense"),
            Target(),
            rounds(10, 100, 4, 20),
            smoke=True,
        ),
    )
}
