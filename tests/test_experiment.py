"""From settings to a run: what the data's own settings mean, and what is refused or warned of."""

import numpy as np
import pytest

from fetal_jax import config
from fetal_jax.experiment import Experiment
from fetal_jax.types import UserError
from input_pipeline import builders
from input_pipeline.builders.folder.dummy import dummy_data
from input_pipeline.dataset import Dataset, prepare

TINY = "configs/ss_case_unet.py:dataset=fetal_phantom/tiny,size=32"
SPLIT = {"split.labelled": 9, "split.unlabelled": 6, "split.validation": 3, "split.test": 6}


@pytest.fixture
def make(data_dir):
    def call(spec=TINY, folder=data_dir, **settings):
        settings = {key: str(value) for key, value in ((SPLIT if spec == TINY else {}) | settings).items()}
        return Experiment(config.load(spec, list(settings.items())), folder)

    return call


def test_by_default_every_labelled_image_is_drawn_alike(make):
    experiment = make()
    assert experiment.draws is None
    assert experiment.class_weights is None
    assert experiment.warnings == [
        "Stage fine_tune takes 24 steps at most, few to learn from: raise stages.fine_tune.epochs.",
        "Stage retrain takes 10 steps at most, few to learn from: raise stages.retrain.epochs.",
    ]
    assert make(**{"stages.fine_tune.epochs": 100, "stages.retrain.epochs": 100}).warnings == []


def test_images_with_rare_structures_are_drawn_as_often_as_asked(make, monkeypatch):
    def shows(dataset):
        return {name: frozenset({"cerebellum"} if name.endswith("_1") else {}) for name in dataset.names}

    monkeypatch.setattr(Dataset, "shows", property(shows))
    experiment = make(**{"sampling.structures": "cerebellum", "sampling.factor": 3})
    names = experiment.splits.parts["labelled"]
    drawn = np.bincount(experiment.draws, minlength=len(names))
    assert drawn.tolist() == [3 if name.endswith("_1") else 1 for name in names]
    assert set(drawn) == {1, 3}
    with pytest.raises(UserError, match=r"sampling\.structures names 'csp', which no labelled image shows"):
        make(**{"sampling.structures": "csp"})
    with pytest.raises(UserError, match=r"sampling\.factor is 0"):
        make(**{"sampling.structures": "cerebellum", "sampling.factor": 0})


def test_class_weights_are_of_the_labelled_part(make):
    experiment = make(**{"class_weights.rule": "inverse_frequency", "class_weights.smoothing": 0.0})
    dataset = experiment.dataset
    labels = np.concatenate([dataset[name].labels.ravel() for name in experiment.splits.parts["labelled"]])
    inverse = 1 / np.bincount(labels)
    np.testing.assert_allclose(experiment.class_weights, inverse / inverse.mean())
    with pytest.raises(UserError, match=r"class_weights\.rule 'inverse' is unknown: choose one of none, inverse_freq"):
        make(**{"class_weights.rule": "inverse"})


def test_a_class_that_no_training_image_shows_is_told(tmp_path):
    """Five labelled files show class1 alone, one shows class2: which part that one falls into decides."""
    folder = tmp_path / "mine"
    dummy_data(folder)
    (folder / "dataset.json").write_text(
        '{"classes": ["background", "head", "tail"], "colours": [[0,0,0], [255,255,255], [9,9,9]]}'
    )
    for path in (*(folder / "masks").glob("S0[35]*"), *(folder / "images").glob("S0[35]*")):
        path.unlink()
    prepare("folder", tmp_path / "data", str(folder))
    settings = [("split.unit", "images"), *((f"split.{part}", "1") for part in ("labelled", "unlabelled", "test"))]
    spec = "configs/ss_case_unet.py:dataset=folder,size=32"
    experiment = Experiment(config.load(spec, [*settings, ("split.validation", "0")]), tmp_path / "data")
    assert "No training image shows tail: the network cannot learn it." in experiment.warnings


