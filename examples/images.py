"""Train LoopWM on pictures of an arm, and look at what it imagines: python examples/images.py [imagined.png]

Any Gymnasium environment whose observations are pictures (H, W, C) of uint8, or a dict with one under "image" or
"pixels", is trained on in the same way; see "Images" in docs/loopwm.md.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.image import imsave

from loopwm_robot.build import make_env, spaces_of
from loopwm_robot.config import EnvConfig, ModelConfig
from loopwm_robot.data.buffer import ReplayBuffer
from loopwm_robot.data.collect import ExplorationPolicy, run_episode
from loopwm_robot.models.build import build_model
from loopwm_robot.training.metrics import Starts, image_rmse, imagine, picture_std
from loopwm_robot.training.trainer import UpdateConfig, WorldModelTrainer

SHOWN = (1, 3, 5, 10)
"""Steps ahead that are printed and drawn."""


def main(picture: Path = Path("imagined.png"), episodes: int = 50, updates: int = 500) -> None:
    """Print how well pictures are predicted, and draw three rows of truth above what was imagined."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    config = EnvConfig(obs_mode="mixed")  # pictures of 64 x 64 pixels beside the numbers; "image" gives them alone
    env = make_env(config)
    spaces = spaces_of(env, config)

    # Record random motion; the buffer keeps the pictures as bytes.
    explorer = ExplorationPolicy(spaces.nu, rng, correlation=0.8, scale=0.6)
    recorded = [run_episode(env, explorer, seed)[0] for seed in range(episodes)]
    held_out = [recorded.pop() for _ in range(max(1, episodes // 6))]
    buffer = ReplayBuffer(sum(len(episode) + 1 for episode in recorded), *spaces.sizes)
    for episode in recorded:
        buffer.add(episode)
    env.close()

    # Train.
    model = build_model(ModelConfig(), *spaces.of_model)
    settings = UpdateConfig(batch_size=24)
    generator = torch.Generator().manual_seed(0)
    trainer = WorldModelTrainer(model, settings, updates, rng, generator, spaces.position_columns)
    trainer.fit_normalizers(buffer)
    for _ in range(updates):
        trainer.update(buffer)
    model.eval().requires_grad_(False)

    # Imagine along recorded actions; pictures are drawn when they are asked for.
    starts = Starts.of(held_out, horizon=max(SHOWN), stride=5)
    imagined = imagine(model, starts).images()  # (N, H, 64, 64, 3) uint8
    first, truth = starts.image[:, None], starts.truth_image
    std = picture_std(model)
    error, still = (image_rmse(p, truth, std) for p in (imagined, first.expand_as(truth)))
    print("Error of the picture on held-out episodes, in standard deviations of the data:")
    for k in SHOWN:
        print(f"  {k:2} steps ahead: LoopWM {error[k - 1]:.3f}, 'the last picture' {still[k - 1]:.3f}")
    rows = []
    for i in np.linspace(0, len(truth) - 1, 3).astype(int):
        for shown in (truth, imagined):
            rows.append(torch.cat([first[i, 0], *(shown[i, k - 1] for k in SHOWN)], dim=1))
    imsave(picture, torch.cat(rows).repeat_interleave(3, 0).repeat_interleave(3, 1).numpy())
    print(f"First picture, then {', '.join(map(str, SHOWN))} steps ahead, truth above imagination: {picture}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
