"""A trained network as a user holds it: an image array in, labels and probabilities in that image's own size out.

A model directory holds `weights.npz` (plain arrays, no pickle) and `model.json` (how to build and feed the network,
what its classes are, what it was trained on, and the SHA-256 of the weights).
"""

import dataclasses
import hashlib
import itertools
import json
import math
import os
import pathlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import flax.traverse_util
import jax
import numpy as np
from jaxtyping import Float, UInt8

from fetal_jax import mesh as meshes
from fetal_jax.atomic import replacing_folder, surviving_folder
from fetal_jax.evaluation.predict import Predict, make_predict, network_input, predict_all, with_flips
from fetal_jax.evaluation.views import Square, Tiles, View
from fetal_jax.models import build_model
from fetal_jax.types import DatasetFacts, UserError, Variables

MM3_PER_ML = 1000


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """What is needed to use the weights, and where they come from."""

    model: dict[str, Any]  # arguments of build_model, with "name"
    size: int  # of the network's square input, or cubic patch
    blur: int  # median kernel on the input, 0 for none
    facts: DatasetFacts
    splits_hash: str
    stage: str
    intensity: str = "unit"  # a name of input_pipeline.transforms.INTENSITIES

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ModelCard":
        facts = dict(values["facts"])
        facts["classes"], facts["colours"] = tuple(facts["classes"]), tuple(map(tuple, facts["colours"]))
        return cls(**{**values, "facts": DatasetFacts(**facts)})


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """The answer for one image or volume."""

    labels: UInt8[np.ndarray, "*space"]  # class ids
    probs: Float[np.ndarray, "*space c"]  # background first
    area_mm2: dict[str, float | None]  # of an image, by foreground class; None without a spacing
    volume_ml: dict[str, float | None]  # of a volume, alike


class Segmenter:
    """Weights and card, ready to call."""

    def __init__(self, card: ModelCard, variables: Variables, *, batch_size: int = 1, predict: Predict | None = None):
        self.card, self._variables, self._batch_size = card, variables, batch_size
        self._predict = predict or make_predict(build_model(**card.model), _mesh(batch_size))

    def with_variables(self, variables: Variables) -> "Segmenter":
        """The same network with other weights, without another compilation."""
        return Segmenter(self.card, variables, batch_size=self._batch_size, predict=self._predict)

    def with_flips(self) -> "Segmenter":
        """The same network with flip test-time augmentation: three passes an image, two a volume."""
        flipped = with_flips(self._predict)
        return Segmenter(self.card, self._variables, batch_size=self._batch_size, predict=flipped)

    def __call__(
        self,
        image: np.ndarray,
        spacing_mm: Sequence[float] | Float[np.ndarray, " dims"] | None = None,
    ) -> Segmentation:
        """Segments one image, uint8 [h w] or [h w c], or one volume, uint16 [d h w c].

        `spacing_mm` is by axis, (row, column) of an image; None or 0 where it is unknown. Raises UserError if the image
        is of another type, or has another number of axes or channels, than the network was trained on.
        """
        (probs,) = self.probabilities([image])
        labels = probs.argmax(-1).astype(np.uint8)
        pixel = float(np.prod(spacing_mm)) if spacing_mm is not None else 0.0
        sizes = {
            name: float((labels == i).sum()) * pixel if pixel else None
            for i, name in enumerate(self.card.facts.classes)
            if i
        }
        if labels.ndim == 2:
            return Segmentation(labels, probs, sizes, {})
        return Segmentation(labels, probs, {}, {name: size and size / MM3_PER_ML for name, size in sizes.items()})

    def probabilities(self, images: Iterable[np.ndarray]) -> Iterator[Float[np.ndarray, "*space c"]]:
        """Class probabilities of each image or volume in its native size, one by one."""
        views: deque[View] = deque()

        def inputs():
            for image in images:
                views.append(self._view(self._checked(image)))
                yield from views[-1].inputs()

        answers = predict_all(self._predict, self._variables, inputs(), self._batch_size)
        for first in answers:
            view = views.popleft()
            yield view.to_native(itertools.chain([first], itertools.islice(answers, view.n_inputs - 1)))

    def _view(self, image: np.ndarray) -> View:
        if self.card.facts.dims == 3:
            return Tiles(image, self.card.size)
        return Square(image, self.card.size, self.card.blur, self.card.intensity)

    def net_probabilities(
        self, inputs: Iterable[np.ndarray], variables: Variables
    ) -> Iterator[Float[np.ndarray, "size size c"]]:
        """Class probabilities at network size, of inputs at network size, with other weights."""
        return predict_all(self._predict, variables, inputs, self._batch_size)

    def prepare_net(self, image: UInt8[np.ndarray, "size size c"]) -> Float[np.ndarray, "size size c"]:
        """The network's input for an image that is at network size already."""
        return network_input(image, self.card.size, self.card.blur, self.card.intensity)

    def _checked(self, image: np.ndarray) -> np.ndarray:
        image, dims, channels = np.asarray(image), self.card.facts.dims, self.card.facts.channels
        image = image[..., None] if image.ndim == dims else image
        kind, axes = (np.uint8, "h w") if dims == 2 else (np.uint16, "d h w")
        if image.ndim != dims + 1 or image.dtype != kind or image.shape[-1] != channels:
            raise UserError(
                f"image has shape {image.shape} and type {image.dtype}: this model takes {kind.__name__} [{axes}] or "
                f"[{axes} {channels}]"
            )
        return image


