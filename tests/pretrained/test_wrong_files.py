"""Whatever is wrong with a file of others is one line that names file and layer."""

import pickle
import shutil
import zipfile

import h5py
import numpy as np
import pytest
from published import Payload, torch_tensors, values
from safetensors.numpy import load_file, save_file

from fetal_jax.core.types import UserError
from fetal_jax.pretrained import import_weights


def without(name):
    return lambda tensors: tensors.pop(name)


def replaced(name, change):
    return lambda tensors: tensors.update({name: change(tensors[name])})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (without("blocks.2.1.conv_dw.weight"), "layer blocks.2.1.conv_dw.weight of efficientnet_b0 is missing"),
        (lambda t: t.update({"blocks.7.0.x": np.zeros(2)}), "layer blocks.7.0.x is none of efficientnet_b0"),
        (replaced("bn2.bias", lambda a: a[:-1]), r"layer bn2.bias has shape \[1279\], efficientnet_b0 needs \[1280\]"),
        (replaced("conv_stem.weight", lambda a: a[:, :1].copy()), r"conv_stem.weight has shape \[32, 1, 3, 3\]"),
        (replaced("bn1.weight", lambda a: a.astype(np.int32)), "layer bn1.weight does not hold real numbers"),
        (
            replaced("bn1.weight", lambda a: np.full_like(a, np.nan)),
            "layer bn1.weight holds values that are not finite",
        ),
        (lambda t: t.pop("conv_stem.weight"), "has no first layer of efficientnet_b0"),
        (lambda t: t.clear(), r"has no first layer of efficientnet_b0 .*it starts with nothing"),
    ],
)
def test_safetensors_that_do_not_fit_are_refused(files, tmp_path, refused, harm, message):
    tensors = load_file(files / "timm.safetensors")
    harm(tensors)
    save_file(tensors, tmp_path / "harmed.safetensors")
    refused(tmp_path / "harmed.safetensors", message)


def link_elsewhere(h5, name):
    del h5[name]
    h5[name] = h5py.ExternalLink("other.h5", name)


def twice(h5, name):
    h5[f"again/{name}"] = np.zeros(2)


def in_a_raw_file(h5, name):
    shape = h5[name].shape
    del h5[name]
    h5.create_dataset(name, shape, np.float32, external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])


BIAS = "block1a_bn/block1a_bn/beta:0"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda h5: h5.pop("block3b_se_reduce"), "layer block3b_se_reduce/bias of efficientnet_b0 is missing"),
        (lambda h5: h5.pop("normalization_1"), "layer normalization/mean of efficientnet_b0 is missing"),
        (lambda h5: h5.create_dataset("new/new/kernel:0", data=[1.0]), "layer new/kernel is none of efficientnet_b0"),
        (
            lambda h5: (h5.pop(BIAS), h5.create_dataset(BIAS, data=np.zeros(31)))[0],
            r"has shape \[31\], .* needs \[32\]",
        ),
        (lambda h5: (h5.pop(BIAS), h5.create_dataset(BIAS, data=["x"] * 32))[0], "does not hold real numbers"),
        (lambda h5: link_elsewhere(h5, BIAS), "layer block1a_bn/beta of efficientnet_b0 is missing"),
        (lambda h5: twice(h5, BIAS), "block1a_bn/beta is there twice or lies in another file"),
        (lambda h5: in_a_raw_file(h5, BIAS), "block1a_bn/beta is there twice or lies in another file"),
    ],
)
def test_keras_files_that_do_not_fit_are_refused(files, tmp_path, refused, harm, message):
    shutil.copy(files / "keras.h5", tmp_path / "harmed.h5")
    with h5py.File(tmp_path / "harmed.h5", "a") as h5:
        harm(h5)
    refused(tmp_path / "harmed.h5", message)


@pytest.mark.slow
def test_a_file_of_another_encoder_is_refused(files, tmp_path, refused):
    refused(files / "keras.h5", "has none: choose one of efficientnet_b0", encoder="resnet18")
    refused(files / "timm.safetensors", "has no first layer of resnet50 .*choose the encoder", encoder="resnet50")
    refused(
        files / "timm.safetensors",
        r"blocks.0.1.bn1.running_mean of efficientnet_b1 is missing",
        encoder="efficientnet_b1",
    )
    save_file(torch_tensors("efficientnet_b0", values("efficientnet_b0"), "embeddings."), tmp_path / "hf.safetensors")
    refused(tmp_path / "hf.safetensors", "choose --encoder efficientnet_b0", encoder="timm_efficientnet_b0")
    with pytest.raises(UserError, match="unknown encoder 'vgg': choose one of efficientnet_b0, "):
        import_weights(files / "keras.h5", "vgg", tmp_path / "out.npz")


@pytest.mark.parametrize("name", ["model.pth", "pytorch_model.bin", "model.safetensors"])
def test_pickles_are_refused_and_never_run(tmp_path, refused, name):
    raw = pickle.dumps(Payload(tmp_path / "run"))
    (tmp_path / name).write_bytes(raw)
    refused(tmp_path / name, "is a pickle, which may run any program.*safetensors")
    with zipfile.ZipFile(tmp_path / name, "w") as archive:  # as torch.save writes it
        archive.writestr("archive/data.pkl", raw)
    refused(tmp_path / name, "is a pickle")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("name", "share"), [("keras.h5", 0.6), ("timm.safetensors", 0.6), ("timm.safetensors", 1e-3)])
def test_truncated_files_are_refused(files, tmp_path, refused, name, share):
    whole = (files / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(share * len(whole))])
    refused(tmp_path / name, "download it again")


@pytest.mark.parametrize("content", [b"", b"{", b"<html>not found</html>", bytes(100)])
def test_what_is_no_file_of_weights_is_refused(tmp_path, refused, content):
    (tmp_path / "page.h5").write_bytes(content)
    refused(tmp_path / "page.h5", "is neither HDF5 nor whole safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["keras.h5", "timm.safetensors"])
def test_harmed_files_are_read_or_refused_in_one_line(files, tmp_path, name):
    sound, rng = (files / name).read_bytes(), np.random.default_rng(1)
    for _ in range(8):
        data = np.frombuffer(sound, np.uint8).copy()
        data[rng.integers(8, 4000, 12)] = rng.integers(0, 256, 12)
        (tmp_path / name).write_bytes(data.tobytes())
        try:
            import_weights(tmp_path / name, "efficientnet_b0", tmp_path / "out.npz", any_hash=True)
            message = f"{tmp_path / name} is read"
        except UserError as error:
            message = str(error)
        assert str(tmp_path / name) in message
        assert "\n" not in message


@pytest.mark.slow
@pytest.mark.parametrize("out", ["out.h5", "nowhere/out.npz", "folder.npz"])
def test_the_output_is_a_npz_in_a_folder_that_exists(files, tmp_path, out):
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(UserError, match=r"cannot be written: give a file NAME\.npz in a folder that exists"):
        import_weights(files / "timm.safetensors", "timm_efficientnet_b0", tmp_path / out)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.npz"]
