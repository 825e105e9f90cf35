"""Cross-entropy and focal loss on logits."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from fetal_jax.losses.terms import term

FOCUS = 2.0  # gamma; Lin et al. 2017, Table 1b


@term("cross_entropy")
def cross_entropy(
    logits: Float[Array, "b *space c"],
    labels: Int[Array, " b *space"],
    weights: Float[Array, " b *space"],
    class_weights: Float[Array, " classes"] | None = None,
) -> Float[Array, " b"]:
    """Weighted mean cross-entropy of each image; binary where there is one logit, softmax where there are several.

    With class weights a pixel counts `weights * class_weights[label]` (trans-thalamic thesis, Eq. 3.2), and the sum of
    these divides, as in PyTorch's weighted mean: a rare class gains its share without the loss losing its scale.
    """
    return _mean(_entropies(logits, labels), labels, weights, class_weights)


@term("focal")
def focal(
    logits: Float[Array, "b *space c"],
    labels: Int[Array, " b *space"],
    weights: Float[Array, " b *space"],
    class_weights: Float[Array, " classes"] | None = None,
    gamma: float = FOCUS,
) -> Float[Array, " b"]:
    """Cross-entropy in which a pixel whose class has probability p counts (1 - p)^gamma (Lin et al. 2017; Eq. 3.3).

    The alpha of the equation is `class_weights`. The mean is that of `cross_entropy`, to which gamma = 0 leads back;
    between 0 and 1 gamma has no finite gradient where the network is sure.
    """
    entropies = _entropies(logits, labels)
    missed = jnp.maximum(-jnp.expm1(-entropies), 0)  # 1 - p; rounding can take it below 0
    return _mean(missed**gamma * entropies, labels, weights, class_weights)


def _entropies(logits, labels):
    """The cross-entropy of each pixel: minus the logarithm of the probability of its class."""
    if logits.shape[-1] == 1:
        return optax.sigmoid_binary_cross_entropy(logits[..., 0], labels)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def _mean(losses, labels, weights, class_weights):
    if class_weights is not None:
        weights = weights * class_weights[labels]
    space = tuple(range(1, weights.ndim))
    return jnp.sum(weights * losses, space) / jnp.maximum(jnp.sum(weights, space), 1e-6)
