"""Predicting files: from a saved network to masks, a table and pictures, and every refusal."""

import csv
import pathlib
import weakref

import cv2
import numpy as np
import pytest

import fetal_jax
from fetal_jax.core.types import UserError
from fetal_jax.inference import predict_images as files
from fetal_jax.inference import segmenter as segmenters
from fetal_jax.inference.predict_images import predict_files
from input_pipeline.builders.folder.dummy import write_dicom, write_nifti
from input_pipeline.builders.folder.source import read_frames, read_source
from input_pipeline.formats.raster import read_grey

MIXED = pathlib.Path(__file__).parent.parent / "data" / "mixed_folder"


@pytest.fixture(scope="module")
def model(tmp_path_factory, card, small_network):
    workdir = tmp_path_factory.mktemp("run")
    segmenters.save(workdir / "model", card, small_network[1])
    return workdir


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    return folder


def write(path, shape=(40, 60), value=200, dtype=np.uint8):
    """An image with a bright rectangle in its middle."""
    image = np.zeros(shape, dtype)
    height, width = shape[:2]
    image[height // 4 : height // 2, width // 4 : width // 2] = value
    assert cv2.imwrite(str(path), image)
    return path


def table(out):
    with (out / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_from_a_saved_network_to_masks_in_native_size(model, folder, tmp_path):
    rng = np.random.default_rng(0)
    shapes = {"wide": (50, 80), "tall": (90, 40), "same": (32, 32)}
    for name, shape in shapes.items():
        assert cv2.imwrite(str(folder / f"{name}.png"), rng.integers(0, 256, shape, np.uint8))
    out = tmp_path / "masks"
    lines = list(predict_files(model, [folder], out, spacing_mm=0.5))
    assert lines == [f"{folder / name}.png -> {out / name}.png" for name in sorted(shapes)]
    segmenter = fetal_jax.load(model)
    for row in table(out):
        mask = cv2.imread(str(out / f"{row['name']}.png"), cv2.IMREAD_UNCHANGED)
        answer = segmenter(read_grey(folder / f"{row['name']}.png"), (0.5, 0.5))
        assert mask.shape == shapes[row["name"]]
        np.testing.assert_array_equal(mask, answer.labels)
        assert 0 < mask.sum() < mask.size, "random weights on noise give both classes"
        assert int(row["pixels"]) == (mask == 1).sum()
        assert float(row["area_mm2"]) == pytest.approx((mask == 1).sum() * 0.25)
        assert float(row["confidence"]) == pytest.approx(answer.probs[mask == 1, 1].mean(), abs=1e-4)
    assert sorted(p.name for p in out.iterdir()) == [
        "measurements.csv",
        "predictions.csv",
        "same.png",
        "tall.png",
        "wide.png",
    ]


def test_grey_colour_alpha_and_jpeg_give_the_same_mask(model, folder, tmp_path, bright_is_foreground):
    write(folder / "grey.png")
    write(folder / "colour.png", (40, 60, 3))
    write(folder / "alpha.png", (40, 60, 4))
    write(folder / "photo.JPG")
    write(folder / "scan.tif", (40, 60))
    list(predict_files(model, [folder], tmp_path / "out"))
    masks = {name: read_grey(tmp_path / "out" / f"{name}.png") for name in ("grey", "colour", "alpha", "photo", "scan")}
    assert masks["grey"].sum() > 100
    for name, mask in masks.items():
        assert mask.shape == (40, 60)
        np.testing.assert_array_equal(mask, masks["grey"], err_msg=name)


def test_the_table_has_a_row_an_image_and_class(model, folder, tmp_path, bright_is_foreground):
    write(folder / "a.png")
    write(folder / "dark.png", value=0)
    list(predict_files(model, [folder / "dark.png", folder / "a.png"], tmp_path / "out"))
    dark, bright = table(tmp_path / "out")
    assert list(dark) == ["name", "file", "class", "pixels", "area_mm2", "confidence"]
    assert [dark[key] for key in ("name", "class", "pixels", "area_mm2", "confidence")] == [
        "dark",
        "cerebellum",
        "0",
        "",
        "",
    ]
    assert (bright["name"], bright["file"], bright["area_mm2"]) == ("a", str(folder / "a.png"), "")
    assert float(bright["confidence"]) > 0.5


def test_an_overlay_is_the_image_with_the_outline_in_colour(model, folder, tmp_path, card, bright_is_foreground):
    write(folder / "a.png")
    list(predict_files(model, [folder], tmp_path / "out", overlay=True))
    picture = cv2.cvtColor(cv2.imread(str(tmp_path / "out" / "a_overlay.png")), cv2.COLOR_BGR2RGB)
    assert picture.shape == (40, 60, 3)
    mask = read_grey(tmp_path / "out" / "a.png")
    drawn = (picture == card.facts.colours[1]).all(-1)
    assert drawn.any()
    assert (mask[drawn] == 1).all()
    np.testing.assert_array_equal(picture[mask == 0], read_grey(folder / "a.png")[mask == 0][:, None].repeat(3, 1))


def test_flips_ask_the_network_three_times(model, folder, tmp_path, bright_is_foreground, monkeypatch):
    asked = []

    def asymmetric(variables, images):
        asked.append(images.copy())
        return np.concatenate([1 - images, images], -1)

    monkeypatch.setattr(segmenters, "make_predict", lambda model, mesh: asymmetric)
    write(folder / "a.png")
    list(predict_files(model, [folder], tmp_path / "out", tta="flips"))
    np.testing.assert_array_equal(asked[1], asked[0][:, :, ::-1])
    np.testing.assert_array_equal(asked[2], asked[0][:, ::-1])
    assert read_grey(tmp_path / "out" / "a.png").sum() > 100


def refused(model, paths, out, message, **options):
    with pytest.raises(UserError, match=message) as error:
        list(predict_files(model, paths, out, **options))
    assert "\n" not in str(error.value)
    assert not out.exists() or not list(out.glob("*.csv")), "nothing is written when an input is refused"


@pytest.mark.slow
def test_files_of_any_format_are_predicted_as_they_were_prepared(model, tmp_path, bright_is_foreground):
    """Names, grey values and pixel sizes are those of the frames that the builder `folder` makes of the same files."""
    lines = list(predict_files(model, [MIXED / "images", MIXED / "unlabelled"], tmp_path / "out", spacing_mm=None))
    rows, segmenter = {row["name"]: row for row in table(tmp_path / "out")}, fetal_jax.load(model)
    items = read_source(MIXED).items
    frames = {frame.name: (item.path, frame) for item in items for frame in read_frames(item)}
    assert len(lines) == len(frames) == 64
    assert set(rows) == set(frames) == {path.stem for path in (tmp_path / "out").glob("*.png")}
    assert {"P03_cine_000", "P06_cine_003", "P00_2", "P04_3"} <= set(frames)
    for name, (path, frame) in frames.items():
        mask = cv2.imread(str(tmp_path / "out" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(mask, segmenter(frame.image).labels, err_msg=name)
        assert rows[name]["file"] == str(path)
        assert (rows[name]["area_mm2"] != "") == (path.suffix in (".dcm", ".gz"))
        if rows[name]["area_mm2"]:
            area = int(rows[name]["pixels"]) * np.prod(frame.spacing_mm)
            assert float(rows[name]["area_mm2"]) == pytest.approx(area, abs=1e-3)


def film(path, n=2, **tags):
    """A DICOM with a bright rectangle in frame 1, pixels of 0.5 x 0.25 mm."""
    frames = np.zeros((n, 40, 60), np.uint8)
    frames[-1, 10:20, 20:40] = 200
    write_dicom(path, frames, PixelSpacing=[0.5, 0.25], **tags)
    return path


def test_each_frame_of_a_film_has_its_mask_picture_and_row(model, folder, tmp_path, bright_is_foreground):
    path = film(folder / "cine.v2.dcm")
    lines = list(predict_files(model, [folder], tmp_path / "out", overlay=True))
    assert lines == [f"{path} -> {tmp_path / 'out' / name}.png" for name in ("cine.v2_000", "cine.v2_001")]
    dark, bright = table(tmp_path / "out")
    assert (dark["name"], dark["pixels"], dark["area_mm2"]) == ("cine.v2_000", "0", "0.000")
    assert float(bright["area_mm2"]) == pytest.approx(int(bright["pixels"]) * 0.125)
    assert int(bright["pixels"]) > 100
    pictures = {f"cine.v2_00{i}{ending}.png" for i in (0, 1) for ending in ("", "_overlay")}
    assert {path.name for path in (tmp_path / "out").iterdir()} == pictures | {"predictions.csv", "measurements.csv"}


def test_the_spacing_of_the_user_goes_before_that_of_the_file(model, folder, tmp_path, bright_is_foreground):
    list(predict_files(model, [film(folder / "cine.dcm")], tmp_path / "out", spacing_mm=2.0))
    bright = table(tmp_path / "out")[1]
    assert float(bright["area_mm2"]) == 4 * int(bright["pixels"]) > 0


def test_a_dicom_without_a_suffix_is_read_where_it_is_named(model, folder, tmp_path, bright_is_foreground):
    path = film(folder / "IM0001", n=1)
    write(folder / "a.png")
    (folder / "._a.png").write_bytes(b"fork of macOS")
    (folder / "notes.txt").write_text("not asked for")
    assert len(list(predict_files(model, [folder], tmp_path / "all"))) == 1
    list(predict_files(model, [path], tmp_path / "one"))
    (row,) = table(tmp_path / "one")
    assert row["name"] == "IM0001"
    assert float(row["area_mm2"]) > 0
    refused(model, [folder / "notes.txt"], tmp_path / "out", r"notes\.txt is of an unknown kind: expected PNG, ")


def test_the_frame_of_a_film_and_an_image_of_one_name_are_refused(model, folder, tmp_path):
    film(folder / "cine.dcm")
    write(folder / "cine_001.png")
    refused(model, [folder], tmp_path / "out", r"cine_001\.png and .*cine\.dcm would both write cine_001\.png")


def test_one_file_is_in_memory_at_a_time(model, folder, tmp_path, bright_is_foreground, monkeypatch):
    for name in "abc":
        film(folder / f"{name}.dcm")
    stacks, read = [], files.read

    def counted(path):
        assert [stack for stack in stacks if stack() is not None] == []
        stack = read(path)
        stacks.append(weakref.ref(stack))
        return stack

    monkeypatch.setattr(files, "read", counted)
    list(predict_files(model, [folder], tmp_path / "out"))
    assert len(stacks) == 6, "each is checked, then predicted"


def test_a_file_without_the_right_to_read_it_is_refused(model, folder, tmp_path, monkeypatch):
    def forbid(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(files, "read", forbid)
    write(folder / "a.png")
    refused(model, [folder], tmp_path / "out", r"a\.png cannot be read \(Permission denied\): check its rights")


def test_deep_images_are_scaled_as_in_preparation(model, folder, tmp_path, bright_is_foreground):
    write(folder / "deep.png", value=4000, dtype=np.uint16)
    write(folder / "flat.png", value=255)
    list(predict_files(model, [folder], tmp_path / "out"))
    deep, flat = (read_grey(tmp_path / "out" / f"{name}.png") for name in ("deep", "flat"))
    assert flat.sum() > 100
    np.testing.assert_array_equal(deep, flat)


@pytest.mark.parametrize("name", ["cine.nii.gz", "cine.dcm", "scan.tif"])
def test_deep_files_and_volumes_that_are_cut_off_are_refused(name, model, folder, tmp_path):
    write(folder / "a.png")
    path = folder / name
    if name == "cine.dcm":
        film(path)
    elif name == "scan.tif":
        write(path, value=4000, dtype=np.uint16)
    else:
        write_nifti(path, np.random.default_rng(0).integers(0, 4000, (3, 40, 60)).astype(np.int16), np.eye(4))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(model, [folder], tmp_path / "out", rf"{name} is damaged,? .*cut off.*: export it again, or remove it")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"not an image", "is not a PNG file"),
        (b"\x89PNG\r\n\x1a\n cut off", "is damaged or cut off"),
    ],
)
def test_files_that_are_no_images_are_refused_by_name(model, folder, tmp_path, content, what):
    write(folder / "a.png")
    (folder / "broken.png").write_bytes(content)
    refused(model, [folder], tmp_path / "out", rf"broken\.png {what}: export it again")


def test_a_photo_that_is_cut_off_is_refused_before_anything_is_written(model, folder, tmp_path):
    write(folder / "a.png")
    photo = write(folder / "photo.jpg")
    photo.write_bytes(photo.read_bytes()[:-40])
    refused(model, [folder], tmp_path / "out", r"photo\.jpg is damaged or cut off")
    assert not (tmp_path / "out").exists()


def test_a_mask_that_cannot_be_written_leaves_the_old_one(model, folder, tmp_path, bright_is_foreground, monkeypatch):
    write(folder / "a.png")
    out = tmp_path / "out"
    list(predict_files(model, [folder], out))
    before = (out / "a.png").read_bytes()

    def half_written(path, array):
        pathlib.Path(path).write_bytes(b"half")
        return False

    monkeypatch.setattr(cv2, "imwrite", half_written)
    with pytest.raises(UserError, match=r"cannot write .*a\.png"):
        list(predict_files(model, [folder], out))
    assert (out / "a.png").read_bytes() == before
    assert sorted(p.name for p in out.iterdir()) == ["a.png", "measurements.csv", "predictions.csv"]


def test_missing_paths_and_empty_folders_are_refused(model, folder, tmp_path):
    refused(model, [folder / "nothing.png"], tmp_path / "out", r"nothing\.png does not exist")
    refused(model, [folder], tmp_path / "out", r"images holds no image: it needs files ending in \.png")


def test_two_files_of_one_name_are_refused(model, folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    paths = [write(folder / "a.png"), write(other / "a.jpg")]
    refused(model, paths, tmp_path / "out", r"a\.jpg and .*a\.png would both write a\.png")


def test_a_mask_and_an_overlay_of_one_name_are_refused(model, folder, tmp_path, bright_is_foreground):
    paths = [write(folder / "a.png"), write(folder / "a_overlay.png")]
    refused(model, paths, tmp_path / "out", r"would both write a_overlay\.png", overlay=True)
    assert len(list(predict_files(model, paths, tmp_path / "out"))) == 2


def test_images_are_never_overwritten(model, folder):
    before = write(folder / "a.png").read_bytes()
    refused(model, [folder], folder, r"is the folder of .*a\.png: its images would be overwritten")
    refused(model, [folder / "a.png"], folder / ".." / "images", "would be overwritten")
    assert (folder / "a.png").read_bytes() == before


@pytest.mark.parametrize("spacing", [0.0, -1.0, float("nan")])
def test_a_spacing_is_positive(model, folder, tmp_path, spacing):
    write(folder / "a.png")
    refused(model, [folder], tmp_path / "out", "--spacing is .*: give the pixel size in mm", spacing_mm=spacing)


@pytest.mark.parametrize("weeks", [0.0, -20.0, float("nan"), float("inf")])
def test_an_age_is_positive(model, folder, tmp_path, weeks):
    write(folder / "a.png")
    refused(model, [folder], tmp_path / "out", "--ga-weeks is .*: give the gestational age in weeks", ga_weeks=weeks)
