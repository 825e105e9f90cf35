"""The planned config: its rules at their borders, and the file as `fetal-jax train` takes it."""

import dataclasses
import math

import pytest

from fetal_jax.core import config as configs
from fetal_jax.core.types import UserError
from fetal_jax.experiment import Experiment
from input_pipeline.dataset import Dataset
from input_pipeline.fingerprint import extract_fingerprint, plan, write_config
from input_pipeline.fingerprint.dataset_fingerprint import Class, Fingerprint, Sizes, Spacings, Spread
from input_pipeline.split_assignment import SplitItem, make_splits
from input_pipeline.splits import Request


def same(value):
    return Spread(*[value] * 5)


def structure(name="brain", share=0.3, presence=1.0, fills=0.25, n_subjects=100, voxels=1000.0):
    """A class that fills so much of a square image, in so many of 200 labelled ones."""
    n_images = round(200 * presence)
    pixels = round(1e6 * share)
    return Class(name, pixels, share, n_images, n_subjects, presence, same(voxels), None, same(fills))


def fingerprint(*structures, longest=512.0, dims=2, **changes):
    """200 labelled images of 100 subjects, two each, with nothing odd about them."""
    background = dataclasses.replace(structure("background"), pixels=10**6, share=0.5)
    found = Fingerprint(
        dataset="fake",
        version="fake:1.0.0:0",
        title="Made by hand",
        subject_rule="a letter",
        dims=dims,
        n_images=200,
        n_labelled=200,
        n_empty=0,
        n_subjects=100,
        n_labelled_subjects=100,
        n_pool=0,
        images_a_subject=same(2.0),
        labelled_a_subject=same(2.0),
        groups={},
        sizes=Sizes((same(longest),) * dims, same(longest), (int(longest),) * dims, 200, 1),
        spacing=Spacings(0, None, None),
        classes=(background, *(structures or [structure()])),
        n_sampled=200,
        intensity=(),
        notes=(),
    )
    return dataclasses.replace(found, **changes)


def reason(planned, key):
    (setting,) = [setting for setting in planned.settings if key in setting.values]
    return setting.reason


@pytest.mark.parametrize(
    ("fills", "size"),
    [
        (1000 / 64**2, 64),
        (1000 / 64**2 - 1e-6, 96),
        (1000 / 128**2, 128),
        (1000 / 512**2, 512),
        (1000 / 513**2, 512),
        (0.9, 64),
    ],
)
def test_the_input_is_as_large_as_the_smallest_structure_needs(fills, size):
    found = fingerprint(structure("brain", fills=0.9), structure("csp", fills=fills), longest=1000.0)
    planned = plan(found)
    assert planned.values["size"] == size
    assert "csp" in reason(planned, "size") or fills == 0.9


@pytest.mark.parametrize(("longest", "size"), [(320.0, 320), (319.0, 288), (40.0, 64), (2000.0, 512)])
def test_the_input_is_not_larger_than_the_images(longest, size):
    planned = plan(fingerprint(structure(fills=1e-4), longest=longest))
    assert planned.values["size"] == size
    limit = "512 is the most" if size == 512 else f"the median image's longest side is {longest:,.0f} px"
    assert limit in reason(planned, "size")


def test_a_thousand_pixels_are_what_half_a_pixel_of_outline_asks_for():
    r = math.sqrt(1000 / math.pi)
    assert 2 * r**2 / (r**2 + (r + 0.5) ** 2) == pytest.approx(0.972, abs=5e-4)


def test_memory_bounds_the_input_and_the_batch():
    # Two images of 256 px in 1.5 views of 2700 bytes a pixel: 0.531 GB.
    need = 2 * 1.5 * 2700 * 256**2 / 1e9
    found = fingerprint(structure(fills=1000 / 512**2))
    tight, tighter = plan(found, memory_gb=1.001 * need), plan(found, memory_gb=0.999 * need)
    assert (tight.values["size"], tight.values["batch_size"]) == (256, 2)
    assert tighter.values["size"] == 224
    assert "GB" in reason(tighter, "size")
    assert plan(found, memory_gb=0.001).values["size"] == 64
    small = fingerprint(structure(fills=1000 / 256**2), n_labelled=400)
    batches = [plan(small, memory_gb=factor * need).values["batch_size"] for factor in (1.001, 1.999, 2.001, 4.001, 16)]
    assert batches == [2, 2, 4, 8, 8]


