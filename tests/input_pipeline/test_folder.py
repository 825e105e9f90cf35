"""The user's own folder: every format gives the right pixels, masks and spacing; a wrong folder is refused whole."""

import copy
import json
import shutil
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.uid import MPEG2MPML, JPEG2000Lossless, JPEGLossless

from fetal_jax.core.types import UserError
from input_pipeline import builders
from input_pipeline.builders.common import SPLIT
from input_pipeline.builders.folder.dummy import SHAPE, dummy_data, write_dicom, write_nifti
from input_pipeline.builders.folder.masks import class_ids
from input_pipeline.builders.folder.settings import Settings
from input_pipeline.builders.folder.source import read_frames, read_source
from input_pipeline.dataset import Dataset, list_datasets
from input_pipeline.dataset import prepare as prepare_dataset
from input_pipeline.formats.files import read, stem
from input_pipeline.formats.stack import Stack, to_8_bits

MIXED = Path(__file__).parent.parent / "data" / "mixed_folder"
RAMP = np.arange(48 * 64).reshape(SHAPE)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folder") / "mine"
    return folder, dummy_data(folder)


@pytest.fixture
def folder(pristine, tmp_path):
    return shutil.copytree(pristine[0], tmp_path / "mine")


def prepare(folder, data_dir):
    builder = builders.builder("folder", str(data_dir), source=str(folder))
    builder.download_and_prepare()
    return {example["name"].decode(): example for example in builder.as_data_source(split=SPLIT)}


def say(folder, **settings):
    (folder / "dataset.json").write_text(json.dumps(settings))


def draw(folder, array, name="S01_a.png"):
    cv2.imwrite(str(folder / "masks" / name), np.asarray(array, np.uint8))


def mask_with(*values):
    mask = np.zeros((*SHAPE, *np.shape(values)[1:]), np.uint8)
    mask[0, : len(values)] = values
    return mask


