"""The PyTorch side of benchmark.py: networks of segmentation_models_pytorch and MONAI, channels last."""

import contextlib
import sys

import torch
import torch_peers  # of tests/parity; before any peer
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.round_server import Refusal, serve, timed

CHANNELS = 3


def smp_unet():
    import segmentation_models_pytorch as smp

    return smp.Unet("efficientnet-b0", encoder_weights=None, in_channels=CHANNELS, classes=1)


def flexible_unet():
    from monai.networks.nets import FlexibleUNet

    return FlexibleUNet(CHANNELS, 1, "efficientnet-b0", pretrained=False)


def attention_unet():
    from monai.networks.nets import AttentionUnet

    return AttentionUnet(2, CHANNELS, 1, channels=(32, 64, 128, 256, 512), strides=(2, 2, 2, 2))


def basic_unet():
    from monai.networks.nets import BasicUNet

    return BasicUNet(2, CHANNELS, 1, features=(32, 64, 128, 256, 512, 32), act="relu", norm="batch")


def case_unet():
    from benchmarks.models.torch_case_unet import CaseUnet

    return CaseUnet(CHANNELS)


MONAI, SMP = "monai", "segmentation-models-pytorch"
PACKAGES = {"smp_unet": SMP, "flexible_unet": MONAI, "attention_unet": MONAI, "basic_unet": MONAI, "case_unet": "timm"}
NETWORKS = {f.__name__: f for f in (smp_unet, flexible_unet, attention_unet, basic_unet, case_unet)}


def prepare(peer: str, task: str, batch: int, size: int, platform: str, precision: str):
    """What to call for a task, and how long the first call took, which is the one that compiles."""
    if platform == "gpu" and not torch.cuda.is_available():
        raise Refusal("--platform gpu: torch sees none in the peer's environment; install a CUDA build of torch there")
    device = "cuda" if platform == "gpu" else "cpu"
    torch.manual_seed(0)
    model = NETWORKS[peer]().to(device, memory_format=torch.channels_last)
    image = torch.rand(batch, CHANNELS, size, size, device=device).to(memory_format=torch.channels_last)
    function = torch.compile(model) if platform == "gpu" else model
    cast = torch.autocast(device, torch.bfloat16) if precision == "bfloat16" else contextlib.nullcontext()
    run = (training if task == "training" else inference)(model, function, image, cast)
    _, seconds = timed(run)
    return run, {
        "first_call_s": seconds,
        "parameters": torch_peers.count(model).item(),
        "forward_gflop": forward_gflop(model, image[:1]) * batch,
        "versions": torch_peers.versions(PACKAGES[peer]),
    }


def forward_gflop(model, image) -> float:
    """10⁹ floating-point operations of convolutions and matrix products; of the way back PyTorch miscounts groups."""
    training = model.training
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(image)
    model.train(training)
    return counter.get_total_flops() / 1e9


def inference(model, function, image, cast):
    model.eval()

    def run():
        with torch.inference_mode(), cast:
            function(image)
        synchronize(image)

    return run


def training(model, function, image, cast):
    """A step of Adam on binary cross-entropy."""
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    objective = torch.nn.BCEWithLogitsLoss()
    labels = torch.randint(0, 2, (len(image), 1, *image.shape[2:]), device=image.device).float()

    def run():
        optimizer.zero_grad(set_to_none=True)
        with cast:
            loss = objective(function(image), labels)
        loss.backward()
        optimizer.step()
        synchronize(image)

    return run


def synchronize(image) -> None:
    if image.is_cuda:
        torch.cuda.synchronize()


def peak_device_mb() -> float:
    return torch.cuda.max_memory_allocated() / 2**20


if __name__ == "__main__":
    platform, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    torch.backends.cudnn.benchmark = True
    serve(prepare, peak_device_mb if platform == "gpu" else None)
