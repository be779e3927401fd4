"""The page: self-contained, its numbers those of the summary, hostile text escaped, missing parts left out."""

from __future__ import annotations

import base64
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loopwm_robot.report import tables
from loopwm_robot.report.document import Section, data_uri
from loopwm_robot.report.html import build_report, write_report
from loopwm_robot.report.quantities import digits, duration, show

SUMMARY: dict[str, str | float | int] = {
    "env_id": "LoopWM/PandaReach-v0",
    "seed": 7,
    "success_rate": 0.96,
    "episodes": 25,
    "final_distance_m_median": 0.00934,
    "plan_time_s_p50": 0.0203,
    "deadline_met_fraction": 0.9987,
    "parameters": 93214,
    "train_time_s": 167.2,
    "random.success_rate": 0.0,
    "random.episodes": 25,
    "untrained.success_rate": 0.04,
    "bridge.success_rate": 0.95,
    "bridge.limit_violations": 0,
    "bridge.deadline_misses": 3,
    "open_loop_rmse_h1_loops2": 0.0211,
    "open_loop_rmse_h5_loops2": 0.0577,
    "open_loop_position_m_h1_loops12": 0.00123,
    "time_imagine_s": 0.012,
    "time_score_s": 0.003,
    "time_stage_train_s": 170.0,
    "bridge.worst_speed": 0.71,
}


class Reader(HTMLParser):
    """Collects what the tests ask about, and checks that tags are balanced."""

    VOID = frozenset(("meta", "img", "br", "hr"))

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.data: dict[str, set[tuple[str, str]]] = {}
        self.tags: list[str] = []
        self.headings: list[str] = []
        self.policy = ""
        self._open: list[str] = []
        self._key: tuple[str, str] | None = None
        self.feed(page)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {k: v or "" for k, v in attrs}
        self.tags.append(tag)
        self.links += [values[k] for k in ("src", "href", "poster", "srcset", "action") if k in values]
        if tag == "meta" and "Content-Security-Policy" in values.values():
            self.policy = values["content"]
        if tag == "data":
            self._key = (values["title"], values["value"])
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag == "data":
            self._key = None

    def handle_data(self, data: str) -> None:
        if self._key is not None:
            self.data.setdefault(self._key[0], set()).add((self._key[1], data))
        if self._open and self._open[-1] in ("h1", "h2"):
            self.headings.append(data)


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(path)
    return path


def run_folder(folder: Path, summary: object = SUMMARY, media: bool = True) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    if media:
        (folder / "config.yaml").write_text("model:\n  latent_dim: 64\n", encoding="utf-8")
        for name in ("learning_curve", "predictions", "horizons", "loops", "distance", "timing", "bridge", "own_idea"):
            picture(folder / "plots" / f"{name}.png")
        picture(folder / "video" / "poster.png")
        (folder / "video" / "reaches.mp4").write_bytes(b"not really a film")
    return folder


def read(path: Path) -> Reader:
    return Reader(path.read_text(encoding="utf-8"))


