import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fetal_jax.core.types import UserError, Variables
from fetal_jax.models import build_model, intermediates
from fetal_jax.models.efficientnet import EfficientNet

pytestmark = pytest.mark.slow

COUNTS = {"unet": 9_670_036, "ca_unet": 9_826_396, "se_unet": 6_587_132, "case_unet": 6_743_492}


def noise(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def size(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


# LLVM's optimisations would take most of the time of these tests.
QUICK = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def random_weights(path, leaf):
    """Kernels of unit gain; scales and variances 1; the rest 0. Without compiling an initializer for each shape."""
    kind = path[-1].key
    if kind == "kernel":
        fan_in = np.prod(leaf.shape[:-1])
        gain = np.float32(np.sqrt(2 / fan_in))
        return gain * np.random.default_rng(leaf.size).standard_normal(leaf.shape, np.float32)
    return np.full(leaf.shape, float(kind in ("scale", "var", "variance")), np.float32)


@functools.cache
def case_unet():
    """CASE_UNet for three classes, on half the width and depth of B0, which compiles sooner, and variables of it."""
    # Momentum 0: running averages are those of the last batch.
    model = build_model("case_unet", num_classes=3, dropout=0.3, bn_momentum=0.0)
    model = model.clone(encoder=EfficientNet(0.5, 0.5, 0.0))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(1), noise(1, 32, 32, 1), train=False))
    return model, jax.tree_util.tree_map_with_path(random_weights, shapes)


@functools.cache
def train_step(frozen: tuple[str, ...]):
    """A compiled step of Adam on everything, or on all but the encoder: (variables, image) -> variables, gradients."""
    model, variables = case_unet()
    labels = {name: "frozen" if name in frozen else "trainable" for name in variables["params"]}
    optimizer = optax.partition({"trainable": optax.adam(1e-2), "frozen": optax.set_to_zero()}, labels)

    def loss(params, batch_stats, image):
        logits, updates = model.apply(
            {"params": params, "batch_stats": batch_stats},
            image,
            train=True,
            frozen=frozen,
            rngs={"dropout": jax.random.key(2)},
            mutable=["batch_stats"],
        )
        return jnp.mean(logits * noise(*logits.shape)), updates["batch_stats"]

    @QUICK
    def step(variables, image):
        params = variables["params"]
        gradients, batch_stats = jax.grad(loss, has_aux=True)(params, variables["batch_stats"], image)
        updates, _ = optimizer.update(gradients, optimizer.init(params), params)
        return {"params": optax.apply_updates(params, updates), "batch_stats": batch_stats}, gradients

    return step


@functools.cache
def predict():
    model, variables = case_unet()
    return QUICK(lambda image: model.apply(variables, image, train=False))


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_of_the_paper(name):
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    variables = jax.eval_shape(functools.partial(build_model(name).init, train=False), jax.random.key(0), image)
    assert size(variables) == COUNTS[name]
    assert size([variables[collection]["encoder"] for collection in variables]) == 4_049_571
    assert set(variables) == {"params", "batch_stats"}


def test_reductions_change_the_counts_as_published():
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    model = build_model("se_unet", se_reduction=16)
    variables = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), image)
    assert round(size(variables) / 1e6, 2) == 6.61


@pytest.mark.parametrize(("name", "shape"), [("unet", (2, 37, 53, 3)), ("ca_unet", (1, 5, 70, 1))])
def test_logits_have_the_size_of_the_image(name, shape):
    model, image = build_model(name, num_classes=4), jax.ShapeDtypeStruct(shape, jnp.float32)
    (logits, variables) = jax.eval_shape(
        functools.partial(model.init_with_output, train=True),
        {"params": jax.random.key(0), "dropout": jax.random.key(1)},
        image,
    )
    assert logits.shape == (*shape[:3], 4)
    assert variables["params"]["encoder"]["stem_conv"]["kernel"].shape == (3, 3, shape[-1], 32)


def test_black_padding_changes_nothing():
    image = noise(1, 37, 53, 1)
    padded = np.pad(image, ((0, 0), (0, 27), (0, 11), (0, 0)))
    np.testing.assert_array_equal(predict()(image), predict()(padded)[:, :37, :53])


