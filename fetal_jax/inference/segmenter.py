"""A trained network, ready to use: an image array in, labels and probabilities in that image's own size out.

A model directory holds `weights.npz` (plain arrays, no pickle) and `model.json` (how to build and feed the network,
what its classes are, what it was trained on, and the SHA-256 of the weights).
"""

import dataclasses
import functools
import hashlib
import itertools
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

from fetal_jax.core import rng as rngs
from fetal_jax.core import sharding as meshes
from fetal_jax.core.atomic import replacing_folder, surviving_folder
from fetal_jax.core.json_files import read_json, write_json
from fetal_jax.core.types import DatasetFacts, UserError, Variables
from fetal_jax.inference.apply import make_dropout_predict, make_predict, network_input, predict_all
from fetal_jax.inference.inferers import Inferer, make_inferer
from fetal_jax.inference.tta import IDENTITY, Predict, TTATransform, averaged, tta_transforms
from fetal_jax.models import build_model
from fetal_jax.models.mc_dropout import has_dropout

MM3_PER_ML = 1000
FORMAT = 1  # of model.json


@dataclasses.dataclass(frozen=True)
class InferenceConfig:
    """What is needed to use the weights, and where they come from."""

    model: dict[str, Any]  # arguments of build_model, with "name"
    size: int  # of the network's square input, or cubic patch
    blur: int  # median kernel on the input, 0 for none
    facts: DatasetFacts
    splits_hash: str
    stage: str
    intensity: str = "unit"  # a name of input_pipeline.letterbox.INTENSITIES
    tta: str = "none"  # as the run was last evaluated: a name of inference.tta
    postprocess: str = "none"  # likewise: a name of inference.postprocessing
    intervals_mm: dict[str, float] = dataclasses.field(default_factory=dict)  # half-widths at 90 %, by measure

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "InferenceConfig":
        facts = dict(values["facts"])
        facts["classes"], facts["colours"] = tuple(facts["classes"]), tuple(map(tuple, facts["colours"]))
        return cls(**{**values, "facts": DatasetFacts(**facts)})


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """The output for one image or volume."""

    labels: UInt8[np.ndarray, "*space"]  # class ids
    probs: Float[np.ndarray, "*space c"]  # background first
    area_mm2: dict[str, float | None]  # of an image, by foreground class; None without a spacing
    volume_ml: dict[str, float | None]  # of a volume, likewise


def segmentation(
    probs: Float[np.ndarray, "*space c"],
    classes: Sequence[str],
    spacing_mm: Sequence[float] | Float[np.ndarray, " dims"] | None = None,
    labels: UInt8[np.ndarray, "*space"] | None = None,
) -> Segmentation:
    """Labels and sizes of structures from probabilities; `labels` where they were post-processed."""
    labels = probs.argmax(-1).astype(np.uint8) if labels is None else labels
    pixel = float(np.prod(spacing_mm)) if spacing_mm is not None else 0.0
    counts = np.bincount(labels.ravel(), minlength=len(classes))
    sizes = {name: float(counts[i]) * pixel if pixel else None for i, name in enumerate(classes) if i}
    if labels.ndim == 2:  # an image has areas, a volume has volumes
        return Segmentation(labels, probs, sizes, {})
    return Segmentation(labels, probs, {}, {name: size and size / MM3_PER_ML for name, size in sizes.items()})


