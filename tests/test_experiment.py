"""From settings to a run: what the data's own settings mean, and what is refused or warned of."""

import numpy as np
import pytest

from fetal_jax.core import config
from fetal_jax.core.types import UserError
from fetal_jax.experiment import Experiment
from fetal_jax.methods.cps import CrossPseudoSupervision
from fetal_jax.methods.mean_teacher import MeanTeacher
from fetal_jax.methods.self_training import SelfTraining
from fetal_jax.methods.supervised import Supervised
from input_pipeline import builders
from input_pipeline.builders.folder.dummy import dummy_data
from input_pipeline.dataset import Dataset, prepare
from input_pipeline.streams import PseudoLabels

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
    assert make().inference_config("fine_tune").intensity == "unit"
    assert (
        make(intensity="symmetric", **{"model.pretrained": ""}).inference_config("fine_tune").intensity == "symmetric"
    )
    with pytest.raises(UserError, match="intensity 'signed' is unknown: choose one of unit, symmetric"):
        make(intensity="signed")


def test_without_unlabelled_images_nothing_is_retrained(make):
    experiment = make(**{"split.unlabelled": 0})
    assert [stage.name for stage in experiment.stages] == ["decoder", "fine_tune"]
    assert experiment.settings.unlabelled_per_batch == 0
    with pytest.raises(
        UserError, match=r"stages\.retrain trains on unlabelled images but there are none to draw: raise"
    ):
        make(unlabelled_per_batch=0)
    # Of another subject's none are left where all are labelled, validated or tested.
    with pytest.raises(UserError, match=r"stages\.retrain trains on unlabelled images but there are none to draw"):
        make(**{"split.unlabelled": 0, "unlabelled_per_batch": 4})


def test_stages_are_what_the_config_says(make):
    decoder, fine_tune, retrain = make(**{"stages.retrain.learning_rate": 0.25, "optimizer.clip": 2}).stages
    assert (decoder.name, decoder.frozen, decoder.method) == ("decoder", ("encoder",), Supervised())
    assert (fine_tune.name, fine_tune.frozen, fine_tune.data) == ("fine_tune", (), ("labelled",))
    assert (retrain.name, retrain.learning_rate, retrain.clip) == ("retrain", 0.25, 2.0)
    assert (retrain.method, retrain.pseudo_labeller) == (SelfTraining(consistency=1.0), "threshold")
    assert retrain.data == ("labelled", "unlabelled")


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("mean_teacher", MeanTeacher(consistency=1.0)),
        ("cps", CrossPseudoSupervision()),
        ("self_training", SelfTraining(consistency=1.0)),
    ],
)
def test_a_stage_s_method_is_built_of_its_name_and_options(make, method, expected):
    settings = {"stages.retrain.method.name": method} | ({"stages": "retrain"} if method != "self_training" else {})
    assert make(**settings).stages[-1].method == expected


def test_methods_draw_what_they_need(make):
    experiment = make(**{"stages.retrain.method.name": "mean_teacher", "stages.retrain.method.decay": 0.5})
    labelled, unlabelled = experiment.source("labelled"), experiment.source("unlabelled")
    zeros = [np.zeros((32, 32), np.uint8)] * len(unlabelled)
    pseudo = PseudoLabels(zeros, [z.astype(np.float32) for z in zeros], np.ones(len(unlabelled), bool))
    plain, _, retrain = (
        experiment.stream(stage, i, labelled, unlabelled, pseudo) for i, stage in enumerate(experiment.stages)
    )
    assert (plain.unlabelled, plain.pseudo, plain.views) == (None, None, 0)
    assert (retrain.unlabelled, retrain.pseudo, retrain.views) == (
        unlabelled,
        None,
        1,
    )  # it trains on no labels of them
    assert (retrain.batch_size, retrain.n_unlabelled, retrain.augment) == (8, 4, "simplified")
    (self_training,) = make(stages="retrain").stages
    stream = experiment.stream(self_training, 0, labelled, unlabelled, pseudo)
    assert (stream.pseudo, stream.views) == (pseudo, 1)
    (without,) = make(**{"stages": "retrain", "stages.retrain.method.consistency": 0}).stages
    assert experiment.stream(without, 0, labelled, unlabelled, pseudo).views == 0


