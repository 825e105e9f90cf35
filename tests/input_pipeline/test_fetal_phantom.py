"""The phantom: sizes from the charts, exact labels, real speckle statistics, and a TFDS round trip."""

import dataclasses
import subprocess
import sys

import cv2
import numpy as np
import pytest

from experiments.phantom_threshold import threshold_scores
from fetal_jax.anatomy import growth_charts as growth
from input_pipeline.builders.fetal_phantom import (
    FACTS,
    Builder,
    FetalPhantom,
    anatomy,
    physics,
    scan,
    tissue,
)
from input_pipeline.builders.fetal_phantom.builder import PhantomConfig, examples, frame_of, subject_of

TC, TT = anatomy.PLANES
CEREBELLUM, CSP, LV = (FACTS.classes.index(name) for name in ("cerebellum", "csp", "lv"))
TINY = FetalPhantom.builder_configs["tiny"]
SHARP = PhantomConfig(name="sharp", n_subjects=6, height=256, width=320, planes=(TC, TT))
SICK = dataclasses.replace(FetalPhantom.builder_configs["anomalies"], n_subjects=60)


def _head(seed: int, anomaly: str = "none") -> anatomy.Head:
    return anatomy.sample_head(np.random.default_rng(seed), anomaly)


def _fine_labels(head: anatomy.Head, plane: str, step_mm: float = 0.1) -> np.ndarray:
    """Labels on a grid in head coordinates: rows are y, columns are x."""
    x = np.arange(-head.ofd_mm / 2 - 2, head.ofd_mm / 2 + 2, step_mm)
    y = np.arange(-head.bpd_mm / 2 - 2, head.bpd_mm / 2 + 2, step_mm)
    return anatomy.labels_at(head, plane, *np.meshgrid(x, y))


# The cited equations at 20 and 36 weeks (mm), worked out apart from this code with bc.
@pytest.mark.parametrize(
    ("chart", "at_20", "at_36"),
    [
        (growth.BPD, 48.446, 91.239),
        (growth.OFD, 60.690, 111.634),
        (growth.HC, 172.480, 319.399),
        (growth.TCD, 20.468, 50.030),
        (growth.ATRIUM, 7.6, 7.6),
        (growth.CISTERNA_MAGNA, 4.478, 6.729),
    ],
)
def test_charts_give_the_published_means(chart, at_20, at_36):
    np.testing.assert_allclose([chart.sample(20, 0), chart.sample(36, 0)], [at_20, at_36], rtol=1e-4)


def test_the_charts_agree_with_each_other():
    """An ellipse of the mean BPD and OFD has the mean HC, within 1.5 %."""
    for weeks in (16, 20, 25, 30, 38):
        hc = growth.ellipse_circumference(growth.OFD.sample(weeks, 0) / 2, growth.BPD.sample(weeks, 0) / 2)
        assert hc == pytest.approx(growth.HC.sample(weeks, 0), rel=0.015)


def test_circumference_of_a_circle_and_of_a_known_ellipse():
    assert growth.ellipse_circumference(10, 10) == pytest.approx(20 * np.pi)
    assert growth.ellipse_circumference(2, 1) == pytest.approx(9.688448, rel=1e-6)  # 8 E(3/4)


