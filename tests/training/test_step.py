"""The training step: its gradient, its randomness, and that neither devices nor hyper-parameters compile it anew."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from fetal_jax.core import rng as rngs
from fetal_jax.core.sharding import make_mesh, replicate, shard
from fetal_jax.core.types import Batch, Sample, TrainState, Views
from fetal_jax.layers.conv import Conv
from fetal_jax.losses import compose
from fetal_jax.methods import make_method
from fetal_jax.models import build_model
from fetal_jax.models.efficientnet import Block, MBConv
from fetal_jax.models.unet import Decoder
from fetal_jax.training.optimizers import make_optimizer
from fetal_jax.training.state import create_state, create_variables, enter_stage
from fetal_jax.training.step import compile_train_step, make_train_step

KEY = jax.random.key(3)
N_UNLABELLED = 4
SELF_TRAINING, SUPERVISED = make_method("self_training", {}), make_method("supervised", {})


class TinyNet(nn.Module):
    """The call of a model of this project, and the two layers that make a step hard: BatchNorm and dropout."""

    @nn.compact
    def __call__(self, image, *, train, frozen=()):
        x = nn.Conv(8, (3, 3), use_bias=False, name="encoder")(image)  # BatchNorm leaves a bias no gradient but noise
        x = nn.relu(nn.BatchNorm(not train, momentum=0.9, name="bn")(x))
        x = nn.Dropout(0.3)(x, deterministic=not train)
        return nn.Conv(1, (1, 1), name="decoder")(x)


def make_batch(size=16, seed=0):
    """Four labelled images, and four with pseudo-labels and a second view."""
    rng = np.random.default_rng(seed)
    image = rng.random((8, size, size, 1), np.float32)
    labels, weights = (image[..., 0] > 0.6).astype(np.int32), np.ones((8, size, size), np.float32)
    first, second = slice(0, 8 - N_UNLABELLED), slice(8 - N_UNLABELLED, 8)
    views = Views(image[second], (image[second] ** 2,), labels[second], weights[second])
    return Batch(Sample(image[first], labels[first], weights[first]), views)


def images_of(batch):
    return np.concatenate([batch.labelled.image, batch.unlabelled.weak])


def labels_of(batch):
    return np.concatenate([batch.labelled.labels, batch.unlabelled.labels])


def hp(learning_rate=0.01, consistency=1.0, **others):
    """Hyper-parameters of one step, as `Stage.hyperparameters` gives them."""
    fixed = {"weight_decay": 1e-4, "clip": 1.0, "cross_entropy_weight": 1.0, "dice_weight": 1.0}
    return fixed | {"learning_rate": learning_rate, "consistency_weight": consistency} | others


def plain_gradient(_):
    return optax.identity()


def start(model, optimizer, method=SELF_TRAINING, size=16):
    state = create_state(create_variables(model, 0, (size, size, 1)))
    return enter_stage(
        state, None, method, optimizer, lambda name: create_variables(model, 0, (size, size, 1), name), KEY
    )


def step_of(model, optimizer, method=SELF_TRAINING):
    models = dict.fromkeys(method.networks, model)
    return make_train_step(method, models, optimizer, objective="bce_dice")


def student(state):
    return state.networks["student"]


def run(step_fn, mesh, state, batch, steps, rates=None):
    """The state after some steps, and the metrics of each."""
    state, history = replicate(state, mesh), []
    for _ in range(steps):
        state, metrics = step_fn(state, shard(batch, mesh), rates or hp(), KEY)
        history.append({name: float(value) for name, value in metrics.items()})
    return state, history


def largest_difference(first, second):
    pairs = jax.tree.map(lambda a, b: np.abs(np.asarray(a) - np.asarray(b)).max(initial=0), first, second)
    return max(jax.tree.leaves(pairs))


@pytest.fixture(scope="module")
def tiny():
    """A state that knows the gradient (updates are the gradients themselves), and its step on one device."""
    model, mesh = TinyNet(), make_mesh(jax.devices()[:1])
    step_fn = compile_train_step(step_of(model, plain_gradient), mesh)
    return start(model, plain_gradient), step_fn, mesh


@pytest.fixture(scope="module")
def adam():
    """The same network with Adam, on one device and on four."""
    optimizer = make_optimizer("adam", ())
    train_step = step_of(TinyNet(), optimizer)
    meshes = {n: make_mesh(jax.devices()[:n]) for n in (1, 4)}
    return start(TinyNet(), optimizer), {n: (compile_train_step(train_step, mesh), mesh) for n, mesh in meshes.items()}


def reference_losses(params, state: TrainState, batch: Batch):
    """The two terms, written down again: binary cross-entropy + Dice, and the MSE of two passes."""
    logits, _ = TinyNet().apply(
        {"params": params, "batch_stats": student(state).batch_stats},
        np.concatenate([images_of(batch), *batch.unlabelled.strong]),
        train=True,
        rngs={"dropout": rngs.step_key(KEY, "dropout", state.step)},
        mutable=["batch_stats"],
    )
    p, g = jax.nn.sigmoid(logits[..., 0]), labels_of(batch)
    own = p[:8]
    entropy = -jnp.mean(g * jnp.log(own) + (1 - g) * jnp.log(1 - own))
    overlap, total = (own * g).sum((1, 2)), (own**2).sum((1, 2)) + (g**2).sum((1, 2))
    return entropy + jnp.mean(1 - 2 * overlap / total), jnp.mean((p[4:8] - p[8:]) ** 2)


@pytest.mark.slow
@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_the_update_is_the_gradient_of_the_two_terms(tiny, weight):
    state, step_fn, mesh = tiny
    batch = make_batch()
    after, (metrics,) = run(step_fn, mesh, state, batch, 1, hp(0.5, weight))

    def total(params):
        fit, agreement = reference_losses(params, state, batch)
        return fit + weight * agreement

    gradient = jax.grad(total)(student(state).params)
    expected = jax.tree.map(lambda p, g: p - 0.5 * g, student(state).params, gradient)
    assert largest_difference(student(after).params, expected) < 1e-5
    assert largest_difference(after.networks, state.networks) > 1e-2
    fit, agreement = reference_losses(student(state).params, state, batch)
    np.testing.assert_allclose(metrics["supervised"], fit, rtol=1e-5)
    np.testing.assert_allclose(metrics["consistency"], agreement, rtol=1e-4)
    np.testing.assert_allclose(metrics["loss"], fit + weight * agreement, rtol=1e-5)


@pytest.mark.slow
def test_the_second_view_is_used(tiny):
    state, step_fn, mesh = tiny
    batch = make_batch()
    results = [
        run(step_fn, mesh, state, batch.replace(unlabelled=batch.unlabelled.replace(strong=(strong,))), 1)
        for strong in (batch.unlabelled.strong[0], batch.unlabelled.strong[0][::-1].copy())
    ]
    (first, (a,)), (second, (b,)) = results
    assert a["consistency"] < b["consistency"]  # views of the same image agree better than views of two images
    assert largest_difference(first.networks, second.networks) > 1e-5


def test_images_without_trust_have_no_part_in_the_fit(tiny):
    state, step_fn, mesh = tiny
    batch = make_batch()
    views = batch.unlabelled
    ignored = views.replace(weights=np.zeros_like(views.weights))
    batches = [batch.replace(unlabelled=each) for each in (ignored, ignored.replace(labels=1 - views.labels))]
    (first, (a,)), (second, (b,)) = (run(step_fn, mesh, state, each, 1) for each in batches)
    assert a == b
    assert largest_difference(first.networks, second.networks) == 0
    trusted = batch.replace(unlabelled=views.replace(labels=1 - views.labels))
    assert run(step_fn, mesh, state, trusted, 1)[1][0]["supervised"] != a["supervised"]


def test_key_and_step_decide_what_is_dropped(tiny):
    state, step_fn, mesh = tiny
    batch = make_batch()
    once, again = (run(step_fn, mesh, state, batch, 3) for _ in range(2))
    assert largest_difference(once[0], again[0]) == 0
    assert once[1] == again[1]
    later, _ = run(step_fn, mesh, state.replace(step=state.step + 1), batch, 1)
    first, _ = run(step_fn, mesh, state, batch, 1)
    assert largest_difference(first.networks, later.networks) > 1e-5
    other_key, _ = step_fn(replicate(state, mesh), shard(batch, mesh), hp(0.01, 1.0), jax.random.key(4))
    assert largest_difference(first.networks, other_key.networks) > 1e-5


def test_statistics_move_and_steps_are_counted(tiny):
    state, step_fn, mesh = tiny
    after, _ = run(step_fn, mesh, state, make_batch(), 2)
    assert after.step == state.step + 2
    assert largest_difference(student(after).batch_stats, student(state).batch_stats) > 1e-3


def test_replicating_copies(tiny):
    state, step_fn, mesh = tiny
    once = replicate(state, mesh)
    twice = replicate(once, mesh)
    step_fn(twice, shard(make_batch(), mesh), hp(0.01, 1.0), KEY)
    assert student(twice).params["encoder"]["kernel"].is_deleted()
    assert largest_difference(once.networks, state.networks) == 0


@pytest.mark.slow
def test_the_loss_falls(adam):
    state, programs = adam
    _, history = run(*programs[1], state, make_batch(), 20, hp(0.02, 1.0))
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]


@pytest.mark.slow
def test_four_devices_equal_one(adam):
    state, programs = adam
    (one, first), (four, second) = (run(*programs[n], state, make_batch(), 5) for n in (1, 4))
    assert len(student(four).params["encoder"]["kernel"].devices()) == 4
    assert largest_difference(student(one), student(state)) > 1e-2
    assert largest_difference(student(one), student(four)) < 1e-5
    np.testing.assert_allclose([m["loss"] for m in first], [m["loss"] for m in second], rtol=1e-5)


@pytest.mark.slow
def test_no_number_of_a_stage_compiles_again(adam):
    state, programs = adam
    for step_fn, mesh in programs.values():
        for i in range(3):
            others = {
                "weight_decay": i / 10,
                "clip": 1.0 + i,
                "dice_weight": 1.0 - i / 4,
                "cross_entropy_weight": i / 2,
            }
            run(step_fn, mesh, state, make_batch(), 2, hp(0.01 / (i + 1), i / 3, **others))
        assert step_fn._cache_size() == 1


class TinyCaseUNet(nn.Module):
    """The layers of `case_unet`: one block of its encoder, and its decoder with both kinds of attention."""

    @nn.compact
    def __call__(self, image, *, train, frozen=()):
        x = Conv(8, stride=2, use_bias=False, name="stem")(image)
        deep, shallow = MBConv(Block("1a", 3, 2, 8), 0.2, name="encoder")(x, train=train)
        return Decoder((8, 8), 1, 0.1, 16, 32, 0.9, name="decoder")([shallow, deep], train=train)


@pytest.mark.slow
def test_four_devices_equal_one_with_the_layers_of_case_unet():
    # Not Adam: it divides by the size of the gradient, and makes noise of gradients that are noise.
    model, optimizer = TinyCaseUNet(), make_optimizer("sgd", ())
    train_step, begin = step_of(model, optimizer), start(model, optimizer)
    ends, losses = [], []
    for n in (1, 4):
        mesh = make_mesh(jax.devices()[:n])
        end, history = run(compile_train_step(train_step, mesh), mesh, begin, make_batch(), 5, hp(0.1, 1.0))
        ends.append(student(end))
        losses.append([metrics["loss"] for metrics in history])
    assert largest_difference(ends[0].params, student(begin).params) > 1e-2
    assert largest_difference(ends[0].params, ends[1].params) < 1e-5
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    assert losses[0][-1] < losses[0][0]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), *(e.batch_stats for e in ends))


class TwoAnswers(TinyNet):
    """The same network with a second answer, trained beside the first."""

    @nn.compact
    def __call__(self, image, *, train, frozen=()):
        x = nn.Conv(8, (3, 3), name="encoder")(image)
        self.sow("auxiliary", "logits", nn.Conv(1, (1, 1), name="other")(x))
        return nn.Conv(1, (1, 1), name="decoder")(x)


def test_deep_supervision_is_the_mean_over_all_answers():
    model, batch = TwoAnswers(), jax.tree.map(jnp.asarray, make_batch())
    train_step = step_of(model, plain_gradient, SUPERVISED)
    state = start(model, plain_gradient, SUPERVISED)
    _, metrics = jax.jit(train_step)(state, batch, hp(0.1), KEY)
    sample = batch.labelled

    @jax.jit
    def losses(params):
        logits, found = model.apply({"params": params}, sample.image, train=True, mutable=["auxiliary"])
        supervised = compose.supervised("bce_dice")
        return [supervised(one, sample.labels, sample.weights).mean() for one in (logits, *jax.tree.leaves(found))]

    first, second = losses(student(state).params)
    assert abs(first - second) > 1e-3
    np.testing.assert_allclose(metrics["supervised"], (first + second) / 2, rtol=1e-5)


@pytest.mark.slow
def test_training_in_bfloat16_follows_float32():
    """Thirty steps of Adam: every loss within 5 % of float32's; parameters and statistics stay float32."""
    exact, rounded = (losses_of_thirty_steps(precision) for precision in ("float32", "bfloat16"))
    assert exact[-1] < 0.7 * exact[0]
    assert exact != rounded
    np.testing.assert_allclose(rounded, exact, rtol=0.05)


def losses_of_thirty_steps(precision):
    model = build_model("plain_unet", width=4, depth=1, precision=precision)
    optimizer = make_optimizer("adam", ())
    train_step = jax.jit(step_of(model, optimizer, SUPERVISED))
    state, losses = start(model, optimizer, SUPERVISED), []
    for step in range(30):
        state, metrics = train_step(state, make_batch(seed=step), hp(0.01), KEY)
        losses.append(float(metrics["loss"]))
    assert {leaf.dtype for leaf in jax.tree.leaves(state.networks)} == {jnp.dtype("float32")}
    return losses
