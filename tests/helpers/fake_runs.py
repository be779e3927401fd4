"""Run folders as a training leaves them, without training."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from loopwm_robot.checkpoint import save_tensors
from loopwm_robot.config import TrainCommand, TrainConfig
from loopwm_robot.runs import save_config, write_summary

HISTORY = [
    {"update": 25.0, "loss": 2.0},
    {"update": 50.0, "loss": 1.0, "val_rmse_h5": 0.5, "success_rate": 0.25, "round": 1},
    {"update": 75.0, "loss": 0.5, "val_rmse_h5": 0.4, "success_rate": 0.5, "round": 2},
]


def write_run(folder: Path, seed: int, finished: bool = True, **train: int) -> Path:
    (folder / "training").mkdir(parents=True)
    save_config(folder / "config.yaml", TrainCommand(seed=seed, out=str(folder), train=TrainConfig(**train)))
    for number in (2, 10):  # by number, not by name
        state = {"history": HISTORY if number == 10 else []}
        file = folder / "training" / f"round_{number}.safetensors"
        save_tensors(file, {"w": torch.zeros(1)}, {"state": json.dumps(state)})
    if finished:
        write_summary(folder / "summary.json", {"train_loss": 0.5 + seed, "parameters": 93214, "train_time_s": 12.0})
    return folder
