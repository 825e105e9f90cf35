"""Sound files that all tests of pretrained weights read."""

import pytest
from published import torch_tensors, values, write_keras
from safetensors.numpy import save_file

from fetal_jax.core.types import UserError
from fetal_jax.pretrained import import_weights


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Sound files of EfficientNet-B0: keras.h5, timm.safetensors, and what was made of the first, keras.npz."""
    folder = tmp_path_factory.mktemp("weights")
    arrays = values("efficientnet_b0")
    write_keras(folder / "keras.h5", arrays)
    save_file(torch_tensors("efficientnet_b0", arrays, "conv_stem."), folder / "timm.safetensors")
    import_weights(folder / "keras.h5", "efficientnet_b0", folder / "keras.npz", source="made here", any_hash=True)
    return folder


@pytest.fixture
def refused(tmp_path):
    """Asserts that a file is refused in one line with its name and these words, and that nothing is written."""

    def check(file, message, encoder="efficientnet_b0", **options):
        with pytest.raises(UserError, match=message) as caught:
            import_weights(file, encoder, tmp_path / "refused.npz", **{"any_hash": True} | options)
        assert str(file) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not list(tmp_path.glob("*.npz"))

    return check
