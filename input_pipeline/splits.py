"""Splits: the request in a config, and the manifest of which image is in which part.

`input_pipeline.split_assignment` makes a manifest from a request.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fetal_jax.core.atomic import replacing_file
from fetal_jax.core.json_files import from_text, to_text
from fetal_jax.core.settings import from_dict, setting
from fetal_jax.core.types import UserError

ASSIGNED = ("test", "validation", "labelled", "unlabelled")  # in the order in which they are assigned
PARTS = ("labelled", "unlabelled", "validation", "test", "unused")
ALL = -1  # as a count: all images that are left by the other parts
UNITS = ("images", "percent")
FORMAT = 1  # of splits.json
REMEDY = "delete the file to assign the images again"


@dataclasses.dataclass(frozen=True)
class Request:
    """Which images are trained on, validated and tested: a config's `split`."""

    seed: int = setting("of the assignment of subjects to parts")
    labelled: int = setting("images with labels that are trained on; -1: all that are left")
    unlabelled: int = setting("images that are trained on without their labels; -1: all that are left")
    validation: int = setting("images that choose the best network")
    test: int = setting("images that are scored, of each group where labelled_groups are named")
    unit: str = setting("what the numbers count: images, or percent of the labelled images in whole subjects", "images")
    stratify: tuple[str, ...] = setting("structures that all parts show equally often", ())
    folds: int = setting("cross-validation: number of folds, 0 for none", 0)
    fold: int = setting("cross-validation: the fold that is tested", 0)
    labelled_groups: tuple[str, ...] = setting("the only groups whose images are labelled or validate; none: all", ())

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Request":
        """From JSON, in which what has a default may be missing. Raises UserError naming a key that is wrong."""
        given = ((field.name, field.default) for field in dataclasses.fields(cls))
        defaults = {name: default for name, default in given if default is not dataclasses.MISSING}
        return from_dict(cls, defaults | dict(fields), "split.")

    def wanted(self) -> dict[str, int]:
        """Requested images, or percent, by part."""
        return {part: getattr(self, part) for part in ASSIGNED}

    def check(self) -> None:
        """Raises UserError naming a key whose value is impossible for any dataset."""
        if self.unit not in UNITS:
            raise UserError(f"split.unit is {self.unit!r}: choose {' or '.join(UNITS)}")
        for part, wanted in self.wanted().items():
            may_be_all = self.unit == "images" and part in ("labelled", "unlabelled")
            if wanted < 0 and not (may_be_all and wanted == ALL):
                hint = f", or {ALL} for all that are left" if may_be_all else ""
                raise UserError(f"split.{part} is {wanted}: ask for 0 {self.unit} or more{hint}")
        if self.labelled == 0:
            raise UserError("split.labelled is 0: ask for at least 1 labelled image or percent")
        if self.unit == "percent" and sum(self.wanted().values()) > 100:
            raise UserError(f"split asks for more than 100 percent: lower one of {self.in_words()}")
        if self.unit == "percent" and self.labelled_groups:
            raise UserError("split.unit is 'percent' but split.labelled_groups are named: set split.unit to images")
        self._check_folds()

    def _check_folds(self) -> None:
        if self.folds < 0 or self.folds == 1:
            raise UserError(f"split.folds is {self.folds}: it must be 0 for none, or at least 2")
        if not self.folds and self.fold:
            raise UserError(f"split.fold is {self.fold} but split.folds is 0: set it to the number of folds")
        if self.folds and not 0 <= self.fold < self.folds:
            raise UserError(f"split.fold is {self.fold}: of {self.folds} folds choose 0 to {self.folds - 1}")
        if self.folds and self.test:
            raise UserError(f"split.test is {self.test}: set it to 0, the test part is fold {self.fold}")

    def in_words(self) -> str:
        return ", ".join(f"split.{part} = {wanted}" for part, wanted in self.wanted().items())


@dataclasses.dataclass(frozen=True)
class Splits:
    """Image names by part, sorted, and the number of subjects of each part.

    No two parts share a subject, but for `unused`, which holds the surplus frames of subjects in the others.
    """

    dataset: str
    seed: int
    parts: dict[str, tuple[str, ...]]
    n_subjects: dict[str, int]
    request: Request | None = None  # None in manifests written before it was kept
    showing: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)  # images by stratified structure, part

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON of dataset, seed and parts: equal splits have equal hashes."""
        facts = {"dataset": self.dataset, "seed": self.seed, "parts": self.parts}
        return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @property
    def n_images(self) -> dict[str, int]:
        """The number of images of each part."""
        return {part: len(names) for part, names in self.parts.items()}

    def to_json(self) -> str:
        """The manifest: the request, the counts, then every name."""
        asked: dict[str, Any] = {} if self.request is None else {"request": dataclasses.asdict(self.request)}
        fields = {"dataset": self.dataset, "seed": self.seed, "hash": self.hash} | asked
        fields |= {"n_images": self.n_images, "n_subjects": self.n_subjects, "showing": self.showing}
        return to_text(fields | {"parts": self.parts}, format=FORMAT)

    @classmethod
    def from_json(cls, text: str, origin: str = "splits.json") -> "Splits":
        """Raises UserError, naming `origin`, if the text is not a split, of a newer format, or edited (by its hash)."""
        fields = from_text(text, origin=origin, format=FORMAT, what="a split", remedy=REMEDY)
        try:
            parts = {part: tuple(fields["parts"][part]) for part in PARTS}
            request = Request.from_dict(fields["request"]) if "request" in fields else None
            counts = dict(fields["n_subjects"]), request, dict(fields.get("showing", {}))
            splits = cls(fields["dataset"], fields["seed"], parts, *counts)
            written = fields["hash"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{origin}: is not a split ({error!r}): {REMEDY}") from error
        if written != splits.hash:
            raise UserError(f"{origin}: its parts do not match its hash, it was edited: {REMEDY}")
        return splits

    def save(self, path: str | os.PathLike) -> None:
        """Writes the JSON atomically: readers see the old file or the new one."""
        with replacing_file(path) as partial:
            partial.write_text(self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Splits":
        """Raises UserError if the file is missing or not a split."""
        try:
            text = Path(path).read_text(errors="replace")
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        return cls.from_json(text, origin=str(path))

    def check_subjects(self, subject_of: Mapping[str, str]) -> None:
        """Raises UserError if a subject is in two of the assigned parts, or the data lack an image."""
        part_of: dict[str, str] = {}
        for part in ASSIGNED:
            for name in self.parts[part]:
                if name not in subject_of:
                    raise UserError(f"split: image {name!r} of part {part!r} is not in dataset {self.dataset!r}")
                subject = subject_of[name]
                if part_of.setdefault(subject, part) != part:
                    raise UserError(f"split: subject {subject!r} is in both {part_of[subject]!r} and {part!r}")
