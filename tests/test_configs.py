"""Every published network has a config, and every config builds its network, small and as published."""

import importlib
import pathlib
import re

import pytest

from configs.common import DATASETS
from configs.supervised import SMALL
from fetal_jax.core import config, settings
from fetal_jax.core.types import UserError
from fetal_jax.models import MODELS, build_model, options_of
from fetal_jax.training.settings import RunSettings

FOLDER = pathlib.Path(__file__).parents[1] / "configs"
CONFIGS = sorted(path.stem for path in FOLDER.glob("*.py") if "def get_config(" in path.read_text())
SWEEPS = [name for name in CONFIGS if "def sweep(" in (FOLDER / f"{name}.py").read_text()]
FAMILY = ("unet", "ca_unet", "se_unet", "case_unet")
# Its input is another network's answer, which no config of one network can give.
WITHOUT = ("confidence_net",)
SUPERVISED = sorted(SMALL)


def network(spec: str, *overrides):
    model = config.load(spec, overrides)["model"]
    return build_model(**{key: value for key, value in model.items() if key != "pretrained"})


def stages_of(spec: str, *overrides):
    return {stage["name"]: stage for stage in config.load(spec, overrides)["stages"]}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_loads_and_has_all_settings_of_a_run(name):
    found = settings.from_dict(RunSettings, config.load(f"configs/{name}.py"))
    assert found.stages
    assert len({stage.name for stage in found.stages}) == len(found.stages)


@pytest.mark.parametrize("name", SWEEPS)
@pytest.mark.parametrize("argument", ["", "schedule=published", "dataset=folder"])
def test_every_point_of_a_sweep_loads_and_they_differ(name, argument):
    spec = f"configs/{name}.py:{argument}"
    points = [config.load(spec, point) for point in config.sweep(spec)]
    assert len(points) > 1
    for values in points:
        settings.from_dict(RunSettings, values)
    assert all(config.differences(a, b) for i, a in enumerate(points) for b in points[:i])
    assert config.load(spec) in points  # the config's own values are one of them


def test_the_sweep_is_three_rates_around_the_schedule_s_with_three_seeds_each():
    for argument, rate in (("", 1e-3), ("schedule=published", 1e-4)):
        points = [dict(point) for point in config.sweep(f"configs/supervised.py:{argument}")]
        rates = [float(point["stages.supervised.learning_rate"]) for point in points]
        assert sorted(set(rates)) == pytest.approx([0.3 * rate, rate, 3 * rate])
        assert sorted(point["seed"] for point in points) == sorted("012" * 3)


@pytest.mark.parametrize("name", FAMILY)
def test_the_case_family_runs_in_the_protocol_of_its_paper(name):
    assert network(f"configs/ss_case_unet.py:model={name}").stride == 32


@pytest.mark.parametrize("name", SUPERVISED)
def test_published_networks_are_those_of_the_sources(name):
    # A network has its published size by default, so its config gives it none.
    spec = f"configs/supervised.py:model={name},schedule=published"
    values = config.load(spec)["model"]
    assert values.pop("name") == name
    assert values == ({} if name == "swin_unet" else {"dropout": 0.1, "bn_momentum": 0.9})
    assert network(spec).stride > 1


@pytest.mark.parametrize("name", SUPERVISED)
@pytest.mark.parametrize("dataset", ["fetal_phantom", "hc18", "folder"])
def test_small_networks_for_a_cpu(name, dataset):
    spec = f"configs/supervised.py:model={name},dataset={dataset},size=64"
    assert config.load(spec)["model"]["width"] < options_of(name)["width"]
    assert config.load(f"{spec},width=12")["model"]["width"] == 12
    assert network(f"{spec},width=12").stride > 1


def test_every_network_of_a_publication_has_a_config():
    # The table of docs/models.md lists them. adu_net's config is for volumes.
    rows = re.findall(r"^\| (`.*?) \| [23, ]+ \|", (FOLDER.parent / "docs" / "models.md").read_text(), re.MULTILINE)
    published = {name for row in rows for name in re.findall("`(.*?)`", row)}
    assert {*SUPERVISED, *FAMILY, *WITHOUT, "adu_net"} == published <= set(MODELS)
    assert (FOLDER / "adu_net.py").is_file()
    for name in ("attention_unet", *FAMILY):
        network(f"configs/supervised.py:model={name}")


