"""Brain volumes: three layouts give the right voxels in one orientation; a wrong file is named and nothing prepared."""

import gzip
import json
import shutil

import nibabel
import numpy as np
import pytest

from fetal_jax.core.types import UserError
from input_pipeline import builders
from input_pipeline.builders.infant_mri import FACTS, dummy
from input_pipeline.builders.infant_mri.folders import ATLAS_CLASSES, TISSUES
from input_pipeline.builders.infant_mri.scan import age_by_name
from input_pipeline.builders.infant_mri.source import read_source
from input_pipeline.builders.infant_mri.volumes import to_class_ids
from input_pipeline.dataset import Dataset, prepare
from input_pipeline.formats.volume import read_volume, to_16_bits

LAYOUTS = {"ages": dummy.age_folders, "bids": dummy.bids, "atlas": dummy.atlas}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """The three folders, and the class ids of each by name."""
    root = tmp_path_factory.mktemp("infant_mri")
    return {layout: (root / layout, make(root / layout)) for layout, make in LAYOUTS.items()}


@pytest.fixture
def copy(pristine, tmp_path):
    return lambda layout: shutil.copytree(pristine[layout][0], tmp_path / layout)


def ages_of(reading):
    return {item.scan.name: (item.scan.subject, item.scan.age.value, item.scan.age.group) for item in reading.items}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_voxels_that_were_written(layout, pristine, tmp_path):
    folder, truth = pristine[layout]
    prepare("infant_mri", tmp_path, str(folder))
    dataset = Dataset("infant_mri", tmp_path)
    assert set(dataset.names) == set(truth)
    for record in dataset.records(dataset.names):
        labels, channels = truth[record.name], 1 if layout == "atlas" else 2
        expected = {"bids": np.array([0, 1, 2, 3])}.get(layout, np.arange(9))[labels]
        np.testing.assert_array_equal(record.labels, expected)
        assert record.image.shape == (*dummy.SHAPE, channels)
        assert record.image.dtype == np.uint16
        np.testing.assert_allclose(record.spacing_mm, dummy.SPACING_MM, rtol=1e-6)
        for channel, modality in enumerate(("T2w",) if channels == 1 else ("T1w", "T2w")):
            means = [record.image[..., channel][labels == i].mean() for i in (1, 2, 3) if (labels == i).any()]
            assert (np.argsort(means) == np.argsort(dummy.CONTRAST[modality][1 : len(means) + 1])).all()
    assert dataset.facts.dims == 3
    assert dataset.facts.channels == channels


def test_what_the_age_folders_say(pristine, tmp_path):
    folder, _ = pristine["ages"]
    prepare("infant_mri", tmp_path, str(folder))
    dataset = Dataset("infant_mri", tmp_path)
    assert dict(zip(dataset.names, dataset.index.groups, strict=True)) == {
        "24m_S001": "24m",
        "24m_S002": "24m",
        "18m_S001": "18m",
        "6m_S003": "6m",
    }
    assert dataset.subjects["24m_S001"] == dataset.subjects["18m_S001"] == "S001"
    assert [name for name in dataset.names if not dataset.labelled[name]] == ["6m_S003"]
    assert dataset.facts.classes == ("background", "csf", "gm", "wm")
    assert dataset.facts.colours[1:] == ((255, 0, 0), (0, 255, 0), (0, 0, 255))
    assert dataset.facts.subject_rule == "the folder in the folder of the age"
    examples = builders.builder("infant_mri", str(tmp_path)).as_data_source(split="images")
    by_name = {example["name"].decode(): example for example in examples}
    assert by_name["18m_S001"]["age"] == 18
    assert by_name["18m_S001"]["age_unit"] == b"months"
    assert by_name["18m_S001"]["modalities"] == b"T1w,T2w"
    axes = by_name["24m_S001"]["affine"][:3, :3].T  # where each array axis leads to in mm: right, front, up
    np.testing.assert_allclose(axes, [(-1.5, 0, 0), (0, 0, -1), (0, -0.8, 0)], atol=1e-6)  # left, down, back


