"""Converts the user's masks to class ids: from ids, from 0 and 255, or from the colours of dataset.json."""

import numpy as np
from jaxtyping import UInt8

from input_pipeline.builders.folder.settings import Settings
from input_pipeline.formats.stack import Stack

MAX_ID = 32  # of masks without a list of classes; a file with more ids is an image and not a mask


def class_ids(mask: Stack, settings: Settings) -> UInt8[np.ndarray, "n h w"]:
    """Ids below the number of classes, where that is known; in a mask of 0 and 255, the latter is 1.

    Where the settings list colours, a mask is read by them; a grey one by its values as ids only if one of them is
    not a listed colour.

    Raises ValueError, in words that follow the name of the file, if it has a value or colour without a class.
    """
    values = mask.frames
    if values.ndim == 4:
        blue_first = values[..., :3]
        if settings.colours:
            return _by_colour(blue_first[..., ::-1], settings.colours)
        if (blue_first != blue_first[..., :1]).any():
            raise ValueError("has colours: list them as colours in dataset.json")
        values = blue_first[..., 0]
    found = set(np.unique(values).tolist())
    if settings.colours and found <= {red for red, green, blue in settings.colours if red == green == blue}:
        return _by_colour(np.stack([values] * 3, axis=-1), settings.colours)
    may_be_binary = len(settings.classes) in (0, 2)
    if found <= {0, 255} and may_be_binary:
        return (values > 0).astype(np.uint8)
    highest = len(settings.classes) - 1 if settings.classes else MAX_ID
    wrong = [value for value in sorted(found) if not (0 <= value <= highest and value == int(value))]
    if not wrong:
        return values.astype(np.uint8)
    styles = ", or 0 and 255 alone" * may_be_binary + ", or the colours of dataset.json" * bool(settings.colours)
    raise ValueError(f"has the value {wrong[0]:g}: expected class ids 0 to {highest}{styles}")


def _by_colour(rgb: np.ndarray, colours: tuple[tuple[int, int, int], ...]) -> np.ndarray:
    ids = np.full(rgb.shape[:-1], 255, np.uint8)
    for i, colour in enumerate(colours):
        ids[(rgb == colour).all(axis=-1)] = i
    if (ids == 255).any():
        wrong = tuple(int(value) for value in rgb[ids == 255][0])
        raise ValueError(f"has the colour {wrong}, which is not in dataset.json")
    return ids