def test_a_network_takes_options_that_its_config_does_not_list():
    for spec in ("configs/supervised.py:model=swin_unet", "configs/attention_unet.py"):
        assert config.load(spec, [("model.width", "24")])["model"]["width"] == 24
    with pytest.raises(UserError, match="unknown option 'widht' of model 'plain_unet': choose one of"):
        network("configs/supervised.py", ("model.widht", "8"))
    with pytest.raises(UserError, match="depth 'deep' of model 'adu_net' must be a whole number"):
        network("configs/adu_net.py:schedule=published", ("model.depth", "deep"))


def test_published_and_small_volume_networks():
    small, published = (config.load(f"configs/adu_net.py:schedule={name}") for name in ("short", "published"))
    assert published["model"] == {"name": "adu_net", "dropout": 0.1, "bn_momentum": 0.9}
    assert small["model"]["width"] < options_of("adu_net")["width"]
    # Sun et al., section 3: SGD with a learning rate of 0.005, 1,000 patches of each volume, no augmentation.
    (stage,) = published["stages"]
    assert (published["optimizer"]["name"], stage["learning_rate"], stage["augment"]) == ("sgd", 0.005, "none")
    assert published["patches"] == {"per_volume": 1000, "foreground": 0.0}


def test_the_thesis_draws_and_weighs_rare_structures():
    spec = "configs/attention_unet.py:dataset=fetal_head_biometry,split=trans_thalamic"
    settings = config.load(spec)
    assert settings["sampling"] == {"structures": ["csp", "lv"], "factor": 3}
    assert settings["class_weights"] == {"rule": "inverse_frequency", "smoothing": 0.01}
    assert settings["stages"][0]["objective"] == "weighted_hybrid"
    assert config.load("configs/attention_unet.py:dataset=hc18")["class_weights"]["rule"] == "none"
    # The user has the last word.
    users = config.load(spec, [("sampling.structures", "csp"), ("class_weights.rule", "none")])
    assert (users["sampling"]["structures"], users["class_weights"]["rule"]) == (["csp"], "none")


def test_half_of_a_batch_is_unlabelled_whatever_its_size():
    spec = "configs/ss_case_unet.py"
    assert (config.load(spec)["batch_size"], config.load(spec)["unlabelled_per_batch"]) == (8, 4)
    assert config.load(spec, [("batch_size", "32")])["unlabelled_per_batch"] == 16
    given = config.load(spec, [("batch_size", "32"), ("unlabelled_per_batch", "4")])
    assert (given["batch_size"], given["unlabelled_per_batch"]) == (32, 4)
    quick = config.load("configs/quickstart.py")
    assert (quick["batch_size"], quick["unlabelled_per_batch"]) == (4, 2)


@pytest.mark.parametrize("spec", ["configs/ss_case_unet.py", "configs/supervised.py", "configs/attention_unet.py"])
@pytest.mark.parametrize("name", [name for name in DATASETS if name != "infant_mri"])
def test_a_dataset_brings_its_settings_however_it_is_named(spec, name):
    """Its split, structures, batch size and epochs, as an argument of the config and as an override."""
    assert config.load(spec, [("dataset", name)]) == config.load(f"{spec}:dataset={name}")


def test_what_a_dataset_brings():
    values = config.load("configs/ss_case_unet.py", [("dataset", "hc18")])
    assert values["structures"] == ["head"]
    assert (values["split"]["labelled"], values["split"]["test"], values["split"]["unit"]) == (150, 160, "images")
    folder = config.load("configs/ss_case_unet.py", [("dataset", "folder")])
    assert (folder["structures"], folder["split"]["unit"], folder["batch_size"]) == ([], "percent", 4)
    assert [stage["epochs"] for stage in folder["stages"]] == [1, 60, 12]
    own = config.load("configs/ss_case_unet.py", [("dataset", "hc18"), ("split.test", "9"), ("structures", "brain")])
    assert (own["split"]["labelled"], own["split"]["test"], own["structures"]) == (150, 9, ["brain"])
    infants = config.load("configs/adu_net.py", [("dataset", "infant_mri")])
    assert (infants["split"]["unit"], infants["structures"]) == ("percent", [])
    with pytest.raises(UserError, match="dataset=hc81 is unknown: choose one of fetal_phantom, hc18"):
        config.load("configs/ss_case_unet.py", [("dataset", "hc81")])


