"""`fetal-jax weights import`: somebody else's file of weights becomes one of ours."""

import hashlib
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from fetal_jax.core.types import UserError
from fetal_jax.pretrained import container
from fetal_jax.pretrained.layouts import BESIDES, from_torch, keras_tensor, torch_layout, torch_shape
from fetal_jax.pretrained.sources import Tensor, kind_of, opened

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# What images in [0, 1] are normalised by in front of weights of PyTorch, whose files do not say it.
NORMALIZATIONS = {
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "lite": ((127 / 255,) * 3, (128 / 255,) * 3),  # efficientnet_lite_builder.py: (255 x − 127) / 128
}
# MD5 of the files of keras-applications: with the classifier, and without it (`_notop`). From keras 3.15,
# keras/src/applications/efficientnet.py, WEIGHTS_HASHES.
KERAS_MD5 = {
    "efficientnet_b0": ("902e53a9f72be733fc0bcb005b3ebbac", "50bc09e76180e00e4465e1a485ddc09d"),
    "efficientnet_b1": ("1d254153d4ab51201f1646940f018540", "74c4e6b3e1f6a1eea24c589628592432"),
    "efficientnet_b2": ("b15cce36ff4dcbd00b6dd88e7857a6ad", "111f8e2ac8aa800a7a99e3239f7bfb39"),
    "efficientnet_b3": ("ffd1fdc53d0ce67064dc6a9c7960ede0", "af6d107764bb5b1abb91932881670226"),
    "efficientnet_b4": ("18c95ad55216b8f92d7e70b3a046e2fc", "ebc24e6d6c33eaebbd558eafbeedf1ba"),
}
NORMALIZATION = "batch_stats/normalization/"
KERAS_BESIDES = re.compile("predictions/.*|normalization/count")  # of a Keras file, not of an encoder


def import_weights(
    file: str | os.PathLike,
    encoder: str,
    out: str | os.PathLike,
    *,
    source: str = "",
    any_hash: bool = False,
    normalization: str | None = None,
    kind: str | None = None,
) -> dict[str, Any]:
    """Reads `file`, checks every layer of `encoder`, writes `out` (.npz) and returns its header.

    `source` says in words where the file is from. `any_hash` takes a Keras file that is not one of the official ones.
    `normalization` ("imagenet", "half" or "lite") is for PyTorch's weights, by default what it was trained with; Keras'
    file has its own. `kind` is "torch" for a pickle whose hash was compared with a published one.
    Raises UserError, naming file and layer, for whatever is not as it should be; nothing is written then.
    """
    file = pathlib.Path(file)
    layout, arrays = converted(file, encoder, kind or kind_of(file), any_hash=any_hash, normalization=normalization)
    container.write(out, {**header_of(file, encoder, source), "layout": layout, **_constants_of(arrays)}, arrays)
    return container.read_header(out)


def header_of(file: pathlib.Path, encoder: str, source: str) -> dict[str, Any]:
    """What tells where weights are from: the encoder, words, the file and its sha256."""
    found = {"encoder": encoder, "source": source, "source_file": file.name}
    return found | {"source_sha256": _hash(file, "sha256")}


def converted(
    file: pathlib.Path, encoder: str, kind: str, *, any_hash: bool = False, normalization: str | None = None
) -> tuple[str, dict[str, np.ndarray]]:
    """The layout of a file of that kind, and the variables of the encoder by our paths. See `import_weights`."""
    layers = {path: shape for path, shape in container.shapes_of(encoder).items() if not path.startswith(NORMALIZATION)}
    if kind == "hdf5":
        _check_keras(file, encoder, any_hash, normalization)
        with opened(file, kind) as tensors:
            layout, (arrays, constants) = "keras", _from_keras(file, encoder, tensors, layers)
    else:
        constants = _constants(normalization or ("lite" if "_lite" in encoder else "imagenet"))
        with opened(file, kind) as tensors:
            layout, arrays = _from_torch(file, encoder, tensors, layers)
    mean, std = (np.asarray(values, np.float32) for values in constants)
    known = {"mean": mean, "variance": np.square(std), "count": np.zeros((), np.float32)}
    return layout, arrays | {NORMALIZATION + name: value for name, value in known.items()}


