"""Self-attention within windows of a feature map, and shifted windows between which it passes on what it saw.

Source: Liu et al., "Swin Transformer: Hierarchical vision transformer using shifted windows", ICCV 2021, §3.2.
Images only: no map here has a third dimension.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from fetal_jax.core.types import Array
from fetal_jax.layers.conv import plus_bias
from fetal_jax.layers.patches import Linear, small_normal
from fetal_jax.layers.resample import crop_to, pad_to_multiple

APART = -100.0  # added to the score of two tokens that must not see each other, as in the authors' code


def partition(x: Float[Array, "b h w *c"] | Int[Array, "b h w"], window: int) -> Array:
    """The map as [b n t *c]: n windows of t = window² tokens, both row by row. Its sides are multiples of `window`.

    The batch stays the first axis, so a batch that is split over devices stays where it is.
    """
    b, h, w, *c = x.shape
    x = x.reshape(b, h // window, window, w // window, window, *c)
    return x.swapaxes(2, 3).reshape(b, -1, window * window, *c)


def unpartition(x: Float[Array, "b n t c"], space: tuple[int, int]) -> Float[Array, "b h w c"]:
    """Undoes `partition` of a map of sides `space`."""
    b, _, t, c = x.shape
    (h, w), window = space, round(t**0.5)
    return x.reshape(b, h // window, w // window, window, window, c).swapaxes(2, 3).reshape(b, h, w, c)


def pieces(space: tuple[int, int], window: int, shift: tuple[int, int]) -> Int[np.ndarray, "n t"]:
    """Which piece of the image each token of a rolled map is of. Tokens of one window that differ met by wrapping."""
    below, right = (np.arange(n) >= n - by for n, by in zip(space, shift, strict=True))
    return np.asarray(partition(2 * below[None, :, None] + right[None, None], window)[0])


def relative_bias(table: Float[Array, "r r heads"]) -> Float[Array, "heads t t"]:
    """The entry of each pair (query, key) of a window's tokens, by the query's offset from the key.

    table[0, 0] is the offset (1 − window, 1 − window). Products with 0 and 1 instead of a look-up, because the gradient
    of a look-up adds in no fixed order on an accelerator.
    """
    window = (table.shape[0] + 1) // 2
    place = np.arange(window)
    chosen = jax.nn.one_hot(place[:, None] - place + window - 1, 2 * window - 1)  # [query key offset]
    bias = jnp.einsum("abr,cds,rsh->hacbd", chosen, chosen, table, precision="highest")
    return bias.reshape(-1, window**2, window**2)


class WindowAttention(nn.Module):
    """Multi-head self-attention within windows, with a learnt bias for each offset (Eq. 4).

    `shifted` windows begin half a window further down and to the right, and the map wraps around (§3.2, "efficient
    batch computation"); along an axis that one window covers nothing is shifted. A map whose sides are not multiples
    of the window is filled up with zeros below and to the right. The paper does not say so, nor whether other tokens
    see that padding: they do, as in torchvision and in the authors' detection code. Scores and softmax are float32.
    """

    heads: int
    window: int = 7
    shifted: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        b, h, w, c = x.shape
        # Zeros project to the bias, so the padding, often more than the map itself, need not be multiplied.
        qkv = Linear(3 * c, use_bias=False, name="qkv")(x)
        bias = self.param("qkv_bias", nn.initializers.zeros, (3 * c,))
        qkv = plus_bias(pad_to_multiple(qkv, self.window), bias)
        space = qkv.shape[1], qkv.shape[2]
        down, right = (self.window // 2 if self.shifted and n > self.window else 0 for n in space)
        qkv = jnp.roll(qkv, (-down, -right), (1, 2)).reshape(b, *space, 3, self.heads, c // self.heads)
        y = self._attend(partition(qkv, self.window), pieces(space, self.window, (down, right)))
        y = crop_to(jnp.roll(unpartition(y, space), (down, right), (1, 2)), (h, w))
        return Linear(c, name="project")(y)

    def _attend(self, qkv: Float[Array, "b n t 3 heads d"], piece: Int[np.ndarray, "n t"]) -> Float[Array, "b n t c"]:
        """softmax(q · k / √d + bias) · v in each window, between tokens of one piece."""
        q, k, v = (qkv[:, :, :, i] for i in range(3))
        side = 2 * self.window - 1
        table = self.param("relative_bias", small_normal, (side, side, self.heads))
        scores = jnp.einsum("bnqhd,bnkhd->bnhqk", q * q.shape[-1] ** -0.5, k, preferred_element_type=jnp.float32)
        scores = scores + relative_bias(table)
        if piece.any():
            of = jnp.asarray(piece)
            scores = scores + jnp.where(of[:, None, :, None] == of[:, None, None, :], 0.0, APART)
        y = jnp.einsum("bnhqk,bnkhd->bnqhd", jax.nn.softmax(scores).astype(v.dtype), v)
        return y.reshape(*y.shape[:3], -1)
