"""The cerebellum of an infant as implicit functions: samples a subject, and gives the exact tissue of any point.

Coordinates, in mm: x to the subject's left, y to the front, z up; the origin lies between the hemispheres. The brain is
drawn in its own unit, a `scale`-th of a millimetre, in which all cerebella have about the same size.

Fissures are sheets that fan out from a bent axis below the roof of the fourth ventricle and stop on their way to it.
Grey matter is whatever lies near the outside or a fissure; white matter is what is left, so that its branches (the
arbor vitae) follow from the fissures.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

CLASSES = ("background", "csf", "gm", "wm")
BACKGROUND, CSF, GM, WM, BRAINSTEM, MENINGES, AIR = range(7)  # tissues; the first four are the classes
TISSUES = 7

# Volume by age: +240 % from 2 weeks to 1 year and +15 % from 1 to 2 years, as Sun et al. 2020 tell of Knickmeyer et
# al. 2008. One saturating exponential through these three ratios; 88 ml at 1 year is a round number of ours.
ML_AT_1_YEAR, LIMIT, DEFICIT, MONTHS = 88.0, 1.1867, 0.9503, 7.377
VOLUME_SD = 0.05  # between subjects of an age, as a fraction of the mean

GREY_MM = 1.7  # thickness of the cortex, in units, as all lengths below
PIVOT_Y, PIVOT_Z = 7.0, -1.0  # where the fissures' axis crosses the midline
FISSURE_END = 2.35  # radians above and below the horizontal; the front is peduncles
BRAINSTEM_SKIN = 2.0  # how much of the brainstem is left on the cerebellum when that is cut out


class Ellipsoid(NamedTuple):
    """Centre and semi-axes."""

    x: float
    y: float
    z: float
    a: float
    b: float
    c: float

    def depth(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Distance to the surface, positive inside; exact to first order near it (Quilez' bound)."""
        u, v, w = (x - self.x) / self.a, (y - self.y) / self.b, (z - self.z) / self.c
        q = np.sqrt(u * u + v * v + w * w)
        slope = np.sqrt((u / self.a) ** 2 + (v / self.b) ** 2 + (w / self.c) ** 2)
        return q * (1 - q) / (slope + 1e-6)


