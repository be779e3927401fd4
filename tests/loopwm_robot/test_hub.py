"""Shared models: the card says what is known, what was changed on the way is refused."""

from __future__ import annotations

import json
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from reach_spaces import reach_spaces
from safetensors.torch import load_file

from loopwm_robot.checkpoint import CHECKPOINT_FILE, Checkpoint, save_checkpoint
from loopwm_robot.cli.main import main
from loopwm_robot.config import EnvConfig, ModelConfig, TrainCommand
from loopwm_robot.hub.config import is_repository
from loopwm_robot.hub.package import FILES, MANIFEST, HubError, sha256, verify
from loopwm_robot.models.build import build_model
from loopwm_robot.runs import save_config, write_summary

OWN = EnvConfig(arm="/secret/arm.yaml")
NANO = ModelConfig(latent_dim=16, heads=2, mean_loops=1, max_loops=2, plan_loops=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with an untrained model."""
    folder = tmp_path_factory.mktemp("secret") / "run"
    folder.mkdir()
    torch.manual_seed(0)
    spaces = reach_spaces()
    model = build_model(NANO, *spaces.of_model)
    save_checkpoint(folder / CHECKPOINT_FILE, Checkpoint(model.eval(), NANO, spaces, {"updates": 7}))
    save_config(folder / "config.yaml", TrainCommand(out=str(folder), data="/secret/e.npz", seed=5, env=OWN))
    write_summary(folder / "summary.json", {"train_updates": 7, "train_time_s": 12.0, "env_id": spaces.env_id})
    return folder


@pytest.fixture
def shared(run: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "shared"
    assert main(["push", f"checkpoint={run}", f"to={folder}"]) == 0
    return folder


def test_a_model_goes_to_a_folder_and_comes_back(
    run: Path, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sorted(p.name for p in shared.iterdir()) == sorted((*FILES, MANIFEST))
    assert main(["pull", f"source={shared}", f"out={tmp_path / 'got'}"]) == 0
    said = capsys.readouterr().out
    assert f"verified: {tmp_path / 'got'}" in said and "environment: LoopWM/PandaReach-v0" in said
    mine, theirs = load_file(run / CHECKPOINT_FILE), load_file(tmp_path / "got" / CHECKPOINT_FILE)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert {p.name for p in (tmp_path / "got").iterdir()} == {*FILES, MANIFEST}


def test_the_card_says_what_is_known_and_no_paths(shared: Path) -> None:
    card = (shared / "README.md").read_text(encoding="utf-8")
    _, front, body = card.split("---\n", 2)
    about = yaml.safe_load(front)
    assert about["license"] == "apache-2.0" and about["pipeline_tag"] == "robotics" and "model-index" not in about
    spaces = reach_spaces()
    assert f"| observation | {spaces.n_obs} numbers |" in body and "| control step | 0.05 s |" in body
    assert "| Gradient updates | 7 |" in body and "seed: 5" in body and "arm: arm.yaml" in body
    for file in shared.iterdir():
        assert b"/secret" not in file.read_bytes() and b"secret0" not in file.read_bytes(), file.name


def test_figures_of_an_evaluation_of_this_checkpoint(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = tmp_path / "measured"
    measured.mkdir()
    figures = {"success_rate": 0.96, "episodes": 25, "checkpoint": str(run / CHECKPOINT_FILE)}
    write_summary(measured / "summary.json", figures)
    request = ["push", f"checkpoint={run}", "license=mit", f"evaluation={measured}"]
    assert main([*request, f"to={tmp_path / 'a'}"]) == 0
    card = (tmp_path / "a" / "README.md").read_text(encoding="utf-8")
    (model,) = yaml.safe_load(card.split("---\n", 2)[1])["model-index"]
    assert model["results"][0]["metrics"][0]["value"] == 0.96 and "| Success on held-out goals | 96 % |" in card
    assert str(run) not in (tmp_path / "a" / "summary.json").read_text(encoding="utf-8")
    write_summary(measured / "summary.json", {**figures, "checkpoint": "/other/checkpoint.safetensors"})
    assert main([*request, f"to={tmp_path / 'b'}"]) == 2
    assert "measured checkpoint '/other/checkpoint.safetensors'" in capsys.readouterr().err


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


def relist(folder: Path, **names: str) -> None:
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    for name, digest in names.items():
        manifest["files"][name] = {"sha256": digest, "size": 1}
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


@pytest.mark.parametrize(
    "harm, said",
    [
        (lambda f: flip(f / CHECKPOINT_FILE), "checkpoint.safetensors is not what was shared"),
        (lambda f: (f / "README.md").write_text("free money"), "README.md is not what was shared"),
        (lambda f: (f / "config.yaml").unlink(), "config.yaml is missing"),
        (lambda f: (f / MANIFEST).unlink(), "has no manifest.json"),
        (lambda f: (f / MANIFEST).write_text("{"), "manifest.json cannot be read"),
        (lambda f: relist(f, **{"../../evil": "0"}), "lists '../../evil', allowed checkpoint.safetensors"),
        (lambda f: shutil.rmtree(f), "allowed OWNER/NAME or a folder of loopwm push"),
    ],
)
def test_what_was_changed_is_refused_and_leaves_nothing(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], harm: Any, said: str
) -> None:
    harm(shared)
    assert main(["pull", f"source={shared}", f"out={tmp_path / 'got'}"]) in (1, 2)
    assert said in capsys.readouterr().err and not (tmp_path / "got").exists()


def test_weights_that_were_exchanged_with_their_manifest_still_have_a_digest(shared: Path) -> None:
    """A hash beside the file guards the way; the one in the header guards the file."""
    flip(shared / CHECKPOINT_FILE)
    manifest = json.loads((shared / MANIFEST).read_text(encoding="utf-8"))
    manifest["files"][CHECKPOINT_FILE]["sha256"] = sha256(shared / CHECKPOINT_FILE)
    (shared / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(HubError, match="does not have the digest in its header"):
        verify(shared)


def test_what_is_a_repository_and_what_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "panda").mkdir(parents=True)
    assert is_repository("owner/name.v2") and is_repository("models/other")
    for text in ("models/panda", "./a/b", "/a/b", "a/b/c", "name", "~/x", "../x", "a/.."):
        assert not is_repository(text), text


class FakeHub(types.ModuleType):
    """huggingface_hub, with folders for repositories."""

    def __init__(self, root: Path) -> None:
        super().__init__("huggingface_hub")
        self.root, self.made = root, {}
        self.HfApi = lambda: self

    def create_repo(self, name: str, private: bool, exist_ok: bool) -> None:
        self.made.setdefault(name, private)

    def upload_folder(self, folder_path: Path, repo_id: str, commit_message: str) -> str:
        shutil.copytree(folder_path, self.root / repo_id)
        return f"https://huggingface.co/{repo_id}/commit/1"

    def snapshot_download(self, name: str, revision: str | None, allow_patterns: list[str], local_dir: Path) -> None:
        if not (self.root / name).is_dir():
            raise OSError(f"404 for {name}\nmore")
        for file in (self.root / name).iterdir():
            if file.name in allow_patterns:
                shutil.copy(file, local_dir)


def test_a_repository_on_the_hub(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    hub = FakeHub(tmp_path / "hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert main(["push", f"checkpoint={run}", "to=me/panda"]) == 0
    assert "shared: https://huggingface.co/me/panda/commit/1" in capsys.readouterr().out
    assert hub.made == {"me/panda": True}
    (tmp_path / "hub/me/panda/evil.py").write_text("boom")
    assert main(["pull", "source=me/panda", "out=got"]) == 0
    assert {p.name for p in (tmp_path / "got").iterdir()} == {*FILES, MANIFEST}
    capsys.readouterr()
    assert main(["pull", "source=me/gone", "out=new"]) == 1
    assert "repository me/gone cannot be fetched (404 for me/gone more)" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert main(["push", f"checkpoint={run}", "to=me/panda"]) == 1
    assert "pip install 'loopwm-robot[hub]', or use a folder" in capsys.readouterr().err


def test_wrong_requests(run: Path, shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for request, said in (
        (["push", f"checkpoint={run}"], "push needs checkpoint=PATH and to="),
        (["push", f"checkpoint={run}/gone.safetensors", "to=./x"], "does not exist"),
        (["push", f"checkpoint={run}", f"to={shared}"], "which is not empty; choose a new folder"),
        (["push", f"checkpoint={run}", "to=./x", "license=My Own"], "license is 'My Own'"),
        (["push", f"checkpoint={run}", "to=./x", f"evaluation={shared}/gone"], "allowed a folder of loopwm evaluate"),
        (["pull"], "pull needs source="),
    ):
        assert main(request) == 2
        assert said in capsys.readouterr().err
