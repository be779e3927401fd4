"""Overrides and YAML files become a dataclass, or one clear sentence."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from loopwm_robot import config as project_config
from loopwm_robot.cli.compose import compose, groups, load, print_keys
from loopwm_robot.errors import RequestError
from loopwm_robot.runs import save_config


@dataclass(frozen=True)
class Planner:
    """A planner.

    Attributes:
        horizon: number of actions, at least 1,
            at most 100.
        std: standard deviation [rad].
    """

    horizon: int = 6
    std: float = 0.5

    def __post_init__(self) -> None:
        if not 1 <= self.horizon <= 100:
            raise ValueError(f"planner.horizon is {self.horizon}, allowed [1, 100]")
        if self.std <= 0:  # does not know where it stands in a configuration
            raise ValueError(f"std is {self.std}, allowed above 0")


@dataclass(frozen=True)
class Config:
    """All of it.

    Attributes:
        seed: of every random number.

    Other text: is not a key.
    """

    seed: int = 0
    out: str | None = None
    sizes: tuple[int, ...] = (64, 64)
    planner: Planner = field(default_factory=Planner)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration folder with two planners and one experiment."""
    files = {
        "demo.yaml": "defaults:\n  - planner: cem\n  - _self_\n\nseed: 3\n",
        "planner/cem.yaml": "horizon: 12\n",
        "planner/mppi.yaml": "horizon: 30\n",
        "experiment/smoke.yaml": "# @package _global_\nseed: 7\nplanner:\n  horizon: 2\n",
    }
    for name, text in files.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    return tmp_path


def test_files_change_the_defaults_of_the_dataclass(folder: Path) -> None:
    assert compose("demo", [], Config, folder) == Config(seed=3, planner=Planner(horizon=12))


def test_overrides_reach_keys_that_no_file_names(folder: Path) -> None:
    config = compose("demo", ["planner.std=1e-3", "+sizes=[1,2,3]", "seed=5"], Config, folder)
    assert config.planner.std == 1e-3
    assert config.sizes == (1, 2, 3)
    assert config.seed == 5


def test_a_group_option_and_an_experiment_are_chosen_by_name(folder: Path) -> None:
    assert compose("demo", ["planner=mppi"], Config, folder).planner.horizon == 30
    smoke = compose("demo", ["experiment=smoke"], Config, folder)
    assert (smoke.seed, smoke.planner.horizon) == (7, 2)
    assert compose("demo", ["+experiment=smoke", "seed=9"], Config, folder).seed == 9


@pytest.mark.parametrize(
    "text",
    ["/tmp/a b", "runs/x=1", "a,b", "dir(1)/[x]", "it's", "007", "1e3", "true", "ends\\", r"\'", "{a}", ""],
)
def test_texts_arrive_as_the_shell_gave_them(folder: Path, text: str) -> None:
    assert compose("demo", [f"out={text}"], Config, folder).out == text