class Waves(NamedTuple):
    """A smooth random function of space: a sum of plane waves, evaluated at any point without a raster."""

    vectors: Float[np.ndarray, "n 3"]
    phases: Float[np.ndarray, " n"]
    amplitude: float

    def at(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        total: Any = 0
        for (kx, ky, kz), phase in zip(self.vectors.tolist(), self.phases.tolist(), strict=True):
            total = total + np.sin(kx * x + ky * y + kz * z + phase)
        return self.amplitude * total


class Fissures(NamedTuple):
    """Sheets at `angles` around the axis, which reach `reach` of the way to it and are `width` wide at the surface."""

    angles: Float[np.ndarray, " n"]
    reach: Float[np.ndarray, " n"]
    width: float

    def distance(self, angle: np.ndarray, radius: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """Distance of points to the walls of the nearest sheet, negative between its walls."""
        nearest = np.searchsorted((self.angles[1:] + self.angles[:-1]) / 2, angle)
        aside = radius * np.sin(np.minimum(np.abs(angle - self.angles[nearest]), np.pi / 2))
        bottom = self.reach[nearest] * (radius + np.maximum(depth, 0))
        beyond = np.maximum(depth - bottom, 0)
        half_width = self.width / 2 * np.maximum(1 - 0.6 * depth / bottom, 0.2)
        return np.sqrt(aside**2 + beyond**2) - half_width


@dataclasses.dataclass(frozen=True)
class Cerebellum:
    """One subject's cerebellum."""

    volume_ml: float  # of grey and white matter
    scale: float  # mm in a unit
    lobes: tuple[Ellipsoid, ...]  # two hemispheres and the vermis
    brainstem: Ellipsoid
    ventricle: Ellipsoid
    fissures: tuple[Fissures, ...]  # primary ones, those between them, folia
    bend: float  # how fast the fissures' axis runs forwards towards the sides, 1 / unit
    droop: float  # and how fast it falls
    warp: tuple[Waves, Waves, Waves]
    rim: Waves  # of the thickness of the CSF around it


def mean_volume_ml(age_months: float) -> float:
    """Volume of the grey and white matter of the cerebellum at an age."""
    return ML_AT_1_YEAR * (LIMIT - DEFICIT * math.exp(-age_months / MONTHS))


def _waves(rng: np.random.Generator, number: int, shortest: float, longest: float, amplitude: float) -> Waves:
    heading = rng.standard_normal((number, 3))
    heading /= np.linalg.norm(heading, axis=1, keepdims=True)
    length = rng.uniform(shortest, longest, (number, 1))
    vectors = (2 * np.pi * heading / length).astype(np.float32)
    return Waves(vectors, rng.uniform(0, 2 * np.pi, number).astype(np.float32), amplitude / math.sqrt(number / 2))


def _between(angles: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An angle between each two of `angles`."""
    share = rng.uniform(0.4, 0.6, len(angles) - 1)
    return angles[:-1] + share * np.diff(angles)


def _fissures(rng: np.random.Generator) -> tuple[Fissures, ...]:
    number = int(rng.integers(9, 12))
    steps = rng.uniform(0.75, 1.25, number - 1)
    primary = FISSURE_END * (2 * np.append(0, np.cumsum(steps)) / steps.sum() - 1)
    secondary = _between(primary, rng)
    folia = _between(np.sort(np.append(primary, secondary)), rng)
    kinds = ((primary, 0.38, 0.62, 1.4), (secondary, 0.20, 0.38, 1.0), (folia, 0.07, 0.13, 0.9))
    return tuple(
        Fissures(angles.astype(np.float32), rng.uniform(low, high, len(angles)).astype(np.float32), width)
        for angles, low, high, width in kinds
    )


def sample_cerebellum(age_months: float, rng: np.random.Generator) -> Cerebellum:
    """A random subject of an age: its size around the mean of the age, and a shape of its own."""
    stretch = np.clip(rng.standard_normal(8), -2, 2) * 0.04 + 1
    half, length, height, vermis, notch, stem, cave, lean = stretch.tolist()
    aside = 21.0 * half * notch
    sizes = 25.0 * half, 24.0 * length, 19.5 * height
    lobes = (
        Ellipsoid(aside, -1.0, -1.0, *sizes),
        Ellipsoid(-aside, -1.0, -1.0, *(size * lean for size in sizes)),
        Ellipsoid(0, -3.0, 2.0, 11.0 * vermis, 19.0 * length, 20.0 * height),
    )
    unscaled = Cerebellum(
        volume_ml=mean_volume_ml(age_months) * (1 + VOLUME_SD * float(np.clip(rng.standard_normal(), -2, 2))),
        scale=1.0,
        lobes=lobes,
        brainstem=Ellipsoid(0, 26.0, -4.0, 17.0 * stem, 13.0 * stem, 34.0),
        ventricle=Ellipsoid(0, 12.0, -2.0, 6.5 * cave, 5.0 * cave, 9.0 * cave),
        fissures=_fissures(rng),
        bend=rng.uniform(0.006, 0.011),
        droop=rng.uniform(0.004, 0.009),
        warp=(_waves(rng, 5, 18, 50, 0.9), _waves(rng, 5, 18, 50, 0.9), _waves(rng, 5, 18, 50, 0.9)),
        rim=_waves(rng, 5, 14, 40, 0.7),
    )
    return dataclasses.replace(unscaled, scale=(unscaled.volume_ml / _measured_ml(unscaled)) ** (1 / 3))


def _measured_ml(cerebellum: Cerebellum, step: float = 1.5) -> float:
    x, y, z = (np.arange(-half, half, step, dtype=np.float32) for half in (58, 36, 34))
    volume = 0
    for one in x:
        tissues = tissues_at(cerebellum, *np.meshgrid(one, y, z))
        volume += int(np.isin(tissues, (GM, WM)).sum())
    return volume * step**3 / 1000


def _envelope_depth(cerebellum: Cerebellum, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Depth below the smooth hull of the lobes, their unions rounded over 5 units (polynomial smooth maximum)."""
    first, *others = cerebellum.lobes
    depth = first.depth(x, y, z)
    for lobe in others:
        new = lobe.depth(x, y, z)
        blend = np.maximum(5 - np.abs(depth - new), 0) / 5
        depth = np.maximum(depth, new) + blend * blend * (5 / 4)
    return depth


def tissues_at(
    cerebellum: Cerebellum, x: Float[np.ndarray, "..."], y: Float[np.ndarray, "..."], z: Float[np.ndarray, "..."]
) -> UInt8[np.ndarray, "..."]:
    """Tissue of points: one of the classes, or brainstem, meninges, or air (the rest of the head is removed).

    Exact, evaluated from the functions; a point has one tissue.
    """
    x, y, z = (np.asarray(axis, np.float32) / np.float32(cerebellum.scale) for axis in (x, y, z))
    x, y, z = (axis + wave.at(x, y, z) for axis, wave in zip((x, y, z), cerebellum.warp, strict=True))
    depth = _envelope_depth(cerebellum, x, y, z)
    wall = _depth_below_surface(cerebellum, depth, x, y, z)
    # The cistern below and behind is wide, the CSF above is a film.
    rim = 2.4 + 1.2 * np.tanh(-(z + y / 2) / 15) + cerebellum.rim.at(x, y, z)
    stem = cerebellum.brainstem.depth(x, y, z)
    tissues = np.full(depth.shape, AIR, np.uint8)
    tissues[depth > -rim - 1.4] = MENINGES
    tissues[depth > -rim] = CSF
    tissues[wall > 0] = GM
    tissues[wall > GREY_MM] = WM
    tissues[cerebellum.ventricle.depth(x, y, z) > 0] = CSF
    tissues[(stem > 0) & (tissues != AIR)] = BRAINSTEM
    tissues[stem > BRAINSTEM_SKIN] = AIR
    return tissues


def _depth_below_surface(
    cerebellum: Cerebellum, depth: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> np.ndarray:
    """Depth below the folded surface: that of the hull, or the distance to the next fissure if that is nearer."""
    back = PIVOT_Y + cerebellum.bend * x * x - y
    up = z - PIVOT_Z + cerebellum.droop * x * x
    angle, radius = np.arctan2(up, back), np.hypot(up, back)
    walls = [fissures.distance(angle, radius, depth) for fissures in cerebellum.fissures]
    return np.minimum.reduce([depth, *walls])


def classes_of(tissues: UInt8[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    """Class ids of tissues: what is neither CSF nor grey nor white matter of the cerebellum is background."""
    return np.where(tissues <= WM, tissues, BACKGROUND).astype(np.uint8)
