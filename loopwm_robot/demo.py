"""The main job end to end: collect and train, evaluate, film, drive the arm through the bridge, report.

Each stage leaves its numbers in parts/<stage>.json. A resumed demo skips the stages that are done; training goes on
after its last finished round.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from .build import make_env, planning_agent, spaces_of
from .checkpoint import CHECKPOINT_FILE, Checkpoint, load_checkpoint, save_checkpoint
from .closed_loop import EVALUATION_SEED
from .config import MAX_SEED, CollectConfig, EnvConfig, EvaluateConfig, ModelConfig, PlannerConfig, TrainConfig
from .deploy.arm_config import ArmConfig
from .deploy.run import DeployConfig, deploy_checkpoint
from .device import check_device, find_device
from .evaluation import evaluate_checkpoint, write_evaluation
from .report.curves import learning_curve
from .report.depths import depth_histogram
from .report.html import build_report
from .report.tables import model_name
from .report.video import VideoError, record_reaches
from .runs import Number, RunFolder, write_text
from .threads import torch_threads
from .tracking import tracking
from .training.crew import Recipe
from .training.online import TrainingRun
from .training.ray_crew import crew_of

FILM = {"width": 960, "height": 720}
FILM_WIDTH = 640
"""Drawn larger than shown: halving smooths the edges at a fraction of what multisampling costs in software."""
Summary = dict[str, Number]


@dataclass(frozen=True)
class DemoConfig:
    """`loopwm demo`: collect, train, evaluate, drive, report.

    Attributes:
        arm: the arm behind the bridge.
        seed: of everything random, at least 0.
        out: run folder; none makes runs/demo/TIME.
        resume: folder of an interrupted demo that goes on.
        env: the environment.
        model: what is trained.
        planner: the planner.
        collect: random exploration.
        train: the training rounds.
        evaluate: the comparisons.
        deploy: the run through the bridge.
        device: of training and of the comparisons: cpu, cuda, cuda:N or auto. The bridge runs on the CPU.
        video_episodes: reaches in the video, 0 to 1000; 0 for none.
    """

    arm: ArmConfig
    seed: int = 0
    out: str | None = None
    resume: str | None = None
    env: EnvConfig = field(default_factory=EnvConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    collect: CollectConfig = field(default_factory=CollectConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    deploy: DeployConfig = field(default_factory=DeployConfig)
    video_episodes: int = 4
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_device(self.device)
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed is {self.seed}, allowed [0, {MAX_SEED}]")
        if not 0 <= self.video_episodes <= 1000:
            raise ValueError(f"video_episodes is {self.video_episodes}, allowed [0, 1000]")
        if self.planner.model != "learned":
            raise ValueError(
                f"planner.model is '{self.planner.model}', allowed 'learned' in the demo; "
                "it compares with the simulator anyway, see evaluate.simulator_episodes"
            )


class Demo:
    """One run of the demo in its folder.

    Args:
        config: settings.
        folder: where everything goes.
    """

    def __init__(self, config: DemoConfig, folder: RunFolder) -> None:
        self.config, self.folder = config, folder
        self.env = make_env(config.env)
        self.spaces = spaces_of(self.env, config.env)

    def run(self) -> Summary:
        """Do what is left to do and write summary.json and report.html.

        Returns:
            the summary.
        """
        parts = {
            name: self._part(name, stage)
            for name, stage in (
                ("train", self.train),
                ("evaluate", self.evaluate),
                ("video", self.video),
                ("bridge", self.bridge),
            )
        }
        summary: Summary = {}
        for part in parts.values():
            summary |= part
        stage_seconds = {f"time_stage_{name}_s": float(part["wall_time_s"]) for name, part in parts.items()}
        summary |= {
            "env_id": self.config.env.id,
            "seed": self.config.seed,
            **stage_seconds,
            "wall_time_s": sum(stage_seconds.values()),
        }
        self.folder.write_summary(summary)
        build_report(self.folder.path)
        return summary

    def _part(self, name: str, stage: Callable[[], Summary]) -> Summary:
        path = self.folder.file(f"parts/{name}.json")
        if path.is_file():
            self.folder.log.info("%s is done already", name)
            done: Summary = json.loads(path.read_text(encoding="utf-8"))
            return done
        self.folder.log.info("%s begins", name)
        started = time.perf_counter()
        summary = {**stage(), "wall_time_s": time.perf_counter() - started}
        write_text(path, json.dumps(summary, indent=2))
        self.folder.log.info("%s took %.1f s", name, summary["wall_time_s"])
        return summary

    @property
    def checkpoint(self) -> Checkpoint:
        """The trained model, from its file."""
        return load_checkpoint(self.folder.path / CHECKPOINT_FILE)

    def train(self) -> Summary:
        """Explore, train in rounds, write the checkpoint and the learning curve."""
        c = self.config
        folder = self.folder.path / "training"
        run = TrainingRun(self.env, self.spaces, c.model, c.planner, c.collect, c.train, c.seed, folder, c.device)
        run.restore()
        watched = tracking(self.folder.path, c, c.train.tensorboard, c.train.wandb, run.trainer.updates)
        with watched as note, crew_of(Recipe((c.env,), c.model, c.planner, c.collect, c.train)) as crew:
            run.on_entry, run.crew = note, crew
            checkpoint = run.run()
        save_checkpoint(self.folder.file(CHECKPOINT_FILE), checkpoint)
        learning_curve(run.history, self.folder.file("plots/learning_curve.png"))
        if run.depths:
            depth_histogram(run.depths, self.folder.file("plots/depths.png"))
        return {**run.summary(), "parameters": checkpoint.parameters}

    def evaluate(self) -> Summary:
        """Closed loop beside the comparisons, open loop by horizon and loop count."""
        c = self.config
        checkpoint = self.checkpoint
        checkpoint.model.to(find_device(c.device))
        evaluation = evaluate_checkpoint(checkpoint, self.env, c.planner, c.evaluate, c.seed)
        write_evaluation(evaluation, checkpoint, self.folder.path)
        return dict(evaluation.summary())

    def video(self) -> Summary:
        """Film some reaches with the planned path; a machine that cannot draw goes on without."""
        count = self.config.video_episodes
        if count == 0:
            return {}
        checkpoint = self.checkpoint
        env = make_env(self.config.env, render=True, **FILM)
        agent = planning_agent(checkpoint, self.config.planner, env, self.config.seed)
        seeds = range(EVALUATION_SEED, EVALUATION_SEED + count)
        try:
            with torch_threads(self.config.evaluate.threads):
                record_reaches(env, agent, seeds, self.folder.file("video/reaches.mp4"), width=FILM_WIDTH)
        except VideoError as error:
            self.folder.log.warning("no video: %s", error)
            return {"video_episodes": 0}
        finally:
            env.close()
        return {"video_episodes": count}

    def bridge(self) -> Summary:
        """The same checkpoint in real time through the hardware bridge."""
        c = self.config
        result = deploy_checkpoint(self.checkpoint, self.env, c.planner, c.arm, c.deploy, c.seed, self.folder.path)
        return dict(result.summary("bridge."))


def run_demo(config: DemoConfig, folder: RunFolder) -> Summary:
    """Run or resume the demo in a folder."""
    if not folder.resumed:
        folder.save_config(replace(config, resume=None, out=None))
    return Demo(config, folder).run()


def describe(summary: dict[str, Any]) -> str:
    """The result in a few lines for people."""
    lines = [
        f"{model_name(summary)} + CEM reached {summary['success_rate']:.0%} of {summary['episodes']} held-out goals, "
        f"median final distance {100 * summary['final_distance_m_median']:.2f} cm",
    ]
    for name in ("random", "untrained", "simulator"):
        if f"{name}.success_rate" in summary:
            lines.append(
                f"  {name:9} {summary[f'{name}.success_rate']:.0%} of {summary[f'{name}.episodes']}, "
                f"median {100 * summary[f'{name}.final_distance_m_median']:.2f} cm"
            )
    if "bridge.success_rate" in summary:
        lines.append(
            f"In real time through the bridge: {summary['bridge.success_rate']:.0%} of {summary['bridge.episodes']}, "
            f"{summary['bridge.limit_violations']} limit violations, "
            f"{summary['bridge.deadline_misses']} planner deadline misses"
        )
    return "\n".join(lines)
