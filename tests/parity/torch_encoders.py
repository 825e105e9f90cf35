"""Writes tests/golden/encoders.npz: features, names and counts of encoders in the libraries that publish weights.

timm, torchvision, segmentation_models_pytorch, efficientnet_lite_pytorch and Hugging Face transformers, under weights
that follow from names.
"""

import hashlib

import torch_peers  # isort: skip  # first: it completes torchvision
import golden
import numpy as np
import timm
import torch
import torchvision
import transformers
import weights
from efficientnet_lite_pytorch import EfficientNet as EfficientNetLite
from segmentation_models_pytorch.encoders import _efficientnet as smp

MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
SCALES = {"b0": (1.0, 1.0), "b1": (1.0, 1.1), "b2": (1.1, 1.2), "b3": (1.2, 1.4), "b4": (1.4, 1.8)}
TOPS = {"b0": 1280, "b1": 1280, "b2": 1408, "b3": 1536, "b4": 1792}
RESNETS = {"18": ("basic", [2, 2, 2, 2]), "34": ("basic", [3, 4, 6, 3]), "50": ("bottleneck", [3, 4, 6, 3])}

CLASSIFIERS = ("classifier.", "fc.", "_fc.")
# Modules whose outputs are the five features.
TIMM = ("blocks.1.0.bn1", "blocks.2.0.bn1", "blocks.3.0.bn1", "blocks.4.0.bn1", "bn2")
TIMM_RESNET = ("act1", "layer1", "layer2", "layer3", "layer4")
TORCHVISION = ("relu", *TIMM_RESNET[1:])
SMP = ("_blocks.1._bn0", "_blocks.3._bn0", "_blocks.5._bn0", "_blocks.8._bn0", "_bn1")  # before the activation
LITE_BLOCKS = {"0": (1, 3, 5, 8), "1": (1, 4, 7, 11), "2": (1, 4, 7, 11)}
TRANSFORMERS = tuple(f"efficientnet.encoder.blocks.{index}.expansion" for index in (1, 3, 5, 8))
TRANSFORMERS += ("efficientnet.encoder.top_activation",)
TRANSFORMERS_RESNET = ("embedder.embedder", *(f"encoder.stages.{stage}" for stage in range(4)))


def lite_taps(scale: str) -> tuple[str, ...]:
    """The first block of each of the four stages that halve the image: its expansion; and the top."""
    return (*(f"_blocks.{index}._bn0" for index in LITE_BLOCKS[scale]), "_bn1")


def transformers_efficientnet(scale: str):
    width, depth = SCALES[scale]
    config = transformers.EfficientNetConfig(width_coefficient=width, depth_coefficient=depth, hidden_dim=TOPS[scale])
    return transformers.EfficientNetForImageClassification(config)


def transformers_resnet(depth: str):
    kind, depths = RESNETS[depth]
    sizes = [(256 if kind == "bottleneck" else 64) << stage for stage in range(4)]
    return transformers.ResNetModel(transformers.ResNetConfig(layer_type=kind, depths=depths, hidden_sizes=sizes))


def peers():
    """Name, module, and the modules whose outputs to keep; none where only names and counts are asked for."""
    for scale in SCALES:
        taps = TIMM if scale in ("b0", "b1") else ()
        yield f"timm/efficientnet_{scale}", timm.create_model(f"efficientnet_{scale}"), taps
        taps = TIMM if scale == "b0" else ()
        yield f"timm/tf_efficientnet_{scale}", timm.create_model(f"tf_efficientnet_{scale}"), taps
        taps = TRANSFORMERS if scale == "b0" else ()
        yield f"transformers/efficientnet_{scale}", transformers_efficientnet(scale), taps
    for depth in RESNETS:
        yield f"timm/resnet{depth}", timm.create_model(f"resnet{depth}"), TIMM_RESNET if depth != "34" else ()
        taps = TORCHVISION if depth == "34" else ()
        yield f"torchvision/resnet{depth}", getattr(torchvision.models, f"resnet{depth}")(), taps
        taps = TRANSFORMERS_RESNET if depth == "18" else ()
        yield f"transformers/resnet{depth}", transformers_resnet(depth), taps
    for scale in LITE_BLOCKS:
        # Without a size the padding is that of TensorFlow at any size.
        module = EfficientNetLite.from_name(f"efficientnet-lite{scale}", image_size=None)
        yield f"lite/efficientnet_lite{scale}", module, lite_taps(scale)
    yield "smp/efficientnet_b0", smp.EfficientNet(*smp.get_model_params("efficientnet-b0", None)), SMP


def features(module: torch.nn.Module, taps: tuple[str, ...], image: np.ndarray) -> list[np.ndarray]:
    kept = {}

    def keep(name: str):
        return lambda _module, _inputs, output: kept.update({name: output.clone()})

    for name in taps:
        module.get_submodule(name).register_forward_hook(keep(name))
    run = getattr(module, "extract_features", module)  # of segmentation_models_pytorch: to the top
    with torch.inference_mode():
        run(torch.from_numpy((image - MEAN) / STD).movedim(-1, 1))
    if isinstance(module, EfficientNetLite):
        last = torch.nn.functional.relu6
    else:
        last = torch.nn.functional.silu if taps == SMP else torch.nn.Identity()
    return [last(kept[name]).movedim(1, -1).numpy() for name in taps]


def encoder_tensors(module: torch.nn.Module) -> list[str]:
    """Names and shapes of what an encoder is made of."""
    return sorted(
        f"{name} {list(tensor.shape)}"
        for name, tensor in module.state_dict().items()
        if not name.startswith(CLASSIFIERS) and not name.endswith("num_batches_tracked")
    )


def golden_numbers():
    image, numbers = weights.image("encoders", (2, 64, 96, 3)), {}
    for name, module, taps in peers():
        listing = "\n".join(encoder_tensors(module))
        numbers[f"{name}/names"] = np.array([*hashlib.sha256(listing.encode()).digest()])
        trained = [p.numel() for key, p in module.named_parameters() if not key.startswith(CLASSIFIERS)]
        numbers[f"{name}/count"] = np.array(sum(trained))
        for level, values in enumerate(features(torch_peers.fill(module), taps, image) if taps else (), start=1):
            numbers[f"{name}/features{level}"] = weights.digest(values)
    return numbers


if __name__ == "__main__":
    packages = ("torchvision", "timm", "segmentation-models-pytorch", "efficientnet-lite-pytorch", "transformers")
    golden.main("encoders", torch_peers.versions(*packages), golden_numbers)