def test_a_fold_is_tested_instead_of_a_number_of_images(make):
    tested = []
    for fold in range(4):
        settings = {"split.test": 0, "split.folds": 4, "split.fold": fold}
        tested += make(**settings).splits.parts["test"]
    assert len(tested) == len(set(tested)) == 24
    with pytest.raises(UserError, match=r"split\.test is 0: it must be at least 1"):
        make(**{"split.test": 0})


def test_the_intensity_travels_into_the_model_card(make):
    assert make().card("fine_tune").intensity == "unit"
    assert make(intensity="symmetric").card("fine_tune").intensity == "symmetric"
    with pytest.raises(UserError, match="intensity 'signed' is unknown: choose one of unit, symmetric"):
        make(intensity="signed")


def test_without_a_pool_nothing_is_retrained(make):
    values = config.load("configs/ss_case_unet.py:dataset=hc18,split=attention_resunet")
    assert values["protocol"] == ["decoder", "fine_tune"]
    assert values["unlabelled_per_batch"] == 0


def test_options_of_a_dataset_stay_with_it_in_a_config_argument():
    values = config.load("configs/ss_case_unet.py:dataset=fetal_head_biometry:plane=diverse,variant=csp,size=64")
    assert values["dataset"] == "fetal_head_biometry:plane=diverse,variant=csp"
    assert values["size"] == 64
    with pytest.raises(UserError, match="config argument 'sise' is unknown"):
        config.load("configs/ss_case_unet.py:dataset=hc18,sise=64")


def test_volumes_are_refused_before_anything_is_written(make, data_dir):
    with pytest.raises(UserError, match="dataset fetal_phantom/infant_tiny has volumes and this config is for images"):
        make(dataset="fetal_phantom/infant_tiny", structures="wm")


def test_published_splits_go_by_name():
    values = config.load("configs/ss_case_unet.py:dataset=hc18,split=trans_thalamic")["split"]
    assert (values["unit"], values["labelled"], values["validation"], values["test"]) == ("percent", 70, 15, 15)
    assert values["stratify"] == ["csp", "lv"]
    with pytest.raises(UserError, match="config argument split=thalamic is unknown: choose one of ss_case_unet, trans"):
        config.load("configs/ss_case_unet.py:dataset=hc18,split=thalamic")


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("fetal_planes:plane=trans-thalamic", "fetal_planes/trans_thalamic"),
        ("fetal_planes:plane=trans_cerebellum", "fetal_planes/trans_cerebellum"),
        ("fetal_planes:plane=brain", "fetal_planes/brain"),
        ("fetal_planes/brain", "fetal_planes/brain"),
        ("hc18", "hc18/training"),
        ("hc18:part=official-test", "hc18/official_test"),
        ("fetal_phantom", "fetal_phantom/trans_cerebellum"),
        ("fetal_head_biometry:plane=trans-thalamic,variant=csp", "fetal_head_biometry/trans_thalamic_csp"),
        ("fetal_head_biometry:variant=csp", "fetal_head_biometry/trans_thalamic_csp"),
        ("folder", "folder"),
        ("folder/mine", "folder/mine"),
    ],
)
def test_a_dataset_has_one_canonical_name(name, canonical):
    assert builders.canonical(name) == canonical


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fetal_planes:plane=sagittal", "has no plane=sagittal: choose plane from brain, trans-cerebellum, trans-thal"),
        ("fetal_planes:view=brain", "has no view=brain: choose view from none"),
        ("folder/my data", "'my data' is no name: use letters, digits and underscores"),
        ("folders", "dataset 'folders' is unknown: .*; did you mean 'folder'"),
    ],
)
def test_a_name_that_is_none_is_refused_with_the_known_ones(name, message):
    with pytest.raises(UserError, match=message):
        builders.canonical(name)
