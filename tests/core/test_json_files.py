"""JSON files with a format number: what is written, and what a reader takes and refuses."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetal_jax.core.json_files import from_text, read_json, to_text, write_json
from fetal_jax.core.types import UserError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text().filter(lambda key: key != "format"), VALUES, max_size=4)


def test_the_format_comes_first_and_the_file_ends_with_a_line_break(tmp_path):
    write_json(tmp_path / "a.json", {"dice": 0.5, "names": ("a", "b")}, format=3)
    assert (tmp_path / "a.json").read_text() == (
        '{\n  "format": 3,\n  "dice": 0.5,\n  "names": [\n    "a",\n    "b"\n  ]\n}\n'
    )


@pytest.mark.slow
@given(OBJECTS, st.integers(1, 9), st.integers(0, 9))
def test_what_is_written_is_read_back_by_this_format_and_newer_ones(value, written, more):
    text = to_text(value, format=written)
    assert from_text(text, origin="a.json", format=written + more, what="a table") == value


def test_a_file_without_a_format_is_of_format_1(tmp_path):
    (tmp_path / "a.json").write_text('{"dice": 0.5}')
    assert read_json(tmp_path / "a.json", format=1, what="a table") == {"dice": 0.5}


def test_a_newer_format_is_refused_in_one_line_that_says_what_to_install(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"dice": 0.5}, format=4)
    with pytest.raises(UserError) as caught:
        read_json(path, format=3, what="a table")
    assert str(caught.value) == (
        f"{path}: is of format 4, and this version reads a table up to format 3: install a newer fetal_jax"
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Expecting value"),
        ('{"dice": 0.', "Expecting"),
        ("[" * 100_000, "recursion"),
        ("[]", "a JSON list, not an object"),
        ("null", "a JSON null, not an object"),
        ("true", "a JSON boolean, not an object"),
        ('"text"', "a JSON string, not an object"),
        ("3", "a JSON number, not an object"),
        ('{"format": "1"}', "its format is '1'"),
        ('{"format": true}', "its format is True"),
        ('{"format": 0}', "its format is 0"),
        ('{"format": null}', "its format is None"),
    ],
)
def test_damage_is_refused_with_the_file_and_the_cause(tmp_path, text, why):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_json(path, format=1, what="a table")
    words = str(caught.value)
    assert words.startswith(f"{path}: is not a table")
    assert why in words
    assert words.endswith(": restore it, or write it anew")
    assert "\n" not in words


def test_bytes_that_are_not_text_are_damage(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not a table"):
        read_json(tmp_path / "a.json", format=1, what="a table")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"a\.json: cannot be read \(No such file or directory\): give the path of"):
        read_json(tmp_path / "a.json", format=1, what="a table")


@pytest.mark.parametrize("value", [{"dice": float("nan")}, {"format": 2}, {"dice": float("inf")}])
def test_a_value_that_cannot_be_written_leaves_the_old_file(tmp_path, value):
    write_json(tmp_path / "a.json", {"dice": 0.5}, format=1)
    with pytest.raises(ValueError, match=r"JSON compliant|the key 'format'"):
        write_json(tmp_path / "a.json", value, format=1)
    assert json.loads((tmp_path / "a.json").read_text()) == {"format": 1, "dice": 0.5}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
