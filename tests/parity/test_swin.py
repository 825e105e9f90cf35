"""Swin blocks, patch merging and the encoder against torchvision and timm, from a file that torch_swin.py wrote."""

import functools
import pathlib
import re

import flax.traverse_util
import jax
import numpy as np
import pytest
import weights

from fetal_jax.layers.patches import PatchMerging
from fetal_jax.models.swin_unet import SwinBlock, SwinEncoder

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "golden" / "swin.npz")
WIDTH, HEADS, WINDOW = 12, 3, 4
MAPS = {"whole": (8, 12), "ragged": (10, 7), "low": (3, 9)}
KINDS = {"kernel": "weight", "scale": "weight"}
QUICK = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def in_torchvision_block(path: str) -> str:
    path = re.sub("^expand", "mlp.0", re.sub("^contract", "mlp.3", path))
    path = path.replace("attention/qkv_bias", "attn.qkv.bias").replace("project", "proj")
    return path.replace("attention/relative_bias", "attn.relative_position_bias_table").replace("attention", "attn")


def in_torchvision(path: str) -> str:
    if found := re.match(r"stage(\d)/block(\d)/(.*)", path):
        return f"features.{2 * int(found[1]) - 1}.{int(found[2]) - 1}.{in_torchvision_block(found[3])}"
    path = re.sub(r"merge(\d)", lambda m: f"features.{2 * int(m[1])}", path).replace("reduce", "reduction")
    return path.replace("norm_patches", "features.0.2").replace("patches", "features.0.0")


def in_timm(path: str) -> str:
    if found := re.match(r"stage(\d)/block(\d)/(.*)", path):
        inner = in_torchvision_block(found[3]).replace("mlp.0", "mlp.fc1").replace("mlp.3", "mlp.fc2")
        return f"layers.{int(found[1]) - 1}.blocks.{int(found[2]) - 1}.{inner}"
    path = path.replace("norm_patches", "patch_embed.norm").replace("patches", "patch_embed.proj")
    return re.sub(r"merge(\d)", r"layers.\1.downsample", path).replace("reduce", "reduction")


def filled(module, x, name_of, **options):
    """Variables of a module with the weights that their names in the peer give."""
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), x, **options))["params"]
    flat = flax.traverse_util.flatten_dict(shapes, sep="/")

    def name(path: str) -> str:
        module_path, _, kind = name_of(path).replace("/", ".").rpartition(".")
        return ".".join(filter(None, (module_path, KINDS.get(kind, kind))))

    values = {path: weights.from_torch(name(path), leaf.shape) for path, leaf in flat.items()}
    return {"params": flax.traverse_util.unflatten_dict(values, sep="/")}


def outputs(module, x, name_of, **options):
    """What a module gives with those weights, and its features on the way."""
    variables = filled(module, x, name_of, **options)
    return QUICK(lambda x: module.apply(variables, x, **options, mutable=["intermediates"]))(x)


def feature_map(name: str):
    return weights.image(f"swin/{name}", (2, *MAPS[name], WIDTH)) - np.float32(0.5)


def assert_close(found, name: str):
    np.testing.assert_allclose(found, GOLDEN[name], rtol=0, atol=1e-4 * max(1.0, np.abs(GOLDEN[name]).max()))


@pytest.mark.slow
@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("shifted", [False, True], ids=["plain", "shifted"])
def test_blocks_equal_torchvision(name, shifted):
    block = SwinBlock(HEADS, WINDOW, shifted, 0.2)
    found, _ = outputs(block, feature_map(name), in_torchvision_block, train=False)
    assert_close(found, f"{'shifted' if shifted else 'plain'}/{name}")


def test_patch_merging_equals_torchvision():
    found, _ = outputs(PatchMerging(2 * WIDTH), feature_map("whole"), lambda path: path.replace("reduce", "reduction"))
    assert_close(found, "merging")


@pytest.mark.slow
def test_the_encoder_equals_torchvision_where_every_stage_is_filled_up():
    image = weights.image("swin/torchvision", (1, 64, 96, 3))
    features, found = outputs(SwinEncoder(WIDTH, 7, 0.2), image, in_torchvision, train=False)
    for level, feature in enumerate(features[:-1]):  # what enters a stage
        assert_close(feature, f"torchvision/{2 * level}")
    for level in range(4):  # what leaves it
        assert_close(found["intermediates"][f"features{level + 1}"], f"torchvision/{2 * level + 1}")
    assert_close(features[-1], "torchvision/8")


@pytest.mark.slow
def test_the_encoder_equals_timm_where_windows_fit():
    image = weights.image("swin/timm", (1, 64, 64, 1))
    features, found = outputs(SwinEncoder(WIDTH, 2, 0.2), image, in_timm, train=False)
    for level in range(4):
        assert_close(found["intermediates"][f"features{level + 1}"], f"timm/{level}")
    assert_close(features[-1], "timm/4")


@pytest.mark.slow
def test_the_encoder_counts_as_many_parameters_as_torchvision():
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    shapes = jax.eval_shape(functools.partial(SwinEncoder(96, 7, 0.2).init, train=False), jax.random.key(0), image)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == GOLDEN["count/encoder"]
