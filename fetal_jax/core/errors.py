"""Exit codes of programs: 0 for done; 2, and one line on stderr, for an error of the user."""

import sys
from collections.abc import Callable

from fetal_jax.core.types import UserError

DONE, USER_ERROR = 0, 2


def exit_code(program: str, work: Callable[[], None]) -> int:
    """Does the work of a program of that name; a UserError and a file that cannot be used are told on stderr."""
    try:
        work()
    except UserError as error:
        return _report(program, str(error))
    except OSError as error:
        remedy = "check the path, its rights and the disk"
        return _report(program, f"{error.filename or 'a file'}: {error.strerror or error}: {remedy}")
    return DONE


def _report(program: str, reason: str) -> int:
    print(f"{program}: {' '.join(reason.split())}", file=sys.stderr)
    return USER_ERROR
