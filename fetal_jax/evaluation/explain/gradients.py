"""Explanations by gradients: Grad-CAM, the gradient by the image, guided backpropagation, guided Grad-CAM."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from fetal_jax.core.types import Array, Variables
from fetal_jax.evaluation.explain.guidance import guided as guide
from fetal_jax.evaluation.explain.layers import as_map, checked, default_layer
from fetal_jax.evaluation.explain.target import Saliency, class_logits, region_of
from fetal_jax.models import gradients_by_intermediates

EDGES = "guided backpropagation follows edges more than it follows the network (Adebayo et al. 2018)"


def grad_cam(
    model: nn.Module,
    variables: Variables,
    image: Float[Array, "h w c"],
    class_id: int,
    layer: str | None = None,
    region: Bool[Array, "rows columns"] | None = None,
) -> Saliency:
    """Grad-CAM for segmentation: ReLU(Σ_k α_k A_k) of the features A_k of a layer, resized to the image.

    α_k is the mean over the layer's pixels of the gradient by A_k of the class's logits, summed over `region`: by
    default the pixels predicted as the class, and the whole image where there are none. `layer` is one of `layers`, by
    default `default_layer`. Values are in units of the logit sum a pixel of the layer.

    Source: Selvaraju et al., "Grad-CAM", ICCV 2017, Eq. 1-2; Vinogradova et al., "Towards interpretable semantic
    segmentation via gradient-weighted class activation mapping", AAAI 2020. Raises UserError for an unknown layer, a
    network without any, or a wrong region.
    """
    layer = layer or default_layer(model, variables, image) or ""
    region, note = region_of(model, variables, image, class_id, region)
    raw = _grad_cam(model, variables, image, class_id, region, layer)
    return Saliency(np.asarray(raw), "grad_cam", class_id, layer, note)


@functools.partial(jax.jit, static_argnames=("model", "layer"))
def _grad_cam(model: nn.Module, variables: Variables, image: Array, class_id, region, layer: str) -> Array:
    score = functools.partial(_score, class_id=class_id, region=region)
    values, gradients = gradients_by_intermediates(model, variables, image[None], score)
    layer = checked(layer, values)
    weights = jnp.mean(gradients[layer][0].astype(jnp.float32), (0, 1))
    return as_map(jax.nn.relu(values[layer][0].astype(jnp.float32) @ weights), model, (image.shape[0], image.shape[1]))


def _score(logits: Array, class_id, region) -> Array:
    return jnp.sum(jnp.where(region, class_logits(logits, class_id)[0], 0))


def gradient(
    model: nn.Module,
    variables: Variables,
    image: Float[Array, "h w c"],
    class_id: int,
    region: Bool[Array, "rows columns"] | None = None,
    *,
    guided: bool = False,
) -> Saliency:
    """How strongly the class's logits, summed over the region, change with each pixel: the largest of its channels.

    With `guided`, the gradient is guided backpropagation's: see `guidance`. Source: Simonyan et al., "Deep inside
    convolutional networks", 2014, section 3; Springenberg et al., "Striving for simplicity", 2015.
    """
    region, note = region_of(model, variables, image, class_id, region)
    raw = _gradient(model, variables, image, class_id, region, guided)
    if not guided:
        return Saliency(np.asarray(raw), "gradient", class_id, note=note)
    return Saliency(np.asarray(raw), "guided", class_id, note="; ".join(filter(None, (note, EDGES))))


@functools.partial(jax.jit, static_argnames=("model", "guided"))
def _gradient(model: nn.Module, variables: Variables, image: Array, class_id, region, guided: bool) -> Array:
    def logits_of(image: Array) -> Array:
        return jnp.asarray(model.apply(variables.as_dict(), image[None], train=False))

    function = guide(logits_of) if guided else logits_of
    by_image = jax.grad(lambda image: _score(function(image), class_id, region))(image)
    return jnp.max(jnp.abs(by_image), axis=-1)


def guided_grad_cam(
    model: nn.Module,
    variables: Variables,
    image: Float[Array, "h w c"],
    class_id: int,
    layer: str | None = None,
    region: Bool[Array, "rows columns"] | None = None,
) -> Saliency:
    """Guided Grad-CAM: Grad-CAM times guided backpropagation, pixel by pixel (Selvaraju et al. 2017, section 3.2)."""
    cam = grad_cam(model, variables, image, class_id, layer, region)
    fine = gradient(model, variables, image, class_id, region, guided=True)
    return dataclasses.replace(cam, raw=cam.raw * fine.raw, method="guided_grad_cam", note=fine.note)
