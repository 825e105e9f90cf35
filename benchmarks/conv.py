"""Times the library's convolutions against ours, at the shapes of CASE_UNet and of an Attention U-Net of width 32.

    python benchmarks/conv.py [--size 128] [--batch 8] [--repeats 15]

Prints milliseconds (medians) of the library's way and of ours, and the median of the ratios library / ours. The two are
timed in turns, so that other load on the machine falls on both alike. Timings say what `fetal_jax.layers` should
compile on a platform; they are not a test. Depthwise: value | both gradients. Dense: gradient by the kernel, at once or
in parts. Pointwise, transposed: gradient by the kernel. Up: value and gradients of the convolution of an up-sampled
image beside a skip, concatenated or apart.
"""

import argparse
import functools
import pathlib
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

if not __package__:
    sys.path[0] = str(pathlib.Path(__file__).parents[1])  # a script finds its neighbours as a module does

from fetal_jax.layers import conv, depthwise, upconv
from fetal_jax.layers.resample import upsample_2x

# (stride of the input relative to the image, channels, kernel size, stride), each shape of the encoder once
DEPTHWISE = (
    (2, 32, 3, 1),
    (2, 96, 3, 2),
    (4, 144, 3, 1),
    (4, 144, 5, 2),
    (8, 240, 5, 1),
    (8, 240, 3, 2),
    (16, 480, 3, 1),
    (16, 480, 5, 1),
    (16, 672, 5, 1),
    (16, 672, 5, 2),
    (32, 1152, 5, 1),
    (32, 1152, 3, 1),
)
# (stride relative to the image, channels in, channels out)
DENSE = ((16, 1760, 128), (8, 368, 64), (4, 208, 32), (2, 128, 16), (1, 8, 8), (1, 32, 32), (2, 64, 64), (4, 128, 128))
POINTWISE = ((2, 16, 96), (4, 24, 144), (8, 40, 240), (16, 112, 672), (32, 192, 1152))
TRANSPOSED = ((2, 64, 32), (8, 256, 128))
UP = ((16, 128, 240, 64), (8, 64, 144, 32), (4, 32, 96, 16), (2, 16, 0, 8))  # stride, channels, of the skip, out


def interleaved(functions, arguments, repeats: int) -> np.ndarray:
    """Milliseconds [repeats, functions] of compiled calls, one of each in turn."""
    functions = [jax.jit(function) for function in functions]
    jax.block_until_ready([function(*arguments) for function in functions])
    times = np.zeros((repeats, len(functions)))
    for repeat, column in np.ndindex(times.shape):
        start = time.perf_counter()
        jax.block_until_ready(functions[column](*arguments))
        times[repeat, column] = 1e3 * (time.perf_counter() - start)
    return times


def random_arrays(*shapes):
    generator = np.random.default_rng(0)
    return [jnp.asarray(generator.standard_normal(shape), jnp.float32) for shape in shapes]


def benchmark_depthwise(size: int, batch: int, repeats: int) -> None:
    print("depthwise: native ms, shifted ms, native/shifted for value | gradients")
    for level, channels, k, stride in DEPTHWISE:
        n = size // level
        out = -(-n // stride)
        x, kernel, g = random_arrays((batch, n, n, channels), (k, k, 1, channels), (batch, out, out, channels))
        value = interleaved(
            [
                lambda x, w, s=stride: depthwise.native_depthwise(x, w, s),
                lambda x, w, s=stride: depthwise.shifted_depthwise(x, w, s),
            ],
            (x, kernel),
            repeats,
        )
        gradients = interleaved(
            [
                lambda x, w, g, s=stride: depthwise.native_gradients(x, w, g, s),
                lambda x, w, g, s=stride: depthwise.shifted_gradients(x, w, g, s),
            ],
            (x, kernel, g),
            repeats,
        )
        print(f"{n:4d}² × {channels:4d}, {k}×{k}/{stride}: {_row(value)} | {_row(gradients)}", flush=True)


def _row(times: np.ndarray) -> str:
    native, shifted = np.median(times, axis=0)
    return f"{native:8.2f} {shifted:7.2f} {np.median(times[:, 0] / times[:, 1]):6.1f}×"


def library_conv(x, w):
    return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def library_transposed(x, w):
    turned, layout = jnp.flip(w, (0, 1)), ("NHWC", "HWIO", "NHWC")
    padding = ((1, 2), (1, 2))
    return jax.lax.conv_general_dilated(x, turned, (1, 1), padding, lhs_dilation=(2, 2), dimension_numbers=layout)


def by_kernel(convolve):
    return lambda x, w, g: jax.vjp(lambda w: convolve(x, w), w)[1](g)


def benchmark_kernel_gradients(size: int, batch: int, repeats: int) -> None:
    parts = functools.partial(conv.by_parts, library_conv)
    kinds = (
        ("dense 3×3", DENSE, (3, 3), 1, library_conv, parts),
        ("pointwise", POINTWISE, (), 1, jnp.dot, conv.pointwise),
        ("transposed 3×3", TRANSPOSED, (3, 3), 2, library_transposed, conv.conv_transpose_2x),
    )
    for title, shapes, side, factor, library, ours in kinds:
        print(f"{title}, gradient by the kernel: library ms, ours ms, library/ours")
        for level, i, c in shapes:
            n = size // level
            arrays = random_arrays((batch, n, n, i), (*side, i, c), (batch, factor * n, factor * n, c))
            times = interleaved([by_kernel(library), by_kernel(ours)], arrays, repeats)
            print(f"{n:4d}², {i:4d} → {c:4d}: {_row(times)}", flush=True)


def benchmark_up(size: int, batch: int, repeats: int) -> None:
    print("convolution of an up-sampled image and a skip: library ms, ours ms, library/ours for value | gradients")

    def concatenated(x, skip, w):
        return library_conv(jnp.concatenate([upsample_2x(x), skip], axis=-1), w)

    def apart(x, skip, w):
        i = x.shape[-1]
        return upconv.conv_of_upsampled(x, w[:, :, :i]) + (conv.conv(skip, w[:, :, i:]) if skip.shape[-1] else 0)

    def gradients(f):
        return lambda x, skip, w, g: jax.vjp(f, x, skip, w)[1](g)

    for level, i, i_skip, c in UP:
        n = size // level
        *inputs, g = random_arrays(
            (batch, n, n, i), (batch, 2 * n, 2 * n, i_skip), (3, 3, i + i_skip, c), (batch, 2 * n, 2 * n, c)
        )
        value = interleaved([concatenated, apart], inputs, repeats)
        both = interleaved([gradients(concatenated), gradients(apart)], (*inputs, g), repeats)
        print(f"{2 * n:4d}², {i:4d} + {i_skip:4d} → {c:4d}: {_row(value)} | {_row(both)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=128, help="side of the image in pixels")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=15)
    options = vars(parser.parse_args())
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, {options}")
    benchmark_depthwise(**options)
    benchmark_kernel_gradients(**options)
    benchmark_up(**options)


if __name__ == "__main__":
    main()
