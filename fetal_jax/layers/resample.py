"""Changes of resolution: nearest 2× up-sampling, padding to a multiple, cropping back."""

import jax.numpy as jnp
from jaxtyping import Float

from fetal_jax.types import Array


def upsample_2x(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Repeats every pixel 2×2 (nearest neighbour, the default of Keras' UpSampling2D)."""
    b, h, w, c = x.shape
    repeated = jnp.broadcast_to(x[:, :, None, :, None, :], (b, h, 2, w, 2, c))
    return repeated.reshape(b, 2 * h, 2 * w, c)


def pad_to_multiple(x: Float[Array, "b h w c"], multiple: int) -> Float[Array, "b h2 w2 c"]:
    """Appends black rows and columns until height and width are multiples of `multiple` pixels."""
    _, h, w, _ = x.shape
    return jnp.pad(x, ((0, 0), (0, -h % multiple), (0, -w % multiple), (0, 0)))


def crop_to(x: Float[Array, "b h w c"], height: int, width: int) -> Float[Array, "b h2 w2 c"]:
    """Keeps the first `height` rows and `width` columns; undoes `pad_to_multiple`."""
    return x[:, :height, :width, :]
