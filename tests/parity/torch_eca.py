"""Writes tests/golden/eca.npz from timm's EcaModule; with --check compares the committed file with it instead."""

import golden
import numpy as np
import torch_peers
import weights
from timm.layers import EcaModule

CHANNELS = (4, 16, 64, 130)


def numbers() -> dict[str, np.ndarray]:
    """For each number of channels the module's output, and how many weights it has."""
    found = {}
    for channels in CHANNELS:
        module = torch_peers.fill(EcaModule(channels))
        image = 4 * weights.image(f"eca{channels}", (2, 3, 5, channels)) - 2
        found[f"output/{channels}"] = torch_peers.run(module, image)
        found[f"count/{channels}"] = torch_peers.count(module)
    return found


golden.main("eca", torch_peers.versions("timm"), numbers)
