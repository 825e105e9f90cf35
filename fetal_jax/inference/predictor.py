"""A trained model as prediction uses it: one network or several, how they look at an image, and cleaning up."""

import dataclasses
import os
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from fetal_jax.inference import ensemble
from fetal_jax.inference.ensemble import Ensemble
from fetal_jax.inference.postprocessing import Step, postprocess, recipe
from fetal_jax.inference.segmenter import ModelCard, Segmentation, Segmenter, segmentation

AUTO = "auto"  # what the model card says: as the run was last evaluated


@dataclasses.dataclass(frozen=True)
class Reader:
    """Used as a segmenter. Labels and sizes are cleaned up, probabilities are the network's own."""

    segmenter: Segmenter | Ensemble
    steps: tuple[Step, ...] = ()
    as_evaluated: bool = True

    @property
    def card(self) -> ModelCard:
        """The network's, without the intervals where answers are made in another way: those are of other errors."""
        card = self.segmenter.card
        return card if self.as_evaluated else dataclasses.replace(card, intervals_mm={})

    def __call__(
        self, image: np.ndarray, spacing_mm: Sequence[float] | Float[np.ndarray, " dims"] | None = None
    ) -> Segmentation:
        """As `Segmenter.__call__`."""
        raw = self.segmenter(image, spacing_mm)
        if not self.steps:
            return raw
        return segmentation(raw.probs, self.card.facts.classes, spacing_mm, postprocess(raw.labels, self.steps))


def load(models: Sequence[str | os.PathLike], tta: str = "none", postprocess: str = "none") -> Reader:
    """The reader of a workdir or `model/` folder, or of several as an ensemble.

    `tta` and `postprocess` are names of evaluation.tta and inference.postprocessing, or AUTO. Raises UserError for a
    folder that holds no model, models that do not go together, and a name that is unknown.
    """
    segmenter = ensemble.load(models)
    card = segmenter.card
    tta, postprocess = card.tta if tta == AUTO else tta, card.postprocess if postprocess == AUTO else postprocess
    steps = recipe(postprocess, card.facts.classes, card.facts.dims)
    return Reader(segmenter.with_tta(tta), steps, (tta, postprocess) == (card.tta, card.postprocess))
