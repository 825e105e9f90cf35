"""Dual CNN: Vetriselvi & Thenmozhi, "Prenatal diagnostics using deep learning: A dual approach to plane localization
and cerebellum segmentation in ultrasound images", Journal of Clinical Ultrasound 53(4), 2025.

Known of it, from its abstract: it "integrates both the original image and complementary information such as feature
maps". SS_CASE_UNet gives 3 million parameters (Table 2) and speaks of a dual-network design. There is no layer table.

So the network is chosen: two U-Net encoders of equal size. One sees the image, the other two maps of each of its
channels, edges and local contrast. At each level a 1×1 unit fuses the features of both, and the decoder of a U-Net
takes the fused ones. With 16 channels at full resolution this has 3.3 million parameters.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from fetal_jax.core.types import Array
from fetal_jax.layers.blocks import ConvUnit
from fetal_jax.layers.intermediates import record_intermediate
from fetal_jax.models.encoder_decoder import Decoder, Encoder
from fetal_jax.models.registry import register
from fetal_jax.models.segmentation_model import SegmentationModel

REACH = 2  # pixels on each side over which the local mean is taken
FLAT = 1e-6  # keeps the gradient of the edges by the image finite where the image is flat


def complementary_maps(image: Float[Array, "b *space c"]) -> Float[Array, "b *space c2"]:
    """Edges and local contrast of each channel: the length of its gradient, and its distance from the local mean.

    The gradient is by central differences, in intensities a pixel; the mean is that of 5×5 (×5) pixels. Beyond its
    border the image goes on as its last pixels. Computed in float32, returned in the precision of the image.
    """
    exact = image.astype(jnp.float32)
    squares, mean = jnp.full_like(exact, FLAT), exact
    for axis in range(1, image.ndim - 1):
        before, _, after = _shifted(exact, axis, 1)
        squares = squares + jnp.square((after - before) / 2)
        mean = jnp.asarray(sum(_shifted(mean, axis, REACH))) / (2 * REACH + 1)
    return jnp.concatenate([jnp.sqrt(squares), exact - mean], axis=-1).astype(image.dtype)


def _shifted(x: Array, axis: int, reach: int) -> list[Array]:
    """x shifted along an axis by −reach, …, reach pixels."""
    edges = [(reach, reach) if i == axis else (0, 0) for i in range(x.ndim)]
    padded, length = jnp.pad(x, edges, mode="edge"), x.shape[axis]
    return [jax.lax.slice_in_dim(padded, k, k + length, axis=axis) for k in range(2 * reach + 1)]


class DualEncoder(nn.Module):
    """Two encoders, `image` and `maps`, and a 1×1 unit `fuse{level}` at each level."""

    width: int
    depth: int
    dropout: float
    bn_momentum: float

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"], *, train: bool) -> list[Float[Array, "b ..."]]:
        half = functools.partial(Encoder, self.width, self.depth, dropout=self.dropout, bn_momentum=self.bn_momentum)
        seen = half(name="image")(x, train=train)
        derived = half(name="maps")(complementary_maps(x), train=train)
        fused = []
        for level, both in enumerate(zip(seen, derived, strict=True), start=1):
            unit = ConvUnit(both[0].shape[-1], 1, bn_momentum=self.bn_momentum, name=f"fuse{level}")
            feature = unit(jnp.concatenate(both, axis=-1), train=train)
            fused.append(record_intermediate(self, f"features{level}", feature))
        return fused


@register
def dual_cnn(
    *,
    num_classes: int,
    precision: str = "float32",
    width: int = 16,
    depth: int = 4,
    dropout: float = 0.0,
    bn_momentum: float = 0.9,
) -> SegmentationModel:
    """Dual CNN with `width` channels at full resolution and `depth` halvings. Two or three dimensions."""
    encoder = DualEncoder(width, depth, dropout, bn_momentum)
    decoder = Decoder(num_classes, dropout=dropout, bn_momentum=bn_momentum)
    return SegmentationModel(encoder, decoder, 2**depth, precision)
