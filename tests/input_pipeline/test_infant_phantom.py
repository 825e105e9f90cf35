"""The infant phantom: growth and contrast by age, exact labels, what the scanner adds, and a TFDS round trip."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.cluster.vq import kmeans2

from input_pipeline import builders
from input_pipeline.builders.fetal_phantom import FetalPhantom, infant_physics
from input_pipeline.builders.fetal_phantom import infant_anatomy as anatomy
from input_pipeline.builders.fetal_phantom.infant import (
    AGES_MONTHS,
    FACTS,
    InfantConfig,
    cerebellum_of,
    mean_signal,
    sample_pose,
    tissues_of,
    volume_of,
    voxel_centres,
)
from input_pipeline.dataset import Dataset

CSF, GM, WM = (FACTS.classes.index(name) for name in ("csf", "gm", "wm"))
FULL, TINY = (FetalPhantom.builder_configs[name] for name in ("infant", "infant_tiny"))


@pytest.fixture(scope="module")
def tiny() -> list[dict]:
    return list(TINY.examples())


def _by_age(examples: list[dict], measure) -> np.ndarray:
    """Means [ages ...] of a measure of the examples of each age, the oldest first."""
    groups = [[measure(e) for e in examples if e["age_months"] == age] for age in AGES_MONTHS]
    return np.array([np.mean(group, axis=0) for group in groups])


def contrast_to_noise(example: dict) -> np.ndarray:
    """|mean of white - mean of grey matter| / SD of the noise, by modality.

    The noise is that of differences between neighbours deep in white matter, which show no structure.
    """
    image, labels = example["image"].astype(float), example["labels"]
    deep = ndimage.binary_erosion(labels == WM)
    noise = np.diff(image, axis=0)[deep[1:] & deep[:-1]].std(axis=0) / np.sqrt(2)
    return np.abs(image[labels == WM].mean(0) - image[labels == GM].mean(0)) / noise


def threshold_dice(example: dict) -> list[float]:
    """Dice of CSF, grey and white matter of k-means of three in both modalities inside the labels.

    Clusters get the classes that fit best on the whole, which a real method could not know.
    """
    inside = example["labels"] > 0
    truth, values = example["labels"][inside], example["image"][inside].astype(float)
    _, cluster = kmeans2(values / values.std(axis=0), 3, seed=0, minit="++")
    scores = []
    for order in itertools.permutations((CSF, GM, WM)):
        guess = np.array(order)[cluster]
        hits = [((guess == c) & (truth == c)).sum() for c in (CSF, GM, WM)]
        sizes = [(guess == c).sum() + (truth == c).sum() for c in (CSF, GM, WM)]
        scores.append([2 * hit / size for hit, size in zip(hits, sizes, strict=True)])
    return max(scores, key=np.mean)


def test_the_cerebellum_grows_as_described():
    """+240 % from 2 weeks to 1 year, +15 % from 1 to 2 years."""
    fortnight, year, two_years = (anatomy.mean_volume_ml(months) for months in (14 / 30.44, 12, 24))
    assert year / fortnight == pytest.approx(3.40, abs=0.01)
    assert two_years / year == pytest.approx(1.15, abs=0.001)
    assert year == pytest.approx(88, rel=0.001)


@pytest.mark.slow
def test_volume_in_the_labels_grows_with_age_and_is_the_stated_one(tiny):
    def millilitres(example):
        return np.isin(example["labels"], (GM, WM)).sum() * example["spacing_mm"].prod() / 1000

    measured, stated = _by_age(tiny, millilitres), _by_age(tiny, lambda e: e["cerebellum_ml"])
    np.testing.assert_allclose(measured, stated, rtol=0.02)
    assert measured[-1] < measured[:-1].min()
    means = [anatomy.mean_volume_ml(age) for age in AGES_MONTHS]
    assert means == sorted(means, reverse=True)
    assert all(abs(e["cerebellum_ml"] / anatomy.mean_volume_ml(float(e["age_months"])) - 1) <= 0.101 for e in tiny)


@pytest.mark.slow
def test_mean_volume_of_several_subjects_grows_at_every_step():
    volumes = [[cerebellum_of(FULL, age, subject).volume_ml for subject in range(5)] for age in (24, 12, 6)]
    assert np.all(np.diff(np.mean(volumes, axis=1)) < -8)
    assert np.std(volumes, axis=1).min() > 1.5, "subjects of an age differ"


def test_contrast_has_the_documented_values_and_order():
    assert infant_physics.contrast(5.0)[0] == infant_physics.contrast(8.0)[1] == 0
    np.testing.assert_allclose(infant_physics.contrast(24), (31.25, -26.10), atol=0.01)  # 34 tanh(19/12), -30 tanh(4/3)
    t1, t2 = infant_physics.signals(24).T
    assert t1[WM] > t1[GM] > t1[CSF]
    assert t2[CSF] > t2[GM] > t2[WM]
    t1, t2 = infant_physics.signals(6).T
    assert abs(t1[WM] - t1[GM]) < infant_physics.NOISE
    assert t2[CSF] > t2[WM] > t2[GM], "the order in T2w has turned round"


@pytest.mark.slow
def test_contrast_to_noise_falls_towards_six_months_in_both_modalities(tiny):
    found = _by_age(tiny, contrast_to_noise)
    assert found.shape == (4, 2)
    assert np.all(np.diff(found, axis=0) < 0), found
    assert np.all(found[-1] < 0.45 * found[0])


@pytest.mark.slow
def test_the_order_of_white_and_grey_turns_round_where_partial_volume_does_not_hide_it():
    def white_over_grey(example):
        deep = [ndimage.binary_erosion(example["labels"] == tissue) for tissue in (WM, GM)]
        white, grey = (example["image"][part].mean(axis=0) for part in deep)
        return white / grey

    t1_old, t2_old = white_over_grey(volume_of(FULL, 24, 0))
    t1_young, t2_young = white_over_grey(volume_of(FULL, 6, 0))
    assert t1_old > 1.4
    assert t2_old < 0.75
    assert 0.95 < t1_young < 1.15
    assert 1 < t2_young < 1.2


def test_csf_is_darkest_in_t1w_and_brightest_in_t2w(tiny):
    for example in tiny:
        means = [example["image"][example["labels"] == tissue].mean(0) for tissue in (CSF, GM, WM)]
        t1, t2 = np.transpose(means)
        assert t1[0] < 0.7 * min(t1[1:])
        assert t2[0] > 1.1 * max(t2[1:])


def test_a_threshold_fails_where_the_contrast_is_gone(tiny):
    csf, gm, wm = _by_age(tiny, threshold_dice).T
    assert gm[0] > gm[-1] + 0.25
    assert wm[0] > wm[-1] + 0.2
    assert csf[-1] > max(gm[-1], wm[-1]), "CSF can still be told"


def test_every_volume_shows_all_tissues_away_from_its_border(tiny):
    for example in tiny:
        labels = example["labels"]
        assert set(np.unique(labels)) == {0, CSF, GM, WM}
        assert np.array_equal(np.pad(labels[1:-1, 1:-1, 1:-1], 1), labels)
        assert (example["image"][labels == 0] == 0).mean() > 0.8, "the head around the cerebellum is cut away"
        assert example["image"][labels > 0].all()


def test_full_size_volumes_hold_the_cerebellum_and_its_folia():
    centres = voxel_centres(FULL)
    for subject in range(3):
        cerebellum = cerebellum_of(FULL, 24, subject)
        pose = sample_pose(np.random.default_rng(subject))
        for axis, side in itertools.product(range(3), (0, -1)):
            face = [points.take(side, axis) for points in centres]
            assert not anatomy.classes_of(tissues_of(cerebellum, pose, face)).any()
    left, front, up = (points[80:82, 8:-8, 8:-8] for points in centres)
    tissues = tissues_of(cerebellum, pose, [left, front, up])
    around = ndimage.grey_erosion(tissues, (1, 3, 3)) != ndimage.grey_dilation(tissues, (1, 3, 3))
    brain = np.isin(tissues, (GM, WM))
    assert around[brain].mean() > 0.7, "thin structures: most brain voxels of a middle slice touch another tissue"


def test_labels_are_the_tissue_at_voxel_centres(tiny):
    """Worked out anew for a few voxels, from the pose and the documented axes."""
    example = next(e for e in tiny if e["name"] == "I12_S001")
    pose = sample_pose(np.random.default_rng((TINY.seed, 12, 1, 1)))
    cerebellum = cerebellum_of(TINY, 12, 1)
    voxels = np.random.default_rng(0).integers(0, TINY.shape, (300, 3))
    for slice_, row, column in voxels:
        left, up, front = (slice_ - 23.5) * 2.4, -(row - 15.5) * 2.4, -(column - 15.5) * 2.4
        x, y, z = pose.rotation @ np.array([left, front, up], np.float32) + pose.shift_mm
        tissue = anatomy.tissues_at(cerebellum, *(np.full(1, p, np.float32) for p in (x, y, z)))
        assert anatomy.classes_of(tissue)[0] == example["labels"][slice_, row, column]


def test_partial_volumes_are_shares_and_weigh_what_the_cerebellum_weighs():
    cerebellum = cerebellum_of(TINY, 24, 0)
    pose = sample_pose(np.random.default_rng(0))
    points = [axis.ravel() for axis in voxel_centres(TINY)]
    shares = mean_signal(cerebellum, pose, points, TINY.spacing_mm, np.eye(anatomy.TISSUES, dtype=np.float32))
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-5)
    assert set(np.unique(np.round(8 * shares, 3))) == set(range(9))
    volume = shares[:, [GM, WM]].sum() * TINY.spacing_mm**3 / 1000
    assert volume == pytest.approx(cerebellum.volume_ml, rel=0.01)
    mixed = (shares.max(1) < 1)[shares[:, GM] > 0]
    assert mixed.mean() > 0.8, "the cortex is thinner than a voxel of 2.4 mm"


@pytest.mark.slow
def test_a_volume_depends_on_seed_age_and_subject_only(tiny):
    alone = volume_of(TINY, 12, 1)
    in_turn = next(e for e in tiny if e["name"] == alone["name"])
    assert alone["image"].tobytes() == in_turn["image"].tobytes()
    assert alone["labels"].tobytes() == in_turn["labels"].tobytes()
    others = [volume_of(TINY, 12, 0), volume_of(TINY, 18, 1), volume_of(dataclasses.replace(TINY, seed=3), 12, 1)]
    for other in others:
        brain = (alone["labels"] > 0) | (other["labels"] > 0)
        assert (alone["labels"] != other["labels"])[brain].mean() > 0.2


def test_examples_are_named_by_age_and_subject(tiny):
    names = [f"I{age:02d}_S{subject:03d}" for age in (24, 18, 12, 6) for subject in range(2)]
    assert [e["name"] for e in tiny] == [e["subject"] for e in tiny] == names
    assert [e["group"] for e in tiny] == [f"{age}m" for age in (24, 18, 12, 6) for _ in range(2)]
    assert {e["modalities"] for e in tiny} == {"T1w,T2w"}
    assert all(e["labelled"] and e["image"].dtype == np.uint16 for e in tiny)


@given(st.integers(0, 2**32), st.floats(1.0, 60.0))
@settings(max_examples=15, deadline=None)
def test_depth_of_a_sphere_is_the_distance_to_its_surface(seed, distance):
    """Quilez' bound is exact for a sphere, q (1 - q) / (q / r) = r - r q, away from its centre."""
    heading = np.random.default_rng(seed).standard_normal(3)
    heading /= np.linalg.norm(heading)
    point = (np.array([1.0, 2, 3]) + distance * heading).astype(np.float32)
    depth = anatomy.Ellipsoid(1, 2, 3, 20, 20, 20).depth(*point[:, None])
    assert depth[0] == pytest.approx(20 - distance, abs=1e-2)


