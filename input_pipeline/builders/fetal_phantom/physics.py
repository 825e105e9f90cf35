"""Simulates B-mode imaging in beam coordinates: rows are depths along a beam, columns are beams.

The received, demodulated signal of a tissue of echo amplitude e(r, beam) is

    s = PSF_r * ((scatterers + reflectors) · 10^((tgc - loss) / 20)) + noise,    image = log(mean |s|)

with scatterers = e · mask / sqrt(density) · g, g a circular complex normal (so |s| is Rayleigh distributed
where many scatterers share a resolution cell, and rougher where they are few), reflectors = the part of an
interface that faces the beam, and loss the two-way attenuation in dB, summed along the beam. The statistics:
Wagner et al., IEEE Trans. Sonics Ultrason. 1983;30:156-163. The rest: Szabo, Diagnostic Ultrasound Imaging: Inside
Out, 2nd ed. 2014.
"""

import dataclasses
import math

import cv2
import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d

DEPTHS, BEAMS = 360, 208
SOFT_TISSUE_DB = 0.5  # attenuation in dB / cm / MHz, one way; TGC makes up for this much
TGC_ERROR_DB = 2.0  # SD of the gain sliders around the right compensation
DEPTH_BANDS = 4


@dataclasses.dataclass(frozen=True)
class Machine:
    """A simulated scanner with a convex probe."""

    name: str
    frequency_mhz: float
    probe_radius_mm: float
    field_of_view_deg: float
    pulse_mm: float  # axial resolution: SD of the pulse envelope
    beam_mm: float  # lateral resolution at the focus: SD of the beam
    focal_zone: float  # depth over which the beam stays narrow, as a fraction of the focal depth
    looks: int  # images compounded into one
    dynamic_range_db: float
    gamma: float
    clutter_db: float  # reverberation, relative to the echo that it repeats
    noise_db: float  # relative to full scale, at the probe


MACHINES = (
    Machine("sim-alto", 4.0, 45, 76, 0.24, 0.50, 0.9, 3, 56, 1.20, -22, -73),
    Machine("sim-basso", 3.0, 60, 66, 0.30, 0.62, 0.8, 2, 60, 1.10, -21, -66),
    Machine("sim-cello", 3.5, 50, 70, 0.30, 0.60, 0.8, 3, 50, 1.35, -21, -68),
    Machine("sim-dolce", 5.0, 40, 72, 0.20, 0.45, 0.7, 3, 60, 0.95, -23, -76),
)


@dataclasses.dataclass(frozen=True)
class Medium:
    """The properties of the tissue along the beams, each [depths beams]."""

    amplitude: Float[np.ndarray, "r t"]  # echo amplitude of the tissue
    density: Float[np.ndarray, "r t"]  # chance that a grid point holds a scatterer
    reflector: Float[np.ndarray, "r t"]  # amplitude of smooth interfaces, angle already counted
    loss_db_cm_mhz: Float[np.ndarray, "r t"]  # one-way attenuation


def scatterers(medium: Medium, rng: np.random.Generator) -> Float[np.ndarray, "r t 2"]:
    """Complex echoes (real and imaginary part last) of random scatterers; the mean power is amplitude²."""
    present = rng.random(medium.density.shape, np.float32) < medium.density
    strength = medium.amplitude * present / np.sqrt(np.maximum(medium.density, 1e-3))
    return strength[..., None] * rng.standard_normal((*medium.density.shape, 2), np.float32)


def two_way_loss_db(medium: Medium, step_mm: float, frequency_mhz: float) -> Float[np.ndarray, "r t"]:
    """Two-way attenuation in dB of an echo from each point: 2 f · (sum of the loss above it)."""
    per_step = 2 * frequency_mhz * step_mm / 10 * medium.loss_db_cm_mhz
    return np.cumsum(per_step, axis=0) - per_step


def _blur(signal: np.ndarray, beams: float, depths: float) -> np.ndarray:
    """Gaussian point spread of unit energy, SDs in grid steps: speckle keeps its power whatever the width."""
    out = cv2.GaussianBlur(signal, (0, 0), sigmaX=max(beams, 0.3), sigmaY=max(depths, 0.3))
    return out * math.sqrt(4 * math.pi * max(beams, 0.3) * max(depths, 0.3))


