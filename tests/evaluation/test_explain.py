"""Explanations: networks with known answers, brute force, hand-computed numbers, and the check that they explain."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.filters import sobel

from fetal_jax.core.types import DatasetFacts, UserError, Variables
from fetal_jax.evaluation import explain
from fetal_jax.evaluation.explain import explanations, gradients
from fetal_jax.evaluation.explain.guidance import guided
from fetal_jax.evaluation.explain.layers import as_map
from fetal_jax.inference.segmenter import InferenceConfig
from fetal_jax.layers.depthwise import depthwise_conv2d
from fetal_jax.layers.intermediates import record_intermediate
from fetal_jax.models import build_model, intermediates
from fetal_jax.models.segmentation_model import SegmentationModel

IMAGE = np.random.default_rng(0).uniform(size=(8, 8, 1)).astype(np.float32)


class Means(nn.Module):
    """Features: each 2×2 pixels' mean of x, and 1 minus it."""

    @nn.compact
    def __call__(self, x, *, train: bool):
        mean = nn.avg_pool(x, (2, 2), (2, 2))
        return record_intermediate(self, "features1", jnp.concatenate([mean, 1 - mean], -1))


class Repeated(nn.Module):
    """Logits: a weighted sum of the features, each repeated over its 2×2 pixels."""

    classes: int

    @nn.compact
    def __call__(self, x, *, train: bool):
        weights = self.param("weights", nn.initializers.zeros, (x.shape[-1], self.classes))
        x = record_intermediate(self, "features1", jnp.repeat(jnp.repeat(x, 2, 1), 2, 2))
        return x @ weights - 0.5


def linear(weights) -> tuple[SegmentationModel, Variables]:
    """The linear network with weights [features classes]; its classes have a logit each, or there is one of both."""
    weights = np.asarray(weights, np.float32)
    model = SegmentationModel(Means(), Repeated(weights.shape[1]), 2, dims=(2,))
    return model, Variables({"decoder": {"weights": weights}}, {})


def tiny(name: str = "attention_unet", seed: int = 0, **options) -> tuple[SegmentationModel, Variables]:
    """A network of this project with random weights."""
    model = build_model(name, width=2, depth=1, **options)
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), IMAGE[None], train=False))
    tree = jax.tree.map(lambda leaf: rng.uniform(0.1, 1, leaf.shape).astype(np.float32), shapes["batch_stats"])
    params = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape).astype(np.float32), shapes["params"])
    return model, Variables(params, tree)


QUARTERS = np.array([[0.9, 0.1], [0.4, 0.6]], np.float32)  # the means of 2×2 pixels of the image below
BLOCKS = np.kron(QUARTERS, np.ones((2, 2), np.float32))[..., None]


