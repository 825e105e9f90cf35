"""The confidence network: a U-Net that sees a segmentation and its image, and has one task a class."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fetal_jax.models import build_model

QUICK = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
SMALL = {"num_classes": 3, "width": 4, "depth": 2}


def noise(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape, np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 9, 10, 7, 6), (2, 13, 10, 5)])
def test_a_logit_a_class_for_images_and_volumes_of_any_size(shape):
    model, image = build_model("confidence_net", **SMALL), jax.ShapeDtypeStruct(shape, jnp.float32)
    logits, _ = jax.eval_shape(functools.partial(model.init_with_output, train=False), jax.random.key(0), image)
    assert logits.shape == (*shape[:-1], 3)


def test_it_is_the_plain_unet_at_three_halvings():
    """Per level two convolutions of 3³ with BN, on the way up a transposed one of 2³; two modalities, four classes."""
    volume = jax.ShapeDtypeStruct((1, 32, 32, 32, 2 + 4), jnp.float32)
    model = build_model("confidence_net", num_classes=4)
    shapes = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), volume)
    widths, count = [32, 64, 128, 256], 0
    for before, width in zip([6, *widths], widths, strict=False):
        count += 27 * before * width + 27 * width * width + 2 * width + 4 * width
    for before, width in zip(widths[::-1], widths[-2::-1], strict=False):
        count += 8 * before * width + width  # transposed
        count += 27 * 2 * width * width + 27 * width * width + 2 * width + 4 * width
    count += 32 * 4 + 4
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == count == 5_606_948


def test_a_two_way_softmax_is_the_sigmoid_of_the_difference_of_its_logits():
    right, wrong = noise(50), noise(51)[:50]
    softmax = jax.nn.softmax(np.stack([right, wrong], -1))[:, 0]
    np.testing.assert_allclose(softmax, jax.nn.sigmoid(right - wrong), rtol=1e-5)


@pytest.mark.slow
def test_it_learns_where_a_segmentation_is_wrong():
    """A class is where its channel of the image is positive; the segmentation says otherwise in every other column."""
    truth = noise(2, 16, 16, 3) > 0
    claimed = truth ^ (np.arange(16)[:, None] % 2 == 1)
    inputs = np.concatenate([truth * 2.0 - 1, claimed], -1).astype(np.float32)
    target = (truth == claimed).astype(np.float32)
    model = build_model("confidence_net", num_classes=3, width=4, depth=1)
    variables = QUICK(functools.partial(model.init, train=False))(jax.random.key(0), inputs)
    optimizer = optax.adam(3e-2)

    def loss(params, batch_stats):
        tree = {"params": params, "batch_stats": batch_stats}
        logits, updates = model.apply(tree, inputs, train=True, mutable=["batch_stats"])
        return optax.sigmoid_binary_cross_entropy(logits, target).mean(), updates["batch_stats"]

    @QUICK
    def train(variables):
        def step(carry, _):
            params, batch_stats, state = carry
            (value, batch_stats), grads = jax.value_and_grad(loss, has_aux=True)(params, batch_stats)
            updates, state = optimizer.update(grads, state)
            return (optax.apply_updates(params, updates), batch_stats, state), value

        params, batch_stats = variables["params"], variables["batch_stats"]
        return jax.lax.scan(step, (params, batch_stats, optimizer.init(params)), length=60)[1]

    losses = train(variables)
    assert losses[0] > 0.5
    assert losses[-1] < 0.1
