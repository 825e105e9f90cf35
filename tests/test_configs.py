"""Every network has a config, and every config builds its network, small and as published."""

import pathlib

import pytest

from fetal_jax import config
from fetal_jax.models import MODELS, build_model, options_of

FOLDER = pathlib.Path(__file__).parents[1] / "configs"
SUPERVISED = sorted(path.stem for path in FOLDER.glob("*.py") if "supervised(argument" in path.read_text())
FAMILY = ("unet", "ca_unet", "se_unet", "case_unet")
# Its input is another network's answer, which no config of one network can give.
WITHOUT = ("confidence_net",)


def network(spec: str):
    settings = config.load(spec)
    return build_model(**{key: value for key, value in settings["model"].items() if key != "pretrained"})


@pytest.mark.parametrize("name", FAMILY)
def test_the_case_family_runs_in_the_protocol_of_its_paper(name):
    assert network(f"configs/ss_case_unet.py:model={name}").stride == 32


@pytest.mark.parametrize("name", SUPERVISED)
def test_published_networks_are_those_of_the_sources(name):
    # A network has its published size by default, so its config gives it none.
    settings = config.load(f"configs/{name}.py:schedule=published")["model"]
    assert settings.keys() - {"dropout", "bn_momentum"} == {"name"}
    assert network(f"configs/{name}.py:schedule=published").stride > 1


@pytest.mark.parametrize("name", SUPERVISED)
@pytest.mark.parametrize("dataset", ["fetal_phantom", "hc18", "folder"])
def test_small_networks_for_a_cpu(name, dataset):
    settings = config.load(f"configs/{name}.py:dataset={dataset},size=64")["model"]
    assert settings["width"] < options_of(name)["width"]
    assert network(f"configs/{name}.py:dataset={dataset},size=64,width=12").stride > 1


def test_every_network_has_a_config():
    # adu_net's is for volumes.
    assert {*SUPERVISED, *FAMILY, *WITHOUT, "adu_net"} == set(MODELS)
    assert (FOLDER / "adu_net.py").is_file()


def test_the_thesis_draws_and_weighs_rare_structures():
    settings = config.load("configs/attention_unet.py:dataset=fetal_head_biometry,split=trans_thalamic")
    assert settings["sampling"] == {"structures": ["csp", "lv"], "factor": 3}
    assert settings["class_weights"]["rule"] == "inverse_frequency"
    assert config.load("configs/attention_unet.py:dataset=hc18")["class_weights"]["rule"] == "none"
