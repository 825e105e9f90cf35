"""Writes tests/golden/swin.npz from torchvision and timm: Swin blocks, patch merging, and whole encoders.

The two part company at sides that are no multiples of the window: timm shrinks windows to small maps, and rolls before
it fills up; torchvision keeps the window and fills up first, as the authors' detection code does, and so do we.
"""

import torch_peers  # noqa: I001  (before any peer)

import golden
import numpy as np
import torch
import weights
from timm.models.swin_transformer import SwinTransformer as TimmSwin
from torchvision.models.swin_transformer import PatchMerging, SwinTransformer, SwinTransformerBlock

WIDTH, HEADS, WINDOW = 12, 3, 4
MAPS = {"whole": (8, 12), "ragged": (10, 7), "low": (3, 9)}  # multiples of the window, none, one axis below it
STAGES = {"depths": [2, 2, 2, 2], "num_heads": [3, 6, 12, 24]}
IMAGES = {"torchvision": (1, 64, 96, 3), "timm": (1, 64, 64, 1)}


def feature_map(name: str) -> np.ndarray:
    return weights.image(f"swin/{name}", (2, *MAPS[name], WIDTH)) - 0.5


def run(module: torch.nn.Module, x: np.ndarray) -> np.ndarray:
    """The output of a module that keeps channels last."""
    with torch.inference_mode():
        return module(torch.from_numpy(x)).numpy()


def blocks() -> dict[str, np.ndarray]:
    numbers = {}
    for shifted, shift in (("plain", 0), ("shifted", WINDOW // 2)):
        block = torch_peers.fill(SwinTransformerBlock(WIDTH, HEADS, [WINDOW] * 2, [shift] * 2))
        numbers |= {f"{shifted}/{name}": run(block, feature_map(name)) for name in MAPS}
    return numbers | {"merging": run(torch_peers.fill(PatchMerging(WIDTH)), feature_map("whole"))}


def torchvision_encoder() -> dict[str, np.ndarray]:
    """Outputs of its embedding, stages and mergings by turns, and of the last normalisation; windows of 7."""
    net = torch_peers.fill(SwinTransformer([4, 4], WIDTH, window_size=[7, 7], **STAGES))
    x, outputs = torch.from_numpy(weights.image("swin/torchvision", IMAGES["torchvision"])).movedim(-1, 1), []
    with torch.inference_mode():
        for part in (*net.features, net.norm):
            x = part(x)
            outputs.append(x.numpy())
    return {f"torchvision/{i}": output for i, output in enumerate(outputs)}


def timm_encoder() -> dict[str, np.ndarray]:
    """Outputs of its stages, each of which begins with the merging, and of the last normalisation; windows of 2."""
    side, channels = IMAGES["timm"][1], IMAGES["timm"][3]
    net = torch_peers.fill(
        TimmSwin(side, in_chans=channels, embed_dim=WIDTH, window_size=2, num_classes=0, global_pool="", **STAGES)
    )
    x, outputs = torch.from_numpy(weights.image("swin/timm", IMAGES["timm"])).movedim(-1, 1), []
    with torch.inference_mode():
        x = net.patch_embed(x)
        for part in (*net.layers, net.norm):
            x = part(x)
            outputs.append(x.numpy())
    return {f"timm/{i}": output for i, output in enumerate(outputs)}


def numbers() -> dict[str, np.ndarray]:
    net = SwinTransformer([4, 4], 96, window_size=[7, 7], **STAGES)
    count = torch_peers.count(net.features) + torch_peers.count(net.norm)
    return {"count/encoder": count} | blocks() | torchvision_encoder() | timm_encoder()


if __name__ == "__main__":
    golden.main("swin", torch_peers.versions("torchvision", "timm"), numbers)