def _mesh(batch_size: int) -> jax.sharding.Mesh:
    """As many devices as can share a batch evenly: one for a single image."""
    devices = jax.devices()
    return meshes.make_mesh(devices[: math.gcd(batch_size, len(devices))])


def save(directory: pathlib.Path, card: ModelCard, variables: Variables) -> None:
    """Writes a model directory. Nobody ever finds half of one under its name."""
    arrays = flax.traverse_util.flatten_dict(variables.as_dict(), sep="/")
    with replacing_folder(directory) as partial:
        np.savez(partial / "weights.npz", **{name: np.asarray(value) for name, value in sorted(arrays.items())})
        description = card.to_dict() | {"sha256": _sha256(partial / "weights.npz")}
        (partial / "model.json").write_text(json.dumps(description, indent=2) + "\n")


def read(directory: str | os.PathLike) -> tuple[ModelCard, Variables]:
    """The contents of a model directory. Raises UserError if it is none, or its weights are not the card's."""
    directory = surviving_folder(directory)
    if (inside := surviving_folder(directory / "model") / "model.json").is_file():
        directory = inside.parent
    if not (directory / "model.json").is_file():
        raise UserError(f"{directory} has no model: give the workdir of a finished run, or its model/ folder")
    try:
        description = json.loads((directory / "model.json").read_text())
        sha256, card = description.pop("sha256"), ModelCard.from_dict(description)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{directory / 'model.json'} is no model card ({error!r}): copy it again") from None
    if sha256 != _sha256(directory / "weights.npz"):
        raise UserError(f"{directory / 'weights.npz'} is damaged (its SHA-256 differs): copy it again")
    with np.load(directory / "weights.npz", allow_pickle=False) as arrays:
        tree = flax.traverse_util.unflatten_dict({name: arrays[name] for name in arrays}, sep="/")
    return card, Variables(tree["params"], tree.get("batch_stats", {}))


def load(directory: str | os.PathLike, *, batch_size: int = 1) -> Segmenter:
    """The segmenter of a workdir or a `model/` folder: `load(DIR)(image, spacing_mm)`."""
    return Segmenter(*read(pathlib.Path(directory)), batch_size=batch_size)


def _sha256(path: pathlib.Path) -> str:
    if not path.is_file():
        raise UserError(f"{path} is missing: copy the whole model folder")
    return hashlib.sha256(path.read_bytes()).hexdigest()
