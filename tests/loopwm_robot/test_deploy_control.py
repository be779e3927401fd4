"""The real-time loop through the bridge, in lock-step on the simulated Panda and once in real time.

The planner imagines with an exact model of the reference and of the kinematics, so that what goes wrong here
goes wrong in the loop.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch
import yaml

from envs import Arm, ArmKinematics, JointDelta, JointReference, load_arm, observation_groups
from hardware import FakeClock, Mode, sample_plan
from loopwm_robot.agent import MPCAgent
from loopwm_robot.deploy import ArmConfig, ControlConfig, DeployError, make_bridge, run_reaches
from loopwm_robot.deploy.track import Track
from loopwm_robot.execution.pace import Pace
from loopwm_robot.schema import build
from loopwm_robot.types import History
from planners import CEM, ReachPoint, SamplingConfig

ROOT = Path(__file__).parents[2]
ARM = load_arm("panda")
COLUMNS = observation_groups(ARM.n)
POSITION = COLUMNS["ee_pos"]
GOALS = np.array([[0.5, 0.2, 0.4], [0.45, -0.2, 0.3]])
CTRL_DT = 0.05


def arm_config(**changes) -> ArmConfig:
    values = yaml.safe_load((ROOT / "configs/arm/panda_sim.yaml").read_text())
    return build(ArmConfig, values | changes)


class Chain:
    """Forward kinematics of many poses at once."""

    def __init__(self) -> None:
        model = ARM.load_model()
        bodies = [int(model.jnt_bodyid[i]) for i in range(model.njnt)]
        site = int(model.site(ARM.ee_site).id)
        assert int(model.site_bodyid[site]) == bodies[-1] and not model.body_pos[bodies[0] - 1].any()
        self.links = [(model.body_pos[b].copy(), self.matrix(model.body_quat[b])) for b in bodies]
        self.tip = model.site_pos[site].copy()

    @staticmethod
    def matrix(quat: np.ndarray) -> np.ndarray:
        result = np.zeros(9)
        mujoco.mju_quat2Mat(result, quat)
        return result.reshape(3, 3)

    def __call__(self, q: np.ndarray) -> np.ndarray:
        p, r = np.zeros((*q.shape[:-1], 3)), np.broadcast_to(np.eye(3), (*q.shape[:-1], 3, 3))
        for i, (offset, turn) in enumerate(self.links):
            p = p + r @ offset
            c, s, o = np.cos(q[..., i]), np.sin(q[..., i]), np.zeros(q.shape[:-1])
            z = np.stack([c, -s, o, s, c, o, o, o, o + 1], axis=-1).reshape(*q.shape[:-1], 3, 3)
            r = r @ turn @ z
        return p + r @ self.tip


@dataclass
class Imagined:
    positions: np.ndarray

    def observations(self, columns: slice) -> torch.Tensor:
        assert columns.stop - columns.start == 3
        return torch.as_tensor(self.positions, dtype=torch.float32)


class ExactModel:
    """Imagines the reference, which the measured arm follows closely."""

    ctrl_dt = CTRL_DT

    def __init__(self, joint_delta: JointDelta, context: int = 0, arm: Arm = ARM) -> None:
        self.joint_delta, self.context, self.nu = joint_delta, context, arm.n
        self.chain, self.columns = Chain() if arm is ARM else ArmKinematics(arm).ee_pos, observation_groups(arm.n)
        self.handed: list[tuple[np.ndarray, History]] = []

    def encode(self, obs: torch.Tensor, goal: torch.Tensor, history: History | None = None) -> JointReference:
        if history is not None:
            self.handed.append((obs[0].numpy().copy(), history))
        o = obs[0].double().numpy()
        columns = self.columns
        return JointReference(o[columns["q"]] + o[columns["q_error"]], o[columns["ref_dq"]])

    def step(self, state: JointReference, action: torch.Tensor) -> tuple[JointReference, None]:
        return self.joint_delta.advance(state, action[0].double().numpy()), None

    def rollout(self, state: JointReference, actions: torch.Tensor) -> Imagined:
        return Imagined(self.chain(self.joint_delta.rollout(state, actions.double().numpy()).q))


class Agent(MPCAgent):
    """Plans, and can be told to be late: `delays[i]` [s] for the i-th plan after the warm-up."""

    def __init__(
        self, joint_delta: JointDelta, seed: int = 0, context: int = 0, arm: Arm = ARM, rate: float | None = None
    ) -> None:
        config = SamplingConfig(num_samples=64, num_elites=8, keep_elites=4, iterations=2, rate_limit=rate)
        planner = CEM(config, arm.n, CTRL_DT, torch.Generator().manual_seed(seed))
        position = observation_groups(arm.n)["ee_pos"]
        super().__init__(ExactModel(joint_delta, context, arm), planner, lambda goal: ReachPoint(position, goal))
        self.delays: dict[int, float] = {}
        self.calls, self.executed, self.before, self.bridge = 0, [], {}, None

    def plan(self, state, executed=1, previous=None):
        self.executed.append(executed)
        result = super().plan(state, executed, previous)
        if self.calls in self.before:
            self.before[self.calls]()
        if self.calls in self.delays:
            self.bridge.advance(self.delays[self.calls])
        self.calls += 1
        return result


@pytest.fixture
def joint_delta() -> JointDelta:
    return JointDelta(ARM.q_min, ARM.q_max)


@pytest.fixture(scope="module")
def kinematics() -> ArmKinematics:
    return ArmKinematics(ARM)


CONFIG = ControlConfig(warmup_plans=0)


class Setup:
    """A lock-step bridge with an agent; keeps every plan that was submitted."""

    def __init__(self, joint_delta: JointDelta, kinematics: ArmKinematics, config: ArmConfig) -> None:
        self.bridge = make_bridge(config, lockstep=True, clock=FakeClock(50.0))
        self.joint_delta, self.kinematics = joint_delta, kinematics
        self.agent = Agent(joint_delta)
        self.agent.bridge = self.bridge
        self.plans = []
        submit = self.bridge.submit
        self.bridge.submit = lambda plan: (self.plans.append(plan), submit(plan))[1]

    def run(self, goals=GOALS, config: ControlConfig = CONFIG, **more):
        with self.bridge:
            return run_reaches(
                self.agent, self.bridge, self.joint_delta, self.kinematics, POSITION, goals, config, **more
            )

    @property
    def driver(self):
        return self.bridge._link.executor.driver


@pytest.fixture
def setup(joint_delta, kinematics) -> Setup:
    return Setup(joint_delta, kinematics, arm_config())


def no_jump(result) -> None:
    """The audit is independent of the filter; the plans needed no help from the filter either."""
    assert result.audit.limit_violations == 0 and result.audit.interventions == 0
    assert result.audit.worst_speed <= 1.0 + 1e-6 and result.audit.worst_acceleration <= 1.0 + 1e-6


def test_test_kinematics_agree(kinematics):
    q = np.random.default_rng(0).uniform(ARM.q_min, ARM.q_max, (20, ARM.n))
    np.testing.assert_allclose(Chain()(q), kinematics.ee_pos(q), atol=1e-9)


def test_reaches_every_goal_in_lockstep(setup):
    heard = []
    result = setup.run(on_goal=lambda i, goal: heard.append((i, goal.success)), env_id="env", seed=7)
    assert result.success.all() and (result.final_distance < 0.03).all()
    assert heard == [(0, True), (1, True)]
    assert result.deadline_misses == 0 and result.reseeds == 0 and result.instants == 120
    no_jump(result)
    assert setup.agent.executed == [1] * 120
    first, second = result.episodes
    assert first.env_id == "env" and (first.seed, second.seed) == (7, 8)
    np.testing.assert_array_equal(first.obs[-1], second.obs[0])  # the second goal begins where the first ended
    np.testing.assert_array_equal(first.action, result.goals[0].requested)
    np.testing.assert_allclose(first.reward, -np.linalg.norm(first.achieved[1:] - first.goal, axis=1), atol=1e-6)
    assert setup.bridge.mode is Mode.CLOSED


def test_reference_is_what_the_bridge_applies(setup, joint_delta):
    """Bookkeeping by JointDelta alone, from the recorded actions, against what the bridge applied."""
    result = setup.run(GOALS[:1])
    records, t0 = result.records, setup.plans[0].t0 - CTRL_DT
    home = records["applied"][0]
    refs = joint_delta.rollout(JointReference(home, np.zeros(ARM.n)), result.episodes[0].action)
    track = Track(0, np.vstack([home, refs.q]), np.vstack([0 * home, refs.dq]), result.episodes[0].action)
    instants = (records["t"] - t0) / CTRL_DT
    inside = (instants >= 0) & (instants <= len(result.episodes[0]))
    assert inside.sum() == 751
    expected = np.array([track.position(i, CTRL_DT) for i in instants[inside]])
    assert np.abs(records["applied"][inside] - expected).max() < 1e-9  # rad
    on_knot = inside & (np.abs(instants - np.round(instants)) < 1e-6)
    assert on_knot.sum() == 31  # every other one: 12.5 ticks a control step
    np.testing.assert_array_equal(records["requested"][inside], records["applied"][inside])
    # What the observation says about the reference is the same, to float32.
    obs = result.episodes[0].obs
    np.testing.assert_allclose(obs[1:, COLUMNS["ref_dq"]], refs.dq, atol=1e-6)
    np.testing.assert_allclose(obs[1:, COLUMNS["q"]] + obs[1:, COLUMNS["q_error"]], refs.q, atol=1e-6)


def test_plans_end_at_rest_and_say_until_when(setup):
    setup.run(GOALS[:1], replace(CONFIG, steps_per_goal=5, validity_steps=3))
    for plan in setup.plans:
        assert plan.ends_at_rest and plan.horizon > 6
        assert plan.valid_until == pytest.approx(plan.t0 + 3 * CTRL_DT)
        np.testing.assert_array_equal(sample_plan(plan, 10.0)[1], 0.0)


@pytest.mark.parametrize("delay", [0.046, 0.055, 0.12], ids=["just late", "a bit over", "two instants over"])
def test_a_late_plan_is_dropped_and_the_old_one_goes_on(setup, delay):
    setup.agent.delays = {6: delay}
    result = setup.run(GOALS[:1])
    skipped = max(int((delay - CONFIG.late_s) / CTRL_DT), 0)
    assert result.deadline_misses == 1 + skipped and result.reseeds == 0
    assert result.metrics["plans_expired"] == 0
    assert setup.agent.executed[6:8] == [1, 1 + skipped]
    no_jump(result)
    np.testing.assert_array_equal(result.episodes[0].action, result.goals[0].requested)
    assert result.success.all()
    assert result.summary()["deadline_met_fraction"] == pytest.approx(1 - result.deadline_misses / 60)


def test_limits_follow_on_what_is_carried_out_also_after_late_plans(setup, joint_delta):
    setup.agent = Agent(joint_delta, rate=0.1)
    setup.agent.bridge, setup.agent.delays = setup.bridge, dict.fromkeys(range(3, 40, 3), 0.047)
    result = setup.run(GOALS[:1], replace(CONFIG, steps_per_goal=40))
    assert result.deadline_misses >= 10 and result.reseeds == 0
    change = np.diff(result.goals[0].requested, axis=0, prepend=np.zeros((1, ARM.n)))
    assert 0.09 < np.abs(change).max() <= 0.1 + 1e-6  # action units
    no_jump(result)


def test_blended_plans_are_followed_exactly_too(setup):
    result = setup.run(GOALS[:1], replace(CONFIG, blend_steps=3))
    plain = Setup(setup.joint_delta, setup.kinematics, arm_config()).run(GOALS[:1])
    no_jump(result)
    assert result.success.all() and result.reseeds == 0
    changes = [np.abs(np.diff(r.goals[0].requested, axis=0)).mean() for r in (result, plain)]
    assert changes[0] < changes[1]
    np.testing.assert_array_equal(result.episodes[0].action, result.goals[0].requested)


def test_a_slow_planner_looks_further_ahead(setup):
    """70 ms a plan: too slow for 20 Hz, so every plan begins two steps ahead; still exact, still on goal."""
    setup.agent.delays = dict.fromkeys(range(100), 0.07)
    result = setup.run(GOALS)
    no_jump(result)
    assert result.success.all() and result.reseeds == 0 and result.metrics["plans_expired"] == 0
    assert result.ready == pytest.approx(result.instants / 2, abs=2)
    assert set(setup.agent.executed[3:]) <= {1, 2}
    for episode, goal in zip(result.episodes, result.goals, strict=True):
        np.testing.assert_array_equal(episode.action, goal.requested)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "delays",
    [
        pytest.param({}, id="in time", marks=SLOW),
        pytest.param({6: 1.0}, id="braked"),
        pytest.param({6: 0.12, 30: 0.07}, id="late", marks=SLOW),
    ],
)
def test_a_model_with_context_is_told_what_the_bridge_applied(setup, joint_delta, delays):
    """From goal to goal, and also where the arm braked instead of following."""
    setup.agent = Agent(joint_delta, context=30)
    setup.agent.bridge, setup.agent.delays = setup.bridge, delays
    result = setup.run(GOALS, replace(CONFIG, warmup_plans=2))
    first, second = result.episodes
    obs = np.concatenate([first.obs, second.obs[1:]])
    action = np.concatenate([first.action, second.action])
    warm_up, later = setup.agent.model.handed[:2], setup.agent.model.handed[2:]
    assert not any(history.mask.any() for _, history in warm_up) and len(later) == len(result.plan_time)
    instants = [int(np.flatnonzero((obs == seen).all(axis=1))[0]) for seen, _ in later]
    assert instants[0] == 0 and instants == sorted(set(instants)) and instants[-1] > 60
    for k, (_, history) in zip(instants, later, strict=True):
        known = min(k, 30)
        assert history.mask[0].tolist() == [0.0] * (30 - known) + [1.0] * known
        assert np.array_equal(history.obs[0, 30 - known :], obs[k - known : k])
        assert np.array_equal(history.action[0, 30 - known :], action[k - known : k])
    if delays == {6: 1.0}:  # what was told is not what was asked for
        differing = np.abs(action - np.concatenate([goal.requested for goal in result.goals])).max(axis=1) > 1e-3
        assert any(differing[max(0, k - 30) : k].any() for k in instants)


def test_pace_follows_the_planner():
    pace = Pace(0.05, 0.005, longest=3)
    for seconds, lead in ((0.045, 1), (0.046, 1), (0.04, 1), (0.06, 1), (0.06, 2), (1.0, 2), (1.0, 3)):
        pace.took(seconds)
        assert pace.lead == lead
    for expected in (3,) * 9 + (2,) * 10 + (1,) * 3:
        pace.took(0.01)
        assert pace.lead == expected


def test_observations_of_missed_instants_come_from_the_records(setup):
    setup.agent.delays = {6: 0.12}
    result = setup.run(GOALS[:1])
    obs, t0 = result.episodes[0].obs, setup.plans[0].t0 - CTRL_DT
    rows = result.records
    for k in range(61):
        row = rows[np.argmin(np.abs(rows["t"] - (t0 + k * CTRL_DT)))]
        # Half a tick at 1.5 rad/s is 3 mrad; both are extrapolated to the instant.
        np.testing.assert_allclose(obs[k, COLUMNS["q"]], row["q"], atol=5e-3)


def test_a_silent_planner_lets_the_arm_brake_and_then_goes_on(setup):
    setup.agent.delays = {6: 1.0}
    result = setup.run(GOALS[:1])
    kinds = [event.kind for event in result.events]
    assert "plan_expired" in kinds and result.metrics["plans_expired"] == 1 and result.reseeds == 1
    no_jump(result)
    assert result.success.all()
    episode, requested = result.episodes[0], result.goals[0].requested
    assert len(episode) == 60
    # The arm rests in the end of the silence, whatever was planned; the record tells the two apart.
    assert np.abs(episode.obs[22, COLUMNS["ref_dq"]]).max() == 0.0
    assert (np.abs(episode.action - requested) > 1e-3).any()
    restart = next(e.t for e in result.events if e.kind == "plan_expired")
    moving = result.records[result.records["t"] > restart + 0.5]
    assert np.abs(moving["applied_dq"]).max() > 0.1


def test_the_reference_after_a_brake_begins_at_the_applied_command(setup):
    setup.agent.delays = {6: 1.0}
    result = setup.run(GOALS[:1])
    after = next(plan for plan in setup.plans[6:] if not plan.dq[0].any())
    row = result.records[np.searchsorted(result.records["t"], after.t0 - 0.01)]
    np.testing.assert_allclose(after.q[0], row["applied"], atol=1e-12)
    np.testing.assert_array_equal(after.dq[0], 0.0)


def test_a_hold_by_somebody_else_is_noticed(setup):
    setup.agent.before = {8: lambda: setup.bridge.hold()}
    result = setup.run(GOALS[:1])
    assert result.reseeds >= 1 and result.success.all()
    assert result.audit.limit_violations == 0


def test_a_refused_plan_is_noticed(setup):
    queue = setup.bridge._link.executor.plans
    offer = queue.offer

    def refuse_once(plan, now, seen_at):
        queue.offer = offer
        return "not today"

    setup.agent.before = {9: lambda: setattr(queue, "offer", refuse_once)}
    result = setup.run(GOALS[:1])
    assert result.metrics["plans_rejected"] == 1 and result.reseeds == 1
    assert "held" in [event.kind for event in result.events]
    assert result.success.all() and result.audit.limit_violations == 0


def test_a_plan_from_elsewhere_is_stopped(setup):
    """A command that is not where the books say is a reason to brake."""

    def meddle() -> None:
        q = setup.bridge.snapshot().applied.applied
        setup.bridge._link.submit(setup.bridge.make_plan(np.array([q, q + 0.2]), dt=1.0, validity=1.0))
        setup.bridge.advance(0.2)

    setup.agent.before = {8: meddle}
    result = setup.run(GOALS[:1])
    assert result.reseeds >= 1 and result.success.all()
    assert result.audit.limit_violations == 0


def test_a_fault_ends_the_run_with_the_arm_at_rest(setup):
    setup.agent.before = {8: lambda: setup.driver.inject(kind="device_fault", text="emergency stop")}
    with pytest.raises(DeployError, match="emergency stop") as caught:
        setup.run()
    result = caught.value.result
    assert result is not None and result.goals == [] and result.events[-1].kind in ("fault", "closed")
    assert result.instants > 0 and not result.records["applied_dq"][-1].any()
    assert "success_rate" not in result.summary() and result.summary()["faults"] == 1
    assert result.audit.limit_violations == 0


def test_a_fault_noticed_while_submitting_reads_the_same(setup):
    """The bridge refuses a plan before the loop looks again."""

    def fail() -> None:
        setup.driver.inject(kind="device_fault", text="emergency stop")
        setup.bridge.advance(0.02)

    setup.agent.before = {8: fail}
    with pytest.raises(DeployError, match=r"latched a fault: device_fault: emergency stop; look at the arm"):
        setup.run()


def test_a_dead_control_loop_ends_the_run(setup, monkeypatch):
    """Time goes on, but nobody ticks."""
    link = setup.bridge._link

    def freeze() -> None:
        monkeypatch.setattr(link, "sleep_until", link.clock.sleep_until)
        setup.bridge.advance(2.0)

    setup.agent.before = {8: freeze}
    with setup.bridge as bridge:
        with pytest.raises(DeployError, match=r"last ticked 2\.\d s ago"):
            run_reaches(setup.agent, bridge, setup.joint_delta, setup.kinematics, POSITION, GOALS, CONFIG)
        monkeypatch.undo()


def test_a_stop_by_somebody_else_ends_the_run(setup):
    setup.agent.before = {8: lambda: setup.bridge.stop(wait=False)}
    with pytest.raises(DeployError, match="somebody stopped"):
        setup.run()


def test_stale_measurements_end_in_a_clear_error(setup):
    setup.agent.before = {8: lambda: setup.driver.inject(kind="freeze")}
    with pytest.raises(DeployError, match="disconnected"):
        setup.run()


def test_short_dropouts_are_survived(setup):
    setup.agent.before = {8: lambda: setup.driver.inject(kind="freeze", duration_s=0.07)}
    result = setup.run(GOALS[:1])
    assert {"stale", "fresh"} <= {event.kind for event in result.events}
    assert result.reseeds == 1 and result.success.all()
    assert result.audit.limit_violations == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_error_of_the_planner_stops_the_arm(setup, error):
    def fail() -> None:
        raise error

    setup.agent.before = {8: fail}
    with pytest.raises(error):
        setup.run()
    records = setup.bridge.records()
    assert not records["applied_dq"][-1].any() and np.abs(records["applied_dq"]).max() > 0.1


def test_a_moving_arm_is_not_taken_over(setup):
    with setup.bridge as bridge:
        bridge.enable()
        bridge.start()
        q = bridge.snapshot().applied.applied
        bridge.submit(bridge.make_plan(np.array([q, q + 0.2]), dt=1.0))
        bridge.advance(0.2)
        with pytest.raises(DeployError, match="hold"):
            setup.run()


def test_wrong_requests_move_nothing(setup, kinematics, joint_delta):
    for goals in (np.zeros((0, 3)), np.zeros(3), np.full((1, 3), np.nan)):
        with pytest.raises(ValueError, match="goals"):
            setup.run(goals)
    setup.agent.model = object()
    with pytest.raises(ValueError, match="cannot step"):
        setup.run()
    assert not len(setup.bridge.records())
    reordered = arm_config(joint_names=["joint2", "joint1", *ARM.joint_names[2:]])
    with pytest.raises(ValueError, match="in this order"):
        run_reaches(
            Agent(joint_delta),
            make_bridge(reordered, lockstep=True),
            joint_delta,
            kinematics,
            POSITION,
            GOALS,
            CONFIG,
        )


def test_lockstep_runs_repeat(joint_delta, kinematics):
    runs = [Setup(joint_delta, kinematics, arm_config()).run(GOALS[:1]) for _ in range(2)]
    np.testing.assert_array_equal(runs[0].episodes[0].obs, runs[1].episodes[0].obs)
    np.testing.assert_array_equal(runs[0].records["applied"], runs[1].records["applied"])


def test_warm_up_plans_are_not_counted(setup):
    threads = torch.get_num_threads()
    result = setup.run(GOALS[:1], replace(CONFIG, steps_per_goal=3, warmup_plans=4))
    assert setup.agent.calls == 7 and len(result.plan_time) == 3
    assert torch.get_num_threads() == threads


def test_summary_has_the_documented_keys(setup):
    summary = setup.run(GOALS[:1]).summary("bridge.")
    for key in (
        "success_rate",
        "episodes",
        "final_distance_m_median",
        "plan_time_s_p50",
        "plan_time_s_p95",
        "plan_time_s_p99",
        "deadline_met_fraction",
        "control_rate_hz",
        "limit_violations",
        "deadline_misses",
        "tick_misses",
        "tick_lateness_s_p99",
        "interventions",
    ):
        assert np.isfinite(summary[f"bridge.{key}"])
    assert summary["bridge.control_rate_hz"] == pytest.approx(20.0)


@pytest.mark.parametrize(
    ("key", "value"),
    [("steps_per_goal", 0), ("success_m", 0.0), ("validity_steps", 101), ("margin_s", -1.0), ("threads", 0)],
)
def test_control_settings_out_of_range(key, value):
    with pytest.raises(ValueError, match=rf"deploy\.{key} is {value}.*allowed"):
        ControlConfig(**{key: value})


def test_two_goals_in_real_time(joint_delta, kinematics):
    """Two short goals with the control process; nothing here depends on the machine being fast."""
    config = arm_config(bridge={"realtime": "off"})
    control = ControlConfig(steps_per_goal=25)
    with make_bridge(config) as bridge:
        result = run_reaches(Agent(joint_delta), bridge, joint_delta, kinematics, POSITION, GOALS, control)
        assert bridge.mode is Mode.ENABLED
    assert len(result.goals) == 2 and result.audit.limit_violations == 0 and result.audit.ticks > 0
    assert all(np.isfinite(episode.obs).all() and len(episode) == 25 for episode in result.episodes)
    assert 0 <= result.deadline_misses <= result.instants == 50
    assert all(np.isfinite(value) for value in result.summary().values())