def test_few_images_are_seen_more_often():
    few = plan(fingerprint(n_labelled=40, n_images=40)).values
    assert 600 <= few["stages.fine_tune.epochs"] * 0.7 * 40 / few["batch_size"] < 620
    assert plan(fingerprint(n_labelled=5000, n_images=5000)).values["stages.fine_tune.epochs"] == 24
    assert "stages.retrain.epochs" not in few
    assert "stages.retrain.epochs" in plan(fingerprint(n_images=300, n_pool=100)).values


@pytest.mark.parametrize(
    ("n_labelled", "n_pool", "batch"), [(200, 0, 4), (40, 0, 4), (228, 0, 4), (229, 0, 8), (40, 200, 8)]
)
def test_a_batch_of_more_than_four_is_at_most_a_twentieth_of_the_training_images(n_labelled, n_pool, batch):
    # 70 % of the labelled images are trained on, with the pool: 160 images are enough for 8.
    planned = plan(fingerprint(n_labelled=n_labelled, n_pool=n_pool, n_images=n_labelled + n_pool))
    assert planned.values["batch_size"] == batch
    assert planned.values["unlabelled_per_batch"] == (batch // 2 if n_pool else 0)


def test_the_protocol_has_as_many_stages_as_there_is_data_for():
    without, mixed = plan(fingerprint()), plan(fingerprint(n_images=300))
    assert without.values["stages"] == mixed.values["stages"] == ("fine_tune",)
    assert "no image is unlabelled" in reason(without, "stages")
    assert "the 100 unlabelled images are of subjects with labels" in reason(mixed, "stages")
    pool = plan(fingerprint(n_images=300, n_pool=100))
    assert pool.values["stages"] == ("decoder", "fine_tune", "retrain")


def test_rare_structures_are_drawn_more_often_and_stratified():
    third, fewer = structure("csp", presence=67 / 200, n_subjects=40), structure("lv", presence=66 / 200, n_subjects=40)
    planned = plan(fingerprint(third, fewer))
    assert planned.values["sampling.structures"] == planned.values["split.stratify"] == ("lv",)
    assert planned.values["sampling.factor"] == 3
    assert plan(fingerprint(third)).values["sampling.factor"] == 1
    scarce = structure("csp", presence=0.05, n_subjects=6)
    both = plan(fingerprint(scarce, fewer))
    assert both.values["sampling.structures"] == ("lv",)
    assert both.values["split.stratify"] == ("csp", "lv")
    assert "csp in 6" in reason(both, "sampling.structures")
    assert "csp in 6" in reason(plan(fingerprint(scarce)), "sampling.structures")


def test_classes_are_weighted_where_one_is_under_a_hundredth():
    assert plan(fingerprint(structure(share=0.01))).values["class_weights.rule"] == "none"
    rare = plan(fingerprint(structure(share=0.0099)))
    assert rare.values["class_weights.rule"] == "inverse_frequency"
    # Of 1,009,900 pixels: 1 / (0.9902 + 0.01) = 0.99981, 1 / (0.0098 + 0.01) = 50.4; their mean is 1 after scaling.
    assert "background 0.039, brain 2" in reason(rare, "class_weights.rule")


def test_published_augmentation_is_for_one_structure_that_is_large_enough():
    def stages(*structures, **changes):
        values = plan(fingerprint(*structures, n_images=300, n_pool=100, **changes)).values
        augments = tuple(values[f"stages.{stage}.augment"] for stage in ("decoder", "fine_tune", "retrain"))
        return augments, values["evaluation.blur"]

    one = structure(fills=1000 / 256**2)
    plain = ("geometric",) * 3, 0
    assert stages(one) == (("comprehensive", "comprehensive", "simplified"), 5)
    assert stages(structure(fills=1000 / 224**2)) == plain  # 224 px
    assert stages(one, structure("csp", fills=1000 / 256**2)) == plain
    assert stages(structure(fills=0.001), longest=256.0) == plain  # 66 px are left of it


def test_a_structure_that_nobody_shows_is_left_out():
    nothing = dataclasses.replace(structure("lv"), pixels=0, n_images=0, of_square=None, extent_px=None)
    planned = plan(fingerprint(structure(), nothing))
    assert planned.values["structures"] == ("brain",)
    assert reason(planned, "structures") == "no labelled image shows lv"


def frames(*counts, pool=0):
    """Labelled images of subjects with so many each, and a pool of one unlabelled image a subject; and their facts."""
    items = [SplitItem(f"{s}_{i}", str(s), True, frozenset(["brain"])) for s, n in enumerate(counts) for i in range(n)]
    items += [SplitItem(f"u{i}", f"u{i}", False) for i in range(pool)]
    found = fingerprint(
        n_images=len(items),
        n_labelled=sum(counts),
        n_pool=pool,
        n_labelled_subjects=len(counts),
        labelled_a_subject=Spread.of(counts),
    )
    return items, found


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("pool", [0, 6])
@pytest.mark.parametrize(
    ("counts", "unit"),
    [
        ([3] * 7, "percent"),
        ([2, 2, 3, 3, 3, 3, 4], "images"),
        ([1] * 20, "percent"),
        ([1] * 6, "images"),
        ([50, *[1] * 20], "images"),
        ([9, 2, 5], "images"),
        ([4, 4], "images"),
    ],
)
def test_the_split_can_be_made(counts, unit, pool, seed):
    items, found = frames(*counts, pool=pool)
    values = plan(found).values
    assert values["split.unit"] == unit
    fields = {key.removeprefix("split."): value for key, value in values.items() if key.startswith("split.")}
    splits = make_splits(items, Request.from_dict({"seed": seed, **fields}))
    assert min(splits.n_images["test"], splits.n_images["labelled"]) > 0
    assert bool(splits.n_images["validation"]) == (len(counts) > 2)
    assert set(splits.parts["unlabelled"]) == {f"u{i}" for i in range(pool)}


def test_the_border_of_percentages_is_a_subject_with_fifteen_per_cent():
    assert plan(frames(*[3] * 6, 2)[1]).values["split.unit"] == "percent"  # 3 of 20
    assert plan(frames(*[3] * 6, 1)[1]).values["split.unit"] == "images"  # 3 of 19


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"n_labelled": 0, "classes": ()}, "no image is labelled"),
        ({"classes": ()}, "no labelled image shows a structure"),
        ({"n_labelled_subjects": 1, "labelled_a_subject": same(200.0)}, "all labelled images are of one subject"),
    ],
)
def test_no_config_without_something_to_learn_and_to_test(changes, why, tmp_path):
    planned = plan(fingerprint(**changes))
    assert planned.values == {}
    assert planned.lines() == [f"no config is suggested: {planned.why_no_config}"]
    with pytest.raises(UserError, match=f"no config is suggested for hc18: {why}"):
        write_config(tmp_path / "config.py", "hc18", planned)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("voxels", "longest", "memory_gb", "side"),
    [
        (4 / 3 * math.pi * 16**3 - 1, 144.0, 8, 32),
        (4 / 3 * math.pi * 16**3 + 1, 144.0, 8, 48),
        (4 / 3 * math.pi * 40**3, 144.0, 8, 80),
        (4 / 3 * math.pi * 40**3, 79.0, 8, 64),
        (4 / 3 * math.pi * 40**3, 144.0, 2 * 2000 * 64**3 / 1e9 + 1e-6, 64),
        (10.0, 20.0, 8, 16),
    ],
)
def test_a_patch_holds_the_smallest_structure(voxels, longest, memory_gb, side, tmp_path):
    found = fingerprint(structure("wm", voxels=voxels), structure("gm", voxels=10 * voxels), longest=longest, dims=3)
    planned = plan(found, memory_gb)
    assert planned.values == {"patch": (side,) * 3}
    assert "these are volumes" in planned.lines()[-1]
    with pytest.raises(UserError, match="configs are for images"):
        write_config(tmp_path / "config.py", "infant_mri", planned)


