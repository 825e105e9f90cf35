"""Boxes of CutMix: their share, their form, and what is mixed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fetal_jax.methods.mixing import boxes, cut_mix


@pytest.mark.parametrize(("space", "share"), [((64, 96), 0.5), ((40, 40), 0.2), ((24, 32, 28), 0.5)])
def test_a_box_is_one_rectangle_of_the_share_asked_for(space, share):
    inside = np.asarray(boxes(jax.random.key(0), (200, *space), share))
    rounding = 1.5 * sum(1 / length for length in space)  # half a pixel of each side, of a side that may be small
    shares = inside.reshape(200, -1).mean(-1)
    np.testing.assert_allclose(shares, share, atol=rounding)
    sides = []
    for box in inside:
        extents = [
            np.flatnonzero(box.any(tuple(a for a in range(len(space)) if a != axis))) for axis in range(len(space))
        ]
        assert box.sum() == np.prod([extent[-1] - extent[0] + 1 for extent in extents])
        sides.append([len(extent) / length for extent, length in zip(extents, space, strict=True)])
    assert np.min(sides) >= share - 0.05  # a side is at least the share, where the others are whole
    assert np.ptp(sides, axis=0).min() > 0.3  # tall ones and wide ones
    assert inside.any(0).mean() > 0.9  # anywhere


def test_boxes_follow_from_the_key():
    first, again, other = (boxes(jax.random.key(seed), (2, 16, 16), 0.5) for seed in (0, 0, 1))
    assert jnp.array_equal(first, again)
    assert not jnp.array_equal(first, other)


def test_the_partner_is_the_image_before():
    inside = jnp.zeros((3, 2, 2), bool).at[0, 0, 0].set(True)
    weights = jnp.arange(3.0)[:, None, None] * jnp.ones((3, 2, 2))
    np.testing.assert_array_equal(cut_mix(inside, weights)[0], [[0, 2], [2, 2]])
    np.testing.assert_array_equal(cut_mix(inside, weights)[1:], weights[:2])
    images = jnp.stack([weights, -weights], -1)
    np.testing.assert_array_equal(cut_mix(inside, images)[..., 1], -cut_mix(inside, weights))
