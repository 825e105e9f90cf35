"""ADU-Net and its dense block against MONAI's parts, from a golden file that torch_dense.py wrote."""

import functools
import pathlib
import re

import flax.traverse_util
import jax
import numpy as np
import pytest
import weights

from fetal_jax.models import build_model
from fetal_jax.models.adu_net import DenseBlock

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "golden" / "dense.npz")
KINDS = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
SHAPES = {"volume": (2, 8, 16, 8, 2), "image": (1, 24, 16, 1)}
QUICK = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def in_block(module: str) -> str:
    """PyTorch's name of a convolution or batch normalisation of a dense block."""
    kind, number = re.fullmatch(r"(conv|activate)(\d*)", module).groups()
    if not number:
        return "1.N"
    return f"0.layers{int(number) - 1}." + ("1" if kind == "conv" else "0.N")


def in_network(path: tuple[str, ...]) -> str:
    """PyTorch's name of a module of ADU-Net."""
    part, name, *inner = path
    way = {"encoder": "down", "decoder": "up"}[part]
    kind, number = re.fullmatch(r"([a-z]+)(\d*)(?:_activate)?", name).groups()
    if kind == "block":
        return f"{way}_blocks.{int(number) - 1}.{in_block(inner[0])}"
    if kind == "down":
        return f"down.{int(number) - 1}." + ("1.N" if inner else "0")
    return f"up.{int(number) - 1}" if kind == "up" else name


def filled(module, image, name_of):
    """Variables of a module, each with the value that PyTorch's name of it gives."""
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), image, train=False))

    def value(path, leaf):
        *modules, kind = path[1:]
        name = f"{name_of(tuple(modules))}.{KINDS.get(kind, kind)}"
        return weights.from_torch(name, leaf.shape, transposed=modules[-1].startswith("up"))

    flat = flax.traverse_util.flatten_dict(shapes)
    return flax.traverse_util.unflatten_dict({path: value(path, leaf) for path, leaf in flat.items()})


def output(module, image, name_of):
    variables = filled(module, image, name_of)
    return QUICK(lambda variables, image: module.apply(variables, image, train=False))(variables, image)


@pytest.mark.parametrize("name", SHAPES)
def test_dense_block_equals_monais(name):
    block = DenseBlock(layers=3, growth=2, dropout=0.1, bn_momentum=0.9)
    image = weights.image(name, (*SHAPES[name][:-1], 4))
    found = output(block, image, lambda path: in_block(path[0]))
    np.testing.assert_allclose(found, GOLDEN[f"dense_block/{name}"], rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
def test_adu_net_equals_the_peer(name):
    model = build_model("adu_net", num_classes=4, width=4, growth=2)
    expected = GOLDEN[f"adu_net/{name}"]
    found = output(model, weights.image(name, SHAPES[name]), in_network)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    assert expected.std() > 0.1


@pytest.mark.slow
def test_parameter_count_equals_the_peers():
    model, volume = build_model("adu_net", num_classes=4), np.zeros((1, 32, 32, 32, 2), np.float32)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), volume, train=False))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == GOLDEN["adu_net/parameters"]
