"""Several processes of one run: who writes, who reads which items, and how they agree.

With one process every function here is what it says of one: nothing is sent.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

T = TypeVar("T")
AGREE_EVERY = 16  # steps between two agreements on a stop: each one waits for the devices


def count() -> int:
    """How many processes the run has."""
    return jax.process_count()


def is_main() -> bool:
    """Whether this process writes the files of the run: exactly one does."""
    return jax.process_index() == 0


def share(items: Sequence[T]) -> Sequence[T]:
    """The items that this process works on: every n-th of them."""
    return items[jax.process_index() :: count()]


def gathered(mine: Sequence[np.ndarray], n: int, like: np.ndarray) -> list[np.ndarray]:
    """All `n` results in the order of the items, of which each process worked on its `share`.

    Every result has the shape and the type of `like`: a process that has no item at all must know them, too.
    """
    if count() == 1:
        return list(mine)
    most = -(-n // count())  # every process sends as many as the busiest
    padded = np.stack([*mine, *[np.zeros_like(like)] * (most - len(mine))])
    everyone = np.asarray(multihost_utils.process_allgather(padded))  # [processes, most, ...]
    return [everyone[i % count(), i // count()] for i in range(n)]


def agree(flag: bool) -> bool:
    """Whether any process says so: the same answer in all of them."""
    if count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.array(flag))))


def agree_at(step: int, ask: Callable[[], bool]) -> bool:
    """Whether any process asks to stop; with several of them only every AGREE_EVERY steps."""
    if count() == 1:
        return ask()
    return step % AGREE_EVERY == AGREE_EVERY - 1 and agree(ask())


def wait_for_all(what: str) -> None:
    """Returns when every process is here; `what` names the place in an error of a process that is missing."""
    if count() > 1:
        multihost_utils.sync_global_devices(what)


def part() -> None:
    """Ends the common work of the processes: what follows is done by one of them, and the others need not wait."""
    if count() > 1:
        jax.distributed.shutdown()


def local(tree: Any) -> Any:
    """A replicated tree as arrays of this process's devices, for programs that the processes run by themselves."""
    if count() == 1:
        return tree
    return jax.tree.map(lambda x: x.addressable_data(0) if isinstance(x, jax.Array) else x, tree)
