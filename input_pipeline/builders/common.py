"""What all builders share: the features of an example, its encoding, and the refusal of a wrong folder."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import tensorflow_datasets as tfds

from fetal_jax.types import UserError

SHOWN = 5  # problems in one message
SPLIT = "images"  # the one TFDS split; ours are made by subject, in input_pipeline.splits


def features(**extra) -> tfds.features.FeaturesDict:
    """The features of an example, the same for every dataset, and the dataset's own `extra` ones."""
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 1), dtype=np.uint8, encoding_format="png"),
            "labels": tfds.features.Image(shape=(None, None, 1), dtype=np.uint8, encoding_format="png"),
            "labelled": np.bool_,  # False: `labels` is all background and means nothing
            "spacing_mm": tfds.features.Tensor(shape=(2,), dtype=np.float32),  # row, column; 0 is unknown
            "subject": tfds.features.Text(),
            "name": tfds.features.Text(),
            **extra,
        }
    )


def encode_png(array: np.ndarray) -> bytes:
    """PNG bytes of a uint8 array [h w] or [h w 1]. TFDS stores bytes as they are, so TensorFlow is never needed."""
    done, data = cv2.imencode(".png", array)
    if not done:
        raise ValueError(f"cannot encode an array of shape {array.shape} and type {array.dtype} as PNG")
    return data.tobytes()


def refuse(source: Path, problems: Sequence[str], remedy: str) -> None:
    """Raises UserError, one line that names the first problems of a folder and counts the rest, if there are any."""
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise UserError(f"{source}: {'; '.join(problems[:SHOWN])}{more}: {remedy}")
