"""Echo amplitudes of a head: a raster in head coordinates of how strongly each point scatters sound.

Amplitudes are linear and relative: 1 is a bright membrane, 0.02 is fluid. They are set by eye, not measured.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np

from input_pipeline.builders.fetal_phantom import anatomy
from input_pipeline.builders.fetal_phantom.anatomy import Ellipse, Head

STEP_MM = 0.4
FLUID, BRAIN, MEMBRANE = 0.015, 0.13, 0.9


class Raster(NamedTuple):
    """Echo amplitude [rows cols] of a head; (0, 0) mm lies at the middle of the array."""

    amplitude: np.ndarray
    step_mm: float

    def at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Amplitude at points in head coordinates (mm), bilinear; 0 outside the raster."""
        rows, cols = self.amplitude.shape
        u = (x / self.step_mm + (cols - 1) / 2).astype(np.float32)
        v = (y / self.step_mm + (rows - 1) / 2).astype(np.float32)
        return cv2.remap(self.amplitude, u, v, cv2.INTER_LINEAR)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> np.ndarray:
    """Normal noise [shape], correlated over about `cell` pixels, of standard deviation near 1."""
    small = rng.standard_normal([max(2, round(n / cell)) for n in shape]).astype(np.float32)
    return 1.3 * np.asarray(cv2.resize(small, shape[::-1], interpolation=cv2.INTER_CUBIC))


def _edge(shape: Ellipse, x: np.ndarray, y: np.ndarray, width_mm: float) -> np.ndarray:
    """A bell over the boundary of a shape, 1 on it, with SD `width_mm`."""
    distance = (shape.radius(x, y) - 1) * math.sqrt(shape.a * shape.b)
    return np.exp(-0.5 * (distance / width_mm) ** 2)


