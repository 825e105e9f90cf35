"""Writes tests/golden/gradcam.npz: Grad-CAM for segmentation, transcribed for PyTorch's autograd, on MONAI's BasicUNet.

Selvaraju et al. 2017, Eq. 1-2, with the score of Vinogradova et al. 2020: the sum of a class's logits over a region.
"""

import torch_peers  # noqa: I001  (before any peer)

import golden
import numpy as np
import torch
import weights
from torch_monai import basic_unet

WIDTH, CLASSES, CLASS_ID = 4, 3, 2
SHAPE = (1, 32, 48, 1)  # images [b h w c]
LAYERS = {"encoder/features5": "down_4", "decoder/features2": "upcat_3"}


def grad_cam(net: torch.nn.Module, layer: str, image: torch.Tensor, region: torch.Tensor | None) -> torch.Tensor:
    """The map [h w] at the image's size; the region is where the class wins unless it is given."""
    features = []
    handle = net.get_submodule(layer).register_forward_hook(lambda _, __, y: features.append(y))
    logits = net(image)[0]
    handle.remove()
    region = logits.argmax(0) == CLASS_ID if region is None else region
    (gradient,) = torch.autograd.grad(logits[CLASS_ID][region].sum(), features[0])
    alpha = gradient.mean((2, 3), keepdim=True)
    small = torch.relu((alpha * features[0]).sum(1, keepdim=True))
    return torch.nn.functional.interpolate(small, image.shape[2:], mode="bilinear")[0, 0].detach()


def gradient(net: torch.nn.Module, image: torch.Tensor, region: torch.Tensor) -> torch.Tensor:
    """The gradient [h w] of the score by a grey image."""
    image = image.clone().requires_grad_()
    return torch.autograd.grad(net(image)[0, CLASS_ID][region].sum(), image)[0][0, 0]


class GuidedReLU(torch.autograd.Function):
    """ReLU whose gradient is that of guided backpropagation (Springenberg et al. 2015, section 3.4)."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, by_output):
        (x,) = ctx.saved_tensors
        return by_output.clamp(min=0) * (x > 0)


def guided(net: torch.nn.Module) -> torch.nn.Module:
    """The network with other ReLUs."""
    for module in [module for module in net.modules() if isinstance(module, torch.nn.ReLU)]:
        module.forward = GuidedReLU.apply
    return net


def golden_numbers():
    net = torch_peers.fill(basic_unet(2, SHAPE[-1], WIDTH, CLASSES))
    image = torch.from_numpy(weights.image("image", SHAPE)).movedim(-1, 1)
    corner = torch.zeros(SHAPE[1:3], dtype=torch.bool)
    corner[:9, 20:] = True
    numbers = {}
    for ours, theirs in LAYERS.items():
        for name, region in {"predicted": None, "corner": corner}.items():
            numbers[f"{ours}/{name}"] = grad_cam(net, theirs, image, region).numpy()
    numbers["gradient"] = gradient(net, image, corner).numpy()
    numbers["guided"] = gradient(guided(net), image, corner).numpy()
    return {name: values.astype(np.float32) for name, values in numbers.items()}


if __name__ == "__main__":
    golden.main("gradcam", torch_peers.versions("monai"), golden_numbers)
