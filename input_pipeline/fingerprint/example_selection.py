"""Selects the examples of a contact sheet: from many subjects, with every class in some of them."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from input_pipeline.dataset import Dataset

OF_EACH_CLASS = 2


def select_examples(dataset: Dataset, number: int) -> list[int]:
    """The rows in the index of at most `number` examples, by group and name; the same ones at every call.

    Every structure is in two of them, the rarest first, as far as it is in any. The others are spread evenly over the
    subjects that are not shown yet, then over further images of those that are.
    """
    index, subjects = dataset.index, dataset.index.subjects
    shown = dataset.class_pixels()[:, 1:] > 0
    chosen: list[int] = []
    # The rarest structure first.
    for column in np.argsort(shown.sum(axis=0), kind="stable"):
        missing = min(OF_EACH_CLASS - int(shown[chosen, column].sum()), number - len(chosen))
        chosen += _spread(_fresh(np.flatnonzero(shown[:, column]), chosen, subjects), missing)
    chosen += _spread(_fresh(np.arange(len(subjects)), chosen, subjects), number - len(chosen))
    return sorted(chosen, key=lambda row: (index.groups[row], index.names[row]))


def _fresh(rows: np.ndarray, chosen: Sequence[int], subjects: Sequence[str]) -> list[list[int]]:
    """The rows that are not chosen, in rounds of one image per subject; subjects shown already come in later ones."""
    taken, rounds = set(chosen), defaultdict[int, list[int]](list)
    seen = Counter(subjects[row] for row in chosen)
    for row in rows.tolist():
        if row not in taken:
            rounds[seen[subjects[row]]].append(row)
            seen[subjects[row]] += 1
    return [rounds[turn] for turn in sorted(rounds)]


def _spread(rounds: Sequence[Sequence[int]], number: int) -> list[int]:
    """`number` rows, evenly along each round, the first round first."""
    picked: list[int] = []
    for rows in rounds:
        wanted = min(max(0, number - len(picked)), len(rows))
        picked += [rows[i * len(rows) // wanted] for i in range(wanted)]
    return picked
