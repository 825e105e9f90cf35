"""What a process of training sets up beside its devices."""

import subprocess
import sys
import types

import jax
import pytest

from fetal_jax.core.sharding import check_precision
from fetal_jax.core.types import UserError

PROBE = """
import resource
from fetal_jax.core import sharding

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(1 << 26)  # 64 MB, cleared and freed
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

handed_back = [faults() for _ in range(2)][-1]
sharding.keep_freed_memory()
kept = [faults() for _ in range(3)][-1]
print(handed_back, kept)
"""


@pytest.mark.slow
def test_kept_memory_is_not_fetched_from_the_system_again():
    run = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    handed_back, kept = map(int, run.stdout.split())
    assert kept < handed_back / 10


@pytest.mark.parametrize(("capability", "refused"), [("7.5", True), ("8.0", False), ("10.0", False), ("gfx90a", False)])
def test_bfloat16_needs_a_gpu_that_has_it(capability, refused):
    device = types.SimpleNamespace(compute_capability=capability)
    check_precision(device, "float32")
    if not refused:
        return check_precision(device, "bfloat16")
    with pytest.raises(UserError, match=r"compute capability 7\.5, below 8\.0\): set precision to float32"):
        check_precision(device, "bfloat16")


def test_every_cpu_computes_in_bfloat16():
    check_precision(jax.devices()[0], "bfloat16")
