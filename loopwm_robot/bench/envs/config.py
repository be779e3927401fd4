"""Settings of the benchmark of the environments."""

from __future__ import annotations

from dataclasses import dataclass

PARTS = ("speed", "determinism", "stability", "solvability", "images")


@dataclass(frozen=True)
class EnvsBench:
    """Settings.

    Attributes:
        parts: what to measure: speed, determinism, stability, solvability, images.
        arms: arms of envs.arms in the tables of every arm x task.
        seeds: repeats of the timings, one or more different ones, each at least 0; all take turns.
        steps: control steps of single environments in a repeat, at least 1.
        num_envs: environments stepped at once, each at least 1; others are compared with the first number.
        batch_steps: control steps of all of these in a repeat, at least 1.
        determinism_steps: control steps of every environment that are compared bit by bit, at least 1.
        stability_steps: random control steps of every arm x task x control mode, at least 1.
        episodes: solved by the scripts, of every arm x task, at least 1.
        frames: pictures in a repeat, at least 1.
        runs: folder of what was measured; a part that the same code measured with the same settings is taken from it.
        archive: file with finished units of other checkouts (shelf.py), used and added to; empty keeps none.
    """

    parts: tuple[str, ...] = PARTS
    arms: tuple[str, ...] = ("fr3", "panda", "so101", "ur5e", "xarm7")
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 3000
    num_envs: tuple[int, ...] = (256, 64)
    batch_steps: int = 64
    determinism_steps: int = 120
    stability_steps: int = 3000
    episodes: int = 100
    frames: int = 200
    runs: str = "runs/bench_envs"
    archive: str = ""

    def __post_init__(self) -> None:
        for part in self.parts:
            if part not in PARTS:
                raise ValueError(f"parts has '{part}', allowed {', '.join(PARTS)}")
        if not self.arms:
            raise ValueError("arms is empty, allowed one or more arms of envs.arms")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds is {list(self.seeds)}, allowed one or more different ones, each >= 0")
        if not self.num_envs or min(self.num_envs) < 1 or len(set(self.num_envs)) < len(self.num_envs):
            raise ValueError(f"num_envs is {list(self.num_envs)}, allowed one or more different ones, each >= 1")
        counts = ("steps", "batch_steps", "determinism_steps", "stability_steps", "episodes", "frames")
        for name in counts:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, allowed >= 1")
