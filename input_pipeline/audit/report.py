"""The findings of an audit: data only, as JSON and as a summary in lines."""

import dataclasses
from collections import Counter
from collections.abc import Sequence

from fetal_jax.core.json_files import to_text
from input_pipeline.audit.checks import KINDS, Finding
from input_pipeline.audit.duplicates import ExactGroup, NearPair
from input_pipeline.audit.leaks import Leaks, RandomSplit
from input_pipeline.audit.registration import SIMILAR

SHOWN = 5  # names in one line
FORMAT = 1  # of audit.json


@dataclasses.dataclass(frozen=True)
class Audit:
    """All findings in a dataset; `leaks` is None where no split was given."""

    dataset: str
    version: str
    n_images: int
    n_labelled: int
    n_subjects: int
    exact: tuple[ExactGroup, ...]
    near: tuple[NearPair, ...]
    masks: tuple[Finding, ...]
    spacing: tuple[Finding, ...]
    absent_classes: tuple[str, ...]
    random_split: RandomSplit
    leaks: Leaks | None

    def to_json(self) -> str:
        """Every finding with its names and numbers, and the rules that made it one."""
        rules = KINDS | {"near": f"correlation of local contrast, once registered, of at least {SIMILAR}"}
        return to_text(dataclasses.asdict(self) | {"rules": rules}, format=FORMAT)

    def lines(self) -> list[str]:
        """A summary for the terminal, with the checks that found nothing."""
        head = f"{self.version}: {self.n_images} images, {self.n_labelled} labelled, {self.n_subjects} subjects"
        findings = (*self.masks, *self.spacing)
        absent = f"classes that no image shows: {_some(self.absent_classes)}"
        return [head, self._exact(), self._near(), *_by_kind(findings), absent, *self._split()]

    def _exact(self) -> str:
        crossing = sum(group.across_subjects for group in self.exact)
        names = _some([" = ".join(group.names) for group in self.exact])
        return f"exact duplicates: {len(self.exact)} groups, {crossing} of them across subjects: {names}"

    def _near(self) -> str:
        crossing = sum(pair.across_subjects for pair in self.near)
        names = _some([f"{' ~ '.join(pair.names)} ({pair.correlation:.2f})" for pair in self.near])
        return f"near-duplicates: {len(self.near)} pairs, {crossing} of them across subjects: {names}"

    def _split(self) -> list[str]:
        if self.leaks is None:
            r = self.random_split
            return [
                f"a random split by image ({r.test_fraction:.0%} test) would train on {r.leaking_test_subjects:.1f} of "
                f"{r.test_subjects:.1f} test subjects ({r.leaking_percent:.1f} %; mean of {r.draws} draws)"
            ]
        leaks = self.leaks
        lines = [
            f"test subjects that another part has too: {len(leaks.leaking_test_subjects)} of {leaks.n_test_subjects}: "
            f"{_some(leaks.leaking_test_subjects)}",
            f"test images whose subject or copy another part has: {len(leaks.leaking_test_images)} of "
            f"{leaks.n_test_images}: {_some(leaks.leaking_test_images)}",
            f"images in more than one part: {len(leaks.repeated)}: {_some(leaks.repeated)}",
            f"duplicates that cross parts: {_some([' ~ '.join(group) for group in leaks.copies])}",
        ]
        for shared in leaks.shared:
            first, second = shared.parts
            lines.append(f"{first} and {second} share {len(shared.subjects)} subjects: {_some(shared.subjects)}")
        return lines


def _by_kind(findings: Sequence[Finding]) -> list[str]:
    counts = Counter(finding.kind for finding in findings)
    lines = []
    for kind in KINDS:
        names = [f"{f.name}{f' ({f.structure})' if f.structure else ''}" for f in findings if f.kind == kind]
        lines += [f"{kind}: {counts[kind]}: {_some(names)}"] if names else []
    return lines or ["masks and pixel sizes: nothing odd"]


def _some(names: Sequence[str]) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
