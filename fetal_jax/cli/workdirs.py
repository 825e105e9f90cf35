"""Workdirs of the command line: held by one process at a time."""

import contextlib
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def claimed(workdir: pathlib.Path) -> Iterator[None]:
    """Holds the workdir for this process: two runs in one workdir would overwrite each other."""
    from fetal_jax.core.atomic import locked
    from fetal_jax.core.types import UserError

    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / ".lock").touch()
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(workdir / ".lock"))
        except BlockingIOError:
            raise UserError(f"workdir {workdir} is in use by another run: wait for it or choose another") from None
        yield
