"""The other side of metrics.py: MONAI's HD95 and mean surface distance, in an environment of its own.

Also the masks that both sides measure. Only NumPy is needed for those.
"""

import importlib.metadata

import numpy as np

from benchmarks.round_server import serve

CASES = ("head", "rugged")


def masks(case: str, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and reference: a head that fills 40 % of the frame, found a little off; `rugged`: 2 % pixels wrong."""
    labels = _ellipse(height, width, centre=(0.5, 0.5), half=(0.34, 0.375), degrees=8)
    prediction = _ellipse(height, width, centre=(0.495, 0.505), half=(0.345, 0.37), degrees=10)
    if case == "rugged":
        prediction ^= np.random.RandomState(0).uniform(size=prediction.shape) < 0.02
    return prediction, labels


def _ellipse(height: int, width: int, centre, half, degrees: float) -> np.ndarray:
    """Centre and half-axes (row, column) are parts of the frame; turned within the frame as if it were square."""
    y, x = np.meshgrid((np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij")
    y, x, angle = y - centre[0], x - centre[1], np.deg2rad(degrees)
    down, along = y * np.cos(angle) - x * np.sin(angle), y * np.sin(angle) + x * np.cos(angle)
    return (down / half[0]) ** 2 + (along / half[1]) ** 2 <= 1


def prepare(case: str, height: int, width: int, threads: int):
    """The two calls of MONAI for masks that are in memory as it wants them."""
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

    torch.set_num_threads(threads)
    pair = [torch.from_numpy(np.stack([~mask, mask])[None]) for mask in masks(case, height, width)]

    def run() -> dict[str, float]:
        hd95 = compute_hausdorff_distance(*pair, percentile=95)
        return {"hd95_px": float(hd95), "asd_px": float(compute_average_surface_distance(*pair))}

    versions = {name: importlib.metadata.version(name) for name in ("monai", "torch", "numpy", "scipy")}
    return run, {"values": run(), "versions": versions}


if __name__ == "__main__":
    serve(prepare)
