"""Our training as a user runs it, watched: the checkpoint of every round is kept with its time, and measured later."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ...build import make_env, planning_agent
from ...checkpoint import Checkpoint
from ...config import EnvConfig, PlannerConfig
from ...errors import RequestError
from ...runs import write_text
from ...threads import torch_threads
from ...training.keep import LAST
from ..common import commit
from ..subruns import WatchedRunner, read_json
from .curve import Curve, Point
from .settings import configured, model_of
from .target import PolicyActor, Score, Target, measure

RECORD, SNAPSHOTS = "bench.json", "snapshots"


@dataclass(frozen=True)
class Snapshot:
    """The model after a round.

    Attributes:
        file: in the folder of snapshots.
        time_s: since the process began [s].
    """

    file: str
    time_s: float


@dataclass(frozen=True)
class Record:
    """What the benchmark notes of a training.

    Attributes:
        arguments: of `loopwm train`, without the folder.
        commit: that it began on.
        snapshots: in order.
        end: done or limit; empty while it is not over.
        time_s: at the end.
    """

    arguments: tuple[str, ...]
    commit: str
    snapshots: tuple[Snapshot, ...] = ()
    end: str = ""
    time_s: float = 0.0

    def save(self, folder: Path) -> None:
        """Write it into the run folder."""
        write_text(folder / RECORD, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Record | None:
        """That of a run folder, None where there is none."""
        values = read_json(folder / RECORD)
        if not values:
            return None
        snapshots = tuple(Snapshot(**some) for some in values.pop("snapshots"))
        return cls(tuple(values.pop("arguments")), snapshots=snapshots, **values)


class Watch:
    """Looks after a training in another process: keeps the model of each round, ends it when its time is over.

    The time of an interrupted training goes on from its last kept round.

    Args:
        folder: of the run; the record and the snapshots lie in it.
        record: so far.
        limit_s: on its time [s].
    """

    def __init__(self, folder: Path, record: Record, limit_s: float) -> None:
        self.folder, self.record, self.limit_s = folder, record, limit_s
        self._before = record.snapshots[-1].time_s if record.snapshots else 0.0
        self._began = time.monotonic()
        self._known = self._inode(folder / "training" / LAST)

    @property
    def time_s(self) -> float:
        """Of the training so far."""
        return self._before + time.monotonic() - self._began

    def look(self) -> bool:
        """Keep a new round; False when the time is over."""
        now, last = self.time_s, self.folder / "training" / LAST
        inode = self._inode(last)
        if inode not in (None, self._known):
            kept = self.folder / SNAPSHOTS / f"{len(self.record.snapshots):05d}.safetensors"
            kept.parent.mkdir(exist_ok=True)
            kept.unlink(missing_ok=True)
            os.link(last, kept)  # the training replaces its file, it never writes into it
            self._known = self._inode(kept)
            self.record = replace(self.record, snapshots=(*self.record.snapshots, Snapshot(kept.name, now)))
            self.record.save(self.folder)
        return now < self.limit_s

    @staticmethod
    def _inode(path: Path) -> int | None:
        try:
            return path.stat().st_ino
        except FileNotFoundError:
            return None


def trained(folder: Path, arguments: Sequence[str], limit_s: float, runner: WatchedRunner) -> Record:
    """`loopwm train` into a folder, or what is left of it.

    Args:
        folder: of the run.
        arguments: of `loopwm train`, without the folder.
        limit_s: time that it may take [s].
        runner: runs a command line.

    Raises:
        RequestError: the folder holds another training.
    """
    record = Record.load(folder)
    if record is not None and record.arguments != tuple(arguments):
        raise RequestError(
            f"{folder} was made with {' '.join(record.arguments)}, allowed {' '.join(arguments)}; choose another "
            "folder with runs=FOLDER"
        )
    if record is not None and (record.end == "done" or (record.end and record.time_s >= limit_s)):
        return record
    resumed = (folder / "config.yaml").is_file()
    watch = Watch(folder, record or Record(tuple(arguments), commit()), limit_s)
    command = ["train", f"resume={folder}"] if resumed else ["train", *arguments, f"out={folder}"]
    ended = runner(command, watch.look)
    record = replace(watch.record, end="done" if ended else "limit", time_s=watch.time_s)
    record.save(folder)
    return record


def agent_score(
    checkpoint: Checkpoint, env: EnvConfig, planner: PlannerConfig, goals: int, seed: int, target: Target | None = None
) -> Score:
    """A checkpoint's controller on the goals of an evaluation."""
    made = make_env(env)
    try:
        return measure(made, PolicyActor(planning_agent(checkpoint, planner, made, seed)), goals, target)
    finally:
        made.close()


def curve_of(
    folder: Path, record: Record, goals: int, threads: int, target: Target | None, on_point: Callable[[Point], None]
) -> Curve:
    """Measure the kept rounds of a finished training, up to the first that reaches the target.

    Args:
        folder: of the run.
        record: of the training.
        goals: for each round.
        threads: of torch.
        target: of the task; None measures all rounds.
        on_point: is told each measurement.

    Returns:
        The curve; it lies in the run folder as well, and goes on where it was interrupted.
    """
    file = folder / f"curve_{goals}.json"
    curve, config = Curve.load(file), configured(folder)
    if curve.end == "reached":
        return curve
    extra = config.train.held_out * episode_steps(config.env)
    kept: dict[int, tuple[Snapshot, Checkpoint]] = {}
    for snapshot in record.snapshots:  # a round that was done again counts the second time
        checkpoint, _ = model_of(folder, f"{SNAPSHOTS}/{snapshot.file}")
        kept[int(checkpoint.info["rounds"])] = snapshot, checkpoint
    with torch_threads(threads):
        for snapshot, checkpoint in [kept[n] for n in sorted(kept)][len(curve.points) :]:
            if target is not None and curve.first(target) is not None:
                break
            score = agent_score(checkpoint, config.env, config.planner, goals, config.seed, target)
            point = Point.of(snapshot.time_s, int(checkpoint.info["transitions"]) + extra, score)
            curve = curve.with_point(point)
            curve.save(file)
            on_point(point)
    reached = target is not None and curve.first(target) is not None
    about = {"parameters": next(iter(kept.values()))[1].parameters, "commit": record.commit} if kept else {}
    curve = replace(curve, end="reached" if reached else record.end, about=about)
    if not reached:
        curve = replace(curve, time_s=max(record.time_s, curve.time_s))
    curve.save(file)
    return curve


def episode_steps(config: EnvConfig) -> int:
    """Control steps of an episode that runs out of time; 0 where none does."""
    env = make_env(config)
    try:
        return (env.spec.max_episode_steps or 0) if env.spec is not None else 0
    finally:
        env.close()
