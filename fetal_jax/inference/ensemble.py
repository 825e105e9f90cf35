"""Several networks as one, the folds or the seeds of a run: the mean of their probabilities.

It is taken in native pixels, as members may differ in how large they see an image and how it is prepared for them.
"""

import dataclasses
import functools
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from fetal_jax.core.types import UserError
from fetal_jax.inference import segmenter as segmenters
from fetal_jax.inference.segmenter import InferenceConfig, Segmentation, Segmenter, segmentation

SEEN = ("labelled", "unlabelled", "validation")  # parts that training learned from, or chose its best network by


@runtime_checkable
class SplitManifest(Protocol):
    """Which images of a dataset a run had in which part: see input_pipeline.splits.Splits."""

    @property
    def dataset(self) -> str: ...

    @property
    def parts(self) -> Mapping[str, tuple[str, ...]]: ...


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """Segmenters of the same classes, used as one."""

    members: tuple[Segmenter, ...]

    @functools.cached_property
    def config(self) -> InferenceConfig:
        """The first member's, with what was selected on validation only where all selected it, and no intervals.

        Intervals hold for the errors of one network; those of the mean were never measured.
        """
        configs = [member.config for member in self.members]
        return dataclasses.replace(
            configs[0],
            tta=_agreed([config.tta for config in configs]),
            postprocess=_agreed([config.postprocess for config in configs]),
            intervals_mm={},
        )

    def with_tta(self, name: str) -> "Ensemble":
        """The same networks, each with that test-time augmentation. Raises UserError as `Segmenter.with_tta` does."""
        return Ensemble(tuple(member.with_tta(name) for member in self.members))

    def probabilities(self, images: Iterable[np.ndarray]) -> Iterator[Float[np.ndarray, "*space c"]]:
        """Class probabilities of each image or volume in its native size, one by one."""
        copies = itertools.tee(images, len(self.members))
        outputs = [member.probabilities(copy) for member, copy in zip(self.members, copies, strict=True)]
        for first, *others in zip(*outputs, strict=True):
            total = first.copy()
            for probs in others:
                total += probs
            yield total / np.float32(len(self.members))

    def __call__(
        self, image: np.ndarray, spacing_mm: Sequence[float] | Float[np.ndarray, " dims"] | None = None
    ) -> Segmentation:
        """As `Segmenter.__call__`."""
        (probs,) = self.probabilities([image])
        return segmentation(probs, self.config.facts.classes, spacing_mm)


def _agreed(names: Sequence[str]) -> str:
    return names[0] if len(set(names)) == 1 else "none"


def ensemble(members: Sequence[Segmenter], names: Sequence[str] | None = None) -> Ensemble:
    """The segmenters as one. `names`, of each, are for messages.

    Raises UserError, naming the one that differs, if they do not segment the same structures in the same kind of image.
    """
    names = names or [f"model {i + 1} of the ensemble" for i in range(len(members))]
    kinds = [(m.config.facts.classes, m.config.facts.dims, m.config.facts.channels) for m in members]
    for name, member, kind in zip(names, members, kinds, strict=True):
        if kind != kinds[0]:
            raise UserError(
                f"{name} segments {_in_words(member)}, but {names[0]} {_in_words(members[0])}: leave it out"
            )
    return Ensemble(tuple(members))


def _in_words(member: Segmenter) -> str:
    facts = member.config.facts
    return f"{', '.join(facts.foreground)} in {facts.dims}-D images of {facts.channels} channels"


def load(directories: Sequence[str | os.PathLike], *, batch_size: int = 1) -> Segmenter | Ensemble:
    """The segmenter of a workdir or `model/` folder, or the ensemble of several. Equal networks are compiled once."""
    members: list[Segmenter] = []
    for directory in directories:
        config, variables = segmenters.read(directory)
        twin = next((member for member in members if member.config.model == config.model), None)
        made = twin.with_variables(variables, config) if twin else Segmenter(config, variables, batch_size=batch_size)
        members.append(made)
    return members[0] if len(members) == 1 else ensemble(members, [str(directory) for directory in directories])


def check_no_leak(
    members: Mapping[str, SplitManifest], dataset: str, test: Iterable[str], subject_of: Mapping[str, str]
) -> None:
    """Raises UserError naming a member of the ensemble that knows a subject of the test images.

    Args:
      members: the split of each member's run, by the name of the run.
      dataset: the test images', in any version of it. Of a member that was trained on another one nothing can be told
        by names.
      test: names of the images to be scored.
      subject_of: the subject of each image of the dataset, by name.
    """
    tested = {subject_of[name] for name in test}
    for member, splits in members.items():
        known = known_subjects(splits, subject_of) if _named(splits.dataset) == _named(dataset) else set()
        if leaked := sorted(tested & known):
            others = f" and {len(leaked) - 1} others" if len(leaked) > 1 else ""
            raise UserError(
                f"{member} was trained on subject {leaked[0]}{others} of the test images: leave it out, or "
                "train it with the split of the others"
            )


def _named(dataset: str) -> str:
    """Without the version that stands behind a colon: names and subjects outlive it."""
    return dataset.partition(":")[0]


def known_subjects(splits: SplitManifest, subject_of: Mapping[str, str]) -> set[str]:
    """The subjects that a run has seen. An image that the dataset has no more is a subject of its own."""
    return {subject_of.get(name, name) for part in SEEN for name in splits.parts[part]}
