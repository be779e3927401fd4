"""Run everything that the settings ask for, or take up what an earlier run finished."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ...models.build import make_exit_rule
from ...models.loop_control import ExitRule, FixedDepth
from ...models.loopwm import LoopWM
from ...progress import progress
from ...runs import write_text
from ...threads import torch_threads
from .adaptive import deep_stack_flops, free_motion_flops, planning_times
from .config import ModelBench
from .datasets import Dataset
from .evaluate import Plan, deferred_times, measure
from .generate import dataset, lengths
from .parallel import run_parallel
from .results import Result, Results
from .train import Job, data_of, finished, load_model, train
from .variants import variants

DATA, TIMES = "data.npz", "times.json"


def collect(config: ModelBench) -> Results:
    """Record, train and measure.

    Raises:
        RequestError: the folder of runs holds results of other settings.
    """
    sets = datasets(config)
    jobs = jobs_of(config, sets)
    digests = {name: found.digest() for name, found in sets.items()}
    records = {job: finished(job, digests[job.dataset]) for job in jobs}  # refuses before anything is trained
    with progress("models", len(jobs), done=sum(record is not None for record in records.values())) as bar:
        for dependent in (False, True):
            missing = [j for j in jobs if records[j] is None and bool(j.variant.noise_like) == dependent]
            records |= zip(missing, run_parallel(train, [(j,) for j in missing], config.jobs, bar), strict=True)
    long_steps = config.long_steps if "long" in config.parts else 0
    plan = Plan(config.stride, config.starts, long_steps, config.sequence_length)
    trained = [job for job in jobs if "failed" not in (records[job] or {})]
    with progress("measures", len(trained)) as bar:
        measured = run_parallel(measure, [(job, plan) for job in trained], config.jobs, bar)
    measures = dict(zip(trained, measured, strict=True))
    results = []
    for job in jobs:
        times = time_alone(job, config, measures[job]) if "time" in config.parts and job in measures else {}
        results.append(
            Result(job.dataset, job.variant.name, job.seed, records[job] or {}, measures.get(job, {}), times)
        )
    return Results(results)


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
    if job.variant.name not in ("loopwm", "deferred"):
        return {}
    path = job.folder / TIMES
    about = {"measures": measures["about"], "exits": measures.get("exits", {}), "horizon": config.sequence_length}
    if path.is_file():
        try:
            before: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if before.get("about") == about:
                return before
        except ValueError:
            pass  # damaged: timed again
    dataset = data_of(job.data, job.variant.told)
    model = load_model(job.folder)
    assert isinstance(model, LoopWM)
    found: dict[str, Any] = {"about": about}
    with torch_threads(1):
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
