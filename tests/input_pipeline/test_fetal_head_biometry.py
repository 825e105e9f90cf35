"""Large Fetal Head Biometry: folders are found, blended edges repaired to one of their two sides, the rest refused."""

import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from fetal_jax.core.types import UserError
from input_pipeline.builders.common import SPLIT
from input_pipeline.builders.fetal_head_biometry import FACTS, FetalHeadBiometry
from input_pipeline.builders.fetal_head_biometry.dummy import FOLDERS, SHAPE, TABLES, dummy_data
from input_pipeline.builders.fetal_head_biometry.masks import CLASSES, PUBLISHED, class_ids, decode_mask, read_colours
from input_pipeline.builders.fetal_head_biometry.source import read_labels, read_source
from input_pipeline.formats.raster import read_grey

RGB = np.array([PUBLISHED[name] for name in CLASSES], np.uint8)
BACKGROUND, BRAIN, CSP, LV = range(4)
PLANE = "trans-thalamic"
FIRST, SECOND = "Patient00001_Plane3_1_of_2", "Patient00002_Plane3_1_of_2"


# Masks


def ids_of(rgb):
    return class_ids(np.asarray(rgb, np.uint8), PUBLISHED)


def test_pure_colours_are_classes_and_nothing_is_repaired():
    ids = np.arange(4, dtype=np.uint8).reshape(2, 2)
    labels, repaired = ids_of(RGB[ids])
    np.testing.assert_array_equal(labels, ids)
    assert repaired == 0


def test_half_red_half_blue_is_never_a_third_class():
    """Black is as near to it as red and blue are."""
    rgb = np.zeros((60, 60, 3))
    rgb[:, :29], rgb[:, 29], rgb[:, 30:] = RGB[BRAIN], (120, 0, 135), RGB[LV]
    rgb[:20, 29] = (135, 0, 120)
    labels, repaired = ids_of(rgb)
    assert repaired == 60
    np.testing.assert_array_equal(labels[:, 29], [BRAIN] * 20 + [LV] * 40)
    assert set(labels.flat) == {BRAIN, LV}


def test_a_blend_with_black_goes_to_the_larger_share():
    rgb = np.zeros((20, 100, 3))
    rgb[:, 50:] = RGB[CSP]
    rgb[:, 49] = [(0, 10 * i, 0) for i in range(20)]
    labels, repaired = ids_of(rgb)
    assert repaired == 19  # the first is black itself
    np.testing.assert_array_equal(labels[:, 49], [BACKGROUND] * 13 + [CSP] * 7)  # 127.5 is the middle


@pytest.mark.parametrize("inner", [BACKGROUND, CSP, LV])
@pytest.mark.parametrize("outer", [BACKGROUND, BRAIN])
def test_an_edge_with_shares_of_two_colours_goes_to_the_larger_one(inner, outer):
    """Every pixel is the mean of 8 x 8 finer ones: what anti-aliasing should do, with the right answer known."""
    fine = np.full((8 * 120, 8 * 120), outer, np.uint8)
    cv2.ellipse(fine, (483, 470), (310, 215), 20, 0, 360, inner, cv2.FILLED)
    rgb = cv2.resize(RGB[fine], (120, 120), interpolation=cv2.INTER_AREA)
    share = cv2.resize((fine == inner).astype(np.float32), (120, 120), interpolation=cv2.INTER_AREA)
    labels, repaired = ids_of(rgb)
    clear = np.abs(share - 0.5) > 0.005
    np.testing.assert_array_equal(labels[clear], np.where(share > 0.5, inner, outer)[clear])
    assert repaired == int(np.any(rgb[:, :, None] != RGB, axis=-1).all(axis=-1).sum())


def test_edges_that_opencv_draws_smooth_stay_within_a_pixel_of_those_drawn_sharp():
    smooth, sharp = np.zeros((300, 400, 3), np.uint8), np.zeros((300, 400), np.uint8)
    for at, axes, ids in (((200, 150), (120, 95), BRAIN), ((130, 150), (15, 8), CSP), ((240, 180), (40, 14), LV)):
        cv2.ellipse(smooth, at, axes, 15, 0, 360, RGB[ids].tolist(), cv2.FILLED, cv2.LINE_AA)
        cv2.ellipse(sharp, at, axes, 15, 0, 360, ids, cv2.FILLED)
    labels, repaired = ids_of(smooth)
    assert repaired == int(np.any(smooth[:, :, None] != RGB, axis=-1).all(axis=-1).sum()) > 1000
    square = np.ones((3, 3), np.uint8)
    for ids in (BRAIN, CSP, LV):
        region = (sharp == ids).astype(np.uint8)
        found = (labels == ids).astype(np.uint8)
        assert not np.any(found > cv2.dilate(region, square))
        assert not np.any(cv2.erode(region, square) > found)


