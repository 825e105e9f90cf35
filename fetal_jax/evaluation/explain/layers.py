"""The named layers of a network: which there are, and their features as maps of the image."""

import functools
from collections.abc import Iterable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from fetal_jax.core.types import Array, UserError, Variables
from fetal_jax.models import intermediates

ATTENTION = "_attention"  # how the names of attention maps end
NO_LAYER = (
    "the network names no layer that Grad-CAM could look at: call record_intermediate in its modules "
    "(fetal_jax/layers/intermediates.py)"
)


def layers(model: nn.Module, variables: Variables, image: Float[Array, "h w c"]) -> dict[str, tuple[int, ...]]:
    """The layers that Grad-CAM can look at, and their shapes (rows, columns, channels) for this image.

    Attention maps are not among them: see `attention_maps`.
    """
    found = jax.eval_shape(lambda v, x: intermediates(model, v, x[None]), variables, image)
    return {name: value.shape[1:] for name, value in found.items() if not name.endswith(ATTENTION)}


def default_layer(model: nn.Module, variables: Variables, image: Float[Array, "h w c"]) -> str | None:
    """The decoder's second layer from the bottom, where features have met two skips; its only one if it has no more.

    Of a network that names layers in its encoder only, the deepest of these; None for one that names no layer.

    Vinogradova et al. 2020 look at the bottleneck. On trained networks of this project (docs/explain.md) that pointed
    at the structure less than half as strongly, and its map is coarse. The decoder's last layer would tell nothing new:
    only logits come after it, so its Grad-CAM is the prediction itself.
    """
    shapes = layers(model, variables, image)
    decoder = [name for name in shapes if name.startswith("decoder/")]
    if not decoder:
        return min(shapes, key=lambda name: shapes[name][0] * shapes[name][1], default=None)
    return sorted(decoder, key=lambda name: (shapes[name][0] * shapes[name][1], name))[:2][-1]


def checked(layer: str, found: Iterable[str]) -> str:
    """The layer. Raises UserError if it is not among those found."""
    allowed = [name for name in found if not name.endswith(ATTENTION)]
    if not allowed:
        raise UserError(NO_LAYER)
    if layer not in allowed:
        raise UserError(f"layer {layer!r} is unknown: choose one of {', '.join(allowed)}")
    return layer


def as_map(feature: Float[Array, "h2 w2"], model: nn.Module, space: tuple[int, int]) -> Float[Array, "h w"]:
    """A feature on the pixels of an image of that size, bilinear. Networks pad images to multiples of their stride."""
    padded = tuple(n + -n % model.stride for n in space)
    resized = jax.image.resize(feature.astype(jnp.float32), padded, "linear", antialias=False)
    return resized[: space[0], : space[1]]


@functools.partial(jax.jit, static_argnames="model")
def _attention_maps(model: nn.Module, variables: Variables, image: Array) -> dict[str, Array]:
    found = intermediates(model, variables, image[None])
    return {
        k: as_map(v[0, ..., 0], model, (image.shape[0], image.shape[1]))
        for k, v in found.items()
        if k.endswith(ATTENTION)
    }


def attention_maps(
    model: nn.Module, variables: Variables, image: Float[Array, "h w c"]
) -> dict[str, Float[np.ndarray, "h w"]]:
    """The maps of a network's attention gates by name, in [0, 1], at the image's size; none if it has no gates."""
    return {name: np.asarray(values) for name, values in _attention_maps(model, variables, image).items()}
