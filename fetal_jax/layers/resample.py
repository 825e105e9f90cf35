"""Changes of resolution in two or three dimensions: pooling, up-sampling, padding to a multiple, cropping back."""

import jax.numpy as jnp
from jaxtyping import Float

from fetal_jax.types import Array


def upsample_2x(x: Float[Array, "b *space c"]) -> Float[Array, "b *space2 c"]:
    """Repeats every pixel twice along each axis (nearest neighbour, the default of Keras' UpSampling2D)."""
    b, *space, c = x.shape
    alone = x.reshape(b, *(part for n in space for part in (n, 1)), c)
    repeated = jnp.broadcast_to(alone, (b, *(part for n in space for part in (n, 2)), c))
    return repeated.reshape(b, *(2 * n for n in space), c)


def _blocks(x: Float[Array, "b *space c"]) -> tuple[Float[Array, "b *blocks c"], tuple[int, ...]]:
    """The image as 2×2 (×2) blocks, and the axes that run inside a block. An odd last row or column is left out."""
    b, *space, c = x.shape
    x = crop_to(x, tuple(n - n % 2 for n in space))
    inside = tuple(range(2, 2 + 2 * len(space), 2))
    return x.reshape(b, *(part for n in space for part in (n // 2, 2)), c), inside


def max_pool_2x(x: Float[Array, "b *space c"]) -> Float[Array, "b *space2 c"]:
    """The largest of each 2×2 (×2) pixels. As a reshape: the gradient of a windowed maximum is slow on CPUs."""
    blocks, inside = _blocks(x)
    return blocks.max(inside)


def mean_pool_2x(x: Float[Array, "b *space c"]) -> Float[Array, "b *space2 c"]:
    """The mean of each 2×2 (×2) pixels."""
    blocks, inside = _blocks(x)
    return blocks.mean(inside)


def pad_to_multiple(x: Float[Array, "b *space c"], multiple: int) -> Float[Array, "b *space2 c"]:
    """Appends black pixels at the end of each axis until its length is a multiple of `multiple`."""
    return jnp.pad(x, ((0, 0), *((0, -n % multiple) for n in x.shape[1:-1]), (0, 0)))


def crop_to(x: Float[Array, "b *space c"], space: tuple[int, ...]) -> Float[Array, "b *space2 c"]:
    """Keeps the first pixels of each axis; undoes `pad_to_multiple`."""
    return x[(slice(None), *(slice(n) for n in space))]
