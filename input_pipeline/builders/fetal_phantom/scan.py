"""Simulates one frame: the pose of the probe, the tissue along its beams, the picture and its labels.

Image coordinates, in mm: x to the right from the middle column, z down from the middle of the probe's face.
The probe is an arc of radius R around (0, -R); beam t, depth r: x = (R + r) sin t, z = (R + r) cos t - R.
"""

import dataclasses
import math
from typing import TypeVar

import cv2
import numpy as np
from jaxtyping import UInt8

from input_pipeline.builders.fetal_phantom import anatomy, physics, tissue
from input_pipeline.builders.fetal_phantom.anatomy import Head
from input_pipeline.builders.fetal_phantom.physics import Machine

MAX_ROTATION_DEG = 25.0
Millimetres = TypeVar("Millimetres", np.ndarray, float)


@dataclasses.dataclass(frozen=True)
class View:
    """The pose of a head in an image of square pixels."""

    spacing_mm: float
    top_mm: float  # z of the upper edge of the image
    centre_mm: tuple[float, float]  # x, z of the head's centre
    rotation: float  # radians
    flip: int  # -1: the forehead is on the left
    gain_db: float

    def to_head(self, x: Millimetres, z: Millimetres) -> tuple[Millimetres, Millimetres]:
        """Head coordinates (mm) of image coordinates (mm)."""
        c, s = math.cos(self.rotation), math.sin(self.rotation)
        dx, dz = x - self.centre_mm[0], z - self.centre_mm[1]
        return self.flip * (c * dx + s * dz), c * dz - s * dx

    def pixel_mm(self, height: int, width: int, finer: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """x and z of the pixel centres of an image [height width], of pixels `finer` times smaller."""
        step = self.spacing_mm / finer
        x = (np.arange(width * finer, dtype=np.float32) + 0.5 - width * finer / 2) * step
        z = (np.arange(height * finer, dtype=np.float32) + 0.5) * step + self.top_mm
        return np.meshgrid(x, z)


def sample_view(head: Head, height: int, width: int, rng: np.random.Generator) -> View:
    """A random pose that keeps the whole head inside the image: rotation, flip, shift, zoom and gain."""
    rotation = float(np.deg2rad(rng.uniform(-MAX_ROTATION_DEG, MAX_ROTATION_DEG)))
    a, b = head.outer.a, head.outer.b
    half_height = float(np.hypot(a * np.sin(rotation), b * np.cos(rotation)))
    half_width = float(np.hypot(a * np.cos(rotation), b * np.sin(rotation)))
    spacing = max(2 * half_height / (rng.uniform(0.66, 0.88) * height), 2 * half_width / (0.92 * width))
    above = rng.uniform(0.3, 0.75) * (height * spacing - 2 * half_height)
    side = width * spacing / 2 - half_width
    top = max(rng.uniform(-4, 6), 4 - above)
    return View(
        spacing_mm=float(np.float32(spacing)),
        top_mm=top,
        centre_mm=(0.6 * rng.uniform(-side, side), top + above + half_height),
        rotation=rotation,
        flip=-1 if rng.random() < 0.3 else 1,
        gain_db=rng.normal(0, 2.5),
    )


def _surroundings(x: np.ndarray, z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Echo amplitude outside the head: layers of the mother's wall, tissue, pockets of fluid."""
    shape = x.shape
    strata = cv2.GaussianBlur(tissue.smooth_noise(rng, shape, 12), (0, 0), sigmaX=9, sigmaY=0.5)
    patches = tissue.smooth_noise(rng, shape, 50)
    soft = 0.14 * np.exp(0.7 * patches + 0.8 * strata)
    soft[patches < rng.uniform(-1.4, -0.3)] = tissue.FLUID
    depth = z + 1.2 * tissue.smooth_noise(rng, shape, 50)
    layers = 0.16 + 0.3 * np.square(np.square(np.cos(np.pi * depth / rng.uniform(3.0, 5.5)) ** 2))
    wall = 0.5 - 0.5 * np.tanh((depth - rng.uniform(4, 12)) / 2)
    return wall * layers + (1 - wall) * soft


def medium_of(
    head: Head, raster: tissue.Raster, view: View, x: np.ndarray, z: np.ndarray, rng: np.random.Generator
) -> physics.Medium:
    """The medium along the beams, at the points (x, z) [depths beams]."""
    u, v = view.to_head(x, z)
    q_out, q_in = head.outer.radius(u, v), head.inner.radius(u, v)
    bone = (q_out <= 1) & (q_in > 1)
    scalp = (q_out > 1) & (q_out < 1 + 2.5 / np.sqrt(head.outer.a * head.outer.b))
    amplitude = np.where(q_in <= 1, raster.at(u, v), _surroundings(x, z, rng))
    amplitude[scalp] = 0.15
    facing = _facing(head, view, x, z)
    rough = np.exp(0.35 * tissue.smooth_noise(rng, x.shape, 10))
    gap = np.zeros_like(u)
    gap[bone] = _sutures(head, u[bone], v[bone], rng)
    amplitude[bone] = (0.9 * facing**2 + 0.10)[bone]
    reflector = 0.8 * np.abs(np.diff(amplitude, axis=0, prepend=amplitude[:1])) * (q_in <= 0.97)
    reflector[bone] = (3.0 * facing**8 * rough * (1 - 0.85 * gap))[bone]
    loss = np.where(amplitude <= 2 * tissue.FLUID, 0.05, physics.SOFT_TISSUE_DB)
    loss[bone] = ((4.0 + 18.0 * (1 - facing) ** 2) * (1 - 0.7 * gap))[bone]
    density = np.where(q_in <= 1, 0.35, 0.6)
    return physics.Medium(*(m.astype(np.float32) for m in (amplitude, density, reflector, loss)))


def _sutures(head: Head, u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """1 in the gaps between the bones of the skull, 0 in the bones: less echo, less shadow."""
    around = np.arctan2(v / head.outer.b, u / head.outer.a)
    gap = np.zeros_like(around)
    for place in rng.uniform(-np.pi, np.pi, 3):
        turn = np.remainder(around - place + np.pi, 2 * np.pi) - np.pi
        gap += np.exp(-0.5 * (turn / rng.uniform(0.02, 0.05)) ** 2)
    return np.minimum(gap, 1)


def _facing(head: Head, view: View, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """|cos| of the angle between the beam and the normal of the skull's ellipse through each point."""
    u, v = view.to_head(x, z)
    nu, nv = u / head.outer.a**2, v / head.outer.b**2
    bu, bv = np.gradient(u, axis=0), np.gradient(v, axis=0)  # the beam's direction
    dot = np.abs(nu * bu + nv * bv)
    return dot / (np.hypot(nu, nv) * np.hypot(bu, bv) + 1e-9)


def beams(machine: Machine, view: View, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Depths r (mm) and angles t (radians) of the polar grid, and x, z (mm) of its points [depths beams]."""
    half = np.deg2rad(machine.field_of_view_deg / 2)
    r = np.linspace(0, view.top_mm + height * view.spacing_mm + 4, physics.DEPTHS, dtype=np.float32)
    t = np.linspace(-half, half, physics.BEAMS, dtype=np.float32)
    radius = machine.probe_radius_mm + r[:, None]
    return r, t, radius * np.sin(t), radius * np.cos(t) - machine.probe_radius_mm


def scan_convert(polar: np.ndarray, machine: Machine, r: np.ndarray, t: np.ndarray, x: np.ndarray, z: np.ndarray):
    """The polar picture [depths beams] at image points (x, z); black outside the fan."""
    apex = z + machine.probe_radius_mm
    depth = np.hypot(x, apex) - machine.probe_radius_mm
    column = (np.arctan2(x, apex) - t[0]) / (t[1] - t[0])
    return cv2.remap(polar, column, depth / r[1], cv2.INTER_LINEAR, borderValue=0)


def picture(
    head: Head,
    raster: tissue.Raster,
    view: View,
    machine: Machine,
    height: int,
    width: int,
    rng: np.random.Generator,
) -> UInt8[np.ndarray, "h w"]:
    """The B-mode image of a head in a view."""
    r, t, x, z = beams(machine, view, height)
    step = float(r[1] - r[0])
    medium = medium_of(head, raster, view, x, z, rng)
    skull_rows = int(max(view.centre_mm[1] - head.outer.b, 4) / step)
    focus = view.centre_mm[1]
    received = physics.envelope(medium, machine, step, focus, float(t[1] - t[0]), skull_rows, rng)
    polar = physics.compress(received, machine, view.gain_db)
    finer = max(1, round(256 / height))
    image = scan_convert(polar, machine, r, t, *view.pixel_mm(height, width, finer))
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)


def labels(head: Head, plane: str, view: View, height: int, width: int) -> UInt8[np.ndarray, "h w"]:
    """Class ids of the pixel centres of a view."""
    return anatomy.labels_at(head, plane, *view.to_head(*view.pixel_mm(height, width)))
