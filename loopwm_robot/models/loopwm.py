"""LoopWM: one shared block, looped over a latent state. Read beside the paper, arXiv 2606.18208, section 3.

    encoder            e_k = E(o_k)                                   (tokens.py)
    action embedder    u_k = A(a_k)
    core               h_k = L(h_{k-1}, e_k, u_k); e_k = 0 in imagination
      prelude          e = LayerNorm(P [h_{k-1}; e_k; u_k])                                       (eq 4, block.py)
      recurrent block  h(t+1) = Abar h(t) + Bbar B e + R(h(t), e), t = 0..T-1, h(0) = h_{k-1}     (eq 5)
      retention        Abar = exp(-Delta exp(a)), in (0, 1) channel by channel                    (eq 6, 7)
      coda             h_k = C(W h(T))                                                            (eq 8)
    heads              o^_{k+1}, r^_k, c^_k = D(h_k)                  (tokens.py, heads.py)
    exit gate          g(t) = sigmoid(w . h(t) + b), stop when g(t) > tau                         (eq 12)
    monitor            g_w(h_k) against E(o_k)                                                    (eq 20, monitor.py)

Our choices where the paper leaves room (docs/loopwm.md): a new model is exactly "nothing changes" (B, the last layers
of R and C, and the memory's influence start at zero); the numbers of an observation stand in the first channels of
their token and are read off there; every channel has a step Delta of its own, taken from the data; Bbar is the exact
zero-order-hold gain; R and C are bounded; the memory has unit RMS between control steps; e enters the input of R in
every loop and is attended to as well; the state before the first step is the embedding of the first observation rather
than noise. With context, one more token, the belief, is refined by the same block over the transitions seen last,
before imagination starts.
"""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..types import History, LatentState, LoopInfo, Obs, Observed, SequenceBatch, vector_of
from . import bounds
from .block import UNLIMITED, Coda, Conditioning, Prelude, RecurrentBlock, rms_normalise
from .chunks import Chunk
from .dynamics import DynamicsModel, LatentTrajectory, Unroll, Unrolled, check_finite
from .images import ImageConfig, Shape, Vision
from .loop_control import AdaptiveDepth, Doubling, ExitRule, FixedDepth, run_sampled, sample_depths
from .monitor import Monitor
from .steady import steady
from .tokens import Groups, TokenDecoder, TokenEncoder, TokenLayout, observed_channels

SPAN = 3
"""Transitions that a token of the context looks at: enough to see an action that works two steps late."""


@dataclass(frozen=True)
class Core:
    """Size and form of the looped core.

    Attributes:
        latent_dim: width d of a token, a multiple of heads.
        heads: attention heads.
        mlp_ratio: hidden width of the feed-forward layer in units of latent_dim.
        form: of the loop: implicit, paper or step_consistent (block.py).
        gain: input gain: zoh or euler.
        norm: of the feed-forward layer: hidden, pre or sandwich (block.py).
        depth: distribution of the training depth: poisson, lognormal_poisson or fixed (loop_control.py).
        mean_loops: its mean mu; backpropagation is truncated to the last ceil(mu / 2) loops.
        max_loops: largest depth in training.
        latent_noise: deviation of noise added to each state in training, in units of its RMS.
        context: transitions W of history that the belief token is inferred from; 0 leaves it out.
    """

    latent_dim: int = 64
    heads: int = 4
    mlp_ratio: float = 2.0
    form: str = "implicit"
    gain: str = "zoh"
    norm: str = "hidden"
    depth: str = "poisson"
    mean_loops: float = 3.0
    max_loops: int = 12
    latent_noise: float = 0.0
    context: int = 0


