"""Settings of the control benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

from .published import METAWORLD
from .races import PEERS, RACES

PARTS = ("race", "transfer", "tasks", "together", "metaworld", "ddp", "collectors")
TASKS = ("panda_pick_and_place", "panda_peg_insert")
TOGETHER = tuple(
    f"{arm}_{task}"
    for arm, task in product(("panda", "ur5e", "xarm7"), ("reach", "reach_avoid", "track_path", "button_press"))
)


@dataclass(frozen=True)
class ControlBench:
    """Settings.

    Attributes:
        parts: what to measure: race, transfer, tasks, together, metaworld, ddp, collectors. Others stand on the page as
            they were measured.
        seeds: of the trainings, one or more different ones, each at least 0.
        threads: of torch, for everybody, at least 1.
        device: that everybody trains on: cpu, cuda or auto.
        experiment: of our trainings; empty is the default, which the claims are about.
        train: further settings of all our trainings, such as [model=base, train.rounds=30].
        limit_s: time that a training may take, above 0; one that has not reached its target then counts as not
            reached [s].
        races: tasks of the race.
        peers: who races besides ours: sac (Stable-Baselines3, with hindsight where there are goals) and tdmpc2.
        goals: evaluation goals that a controller is measured on in the parts race and together, at least 1.
        first_s, spacing: a peer is measured after so many seconds and then whenever its time has grown by this factor
            [s, 1], above 0 and above 1. Ours is measured after each round.
        her_reward: of the goal tasks for sac: sparse, as hindsight was made for, or dense, as all others have it.
        tdmpc2: checkout of github.com/nicklashansen/tdmpc2; empty leaves it out.
        tdmpc2_size: of its model: 1 or 5 million parameters (5 is its default).
        tdmpc2_compile: let it compile itself, as it does by default; it starts eagerly otherwise.
        arms: of the transfer that no training has seen, at least 2.
        arm_goals: goals on each of them, at least 1.
        off: by how much their mass, friction, damping and delay differ from the nominal arm at most, in (0, 0.5].
        tuned_arms: of these arms, those that a model is fine-tuned to, at least 1.
        minutes: of data for the fine-tuning, above 0.
        tasks: configurations of configs/env of the part tasks.
        together: configurations of configs/env that one model learns in the part together, two or more.
        task_goals, simulator_goals: for ours and for the true-model planner, each at least 1.
        metaworld: tasks of Meta-World.
        steps: control steps after which success on them is measured, ascending.
        updates: gradient updates of ours for each control step there, above 0.
        metaworld_goals: episodes of a measurement there, at least 1 (TD-MPC2's protocol has 10).
        batches: sequences in a batch of the part ddp, of which each process takes its part, each at least 1.
        processes: of torchrun in the part ddp, ascending, beginning with 1.
        collectors: on Ray in the part collectors, ascending; 0 is the learner's own process.
        collected: episodes that each of them makes there, at least 1.
        runs: folder of the run folders; finished runs in it are used again, interrupted ones of ours go on.
        archive: file with finished units of other checkouts (shelf.py), used and added to; empty keeps none.
    """

    parts: tuple[str, ...] = PARTS
    seeds: tuple[int, ...] = (0, 1, 2)
    threads: int = 2
    device: str = "cpu"
    experiment: str = ""
    train: tuple[str, ...] = ()
    limit_s: float = 3600.0
    races: tuple[str, ...] = tuple(RACES)
    peers: tuple[str, ...] = PEERS
    goals: int = 50
    first_s: float = 10.0
    spacing: float = 1.2
    her_reward: str = "sparse"
    tdmpc2: str = ""
    tdmpc2_size: int = 5
    tdmpc2_compile: bool = False
    arms: int = 20
    arm_goals: int = 20
    off: float = 0.3
    tuned_arms: int = 5
    minutes: float = 5.0
    tasks: tuple[str, ...] = TASKS
    together: tuple[str, ...] = TOGETHER
    task_goals: int = 100
    simulator_goals: int = 20
    metaworld: tuple[str, ...] = METAWORLD
    steps: tuple[int, ...] = (20_000, 100_000, 500_000)
    updates: float = 0.25
    metaworld_goals: int = 10
    batches: tuple[int, ...] = (1024, 2048)
    processes: tuple[int, ...] = (1, 2)
    collectors: tuple[int, ...] = (0, 1, 2)
    collected: int = 20
    runs: str = "runs/bench_control"
    archive: str = ""

    def __post_init__(self) -> None:
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds is {list(self.seeds)}, allowed one or more different ones, each >= 0")
        choices = {"parts": PARTS, "races": tuple(RACES), "peers": PEERS, "tasks": TASKS}
        choices |= {"metaworld": METAWORLD, "together": TOGETHER}
        for name, known in choices.items():
            given = getattr(self, name)
            if not set(given) <= set(known) or len(set(given)) < len(given):
                raise ValueError(f"{name} is {list(given)}, allowed different ones of {', '.join(known)}")
        if len(self.together) < 2:
            raise ValueError(f"together is {list(self.together)}, allowed two or more")
        counts = ("threads", "goals", "arm_goals", "tuned_arms", "task_goals", "simulator_goals", "metaworld_goals")
        for name in (*counts, "collected"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, allowed >= 1")
        for name in ("limit_s", "first_s", "minutes", "updates"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, allowed > 0")
        if not self.spacing > 1:
            raise ValueError(f"spacing is {self.spacing}, allowed > 1")
        if self.her_reward not in ("sparse", "dense"):
            raise ValueError(f"her_reward is '{self.her_reward}', allowed sparse, dense")
        if self.tdmpc2_size not in (1, 5):
            raise ValueError(f"tdmpc2_size is {self.tdmpc2_size}, allowed 1, 5 (million parameters)")
        if not 0 < self.off <= 0.5:
            raise ValueError(f"off is {self.off}, allowed above 0, up to 0.5")
        if not self.arms >= max(2, self.tuned_arms):
            raise ValueError(f"arms is {self.arms}, allowed >= 2 and >= tuned_arms = {self.tuned_arms}")
        for name, least in (("steps", 1), ("batches", 1), ("processes", 1), ("collectors", 0)):
            numbers = getattr(self, name)
            if not numbers or list(numbers) != sorted(set(numbers)) or numbers[0] < least:
                raise ValueError(f"{name} is {list(numbers)}, allowed one or more, ascending, each >= {least}")
        if self.tdmpc2 and not (Path(self.tdmpc2).expanduser() / "tdmpc2" / "tdmpc2.py").is_file():
            raise ValueError(
                f"tdmpc2 is '{self.tdmpc2}', which has no tdmpc2/tdmpc2.py, allowed a checkout of "
                "github.com/nicklashansen/tdmpc2; leave it out to do without"
            )