def test_sizes_grow_with_gestational_age_and_scatter():
    heads = [_head(seed) for seed in range(80)]
    weeks = [head.ga_weeks for head in heads]
    for size, least in (("hc_mm", 0.97), ("tcd_mm", 0.97), ("ofd_mm", 0.97), ("cisterna_mm", 0.4)):
        assert np.corrcoef(weeks, [getattr(head, size) for head in heads])[0, 1] > least
    z = [(head.hc_mm - growth.HC.mean(head.ga_weeks)) / growth.HC.sd(head.ga_weeks) for head in heads]
    assert 0.4 < np.std(z) < 1.3
    assert abs(np.mean(z)) < 0.4


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_labels_have_the_sizes_that_the_head_states(seed):
    head = _head(seed)
    labels = _fine_labels(head, TC)
    rows, _ = np.nonzero(labels == CEREBELLUM)
    assert np.ptp(rows) / 10 + 0.1 == pytest.approx(head.tcd_mm, abs=0.25)
    behind = labels[:, : labels.shape[1] // 2]
    assert (behind == CEREBELLUM).sum() == len(rows)
    rows, _ = np.nonzero(labels == CSP)
    assert np.ptp(rows) / 10 + 0.1 == pytest.approx(head.csp_mm, abs=0.25)
    assert (np.ptp(np.nonzero(labels)[0]) + 1) / 10 == pytest.approx(head.bpd_mm, abs=0.25)
    assert (np.ptp(np.nonzero(labels)[1]) + 1) / 10 == pytest.approx(head.ofd_mm, abs=0.25)


@pytest.mark.parametrize(("seed", "anomaly"), [(0, "none"), (1, "none"), (2, "ventriculomegaly")])
def test_the_atrium_is_as_wide_as_stated_and_there_are_two(seed, anomaly):
    head = _head(seed, anomaly)
    count, parts = cv2.connectedComponents((_fine_labels(head, TT) == LV).astype(np.uint8))
    assert count - 1 == 2
    contours, _ = cv2.findContours((parts == 1).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    _, axes, _ = cv2.fitEllipse(max(contours, key=len))
    assert min(axes) / 10 == pytest.approx(head.lv_mm, rel=0.03)
    assert (head.lv_mm >= growth.VENTRICULOMEGALY_MM) == (anomaly == "ventriculomegaly")


def test_the_cerebellum_has_two_lobes():
    """Its length along the midline is shorter at the vermis than at the middle of either hemisphere."""
    for seed in range(5):
        head = _head(seed)
        lengths = (_fine_labels(head, TC) == CEREBELLUM).sum(1)
        middle = len(lengths) // 2
        offset = int(10 * 0.23 * head.tcd_mm)
        assert lengths[middle] < 0.85 * min(lengths[middle - offset], lengths[middle + offset])


@pytest.mark.slow
@pytest.mark.parametrize("plane", [TC, TT])
def test_structures_lie_inside_the_brain(plane):
    for seed in range(12):
        for anomaly in ("none", "ventriculomegaly"):
            labels = _fine_labels(_head(seed, anomaly), plane, 0.25)
            structures = np.isin(labels, (CSP, LV, CEREBELLUM)).astype(np.uint8)
            touched = labels[cv2.dilate(structures, np.ones((3, 3))) == 1]
            assert not np.isin(touched, (0, 1)).any()


@pytest.mark.slow
@pytest.mark.parametrize("subject", range(4))
def test_circumference_of_the_label_is_the_stated_one(subject):
    """The skull's outer outline, fitted in pixels and scaled by the spacing, gives hc_mm within 1 %."""
    for config in (SHARP, TINY):
        frame = frame_of(config, subject, TC, 0)
        head = (frame["labels"] > 0).astype(np.uint8)
        assert not head[[0, -1]].any(), "the whole head is in the image"
        assert not head[:, [0, -1]].any()
        contour = max(cv2.findContours(head, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], key=len)
        axes = np.array(cv2.fitEllipse(contour)[1]) + 1  # the outline runs through the middles of pixels
        hc = growth.ellipse_circumference(*(axes / 2 * frame["spacing_mm"][0]))
        assert hc == pytest.approx(frame["hc_mm"], rel=0.01)


def test_frames_of_a_subject_are_other_views_of_one_anatomy():
    frames = [frame_of(SHARP, 0, TC, k) for k in range(3)]
    areas = [(f["labels"] == CEREBELLUM).sum() * f["spacing_mm"].prod() for f in frames]
    np.testing.assert_allclose(areas, areas[0], rtol=0.03)
    assert len({f["spacing_mm"].tobytes() for f in frames}) == 3
    for key in ("hc_mm", "tcd_mm", "lv_mm", "csp_mm", "ga_weeks", "machine", "subject", "anomaly"):
        assert len({f[key] for f in frames}) == 1
    for other in frames[1:]:
        correlation = np.corrcoef(frames[0]["image"].ravel(), other["image"].ravel())[0, 1]
        assert correlation < 0.9


@pytest.mark.slow
def test_an_image_depends_on_seed_subject_plane_and_frame_only():
    alone = frame_of(TINY, 3, TC, 1)
    in_turn = next(f for f in examples(TINY) if f["name"] == alone["name"])
    for key in ("image", "labels", "spacing_mm"):
        assert alone[key].tobytes() == in_turn[key].tobytes()
    others = [
        frame_of(TINY, 3, TC, 2),
        frame_of(TINY, 4, TC, 1),
        frame_of(TINY, 3, TT, 1),
        frame_of(dataclasses.replace(TINY, seed=5), 3, TC, 1),
    ]
    assert all((alone["image"] != other["image"]).mean() > 0.3 for other in others)


def test_poses_vary_within_their_limits():
    head = _head(0)
    views = [scan.sample_view(head, 256, 320, np.random.default_rng(k)) for k in range(80)]
    degrees = np.rad2deg([view.rotation for view in views])
    assert np.abs(degrees).max() <= scan.MAX_ROTATION_DEG
    assert np.abs(degrees).max() > 20
    assert {view.flip for view in views} == {-1, 1}
    u, v = views[0].to_head(*views[0].centre_mm)
    assert (u, v) == (0, 0)


def test_anomalies_are_planted_where_they_say_and_nowhere_else():
    heads = [subject_of(SICK, subject)[0] for subject in range(SICK.n_subjects)]
    assert {head.anomaly for head in heads} == {"none", *anatomy.ANOMALIES}
    for head in heads:
        z = (head.tcd_mm - growth.TCD.mean(head.ga_weeks)) / growth.TCD.sd(head.ga_weeks)
        assert (z < -3) == (head.anomaly == "small_cerebellum")
        assert (head.csp_mm == 0) == (head.anomaly == "absent_csp")
        assert (head.lv_mm >= growth.VENTRICULOMEGALY_MM) == (head.anomaly == "ventriculomegaly")
    absent = next(s for s, head in enumerate(heads) if head.anomaly == "absent_csp")
    assert not (frame_of(SICK, absent, TT, 0)["labels"] == CSP).any()
    assert all(subject_of(TINY, subject)[0].anomaly == "none" for subject in range(TINY.n_subjects))


@pytest.mark.parametrize(("density", "mean_over_sd"), [(1.0, 1.913), (0.02, None)])
def test_speckle_is_rayleigh_only_where_scatterers_are_many(density, mean_over_sd):
    """Rayleigh: mean / SD = sqrt(pi / (4 - pi)) = 1.913. Few scatterers a cell make the speckle rougher."""
    shape = (physics.DEPTHS, physics.BEAMS)
    medium = physics.Medium(np.ones(shape), np.full(shape, density), np.zeros(shape), np.zeros(shape))
    signal = physics.scatterers(medium, np.random.default_rng(0)).astype(np.float32)
    signal = physics.point_spread(signal, physics.MACHINES[0], 0.3, 60.0, 0.006)
    size = np.hypot(signal[..., 0], signal[..., 1])[100:220]
    assert np.square(size).mean() == pytest.approx(2, rel=0.1)  # two components of unit variance
    ratio = size.mean() / size.std()
    assert ratio == pytest.approx(mean_over_sd, rel=0.04) if mean_over_sd else ratio < 1.75


def test_the_beam_is_narrowest_at_its_focus():
    impulse = np.zeros((physics.DEPTHS, physics.BEAMS, 2), np.float32)
    rows = (60, 180, 300)
    impulse[rows, physics.BEAMS // 2] = 1
    image = physics.point_spread(impulse, physics.MACHINES[0], 0.4, 180 * 0.4, 0.006)[..., 0]
    near, focus, far = (0.4 * row + physics.MACHINES[0].probe_radius_mm for row in rows)
    beams = np.arange(physics.BEAMS) - physics.BEAMS // 2
    widths = [np.sqrt((image[row] * beams**2).sum() / image[row].sum()) for row in rows]
    assert widths[1] * focus < min(widths[0] * near, widths[2] * far)


def test_attenuation_is_twice_the_path_times_the_frequency():
    shape = (physics.DEPTHS, 2)
    zeros = np.zeros(shape)
    loss = physics.two_way_loss_db(physics.Medium(zeros, zeros, zeros, np.full(shape, 0.5)), 1.0, 4.0)
    assert loss[100, 0] == pytest.approx(2 * 0.5 * 4.0 * 10.0)  # 100 mm deep


def test_the_skull_is_bright_where_it_faces_the_beam_and_black_lies_outside_the_fan():
    facing, aside = [], []
    for subject in range(SHARP.n_subjects):
        frame = frame_of(SHARP, subject, TC, 0)
        skull = frame["labels"] == FACTS.classes.index("skull")
        _, columns = np.nonzero(frame["labels"])
        middle, half = (columns.min() + columns.max()) / 2, np.ptp(columns) / 2
        sideways = np.abs(np.arange(skull.shape[1]) - middle)[None] / half
        facing.append(frame["image"][skull & (sideways < 0.3)].mean())
        aside.append(frame["image"][skull & (sideways > 0.95)].mean())
        assert (frame["image"] == 0).mean() > 0.01
    assert np.mean(facing) > 2.5 * np.mean(aside)


def test_machines_differ():
    assert len({subject_of(SHARP, s)[1].name for s in range(30)}) == len(physics.MACHINES) >= 3
    looks = {}
    for machine in physics.MACHINES:
        head = _head(7)
        raster = tissue.head_raster(head, TC, np.random.default_rng(0))
        rng = np.random.default_rng(0)
        view = scan.sample_view(head, 96, 128, rng)
        looks[machine.name] = scan.picture(head, raster, view, machine, 96, 128, rng)
    means = sorted(image.mean() for image in looks.values())
    assert means[-1] > 1.2 * means[0]


@pytest.mark.slow
def test_a_threshold_does_not_find_the_cerebellum():
    frames = [frame_of(SHARP, subject, TC, frame) for subject in range(5) for frame in range(2)]
    scores = threshold_scores(frames, FACTS.classes)
    assert scores["cerebellum"] < 0.25
    assert scores["mean"] < 0.5


def test_facts_agree_with_the_labels():
    assert FACTS.classes == anatomy.CLASSES
    assert len(FACTS.colours) == len(FACTS.classes) == len(set(FACTS.colours))
    expected = {TC: {0, 1, 2, CSP, CEREBELLUM}, TT: {0, 1, 2, CSP, LV}}
    for plane, ids in expected.items():
        assert set(np.unique(frame_of(SHARP, 1, plane, 0)["labels"])) == ids


def test_configs():
    configs = Builder.builder_configs
    assert list(configs) == ["trans_cerebellum", "trans_thalamic", "both", "anomalies", "tiny", "infant", "infant_tiny"]
    assert (TINY.n_subjects, TINY.frames_per_subject, TINY.height, TINY.width) == (8, 3, 96, 128)


ROUND_TRIP = """
import sys
from input_pipeline import builders
builder = builders.builder("fetal_phantom/tiny", sys.argv[1])
builder.download_and_prepare()
source = builder.as_data_source(split="images")
assert len(source) == builder.info.splits["images"].num_examples == 24
from input_pipeline.builders.fetal_phantom.builder import frame_of
names = sorted(stored["name"].decode() for stored in source)
assert names == [f"S{subject:03d}_TC_{frame}" for subject in range(8) for frame in range(3)]
for stored in list(source)[:4]:
    _, subject, frame = "S".join(stored["name"].decode().split("_TC_")).split("S")
    example = frame_of(builder.builder_config, int(subject), "trans_cerebellum", int(frame))
    assert (stored["image"][..., 0] == example["image"]).all()
    assert (stored["labels"][..., 0] == example["labels"]).all()
    assert (stored["spacing_mm"] == example["spacing_mm"]).all() and stored["labelled"]
    for key in ("subject", "plane", "machine", "anomaly"):
        assert stored[key].decode() == example[key]
    for key in ("ga_weeks", "hc_mm", "tcd_mm", "lv_mm", "csp_mm"):
        assert stored[key] == example[key]
assert "tensorflow" not in sys.modules
"""


@pytest.mark.slow
def test_round_trip_through_tfds_without_tensorflow(tmp_path):
    command = [sys.executable, "-c", ROUND_TRIP, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
