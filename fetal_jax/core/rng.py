"""Named random streams. A stream is folded from a seed, its name and the step: nothing random is ever stored."""

import zlib

import jax


def named_key(key: jax.Array, name: str) -> jax.Array:
    """The key of the stream `name` (its CRC-32 folded into `key`)."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)


def step_key(key: jax.Array, name: str, step: jax.Array | int) -> jax.Array:
    """The key of the stream `name` at `step`. `step` may be traced."""
    return jax.random.fold_in(named_key(key, name), step)
