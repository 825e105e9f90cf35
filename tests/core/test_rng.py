"""Named streams: reproducible, apart from each other, and the same traced or not."""

import zlib

import jax
import numpy as np

from fetal_jax.core import rng as rngs

KEY = jax.random.key(7)


def bits(key):
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


def test_a_stream_is_its_seed_its_name_and_its_step():
    assert bits(rngs.step_key(KEY, "dropout", 3)) == bits(rngs.step_key(jax.random.key(7), "dropout", 3))
    expected = jax.random.fold_in(KEY, zlib.crc32(b"dropout") % 2**31)
    assert bits(rngs.named_key(KEY, "dropout")) == bits(expected)


def test_names_steps_and_seeds_give_different_streams():
    keys = [
        rngs.step_key(jax.random.key(seed), name, step)
        for seed in (0, 1)
        for name in ("dropout", "init", "droupot")
        for step in (0, 1, 2)
    ]
    assert len({bits(key) for key in keys}) == len(keys)


def test_a_traced_step_gives_the_same_key():
    traced = jax.jit(lambda step: rngs.step_key(KEY, "dropout", step))(np.int32(5))
    assert bits(traced) == bits(rngs.step_key(KEY, "dropout", 5))
