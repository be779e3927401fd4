"""Policy and value: they learn what is known in closed form, leave the dynamics alone, and help the planner."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from loopwm_robot.build import make_agent
from loopwm_robot.checkpoint import Checkpoint, Spaces, load_checkpoint, save_checkpoint
from loopwm_robot.config import ModelConfig, PlannerConfig
from loopwm_robot.errors import RequestError
from loopwm_robot.models.actor_critic import ActorCritic, ActorCriticConfig
from loopwm_robot.models.build import build_model
from loopwm_robot.models.dynamics import DynamicsModel, Unroll
from loopwm_robot.policy import PolicyPrior
from loopwm_robot.training.actor_critic import ActorCriticUpdate, actor_critic_loss
from loopwm_robot.training.losses import LossWeights, world_model_loss
from loopwm_robot.types import SequenceBatch
from planners import TrajectoryScorer, make_planner
from planners.objectives import LearnedReward, Sum, TerminalValue
from tests.helpers.tiny_models import GROUPS, N_GOAL, N_OBS, NU, inputs, make_history, sequences

LEARNS = ActorCriticConfig(enabled=True, hidden=32, discount=0.5)
CONFIG = ModelConfig(latent_dim=16, actor_critic=LEARNS)
SPACES = Spaces("Tiny", "", N_OBS, NU, N_GOAL, 0.05, (0, 3))


def make(**changes: object) -> DynamicsModel:
    torch.manual_seed(0)
    return build_model(replace(CONFIG, **changes), N_OBS, NU, N_GOAL, 0.05, GROUPS).eval()


def learned(model: DynamicsModel) -> ActorCritic:
    assert model.actor_critic is not None
    return model.actor_critic


def loss(
    model: DynamicsModel, batch: SequenceBatch, seed: int = 0, **settings: float
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        imagined = model.unroll(batch, Unroll(), torch.Generator().manual_seed(1)).h
    return actor_critic_loss(model, learned(model), batch, imagined, ActorCriticUpdate(**settings), g)


def fit(model: DynamicsModel, batch: SequenceBatch, updates: int = 150, **settings: float) -> dict[str, torch.Tensor]:
    """Learn from the first transition of each sequence."""
    optimizer = torch.optim.Adam([p for p in learned(model).parameters() if p.requires_grad], 3e-3)
    imagined = torch.zeros(*batch.action.shape[:2], 1, model.encode(batch.obs[:1, 0], batch.goal[:1]).h.shape[-1])
    for i in range(updates):
        g = torch.Generator().manual_seed(i)
        total, terms = actor_critic_loss(model, learned(model), batch, imagined, ActorCriticUpdate(**settings), g)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        learned(model).follow(0.2)
    return terms


def single(batch: int, **changes: torch.Tensor) -> SequenceBatch:
    """Sequences of one transition, from a state to itself."""
    one = sequences(batch, 1)
    return replace(one, **{"obs": 0 * one.obs, "goal": 0 * one.goal, **changes})


def batch_with(**changes: torch.Tensor) -> SequenceBatch:
    return replace(sequences(batch=16, length=3), **changes)


@pytest.mark.parametrize("ended, value", [(0.0, 2.0), (1.0, 1.0)])
def test_a_cut_off_episode_goes_on_in_the_value_and_an_ended_one_does_not(ended, value):
    """Reward 1 at every step: 1 + 1/2 + 1/4 + .. = 2 with a discount of one half, and 1 where that is the end."""
    ones = torch.ones(16, 1)
    terms = fit(make(), single(16, reward=ones, terminated=ended * ones))
    assert float(terms["value"]) == pytest.approx(value, abs=0.05)


def test_the_policy_finds_the_best_action():
    """Reward -|a - (0.5, -0.3)|^2, whatever the state is."""
    batch = single(64, terminated=torch.ones(64, 1))
    best = torch.tensor([0.5, -0.3])
    batch = replace(batch, reward=-(batch.action - best).square().sum(-1))
    model = make()
    fit(model, batch, imitation=0.0)
    chosen = model.act(model.encode(batch.obs[:, 0], batch.goal).h, batch.goal)
    assert torch.allclose(chosen[0], best, atol=0.1)


def test_imitation_keeps_to_what_was_done():
    action = torch.tensor([0.4, -0.6]).expand(16, 1, 2)
    model, batch = make(), single(16, action=action)
    fit(model, batch, imitation=100.0)
    chosen = model.act(model.encode(batch.obs[:, 0], batch.goal).h, batch.goal)
    assert torch.allclose(chosen, action[:, 0], atol=0.1)


def test_the_dynamics_get_no_gradient_and_the_policy_none_to_the_critics():
    model, batch = make(), sequences()
    total, _ = loss(model, batch)
    total.backward()
    reached = {name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None}
    assert reached == {"actor", "critics"}
    assert all(name.startswith("actor_critic.") for name, p in model.named_parameters() if p.grad is not None)
    critic = learned(model).critics.weights[0].grad
    model.zero_grad()
    again, _ = loss(model, batch, imitation=1000.0)  # changes what the policy wants, not what the critics learn
    again.backward()
    assert torch.equal(critic, learned(model).critics.weights[0].grad)


def test_padding_teaches_nothing():
    """Sequences that end early: what stands behind their end changes neither value nor policy."""
    mask = torch.ones(16, 3)
    mask[:8, 1:] = 0
    batch = batch_with(mask=mask)
    spoiled = replace(batch, reward=torch.where(mask > 0, batch.reward, 1e6))
    model = make()
    assert torch.equal(loss(model, batch)[0], loss(model, spoiled)[0])
    assert not torch.equal(loss(model, batch)[0], loss(model, replace(batch, reward=batch.reward + 1))[0])


@pytest.mark.parametrize("changes", [{"context": 3}, {"tokens": "bodies"}, {"kind": "latent_mlp"}, {"kind": "rssm"},
                                     {"kind": "ensemble"}], ids=str)  # fmt: skip
def test_beside_every_model(changes):
    model = make(**changes)
    batch = sequences(context=model.context)
    total, _ = loss(model, batch)
    assert torch.isfinite(total)
    obs, goal, actions = inputs()
    state = model.encode(obs, goal, **({"history": make_history(5, 3)} if model.context else {}))
    assert model.rollout(state, actions).terminal_value().shape == (5,)


def test_training_of_the_model_is_the_same_with_and_without():
    """The dynamics' own loss and gradient do not know of policy and value."""
    batch, grads = sequences(), []
    for config in (LEARNS, ActorCriticConfig()):
        model = make(actor_critic=config)
        g = torch.Generator().manual_seed(3)
        total, _ = world_model_loss(model, batch, LossWeights(), torch.ones(N_OBS), Unroll(), g)
        total.backward()
        grads.append({n: p.grad for n, p in model.named_parameters() if not n.startswith("actor_critic.")})
    assert grads[0].keys() == grads[1].keys()
    assert all(a is b is None or torch.equal(a, b) for a, b in zip(grads[0].values(), grads[1].values(), strict=True))