def test_null_and_quotes_keep_their_meaning(folder: Path) -> None:
    assert compose("demo", ["out=null"], Config, folder).out is None
    assert compose("demo", ["out='null'"], Config, folder).out == "null"
    assert compose("demo", ['out="a b"'], Config, folder).out == "a b"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("planner.horizn=3", "unknown key 'planner.horizn'; did you mean 'planner.horizon'?"),
        ("horizon=3", "unknown key 'horizon'; did you mean 'planner.horizon'?"),
        ("plannr.std=3", "unknown key 'plannr.std'; did you mean 'planner.std'?"),
        ("seeds=3", "unknown key 'seeds'; did you mean 'seed'?"),
        ("plannr.horizn=3", "unknown key 'plannr.horizn'; did you mean 'planner.horizon'?"),
        ("planner.zzz=3", "unknown key 'planner.zzz'; known under planner: horizon, std"),
        ("zzz=3", "unknown key 'zzz'; known keys: seed, out, sizes, planner"),
        ("seed.a.b=3", "unknown key 'seed.a.b'; known keys: seed, out, sizes, planner"),
        ("hydra.run.dir=x", "unknown key 'hydra.run.dir'"),
        ("planner.horizon=abc", "planner.horizon is 'abc', allowed a whole number"),
        ("planner.horizon=5.5", "planner.horizon is 5.5, allowed a whole number"),
        ("planner.horizon=true", "planner.horizon is True, allowed a whole number"),
        ("planner.horizon=null", "planner.horizon is None, allowed a whole number"),
        ("planner.horizon=0", "planner.horizon is 0, allowed [1, 100]"),
        ("planner.std=-1", "planner: std is -1.0, allowed above 0"),
        ("seed=1,2", "seed is '1,2', allowed a whole number"),
        ("seed=[1", "seed is '[1', allowed a whole number"),
        ("sizes=3", "sizes is 3, allowed a list such as [1, 2]"),
        ("sizes=[1,b]", "sizes[1] is 'b', allowed a whole number"),
        ("planner=cme", "planner 'cme' is unknown; did you mean 'cem'? known: cem, mppi"),
        ("experiment=big", "experiment 'big' is unknown; known: smoke"),
        ("seed=${nowhere}", "Interpolation key 'nowhere' not found"),
        ("nonsense", "'nonsense' is not an override, allowed KEY=VALUE"),
        ("=3", "'=3' is not an override"),
        ("a b=3", "'a b=3' is not an override"),
    ],
)
def test_a_wrong_request_names_key_value_and_what_is_allowed(
    folder: Path, override: str, message: str
) -> None:
    with pytest.raises(RequestError, match=re.escape(message)) as caught:
        compose("demo", [override], Config, folder)
    assert "Config search path" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("planner/cem.yaml", "horizn: 3\n", "unknown key 'planner.horizn'; did you mean 'planner.horizon'?"),
        ("planner/cem.yaml", "horizon: [\n", "demo.yaml:"),
        ("demo.yaml", "defaults:\n  - planner: gone\n  - _self_\n", "Could not find 'planner/gone'"),
        ("demo.yaml", "planner: 3\n", "planner is 3, allowed a group of keys: horizon, std"),
    ],
)
def test_a_broken_file_is_named(folder: Path, name: str, text: str, message: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(RequestError, match=re.escape(message)):
        compose("demo", [], Config, folder)


def test_groups_lists_the_options(folder: Path) -> None:
    assert groups(folder) == {"experiment": ["smoke"], "planner": ["cem", "mppi"]}


def test_help_shows_groups_keys_defaults_and_meanings(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_keys("demo", Config, folder)
    text = " ".join(capsys.readouterr().out.split())
    for part in (
        "planner cem, mppi",
        "seed 3 of every random number.",
        "planner.horizon 12 number of actions, at least 1, at most 100.",
        "planner.std 0.5 standard deviation [rad].",
        "sizes [64, 64]",
        "out null",
    ):
        assert part in text
    assert "Other" not in text


def test_a_saved_configuration_loads_again(tmp_path: Path) -> None:
    config = Config(seed=4, out="a b", sizes=(1,), planner=Planner(horizon=9, std=1e-7))
    file = save_config(tmp_path / "config.yaml", config)
    assert load(file, Config) == config
    changed = load(file, Config, ["planner.horizon=10", "out=x=y"])
    assert changed == Config(seed=4, out="x=y", sizes=(1,), planner=Planner(horizon=10, std=1e-7))


@pytest.mark.parametrize(
    ("content", "overrides", "message"),
    [
        (b"- 1\n", [], "holds list, allowed a mapping"),
        (b"a: [\n", [], "config.yaml:"),
        (b"\xff\xfe\x00", [], "config.yaml:"),
        (b"gone: 1\n", [], "unknown key 'gone'"),
        (b"seed: 1\n", ["sed=2"], "unknown key 'sed'; did you mean 'seed'?"),
    ],
)
def test_load_refuses_what_no_run_wrote(
    tmp_path: Path, content: bytes, overrides: list[str], message: str
) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(content)
    with pytest.raises(RequestError, match=re.escape(message)):
        load(file, Config, overrides)


def test_the_folder_of_the_project_is_the_default(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project_config, "config_dir", lambda: folder)
    assert compose("demo", ["planner=mppi"], Config).planner.horizon == 30
