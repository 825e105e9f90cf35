"""FETAL_PLANES_DB: planes are chosen by the table, masks join by name, and a wrong folder is refused whole."""

import shutil

import cv2
import numpy as np
import pytest

from fetal_jax.core.types import UserError
from input_pipeline import builders, dataset
from input_pipeline.builders.common import SPLIT
from input_pipeline.builders.fetal_planes.dummy import SHAPE, dummy_data
from input_pipeline.builders.fetal_planes.source import FOLDER, MASKS, TABLE, read_source
from input_pipeline.formats.raster import read_grey

FIRST = "Patient00001_Plane3_1_of_4"
THALAMIC = "Patient00002_Plane3_2_of_4"
CEREBELLAR = ("Trans-cerebellum",)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planes") / "published"
    return folder, dummy_data(folder)


@pytest.fixture
def folder(pristine, tmp_path):
    return shutil.copytree(pristine[0], tmp_path / "published")


def prepare(folder, data_dir, config="trans_cerebellum", **settings):
    builder = dataset.prepare(f"fetal_planes/{config}", data_dir, str(folder), **settings)
    return {example["name"].decode(): example for example in builder.as_data_source(split=SPLIT)}


def test_masks_join_by_name_and_the_rest_is_unlabelled(pristine, tmp_path):
    folder, masks = pristine
    examples = prepare(folder, tmp_path / "data")
    assert sorted(examples) == [f"Patient{i:05d}_Plane3_1_of_4" for i in (1, 2, 3, 4)]
    assert {name for name, example in examples.items() if example["labelled"]} == set(masks)
    for name, example in examples.items():
        np.testing.assert_array_equal(example["labels"][..., 0], masks.get(name, np.zeros(SHAPE)))
        np.testing.assert_array_equal(example["image"][..., 0], read_grey(folder / FOLDER / f"{name}.png"))
        assert example["spacing_mm"].tolist() == [0, 0]
        assert example["plane"] == b"Trans-cerebellum"
    first = examples[FIRST]
    assert (first["subject"], first["operator"], first["machine"]) == (b"1", b"Op. 1", b"Voluson E6")


@pytest.mark.parametrize(
    ("config", "planes"),
    [
        ("trans_thalamic", {b"Trans-thalamic"}),
        ("trans_ventricular", {b"Trans-ventricular"}),
        ("brain", {b"Trans-cerebellum", b"Trans-thalamic", b"Trans-ventricular"}),
    ],
)
def test_a_config_is_a_choice_of_planes(config, planes, pristine, tmp_path):
    examples = prepare(pristine[0], tmp_path / "data", config)
    assert len(examples) == 4 * len(planes)
    assert {example["plane"] for example in examples.values()} == planes
    assert {example["subject"] for example in examples.values()} == {b"1", b"2", b"3", b"4"}


def test_the_default_is_the_plane_of_the_cerebellum_and_no_source_is_needed_again(folder, tmp_path):
    examples = prepare(folder, tmp_path / "data")
    shutil.rmtree(folder)
    builder = builders.builder("fetal_planes", str(tmp_path / "data"))
    assert len(builder.as_data_source(split=SPLIT)) == len(examples)


