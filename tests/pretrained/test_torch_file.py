"""Files of torch.save are read without their pickle being run, in both forms; what is not whole is refused."""

import io
import pickle
import re
import zipfile

import numpy as np
import pytest

from fetal_jax.core.types import UserError
from fetal_jax.pretrained.torch_file import MAGIC, PROTOCOL, read_torch_file

MATRIX = np.arange(6, dtype="<f4").reshape(2, 3)


def plain(value) -> bytes:
    """The opcodes that put a plain value on the pickle's stack."""
    return pickle.dumps(value, 2)[2:-1]


def call(name: str, *arguments: bytes) -> bytes:
    """The opcodes that call a function by its name, as `module name`."""
    module, function = name.split()
    return f"c{module}\n{function}\n".encode() + b"(" + b"".join(arguments) + b"tR"


def tensor(key, size, offset, shape, strides, kind="FloatStorage") -> bytes:
    """The opcodes of a tensor as `torch.save` writes them."""
    pid = b"(" + plain("storage") + f"ctorch\n{kind}\n".encode() + plain(key) + plain("cpu") + plain(size) + b"tQ"
    hooks = call("collections OrderedDict")
    return call(
        "torch._utils _rebuild_tensor_v2", pid, plain(offset), plain(shape), plain(strides), plain(False), hooks
    )


def state_dict(**tensors: bytes) -> bytes:
    items = b"".join(plain(name) + opcodes for name, opcodes in tensors.items())
    return b"\x80\x02" + call("collections OrderedDict") + b"(" + items + b"u."


def pickles(state: bytes, storages) -> bytes:
    """The older form: magic number, version, machine, the tensors, the keys of storages, and the storages."""
    starts = b"".join(pickle.dumps(value, 2) for value in (MAGIC, PROTOCOL, {"little_endian": True}))
    counted = (array.size.to_bytes(8, "little") + array.tobytes() for array in storages.values())
    return starts + state + pickle.dumps(list(storages), 2) + b"".join(counted)


def zipped(state: bytes, storages) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", state)
        archive.writestr("archive/byteorder", "little")
        for key, array in storages.items():
            archive.writestr(f"archive/data/{key}", array.tobytes())
    return file.getvalue()


STATE = state_dict(
    whole=tensor("a", 6, 0, (2, 3), (3, 1)),
    turned=tensor("a", 6, 0, (3, 2), (1, 3)),
    part=tensor("a", 6, 2, (3,), (1,)),
    number=tensor("b", 1, 0, (), (), "LongStorage"),
)
STORAGES = {"a": MATRIX, "b": np.array([7], "<i8")}


@pytest.mark.parametrize("form", [pickles, zipped])
def test_tensors_are_views_of_their_storages(form, tmp_path):
    path = tmp_path / "state.pth"
    path.write_bytes(form(STATE, STORAGES))
    found = read_torch_file(path)
    np.testing.assert_array_equal(found["whole"], MATRIX)
    np.testing.assert_array_equal(found["turned"], MATRIX.T)
    np.testing.assert_array_equal(found["part"], [2, 3, 4])
    assert found["number"].shape == ()
    assert int(found["number"]) == 7


@pytest.mark.parametrize("form", [pickles, zipped])
@pytest.mark.parametrize("name", ["os system", "builtins eval", "torch load", "collections deque", "posix system"])
def test_nothing_that_a_pickle_names_is_run(form, name, tmp_path):
    path, mark = tmp_path / "hostile.pth", tmp_path / "it_ran"
    argument = f"open({str(mark)!r}, 'w')" if name == "builtins eval" else f"touch {mark}"
    path.write_bytes(form(state_dict(whole=call(name, plain(argument))), STORAGES))
    with pytest.raises(
        UserError, match=rf"hostile\.pth: its pickle asks for '{name.replace(' ', '.')}': nothing of it"
    ):
        read_torch_file(path)
    assert not mark.exists()


@pytest.mark.parametrize("form", [pickles, zipped])
@pytest.mark.parametrize("name", ["shape", "strides", "offset", "storage"])
def test_what_a_pickle_says_of_a_tensor_afterwards_changes_nothing(form, name, tmp_path):
    """BUILD sets attributes of an object that is there already, by its `__dict__` or one by one."""
    path = tmp_path / "built.pth"
    for change in ({name: (1 << 40,)}, (None, {name: (1 << 40,)})):
        opcodes = tensor("a", 6, 0, (6,), (1,)) + plain(change) + b"b"
        path.write_bytes(form(state_dict(whole=opcodes), {"a": MATRIX}))
        with pytest.raises(UserError, match="not a whole file of tensors"):
            read_torch_file(path)


@pytest.mark.parametrize("form", [pickles, zipped])
def test_a_dictionary_that_answers_otherwise_is_read_by_what_it_holds(form, tmp_path):
    """A pickle may put attributes on an OrderedDict; its own `items` and `values` are asked all the same."""
    path = tmp_path / "answers.pth"
    state = state_dict(whole=tensor("a", 6, 0, (6,), (1,)))[:-1] + plain({"values": "", "items": ""}) + b"b."
    path.write_bytes(form(state, {"a": MATRIX}))
    np.testing.assert_array_equal(read_torch_file(path)["whole"], MATRIX.ravel())
    forged = state_dict(whole=plain("text"))[:-1] + plain({"values": "", "items": ""}) + b"b."
    path.write_bytes(form(forged, {"a": MATRIX}))
    with pytest.raises(UserError, match="not a state dict of tensors"):
        read_torch_file(path)


def test_entries_that_could_grow_are_refused(tmp_path):
    path = tmp_path / "deflated.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", STATE)
        for key in STORAGES:
            archive.writestr(f"archive/data/{key}", bytes(1 << 20))
    with pytest.raises(UserError, match="its entries are compressed"):
        read_torch_file(path)


@pytest.mark.parametrize("form", [pickles, zipped])
def test_a_file_that_is_cut_off_anywhere_is_refused(form, tmp_path):
    whole, path = form(STATE, STORAGES), tmp_path / "cut.pth"
    for length in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"cut\.pth: it is not a whole file of tensors .*: download it again"):
            read_torch_file(path)


@pytest.mark.parametrize(
    ("opcodes", "reason"),
    [
        (tensor("a", 6, 1, (2, 3), (3, 1)), "beyond its storage"),
        (tensor("a", 6, 0, (2, 3), (300, 1)), "beyond its storage"),
        (tensor("a", 6, -1, (2, 3), (3, 1)), "of an unknown form"),
        (tensor("a", 6, 5, (2,), (-1,)), "of an unknown form"),
        (tensor("a", 6, 0, (2, 3), (1,)), "of an unknown form"),
        (tensor("a", 9, 0, (3, 3), (3, 1)), "6 values, 9 are announced|cut off"),
        (plain("text"), "not a state dict of tensors"),
    ],
)
@pytest.mark.parametrize("form", [pickles, zipped])
def test_a_tensor_that_its_storage_does_not_hold_is_refused(form, opcodes, reason, tmp_path):
    path = tmp_path / "wrong.pth"
    path.write_bytes(form(state_dict(whole=opcodes), {"a": MATRIX}))
    with pytest.raises(UserError) as caught:
        read_torch_file(path)
    assert re.search(reason, str(caught.value))
