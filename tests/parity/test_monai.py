"""The plain U-Net family against MONAI, whole networks, from a golden file that torch_monai.py wrote."""

import functools
import pathlib
import re

import flax.traverse_util
import jax
import numpy as np
import pytest
import weights

from fetal_jax.layers.blocks import ResidualBlock
from fetal_jax.models import build_model

pytestmark = pytest.mark.slow

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "golden" / "monai.npz")
WIDTH, CLASSES = 4, 3
SHAPES = {2: (2, 32, 48, 1), 3: (1, 16, 32, 16, 2)}
FEATURES = {2: (2, 5, 7, 6), 3: (2, 5, 3, 4, 6)}
KINDS = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
QUICK = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def in_basic_unet(path: str) -> str:
    """MONAI's name of a module of plain_unet. Its `upcat_4` is the deepest."""
    path = re.sub(r"encoder/stage1/", "conv_0/", path)
    path = re.sub(r"encoder/stage(\d)", lambda m: f"down_{int(m[1]) - 1}/convs", path)
    path = re.sub(r"decoder/up(\d)/conv", lambda m: f"upcat_{5 - int(m[1])}/upsample/deconv", path)
    path = re.sub(r"decoder/merge(\d)", lambda m: f"upcat_{5 - int(m[1])}/convs", path)
    return _unit(path.replace("decoder/logits", "final_conv"), "conv_")


def in_nested_unet(path: str) -> str:
    """MONAI's name of a module of unet_plus_plus."""
    path = re.sub(r"encoder/stage1/", "conv_0_0/", path)
    path = re.sub(r"encoder/stage(\d)", lambda m: f"conv_{int(m[1]) - 1}_0/convs", path)
    path = re.sub(r"decoder/up(\d_\d)/conv", r"upcat_\1/upsample/deconv", path)
    path = re.sub(r"decoder/node(\d_\d)", r"upcat_\1/convs", path)
    return _unit(re.sub(r"decoder/logits(\d)", r"final_conv_0_\1", path), "conv_")


def in_attention_unet(path: str) -> str:
    """MONAI's name of a module of attention_unet: each level is inside the one above, as `submodule.1`."""
    path = re.sub(r"encoder/stage1/", "model/0/conv/", path)
    path = re.sub(r"encoder/stage([2-4])", lambda m: _nested(int(m[1]) - 2) + "/submodule/0/conv", path)
    path = re.sub(r"encoder/stage5", _nested(3) + "/submodule/conv", path)
    path = re.sub(r"decoder/up(\d)", lambda m: _nested(4 - int(m[1])) + "/upconv/up", path)
    path = re.sub(r"decoder/merge(\d)", lambda m: _nested(4 - int(m[1])) + "/merge", path)
    path = re.sub(r"decoder/gate(\d)", lambda m: _nested(4 - int(m[1])) + "/attention", path)
    return _unit(_gate(path.replace("decoder/logits", "model/2/conv")), "")


def in_residual_unet(path: str) -> str:
    """The peer's name of a module of resunet without pre-activation, or of attention_resunet."""
    path = re.sub(r"(?:encoder|decoder)/(stage|up|gate|merge)(\d)", lambda m: f"{m[1]}s/{int(m[2]) - 1}", path)
    for ours, theirs in {"unit1": "1", "unit2": "2", "shortcut": "3"}.items():
        path = path.replace(f"{ours}/conv", f"conv{theirs}/conv").replace(f"{ours}/bn", f"norm{theirs}")
    return _gate(path.replace("decoder/logits", "logits/conv")).replace("/", ".")


def in_residual_block(path: str) -> str:
    """MONAI's name of a module of a ResidualBlock."""
    return path.replace("bn", "norm").replace("conv1", "conv1.conv").replace("conv2", "conv2.conv")


def _nested(level: int) -> str:
    return "model/1" + level * "/submodule/1"


def _gate(path: str) -> str:
    """MONAI's gate has a convolution and a batch normalisation each for gate, skip and their sum."""
    for ours, theirs in {"gate": "W_g", "skip": "W_x", "psi": "psi"}.items():
        path = re.sub(rf"(attention|gates/\d)/{ours}/conv", rf"\1/{theirs}/0/conv", path)
        path = re.sub(rf"(attention|gates/\d)/{ours}/bn", rf"\1/{theirs}/1", path)
    return path


