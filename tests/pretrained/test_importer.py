"""What is read from files of others equals what was written; the commands."""

import ast
import hashlib
import pathlib

import numpy as np
import pytest
from published import MEAN, STD, equal, keras_name, torch_tensors, values, write_keras
from safetensors.numpy import save_file

from fetal_jax import pretrained
from fetal_jax.cli.main import main
from fetal_jax.core.types import UserError
from fetal_jax.pretrained import import_weights, importer, load, read_header

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "efficientnet_b0.npz"


def test_a_keras_file_is_read_as_it_was_written(files):
    loaded = load(files / "keras.npz", "efficientnet_b0", 3)
    equal(loaded, values("efficientnet_b0"))
    constants = loaded.batch_stats["normalization"]
    # The file keeps the standard deviation as the variance, and Keras divides by its root twice.
    np.testing.assert_allclose(constants["mean"], MEAN)
    np.testing.assert_allclose(np.sqrt(constants["variance"]), STD, rtol=1e-6)
    header = read_header(files / "keras.npz")
    assert (header["encoder"], header["layout"], header["source"]) == ("efficientnet_b0", "keras", "made here")
    assert (header["source_file"], header["mean"], header["std"]) == ("keras.h5", [*MEAN], [*STD])
    assert header["source_sha256"] == hashlib.sha256((files / "keras.h5").read_bytes()).hexdigest()


@pytest.mark.slow
def test_a_keras_file_of_ones_own_keeps_its_constants(tmp_path):
    write_keras(tmp_path / "own.h5", values("efficientnet_b0"), variance=(0.04, 0.09, 0.0625), classifier=True)
    header = import_weights(tmp_path / "own.h5", "efficientnet_b0", tmp_path / "own.npz", any_hash=True)
    assert header["std"] == [0.2, 0.3, 0.25]


def test_layers_are_named_as_in_keras():
    with np.load(GOLDEN) as golden:  # written by Keras itself
        named = {name.removeprefix("even/") for name in golden if name.startswith("even/")}
    ours = {keras_name(path)[0] for path in values("efficientnet_b0")}
    assert ours <= named
    assert {name for name in named if name.startswith("block") and name.endswith(("conv", "bn", "reduce"))} <= ours


@pytest.mark.slow
def test_the_official_file_is_known_by_its_md5(files, tmp_path, refused, monkeypatch):
    refused(
        files / "keras.h5",
        "official efficientnetb0_notop.h5 has 50bc09e76180e00e4465e1a485ddc09d.*--any-hash",
        any_hash=False,
    )
    md5 = hashlib.md5((files / "keras.h5").read_bytes()).hexdigest()
    monkeypatch.setitem(importer.KERAS_MD5, "efficientnet_b0", ("0" * 32, md5))
    import_weights(files / "keras.h5", "efficientnet_b0", tmp_path / "official.npz")
    equal(load(tmp_path / "official.npz", "efficientnet_b0", 3), values("efficientnet_b0"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoder", "first", "layout"),
    [
        ("timm_efficientnet_b0", "conv_stem.", "timm"),
        ("efficientnet_b0", "conv_stem.", "timm"),
        ("efficientnet_b0", "efficientnet.embeddings.", "transformers"),
        ("efficientnet_b0", "embeddings.", "transformers"),
        ("resnet18", "conv1.", "timm"),
        ("resnet18", "resnet.embedder.embedder.", "transformers"),
    ],
)
def test_safetensors_are_read_as_they_were_written(tmp_path, encoder, first, layout):
    half = {path: array.astype(np.float16) for path, array in values(encoder).items()}
    save_file(torch_tensors(encoder, half, first), tmp_path / "model.safetensors")
    header = import_weights(tmp_path / "model.safetensors", encoder, tmp_path / "out.npz")
    assert (header["layout"], header["mean"], header["std"]) == (layout, [*MEAN], [*STD])
    equal(load(tmp_path / "out.npz", encoder, 3), values(encoder))


def test_other_constants_may_be_asked_for(files, tmp_path, refused):
    options = {"encoder": "timm_efficientnet_b0", "out": tmp_path / "half.npz"}
    header = import_weights(files / "timm.safetensors", **options, normalization="half")
    assert header["mean"] == header["std"] == [0.5] * 3
    options["out"].unlink()
    refused(files / "keras.h5", "have their own constants", normalization="half")
    with pytest.raises(UserError, match="--normalization clip is unknown: choose one of imagenet, half"):
        import_weights(files / "timm.safetensors", **options, normalization="clip")


def test_the_same_file_gives_the_same_bytes(files, tmp_path):
    import_weights(files / "keras.h5", "efficientnet_b0", tmp_path / "a.npz", source="made here", any_hash=True)
    assert (tmp_path / "a.npz").read_bytes() == (files / "keras.npz").read_bytes()


@pytest.mark.slow
def test_the_command_imports_and_shows(files, tmp_path, capsys):
    out = tmp_path / "b0.npz"
    command = ["weights", "import", files / "timm.safetensors", "--encoder", "timm_efficientnet_b0", "--out", out]
    assert main([str(word) for word in [*command, "--source", "timm/efficientnet_b0.ra_in1k"]]) == 0
    assert f"--config.model.encoder=timm_efficientnet_b0 --config.model.pretrained={out}" in capsys.readouterr().out
    assert main(["weights", "show", str(out)]) == 0
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert shown["source"] == "timm/efficientnet_b0.ra_in1k"
    assert shown["encoder"] == "timm_efficientnet_b0"


def test_the_command_refuses_with_exit_code_2(files, tmp_path, capsys):
    command = ["weights", "import", str(files / "keras.h5"), "--encoder", "efficientnet_b0"]
    assert main([*command, "--out", str(tmp_path / "b0.npz")]) == 2
    assert "--any-hash" in capsys.readouterr().err
    assert main(["weights", "show", str(tmp_path / "nothing.npz")]) == 2
    assert "nothing.npz" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_readers_of_files_are_imported_when_a_file_is_read():
    for path in pathlib.Path(pretrained.__file__).parent.glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert not {"h5py", "safetensors", "torch", "keras"} & set(names), path
            assert "pickle" not in names or path.name == "torch_file.py", path  # which runs nothing of one
