"""Code of others in the control benchmark: a checkout that only looks like TD-MPC2, Stable-Baselines3, a short run."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from loopwm_robot.bench.control import judge, peer, sac
from loopwm_robot.bench.control.target import Target
from loopwm_robot.bench.control.tdmpc2 import OnCPU
from loopwm_robot.cli.main import main
from loopwm_robot.config import EnvConfig
from loopwm_robot.schema import plain

POINT = EnvConfig("Test/Point-v0", "", "")

CHECKOUT = {
    "config.yaml": "defaults: []\ntask: dog-run\nlr: 3e-4\nvmin: -10\nvmax: +10\nnum_bins: 101\nwork_dir: ???\n",
    "common/__init__.py": "MODEL_SIZE = {1: {'latent_dim': 128}, 5: {'latent_dim': 512}}\n",
    "common/seed.py": "def set_seed(seed):\n    pass\n",
    "common/scale.py": "import torch\n",
    "common/buffer.py": """
import torch
class Buffer:
    def __init__(self, cfg):
        self.free, self.device, self.episodes = torch.cuda.mem_get_info()[0], torch.device('cuda:0'), 0
    def add(self, episode):
        self.episodes += 1
""",
    "tdmpc2.py": """
import torch
class WorldModel(torch.nn.Linear):
    total_params = 12
    def init(self):
        self.ready = True
    def to(self, *args, **kwargs):
        raise NotImplementedError('Cannot copy out of meta tensor')
class TDMPC2(torch.nn.Module):
    def __init__(self, cfg):
        super().__init__()
        assert cfg.get('nothing') is None and cfg.lr == 3e-4 and cfg.bin_size == 0.2 and cfg.latent_dim == 512
        assert cfg.obs_shape == {'state': (5,)} and cfg.action_dim == 2 and cfg.episode_length == 10
        self.device = torch.device('cuda:0')
        self.model = WorldModel(5, 2).to(self.device)
        assert self.model.ready
        self.optim = torch.optim.Adam(self.model.parameters(), lr=cfg.lr, capturable=True)
    def act(self, obs, t0=False, eval_mode=False):
        assert obs.shape == (5,) and obs.dtype == torch.float32
        return ((obs[3:] - obs[:2]) / 0.1).clamp(-1, 1) if eval_mode else torch.zeros(2)
""",
    "trainer/__init__.py": "",
    "trainer/online_trainer.py": """
class OnlineTrainer:
    def __init__(self, cfg, env, agent, buffer, logger):
        self.cfg, self.env, self.agent, self.buffer, self.logger = cfg, env, agent, buffer, logger
    def train(self):
        step, done = 0, True
        while step <= self.cfg.steps:
            if done:
                self.logger.log(self.eval(), 'eval')
                obs = self.env.reset()
            action = self.env.rand_act() if step < 5 else self.agent.act(obs)
            obs, reward, done, info = self.env.step(action)
            assert reward.shape == () and info['terminated'].shape == () and info['success'] in (0.0, 1.0)
            step += 1
""",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """Something that TD-MPC2's adapter can run."""
    for name, text in CHECKOUT.items():
        file = tmp_path / "checkout" / "tdmpc2" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    if POINT.id not in gym.registry:
        gym.register(POINT.id, "point_env:PointEnv", max_episode_steps=10, kwargs={"steps": 10})
    modules, path, threads = set(sys.modules), list(sys.path), torch.get_num_threads()
    yield tmp_path / "checkout"
    torch.set_num_threads(threads)
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.partition(".")[0] in ("common", "tdmpc2", "trainer"):
            del sys.modules[name]


def request(**changes: Any) -> judge.PeerRequest:
    about: dict[str, Any] = {"peer": "tdmpc2", "env": POINT, "goal": True, "target": Target(), "seed": 0, "threads": 1}
    about |= {"device": "cpu", "goals": 3, "first_s": 1e-6, "spacing": 2.0, "limit_s": 60.0}
    return judge.PeerRequest(**{**about, **changes})


def test_the_code_of_a_checkout_runs_on_the_cpu_until_it_is_good_enough(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / judge.REQUEST).write_text(json.dumps({"request": plain(request(tdmpc2=str(checkout)))}))
    assert peer.main([str(tmp_path)]) == 0
    found = json.loads((tmp_path / judge.CURVE).read_text())
    assert found["end"] == "reached" and found["steps"] == 10 and found["about"]["parameters"] == 12
    assert [point["success"] for point in found["points"]] == [1.0]