class LoopWM(DynamicsModel):
    """The world model: encode an observation, step it with actions, decode what will be seen.

    Args:
        n_obs: numbers in an observation; 0 where there are pictures only.
        nu: action dimensions.
        n_goal: numbers in a goal; 0 where the task has none. Only the reward head sees the goal.
        ctrl_dt: duration of one action [s].
        core: size and form.
        groups: columns of the observation that belong together, by name; see `tokens`.
        tokens: single, bodies or parts: which groups become tokens (`TokenLayout.make`).
        image: height, width and channels of the pictures; None where there are none.
        image_config: how they enter and leave the model.

    Raises:
        ValueError: there is neither a number nor a picture, or the pictures do not fit the settings, or context is
            asked for where there are no numbers that could change.
    """

    def __init__(
        self,
        n_obs: int,
        nu: int,
        n_goal: int,
        ctrl_dt: float,
        core: Core | None = None,
        *,
        groups: Groups | None = None,
        tokens: str = "single",
        image: Shape | None = None,
        image_config: ImageConfig | None = None,
    ) -> None:
        core = core or Core()
        if n_obs == 0 and (image is None or core.context):
            needs = "a picture" if image is None else "numbers, for model.context"
            raise ValueError(f"observations have 0 numbers, allowed at least 1 without {needs}; see docs/loopwm.md")
        seen = TokenLayout.make(n_obs, groups, tokens)
        vision = None if image is None else Vision(image, core.latent_dim, core.heads, image_config)
        layout = seen if vision is None else seen.with_images(vision.num)
        d, num = core.latent_dim, layout.num + (core.context > 0)
        super().__init__(n_obs, nu, n_goal, ctrl_dt, num * d, d)
        self.core, self.layout, self.tokens, self.context = core, layout, num, core.context
        self.exit_rule: ExitRule = FixedDepth(max(1, round(core.mean_loops)))
        self.stride = 1  # control steps of a transition in rollouts, see in_strides
        self.exit_thresholds: dict[str, float] = {}  # of the exit rules, from calibration; kept in the checkpoint
        self.vision = vision
        self.encoder: nn.Module = TokenEncoder(seen, d) if n_obs else nn.Identity()
        self.action_embedder = nn.Linear(nu, d)
        self.prelude = Prelude(num, d)
        self.block = RecurrentBlock(num, d, core.heads, core.mlp_ratio, core.form, core.gain, core.norm)
        self.coda = Coda(observed_channels(layout, num, d), core.mlp_ratio)
        self.obs_head = TokenDecoder(seen, d, hidden=d)
        self.gate = nn.Linear(num * d, 1)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)
        self.monitoring = Monitor(layout.num, d)
        if core.context:
            self.belief = nn.Parameter(torch.randn(1, 1, d) * 0.02)
            self.transition_up = nn.Linear(SPAN * (2 * n_obs + nu), 2 * d)
            self.transition_down = nn.Linear(2 * d, d)
            self.age = nn.Parameter(torch.randn(core.context, d) * 0.02)
            self.transition_norm = nn.LayerNorm(d)
            self.context_norm = nn.LayerNorm(d)

    @property
    def mean_loops(self) -> float:
        """Mean depth in training."""
        return self.core.mean_loops

    @property
    def max_loops(self) -> int:
        """Largest depth in training."""
        return self.core.max_loops

    @property
    def grad_loops(self) -> int:
        """Loops that gradients flow through: the last ceil(mu / 2)."""
        return math.ceil(self.core.mean_loops / 2)

    # -- public ------------------------------------------------------------

    def encode(
        self, obs: Obs, goal: Tensor | None = None, history: History | None = None, depths: Tensor | None = None
    ) -> LatentState:
        """State before the first action: the embedding of obs, and the belief where the model has context.

        Args:
            obs: (B, n_obs), physical units; with a picture, Observed of (B, n_obs) and (B, H, W, C) uint8.
            goal: (B or 1, n_goal), for the reward head.
            history: the transitions before obs, (B, up to W, .); None means that nothing is known.
            depths: loop count of each sample (B,) in training; None applies `exit_rule`. Loops refine the belief only.

        Raises:
            ValueError: obs has another width or non-finite numbers; the message gives the index of the culprit. Or its
                picture is missing, unexpected, or of another size or type.
        """
        self.check(obs)
        h = self.embed(obs)
        if self.context:
            h = self._infer(h, vector_of(obs), history, depths)
        return LatentState(h, goal)

    def observed(self, obs: Obs, imagined: Tensor) -> Tensor:
        """Latent states of observations; the belief stays what it was."""
        return torch.cat([self.embed(obs), imagined[..., self.layout.num :, :]], dim=-2)

    def check(self, obs: Obs) -> None:
        """Refuse what the model cannot be shown, see `encode`."""
        if self.vision is None:
            self.numbers(obs)
        else:
            check_finite("obs", self.vision.check(obs).vector, self.n_obs)

    def embed(self, obs: Obs) -> Tensor:
        """e_k = E(o_k), the memory of each token of unit RMS: obs (..., n_obs), and its picture -> (..., G, d)."""
        tokens = [self.encoder(self.obs_normalizer(vector_of(obs)))] if self.n_obs else []
        if self.vision is not None and isinstance(obs, Observed):
            tokens.append(self.vision(obs.image))
        return self.coda.normalise(tokens[0] if len(tokens) == 1 else torch.cat(tokens, dim=-2))

    def step(
        self,
        state: LatentState,
        action: Tensor,
        embedding: Tensor | None = None,
        depths: Tensor | None = None,
    ) -> tuple[LatentState, LoopInfo]:
        """One transition h_k = L(h_{k-1}, e_k, u_k).

        Args:
            state: h_{k-1}, B samples.
            action: a_k (B, nu), or the actions of a chunk of m control steps (B, m, nu): form step_consistent.
            embedding: e_k (B, G, d) where an observation is shown; None in imagination (e_k = 0).
            depths: loop count of each sample (B,) in training; None applies `exit_rule`.

        Returns:
            h_k and what the loop did.
        """
        h, info = self._refine(state.h, self._drive(state.h, action, embedding), depths)
        return LatentState(self._leave(h, state.h), state.goal), info

    def decode_normalised(self, h: Tensor, columns: slice | None = None) -> Tensor:
        """Observation after h in normalised units: (..., S, d) -> (..., n)."""
        return self.obs_head(h, columns)

    def decode_image(self, h: Tensor) -> Tensor:
        """Pictures of states: (..., S, d) -> (..., H, W, C) uint8; see DynamicsModel."""
        return super().decode_image(h) if self.vision is None else self.vision.decode(self.image_tokens(h))

    def image_tokens(self, h: Tensor) -> Tensor:
        """Those tokens of a state that stand for its picture: (..., S, d) -> (..., M, d); M is 0 without pictures."""
        count = 0 if self.vision is None else self.vision.num
        return h[..., self.layout.num - count : self.layout.num, :]

    def monitor(self, state: LatentState, obs: Obs, steps: int = 1) -> Tensor:
        """How badly an imagined state fits what is observed: 1 is the 99th percentile on held-out data.

        Args:
            state: imagined state of the instant of obs, B samples.
            obs: (B, n_obs), physical units, and its picture, as for `encode`.
            steps: control steps imagined since the last observation, at least 1.

        Returns:
            score (B,), at least 0.

        Raises:
            ValueError: the monitor is not calibrated (`training.calibrate`), or obs is not finite.
        """
        self.check(obs)
        return self.monitoring.score(self.mismatch(state.h, obs), steps)

    def fit_normalizers(self, obs: Tensor, following: Tensor, goals: Tensor) -> None:
        """Take the scaling from data, and the steps of the observed channels: their usual change in a control step."""
        super().fit_normalizers(obs, following, goals)
        self.set_steps(self.usual_step())
        self.fit_range(obs, following)

    def usual_step(self) -> Tensor:
        """Usual change of each observed number in a control step, in units of its deviation (n_obs,)."""
        return (self.delta_normalizer.std / self.obs_normalizer.std).clamp(1e-3, 1.0)

    @torch.no_grad()
    def set_steps(self, step: Tensor) -> None:
        """Let the observed channels start with steps Delta (n,), one for each number that the tokens hold."""
        for s, columns in enumerate(self.layout.columns):
            if len(columns) <= self.core.latent_dim:
                for log_delta in self.steps():
                    log_delta[s, : len(columns)] = step[list(columns)].log()

    def fit_range(self, obs: Tensor, following: Tensor) -> None:
        """Keep imagined numbers in the range of data; arguments as of `fit_normalizers`."""
        self.coda.low.fill_(-UNLIMITED)
        self.coda.high.fill_(UNLIMITED)
        self.widen(torch.cat([obs, following[-1:]]))

    def laid(self, numbers: Tensor) -> Tensor:
        """Numbers of an observation (..., n_obs) at the places that the tokens know (..., n)."""
        lay = getattr(self.encoder, "lay", None)  # a model that several environments share: shared.py
        return numbers if lay is None else lay(numbers)

    def widen(self, obs: Tensor) -> None:
        """Extend the range that imagined numbers are kept in by observations (rows, n_obs)."""
        seen = self.laid(self.obs_normalizer(obs))
        low, high, coda = seen.amin(0), seen.amax(0), self.coda
        for s, columns in enumerate(self.layout.columns):
            if len(columns) > self.core.latent_dim:
                continue
            at, part = (s, slice(len(columns))), list(columns)
            fresh = coda.low[at] == -UNLIMITED
            coda.low[at] = torch.where(fresh, low[part], torch.minimum(coda.low[at], low[part]))
            coda.high[at] = torch.where(fresh, high[part], torch.maximum(coda.high[at], high[part]))

    def blocks(self) -> tuple[RecurrentBlock, ...]:
        """The blocks that are looped in turn: a single one."""
        return (self.block,)

    def steps(self) -> tuple[Tensor, ...]:
        """The parameters log Delta (S, d) of all layers that change the state."""
        return *(block.log_delta for block in self.blocks()), self.coda.log_delta

    @torch.no_grad()
    def state_bound(self, start: Tensor | float, chunk: int = 1) -> Tensor:
        """What no imagined state exceeds, whatever the actions, the depth and the number of transitions are.

        The looped core has a limit whatever its weights are (bounds.py); the coda's range of what was seen is another.

        Args:
            start: largest |h_0| of the observed channels, normalised units: one number, or one for each channel (S, d).
            chunk: control steps m of a transition.

        Returns:
            Bound of |h_k|, k >= 0, for each channel (S, d): sqrt(n) for a memory of n channels, for an observed one its
            limit or its start, whichever is larger.
        """
        memory, low, high = self.coda.memory, self.coda.low, self.coda.high
        nearest = torch.maximum(low, -high).clamp_min(0)  # the coda lifts what is smaller
        own = bounds.core_limit(self.blocks(), self.prelude.norm, bounds.coda_reach(self.coda), chunk)
        limit = torch.minimum(torch.maximum(own, nearest), torch.maximum(-low, high))
        return torch.where(memory > 0, memory.sum(-1, keepdim=True).sqrt(), limit.clamp_min(start))

    def mismatch(self, h: Tensor, obs: Obs) -> Tensor:
        """Mean square of g_w(h) - E(o) for h (..., S, d) and obs (..., n_obs) -> (...); E gets no gradient."""
        return self.monitoring(h[..., : self.layout.num, :], self._target(obs))

    def rollout(self, state: LatentState, actions: Tensor, chunk: int = 1) -> LatentTrajectory:
        """See DynamicsModel; what follows from the parameters alone is computed once for all transitions."""
        with steady(*self.blocks(), self.coda):
            if self.stride > 1 and chunk == 1:
                return self._rollout_strided(state, actions)
            return super().rollout(state, actions, chunk)

    def in_strides(self, steps: int) -> LoopWM:
        """This model with rollouts in transitions of `steps` control steps: the same parameters, nothing copied.

        Its trajectories have a state for every control step all the same: those inside a transition are interpolated,
        and say how many loops their transition took. Steps that are left at the end make a shorter transition.

        Args:
            steps: at least 1.

        Raises:
            ValueError: the form of the loop is not step_consistent.
        """
        if steps > 1 and self.core.form != "step_consistent":
            raise ValueError(f"model.form is '{self.core.form}', allowed step_consistent for strides of {steps} steps")
        twin = copy(self)
        twin.stride = steps
        return twin

    def _rollout_strided(self, state: LatentState, actions: Tensor) -> LatentTrajectory:
        check_finite("actions", actions, self.nu)
        if len(state.h) != len(actions):
            state = state.expand(len(actions))
        states, loops = [], []
        for part in actions.split(self.stride, dim=1):
            steps = part.shape[1]
            following, info = self.step(state, part[:, 0] if steps == 1 else part)
            share = torch.arange(1, steps + 1).to(state.h).view(1, -1, 1, 1) / steps
            states.append(torch.lerp(state.h.unsqueeze(1), following.h.unsqueeze(1), share))
            loops.append(info.num_loops.unsqueeze(1).expand(-1, steps))
            state = following
        return LatentTrajectory(self, torch.cat(states, 1), state.goal, torch.cat(loops, 1))

    def at_depth(self, loops: int) -> LoopWM | None:
        """This model with `loops` loops in every transition: the same parameters, nothing copied.

        Returns:
            None where that is no less work than `exit_rule` may take.
        """
        rule = self.exit_rule
        if loops >= (rule.num_loops if isinstance(rule, FixedDepth) else self.max_loops):
            return None
        return self.with_loops(loops)

    def with_loops(self, loops: int) -> LoopWM:
        """This model with `loops` loops in every transition, however many: the same parameters, nothing copied."""
        twin = copy(self)
        twin.exit_rule = FixedDepth(loops)
        return twin

    # -- for training and analysis -----------------------------------------

    def unroll(self, batch: SequenceBatch, how: Unroll, generator: torch.Generator) -> Unrolled:
        """Imagine a batch along its actions; every sequence has its own loop count (eq 9), the same at all steps."""
        with steady(*self.blocks(), self.coda):
            return self._unroll(batch, how, generator)

    def _unroll(self, batch: SequenceBatch, how: Unroll, generator: torch.Generator) -> Unrolled:
        size, length = batch.action.shape[:2]
        c = self.core
        depths = sample_depths(size, c.mean_loops, c.max_loops, generator, c.depth)
        depths = depths.sort(descending=True).values  # which sequence gets which is drawn anyway: saves sorting later
        seen = batch.seen
        state = self.encode(seen[:, 0], batch.goal, batch.history, depths)
        latent = []
        for k in range(0, length, how.chunk):
            embedding = None
            if k > 0 and how.observe_prob > 0:
                shown = torch.rand(size, 1, 1, generator=generator) < how.observe_prob
                embedding = self._shown(seen[:, k], shown.to(state.h.device))
            action = batch.action[:, k] if how.chunk == 1 else batch.action[:, k : k + how.chunk]
            state, _ = self.step(state, action, embedding, depths)
            if c.latent_noise:
                noise = torch.randn(state.h.shape, generator=generator) * c.latent_noise
                noise[:, self.layout.num :] = 0  # the belief stays: noise would add up in it
                state = LatentState(state.h + noise.to(state.h), state.goal)
            latent.append(state.h)
        return Unrolled(torch.stack(latent, 1))

    def gate_logit(self, h: Tensor) -> Tensor:
        """Exit gate w . h(t) + b: logit of "one more loop would not help" (eq 12), (B, S, d) -> (B,)."""
        return self.gate(h.flatten(-2)).squeeze(-1)

    def disagreement(self, a: Tensor, b: Tensor) -> Tensor:
        """How far two results of the loop lie apart in what will be observed, for the exit `doubling`.

        Memory has unit size whatever it is worth, so it does not count beside observed numbers. Tokens without numbers,
        those of pictures for example, count whole, but not the belief.

        Args:
            a, b: h(T) before the coda (B, S, d).

        Returns:
            mean absolute difference (B,), normalised units.
        """
        seen = 1 - self.coda.memory
        seen = torch.where(seen.sum(-1, keepdim=True) > 0, seen, torch.ones_like(seen))
        seen[self.layout.num :] = 0
        return ((self.coda(a) - self.coda(b)).abs() * seen).sum((-2, -1)) / seen.sum()

    def depths(self, state: LatentState, action: Tensor, max_loops: int) -> tuple[Tensor, Tensor]:
        """What each depth makes of one transition.

        Args:
            state: h_{k-1}, B samples.
            action: a_k (B, nu), or the actions of a chunk (B, m, nu).
            max_loops: largest depth T.

        Returns:
            h(1..T) inside the loop (B, T, S, d), and what the coda makes of each (B, T, S, d). In the step-consistent
            form h(t) is the result of t loops over the whole interval.
        """
        drive = self._drive(state.h, action, None)
        h, inner = state.h, []
        for t in range(1, max_loops + 1):
            h = FixedDepth(t).run(self.block, state.h, drive)[0] if self._restarts else self.block(h, drive)
            inner.append(h)
        stacked = torch.stack(inner, 1)
        return stacked, self._leave(stacked, state.h.unsqueeze(1))

    # -- inside ------------------------------------------------------------

    def _shown(self, obs: Obs, shown: Tensor) -> Tensor:
        """e_k where `shown` (B, 1, 1), else 0; pictures that nobody looks at are not encoded."""
        if self.vision is None:
            return self.embed(obs) * shown
        rows = torch.nonzero(shown.flatten()).flatten()
        nothing = self.coda.low.new_zeros(len(shown), self.layout.num, self.core.latent_dim)
        return nothing.index_copy(0, rows, self.embed(obs[rows])) if len(rows) else nothing

    @torch.no_grad()
    def _target(self, obs: Obs) -> Tensor:
        """E(o) without a gradient."""
        return self.embed(obs)

    @property
    def _restarts(self) -> bool:
        """Whether a deeper result is no continuation of a shallower one."""
        return self.core.form == "step_consistent"

    def _drive(self, h: Tensor, action: Tensor, embedding: Tensor | None) -> Conditioning | Chunk:
        """Prelude and everything else that the loops of a transition share."""
        if embedding is not None and self.tokens > self.layout.num:  # the belief is not observed
            embedding = nn.functional.pad(embedding, (0, 0, 0, self.tokens - self.layout.num))
        if action.ndim == 2:
            return self.block.condition(h, self.prelude(h, self.action_embedder(action), embedding))
        if self.core.form != "step_consistent":
            raise ValueError(
                f"model.form is '{self.core.form}', allowed step_consistent for chunks of {action.shape[1]} steps"
            )
        return Chunk(self.block, self.prelude, self.action_embedder, h, action, embedding)

    def _leave(self, h: Tensor, start: Tensor) -> Tensor:
        """h_k = C(W h(T)); the belief stays what it was, since what it is about does not change with time.

        Args:
            h: h(T) (..., S, d).
            start: h_{k-1}, of the same shape or one that broadcasts to it.
        """
        h = self.coda(h)
        if not self.context:
            return h
        belief = start[..., -1:, :].expand(*h.shape[:-2], 1, -1)
        return torch.cat([h[..., :-1, :], belief], dim=-2)

    def _refine(self, h: Tensor, drive: Conditioning | Chunk, depths: Tensor | None) -> tuple[Tensor, LoopInfo]:
        if depths is None:
            if isinstance(drive, Chunk) and isinstance(self.exit_rule, AdaptiveDepth):
                name = type(self.exit_rule).__name__
                raise ValueError(f"exit_rule is {name}, allowed FixedDepth and Doubling for chunks of several steps")
            return self.exit_rule.run(self.block, h, drive)
        return run_sampled(self.block, h, drive, depths, self.grad_loops), LoopInfo.sampled(depths)

    def _infer(self, tokens: Tensor, obs: Tensor, history: History | None, depths: Tensor | None) -> Tensor:
        """Refine the belief token, beside those of obs, over the transitions seen last."""
        batch = len(obs)
        h = torch.cat([tokens, rms_normalise(self.belief).expand(batch, 1, -1)], dim=1)
        if history is None or history.obs.shape[1] == 0:
            history = History(obs[:, None], torch.zeros(batch, 1, self.nu).to(obs), torch.zeros(batch, 1).to(obs))
        check_finite("history.obs", history.obs, self.n_obs)
        check_finite("history.action", history.action, self.nu)
        history = history.last(self.context)
        seen, missing = self.transition_tokens(history, obs), (1 - history.mask).to(obs)
        bias = (missing * -1e9)[:, None, None, :]  # (B, 1, 1, W)
        drive = self.block.condition(h, self.context_norm(h + self.prelude.token_bias), seen, bias)
        if depths is None and isinstance(self.exit_rule, Doubling):  # which asks what will be observed: not the belief
            refined, _ = FixedDepth(max(1, round(self.core.mean_loops))).run(self.block, h, drive)
        else:
            refined, _ = self._refine(h, drive, depths)
        return torch.cat([tokens, rms_normalise(refined[:, -1:])], dim=1)  # what is observed needs no inference

    def transition_tokens(self, history: History, obs: Tensor) -> Tensor:
        """A token for each transition (o, a, o' - o) of the history before obs, and the two before it: (B, W, d)."""
        steps = history.obs.shape[1]
        following = torch.cat([history.obs[:, 1:], obs[:, None]], dim=1)
        change = self.delta_normalizer(following - history.obs)
        known = torch.cat([self.obs_normalizer(history.obs), history.action, change], dim=-1)
        known = known * history.mask.unsqueeze(-1).to(known)
        spans = nn.functional.pad(known, (0, 0, SPAN - 1, 0)).unfold(1, SPAN, 1).flatten(2)  # (B, W, . SPAN)
        seen = self.transition_down(nn.functional.silu(self.transition_up(spans)))
        normed: Tensor = self.transition_norm(seen + self.age[self.context - steps :])
        return normed