def test_bids_sessions_of_one_subject_stay_together_and_values_get_ids_by_the_table(pristine):
    reading = read_source(pristine["bids"][0], FACTS)
    assert ages_of(reading) == {
        "sub-01_ses-12mo": ("sub-01", 12.0, "12m"),
        "sub-01_ses-24mo": ("sub-01", 24.0, "24m"),
        "sub-02_ses-A": ("sub-02", pytest.approx(17.8), "18m"),
    }
    assert reading.facts.classes == ("background", "csf", "gm", "wm")
    assert reading.facts.colours == ((0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255))


def test_the_atlas_has_two_subjects_of_one_age(pristine):
    reading = read_source(pristine["atlas"][0], FACTS)
    assert ages_of(reading) == {
        "fetal_SB_atlas_GA24_notoperated": ("GA24_notoperated", 24.0, "GA24"),
        "fetal_SB_atlas_GA25_notoperated": ("GA25_notoperated", 25.0, "GA25"),
        "fetal_SB_atlas_GA25_operated": ("GA25_operated", 25.0, "GA25"),
    }
    assert {item.scan.age.unit for item in reading.items} == {"weeks"}
    assert reading.facts.classes == ATLAS_CLASSES.names
    assert len(set(reading.facts.colours)) == 9
    assert (reading.facts.channels, reading.facts.licence) == (1, "CC0 1.0")


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["t1w", "t2w"])
def test_one_modality_can_be_asked_for(modality, pristine, tmp_path):
    name = f"infant_mri:modality={modality}"
    prepare(name, tmp_path, str(pristine["ages"][0]))
    prepare("infant_mri", tmp_path, str(pristine["ages"][0]))
    one, both = Dataset(name, tmp_path), Dataset("infant_mri", tmp_path)
    assert (one.facts.channels, both.facts.channels) == (1, 2)
    channel = ("t1w", "t2w").index(modality)
    image = one["24m_S002"].image
    np.testing.assert_array_equal(image, both["24m_S002"].image[..., [channel]])


def test_prepared_volumes_are_opened_without_their_source(copy, tmp_path):
    folder = copy("ages")
    prepare("infant_mri", tmp_path / "data", str(folder))
    before = Dataset("infant_mri", tmp_path / "data")["24m_S001"]
    shutil.rmtree(folder)
    after = Dataset("infant_mri", tmp_path / "data")["24m_S001"]
    np.testing.assert_array_equal(before.image, after.image)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "SLA", "AIL"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_volume_is_turned_upright_however_it_is_stored(axes, suffix, tmp_path):
    voxels = np.random.default_rng(0).integers(0, 1000, (4, 5, 6)).astype(np.int16)
    dummy.write_volume(tmp_path / f"a{suffix}", voxels, axes)
    dummy.write_volume(tmp_path / f"b{suffix}", voxels, "LIP")
    volume, upright = (read_volume(tmp_path / f"{name}{suffix}") for name in "ab")
    np.testing.assert_array_equal(volume.voxels, voxels)
    np.testing.assert_allclose(volume.affine, upright.affine, atol=1e-5)
    np.testing.assert_allclose(volume.spacing_mm, dummy.SPACING_MM, rtol=1e-6)


def test_intensities_go_from_percentile_to_percentile_of_what_is_not_zero():
    voxels = np.zeros((10, 10, 21), np.float32)
    voxels[..., 1:11] = np.arange(1, 1001).reshape(10, 10, 10)
    low, high = np.percentile(np.arange(1, 1001), (0.1, 99.9))  # 1.999 and 999.001
    scaled = to_16_bits(voxels)
    assert scaled[0, 0, 0] == 0
    assert scaled[0, 0, 1] == 0
    assert scaled[9, 9, 10] == 65535
    assert scaled[5, 0, 1] == round(65535 * (501 - low) / (high - low))