class Segmenter:
    """A network's weights and inference config, ready to call."""

    def __init__(
        self,
        config: InferenceConfig,
        variables: Variables,
        *,
        batch_size: int = 1,
        predict: Predict | None = None,
        transforms: Sequence[TTATransform] = (IDENTITY,),
    ):
        self.config, self._variables, self._batch_size = config, variables, batch_size
        self._plain = predict or make_predict(build_model(**config.model), _mesh(batch_size))
        self._transforms = tuple(transforms)
        self._predict = averaged(self._plain, self._transforms)

    def _with(
        self,
        *,
        config: InferenceConfig | None = None,
        variables: Variables | None = None,
        predict: Predict | None = None,
        transforms: Sequence[TTATransform] | None = None,
    ) -> "Segmenter":
        """The same but for what is given."""
        return Segmenter(
            config or self.config,
            variables or self._variables,
            batch_size=self._batch_size,
            predict=predict or self._plain,
            transforms=transforms or self._transforms,
        )

    def with_variables(self, variables: Variables, config: InferenceConfig | None = None) -> "Segmenter":
        """The same network with other weights, and the config of those, without another compilation."""
        return self._with(variables=variables, config=config)

    def with_tta(self, name: str) -> "Segmenter":
        """The same network with that test-time augmentation, in place of the one it had: see inference.tta.

        Raises UserError if the name is unknown, or for images and this network takes volumes.
        """
        return self._with(transforms=tta_transforms(name, self.config.facts.dims))

    def tta_members(self) -> "list[Segmenter]":
        """A segmenter for each transform of the test-time augmentation, whose mean this one is: for their spread."""
        return [self._with(transforms=(transform,)) for transform in self._transforms]

    def mc_dropout(self, n: int, seed: int = 0) -> "list[Segmenter]":
        """The same network `n` times, each time with other units dropped; one compilation serves them all.

        Raises UserError if the network drops nothing: all of them would say the same.
        """
        config, model = self.config, build_model(**self.config.model)
        image = np.zeros((1, *(config.size,) * config.facts.dims, config.facts.channels), np.float32)
        if not has_dropout(model, self._variables, image):
            raise UserError(f"{config.model['name']} has no dropout to draw from: set model.dropout and train it again")
        predict, key = make_dropout_predict(model, _mesh(self._batch_size)), jax.random.key(seed)
        return [self._with(predict=functools.partial(predict, rngs.step_key(key, "dropout", i))) for i in range(n)]

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
        return segmentation(probs, self.config.facts.classes, spacing_mm)

    def probabilities(self, images: Iterable[np.ndarray]) -> Iterator[Float[np.ndarray, "*space c"]]:
        """Class probabilities of each image or volume in its native size, one by one."""
        inferers: deque[Inferer] = deque()

        def inputs() -> Iterator[np.ndarray]:
            for image in images:
                inferers.append(self._inferer(self._checked(image)))
                yield from inferers[-1].inputs()

        outputs = predict_all(self._predict, self._variables, inputs(), self._batch_size)
        for first in outputs:
            inferer = inferers.popleft()
            yield inferer.to_native(itertools.chain([first], itertools.islice(outputs, inferer.n_inputs - 1)))

    def _inferer(self, image: np.ndarray) -> Inferer:
        c = self.config
        return make_inferer(image, dims=c.facts.dims, size=c.size, blur=c.blur, intensity=c.intensity)

    def training_probabilities(self, images: Iterable[np.ndarray]) -> Iterator[Float[np.ndarray, "*space c"]]:
        """Class probabilities of items as training has them: images at network size, volumes in their own voxels."""
        if self.config.facts.dims == 3:  # patches are drawn of whole volumes, images are resized before
            return self.probabilities(images)
        inputs = (network_input(image, self.config.size, self.config.blur, self.config.intensity) for image in images)
        return predict_all(self._predict, self._variables, inputs, self._batch_size)

    def _checked(self, image: np.ndarray) -> np.ndarray:
        image, dims, channels = np.asarray(image), self.config.facts.dims, self.config.facts.channels
        image = image[..., None] if image.ndim == dims else image
        # The data spec: ultrasound has 8 bits, MRI 16.
        kind, axes = (np.uint8, "h w") if dims == 2 else (np.uint16, "d h w")
        if image.ndim != dims + 1 or image.dtype != kind or image.shape[-1] != channels:
            raise UserError(
                f"image has shape {image.shape} and type {image.dtype}: this model takes {kind.__name__} [{axes}] or "
                f"[{axes} {channels}]"
            )
        return image


def _mesh(batch_size: int) -> jax.sharding.Mesh:
    """As many devices as can share a batch evenly: one for a single image."""
    devices = jax.local_devices()  # of several processes, each predicts by itself
    return meshes.make_mesh(devices[: math.gcd(batch_size, len(devices))])


def save(directory: pathlib.Path, config: InferenceConfig, variables: Variables) -> None:
    """Writes a model directory atomically."""
    arrays = flax.traverse_util.flatten_dict(variables.as_dict(), sep="/")
    with replacing_folder(directory) as partial:
        named = {name: np.asarray(value) for name, value in sorted(arrays.items())}
        np.savez(partial / "weights.npz", **named)  # type: ignore[arg-type]  # names are those of arrays, no option
        description = config.to_dict() | {"sha256": _sha256(partial / "weights.npz")}
        write_json(partial / "model.json", description, format=FORMAT)


def read(directory: str | os.PathLike) -> tuple[InferenceConfig, Variables]:
    """The contents of a model directory. Raises UserError if it is not one, or its weights are damaged."""
    directory = surviving_folder(directory)
    if (inside := surviving_folder(directory / "model") / "model.json").is_file():
        directory = inside.parent
    if not (directory / "model.json").is_file():
        raise UserError(f"{directory} has no model: give the workdir of a finished run, or its model/ folder")
    path = directory / "model.json"
    description = read_json(path, format=FORMAT, what="a model description", remedy="copy it again")
    try:
        sha256, config = description.pop("sha256"), InferenceConfig.from_dict(description)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a model description ({error!r}): copy it again") from None
    if sha256 != _sha256(directory / "weights.npz"):
        raise UserError(f"{directory / 'weights.npz'} is damaged (its SHA-256 differs): copy it again")
    with np.load(directory / "weights.npz", allow_pickle=False) as arrays:
        tree = flax.traverse_util.unflatten_dict({name: arrays[name] for name in arrays}, sep="/")
    return config, Variables(tree["params"], tree.get("batch_stats", {}))


def load(directory: str | os.PathLike, *, batch_size: int = 1) -> Segmenter:
    """The segmenter of a workdir or a `model/` folder: `load(DIR)(image, spacing_mm)`. Several: inference.ensemble."""
    return Segmenter(*read(pathlib.Path(directory)), batch_size=batch_size)


def _sha256(path: pathlib.Path) -> str:
    if not path.is_file():
        raise UserError(f"{path} is missing: copy the whole model folder")
    return hashlib.sha256(path.read_bytes()).hexdigest()
