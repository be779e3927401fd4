"""The executor in wall time: late plans, the lead, and a planner's process that fails in many ways."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from odd_planners import Forgetful, Numbered, Odd, refuses
from point_env import PointEnv

from hardware.clock import FakeClock
from loopwm_robot.closed_loop import evaluate
from loopwm_robot.execution.executor import WARM_UP, Executor
from loopwm_robot.execution.interfaces import Answer, Planning, Situation
from loopwm_robot.execution.pace import Pace
from loopwm_robot.execution.process import ExecutionError, PlannerProcess
from loopwm_robot.execution.ticker import Ticker

STILL = np.zeros((2, 2), np.float32)
QUESTION = Situation(np.zeros(3, np.float32), STILL[:1], STILL, 1)
SEEN = np.zeros(3, np.float32)


class Timed(Numbered):
    """Numbered, ready some time of a fake clock after the question."""

    def __init__(self, clock: FakeClock, took: Callable[[int], float]) -> None:
        super().__init__()
        self.clock, self.took, self.ready = clock, took, 0.0

    def ask(self, situation: Situation) -> None:
        super().ask(situation)
        self.began, self.ready = self.clock.now(), self.clock.now() + self.took(len(self.asked) - WARM_UP)

    def answer(self) -> Answer | None:
        if self.clock.now() < self.ready:
            return None
        found = super().answer()
        return None if found is None else Answer(found.actions - WARM_UP, self.ready - self.began)


def run(took: Callable[[int], float], steps: int, longest: int = 4) -> tuple[list[float], Executor]:
    """Actions of an episode with control steps of 0.1 s; took(i): how long plan i takes, from 1."""
    clock = FakeClock(5.0)
    executor = Executor(Timed(clock, took), 2, Pace(0.1, 0.005, longest), ticker=Ticker(0.1, clock))
    executor.reset(SEEN)
    return [round(float(executor.act(SEEN)[0]), 2) for _ in range(steps)], executor


def test_plans_in_time_begin_one_step_later():
    actions, executor = run(lambda i: 0.06, 6)
    assert actions == [0, 1, 2, 3, 4, 5]
    assert executor.late == 0 and executor.statistics()["late_step_fraction"] == 0


def test_a_late_plan_is_dropped_and_the_one_before_goes_on():
    actions, executor = run(lambda i: 0.13 if i == 3 else 0.06, 8)
    assert actions == [0, 1, 2, 2.01, 2.02, 4, 5, 6]
    assert executor.statistics()["late_plans"] == 1


def test_the_measured_latency_sets_the_lead():
    """Warmed up, so the first plan of the first episode knows already."""
    actions, executor = run(lambda i: 0.16, 9)
    assert actions == [0, 0, 1, 1.01, 2, 2.01, 3, 3.01, 4] and executor.late == 0
    actions, executor = run(lambda i: 0.05 if i < 3 else 0.25, 20)
    assert executor.leads[-1] == 3 and executor.late == 2  # until it is no hiccup
    assert executor.planning.asked[-1].committed.shape == (3, 2)


def test_the_ticker_keeps_the_grid_and_says_what_was_late():
    clock = FakeClock(1.0)
    ticker = Ticker(0.1, clock)
    times = []
    for spent in (0.02, 0.099, 0.13, 0.02, 0.5, 0.0):
        ticker.wait()
        times.append(round(clock.now(), 3))
        clock.advance(spent)
    ticker.wait()
    assert times == [1.0, 1.1, 1.2, 1.33, 1.4, 1.9] and ticker.late == 2 and ticker.steps == 7
    assert clock.now() == pytest.approx(2.0)  # counted anew
    ticker.restart()
    clock.advance(7)
    ticker.wait()
    assert ticker.late == 2


def failing(make: Callable[[], Planning], timeout_s: float = 30.0) -> None:
    with PlannerProcess(make, timeout_s) as process:
        process.reset(SEEN)
        process.ask(QUESTION)
        until = time.monotonic() + 30
        while process.answer() is None and time.monotonic() < until:
            time.sleep(0.005)


def test_plans_come_from_another_process():
    with PlannerProcess(Numbered) as process:
        process.reset(SEEN)
        assert process.answer() is None and process.pid != os.getpid()
        result = evaluate(PointEnv(6), Executor(process, 2, Pace(0.1, 0.005, 4), ticker=Ticker(0.02)), [0, 1])
        assert result.execution["plans"] >= 10 and result.plan_time.min() > 0
        process.ask(QUESTION)
        process.reset(SEEN)  # the open question is dropped
        assert process.answer() is None
    process.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_a_process_that_fails_gives_one_clear_error():
    cases = [
        (partial(Odd, "raise"), "the planner failed: ValueError: all candidates are lost"),
        (partial(Odd, "raise in reset"), "the planner failed: ValueError: no such goal"),
        (refuses, "the planner failed: FileNotFoundError: no checkpoint here"),
        (partial(Odd, "exit"), "the planner's process ended with exit code 7; begin again"),
    ]
    for make, message in cases:
        with pytest.raises(ExecutionError) as error:
            failing(make)
        assert str(error.value) == message


def test_a_planner_that_is_killed_or_hangs():
    with PlannerProcess(Numbered) as process:
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(ExecutionError, match="exit code -9"):
            process.reset(SEEN)
    process = PlannerProcess(partial(Odd, "sleep", 1, 60.0))
    process._timeout = 0.2
    process.ask(QUESTION)
    with pytest.raises(ExecutionError, match=r"not answered for 0\.2 s"):
        while process.answer() is None:
            time.sleep(0.02)
    process._process.kill()  # rather than wait for it
    process.close()


def test_an_interruption_ends_the_process():
    class Interrupting(PointEnv):
        def step(self, action):
            if self.t == 3:
                raise KeyboardInterrupt
            return super().step(action)

    with pytest.raises(KeyboardInterrupt), PlannerProcess(Numbered) as process:
        evaluate(Interrupting(), Executor(process, 2, Pace(0.1, 0.005, 4), ticker=Ticker(0.01)), [0])
    assert not process._process.is_alive() and process._process.exitcode == 0


OWNER = """
import time
from odd_planners import Numbered
from loopwm_robot.execution.process import PlannerProcess
if __name__ == "__main__":
    print(PlannerProcess(Numbered).pid, flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_the_process_ends_with_its_owner(tmp_path):
    script = tmp_path / "owner.py"
    script.write_text(OWNER)
    path = os.pathsep.join([str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "helpers")])
    environment = {**os.environ, "PYTHONPATH": path}
    owner = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment)
    assert owner.stdout is not None
    planner = int(owner.stdout.readline())
    owner.kill()
    owner.wait()
    until = time.monotonic() + 10
    while Path(f"/proc/{planner}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(f"/proc/{planner}").exists()


def resident(pid: int) -> int:
    """Memory of a process [pages]."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1])


@pytest.mark.slow
def test_memory_is_steady_over_ten_thousand_plans():
    seen = tuple((np.zeros(31, np.float32), np.zeros(2, np.float32)) for _ in range(4))
    question = Situation(np.zeros(31, np.float32), STILL[:1], STILL, 1, seen)
    with PlannerProcess(Forgetful) as process:

        def plans(count: int) -> None:
            for _ in range(count):
                process.ask(question)
                while process.answer() is None:
                    pass

        plans(1000)
        before = resident(process.pid), resident(os.getpid())
        plans(10_000)
        grown = resident(process.pid) - before[0], resident(os.getpid()) - before[1]
        assert max(grown) * os.sysconf("SC_PAGE_SIZE") < 2_000_000