def test_the_value_of_the_last_state_is_in_the_score():
    model = make()
    fit(model, single(16), 20)
    obs, goal, actions = inputs(batch=1)
    state = model.encode(obs, goal)
    actions = actions.expand(3, -1, -1)
    trajectory = model.rollout(state, actions)
    expected = trajectory.rewards().sum(1) + 2.0 * 0.5**4 * trajectory.terminal_value()
    objective = Sum(LearnedReward(), TerminalValue(0.5, 2.0))
    assert torch.allclose(objective(trajectory, actions) - LearnedReward()(trajectory, actions) * 0.0, expected)


def test_the_policys_sequences_follow_the_policy():
    model = make()
    fit(model, single(16), 20)
    obs, goal, _ = inputs(batch=1)
    state = model.encode(obs, goal)
    prior = PolicyPrior(model, 4, torch.Generator().manual_seed(0), noise=0.5).at(state)
    with torch.no_grad():
        told = prior(6)
        assert told.shape == (6, 4, NU) and bool((told.abs() <= 1).all())
        assert len({tuple(row.flatten().tolist()) for row in told}) == 6
        for k in range(4):
            assert torch.allclose(told[0, k], model.act(state.h, goal)[0], atol=1e-6)
            state, _ = model.step(state, told[0, k : k + 1][:, None][:, 0])