def test_distance_to_a_fissure_by_hand():
    """One sheet at angle 0, half way to the axis, 2 wide; the hull is a circle of radius 10 around the axis."""
    fissures = anatomy.Fissures(np.array([0.0, 3.0], np.float32), np.array([0.5, 0.5], np.float32), 2.0)
    angle = np.array([0.0, np.pi / 6, 0.0, 0.0])
    radius = np.array([10.0, 10.0, 7.5, 3.0])
    found = fissures.distance(angle, radius, 10 - radius)
    # At the surface: 1 to the wall; aside by 10 sin 30 = 5; half-way down 0.7 of the width; 2 beyond the bottom.
    np.testing.assert_allclose(found, [-1.0, 4.0, -0.7, 2 - 0.2], atol=1e-6)


def test_noise_is_rician():
    """Mean sigma sqrt(pi / 2) where there is no signal, SD sigma where there is much."""
    shape = (24, 40, 40)
    kept = np.ones(shape, bool)
    kept[0] = False
    empty = infant_physics.acquire(np.zeros((*shape, 2), np.float32), kept, np.random.default_rng(0))
    assert not empty[0].any()
    assert empty[1:].mean() == pytest.approx(infant_physics.NOISE * np.sqrt(np.pi / 2), rel=0.01)
    bright = infant_physics.acquire(np.full((*shape, 2), 100, np.float32), kept, np.random.default_rng(0))
    differences = np.diff(bright[1:], axis=1)  # the bias field hardly differs between neighbours
    assert differences.std() / np.sqrt(2) == pytest.approx(infant_physics.NOISE, rel=0.03)