def test_values_become_ids_and_others_are_refused():
    np.testing.assert_array_equal(to_class_ids(np.array([[[0.0, 3.0]]]), TISSUES), [[[0, 3]]])
    for value, message in (
        (4, "has the value 4, which is not a class: expected 0, 1, 2, 3"),
        (1.5, r"has the value 1\.5"),
    ):
        with pytest.raises(ValueError, match=message):
            to_class_ids(np.array([[[0.0, value]]]), TISSUES)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("24m", (24, "months", "24m")),
        ("24mo", (24, "months", "24m")),
        ("06 months", (6, "months", "6m")),
        ("4.5m", (4.5, "months", "4.5m")),
        ("38wk", (38, "weeks", "38w")),
        ("GA21", (21, "weeks", "GA21")),
        ("ga30w", (30, "weeks", "GA30")),
    ],
)
def test_names_of_ages(name, expected):
    age = age_by_name(name)
    assert (age.value, age.unit, age.group) == expected


@pytest.mark.parametrize("name", ["24", "baseline", "m24", "M006", "24mm", "x24m", ""])
def test_names_that_tell_no_age(name):
    assert age_by_name(name) is None


def test_own_classes_and_colours(copy):
    folder = copy("ages")
    settings = {"classes": ["background", "a", "b", "c"], "colours": [[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]]}
    (folder / "dataset.json").write_text(json.dumps(settings))
    facts = read_source(folder, FACTS).facts
    assert facts.classes == ("background", "a", "b", "c")
    assert facts.colours[3] == (3, 0, 0)
    (folder / "dataset.json").write_text(json.dumps(settings | {"subject": "(.)"}))
    with pytest.raises(UserError, match=r"of dataset\.json only classes and colours are used here"):
        read_source(folder, FACTS)


def test_other_files_are_left_alone_and_told(copy):
    folder = copy("ages")
    shutil.copy(folder / "24m/S001/labels.nii.gz", folder / "24m/S001/mask.nii.gz")
    (folder / "24m/S001/T1w.json").write_text("{}")
    reading = read_source(folder, FACTS)
    assert reading.notes == ["1 more files were left alone, such as 24m/S001/mask.nii.gz"]
    assert reading.problems == []


def rename(folder, old, new):
    (folder / new).parent.mkdir(parents=True, exist_ok=True)
    (folder / old).rename(folder / new)


ANAT = "sub-02/ses-A/anat/sub-02_ses-A"
DERIVED = f"derivatives/manual/{ANAT}"


def test_bids_takes_what_is_derived_moved_to_the_t1w_and_plain(copy):
    folder = copy("bids")
    for name in ("desc-preproc_T1w", "space-MNI_desc-preproc_T1w", "desc-preproc_T2w", "space-T1w_desc-preproc_T2w"):
        shutil.copy(folder / f"{ANAT}_T1w.nii.gz", folder / f"{DERIVED}_{name}.nii.gz")
    shutil.copy(folder / f"{DERIVED}_dseg.nii.gz", folder / f"{DERIVED}_desc-aseg_dseg.nii.gz")
    shutil.copy(folder / f"{DERIVED}_dseg.nii.gz", folder / f"{DERIVED}_space-MNI_dseg.nii.gz")
    scan = next(item.scan for item in read_source(folder, FACTS).items if item.scan.subject == "sub-02")
    assert {key: path.name.removeprefix("sub-02_ses-A_") for key, path in scan.images.items()} == {
        "T1w": "desc-preproc_T1w.nii.gz",
        "T2w": "space-T1w_desc-preproc_T2w.nii.gz",
    }
    assert scan.labels.name == "sub-02_ses-A_dseg.nii.gz"


