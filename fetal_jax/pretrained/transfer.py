"""From a file of encoder weights into a network."""

import dataclasses
import os
from typing import Any

import flax.traverse_util
import numpy as np

from fetal_jax.core.types import UserError, Variables
from fetal_jax.pretrained.container import read
from fetal_jax.pretrained.imagenet import IMAGENET, read_imagenet

FIRST = {"efficientnet": "params/stem_conv/kernel", "resnet": "params/conv1/kernel"}
MEAN, VARIANCE = (f"batch_stats/normalization/{name}" for name in ("mean", "variance"))


@dataclasses.dataclass(frozen=True)
class PretrainedEncoder:
    """The groups `params["encoder"]` and `batch_stats["encoder"]`, and whose weights they are."""

    params: dict[str, Any]
    batch_stats: dict[str, Any]
    header: dict[str, Any]


def load(path: str | os.PathLike, encoder: str, channels: int) -> PretrainedEncoder:
    """The weights of an encoder for images of `channels`, 1 or 3.

    `path` is a file that `fetal-jax weights import` wrote, or "imagenet".

    For grey images the first convolution is summed over the colours, and mean and standard deviation of the
    normalisation are their means over the colours. Where the constants of the colours are equal, that is what a colour
    network makes of the grey image in all three channels. ImageNet's differ: a grey x becomes (x − 0.449) / 0.226,
    within 0.0012 of the mean over the three normalised colours, and within 0.21 of each.

    Raises UserError, naming the file and the key of the config, for a file that `fetal-jax weights import` did not
    write, one of another encoder, and another number of channels.
    """
    header, arrays = read_imagenet(encoder) if path == IMAGENET else read(path)
    if header["encoder"] != encoder:
        raise UserError(
            f"model.pretrained {path} holds weights of {header['encoder']}, the network has {encoder}: "
            f"set model.encoder={header['encoder']} or import weights of {encoder}"
        )
    if channels not in (1, 3):
        raise UserError(
            f"model.pretrained {path} is for images of 1 or 3 channels, these have {channels}: "
            "train without model.pretrained"
        )
    arrays = _for_grey(arrays) if channels == 1 else arrays
    tree = flax.traverse_util.unflatten_dict(arrays, sep="/")
    return PretrainedEncoder(tree["params"], tree["batch_stats"], header)


def apply_pretrained(variables: Variables, loaded: PretrainedEncoder) -> Variables:
    """A network's variables with those that `load` gave in place of its encoder's; the decoder's stay.

    Raises UserError, naming the variable, where the network's encoder has others or other shapes.
    """
    groups = {}
    for collection in ("params", "batch_stats"):
        group, new = getattr(variables, collection), getattr(loaded, collection)
        _check_equal_shapes(collection, group.get("encoder", {}), new)
        groups[collection] = {**group, "encoder": new}
    return Variables(**groups)


def _for_grey(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    first = next(name for name in FIRST.values() if name in arrays)
    std = np.sqrt(arrays[VARIANCE]).mean(keepdims=True)
    grey = {
        first: arrays[first].sum(-2, keepdims=True),
        MEAN: arrays[MEAN].mean(keepdims=True),
        VARIANCE: np.square(std),
    }
    return arrays | grey


def _check_equal_shapes(collection: str, ours: dict[str, Any], new: dict[str, Any]) -> None:
    ours, new = (flax.traverse_util.flatten_dict(tree, sep="/") for tree in (ours, new))
    for name in sorted(ours.keys() ^ new.keys()):
        where = "the network's encoder lacks" if name in new else "the file lacks"
        raise UserError(
            f"model.pretrained does not fit the network: {where} {collection}/{name}: "
            "choose a model that has the option encoder, and the encoder that the weights are of"
        )
    for name, value in new.items():
        if value.shape != ours[name].shape:
            raise UserError(
                f"model.pretrained does not fit the network: {collection}/{name} is {value.shape} in the file and "
                f"{ours[name].shape} in the network: load it for the channels of the images"
            )
