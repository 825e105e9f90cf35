"""A loss of a volume is that of the same voxels laid out as an image: no loss knows how many axes space has."""

import jax.numpy as jnp
import numpy as np
import pytest

from fetal_jax.losses import compose
from fetal_jax.losses.consistency import mse


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(compose.OBJECTIVES))
@pytest.mark.parametrize("channels", [1, 4])
def test_objectives(name, channels):
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.standard_normal((2, 3, 4, 5, channels), np.float32))
    labels = jnp.asarray(rng.integers(0, max(2, channels), (2, 3, 4, 5)))
    weights = jnp.asarray(rng.random((2, 3, 4, 5), np.float32)).at[1].set(0)  # nothing of the second is trusted
    loss = compose.supervised(name, tuple(range(1, max(2, channels) + 1)))
    of_volumes = loss(logits, labels, weights)
    of_images = loss(*(array.reshape(2, 12, 5, *array.shape[4:]) for array in (logits, labels, weights)))
    np.testing.assert_allclose(of_volumes, of_images, rtol=1e-6)
    assert of_volumes[0] > 0
    np.testing.assert_allclose(compose.masked_mean(of_volumes, weights), of_volumes[0], rtol=1e-6)


def test_consistency():
    first, second = jnp.asarray(np.random.default_rng(1).random((2, 2, 3, 4, 5, 2), np.float32))
    np.testing.assert_allclose(mse(first, second), np.mean((first - second) ** 2), rtol=1e-6)