def test_bids_in_one_template_space_and_without_a_table(copy):
    folder = copy("bids")
    shutil.rmtree(folder / "derivatives" / "manual" / "sub-01")
    shutil.rmtree(folder / "sub-01")
    for name in ("T1w", "T2w"):
        rename(folder, f"{ANAT}_{name}.nii.gz", f"{ANAT}_space-MNI_{name}.nii.gz")
    (folder / "derivatives/manual/dseg.tsv").unlink()
    labels = np.tile(np.arange(4, dtype=np.uint8), (20, 24, 5))[..., :18]
    (folder / f"{DERIVED}_dseg.nii.gz").unlink()
    dummy.write_volume(folder / f"{DERIVED}_space-MNI_dseg.nii.gz", labels)
    reading = read_source(folder, FACTS)
    assert reading.facts.classes == ("background", "gm", "wm", "csf")  # as BIDS numbers them
    assert reading.problems == []


def test_the_folder_of_one_pipeline_is_bids_too(copy, tmp_path):
    folder = copy("bids")
    shutil.copytree(folder / "derivatives/manual", folder, dirs_exist_ok=True)
    shutil.rmtree(folder / "derivatives")
    reading = read_source(folder, FACTS)
    assert reading.problems == []
    assert reading.facts.classes == ("background", "csf", "gm", "wm")
    assert all(item.scan.labels for item in reading.items)


def test_metres_become_millimetres(tmp_path):
    dummy.write_volume(tmp_path / "a.nii.gz", np.ones((4, 5, 6), np.uint8))
    patch(tmp_path / "a.nii.gz", 123, np.array([1], "u1"))  # as if its numbers were metres
    np.testing.assert_allclose(
        read_volume(tmp_path / "a.nii.gz").spacing_mm, 1000 * np.array(dummy.SPACING_MM), rtol=1e-6
    )


SESSIONS, PEOPLE = "sub-02/sub-02_sessions.tsv", "participants.tsv"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({SESSIONS: "session_id\tage\nses-A\t0.5\n"}, (6.0, "6m")),  # BIDS counts years
        (
            {SESSIONS: "session_id\tage\nA\t20\n", "sub-02/sub-02_sessions.json": '{"age": {"Units": "months"}}'},
            (20, "20m"),
        ),
        ({SESSIONS: "session_id\tscan_age\nses-A\t38.2\n"}, (38.2, "38w")),
        (
            {SESSIONS: "session_id\tage_months\nses-B\t9\n", PEOPLE: "participant_id\tage_days\nsub-02\t365.25\n"},
            (12, "12m"),
        ),
        ({PEOPLE: "participant_id\tsession\tage_months\nsub-02\tses-B\t3\nsub-02\tses-A\t17\n"}, (17, "17m")),
    ],
)
def test_ages_of_bids_tables(files, expected, copy):
    folder = copy("bids")
    (folder / SESSIONS).unlink()
    for name, text in files.items():
        (folder / name).write_text(text)
    subject, age, group = ages_of(read_source(folder, FACTS))["sub-02_ses-A"]
    assert (subject, age, group) == ("sub-02", pytest.approx(expected[0]), expected[1])


def test_a_visit_counts_to_the_group_that_its_name_says(copy):
    folder = copy("bids")
    (folder / "sub-01/sub-01_sessions.tsv").write_text("session_id\tage_months\nses-24mo\t23.2\n")
    assert ages_of(read_source(folder, FACTS))["sub-01_ses-24mo"] == ("sub-01", pytest.approx(23.2), "24m")


def edit(path, change, move_mm=0):
    """Rewrites a NIfTI with other voxels, or at another place in space."""
    old = nibabel.load(path)
    voxels, affine = change(np.asanyarray(old.dataobj).copy()), old.affine.copy()
    affine[0, 3] += move_mm
    nibabel.save(nibabel.Nifti1Image(voxels, affine, dtype=voxels.dtype), path)


def shorten(path, size):
    path.write_bytes(path.read_bytes()[:size])


def with_nan(voxels):
    voxels[3, 4, 5] = np.nan
    return voxels


def with_value(value):
    def change(voxels):
        voxels = voxels.astype(np.float32)
        voxels[3, 4, 5] = value
        return voxels

    return change


