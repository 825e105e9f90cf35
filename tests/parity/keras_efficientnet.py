"""Writes tests/golden/efficientnet_b0.npz from Keras itself: each layer of EfficientNetB0 and of CASE_UNet.

Needs Keras 3, which the project does not. `make parity` installs it apart and compares the committed file with what it
computes (--check); without an argument the file is written anew.
"""

import golden
import keras
import numpy as np
import weights
from keras import layers

SKIPS = ("block2a", "block3a", "block4a", "block5a")
WIDE, NARROW = (256, 128, 64, 32, 16), (128, 64, 32, 16, 8)
REDUCTION, LEAST_HIDDEN = 32, 4


def encoder(shape):
    keras.backend.clear_session()  # so that the unnamed layer is called `normalization` each time
    return keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=shape)


def squeeze_excite(x, name):
    channels = x.shape[-1]
    hidden = max(LEAST_HIDDEN, channels // REDUCTION)
    z = layers.GlobalAveragePooling2D(keepdims=True)(x)
    z = layers.Conv2D(hidden, 1, activation="relu", use_bias=False, name=f"{name}_reduce")(z)
    z = layers.Conv2D(channels, 1, activation="sigmoid", use_bias=False, name=f"{name}_expand")(z)
    return layers.Multiply(name=name)([x, z])


def coordinate_attention(x, name):
    _, h, _, c = x.shape
    rows = keras.ops.mean(x, axis=2, keepdims=True)
    columns = keras.ops.transpose(keras.ops.mean(x, axis=1, keepdims=True), (0, 2, 1, 3))
    f = layers.Conv2D(c // REDUCTION, 1, name=f"{name}_shared")(layers.Concatenate(axis=1)([rows, columns]))
    f = layers.ReLU()(layers.BatchNormalization(name=f"{name}_bn")(f))
    gate_h = layers.Conv2D(c, 1, activation="sigmoid", name=f"{name}_gate_h")(f[:, :h])
    gate_w = layers.Conv2D(c, 1, activation="sigmoid", name=f"{name}_gate_w")(f[:, h:])
    return layers.Multiply(name=name)([x, gate_h, keras.ops.transpose(gate_w, (0, 2, 1, 3))])


def unet(shape, filters, *, squeeze, coordinate):
    base = encoder(shape)
    x = coordinate_attention(base.output, "decoder_coordinate") if coordinate else base.output
    skips = [base.get_layer(f"{name}_expand_activation").output for name in SKIPS]
    if squeeze:
        skips = [squeeze_excite(skip, f"decoder_skip{level}_se") for level, skip in enumerate(skips, 1)]
    for level, (width, skip) in enumerate(zip(filters, [*skips[::-1], None], strict=True), 1):
        x = layers.UpSampling2D()(x)
        x = x if skip is None else layers.Concatenate()([x, skip])
        for index in (1, 2):
            name = f"decoder_up{level}_conv{index}"
            x = layers.Conv2D(width, 3, padding="same", activation="relu", name=name)(x)
        x = squeeze_excite(x, f"decoder_up{level}_se") if squeeze else x
    return keras.Model(base.input, layers.Conv2D(1, 1, name="decoder_logits")(x))


def fill(model):
    for layer in model.layers:
        if layer.weights:
            layer.set_weights([weights.weight(layer.name, w.name, tuple(w.shape)) for w in layer.weights])
        if layer.name == "normalization":
            layer.finalize_state()
    return model


def digests(model, image):
    kept = [
        layer for layer in model.layers if layer.weights or layer.name.endswith(("activation", "add", "se", "excite"))
    ]
    outputs = keras.Model(model.input, [layer.output for layer in kept])(image * 255.0, training=False)
    return {layer.name: weights.digest(output) for layer, output in zip(kept, outputs, strict=True)}


def golden_numbers():
    shape = (64, 96, 3)
    models = {
        "unet": unet(shape, WIDE, squeeze=False, coordinate=False),
        "ca_unet": unet(shape, WIDE, squeeze=False, coordinate=True),
        "se_unet": unet(shape, NARROW, squeeze=True, coordinate=False),
        "case_unet": unet(shape, NARROW, squeeze=True, coordinate=True),
    }
    numbers = {f"count/{name}": np.array(model.count_params()) for name, model in models.items()}
    numbers["count/encoder"] = np.array(encoder(shape).count_params())
    found = digests(fill(models["case_unet"]), weights.image("even", (2, *shape)))
    numbers |= {f"even/{name}": values for name, values in found.items()}
    found = digests(fill(encoder((37, 53, 3))), weights.image("odd", (1, 37, 53, 3)))
    return numbers | {f"odd/{name}": values for name, values in found.items()}


if __name__ == "__main__":
    golden.main("efficientnet_b0", f"Keras {keras.__version__}", golden_numbers)