def _unit(path: str, prefix: str) -> str:
    """MONAI counts convolutions from 0 and has batch normalisation in `adn.N`."""
    path = re.sub(r"unit(\d)", lambda m: f"{prefix}{int(m[1]) - 1}", path)
    return path.replace("/bn", "/adn/N").replace("/", ".")


def apply(module, image, name_of, **options):
    """The module's output with the weights that MONAI's names give."""
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), image, train=False))

    def value(path, leaf):
        name = f"{name_of('/'.join(path[1:-1]))}.{KINDS.get(path[-1], path[-1])}"
        transposed = re.search(r"\.deconv\.|\.upconv\.up\.conv\.|^ups\.", name) is not None
        return weights.from_torch(name, leaf.shape, transposed=transposed)

    flat = flax.traverse_util.flatten_dict(shapes)
    variables = flax.traverse_util.unflatten_dict({path: value(path, leaf) for path, leaf in flat.items()})
    return QUICK(lambda v, image: module.apply(v, image, train=False, **options))(variables, image)


def assert_digests_equal(outputs, golden):
    for output, expected in zip(outputs, golden, strict=True):
        np.testing.assert_allclose(weights.digest(output), expected, rtol=0, atol=1e-4)
        assert expected[1] > 0.1  # the standard deviation: there is something to compare


@pytest.mark.parametrize("dims", SHAPES)
def test_plain_unet_equals_basic_unet(dims):
    model = build_model("plain_unet", num_classes=CLASSES, width=WIDTH)
    logits = apply(model, weights.image("image", SHAPES[dims]), in_basic_unet)
    assert_digests_equal([logits], GOLDEN[f"plain_unet_{dims}d"])


@pytest.mark.parametrize("down", ["pool", "stride"])
@pytest.mark.parametrize("dims", SHAPES)
def test_attention_unet_and_its_gates_equal_monais(dims, down):
    model = build_model("attention_unet", num_classes=CLASSES, width=WIDTH, down=down)
    image = weights.image("image", SHAPES[dims])
    logits, found = apply(model, image, in_attention_unet, mutable=["intermediates"])
    assert_digests_equal([logits], GOLDEN[f"attention_unet_{down}_{dims}d"])
    for level in range(1, 5) if down == "pool" else ():
        attention = found["intermediates"]["decoder"][f"gate{level}"]["spatial_attention"]
        expected = GOLDEN[f"gate{level}_{dims}d"]
        np.testing.assert_allclose(weights.digest(attention), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dims", SHAPES)
def test_all_four_outputs_of_unet_plus_plus_equal_monais(dims):
    model = build_model("unet_plus_plus", num_classes=CLASSES, width=WIDTH)
    image = weights.image("image", SHAPES[dims])
    logits, found = apply(model, image, in_nested_unet, mutable=["auxiliary"])
    finest_first = [logits, *found["auxiliary"]["logits"]]
    assert_digests_equal(finest_first[::-1], GOLDEN[f"unet_plus_plus_{dims}d"])


@pytest.mark.parametrize(
    ("name", "options"), [("resunet", {"preactivate": False, "down": "pool"}), ("attention_resunet", {})]
)
@pytest.mark.parametrize("dims", SHAPES)
def test_residual_unets_equal_a_network_of_monais_parts(dims, name, options):
    model = build_model(name, num_classes=CLASSES, width=WIDTH, **options)
    logits = apply(model, weights.image("image", SHAPES[dims]), in_residual_unet)
    assert_digests_equal([logits], GOLDEN[f"{name}_{dims}d"])


@pytest.mark.parametrize("dims", FEATURES)
def test_residual_block_equals_that_of_segresnet(dims):
    x = weights.image("features", FEATURES[dims])
    found = apply(ResidualBlock(6), x, in_residual_block)
    np.testing.assert_allclose(found, GOLDEN[f"residual_block_{dims}d"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["plain_unet", "attention_unet", "attention_resunet", "unet_plus_plus"])
def test_parameter_counts_equal_monais(name):
    image, model = np.zeros((1, 64, 64, 1), np.float32), build_model(name)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == GOLDEN[f"count/{name}"]
