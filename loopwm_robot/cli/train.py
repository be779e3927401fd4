"""loopwm train: explore, then train in rounds."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..config import TrainCommand
from ..runs import RunFolder
from .compose import compose, load
from .resume import resumed

if TYPE_CHECKING:
    from ..checkpoint import Checkpoint
    from ..config import EnvConfig
    from ..training.finetune import Origin
    from ..training.online import TrainingRun
    from ..training.team import Team
    from ..types import Episode
    from .checks import Environment

CONFIG_NAME = "train"
SCHEMA = TrainCommand


class Inputs(NamedTuple):
    """What a training starts from: its environments, what it fine-tunes, recorded episodes to learn from and others."""

    environments: list[Environment]
    start: Origin | None
    data: tuple[list[Episode], list[Episode]]


def run(overrides: list[str]) -> int:
    """Train into a new run folder, or go on with an interrupted one; in all processes that torchrun started."""
    from ..training.team import joined_team

    with joined_team() as team:
        return lead(overrides, team) if team.lead else follow(overrides, team)


def lead(overrides: list[str], team: Team) -> int:
    """What the only process does, or the first of several."""
    config = compose(CONFIG_NAME, overrides, SCHEMA)
    from ..checkpoint import CHECKPOINT_FILE, save_checkpoint
    from ..device import find_device
    from ..ray_cluster import require_ray
    from ..report.html import REPORT, build_report
    from ..tracking import check_tracking, tracking
    from ..training.crew import Recipe
    from ..training.ray_crew import crew_of
    from .checks import check_environments, check_processes, environments, origin, recorded

    inputs = None
    if config.resume is None:
        where = environments(config, overrides)
        start = origin(config, where[0][1], overrides)
        config = replace(config, env=config.environments[0])
        if start is not None:
            config = replace(config, model=start.checkpoint.config)
        find_device(config.device)
        check_tracking(config.train.wandb)
        if config.train.collectors:
            require_ray(f"train.collectors={config.train.collectors}")
        check_environments(config, where, team.size)
        inputs = Inputs(where, start, recorded(config, *where[0]))
    folder = RunFolder.create("train", config.out, config.resume)
    config = resumed(config, overrides, folder)
    check_processes(config, team.size)
    team.check(config.train.update.batch_size, config.device)
    if folder.resumed and (folder.path / "summary.json").is_file():
        if not (folder.path / REPORT).is_file():  # killed just before it
            with folder:
                build_report(folder.path)
        print(f"the run is finished already: checkpoint {folder.path / CHECKPOINT_FILE}")
        team.tell("")
        return 0
    with folder:
        if not folder.resumed:
            named = {name: getattr(config, name) for name in ("data", "init", "old_data")}
            given = {name: path for name, path in named.items() if path is not None}
            found: dict[str, Any] = {name: str(Path(path).expanduser().absolute()) for name, path in given.items()}
            folder.save_config(replace(config, **found))  # it may be resumed from elsewhere
        started = time.perf_counter()
        team.tell(str(folder.path))
        training = prepared(config, folder.path, team, inputs)
        del inputs  # its episodes are in the buffer
        c, done = config.train, training.trainer.updates
        recipe = Recipe(config.environments, config.model, config.planner, config.collect, c)
        with tracking(folder.path, config, c.tensorboard, c.wandb, done) as note, crew_of(recipe) as crew:
            training.on_entry, training.crew = note, crew
            checkpoint = training.run()
        save_checkpoint(folder.file(CHECKPOINT_FILE), checkpoint)
        draw(training, checkpoint, folder)
        if config.film_episodes:
            for arena, env in zip(training.arenas, config.environments, strict=True):
                path = "video/reaches.mp4" if not config.envs else f"video/{arena.name}.mp4"
                film(config, env, checkpoint.at(arena.spaces, folder.path), folder, path)
        wall_time = time.perf_counter() - started
        folder.write_summary({"model": config.model.kind, **training.summary(), "wall_time_s": wall_time})
        build_report(folder.path)
        report = f"checkpoint {folder.path / CHECKPOINT_FILE}"
        folder.log.info(report)
        print(report)
    return 0


def draw(training: TrainingRun, checkpoint: Checkpoint, folder: RunFolder) -> None:
    """Draw how training went, how deep the exits go, and what the model foresees of held-out motion."""
    from ..evaluation import draw_predictions
    from ..report.curves import learning_curve
    from ..report.depths import depth_histogram

    learning_curve(training.history, folder.file("plots/learning_curve.png"))
    for arena in training.arenas:
        plots = Path("plots") if len(training.arenas) == 1 else Path("plots") / arena.name
        if arena.depths:
            depth_histogram(arena.depths, folder.file(f"{plots}/depths.png"))
        draw_predictions(checkpoint.at(arena.spaces, folder.path), arena.held_out, folder.path / plots)


def film(config: TrainCommand, env: EnvConfig, checkpoint: Checkpoint, folder: RunFolder, path: str) -> None:
    """Film some goals of an evaluation in an environment; a machine that cannot draw goes on without."""
    from ..plan_pictures import film_plans
    from ..report.video import VideoError

    try:
        film_plans(checkpoint, env, config.planner, config.seed, config.film_episodes, folder.file(path))
    except VideoError as error:
        folder.log.warning("no video: %s", error)


def follow(overrides: list[str], team: Team) -> int:
    """What the other processes do: their part of each batch, with the settings that the first one wrote."""
    path = team.tell("")
    if path:
        prepared(load(Path(path) / "config.yaml", SCHEMA), Path(path), team).run()
    return 0


def prepared(config: TrainCommand, folder: Path, team: Team, inputs: Inputs | None = None) -> TrainingRun:
    """A training with its data, as it was after its last finished round."""
    from ..training.online import TrainingRun
    from .checks import environments, origin, recorded

    if inputs is None:
        where = environments(config)
        inputs = Inputs(where, origin(config, where[0][1]), recorded(config, *where[0]))
    (env, spaces), *others = inputs.environments
    parts = (config.model, config.planner, config.collect, config.train, config.seed)
    training = TrainingRun(env, spaces, *parts, folder / "training", config.device, team=team, others=others)
    if config.data is not None:
        training.use_data(*inputs.data)
    if inputs.start is not None:
        training.begin_from(inputs.start)
    training.restore()
    return training
