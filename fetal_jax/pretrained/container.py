"""One .npz for the weights of one encoder: no pickles, and a JSON header that says whose they are."""

import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from fetal_jax.core.atomic import replacing_file
from fetal_jax.core.types import UserError
from fetal_jax.models.encoders import ENCODERS, make_encoder

VERSION = 1
HEADER = "header"
FIELDS = {"format", "version", "encoder", "layout", "source", "source_file", "source_sha256", "arrays_sha256"}
CONSTANTS = {"mean", "std"}  # of the normalisation, an entry a colour


def shapes_of(encoder: str) -> dict[str, tuple[int, ...]]:
    """The shape of each variable of an encoder of colour images by its path, such as `params/stem_conv/kernel`.

    Raises UserError for an unknown encoder.
    """
    if encoder not in ENCODERS:
        raise UserError(f"unknown encoder {encoder!r}: choose one of {', '.join(ENCODERS)}")
    return dict(_shapes_of(encoder.removeprefix("timm_")))  # both flavours have the same variables


@functools.cache
def _shapes_of(encoder: str) -> dict[str, tuple[int, ...]]:
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    init = functools.partial(make_encoder(encoder, 0.9).init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), image)
    return {path: leaf.shape for path, leaf in flax.traverse_util.flatten_dict(variables, sep="/").items()}


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """sha256 over names, shapes and values."""
    sha = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        sha.update(f"{name} {array.shape} {array.dtype.str}\n".encode())
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()


def write(path: str | os.PathLike, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes the file atomically. Raises UserError for a name that does not end in .npz, or no such folder."""
    path = pathlib.Path(path)
    if path.suffix != ".npz" or path.is_dir() or not path.parent.is_dir():
        raise UserError(f"{path} cannot be written: give a file NAME.npz in a folder that exists")
    header = {"format": "fetal_jax encoder", "version": VERSION, **header, "arrays_sha256": digest(arrays)}
    named: dict[str, Any] = {HEADER: np.array(json.dumps(header)), **arrays}
    with replacing_file(path) as partial:
        np.savez(partial, **named)


def read(path: str | os.PathLike) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header and the arrays by path, checked against the header's sha256 and the encoder's shapes.

    Raises UserError, naming the file, for one that is not ours, is damaged, or is of another version.
    """
    arrays = _read_arrays(path)
    header = _checked_header(path, arrays.pop(HEADER, None))
    if digest(arrays) != header["arrays_sha256"]:
        raise UserError(f"{path}: the weights are not those that were written: import them again")
    if {name: array.shape for name, array in arrays.items()} != shapes_of(header["encoder"]):
        raise UserError(f"{path}: the weights do not have the shapes of {header['encoder']}: import them again")
    return header, arrays


def read_header(path: str | os.PathLike) -> dict[str, Any]:
    """The header of a file that is whole. Raises UserError as `read`."""
    return read(path)[0]


def _read_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
    with open(path, "rb") as stream:
        try:
            with np.load(stream, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        except Exception as error:  # bytes of any kind make zipfile and NumPy raise errors of any kind
            reason = " ".join(str(error).split()) or type(error).__name__
    remedy = "make it with fetal-jax weights import"
    raise UserError(f"{path}: is not a whole .npz of encoder weights ({reason}): {remedy}")


def _checked_header(path: str | os.PathLike, entry: np.ndarray | None) -> dict[str, Any]:
    try:
        header = json.loads(str(entry))
    except ValueError:
        header = None
    if not isinstance(header, dict) or not header.keys() >= FIELDS | CONSTANTS:
        raise UserError(f"{path}: has no header of encoder weights: make it with fetal-jax weights import")
    if header["encoder"] not in list(ENCODERS):
        raise UserError(f"{path}: holds weights of {header['encoder']!r}, which is none of {', '.join(ENCODERS)}")
    if header["version"] != VERSION:
        raise UserError(f"{path}: is of version {header['version']}, this program reads {VERSION}: import it again")
    return header
