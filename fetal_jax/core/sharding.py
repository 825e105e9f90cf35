"""Sharding over one mesh of devices: batches are split over its devices, states are copied to each of them.

BatchNorm under a sharded `jit` sees the whole batch, so N devices compute what one does.
"""

import ctypes
import re
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from fetal_jax.core.types import UserError

AXIS = "data"
# Whole vector registers, and sums in the order that fits them; NaN and infinity stay what they are.
CPU_OPTIONS = {
    "xla_cpu_prefer_vector_width": 512,
    "xla_cpu_enable_fast_math": True,
    "xla_cpu_fast_math_honor_nans": True,
    "xla_cpu_fast_math_honor_infs": True,
}
BFLOAT16_CAPABILITY = 8.0  # of NVIDIA GPUs that compute in bfloat16
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # from glibc's malloc.h


def make_mesh(devices: list[jax.Device] | None = None) -> Mesh:
    """A one-axis mesh over `devices` (all of them if None). Auto axes: reshapes of a sharded batch stay legal."""
    devices = jax.devices() if devices is None else devices
    return Mesh(np.asarray(devices), (AXIS,), axis_types=(AxisType.Auto,))


def split_over(mesh: Mesh) -> NamedSharding:
    """The sharding of a batch: its first axis is split over the mesh."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def copied_to(mesh: Mesh) -> NamedSharding:
    """The sharding of a state: every device has all of it."""
    return NamedSharding(mesh, PartitionSpec())


def check_divisible(mesh: Mesh, **counts: int) -> None:
    """Raises UserError naming the config key whose number of images cannot be split evenly over the devices."""
    for key, count in counts.items():
        if count % mesh.size:
            raise UserError(f"{key} is {count}: it must be a multiple of the {mesh.size} devices")


def check_precision(device: Any, precision: str) -> None:
    """Raises UserError where a device cannot compute in bfloat16: NVIDIA GPUs older than Ampere."""
    capability = getattr(device, "compute_capability", None)
    number = re.fullmatch(r"\d+\.\d+", str(capability))  # of AMD's devices it is a name
    if precision == "bfloat16" and number and float(number[0]) < BFLOAT16_CAPABILITY:
        raise UserError(
            f"precision bfloat16 is not supported on this GPU (compute capability {capability}, below "
            f"{BFLOAT16_CAPABILITY}): set precision to float32"
        )


def shard(tree: Any, mesh: Mesh) -> Any:
    """Host arrays of this process as global arrays, split over the mesh along the first axis."""
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(split_over(mesh), np.asarray(x)), tree)


def replicate(tree: Any, mesh: Mesh) -> Any:
    """A copy of the tree on every device of the mesh."""
    # `device_put` alone gives back the same buffers where they are there already; a step would donate the original.
    return jax.device_put(jax.tree.map(np.array, tree), copied_to(mesh))


def compiler_options(mesh: Mesh) -> dict[str, Any]:
    """How XLA compiles a network's prediction for the mesh's devices; for a `jit` that is not inside another."""
    return CPU_OPTIONS if mesh.devices.flat[0].platform == "cpu" else {}


def keep_freed_memory() -> None:
    """Lets this process reuse the memory that it freed, where the C library is glibc; nothing happens elsewhere.

    On a CPU, a training step asks for a gigabyte or two and gives it back. glibc hands that to the system, which clears
    every page of it anew: a sixth of the step's time. Afterwards, the process stays as large as it once was.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, -1)