def test_evaluation_treats_images_one_by_one():
    image = noise(3, 32, 64, 1)
    order = np.array([2, 0, 1])
    np.testing.assert_allclose(predict()(image)[order], predict()(image[order]), rtol=1e-5, atol=1e-6)


def test_every_parameter_gets_a_gradient():
    _, variables = case_unet()
    _, gradients = train_step(frozen=())(variables, noise(4, 64, 64, 1))
    norms = jax.tree.map(lambda leaf: float(jnp.abs(leaf).max()), gradients)
    dead = [jax.tree_util.keystr(path) for path, norm in jax.tree.leaves_with_path(norms) if not norm > 0]
    assert dead == []


def test_frozen_encoder_stays_equal_to_the_bit():
    image = noise(4, 64, 64, 1)
    _, variables = case_unet()
    # The running averages of a real batch: with the initial ones the features of random weights fade to nothing.
    before = variables | {"batch_stats": train_step(frozen=())(variables, image)[0]["batch_stats"]}
    after, _ = train_step(frozen=("encoder",))(before, image)
    for collection in ("params", "batch_stats"):
        jax.tree.map(np.testing.assert_array_equal, before[collection]["encoder"], after[collection]["encoder"])
        moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), before[collection], after[collection])
        assert all(jax.tree.leaves(moved["decoder"]))


def test_training_updates_running_averages_and_evaluation_does_not():
    model, before = case_unet()
    after, _ = train_step(frozen=())(before, noise(4, 64, 64, 1))
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), before["batch_stats"], after["batch_stats"])
    constants = moved["encoder"].pop("normalization")
    assert all(jax.tree.leaves(moved))
    assert not any(jax.tree.leaves(constants))
    _, updates = jax.eval_shape(
        lambda v: model.apply(v, noise(1, 32, 32, 1), train=False, mutable=["batch_stats"]), before
    )
    assert jax.tree.structure(updates["batch_stats"]) == jax.tree.structure(before["batch_stats"])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("u_net", {}, "unknown model 'u_net': choose one of adu_net, attention_resunet, attention_unet, ca_unet"),
        ("unet", {"depth": 3}, "unknown option 'depth' of model 'unet': choose one of encoder, dropout"),
        ("unet", {"encoder": "resnet"}, "unknown encoder 'resnet': choose one of efficientnet_b0"),
        ("unet", {"num_classes": 0}, "num_classes 0"),
        ("unet", {"dropout": 1.5}, "dropout 1.5"),
        ("unet", {"dropout": "much"}, "dropout 'much' of model 'unet' must be a number"),
        ("case_unet", {"se_reduction": 0}, "se_reduction 0"),
    ],
)
def test_unknown_names_are_the_users_error(name, options, message):
    with pytest.raises(UserError, match=message):
        build_model(name, **options)


# Trained parameters of the networks of publications at their defaults: one channel, one class.
TRAINED = {
    "unet": 9_627_437,
    "ca_unet": 9_783_717,
    "se_unet": 6_544_533,
    "case_unet": 6_700_813,
    "plain_unet": 31_042_369,
    "resunet": 32_429_057,
    "attention_unet": 31_741_101,
    "attention_resunet": 32_786_605,
    "unet_plus_plus": 9_048_996,
    "swin_unet": 27_165_060,
    "ecau_net": 31_042_410,
    "fcrb_unet": 33_019_498,
    "dual_cnn": 3_300_449,
    "resunet_c": 32_443_905,
    "adu_net": 1_380_113,
    "confidence_net": 1_927_841,
}


@pytest.mark.parametrize("name", TRAINED)
def test_exact_numbers_of_trained_parameters_and_features_of_both_halves(name):
    image, model = jax.ShapeDtypeStruct((1, 64, 64, 1), jnp.float32), build_model(name)
    variables = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), image)
    assert size(variables["params"]) == TRAINED[name]
    given = Variables(variables["params"], variables.get("batch_stats", {}))
    named = jax.eval_shape(functools.partial(intermediates, model), given, image)
    assert {key.partition("/")[0] for key in named} == {"encoder", "decoder"}