def test_every_value_comes_with_its_reason():
    planned = plan(fingerprint())
    text = planned.lines()
    assert len(text) == 2 * len(planned.settings)
    assert all(line.startswith("    ") and len(line) > 20 for line in text[1::2])


def settings_of(path, argument=""):
    return configs.load(f"{path}{argument}")


def test_the_file_holds_what_was_suggested(tmp_path):
    lv = structure("lv", share=0.001, presence=0.2, n_subjects=20, fills=0.02)
    planned = plan(fingerprint(structure(), lv, n_images=300, n_pool=100))
    path = tmp_path / "config.py"
    write_config(path, "hc18", planned)
    settings = settings_of(path)
    assert settings["dataset"] == "hc18"
    stages = {stage["name"]: stage for stage in settings["stages"]}
    assert list(stages) == list(planned.values["stages"]) == ["decoder", "fine_tune", "retrain"]
    for key, value in planned.values.items():
        found = settings | {"stages": stages}
        for word in key.split("."):
            found = found[word]
        assert key == "stages" or found == (list(value) if isinstance(value, tuple) else value), key
    assert settings_of(path, ":size=96")["size"] == 96
    assert settings_of(path, ":size=96") | {"size": settings["size"]} == settings
    assert "# Less than a third of the labelled images show each of these." in path.read_text()
    assert [file.name for file in tmp_path.iterdir()] == ["config.py"]


