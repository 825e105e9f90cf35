"""Types shared by all packages: batches, variables, the training state, facts of a dataset, errors.

Axis letters in shape comments: `b` batch, `h w d` space, `c` channels or classes, `u` unlabelled images.
"""

import dataclasses
from typing import Any

import flax.struct
import jax
import numpy as np
from jaxtyping import Float, Int

Array = jax.Array | np.ndarray


class UserError(ValueError):
    """The user's input is wrong. One line that names the file or key and the remedy; exit code 2."""


class Preempted(Exception):
    """The run was asked to stop, and everything it needs to go on is on disk."""


# Fields are arrays of NumPy on the host and of JAX in a step, so the kind of array is left open.
class Sample(flax.struct.PyTreeNode):
    """Images with labels. A pixel whose label is not trusted has weight 0, and so has the padding."""

    image: Float[Any, "b *space c"]  # intensities in [0, 1], or in [-1, 1] for a network that takes them so
    labels: Int[Any, " b *space"]  # class ids, 0 is background
    weights: Float[Any, " b *space"]  # trust in the label: 1 counts, 0 is ignored


class Views(flax.struct.PyTreeNode):
    """Unlabelled images: a weak view of each, and perturbed ones of the same pixels.

    Without a pseudo-labeller `labels` is None, and the weights are 1 on the image and 0 in its padding; with one they
    are the trust in its labels, 0 in the padding too.
    """

    weak: Float[Any, "u *space c"]
    strong: tuple[Float[Any, "u *space c"], ...]
    labels: Int[Any, " u *space"] | None
    weights: Float[Any, " u *space"]

    @property
    def pseudo(self) -> Sample:
        """The weak views with their pseudo-labels."""
        return Sample(self.weak, self.labels, self.weights)


class Batch(flax.struct.PyTreeNode):
    """What a training step sees: labelled images, and unlabelled ones where the stage draws them."""

    labelled: Sample
    unlabelled: Views | None = None

    @property
    def views(self) -> Views:
        """The unlabelled images of a stage that draws them."""
        if self.unlabelled is None:
            raise ValueError("this batch has no unlabelled images")
        return self.unlabelled


class Variables(flax.struct.PyTreeNode):
    """What a network needs to predict."""

    params: Any
    batch_stats: Any

    def as_dict(self) -> dict[str, Any]:
        return {"params": self.params, "batch_stats": self.batch_stats}


class TrainState(flax.struct.PyTreeNode):
    """What a training step takes and gives back: data only. No function, no model and no optimizer lives inside.

    Any, since trees of other things have its structure: shapes, shardings, how each leaf, or empty dict, is saved.
    """

    step: Any  # int32, of the whole run
    networks: Any  # dict[str, Variables]: trained
    teachers: Any  # dict[str, Variables]: not trained, as moving averages and snapshots
    opt_state: Any  # dict, by network; empty before a stage is entered
    aux: Any = ()  # what else a method remembers: counters, thresholds, queues


@dataclasses.dataclass(frozen=True)
class DatasetFacts:
    """What is true of every image of a dataset; used by losses, metrics, biometry and saving."""

    name: str
    title: str
    classes: tuple[str, ...]  # class names by id; classes[0] is the background
    colours: tuple[tuple[int, int, int], ...]  # RGB by class id, for overlays
    subject_rule: str  # how a subject is told from a file, in words
    licence: str
    citation: str
    channels: int = 1  # of an image; the modalities of a volume
    dims: int = 2  # 2 for images [h w c], 3 for volumes [d h w c]
    spacing: str = "unknown"  # where the size of a pixel is from, in words; the size itself is each example's own

    @property
    def foreground(self) -> tuple[str, ...]:
        return self.classes[1:]

    @property
    def unit(self) -> str:
        """What its examples are: "images" or "volumes"."""
        return {2: "images", 3: "volumes"}[self.dims]
