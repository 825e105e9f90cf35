"""Data specs: what differs between training on images and on volumes. Axes, sources and streams are asked for here."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from fetal_jax.core.types import DatasetFacts, UserError
from input_pipeline import augment
from input_pipeline.augment import of_volumes
from input_pipeline.dataset import Dataset, NetImages
from input_pipeline.letterbox import check_intensity
from input_pipeline.patch_stream import PatchStream, Volumes
from input_pipeline.streams import PseudoLabels, Stream

STRONG = "perturb"  # the strong views of volumes: see input_pipeline.augment.intensity.perturb_volume


@dataclasses.dataclass(frozen=True)
class StreamRequest:
    """What a stage asks of its stream; see `Stream` and `PatchStream` for the meaning of each."""

    pseudo: PseudoLabels | None
    unlabelled: bool
    batch_size: int
    n_unlabelled: int
    augment: str
    strong: str
    views: int
    seed: int
    draws: tuple[int, ...] | None = None  # the labelled items of a pass; None: each once


@dataclasses.dataclass(frozen=True)
class ImageSpec:
    """Images [h w c], fitted into a square of `size` pixels."""

    size: int
    intensity: str  # a name of input_pipeline.letterbox.INTENSITIES

    dims: ClassVar[int] = 2

    def check(self, augmentations: Mapping[str, str], settings: Mapping[str, Any]) -> None:
        """Raises UserError naming the config key that images cannot have."""
        del settings  # images may have all of them
        check_intensity(self.intensity)
        for key, name in augmentations.items():
            with naming(key):
                (augment.check if key.endswith("augment") else augment.check_strong)(name)

    def input_shape(self, facts: DatasetFacts) -> tuple[int, ...]:
        """The shape of the network's input, without the batch."""
        return (self.size, self.size, facts.channels)

    def items_per_epoch(self, n: int) -> int:
        """How many items an epoch draws of `n` images."""
        return n

    def source(self, dataset: Dataset, names: Sequence[str]) -> NetImages:
        """The named images at network size."""
        return NetImages(dataset, names, self.size)

    def stream(self, labelled: NetImages, unlabelled: NetImages, request: StreamRequest) -> Stream:
        """What a stage draws from."""
        return Stream(
            labelled=labelled,
            unlabelled=unlabelled if request.unlabelled else None,
            pseudo=request.pseudo,
            batch_size=request.batch_size,
            n_unlabelled=request.n_unlabelled,
            augment=request.augment,
            strong=request.strong,
            views=request.views,
            seed=request.seed,
            draws=request.draws,
            intensity=self.intensity,
        )


@dataclasses.dataclass(frozen=True)
class VolumeSpec:
    """Volumes [d h w c], seen as cubic patches of `size` voxels a side."""

    size: int
    per_volume: int  # patches of each volume in an epoch
    foreground: float  # share of the labelled patches whose centre is a voxel of the foreground

    dims: ClassVar[int] = 3

    def check(self, augmentations: Mapping[str, str], settings: Mapping[str, Any]) -> None:
        """Raises UserError naming the config key that volumes cannot have."""
        if self.per_volume < 1:
            raise UserError(f"patches.per_volume is {self.per_volume}: it must be at least 1")
        if not 0 <= self.foreground <= 1:
            raise UserError(f"patches.foreground is {self.foreground}: it must be a share, 0 to 1")
        allowed: dict[str, Any] = {"evaluation.blur": 0, "intensity": "unit", "sampling.structures": ()}
        for key, only in allowed.items():
            if settings[key] != only:
                raise UserError(f"{key} is {settings[key]!r}: on volumes it can be {only!r} only")
        for key, name in augmentations.items():
            if key.endswith("augment"):
                with naming(key):
                    of_volumes.check(name, self.dims)
            elif name != STRONG:
                raise UserError(f"{key} is {name!r}: on volumes it can be {STRONG!r} only")

    def input_shape(self, facts: DatasetFacts) -> tuple[int, ...]:
        """The shape of the network's input, without the batch."""
        return (self.size, self.size, self.size, facts.channels)

    def items_per_epoch(self, n: int) -> int:
        """How many items an epoch draws of `n` volumes."""
        return n * self.per_volume

    def source(self, dataset: Dataset, names: Sequence[str]) -> Volumes:
        """The named volumes as they are."""
        return Volumes(dataset, names)

    def stream(self, labelled: Volumes, unlabelled: Volumes, request: StreamRequest) -> PatchStream:
        """What a stage draws from."""
        return PatchStream(
            labelled=labelled,
            unlabelled=unlabelled if request.unlabelled else None,
            pseudo=request.pseudo,
            patch=(self.size,) * 3,
            batch_size=request.batch_size,
            n_unlabelled=request.n_unlabelled,
            views=request.views,
            seed=request.seed,
            patches_per_volume=self.per_volume,
            flip=of_volumes.MIRRORS[request.augment],
            foreground=self.foreground,
        )


DataSpec = ImageSpec | VolumeSpec


@contextlib.contextmanager
def naming(key: str) -> Iterator[None]:
    """Puts the config key before the text of a UserError."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{key}: {error}") from None
