"""Surface metrics against MONAI and DeepMind's surface-distance, from a golden file that torch_surface.py wrote."""

import functools
import pathlib

import masks
import numpy as np
import pytest

from fetal_jax.metrics.surface import SURFACE_METRICS, SURFACE_METRICS_MM, SURFACE_METRICS_PX, surface

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "golden" / "surface.npz")
NAMES = {"px": SURFACE_METRICS_PX, "mm": SURFACE_METRICS_MM}
MAKERS = {"pairs": masks.pairs, "boxes": masks.nested_boxes}
HD, HD95, ASD, ASSD, SURFACE_DICE = range(len(SURFACE_METRICS))

pytestmark = pytest.mark.parametrize("unit", ["px", "mm"])


@functools.cache
def made(name):
    found = list(MAKERS[name]())
    pixels = np.array([[pair.prediction.sum(), pair.labels.sum()] for pair in found])
    np.testing.assert_array_equal(pixels, GOLDEN[f"{name}/pixels"])  # else the peers saw other masks
    return found


@functools.cache
def values(name):
    pairs = [(pair.prediction.astype(np.uint8), pair.labels.astype(np.uint8), pair.spacing) for pair in made(name)]
    return [surface(prediction, labels, 2, spacing_mm=spacing).values() for prediction, labels, spacing in pairs]


def ours(name, unit):
    """Rows of the five metrics."""
    return np.array([[row[metric][0] for metric in NAMES[unit]] for row in values(name)])


def is_present(name):
    """Whether the prediction and whether the reference has the structure, by pair."""
    return np.array([[pair.prediction.any(), pair.labels.any()] for pair in made(name)])


def steps(pair, unit):
    return np.array(pair.spacing) if unit == "mm" else np.ones(pair.labels.ndim)


@pytest.mark.slow
def test_all_metrics_equal_monai(unit):
    """To 1e-6 of a value, as MONAI's distances are in single precision."""
    both = is_present("pairs").all(1)
    assert (len(both), both.sum()) == (1000, 953)
    np.testing.assert_allclose(ours("pairs", unit)[both], GOLDEN[f"pairs/by_monai/{unit}"][both], rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_hd95_is_what_monai_publishes_but_for_its_rounding(unit):
    both = is_present("pairs").all(1)
    difference = ours("pairs", unit)[both, HD95] - GOLDEN[f"pairs/hd95_as_published/{unit}"][both, 0]
    assert 1e-6 < np.abs(difference).max() < 1e-4


def test_where_monai_has_no_number_there_is_our_policy(unit):
    present = is_present("pairs")
    theirs = GOLDEN[f"pairs/by_monai/{unit}"]
    counted = {}
    for pair, (in_prediction, in_labels), row, peer in zip(
        made("pairs"), present, ours("pairs", unit), theirs, strict=True
    ):
        counted[bool(in_prediction), bool(in_labels)] = counted.get((bool(in_prediction), bool(in_labels)), 0) + 1
        if in_prediction and in_labels:
            continue
        alone = in_prediction or in_labels
        np.testing.assert_array_equal(peer, [-1, -1, -1, -1, 0 if alone else -1])
        diagonal = np.linalg.norm(pair.labels.shape * steps(pair, unit))
        np.testing.assert_allclose(row, [*[diagonal] * 4, 0] if alone else [np.nan] * 5)
    assert counted == {(True, True): 953, (True, False): 19, (False, True): 14, (False, False): 14}


def test_hd_of_boxes_in_boxes_equals_deepmind(unit):
    """The farthest point is a corner, on pixels and between them."""
    np.testing.assert_allclose(ours("boxes", unit)[:, HD], GOLDEN[f"boxes/by_deepmind/{unit}"][:, HD], atol=1e-6)


def test_asd_of_boxes_equally_deep_in_boxes_equals_deepmind(unit):
    """All distances from the inner one are the same, so their weights do not matter."""
    ours_, theirs = ours("boxes", unit)[:50], GOLDEN[f"boxes/by_deepmind/{unit}"][:50]
    np.testing.assert_allclose(ours_[:, ASD], theirs[:, ASD], atol=1e-6)
    assert np.abs(ours_[:, ASSD] - theirs[:, ASSD]).max() > 0.1


def test_surface_dice_equals_deepmind_where_all_or_none_is_within_tolerance(unit):
    found, theirs = ours("boxes", unit)[:50, SURFACE_DICE], GOLDEN[f"boxes/by_deepmind/{unit}"][:50, SURFACE_DICE]
    all_or_none = (theirs == 0) | (theirs == 1)
    assert all_or_none.sum() >= 20
    np.testing.assert_array_equal(found[all_or_none], theirs[all_or_none])


def test_hd_of_blobs_is_that_of_deepmind_in_most_pairs_and_near_it_in_all(unit):
    both = is_present("pairs").all(1)
    difference = (ours("pairs", unit) - GOLDEN[f"pairs/by_deepmind/{unit}"])[both]
    pixels = np.array([np.linalg.norm(steps(pair, unit)) for pair in made("pairs")])[both]
    assert np.mean(np.abs(difference[:, HD]) < 1e-6) > 0.95
    assert (np.abs(difference[:, HD]) <= pixels).all()
    assert np.abs(difference[:, ASSD]).max() > 1  # what is weighed differs