def patch(path, at, values):
    """Overwrites a part of the header."""
    data = bytearray(gzip.decompress(path.read_bytes()))
    data[at : at + values.nbytes] = values.tobytes()
    path.write_bytes(gzip.compress(bytes(data)))


def harm_checksum(path):
    data = bytearray(path.read_bytes())
    data[-6] ^= 1  # after all voxels
    path.write_bytes(data)


def same(voxels):
    return voxels


S1 = "24m/S001"
ATLAS = "fetal_SB_atlas_GA25_operated"
DAMAGE = {
    "no folder": ("ages", shutil.rmtree, r"no such folder; expected 24m/S001/T1w\.nii\.gz"),
    "nothing": (
        "ages",
        lambda f: (shutil.rmtree(f), f.mkdir()),
        r"holds no scans; expected 24m/S001/T1w\.nii\.gz .*BIDS",
    ),
    "zero bytes": ("ages", lambda f: shorten(f / S1 / "T1w.nii.gz", 0), r"24m/S001/T1w\.nii\.gz is empty"),
    "cut": ("ages", lambda f: shorten(f / S1 / "T1w.nii.gz", 3000), r"24m/S001/T1w\.nii\.gz is damaged, cut off"),
    "cut end": ("ages", lambda f: shorten(f / S1 / "T1w.nii.gz", -4), r"24m/S001/T1w\.nii\.gz is damaged, cut off"),
    "checksum": ("ages", lambda f: harm_checksum(f / S1 / "T2w.nii.gz"), r"24m/S001/T2w\.nii\.gz is damaged, cut off"),
    "text": ("ages", lambda f: (f / S1 / "labels.nii.gz").write_text("hello"), r"labels\.nii\.gz is damaged, cut off"),
    "bomb": (
        "ages",
        lambda f: patch(f / S1 / "T1w.nii.gz", 40, np.array([3, 20000, 20000, 20000], "<i2")),
        r"T1w\.nii\.gz has 8000000 megapixels, more than 100",
    ),
    "offset": (
        "ages",
        lambda f: patch(f / S1 / "T1w.nii.gz", 108, np.array([1e9], "<f4")),
        r"24m/S001/T1w\.nii\.gz is damaged, cut off",
    ),
    "unit": (
        "ages",
        lambda f: patch(f / S1 / "T1w.nii.gz", 123, np.array([7], "u1")),
        r"24m/S001/T1w\.nii\.gz is damaged, cut off",
    ),
    "nan": (
        "ages",
        lambda f: edit(f / S1 / "T1w.nii.gz", with_nan),
        r"24m/S001/T1w\.nii\.gz has values that are not finite",
    ),
    "4-D": (
        "ages",
        lambda f: edit(f / S1 / "T1w.nii.gz", lambda v: np.stack([v, v], -1)),
        r"24m/S001/T1w\.nii\.gz has 4 dimensions: expected 3",
    ),
    "blank": (
        "ages",
        lambda f: edit(f / S1 / "T1w.nii.gz", lambda v: 0 * v),
        r"T1w\.nii\.gz is empty: its voxels are all equal",
    ),
    "no place": (
        "ages",
        lambda f: patch(f / S1 / "T1w.nii.gz", 280, np.zeros(4, "<f4")),  # the first row of its affine
        r"T1w\.nii\.gz has an affine that is not finite or not invertible",
    ),
    "T2w elsewhere": (
        "ages",
        lambda f: edit(f / S1 / "T2w.nii.gz", same, 2),
        r"24m/S001/T2w\.nii\.gz has another affine than 24m/S001/T1w\.nii\.gz: register them",
    ),
    "T2w of another size": (
        "ages",
        lambda f: edit(f / S1 / "T2w.nii.gz", lambda v: v[:, :, 1:]),
        r"24m/S001/T2w\.nii\.gz has shape .20, 23, 18. and not .20, 24, 18. as 24m/S001/T1w\.nii\.gz: register them",
    ),
    "labels elsewhere": (
        "ages",
        lambda f: edit(f / S1 / "labels.nii.gz", same, 2),
        r"24m/S001/labels\.nii\.gz has another affine than its image",
    ),
    "no whole labels": (
        "ages",
        lambda f: edit(f / S1 / "labels.nii.gz", with_value(1.25)),
        r"24m/S001/labels\.nii\.gz has the value 1\.25, which is not a class: expected 0, 1, 2, 3",
    ),
    "labels of no class": (
        "ages",
        lambda f: edit(f / S1 / "labels.nii.gz", with_value(7)),
        r"24m/S001/labels\.nii\.gz has the value 7, which is not a class",
    ),
    "no age": (
        "ages",
        lambda f: rename(f, "24m", "first"),
        r"first/S001 has no age: name the folder above it like 24m",
    ),
    "no T2w": (
        "ages",
        lambda f: (f / S1 / "T2w.nii.gz").unlink(),
        r"24m_S001 has no T2w: add it or prepare infant_mri:modality=t1w",
    ),
    "labels alone": (
        "ages",
        lambda f: [(f / S1 / f"{m}.nii.gz").unlink() for m in ("T1w", "T2w")],
        r"24m_S001 has no T1w: add it",
    ),
    "two files": (
        "ages",
        lambda f: shutil.copy(f / S1 / "T1w.nii.gz", f / S1 / "t1w.nii"),
        r"24m/S001/t1w\.nii and T1w\.nii\.gz are both its T1w: keep one",
    ),
    "twice": (
        "ages",
        lambda f: shutil.copytree(f / S1, f / "24mo/S001"),
        r"24mo/S001 and 24m/S001 are the same subject at the same age: keep one",
    ),
    "twice and labels alone": (
        "ages",
        lambda f: (
            shutil.copytree(f / S1, f / "24mo/S001"),
            [(f / "24mo/S001" / f"T{i}w.nii.gz").unlink() for i in (1, 2)],
        ),
        r"24mo/S001 and 24m/S001 are the same subject at the same age: keep one",
    ),
    "bids without images": (
        "bids",
        lambda f: (
            shutil.rmtree(f / "sub-02"),
            rename(f, f"{DERIVED}_dseg.nii.gz", f"{DERIVED}_space-MNI_dseg.nii.gz"),
        ),
        r"sub-02_ses-A: has no T1w and no T2w",
    ),
    "bids twice": (
        "bids",
        lambda f: (f / "sub-01/sub-01_sessions.tsv").write_text("session_id\tage_months\nses-12mo\t9\nses-24mo\t9\n"),
        r"sub-01/ses-24mo/anat and sub-01/ses-12mo/anat are the same subject at the same age",
    ),
    "bids without age": (
        "bids",
        lambda f: (f / SESSIONS).unlink(),
        r"sub-02_ses-A: no age: name the session like ses-24m, or write age_months in sub-02_sessions\.tsv",
    ),
    "bids age without unit": (
        "bids",
        lambda f: (f / SESSIONS).write_text("session_id\tage\nses-A\t18\n"),
        r"sub-02_ses-A: age 18 in sub-02_sessions\.tsv has no unit: call the column age_months",
    ),
    "bids two T1w": (
        "bids",
        lambda f: [shutil.copy(f / f"{ANAT}_T1w.nii.gz", f / f"{DERIVED}_run-{i}_T1w.nii.gz") for i in (1, 2)],
        r"sub-02_ses-A: sub-02_ses-A_run-1_T1w\.nii\.gz and sub-02_ses-A_run-2_T1w\.nii\.gz would both be its T1w",
    ),
    "bids two spaces": (
        "bids",
        lambda f: [
            (
                rename(f, f"{ANAT}_T1w.nii.gz", f"{ANAT}_space-A_T1w.nii.gz"),
                rename(f, f"{ANAT}_T2w.nii.gz", f"{ANAT}_space-B_T2w.nii.gz"),
            )
        ],
        r"sub-02_ses-A: has images in several spaces \(A, B\): keep one",
    ),
    "bids classes differ": (
        "bids",
        lambda f: (f / f"{DERIVED}_dseg.tsv").write_text("index\tname\n10\tall\n"),
        r"dseg\.tsv and .*dseg\.tsv name different classes: make them equal",
    ),
    "bids table": (
        "bids",
        lambda f: (f / "derivatives/manual/dseg.tsv").write_text("name\nall\n"),
        r"dseg\.tsv: expected the columns index \(a whole number\) and name",
    ),
    "bids value": (
        "bids",
        lambda f: (f / "derivatives/manual/dseg.tsv").write_text("index\tname\n10\tcsf\n20\tgm\n"),
        r"_dseg\.nii\.gz has the value 30, which is not a class: expected 0, 10, 20",
    ),
    "line break in a name": (
        "ages",
        lambda f: rename(f, S1, "24m/S\n1"),
        r"24m: 'S\\n1' has a character that cannot be printed: rename it",
    ),
    "line break in a class": (
        "bids",
        lambda f: (f / "derivatives/manual/dseg.tsv").write_text('index\tname\n10\t"a\nb"\n'),
        r"dseg\.tsv: a class has no name that can be printed",
    ),
    "atlas two files": (
        "atlas",
        lambda f: shutil.copy(f / f"{ATLAS}/srr.nii.gz", f / f"{ATLAS}/srr.nii"),
        r"operated/srr\.nii\.gz and srr\.nii are both its srr: keep one",
    ),
    "atlas without age": (
        "atlas",
        lambda f: rename(f, "fetal_SB_atlas_GA25_operated", "fetal_SB_atlas"),
        r"fetal_SB_atlas has no age: expected weeks of gestation in its name, like GA21",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_wrong_folder_is_refused_in_one_line_and_leaves_nothing(damage, copy, refused):
    layout, harm, message = DAMAGE[damage]
    folder = copy(layout)
    harm(folder)
    refused("infant_mri", folder, rf"{folder}.*{message}")


def test_keep_going_leaves_out_the_bad_and_says_which(copy, tmp_path, capfd):
    folder = copy("ages")
    edit(folder / S1 / "T1w.nii.gz", with_nan)
    (folder / "24m/S002/T2w.nii.gz").unlink()
    prepare("infant_mri", tmp_path / "data", str(folder), keep_going=True)
    told = capfd.readouterr().err
    assert "left out: 24m/S001/T1w.nii.gz has values that are not finite" in told
    assert "left out: 24m_S002 has no T2w" in told
    assert set(Dataset("infant_mri", tmp_path / "data").names) == {"18m_S001", "6m_S003"}


def test_keep_going_prepares_nothing_of_a_scan_that_is_there_twice(copy, tmp_path):
    folder = copy("ages")
    shutil.copy(folder / S1 / "T1w.nii.gz", folder / S1 / "t1w.nii")
    shutil.copytree(folder / "18m/S001", folder / "18mo/S001")
    prepare("infant_mri", tmp_path / "data", str(folder), keep_going=True)
    assert set(Dataset("infant_mri", tmp_path / "data").names) == {"24m_S002", "6m_S003"}


def test_spaces_around_the_cells_of_a_table_are_no_part_of_them(copy):
    folder = copy("bids")
    (folder / SESSIONS).write_text("session_id \t age_months\n ses-A \t 17.8 \n")
    assert ages_of(read_source(folder, FACTS))["sub-02_ses-A"] == ("sub-02", pytest.approx(17.8), "18m")


def test_a_missing_modality_is_not_a_problem_where_the_other_is_asked_for(copy):
    folder = copy("ages")
    (folder / S1 / "T2w.nii.gz").unlink()
    assert read_source(folder, FACTS, "T1w").problems == []
    assert len(read_source(folder, FACTS, "T2w").problems) == 1