def test_the_code_of_a_checkout_stops_at_its_limit(checkout: Path, tmp_path: Path) -> None:
    asked = request(tdmpc2=str(checkout), target=None, limit_steps=25, marks=(20,))
    found = peer.run(asked, tmp_path / judge.CURVE, time.monotonic())
    assert found.end == "limit" and found.steps == 25 and [point.steps for point in found.points] == [20, 25]


def test_the_stand_in_for_torch_is_torch_but_for_its_devices() -> None:
    stand_in = OnCPU()
    assert stand_in.nn is torch.nn and stand_in.device("cuda:0") == torch.device("cpu")
    assert stand_in.cuda.mem_get_info() == (0, 0)
    made = stand_in.optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.1, capturable=True)
    assert made.defaults["capturable"] is False


def test_sac_learns_with_hindsight_where_there_are_goals(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a stand-in for Stable-Baselines3, whose model goes straight to the goal."""
    given: list[tuple[str, dict[str, Any]]] = []

    class Callback:
        def __init__(self) -> None:
            self.num_timesteps, self.locals = 0, {"dones": [False]}

    class Model:
        def __init__(self, policy: str, env: Any, **settings: Any) -> None:
            given.append((policy, settings))
            self.env, self.num_timesteps = env, 0
            self.policy = SimpleNamespace(actor=torch.nn.Linear(2, 1), critic=torch.nn.Linear(3, 1))

        def learn(self, steps: int, callback: Any) -> None:
            callback.model, going = self, True
            while going and self.num_timesteps < steps:
                self.num_timesteps += 1
                callback.num_timesteps, callback.locals = self.num_timesteps, {"dones": [self.num_timesteps % 10 == 0]}
                going = callback._on_step()

        def predict(self, raw: Any, deterministic: bool) -> tuple[np.ndarray, None]:
            assert deterministic
            return np.clip((raw["desired_goal"] - raw["achieved_goal"]) / 0.1, -1, 1), None

    package, callbacks = ModuleType("stable_baselines3"), ModuleType("stable_baselines3.common.callbacks")
    package.SAC, package.HerReplayBuffer = Model, "hindsight"  # type: ignore[attr-defined]
    callbacks.BaseCallback = Callback  # type: ignore[attr-defined]
    for module in (package, ModuleType("stable_baselines3.common"), callbacks):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(sac.metadata, "version", lambda name: "0")
    found = peer.run(request(peer="sac"), tmp_path / judge.CURVE, time.monotonic())
    assert found.end == "reached" and found.steps == 10 and found.about["parameters"] == 3 + 4
    (policy, settings), *_ = given
    assert policy == "MultiInputPolicy" and settings["replay_buffer_class"] == "hindsight" and settings["gamma"] == 0.95
    peer.run(request(peer="sac", goal=False, limit_steps=5), tmp_path / "other.json", time.monotonic())
    assert given[1][0] == "MlpPolicy" and "replay_buffer_class" not in given[1][1]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("stable_baselines3") is None, reason="needs stable-baselines3")
@pytest.mark.parametrize("goal", [True, False])
def test_stable_baselines_trains_with_and_without_goals(goal: bool, tmp_path: Path) -> None:
    env = EnvConfig("fetch/Reach-v4", "", "sparse") if goal else EnvConfig("dm/reacher-hard-repeat2-v0", "", "")
    target = Target() if goal else Target("return", 900.0, 1000.0)
    asked = request(peer="sac", env=env, goal=goal, target=target, limit_steps=1100, marks=(500,))
    found = peer.run(asked, tmp_path / judge.CURVE, time.monotonic())
    assert found.steps == 1100 and [point.steps for point in found.points] == [500, 1100]
    assert "stable-baselines3" in found.about["package"] and np.isfinite(found.points[-1].mean_return)


@pytest.mark.slow
def test_the_quick_form_exercises_every_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["bench", "control", "--quick", "limit_s=15", f"out={tmp_path}"]
    assert main(arguments) == 0
    report = json.loads((tmp_path / "control_quick.json").read_text())
    tables = {row["table"].partition(":")[0] for row in report["rows"]}
    assert {"race", "transfer to unseen arms", "transfer", "tasks", "Meta-World", "data-parallel training"} <= tables
    assert not report["claims"] and (tmp_path / "images" / "control_quick_race.png").is_file()
    runs = {file: file.stat().st_mtime_ns for file in (tmp_path / "runs").rglob("*.safetensors")}
    assert main(arguments) == 0
    assert runs == {file: file.stat().st_mtime_ns for file in (tmp_path / "runs").rglob("*.safetensors")}
