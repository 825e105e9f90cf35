"""The tensors of a file that somebody else wrote: HDF5 or safetensors, told apart by what is in it.

A pickle only where its hash is known, and then without running it.
"""

import contextlib
import dataclasses
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fetal_jax.core.types import UserError
from fetal_jax.pretrained.torch_file import read_torch_file

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
PICKLE_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")  # PyTorch zips its pickles
PICKLE_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".pkl", ".pickle", ".tar")


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor of a file: its shape, whether it holds real numbers, and how to read it as float32."""

    shape: tuple[int, ...]
    is_real: bool
    read: Callable[[], np.ndarray]


def kind_of(path: pathlib.Path) -> str:
    """ "hdf5" or "safetensors". Raises UserError for a pickle, and for anything else."""
    with path.open("rb") as file:
        start = file.read(9)
    if start.startswith(HDF5_MAGIC):
        return "hdf5"
    if start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
        return "safetensors"
    if start.startswith(PICKLE_STARTS) or path.suffix.lower() in PICKLE_SUFFIXES:
        raise UserError(
            f"{path}: is a pickle, which may run any program when it is read: take the .safetensors file of the same "
            "weights, or convert it with safetensors.torch.save_file"
        )
    raise UserError(f"{path}: is neither HDF5 nor whole safetensors: download it again")


@contextlib.contextmanager
def opened(path: pathlib.Path, kind: str) -> Iterator[dict[str, Tensor]]:
    """The tensors by name of a file of that kind, to be read inside the block. Raises UserError for a damaged file.

    `kind` is what `kind_of` says, or "torch" for a pickle whose hash was compared with a published one.

    A tensor of HDF5 is named `layer/weight`, as Keras' layout has it, whatever groups are around.
    """
    with {"hdf5": _hdf5, "safetensors": _safetensors, "torch": _torch}[kind](path) as tensors:
        yield tensors


@contextlib.contextmanager
def _hdf5(path: pathlib.Path) -> Iterator[dict[str, Tensor]]:
    import h5py

    def tensor(name: str, dataset: h5py.Dataset) -> Tensor:
        def read() -> np.ndarray:
            with _refused(path, f"HDF5 at {name}"):
                return dataset[()].astype(np.float32)

        return Tensor(tuple(dataset.shape or ()), dataset.dtype.kind == "f", read)

    with contextlib.ExitStack() as stack:
        with _refused(path, "HDF5"):
            datasets = _datasets(path, stack.enter_context(h5py.File(path, "r", locking=False)))
            tensors = {name: tensor(name, dataset) for name, dataset in datasets.items()}
        yield tensors


def _datasets(path: pathlib.Path, file) -> dict[str, Any]:
    """The datasets of an HDF5 file by layer and weight. Links to other files are not followed."""
    found = {}

    def collect(name: str | bytes, item) -> None:
        name = name if isinstance(name, str) else name.decode(errors="replace")
        if hasattr(item, "shape") and not name.startswith("optimizer_weights/"):
            key = _layer_and_weight(name)
            if key in found or item.external or item.is_virtual:
                raise UserError(f"{path}: {key} is there twice or lies in another file: save the weights anew")
            found[key] = item

    file.visititems(collect)
    return found


def _layer_and_weight(name: str) -> str:
    name = "/".join(name.split("/")[-2:]).partition(":")[0]
    name = re.sub(r"^normalization_\d+/", "normalization/", name)  # counts the layers that a session has made
    return name.replace("/depthwise_kernel", "/kernel")  # of Keras 2; Keras 3 says kernel


@contextlib.contextmanager
def _safetensors(path: pathlib.Path) -> Iterator[dict[str, Tensor]]:
    from safetensors import safe_open

    def tensor(file, name: str) -> Tensor:
        def read() -> np.ndarray:
            with _refused(path, f"safetensors at {name}"):
                return file.get_tensor(name).astype(np.float32)

        view = file.get_slice(name)
        return Tensor(tuple(view.get_shape()), view.get_dtype() in ("F32", "F64", "F16", "BF16"), read)

    with contextlib.ExitStack() as stack:
        with _refused(path, "safetensors"):
            file = stack.enter_context(safe_open(path, framework="numpy"))
            names = file.keys()
            tensors = {name: tensor(file, name) for name in names}
        yield tensors


@contextlib.contextmanager
def _torch(path: pathlib.Path) -> Iterator[dict[str, Tensor]]:
    def tensor(array: np.ndarray) -> Tensor:
        return Tensor(array.shape, array.dtype.kind == "f", lambda: array.astype(np.float32))

    yield {name: tensor(array) for name, array in read_torch_file(path).items()}


@contextlib.contextmanager
def _refused(path: pathlib.Path, what: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # bytes of any kind make the libraries raise errors of any kind
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: is damaged {what} ({reason}): download it again") from None
