"""Efficient channel attention against timm, from a golden file that torch_eca.py wrote."""

import pathlib

import jax
import numpy as np
import pytest
import weights

from fetal_jax.layers.attention import EfficientChannelAttention

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "golden" / "eca.npz")


@pytest.mark.parametrize("channels", [4, 16, 64, 130])
def test_eca_equals_timm(channels):
    image = 4 * weights.image(f"eca{channels}", (2, 3, 5, channels)) - 2
    module = EfficientChannelAttention()
    shape = jax.eval_shape(lambda: module.init(jax.random.key(0), image))["params"]["conv"]["kernel"].shape
    assert np.prod(shape) == GOLDEN[f"count/{channels}"]
    kernel = weights.from_torch("conv.weight", shape)
    found = module.apply({"params": {"conv": {"kernel": kernel}}}, image)
    np.testing.assert_allclose(found, GOLDEN[f"output/{channels}"], rtol=0, atol=1e-5)