def test_a_mixed_folder_becomes_one_dataset(pristine, tmp_path):
    folder, masks = pristine
    examples = prepare(folder, tmp_path / "data")
    assert {name for name, example in examples.items() if example["labelled"]} == set(masks)
    assert set(examples) - set(masks) == {"S06_a", "S07_a"}
    for name, example in examples.items():
        np.testing.assert_array_equal(example["labels"][..., 0], masks.get(name, np.zeros(SHAPE)))
        assert example["image"].shape == (*SHAPE, 1)
        assert example["subject"].decode() == name[:3]
    grey = cv2.imread(str(folder / "images" / "S01_a.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(examples["S01_a"]["image"][..., 0], grey)
    np.testing.assert_array_equal(examples["S06_a"]["image"][..., 0], grey[::-1])
    spacing = {name: tuple(np.round(example["spacing_mm"], 6).tolist()) for name, example in examples.items()}
    assert spacing["S03_vol_001"] == pytest.approx((0.5, 0.8))  # rows run along y
    assert spacing["S04_scan"] == pytest.approx((0.2, 0.3))
    assert spacing["S05_cine_001"] == pytest.approx((0.4, 0.4))
    assert spacing["S01_a"] == (0, 0)


def test_facts_are_those_of_what_was_prepared(folder, tmp_path):
    colours = [[0, 0, 0], [255, 0, 0], [0, 0, 255]]
    say(folder, classes=["background", "skull", "cerebellum"], colours=colours, subject="^(S..)")
    for path in (folder / "masks").iterdir():
        if path.name != "S01_b.png":
            path.unlink()
            next((folder / "images").glob(f"{stem(path)}.*")).unlink()
    rgb = mask_with((255, 0, 0), (0, 0, 255), (0, 0, 0))
    draw(folder, rgb[..., ::-1], "S01_b.png")
    prepare_dataset("folder", tmp_path / "data", str(folder))
    facts = builders.facts("folder", tmp_path / "data")
    assert facts.classes == ("background", "skull", "cerebellum")
    assert facts.colours == ((0, 0, 0), (255, 0, 0), (0, 0, 255))
    assert facts.subject_rule == "the group of '^(S..)' in the name"
    opened = Dataset("folder", tmp_path / "data", ("cerebellum",))
    assert opened.facts.classes == ("background", "cerebellum")
    assert opened["S01_b"].labels[0, :3].tolist() == [0, 1, 0]
    with pytest.raises(UserError, match="structures names 'brain': choose from skull, cerebellum"):
        Dataset("folder", tmp_path / "data", ("brain",))


def test_facts_of_a_folder_that_is_not_prepared(tmp_path):
    assert builders.facts("folder").classes == ("background", "foreground")
    for call in (builders.facts, Dataset, prepare_dataset):
        with pytest.raises(UserError, match=r"folder is not prepared: run .* --source DIR"):
            call("folder", tmp_path)


def test_classes_without_a_list_are_numbered(folder):
    assert read_source(folder).facts.classes == ("background", "foreground")
    for name in ("S01_a.png", "S02_a.bmp", "S04_scan.png"):
        draw(folder, mask_with(1, 2), name)
    draw(folder, mask_with(3), "S01_b.png")
    facts = read_source(folder).facts
    assert facts.classes == ("background", "class1", "class2", "class3")
    assert len(set(facts.colours)) == 4


def test_subjects_and_spacing_may_come_from_a_table(folder):
    stems = ["S01_a.png", "S01_b", "S02_a", "S03_vol", "S04_scan", "S05_cine", "S06_a", "S07_a"]
    rows = [f"{name},P{i},{'0.25' if i == 4 else ''}" for i, name in enumerate(stems)]
    (folder / "subjects.csv").write_text("\n".join(["name,subject,spacing_mm", *rows]))
    say(folder, spacing_mm=[0.1, 0.2])
    found = {item.stem: (item.subject, item.spacing_mm) for item in read_source(folder).items}
    assert found["S01_a"] == ("P0", (0.1, 0.2))
    assert found["S04_scan"] == ("P4", (0.25, 0.25))
    assert found["S07_a"] == ("P7", (0.1, 0.2))


def test_spaces_around_the_cells_of_the_table_are_no_part_of_them(folder):
    rows = TABLE.replace("name,subject", "name , subject").replace("S01_a,P", " S01_a, P ")
    (folder / "subjects.csv").write_text(rows)
    reading = read_source(folder)
    assert reading.problems == []
    assert {item.subject for item in reading.items} == {"P"}


def test_the_spacing_of_the_table_is_before_that_of_the_settings_and_that_before_the_files_own(folder, tmp_path):
    files = {"S03_vol_000": (0.5, 0.8), "S04_scan": (0.2, 0.3), "S05_cine_000": (0.4, 0.4)}
    rows = TABLE.replace("subject\n", "subject,spacing_mm\n")
    settings = {"classes": ["background", "foreground"]}
    for spacing, table, own in (
        (files, rows, settings),
        (dict.fromkeys(files, (0.1, 0.15)), rows, {"spacing_mm": [0.1, 0.15], **settings}),
        ({**files, "S04_scan": (0.7, 0.7)}, rows.replace("S04_scan,P", "S04_scan,P, 0.7 "), settings),
        (
            {**dict.fromkeys(files, (0.1, 0.1)), "S04_scan": (0.7, 0.7)},
            rows.replace("S04_scan,P", "S04_scan,P,0.7"),
            {"spacing_mm": 0.1, **settings},
        ),
    ):
        (folder / "subjects.csv").write_text(table)
        say(folder, **own)
        frames = {frame.name: frame for item in read_source(folder).items for frame in read_frames(item)}
        assert {name: frames[name].spacing_mm for name in spacing} == {
            name: pytest.approx(expected) for name, expected in spacing.items()
        }


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.nii.gz", "a.dcm", "a"])
def test_a_stem_is_the_name_without_its_format(name, tmp_path):
    assert stem(tmp_path / name) == "a"


def test_other_dots_belong_to_the_name(tmp_path):
    assert stem(tmp_path / "1.2.840.10008") == "1.2.840.10008"


def test_deep_pixels_are_scaled_by_percentiles_and_8_bits_are_kept():
    np.testing.assert_array_equal(to_8_bits(np.array([7, 9], np.uint8)), [7, 9])
    values = np.arange(1001, dtype=np.uint16) * 10  # percentiles 0.5 and 99.5 are 50 and 9950
    scaled = to_8_bits(values)
    assert scaled[[0, 5, 995, 1000]].tolist() == [0, 0, 255, 255]
    assert scaled[500] == pytest.approx(127.5, abs=0.6)
    assert scaled[252] == round(255 * (2520 - 50) / 9900)
    assert to_8_bits(np.full((3, 3), 12.5)).tolist() == np.zeros((3, 3)).tolist()
    assert to_8_bits(np.float32([0] * 999 + [4])).max() == 255


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".jpg"])
def test_8_bit_files_of_any_format_and_colour_are_grey(suffix, tmp_path):
    grey = np.repeat(np.arange(64, dtype=np.uint8)[None] * 3, 48, axis=0)
    for kind in ("L", "RGB", "RGBA", "P"):
        if suffix == ".jpg" and kind in ("RGBA", "P"):
            continue
        path = tmp_path / f"{kind}{suffix}"
        Image.fromarray(grey).convert(kind).save(path, **({"quality": 98} if suffix == ".jpg" else {}))
        found = read(path).grey()
        assert found.shape == (1, *SHAPE)
        np.testing.assert_allclose(found[0].astype(int), grey, atol=3 if suffix == ".jpg" else 0)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_colours_are_grey_too(suffix, tmp_path):
    path = tmp_path / f"deep{suffix}"
    cv2.imwrite(str(path), np.stack([RAMP.astype(np.uint16) * 20] * 3, axis=-1))
    np.testing.assert_array_equal(read(path).grey()[0], to_8_bits(RAMP.astype(np.uint16) * 20))


