"""The networks against Keras, layer by layer, from a golden file that keras_efficientnet.py wrote."""

import pathlib

import flax.traverse_util
import jax
import numpy as np
import pytest
import weights

from fetal_jax.models import build_model
from fetal_jax.models.efficientnet import EfficientNetB0

pytestmark = pytest.mark.slow

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "golden" / "efficientnet_b0.npz")
KINDS = {"scale": "gamma", "bias": "beta", "mean": "moving_mean", "var": "moving_variance"}  # of a BatchNorm
FUSED = {"se_reduce": jax.nn.silu, "se_expand": jax.nn.sigmoid, "gate_h": jax.nn.sigmoid, "gate_w": jax.nn.sigmoid}


def keras_name(path) -> str:
    """Keras' name of the module at `path`: underscores, and no `encoder` in front."""
    return "_".join(name for name in path if name != "encoder")


def fill(variables):
    """Replaces every variable by the value that its Keras name gives."""

    def value(path, leaf):
        layer, kind = keras_name(path[1:-1]), path[-1]
        kind = KINDS.get(kind, kind) if layer.endswith("bn") else kind
        return weights.weight(layer, kind, leaf.shape)

    flat = flax.traverse_util.flatten_dict(variables)
    return flax.traverse_util.unflatten_dict({path: value(path, leaf) for path, leaf in flat.items()})


def layer_outputs(module, image):
    """Outputs of all sub-modules by Keras name, with the activations that Keras counts into the layer."""
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), image, train=False))

    @jax.jit
    def run(variables):
        return module.apply(variables, image, train=False, capture_intermediates=True, mutable=["intermediates"])[1]

    captured = flax.traverse_util.flatten_dict(run(fill(shapes))["intermediates"])
    outputs = {keras_name(path[:-1]): value[0] for path, value in captured.items() if path[-1] == "__call__"}
    return {name: _as_keras(name, output) for name, output in outputs.items()}


def _as_keras(name: str, output):
    if name.startswith("decoder_") and name.endswith(("_reduce", "_conv1", "_conv2")):
        return jax.nn.relu(output)
    for ending, activation in FUSED.items():
        if name.endswith(ending):
            return activation(output)
    return output


def compare(prefix: str, outputs) -> int:
    """Compares the layers that both sides name; returns how many there were."""
    names = [name for name in outputs if f"{prefix}/{name}" in GOLDEN]
    for name in names:
        expected, found = GOLDEN[f"{prefix}/{name}"], weights.digest(outputs[name])
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max(), err_msg=name)
    return len(names)


def with_block_outputs(outputs):
    """Adds each block's two outputs and the encoder's last feature under their Keras names."""
    named = dict(outputs)
    for name, output in outputs.items():
        if name.startswith("block") and isinstance(output, tuple):
            named[f"{name}_add"], named[f"{name}_expand_activation"] = output
        if name.endswith("_se") and name.startswith("block"):
            named[f"{name}_excite"] = output
    return {name: output for name, output in named.items() if not isinstance(output, tuple | list)}


def test_every_layer_of_case_unet_equals_keras():
    outputs = layer_outputs(build_model("case_unet"), weights.image("even", (2, 64, 96, 3)))
    compared = compare("even", with_block_outputs(outputs))
    # Of Keras' own activation layers only `block*_activation` and those of stem and top are no module here.
    unseen = [name for name in GOLDEN if name.startswith("even/") and name.endswith("activation")]
    unseen = [name for name in unseen if "expand_activation" not in name]
    assert compared == sum(name.startswith("even/") for name in GOLDEN) - len(unseen)


def test_encoder_equals_keras_at_odd_sizes():
    module, image = EfficientNetB0(), weights.image("odd", (1, 37, 53, 3))
    outputs = layer_outputs(module, image)
    assert compare("odd", with_block_outputs(outputs)) > 150
    np.testing.assert_allclose(
        weights.digest(outputs[""][-1]),
        GOLDEN["odd/top_activation"],
        rtol=0,
        atol=1e-4 * np.abs(GOLDEN["odd/top_activation"]).max(),
    )


@pytest.mark.parametrize("name", ["unet", "ca_unet", "se_unet", "case_unet"])
def test_parameter_counts_equal_keras(name):
    image = np.zeros((1, 64, 64, 3), np.float32)
    variables = jax.eval_shape(lambda: build_model(name).init(jax.random.key(0), image, train=False))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == GOLDEN[f"count/{name}"]