def test_grad_cam_of_a_linear_network_is_its_weighted_features():
    # Two foreground pixels of the region lie in the first cell, one in the last: 3 pixels over 4 cells. The weights
    # 2 and -1 become α = 1.5 and -0.75, and the map is ReLU(1.5 mean - 0.75 (1 - mean)) = ReLU(2.25 mean - 0.75).
    model, variables = linear([[0, 2], [0, -1]])
    region = np.zeros((4, 4), bool)
    region[0, :2] = region[3, 3] = True
    found = explain.grad_cam(model, variables, BLOCKS, 1, "encoder/features1", region)
    cells = np.array([[1.275, 0.0], [0.15, 0.6]])
    between = np.array([[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])  # bilinear, pixel centres at half-integers
    np.testing.assert_allclose(found.raw, between @ cells @ between.T, atol=1e-6)
    np.testing.assert_allclose(found.relative, found.raw / 1.275, atol=1e-6)
    assert (found.method, found.layer, found.class_id, found.note) == ("grad_cam", "encoder/features1", 1, "")


def test_the_last_layer_tells_what_the_prediction_tells():
    model, variables = linear([[0, 2], [0, -1]])
    found = explain.grad_cam(model, variables, BLOCKS, 1, "decoder/features1", np.ones((4, 4), bool))
    np.testing.assert_allclose(found.raw, np.maximum(3 * BLOCKS[..., 0] - 1, 0), atol=1e-6)


def test_a_single_logit_speaks_for_class_1_and_its_negative_for_class_0():
    model, variables = linear([[2], [-1]])
    region = np.ones((4, 4), bool)
    one, zero = (explain.grad_cam(model, variables, BLOCKS, c, "decoder/features1", region).raw for c in (1, 0))
    np.testing.assert_allclose(one - zero, 3 * BLOCKS[..., 0] - 1, atol=1e-6)
    assert np.all(one * zero == 0)


def test_the_region_is_what_is_predicted_as_the_class():
    # The single logit is 3 mean - 1 - 0.5: positive for 0.9 and 0.6, which are 8 of the 16 pixels.
    model, variables = linear([[2], [-1]])
    predicted = explain.grad_cam(model, variables, BLOCKS, 1, "encoder/features1")
    region = BLOCKS[..., 0] > 0.5
    given_it = explain.grad_cam(model, variables, BLOCKS, 1, "encoder/features1", region)
    np.testing.assert_array_equal(predicted.raw, given_it.raw)
    assert predicted.note == ""


def test_a_class_that_is_not_predicted_is_explained_over_the_whole_image_and_this_is_said():
    model, variables = linear([[9, 0], [9, 0]])
    found = explain.grad_cam(model, variables, BLOCKS, 1, "encoder/features1")
    whole = explain.grad_cam(model, variables, BLOCKS, 1, "encoder/features1", np.ones((4, 4), bool))
    np.testing.assert_array_equal(found.raw, whole.raw)
    assert "no pixel is predicted" in found.note
    assert whole.note == ""


def test_a_map_lies_on_the_image_where_the_network_pads_it():
    model, _ = linear([[1], [1]])
    feature = np.arange(9, dtype=np.float32).reshape(3, 3)  # of an image of 5×5, padded to 6×6
    found = as_map(feature, model, (5, 5))
    whole = as_map(feature, model, (6, 6))
    assert found.shape == (5, 5)
    np.testing.assert_array_equal(found, whole[:5, :5])
    np.testing.assert_allclose(whole[0], [0, 0.25, 0.75, 1.25, 1.75, 2])


@pytest.mark.slow
def test_layers_are_named_and_the_second_of_the_decoder_is_the_default():
    model, variables = tiny()
    assert explain.layers(model, variables, IMAGE) == {
        "encoder/features1": (8, 8, 2),
        "encoder/features2": (4, 4, 4),
        "decoder/features1": (8, 8, 2),
    }
    assert explain.default_layer(model, variables, IMAGE) == "decoder/features1"
    deep = build_model("plain_unet", width=2, depth=3)
    shapes = jax.eval_shape(lambda: deep.init(jax.random.key(0), IMAGE[None], train=False))
    assert explain.default_layer(deep, Variables(**shapes), IMAGE) == "decoder/features2"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"layer": "decoder/features9"}, "layer 'decoder/features9' is unknown: choose one of encoder/features1, dec"),
        ({"region": np.ones((3, 4), bool)}, r"region \(3, 4\) has another size than the image, \(4, 4\)"),
        ({"region": np.zeros((4, 4), bool)}, "region has no pixel"),
    ],
)
def test_what_cannot_be_explained_is_refused(changed, message):
    model, variables = linear([[2], [-1]])
    with pytest.raises(UserError, match=message):
        explain.grad_cam(model, variables, BLOCKS, 1, **{"layer": "encoder/features1"} | changed)


def test_guided_backpropagation_lets_only_positive_signals_back():
    # Before the ReLUs (1, 1) @ W = (4, 3, -3). The plain gradient of h1 - h2 - h3 is W1 - W2 = (-1, 2); h2's signal is
    # negative and h3 is off, so W1 = (1, 3) is left.
    weights = jnp.array([[1.0, 2.0, -2.0], [3.0, 1.0, -1.0]])

    def network(x):
        return jax.jit(lambda x: jax.nn.relu(x @ weights))(x) @ jnp.array([1.0, -1.0, -1.0])

    x = jnp.ones(2)
    np.testing.assert_array_equal(jax.grad(network)(x), [-1, 2])
    np.testing.assert_array_equal(jax.grad(guided(network))(x), [1, 3])
    assert guided(network)(x) == network(x)


