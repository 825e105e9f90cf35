"""What benchmark.py prints: numbers beside the bars that were set, and the verdict."""

import numpy as np


def verdict(found: dict[str, float], bar: float) -> str:
    """Whether the ratio keeps the bar; open where its interval holds the bar."""
    word = "met" if found["high"] <= bar else "missed" if found["low"] > bar else "open"
    return f"bar ≤ {bar:.2f}: {word}"


def below(value: float, bar: float, unit: str) -> str:
    return f"bar ≤ {bar:g} {unit}: {'met' if value <= bar else 'missed'}"


def timing(row: dict) -> str:
    """Medians of both sides, the ratio of times with its interval, and its bar."""
    ours, peer = (1e3 * np.median(row["seconds"][name]) for name in ("ours", "peer"))
    found = row["ratio"]
    interval = f"95 % interval {found['low']:.2f} to {found['high']:.2f}"
    bar = f"; {verdict(found, row['bar'])}" if row["bar"] is not None else ""
    return f"{row['task']:20} ours {ours:8.1f} ms, peer {peer:8.1f} ms, ratio {found['median']:.2f} ({interval}){bar}"


def costs(row: dict) -> str:
    """Memory and arithmetic of both sides."""
    ours, peer, peak = row["ours"], row["peer"], row["peak_mb"]
    parameters = f"parameters {ours['parameters'] / 1e6:.2f} / {peer['parameters'] / 1e6:.2f} M"
    gflop = " / ".join(f"{facts['forward_gflop']:.1f}" for facts in (ours, peer) if "forward_gflop" in facts)
    memory = f"peak memory {peak['ours']:.0f} / {peak['peer']:.0f} MB, XLA's plan for ours {ours['temp_mb']:.0f} MB"
    return f"{'':20} {parameters}, forward {gflop} GFLOP, {memory}"


def throughput(row: dict, peak_tflops: float | None, latency_bar: float | None) -> str:
    """On an accelerator: images a second, the share of the arithmetic that it could do, and the bar of the latency."""
    ours, peer = (float(np.median(row["seconds"][name])) for name in ("ours", "peer"))
    line = f"{'':20} {row['batch'] / ours:.0f} / {row['batch'] / peer:.0f} images/s"
    if peak_tflops:
        line += f", {row['ours']['gflop'] / ours / 1e3 / peak_tflops:.1%} of {peak_tflops:g} TFLOP/s"
    if latency_bar is not None and row["task"] == "inference, batch 1":
        line += f"; {below(1e3 * ours, latency_bar, 'ms')}"
    return line


def compilation(row: dict, bars: dict[str, float] | None) -> str:
    """Seconds to trace and compile our training step, first without and then with the persistent cache."""
    parts = []
    for name, seconds in row["compile_s"].items():
        bar = f" ({below(seconds, bars[name], 's')})" if bars else ""
        parts.append(f"{name} {seconds:.1f} s{bar}")
    return f"{'compile, training':20} {', '.join(parts)}; first call of the peer {row['peer']['first_call_s']:.1f} s"