def test_masks_are_optional_and_may_hold_class_ids(folder, tmp_path, pristine):
    path = folder / MASKS / f"{FIRST}.png"
    cv2.imwrite(str(path), read_grey(path) // 255)
    np.testing.assert_array_equal(
        prepare(folder, tmp_path / "ids")[FIRST]["labels"][..., 0],
        pristine[1][FIRST],
    )
    shutil.rmtree(folder / MASKS)
    assert not any(example["labelled"] for example in prepare(folder, tmp_path / "none").values())


def test_files_of_planes_that_nobody_asked_for_may_be_missing(folder, tmp_path):
    (folder / FOLDER / f"{THALAMIC}.png").unlink()
    reading = read_source(folder, CEREBELLAR)
    assert (len(reading.items), reading.problems) == (4, [])
    with pytest.raises(UserError, match=rf"{THALAMIC}\.png is in {TABLE} but not in Images"):
        prepare(folder, tmp_path / "data", "trans_thalamic")


def edit_table(folder, old, new):
    text = (folder / TABLE).read_text()
    assert old in text
    (folder / TABLE).write_text(text.replace(old, new, 1))


def draw_mask(folder, array, name=FIRST):
    cv2.imwrite(str(folder / MASKS / f"{name}.png"), np.asarray(array, np.uint8))


def mask_with(*values):
    mask = np.zeros(SHAPE)
    mask[0, : len(values)] = values
    return mask


ROW = f"{FIRST};1;Fetal brain;Trans-cerebellum;Op. 1;Voluson E6;1\n"
DAMAGE = {
    "no folder": (lambda f: shutil.rmtree(f), "published: no such folder"),
    "no table": (lambda f: (f / TABLE).unlink(), "has no FETAL_PLANES_DB_data.csv"),
    "empty table": (lambda f: (f / TABLE).write_text(""), "expected the columns Image_name;"),
    "commas": (lambda f: edit_table(f, "Patient_num;Plane", "Patient_num,Plane"), "expected the columns Image_name;"),
    "no images": (lambda f: shutil.rmtree(f / FOLDER), "has no folder Images/"),
    "row without file": (lambda f: (f / FOLDER / f"{FIRST}.png").unlink(), rf"{FIRST}\.png is in {TABLE} but not in"),
    "file without row": (lambda f: edit_table(f, ROW, ""), rf"{FIRST}\.png has no row in {TABLE}"),
    "two rows": (lambda f: edit_table(f, ROW, ROW * 2), rf"{FIRST} has two rows in {TABLE}"),
    "no patient": (lambda f: edit_table(f, f"{FIRST};1;", f"{FIRST};;"), rf"{FIRST} has an empty cell"),
    "short row": (lambda f: edit_table(f, ROW, f"{FIRST};1\n"), rf"{FIRST} has an empty cell"),
    "empty file": (lambda f: (f / FOLDER / f"{FIRST}.png").write_bytes(b""), rf"{FIRST}\.png is empty"),
    "text": (lambda f: (f / FOLDER / f"{FIRST}.png").write_text("hello"), rf"{FIRST}\.png is not a readable image"),
    "damaged mask": (lambda f: (f / MASKS / f"{FIRST}.png").write_bytes(b""), rf"masks/{FIRST}\.png is empty"),
    "small mask": (
        lambda f: draw_mask(f, np.zeros((40, 50))),
        rf"masks/{FIRST}\.png has shape \(40, 50\), its image has \(66, 96\)",
    ),
    "grey mask": (lambda f: draw_mask(f, mask_with(255, 7)), rf"masks/{FIRST}\.png has the value 7, where 0 is"),
    "two scales": (lambda f: draw_mask(f, mask_with(255, 1)), rf"masks/{FIRST}\.png has the value both 1 and 255"),
    "mask alone": (lambda f: draw_mask(f, mask_with(255), "other"), r"masks/other\.png has no image"),
    "photo": (lambda f: (f / FOLDER / "zz.jpg").write_bytes(b"x"), r"Images/zz\.jpg is not a PNG file"),
    "mask in TIFF": (
        lambda f: (f / MASKS / f"{FIRST}.png").rename(f / MASKS / f"{FIRST}.tif"),
        rf"masks/{FIRST}\.tif is not a PNG file",
    ),
    "folder": (lambda f: (f / MASKS / "old.png").mkdir(), r"masks/old\.png is not a PNG file"),
    "one name twice": (
        lambda f: shutil.copy(f / FOLDER / f"{FIRST}.png", f / FOLDER / f"{FIRST}.PNG"),
        rf"Images/{FIRST}\.png and {FIRST}\.PNG have the same name: restore",
    ),
    "line break in a file's name": (
        lambda f: (f / FOLDER / f"{FIRST}.png").rename(f / FOLDER / "a\nb.png"),
        r"'Images/a\\nb\.png' has a line break or control character in its name",
    ),
    "line break in a name": (
        lambda f: edit_table(f, f"{FIRST};1;", '"a\nb";1;'),
        rf"'a\\nb' has a line break or control character in {TABLE}",
    ),
    "control character in a patient": (
        lambda f: edit_table(f, f"{FIRST};1;", f"{FIRST};1\x1b[2J1;"),
        rf"{FIRST} has a line break or control character in {TABLE}",
    ),
    "line break in the header": (
        lambda f: edit_table(f, "Patient_num", '"Patient\nnum"'),
        r"found 'Image_name;Patient\\nnum",
    ),
    "open quote": (
        lambda f: edit_table(f, f"{FIRST};1;", f'{FIRST};"' + "1" * 140_000),
        r"_data\.csv: is not a CSV file \(field larger than",
    ),
    "no name": (lambda f: edit_table(f, f"{FIRST};1;", ";1;"), rf"row 2 has an empty cell in {TABLE}"),
    "no such plane": (
        lambda f: (f / TABLE).write_text((f / TABLE).read_text().replace("Trans-cerebellum", "Other")),
        "has no image of Trans-cerebellum",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_wrong_folder_is_refused_in_one_line_and_leaves_nothing(damage, folder, refused):
    harm, message = DAMAGE[damage]
    harm(folder)
    refused("fetal_planes", folder, message)


def test_five_problems_are_named_and_the_rest_is_counted(folder, tmp_path):
    for path in (folder / FOLDER).glob("*_[12]_of_4.png"):
        path.unlink()
    with pytest.raises(UserError, match=r"published: (Patient\S+ is in .* not in Images; ){5}and 5 more: restore"):
        prepare(folder, tmp_path / "data", "brain")


def test_on_request_the_bad_files_are_listed_and_the_rest_is_prepared(folder, tmp_path, capfd):
    second, third, fourth = (f"Patient0000{i}_Plane3_1_of_4" for i in (2, 3, 4))
    draw_mask(folder, mask_with(255, 7))
    (folder / FOLDER / f"{second}.png").unlink()
    edit_table(folder, f"{third};3;", f"{third};;")
    extra = shutil.copy(folder / FOLDER / f"{fourth}.png", folder / FOLDER / "extra.png")
    found = prepare(folder, tmp_path / "data", keep_going=True)
    assert list(found) == [fourth]
    np.testing.assert_array_equal(found[fourth]["image"][..., 0], read_grey(extra))
    left_out = [line for line in capfd.readouterr().err.splitlines() if line.startswith("left out: ")]
    assert left_out == [
        f"left out: {third} has an empty cell in {TABLE}",
        f"left out: {second}.png is in {TABLE} but not in {FOLDER}",
        f"left out: extra.png has no row in {TABLE}",
        f"left out: {MASKS}/{second}.png has no image",
        f"left out: {MASKS}/{FIRST}.png has the value 7, where 0 is background and 255 (or 1) cerebellum",
    ]


@pytest.mark.parametrize("other", ["77", ""])
def test_an_image_of_two_patients_is_left_out_with_one_line(other, folder, tmp_path, capfd):
    edit_table(folder, ROW, ROW + ROW.replace(";1;", f";{other};", 1) + ROW)
    found = prepare(folder, tmp_path / "data", keep_going=True)
    assert sorted(found) == [f"Patient0000{i}_Plane3_1_of_4" for i in (2, 3, 4)]
    left_out = [line for line in capfd.readouterr().err.splitlines() if line.startswith("left out: ")]
    assert left_out == [f"left out: {FIRST} has two rows in {TABLE}"]


def test_suffixes_may_be_upper_case(folder, tmp_path, pristine):
    for part in (FOLDER, MASKS):
        (folder / part / f"{FIRST}.png").rename(folder / part / f"{FIRST}.PNG")
    edit_table(folder, f"{FIRST};", f"{FIRST}.PNG;")
    example = prepare(folder, tmp_path / "data")[FIRST]
    np.testing.assert_array_equal(example["labels"][..., 0], pristine[1][FIRST])
    assert example["labelled"]


def test_where_nothing_is_good_there_is_nothing_to_go_on_with(folder, tmp_path):
    for path in (folder / FOLDER).glob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=rf"{FIRST}\.png is empty"):
        prepare(folder, tmp_path / "data", keep_going=True)
    assert not any((tmp_path / "data").iterdir())


def test_preparing_without_a_source_says_so(tmp_path):
    with pytest.raises(UserError, match=r"fetal_planes/brain is not prepared: run .* --source DIR"):
        dataset.prepare("fetal_planes/brain", tmp_path / "data")
