"""A wrong request: one clear line, exit status 2 or 1, no folder left behind, earlier results untouched."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from loopwm_robot import runs
from loopwm_robot.build import make_env, spaces_of
from loopwm_robot.checkpoint import Checkpoint, Spaces, save_checkpoint
from loopwm_robot.cli.checkpoints import open_checkpoint
from loopwm_robot.cli.errors import MAX_LINE, RequestError
from loopwm_robot.cli.main import main
from loopwm_robot.config import EnvConfig, ModelConfig, TrainCommand
from loopwm_robot.data.buffer import ReplayBuffer
from loopwm_robot.models.build import build_model
from loopwm_robot.runs import save_config
from loopwm_robot.training.online import TrainingRun

NANO = ModelConfig(latent_dim=16, heads=2, mean_loops=1, max_loops=2, plan_loops=1)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def spaces() -> Spaces:
    return spaces_of(make_env(EnvConfig()), EnvConfig())


def write_checkpoint(path: Path, spaces: Spaces, config: ModelConfig = NANO) -> Path:
    """An untrained checkpoint."""
    torch.manual_seed(0)
    model = build_model(NANO, spaces.n_obs, spaces.nu, spaces.n_goal, spaces.ctrl_dt)
    save_checkpoint(path, Checkpoint(model.eval(), config, spaces, {}))
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, spaces: Spaces) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "good.safetensors", spaces)


@dataclass
class Refusal:
    status: int
    line: str


Refuse = Callable[..., Refusal]


@pytest.fixture
def refuse(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Run a command that must be refused beside the results of an earlier run."""
    monkeypatch.delenv("LOOPWM_DEBUG", raising=False)
    monkeypatch.chdir(tmp_path)
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    (earlier / "summary.json").write_text('{"success_rate": 1.0}')
    (earlier / "config.yaml").write_text("seed: 0\nout: null\n")

    def run(*arguments: str) -> Refusal:
        before = snapshot(tmp_path)
        status = main(list(arguments))
        captured = capsys.readouterr()
        assert status in (1, 2)
        assert captured.err.startswith("loopwm: error: ") and captured.err.endswith("\n"), captured.err
        assert captured.err.count("\n") == 1 and len(captured.err) < MAX_LINE + 100
        assert captured.out == ""
        assert snapshot(tmp_path) == before, "a refused request changed files"
        return Refusal(status, captured.err)

    return run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("demo planner.horizn=3", "unknown key 'planner.horizn'; did you mean 'planner.horizon'"),
        ("train train.update.learning_rat=1", "did you mean 'train.update.learning_rate'?"),
        ("evaluate evaluate.episods=1", "did you mean 'evaluate.episodes'"),
        ("deploy deploy.gaols=1", "did you mean 'deploy.goals'?"),
        ("demo seed=-1", "seed is -1, allowed [0, 4294967295]"),
        ("deploy seed=-1", "seed is -1, allowed [0, 4294967295]"),
        ("collect seed=99999999999999999999", "allowed [0, 4294967295]"),
        ("demo model.heads=3", "model.latent_dim is 64, allowed multiples of model.heads = 3"),
        ("train model.kind=rsm", "model.kind is 'rsm', allowed loopwm, one_pass, untied, latent_mlp, rssm, ensemble"),
        ("demo model.tokens=joints", "model.tokens is 'joints', allowed single, bodies, parts"),
        ("train model.exit_threshold=-1", "model.exit_threshold is -1.0, allowed finite numbers >= 0"),
        ("demo model.exit=doubling", "model.exit is 'doubling' with model.form 'implicit', allowed fixed, converged"),
        ("train model.rssm.classes=1", "model.rssm.classes is 1"),
        ("demo model.context=50", "model.context is 50 control steps, allowed up to 40 for LoopWM/PandaReach-v0"),
        ("train model=base model.kind=rssm", "model.context is 20 with model.kind 'rssm', allowed 0; set"),
        ("train train.update.chunks=[1,2]", "train.update.chunks is [1, 2] with model.form 'implicit', allowed [1]"),
        ("demo planner.chunk=2", "planner.chunk is 2 with model.form 'implicit', allowed 1"),
        ("demo env=panda_push", "control_mode is 'cartesian_delta', allowed 'joint_delta'"),
        ("demo env=panda_push env.control_mode=joint_delta", "its n_obs is 40, the arm's 31"),
        ("train model.mean_loops=0", "model.mean_loops is 0.0, allowed [1, 256]"),
        ("demo planner.horizon=0", "planner.horizon is 0"),
        ("demo planner.num_elites=0", "planner.num_elites is 0"),
        ("demo planner.action_weight=inf", "planner.action_weight is inf, allowed finite numbers >= 0"),
        ("demo planner.action_weight=nan", "planner.action_weight is nan"),
        ("train train.rounds=0", "train.rounds is 0"),
        ("train train.update.learning_rate=2", "train.update.learning_rate is 2"),
        ("collect collect.correlation=1", "collect.correlation is 1"),
        ("evaluate evaluate.episodes=0", "evaluate.episodes is 0"),
        ("demo deploy.goals=0", "deploy.goals is 0, allowed [1, 100000]"),
        ("demo deploy.success_m=-1", "deploy.success_m is -1.0 m"),
        ("demo arm.bridge.rate_hz=99999", "rate_hz"),
        ("demo arm.q_min=[1,2]", "arm.q_min has 2 entries, allowed 7"),
        ("demo env.control_mode=torque", "env.control_mode is 'torque', allowed joint_delta, cartesian_delta"),
        ("demo env.reward=big", "env.reward is 'big'"),
        ("demo seed=many", "seed is 'many', allowed a whole number"),
        ("demo deploy.allow_motion=maybe", "deploy.allow_motion is 'maybe', allowed true or false"),
        ("demo model=nnao", "model 'nnao' is unknown; did you mean 'nano'?"),
        ("demo arm=null", "arm 'null' is unknown; known: fr3, fr3_sim, panda_dynamixel, panda_sim, "),
        ("demo ../configs=x", "unknown key '../configs'"),
        ("demo /etc=x", "unknown key '/etc'"),
        ("evaluate model=nano", "model=nano sets model, which loopwm evaluate does not have"),
        ("train experiment=smoke", "experiment=smoke sets video_episodes, evaluate, deploy, which loopwm train"),
        ("dmeo", "unknown command 'dmeo'; known: demo"),
        ("demo seed", "'seed' is not an override, allowed KEY=VALUE"),
        ("demo planner.model=simulator", "planner.model is 'simulator', allowed 'learned' in the demo"),
        ("evaluate planner.model=simulator planner.objective=learned_reward", "set planner.objective=analytic"),
        ("demo arm.driver=acme:Arm", "arm.driver is 'acme:Arm', which may move a real arm"),
        ("demo arm.name=ur5", "arm.name is 'ur5', the environment's arm is 'panda'"),
        ("demo arm.dq_max=[2,2,2,2,2,2,9]", "arm.dq_max of 'joint7' is 9 rad/s, the MJCF allows 2.61 rad/s"),
        ("demo env=panda_reach_cartesian", "control_mode is 'cartesian_delta', allowed 'joint_delta'"),
        ("demo env.id=LoopWM/PandaReach-v9", "env.id 'LoopWM/PandaReach-v9' cannot be made"),
        ("collect env.id=nowhere:Arm-v0", "env.id 'nowhere:Arm-v0' cannot be made"),
        ("train env.id=Pendulum-v1", "write env=gym before env.id"),
        ("train env=gym env.id=CartPole-v1", "environment CartPole-v1 has actions Discrete(2)"),
        ("evaluate", "checkpoint is not given, allowed a .safetensors file or a run folder; pass checkpoint=PATH"),
        ("evaluate checkpoint=gone.safetensors", "checkpoint gone.safetensors does not exist"),
        ("deploy checkpoint=earlier", "checkpoint earlier/checkpoint.safetensors does not exist"),
        ("evaluate checkpoint=earlier/summary.json", "is damaged"),
        ("demo out=earlier", "which is not empty; choose a new one"),
        ("demo resume=gone", "allowed a run folder with config.yaml"),
        ("demo resume=earlier", "which is no run of loopwm demo"),
        ("train resume=earlier", "which is no run of loopwm train"),
        ("demo resume=earlier seed=3", "resume goes on with the settings of its run, got also seed=3"),
        ("demo resume=earlier out=other", "allowed only one of them"),
        ("train data=gone.npz", "dataset gone.npz does not exist, allowed episodes.npz"),
        ("train data=earlier", "dataset earlier is none, allowed episodes.npz"),
        ("train data=earlier/summary.json", "cannot be read (damaged, or no npz file)"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_is_made(refuse: Refuse, arguments: str, message: str) -> None:
    refusal = refuse(*arguments.split())
    assert refusal.status == 2
    assert message in refusal.line


@pytest.mark.parametrize("command", ["evaluate", "deploy"])
@pytest.mark.parametrize("keep", [0, 7, 200, -1])
def test_a_truncated_checkpoint(refuse: Refuse, checkpoint: Path, tmp_path: Path, command: str, keep: int) -> None:
    (tmp_path / "cut.safetensors").write_bytes(checkpoint.read_bytes()[:keep])
    refusal = refuse(command, "checkpoint=cut.safetensors", "out=new")
    assert refusal.status == 2 and "cut.safetensors is damaged" in refusal.line


@pytest.mark.parametrize("command", ["evaluate", "deploy"])
def test_a_checkpoint_of_something_else(refuse: Refuse, spaces: Spaces, tmp_path: Path, command: str) -> None:
    save_file({"weight": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    refusal = refuse(command, "checkpoint=foreign.safetensors", "out=new")
    assert refusal.status == 2 and "not written by this version" in refusal.line

    other = replace(spaces, env_id="LoopWM/OtherReach-v0", n_obs=spaces.n_obs + 1)
    write_checkpoint(tmp_path / "other.safetensors", other)
    refusal = refuse(command, "checkpoint=other.safetensors", "out=new")
    assert refusal.status == 2 and "LoopWM/OtherReach-v0" in refusal.line
    refusal = refuse(command, "checkpoint=other.safetensors", "env=panda_reach", "out=new")
    assert refusal.status == 2
    assert "env_id 'LoopWM/OtherReach-v0' (environment 'LoopWM/PandaReach-v0'), n_obs 32" in refusal.line


@pytest.mark.parametrize("command", ["evaluate", "deploy"])
def test_a_checkpoint_of_another_control_mode(refuse: Refuse, checkpoint: Path, command: str) -> None:
    refusal = refuse(command, f"checkpoint={checkpoint}", "env=panda_reach_cartesian", "out=new")
    assert refusal.status == 2
    assert "control_mode 'joint_delta' (environment 'cartesian_delta')" in refusal.line


def test_the_environment_of_a_checkpoint_need_not_be_named(tmp_path: Path) -> None:
    """Where none is named, and the default is not the one that it was trained on, its own is taken."""
    for given in (EnvConfig("LoopWM/UR5eReach-v0"), EnvConfig(control_mode="cartesian_delta")):
        write_checkpoint(tmp_path / "own.safetensors", spaces_of(make_env(given), given))
        for overrides, config in (([], EnvConfig()), (["env=x"], given)):
            _, env, _, used = open_checkpoint(str(tmp_path / "own.safetensors"), config, overrides)
            assert (used.id, used.control_mode) == (given.id, given.control_mode)
            assert env.spec is not None and env.spec.id == given.id
        with pytest.raises(RequestError, match="was trained for"):
            open_checkpoint(str(tmp_path / "own.safetensors"), EnvConfig(), ["env=panda_reach"])


def test_weights_that_do_not_fit_give_one_line_that_can_be_read(
    refuse: Refuse, spaces: Spaces, tmp_path: Path
) -> None:
    write_checkpoint(tmp_path / "misfit.safetensors", spaces, replace(NANO, latent_dim=32))
    refusal = refuse("evaluate", "checkpoint=misfit.safetensors")
    assert refusal.status == 2 and "does not fit its own configuration" in refusal.line and " ... " in refusal.line


def test_an_arm_that_does_not_fit_is_refused_before_it_is_connected(refuse: Refuse, checkpoint: Path) -> None:
    refusal = refuse("deploy", f"checkpoint={checkpoint}", "arm.driver=acme:Arm", "out=new")
    assert refusal.status == 2 and "clear its workspace" in refusal.line


def test_environments_without_an_arm_drive_no_arm(
    refuse: Refuse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gymnasium as gym
    from gymnasium.envs.mujoco.reacher_v5 import ReacherEnv

    gym.register("NoArm-v0", ReacherEnv, max_episode_steps=5)
    try:
        config = EnvConfig("NoArm-v0", "", "")
        write_checkpoint(tmp_path / "c.safetensors", spaces_of(make_env(config), config))
        request = ("env.id=NoArm-v0", "env.control_mode=", "env.reward=")
        refusal = refuse("deploy", "checkpoint=c.safetensors", *request)
        assert refusal.status == 2 and "'NoArm-v0' is no arm environment" in refusal.line
    finally:
        del gym.registry["NoArm-v0"]


def test_damaged_or_foreign_episodes(refuse: Refuse, spaces: Spaces, tmp_path: Path) -> None:
    buffer = ReplayBuffer(200, spaces.n_obs, spaces.nu, spaces.n_goal)
    buffer.save(tmp_path / "good.npz")
    content = (tmp_path / "good.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    flipped = bytearray(content)
    flipped[60] ^= 0xFF
    (tmp_path / "flipped.npz").write_bytes(bytes(flipped))
    np.savez(tmp_path / "foreign.npz", a=np.zeros(3))
    ReplayBuffer(200, spaces.n_obs, 3, spaces.n_goal).save(tmp_path / "other_actions.npz")
    for name in ("cut", "flipped", "foreign", "other_actions"):
        refusal = refuse("train", f"data={name}.npz", "out=new")
        assert refusal.status == 2 and f"{name}.npz" in refusal.line, name


@pytest.mark.parametrize("out", ["earlier/summary.json", "earlier/summary.json/run", "/proc/run"])
def test_an_output_folder_that_cannot_be_written(refuse: Refuse, checkpoint: Path, out: str) -> None:
    for request in (["collect"], ["train"], ["evaluate", f"checkpoint={checkpoint}"], ["demo"]):
        refusal = refuse(*request, f"out={out}")
        assert refusal.status == 1 and "cannot be written" in refusal.line and "choose another" in refusal.line


def test_resuming_never_writes_into_the_run_of_another_command(
    refuse: Refuse, capsys: pytest.CaptureFixture[str]
) -> None:
    """All keys of `collect` are keys of `train` too, and the rest have defaults."""
    assert main(["collect", "collect.episodes=1", "out=recorded"]) == 0
    capsys.readouterr()
    refusal = refuse("train", "resume=recorded")
    assert refusal.status == 2 and "recorded, which is no run of loopwm train" in refusal.line


def test_resuming_from_a_damaged_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOOPWM_DEBUG", raising=False)
    folder = tmp_path / "run"
    (folder / "training").mkdir(parents=True)
    save_config(folder / "config.yaml", TrainCommand())
    (folder / "training" / "round_1.safetensors").write_bytes(b"cut")
    assert main(["train", f"resume={folder}"]) == 1
    line = capsys.readouterr().err
    assert "round_1.safetensors is damaged" in line and line.count("\n") == 1
    (folder / "config.yaml").write_text("seed: [\n")
    assert main(["train", f"resume={folder}"]) == 2
    assert str(folder / "config.yaml") in capsys.readouterr().err


class DiskFull:
    """os.fsync from some file on; what is written goes through it before it takes the place of the old file."""

    def __init__(self, name: str) -> None:
        self.name, self.fsync = name, os.fsync

    def __call__(self, descriptor: int) -> None:
        if self.name in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.name)
        self.fsync(descriptor)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="finds the name of an open file in /proc")
def test_a_full_disk_while_the_summary_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOOPWM_DEBUG", raising=False)
    monkeypatch.setattr(runs.os, "fsync", DiskFull("summary.json"))
    assert main(["collect", "collect.episodes=1", f"out={tmp_path / 'run'}"]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("loopwm: ")]
    assert errors == ["loopwm: error: No space left on device: summary.json"]
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["config.yaml", "episodes.npz", "log.txt"]


def test_a_full_disk_in_training_loses_no_finished_round(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run goes on from there once there is room again."""
    monkeypatch.delenv("LOOPWM_DEBUG", raising=False)
    small = [
        *("model=nano", "planner=cem_fast", "collect.episodes=2", "train.rounds=2", "train.updates_per_round=2"),
        *("train.episodes_per_round=1", "train.held_out=1", "train.update.batch_size=8"),
    ]
    save = TrainingRun.save

    def full(self: TrainingRun, *states: object) -> None:
        if self.rounds_done == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "round_2.npz")
        save(self, *states)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingRun, "save", full)
        assert main(["train", *small, f"out={tmp_path / 'run'}"]) == 1
    assert "loopwm: error: No space left on device: round_2.npz\n" in capsys.readouterr().err
    assert main(["train", f"resume={tmp_path / 'run'}"]) == 0
    assert main(["train", *small, f"out={tmp_path / 'unbroken'}"]) == 0
    resumed, unbroken = (json.loads((tmp_path / run / "summary.json").read_text()) for run in ("run", "unbroken"))
    assert resumed["train_loss"] == unbroken["train_loss"] and resumed["train_updates"] == 4

    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")}
    capsys.readouterr()
    assert main(["train", f"resume={tmp_path / 'run'}"]) == 0
    assert "finished already" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")} == before

    page = (tmp_path / "run" / "report.html").rename(tmp_path / "run" / ".report.html.77.tmp")
    assert main(["train", f"resume={tmp_path / 'run'}"]) == 0
    assert (tmp_path / "run" / "report.html").is_file() and not page.exists()


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 60 kB: a real failure of the operating system in the middle of a write."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


def test_weights_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, small_files: None
) -> None:
    monkeypatch.delenv("LOOPWM_DEBUG", raising=False)
    request = ["model=nano", "planner=cem_fast", "collect.episodes=1", "train.rounds=1", "train.updates_per_round=1"]
    assert main(["train", *request, "train.held_out=1", f"out={tmp_path / 'run'}"]) == 1
    text = capsys.readouterr().err
    assert "loopwm: error: File too large: " in text and "last.safetensors" in text and "Traceback" not in text
    assert not list(tmp_path.rglob("*.safetensors*")) and not (tmp_path / "run" / "summary.json").exists()
