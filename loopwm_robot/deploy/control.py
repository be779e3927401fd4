"""The real-time loop: observe, plan from where the arm will be, hand the plan over before it starts.

At control instant t_k the action a_k of the interval to t_k+1 is already committed, and so is the reference,
since the bridge carries out plans exactly. The model imagines a_k once; the planner plans from there; its
first action begins at t_k+1. So planning has a whole control step, and the model is told what the arm does:

    t_k: o_k --encode--> h --step a_k--> h' --plan--> a_k+1, a_k+2, .. --(t0 = t_k+1)--> bridge

Where planning takes longer, it looks further ahead, over as many committed actions (`execution/pace.py`). A model with
context also gets the transitions before o_k, with the actions that the bridge really applied.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from envs import ArmKinematics, JointDelta
from hardware import ArmBridge, ArmState, Mode
from planners import Plan

from ..execution.ahead import AheadAgent, imagine
from ..execution.line import blend
from ..execution.pace import Pace
from ..models.simulator import SimulatorModel
from ..threads import torch_threads
from ..types import Float32
from .alarm import Alarm
from .control_config import ControlConfig
from .errors import DeployError
from .observer import TAKE_OVER_TICKS, Look, Observer
from .rest import as_failure, bring_to_rest, undisturbed
from .result import DeployResult, GoalResult
from .trace import Trace
from .track import Track

OnGoal = Callable[[int, GoalResult], None]
"""Called with the number of a goal and its result, in the spare time of a later control step."""

OnEnd = Callable[[DeployResult], None]
"""Called once with what was recorded, however the run ends: the arm rests, and Ctrl-C waits until it returns."""


class Planning(AheadAgent, Protocol):
    """What the loop asks of an agent; `loopwm_robot.agent.MPCAgent` fits, its model must have `step`."""

    def reset(self, goal: Float32, *, keep_memory: bool = False) -> None: ...


def run_reaches(
    agent: Planning,
    bridge: ArmBridge,
    joint_delta: JointDelta,
    kinematics: ArmKinematics,
    position_columns: slice,
    goals: ArrayLike,
    config: ControlConfig,
    on_goal: OnGoal | None = None,
    on_end: OnEnd | None = None,
    *,
    env_id: str = "",
    seed: int = 0,
) -> DeployResult:
    """Reach one goal after another; each begins where the arm is then.

    Args:
        agent: plans; its model can `step`.
        bridge: connected; it is enabled and started here, and stopped at the end. In lock-step planning takes
            no time.
        joint_delta: what an action means.
        kinematics: of the arm.
        position_columns: columns of the end effector [m] in the observation.
        goals: (E, 3) [m].
        config: settings.
        on_goal: called after each goal.
        on_end: called with what was recorded, also when the run ends in an error or by Ctrl-C.
        env_id: environment that the recorded episodes name.
        seed: of the recorded episodes: goal i gets seed + i.

    Raises:
        ValueError: the goals or the joints do not fit; nothing has moved.
        DeployError: a fault, a stop by somebody else or a lost control process; the arm is at rest, and
            `DeployError.result` holds what was recorded.
    """
    points = np.array(goals, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or not len(points) or not np.isfinite(points).all():
        raise ValueError(f"goals have shape {points.shape}, allowed (E, 3), E >= 1, finite numbers [m]")
    if kinematics.arm.joint_names != bridge.limits.names:
        raise ValueError(
            f"the bridge has joints {list(bridge.limits.names)}, "
            f"allowed {list(kinematics.arm.joint_names)}, in this order"
        )
    if not hasattr(agent.model, "step") or isinstance(agent.model, SimulatorModel):
        raise ValueError(
            f"the agent's model {type(agent.model).__name__} cannot step from what is observed of the arm to the next "
            "state, which planning ahead needs; use planner.model=learned"
        )
    observer = Observer(bridge, kinematics, joint_delta.ctrl_dt, config)
    alarm = Alarm.of(agent.model, config, bridge.config.cautious_scale)
    loop = _Loop(agent, bridge, joint_delta, observer, config, alarm)
    traces = [
        Trace(point, position_columns, joint_delta, config.success_m, env_id, seed + i)
        for i, point in enumerate(points)
    ]
    results: list[GoalResult] = []

    def finished(result: GoalResult) -> None:
        results.append(result)
        if on_goal is not None:
            number = len(results) - 1
            loop.in_spare_time(lambda: on_goal(number, result))

    try:
        with torch_threads(config.threads):
            loop.prepare(traces[0])
            for trace in traces:
                finished(loop.reach(trace))
            loop.spare_time()
    except BaseException as error:
        with undisturbed():
            bring_to_rest(bridge)
            failure, result = as_failure(bridge, error), loop.collect(results)
            if isinstance(failure, DeployError):
                failure.result = result
            try:
                if on_end is not None:
                    on_end(result)
            except Exception as lost:  # the first error is the one to tell
                failure.add_note(str(lost))
        raise failure from (None if failure is error else error)
    with undisturbed():
        bring_to_rest(bridge)
        result = loop.collect(results)
        if on_end is not None:
            on_end(result)
    return result


class _Loop:
    """One run: the tracks that the bridge follows, and what each control instant does about them."""

    def __init__(
        self,
        agent: Planning,
        bridge: ArmBridge,
        joint_delta: JointDelta,
        observer: Observer,
        config: ControlConfig,
        alarm: Alarm | None,
    ) -> None:
        self.alarm = alarm
        self.agent, self.bridge, self.joint_delta, self.observer = agent, bridge, joint_delta, observer
        self.config = config
        self.pace = Pace(joint_delta.ctrl_dt, config.margin_s, min(config.max_lead_steps, config.validity_steps))
        self.plan_time: list[float] = []
        self.k = self.ready = 0
        self._planned_for = 0
        self._last: ArrayLike = np.zeros(joint_delta.nu)  # action of the interval before
        self._spare: list[Callable[[], None]] = []

    def prepare(self, first: Trace) -> None:
        """Enable the arm, let the planner warm up on the first goal, begin to count time. Nothing moves."""
        if self.bridge.mode is Mode.CONNECTED:
            self.bridge.enable()
        if self.bridge.mode is Mode.ENABLED:
            self.bridge.start()
        self.observer.begin(lead=0.0)
        look = self.observer.look(0)
        self.agent.reset(first.goal)
        took: list[float] = []
        for _ in range(self.config.warmup_plans):
            began = self.bridge.now()
            self._plan(look.obs, [np.zeros(self.joint_delta.nu)], 1, None)
            took.append(self.bridge.now() - began)
        for seconds in took[1:]:  # the first one loads and compiles
            self.pace.took(seconds)
        gc.collect()  # now rather than in mid-motion
        self.observer.begin(lead=2.0 * self.bridge.config.dt)

    def reach(self, trace: Trace) -> GoalResult:
        """Carry out one goal. The arm goes on, so the agent keeps what it has seen."""
        self.agent.reset(trace.goal, keep_memory=True)
        before = self.observer.look(self.k)
        trace.begin(before)
        for _ in range(self.config.steps_per_goal):
            requested = self._instant(self.k)
            self._last = requested
            self.k += 1
            after = self.observer.look(self.k)
            self.agent.observe(before.obs, trace.add(requested, after))
            before = after
        return trace.result()

    def in_spare_time(self, work: Callable[[], None]) -> None:
        """Do something once the next plan is on its way."""
        self._spare.append(work)

    def spare_time(self) -> None:
        """Do what waits."""
        waiting, self._spare = self._spare, []
        for work in waiting:
            work()

    def collect(self, results: Sequence[GoalResult]) -> DeployResult:
        """Gather what was recorded."""
        bridge = self.bridge
        return DeployResult(
            list(results),
            self.joint_delta.ctrl_dt,
            np.array(self.plan_time),
            self.k,
            self.ready,
            self.observer.reseeds,
            bridge.metrics(),
            bridge.audit(),
            bridge.limits,
            bridge.records(),
            bridge.events(),
            np.array([] if self.alarm is None else self.alarm.scores, dtype=np.float64).reshape(-1, 3),
        )

    def _instant(self, k: int) -> Float32:
        """Plan at control instant k; return the action that is committed for the interval from k to k + 1."""
        look, track = self.observer.look(k), self.observer.track(k)
        scale = self._watch(look, track)
        if track is None:  # the bridge brakes; there is no telling where it will be
            return np.zeros(self.joint_delta.nu, np.float32)
        if look.state is not None and not self.observer.waiting(k):
            lead = max(lead for lead in range(1, self.pace.lead + 1) if lead == 1 or track.follows(k + lead))
            begin = k + lead
            began = self.bridge.now()
            committed = [track.action(k + i) for i in range(lead)]
            plan = self._plan(look.obs, committed, begin - self._planned_for, k)
            self._planned_for = begin
            ready = self.bridge.now()
            self.plan_time.append(ready - began)
            self.pace.took(ready - self.observer.time(k))
            if ready <= self.observer.time(begin) - self.config.margin_s:
                ref = track.ref(begin)
                # Slower as a whole, along the same way: else the bridge would have to cut single joints short.
                actions = scale * plan.actions.numpy()
                if steps := self.config.blend_steps:
                    actions = blend(actions, np.array([track.action(begin + i) for i in range(steps)]))
                self._submit(Track.planned(begin, ref, actions, self.joint_delta), k, look.state)
        self.spare_time()
        return track.action(k).astype(np.float32)

    def _watch(self, look: Look, track: Track | None) -> float:
        """Compare what is seen with what was imagined for now; tell the bridge how fast the arm may be.

        Returns:
            share of the speed for plans made from here.
        """
        if self.alarm is None:
            return look.speed_scale
        score = self.alarm.score(look.k, look.obs) if look.on_track else None
        if track is None or not look.on_track:  # no telling what the arm does until it rests
            self.alarm.forget()
        elif look.state is None or self.observer.waiting(look.k):  # no plan from here: imagine on
            self.alarm.go_on(look.k, track.action(look.k))
        if score is not None:
            self.bridge.slow(self.alarm.judge(look.k, score))
        return min(self.alarm.scale, look.speed_scale)

    def _plan(self, obs: Float32, committed: Sequence[ArrayLike], executed: int, k: int | None) -> Plan:
        """Imagine the committed actions, each (nu,), and plan from there; k: instant of obs, None in rehearsal."""
        states = imagine(self.agent, obs, committed)
        if k is not None and self.alarm is not None:
            self.alarm.expect(k + 1, states[1], 1)
        return self.agent.plan(states[-1], executed, np.array([self._last, *committed], np.float32)[-2:])

    def _submit(self, track: Track, k: int, seen: ArmState) -> None:
        ctrl_dt = self.joint_delta.ctrl_dt
        # The bridge keeps one waiting plan: the one that starts now must have taken over before the next is sent.
        self.bridge.sleep_until(self.observer.time(k) + TAKE_OVER_TICKS * self.bridge.config.dt)
        plan = self.bridge.make_plan(
            track.q,
            track.dq,
            dt=ctrl_dt,
            t0=self.observer.time(track.start),
            validity=self.config.validity_steps * ctrl_dt,
            obs_seq=seen.seq,
        )
        self.bridge.submit(plan)
        self.observer.expect(track.submitted(plan.plan_id, self.config.validity_steps))
        self.ready += 1
