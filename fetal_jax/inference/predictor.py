"""Predictor: one network or several, with test-time augmentation and post-processing."""

import dataclasses
import os
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from fetal_jax.inference import ensemble
from fetal_jax.inference.ensemble import Ensemble
from fetal_jax.inference.postprocessing import Step, postprocess, recipe
from fetal_jax.inference.segmenter import InferenceConfig, Segmentation, Segmenter, segmentation

AUTO = "auto"  # what model.json says: as the run was last evaluated


@dataclasses.dataclass(frozen=True)
class Predictor:
    """Used as a segmenter. Labels and sizes are post-processed, probabilities are the network's own."""

    segmenter: Segmenter | Ensemble
    steps: tuple[Step, ...] = ()
    as_evaluated: bool = True

    @property
    def config(self) -> InferenceConfig:
        """The network's; without intervals where it predicts in another way than it was evaluated."""
        config = self.segmenter.config
        return config if self.as_evaluated else dataclasses.replace(config, intervals_mm={})

    def __call__(
        self, image: np.ndarray, spacing_mm: Sequence[float] | Float[np.ndarray, " dims"] | None = None
    ) -> Segmentation:
        """As `Segmenter.__call__`."""
        raw = self.segmenter(image, spacing_mm)
        if not self.steps:
            return raw
        return segmentation(raw.probs, self.config.facts.classes, spacing_mm, postprocess(raw.labels, self.steps))


def load(models: Sequence[str | os.PathLike], tta: str = "none", postprocess: str = "none") -> Predictor:
    """The predictor of a workdir or `model/` folder, or of several as an ensemble.

    `tta` and `postprocess` are names of inference.tta and inference.postprocessing, or AUTO. Raises UserError for a
    folder that holds no model, models that do not go together, and a name that is unknown.
    """
    segmenter = ensemble.load(models)
    config = segmenter.config
    tta = config.tta if tta == AUTO else tta
    postprocess = config.postprocess if postprocess == AUTO else postprocess
    steps = recipe(postprocess, config.facts.classes, config.facts.dims)
    return Predictor(segmenter.with_tta(tta), steps, (tta, postprocess) == (config.tta, config.postprocess))
