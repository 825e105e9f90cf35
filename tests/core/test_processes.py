"""Several processes: what each of them does, with the processes played by patches, and what one process does."""

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from fetal_jax.core import processes


@pytest.fixture
def played(monkeypatch):
    """Runs a function once as each of some processes; what one gathers is what all of them sent."""

    def play(n, function, sent=None):
        results = []
        for index in range(n):
            monkeypatch.setattr(jax, "process_index", lambda i=index: i)
            monkeypatch.setattr(jax, "process_count", lambda: n)
            monkeypatch.setattr(multihost_utils, "process_allgather", sent or (lambda x: np.asarray(x)))
            results.append(function())
        return results

    return play


def test_alone_everything_is_ones_own():
    assert (processes.count(), processes.is_main()) == (1, True)
    assert list(processes.share([1, 2, 3])) == [1, 2, 3]
    rows = [np.ones(2), np.zeros(2)]
    assert processes.gathered(rows, 2, np.zeros(2)) == rows
    assert processes.agree(True)
    assert not processes.agree(False)
    tree = {"a": jax.numpy.ones(3)}
    assert processes.local(tree) is tree


@pytest.mark.parametrize(("n", "items"), [(2, 5), (3, 3), (4, 2), (3, 7)])
def test_shares_are_every_item_once_and_gathered_in_their_order(played, n, items):
    names = [f"image {i}" for i in range(items)]
    shares = played(n, lambda: list(processes.share(names)))
    assert sorted(name for share in shares for name in share) == names
    like, most = np.zeros(2, np.int64), -(-items // n)

    def sent(_):  # what all of them send: their rows, padded to those of the busiest
        rows = [[np.full(2, names.index(name)) for name in share] for share in shares]
        return np.stack([np.stack([*mine, *[like] * (most - len(mine))]) for mine in rows])

    for everyone in played(n, lambda: processes.gathered([like] * len(shares[jax.process_index()]), items, like), sent):
        assert [row.tolist() for row in everyone] == [[i, i] for i in range(items)]


def test_a_stop_of_one_process_is_one_of_all_and_asked_at_the_same_steps(played):
    assert played(2, lambda: processes.agree(False), lambda flag: np.array([False, True])) == [True, True]
    asked = []

    def ask():
        asked.append(True)
        return True

    steps = played(
        2, lambda: [step for step in range(40) if processes.agree_at(step, ask)], lambda flag: np.array([flag])
    )
    assert steps == [[15, 31], [15, 31]]
    assert len(asked) == 4
