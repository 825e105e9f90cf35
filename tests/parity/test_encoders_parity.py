"""Encoders against the libraries that publish weights, from a golden file that torch_encoders.py wrote."""

import functools
import hashlib
import pathlib

import flax.traverse_util
import jax
import numpy as np
import pytest
import weights

from fetal_jax.models.encoders import make_encoder
from fetal_jax.pretrained.container import shapes_of
from fetal_jax.pretrained.layouts import torch_layout, torch_shape

pytestmark = pytest.mark.slow

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "golden" / "encoders.npz")
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
CONSTANTS = {"mean": MEAN, "variance": STD**2, "count": np.zeros((), np.float32)}
FIRST = {
    ("smp", "efficientnet"): "_conv_stem.",
    ("lite", "efficientnet"): "_conv_stem.",
    ("timm", "efficientnet"): "conv_stem.",
    ("timm", "resnet"): "conv1.",
    ("torchvision", "resnet"): "conv1.",
    ("transformers", "efficientnet"): "efficientnet.embeddings.",
    ("transformers", "resnet"): "embedder.embedder.",
}
COMPARED = sorted({name.rpartition("/")[0] for name in GOLDEN if name.endswith("/features1")})
NAMED = sorted({name.rpartition("/")[0] for name in GOLDEN if name.endswith("/names")})


def encoder_of(peer: str) -> str:
    """Our name of a peer's network: timm's own EfficientNets pad as PyTorch, all others as TensorFlow."""
    library, name = peer.split("/")
    return f"timm_{name}" if library == "timm" and name.startswith("efficientnet") else name.removeprefix("tf_")


def tensor_name(peer: str, path: str) -> str:
    """The peer's name of our variable."""
    library, name = peer.split("/")
    first = FIRST[library, "resnet" if name.startswith("resnet") else "efficientnet"]
    return torch_layout(encoder_of(peer), {first}).tensor(encoder_of(peer), path)


def layers_of(encoder: str):
    """Shapes of the variables that a file holds, by path."""
    return {path: shape for path, shape in shapes_of(encoder).items() if "/normalization/" not in path}


def filled(peer: str):
    """Variables of our encoder with the values that the peer's names give."""
    layers = {
        path: weights.from_torch(tensor_name(peer, path), shape) for path, shape in layers_of(encoder_of(peer)).items()
    }
    constants = {f"batch_stats/normalization/{name}": value for name, value in CONSTANTS.items()}
    return flax.traverse_util.unflatten_dict(layers | constants, sep="/")


@functools.cache
def forward(encoder: str):
    module = make_encoder(encoder, 0.9)
    return jax.jit(lambda variables, image: module.apply(variables, image, train=False))


@pytest.mark.parametrize("peer", COMPARED)
def test_features_equal_those_of(peer):
    features = forward(encoder_of(peer))(filled(peer), weights.image("encoders", (2, 64, 96, 3)))
    assert len(features) == 5
    for level, values in enumerate(features, start=1):
        expected = GOLDEN[f"{peer}/features{level}"]
        found = weights.digest(values)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * max(1, np.abs(expected).max()), err_msg=level)


@pytest.mark.parametrize("peer", NAMED)
def test_names_and_shapes_are_those_of(peer):
    tensors = {tensor_name(peer, path): shape for path, shape in layers_of(encoder_of(peer)).items()}
    listing = "\n".join(sorted(f"{name} {list(torch_shape(shape))}" for name, shape in tensors.items()))
    assert [*hashlib.sha256(listing.encode()).digest()] == GOLDEN[f"{peer}/names"].tolist()


@pytest.mark.parametrize("peer", NAMED)
def test_parameter_counts_are_those_of(peer):
    layers = layers_of(encoder_of(peer))
    trained = sum(int(np.prod(shape)) for path, shape in layers.items() if path.startswith("params/"))
    assert trained == GOLDEN[f"{peer}/count"]
