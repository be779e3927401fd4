"""Models of the benchmark: their sizes, their training, and taking up what is finished."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from drift_data import drift_dataset

from loopwm_robot.bench.common import BenchmarkError
from loopwm_robot.bench.model import ModelBench, evaluate, running
from loopwm_robot.bench.model.config import QUICK
from loopwm_robot.bench.model.datasets import DataConfig, save_dataset
from loopwm_robot.bench.model.parallel import run_parallel
from loopwm_robot.bench.model.train import Job, finished, load_model, noise_of, train
from loopwm_robot.bench.model.variants import (
    EQUAL_FLOPS,
    EQUAL_PARAMETERS,
    loopwm,
    size_on,
    sized,
    variants,
    work_on,
)
from loopwm_robot.checkpoint import CHECKPOINT_FILE
from loopwm_robot.config import ModelConfig
from loopwm_robot.data.buffer import ReplayBuffer
from loopwm_robot.errors import RequestError
from loopwm_robot.models.block import FORMS, NORMS
from loopwm_robot.models.loop_control import DEPTHS
from loopwm_robot.models.rssm import RSSMConfig
from loopwm_robot.progress import progress
from loopwm_robot.schema import build
from loopwm_robot.training.trainer import TrainingError, WorldModelTrainer

MODEL = ModelConfig(latent_dim=16, heads=2, mean_loops=2, max_loops=4)
TINY = ModelBench(
    seeds=(0,),
    updates=3,
    batch_size=8,
    sequence_length=3,
    gate_updates=2,
    context=4,
    widths=(8, 16),
    stride=20,
    jobs=1,
    model=MODEL,
)


def job(folder: Path, name: str = "loopwm", *, config: ModelBench = TINY, seed: int = 0, data: str = "push") -> Job:
    """A training on the drift data."""
    file = folder / data / "data.npz"
    if not file.is_file():
        save_dataset(file, drift_dataset(data, hidden=data == "hidden"), {})
    chosen = {v.name: v for v in variants(config, drift_dataset(data, hidden=data == "hidden"))}
    out = folder / data / name / f"seed_{seed}"
    return Job(data, out, file, chosen[name], seed, config.updates, config.gate_updates)


def test_every_model_has_the_parameters_or_the_operations_of_loopwm() -> None:
    config, data = replace(TINY, model=ModelConfig(), parts=("main",)), drift_dataset()
    chosen = {v.name: v for v in variants(config, data)}
    assert set(chosen) == {"loopwm", *EQUAL_PARAMETERS, *EQUAL_FLOPS} and next(iter(chosen)) == "loopwm"
    size, work = size_on(data), work_on(data)
    base = loopwm(config, data)
    assert base.tokens == "bodies" and base.context == 0
    for name in EQUAL_PARAMETERS:
        assert size(chosen[name].model) == pytest.approx(size(base), rel=0.05)
    for name in EQUAL_FLOPS:
        assert work(chosen[name].model) == pytest.approx(work(base), rel=0.1)
    with pytest.raises(BenchmarkError, match="allowed 5 within 5%"):
        sized(base, "rssm", size, 5, 0.05)


def test_parts_add_what_they_need() -> None:
    data, hidden = drift_dataset(), drift_dataset("hidden", hidden=True)
    parts = ("depth", "sweep", "context")
    names = {part: [v.name for v in variants(replace(TINY, parts=(part,)), data)] for part in parts}
    assert names["context"] == ["loopwm"]  # for hidden dynamics alone
    others = [f"depth_{x}" for x in DEPTHS if x != MODEL.depth] + [f"form_{x}" for x in FORMS if x != MODEL.form]
    assert names["depth"] == ["loopwm", *others, *(f"norm_{x}" for x in NORMS if x != MODEL.norm)]
    assert names["sweep"] == ["loopwm", "loopwm_d8", "untied_d8", "mlp_d8", "untied_d16", "mlp"]
    chosen = {v.name: v for v in variants(replace(TINY, parts=("context",)), hidden)}
    contexts = {name: v.model.context for name, v in chosen.items()}
    assert contexts == {"loopwm": 4, "one_pass": 4, "blind": 0, "told": 0}
    assert chosen["told"].told and not chosen["blind"].told
    [_, long] = variants(replace(TINY, parts=("chunks",)), data)
    assert long.model.form == "step_consistent" and long.update.chunks == (1, 2, 4, 8)
    [_, late] = variants(replace(TINY, parts=("deferred",)), data)
    assert late.update.loss.decode == "terminal" and late.update.loss.consistency > 0 and late.update.curriculum > 0


@pytest.mark.slow
def test_training_repeats_to_the_bit_and_differs_by_seed(tmp_path: Path) -> None:
    first, again, other = (train(job(tmp_path / str(k), seed=s)) for k, s in enumerate((0, 0, 1)))
    folders = [tmp_path / str(k) / f"push/loopwm/seed_{s}" for k, s in enumerate((0, 0, 1))]
    weights = [load_model(folder).state_dict() for folder in folders]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not torch.equal(weights[0]["coda.up.weight"], weights[2]["coda.up.weight"])
    assert first["losses"] == again["losses"] != other["losses"]
    assert first["parameters"] > 0 and first["transition_flops"] > 0 and first["cpu_time_s"] > 0
    assert first["losses"]["gate_loss"] >= -1


def test_what_is_finished_is_not_trained_again_unless_something_changed(tmp_path: Path) -> None:
    one = job(tmp_path, "mlp")
    digest = drift_dataset().digest()
    assert finished(one, digest) is None
    record = train(one)
    assert finished(one, digest) == json.loads(json.dumps(record))
    with pytest.raises(RequestError, match=r"updates = 3, allowed 4; remove the folder, or choose another one"):
        finished(replace(one, updates=4), digest)
    mine = one.variant.model
    for changed, message in (
        (replace(mine, latent_dim=32, rssm=RSSMConfig(layers=4)), None),  # of other kinds of model
        (replace(mine, latent_mlp=replace(mine.latent_mlp, rho=0.25)), r"model.latent_mlp.rho = 0.5, allowed 0.25"),
    ):
        other = replace(one, variant=replace(one.variant, model=changed))
        if message is None:
            assert finished(other, digest)
        else:
            with pytest.raises(RequestError, match=message):
                finished(other, digest)
    with pytest.raises(RequestError, match="data = "):
        finished(one, "other")
    (one.folder / "record.json").write_text("{")
    with pytest.raises(RequestError, match="is damaged"):
        finished(one, digest)


def test_a_training_that_diverges_is_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(self: WorldModelTrainer, buffer: ReplayBuffer) -> dict[str, float]:
        raise TrainingError("loss inf")

    monkeypatch.setattr(WorldModelTrainer, "update", diverge)
    one = job(tmp_path)
    record = train(one)
    assert record["failed"] == "loss inf" and not (one.folder / CHECKPOINT_FILE).exists()
    assert finished(one, drift_dataset().digest()) == json.loads(json.dumps(record))


@pytest.mark.slow
def test_noise_is_as_large_as_what_random_depth_makes(tmp_path: Path) -> None:
    loops, once = job(tmp_path), job(tmp_path, "one_pass_noise")
    train(loops)
    noise = noise_of(once)
    record = train(once)
    assert 0 < noise < 1 and record["latent_noise"] == noise
    assert load_model(once.folder).core.latent_noise == noise
    fixed = replace(TINY, model=replace(MODEL, depth="fixed"))
    train(job(tmp_path / "fixed", config=fixed))
    assert noise_of(job(tmp_path / "fixed", "one_pass_noise", config=fixed)) < 1e-6
    assert "there is no loopwm with seed 0" in train(job(tmp_path / "alone", "one_pass_noise"))["failed"]


def test_told_models_train_on_what_they_are_told(tmp_path: Path) -> None:
    one = job(tmp_path, "told", data="hidden")
    train(one)
    assert load_model(one.folder).n_obs == 5


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_order_and_errors_stop_the_rest(jobs: int) -> None:
    work: Any = math.sqrt  # a process that needs nothing else starts fast
    with progress("t", 6) as bar:
        assert run_parallel(work, [(9.0,), (1.0,), (4.0,)], jobs, bar) == [3, 1, 2]
        with pytest.raises(ValueError, match=r"nonnegative|domain"):
            run_parallel(work, [(1.0,), (-1.0,), (4.0,)], jobs, bar)


def test_everything_is_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "dataset", lambda name, config, path, bar: _made(path))
    monkeypatch.setattr(running, "deferred_times", lambda *_: {"every": 2.0, "last": 1.0})
    monkeypatch.setattr(running, "planning_times", lambda model, split, rules: dict.fromkeys(rules, 1.0))
    archive = tmp_path / "runs.jsonl"
    config = replace(TINY, datasets=("push",), parts=("time",), runs=str(tmp_path), archive=str(archive))
    [result] = running.collect(config)
    assert result.measures["open_loop"]["test"]["all"]["h1"] > 0
    assert set(result.times["planning"]) == {"converged", "second_order", "gate", "maximum", "mean"}
    files = [path for path in tmp_path.rglob("*") if path.suffix in (".json", ".safetensors")]
    before = {path: path.stat().st_mtime_ns for path in files}
    [again] = running.collect(config)
    assert again == result and len(files) == 4  # checkpoint, record, measures, times
    assert before == {path: path.stat().st_mtime_ns for path in files}
    [other] = running.collect(replace(config, stride=10))  # measured again, trained no more
    assert other.record == result.record and other.measures != result.measures
    with pytest.raises(RequestError, match="updates = 3, allowed 5"):
        running.collect(replace(config, updates=5))
    elsewhere = replace(config, runs=str(tmp_path / "elsewhere"), stride=10)  # nothing but the archive is left
    [kept] = running.collect(elsewhere)
    assert kept.record == result.record and not (tmp_path / "elsewhere/push/loopwm/seed_0" / CHECKPOINT_FILE).exists()
    assert kept.error(20) == pytest.approx(other.error(20), rel=1e-5) and kept.times["planning"]["mean"] == 1
    with pytest.raises(RequestError, match="holds figures from the archive but no model"):
        running.collect(replace(elsewhere, stride=20))
    archive.write_text(archive.read_text()[:-20])
    with pytest.raises(RequestError, match=r"runs\.jsonl, line 1, is damaged"):
        running.collect(config)


def test_long_rollouts_are_measured_beside_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = evaluate.Plan(stride=20, starts=3, long_steps=0, horizon=3)
    looped, other = job(tmp_path), job(tmp_path, "one_pass_wide")
    save_dataset(looped.data, drift_dataset(long=80), DataConfig())
    before = {}
    for one in (looped, other):
        train(one)
        before[one.variant.name] = evaluate.measure(one, plan)
    monkeypatch.delattr(evaluate, "measurements")  # nothing else is measured again
    longer = replace(plan, long_steps=20)
    found = evaluate.measure(looped, longer)
    assert set(found["long"]) == {"long_explore", "long_uniform"} and found["long"]["long_explore"]["starts"] == 3
    assert {**found, "about": 0} == {**before["loopwm"], "about": 0, "long": found["long"]}
    assert evaluate.measure(looped, longer) == found and evaluate.measure(looped, plan) == found
    assert evaluate.measure(other, longer) == before["one_pass_wide"]  # does not imagine long rollouts


def _made(path: Path):
    data = drift_dataset()
    if not path.is_file():
        save_dataset(path, data, {})
    return data


def test_settings_are_checked() -> None:
    assert build(ModelBench, QUICK).updates < ModelBench().updates
    for changes, message in (
        ({"datasets": ("reach", "nope")}, "datasets is"),
        ({"parts": ()}, "parts is"),
        ({"seeds": (1, 1)}, "seeds is"),
        ({"jobs": 0}, "jobs is 0, allowed >= 1"),
        ({"peer_learning_rates": {"rssm": 1.0}}, "peer_learning_rates is {'rssm': 1.0}, allowed a number above 0"),
        ({"context": 51}, "context is 51, allowed <= 50"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"model": ModelConfig(kind="rssm")}, "model.kind is 'rssm', allowed loopwm"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(TINY, **changes)
