"""Run everything that the settings ask for, or take up what an earlier run finished."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ...checkpoint import CHECKPOINT_FILE
from ...models.build import make_exit_rule
from ...models.loop_control import ExitRule, FixedDepth
from ...models.loopwm import LoopWM
from ...progress import progress
from ...runs import write_text
from ...threads import torch_threads
from .adaptive import deep_stack_flops, free_motion_flops, planning_times
from .archive import TIMES, pack, unpack
from .chunks import chunk_times
from .config import ModelBench
from .datasets import Dataset
from .evaluate import Plan, deferred_times, measure
from .generate import dataset, lengths
from .parallel import run_parallel
from .results import Result, Results
from .train import Job, data_of, finished, load_model, train
from .variants import variants

DATA = "data.npz"


def collect(config: ModelBench) -> Results:
    """Record, train and measure.

    Raises:
        RequestError: the folder of runs holds results of other settings.
    """
    sets = datasets(config)
    jobs = jobs_of(config, sets)
    archive = Path(config.archive) if config.archive else None
    if archive is not None:
        unpack(archive, jobs)
    digests = {name: found.digest() for name, found in sets.items()}
    for job in jobs:
        finished(job, digests[job.dataset])  # refuses what was made otherwise before anything is trained
    long_steps = config.long_steps if "long" in config.parts else 0
    plan = Plan(config.stride, config.starts, long_steps, config.sequence_length)
    found: dict[Job, dict[str, Any]] = {}
    try:
        with progress("models", len(jobs)) as bar:
            for dependent in (False, True):
                mine = [job for job in jobs if bool(job.variant.noise_like) == dependent]
                calls = [(job, plan, digests[job.dataset]) for job in mine]
                found |= zip(mine, run_parallel(train_and_measure, calls, config.jobs, bar), strict=True)
        results = []
        for job in jobs:
            record, measures = found[job]["record"], found[job]["measures"]
            times = time_alone(job, config, measures) if "time" in config.parts and measures else {}
            results.append(Result(job.dataset, job.variant.name, job.seed, record, measures, times))
    finally:  # what is finished is kept whatever happens to the rest
        if archive is not None:
            pack(archive, jobs)
    return Results(results)


def train_and_measure(job: Job, plan: Plan, digest: str) -> dict[str, Any]:
    """One run from beginning to end, or what is left of it. Runs in a process of its own.

    Returns:
        record (`train.train`) and measures (`evaluate.measure`; empty where training diverged).
    """
    record = finished(job, digest) or train(job)
    return {"record": record, "measures": {} if "failed" in record else measure(job, plan)}


def datasets(config: ModelBench) -> dict[str, Dataset]:
    """The data sets, made where they are missing."""
    total = sum(episodes for name in config.datasets for episodes, _ in lengths(name, config.data).values())
    with progress("episodes", total) as bar:
        return {name: dataset(name, config.data, data_file(config, name), bar) for name in config.datasets}


def data_file(config: ModelBench, name: str) -> Path:
    """Where a data set lies."""
    return Path(config.runs) / name / DATA


def jobs_of(config: ModelBench, sets: dict[str, Dataset]) -> list[Job]:
    """All trainings, one seed after the other."""
    by_set = {name: variants(config, found) for name, found in sets.items()}
    jobs = []
    for seed in config.seeds:
        for name, chosen in by_set.items():
            for variant in chosen:
                folder = Path(config.runs) / name / variant.name / f"seed_{seed}"
                file = data_file(config, name)
                jobs.append(Job(name, folder, file, variant, seed, config.updates, config.gate_updates))
    return jobs


def time_alone(job: Job, config: ModelBench, measures: dict[str, Any]) -> dict[str, Any]:
    """What is timed while nothing else runs, with one thread: exits, and decoding late. Kept beside the checkpoint."""
    if job.variant.name not in ("loopwm", "deferred", "chunks"):
        return {}
    path = job.folder / TIMES
    timed = {**measures["about"], "long_steps": 0}  # nothing that is timed depends on long rollouts
    about = {"measures": timed, "exits": measures.get("exits", {}), "horizon": config.sequence_length}
    if path.is_file():
        try:
            before: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if before.get("about") == about:
                return before
        except ValueError:
            pass  # damaged: timed again
    if not (job.folder / CHECKPOINT_FILE).is_file():
        return {}  # from the archive: there is nothing to time
    dataset = data_of(job.data, job.variant.told)
    model = load_model(job.folder)
    assert isinstance(model, LoopWM)
    found: dict[str, Any] = {"about": about}
    with torch_threads(1):
        if job.variant.name == "chunks":
            found["chunks"] = chunk_times(model, dataset, measures["chunks"])
        else:
            found["decoding"] = deferred_times(model, dataset, config.sequence_length)
        if job.variant.name == "loopwm":
            exits = measures.get("exits", {})
            rules: dict[str, ExitRule] = {
                name: make_exit_rule(name, about["threshold"], model.max_loops, model) for name, about in exits.items()
            }
            rules |= {"maximum": FixedDepth(model.max_loops), "mean": FixedDepth(max(1, round(model.mean_loops)))}
            test = dataset.splits["test"]
            found["planning"] = planning_times(model, test, rules)
            if torch.cuda.is_available():
                found["planning_cuda"] = planning_times(model, test, rules, "cuda")
                model.to("cpu")
            free = {n: about.get("loops_free", about["mean_loops"]) for n, about in exits.items()}
            found["free_flops"] = {name: free_motion_flops(model, loops) for name, loops in free.items()}
            found["stack_flops"] = deep_stack_flops(job.variant.model, dataset)
    write_text(path, json.dumps(found, allow_nan=False))
    return found
