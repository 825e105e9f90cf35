"""Swin U-Net: sizes, the decoder against the paper's equations, training without batch statistics."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fetal_jax.core.sharding import make_mesh, shard
from fetal_jax.core.types import UserError, Variables
from fetal_jax.inference import segmenter
from fetal_jax.models import build_model
from fetal_jax.models.swin_unet import SwinBlock, SwinDecoder, SwinStage

QUICK = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def draw(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def shapes_of(module, *inputs):
    return jax.eval_shape(functools.partial(module.init, train=False), jax.random.key(0), *inputs)


def count(channels, classes, **options):
    shapes = shapes_of(
        build_model("swin_unet", num_classes=classes, **options), jax.ShapeDtypeStruct((1, 32, 32, channels), "float32")
    )
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def scattered(module, *inputs):
    """Weights by NumPy, sooner than an initialiser compiles: kernels of unit gain, scales about 1."""

    def value(path, leaf):
        kind, noise = path[-1].key, draw(leaf.size, *leaf.shape)
        if kind == "kernel":
            return noise / np.sqrt(np.prod(leaf.shape[:-1]), dtype=np.float32)
        return 0.2 * noise + np.float32(kind == "scale")

    return jax.tree_util.tree_map_with_path(value, shapes_of(module, *inputs))


@pytest.mark.slow
def test_parameter_counts_of_the_published_code():
    assert count(3, 9) == 27_168_900  # 27.17 M
    tables = 13**2 * 2 * (3 + 6 + 12 + 24 + 12 + 6 + 3)
    assert round((count(3, 9) - tables) / 1e6, 2) == 27.15
    assert count(1, 1) == 27_168_900 - 2 * 16 * 96 - 8 * 96
    assert count(1, 1, window=8) - count(1, 1) == tables * (15**2 - 13**2) // 13**2


def layer_norm(x, p):
    normalised = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return normalised * p["scale"] + p["bias"]


def expand(x, size, p):
    """Patch expanding: project, rearrange b h w (p1 p2 c) -> b (h p1) (w p2) c, normalise (§3.5)."""
    b, h, w, _ = x.shape
    x = (x @ p["expand"]["kernel"]).reshape(b, h, w, size, size, -1)
    rows = [np.concatenate([x[:, i, j, p1] for j in range(w)], axis=1) for i in range(h) for p1 in range(size)]
    return layer_norm(np.stack(rows, axis=1), p["norm"])


@pytest.mark.slow
def test_the_decoder_follows_the_paper():
    features = [draw(level, 2, 8 >> level, 16 >> level, 12 << level) for level in range(4)]
    module = SwinDecoder(num_classes=3, window=2, dropout=0.2)
    variables = scattered(module, features)
    p, x = variables["params"], features[-1]
    for level in (2, 1, 0):
        x = expand(x, 2, p[f"expand{level + 1}"])
        fuse = p[f"fuse{level + 1}"]
        x = np.concatenate([x, features[level]], axis=-1) @ fuse["kernel"] + fuse["bias"]
        stage = QUICK(functools.partial(SwinStage(level, 2, 0.2).apply, train=False))
        x = np.asarray(stage({"params": p[f"stage{level + 1}"]}, x.astype(np.float32)))
    expected = expand(layer_norm(x, p["norm"]), 4, p["expand0"]) @ p["logits"]["kernel"]
    found = QUICK(lambda features: module.apply(variables, features, train=False))(features)
    assert found.shape == (2, 32, 64, 3)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_initial_weights_are_small_and_normal():
    block = SwinBlock(heads=3, window=2, shifted=False, drop_rate=0.0)
    p = QUICK(functools.partial(block.init, train=False))(jax.random.key(0), draw(0, 1, 2, 2, 48))["params"]
    for kernel in (p["attention"]["qkv"]["kernel"], p["expand"]["kernel"], p["contract"]["kernel"]):
        assert np.std(kernel) == pytest.approx(0.02, rel=0.05)
        assert np.abs(kernel).max() > 0.06  # three standard deviations: not truncated at two
    assert not np.any(p["attention"]["qkv_bias"])
    assert np.std(p["attention"]["relative_bias"]) == pytest.approx(0.02, rel=0.5)


@pytest.mark.slow
def test_stochastic_depth_rises_to_its_rate_and_drops_whole_images():
    stage = SwinStage(level=3, window=2, dropout=0.5)
    x = draw(0, 256, 1, 1, 24)
    variables = scattered(stage, x)

    def run(key):
        return stage.apply(variables, x, train=True, rngs={"dropout": key})

    untouched = np.asarray(QUICK(run)(jax.random.key(0)) == x).all((1, 2, 3)).mean()
    assert untouched == pytest.approx((0.5 * 6 / 7) ** 2 * 0.5**2, abs=0.04)  # both blocks, both branches
    first = SwinStage(level=0, window=2, dropout=0.5)
    _, captured = jax.eval_shape(lambda: first.init_with_output(jax.random.key(0), draw(0, 1, 2, 2, 6), train=False))
    assert set(captured["params"]) == {"block1", "block2"}


@pytest.mark.slow
def test_a_batch_over_four_devices_trains_as_on_one():
    stage, images, targets = SwinStage(level=0, window=3, dropout=0.2), draw(1, 4, 5, 7, 6), draw(2, 4, 5, 7, 6)

    def loss(params, images, targets):
        return jnp.mean(jnp.square(stage.apply(params, images, train=False) - targets))

    gradients, params = QUICK(jax.grad(loss)), scattered(stage, images)
    one, four = gradients(params, images, targets), gradients(params, *shard((images, targets), make_mesh()))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), one, four)


@pytest.mark.slow
def test_it_is_saved_and_read_without_batch_statistics(tmp_path, card):
    settings = {"name": "swin_unet", "num_classes": 1, "width": 6, "window": 2}
    variables = scattered(build_model(**settings), draw(0, 1, 32, 32, 1))
    assert set(variables) == {"params"}
    segmenter.save(tmp_path / "model", dataclasses.replace(card, model=settings), Variables(variables["params"], {}))
    read_card, read = segmenter.read(tmp_path / "model")
    assert read_card.model == settings
    assert read.batch_stats == {}
    jax.tree.map(np.testing.assert_array_equal, read.params, variables["params"])


def test_what_it_does_not_take():
    with pytest.raises(UserError, match="width 10 of model 'swin_unet' must be a multiple of 3"):
        build_model("swin_unet", width=10)
    with pytest.raises(UserError, match="unknown option 'bn_momentum' of model 'swin_unet': choose one of width"):
        build_model("swin_unet", bn_momentum=0.9)
    with pytest.raises(UserError, match="in two dimensions only"):
        shapes_of(build_model("swin_unet", width=6), draw(0, 1, 8, 8, 8, 1))
