"""Surface metrics: by hand, by properties, for absent structures, and pooled against all points at once."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist

from fetal_jax.core.types import UserError
from fetal_jax.metrics import boundary
from fetal_jax.metrics.surface import (
    RESOLUTION,
    SURFACE_METRICS_MM,
    SURFACE_METRICS_PX,
    Pool,
    pool,
    surface,
)

MASKS = arrays(np.uint8, st.sampled_from([(6, 7), (3, 4, 5)]), elements=st.integers(0, 2))
NAN = float("nan")


def box(shape, *corners):
    """A map of 0 with boxes (first, behind the last) of class 1, 2, ..."""
    labels = np.zeros(shape, np.uint8)
    for c, (start, stop) in enumerate(corners, 1):
        labels[tuple(map(slice, start, stop))] = c
    return labels


def values(prediction, labels, num_classes=2, **options):
    return {m: v.tolist() for m, v in surface(prediction, labels, num_classes, **options).values().items()}


def only(table):
    """Of one class."""
    return {metric: value[0] for metric, value in table.items()}


def test_a_box_has_the_outline_that_is_its_outermost_ring():
    labels = box((7, 8), ((1, 2), (5, 8))) == 1  # touches the frame at its right
    expected = labels.copy()
    expected[2:4, 3:7] = False
    np.testing.assert_array_equal(boundary.boundary(labels), expected)


def test_a_pixel_that_touches_the_outside_by_its_corner_only_is_inside():
    labels = np.ones((5, 5), bool)
    labels[0, 0] = False
    found = boundary.boundary(labels)
    assert not found[1, 1]
    assert found[0, 1]
    assert found.sum() == 15


def test_a_hole_has_an_outline():
    labels = np.ones((5, 5), bool)
    labels[2, 2] = False
    assert boundary.boundary(labels).sum() == 16 + 4


def test_two_boxes_by_hand():
    """Two rows of four pixels against three.

    P is all boundary, 8 pixels; the middle two of its second row are inside R, one pixel from R's boundary. R has 10
    boundary pixels; the four of its third row are one pixel from P.
    """
    prediction, labels = box((9, 9), ((2, 2), (4, 6))), box((9, 9), ((2, 2), (5, 6)))
    found = values(prediction, labels, tolerance_px=0.5)
    assert found == {
        "hd_px": [1.0],
        "hd95_px": [1.0],
        "asd_px": [2 / 8],
        "assd_px": [pytest.approx(6 / 18)],
        "surface_dice_px": [pytest.approx(12 / 18)],
    }


def test_percentiles_are_interpolated():
    """A line of 11 pixels against its first: distances 0 to 10, of which the 95th percentile is 9.5."""
    prediction, labels = box((3, 20), ((1, 2), (2, 13))), box((3, 20), ((1, 2), (2, 3)))
    found = only(values(prediction, labels, tolerance_px=2))
    assert found["hd95_px"] == pytest.approx(9.5)
    assert found["hd_px"] == 10
    assert found["asd_px"] == pytest.approx(5)
    assert found["assd_px"] == pytest.approx(55 / 12)
    assert found["surface_dice_px"] == pytest.approx(4 / 12)


def test_the_mean_distance_is_directed_and_the_others_are_not():
    small, large = box((3, 20), ((1, 2), (2, 3))), box((3, 20), ((1, 2), (2, 13)))
    there, back = (only(values(p, r)) for p, r in ((small, large), (large, small)))
    assert (there.pop("asd_px"), back.pop("asd_px")) == (0, pytest.approx(5))
    assert there == back


@pytest.mark.parametrize("spacing", [(0.5, 0.5), (0.5, 2.0), np.float32([0.1, 0.3])])
def test_millimetres_follow_the_axes(spacing):
    """A pixel three rows down and one four columns to the right."""
    down = values(box((9, 9), ((1, 1), (2, 2))), box((9, 9), ((4, 1), (5, 2))), spacing_mm=spacing)
    right = values(box((9, 9), ((1, 1), (2, 2))), box((9, 9), ((1, 5), (2, 6))), spacing_mm=spacing)
    assert down["hd_mm"] == down["assd_mm"] == [pytest.approx(3 * spacing[0])]
    assert right["hd_mm"] == right["assd_mm"] == [pytest.approx(4 * spacing[1])]
    assert (down["hd_px"], right["hd_px"]) == ([3], [4])


def test_a_volume_has_depth():
    first, second = box((6, 6, 6), ((0, 0, 0), (1, 1, 1))), box((6, 6, 6), ((1, 2, 2), (2, 3, 3)))
    found = values(first, second, spacing_mm=(3, 1, 1))
    assert found["hd_px"] == [3]
    assert found["hd_mm"] == [pytest.approx(np.sqrt(9 + 4 + 4))]


def test_the_nearest_point_in_millimetres_may_be_another_than_in_pixels():
    prediction = box((9, 9), ((4, 4), (5, 5)))
    labels = box((9, 9), ((2, 4), (3, 5))) + box((9, 9), ((4, 7), (5, 8)))
    found = only(values(prediction, labels, spacing_mm=(2, 1)))
    assert (found["asd_px"], found["asd_mm"]) == (2, 3)


@pytest.mark.parametrize("spacing", [(0.1, 0.1), np.float32([0.1, 0.1]), np.float32([0.1, 0.7]), (0.1, 0.7)])
@pytest.mark.parametrize(("tolerance", "expected"), [(0.3, 1.0), (0.2999, 0.0)])
def test_a_distance_of_the_tolerance_is_within_it_whatever_the_rounding(spacing, tolerance, expected):
    first, second = box((9, 9), ((1, 1), (2, 2))), box((9, 9), ((4, 1), (5, 2)))
    found = values(first, second, spacing_mm=spacing, tolerance_mm=tolerance)
    assert found["surface_dice_mm"] == [expected]


@pytest.mark.parametrize("spacing", [None, (0, 0), (0.2, 0), (None, None), np.zeros(2, np.float32)])
def test_without_spacing_there_are_no_millimetres(spacing):
    labels = box((9, 9), ((1, 1), (4, 4)))
    found = surface(labels, labels, 2, spacing_mm=spacing)
    assert found.mm is None
    assert tuple(found.values()) == SURFACE_METRICS_PX
    assert tuple(surface(labels, labels, 2, spacing_mm=(1, 1)).values()) == SURFACE_METRICS_PX + SURFACE_METRICS_MM


@pytest.mark.parametrize("spacing", [(1,), (1, 1, 1), (-1, 1), (NAN, 1), (float("inf"), 1)])
def test_wrong_spacing_is_refused(spacing):
    labels = box((9, 9), ((1, 1), (4, 4)))
    with pytest.raises(UserError, match="give a positive length for each of 2 axes"):
        surface(labels, labels, 2, spacing_mm=spacing)


def test_maps_of_two_sizes_are_refused():
    with pytest.raises(UserError, match=r"prediction is \(4, 5\) and reference \(5, 4\): give maps of one size"):
        surface(np.zeros((4, 5), np.uint8), np.zeros((5, 4), np.uint8), 2)


ONE, TWO = ((0, 0), (1, 1)), ((1, 1), (3, 4))


@pytest.mark.parametrize(
    ("prediction", "labels"), [((ONE,), (ONE, TWO)), ((ONE, TWO), (ONE,))], ids=["miss", "invention"]
)
def test_a_structure_absent_from_one_side_is_a_diagonal_away(prediction, labels):
    """Class 1 is right, class 2 absent from one of them, class 3 from both."""
    maps = box((3, 4), *prediction), box((3, 4), *labels)
    found = values(*maps, 4, spacing_mm=(2, 2), tolerance_px=100, tolerance_mm=100)
    for unit in ("px", "mm"):
        assert found[f"surface_dice_{unit}"] == pytest.approx([1, 0, NAN], nan_ok=True)
    for metric in ("hd", "hd95", "asd", "assd"):
        assert found[f"{metric}_px"] == pytest.approx([0, 5, NAN], nan_ok=True)
        assert found[f"{metric}_mm"] == pytest.approx([0, 10, NAN], nan_ok=True)


def test_no_distance_is_longer_than_that_to_nothing():
    first, second = box((3, 4), ((0, 0), (1, 1))), box((3, 4), ((2, 3), (3, 4)))
    assert values(first, second)["hd_px"][0] < 5


def test_jax_arrays_are_taken():
    prediction, labels = box((9, 9), ((1, 1), (4, 4))), box((9, 9), ((1, 2), (4, 6)))
    assert values(jnp.asarray(prediction), jnp.asarray(labels)) == values(prediction, labels)


def naive(prediction, labels, spacing):
    """All distances between two boundaries, by every pair of points."""
    points = [np.argwhere(boundary.boundary(x)) * spacing for x in (prediction, labels)]
    return cdist(*points).min(1), cdist(*points).min(0)


@settings(max_examples=60, deadline=None)
@given(MASKS, st.integers(0, 2**31), st.sampled_from([(1, 1, 1), (0.3, 0.3, 0.3), (0.7, 1.1, 2.3)]), st.booleans())
def test_both_ways_of_finding_the_nearest_point_are_exact(labels, seed, spacing, crowded):
    """A tree and a distance transform, each forced upon every pair, against every pair of points."""
    prediction = np.random.default_rng(seed).permuted(labels)
    if not ((prediction == 1).any() and (labels == 1).any()):
        return
    spacing = np.array(spacing[: labels.ndim], np.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boundary, "CROWDED", -1 if crowded else np.inf)
        units = boundary.distances_between(prediction == 1, labels == 1, spacing)
    for found, step in zip(units, (np.ones(labels.ndim), spacing), strict=True):
        for one, expected in zip(found, naive(prediction == 1, labels == 1, step), strict=True):
            np.testing.assert_allclose(one, expected, rtol=1e-12)


@settings(max_examples=40, deadline=None)
@given(MASKS, st.integers(0, 2**31))
def test_metrics_are_in_order_and_symmetric_and_do_not_see_the_frame_grow(labels, seed):
    prediction = np.random.default_rng(seed).permuted(labels)
    there, back = (values(p, r, 3) for p, r in ((prediction, labels), (labels, prediction)))
    grown = values(np.pad(prediction, 2), np.pad(labels, 2), 3)
    for c in (0, 1):
        if not ((labels == c + 1).any() and (prediction == c + 1).any()):
            continue
        hd, hd95, asd, assd, dice = (there[metric][c] for metric in SURFACE_METRICS_PX)
        assert 0 <= assd <= hd
        assert 0 <= asd <= hd
        assert hd95 <= hd
        assert 0 <= dice <= 1
        assert [back[m][c] for m in SURFACE_METRICS_PX if m != "asd_px"] == pytest.approx([hd, hd95, assd, dice])
        assert [grown[m][c] for m in SURFACE_METRICS_PX] == pytest.approx([hd, hd95, asd, assd, dice])


def test_each_class_is_measured_as_if_it_were_alone():
    rng = np.random.default_rng(0)
    prediction, labels = rng.integers(0, 3, (2, 8, 9)).astype(np.uint8)
    both = values(prediction, labels, 3)
    for c in (1, 2):
        alone = values((prediction == c).astype(np.uint8), (labels == c).astype(np.uint8), 2)
        assert only(alone) == {metric: value[c - 1] for metric, value in both.items()}


def random_images(number, shape=(12, 15)):
    rng = np.random.default_rng(number)
    return [surface(*rng.integers(0, 3, (2, *shape)).astype(np.uint8), 3, spacing_mm=(0.3, 0.4)) for _ in range(number)]


def test_pooled_is_over_all_points_of_all_images():
    images = random_images(5)
    got = pool(iter(images))
    for unit, names, tolerance in (("px", SURFACE_METRICS_PX, 2), ("mm", SURFACE_METRICS_MM, 1)):
        for c in (0, 1):
            structures = [getattr(image, unit)[c] for image in images]
            there, back = (
                np.concatenate([getattr(s, f"from_{x}") for s in structures]) for x in ("prediction", "labels")
            )
            every = np.concatenate([there, back])
            hd, hd95, asd, assd, dice = (got[name][c] for name in names)
            assert hd == every.max()
            assert hd95 == pytest.approx(max(np.quantile(there, 0.95), np.quantile(back, 0.95)), abs=RESOLUTION / 2)
            assert (asd, assd) == pytest.approx((there.mean(), every.mean()))
            assert dice == np.mean(every <= tolerance + 1e-6)


def test_pooled_percentiles_are_interpolated():
    """Distances 0, 1, ..., 10 pixels, as in one image."""
    image = surface(box((3, 20), ((1, 2), (2, 13))), box((3, 20), ((1, 2), (2, 3))), 2)
    assert only(pool([image])) == pytest.approx(only(image.values()))


@pytest.mark.parametrize("missed", [True, False], ids=["miss", "invention"])
def test_pooled_an_absent_structure_adds_the_other_outline_at_the_diagonal(missed):
    """One image with a box of 4 pixels found exactly, one of 3 x 4 with a pixel on one side only, one without."""
    whole, lone, nothing = box((9, 9), ((1, 1), (3, 3))), box((3, 4), ((1, 1), (2, 2))), np.zeros((9, 9), np.uint8)
    pair = (np.zeros_like(lone), lone) if missed else (lone, np.zeros_like(lone))
    found = only(pool([surface(whole, whole, 2), surface(*pair, 2), surface(nothing, nothing, 2)]))
    assert found["hd_px"] == 5
    assert found["asd_px"] == pytest.approx(5 / 5)  # four points at 0, one at 5
    assert found["assd_px"] == pytest.approx(5 / 9)
    assert found["surface_dice_px"] == pytest.approx(8 / 9)
    assert found["hd95_px"] == pytest.approx(4.0)  # of 0, 0, 0, 0, 5


def test_pooled_a_structure_that_is_nowhere_is_undefined():
    empty = np.zeros((4, 4), np.uint8)
    assert all(np.isnan(value).all() for value in pool([surface(empty, empty, 3)] * 2).values())


def test_pooled_millimetres_are_of_the_images_that_have_them():
    labels, shifted = box((9, 9), ((1, 1), (4, 4))), box((9, 9), ((1, 4), (4, 7)))
    known, unknown = surface(labels, shifted, 2, spacing_mm=(0.5, 0.5)), surface(labels, labels, 2)
    found = only(pool([known, unknown]))
    assert found["assd_px"] == pytest.approx(known.values()["assd_px"][0] / 2)
    assert found["assd_mm"] == pytest.approx(known.values()["assd_mm"][0])
    assert "assd_mm" not in pool([unknown])


def test_a_pool_does_not_grow_with_images():
    (image,) = random_images(1)
    pooled = Pool()
    pooled.add(image)
    sizes = [outline.steps_from_labels.size for outline in pooled.px]
    for _ in range(20):
        pooled.add(image)
    assert [outline.steps_from_labels.size for outline in pooled.px] == sizes
    assert pooled.px[0].points == 21 * (image.px[0].from_labels.size + image.px[0].from_prediction.size)
    for metric, value in image.values().items():
        np.testing.assert_allclose(pooled.values()[metric], value, atol=0.02)


def test_a_pool_refuses_images_of_other_classes():
    labels = box((9, 9), ((1, 1), (4, 4)))
    pooled = Pool()
    pooled.add(surface(labels, labels, 2))
    with pytest.raises(ValueError, match="argument"):
        pooled.add(surface(labels, labels, 3))
