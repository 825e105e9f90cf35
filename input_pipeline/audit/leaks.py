"""Leaks between the parts of a split: subjects, images and their copies that are in several."""

import csv
import dataclasses
import io
import itertools
import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

import numpy as np

from fetal_jax.core.json_files import NewerFormat, without_format
from fetal_jax.core.types import UserError
from input_pipeline.splits import FORMAT

TEST, UNUSED = "test", "unused"  # nothing is trained or scored on unused images
TEST_FRACTION, DRAWS = 0.2, 200
REMEDY = 'write {"parts": {"train": [names], "test": [names]}} as JSON, or CSV with the columns name and part'


@dataclasses.dataclass(frozen=True)
class Shared:
    """Subjects that two parts have in common, and their images there."""

    parts: tuple[str, str]
    subjects: tuple[str, ...]
    images: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Leaks:
    """The leaks of a split. `unused` does not count as a part: nothing is trained or scored on it."""

    n_images: dict[str, int]  # by part
    repeated: tuple[str, ...]  # images in more than one part
    shared: tuple[Shared, ...]
    copies: tuple[tuple[str, ...], ...]  # groups of exact and near-duplicates, linked, that lie in several parts
    n_test_subjects: int
    leaking_test_subjects: tuple[str, ...]  # that another part has too
    n_test_images: int
    leaking_test_images: tuple[str, ...]  # whose subject, or a copy, another part has too


@dataclasses.dataclass(frozen=True)
class RandomSplit:
    """The leaks of a split by image, on average over random draws."""

    test_fraction: float
    draws: int
    seed: int
    test_subjects: float
    leaking_test_subjects: float  # that are also trained on
    leaking_percent: float


def read_parts(path: str | os.PathLike) -> dict[str, tuple[str, ...]]:
    """The image names of each part of a split: a run's `splits.json`, JSON {part: [names]}, or CSV `name,part`.

    Raises UserError, naming the file, if it cannot be read, is none of these, or a `splits.json` of a newer format.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        return _from_csv(text) if Path(path).suffix.lower() == ".csv" else _from_json(text, str(path))
    except NewerFormat:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): check the path") from error
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(f"{path}: is not a split ({error!r}): {REMEDY}") from error


def _from_json(text: str, origin: str) -> dict[str, tuple[str, ...]]:
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise TypeError("no parts")
    if isinstance(fields.get("parts"), dict):
        parts = without_format(fields, origin=origin, format=FORMAT, what="a split")["parts"]
    else:
        parts = fields
    for part, names in parts.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{part!r} is not a list of names")
    return _not_empty({part: tuple(names) for part, names in parts.items()})


def _from_csv(text: str) -> dict[str, tuple[str, ...]]:
    parts = defaultdict(list)
    for row in csv.DictReader(io.StringIO(text), skipinitialspace=True, strict=True):
        if not row["name"] or not row["part"]:
            raise ValueError(f"no name or part in {','.join(filter(None, row.values()))!r}")
        parts[row["part"].strip()].append(row["name"].strip())
    return _not_empty({part: tuple(names) for part, names in parts.items()})


def _not_empty(parts: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    if not any(parts.values()):
        raise ValueError("it names no image")
    return parts


def resolved(parts: Mapping[str, Sequence[str]], known: Mapping[str, str], dataset: str) -> dict[str, tuple[str, ...]]:
    """The parts in the dataset's own names: a file's suffix may follow them. `known` is keyed by name.

    Raises UserError for a name that the dataset does not have.
    """
    return {part: tuple(_resolve(name, part, known, dataset) for name in names) for part, names in parts.items()}


def _resolve(name: str, part: str, known: Mapping[str, str], dataset: str) -> str:
    stem = name
    while stem not in known:
        if not PurePath(stem).suffix:  # no suffix is left to take off
            raise UserError(
                f"split: image {name!r} of part {part!r} is not in dataset {dataset!r}: audit the data it was made for"
            )
        stem = stem[: -len(PurePath(stem).suffix)]
    return stem


def find_leaks(
    parts: Mapping[str, Sequence[str]], subjects: Mapping[str, str], copies: Sequence[Sequence[str]]
) -> Leaks:
    """What crosses the parts. `copies` are groups of duplicates; names are the dataset's own.

    The test part is the one called "test", in whatever case; without it nothing counts as leaking test images.
    """
    used = {part: tuple(sorted(set(names))) for part, names in parts.items() if part.lower() != UNUSED}
    test = {name for part, names in used.items() if part.lower() == TEST for name in names}
    owners = {subjects[name] for name in test}
    elsewhere = {name for part, names in used.items() if part.lower() != TEST for name in names}
    others = {subjects[name] for name in elsewhere}
    copied = {name for group in copies if elsewhere & set(group) for name in group}
    counts: dict[str, int] = defaultdict(int)
    for name in itertools.chain(*used.values()):
        counts[name] += 1
    return Leaks(
        n_images={part: len(names) for part, names in used.items()},
        repeated=tuple(sorted(name for name, count in counts.items() if count > 1)),
        shared=_shared(used, subjects),
        copies=tuple(group for group in _in_use(copies, counts) if _crosses(group, used)),
        n_test_subjects=len(owners),
        leaking_test_subjects=tuple(sorted(owners & others)),
        n_test_images=len(test),
        leaking_test_images=tuple(sorted(n for n in test if subjects[n] in others or n in copied)),
    )


def _shared(used: Mapping[str, Sequence[str]], subjects: Mapping[str, str]) -> tuple[Shared, ...]:
    found = []
    for first, second in itertools.combinations(used, 2):
        common = {subjects[name] for name in used[first]} & {subjects[name] for name in used[second]}
        images = {name for name in (*used[first], *used[second]) if subjects[name] in common}
        if common:
            found.append(Shared((first, second), tuple(sorted(common)), tuple(sorted(images))))
    return tuple(found)


def _in_use(copies: Sequence[Sequence[str]], counts: Mapping[str, int]) -> list[tuple[str, ...]]:
    return [tuple(name for name in group if name in counts) for group in copies]


def _crosses(group: Sequence[str], used: Mapping[str, Sequence[str]]) -> bool:
    return len(group) > 1 and sum(not set(group).isdisjoint(names) for names in used.values()) > 1


def random_split(subjects: Mapping[str, str], *, seed: int) -> RandomSplit:
    """The leaks of a split by image into 80 % training and 20 % test: the mean of DRAWS draws from `seed`."""
    rng = np.random.default_rng(seed)
    _, owner = np.unique([subjects[name] for name in sorted(subjects)], return_inverse=True)
    n_test = round(TEST_FRACTION * len(owner))
    tested, leaking = np.zeros(DRAWS), np.zeros(DRAWS)
    for draw in range(DRAWS):
        shuffled = rng.permutation(owner)
        test, train = np.unique(shuffled[:n_test]), shuffled[n_test:]
        tested[draw], leaking[draw] = len(test), np.isin(test, train).sum()
    percent = 100 * leaking.sum() / max(tested.sum(), 1)
    means = (round(float(value), 2) for value in (tested.mean(), leaking.mean(), percent))
    return RandomSplit(TEST_FRACTION, DRAWS, seed, *means)
