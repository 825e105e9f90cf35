"""Which network of ours is timed against which of a peer's, and the bars that were set."""

import dataclasses
from typing import Any

# Which *_worker.py has the networks of a package.
WORKERS = {"smp": "torch", "monai": "torch", "timm": "torch", "keras": "keras"}


@dataclasses.dataclass(frozen=True)
class Task:
    """What is timed: "inference", or "training", a step of Adam on binary cross-entropy."""

    kind: str
    batch: int

    def __str__(self):
        return f"{self.kind}, batch {self.batch}"


@dataclasses.dataclass(frozen=True)
class Pair:
    """A network of ours and one of a peer's. Bars: the largest ratio of times by "inference 1" or "training"."""

    against: str
    model: str
    options: dict[str, Any]
    peer: str  # as its worker calls it
    title: str
    cpu_bars: dict[str, float] = dataclasses.field(default_factory=dict)
    gpu_bars: dict[str, float] = dataclasses.field(default_factory=dict)

    def bar(self, task: Task, platform: str) -> float | None:
        bars = self.cpu_bars if platform == "cpu" else self.gpu_bars
        return bars.get("training" if task.kind == "training" else f"{task.kind} {task.batch}")


PLAIN = {"dropout": 0.0}  # as the peers are by default
PAIRS = (
    Pair(
        "smp",
        "case_unet",
        PLAIN,
        "smp_unet",
        "segmentation_models_pytorch Unet/efficientnet-b0",
        {"inference 1": 0.8, "training": 1.1},
    ),
    Pair("monai", "case_unet", PLAIN, "flexible_unet", "MONAI FlexibleUNet/efficientnet-b0"),
    Pair(
        "monai",
        "attention_unet",
        {"width": 32, "down": "stride"},
        "attention_unet",
        "MONAI AttentionUnet, 32 to 512 channels",
        {"inference 1": 1.0, "training": 1.0},
    ),
    Pair("monai", "plain_unet", {"width": 32}, "basic_unet", "MONAI BasicUNet, 32 to 512 channels"),
    Pair(
        "timm",
        "case_unet",
        PLAIN,
        "case_unet",
        "the same network in PyTorch, on timm's EfficientNet-B0",
        gpu_bars={"training": 1 / 1.5},
    ),
    Pair("keras", "case_unet", PLAIN, "case_unet", "the same network of Keras layers, JAX backend"),
)
# Seconds that the training step of case_unet may take to compile, and milliseconds of inference on an accelerator.
COMPILE_BARS = {"case_unet": {"cold": 20.0, "cached": 3.0}}
LATENCY_BARS = {"case_unet": 3.0}