def test_a_named_split_stays_where_the_dataset_is_another():
    spec = "configs/ss_case_unet.py:split=trans_thalamic"
    assert config.load(spec)["split"] == config.load(spec, [("dataset", "hc18")])["split"]


def test_the_published_protocol_and_its_rounds():
    stages = stages_of("configs/ss_case_unet.py:schedule=published")
    assert [(name, s["epochs"]) for name, s in stages.items()] == [("decoder", 20), ("fine_tune", 50), ("retrain", 30)]
    assert [s["frozen"] for s in stages.values()] == [["encoder"], [], []]
    assert [s["method"] for s in stages.values()] == [{"name": "supervised"}] * 2 + [
        {"name": "self_training", "consistency": 1.0}
    ]
    assert [s["data"] for s in stages.values()] == [["labelled"]] * 2 + [["labelled", "unlabelled"]]
    assert [s["pseudo_labeller"] for s in stages.values()] == ["", "", "threshold"]
    rounds = stages_of("configs/ss_case_unet.py:rounds=3,labeller=naive")
    assert list(rounds) == ["decoder", "fine_tune", "retrain", "retrain_2", "retrain_3"]
    plain = stages_of("configs/ss_case_unet.py:labeller=naive")["retrain"]
    assert all(rounds[name] | {"name": "retrain"} == plain for name in list(rounds)[2:])
    assert list(stages_of("configs/ss_case_unet.py:rounds=0")) == ["decoder", "fine_tune"]


def test_without_unlabelled_images_nothing_is_retrained():
    values = config.load("configs/ss_case_unet.py:dataset=hc18,split=attention_resunet")
    assert [stage["name"] for stage in values["stages"]] == ["decoder", "fine_tune"]
    assert values["unlabelled_per_batch"] == 0
    values = config.load("configs/ss_case_unet.py", [("split.unlabelled", "0")])
    assert [stage["name"] for stage in values["stages"]] == ["decoder", "fine_tune"]
    assert values["unlabelled_per_batch"] == 0


def test_of_percent_the_images_of_other_subjects_are_retrained_on_where_they_are_asked_for():
    """No labelled image is hidden, but images of subjects without a label join."""
    spec = "configs/ss_case_unet.py:dataset=fetal_head_biometry,split=trans_thalamic"
    assert list(stages_of(spec)) == ["decoder", "fine_tune"]
    assert list(stages_of(spec, ("unlabelled_per_batch", "4"))) == ["decoder", "fine_tune", "retrain"]


def test_the_quickstart_is_the_published_protocol_but_smaller():
    quick, whole = stages_of("configs/quickstart.py"), stages_of("configs/ss_case_unet.py")
    assert [stage["epochs"] for stage in quick.values()] == [1, 24, 10]
    assert {stage["augment"] for stage in quick.values()} == {"geometric"}
    for name, stage in quick.items():
        assert {key for key in stage if stage[key] != whole[name][key]} <= {"epochs", "augment"}
    assert stages_of("configs/quickstart.py", ("stages.fine_tune.epochs", "2"))["fine_tune"]["epochs"] == 2


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_refuses_an_argument_that_it_does_not_have(name):
    with pytest.raises(UserError, match="config argument 'sise' is unknown"):
        config.load(f"configs/{name}.py:sise=64")


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_says_what_it_is_and_how_it_is_run(name):
    text = importlib.import_module(f"configs.{name}").__doc__
    assert f"configs/{name}.py" in text
    assert config.load(f"configs/{name}.py:size=96")["size"] == 96
