"""Who is trained on, who is held out. Whole subjects are dealt, so that nobody is on both sides.

Rule: subjects come in an order fixed by the seed and their own names (a hash, so neither the order of the
files nor a new subject reshuffles the others). Test takes subjects until it has its images, then validation,
then labelled, then unlabelled. Frames of a subject that its part has no more room for, or no use for, are
`unused`. Test and validation are dealt first, so they stay the same whatever numbers of labelled and
unlabelled images are compared.
"""

import dataclasses
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fetal_jax.atomic import replacing_file
from fetal_jax.types import UserError

DEALT = ("test", "validation", "labelled", "unlabelled")  # in the order in which they are dealt
PARTS = ("labelled", "unlabelled", "validation", "test", "unused")


@dataclasses.dataclass(frozen=True)
class Splits:
    """Image names by part, sorted, and the number of subjects of each part.

    No two parts share a subject, but for `unused`, which holds the surplus frames of subjects in the others.
    """

    dataset: str
    seed: int
    parts: dict[str, tuple[str, ...]]
    n_subjects: dict[str, int]

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON of dataset, seed and parts: equal hashes are equal splits."""
        facts = {"dataset": self.dataset, "seed": self.seed, "parts": self.parts}
        return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def to_json(self) -> str:
        fields = {"dataset": self.dataset, "seed": self.seed, "hash": self.hash}
        return json.dumps(fields | {"parts": self.parts, "n_subjects": self.n_subjects}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, origin: str = "splits.json") -> "Splits":
        """Raises UserError, naming `origin`, if the text is no split or was edited: its hash tells."""
        try:
            fields = json.loads(text)
            parts = {part: tuple(fields["parts"][part]) for part in PARTS}
            splits = cls(fields["dataset"], fields["seed"], parts, dict(fields["n_subjects"]))
            written = fields["hash"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{origin}: not a split ({error!r}): delete the file to deal anew") from error
        if written != splits.hash:
            raise UserError(f"{origin}: its parts do not match its hash, it was edited: delete the file to deal anew")
        return splits

    def save(self, path: str | os.PathLike) -> None:
        """Writes the JSON atomically: readers see the old file or the new one."""
        with replacing_file(path) as partial:
            partial.write_text(self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Splits":
        """Raises UserError if the file is missing or no split."""
        try:
            text = Path(path).read_text(errors="replace")
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        return cls.from_json(text, origin=str(path))

    def check_subjects(self, subject_of: Mapping[str, str]) -> None:
        """Raises UserError if a subject is in two of the dealt parts, or the data lack an image."""
        part_of: dict[str, str] = {}
        for part in DEALT:
            for name in self.parts[part]:
                if name not in subject_of:
                    raise UserError(f"split: image {name!r} of part {part!r} is not in dataset {self.dataset!r}")
                subject = subject_of[name]
                if part_of.setdefault(subject, part) != part:
                    raise UserError(f"split: subject {subject!r} is in both {part_of[subject]!r} and {part!r}")


def make_splits(
    names: Sequence[str],
    subjects: Sequence[str],
    labelled: Sequence[bool],
    *,
    n_labelled: int,
    n_unlabelled: int,
    n_validation: int,
    n_test: int,
    seed: int,
    dataset: str = "",
) -> Splits:
    """Deals images (counts are of images) by whole subjects; see the module for the rule.

    An image without labels can only be `unlabelled`. A labelled image in `unlabelled` has its labels hidden
    by whoever reads the split. Raises UserError if there are too few images, no labels at all, or a name
    occurs twice.
    """
    wanted = {"labelled": n_labelled, "unlabelled": n_unlabelled, "validation": n_validation, "test": n_test}
    has_labels = dict(zip(names, labelled, strict=True))
    subject_of = dict(zip(names, subjects, strict=True))
    _check_request(wanted, names, has_labels)
    queue = _in_order(subject_of, seed)
    parts = {part: _deal(queue, wanted[part], _usable(part, has_labels)) for part in DEALT}
    for part in DEALT:
        if len(parts[part]) < wanted[part]:
            raise UserError(_too_few(part, wanted, parts, has_labels, subject_of))
    dealt = {name for part in DEALT for name in parts[part]}
    parts["unused"] = [name for name in subject_of if name not in dealt]
    sorted_parts = {part: tuple(sorted(parts[part])) for part in PARTS}
    n_subjects = {part: len({subject_of[name] for name in sorted_parts[part]}) for part in PARTS}
    return Splits(dataset, int(seed), sorted_parts, n_subjects)


def _in_order(subject_of: Mapping[str, str], seed: int) -> list[tuple[str, ...]]:
    """The frames of each subject, sorted by name; the subjects in the order of the seed."""
    frames = defaultdict(list)
    for name, subject in sorted(subject_of.items()):
        frames[subject].append(name)
    key = {subject: hashlib.sha256(f"{seed}/{subject}".encode()).digest() for subject in frames}
    return [tuple(frames[subject]) for subject in sorted(frames, key=key.__getitem__)]


def _usable(part: str, has_labels: Mapping[str, bool]) -> Callable[[str], bool]:
    return (lambda name: True) if part == "unlabelled" else has_labels.__getitem__


def _deal(queue: list[tuple[str, ...]], wanted: int, usable: Callable[[str], bool]) -> list[str]:
    """Takes subjects off the queue until `wanted` usable frames are there; those without any stay in it."""
    dealt, left = [], []
    for frames in queue:
        fit = [name for name in frames if usable(name)]
        if len(dealt) < wanted and fit:
            dealt += fit[: wanted - len(dealt)]
        else:
            left.append(frames)
    queue[:] = left
    return dealt


def _check_request(wanted: Mapping[str, int], names: Sequence[str], has_labels: Mapping[str, bool]) -> None:
    if len(has_labels) != len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise UserError(f"split: image name {twice!r} occurs twice in the dataset; names must be unique")
    if wanted["labelled"] < 1:
        raise UserError(f"split.labelled is {wanted['labelled']}: ask for at least 1 labelled image")
    for part in DEALT:
        if wanted[part] < 0:
            raise UserError(f"split.{part} is {wanted[part]}: ask for 0 images or more")
    if not any(has_labels.values()):
        raise UserError(f"split.labelled asks for {wanted['labelled']} images, but none of {len(names)} has labels")


def _too_few(
    part: str,
    wanted: Mapping[str, int],
    parts: Mapping[str, Sequence[str]],
    has_labels: Mapping[str, bool],
    subject_of: Mapping[str, str],
) -> str:
    asked = ", ".join(f"split.{p} = {wanted[p]}" for p in DEALT)
    n_labelled, n_subjects = sum(has_labels.values()), len(set(subject_of.values()))
    return (
        f"split.{part} asks for {wanted[part]} images but only {len(parts[part])} are left for it: there are "
        f"{len(has_labels)} images ({n_labelled} labelled) of {n_subjects} subjects; lower one of "
        f"{asked}"
    )
