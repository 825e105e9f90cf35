"""Weights and images that Keras and Flax compute alike, from names only. NumPy and nothing else."""

import math
import zlib

import numpy as np

SAMPLE = 24  # values kept of each layer


def _uniform(name: str, shape) -> np.ndarray:
    """Uniform in (−1, 1); RandomState's stream is frozen by NumPy's policy (NEP 19), unlike default_rng's."""
    return np.random.RandomState(zlib.crc32(name.encode())).uniform(-1, 1, shape)


def weight(layer: str, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """The weight `kind` (kernel, bias, gamma, …) of a layer by its Keras name.

    Kernels are scaled by their fan-in. A depthwise kernel [k k c 1] of Keras has the order of ours [k k 1 c].
    """
    u = _uniform(f"fetal_jax/{layer}/{kind}", shape)
    if kind == "kernel":
        fan_in = shape[0] * shape[1] * (1 if 1 in shape[2:] and layer.endswith("dwconv") else shape[2])
        return (u * math.sqrt(5.0 / fan_in)).astype(np.float32)
    centre, spread = {
        "bias": (0.0, 0.2),
        "gamma": (1.0, 0.2),
        "beta": (0.0, 0.2),
        "moving_mean": (0.0, 0.2),
        "moving_variance": (1.0, 0.5),
        "mean": (0.45, 0.05),  # of the image in [0, 1]
        "variance": (0.05, 0.01),
        "count": (0.0, 0.0),
    }[kind]
    return (centre + spread * u).astype(np.float32)


def image(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """An image of noise in [0, 1]."""
    return (0.5 + 0.5 * _uniform(name, shape)).astype(np.float32)


def digest(values) -> np.ndarray:
    """What the golden file keeps of a layer: mean, standard deviation, and `SAMPLE` values spread over the array."""
    flat = np.asarray(values, np.float64).ravel()
    picked = np.linspace(0, flat.size - 1, SAMPLE).round().astype(int)
    return np.concatenate([[flat.mean(), flat.std()], flat[picked]]).astype(np.float32)


def torch_weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The tensor of a PyTorch module by its name in the state dict, in PyTorch's layout."""
    u = _uniform(f"fetal_jax/{name}", shape)
    if name.endswith("weight") and len(shape) > 1:
        return (u * math.sqrt(5.0 / math.prod(shape[1:]))).astype(np.float32)
    centre, spread = {"weight": (1.0, 0.2), "running_var": (1.0, 0.5)}.get(name.rpartition(".")[2], (0.0, 0.2))
    return (centre + spread * u).astype(np.float32)


def from_torch(name: str, shape: tuple[int, ...], *, transposed: bool = False) -> np.ndarray:
    """The same tensor in Flax's layout, of which `shape` is the shape.

    Convolutions [o i *k] become [*k i o], transposed ones [i o *k] too, and linear layers [o i] become [i o].
    """
    if len(shape) < 2 or not name.endswith("weight"):
        return torch_weight(name, shape)
    *size, i, o = shape
    value = torch_weight(name, (i, o, *size) if transposed else (o, i, *size))
    value = value if transposed else value.swapaxes(0, 1)
    return np.moveaxis(value, (0, 1), (-2, -1))
