"""Tensors of a file that `torch.save` wrote, without running what its pickle asks for.

Such a file names functions to call. An ordered dictionary, a tensor and the kinds of storage are known here; with any
other name the file is refused. A pickle can also change what it made, so shapes are checked where memory is read. Both
forms are read: a zip with a file for each storage, and the older one of several pickles, followed by the storages. See
torch/serialization.py, `_legacy_save` and `_save`.
"""

import collections
import io
import os
import pathlib
import pickle
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from fetal_jax.core.types import UserError

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
STORAGES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8"}
ZIP = b"PK\x03\x04"


class _Storage(NamedTuple):  # has no attributes that a pickle could set
    """Numbers of one kind, by their key in the file."""

    key: str
    dtype: np.dtype
    size: int


class _View(NamedTuple):
    """A tensor: where it begins in a storage, its shape, and the steps along each axis; all in values, not bytes."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_torch_file(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The tensors of a state dict by name.

    Raises UserError, naming the file, for one that is cut off or damaged, that holds more than a state dict of
    tensors, or that names anything else to be called.
    """
    path = pathlib.Path(path)
    with path.open("rb") as file:
        try:
            is_zip = file.read(4) == ZIP
            file.seek(0)
            return _read_zip(file) if is_zip else _read_pickles(file)
        except _Foreign as foreign:
            reason, remedy = f"its pickle asks for {foreign}", "nothing of it was run; take the official file"
        except Exception as error:  # bytes of any kind make pickle and zipfile raise errors of any kind
            words = " ".join(str(error).split())[:200] or type(error).__name__
            reason, remedy = f"it is not a whole file of tensors ({words})", "download it again"
    raise UserError(f"{path}: {reason}: {remedy}")


class _Foreign(Exception):
    """A name in a pickle that is none of those that are known."""


class _Unpickler(pickle.Unpickler):
    """Knows an OrderedDict, a tensor and the kinds of storage: nothing that a file names is imported or run."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _view
        if module == "torch" and name in STORAGES:
            return np.dtype(STORAGES[name])
        raise _Foreign(ascii(f"{module}.{name}"))

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, size, *_ = pid
        if kind != "storage" or not isinstance(dtype, np.dtype) or type(size) is not int or type(key) is not str:
            raise ValueError("a storage of an unknown kind")
        return _Storage(key, dtype, size)


def _view(storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> _View:
    """In place of `torch._utils._rebuild_tensor_v2`."""
    return _View(storage, offset, shape, strides)


def _read_pickles(file: BinaryIO) -> dict[str, np.ndarray]:
    if _Unpickler(file).load() != MAGIC or _Unpickler(file).load() != PROTOCOL:
        raise ValueError("torch.save did not write it")
    _Unpickler(file).load()  # of the machine that wrote it
    views, keys = _views(_Unpickler(file).load()), _Unpickler(file).load()
    storages = {view.storage.key: view.storage for view in views.values()}
    values: dict[str, bytes] = {}
    for key in keys:
        size = int.from_bytes(_exactly(file, 8), "little")
        values[key] = _exactly(file, size * storages[key].dtype.itemsize)
    return _arrays(views, values.__getitem__)


def _read_zip(file: BinaryIO) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        folder = name.removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError("its bytes are in the other order")
        views = _views(_Unpickler(io.BytesIO(archive.read(name))).load())
        # As torch.save writes them; a small file that is deflated could grow to any size.
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("its entries are compressed")
        keys = {view.storage.key for view in views.values()}
        values = {key: archive.read(f"{folder}data/{key}") for key in keys}
        return _arrays(views, values.__getitem__)


def _views(found: Any) -> dict[str, _View]:
    if not isinstance(found, dict):
        raise ValueError("it is not a state dict of tensors")
    views = dict(dict.items(found))  # not its own `items`, in whose place a pickle may have put something else
    if not all(
        type(name) is str and type(view) is _View and type(view.storage) is _Storage for name, view in views.items()
    ):
        raise ValueError("it is not a state dict of tensors")
    return views


def _arrays(views: Mapping[str, _View], read: Callable[[str], bytes]) -> dict[str, np.ndarray]:
    arrays = {}
    for name, view in views.items():
        values = np.frombuffer(read(view.storage.key), view.storage.dtype)
        if values.size != view.storage.size:
            raise ValueError(f"storage {view.storage.key} has {values.size} values, {view.storage.size} are announced")
        _check_within(view, values.size)
        strides = tuple(stride * values.itemsize for stride in view.strides)
        arrays[name] = np.lib.stride_tricks.as_strided(values[view.offset :], view.shape, strides, writeable=False)
    return arrays


def _check_within(view: _View, size: int) -> None:
    """Raises ValueError for a view that reads beyond the `size` values of its storage."""
    _, offset, shape, strides = view
    if type(shape) is not tuple or type(strides) is not tuple or len(shape) != len(strides):
        raise ValueError("a tensor of an unknown form")
    if not all(type(n) is int and n >= 0 for n in (offset, *shape, *strides)):
        raise ValueError("a tensor of an unknown form")
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if 0 not in shape and last >= size:
        raise ValueError("a tensor beyond its storage")


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise ValueError("it is cut off")
    return data