@pytest.mark.parametrize("pool", [0, 100])
@pytest.mark.parametrize("unit", ["percent", "images"])
def test_the_stages_of_the_file_are_those_that_were_suggested(tmp_path, unit, pool):
    """Also where the unlabelled images are not a part that the split asks for, but join it."""
    subjects = 100 if unit == "percent" else 5
    each = same(200 / subjects)
    found = fingerprint(n_images=200 + pool, n_pool=pool, n_labelled_subjects=subjects, labelled_a_subject=each)
    planned = plan(found)
    assert planned.values["split.unit"] == unit
    path = tmp_path / "config.py"
    write_config(path, "hc18", planned)
    names = tuple(stage["name"] for stage in settings_of(path)["stages"])
    assert names == planned.values["stages"] == (("decoder", "fine_tune", "retrain") if pool else ("fine_tune",))


def test_the_user_has_the_last_word(tmp_path):
    path = tmp_path / "config.py"
    write_config(path, "hc18", plan(fingerprint(n_images=300, n_pool=100)))
    overrides = {"batch_size": "2", "stages.fine_tune.epochs": "5", "split.test": "7", "stages": "fine_tune"}
    settings = configs.load(str(path), list(overrides.items()))
    assert [(stage["name"], stage["epochs"]) for stage in settings["stages"]] == [("fine_tune", 5)]
    assert (settings["batch_size"], settings["split"]["test"]) == (2, 7)


def test_an_experiment_takes_the_file_as_it_is(data_dir, tmp_path):
    dataset = Dataset("fetal_phantom/tiny", data_dir)
    planned = plan(extract_fingerprint(dataset))
    write_config(tmp_path / "config.py", dataset.name, planned)
    experiment = Experiment(settings_of(tmp_path / "config.py"), data_dir)
    assert experiment.settings.size == planned.values["size"] == 128
    assert experiment.facts.foreground == planned.values["structures"] == ("skull", "brain", "csp", "cerebellum")
    assert [stage.name for stage in experiment.stages] == ["fine_tune"]
    assert {part: len(names) for part, names in experiment.splits.parts.items()} == {
        "labelled": 18,
        "unlabelled": 0,
        "validation": 3,
        "test": 3,
        "unused": 0,
    }
