"""Checkpoints: atomic bundles of state, position and data stream. The only file that knows Orbax.

`checkpoints/latest` is what a killed run goes on from; `checkpoints/best` is the network with the best validation
score of the current stage. A bundle is written beside its predecessor, and replaces it only when it is whole.
"""

import contextlib
import logging
import os
import pathlib
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from fetal_jax.core.types import UserError, Variables

KEEP = 1


class CheckpointError(UserError):
    """A checkpoint could not be written; the previous one is whole."""


class Checkpoints:
    """The two checkpoints of a workdir."""

    def __init__(self, workdir: pathlib.Path, origin: Mapping[str, str] | None = None):
        """`origin` is what every bundle says of where it comes from, e.g. the hash of the split."""
        self._origin = dict(origin or {})
        root = pathlib.Path(workdir).absolute() / "checkpoints"
        self._latest, self._best = _manager(root / "latest"), _manager(root / "best")

    def save_latest(self, step: int, state: Any, progress: dict[str, Any]) -> None:
        """Writes the bundle a run resumes from. `progress` is JSON: position in the protocol and data stream."""
        _save(self._latest, step, state=state, progress=progress | {"origin": self._origin})

    def save_best(self, step: int, variables: Variables, facts: dict[str, Any]) -> None:
        """Writes the network that scored best so far."""
        _save(self._best, step, state=variables, progress=facts | {"origin": self._origin})

    def latest_progress(self) -> dict[str, Any] | None:
        """The `progress` of the latest bundle; None in a new workdir.

        Raises CheckpointError if it has another origin.
        """
        step = self._latest.latest_step()
        if step is None:
            return None
        progress = self._latest.restore(step, args=ocp.args.Composite(progress=ocp.args.JsonRestore())).progress
        found = progress.pop("origin", {})
        for key, value in self._origin.items():
            if found.get(key, value) != value:
                raise CheckpointError(
                    f"{self._latest.directory} is of another {key} ({found[key][:16]}, not {value[:16]}): "
                    "choose another --workdir"
                )
        return progress

    @property
    def latest_step(self) -> int:
        """The global step of the latest bundle, 0 if there is none."""
        return self._latest.latest_step() or 0

    def restore_latest(self, template: Any) -> Any:
        """The latest state, in the structure, types and shardings of `template`."""
        return _restore(self._latest, template)

    def restore_best(self, template: Variables) -> Variables:
        """The best network, in the structure of `template`."""
        return _restore(self._best, template)

    def close(self) -> None:
        self._latest.close()
        self._best.close()


def _manager(directory: pathlib.Path) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(
        max_to_keep=KEEP, enable_async_checkpointing=False, cleanup_tmp_directories=True
    )
    return ocp.CheckpointManager(directory, options=options)


def _save(manager: ocp.CheckpointManager, step: int, state: Any, progress: dict[str, Any]) -> None:
    if manager.latest_step() == step:  # a run that was killed between two saves comes by here again, with the same bits
        return
    directory = pathlib.Path(os.fspath(manager.directory))  # Orbax has a kind of path of its own
    _check_space(directory, state)
    args = ocp.args.Composite(state=ocp.args.StandardSave(_on_host(state)), progress=ocp.args.JsonSave(progress))
    try:
        with _stderr_put_away():
            manager.save(step, args=args, force=True)
            manager.wait_until_finished()
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) and "writ" not in str(error):  # tensorstore's word for a failed write
            raise
        for partial in directory.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(partial, ignore_errors=True)
        raise CheckpointError(_remedy(directory, str(error).splitlines()[0][:200])) from error


def _on_host(state: Any) -> Any:
    """The state with NumPy arrays for what every device has all of: Orbax has each device cut out a share of such a
    leaf and compiles a program for every shape of it, seconds for a network on a few devices."""
    return jax.tree.map(lambda x: np.asarray(x) if getattr(x, "is_fully_replicated", False) else x, state)


@contextlib.contextmanager
def _stderr_put_away() -> Iterator[None]:
    """Where one write fails, tensorstore's threads print a traceback for every other one; what counts is raised."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    except BaseException:
        logging.getLogger("asyncio").disabled = True
        time.sleep(1)  # writes in flight
        raise
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _check_space(directory: pathlib.Path, state: Any) -> None:
    """Raises CheckpointError if the disk cannot hold the state, before anything is written."""
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise CheckpointError(_remedy(directory, f"{needed >> 20} MiB needed, {free >> 20} MiB free"))


def _remedy(directory: pathlib.Path, reason: str) -> str:
    return (
        f"cannot write a checkpoint to {directory} ({reason}): free some disk space and run the same command again; "
        "the previous checkpoint is whole"
    )


def _restore(manager: ocp.CheckpointManager, template: Any) -> Any:
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, template)
    args = ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
    return manager.restore(manager.latest_step(), args=args).state
