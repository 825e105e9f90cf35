"""What others call the layers of our encoders: Keras, timm and torchvision, Hugging Face transformers, and
EfficientNet-PyTorch, whose names segmentation_models_pytorch and EfficientNet-Lite have.

A variable is named by its path, `params/block2a/expand_conv/kernel`; another's name of it follows from the path alone.
"""

import dataclasses
import re
from collections.abc import Callable

import numpy as np

from fetal_jax.models.efficientnet import LITE_SCALES, SCALES, scaled_blocks

# Weights of a layer by our names. Those of a convolution are `kernel` and `bias`, of BatchNorm the other four.
TORCH = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
KERAS_BN = {"scale": "gamma", "bias": "beta", "mean": "moving_mean", "var": "moving_variance"}
BESIDES = re.compile(r"(classifier|_?fc)\..*|.*num_batches_tracked")  # of a PyTorch file, not of an encoder

_TIMM_SQUEEZE = {"se.reduce": "se.conv_reduce", "se.expand": "se.conv_expand"}
_TIMM_BLOCK = {
    "expand_conv": "conv_pw",
    "expand_bn": "bn1",
    "dwconv": "conv_dw",
    "bn": "bn2",
    "project_conv": "conv_pwl",
    "project_bn": "bn3",
    **_TIMM_SQUEEZE,
}
_TIMM_FIRST_BLOCK = {"dwconv": "conv_dw", "bn": "bn1", "project_conv": "conv_pw", "project_bn": "bn2", **_TIMM_SQUEEZE}
_TIMM_ENDS = {"stem_conv": "conv_stem", "stem_bn": "bn1", "top_conv": "conv_head", "top_bn": "bn2"}
_TRANSFORMERS_BLOCK = {
    "expand_conv": "expansion.expand_conv",
    "expand_bn": "expansion.expand_bn",
    "dwconv": "depthwise_conv.depthwise_conv",
    "bn": "depthwise_conv.depthwise_norm",
    "se.reduce": "squeeze_excite.reduce",
    "se.expand": "squeeze_excite.expand",
    "project_conv": "projection.project_conv",
    "project_bn": "projection.project_bn",
}
_TRANSFORMERS_ENDS = {
    "stem_conv": "embeddings.convolution",
    "stem_bn": "embeddings.batchnorm",
    "top_conv": "encoder.top_conv",
    "top_bn": "encoder.top_bn",
}
_EFFICIENTNET_PYTORCH_BLOCK = {
    "expand_conv": "_expand_conv",
    "expand_bn": "_bn0",
    "dwconv": "_depthwise_conv",
    "bn": "_bn1",
    "se.reduce": "_se_reduce",
    "se.expand": "_se_expand",
    "project_conv": "_project_conv",
    "project_bn": "_bn2",
}
_EFFICIENTNET_PYTORCH_ENDS = {
    "stem_conv": "_conv_stem",
    "stem_bn": "_bn0",
    "top_conv": "_conv_head",
    "top_bn": "_bn1",
}


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a library names tensors: what stands before all names, and a module's name by (encoder, our path)."""

    name: str
    module: Callable[[str, str], str]
    prefix: str = ""

    def tensor(self, encoder: str, path: str) -> str:
        """The name of the tensor that holds our variable at `path`."""
        _, *modules, weight = path.split("/")
        return f"{self.prefix}{self.module(encoder, '.'.join(modules))}.{TORCH[weight]}"


def keras_tensor(path: str) -> str:
    """Keras' name of our variable at `path`, as `layer/weight`."""
    _, *modules, weight = path.split("/")
    layer = "_".join(modules)
    return f"{layer}/{KERAS_BN[weight] if layer.endswith('bn') else weight}"


def torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """PyTorch's shape of a variable of ours: [o i h w] of a kernel [h w i o], any other shape as it is."""
    return (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape


def from_torch(value: np.ndarray) -> np.ndarray:
    """A tensor of PyTorch in our axes."""
    return np.ascontiguousarray(value.transpose(2, 3, 1, 0)) if value.ndim == 4 else value


def torch_layout(encoder: str, names: set[str]) -> Layout | None:
    """The layout of a file of PyTorch tensors with these names, for an encoder; None for one that is not known."""
    family = "resnet" if "resnet" in encoder else "efficientnet"
    mark = {"resnet": "embedder.embedder.", "efficientnet": "embeddings."}[family]
    for prefix in (f"{family}.", ""):  # with a classifier beside the network, and without
        if any(name.startswith(prefix + mark) for name in names):
            return Layout("transformers", _TRANSFORMERS[family], prefix=prefix)
    if family == "efficientnet" and any(name.startswith("_conv_stem.") for name in names):
        return Layout("EfficientNet-PyTorch", _efficientnet_pytorch)
    first = {"resnet": "conv1.", "efficientnet": "conv_stem."}[family]
    return Layout("timm", _TIMM[family]) if any(name.startswith(first) for name in names) else None


def _timm_efficientnet(encoder: str, module: str) -> str:
    block, _, rest = module.partition(".")
    if not rest:
        return _TIMM_ENDS[module]
    stage, index = int(block[-2]) - 1, ord(block[-1]) - ord("a")
    return f"blocks.{stage}.{index}.{(_TIMM_BLOCK if stage else _TIMM_FIRST_BLOCK)[rest]}"


def _transformers_efficientnet(encoder: str, module: str) -> str:
    block, _, rest = module.partition(".")
    if not rest:
        return _TRANSFORMERS_ENDS[module]
    return f"encoder.blocks.{_index_of(encoder, block)}.{_TRANSFORMERS_BLOCK[rest]}"


def _efficientnet_pytorch(encoder: str, module: str) -> str:
    block, _, rest = module.partition(".")
    if not rest:
        return _EFFICIENTNET_PYTORCH_ENDS[module]
    return f"_blocks.{_index_of(encoder, block)}.{_EFFICIENTNET_PYTORCH_BLOCK[rest]}"


def _index_of(encoder: str, block: str) -> int:
    """The number of a block of that name, from the stem on."""
    lite = "_lite" in encoder
    scale = LITE_SCALES[encoder[-1]] if lite else SCALES[encoder[-2:]]
    return [block.name for block in scaled_blocks(*scale, lite=lite)].index(block)


def _timm_resnet(encoder: str, module: str) -> str:
    block, _, rest = module.partition(".")
    rest = {"downsample_conv": "downsample.0", "downsample_bn": "downsample.1"}.get(rest, rest)
    return f"{block.replace('_', '.')}.{rest}" if rest else module


def _transformers_resnet(encoder: str, module: str) -> str:
    kinds = {"conv": "convolution", "bn": "normalization"}
    block, _, rest = module.partition(".")
    if not rest:
        return f"embedder.embedder.{kinds[module.rstrip('1')]}"
    stage, index = (int(part) for part in block.removeprefix("layer").split("_"))
    start = f"encoder.stages.{stage - 1}.layers.{index}"
    if rest.startswith("downsample_"):
        return f"{start}.shortcut.{kinds[rest.removeprefix('downsample_')]}"
    return f"{start}.layer.{int(rest[-1]) - 1}.{kinds[rest[:-1]]}"


_TIMM = {"efficientnet": _timm_efficientnet, "resnet": _timm_resnet}
_TRANSFORMERS = {"efficientnet": _transformers_efficientnet, "resnet": _transformers_resnet}