def test_the_planner_takes_a_policy_that_is_right():
    """Random shooting with two candidates: the warm start, and the policy's."""
    planner = make_planner("random_shooting", PlannerConfig(horizon=4, num_samples=2, num_elites=1, keep_elites=1,
                           iterations=1, prior_samples=1), NU, 0.05, torch.Generator().manual_seed(0))  # fmt: skip
    model = make()
    fit(model, single(16), 20)
    obs, goal, _ = inputs(batch=1)
    state = model.encode(obs, goal)
    policy = PolicyPrior(model, 4, torch.Generator())
    with torch.inference_mode():
        wanted = policy.at(state)(1)[0]

        def score(actions: torch.Tensor) -> torch.Tensor:
            return -(actions - wanted).square().sum(dim=(1, 2))

        plan = planner.plan(score, prior=policy.at(state))
    assert torch.allclose(plan.actions, wanted)


def test_the_agent_asks_its_policy():
    model = make()
    agent = make_agent(model, SPACES, PlannerConfig(terminal_value=1.0, discount=0.5), torch.Generator())
    obs, goal, _ = inputs(batch=1)
    asked = []
    policy = agent.policy
    assert policy is not None
    agent.policy = type("Asked", (), {"at": lambda _, state: asked.append(state) or policy.at(state)})()
    agent.reset(goal[0].numpy())
    plan = agent.plan(agent.state(obs[0].numpy()))
    assert len(asked) == 1 and torch.isfinite(torch.tensor(plan.score))
    assert make_agent(model, SPACES, PlannerConfig(prior_samples=0), torch.Generator()).policy is None


def test_a_value_that_was_never_learned_is_refused():
    model = make(actor_critic=ActorCriticConfig())
    with pytest.raises(RequestError, match=r"planner.terminal_value is 1.0 .* model.actor_critic.enabled=true"):
        make_agent(model, SPACES, PlannerConfig(terminal_value=1.0), torch.Generator())
    obs, goal, actions = inputs()
    trajectory = model.rollout(model.encode(obs, goal), actions)
    with pytest.raises(ValueError, match="LoopWM has learned no policy and no value"):
        TrajectoryScorer(model, model.encode(obs, goal), TerminalValue())(actions)
    with pytest.raises(ValueError, match="learned no policy"):
        trajectory.terminal_value()


def test_it_is_part_of_the_checkpoint(tmp_path):
    model = make()
    fit(model, single(16), 5)
    save_checkpoint(tmp_path / "c.safetensors", Checkpoint(model, CONFIG, replace(SPACES, groups=GROUPS), {}))
    again = load_checkpoint(tmp_path / "c.safetensors", torch.device("cpu")).model
    obs, goal, _ = inputs()
    h = model.encode(obs, goal).h
    assert torch.equal(model.value(h, goal), again.value(h, goal))
    assert torch.equal(learned(model).targets.weights[0], learned(again).targets.weights[0])


@pytest.mark.parametrize("name, value", [("discount", 1.0), ("hidden", 0), ("critics", 1)])
def test_settings_out_of_range(name, value):
    with pytest.raises(ValueError, match=f"model.actor_critic.{name} is {value}, allowed"):
        replace(LEARNS, **{name: value})


@pytest.mark.parametrize("name", ["learning_rate", "target_rate", "target_noise", "imitation"])
def test_update_settings_out_of_range(name):
    with pytest.raises(ValueError, match=f"train.update.actor_critic.{name} is -1, allowed"):
        ActorCriticUpdate(**{name: -1})
