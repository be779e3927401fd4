"""However a deployment ends, the arm rests and the recording is kept: Ctrl-C, kills, a full disk."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from envs import ArmKinematics, JointDelta
from hardware import Mode
from hardware.memory import Word
from hardware.shm import process_alive, segment_folder
from loopwm_robot.build import make_env, spaces_of
from loopwm_robot.checkpoint import Checkpoint, save_checkpoint
from loopwm_robot.config import EnvConfig, ModelConfig
from loopwm_robot.deploy import ControlConfig, DeployError, load_recording, make_bridge, run_reaches
from loopwm_robot.deploy import record as record_module
from loopwm_robot.deploy.record import keep_recording
from loopwm_robot.deploy.rest import interruptible, undisturbed
from loopwm_robot.deploy.run import keep
from loopwm_robot.models.build import build_model

from .test_deploy_control import ARM, CONFIG, GOALS, POSITION, Agent, Setup, arm_config
from .test_deploy_record import result as some_result

NANO = ModelConfig(latent_dim=16, heads=2, mean_loops=1, max_loops=2, plan_loops=1)


@pytest.fixture
def setup() -> Setup:
    return Setup(JointDelta(ARM.q_min, ARM.q_max), ArmKinematics(ARM), arm_config())


def raising(error: BaseException):
    def fail(*_) -> None:
        raise error

    return fail


# Ctrl-C and errors
# ----------------------------------------------------------------------------------------------------------------


def test_ctrl_c_keeps_the_recording_even_when_pressed_again(setup, tmp_path):
    def impatient(result) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        keep(result, tmp_path)

    setup.agent.before = {23: raising(KeyboardInterrupt())}  # in the second goal
    with pytest.raises(KeyboardInterrupt):
        setup.run(GOALS, replace(CONFIG, steps_per_goal=20), on_end=impatient)
    recording = load_recording(tmp_path)
    assert len(recording.records) > 280 and not recording.records["applied_dq"][-1].any()
    assert recording.arrays["obs"].shape[0] == 1 and recording.events[-1].kind == "stopped"
    assert (tmp_path / "plots/bridge.png").is_file()


def test_a_termination_is_an_interrupt_and_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), interruptible():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1.0)
    with undisturbed():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    entered = []
    thread = threading.Thread(target=lambda: [entered.append(1) for _ in [0] if undisturbed().__enter__() is None])
    thread.start()
    thread.join()
    assert entered  # where signals cannot be handled it does not get in the way


# A full disk
# ----------------------------------------------------------------------------------------------------------------


def test_a_full_folder_sends_the_recording_elsewhere(tmp_path, monkeypatch):
    folder, spare = tmp_path / "run", tmp_path / "spare"
    folder.mkdir(), spare.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spare))
    write = record_module.whole_file

    def write_unless_full(path: Path):
        if path.parent == folder:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path)

    monkeypatch.setattr(record_module, "whole_file", write_unless_full)
    with pytest.raises(DeployError, match=r"No space left on device; make room\. It is kept in ") as caught:
        keep_recording(folder, some_result())
    (elsewhere,) = spare.iterdir()
    assert str(elsewhere) in str(caught.value) and len(load_recording(elsewhere).records) == 5
    assert not list(folder.iterdir())


def test_a_disk_that_takes_nothing_is_told_and_leaves_no_halves(setup, tmp_path, monkeypatch):
    """Files beyond a size are refused by the kernel, as on a full disk."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def full(result) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        try:
            keep(result, tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    with setup.bridge as bridge:
        with pytest.raises(DeployError, match=r"cannot be written to .*File too large.*It is lost"):
            arguments = setup.joint_delta, setup.kinematics, POSITION, GOALS[:1], CONFIG
            run_reaches(setup.agent, bridge, *arguments, on_end=full)
        assert bridge.mode is Mode.ENABLED and not bridge.snapshot().applied.dq.any()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_first_error_is_told_and_the_lost_recording_noted(setup):
    setup.agent.before = {8: lambda: setup.driver.inject(kind="disconnect")}
    with pytest.raises(DeployError, match="disconnected") as caught:
        setup.run(on_end=raising(DeployError("the disk is full")))
    assert caught.value.__notes__ == ["the disk is full"] and len(caught.value.result.records)


# Kills
# ----------------------------------------------------------------------------------------------------------------


def test_a_killed_control_process_ends_the_run_and_keeps_the_recording(setup, tmp_path):
    agent = Agent(setup.joint_delta)
    with make_bridge(arm_config(bridge={"realtime": "off"})) as bridge:
        agent.before = {10: lambda: os.kill(bridge._link.memory.word(Word.CONTROL_PID), signal.SIGKILL)}
        arguments = setup.joint_delta, setup.kinematics, POSITION, GOALS, ControlConfig()
        with pytest.raises(DeployError, match=r"has ended|last ticked"):
            run_reaches(agent, bridge, *arguments, on_end=lambda result: keep(result, tmp_path))
    assert len(load_recording(tmp_path).records) > 50


def deployment(tmp_path: Path) -> subprocess.Popen:
    """`loopwm deploy` with an untrained model, in mid-motion."""
    config = EnvConfig()
    env = make_env(config)
    spaces = spaces_of(env, config)
    env.close()
    torch.manual_seed(0)
    model = build_model(NANO, spaces.n_obs, spaces.nu, spaces.n_goal, spaces.ctrl_dt, spaces.groups)
    save_checkpoint(tmp_path / "model.safetensors", Checkpoint(model, NANO, spaces, {}))
    arguments = [f"checkpoint={tmp_path / 'model.safetensors'}", f"out={tmp_path / 'run'}", "deploy.goals=50"]
    code = "import sys; from loopwm_robot.cli.main import main; sys.exit(main(sys.argv[1:]))"
    planner = ["planner.num_samples=32", "planner.num_elites=6", "planner.iterations=1", "planner.horizon=4"]
    command = [sys.executable, "-c", code, "deploy", *arguments, *planner, "planner.keep_elites=2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    give_up = time.monotonic() + 60.0
    while not list(segment_folder().glob(f"loopwm-bridge-{process.pid}-*")):
        assert process.poll() is None and time.monotonic() < give_up
        time.sleep(0.05)
    time.sleep(4.0)  # enable, warm up, move
    return process


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_deployment_that_is_interrupted_leaves_its_recording(tmp_path, number):
    process = deployment(tmp_path)
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in errors
    recording = load_recording(tmp_path / "run")
    assert np.abs(recording.records["applied_dq"]).max() > 0.01 and not recording.records["applied_dq"][-1].any()
    assert not list(segment_folder().glob(f"loopwm-bridge-{process.pid}-*"))


@pytest.mark.slow
def test_a_deployment_that_is_killed_leaves_a_black_box(tmp_path):
    process = deployment(tmp_path)
    process.kill()
    process.communicate()
    box, give_up = tmp_path / "run" / "black_box.jsonl", time.monotonic() + 30.0
    while not box.is_file():
        assert time.monotonic() < give_up
        time.sleep(0.05)
    kinds = [json.loads(line)["kind"] for line in box.read_text().splitlines()]
    assert "client_gone" in kinds and kinds[-1] == "closed"
    with np.load(tmp_path / "run" / "black_box.npz", allow_pickle=False) as file:
        records = file["records"]
    assert np.abs(records["applied_dq"]).max() > 0.01 and not records["applied_dq"][-1].any()
    assert not list(segment_folder().glob(f"loopwm-bridge-{process.pid}-*"))
    assert not process_alive(process.pid)