def test_a_palette_image_is_its_colours_and_a_palette_mask_its_numbers(tmp_path):
    ids = mask_with(1, 2, 2)
    image = Image.fromarray(ids)
    image.putpalette([0, 0, 0, 200, 0, 0, 0, 0, 200])
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(class_ids(read(tmp_path / "a.png", indices=True), Settings())[0], ids)
    np.testing.assert_array_equal(read(tmp_path / "a.png").grey()[0, 0, :4], [60, 23, 23, 0])


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_a_mask_of_colours_means_the_same_in_grey(suffix, tmp_path):
    settings = Settings(classes=("background", "brain"), colours=((255, 255, 255), (0, 0, 0)))
    grey = np.full(SHAPE, 255, np.uint8)
    grey[5:9, 7:20] = 0
    for name, pixels in (("grey", grey), ("colour", np.stack([grey] * 3, axis=-1))):
        cv2.imwrite(str(tmp_path / f"{name}{suffix}"), pixels)
        ids = class_ids(read(tmp_path / f"{name}{suffix}"), settings)[0]
        np.testing.assert_array_equal(ids, grey == 0)


def test_a_grey_mask_is_of_ids_where_its_values_are_no_colours():
    settings = Settings(classes=("a", "b", "c"), colours=((1, 1, 1), (0, 0, 0), (255, 0, 0)))
    for values, expected in (((0, 1, 1), [1, 0, 0]), ((0, 1, 2), [0, 1, 2])):
        mask = Stack(np.array([[values]], np.uint8))
        assert class_ids(mask, settings).tolist() == [[expected]]


def test_a_flat_nifti_is_one_image_and_units_are_respected(tmp_path):
    image = nibabel.Nifti1Image(RAMP.T.astype(np.uint8), np.diag([0.2, 0.3, 1, 1]))
    nibabel.save(image, tmp_path / "mm.nii")
    found = read(tmp_path / "mm.nii")
    np.testing.assert_array_equal(found.grey()[0], RAMP.astype(np.uint8))
    assert (found.is_volume, found.spacing_mm) == (False, pytest.approx((0.3, 0.2)))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "um.nii")
    assert read(tmp_path / "um.nii").spacing_mm == pytest.approx((0.0003, 0.0002))


