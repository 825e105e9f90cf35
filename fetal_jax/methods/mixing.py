"""Boxes in which images of a batch are exchanged (CutMix), in two dimensions and three."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Shaped


def boxes(key: jax.Array, shape: Sequence[int], share: jax.Array | float) -> Bool[Array, " n *space"]:
    """A box an image that holds `share` of it, of random sides, anywhere in it. `shape` is [n, *space].

    The sides are share^e of the image's, with random exponents e that sum to 1, rounded to whole pixels: French et al.,
    "Semi-supervised semantic segmentation needs strong, varied perturbations", BMVC 2020.
    """
    n, *space = shape
    cuts = jnp.sort(jax.random.uniform(jax.random.fold_in(key, 0), (n, len(space) - 1)), axis=-1)
    exponents = jnp.diff(cuts, axis=-1, prepend=0.0, append=1.0)  # [n dims]
    sides = jnp.round(jnp.asarray(share) ** exponents * jnp.asarray(space))
    starts = jnp.round(jax.random.uniform(jax.random.fold_in(key, 1), sides.shape) * (jnp.asarray(space) - sides))
    inside = jnp.ones((n, *space), bool)
    for axis, length in enumerate(space):
        place = jnp.arange(length)
        along = (place >= starts[:, axis, None]) & (place < (starts + sides)[:, axis, None])  # [n length]
        inside &= along.reshape(n, *(length if other == axis else 1 for other in range(len(space))))
    return inside


def cut_mix(
    inside: Bool[Array, " n *space"], values: Shaped[Array, " n *space_and_channels"]
) -> Shaped[Array, " n *space_and_channels"]:
    """Each image inside its box, and outside of it the image before it in the batch (of the first, the last)."""
    mask = inside[..., None] if values.ndim > inside.ndim else inside
    return jnp.where(mask, values, jnp.roll(values, 1, axis=0))
