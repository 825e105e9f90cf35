"""Windows, their attention against a plain NumPy transcription, and changes of resolution."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetal_jax.core.sharding import make_mesh, shard
from fetal_jax.layers.patches import PatchExpanding, PatchMerging, spread
from fetal_jax.layers.window import WindowAttention, partition, pieces, relative_bias, unpartition

QUICK = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def draw(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def weights_for(module, x):
    """Weights that make attention anything but uniform."""
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), x))
    return jax.tree.map(lambda leaf: 0.7 * draw(leaf.size, *leaf.shape), shapes)


def run(module, variables, x):
    return QUICK(lambda x: module.apply(variables, x))(x)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def windows_along(length: int, window: int, shifted: bool):
    """For each pixel of an axis filled up to whole windows: its window, its place in it, and whether it wrapped."""
    filled = -(-length // window) * window
    shift = window // 2 if shifted and filled > window else 0
    place = (np.arange(filled) - shift) % filled
    return place // window, place % window, np.arange(filled) < shift


def attention_by_pairs(x, p, heads: int, window: int, shifted: bool):
    """Every pixel against every other of the image: the definition, without windows, rolling or a batched softmax."""
    h, w, c = x.shape
    (window_y, y, wrap_y), (window_x, x_in, wrap_x) = (windows_along(n, window, shifted) for n in (h, w))
    filled = np.zeros((len(y), len(x_in), c))
    filled[:h, :w] = x
    q, k, v = np.split(filled @ p["qkv"]["kernel"] + p["qkv_bias"], 3, axis=-1)
    out = np.zeros_like(filled)
    for i, j in np.ndindex(*filled.shape[:2]):
        rows = np.flatnonzero((window_y == window_y[i]) & (wrap_y == wrap_y[i]))
        columns = np.flatnonzero((window_x == window_x[j]) & (wrap_x == wrap_x[j]))
        bias = p["relative_bias"][np.ix_(y[i] - y[rows] + window - 1, x_in[j] - x_in[columns] + window - 1)]
        for head in range(heads):
            d = slice(head * c // heads, (head + 1) * c // heads)
            scores = k[np.ix_(rows, columns)][..., d] @ q[i, j, d] / np.sqrt(c // heads) + bias[..., head]
            out[i, j, d] = softmax(scores.ravel()) @ v[np.ix_(rows, columns)][..., d].reshape(scores.size, -1)
    return out[:h, :w] @ p["project"]["kernel"] + p["project"]["bias"]


@pytest.mark.slow
@pytest.mark.parametrize("shifted", [False, True], ids=["plain", "shifted"])
@pytest.mark.parametrize(
    ("space", "window"), [((8, 12), 4), ((7, 9), 4), ((3, 10), 5), ((2, 3), 4), ((1, 1), 2), ((5, 4), 1)]
)
def test_attention_is_that_of_all_allowed_pairs(space, window, shifted):
    module, x = WindowAttention(3, window, shifted), draw(0, 1, *space, 6)
    variables = weights_for(module, x)
    expected = attention_by_pairs(x[0].astype(np.float64), variables["params"], 3, window, shifted)
    np.testing.assert_allclose(run(module, variables, x)[0], expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("shifted", "seen"),
    [(False, (slice(4), slice(4, 8))), (True, (slice(2, 6), slice(2, 6)))],
    ids=["plain", "shifted"],
)
def test_a_pixel_is_seen_by_its_window_only(shifted, seen):
    module, x = WindowAttention(2, 4, shifted), draw(0, 1, 8, 8, 4)
    variables = weights_for(module, x)
    changed = x.copy()
    changed[0, 3, 5] += 1
    moved = np.abs(run(module, variables, changed) - run(module, variables, x)).max(-1)[0] > 1e-6
    expected = np.zeros((8, 8), bool)
    expected[seen] = True
    np.testing.assert_array_equal(moved, expected)


def test_opposite_edges_do_not_see_each_other():
    module, x = WindowAttention(2, 4, shifted=True), draw(0, 1, 8, 8, 4)
    variables = weights_for(module, x)
    changed = x.copy()
    changed[0, 0, 0] += 1
    moved = np.abs(run(module, variables, changed) - run(module, variables, x)).max(-1)[0] > 1e-6
    assert moved[:2, :2].all()
    assert moved.sum() == 4


@settings(max_examples=25, deadline=None, derandomize=True)  # the same shapes in each run: compiled once
@given(rows=st.integers(1, 4), columns=st.integers(1, 4), window=st.integers(1, 5), channels=st.integers(1, 3))
def test_partition_is_undone(rows, columns, window, channels):
    x = draw(0, 2, rows * window, columns * window, channels)
    windows = partition(x, window)
    assert windows.shape == (2, rows * columns, window**2, channels)
    np.testing.assert_array_equal(windows[1, -1, 0], x[1, -window, -window])
    np.testing.assert_array_equal(unpartition(windows, x.shape[1:3]), x)


def test_pieces_by_hand():
    expected = [[0, 0, 0, 0], [0, 1, 0, 1], [0, 0, 2, 2], [0, 1, 2, 3]]  # windows: upper, lower; left, right
    np.testing.assert_array_equal(pieces((4, 4), 2, (1, 1)), expected)
    np.testing.assert_array_equal(pieces((2, 4), 2, (0, 1)), [[0, 0, 0, 0], [0, 1, 0, 1]])


@pytest.mark.parametrize("window", [1, 2, 3, 7])
def test_relative_bias_is_a_look_up_by_offset(window):
    table = draw(0, 2 * window - 1, 2 * window - 1, 2)
    y, x = np.divmod(np.arange(window**2), window)
    expected = table[y[:, None] - y + window - 1, x[:, None] - x + window - 1]
    np.testing.assert_array_equal(relative_bias(table), expected.transpose(2, 0, 1))


def test_scores_and_softmax_are_float32_in_bfloat16():
    module, x = WindowAttention(3, 4, shifted=True), draw(0, 1, 8, 8, 6)
    variables = weights_for(module, x)
    jaxpr = jax.make_jaxpr(lambda x: module.apply(variables, x))(x.astype(jnp.bfloat16))
    assert jaxpr.out_avals[0].dtype == jnp.bfloat16
    text = str(jaxpr)
    exponentials = [line for line in text.splitlines() if "= exp " in line]
    assert exponentials
    assert all(":f32[" in line for line in exponentials)
    exact, rounded = run(module, variables, x), run(module, variables, x.astype(jnp.bfloat16))
    assert np.abs(rounded.astype(np.float32) - exact).mean() < 0.02 * np.std(exact)


def test_a_batch_stays_on_its_devices():
    """Windows of a batch split over four devices: the same numbers, and nothing is sent from one to another."""
    module, x = WindowAttention(3, 4, shifted=True), draw(0, 4, 10, 9, 6)
    variables, split = weights_for(module, x), shard(draw(0, 4, 10, 9, 6), make_mesh())
    program = QUICK(lambda x: module.apply(variables, x)).lower(split).compile()
    found = program(split)
    assert found.sharding.is_equivalent_to(split.sharding, x.ndim)
    assert [word for word in ("all-gather", "all-to-all", "collective-permute") if word in program.as_text()] == []
    np.testing.assert_allclose(found, run(module, variables, x), rtol=1e-5, atol=1e-5)


def normalised(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


def test_merging_puts_neighbours_side_by_side():
    x, module = draw(0, 2, 4, 6, 3), PatchMerging(6)
    variables = module.init(jax.random.key(0), x)
    beside = np.concatenate([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], axis=-1)
    expected = normalised(beside) @ variables["params"]["reduce"]["kernel"]
    np.testing.assert_allclose(module.apply(variables, x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [2, 4])
def test_expanding_gives_each_token_its_pixels(size):
    x, module = draw(0, 2, 3, 2, 8), PatchExpanding(size, 4)
    variables = module.init(jax.random.key(0), x)
    projected = x @ np.asarray(variables["params"]["expand"]["kernel"])
    expected = np.zeros((2, 3 * size, 2 * size, 4))
    for i, j in np.ndindex(3 * size, 2 * size):
        first = 4 * (i % size * size + j % size)  # "b h w (p1 p2 c) -> b (h p1) (w p2) c"
        expected[:, i, j] = normalised(projected[:, i // size, j // size, first : first + 4])
    np.testing.assert_allclose(spread(module.apply(variables, x)), expected, rtol=1e-3, atol=1e-4)
