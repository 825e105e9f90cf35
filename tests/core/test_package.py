"""The package itself: what it exports, at first use."""

import subprocess
import sys

import pytest

import fetal_jax
from fetal_jax.inference import segmenter
from fetal_jax.models import registry


def test_functions_are_exported_from_their_modules():
    assert fetal_jax.build_model is registry.build_model
    assert fetal_jax.load is segmenter.load
    assert {"build_model", "load"} <= set(fetal_jax.__all__) <= set(dir(fetal_jax))
    with pytest.raises(AttributeError, match="module 'fetal_jax' has no attribute 'trian'"):
        fetal_jax.trian  # noqa: B018


@pytest.mark.slow
def test_a_network_is_the_first_thing_that_imports_jax():
    program = (
        "import sys, fetal_jax; assert 'jax' not in sys.modules; fetal_jax.build_model; assert 'jax' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
