"""Settings of the real-time loop."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ControlConfig:
    """The real-time loop.

    Attributes:
        steps_per_goal: control steps for each goal, at least 1; 60 are 3 s at 20 Hz.
        success_m: distance of the measured end effector to the goal at the end that counts as success [m].
        validity_steps: control steps that a plan stays in force without a successor, 1 to 100.
        max_lead_steps: planning may take up to so many control steps, 1 to 20; beyond one, a plan is made only
            every so many steps.
        blend_steps: first actions of a plan that are mixed with those of the plan before, 0 to 100; the reference goes
            on with its position and speed in any case.
        margin_s: a plan must be ready this long before it starts [s], so that the bridge has it in time.
        late_s: an instant that is looked at later than this [s] is left out: no plan is made for it.
        max_state_age_s: oldest measurement to plan from [s].
        max_deviation_rad: distance between the bridge's command and the reference [rad] beyond which the
            loop has the bridge brake, and starts anew from there.
        alarm: slow the arm down where the model's own monitor finds that it does not see what it imagined: "auto"
            where the model has a calibrated monitor, "on" refuses one that has none, "off".
        alarm_from: mismatch from which the arm is slowed, 1 is what 99 of 100 states of normal motion stay below ..
        alarm_full: .. and at which, or where it is no number, only `bridge.cautious_scale` of the speed is left.
        warmup_plans: plans made before the arm moves, so that the first real one is not late.
        threads: torch threads; 1 leaves the other cores to the control process.
    """

    steps_per_goal: int = 60
    success_m: float = 0.05
    validity_steps: int = 5
    max_lead_steps: int = 4
    blend_steps: int = 0
    margin_s: float = 0.005
    late_s: float = 0.01
    max_state_age_s: float = 0.05
    max_deviation_rad: float = 0.05
    alarm: str = "auto"
    alarm_from: float = 1.5
    alarm_full: float = 6.0
    warmup_plans: int = 3
    threads: int = 1

    def __post_init__(self) -> None:
        for name, low, high, unit in (
            ("steps_per_goal", 1, 100_000, ""),
            ("success_m", 1e-6, 10.0, " m"),
            ("validity_steps", 1, 100, ""),
            ("max_lead_steps", 1, 20, ""),
            ("blend_steps", 0, 100, ""),
            ("margin_s", 0.0, 1.0, " s"),
            ("late_s", 0.0, 1.0, " s"),
            ("max_state_age_s", 1e-3, 1.0, " s"),
            ("max_deviation_rad", 1e-6, 1.0, " rad"),
            ("alarm_from", 0.01, 1e6, ""),
            ("alarm_full", 0.01, 1e6, ""),
            ("warmup_plans", 0, 1000, ""),
            ("threads", 1, 1024, ""),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"deploy.{name} is {value}{unit}, allowed [{low:g}, {high:g}]{unit}")
        if self.alarm not in ("auto", "on", "off"):
            raise ValueError(f"deploy.alarm is '{self.alarm}', allowed auto, on, off")
        if not self.alarm_from < self.alarm_full:
            raise ValueError(f"deploy.alarm_full is {self.alarm_full}, allowed above alarm_from = {self.alarm_from}")