def _constants_of(arrays: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    mean, std = arrays[f"{NORMALIZATION}mean"], np.sqrt(arrays[f"{NORMALIZATION}variance"])
    return {name: [round(float(value), 6) for value in values] for name, values in (("mean", mean), ("std", std))}


def _constants(normalization: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if normalization not in NORMALIZATIONS:
        raise UserError(f"--normalization {normalization} is unknown: choose one of {', '.join(NORMALIZATIONS)}")
    return NORMALIZATIONS[normalization]


def _hash(file: pathlib.Path, name: str) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, name).hexdigest()


def _check_keras(file: pathlib.Path, encoder: str, any_hash: bool, normalization: str | None) -> None:
    if encoder not in KERAS_MD5:
        raise UserError(f"{file}: holds weights of Keras, {encoder} has none: choose one of {', '.join(KERAS_MD5)}")
    if normalization:
        raise UserError(f"--normalization is not for {file}: Keras' files have their own constants, leave it out")
    found = _hash(file, "md5")
    if not any_hash and found not in KERAS_MD5[encoder]:
        name = encoder.replace("_", "")
        raise UserError(
            f"{file}: has MD5 {found}, the official {name}_notop.h5 has {KERAS_MD5[encoder][1]}: "
            "download it again, or give --any-hash for a file of your own"
        )


def _from_keras(file: pathlib.Path, encoder: str, tensors: dict[str, Tensor], layers: Mapping[str, tuple[int, ...]]):
    """Arrays by our paths, and mean and standard deviation of the normalisation."""
    names = {path: keras_tensor(path) for path in layers}
    constants = {name: f"normalization/{name}" for name in ("mean", "variance")}
    wanted = {names[path]: _keras_shape(path, shape) for path, shape in layers.items()}
    wanted |= dict.fromkeys(constants.values(), (3,))
    _check_names(file, encoder, tensors, wanted, KERAS_BESIDES)
    values = {name: _value(file, encoder, name, tensors[name], wanted[name]) for name in wanted}
    mean, variance = (values[name] for name in constants.values())
    # The official files keep the standard deviation where the variance belongs, and the network divides once more by
    # its root, in a layer without weights. Both together normalise by ImageNet's constants.
    std = variance if np.allclose(variance, IMAGENET_STD, atol=1e-3) else np.sqrt(np.maximum(variance, 0))
    return {path: values[name].reshape(layers[path]) for path, name in names.items()}, (mean, std)


def _keras_shape(path: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """[k k c 1] of a depthwise kernel, which is [k k 1 c] here: the same order in memory."""
    return (*shape[:2], shape[3], shape[2]) if path.endswith("dwconv/kernel") else shape


def _from_torch(file: pathlib.Path, encoder: str, tensors: dict[str, Tensor], layers: Mapping[str, tuple[int, ...]]):
    """The layout's name and arrays by our paths."""
    layout = torch_layout(encoder, set(tensors))
    if layout is None:
        raise UserError(
            f"{file}: has no first layer of {encoder} as timm, torchvision, transformers or EfficientNet-PyTorch "
            f"name it (it starts with {min(tensors, default='nothing')}): choose the encoder that it is of"
        )
    if layout.name in ("transformers", "EfficientNet-PyTorch") and encoder.startswith("timm_"):
        ours = encoder.removeprefix("timm_")
        raise UserError(f"{file}: was trained with TensorFlow's padding, not PyTorch's: choose --encoder {ours}")
    names = {path: layout.tensor(encoder, path) for path in layers}
    wanted = {name: torch_shape(layers[path]) for path, name in names.items()}
    _check_names(file, encoder, tensors, wanted, BESIDES)
    values = {path: _value(file, encoder, name, tensors[name], wanted[name]) for path, name in names.items()}
    return layout.name, {path: from_torch(value) for path, value in values.items()}


def _check_names(
    file: pathlib.Path, encoder: str, tensors: Mapping[str, Tensor], wanted: Mapping[str, Any], besides: re.Pattern
) -> None:
    for name in wanted:
        if name not in tensors:
            raise UserError(f"{file}: layer {name} of {encoder} is missing: choose the encoder that the file is of")
    for name in tensors:
        if name not in wanted and not besides.fullmatch(name):
            raise UserError(f"{file}: layer {name} is none of {encoder}: choose the encoder that the file is of")


def _value(file: pathlib.Path, encoder: str, name: str, tensor: Tensor, shape: tuple[int, ...]) -> np.ndarray:
    if tensor.shape != shape or not tensor.is_real:
        what = f"has shape {list(tensor.shape)}" if tensor.is_real else "does not hold real numbers"
        raise UserError(f"{file}: layer {name} {what}, {encoder} needs {list(shape)}: choose the encoder it is of")
    value = tensor.read()
    if not np.isfinite(value).all():
        raise UserError(f"{file}: layer {name} holds values that are not finite: download the file again")
    return value
