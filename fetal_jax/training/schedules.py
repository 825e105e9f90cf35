"""Schedules of the learning rate: functions of the progress in [0, 1] of a stage."""

import math

WARMUP = 0.05  # share of a stage
FINAL = 0.01  # share of the peak at the end


def cosine(peak: float, progress: float, warmup: float = WARMUP, final: float = FINAL) -> float:
    """The learning rate at `progress` in [0, 1] of a stage: linear warm-up, then half a cosine to `final` of `peak`."""
    if progress < warmup:
        return peak * (0.1 + 0.9 * progress / warmup)
    t = (progress - warmup) / (1 - warmup)
    return peak * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * t)))
