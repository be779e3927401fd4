"""One process of several that train on the point mass: python two_processes.py FOLDER [DIE]

Started as torchrun does. Prints its history as JSON. With DIE, the second process dies in the second round.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import gymnasium as gym
from point_env import PointEnv

from loopwm_robot.checkpoint import Spaces
from loopwm_robot.cli.errors import run_guarded
from loopwm_robot.config import CollectConfig, ModelConfig, PlannerConfig, TrainConfig
from loopwm_robot.training.online import TrainingRun
from loopwm_robot.training.team import ALONE, Team, joined_team
from loopwm_robot.training.trainer import UpdateConfig


def make_run(folder: Path, team: Team = ALONE) -> TrainingRun:
    """Two rounds with planner-made episodes between them; sequences that reach beyond the end of their episode."""
    update = UpdateConfig(batch_size=16, sequence_length=4, observe_prob=0.0)
    return TrainingRun(
        gym.wrappers.TimeLimit(PointEnv(10**9), 6),
        Spaces("Point", "", 3, 2, 2, 0.1, (0, 2)),
        ModelConfig(kind="latent_mlp"),
        PlannerConfig(horizon=3, num_samples=16, num_elites=4, iterations=2, keep_elites=2),
        CollectConfig(episodes=4),
        TrainConfig(2, updates_per_round=8, episodes_per_round=2, held_out=2, update=update),
        0,
        folder,
        team=team,
    )


def work(folder: Path, die: bool) -> int:
    with joined_team() as team:
        run = make_run(folder, team)
        run.restore()
        if die and team.rank == 1:
            update = run.trainer.update

            def dying(buffer):  # type: ignore[no-untyped-def]
                if run.trainer.updates == 12:
                    os._exit(9)
                return update(buffer)

            run.trainer.update = dying  # type: ignore[method-assign]
        run.run()
        print(json.dumps(run.history), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(run_guarded(lambda: work(Path(sys.argv[1]), "DIE" in sys.argv)))
