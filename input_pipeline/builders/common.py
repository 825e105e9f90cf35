"""What all builders share: the features of an example and its encoding."""

import cv2
import numpy as np
import tensorflow_datasets as tfds

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