def test_a_line_too_thin_for_a_pure_pixel_is_kept():
    rgb = np.zeros((50, 50, 3))
    rgb[10:40, 20], rgb[10:40, 21] = (0, 0, 200), (0, 0, 90)
    labels, repaired = ids_of(rgb)
    assert repaired == 60
    np.testing.assert_array_equal(np.argwhere(labels == LV), [(row, 20) for row in range(10, 40)])


def test_noise_of_compression_inside_a_region_is_repaired_and_more_is_not():
    rgb = np.zeros((100, 100, 3))
    rgb[20:80, 20:80] = RGB[BRAIN]
    rgb[40:50, 40:50] = (225, 30, 30)
    labels, repaired = ids_of(rgb)
    assert (repaired, int((labels == BRAIN).sum())) == (100, 3600)
    rgb[40:50, 40:50] = (200, 80, 80)
    with pytest.raises(ValueError, match=r"has the colour \(200, 80, 80\) at row 40, column 40 and 99 more pixels"):
        ids_of(rgb)


@pytest.mark.parametrize("colour", [(255, 255, 255), (128, 128, 128), (255, 255, 0), (255, 0, 255), (0, 255, 255)])
def test_a_colour_far_off_is_refused_with_its_place(colour):
    rgb = np.zeros((100, 100, 3))
    rgb[20:80, 20:80] = RGB[BRAIN]
    rgb[33, 44] = colour
    words = ", ".join(map(str, colour))
    with pytest.raises(ValueError, match=rf"has the colour \({words}\) at row 33, column 44, which is not a blend"):
        ids_of(rgb)


def test_too_many_blended_pixels_are_refused():
    rgb = np.zeros((100, 100, 3))
    rgb[:, 1::2] = RGB[BRAIN]
    rgb[:, 10:20:2] = (100, 0, 0)
    assert ids_of(rgb)[1] == 500
    rgb[0, 20] = (100, 0, 0)
    with pytest.raises(ValueError, match="has blended colours in 5% of its pixels, more than 5%"):
        ids_of(rgb)


def saved(image, tmp_path):
    image.save(tmp_path / "mask.png")
    return (tmp_path / "mask.png").read_bytes()


def test_palettes_and_opaque_masks_count_as_the_colours_they_show(tmp_path):
    ids = np.arange(4, dtype=np.uint8).reshape(2, 2)
    palette = Image.fromarray(ids)
    palette.putpalette(RGB.ravel().tolist())
    opaque = Image.fromarray(np.dstack([RGB[ids], np.full((2, 2), 255, np.uint8)]))
    for image in (palette, opaque, Image.fromarray(RGB[ids])):
        np.testing.assert_array_equal(decode_mask(saved(image, tmp_path)), RGB[ids])
    black = Image.fromarray(np.zeros((2, 2), np.uint8))
    np.testing.assert_array_equal(decode_mask(saved(black, tmp_path)), np.zeros((2, 2, 3)))


def test_grey_deep_and_transparent_masks_are_refused(tmp_path):
    grey = Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8))
    deep = Image.fromarray(np.array([[0, 1], [2, 60000]], np.uint16))
    clear = Image.fromarray(np.zeros((2, 2, 4), np.uint8))
    for image, words in ((grey, "is grey"), (deep, "has uint16 pixels"), (clear, "is transparent in places")):
        with pytest.raises(ValueError, match=words):
            decode_mask(saved(image, tmp_path))


def test_colours_are_read_from_the_label_map():
    text = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nCSP:255,255,0::\nBrain:128,0,0::\ncerebellum:9,9,9::\n"
    assert read_colours(text) == {
        "background": (0, 0, 0),
        "brain": (128, 0, 0),
        "csp": (255, 255, 0),
        "lv": (0, 0, 255),
    }
    with pytest.raises(ValueError, match=r"has the line 'brain=red', expected label:red,green,blue::"):
        read_colours("brain=red\n")
    with pytest.raises(ValueError, match="gives two classes one colour"):
        read_colours("LV:0,255,0::\n")


