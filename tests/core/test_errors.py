"""How programs end: their code, and one line for what a user can put right."""

import pytest

from fetal_jax.core.errors import exit_code
from fetal_jax.core.types import UserError


def raising(error):
    def work():
        raise error

    return work


def test_work_that_is_done_says_nothing(capsys):
    assert exit_code("program", lambda: None) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("key is wrong:\n  give another"), "program: key is wrong: give another\n"),
        (
            FileNotFoundError(2, "No such file", "a/b"),
            "program: a/b: No such file: check the path, its rights and the ",
        ),
        (OSError("disk full"), "program: a file: disk full: check the path"),
    ],
)
def test_what_a_user_can_put_right_is_one_line(error, line, capsys):
    assert exit_code("program", raising(error)) == 2
    told = capsys.readouterr().err
    assert told.startswith(line)
    assert told.count("\n") == 1


def test_what_nobody_foresaw_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        exit_code("program", raising(ZeroDivisionError()))
