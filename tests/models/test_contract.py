"""What holds for every network: any image, channels and classes; gradients, order, precision, explanation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from fetal_jax.core.types import UserError, Variables
from fetal_jax.models import MODELS, build_model, gradients_by_intermediates, intermediates, options_of

pytestmark = pytest.mark.slow

# Options that make a network small, where it has them; two networks need others. A network that is not named here is
# tested like all: nothing in this file has to know it.
SMALL = {"width": 4, "depth": 2}
SPECIAL = {"swin_unet": {"width": 12, "window": 2}, "adu_net": {"width": 8, "growth": 4}}


def small(name, **options):
    known = {key: value for key, value in SMALL.items() if key in options_of(name)}
    return build_model(name, **SPECIAL.get(name, known), **options)


# What compiles soon. Networks on a published encoder have no smaller form: test_models.py has their gradients.
LIGHT = [name for name in MODELS if "encoder" not in options_of(name)]
TWO_D = [name for name in MODELS if 3 not in small(name).dims]
VOLUMETRIC = [name for name in MODELS if 3 in small(name).dims]
# The deepest batch normalisation sees a pixel or two an image here: enough to test with, if there are several images.
QUICK = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def draw(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


IMAGE = draw(3, 32, 32, 1)


@functools.cache
def shapes(name, channels=1, num_classes=2, dims=2):
    image = jax.ShapeDtypeStruct((1, *(32,) * dims, channels), jnp.float32)
    model = small(name, num_classes=num_classes)
    return jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), image)


@functools.cache
def variables(name, dims=2):
    """Kernels of unit gain and scattered scales, without compiling an initialiser for each shape."""
    rng = np.random.default_rng(1)

    def value(path, leaf):
        kind = path[-1].key
        if len(leaf.shape) > 1:
            return rng.standard_normal(leaf.shape, np.float32) * np.sqrt(
                1.5 / np.prod(leaf.shape[:-1]), dtype=np.float32
            )
        if kind in ("scale", "var", "variance"):
            return rng.uniform(0.7, 1.3, leaf.shape).astype(np.float32)
        return 0.1 * rng.standard_normal(leaf.shape).astype(np.float32)

    found = jax.tree_util.tree_map_with_path(value, shapes(name, dims=dims))
    return Variables(found["params"], found.get("batch_stats", {}))


@functools.cache
def study(name):
    """(image) -> logits, gradients by all parameters, features and gradients by them; all of them in one compilation.

    In evaluation: in training a bias in front of a batch normalisation has no gradient, the mean takes it away.
    """
    model, given = small(name, num_classes=2), variables(name).as_dict()
    _, found = jax.eval_shape(lambda: model.apply(given, IMAGE, train=False, mutable=["intermediates"]))
    features = found.get("intermediates", {})

    def loss(params, perturbations, image):
        held = given | {"params": params, "perturbations": perturbations}
        logits, found = model.apply(held, image, train=False, mutable=["intermediates", "auxiliary"])
        outputs = [logits, *jax.tree.leaves(found.get("auxiliary", ()))]
        return sum(jnp.mean(jnp.square(x - draw(*x.shape))) for x in outputs), (logits, found.get("intermediates", {}))

    @QUICK
    def run(image):
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), features)
        (slopes, by_features), (logits, values) = jax.grad(loss, (0, 1), has_aux=True)(given["params"], zeros, image)
        return logits, slopes, values, by_features

    return run


@functools.cache
def studied(name):
    return study(name)(IMAGE)


def training_gradients(name, remat):
    model = small(name, num_classes=2, dropout=0.2, remat=remat)
    given = variables(name)

    def loss(params):
        held = {"params": params, "batch_stats": given.batch_stats}
        rngs = {"dropout": jax.random.key(0)}
        logits, _ = model.apply(held, IMAGE, train=True, rngs=rngs, mutable=["batch_stats", "auxiliary"])
        return jnp.mean(jnp.square(logits - draw(*logits.shape)))

    return QUICK(jax.grad(loss))(given.params)


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_in_two_groups_and_no_other_collection_is_made(name):
    found = shapes(name)
    assert set(found["params"]) == {"encoder", "decoder"}
    assert set(found) <= {"params", "batch_stats"}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("space", "channels", "classes"), [((37, 53), 3, 4), ((5, 70), 2, 1), ((1, 1), 1, 2)])
def test_logits_have_the_size_of_any_image(name, space, channels, classes):
    model, image = small(name, num_classes=classes), jax.ShapeDtypeStruct((2, *space, channels), jnp.float32)
    logits = jax.eval_shape(functools.partial(model.apply, train=False), shapes(name, channels, classes), image)
    assert logits.shape == (2, *space, classes)
    assert logits.dtype == jnp.float32


@pytest.mark.parametrize("name", VOLUMETRIC)
def test_volumes(name):
    model, image = small(name, num_classes=3), jax.ShapeDtypeStruct((2, 9, 17, 12, 2), jnp.float32)
    logits = jax.eval_shape(functools.partial(model.apply, train=False), shapes(name, 2, 3, 3), image)
    assert logits.shape == (2, 9, 17, 12, 3)


@pytest.mark.parametrize("name", ["plain_unet", "swin_unet"])
def test_black_padding_changes_nothing(name):
    model, given = small(name, num_classes=2), variables(name).as_dict()
    image = IMAGE[:1, :29]
    padded = np.pad(image, ((0, 0), (0, 3), (0, 0), (0, 0)))
    found, expected = (QUICK(functools.partial(model.apply, train=False))(given, x) for x in (image, padded))
    np.testing.assert_allclose(found, expected[:, :29], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", LIGHT)
def test_images_of_a_batch_are_treated_one_by_one(name):
    order, logits = np.array([2, 0, 1]), studied(name)[0]
    found = study(name)(IMAGE[order])[0]
    np.testing.assert_allclose(found, logits[order], rtol=1e-4, atol=1e-5)
    assert np.ptp(logits) > 1e-3


@pytest.mark.parametrize("name", LIGHT)
def test_every_parameter_gets_a_finite_gradient(name):
    peaks = {"/".join(path): float(jnp.abs(leaf).max()) for path, leaf in flatten_dict(studied(name)[1]).items()}
    assert [path for path, peak in peaks.items() if not 0 < peak < np.inf] == []


@pytest.mark.parametrize("name", TWO_D)
def test_networks_of_images_refuse_volumes(name):
    with pytest.raises(UserError, match="in two dimensions only; for volumes choose another"):
        small(name).init(jax.random.key(0), draw(1, 8, 8, 8, 1), train=False)


@pytest.mark.parametrize("name", LIGHT)
def test_bfloat16_follows_float32(name):
    """8 bits of mantissa through some dozens of layers: logits to 6 % of their spread, on average over the pixels."""
    model, given, exact = small(name, num_classes=2, precision="bfloat16"), variables(name).as_dict(), studied(name)[0]
    rounded = QUICK(functools.partial(model.apply, train=False))(given, IMAGE)
    assert rounded.dtype == jnp.float32
    assert 0 < np.abs(rounded - exact).mean() < 0.06 * np.std(exact)


@pytest.mark.parametrize("name", LIGHT)
def test_features_explain(name):
    _, _, values, slopes = (flatten_dict(tree, sep="/") if isinstance(tree, dict) else tree for tree in studied(name))
    # test_models.py: those of the published networks are in both.
    assert {key.split("/")[0] for key in values} <= {"encoder", "decoder"}
    # What is not upstream of the logits could be no explanation of them.
    assert [key for key, slope in slopes.items() if not jnp.abs(slope).max() > 0] == []
    maps = {key: value for key, value in values.items() if key.endswith("attention")}
    assert all(value.min() >= 0 and value.max() <= 1 for value in maps.values())
    if name in ("attention_unet", "attention_resunet"):
        assert len(maps) == SMALL["depth"]
        assert all(value.shape[-1] == 1 for value in maps.values())


def test_features_and_gradients_by_name():
    model, given, image = small("plain_unet", num_classes=2), variables("plain_unet"), IMAGE[:1]
    values, slopes = gradients_by_intermediates(model, given, image, lambda logits: logits[..., 1].sum())
    assert values.keys() == slopes.keys() == intermediates(model, given, image).keys()
    assert values["encoder/features3"].shape == slopes["encoder/features3"].shape == (1, 8, 8, 16)
    # The logits are linear in the last feature: its gradient is the kernel of the class.
    kernel = given.params["decoder"]["logits"]["kernel"][0, 0, :, 1]
    np.testing.assert_allclose(slopes["decoder/features2"], np.broadcast_to(kernel, (1, 32, 32, 4)), rtol=1e-5)


@pytest.mark.parametrize("name", ["attention_unet", "unet_plus_plus"])
def test_rematerialisation_gives_the_same_gradients(name):
    plain, again = (training_gradients(name, remat) for remat in (False, True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), plain, again)


def test_rematerialisation_keeps_the_named_features_only():
    def kept(remat):
        model, given = small("plain_unet", num_classes=2, remat=remat), variables("plain_unet")

        def loss(params):
            return model.apply(given.as_dict() | {"params": params}, IMAGE, train=False).sum()

        pull_back = jax.eval_shape(lambda params: jax.vjp(loss, params)[1], given.params)
        return sum(leaf.size for leaf in jax.tree.leaves(pull_back))

    assert kept(remat=True) < 0.5 * kept(remat=False)