# Folders


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads") / "published"
    return folder, dummy_data(folder)


@pytest.fixture
def folder(pristine, tmp_path):
    return shutil.copytree(pristine[0], tmp_path / "published")


def prepare(folder, data_dir, config="trans_thalamic", **kwargs):
    data_dir.mkdir(exist_ok=True)
    builder = FetalHeadBiometry(
        data_dir=str(data_dir), config=config, file_format="array_record", source=str(folder), **kwargs
    )
    builder.download_and_prepare()
    return {example["name"].decode(): example for example in builder.as_data_source(split=SPLIT)}


def masks_of(folder, plane=PLANE):
    top, _, masks = FOLDERS[plane]
    return folder / top / masks / "SegmentationClass"


def images_of(folder, plane=PLANE):
    return folder / FOLDERS[plane][0] / FOLDERS[plane][1]


def test_sharp_masks_are_prepared_as_drawn(pristine, tmp_path):
    folder, ids = pristine
    examples = prepare(folder, tmp_path / "data")
    assert set(examples) == set(ids[PLANE])
    for name, example in examples.items():
        np.testing.assert_array_equal(example["image"][..., 0], read_grey(images_of(folder) / f"{name}.png"))
        assert example["labelled"]
        assert example["spacing_mm"].tolist() == [0, 0]
        assert example["subject"].decode() == name[7:12]
        if example["subject"] != b"00001":
            np.testing.assert_array_equal(example["labels"][..., 0], ids[PLANE][name])
            assert example["repaired_pixels"] == 0
    sizes = {name: round(float(example["published_pixel_mm"]), 4) for name, example in examples.items()}
    assert sizes[FIRST] == 0.21
    assert sizes[SECOND] == 0.23


def test_repaired_pixels_are_counted_for_each_mask_and_in_all(folder, tmp_path, capfd):
    rgb = cv2.imread(str(masks_of(folder) / f"{FIRST}.png"))[..., ::-1]
    n_off = int(np.any(rgb[:, :, None] != RGB, axis=-1).all(axis=-1).sum())
    assert n_off > 100
    reading = read_source(folder, PLANE)
    counts = {head.name: head.repaired_pixels for head in reading.items}
    assert counts[FIRST] == n_off
    note = f"{PLANE}: {sum(counts.values())} blended pixels at edges repaired in 2 of 5 masks, at most"
    assert [line.startswith(note) for line in reading.notes] == [True]
    examples = prepare(folder, tmp_path / "data")
    assert int(examples[FIRST]["repaired_pixels"]) == n_off
    assert note in capfd.readouterr().err
    for path in images_of(folder).glob("Patient00001*"):
        path.unlink()
        (masks_of(folder) / path.name).unlink()
    assert read_source(folder, PLANE).notes == []


@pytest.mark.slow
@pytest.mark.parametrize("plane", FOLDERS)
def test_every_plane_has_its_two_variants(plane, pristine, tmp_path):
    folder, ids = pristine
    name = plane.replace("-", "_")
    both, csp = (prepare(folder, tmp_path / config, config) for config in (name, f"{name}_csp"))
    assert set(both) == set(csp) == set(ids[plane])
    for key in both:
        labels = both[key]["labels"]
        assert set(np.unique(labels)) == {0, 1, 2, 3}
        np.testing.assert_array_equal(csp[key]["labels"], np.where(labels == LV, BRAIN, labels))
    facts = {config.name: config.facts for config in FetalHeadBiometry.BUILDER_CONFIGS}
    assert facts[name].classes == ("background", "brain", "csp", "lv")
    assert facts[f"{name}_csp"].classes == ("background", "brain", "csp")
    assert len(facts[f"{name}_csp"].colours) == 3
    assert facts[name] == FACTS


def test_the_default_is_the_trans_thalamic_plane_with_csp_and_ventricles():
    first = FetalHeadBiometry.BUILDER_CONFIGS[0]
    assert (first.name, first.options) == ("trans_thalamic", {"plane": "trans-thalamic", "variant": "csp_lv"})


