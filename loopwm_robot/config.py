"""One dataclass for each configuration group: default, unit, range check. YAML files only change values.

Hydra stops in `loopwm_robot.cli`; everything else takes these dataclasses or plain arguments.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from planners import ALGORITHMS, MEASURES, SamplingConfig, Term, make_terms

from .device import check_device
from .execution.interfaces import COMPENSATIONS
from .models.actor_critic import ActorCriticConfig
from .models.block import FORMS, GAINS, NORMS
from .models.ensemble import EnsembleConfig
from .models.images import ImageConfig
from .models.latent_mlp import LatentMLPConfig
from .models.loop_control import DEPTHS
from .models.rssm import RSSMConfig
from .models.simulator_config import SimulatorConfig
from .models.tokens import TOKEN_SCHEMES
from .training.gate import GateConfig
from .training.trainer import UpdateConfig

MAX_SEED = 2**32 - 1
"""Largest seed that every random generator in use accepts."""


def config_dir() -> Path:
    """Folder of the YAML files: inside the package in a wheel, beside it in a clone. Always absolute.

    Raises:
        FileNotFoundError: neither exists; the installation is broken.
    """
    here = Path(__file__).resolve().parent
    for candidate in (here / "configs", here.parent / "configs"):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"configs is in neither {here} nor {here.parent}; install loopwm-robot again")


def _number(name: str, value: float, low: float, high: float = math.inf) -> None:
    if not (low <= value <= high and math.isfinite(value)):
        allowed = f"[{low:g}, {high:.12g}]" if math.isfinite(high) else f"finite numbers >= {low:g}"
        raise ValueError(f"{name} is {value}, allowed {allowed}")


def _choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is '{value}', allowed {', '.join(allowed)}")


CONTROL_MODES = (
    "joint_delta",
    "cartesian_delta",
    "joint_position",
    "joint_velocity",
    "joint_torque",
    "cartesian_position",
)
"""Those of `envs.control_modes`, which brings MuJoCo along."""
OBS_MODES = ("vector", "image", "mixed")


@dataclass(frozen=True)
class EnvConfig:
    """The environment.

    Attributes:
        id: Gymnasium id.
        control_mode: joint_delta, cartesian_delta, joint_position, joint_velocity, joint_torque or cartesian_position;
            empty for environments that are not ours.
        reward: dense or sparse; empty for environments that are not ours.
        obs_mode: vector (what the environment gives, which may be pictures where it is not ours), or of ours image
            (pictures instead of the vector) or mixed (both).
        image_size: pixels of a side of these pictures, an even number from 16 to 512.
        arm: path of a YAML file that describes an arm of your own, or the name of one from another package (jaco,
            fetch, iiwa, kinova3, pusher), to take the place of the id's; empty for that arm.
        randomize: hidden dynamics drawn in each episode: training, unseen, or the path of a YAML file of ranges, as
            `loopwm identify` writes; empty for those of the id.
    """

    id: str = "LoopWM/PandaReach-v0"
    control_mode: str = "joint_delta"
    reward: str = "dense"
    obs_mode: str = "vector"
    image_size: int = 64
    arm: str = ""
    randomize: str = ""

    def __post_init__(self) -> None:
        _choice("env.obs_mode", self.obs_mode, OBS_MODES)
        _number("env.image_size", self.image_size, 16, 512)
        if self.image_size % 2:
            raise ValueError(f"env.image_size is {self.image_size} pixels, allowed even numbers in [16, 512]")
        _choice("env.control_mode", self.control_mode, (*CONTROL_MODES, ""))
        _choice("env.reward", self.reward, ("dense", "sparse", ""))

    def kwargs(self) -> dict[str, str]:
        """Keyword arguments of gymnasium.make."""
        named = {"arm": self.arm, "control_mode": self.control_mode, "reward": self.reward, "randomize": self.randomize}
        return {key: value for key, value in named.items() if value}


LOOPED = ("loopwm", "one_pass", "untied")
"""Kinds of model that are LoopWM or ablations of it."""
KINDS = (*LOOPED, "latent_mlp", "rssm", "ensemble")
EXITS = ("fixed", "converged", "second_order", "gate", "doubling")


@dataclass(frozen=True)
class ModelConfig:
    """The dynamics model. All kinds but the last three are LoopWM or ablations of it and share its settings.

    Attributes:
        kind: loopwm; one_pass (the same block run once), untied (mean_loops blocks of their own), latent_mlp (in the
            manner of TD-MPC2), rssm (DreamerV3) or ensemble (PETS).
        latent_dim: width d of a token, a multiple of heads.
        tokens: what a token stands for: single (all of the observation), bodies (the robot and each object) or parts
            (each joint, the end effector, each object).
        heads: attention heads, at least 1.
        mlp_ratio: hidden width of the feed-forward layer in units of latent_dim, above 0.
        context: transitions of history that hidden dynamics (payload, friction, delay) are inferred from; 0 is none.
        form: of the loop: implicit, paper or step_consistent.
        gain: input gain of a loop: zoh (exact zero-order hold) or euler.
        norm: of the feed-forward layer: hidden, pre or sandwich.
        depth: distribution of the loop count in training: poisson, lognormal_poisson or fixed.
        mean_loops: mean mu of the loop count in training, at least 1.
        max_loops: largest loop count in training and with the exits that stop on their own, at least 1.
        latent_noise: deviation of noise on each latent state in training, in units of its RMS, at least 0.
        exit: fixed (plan_loops loops), or per sample converged (by relative latent change), second_order (by its
            second-order difference), gate (by the trained exit gate) or doubling (by the difference of two depths, for
            form step_consistent).
        plan_loops: loops at inference with exit "fixed", at least 1.
        exit_threshold: relative change below which the exits "converged" and "second_order" stop, and mean difference
            of what will be observed [standard deviations] below which "doubling" does, at least 0; none takes the one
            that was calibrated on held-out data after training.
        gate_threshold: the exit "gate" stops above it, in [0, 1]; none takes the calibrated one.
        image: how pictures enter and leave the model, where there are some.
        actor_critic: a policy and a value learned with the model, for tasks that reach beyond the planner's horizon.
        latent_mlp, rssm, ensemble: settings of these kinds.
    """

    kind: str = "loopwm"
    latent_dim: int = 64
    tokens: str = "single"
    heads: int = 4
    mlp_ratio: float = 2.0
    context: int = 0
    form: str = "implicit"
    gain: str = "zoh"
    norm: str = "hidden"
    depth: str = "poisson"
    mean_loops: float = 3.0
    max_loops: int = 12
    latent_noise: float = 0.0
    exit: str = "fixed"
    plan_loops: int = 2
    exit_threshold: float | None = None
    gate_threshold: float | None = None
    image: ImageConfig = field(default_factory=ImageConfig)
    actor_critic: ActorCriticConfig = field(default_factory=ActorCriticConfig)
    latent_mlp: LatentMLPConfig = field(default_factory=LatentMLPConfig)
    rssm: RSSMConfig = field(default_factory=RSSMConfig)
    ensemble: EnsembleConfig = field(default_factory=EnsembleConfig)

    def __post_init__(self) -> None:
        for name, allowed in (
            ("kind", KINDS),
            ("tokens", TOKEN_SCHEMES),
            ("form", FORMS),
            ("gain", GAINS),
            ("norm", NORMS),
            ("depth", DEPTHS),
            ("exit", EXITS),
        ):
            _choice(f"model.{name}", getattr(self, name), allowed)
        _number("model.latent_dim", self.latent_dim, 1, 8192)
        _number("model.heads", self.heads, 1, 128)
        _number("model.mlp_ratio", self.mlp_ratio, 0.1, 64)
        _number("model.context", self.context, 0, 1024)
        _number("model.mean_loops", self.mean_loops, 1, 256)
        _number("model.max_loops", self.max_loops, 1, 1024)
        _number("model.latent_noise", self.latent_noise, 0, 10)
        _number("model.plan_loops", self.plan_loops, 1, 1024)
        if self.exit_threshold is not None:
            _number("model.exit_threshold", self.exit_threshold, 0)
        if self.gate_threshold is not None:
            _number("model.gate_threshold", self.gate_threshold, 0, 1)
        if self.latent_dim % self.heads:
            raise ValueError(
                f"model.latent_dim is {self.latent_dim}, allowed multiples of model.heads = {self.heads}"
            )
        if (self.form == "step_consistent") != (self.exit == "doubling") and self.exit != "fixed":
            fitting = "fixed, doubling" if self.form == "step_consistent" else "fixed, converged, second_order, gate"
            raise ValueError(f"model.exit is '{self.exit}' with model.form '{self.form}', allowed {fitting}")


@dataclass(frozen=True)
class PlannerConfig(SamplingConfig):
    """The planner: the algorithm and its settings, the model it imagines with and what it optimises.

    Attributes:
        algorithm: cem, icem, mppi, cma_es, sep_cma_es, gradient, predictive_sampling or random_shooting.
        model: learned (that of the checkpoint) or simulator (the true MuJoCo model).
        objective: analytic (distance to the goal of the decoded position, of the end effector or the object),
            learned_reward (the reward head), none (the costs alone), or auto (analytic where the observation has a
            position to compare with the goal, otherwise learned_reward).
        discount: of later steps, in (0, 1].
        terminal_weight: extra weight of the last step's distance, at least 0.
        terminal_value: weight of the learned value of the last state, at least 0; needs model.actor_critic.
        action_weight: price of large actions, times their mean square [m], at least 0; it keeps the arm calm.
        posture_weight: price of leaving the home posture, for each step [m/rad^2], at least 0; it keeps the joints
            that the goal leaves free from drifting into the arm's limits or the table.
        costs: further costs and constraints, a list such as [{cost: avoid_sphere, of: ee_pos, centre: [0.5, 0, 0.3],
            radius: 0.1, hard: true}]; see docs/objectives.md.
        risk: over several models (an ensemble, or randomised simulators): mean, cvar or worst of the scores; none
            scores their mean prediction.
        risk_alpha: of cvar: share of the models that counts, the worst ones, in (0, 1].
        chunk: control steps of a transition that the model imagines, 1 to 64; several of them for a LoopWM with
            model.form step_consistent, trained with such train.update.chunks.
        simulator: what planner.model=simulator believes.
    """

    algorithm: str = "cem"
    model: str = "learned"
    objective: str = "auto"
    discount: float = 1.0
    terminal_weight: float = 0.0
    terminal_value: float = 0.0
    action_weight: float = 0.5
    posture_weight: float = 0.1
    costs: tuple[dict[str, Any], ...] = ()
    risk: str = "none"
    risk_alpha: float = 0.25
    chunk: int = 1
    simulator: SimulatorConfig = field(default_factory=SimulatorConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        _choice("planner.algorithm", self.algorithm, tuple(ALGORITHMS))
        _choice("planner.model", self.model, ("learned", "simulator"))
        _choice("planner.objective", self.objective, ("auto", "analytic", "learned_reward", "none"))
        _number("planner.discount", self.discount, 1e-6, 1)
        _number("planner.terminal_weight", self.terminal_weight, 0)
        _number("planner.terminal_value", self.terminal_value, 0)
        _number("planner.action_weight", self.action_weight, 0)
        _number("planner.posture_weight", self.posture_weight, 0)
        _choice("planner.risk", self.risk, ("none", *MEASURES))
        _number("planner.risk_alpha", self.risk_alpha, 1e-6, 1)
        _number("planner.chunk", self.chunk, 1, 64)
        if self.chunk > 1 and self.min_horizon:
            raise ValueError(
                f"planner.chunk is {self.chunk} with planner.min_horizon {self.min_horizon}, allowed 1: fewer steps "
                "save no time inside a transition; set planner.min_horizon=0"
            )
        if self.chunk > 1 and self.model == "simulator":
            raise ValueError(f"planner.chunk is {self.chunk} with planner.model 'simulator', allowed 1")
        if not self.terms and self.objective == "none":
            raise ValueError(
                "planner.objective is 'none' without planner.costs, allowed auto, analytic, learned_reward"
            )
        if self.model != "simulator" and not self.simulator.true:
            raise ValueError(
                f"planner.simulator is set with planner.model '{self.model}', allowed with simulator; "
                "set planner.model=simulator"
            )
        if self.model == "simulator" and ALGORITHMS[self.algorithm].needs_gradient:
            raise ValueError(
                f"planner.algorithm is '{self.algorithm}' with planner.model 'simulator', which has no gradient; "
                "set planner.model=learned or another algorithm"
            )
        if self.model == "simulator" and self.objective == "learned_reward":
            raise ValueError(
                "planner.objective is 'learned_reward' with planner.model 'simulator', which has no learned reward; "
                "set planner.objective=analytic"
            )

    @property
    def terms(self) -> tuple[Term, ...]:
        """The costs, ready for `planners.Composite`."""
        return make_terms(self.costs, "planner.costs")


@dataclass(frozen=True)
class CollectConfig:
    """Random exploration.

    Attributes:
        episodes: number of episodes, at least 1.
        correlation: of successive actions, in [0, 1).
        scale: standard deviation of an action before clipping, above 0.
    """

    episodes: int = 150
    correlation: float = 0.8
    scale: float = 0.6

    def __post_init__(self) -> None:
        _number("collect.episodes", self.episodes, 1)
        _number("collect.correlation", self.correlation, 0, math.nextafter(1, 0))
        _number("collect.scale", self.scale, 1e-6, 100)


@dataclass(frozen=True)
class TrainConfig:
    """Rounds of gradient updates; after each but the last the planner collects episodes.

    Attributes:
        rounds: at least 1.
        updates_per_round: gradient updates in a round, at least 1.
        episodes_per_round: planner-made episodes after each round but the last, at least 0.
        chain: planner-made episodes in a row that start where the one before ended, as on a real arm, at least 1.
        noise: exploration noise added to the planner's actions, at least 0.
        held_out: random episodes kept apart to measure open-loop errors, at least 1.
        buffer_size: rows of the replay buffer, at least 2.
        replay_memory_gb: size from which on the replay buffer lies in files of the run folder [10^9 bytes], at least 0.
        threads: torch threads, at least 1.
        collectors: processes on a Ray cluster in which the planner makes its episodes, 0 to 100000; 0: the learner
            makes them itself. Their number does not change the result, but 0 draws other random numbers than the rest.
        ray: address of the cluster, such as auto or 10.0.0.1:6379; empty starts one on this machine.
        deterministic: only operations that give the same bits every time, also on a GPU.
        tensorboard: write curves for TensorBoard, where tensorboardX is installed.
        wandb: send curves to Weights & Biases; WANDB_MODE=offline keeps them in the run folder.
        update: settings of a gradient update.
        gate: training of the exit gate after the last round.
    """

    rounds: int = 5
    updates_per_round: int = 900
    episodes_per_round: int = 15
    chain: int = 5
    noise: float = 0.3
    held_out: int = 20
    buffer_size: int = 200_000
    replay_memory_gb: float = 4.0
    threads: int = 1
    collectors: int = 0
    ray: str = ""
    deterministic: bool = False
    tensorboard: bool = True
    wandb: bool = False
    update: UpdateConfig = field(default_factory=UpdateConfig)
    gate: GateConfig = field(default_factory=GateConfig)

    def __post_init__(self) -> None:
        _number("train.rounds", self.rounds, 1)
        _number("train.updates_per_round", self.updates_per_round, 1)
        _number("train.episodes_per_round", self.episodes_per_round, 0)
        _number("train.chain", self.chain, 1)
        _number("train.noise", self.noise, 0, 10)
        _number("train.held_out", self.held_out, 1)
        _number("train.buffer_size", self.buffer_size, 2)
        _number("train.replay_memory_gb", self.replay_memory_gb, 0)
        _number("train.threads", self.threads, 1, 1024)
        _number("train.collectors", self.collectors, 0, 100_000)
        if self.ray and not self.collectors:
            raise ValueError(f"train.ray is '{self.ray}' with train.collectors 0, allowed empty; set train.collectors")


@dataclass(frozen=True)
class EvaluateConfig:
    """Closed-loop evaluation on held-out goals.

    Attributes:
        episodes: for the planner on the learned model, at least 1.
        random_episodes: for uniform random actions, at least 0.
        untrained_episodes: for the same planner on an untrained model, at least 0.
        simulator_episodes: for the same planner on the true model (slow), at least 0.
        held_out: random episodes for the open-loop errors, at least 1.
        threads: torch threads while planning, at least 1; one leaves the other cores to the control process.
        execution: lockstep (the environment stands still while a plan is made) or realtime (it goes on in wall time,
            and plans are made in a process of their own).
        latency_s: time that a plan takes in lockstep, rounded up to control steps, in which the plan before is carried
            out [s]; 0 to 10.
        compensation: of the time that plans take: predict (plans start from the state predicted for when they begin),
            shift (actions whose time has passed are left out) or none.
        blend_steps: first actions of a plan that are mixed with those of the plan before, 0 to 100.
    """

    episodes: int = 100
    random_episodes: int = 0
    untrained_episodes: int = 0
    simulator_episodes: int = 0
    held_out: int = 20
    threads: int = 1
    execution: str = "lockstep"
    latency_s: float = 0.0
    compensation: str = "predict"
    blend_steps: int = 0

    def __post_init__(self) -> None:
        _number("evaluate.episodes", self.episodes, 1, 100_000)
        _number("evaluate.held_out", self.held_out, 1, 100_000)
        for name in ("random_episodes", "untrained_episodes", "simulator_episodes"):
            _number(f"evaluate.{name}", getattr(self, name), 0, 100_000)
        _number("evaluate.threads", self.threads, 1, 1024)
        _choice("evaluate.execution", self.execution, ("lockstep", "realtime"))
        _choice("evaluate.compensation", self.compensation, COMPENSATIONS)
        _number("evaluate.latency_s", self.latency_s, 0, 10)
        _number("evaluate.blend_steps", self.blend_steps, 0, 100)
        if self.execution == "realtime" and self.latency_s:
            raise ValueError(
                f"evaluate.latency_s is {self.latency_s} with evaluate.execution 'realtime', allowed 0: there it is "
                "measured; leave it out"
            )
        if self.execution == "realtime" and self.simulator_episodes:
            raise ValueError(
                f"evaluate.simulator_episodes is {self.simulator_episodes} with evaluate.execution 'realtime', allowed "
                "0: the true model is in the process of the environment; leave it out"
            )


COLLECTED = ("npz", "minari", "lerobot")


@dataclass(frozen=True)
class ExploreCommand:
    """What begins with random exploration.

    Attributes:
        seed: of everything random, at least 0.
        out: run folder; none makes runs/COMMAND/TIME.
        env: the environment.
        collect: the exploration.
    """

    seed: int = 0
    out: str | None = None
    env: EnvConfig = field(default_factory=EnvConfig)
    collect: CollectConfig = field(default_factory=CollectConfig)

    def __post_init__(self) -> None:
        _number("seed", self.seed, 0, MAX_SEED)


@dataclass(frozen=True)
class CollectCommand(ExploreCommand):
    """`loopwm collect`: record episodes.

    Attributes:
        policy: explore (random motion, and where there is an object mostly towards it, as `loopwm train` does) or
            script (the script that solves the task, for demonstrations).
        format: npz (ours, always written), or also minari or lerobot.
    """

    policy: str = "explore"
    format: str = "npz"

    def __post_init__(self) -> None:
        super().__post_init__()
        _choice("policy", self.policy, ("explore", "script"))
        _choice("format", self.format, COLLECTED)


IDENTIFIABLE = ("payload", "friction", "damping", "gain", "delay")
"""Those of `envs.DYNAMICS_UNITS`, which brings MuJoCo along."""


@dataclass(frozen=True)
class IdentifyCommand:
    """`loopwm identify`: fit an arm's hidden dynamics to recorded episodes.

    Attributes:
        data: recordings of env: episodes.npz, a run folder of loopwm collect, deploy or demo, a Minari or a LeRobot
            dataset.
        out: run folder; none makes runs/identify/TIME.
        seed: of the search, at least 0.
        env: the environment that was recorded.
        parameters: to fit: payload, friction, damping, gain, delay.
        box: where to search: training, or the path of a YAML file of ranges.
        steps: control steps of the pieces that are rolled out, at least 1.
        segments: pieces at most, at least 1.
        population: candidates of a generation, at least 8.
        generations: of the cross-entropy method, at least 1.
        refinements: Gauss-Newton steps at most.
        threads: of physics; none takes all cores.
    """

    data: str = ""
    out: str | None = None
    seed: int = 0
    env: EnvConfig = field(default_factory=EnvConfig)
    parameters: tuple[str, ...] = IDENTIFIABLE
    box: str = "training"
    steps: int = 10
    segments: int = 24
    population: int = 32
    generations: int = 5
    refinements: int = 8
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in self.parameters:
            _choice("parameters", name, IDENTIFIABLE)
        if not self.parameters:
            raise ValueError(f"parameters is empty, allowed one or more of {', '.join(IDENTIFIABLE)}")
        _number("seed", self.seed, 0, MAX_SEED)
        for name, low in (("steps", 1), ("segments", 1), ("population", 8), ("generations", 1), ("refinements", 0)):
            _number(name, getattr(self, name), low)
        if self.threads is not None:
            _number("threads", self.threads, 1)


@dataclass(frozen=True)
class TeleopCommand:
    """`loopwm teleop`: drive a simulated arm by keyboard or gamepad and record it.

    Attributes:
        seed: of the starts and goals, at least 0.
        out: run folder; none makes runs/teleop/TIME.
        env: the environment; of ours one with control_mode cartesian_delta, of others one whose actions are the
            displacement of the hand (x, y, z) and perhaps the gripper.
        episodes: to keep, at least 1.
        max_steps: control steps after which an episode ends by itself, at least 1.
        format: npz (ours, always written), or also minari or lerobot.
        speed: action while a key is held, in (0, 1].
    """

    seed: int = 0
    out: str | None = None
    env: EnvConfig = field(default_factory=EnvConfig)
    episodes: int = 10
    max_steps: int = 1000
    format: str = "lerobot"
    speed: float = 0.5

    def __post_init__(self) -> None:
        _number("seed", self.seed, 0, MAX_SEED)
        _number("episodes", self.episodes, 1)
        _number("max_steps", self.max_steps, 1)
        _choice("format", self.format, COLLECTED)
        _number("speed", self.speed, 1e-6, 1)


@dataclass(frozen=True)
class GalleryCommand:
    """`loopwm gallery`: a picture of every arm in every task.

    Attributes:
        seed: of the episodes whose start is drawn, at least 0.
        out: run folder; none makes runs/gallery/TIME.
        robot: name of one arm, or the path of a YAML file that describes another; empty for all of ours.
        width: of a picture, 32 to 2000 pixels.
        height: of a picture, 32 to 2000 pixels.
    """

    seed: int = 1
    out: str | None = None
    robot: str = ""
    width: int = 320
    height: int = 240

    def __post_init__(self) -> None:
        _number("seed", self.seed, 0, MAX_SEED)
        _number("width", self.width, 32, 2000)
        _number("height", self.height, 32, 2000)


@dataclass(frozen=True)
class ViewConfig:
    """What the browser shows.

    Attributes:
        host: address to listen on; others than 127.0.0.1 let other machines steer.
        port: 0 to 65535; 0 takes any that is free.
        steps: control steps after which the view ends, at least 1; none goes on until Ctrl-C.
        candidates: drawn at most, 0 to 400.
        tour: draw another goal whenever one was held for a second.
        paused: stand still in the beginning.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    steps: int | None = None
    candidates: int = 60
    tour: bool = True
    paused: bool = False

    def __post_init__(self) -> None:
        _number("view.port", self.port, 0, 65535)
        _number("view.candidates", self.candidates, 0, 400)
        if self.steps is not None:
            _number("view.steps", self.steps, 1)


