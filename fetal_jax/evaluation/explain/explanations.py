"""All explanations of one image, in the image's own pixels, and as coloured maps."""

import dataclasses
from collections.abc import Sequence

import jax
import matplotlib
import numpy as np
from jaxtyping import Float, Integer, UInt8

from fetal_jax.core.types import Array, UserError, Variables
from fetal_jax.evaluation.explain.concentration import Concentration, concentration
from fetal_jax.evaluation.explain.gradients import grad_cam, guided_grad_cam
from fetal_jax.evaluation.explain.layers import NO_LAYER, attention_maps, default_layer
from fetal_jax.evaluation.explain.occlusion import occlusion
from fetal_jax.evaluation.explain.target import Saliency, predicted_labels, predicted_region
from fetal_jax.inference.apply import network_input
from fetal_jax.inference.segmenter import InferenceConfig
from fetal_jax.models import build_model
from input_pipeline.letterbox import Letterbox

COLOURS = "inferno"  # perceptually uniform: equal steps of saliency look like equal steps
OPACITY = 0.75  # at the maximum
METHODS = ("grad_cam", "guided_grad_cam", "occlusion", "attention")
GRAD_CAMS = METHODS[:2]  # methods that look at one layer


@dataclasses.dataclass(frozen=True)
class Explanations:
    """Why a network gives pixels to a class: maps in the image's own size, by name."""

    maps: dict[str, Float[np.ndarray, "h w"]]  # "grad_cam", …, and each attention map by its layer; see Saliency.raw
    concentration: dict[str, Concentration]  # of each map, on the structure
    class_id: int
    layer: str  # that Grad-CAM looks at; none where the network names no layer, and then there is no Grad-CAM
    notes: tuple[str, ...]  # what a reader must know of them


class Explainer:
    """A trained network, ready to explain images. Compiles at the first one; the others take what it compiled."""

    def __init__(
        self,
        config: InferenceConfig,
        variables: Variables,
        *,
        layer: str | None = None,
        methods: Sequence[str] = METHODS,
    ):
        """`layer` is one of `layers`, by default `default_layer`; `methods` some of METHODS.

        Raises UserError for a network of volumes and for an unknown method; for an unknown layer, when called.
        """
        if config.facts.dims != 2:  # saliency maps are drawn on images
            raise UserError("explanations are of images: this model takes volumes")
        if unknown := [name for name in methods if name not in METHODS]:
            raise UserError(f"method {unknown[0]!r} is unknown: choose from {', '.join(METHODS)}")
        self._config, self._variables, self._methods = config, jax.device_put(variables), methods
        # Networks of equal settings need not compare equal: one for all images is compiled once.
        self._model = build_model(**config.model)
        blank = np.zeros((config.size, config.size, config.facts.channels), np.float32)
        # No name: the network has no named features, and Grad-CAM is left out.
        self._layer = (default_layer(self._model, variables, blank) or "") if layer is None else layer

    def __call__(
        self,
        image: UInt8[np.ndarray, "h w c"],
        labels: Integer[np.ndarray, "h w"] | None = None,
        class_id: int | None = None,
    ) -> Explanations:
        """Explains the pixels that the network predicts as a class, by default the foreground class with most of them.

        `labels` is the reference, on which concentration is measured; without it that is on the prediction. Only
        the image counts, not the padding that fills the network's square. Raises UserError for an unknown class.
        """
        config, geometry = self._config, Letterbox.fit(image.shape[:2], self._config.size)
        net = network_input(image, config.size, config.blur, config.intensity)
        predicted = np.asarray(predicted_labels(self._model, self._variables, net))
        frame = geometry.weights() > 0
        class_id = self._largest(predicted[frame]) if class_id is None else self._checked(class_id)
        region, note = predicted_region(predicted, class_id, frame)
        found = self._saliencies(net, class_id, region, frame)

        def native(values: np.ndarray) -> np.ndarray:
            return geometry.probs_to_native(values[..., None])[..., 0]

        maps = {name: native(saliency.raw) for name, saliency in found.items()}
        own = native((predicted == class_id).astype(np.float32)) > 0.5
        structure = own if labels is None else labels == class_id
        concentrations = {name: concentration(values, structure) for name, values in maps.items()}
        left_out = "" if self._layer or not set(GRAD_CAMS) & set(self._methods) else f"without Grad-CAM: {NO_LAYER}"
        notes = dict.fromkeys(filter(None, (note, left_out, *(saliency.note for saliency in found.values()))))
        return Explanations(maps, concentrations, class_id, self._layer, tuple(notes))

    def _saliencies(self, net: np.ndarray, class_id: int, region: np.ndarray, frame: np.ndarray) -> dict[str, Saliency]:
        target = self._model, self._variables, net, class_id
        methods = {
            "grad_cam": lambda: grad_cam(*target, self._layer, region),
            "guided_grad_cam": lambda: guided_grad_cam(*target, self._layer, region),
            "occlusion": lambda: occlusion(*target, region, frame=frame),
        }
        possible = [name for name in self._methods if self._layer or name not in GRAD_CAMS]
        found = {name: explain() for name, explain in methods.items() if name in possible}
        if "attention" in self._methods:
            maps = attention_maps(*target[:3])
            found |= {name: Saliency(values, "attention", class_id, name) for name, values in maps.items()}
        return found

    def _largest(self, predicted: np.ndarray) -> int:
        """The foreground class with most pixels, the first if there are none."""
        return int(np.bincount(predicted, minlength=len(self._config.facts.classes))[1:].argmax()) + 1

    def _checked(self, class_id: int) -> int:
        if not 0 <= class_id < len(self._config.facts.classes):
            raise UserError(f"class_id {class_id} is unknown: classes are 0 to {len(self._config.facts.classes) - 1}")
        return class_id


def heat(
    image: UInt8[np.ndarray, "h w"] | UInt8[np.ndarray, "h w 3"], saliency: Float[Array, "rows columns"]
) -> UInt8[np.ndarray, "h w 3"]:
    """The image, grey or RGB, with its map in colours, as RGB.

    Positive saliency is shown as a share of its maximum: the more, the brighter and the less transparent. Where there
    is none the image is as it was. Raises ValueError where the sizes differ.
    """
    saliency = np.asarray(saliency)
    if image.shape[:2] != saliency.shape:
        raise ValueError(f"the image is {image.shape[:2]}, but its saliency {saliency.shape}: give both in one size")
    positive = np.maximum(saliency, 0)
    share = positive / (positive.max() or 1)
    colours = 255 * matplotlib.colormaps[COLOURS](share)[..., :3]
    opacity = OPACITY * np.sqrt(share)[..., None]
    grey = image if image.ndim == 3 else image[..., None]
    return np.round((1 - opacity) * grey + opacity * colours).astype(np.uint8)
