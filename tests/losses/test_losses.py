"""Losses against numbers worked out by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fetal_jax.core import logits as classes
from fetal_jax.core.types import UserError
from fetal_jax.losses import compose, consistency
from fetal_jax.losses.cross_entropy import cross_entropy, focal
from fetal_jax.losses.overlap import dice_loss

LN2 = math.log(2)


@pytest.fixture(autouse=True)
def _no_silent_broadcasting():
    with jax.numpy_rank_promotion("raise"):
        yield


def logit(p):
    return math.log(p / (1 - p))


def image(values):
    """Values of a row of pixels as [1 1 w]."""
    return jnp.asarray(values, jnp.float32)[None, None]


def random_case(channels, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(3, 4, 5, channels)).astype(np.float32)
    labels = rng.integers(0, max(channels, 2), (3, 4, 5)).astype(np.int32)
    return jnp.asarray(logits), jnp.asarray(labels), jnp.asarray(rng.random((3, 4, 5), np.float32))


# 2 sum(p g) / (sum(p^2) + sum(g^2)), weights inside all three sums.
@pytest.mark.parametrize(
    ("probs", "target", "weights", "expected"),
    [
        ([1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1], 0),
        ([1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1], 1),
        ([1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1], 1 - 2 / 4),
        ([0.5, 0.5, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1], 1 - 1 / 1.5),
        ([0.8, 0.4, 0.2, 0], [1, 1, 0, 0], [1, 1, 1, 1], 1 - 2.4 / 2.84),
        ([0.8, 0.4, 0.2, 0], [1, 1, 0, 0], [1, 0, 1, 1], 1 - 1.6 / 1.68),
        ([0.8, 0.4, 0.2, 0], [1, 1, 0, 0], [1, 0.5, 1, 1], 1 - 2.0 / (0.76 + 1.5)),
    ],
)
def test_dice_by_hand(probs, target, weights, expected):
    loss = dice_loss(image(probs)[..., None], image(target)[..., None], image(weights))
    np.testing.assert_allclose(loss, [expected], atol=1e-5)


# Probabilities 0.8, 0.4, 0.2, label 1, 1, 0: found 1.2, too many 0.2, missed 0.2 + 0.6.
@pytest.mark.parametrize(
    ("weights", "expected"),
    [([1, 1, 1], 1 - 1.2 / (1.2 + 0.3 * 0.2 + 0.7 * 0.8)), ([1, 0, 1], 1 - 0.8 / (0.8 + 0.3 * 0.2 + 0.7 * 0.2))],
)
def test_tversky_by_hand(weights, expected):
    logits = image([logit(p) for p in (0.8, 0.4, 0.2)])[..., None]
    loss = compose.supervised("tversky")(logits, jnp.array([[[1, 1, 0]]]), image(weights))
    np.testing.assert_allclose(loss, [expected], atol=1e-5)


# The foreground has 2 pixels and v = 1/4, the background 1 and v = 1; the sums of p + g are 1.4 + 2 and 1.6 + 1.
@pytest.mark.parametrize(
    ("labels", "class_weights", "expected"),
    [
        ([1, 1, 0], None, 1 - 2 * (1.2 / 4 + 0.8) / (3.4 / 4 + 2.6)),
        ([1, 1, 0], [1, 4], 1 - 2 * (1.2 + 0.8) / (3.4 + 2.6)),
        ([0, 0, 0], None, 1 - 2 * (1.6 / 9) / (4.6 / 9 + 1.4)),  # the foreground is absent: as if it had one pixel
    ],
)
def test_generalised_dice_by_hand(labels, class_weights, expected):
    logits = image([logit(p) for p in (0.8, 0.4, 0.2)])[..., None]
    loss = compose.supervised("generalised_dice", class_weights)(logits, jnp.array([[labels]]), jnp.ones((1, 1, 3)))
    np.testing.assert_allclose(loss, [expected], atol=1e-5)


def test_dice_is_the_mean_over_classes_and_not_over_images():
    probs = jnp.array([[[[1.0, 0.0]]], [[[0.0, 0.0]]]])  # two images of one pixel, two classes
    target = jnp.array([[[[1.0, 1.0]]], [[[1.0, 1.0]]]])
    np.testing.assert_allclose(dice_loss(probs, target, jnp.ones((2, 1, 1))), [0.5, 1.0], atol=1e-4)


@pytest.mark.parametrize(
    ("probs", "labels", "weights", "expected"),
    [
        ([0.5, 0.5], [0, 1], [1, 1], LN2),
        ([0.9, 0.2], [1, 0], [1, 1], -(math.log(0.9) + math.log(0.8)) / 2),
        ([0.9, 0.2], [1, 0], [1, 0], -math.log(0.9)),
        ([0.9, 0.2], [1, 0], [2, 1], -(2 * math.log(0.9) + math.log(0.8)) / 3),
    ],
)
def test_binary_cross_entropy_by_hand(probs, labels, weights, expected):
    logits = image([logit(p) for p in probs])[..., None]
    loss = cross_entropy(logits, image(labels).astype(jnp.int32), image(weights))
    np.testing.assert_allclose(loss, [expected], rtol=1e-5)


def test_cross_entropy_of_three_classes_by_hand():
    logits = jnp.log(jnp.array([0.7, 0.2, 0.1, 0.25, 0.25, 0.5])).reshape(1, 1, 2, 3)
    loss = cross_entropy(logits, jnp.array([[[0, 2]]]), jnp.ones((1, 1, 2)))
    np.testing.assert_allclose(loss, [-(math.log(0.7) + math.log(0.5)) / 2], rtol=1e-6)


def test_the_hybrid_objective_is_the_sum_of_its_parts():
    logits = image([logit(0.8), logit(0.4), logit(0.2)])[..., None]
    labels, weights = jnp.array([[[1, 1, 0]]]), jnp.ones((1, 1, 3))
    dice = 1 - 2.4 / 2.84
    entropy = -(math.log(0.8) + math.log(0.4) + math.log(0.8)) / 3
    np.testing.assert_allclose(compose.supervised("dice")(logits, labels, weights), [dice], atol=1e-5)
    np.testing.assert_allclose(compose.supervised("bce_dice")(logits, labels, weights), [dice + entropy], atol=1e-5)


# Two pixels that their class has 0.9 and 0.2 of: sum(v w l) / sum(v w), v the trust, w the weight of the class.
@pytest.mark.parametrize(
    ("labels", "weights", "class_weights", "expected"),
    [
        ([1, 0], [1, 1], [1, 1], -(math.log(0.9) + math.log(0.2)) / 2),
        ([1, 0], [1, 1], [1, 3], -(3 * math.log(0.9) + math.log(0.2)) / 4),
        ([1, 0], [1, 1], [0.25, 1.75], -(1.75 * math.log(0.9) + 0.25 * math.log(0.2)) / 2),
        ([1, 0], [0.5, 1], [1, 3], -(1.5 * math.log(0.9) + math.log(0.2)) / 2.5),
        ([1, 1], [1, 1], [1, 3], -(math.log(0.9) + math.log(0.2)) / 2),
        ([1, 0], [1, 1], [0, 3], -math.log(0.9)),
        ([0, 0], [1, 1], [0, 3], 0),
    ],
)
def test_weighted_cross_entropy_by_hand(labels, weights, class_weights, expected):
    probs = [p if label else 1 - p for p, label in zip((0.9, 0.2), labels, strict=True)]
    logits = image([logit(p) for p in probs])[..., None]
    case = (image(labels).astype(jnp.int32), image(weights))
    np.testing.assert_allclose(cross_entropy(logits, *case, jnp.array(class_weights, float)), [expected], rtol=1e-5)
    two = jnp.concatenate([jnp.zeros_like(logits), logits], -1)
    loss = compose.supervised("cross_entropy", class_weights)
    np.testing.assert_allclose(loss(two, *case), [expected], rtol=1e-5)


# (1 - p)^gamma times the entropy; gamma 2 if not said.
@pytest.mark.parametrize(
    ("class_weights", "gamma", "expected"),
    [
        (None, {}, -(0.01 * math.log(0.9) + 0.64 * math.log(0.2)) / 2),
        (None, {"gamma": 1.0}, -(0.1 * math.log(0.9) + 0.8 * math.log(0.2)) / 2),
        (None, {"gamma": 0.0}, -(math.log(0.9) + math.log(0.2)) / 2),
        ([1.0, 3.0], {}, -(3 * 0.01 * math.log(0.9) + 0.64 * math.log(0.2)) / 4),
        ([1.0, 3.0], {"gamma": 0.0}, -(3 * math.log(0.9) + math.log(0.2)) / 4),
    ],
)
def test_focal_loss_by_hand(class_weights, gamma, expected):
    logits = image([logit(0.9), logit(0.8)])[..., None]
    case = (logits, jnp.array([[[1, 0]]]), jnp.ones((1, 1, 2)))
    weigh = None if class_weights is None else jnp.array(class_weights)
    np.testing.assert_allclose(focal(*case, weigh, **gamma), [expected], rtol=1e-5)


def test_weighted_dice_by_hand():
    """Two foreground classes, one met wholly and one missed: Eq. 3.4 says 1 - w_1 / (w_1 + w_2)."""
    logits = jnp.array([[0.0, 40, 0], [40, 0, 0], [40, 0, 0]]).reshape(1, 1, 3, 3)
    case = (logits, jnp.array([[[1, 2, 0]]]), jnp.ones((1, 1, 3)))
    for weights, expected in [(None, 0.5), ([1, 1, 1], 0.5), ([9, 1, 3], 0.75), ([0, 1, 0], 0), ([5, 0, 2], 1)]:
        loss = compose.supervised("dice", weights)(*case)
        np.testing.assert_allclose(loss, [expected], atol=1e-4, err_msg=str(weights))


def test_dice_of_one_foreground_class_knows_no_weight():
    case = random_case(1)
    np.testing.assert_allclose(
        compose.supervised("dice", [0.1, 7])(*case), compose.supervised("dice")(*case), rtol=1e-5
    )


def test_the_thesis_hybrid_by_hand():
    logits = image([logit(0.8), logit(0.4), logit(0.2)])[..., None]
    case = (logits, jnp.array([[[1, 1, 0]]]), jnp.ones((1, 1, 3)))
    dice = 1 - 2.4 / 2.84
    entropies = [-math.log(0.8), -math.log(0.4), -math.log(0.8)]
    focused = [0.04 * entropies[0], 0.36 * entropies[1], 0.04 * entropies[2]]
    expected = 0.4 * sum(entropies) / 3 + 0.2 * sum(focused) / 3 + 0.4 * dice
    np.testing.assert_allclose(compose.supervised("weighted_hybrid")(*case), [expected], atol=1e-5)
    weighted = [sum(w * x for w, x in zip((3, 3, 1), xs, strict=True)) / 7 for xs in (entropies, focused)]
    expected = 0.4 * weighted[0] + 0.2 * weighted[1] + 0.4 * dice
    np.testing.assert_allclose(compose.supervised("weighted_hybrid", [1, 3])(*case), [expected], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(compose.OBJECTIVES))
def test_only_the_proportions_of_class_weights_count(name):
    case = random_case(3)
    plain = compose.supervised(name)(*case)
    np.testing.assert_allclose(compose.supervised(name, [2, 2, 2])(*case), plain, rtol=1e-5)
    rare = compose.supervised(name, [1, 2, 6])(*case)
    np.testing.assert_allclose(compose.supervised(name, [10, 20, 60])(*case), rare, rtol=1e-5)
    assert np.abs(rare - plain).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(compose.OBJECTIVES))
@pytest.mark.parametrize("class_weights", [(0.02, 1, 3), (0, 0, 3)])
@pytest.mark.parametrize("label", [0, 1, 2])
def test_class_weights_keep_extreme_masks_finite(name, class_weights, label):
    case = (jnp.full((2, 4, 4), label), jnp.ones((2, 4, 4)))
    loss = compose.supervised(name, class_weights)
    for level in (-40.0, 0.0, 40.0):
        logits = jnp.full((2, 4, 4, 3), level).at[..., -1].multiply(-1)
        value, gradient = jax.value_and_grad(lambda x: loss(x, *case).sum())(logits)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("bad", [[1, -1, 1], [1, math.nan, 1], [1, math.inf, 1], [1, 0, 0], []])
def test_class_weights_that_cannot_weigh_are_a_user_error(bad):
    with pytest.raises(UserError, match=r"class_weights are \["):
        compose.supervised("dice", bad)


@pytest.mark.parametrize(("channels", "n_classes"), [(1, 2), (3, 3)])
def test_another_number_of_class_weights_is_a_user_error(channels, n_classes):
    loss = compose.supervised("cross_entropy", [1.0] * 4)
    with pytest.raises(UserError, match=f"class_weights has 4 entries: give {n_classes}, one for each class"):
        loss(*random_case(channels))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(compose.OBJECTIVES))
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("label", "weight"), [(0, 1.0), (1, 1.0), (1, 0.0)], ids=["absent", "everywhere", "nothing trusted"]
)
def test_extreme_masks_have_finite_values_and_gradients(name, channels, label, weight):
    labels, weights = jnp.full((2, 4, 4), label), jnp.full((2, 4, 4), weight)
    for level in (-40.0, 0.0, 40.0):  # so sure that the probabilities are exactly 0 or 1
        logits = jnp.full((2, 4, 4, channels), level).at[..., -1].multiply(-1 if channels > 1 else 1)
        value, gradient = jax.value_and_grad(lambda x: compose.supervised(name)(x, labels, weights).sum())(logits)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(compose.OBJECTIVES))
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_of_weight_zero_are_as_if_cropped_away(name, channels):
    logits, labels, _ = random_case(channels)
    weights = jnp.zeros((3, 4, 5)).at[:, 1:3, 2:].set(1)
    loss = compose.supervised(name)
    cropped = loss(logits[:, 1:3, 2:], labels[:, 1:3, 2:], jnp.ones((3, 2, 3)))
    np.testing.assert_allclose(loss(logits, labels, weights), cropped, rtol=1e-5)
    gradient = jax.grad(lambda x: loss(x, labels, weights).sum())(logits)
    assert np.abs(gradient[weights == 0]).max() == 0
    assert np.abs(gradient[weights == 1]).min() > 0


@pytest.mark.parametrize("name", sorted(compose.OBJECTIVES))
def test_one_logit_equals_two_whose_background_is_zero(name):
    logits, labels, weights = random_case(1)
    two = jnp.concatenate([jnp.zeros_like(logits), logits], -1)
    loss = compose.supervised(name)
    np.testing.assert_allclose(loss(logits, labels, weights), loss(two, labels, weights), rtol=1e-5)
    both = [classes.with_background(classes.probabilities(x)) for x in (logits, two)]
    np.testing.assert_allclose(*both, atol=1e-6)
    np.testing.assert_allclose(*(classes.foreground(classes.probabilities(x)) for x in (logits, two)), atol=1e-6)


def test_the_foreground_of_labels_has_a_channel_a_class():
    labels = jnp.array([0, 2, 1])
    np.testing.assert_array_equal(classes.foreground_one_hot(labels, 3), [[0, 0], [0, 1], [1, 0]])
    np.testing.assert_array_equal(classes.foreground_one_hot(jnp.array([0, 1]), 1), [[0], [1]])


def test_untrusted_images_do_not_count_in_the_mean():
    weights = jnp.zeros((3, 2, 2)).at[0, 0, 0].set(0.1).at[2].set(1.0)
    assert compose.masked_mean(jnp.array([1.0, 50.0, 4.0]), weights) == 2.5
    assert compose.masked_mean(jnp.array([1.0, 50.0, 4.0]), jnp.zeros((3, 2, 2))) == 0
    gradient = jax.grad(compose.masked_mean)(jnp.array([1.0, 50.0, 4.0]), weights)
    np.testing.assert_array_equal(gradient, [0.5, 0, 0.5])


def test_an_unknown_objective_names_the_known_ones():
    with pytest.raises(UserError, match=r"'dise'.*cross_entropy, focal, dice, tversky, generalised_dice, bce_dice"):
        compose.supervised("dise")


def test_mean_squared_difference_by_hand():
    first, second = jnp.array([0.0, 1.0, 0.5, 0.5]), jnp.array([1.0, 1.0, 0.0, 0.5])
    shape = (1, 2, 2, 1)
    np.testing.assert_allclose(consistency.mse(first.reshape(shape), second.reshape(shape)), 1.25 / 4)


def test_mean_squared_difference_of_no_image_is_zero():
    none = jnp.zeros((0, 4, 4, 1))
    value, gradient = jax.value_and_grad(lambda x: consistency.mse(x, none))(none)
    assert value == 0
    assert gradient.shape == none.shape


def test_the_ramp_begins_low_and_ends_at_one():
    assert consistency.ramp_up(0) == pytest.approx(math.exp(-5))
    assert consistency.ramp_up(0.5) == pytest.approx(math.exp(-1.25))
    assert consistency.ramp_up(1) == 1
    assert consistency.ramp_up(1.5) == 1
    assert consistency.ramp_up(-1) == consistency.ramp_up(0)