def test_the_digits_of_a_diverse_image_are_its_subject(pristine):
    subjects = {head.name: head.subject for head in read_source(pristine[0], "diverse").items}
    assert subjects == {"001_HC": "001", "001_2HC": "001", "002_HC": "002", "003_HC": "003", "004_HC": "004"}


def labels_of(folder, plane=PLANE):
    return {head.name: read_labels(head) for head in read_source(folder, plane).items}


def move_masks(folder):
    """As a user may put them: images/ and masks/."""
    top = folder / FOLDERS[PLANE][0]
    masks_of(folder).rename(top / "masks")
    shutil.rmtree(top / FOLDERS[PLANE][2])
    images_of(folder).rename(top / "images")


def add_exports(folder):
    """All that lies beside the masks when everything is unpacked."""
    top = folder / FOLDERS[PLANE][0]
    for export in ("Trans-thalamic-PASCAL/SegmentationClass", "Trans-thalamic-Cityscapes/gtFine/default"):
        shutil.copytree(masks_of(folder), top / export)
    for copy in ("Trans-thalamic-orginal-size", "Trans-thalamic-COCO/images", "Trans thalamic copies"):
        shutil.copytree(images_of(folder), top / copy)


LAYOUTS = {
    "other exports": (add_exports, lambda folder: folder),
    "images and masks": (move_masks, lambda folder: folder),
    "the plane itself": (lambda folder: None, lambda folder: folder / "Trans-thalamic"),
    "one folder more": (lambda folder: None, lambda folder: folder.parent),
    "other spelling": (
        lambda folder: (folder / "Trans-thalamic").rename(folder / "trans_thalamic"),
        lambda folder: folder,
    ),
    "no label map": (
        lambda folder: (folder / "Trans-thalamic" / FOLDERS[PLANE][2] / "labelmap.txt").unlink(),
        lambda folder: folder,
    ),
    "no pixel sizes": (lambda folder: (folder / "Trans-thalamic" / TABLES[PLANE]).unlink(), lambda folder: folder),
    "hidden files": (lambda folder: (masks_of(folder) / "._x.png").write_bytes(b"fork"), lambda folder: folder),
}


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_images_and_masks_are_found_in_any_usual_layout(layout, folder, pristine):
    wanted = labels_of(pristine[0])
    change, source = LAYOUTS[layout]
    change(folder)
    found = labels_of(source(folder))
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name])


def test_without_a_label_map_the_csp_of_diverse_images_is_yellow(folder, pristine):
    (folder / FOLDERS["diverse"][0] / FOLDERS["diverse"][2] / "labelmap.txt").unlink()
    np.testing.assert_array_equal(labels_of(folder, "diverse")["002_HC"], pristine[1]["diverse"]["002_HC"])


def test_the_label_map_wins_over_the_published_colours(folder, pristine):
    path = folder / "Trans-thalamic" / FOLDERS[PLANE][2] / "labelmap.txt"
    path.write_text("Brain:0,0,255::\nLV:255,0,0::\n")
    found = labels_of(folder)[SECOND]
    np.testing.assert_array_equal(found, np.array([0, LV, CSP, BRAIN])[pristine[1][PLANE][SECOND]])


SIZES = {
    "Label,Pixel in mm\nPatient00002_Plane3_1_of_2.png,0.5\n": 0.5,
    "Label, pixel  in MM \nPatient00002_Plane3_1_of_2,0.5\n": 0.5,
    "Label,Pixel in mm\nPatient00002_Plane3_1_of_2.png,none\n": 0,
    "Label,Pixel in mm\nPatient00002_Plane3_1_of_2.png,-1\n": 0,
    "Label,Pixel in mm\nPatient00002_Plane3_1_of_2.png\n": 0,
    "Label,Pixel in mm\nPatient00002_Plane3_1_of_2.png,0.5\nPatient00002_Plane3_1_of_2.png,0.5\n": 0.5,
    "Label,Pixel in mm\nPatient00002_Plane3_1_of_2.png,0.5\nPatient00002_Plane3_1_of_2.png,0.6\n": 0,
    "Name,Size\nPatient00002_Plane3_1_of_2.png,0.5\n": 0,
    "": 0,
}


@pytest.mark.parametrize("table", SIZES)
def test_pixel_sizes_are_kept_where_the_table_has_them(table, folder):
    (folder / "Trans-thalamic" / TABLES[PLANE]).write_text(table)
    sizes = {head.name: head.published_pixel_mm for head in read_source(folder, PLANE).items}
    assert sizes[SECOND] == SIZES[table]
    assert sizes[FIRST] == 0


