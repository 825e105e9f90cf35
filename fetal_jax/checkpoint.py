"""Checkpoints: atomic bundles of state, position and data stream. The only file that knows Orbax.

`checkpoints/latest` is what a killed run goes on from; `checkpoints/best` is the network with the best validation
score of the current stage. A bundle is written beside its predecessor, and replaces it only when it is whole.
"""

import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp

from fetal_jax.types import Variables

KEEP = 1


class CheckpointError(RuntimeError):
    """A checkpoint could not be written; the previous one is whole."""


class Checkpoints:
    """The two checkpoints of a workdir."""

    def __init__(self, workdir: pathlib.Path):
        root = pathlib.Path(workdir).absolute() / "checkpoints"
        self._latest, self._best = _manager(root / "latest"), _manager(root / "best")

    def save_latest(self, step: int, state: Any, progress: dict[str, Any]) -> None:
        """Writes the bundle a run resumes from. `progress` is JSON: position in the protocol and data stream."""
        _save(self._latest, step, state=state, progress=progress)

    def save_best(self, step: int, variables: Variables, facts: dict[str, Any]) -> None:
        """Writes the network that scored best so far."""
        _save(self._best, step, state=variables, progress=facts)

    def latest_progress(self) -> dict[str, Any] | None:
        """The `progress` of the latest bundle; None in a new workdir."""
        step = self._latest.latest_step()
        if step is None:
            return None
        return self._latest.restore(step, args=ocp.args.Composite(progress=ocp.args.JsonRestore())).progress

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
    args = ocp.args.Composite(state=ocp.args.StandardSave(state), progress=ocp.args.JsonSave(progress))
    try:
        manager.save(step, args=args, force=True)
        manager.wait_until_finished()
    except (OSError, ValueError) as error:  # tensorstore reports a full disk as ValueError
        reason = str(error).splitlines()[0][:200]
        raise CheckpointError(
            f"cannot write the checkpoint of step {step} to {manager.directory} ({reason}): "
            "free some disk space and run the same command again; the previous checkpoint is whole"
        ) from error


def _restore(manager: ocp.CheckpointManager, template: Any) -> Any:
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, template)
    args = ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
    return manager.restore(manager.latest_step(), args=args).state