def _sulci(head: Head, rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Short curved echoes of sulci and vessels, more of them in older fetuses."""
    canvas = np.zeros(shape, np.float32)
    middle = np.array([(shape[1] - 1) / 2, (shape[0] - 1) / 2])
    for _ in range(int(5.5 * (head.ga_weeks - 12))):
        rho, phi = np.sqrt(rng.uniform(0.05, 0.9)), rng.uniform(0, 2 * np.pi)
        centre = rho * np.array([head.inner.a * np.cos(phi), head.inner.b * np.sin(phi)])
        length = rng.uniform(0.03, 0.12) * head.ofd_mm
        heading = phi + np.pi / 2 + rng.normal(0, 0.6)
        t = np.linspace(-0.5, 0.5, 9)
        bend = heading + rng.normal(0, 1.6) * t
        path = centre + length * np.cumsum(np.stack([np.cos(bend), np.sin(bend)], 1), 0) / 9
        pixels = np.round(16 * (path / STEP_MM + middle)).astype(np.int32)
        cv2.polylines(canvas, [pixels], False, float(rng.uniform(0.1, 0.9) ** 1.5), 1, cv2.LINE_AA, 4)
    return 2.0 * cv2.GaussianBlur(canvas, (0, 0), 0.8)


def _midline(head: Head, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The falx in front and behind, broken by the cavum; its sides are the walls of the box."""
    ahead = 1 / (1 + np.exp(-(np.abs(x - 0.3 * head.inner.a) - 0.42 * head.inner.a) * 2))
    return np.exp(-0.5 * (y / 0.5) ** 2) * (0.25 + 0.75 * ahead) * (head.inner.radius(x, y) < 1)


def _paint(amplitude: np.ndarray, q: np.ndarray, value: np.ndarray | float) -> None:
    inside = q <= 1
    amplitude[inside] = np.broadcast_to(value, q.shape)[inside]


def _paint_cerebellum(head: Head, amplitude: np.ndarray, x: np.ndarray, y: np.ndarray, patchy: np.ndarray) -> None:
    *lobes, vermis = head.cerebellum
    behind = (x < vermis.x + 0.5) & (np.abs(y) < 0.46 * head.tcd_mm) & (head.inner.radius(x, y) < 1)
    amplitude[behind] = FLUID  # the cisterna magna; hemispheres and vermis are painted over it
    _paint(
        amplitude,
        Ellipse(vermis.x + 1.5 * vermis.a, 0, 0.06 * head.tcd_mm, 0.07 * head.tcd_mm).radius(x, y),
        FLUID,
    )
    for lobe in lobes:
        q = lobe.radius(x, y)
        fan = np.hypot(x - vermis.x - 0.25 * head.tcd_mm, y) + 0.4 * np.sin(0.9 * x + 0.7 * y)
        folia = 0.5 + 0.5 * np.cos(2 * np.pi * fan / 2.6)
        _paint(amplitude, q, 0.035 + 0.16 * folia**2)
    q = np.minimum.reduce([shape.radius(x, y) for shape in (*lobes, vermis)])
    _paint(amplitude, vermis.radius(x, y), 0.45)
    rim = np.exp(-0.5 * ((q - 1) * 0.25 * head.tcd_mm / 0.55) ** 2)
    np.maximum(amplitude, 0.9 * patchy * rim, out=amplitude)


def _paint_ventricles(head: Head, amplitude: np.ndarray, x: np.ndarray, y: np.ndarray, patchy: np.ndarray) -> None:
    for horn in head.ventricles:
        _paint(amplitude, horn.radius(x, y), FLUID)
        plexus = horn._replace(x=horn.x + 0.35 * horn.a, a=0.5 * horn.a, b=min(0.62 * horn.b, 2.8))
        _paint(amplitude, plexus.radius(x, y), 0.5)
        np.maximum(amplitude, MEMBRANE * 0.7 * patchy * _edge(horn, x, y, 0.5), out=amplitude)


def _paint_thalami(head: Head, amplitude: np.ndarray, x: np.ndarray, y: np.ndarray, patchy: np.ndarray) -> None:
    a, b = head.inner.a, head.inner.b
    for side in (-1, 1):
        thalamus = Ellipse(-0.02 * a, side * 0.19 * b, 0.22 * a, 0.16 * b, side * 0.3)
        amplitude *= 1 - 0.55 / (1 + thalamus.radius(x, y) ** 8)
        np.maximum(amplitude, 0.2 * patchy * _edge(thalamus, x, y, 0.6), out=amplitude)


def head_raster(head: Head, plane: str, rng: np.random.Generator) -> Raster:
    """The echo amplitudes of a subject's head in a plane. The generator makes its sulci and texture."""
    half = np.array([head.bpd_mm, head.ofd_mm]) / 2 + 6
    rows, cols = (int(n) for n in np.ceil(2 * half / STEP_MM))
    shape = rows, cols
    x = np.broadcast_to((np.arange(cols, dtype=np.float32) - (cols - 1) / 2) * STEP_MM, shape)
    y = np.broadcast_to(((np.arange(rows, dtype=np.float32) - (rows - 1) / 2) * STEP_MM)[:, None], shape)
    centre = 1.35 - 0.9 * head.inner.radius(x, y) ** 2  # the deep grey matter is the brighter
    folded = np.interp(head.ga_weeks, [18, 30], [0.5, 1.0])  # a young brain is smooth
    grain = folded * (0.45 * smooth_noise(rng, shape, 6) + 0.45 * smooth_noise(rng, shape, 24))
    amplitude = BRAIN * np.clip(centre, 0.4, None) * np.exp(grain)
    patchy = np.clip(0.85 + 0.45 * smooth_noise(rng, shape, 12), 0.25, 1)  # no membrane is seen all along
    np.maximum(amplitude, _sulci(head, rng, shape), out=amplitude)
    np.maximum(amplitude, MEMBRANE * patchy * _midline(head, x, y), out=amplitude)
    _paint_thalami(head, amplitude, x, y, patchy)
    if plane == anatomy.TRANS_CEREBELLUM:
        _paint_cerebellum(head, amplitude, x, y, patchy)
    if plane == anatomy.TRANS_THALAMIC:
        _paint_ventricles(head, amplitude, x, y, patchy)
    if head.csp_mm:
        _paint(amplitude, head.csp.radius(x, y), FLUID)
        walls = np.clip(1.2 - np.abs(x - head.csp.x) / head.csp.a, 0.25, 1)  # seen on the long sides
        np.maximum(amplitude, MEMBRANE * walls * _edge(head.csp, x, y, 0.45), out=amplitude)
    rim = (1 - head.inner.radius(x, y)) * math.sqrt(head.inner.a * head.inner.b)
    amplitude *= np.clip(0.25 + rim / 3.0, 0.25, 1)  # fluid between the brain and the skull
    return Raster(np.ascontiguousarray(amplitude, np.float32), STEP_MM)
