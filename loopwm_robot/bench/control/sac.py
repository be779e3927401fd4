"""Stable-Baselines3's SAC, with hindsight where the task has goals.

Its settings for goals are those of its own zoo (github.com/DLR-RM/rl-baselines3-zoo, hyperparams/her.yml at 00aaec2:
SAC for FetchReach and parking, widths of 256 as in the paper of HER, Andrychowicz et al. 2017, arXiv 1707.01495);
without goals its defaults.
"""

from __future__ import annotations

from importlib import metadata
from typing import Any

from ...build import make_env
from .judge import Judge, Over, PeerRequest

PACKAGE = "stable-baselines3"
HINDSIGHT: dict[str, Any] = {"n_sampled_goal": 4, "goal_selection_strategy": "future"}
GOALS: dict[str, Any] = {"gamma": 0.95, "learning_rate": 1e-3, "learning_starts": 1000, "batch_size": 256}
WIDTHS = (256, 256, 256)
BUFFER = 1_000_000


class GreedyActor:
    """A trained model without its noise."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def begin(self, raw: Any) -> None:
        """It remembers nothing."""

    def act(self, raw: Any) -> Any:
        return self.model.predict(raw, deterministic=True)[0]


def train(request: PeerRequest, judge: Judge) -> None:
    """Learn until the judge ends it."""
    from stable_baselines3 import SAC, HerReplayBuffer
    from stable_baselines3.common.callbacks import BaseCallback

    class Ask(BaseCallback):
        """Asks the judge after each step."""

        def _on_step(self) -> bool:
            try:
                judge.check(self.num_timesteps)
                if self.locals["dones"][0]:
                    judge.look(GreedyActor(self.model), self.num_timesteps)
            except Over:
                return False
            return True

    size = min(request.limit_steps, BUFFER)
    settings: dict[str, Any] = {"seed": request.seed, "device": request.device, "buffer_size": size}
    if request.goal:
        settings |= {**GOALS, "policy_kwargs": {"net_arch": list(WIDTHS)}}
        settings |= {"replay_buffer_class": HerReplayBuffer, "replay_buffer_kwargs": dict(HINDSIGHT)}
    env = make_env(request.env)
    model = SAC("MultiInputPolicy" if request.goal else "MlpPolicy", env, **settings)
    model.learn(request.limit_steps, callback=Ask())
    parameters = sum(p.numel() for p in model.policy.actor.parameters())
    parameters += sum(p.numel() for p in model.policy.critic.parameters())
    about = {"package": f"{PACKAGE} {metadata.version(PACKAGE)}", "parameters": parameters}
    judge.end(GreedyActor(model), model.num_timesteps, about)
    env.close()
