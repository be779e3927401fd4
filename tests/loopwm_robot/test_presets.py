"""docs/loopwm.md says what the code does: presets and their cost, settings and their defaults, forms, exits, kinds."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from loopwm_robot.build import make_env, spaces_of
from loopwm_robot.checkpoint import Spaces
from loopwm_robot.config import EXITS, KINDS, EnvConfig, ModelConfig, config_dir
from loopwm_robot.models.actor_critic import ActorCriticConfig
from loopwm_robot.models.block import DAMPING, DELTA, FORMS
from loopwm_robot.models.build import build_model
from loopwm_robot.models.cost import parameters, transition_flops
from loopwm_robot.models.ensemble import EnsembleConfig
from loopwm_robot.models.images import ImageConfig
from loopwm_robot.models.latent_mlp import LatentMLPConfig
from loopwm_robot.models.rssm import RSSMConfig
from loopwm_robot.schema import build
from loopwm_robot.training.actor_critic import ActorCriticUpdate
from loopwm_robot.training.calibrate import calibrate_exits, calibrate_monitor
from loopwm_robot.training.gate import GateConfig
from loopwm_robot.training.losses import LossWeights
from loopwm_robot.training.trainer import UpdateConfig

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "loopwm.md").read_text(encoding="utf-8")
TEXT = " ".join(PAGE.split())
PRESETS = ("nano", "small", "base", "large")
SETTINGS = {
    "model.": ModelConfig,
    "model.image.": ImageConfig,
    "model.actor_critic.": ActorCriticConfig,
    "model.latent_mlp.": LatentMLPConfig,
    "model.rssm.": RSSMConfig,
    "model.ensemble.": EnsembleConfig,
    "train.update.": UpdateConfig,
    "train.update.loss.": LossWeights,
    "train.update.actor_critic.": ActorCriticUpdate,
    "train.gate.": GateConfig,
}


def table(first: str) -> list[list[str]]:
    """Cells of the rows of the table whose first heading is `first`."""
    lines = PAGE.splitlines()
    (head,) = (i for i, line in enumerate(lines) if line.startswith(f"| {first} |"))
    return list(_rows(lines[head + 2 :]))


def _rows(lines: list[str]) -> Iterator[list[str]]:
    for line in lines:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip().strip("|").split(" | ")]


@cache
def reaching() -> Spaces:
    config = EnvConfig()
    env = make_env(config)
    found = spaces_of(env, config)
    env.close()
    return found


def preset(name: str) -> ModelConfig:
    return build(ModelConfig, yaml.safe_load((config_dir() / "model" / f"{name}.yaml").read_text(encoding="utf-8")))


def spaced(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def test_all_presets_are_listed() -> None:
    assert [re.findall(r"`(\w+)`", row[0]) for row in table("preset")] == [[name] for name in PRESETS]
    looped = {file.stem for file in (config_dir() / "model").glob("*.yaml") if preset(file.stem).kind == "loopwm"}
    assert looped == set(PRESETS)
    assert "model: small" in (config_dir() / "train.yaml").read_text(encoding="utf-8")
    assert "| `small` (default) |" in PAGE


@pytest.mark.parametrize("name", PRESETS)
def test_presets_cost_what_the_table_says(name: str) -> None:
    c, s = preset(name), reaching()
    model = build_model(c, s.n_obs, s.nu, s.n_goal, s.ctrl_dt, s.groups)
    (row,) = (row for row in table("preset") if row[0].startswith(f"`{name}`"))
    assert row[1:] == [
        str(c.latent_dim),
        c.tokens,
        str(c.context),
        f"{c.mean_loops:g}, {c.max_loops}",
        str(c.plan_loops),
        spaced(parameters(model)),
        spaced(transition_flops(model, c.plan_loops)),
    ]
    assert f"`{s.env_id}`; FLOPs" in TEXT


def shown(value: Any) -> str:
    """A default as the tables write it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return str(list(value))
    return f"{value:g}" if isinstance(value, float) else str(value)


@pytest.mark.parametrize("prefix", SETTINGS)
def test_settings_and_their_defaults(prefix: str) -> None:
    schema = SETTINGS[prefix]
    nested = {key.removeprefix(prefix).rstrip(".") for key in SETTINGS if key.startswith(prefix) and key != prefix}
    defaults = schema()
    wanted = [(f"`{f.name}`", shown(getattr(defaults, f.name))) for f in fields(schema) if f.name not in nested]
    assert [tuple(row[:2]) for row in table(f"`{prefix}`")] == wanted


def test_forms_exits_and_kinds() -> None:
    assert {row[0].split("`")[1] for row in table("form of the loop")} == set(FORMS)
    assert f"| `{ModelConfig().form}` (default) |" in PAGE
    exits = {row[0].strip("`"): row[2].split(", ") for row in table("exit rule")}
    assert set(exits) == set(EXITS) - {"fixed"}
    for name, allowed in exits.items():
        for form in FORMS:
            if form in allowed:
                ModelConfig(form=form, exit=name)
            else:
                with pytest.raises(ValueError, match=r"model.exit"):
                    ModelConfig(form=form, exit=name)
    assert {row[0].strip("`") for row in table("kind of model")} == set(KINDS)


def test_numbers_in_the_text() -> None:
    assert f"that of memory at {DELTA:g}." in TEXT and f"c is learned and starts at {DAMPING:g}" in TEXT
    exits = {name: p.default for name, p in inspect.signature(calibrate_exits).parameters.items()}
    near, far = exits["horizons"]
    assert f"{near} and {far} steps ahead, is at most {100 * exits['budget']:g} % above" in TEXT
    steps = inspect.signature(calibrate_monitor).parameters["steps"].default
    assert f"after 1 to {steps} steps" in TEXT


def test_everything_named_beside_the_equations_exists() -> None:
    sources = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "loopwm_robot").rglob("*.py"))
    names = [name for row in table("equation") for name in re.findall(r"`([^`]+)`", row[2])]
    assert len(names) > 15
    for name in names:
        if name.endswith(".py"):
            assert (ROOT / "loopwm_robot" / name).is_file(), name
        elif "=" not in name:
            for part in name.split("."):
                assert re.search(rf"\b(class|def) {part}\b", sources), name


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "docs" / "loopwm.md", ROOT / "README.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"
