"""Writes tests/golden/monai.npz from MONAI: the plain U-Net family, whole networks in two and three dimensions.

Where MONAI's default is not the published form, its own parts are put in place:
- BasicUNet and BasicUNetPlusPlus keep all channels in the last up-sampling (`halves=False`); in the papers they are
  halved there as everywhere.
- AttentionUnet follows the convolution after a concatenation by instance normalisation and PReLU, the convolutions of
  all other blocks by batch normalisation and ReLU. Here that one too. It halves the resolution by stride; by maxima of
  2×2 pixels it is a MaxPool before the same blocks at stride 1.

MONAI has no residual U-Net with concatenation: ResidualUNet is one of its parts, as in the authors' notebook of
Attention-ResUNet.
"""

import torch_peers  # noqa: I001  (before any peer)

import itertools

import golden
import numpy as np
import torch
import weights
from monai.networks.blocks import ADN, Convolution, UnetResBlock
from monai.networks.blocks.segresnet_block import ResBlock
from monai.networks.layers.factories import Pool
from monai.networks.nets import AttentionUnet, BasicUNet, BasicUNetPlusPlus
from monai.networks.nets.attentionunet import AttentionBlock, AttentionLayer, ConvBlock
from monai.networks.nets.basic_unet import UpCat

WIDTH, DEPTH, CLASSES = 4, 4, 3
CHANNELS = [WIDTH * 2**level for level in range(DEPTH + 1)]
SHAPES = {2: (2, 32, 48, 1), 3: (1, 16, 32, 16, 2)}  # images [b *space c] by the number of dimensions
FEATURES = {2: (2, 5, 7, 6), 3: (2, 5, 3, 4, 6)}  # what a residual block sees
NORMALISED = {"act": "relu", "norm": "batch"}


def basic_unet(dims: int, channels: int, width: int = WIDTH, classes: int = CLASSES) -> torch.nn.Module:
    features = (*(width * 2**level for level in range(DEPTH + 1)), width)
    net = BasicUNet(dims, channels, classes, features, upsample="deconv", **NORMALISED)
    net.upcat_1 = UpCat(dims, features[1], width, width, dropout=0.0, bias=True, upsample="deconv", **NORMALISED)
    return net


def nested_unet(dims: int, channels: int, width: int = WIDTH, classes: int = CLASSES) -> torch.nn.Module:
    features = (*(width * 2**level for level in range(DEPTH + 1)), width)
    net = BasicUNetPlusPlus(dims, channels, classes, features, True, upsample="deconv", **NORMALISED)
    for j in range(1, DEPTH + 1):
        up = UpCat(dims, features[1], width * j, width, dropout=0.0, bias=True, upsample="deconv", **NORMALISED)
        setattr(net, f"upcat_0_{j}", up)
    return net


def attention_unet(dims: int, channels: int, down: str, width: int = WIDTH, classes: int = CLASSES) -> torch.nn.Module:
    features = [width * 2**level for level in range(DEPTH + 1)]
    net = AttentionUnet(dims, channels, classes, features, [2] * DEPTH)
    for layer in [module for module in net.modules() if isinstance(module, AttentionLayer)]:
        layer.merge.adn = ADN("NDA", layer.merge.out_channels, norm_dim=dims, **NORMALISED)
    if down == "pool":
        for block in [module for module in net.modules() if isinstance(module, ConvBlock)]:
            convolution = block.conv[0].conv
            if convolution.stride[0] == 2:
                convolution.stride = (1,) * dims
                block.register_forward_pre_hook(lambda _, inputs: Pool["MAX", dims](2)(*inputs))
    return net