def test_guided_swish_has_its_own_slope_where_it_is_on():
    x = jnp.array([-1.0, 2.0])
    plain = jax.grad(lambda x: jax.nn.silu(x).sum())(x)
    assert plain[0] != 0
    np.testing.assert_allclose(jax.grad(guided(lambda x: jax.nn.silu(x).sum()))(x), [0, plain[1]])
    np.testing.assert_array_equal(jax.grad(guided(lambda x: -jax.nn.silu(x).sum()))(x), [0, 0])


def test_guidance_leaves_other_layers_alone_whatever_their_gradient():
    kernel = jnp.asarray(np.random.default_rng(1).standard_normal((3, 3, 1, 1)), jnp.float32)

    def network(x):
        return jnp.sum(jax.nn.sigmoid(depthwise_conv2d(x, kernel)))

    found, expected = jax.jit(lambda x: (jax.grad(guided(network))(x), jax.grad(network)(x)))(IMAGE[None])
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.slow
def test_guided_grad_cam_is_the_product_and_says_what_is_wrong_with_it():
    target = *tiny(), IMAGE, 1
    found = explain.guided_grad_cam(*target, "decoder/features1")
    cam, fine = explain.grad_cam(*target, "decoder/features1"), explain.gradient(*target, guided=True)
    np.testing.assert_array_equal(found.raw, cam.raw * fine.raw)
    assert (found.method, found.layer) == ("guided_grad_cam", "decoder/features1")
    assert "Adebayo" in found.note


@pytest.mark.slow
@pytest.mark.parametrize(("patch", "stride"), [(None, None), (3, 2)])
def test_occlusion_equals_brute_force(patch, stride):
    model, variables = tiny()
    region = IMAGE[..., 0] > 0.5
    found = explain.occlusion(model, variables, IMAGE, 1, region, patch=patch, stride=stride)
    patch, stride = patch or 1, stride or 1
    apply = jax.jit(lambda x: jax.nn.sigmoid(model.apply(variables.as_dict(), x, train=False))[0, ..., 0])
    whole, drops = np.mean(apply(IMAGE[None])[region]), [[[] for _ in range(8)] for _ in range(8)]
    starts = sorted({*range(0, 8 - patch, stride), 8 - patch})
    for top in starts:
        for left in starts:
            hidden = IMAGE.copy()
            hidden[top : top + patch, left : left + patch] = IMAGE.mean()
            drop = whole - np.mean(apply(hidden[None])[region])
            for i in range(top, top + patch):
                for j in range(left, left + patch):
                    drops[i][j].append(drop)
    expected = np.array([[np.mean(cell) for cell in row] for row in drops])
    np.testing.assert_allclose(found.raw, expected, atol=1e-6)
    assert expected.min() < 0 < expected.max()
    assert found.relative.min() == 0


@pytest.mark.slow
def test_only_the_frame_is_occluded():
    model, variables = tiny()
    frame = np.zeros((8, 8), bool)
    frame[2:6] = True
    dark = np.where(frame[..., None], IMAGE, 0)
    found = explain.occlusion(model, variables, dark, 1, frame, patch=2, frame=frame)
    hidden = dark.copy()
    hidden[2:4, 2:4] = IMAGE[frame].mean()
    logits = jax.jit(lambda x: model.apply(variables.as_dict(), x, train=False))(np.stack([dark, hidden]))
    before, after = jax.nn.sigmoid(logits[..., 0])
    expected = np.mean(before[frame]) - np.mean(after[frame])
    np.testing.assert_allclose(found.raw[2:4, 2:4], expected, atol=1e-6)
    assert abs(expected) > 0.01
    assert not found.raw[~frame].any()


