"""Explanations by gradients against PyTorch's autograd, from a golden file that torch_gradcam.py wrote."""

import pathlib

import flax.traverse_util
import jax
import numpy as np
import pytest
import weights
from test_monai import KINDS, in_basic_unet

from fetal_jax.core.types import Variables
from fetal_jax.evaluation.explain import grad_cam, gradient
from fetal_jax.models import build_model

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "golden" / "gradcam.npz")
WIDTH, CLASSES, CLASS_ID = 4, 3, 2
IMAGE = weights.image("image", (1, 32, 48, 1))[0]
CORNER = np.zeros(IMAGE.shape[:2], bool)
CORNER[:9, 20:] = True


@pytest.fixture(scope="module")
def network():
    """plain_unet with the weights that MONAI's names give."""
    model = build_model("plain_unet", num_classes=CLASSES, width=WIDTH)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), IMAGE[None], train=False))

    def value(path, leaf):
        name = f"{in_basic_unet('/'.join(path[1:-1]))}.{KINDS.get(path[-1], path[-1])}"
        return weights.from_torch(name, leaf.shape, transposed=".deconv." in name)

    flat = flax.traverse_util.flatten_dict(shapes)
    tree = flax.traverse_util.unflatten_dict({path: value(path, leaf) for path, leaf in flat.items()})
    return model, Variables(tree["params"], tree["batch_stats"])


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["encoder/features5", "decoder/features2"])
@pytest.mark.parametrize("region", ["predicted", "corner"])
def test_grad_cam_equals_that_of_autograd(network, layer, region):
    found = grad_cam(*network, IMAGE, CLASS_ID, layer, CORNER if region == "corner" else None)
    expected = GOLDEN[f"{layer}/{region}"]
    np.testing.assert_allclose(found.raw, expected, rtol=0, atol=1e-5)
    assert expected.std() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("guided", [False, True])
def test_gradients_equal_those_of_autograd(network, guided):
    expected = np.abs(GOLDEN["guided" if guided else "gradient"])
    found = gradient(*network, IMAGE, CLASS_ID, CORNER, guided=guided)
    np.testing.assert_allclose(found.raw, expected, rtol=0, atol=1e-5 * expected.max())


def test_guidance_makes_another_gradient():
    difference = np.abs(GOLDEN["guided"] - GOLDEN["gradient"]).max()
    assert difference > 0.1 * np.abs(GOLDEN["gradient"]).max()
