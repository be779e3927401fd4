"""Settings of the planning benchmark."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ...config import KINDS, ModelConfig

PARTS = ("overhead", "share", "quality", "tdmpc2", "deadline", "rate", "depth")


@dataclass(frozen=True)
class PlanningBench:
    """Settings.

    Attributes:
        parts: what to measure: overhead, share, quality, tdmpc2, deadline; with models that are trained for it, rate
            (success against control rate) and depth (what a staged search saves). Others stand on the page as they
            were measured last.
        seeds: of problems and planners, one or more different ones, each at least 0.
        candidates: numbers of candidates whose overhead is measured, each at least 8.
        repeats: of each timing, at least 1; the planners take turns.
        plans: timed in a repeat, at least 1.
        evaluations: budgets of the quality tables, each at least 100, which is one iteration.
        deadlines: that plans have to keep [s], each above 0.
        deadline_plans: plans for each deadline, at least 2.
        fixed_plans: plans without a deadline to compare with, at least 2.
        busy: also with another process at work.
        threads: of torch, at least 1.
        model: LoopWM, whose plans are timed; fresh, as it costs the same time.
        rates: of control [Hz], each in [1, 500].
        kinds: of models that are trained for each rate.
        train_seeds: of these trainings, one or more different ones, each at least 0.
        train_episodes, train_rounds, train_updates: of each: exploration, rounds, updates in a round, each at least 1.
        episodes: held-out goals at each rate, at least 1.
        depth_episodes: held-out goals of the part depth, at least 1.
        full_depths: loops everywhere that a staged search is compared with, each at least 2.
        tdmpc2: checkout of github.com/nicklashansen/tdmpc2; empty leaves the comparison out.
        start_s: time that TD-MPC2 may take to start, compilation included [s], above 0.
        runs: folder of what is finished, trained models among it; it is used again, and interrupted trainings go on.
        archive: file with finished units of other checkouts (shelf.py), used and added to; empty keeps none.
    """

    parts: tuple[str, ...] = PARTS
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
    candidates: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048, 4096)
    repeats: int = 5
    plans: int = 30
    evaluations: tuple[int, ...] = (300, 1000, 3000)
    deadlines: tuple[float, ...] = (0.005, 0.01, 0.02)
    deadline_plans: int = 20_000
    fixed_plans: int = 1_000
    busy: bool = True
    threads: int = 1
    model: ModelConfig = field(default_factory=ModelConfig)
    rates: tuple[float, ...] = (5, 10, 20, 50, 100)
    kinds: tuple[str, ...] = ("loopwm", "latent_mlp")
    train_seeds: tuple[int, ...] = (0, 1, 2)
    train_episodes: int = 150
    train_rounds: int = 5
    train_updates: int = 900
    episodes: int = 100
    depth_episodes: int = 200
    full_depths: tuple[int, ...] = (2, 12)
    tdmpc2: str = ""
    start_s: float = 300.0
    runs: str = "runs/bench_planning"
    archive: str = ""

    def __post_init__(self) -> None:
        for part in self.parts:
            if part not in PARTS:
                raise ValueError(f"parts has '{part}', allowed {', '.join(PARTS)}")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds is {list(self.seeds)}, allowed one or more different ones, each >= 0")
        if not self.train_seeds or len(set(self.train_seeds)) < len(self.train_seeds) or min(self.train_seeds) < 0:
            raise ValueError(f"train_seeds is {list(self.train_seeds)}, allowed one or more different ones, each >= 0")
        if not self.rates or not all(1 <= rate <= 500 for rate in self.rates):
            raise ValueError(f"rates is {list(self.rates)} Hz, allowed one or more, each in [1, 500] Hz")
        for kind in self.kinds:
            if kind not in KINDS:
                raise ValueError(f"kinds has '{kind}', allowed {', '.join(KINDS)}")
        for name in ("train_episodes", "train_rounds", "train_updates", "episodes", "depth_episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, allowed >= 1")
        for name, low in (("repeats", 1), ("plans", 1), ("deadline_plans", 2), ("fixed_plans", 2), ("threads", 1)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} is {getattr(self, name)}, allowed >= {low}")
        if not self.start_s > 0:
            raise ValueError(f"start_s is {self.start_s} s, allowed > 0 s")
        if self.tdmpc2 and not (Path(self.tdmpc2).expanduser() / "tdmpc2" / "tdmpc2.py").is_file():
            raise ValueError(
                f"tdmpc2 is '{self.tdmpc2}', which has no tdmpc2/tdmpc2.py, allowed a checkout of "
                "github.com/nicklashansen/tdmpc2; leave it out to do without"
            )
        for name, least in (("candidates", 8), ("evaluations", 100), ("deadlines", 1e-6), ("full_depths", 2)):
            values = getattr(self, name)
            if not values or min(values) < least:
                raise ValueError(f"{name} is {list(values)}, allowed one or more, each >= {least:g}")
