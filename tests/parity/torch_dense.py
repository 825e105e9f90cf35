"""Writes tests/golden/dense.npz: ADU-Net put together from MONAI's and PyTorch's layers, in three and two dimensions.

MONAI has no ADU-Net, but the parts of one: DenseBlock, ADN and the layer factories. Convolutions of 3 are theirs.
"""

import golden
import numpy as np
import torch
import torch_peers
import weights
from monai.networks.blocks import ADN
from monai.networks.blocks.denseblock import DenseBlock
from monai.networks.layers.factories import Conv, Pool

WIDTH, DEPTH, LAYERS, GROWTH, CLASSES = 4, 3, 3, 2, 4
SHAPES = {"volume": (2, 8, 16, 8, 2), "image": (1, 24, 16, 1)}


def activate(channels: int, dims: int) -> torch.nn.Module:
    return ADN("NA", channels, act="RELU", norm="BATCH", norm_dim=dims)


class AduNet(torch.nn.Module):
    """Seven dense blocks, by default, with transitions between them."""

    def __init__(self, dims, channels, *, width=WIDTH, growth=GROWTH):
        super().__init__()
        self.dims, self.growth, conv = dims, growth, Conv[Conv.CONV, dims]
        into, out = [width * 2**level for level in range(DEPTH + 1)], []
        self.stem = conv(channels, width, 3, padding=1)
        self.down, self.down_blocks = torch.nn.ModuleList(), torch.nn.ModuleList()
        for level, features in enumerate(into):
            if level:
                layers = conv(out[-1], features, 3, padding=1), activate(features, dims), Pool["MAX", dims](2)
                self.down.append(torch.nn.Sequential(*layers))
            self.down_blocks.append(self.block(features))
            out.append(features + LAYERS * growth)
        self.up, self.up_blocks, before = torch.nn.ModuleList(), torch.nn.ModuleList(), out[-1]
        for features, skip in zip(into[-2::-1], out[-2::-1], strict=True):
            self.up.append(Conv["CONVTRANS", dims](before, features, 2, 2))
            self.up_blocks.append(self.block(features + skip))
            before = features + skip + LAYERS * growth
        self.logits = conv(before, CLASSES, 3, padding=1)

    def block(self, channels):
        conv, layers = Conv[Conv.CONV, self.dims], []
        for _ in range(LAYERS):
            layers.append(torch.nn.Sequential(activate(channels, self.dims), conv(channels, self.growth, 3, padding=1)))
            channels += self.growth
        return torch.nn.Sequential(DenseBlock(layers), activate(channels, self.dims))

    def forward(self, x):
        x, skips = self.stem(x), []
        for level, block in enumerate(self.down_blocks):
            x = block(self.down[level - 1](x) if level else x)
            skips.append(x)
        for up, block, skip in zip(self.up, self.up_blocks, skips[-2::-1], strict=True):
            x = block(torch.cat([up(x), skip], 1))
        return self.logits(x)


def numbers() -> dict[str, np.ndarray]:
    found = {"adu_net/parameters": torch_peers.count(AduNet(3, 2, width=32, growth=16))}
    for name, shape in SHAPES.items():
        network = torch_peers.fill(AduNet(len(shape) - 2, shape[-1]))
        found[f"adu_net/{name}"] = torch_peers.run(network, weights.image(name, shape))
        found[f"dense_block/{name}"] = torch_peers.run(
            torch_peers.fill(network.block(WIDTH)), weights.image(name, (*shape[:-1], WIDTH))
        )
    return found


if __name__ == "__main__":
    golden.main("dense", torch_peers.versions("monai"), numbers)