def test_monochrome1_is_inverted_and_rescaled_values_are_scaled(tmp_path):
    grey = (RAMP % 256).astype(np.uint8)
    write_dicom(tmp_path / "a.dcm", grey, "MONOCHROME1")
    np.testing.assert_array_equal(read(tmp_path / "a.dcm").grey()[0], 255 - grey)
    write_dicom(tmp_path / "b.dcm", RAMP.astype(np.uint16), "MONOCHROME1")
    np.testing.assert_array_equal(read(tmp_path / "b.dcm").frames[0], 4095 - RAMP)
    write_dicom(tmp_path / "c.dcm", grey, RescaleSlope=-2, RescaleIntercept=10)
    np.testing.assert_array_equal(read(tmp_path / "c.dcm").frames[0], 10 - 2.0 * grey)


def test_a_dicom_needs_no_suffix_and_colours_are_kept_apart(tmp_path):
    rgb = np.zeros((*SHAPE, 3), np.uint8)
    rgb[..., 0] = 200
    write_dicom(tmp_path / "1.2.840", rgb)
    assert read(tmp_path / "1.2.840").grey().tolist() == np.full((1, *SHAPE), 60).tolist()  # 0.299 R


def test_the_largest_calibrated_region_of_an_ultrasound_image_counts(folder, tmp_path):
    dicom = dcmread(folder / "images" / "S05_cine.dcm")
    (region,) = dicom.SequenceOfUltrasoundRegions
    small, doppler = copy.deepcopy(region), copy.deepcopy(region)
    small.RegionLocationMaxX1, small.PhysicalDeltaX = 3, 9
    doppler.RegionSpatialFormat, doppler.RegionLocationMaxX1, doppler.PhysicalDeltaX = 3, 999, 7
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.05, -0.02
    dicom.SequenceOfUltrasoundRegions = [small, doppler, region]
    dicom.save_as(tmp_path / "a.dcm")
    assert read(tmp_path / "a.dcm").spacing_mm == pytest.approx((0.2, 0.5))


def test_a_spacing_that_can_be_none_is_unknown(tmp_path):
    write_dicom(tmp_path / "a.dcm", RAMP.astype(np.uint8), PixelSpacing=[0, 0.3])
    assert read(tmp_path / "a.dcm").spacing_mm == (0, 0)


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_a_tiff_whose_directory_comes_first_is_checked_to_its_end(compression, share, tmp_path, capfd):
    path = tmp_path / "a.tif"
    Image.fromarray(RAMP.astype(np.uint8)).save(path, compression=compression)
    np.testing.assert_array_equal(read(path).frames[0], RAMP.astype(np.uint8))
    shorten(path, share)
    with pytest.raises(ValueError, match=r"^is damaged or cut off$"):
        read(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("seed", range(5))
def test_damaged_dicoms_are_read_or_refused_in_one_line(seed, folder, read_or_refused):
    """A value representation that is none, in the middle of the header, among others."""
    read_or_refused(folder / "images" / "S05_cine.dcm", seed, times=40, first=132, last=1000)


def write_compressed(path, syntax):
    """A DICOM that claims a compression and holds noise."""
    write_dicom(path, RAMP.astype(np.uint8))
    dicom = dcmread(path)
    dicom.file_meta.TransferSyntaxUID = syntax
    dicom.PixelData = b"\xfe\xff\x00\xe0\x00\x00\x00\x00\xfe\xff\x00\xe0\x04\x00\x00\x00abcd\xfe\xff\xdd\xe0\0\0\0\0"
    dicom["PixelData"].is_undefined_length = True
    dicom.save_as(path)


def without_pixels(path):
    dicom = dcmread(path)
    del dicom.PixelData
    dicom.save_as(path)


def with_rows(path, rows):
    dicom = dcmread(path)
    dicom.Rows, dicom.Columns = rows, rows
    dicom.save_as(path)


def shorten(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])


def write_volume(path, *shape, value=0.0):
    nibabel.save(nibabel.Nifti1Image(np.full(shape, value, np.float32), np.eye(4)), path)


