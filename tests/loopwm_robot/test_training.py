"""Losses, updates, rounds and resuming, on a point mass."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import pairwise

import gymnasium as gym
import numpy as np
import pytest
import torch
from point_env import PointEnv

from loopwm_robot.checkpoint import Spaces, load_checkpoint, save_checkpoint
from loopwm_robot.config import CollectConfig, ModelConfig, PlannerConfig, TrainConfig
from loopwm_robot.data.buffer import ReplayBuffer
from loopwm_robot.data.collect import (
    ExplorationPolicy,
    NoisyPolicy,
    UniformPolicy,
    control_interval,
    run_episode,
    split_observation,
)
from loopwm_robot.data.datasets import read_dataset, split
from loopwm_robot.models.build import build_model
from loopwm_robot.models.dynamics import Unroll
from loopwm_robot.models.loop_control import FixedDepth
from loopwm_robot.training.explore import record_random, reward_function
from loopwm_robot.training.losses import LossWeights, world_model_loss
from loopwm_robot.training.metrics import (
    Starts,
    imagine,
    normalised_rmse,
    open_loop_predictions,
    open_loop_rmse,
    open_loop_table,
    using,
)
from loopwm_robot.training.online import TrainingRun
from loopwm_robot.training.refused import load_batch
from loopwm_robot.training.trainer import TrainingError, UpdateConfig, WorldModelTrainer

SPACES = Spaces("Point", "", 3, 2, 2, 0.1, (0, 2))
SMALL = ModelConfig(latent_dim=16, heads=2, mean_loops=2, max_loops=4, plan_loops=2)
UPDATE = UpdateConfig(batch_size=32, sequence_length=3)


def recorded(episodes: int = 20) -> ReplayBuffer:
    buffer, env = ReplayBuffer(1000, 3, 2, 2), PointEnv()
    policy = ExplorationPolicy(2, np.random.default_rng(0))
    for i in range(episodes):
        buffer.add(run_episode(env, policy, i)[0])
    return buffer


def make_trainer(seed: int = 0, update: UpdateConfig = UPDATE, total: int = 150) -> WorldModelTrainer:
    torch.manual_seed(seed)
    model = build_model(SMALL, 3, 2, 2, 0.1)
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    return WorldModelTrainer(model, update, total, rng, generator, slice(0, 2), reward_function(PointEnv()))


def test_training_learns_the_point_mass():
    """Open-loop error at five steps is about half of that of predicting no motion or less."""
    buffer, trainer = recorded(), make_trainer(total=220)
    trainer.fit_normalizers(buffer)
    first = trainer.update(buffer)
    for _ in range(219):
        last = trainer.update(buffer)
    assert last["obs"] < 0.2 * first["obs"] and last["reward"] < first["reward"]
    env = PointEnv()
    episodes = [run_episode(env, ExplorationPolicy(2, np.random.default_rng(9)), 100 + i)[0] for i in range(5)]
    predicted, truth = open_loop_predictions(trainer.model, episodes, 5, 2, FixedDepth(2))
    start = torch.from_numpy(np.stack([e.obs[t] for e in episodes for t in range(0, 6, 2)]))[:, None]
    std = trainer.model.obs_normalizer.std
    still = normalised_rmse(start.expand_as(truth), truth, std)
    assert normalised_rmse(predicted, truth, std)[4] < 0.6 * still[4]


def test_a_batch_is_overfitted():
    """Six transitions, again and again: what is left of the error is less than a thirtieth."""
    small = ReplayBuffer(7, 3, 2, 2)
    small.add(run_episode(PointEnv(6), ExplorationPolicy(2, np.random.default_rng(3)), 5)[0])
    trainer = make_trainer(update=replace(UPDATE, sequence_length=1, observe_prob=0, relabel_fraction=0), total=100)
    trainer.fit_normalizers(small)
    errors = [trainer.update(small)["obs"] for _ in range(100)]
    assert errors[-1] < errors[0] / 30


def test_training_is_deterministic():
    buffer = recorded(5)
    losses = []
    for _ in range(2):
        trainer = make_trainer()
        trainer.fit_normalizers(buffer)
        losses.append([trainer.update(buffer)["loss"] for _ in range(5)])
    assert losses[0] == losses[1]


def test_learning_rate_warms_up_and_decays():
    trainer = make_trainer(total=100)
    rates = []
    for trainer.updates in range(101):
        rates.append(trainer.learning_rate())
    peak = UPDATE.learning_rate
    assert rates[0] == pytest.approx(0.1 * peak) and max(rates) == pytest.approx(peak)
    assert rates[-1] == pytest.approx(0.05 * peak) and rates.index(max(rates)) == 5
    assert all(a >= b for a, b in pairwise(rates[5:]))


def test_a_non_finite_loss_stops_and_leaves_the_weights(tmp_path):
    buffer, trainer = recorded(5), make_trainer()
    trainer.refused = tmp_path / "refused.npz"
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    trainer.reward_fn = lambda achieved, desired: np.full(achieved.shape[:-1], np.inf)
    with pytest.raises(TrainingError, match=rf"update 0: loss nan.* or look at the batch in {tmp_path}/refused\.npz$"):
        trainer.update(buffer)
    assert torch.isinf(load_batch(tmp_path / "refused.npz").reward).any()
    buffer.observations[:] = np.inf
    with pytest.raises(ValueError, match=r"obs has 96 non-finite number\(s\), first at index \(0, 0\)"):
        trainer.update(buffer)
    assert all(torch.equal(before[k], v) for k, v in trainer.model.state_dict().items())


def test_shown_observations_lower_the_error_of_a_filtering_model():
    """With every observation shown the embeddings get a gradient; with none they get none."""
    trainer, buffer = make_trainer(), recorded(5)
    batch = buffer.sample(16, 4, np.random.default_rng(0))
    layer = trainer.model.prelude.from_observation.weight
    for _ in range(3):  # leave the identity initialisation, which blocks the gradient
        trainer.update(buffer)
    for probability, reaches in ((0.0, False), (1.0, True)):
        trainer.model.zero_grad(set_to_none=True)
        how, generator = Unroll(probability), torch.Generator().manual_seed(0)
        loss, _ = world_model_loss(trainer.model, batch, LossWeights(), torch.ones(3), how, generator)
        loss.backward()
        assert (layer.grad is not None and bool((layer.grad != 0).any())) is reaches


def test_position_weight_scales_its_columns():
    trainer, buffer = make_trainer(), recorded(5)
    assert trainer.obs_weights[0].tolist() == [6.0, 6.0, 1.0]
    batch = buffer.sample(16, 2, np.random.default_rng(0))

    def obs_loss(weight):
        generator = torch.Generator().manual_seed(0)
        how = Unroll()
        return world_model_loss(trainer.model, batch, LossWeights(), torch.tensor(weight), how, generator)[1]["obs"]

    parts = [obs_loss([float(i == j) for j in range(3)]) for i in range(3)]
    assert torch.allclose(obs_loss([6.0, 6.0, 1.0]), 6 * parts[0] + 6 * parts[1] + parts[2])


def lengths_of(update: UpdateConfig, updates: int, **model) -> list[tuple[int, int]]:
    """(Transitions of each update, control steps of each)."""
    trainer, buffer = make_trainer(update=update), recorded(5)
    trainer.model = build_model(replace(SMALL, **model), 3, 2, 2, 0.1)
    seen = []
    unroll = trainer.model.unroll

    def spy(batch, how, generator):
        seen.append((batch.action.shape[1] // how.chunk, how.chunk))
        return unroll(batch, how, generator)

    trainer.model.unroll = spy
    for _ in range(updates):
        trainer.update(buffer)
    return seen


def test_the_horizon_grows_with_the_curriculum():
    lengths = lengths_of(replace(UPDATE, sequence_length=3, curriculum=2), 7)
    assert lengths == [(k, 1) for k in (1, 1, 2, 2, 3, 3, 3)]


def test_chunk_lengths_are_drawn_for_each_update():
    seen = lengths_of(replace(UPDATE, sequence_length=2, chunks=(1, 2, 4)), 12, form="step_consistent")
    assert {m for _, m in seen} == {1, 2, 4} and {k for k, _ in seen} == {2}


@pytest.mark.parametrize("config", [{"form": "paper"}, {"form": "step_consistent"}, {"context": 3}])
def test_other_forms_and_context_learn_too(config):
    buffer, trainer = recorded(), make_trainer(total=60)
    fresh = WorldModelTrainer(
        build_model(replace(SMALL, **config), 3, 2, 2, 0.1), UPDATE, 60, trainer.rng, trainer.generator, slice(0, 2)
    )
    fresh.fit_normalizers(buffer)
    values = [fresh.update(buffer)["obs"] for _ in range(60)]
    assert np.mean(values[-10:]) < 0.7 * np.mean(values[:10])


def test_scaling_comes_from_the_data():
    """Observations and their changes in one step: a point moves by a tenth of its action."""
    buffer, trainer = recorded(), make_trainer()
    trainer.fit_normalizers(buffer)
    obs, following = buffer.transitions()
    model = trainer.model
    assert np.allclose(model.delta_normalizer.mean, (following - obs).mean(0), atol=1e-6)
    assert np.allclose(model.delta_normalizer.std[:2], (following - obs).std(0)[:2], rtol=1e-4)
    assert model.delta_normalizer.std[2] == pytest.approx(1e-4)  # a constant
    assert np.allclose(model.goal_normalizer.mean, buffer.goals.mean(0), atol=1e-6)


@pytest.mark.parametrize("name, value", [("batch_size", 0), ("learning_rate", 0.0), ("observe_prob", 1.5)])
def test_update_config_ranges(name, value):
    with pytest.raises(ValueError, match=rf"train\.update\.{name} is {value}, allowed"):
        UpdateConfig(**{name: value})
    with pytest.raises(ValueError, match=r"loss\.reward is -1, allowed \[0, 1e\+06\]"):
        LossWeights(reward=-1)


def test_open_loop_table_of_a_model_that_predicts_no_motion():
    """A fresh model is the identity: its error is that of a constant prediction, at every loop count."""
    model = build_model(SMALL, 3, 2, 2, 0.1)
    env = PointEnv()
    episodes = [run_episode(env, UniformPolicy(2, np.random.default_rng(0)), i)[0] for i in range(4)]
    table = open_loop_table(model, episodes, slice(0, 2), horizons=(1, 5))
    assert sorted(table) == [1, 2, 8] and set(table[1]) == {1, 5}
    starts = Starts.of(episodes, 5, 1)
    errors = open_loop_rmse(model, imagine(model, starts), starts)
    assert errors.shape == (5,) and not errors.requires_grad  # measured, not trained on
    assert all(np.isfinite(v).all() for row in table.values() for v in row.values())
    with pytest.raises(ValueError, match="no episode has 99 steps"):
        open_loop_predictions(model, episodes, 99, 1, FixedDepth(1))


def test_open_loop_table_has_one_row_for_models_without_a_choice():
    env = PointEnv()
    episodes = [run_episode(env, UniformPolicy(2, np.random.default_rng(0)), i)[0] for i in range(2)]
    for kind, row in (("untied", 2), ("latent_mlp", 1)):
        model = build_model(replace(SMALL, kind=kind), 3, 2, 2, 0.1)
        assert list(open_loop_table(model, episodes, slice(0, 2), horizons=(1, 5))) == [row]


def test_predictions_with_context_start_where_the_past_is_known():
    """After W steps where episodes are long enough; else as late as possible, with what is known then."""
    env = PointEnv()
    episodes = [run_episode(env, UniformPolicy(2, np.random.default_rng(0)), i)[0] for i in range(2)]  # 10 steps
    for context, horizon, first in ((3, 5, 3), (8, 5, 5), (3, 10, 0)):
        starts = Starts.of(episodes, horizon, 1, context)
        assert len(starts.obs) == 2 * (10 - horizon - first + 1)
        assert np.array_equal(starts.obs[0], episodes[0].obs[first])
        assert np.array_equal(starts.truth[0], episodes[0].obs[first + 1 : first + 1 + horizon])
        assert starts.history.mask[0].tolist() == [0.0] * (context - min(first, context)) + [1.0] * min(first, context)
        known = min(first, context)
        if known:
            assert np.array_equal(starts.history.obs[0, -known:], episodes[0].obs[first - known : first])
            assert np.array_equal(starts.history.action[0, -known:], episodes[0].action[first - known : first])
    assert Starts.of(episodes, 5, 1).history is None
    thinned, full = Starts.of(episodes, 5, 1, limit=4), Starts.of(episodes, 5, 1)
    assert len(thinned.obs) == 4 and torch.equal(thinned.obs[[0, -1]], full.obs[[0, -1]])


def test_another_exit_rule_is_used_for_a_while_only():
    model = build_model(SMALL, 3, 2, 2, 0.1)
    own = model.exit_rule
    with pytest.raises(RuntimeError), using(model, FixedDepth(7)):
        assert model.exit_rule == FixedDepth(7)
        raise RuntimeError
    assert model.exit_rule is own


def make_run(folder, rounds: int = 3, model: ModelConfig = SMALL, **train) -> TrainingRun:
    env = gym.wrappers.TimeLimit(PointEnv(10**9), 10)
    return TrainingRun(
        env,
        SPACES,
        model,
        PlannerConfig(horizon=3, num_samples=32, num_elites=6, iterations=2, keep_elites=2),
        CollectConfig(episodes=6),
        TrainConfig(rounds, updates_per_round=30, episodes_per_round=2, held_out=2, update=UPDATE, **train),
        0,
        folder,
    )


class Interrupted(Exception):
    pass


def test_an_interrupted_run_resumes_to_the_same_weights(tmp_path):
    unbroken = make_run(tmp_path / "a").run()

    def stop(_):
        raise Interrupted

    with pytest.raises(Interrupted):
        make_run(tmp_path / "b").run(stop)
    resumed = make_run(tmp_path / "b", replay_memory_gb=0)  # the buffer lies in files from here on
    assert resumed.buffer.mapped
    assert resumed.restore() and resumed.rounds_done == 1
    again = resumed.run()
    for (name, a), b in zip(unbroken.model.state_dict().items(), again.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert len(list((tmp_path / "b").glob("round_*"))) == 2  # only the newest round is kept
    last, best = (load_checkpoint(tmp_path / "b" / f"{name}.safetensors") for name in ("last", "best"))
    assert last.info["rounds"] == 3 and best.info["rounds"] == resumed.summary()["best_round"] < 3
    assert resumed.summary()["train_updates"] == 90 and again.parameters > 0
    assert again.model.exit_thresholds == unbroken.model.exit_thresholds


def test_a_run_ends_calibrated_and_its_checkpoint_keeps_it(tmp_path):
    run = make_run(tmp_path, rounds=1, model=replace(SMALL, exit="converged"))
    checkpoint = run.run()
    summary = run.summary()
    assert set(run.depths) == {"converged", "second_order", "gate"}
    for rule in ("converged", "second_order", "gate"):
        counts = run.depths[rule]
        mean = sum(n * count for n, count in enumerate(counts, 1)) / sum(counts)
        assert len(counts) == 4 and mean == pytest.approx(summary[f"exit_{rule}_mean_loops"])
        assert summary[f"exit_{rule}_threshold"] == checkpoint.model.exit_thresholds[rule]
        assert 1 <= summary[f"exit_{rule}_mean_loops"] <= 4 and summary[f"exit_{rule}_met"] in (0, 1)
    assert (checkpoint.model.monitoring.level > 0).all()
    assert checkpoint.model.exit_rule.threshold == summary["exit_converged_threshold"]
    save_checkpoint(tmp_path / "c.safetensors", checkpoint)
    loaded = load_checkpoint(tmp_path / "c.safetensors").model
    assert loaded.exit_thresholds == checkpoint.model.exit_thresholds and loaded.exit_rule == checkpoint.model.exit_rule
    assert torch.equal(loaded.monitoring.level, checkpoint.model.monitoring.level)


def test_a_threshold_in_the_configuration_wins_over_calibration(tmp_path):
    run = make_run(tmp_path, rounds=1, model=replace(SMALL, exit="converged", exit_threshold=0.123))
    assert run.run().model.exit_rule.threshold == 0.123


@pytest.mark.parametrize(
    "config", [{"kind": "untied"}, {"kind": "one_pass"}, {"form": "step_consistent"}, {"context": 4}], ids=str
)
def test_runs_of_other_looped_models(tmp_path, config):
    """Only what has a choice of depth gets thresholds, all get levels of the monitor."""
    run = make_run(tmp_path, rounds=1, model=replace(SMALL, **config))
    checkpoint = run.run()
    expected = {"step_consistent": {"doubling"}}.get(config.get("form"), {"converged", "second_order", "gate"})
    assert set(checkpoint.model.exit_thresholds) == (set() if "kind" in config else expected)
    assert (checkpoint.model.monitoring.level > 0).all()
    assert all(np.isfinite(v) for v in run.summary().values() if not isinstance(v, str))


def test_nothing_to_restore(tmp_path):
    assert make_run(tmp_path).restore() is False


def test_training_from_recorded_data(tmp_path):
    env = gym.wrappers.TimeLimit(PointEnv(10**9), 10)
    env.unwrapped.spec = gym.envs.registration.EnvSpec("Point-v0", max_episode_steps=10)
    buffer = record_random(env, SPACES, CollectConfig(episodes=4), seed=3)
    buffer.save(tmp_path / "episodes.npz")
    run = make_run(tmp_path / "run", rounds=1)
    episodes = read_dataset(tmp_path / "episodes.npz", SPACES, None)
    run.use_data(episodes)
    assert len(run.buffer) == 40
    run.run()
    assert len(run.buffer) == 40  # one round: no planner episodes, and no exploration on top


def test_offline_training_never_touches_the_environment(tmp_path):
    """It learns, resumes, and keeps the round of the smallest held-out error."""
    source = recorded(12)
    source.save(tmp_path / "episodes.npz")
    learn, measure = split(read_dataset(tmp_path / "episodes.npz", SPACES, None), 2, tmp_path)

    def begin(name: str) -> TrainingRun:
        run = make_run(tmp_path / name, model=ModelConfig(kind="latent_mlp"))
        run.env.step = run.env.reset = None  # calling them fails
        run.use_data(learn, measure)
        run.restore()
        return run

    def keep(_):
        if unbroken.rounds_done == 1:
            shutil.copytree(tmp_path / "a", tmp_path / "b")

    unbroken = begin("a")
    weights = unbroken.run(keep).model.state_dict()
    assert len(unbroken.buffer) == 100 and unbroken.summary()["train_transitions"] == 100
    errors = {e["round"]: e["val_rmse_h5"] for e in unbroken.history if "val_rmse_h5" in e}
    assert len(errors) == 3 and unbroken.summary()["best_round"] == min(errors, key=errors.get)
    assert load_checkpoint(tmp_path / "a" / "best.safetensors").info["rounds"] == min(errors, key=errors.get)
    resumed = begin("b")
    assert resumed.rounds_done == 1
    again = resumed.run().model.state_dict()
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def test_endless_episodes_cannot_be_recorded():
    with pytest.raises(ValueError, match="has no time limit"):
        record_random(PointEnv(), SPACES, CollectConfig(episodes=1), 0)


def test_policies_are_bounded_seeded_and_correlated():
    policy = ExplorationPolicy(3, np.random.default_rng(0), correlation=0.9, scale=0.5)
    policy.reset(np.zeros(0))
    actions = np.array([policy.act(np.zeros(1)) for _ in range(4000)])
    assert np.abs(actions).max() <= 1 and actions.dtype == np.float32
    assert np.corrcoef(actions[1:, 0], actions[:-1, 0])[0, 1] == pytest.approx(0.9, abs=0.05)
    noisy = NoisyPolicy(UniformPolicy(3, np.random.default_rng(1)), policy, 5.0)
    noisy.reset(np.zeros(0))
    assert np.abs([noisy.act(np.zeros(1)) for _ in range(50)]).max() <= 1


def test_plain_observations_have_no_goal():
    obs, achieved, goal = split_observation(np.arange(3.0))
    assert obs.dtype == np.float32 and len(achieved) == len(goal) == 0
    env = gym.make("Pendulum-v1")
    assert control_interval(env) == pytest.approx(1 / 30)  # its render rate
    assert control_interval(PointEnv()) == 0.1