@dataclass(frozen=True)
class ViewCommand:
    """`loopwm view`: watch and change a planner in the browser.

    Attributes:
        checkpoint: the .safetensors file, or the run folder that holds it; planner.model=simulator needs none.
        seed: of the planner, at least 0; the goals are those of an evaluation.
        env: the environment, one of ours.
        planner: the planner that it begins with.
        view: what is shown, and where.
        threads: of torch, at least 1.
        device: cpu, cuda (a GPU), cuda:N, or auto (a GPU where there is one).
    """

    checkpoint: str = ""
    seed: int = 0
    env: EnvConfig = field(default_factory=EnvConfig)
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    view: ViewConfig = field(default_factory=ViewConfig)
    threads: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        _number("seed", self.seed, 0, MAX_SEED)
        _number("threads", self.threads, 1, 1024)
        check_device(self.device)


@dataclass(frozen=True)
class TrainCommand(ExploreCommand):
    """`loopwm train`: explore, then train in rounds.

    Attributes:
        resume: folder of an interrupted run that goes on.
        data: recorded episodes to train on, without acting in the environment: episodes.npz, a run folder of loopwm
            collect, deploy or demo, or a Minari or LeRobot v3 dataset.
        interact: with data, let the planner collect episodes between the rounds all the same.
        envs: two or more environments that one model learns, by the names of their files in configs/env, such as
            [panda_reach, panda_push, ur5e_reach]; it takes the place of env.
        init: a checkpoint, or a run folder that holds one, that is trained further: its model and its scaling are kept.
        old_data: with init, recorded episodes of what it was trained on, or the run folder of that training: a share
            train.update.old_share of each batch, so that it is not forgotten.
        model: what is trained.
        planner: makes the episodes between the rounds.
        train: the rounds.
        device: cpu, cuda (a GPU), cuda:N, or auto (a GPU where there is one).
        film_episodes: goals of an evaluation to film with the trained model, into video/reaches.mp4, 0 to 1000.
    """

    resume: str | None = None
    data: str | None = None
    interact: bool = False
    envs: tuple[EnvConfig, ...] = ()
    init: str | None = None
    old_data: str | None = None
    model: ModelConfig = field(default_factory=ModelConfig)
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    device: str = "cpu"
    film_episodes: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _number("film_episodes", self.film_episodes, 0, 1000)
        check_device(self.device)
        if self.envs:
            self._check_envs()
        if self.init is None:
            given = {"old_data": self.old_data is not None, "train.update.anchor": self.train.update.anchor > 0}
            for name in (name for name, is_given in given.items() if is_given):
                raise ValueError(f"{name} is set without init, allowed beside it; set init=CHECKPOINT, or leave it out")

    def _check_envs(self) -> None:
        if len(self.envs) == 1:
            raise ValueError("envs has 1 environment, allowed two or more; set env for a single one")
        for name, value in (("data", self.data), ("init", self.init)):
            if value is not None:
                raise ValueError(f"{name} is set beside envs, allowed with a single environment; leave one of them out")
        known = [(env.id, env.control_mode) for env in self.envs]
        for i, (name, mode) in enumerate(known):
            if known.index((name, mode)) < i:
                raise ValueError(
                    f"envs[{i}] is {name} with control_mode '{mode}', as envs[{known.index((name, mode))}] is, allowed "
                    "once: a checkpoint tells its environments apart by these; leave one of them out"
                )

    @property
    def environments(self) -> tuple[EnvConfig, ...]:
        """Those that are trained on: envs, or env alone."""
        return self.envs or (self.env,)


@dataclass(frozen=True)
class EvaluateCommand:
    """`loopwm evaluate`: measure a checkpoint in closed loop.

    Attributes:
        checkpoint: the .safetensors file, or the run folder that holds it.
        seed: of the planner, at least 0; the goals are the same for every seed.
        out: run folder; none makes runs/evaluate/TIME.
        env: the environment.
        planner: the planner.
        evaluate: how many episodes.
        device: cpu, cuda (a GPU), cuda:N, or auto (a GPU where there is one).
        plan_picture: draw what was considered for one plan into plots/plan.png, for our arms.
        film_episodes: to film with the candidates of every plan, into video/plans.mp4, 0 to 1000.
    """

    checkpoint: str = ""
    seed: int = 0
    out: str | None = None
    env: EnvConfig = field(default_factory=EnvConfig)
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    device: str = "cpu"
    plan_picture: bool = True
    film_episodes: int = 0

    def __post_init__(self) -> None:
        _number("film_episodes", self.film_episodes, 0, 1000)
        _number("seed", self.seed, 0, MAX_SEED)
        check_device(self.device)