@pytest.mark.parametrize(("patch", "stride"), [(0, 1), (9, 1), (2, 3), (2, 0)])
def test_patches_that_leave_pixels_out_are_refused(patch, stride):
    with pytest.raises(UserError, match=f"patch {patch} and stride {stride}: need 1 <= stride <= patch <= 8 pixels"):
        explain.occlusion(*tiny(), IMAGE, 1, patch=patch, stride=stride)


@pytest.mark.slow
def test_attention_maps_are_those_of_the_gates():
    model, variables = tiny()
    (name, found), *others = explain.attention_maps(model, variables, IMAGE).items()
    assert name == "decoder/gate1/spatial_attention"
    assert others == []
    expected = intermediates(model, variables, IMAGE[None])[name][0, ..., 0]  # at the image's size already
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert 0 <= found.min() < found.max() <= 1
    assert explain.attention_maps(*tiny("plain_unet"), IMAGE) == {}


MASK = np.zeros((4, 5), bool)
MASK[:2, :2] = True


def test_concentration_of_what_is_known():
    uniform = dataclasses.astuple(explain.concentration(np.ones((4, 5)), MASK))
    np.testing.assert_allclose(uniform, (0.2, 0.2, 1, 0, 0), atol=1e-12)
    pixel = np.zeros((4, 5))
    pixel[0, 0] = 7
    np.testing.assert_allclose(dataclasses.astuple(explain.concentration(pixel, MASK)), (1, 0.2, 5, 0.95, 1))
    # Half of the pixels share it alike: Gini 1/2, entropy log 10 of log 20; a quarter of those is in the mask.
    half = np.zeros((4, 5))
    half[[0, 2]], half[3, 0] = 1, -9
    expected = (0.2, 0.2, 1, 0.5, 1 - np.log(10) / np.log(20))
    np.testing.assert_allclose(dataclasses.astuple(explain.concentration(half, MASK)), expected)


def test_concentration_is_undefined_where_nothing_speaks_or_nothing_is_there():
    nothing = explain.concentration(-np.ones((4, 5)), MASK)
    assert np.isnan([nothing.inside, nothing.lift, nothing.gini, nothing.focus]).all()
    absent = explain.concentration(np.ones((4, 5)), np.zeros((4, 5), bool))
    assert (absent.inside, absent.mask_share) == (0, 0)
    assert np.isnan(absent.lift)
    with pytest.raises(ValueError, match="of one size"):
        explain.concentration(np.ones((4, 4)), MASK)
    with pytest.raises(ValueError, match="finite"):
        explain.concentration(np.full((4, 5), np.nan), MASK)


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.float64, (4, 5), elements=st.floats(-1, 1, width=16)), st.floats(0.1, 10))
def test_concentration_does_not_depend_on_units(saliency, factor):
    found, scaled = (explain.concentration(s, MASK) for s in (saliency, factor * saliency))
    np.testing.assert_allclose(dataclasses.astuple(found), dataclasses.astuple(scaled), atol=1e-9)
    for value in (found.inside, found.gini, found.focus):
        assert np.isnan(value) or -1e-9 <= value <= 1 + 1e-9


def test_blocks_are_named_from_the_logits_down():
    model, _ = tiny()
    order = ["decoder/logits", "decoder/merge1", "decoder/gate1", "decoder/up1", "encoder/stage2", "encoder/stage1"]
    assert explain.blocks(model, IMAGE) == order


def test_random_weights_are_the_same_numbers_elsewhere_and_others_stay():
    _, variables = tiny()
    found = explain.randomised(variables, jax.random.key(0), ["encoder/stage2"])
    changed = []
    for (path, one), (_, other) in zip(
        jax.tree.leaves_with_path(variables), jax.tree.leaves_with_path(found), strict=True
    ):
        np.testing.assert_array_equal(np.sort(one, None), np.sort(other, None))
        if not np.array_equal(one, other):
            changed.append(jax.tree_util.keystr(path))
    assert changed
    assert all("['encoder']['stage2']" in path for path in changed)
    assert {path.partition("[")[0] for path in changed} == {".params", ".batch_stats"}


