"""Train LoopWM on an environment that is not ours, imagine in it, watch it and plan in it: python examples/own_env.py

Any Gymnasium environment with Box observations and a time limit will do; RescaleAction brings its actions to [-1, 1].
"""

import gymnasium as gym
import numpy as np
import torch

from loopwm_robot import LoopWM
from loopwm_robot.agent import MPCAgent
from loopwm_robot.data.buffer import ReplayBuffer
from loopwm_robot.data.collect import ExplorationPolicy, UniformPolicy, control_interval, run_episode
from loopwm_robot.training.calibrate import calibrate_monitor
from loopwm_robot.training.losses import LossWeights
from loopwm_robot.training.metrics import Starts, normalised_rmse
from loopwm_robot.training.trainer import UpdateConfig, WorldModelTrainer
from loopwm_robot.types import LatentState
from planners import CEM, LearnedReward, SamplingConfig


def main(episodes: int = 60, updates: int = 600, steps: int = 200, samples: int = 64, trials: int = 3) -> None:
    """Print how well LoopWM predicts Pendulum-v1, when its monitor raises an alarm, and what plans in it are worth."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    env = gym.wrappers.RescaleAction(gym.make("Pendulum-v1", max_episode_steps=steps), -1, 1)
    n_obs, nu, ctrl_dt = env.observation_space.shape[0], env.action_space.shape[0], control_interval(env)

    # Record random motion; a tenth of the episodes measures and calibrates.
    explorer = ExplorationPolicy(nu, rng, correlation=0.9, scale=1.5)
    recorded = [run_episode(env, explorer, seed)[0] for seed in range(episodes)]
    held_out = [recorded.pop() for _ in range(max(1, episodes // 10))]
    buffer = ReplayBuffer((steps + 1) * len(recorded), n_obs, nu, n_goal=0)
    for episode in recorded:
        buffer.add(episode)

    # Train. The latent consistency makes the monitor sharp.
    model = LoopWM(n_obs, nu, n_goal=0, ctrl_dt=ctrl_dt)
    settings = UpdateConfig(batch_size=128, sequence_length=8, loss=LossWeights(consistency=10))
    trainer = WorldModelTrainer(model, settings, updates, rng, generator, position=slice(0, 0))
    trainer.fit_normalizers(buffer)
    for _ in range(updates):
        trainer.update(buffer)
    model.eval().requires_grad_(False)
    calibrate_monitor(model, held_out)

    # Imagine along recorded actions, decode, compare with what happened.
    starts = Starts.of(held_out, horizon=20, stride=5)
    imagined = model.rollout(model.encode(starts.obs), starts.action)  # nothing is decoded yet
    std, unchanged = model.obs_normalizer.std, starts.obs[:, None].expand_as(starts.truth)
    error = normalised_rmse(model.decode(imagined.h), starts.truth, std)
    still = normalised_rmse(unchanged, starts.truth, std)
    print("Error on held-out episodes, in standard deviations:")
    for k in (1, 5, 10, 20):
        print(f"  {k:2} steps ahead: LoopWM {error[k - 1]:.3f}, 'nothing changes' {still[k - 1]:.3f}")

    # Watch: does what happens still fit what was imagined five steps before?
    for gravity in (10.0, 15.0):
        env.unwrapped.g = gravity
        seen = Starts.of([run_episode(env, explorer, seed=episodes + i)[0] for i in range(trials)], horizon=5, stride=5)
        end = LatentState(model.rollout(model.encode(seen.obs), seen.action).h[:, -1])
        score = model.monitor(end, seen.truth[:, -1], steps=5)  # above 1: one normal state in a hundred
        print(f"Gravity {gravity:g} m/s^2: alarm in {100 * (score > 1).double().mean():.0f} % of the states")
    env.unwrapped.g = 10.0

    # Plan, with the learned reward.
    planner = CEM(SamplingConfig(horizon=20, num_samples=samples, init_std=0.7), nu, ctrl_dt, generator)
    agent = MPCAgent(model, planner, lambda goal: LearnedReward())
    for name, policy in (("random actions", UniformPolicy(nu, rng)), ("plans in the model", agent)):
        returns = [run_episode(env, policy, 1000 + i)[0].reward.sum() for i in range(trials)]
        print(f"Return with {name}: {', '.join(f'{value:.0f}' for value in returns)}")


if __name__ == "__main__":
    main()
