"""What the scripts that ask PyTorch networks share. Import it before any peer."""

import importlib.metadata

import numpy as np
import torch
import weights

try:
    import torchvision  # noqa: F401
except RuntimeError:
    # Beside another build of torch its compiled operators are not found; nothing here uses them.
    _STUBS = torch.library.Library("torchvision", "DEF")
    for _name in ("nms", "qnms"):
        _STUBS.define(f"{_name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")


def versions(*packages: str) -> str:
    """ "torch 2.13.0, monai 1.6.1": what a golden file is checked against."""
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", *packages))


def fill(module: torch.nn.Module) -> torch.nn.Module:
    """The module in evaluation with the weights that its own names give (`weights.torch_weight`)."""
    state = {
        name: torch.from_numpy(weights.torch_weight(name, tuple(tensor.shape)))
        for name, tensor in module.state_dict().items()
        if tensor.is_floating_point()
    }
    missing = module.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys
    return module.eval()


def run(module: torch.nn.Module, image: np.ndarray) -> np.ndarray:
    """The module's output for an image, channels last on both sides."""
    with torch.inference_mode():
        return module(torch.from_numpy(image).movedim(-1, 1)).movedim(1, -1).numpy()


def count(module: torch.nn.Module) -> np.ndarray:
    """The number of trained parameters."""
    return np.array(sum(parameter.numel() for parameter in module.parameters()))