def test_the_key_decides_what_is_random_and_a_cascade_is_nested():
    _, variables = tiny()
    few, all_of_it, other = (
        explain.randomised(variables, jax.random.key(seed), layers)
        for seed, layers in ((0, ["decoder/merge1"]), (0, None), (1, ["decoder/merge1"]))
    )
    kernels = [v.params["decoder"]["merge1"]["conv"]["kernel"] for v in (few, all_of_it, other)]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])
    with pytest.raises(UserError, match="layer 'decoder/stage1' has no parameters"):
        explain.randomised(variables, jax.random.key(0), ["decoder/stage1"])


class Detectors(nn.Module):
    """A bright spot's detector among detectors of noise, and a decoder that listens to one of them."""

    @nn.compact
    def __call__(self, x, *, train: bool):
        kernel = self.param("kernel", nn.initializers.zeros, (3, 3, 1, 8))
        y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return record_intermediate(self, "features1", jax.nn.relu(y))


class Listener(nn.Module):
    @nn.compact
    def __call__(self, x, *, train: bool):
        return x @ self.param("weights", nn.initializers.zeros, (8, 1)) - 1


class Part(nn.Module):
    """A part with one block, `block`."""

    block: type[nn.Module]

    @nn.compact
    def __call__(self, x, *, train: bool):
        return self.block(name="block")(x, train=train)


def spot_finder() -> tuple[SegmentationModel, Variables]:
    rng = np.random.default_rng(3)
    kernel = rng.standard_normal((3, 3, 1, 8)).astype(np.float32)
    kernel[..., 0] = 1 / 9
    weights = np.zeros((8, 1), np.float32)
    weights[0] = 4
    params = {"encoder": {"block": {"kernel": kernel}}, "decoder": {"block": {"weights": weights}}}
    return SegmentationModel(Part(Detectors), Part(Listener), 1, dims=(2,)), Variables(params, {})


def test_random_weights_destroy_grad_cam_and_do_not_touch_an_edge_detector():
    model, variables = spot_finder()
    rows, columns = np.mgrid[:16, :16]
    noise = np.random.default_rng(0).uniform(0, 0.2, (16, 16))
    image = (np.exp(-((rows - 5) ** 2 + (columns - 9) ** 2) / 8) + noise).astype(np.float32)[..., None]
    region = image[..., 0] > 0.5

    def check(method):
        return explain.sanity(method, variables, jax.random.key(0), explain.blocks(model, image))

    cam = check(lambda v: explain.grad_cam(model, v, image, 1, "encoder/block/features1", region).raw)
    edges = check(lambda v: sobel(image[..., 0]))
    assert list(cam) == list(edges) == ["decoder/block", "encoder/block"]
    assert explain.passed(cam)
    assert not explain.passed(edges)
    assert {round(step.rank_correlation, 9) for step in edges.values()} == {1}
    assert cam["encoder/block"].ssim < 0.5 < edges["encoder/block"].ssim


def test_similarity_of_maps():
    ramp = np.arange(64.0).reshape(8, 8)
    same, turned, flat = (explain.similarity(ramp, other) for other in (ramp**3, -ramp, 0 * ramp))
    assert same.rank_correlation == pytest.approx(1)
    assert explain.similarity(ramp, 5 * ramp).ssim == pytest.approx(1)
    assert turned.rank_correlation == pytest.approx(-1)
    assert np.isnan(flat.rank_correlation)
    assert explain.passed({"last": flat})
    assert not explain.passed({"last": turned})
    assert not explain.passed({"first": flat, "last": same})


