"""Our own file of weights: whole or refused."""

import io
import json
import pickle

import numpy as np
import pytest
from published import Payload

from fetal_jax.core.types import UserError
from fetal_jax.pretrained import import_weights, load, read_header

STEM = "params/stem_conv/kernel"


def rewritten(file, out, change):
    """Writes the .npz anew, with its entries changed."""
    with np.load(file) as npz:
        entries = dict(npz)
    change(entries)
    np.savez(out, **entries)


def with_header(**fields):
    def change(entries):
        entries["header"] = np.array(json.dumps(json.loads(str(entries["header"])) | fields))

    return change


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.update({STEM: e[STEM] + 1}), "are not those that were written"),
        (lambda e: e.pop(STEM), "are not those that were written"),
        (lambda e: e.pop("header"), "has no header of encoder weights"),
        (lambda e: e.update(header=np.array("[]")), "has no header of encoder weights"),
        (lambda e: e.update(header=np.array(["a", "b"], object)), "is not a whole .npz"),
        (with_header(version=2), "is of version 2, this program reads 1"),
        (with_header(encoder="resnet18"), "do not have the shapes of resnet18"),
    ],
)
def test_a_changed_file_of_ours_is_refused(files, tmp_path, change, message):
    rewritten(files / "keras.npz", tmp_path / "changed.npz", change)
    with pytest.raises(UserError, match=message) as caught:
        load(tmp_path / "changed.npz", "efficientnet_b0", 3)
    assert str(tmp_path / "changed.npz") in str(caught.value)


@pytest.mark.slow
def test_a_damaged_file_of_ours_is_refused(files, tmp_path):
    whole = (files / "keras.npz").read_bytes()
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    for content in (b"", whole[: len(whole) // 2], array.getvalue(), pickle.dumps(Payload(tmp_path / "run"))):
        (tmp_path / "damaged.npz").write_bytes(content)
        with pytest.raises(UserError, match=r"is not a whole \.npz of encoder weights") as caught:
            read_header(tmp_path / "damaged.npz")
        assert "\n" not in str(caught.value)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    (tmp_path / "damaged.npz").write_bytes(flipped)
    with pytest.raises(UserError, match=r"damaged.npz: (is not a whole|the weights are not)"):
        read_header(tmp_path / "damaged.npz")
    assert not (tmp_path / "run").exists()


def test_a_failed_import_leaves_what_was_there(files, tmp_path):
    (tmp_path / "out.npz").write_bytes(b"earlier")
    with pytest.raises(UserError):
        import_weights(files / "timm.safetensors", "resnet18", tmp_path / "out.npz")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("out.npz", b"earlier")]