def test_bias_is_smooth_and_each_modality_has_its_own():
    shape = (24, 32, 32)
    fields = np.stack([infant_physics.smooth_field(shape, np.random.default_rng(k)) for k in range(40)])
    assert fields.std() == pytest.approx(1, abs=0.15)
    np.testing.assert_allclose(fields.mean((1, 2, 3)), 0, atol=1e-5)
    steepest = [np.abs(np.diff(field, axis=1)).max() / np.ptp(field) for field in fields]
    assert max(steepest) < 0.15, "the steepest wave falls by its height over half of the 32 rows"
    kept = np.ones(shape, bool)
    flat = np.full((*shape, 2), 1000, np.float32)
    image = np.log(infant_physics.acquire(flat, kept, np.random.default_rng(1)) / 1000)
    assert infant_physics.BIAS / 2 < image.std() < infant_physics.BIAS * 2
    assert abs(np.corrcoef(image[..., 0].ravel(), image[..., 1].ravel())[0, 1]) < 0.9


def test_intensities_use_the_range_of_uint16(tiny):
    for example in tiny:
        inside = example["image"][example["image"].any(-1)]
        np.testing.assert_allclose(np.percentile(inside, 99.5, axis=0), infant_physics.FULL_SCALE, rtol=1e-3)


def test_facts_and_configs():
    for name in ("fetal_phantom/infant", "fetal_phantom/infant_tiny"):
        facts = builders.facts(name)
        assert (facts.dims, facts.channels) == (3, 2)
        assert facts.classes == ("background", "csf", "gm", "wm")
        assert facts.colours[1:] == ((255, 0, 0), (0, 255, 0), (0, 0, 255))
    assert builders.facts("fetal_phantom").dims == 2
    assert (FULL.spacing_mm, FULL.subjects_per_age, FULL.ages_months) == (0.8, 25, (24, 18, 12, 6))
    assert InfantConfig(name="mine").shape == FULL.shape


@pytest.mark.slow
def test_round_trip_through_a_dataset(tmp_path, tiny):
    dataset = Dataset("fetal_phantom/infant_tiny", tmp_path, ("wm",))
    assert sorted(dataset.names) == sorted(e["name"] for e in tiny)
    assert dict(zip(dataset.index.names, dataset.index.groups, strict=True))["I06_S001"] == "6m"
    assert dataset.facts.colours == ((0, 0, 0), (0, 0, 255))
    for example in tiny:
        record = dataset[example["name"]]
        assert record.image.tobytes() == example["image"].tobytes()
        assert record.image.shape == (*TINY.shape, 2)
        assert np.array_equal(record.labels, example["labels"] == WM)
        assert record.labelled
        assert record.subject == example["subject"]
        np.testing.assert_array_equal(record.spacing_mm, np.full(3, 2.4, np.float32))