def draw(path, array):
    cv2.imwrite(str(path), np.asarray(array, np.uint8))


def paint(folder, colour):
    path = masks_of(folder) / f"{SECOND}.png"
    mask = cv2.imread(str(path))
    mask[3, 7] = colour[::-1]
    draw(path, mask)


def rename_both(folder, new):
    for where in (images_of(folder), masks_of(folder)):
        (where / f"{SECOND}.png").rename(where / f"{new}.png")


MASK = rf"SegmentationClass/{SECOND}\.png"
FILES = {
    "no mask": (lambda f: (masks_of(f) / f"{SECOND}.png").unlink(), rf"{SECOND}\.png has no mask in SegmentationClass"),
    "no image": (lambda f: (images_of(f) / f"{SECOND}.png").unlink(), rf"{MASK} has no image"),
    "size": (
        lambda f: draw(masks_of(f) / f"{SECOND}.png", np.zeros((40, 50, 3))),
        rf"{MASK} has shape \(40, 50\), its image has \({SHAPE[0]}, {SHAPE[1]}\)",
    ),
    "colour": (lambda f: paint(f, (90, 200, 90)), rf"{MASK} has the colour \(90, 200, 90\) at row 3, column 7"),
    "grey": (lambda f: draw(masks_of(f) / f"{SECOND}.png", np.full(SHAPE, 3)), f"{MASK} is grey: export"),
    "empty mask file": (lambda f: (masks_of(f) / f"{SECOND}.png").write_bytes(b""), f"{MASK} is empty"),
    "empty image file": (lambda f: (images_of(f) / f"{SECOND}.png").write_bytes(b""), rf"{SECOND}\.png is empty"),
    "cut image": (
        lambda f: (images_of(f) / f"{SECOND}.png").write_bytes((images_of(f) / f"{SECOND}.png").read_bytes()[:900]),
        rf"{SECOND}\.png is damaged or cut off",
    ),
    "line break": (
        lambda f: rename_both(f, "Patient00002_a\nb"),
        r"SegmentationClass/Patient00002_a\\nb\.png' has a line break or control character in its name",
    ),
    "no subject": (
        lambda f: rename_both(f, "head_7"),
        r"head_7\.png is not named like Patient01039_Plane3_2_of_2\.png",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", FILES)
def test_a_bad_file_is_named_and_with_keep_going_the_rest_is_prepared(damage, folder, tmp_path, capfd):
    harm, message = FILES[damage]
    harm(folder)
    with pytest.raises(UserError, match=message) as caught:
        prepare(folder, tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "data").rglob("*.array_record*")) == []
    assert len(prepare(folder, tmp_path / "rest", keep_going=True)) == 4
    assert "left out: " in capfd.readouterr().err


FOLDER_TROUBLE = {
    "no folder": (lambda f: shutil.rmtree(f), "published: no such folder"),
    "no plane": (
        lambda f: shutil.rmtree(f / "Trans-thalamic"),
        r"has no folder Trans-thalamic/: unpack Trans-thalamic\.zip",
    ),
    "no masks": (lambda f: shutil.rmtree(masks_of(f).parent), r"Trans-thalamic: has no folder of PNG masks: unpack"),
    "no images": (lambda f: shutil.rmtree(images_of(f)), r"Trans-thalamic: has no folder of PNG images: unpack"),
    "two masks": (
        lambda f: shutil.copytree(masks_of(f), f / "Trans-thalamic" / "segmentation" / "SegmentationClass"),
        r"has 2 folders that may be the masks \(.*\): leave only one",
    ),
    "label map": (
        lambda f: (masks_of(f).parent / "labelmap.txt").write_text("Brain red\n"),
        r"labelmap\.txt has the line 'Brain red', expected .*: correct it, or remove it",
    ),
}


@pytest.mark.parametrize("trouble", FOLDER_TROUBLE)
def test_a_folder_that_is_not_the_dataset_is_refused_in_one_line(trouble, folder):
    harm, message = FOLDER_TROUBLE[trouble]
    harm(folder)
    with pytest.raises(UserError, match=message) as caught:
        read_source(folder, PLANE)
    assert "\n" not in str(caught.value)
