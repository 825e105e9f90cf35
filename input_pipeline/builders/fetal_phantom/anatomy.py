"""The fetal head as ellipses: samples a subject, and gives the exact class of any point.

Head coordinates, in mm: the origin is the centre of the skull, x points to the forehead along the midline
(half an OFD to the skull's outer edge), y across it (half a BPD). The radius of a shape is 1 on its boundary
and less inside.
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from fetal_jax.anatomy import growth_charts as growth

CLASSES = ("background", "skull", "brain", "csp", "lv", "cerebellum")
TRANS_CEREBELLUM, TRANS_THALAMIC = "trans_cerebellum", "trans_thalamic"
PLANES = (TRANS_CEREBELLUM, TRANS_THALAMIC)
ANOMALIES = ("ventriculomegaly", "absent_csp", "small_cerebellum")
SMALL_CEREBELLUM_Z = -4.0  # planted this many SD below the mean for the age


class Ellipse(NamedTuple):
    """Centre, semi-axes along and across (mm), tilt (radians); power 2 is an ellipse, 4 a rounded box."""

    x: float
    y: float
    a: float
    b: float
    tilt: float = 0.0
    power: float = 2.0

    def radius(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """q of points: 1 on the boundary, growing linearly with the distance from the centre."""
        c, s = math.cos(self.tilt), math.sin(self.tilt)
        u = np.abs(((x - self.x) * c + (y - self.y) * s) / self.a)
        v = np.abs(((y - self.y) * c - (x - self.x) * s) / self.b)
        return np.sqrt(u * u + v * v) if self.power == 2 else (u**self.power + v**self.power) ** (1 / self.power)

    def outline(self, points: int = 64) -> tuple[np.ndarray, np.ndarray]:
        """x and y of points of the boundary (of the ellipse, for any power)."""
        t = np.linspace(0, 2 * np.pi, points, endpoint=False)
        u, v, c, s = self.a * np.cos(t), self.b * np.sin(t), np.cos(self.tilt), np.sin(self.tilt)
        return self.x + u * c - v * s, self.y + u * s + v * c


@dataclasses.dataclass(frozen=True)
class Head:
    """One subject's head. All lengths in mm; `csp_mm` is 0 where the cavum is absent."""

    ga_weeks: float
    bpd_mm: float
    ofd_mm: float
    skull_mm: float
    tcd_mm: float
    cisterna_mm: float
    lv_mm: float
    csp_mm: float
    csp_length_mm: float
    lobe_tilt: float
    anomaly: str

    @property
    def hc_mm(self) -> float:
        return growth.ellipse_circumference(self.ofd_mm / 2, self.bpd_mm / 2)

    @property
    def outer(self) -> Ellipse:
        return Ellipse(0, 0, self.ofd_mm / 2, self.bpd_mm / 2)

    @property
    def inner(self) -> Ellipse:
        return Ellipse(0, 0, self.ofd_mm / 2 - self.skull_mm, self.bpd_mm / 2 - self.skull_mm)

    @property
    def csp(self) -> Ellipse:
        x = 0.36 * self.inner.a
        return Ellipse(x, 0, self.csp_length_mm / 2, max(self.csp_mm, 1e-3) / 2, power=4.0)

    @property
    def ventricles(self) -> tuple[Ellipse, Ellipse]:
        """Atria and posterior horns of both lateral ventricles, each `lv_mm` wide."""
        a, b = self.inner.a, self.inner.b
        y = max(0.46 * b, self.lv_mm / 2 + 1.5)
        left, right = (Ellipse(-0.36 * a, side * y, 0.34 * a, self.lv_mm / 2, -side * 0.14) for side in (-1, 1))
        return left, right

    @property
    def cerebellum(self) -> tuple[Ellipse, Ellipse, Ellipse]:
        """Two hemispheres and the vermis between them. The hemispheres' outer edges are `tcd_mm` apart."""
        tcd, tilt = self.tcd_mm, self.lobe_tilt
        along, across = 0.215 * tcd, 0.275 * tcd
        reach = math.hypot(across * math.cos(tilt), along * math.sin(tilt))
        x = -(self.inner.a - self.cisterna_mm - 0.15 * tcd)
        while True:
            left, right = (Ellipse(x, side * (tcd / 2 - reach), along, across, side * tilt) for side in (-1, 1))
            if max(self.inner.radius(*lobe.outline()).max() for lobe in (left, right)) < 0.95:
                return left, right, Ellipse(x, 0, 0.15 * tcd, 0.10 * tcd)
            x += 0.5  # the posterior fossa is narrow: move forwards until the hemispheres fit


def sample_head(rng: np.random.Generator, anomaly: str = "none") -> Head:
    """A random subject of 16-38 weeks, with one of `ANOMALIES` planted or "none".

    Sizes scatter around the charts by a common factor of head size and one of each size's own.
    """
    ga = rng.uniform(growth.FIRST_WEEK, growth.LAST_WEEK)
    big, *own = np.clip(rng.standard_normal(8), -2, 2).tolist()
    z = [0.6 * big + 0.6 * one for one in own]
    bpd, ofd = growth.BPD.sample(ga, z[0]), growth.OFD.sample(ga, z[1])
    lv, csp = growth.ATRIUM.sample(ga, own[4]), growth.CSP_WIDTH.sample(ga, own[5])
    tcd_z = z[2]
    if anomaly == "ventriculomegaly":
        lv = rng.uniform(growth.VENTRICULOMEGALY_MM + 1, min(16.0, max(11.2, 0.36 * bpd)))
    if anomaly == "absent_csp":
        csp = 0.0
    if anomaly == "small_cerebellum":
        tcd_z = SMALL_CEREBELLUM_Z - rng.uniform(0, 1)
    return Head(
        ga_weeks=ga,
        bpd_mm=bpd,
        ofd_mm=ofd,
        skull_mm=1.6 + 0.05 * (ga - 16) + 0.1 * own[6],
        tcd_mm=growth.TCD.sample(ga, tcd_z),
        cisterna_mm=growth.CISTERNA_MAGNA.sample(ga, own[3]),
        lv_mm=lv,
        csp_mm=csp,
        csp_length_mm=rng.uniform(0.24, 0.32) * ofd / 2 + 1.0,
        lobe_tilt=rng.uniform(-0.35, 0.1),
        anomaly=anomaly,
    )


def labels_at(
    head: Head, plane: str, x: Float[np.ndarray, "h w"], y: Float[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w"]:
    """Class ids of points in head coordinates (mm), for one plane: exact, straight from the ellipses."""
    labels = (head.outer.radius(x, y) <= 1).astype(np.uint8)
    labels[head.inner.radius(x, y) <= 1] = CLASSES.index("brain")
    parts: list[tuple[str, tuple[Ellipse, ...]]] = [("csp", (head.csp,))] if head.csp_mm else []
    if plane == TRANS_CEREBELLUM:
        parts += [("cerebellum", head.cerebellum)]
    if plane == TRANS_THALAMIC:
        parts += [("lv", head.ventricles)]
    for name, shapes in parts:
        labels[np.minimum.reduce([shape.radius(x, y) for shape in shapes]) <= 1] = CLASSES.index(name)
    return labels
