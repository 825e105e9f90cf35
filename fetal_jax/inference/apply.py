"""Prediction at network size: one compiled function, for images as for patches of volumes."""

from collections.abc import Callable, Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Float, UInt8

from fetal_jax.core import logits as classes
from fetal_jax.core.sharding import compiler_options, copied_to, split_over
from fetal_jax.core.types import Array, Variables
from fetal_jax.inference.tta import Predict
from fetal_jax.models.mc_dropout import apply_with_dropout
from input_pipeline.augment import median_blur
from input_pipeline.letterbox import Letterbox, to_range


def make_predict(model: nn.Module, mesh: jax.sharding.Mesh) -> Predict:
    """Compiled (variables, images [b *space c]) -> class probabilities [b *space classes], background first."""

    def predict(variables: Variables, images: Array) -> jax.Array:
        logits = jnp.asarray(model.apply(variables.as_dict(), images, train=False))
        return classes.with_background(classes.probabilities(logits))

    return jax.jit(
        predict,
        in_shardings=(copied_to(mesh), split_over(mesh)),
        out_shardings=copied_to(mesh),
        compiler_options=compiler_options(mesh),
    )


def make_dropout_predict(model: nn.Module, mesh: jax.sharding.Mesh) -> Callable[..., jax.Array]:
    """Compiled (key, variables, images [b *space c]) -> class probabilities of one draw of the dropout."""

    def predict(key: jax.Array, variables: Variables, images: Array) -> jax.Array:
        logits = jnp.asarray(apply_with_dropout(model, variables, images, key))
        return classes.with_background(classes.probabilities(logits))

    whole = copied_to(mesh)
    return jax.jit(
        predict,
        in_shardings=(whole, whole, split_over(mesh)),
        out_shardings=whole,
        compiler_options=compiler_options(mesh),
    )


def network_input(
    image: UInt8[np.ndarray, "h w c"], size: int, blur: int, intensity: str = "unit"
) -> Float[np.ndarray, "size size c"]:
    """What the network is given for a native image: fitted to its square, in the range that `intensity` names.

    The published augmentations median-blur every training image, so prediction does the same; `blur` 0 does not.
    """
    net = Letterbox.fit(image.shape[:2], size).image_to_net(image)
    return to_range((median_blur(net, blur) if blur else net).astype(np.float32) / 255, intensity)


def predict_all(
    predict: Predict, variables: Variables, images: Iterable[np.ndarray], batch_size: int
) -> Iterator[Float[np.ndarray, "*space c"]]:
    """Class probabilities of each image [*space c], one by one, every image once; the last batch is padded."""
    batch = []
    for image in images:
        batch.append(image)
        if len(batch) == batch_size:
            yield from np.asarray(predict(variables, np.stack(batch)))
            batch = []
    if batch:
        padded = np.stack(batch + [batch[-1]] * (batch_size - len(batch)))
        yield from np.asarray(predict(variables, padded))[: len(batch)]