def point_spread(signal: np.ndarray, machine: Machine, step_mm: float, focus_mm: float, pitch_rad: float) -> np.ndarray:
    """Blur by a pulse along the beam and by a beam that widens away from its focus.

    The lateral SD is beam_mm · sqrt(1 + ((r - focus) / zone)²); pictures blurred
    as at `DEPTH_BANDS` depths are blended linearly.
    """
    rows = signal.shape[0]
    centres = np.linspace(0, rows - 1, DEPTH_BANDS)
    zone = machine.focal_zone * focus_mm
    out = np.zeros_like(signal)
    for band, centre in enumerate(centres):
        depth = centre * step_mm
        width_mm = machine.beam_mm * np.sqrt(1 + ((depth - focus_mm) / zone) ** 2)
        beams = width_mm / (pitch_rad * (machine.probe_radius_mm + depth))
        share = np.interp(np.arange(rows), centres, np.eye(DEPTH_BANDS)[band]).astype(np.float32)
        used = np.flatnonzero(share)
        top, bottom = max(used[0] - 8, 0), min(used[-1] + 9, rows)
        blurred = _blur(signal[top:bottom], float(beams), machine.pulse_mm / step_mm)
        out[top:bottom] += share[top:bottom, None, None] * blurred
    return out


def reverberation(
    signal: Float[np.ndarray, "r t 2"], machine: Machine, skull_rows: int, rng: np.random.Generator
) -> Float[np.ndarray, "r t 2"]:
    """The haze below the near skull: its echoes again, deeper, weaker and smeared, after random detours."""
    out = np.zeros_like(signal)
    smeared = cv2.GaussianBlur(signal[::2, ::2], (0, 0), sigmaX=5, sigmaY=3)
    smeared = cv2.resize(smeared, signal.shape[1::-1])
    strength = 10 ** ((machine.clutter_db + rng.normal(0, 3)) / 20)
    for detour in rng.uniform(0.1, 1.6, 5):
        shift = max(1, int(detour * skull_rows))
        if shift < len(signal):
            patchy = gaussian_filter1d(rng.standard_normal(signal.shape[1], np.float32), 9)
            weight = strength / (1 + detour) ** 2 * np.exp(3 * patchy)[:, None]
            out[shift:] += weight * np.roll(smeared, rng.integers(-9, 10), 1)[: len(signal) - shift]
    return out


def envelope(
    medium: Medium,
    machine: Machine,
    step_mm: float,
    focus_mm: float,
    pitch_rad: float,
    skull_rows: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "r t"]:
    """Mean envelope of `machine.looks` independent looks at the medium, before log compression."""
    tgc_db = 2 * machine.frequency_mhz * SOFT_TISSUE_DB * np.arange(DEPTHS)[:, None] * step_mm / 10
    sliders = np.interp(np.linspace(0, 5, DEPTHS), np.arange(6), rng.normal(0, TGC_ERROR_DB, 6))
    fall_db = tgc_db + sliders[:, None] - two_way_loss_db(medium, step_mm, machine.frequency_mhz)
    fall = (10 ** (fall_db.astype(np.float32) / 20))[..., None]
    noise = 10 ** ((machine.noise_db + np.minimum(tgc_db, 30)).astype(np.float32) / 20)[..., None]
    total = np.zeros(medium.amplitude.shape, np.float32)
    for _ in range(machine.looks):
        signal = scatterers(medium, rng)
        signal[..., 0] += medium.reflector
        signal = point_spread(signal * fall, machine, step_mm, focus_mm, pitch_rad)
        signal += reverberation(signal, machine, skull_rows, rng)
        signal += noise * rng.standard_normal(signal.shape, np.float32)
        total += cv2.magnitude(signal[..., 0], signal[..., 1])
    return total / machine.looks


def compress(envelope: Float[np.ndarray, "r t"], machine: Machine, gain_db: float) -> Float[np.ndarray, "r t"]:
    """Log compression to [0, 1]: full scale is the 99.5th percentile less `gain_db`."""
    full = np.percentile(envelope[::4, ::4], 99.5)
    decibels = 20 * np.log10(envelope / full + 1e-6) + gain_db
    return np.clip(1 + decibels / machine.dynamic_range_db, 0, 1).astype(np.float32) ** machine.gamma