def test_every_stage_draws_in_an_order_of_its_own(make):
    experiment = make(seed=3)
    labelled, unlabelled = experiment.source("labelled"), experiment.source("unlabelled")
    streams = [experiment.stream(s, i, labelled, unlabelled, None) for i, s in enumerate(experiment.stages)]
    assert [stream.seed for stream in streams] == [3000, 3001, 3002]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stages": ""}, "stages is empty: name at least one stage"),
        (
            {"stages.retrain.init": "fine_tun"},
            r"stages\.retrain\.init is 'fine_tun': name a stage before it \(decoder, f",
        ),
        ({"stages.decoder.init": "decoder"}, r"stages\.decoder\.init is 'decoder': name a stage before it"),
        ({"stages.retrain.epochs": 0}, r"stages\.retrain\.epochs is 0: it must be at least 1"),
        ({"stages.retrain.learning_rate": -1}, r"stages\.retrain\.learning_rate is -1\.0: it must be 0 or more"),
        (
            {"stages.retrain.method.name": "cpss"},
            r"stages\.retrain\.method 'cpss' is unknown: choose one of cps, cutmix_mean_teacher, mean_teacher",
        ),
        (
            {"stages.retrain.method.consistenc": 1},
            r"method\.consistenc is not an option of self_training: did you mean",
        ),
        ({"stages.retrain.method.consistency": "a"}, r"'stages\.retrain\.method\.consistency' must be of type float"),
        (
            {"stages.retrain.method.consistency": -1},
            r"stages\.retrain\.method\.consistency is -1\.0: it must be a number, at least 0 and finite",
        ),
        (
            {"stages.retrain.method.name": "supervised", "stages.retrain.method.consistency": 0},
            "not an option of superv",
        ),
        ({"stages.retrain.pseudo_labeller": ""}, r"stages\.retrain\.pseudo_labeller is '': this method needs labels"),
        (
            {"stages.retrain.pseudo_labeller": "oracle"},
            "pseudo_labeller 'oracle' is unknown: choose one of threshold, n",
        ),
        ({"stages.retrain.data": "labelled"}, r"stages\.retrain\.data is \['labelled'\]: this method needs unlabelled"),
        ({"stages.decoder.data": "labelled,unlabelled"}, r"stages\.decoder\.data is .* does not use unlabelled images"),
        ({"stages.decoder.data": "unlabelled"}, r"stages\.decoder\.data is \['unlabelled'\]: choose labelled, or"),
        ({"stages.decoder.objective": "brier"}, "objective 'brier' is unknown: choose one of cross_entropy"),
        (
            {"stages.decoder.loss_weights.dise": 1},
            r"stages\.decoder\.loss_weights is 'dise': the terms of bce_dice are",
        ),
        (
            {"stages.decoder.loss_weights.dice": -1},
            r"stages\.decoder\.loss_weights\.dice is -1\.0: it must be 0 or more",
        ),
        ({"stages.decoder.loss_weights.dice": "a"}, r"'stages\.decoder\.loss_weights\.dice' must be a number: got 'a'"),
        ({"stages.decoder.augment": "blurry"}, r"stages\.decoder\.augment: augment 'blurry' is unknown"),
        ({"stages.retrain.strong": "flips"}, r"stages\.retrain\.strong: augment 'flips' cannot be a strong view"),
        ({"optimizer.name": "adamw"}, r"optimizer\.name 'adamw' is unknown: choose one of adam, sgd"),
        ({"optimizer.clip": 0}, "clip is 0.0: it must be above 0"),
        ({"pseudo_labels.threshold": 1}, r"pseudo_labels\.threshold is 1\.0: it must lie between 0 and 1"),
        (
            {"pseudo_labels.uncertain": "drop"},
            r"pseudo_labels\.uncertain 'drop' is unknown: choose background or ignore",
        ),
        ({"evaluation.blur": 4}, r"evaluation\.blur is 4: it must be 0 for none, or odd and at least 3"),
        ({"validate_every": 0}, "validate_every is 0: it must be at least 1"),
        ({"model.widht": 8}, "unknown option 'widht' of model 'case_unet'"),
        ({"model.dropout": 1}, r"dropout 1\.0 of model 'case_unet' must be a number, at least 0 and below 1"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_key(make, settings, message):
    with pytest.raises(UserError, match=message) as caught:
        make(**settings)
    assert "\n" not in str(caught.value)


def test_weights_of_the_terms_reach_the_step(make):
    decoder = make(**{"stages.decoder.loss_weights.dice": 0.25}).stages[0]
    assert decoder.hyperparameters(0.0)["dice_weight"] == 0.25
    assert decoder.hyperparameters(0.0)["cross_entropy_weight"] == 1.0


def test_a_part_is_read_at_network_size(make):
    experiment = make()
    for part in ("labelled", "unlabelled"):
        source = experiment.source(part)
        assert len(source) == len(experiment.splits.parts[part])
        assert source[0]["image"].shape == experiment.data.input_shape(experiment.facts) == (32, 32, 1)


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
        ("folder/my data", "'my data' is not a valid name: use letters, digits and underscores"),
        ("folders", "dataset 'folders' is unknown: .*; did you mean 'folder'"),
    ],
)
def test_a_name_that_is_none_is_refused_with_the_known_ones(name, message):
    with pytest.raises(UserError, match=message):
        builders.canonical(name)
