"""Times the two lowerings of the depthwise convolution at the shapes of EfficientNet-B0, and the dense decoder ones.

    python -m experiments.benchmark_conv [--size 128] [--batch 8] [--repeats 15]

Prints milliseconds (medians) of the value and of both gradients, and the median of the ratios native / shifted. The
two are timed in turns, so that other load on the machine falls on both alike. Timings say which lowering
`fetal_jax.layers.conv` should compile on a platform; they are no test.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

from fetal_jax.layers import conv, depthwise

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
# (stride relative to the image, channels in, channels out), the first convolution of each up block of CASE_UNet
DENSE = ((16, 1760, 128), (8, 368, 64), (4, 208, 32), (2, 128, 16), (1, 16, 8))


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


def benchmark_dense(size: int, batch: int, repeats: int) -> None:
    print("dense 3×3: ms of value, gradient by x, gradient by kernel")
    for level, c_in, c_out in DENSE:
        n = size // level
        x, kernel, g = random_arrays((batch, n, n, c_in), (3, 3, c_in, c_out), (batch, n, n, c_out))
        functions = [
            lambda x, w, g: conv.conv(x, w),
            lambda x, w, g: jax.vjp(lambda x: conv.conv(x, w), x)[1](g),
            lambda x, w, g: jax.vjp(lambda w: conv.conv(x, w), w)[1](g),
        ]
        medians = np.median(interleaved(functions, (x, kernel, g), repeats), axis=0)
        print(f"{n:4d}², {c_in:4d} → {c_out:3d}: " + " ".join(f"{ms:8.2f}" for ms in medians), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=128, help="side of the image in pixels")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=15)
    options = vars(parser.parse_args())
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, {options}")
    benchmark_depthwise(**options)
    benchmark_dense(**options)


if __name__ == "__main__":
    main()