class ResidualUNet(torch.nn.Module):
    """A U-Net of MONAI's residual blocks, transposed convolutions and, where `gated`, attention gates."""

    def __init__(self, dims: int, channels: int, gated: bool, width: int = WIDTH, classes: int = CLASSES):
        super().__init__()
        features = [width * 2**level for level in range(DEPTH + 1)]
        up = {"strides": 2, "kernel_size": 2, "padding": 0, "output_padding": 0, "is_transposed": True}
        pairs = list(itertools.pairwise(features))[::-1]  # (c, 2c), deep to shallow

        def block(i: int, o: int) -> torch.nn.Module:
            return UnetResBlock(dims, i, o, kernel_size=3, stride=1, norm_name="batch", act_name="relu")

        self.stages = torch.nn.ModuleList(block(i, o) for i, o in itertools.pairwise([channels, *features]))
        self.pool = Pool["MAX", dims](2)
        self.ups = torch.nn.ModuleList(Convolution(dims, c2, c, conv_only=True, **up) for c, c2 in pairs)
        self.gates = torch.nn.ModuleList(AttentionBlock(dims, c // 2, c, c) for c, _ in pairs if gated)
        self.merges = torch.nn.ModuleList(block(c2, c) for c, c2 in pairs)
        self.logits = Convolution(dims, width, classes, kernel_size=1, conv_only=True)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = [self.stages[0](image)]
        for stage in self.stages[1:]:
            features.append(stage(self.pool(features[-1])))
        *skips, x = features
        for level, skip in enumerate(reversed(skips)):
            x = self.ups[level](x)
            skip = self.gates[level](g=x, x=skip) if self.gates else skip
            x = self.merges[level](torch.cat([skip, x], dim=1))
        return self.logits(x)


def outputs(module: torch.nn.Module, name: str, shape: tuple[int, ...]) -> list[np.ndarray]:
    """What the filled module gives for the image `name`: all of its outputs, channels last."""
    image = torch.from_numpy(weights.image(name, shape)).movedim(-1, 1)
    with torch.inference_mode():
        found = torch_peers.fill(module)(image)
    return [y.movedim(1, -1).numpy() for y in (found if isinstance(found, list) else [found])]


def attention_maps(module: torch.nn.Module, name: str, shape: tuple[int, ...]) -> list[np.ndarray]:
    """The maps of all gates, deep to shallow, in order of computation."""
    maps = []
    for layer in [module for module in module.modules() if isinstance(module, AttentionLayer)]:
        layer.attention.psi.register_forward_hook(lambda _, __, y: maps.append(y.movedim(1, -1).numpy()))
    outputs(module, name, shape)
    return maps


def golden_numbers():
    numbers = {}
    for dims, shape in SHAPES.items():
        networks = {"plain_unet": basic_unet(dims, shape[-1]), "unet_plus_plus": nested_unet(dims, shape[-1])}
        for down in ("pool", "stride"):
            networks[f"attention_unet_{down}"] = attention_unet(dims, shape[-1], down)
        for name, gated in {"resunet": False, "attention_resunet": True}.items():
            networks[name] = ResidualUNet(dims, shape[-1], gated)
        for name, net in networks.items():
            found = [weights.digest(y) for y in outputs(net, "image", shape)]
            numbers[f"{name}_{dims}d"] = np.stack(found)
        for level, attention in enumerate(attention_maps(networks["attention_unet_pool"], "image", shape), 1):
            numbers[f"gate{level}_{dims}d"] = weights.digest(attention)
        block = ResBlock(dims, 6, "batch", act=("relu", {"inplace": False}))
        numbers[f"residual_block_{dims}d"] = outputs(block, "features", FEATURES[dims])[0]
    counted = {
        "plain_unet": basic_unet(2, 1, 64, 1),
        "attention_unet": attention_unet(2, 1, "pool", 64, 1),
        "attention_resunet": ResidualUNet(2, 1, True, 64, 1),
        "unet_plus_plus": nested_unet(2, 1, 32, 1),
    }
    return numbers | {f"count/{name}": torch_peers.count(net) for name, net in counted.items()}


if __name__ == "__main__":
    golden.main("monai", torch_peers.versions("monai"), golden_numbers)
