"""The Keras side of benchmark.py: CASE_UNet of Keras' own layers, on its JAX backend."""

import keras
import keras_efficientnet  # of tests/parity
import numpy as np

from benchmarks.round_server import serve, timed

CHANNELS = 3


def case_unet(size: int):
    shape = (size, size, CHANNELS)
    return keras_efficientnet.unet(shape, keras_efficientnet.NARROW, squeeze=True, coordinate=True)


NETWORKS = {"case_unet": case_unet}


def prepare(peer: str, task: str, batch: int, size: int, platform: str, precision: str):
    """What to call for a task, and how long the first call took, which is the one that compiles."""
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    model = NETWORKS[peer](size)
    rng = np.random.default_rng(0)
    image = rng.random((batch, size, size, CHANNELS), np.float32)
    labels = rng.integers(0, 2, (batch, size, size, 1)).astype(np.float32)
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.BinaryCrossentropy(from_logits=True), jit_compile=True)

    def run():
        return model.train_on_batch(image, labels) if task == "training" else model.predict_on_batch(image)

    _, seconds = timed(run)
    parameters = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    return run, {"first_call_s": seconds, "parameters": parameters, "versions": f"keras {keras.__version__}"}


if __name__ == "__main__":
    serve(prepare)