def test_page_is_self_contained(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    page = read(build_report(folder))
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert page.links and all(link.startswith("data:") for link in page.links)
    assert "http://" not in text and "https://" not in text and "@import" not in text and "url(" not in text
    assert "script" not in page.tags and "link" not in page.tags
    assert "default-src 'none'" in page.policy


def test_every_figure_and_the_film_are_inside(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    page = read(build_report(folder))
    inside = [base64.b64decode(link.split(",", 1)[1]) for link in page.links]
    files = [*sorted((folder / "plots").iterdir()), folder / "video" / "reaches.mp4", folder / "video" / "poster.png"]
    assert sorted(inside) == sorted(file.read_bytes() for file in files)
    assert page.tags.index("video") < page.tags.index("table") < page.tags.index("img")


def test_numbers_are_those_of_the_summary(tmp_path: Path) -> None:
    page = read(build_report(run_folder(tmp_path)))
    assert set(page.data) == set(SUMMARY)  # all keys are shown somewhere
    for key, shown in page.data.items():
        assert {value for value, _ in shown} == {str(SUMMARY[key])}
    assert {text for _, text in page.data["success_rate"]} == {"96 %", "0.96"}
    assert {text for _, text in page.data["final_distance_m_median"]} == {"0.93 cm", "0.00934"}
    assert "96" in page.headings[0]


def test_page_without_media_and_numbers_leaves_their_parts_out(tmp_path: Path) -> None:
    page = read(build_report(run_folder(tmp_path, {}, media=False)))
    assert page.headings == ["Run report"]
    assert not {"table", "img", "video", "figure"} & set(page.tags)
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    assert read(build_report(tmp_path)).headings == ["Run report", "Configuration and environment"]


@pytest.mark.parametrize(
    ("prefix", "heading"),
    [
        ("bridge.", "through the bridge"),
        ("open_loop_", "loops"),
        ("time_", "control step"),
        ("t", "What was trained"),
    ],
)
def test_a_missing_part_takes_its_heading_with_it(prefix: str, heading: str, tmp_path: Path) -> None:
    def headings(summary: dict) -> str:
        return " ".join(read(build_report(run_folder(tmp_path, summary, media=False))).headings)

    assert heading in headings(SUMMARY)
    dropped = {"plan_time_s_p50", "deadline_met_fraction", "parameters"}
    rest = {k: v for k, v in SUMMARY.items() if not k.startswith(prefix) and k not in dropped}
    assert heading not in headings(rest)


def test_stages_of_the_run_are_no_parts_of_a_control_step() -> None:
    step, stages = (tables.times(SUMMARY, keys, "", "") for keys in (tables.STEP, tables.STAGES))
    assert step is not None and stages is not None
    assert [row[0].content for row in step.rows] == ["Imagine", "Score"]
    assert [row[1].share for row in step.rows] == pytest.approx([0.8, 0.2])
    assert [row[0].content for row in stages.rows] == ["Train"]


def test_poster_stands_in_for_a_missing_film(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    (folder / "video" / "reaches.mp4").unlink()
    page = read(build_report(folder))
    assert "video" not in page.tags and page.tags.index("img") < page.tags.index("table")


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    evil = "</style><script>alert('1')</script><img src=x onerror=\"alert(2)\">&amp;"
    folder = run_folder(tmp_path / "run<b>&", {"env_id": evil, evil: evil, "success_rate": 0.5, f"open_{evil}": 1})
    (folder / "config.yaml").write_text(f"a: {evil}\n")
    picture(folder / "plots" / "x<script>y.png")
    page = read(write_report(folder, {"env_id": evil}, [Section(evil, [evil])]))
    assert "script" not in page.tags and "img" not in page.tags
    page = read(build_report(folder))
    assert "script" not in page.tags and all(link.startswith("data:") for link in page.links)
    assert evil in page.data and {value for value, _ in page.data[evil]} == {evil}


def test_building_again_gives_the_same_page(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    first = build_report(folder).read_bytes()
    assert build_report(folder).read_bytes() == first
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize(("text", "complaint"), [("{", "cannot be read"), ("[]", "flat"), ('{"a": {}}', "flat")])
def test_broken_summary_is_named(text: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no summary\.json"):
        build_report(tmp_path)
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(ValueError, match=complaint):
        build_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_unknown_media_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.exe"):
        data_uri(tmp_path / "a.exe")


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("success_rate", 1.0, "100 %"),
        ("bridge.deadline_met_fraction", 0.99912, "99.91 %"),
        ("deadline_met_fraction", 0.9, "90 %"),
        ("final_distance_m_median", 0.123, "12 cm"),
        ("open_loop_position_m_h5_loops2", 0.0044, "0.44 cm"),
        ("plan_time_s_p95", 0.02034, "20.3 ms"),
        ("wall_time_s", 402.7, "6 min 43 s"),
        ("wall_time_s", 1.5, "1.5 s"),
        ("bridge.worst_speed", 0.7, "70 %"),
        ("control_rate_hz", 20.0, "20 Hz"),
        ("parameters", 1234567, "1\u202f234\u202f567"),
        ("done", True, "yes"),
        ("name", "panda", "panda"),
        ("open_loop_rmse_h1", 0.02111, "0.0211"),
    ],
)
def test_units_follow_from_keys(key: str, value: float, text: str) -> None:
    assert show(key, value) == text


def test_digits_keep_the_value_within_half_a_unit() -> None:
    for value in np.random.default_rng(0).lognormal(0, 5, 300):
        assert float(digits(value, 3)) == pytest.approx(value, rel=5.1e-3)
    assert digits(0, 3) == "0" and digits(-0.5, 2) == "-0.5" and digits(100.0, 3) == "100"


def test_times_above_a_minute_and_a_half_count_minutes() -> None:
    assert duration(119.7) == "2 min 00 s" and duration(7200) == "2.0 h" and duration(0.0001) == "0.1 ms"
