"""Duplicates: images of the same pixels, or of the same scan after a crop, a change of gain, a flip, a codec."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from input_pipeline.audit.candidates import find_candidates
from input_pipeline.audit.fingerprints import FLIPS
from input_pipeline.audit.registration import SIMILAR, compare


@dataclasses.dataclass(frozen=True)
class ExactGroup:
    """Images with the same pixels. With several subjects, a split by subject cannot keep them apart."""

    names: tuple[str, ...]
    subjects: tuple[str, ...]  # each once
    across_subjects: bool


@dataclasses.dataclass(frozen=True)
class NearPair:
    """Two images that show the same once they are laid over each other."""

    names: tuple[str, str]
    subjects: tuple[str, str]
    across_subjects: bool
    correlation: float  # of local contrast, up to 1
    flip: str  # how the second one is mirrored


def exact_groups(hashes: Mapping[str, str], subjects: Mapping[str, str]) -> tuple[ExactGroup, ...]:
    """Images of equal hash, by name; groups that cross subjects come first."""
    same = defaultdict(list)
    for name, digest in sorted(hashes.items()):
        same[digest].append(name)
    groups = []
    for names in same.values():
        owners = tuple(sorted({subjects[name] for name in names}))
        if len(names) > 1:
            groups.append(ExactGroup(tuple(names), owners, len(owners) > 1))
    return tuple(sorted(groups, key=lambda group: (not group.across_subjects, group.names)))


def near_pairs(thumbs: Mapping[str, np.ndarray], subjects: Mapping[str, str]) -> tuple[NearPair, ...]:
    """Near-duplicates among thumbnails [SIDE SIDE] by name; pairs that cross subjects come first, then the closest.

    Each image is compared with its nearest few only: of a crowd of copies not every pair is listed, but `linked` finds
    the crowd.
    """
    names = sorted(thumbs)
    pictures = [thumbs[name] for name in names]
    pairs = []
    for candidate in find_candidates(pictures):
        i, j = candidate.first, candidate.second
        likeness = compare(candidate, pictures[i], pictures[j])
        if likeness.correlation >= SIMILAR:
            pair = (names[min(i, j)], names[max(i, j)])
            owners = (subjects[pair[0]], subjects[pair[1]])
            crosses = owners[0] != owners[1]
            pairs.append(NearPair(pair, owners, crosses, round(likeness.correlation, 4), FLIPS[candidate.flip]))
    return tuple(sorted(pairs, key=lambda pair: (not pair.across_subjects, -pair.correlation, pair.names)))


def linked(groups: Iterable[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """Merges groups of names that share a name, directly or through others; sorted."""
    group_of: dict[str, set[str]] = {}
    for names in groups:
        merged = set(names).union(*(group_of.get(name, ()) for name in names))
        for name in merged:
            group_of[name] = merged
    unique = {id(group): group for group in group_of.values()}
    return tuple(sorted(tuple(sorted(group)) for group in unique.values()))
