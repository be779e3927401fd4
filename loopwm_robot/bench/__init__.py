"""Benchmarks: one module each, with a dataclass of settings and a function that gives rows and claims."""

from __future__ import annotations

BENCHMARKS: dict[str, tuple[str, str]] = {
    "envs": ("loopwm_robot.bench.envs", "speed beside others, determinism, stability, solvability, pictures"),
    "control_step": ("loopwm_robot.bench.control_step", "planning time by loops and candidates, and where it goes"),
    "demo": ("loopwm_robot.bench.demo", "the whole demo for several seeds: success, precision, time, bridge"),
    "planning": ("loopwm_robot.bench.planning", "planners: overhead, quality at equal evaluations, deadlines"),
    "model": ("loopwm_robot.bench.model", "LoopWM, its ablations and its peers on four data sets"),
    "control": ("loopwm_robot.bench.control", "time to success beside TD-MPC2 and SAC, transfer, Meta-World"),
    "replay": ("loopwm_robot.bench.replay", "time to draw a batch by the size of the replay buffer, beside torchrl"),
    "safety": ("loopwm_robot.bench.safety", "the safety filter against hostile plans and faults, and without it"),
    "bridge": ("loopwm_robot.bench.bridge", "the demo's controller in real time through every driver on its emulator"),
    "realtime": ("loopwm_robot.bench.realtime", "the bridge beside a busy planner: late ticks, cost of the filter"),
}
"""Name: module and what it measures. A module has SCHEMA (dataclass), QUICK (changes for --quick), run(config)."""