def wipe_masks(folder):
    for name in ("S01_a.png", "S01_b.png", "S02_a.bmp", "S04_scan.png"):
        draw(folder, mask_with(0), name)
    write_nifti(folder / "masks/S03_vol.nii", np.zeros((3, *SHAPE), np.uint8))
    write_dicom(folder / "masks/S05_cine.dcm", np.zeros((2, *SHAPE), np.uint8))


def rename(path, name):
    path.rename(path.with_name(name))


MOVED = np.diag([0.8, 0.5, 2.0, 1.0]) + np.eye(4, k=3) * 5
TABLE = "name,subject\n" + "".join(
    f"{name},P\n" for name in ("S01_a", "S01_b", "S02_a", "S03_vol", "S04_scan", "S05_cine", "S06_a", "S07_a")
)
DAMAGE = {
    "no folder": (
        lambda f: shutil.rmtree(f),
        r"mine: no such folder; expected the folder that holds images/ and masks/",
    ),
    "no images": (lambda f: shutil.rmtree(f / "images"), r"has no folder images/"),
    "no masks": (lambda f: shutil.rmtree(f / "masks"), r"has no folder masks/"),
    "masks empty": (lambda f: [path.unlink() for path in (f / "masks").iterdir()], r"masks: holds no files"),
    "empty file": (lambda f: shorten(f / "images/S01_a.png", 0), r"mine: S01_a\.png is empty"),
    "cut png": (lambda f: shorten(f / "images/S01_a.png", 0.7), r"S01_a\.png is damaged or cut off"),
    "cut jpeg": (lambda f: shorten(f / "images/S01_b.jpg", 0.7), r"S01_b\.jpg is damaged or cut off"),
    "cut tiff": (lambda f: shorten(f / "images/S02_a.tif", 0.7), r"S02_a\.tif is damaged or cut off"),
    "cut bmp": (lambda f: shorten(f / "unlabelled/S06_a.bmp", 0.7), r"S06_a\.bmp is (damaged|not a readable image)"),
    "cut nifti": (lambda f: shorten(f / "images/S03_vol.nii.gz", 0.7), r"S03_vol\.nii\.gz is damaged, cut off"),
    "cut mask": (lambda f: shorten(f / "masks/S03_vol.nii", 0.7), r"masks/S03_vol\.nii is damaged, cut off"),
    "cut dicom": (lambda f: shorten(f / "images/S04_scan.dcm", 0.7), r"S04_scan\.dcm is damaged or cut off"),
    "cut dicom header": (lambda f: shorten(f / "images/S04_scan.dcm", 0.05), r"S04_scan\.dcm is "),
    "another format": (
        lambda f: rename(f / "images/S01_b.jpg", "S01_b.png"),
        r"S01_b\.png is named like PNG but is JPEG",
    ),
    "no format": (lambda f: (f / "images/S01_a.png").write_text("hello"), r"S01_a\.png is not a PNG file"),
    "no nifti": (
        lambda f: (f / "masks/S03_vol.nii").write_text("hello"),
        r"masks/S03_vol\.nii is damaged, cut off, or",
    ),
    "unknown suffix": (lambda f: (f / "unlabelled/notes.txt").write_text("hello"), r"notes\.txt is of an unknown kind"),
    "folder inside": (lambda f: (f / "images/S09").mkdir(), r"images/S09 is not a file"),
    "bomb": (
        lambda f: Image.new("1", (20_000, 10_000)).save(f / "images/S01_a.png"),
        r"S01_a\.png has 200 megapixels, more than 100",
    ),
    "dicom bomb": (
        lambda f: with_rows(f / "images/S04_scan.dcm", 60_000),
        r"S04_scan\.dcm has 3600 megapixels, more than 100",
    ),
    "pages": (
        lambda f: Image.new("L", (9, 9)).save(
            f / "unlabelled/S08.tif", save_all=True, append_images=[Image.new("L", (9, 9))]
        ),
        r"S08\.tif has several pages",
    ),
    "mask of another size": (
        lambda f: draw(f, np.zeros((40, 50))),
        r"masks/S01_a\.png has shape \(40, 50\), its image has \(48, 64\)",
    ),
    "mask of fewer slices": (
        lambda f: write_nifti(f / "masks/S03_vol.nii", np.zeros((2, *SHAPE), np.uint8)),
        r"masks/S03_vol\.nii has shape \(2, 48, 64\), its image has \(3, 48, 64\)",
    ),
    "mask elsewhere": (
        lambda f: write_nifti(f / "masks/S03_vol.nii", np.zeros((3, *SHAPE), np.uint8), MOVED),
        r"masks/S03_vol\.nii lies elsewhere in space than its image: their affines differ",
    ),
    "grey mask": (
        lambda f: draw(f, mask_with(120)),
        r"masks/S01_a\.png has the value 120: expected class ids 0 to 32, or 0 and 255 alone",
    ),
    "colour mask": (lambda f: draw(f, mask_with((9, 0, 0))), r"masks/S01_a\.png has colours: list them"),
    "unknown class": (
        lambda f: (say(f, classes=["background", "brain"]), draw(f, mask_with(2))),
        r"masks/S01_a\.png has the value 2: expected class ids 0 to 1, or 0 and 255 alone: ",
    ),
    "255 of three classes": (
        lambda f: (say(f, classes=["background", "brain", "csf"]), draw(f, mask_with(255))),
        r"masks/S01_a\.png has the value 255: expected class ids 0 to 2; ",
    ),
    "grey of no colour": (
        lambda f: (say(f, classes=["a", "b"], colours=[[0, 0, 0], [9, 9, 9]]), draw(f, mask_with(7))),
        r"S01_a\.png has the value 7: expected class ids 0 to 1, or 0 and 255 alone, or the colours of dataset\.json",
    ),
    "unknown colour": (
        lambda f: (say(f, classes=["a", "b"], colours=[[0, 0, 0], [9, 9, 9]]), draw(f, mask_with((3, 2, 1)))),
        r"masks/S01_a\.png has the colour \(1, 2, 3\), which is not in dataset\.json",
    ),
    "two styles": (
        lambda f: draw(f, mask_with(2)),
        r"has 0 and 255, masks/S01_a\.png has class ids: use one of the two",
    ),
    "image without mask": (
        lambda f: (f / "masks/S01_a.png").unlink(),
        r"S01_a\.png has no mask: move it to unlabelled/",
    ),
    "mask without image": (lambda f: draw(f, mask_with(1), "S99.png"), r"masks/S99\.png has no image"),
    "same stem": (
        lambda f: shutil.copy(f / "images/S01_a.png", f / "unlabelled/S01_a.png"),
        r"images/S01_a\.png and unlabelled/S01_a\.png have the same name: keep one",
    ),
    "same mask": (
        lambda f: draw(f, mask_with(1), "S01_a.bmp"),
        r"mine: masks/S01_a\.bmp and masks/S01_a\.png have the same name: keep one: correct or remove these files$",
    ),
    "line break in a name": (
        lambda f: rename(f / "unlabelled/S07_a.png", "S07\na.png"),
        r"unlabelled: 'S07\\na\.png' has a character that cannot be printed: rename this file",
    ),
    "same name as a slice": (
        lambda f: rename(f / "unlabelled/S07_a.png", "S03_vol_001.png"),
        r"S03_vol_001\.png would be called S03_vol_001, as a frame of S03_vol\.nii\.gz is",
    ),
    "all masks empty": (lambda f: wipe_masks(f), r"masks: all masks are empty"),
    "nan": (
        lambda f: write_volume(f / "unlabelled/S08.nii", 9, 8, value=np.nan),
        r"S08\.nii has values that are not finite",
    ),
    "4-D": (
        lambda f: write_volume(f / "unlabelled/S08.nii", 9, 8, 2, 2),
        r"S08\.nii has 4 dimensions: expected 2 or 3",
    ),
    "dicom without pixels": (lambda f: without_pixels(f / "images/S04_scan.dcm"), r"S04_scan\.dcm is a DICOM without"),
    "dicom without its decoder": (
        lambda f: write_compressed(f / "images/S04_scan.dcm", JPEGLossless),
        r"S04_scan\.dcm has the transfer syntax JPEG Lossless.* \(1\.2.*57\): its decoder is missing: install .*jpeg",
    ),
    "dicom without any decoder": (
        lambda f: write_compressed(f / "images/S04_scan.dcm", MPEG2MPML),
        r"S04_scan\.dcm has the transfer syntax MPEG2 .* \(1\.2.*\): no decoder of it is known: export it uncompressed",
    ),
    "damaged compressed dicom": (
        lambda f: write_compressed(f / "images/S04_scan.dcm", JPEG2000Lossless),
        r"S04_scan\.dcm is damaged or cut off",
    ),
    "no subject": (lambda f: say(f, subject="P([0-9]+)"), r"S01_a\.png has no subject: 'P\(\[0-9\]\+\)' finds none"),
    "no group": (lambda f: say(f, subject="P[0-9]+"), r"dataset\.json: subject is wrong: .* with one group, found 0"),
    "bad pattern": (lambda f: say(f, subject="("), r"dataset\.json: subject is wrong: missing \)"),
    "no json": (lambda f: (f / "dataset.json").write_text("{"), r"dataset\.json: is not a JSON file"),
    "unknown key": (
        lambda f: say(f, class_names=[]),
        r"dataset\.json: expected an object with keys of classes, colours",
    ),
    "one class": (lambda f: say(f, classes=["brain"]), r"dataset\.json: classes is wrong: expected two names or more"),
    "colours alone": (lambda f: say(f, colours=[[0, 0, 0]]), r"dataset\.json: colours must be as many as classes"),
    "spacing": (lambda f: say(f, spacing_mm=0), r"dataset\.json: spacing_mm is wrong: expected mm above 0"),
    "row missing": (
        lambda f: (f / "subjects.csv").write_text(TABLE.replace("S01_a,P\n", "")),
        r"S01_a\.png has no row",
    ),
    "row alone": (
        lambda f: (f / "subjects.csv").write_text(TABLE + "S99,P\n"),
        r"S99 is in subjects\.csv but has no file",
    ),
    "blank cell": (lambda f: (f / "subjects.csv").write_text(TABLE + "S99, \n"), r"csv: line 10 has no name, no subj"),
    "short row": (lambda f: (f / "subjects.csv").write_text(TABLE + "S99\n"), r"csv: line 10 has no name, no subject"),
    "two rows but for a space": (lambda f: (f / "subjects.csv").write_text(TABLE + " S01_a ,Q\n"), r"csv: line 10 has"),
    "line break in a cell": (
        lambda f: (f / "subjects.csv").write_text(TABLE.replace("S01_a,P", 'S01_a,"P\nQ"')),
        r"subjects\.csv: line 3 has a line break or another character that cannot be printed: remove it",
    ),
    "line break in a class": (
        lambda f: say(f, classes=["background", "a\nb"]),
        r"dataset\.json: classes is wrong: a name has a line break",
    ),
    "two rows": (lambda f: (f / "subjects.csv").write_text(TABLE + "S01_a,P\n"), r"subjects\.csv: line 10 has no name"),
    "no columns": (
        lambda f: (f / "subjects.csv").write_text("a,b\n"),
        r"subjects\.csv: expected the columns name,subject",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_wrong_folder_is_refused_in_one_line_and_leaves_nothing(damage, folder, refused):
    harm, message = DAMAGE[damage]
    harm(folder)
    refused("folder", folder, message)


def test_with_keep_going_bad_files_are_listed_and_the_rest_is_prepared(folder, tmp_path, capfd):
    shorten(folder / "images/S01_a.png", 0.7)
    (folder / "masks/S03_vol.nii").write_text("hello")
    (folder / "unlabelled/S08.png").write_bytes(b"")
    (folder / "masks/S02_a.bmp").unlink()
    prepare_dataset("folder", tmp_path / "data", str(folder), keep_going=True)
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 4
    assert all(line.startswith("left out: ") for line in said)
    for name in ("S01_a.png", "S03_vol.nii", "S08.png", "S02_a.tif"):
        assert sum(name in line for line in said) == 1
    opened = Dataset("folder", tmp_path / "data")
    assert set(opened.names) == {"S01_b", "S04_scan", "S05_cine_000", "S05_cine_001", "S06_a", "S07_a"}


def test_with_keep_going_nothing_of_two_files_of_one_name_is_prepared(folder, tmp_path, capfd):
    draw(folder, mask_with(1), "S01_a.bmp")
    shutil.copy(folder / "unlabelled/S07_a.png", folder / "unlabelled/S06_a.png")
    rename(folder / "unlabelled/S07_a.png", "S03_vol_001.png")
    prepare_dataset("folder", tmp_path / "data", str(folder), keep_going=True)
    assert [line.partition(":")[0] for line in capfd.readouterr().err.splitlines()] == ["left out"] * 3
    names = ["S01_b", "S02_a", *(f"S03_vol_00{i}" for i in range(3)), "S04_scan", "S05_cine_000", "S05_cine_001"]
    assert sorted(Dataset("folder", tmp_path / "data").names) == names


def test_with_keep_going_a_folder_without_a_good_file_is_still_refused(folder, tmp_path):
    for path in [*(folder / "images").iterdir(), *(folder / "unlabelled").iterdir()]:
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"is empty.*and 3 more"):
        prepare_dataset("folder", tmp_path / "data", str(folder), keep_going=True)
    assert list((tmp_path / "data").iterdir()) == []


def test_several_folders_lie_side_by_side_each_with_its_own_facts(folder, tmp_path):
    prepare_dataset("folder", tmp_path / "data", str(folder))
    say(folder, classes=["background", "brain"])
    prepare_dataset("folder/second", tmp_path / "data", str(folder))
    assert builders.facts("folder", tmp_path / "data").classes == ("background", "foreground")
    assert builders.facts("folder/second", tmp_path / "data").classes == ("background", "brain")
    listed = [line.split()[0] for line in list_datasets(tmp_path / "data")]
    assert [name for name in listed if name.startswith("folder")] == ["folder", "folder/second"]
    with pytest.raises(UserError, match=r"folder/third is not prepared"):
        Dataset("folder/third", tmp_path / "data")


def test_what_is_prepared_is_known_by_its_contents(folder, tmp_path):
    prepare_dataset("folder", tmp_path / "a", str(folder))
    prepare_dataset("folder", tmp_path / "b", str(folder))
    draw(folder, mask_with(255))
    prepare_dataset("folder", tmp_path / "c", str(folder))
    a, b, c = (Dataset("folder", tmp_path / name).version for name in "abc")
    assert a == b != c


def test_the_folder_in_the_tests_has_every_format(tmp_path):
    """The one of the documentation; tests/data/make_mixed_folder.py wrote it."""
    prepare_dataset("folder", tmp_path, str(MIXED))
    opened = Dataset("folder", tmp_path)
    suffixes = {path.name[len(stem(path)) :] for path in (MIXED / "images").iterdir()}
    assert suffixes == {".png", ".jpg", ".tif", ".tiff", ".bmp", ".dcm", ".nii.gz"}
    assert opened.facts.classes == ("background", "cerebellum")
    assert sum(opened.labelled.values()) == 44
    assert len(opened) == 64
    assert len(set(opened.subjects.values())) == 16
    for name in opened.names:
        assert opened[name].image.shape == (96, 128, 1)
        if opened.labelled[name]:
            assert 40 < opened[name].labels.sum() < 3000


def test_a_table_of_subjects_may_have_semicolons_but_must_be_utf_8(folder):
    table = (TABLE.replace(",", ";")).replace("S01_a;P", "S01_a;Müller")
    (folder / "subjects.csv").write_text(table, encoding="utf-8")
    subjects = {item.stem: item.subject for item in read_source(folder).items}
    assert (subjects["S01_a"], subjects["S01_b"]) == ("Müller", "P")
    (folder / "subjects.csv").write_text(table, encoding="latin-1")
    with pytest.raises(UserError, match=r"subjects\.csv: is not UTF-8.*save it as CSV UTF-8"):
        read_source(folder)


def test_hidden_files_are_left_alone(folder):
    (folder / "images" / ".DS_Store").write_bytes(b"x")
    assert len(read_source(folder).items) == 8
