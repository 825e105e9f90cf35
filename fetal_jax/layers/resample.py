"""Changes of resolution in two or three dimensions: pooling, up-sampling, padding to a multiple, cropping back."""

import jax.numpy as jnp
from jaxtyping import Float

from fetal_jax.core.types import Array


def upsample_2x(x: Float[Array, "b *space c"]) -> Float[Array, "b *space2 c"]:
    """Repeats every pixel twice along each axis (nearest neighbour, the default of Keras' UpSampling2D)."""
    b, *space, c = x.shape
    alone = x.reshape(b, *(part for n in space for part in (n, 1)), c)
    repeated = jnp.broadcast_to(alone, (b, *(part for n in space for part in (n, 2)), c))
    return repeated.reshape(b, *(2 * n for n in space), c)


def max_pool_2x(x: Float[Array, "b *space c"]) -> Float[Array, "b *space2 c"]:
    """The largest of each 2×2 (×2) pixels; an odd last row or column is left out. Equals share the gradient.

    Not a reduction: XLA derives its gradient from a comparison with the result, and where a compiler rounds the two
    apart no pixel equals the maximum and the gradient is 0/0.
    """
    for axis in range(1, x.ndim - 1):
        before, even = (slice(None),) * axis, x.shape[axis] // 2 * 2
        x = jnp.maximum(x[(*before, slice(0, even, 2))], x[(*before, slice(1, even, 2))])
    return x


def pad_to_multiple(x: Float[Array, "b *space c"], multiple: int) -> Float[Array, "b *space2 c"]:
    """Appends black pixels at the end of each axis until its length is a multiple of `multiple`."""
    return jnp.pad(x, ((0, 0), *((0, -n % multiple) for n in x.shape[1:-1]), (0, 0)))


def crop_to(x: Float[Array, "b *space c"], space: tuple[int, ...]) -> Float[Array, "b *space2 c"]:
    """Keeps the first pixels of each axis; undoes `pad_to_multiple`."""
    return x[(slice(None), *(slice(n) for n in space))]
