"""The segmentation model: an encoder and a decoder, for images of any size, in one precision."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
from jaxtyping import Float

from fetal_jax.core.types import Array, UserError, Variables
from fetal_jax.layers.intermediates import KEPT
from fetal_jax.layers.resample import crop_to, pad_to_multiple

PRECISIONS = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
KEEP_FEATURES = jax.checkpoint_policies.save_only_these_names(KEPT)


class SegmentationModel(nn.Module):
    """An encoder and a decoder behind one interface; their parameters are the groups `encoder` and `decoder`.

    `encoder(image, train=)` gives what `decoder(features, train=)` takes, which gives logits as large as the image: one
    array, or a tuple of the prediction and of others that are trained beside it (deep supervision). The sides of what
    both see are multiples of `stride`; images have as many space axes as `dims` allows. Layers compute in the precision
    of their input, so `precision` sets that of all of them; parameters, statistics and logits are float32. With `remat`
    a training step keeps only the features that `record_intermediate` names and computes the others again in its
    backward pass: less memory, more arithmetic, the same numbers.
    """

    encoder: nn.Module
    decoder: nn.Module
    stride: int
    precision: str = "float32"
    dims: tuple[int, ...] = (2, 3)
    remat: bool = False

    def __call__(
        self, image: Float[Array, "b *space c"], *, train: bool, frozen: tuple[str, ...] = ()
    ) -> Float[Array, "b *space classes"]:
        """Logits of an image of any size and number of channels.

        `train` draws dropout (key "dropout") and updates `batch_stats`. What `frozen` names ("encoder", "decoder") runs
        as in evaluation, on its running averages, which stay as they are; no gradient enters a frozen encoder. Raises
        UserError for volumes where `dims` has no 3.
        """
        space = image.shape[1:-1]
        if len(space) not in self.dims:
            raise UserError(
                f"images have shape {image.shape}: this network takes [b h w c], in two dimensions only; for volumes "
                "choose another one, model.name=adu_net"
            )
        x = pad_to_multiple(image.astype(PRECISIONS[self.precision]), self.stride)
        features = self._run(self.encoder, x, train=train and "encoder" not in frozen)
        if "encoder" in frozen:
            features = jax.lax.stop_gradient(features)
        outputs = self._run(self.decoder, features, train=train and "decoder" not in frozen)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        logits, *auxiliary = (crop_to(output.astype(jnp.float32), space) for output in outputs)
        for output in auxiliary if not self.is_initializing() else ():
            self.sow("auxiliary", "logits", output)
        return logits

    def _run(self, part: nn.Module, inputs: Any, *, train: bool) -> Any:
        def run(part, inputs):
            return part(inputs, train=train)

        return (nn.remat(run, policy=KEEP_FEATURES) if self.remat else run)(part, inputs)


def intermediates(
    model: nn.Module, variables: Variables, image: Float[Array, "b *space c"]
) -> dict[str, Float[Array, "b *space2 c2"]]:
    """The named features of a network in evaluation: `encoder/...`, `decoder/...`, shallow to deep to shallow.

    Attention maps are among them, with one channel in [0, 1]. The image is padded inside, so features may be larger
    than image / stride. Empty for a network that names none.
    """
    _, found = model.apply(variables.as_dict(), image, train=False, mutable=["intermediates"])
    return flax.traverse_util.flatten_dict(found.get("intermediates", {}), sep="/")


def gradients_by_intermediates(
    model: nn.Module, variables: Variables, image: Float[Array, "b *space c"], score: Callable[[Array], Array]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Features as from `intermediates`, and the gradient of `score(logits)`, a number, by each of them."""
    values = intermediates(model, variables, image)
    zeros = flax.traverse_util.unflatten_dict(jax.tree.map(jnp.zeros_like, values), sep="/")

    def scored(perturbations: Any) -> Array:
        held = variables.as_dict() | {"perturbations": perturbations}
        return score(jnp.asarray(model.apply(held, image, train=False)))

    return values, flax.traverse_util.flatten_dict(jax.grad(scored)(zeros), sep="/")
