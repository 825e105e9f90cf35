"""Files as others publish them, with values of our own, and what they must be read as."""

import functools
import os

import h5py
import numpy as np
from flax.traverse_util import flatten_dict

from fetal_jax.pretrained.container import shapes_of
from fetal_jax.pretrained.layouts import torch_layout

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@functools.cache
def values(encoder):
    """Random values of every variable but the constants of the normalisation; half precision holds them exactly."""
    rng = np.random.default_rng(0)
    layers = {path: shape for path, shape in shapes_of(encoder).items() if "/normalization/" not in path}
    return {path: rng.integers(-64, 64, shape).astype(np.float32) / 64 for path, shape in layers.items()}


def keras_name(path):
    """Layer and weight as keras-applications names them."""
    _, *modules, weight = path.split("/")
    layer = "_".join(modules)
    if layer.endswith("bn"):
        return layer, {"scale": "gamma", "bias": "beta", "mean": "moving_mean", "var": "moving_variance"}[weight]
    return layer, "depthwise_kernel" if layer.endswith("dwconv") else weight


def write_keras(file, arrays, *, variance=STD, classifier=False):
    """A file as `save_weights` of Keras 2 writes it: a group a layer, in it the weights under the layer's name."""
    layers = {"input_1": {}, "rescaling": {}}
    layers["normalization_1"] = {"mean": np.float32(MEAN), "variance": np.float32(variance), "count": np.int64(0)}
    for path, array in arrays.items():
        layer, weight = keras_name(path)
        array = array.swapaxes(2, 3) if weight == "depthwise_kernel" else array
        layers.setdefault(layer, {})[weight] = array
    layers["top_activation"] = {}
    if classifier:
        layers["predictions"] = {"kernel": np.zeros((1280, 3), np.float32), "bias": np.zeros(3, np.float32)}
    with h5py.File(file, "w") as h5:
        h5.attrs["layer_names"] = [layer.encode() for layer in layers]
        h5.attrs["backend"], h5.attrs["keras_version"] = b"tensorflow", b"2.4.0"
        for layer, its in layers.items():
            group = h5.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/{weight}:0".encode() for weight in its]
            for weight, array in its.items():
                group.create_dataset(f"{layer}/{weight}:0", data=array)


def torch_tensors(encoder, arrays, first):
    """Tensors as the library whose network starts with `first` names them, and what a checkpoint has beside them."""
    layout = torch_layout(encoder, {first})
    tensors = {
        # An array that is not contiguous would be written in the wrong order.
        layout.tensor(encoder, path): np.ascontiguousarray(np.moveaxis(a, (-1, -2), (0, 1)) if a.ndim == 4 else a)
        for path, a in arrays.items()
    }
    counts = {
        name.replace("running_var", "num_batches_tracked"): np.array(7) for name in tensors if "running_var" in name
    }
    return tensors | counts | {"classifier.weight": np.zeros((4, 2), np.float32), "fc.bias": np.zeros(2, np.float32)}


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def equal(loaded, arrays):
    """Asserts that loaded groups hold these arrays, in float32."""
    found = flatten_dict({"params": loaded.params, "batch_stats": loaded.batch_stats}, sep="/")
    assert {path for path in found if "/normalization/" not in path} == arrays.keys()
    for path, array in arrays.items():
        assert found[path].dtype == np.float32
        np.testing.assert_array_equal(found[path], array, err_msg=path)
