"""`loopwm gallery` draws what there is."""

import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import yaml
from PIL import Image

import envs
from loopwm_robot.cli import gallery
from loopwm_robot.errors import RequestError
from loopwm_robot.report.gallery import gallery_ids

SMALL = ["width=64", "height=48"]


def test_every_environment_but_hidden_ones_is_drawn() -> None:
    drawn = {name for row in gallery_ids() for name in row}
    ours = {name for name in gym.registry if name.startswith("LoopWM/")}
    assert ours - drawn == {"LoopWM/PandaReachHidden-v0"}


def test_one_arm_in_every_task(tmp_path: Path) -> None:
    assert gallery.run(["robot=so101", f"out={tmp_path / 'g'}", *SMALL]) == 0
    files = sorted(path.stem for path in (tmp_path / "g").glob("*.png"))
    tasks = sorted(name.removeprefix("LoopWM/").removesuffix("-v0") for row in gallery_ids("so101") for name in row)
    assert files == [*tasks, "gallery"] and len(tasks) >= 5
    assert json.loads((tmp_path / "g/summary.json").read_text())["pictures"] == len(tasks)
    pictures = {name: np.asarray(Image.open(tmp_path / "g" / f"{name}.png")) for name in files}
    assert pictures["gallery"].shape == (len(tasks) * (48 + 22), 64, 3)
    for name in files[:-1]:
        assert pictures[name].shape == (48, 64, 3) and pictures[name].std() > 10
    np.testing.assert_array_equal(pictures["gallery"][:48], pictures["SO101Reach"])


@pytest.mark.slow
def test_an_arm_of_the_users(tmp_path: Path) -> None:
    folder = Path(envs.__file__).parent / "arms"
    about = yaml.safe_load((folder / "ur5e.yaml").read_text()) | {"model": str(folder / "ur5e.xml")}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(about))
    assert gallery.run([f"robot={tmp_path / 'mine.yaml'}", f"out={tmp_path / 'g'}", *SMALL]) == 0
    assert (tmp_path / "g/Push.png").is_file()


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="robot is 'pandora', allowed fr3, panda"):
        gallery.run(["robot=pandora"])
    with pytest.raises(RequestError, match=r"nowhere.yaml cannot be read"):
        gallery.run([f"robot={tmp_path}/nowhere.yaml", f"out={tmp_path / 'g'}"])
    with pytest.raises(RequestError, match="width is 5"):
        gallery.run(["width=5"])