def test_a_cascade_can_be_looked_at_in_fewer_steps():
    _, variables = tiny()
    order = ["decoder/logits", "decoder/merge1", "encoder/stage2", "encoder/stage1"]
    seen = []

    def method(v):
        seen.append(v)
        return np.arange(64.0).reshape(8, 8)

    assert list(explain.sanity(method, variables, jax.random.key(0), order, 2)) == ["decoder/logits", "encoder/stage1"]
    assert len(seen) == 3
    assert list(explain.sanity(method, variables, jax.random.key(0), order, 1)) == ["encoder/stage1"]


def test_heat_hides_nothing_where_there_is_nothing():
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    saliency = np.zeros((8, 8))
    np.testing.assert_array_equal(explain.heat(image, saliency), np.stack([image] * 3, -1))
    saliency[2, 3], saliency[4, 4], saliency[5, 5] = 2, 1, -1
    found = explain.heat(image, saliency).astype(int)
    changed = np.argwhere((found != image[..., None]).any(-1)).tolist()
    assert changed == [[2, 3], [4, 4]]
    assert found[2, 3].sum() > found[4, 4].sum()
    np.testing.assert_array_equal(found, explain.heat(np.stack([image] * 3, -1), saliency))
    with pytest.raises(ValueError, match="one size"):
        explain.heat(image, saliency[1:])


FACTS = DatasetFacts("d", "D", ("background", "spot"), ((0, 0, 0), (255, 0, 0)), "", "", "")
CARD = InferenceConfig({"name": "attention_unet", "width": 2, "depth": 1}, 8, 0, FACTS, "0" * 64, "supervised")


@pytest.fixture(scope="module")
def explainer():
    return explain.Explainer(CARD, tiny()[1])


def native_image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (10, 16, 1), np.uint8)


@pytest.mark.slow
def test_an_image_is_explained_in_its_own_pixels(explainer):
    image = native_image(0)
    found = explainer(image)
    assert list(found.maps) == ["grad_cam", "guided_grad_cam", "occlusion", "decoder/gate1/spatial_attention"]
    assert found.maps.keys() == found.concentration.keys()
    assert {values.shape for values in found.maps.values()} == {(10, 16)}
    assert (found.class_id, found.layer) == (1, "decoder/features1")
    labels = np.zeros((10, 16), np.uint8)
    labels[:4] = 1
    of_labels = explainer(image, labels).concentration["grad_cam"]
    assert of_labels.mask_share == 0.4
    assert of_labels == explain.concentration(found.maps["grad_cam"], labels == 1)


def test_an_explainer_compiles_at_the_first_image_only(explainer):
    explainer(native_image(0))
    before = gradients._grad_cam._cache_size()
    explainer(native_image(1), class_id=0)
    assert gradients._grad_cam._cache_size() == before


def test_padding_is_not_explained(monkeypatch):
    # Two logits, of which class 1's is higher in the dark: of a bright image only the padding is dark.
    model, variables = linear([[1, 0], [0, 1]])
    monkeypatch.setattr(explanations, "build_model", lambda **_: model)
    explainer = explain.Explainer(CARD, variables, layer="encoder/features1", methods=["grad_cam"])
    bright = np.full((8, 16, 1), 255, np.uint8)
    assert "no pixel is predicted" in explainer(bright, class_id=1).notes[0]
    found = explainer(bright, class_id=0)
    assert found.notes == ()
    assert found.concentration["grad_cam"].mask_share == 1
    # The region is the image's 32 pixels of 64, over 16 cells of features, of weights 1 and 0: 2 where it is bright.
    np.testing.assert_allclose(found.maps["grad_cam"][3:-3], 2, atol=1e-6)


def test_what_an_explainer_refuses(explainer):
    with pytest.raises(UserError, match="class_id 2 is unknown: classes are 0 to 1"):
        explainer(native_image(0), class_id=2)
    with pytest.raises(UserError, match="method 'lime' is unknown: choose from grad_cam"):
        explain.Explainer(CARD, tiny()[1], methods=["grad_cam", "lime"])
    volumes = dataclasses.replace(CARD, facts=dataclasses.replace(FACTS, dims=3))
    with pytest.raises(UserError, match="this model takes volumes"):
        explain.Explainer(volumes, tiny()[1])
