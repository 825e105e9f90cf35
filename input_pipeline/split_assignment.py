"""Who is trained on, who is held out. Whole subjects are dealt, so that nobody is on both sides.

Rule: subjects stand in a queue, in an order fixed by the seed and their own names (a hash, so neither the order of
the files nor a new subject reshuffles the others). Test takes subjects until it has its images, then validation, then
labelled, then unlabelled; a part that asks for all that are left comes last. Frames of a subject that its part has no
more room for, or no use for, are `unused`. Test and validation are dealt first, so they stay the same whatever numbers
of labelled and unlabelled images are compared.

Stratified, every stretch of the queue holds each stratum in its proportion: the subject of rank i among the n of its
stratum stands at (i + u) / n, u in [0, 1) from its own hash. Of k >= 2 strata, one that is the share p of all subjects
is off by at most 2 (1 + p (k - 2)) subjects in a part. A new subject shifts the others of its stratum
by less than 1 / n and keeps their order.

Folds and percentages cut the queue where a subject ends nearest to the share of labelled images. Where
`labelled_groups` are named, test has its count of every group, and what no part takes of these groups is left for
`unlabelled`, as all other images are.
"""

import dataclasses
import hashlib
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from fractions import Fraction
from itertools import accumulate, chain, pairwise

from fetal_jax.core.types import UserError
from input_pipeline.splits import ALL, DEALT, PARTS, Request, Splits


@dataclasses.dataclass(frozen=True)
class Case:
    """An image, as far as dealing goes."""

    name: str
    subject: str
    labelled: bool
    shows: frozenset[str] = frozenset()  # the structures in its labels
    group: str = ""  # an age, a site


Subject = tuple[Case, ...]  # its frames, sorted by name


def make_splits(cases: Sequence[Case], request: Request, dataset: str = "") -> Splits:
    """Deals images by whole subjects, as `request` asks; see the module for the rule.

    An image without labels can only be `unlabelled`; asked for percent, subjects without any label are all
    `unlabelled`, beside the percentages. A labelled image in `unlabelled` has its labels hidden by whoever reads the
    split. Raises UserError if there are too few images or subjects, no labels at all, a name that occurs twice, or a
    structure or group that does not occur.
    """
    request.check()
    _check_cases(cases, request)
    queue, parts = _in_order(cases, request), {}
    if request.folds:
        parts["test"], queue = _fold(queue, request)
    deal = _by_percent if request.unit == "percent" else _by_count
    parts = deal(queue, request) | parts
    dealt = {case.name for part in DEALT for case in parts[part]}
    parts["unused"] = [case for case in cases if case.name not in dealt]
    return Splits(
        dataset,
        request.seed,
        {part: tuple(sorted(case.name for case in parts[part])) for part in PARTS},
        {part: len({case.subject for case in parts[part]}) for part in PARTS},
        request,
        {word: {part: sum(_shows(case, word) for case in parts[part]) for part in PARTS} for word in request.stratify},
    )


def _shows(case: Case, structure: str) -> bool:
    return case.labelled and structure in case.shows


def _in_order(cases: Sequence[Case], request: Request) -> list[Subject]:
    """The queue of subjects; those of a stratum are in the order of their hashes, and evenly spread."""
    frames = defaultdict(list)
    for case in sorted(cases, key=lambda case: case.name):
        frames[case.subject].append(case)
    digest = {subject: hashlib.sha256(f"{request.seed}/{subject}".encode()).digest() for subject in frames}
    strata = defaultdict(list)
    for subject in sorted(frames, key=digest.__getitem__):
        strata[_stratum(frames[subject], request)].append(subject)
    place = {}
    for members in strata.values():
        for rank, subject in enumerate(members):
            # The order is that of the first bytes, so the last ones are as good as independent of it.
            place[subject] = (rank + int.from_bytes(digest[subject][-4:]) / 2**32) / len(members)
    return [tuple(frames[subject]) for subject in sorted(place, key=lambda subject: (place[subject], digest[subject]))]


def _stratum(frames: Sequence[Case], request: Request) -> Hashable:
    """What is balanced: whether a subject has labels, the requested structures in them, and its groups."""
    if not (request.stratify or request.labelled_groups):
        return None
    shown = frozenset(word for word in request.stratify if any(_shows(case, word) for case in frames))
    return _has_labels(frames), shown, frozenset(case.group for case in frames)


def _has_labels(frames: Sequence[Case]) -> bool:
    return any(case.labelled for case in frames)


def _by_count(queue: list[Subject], request: Request) -> dict[str, list[Case]]:
    """Parts of exactly the images asked for. Raises UserError if there are too few."""
    wanted, parts = request.wanted(), {}
    cases = list(chain.from_iterable(queue))
    for part in sorted(DEALT, key=lambda part: wanted[part] == ALL):
        per_group = part == "test" and request.labelled_groups
        piles = sorted({case.group for case in cases}) if per_group else [""]
        room = dict.fromkeys(piles, len(cases) if wanted[part] == ALL else wanted[part])
        parts[part], queue = _take(queue, room, _pile(part, request))
        if wanted[part] != ALL and any(room.values()):
            raise UserError(_too_few(part, room, cases, request))
    if not parts["labelled"]:
        asked = request.in_words()
        raise UserError(f"split.labelled asks for all images that are left, but none is: lower one of {asked}")
    return parts


def _pile(part: str, request: Request) -> Callable[[Case], str | None]:
    """Which pile of the part an image lies on: that of its group, the only one (""), or None where it is of no use."""
    if part == "unlabelled":
        return lambda case: ""
    if part == "test":
        return lambda case: (case.group if request.labelled_groups else "") if case.labelled else None
    groups = request.labelled_groups
    return lambda case: "" if case.labelled and (not groups or case.group in groups) else None


def _take(
    queue: list[Subject], room: dict[str, int], pile: Callable[[Case], str | None]
) -> tuple[list[Case], list[Subject]]:
    """Takes subjects off the queue until every pile is as high as `room`, which counts down; also who is left."""
    taken, left = [], []
    for frames in queue:
        fit = []
        for case in frames:
            if room.get(key := pile(case), 0) > 0:
                room[key] -= 1
                fit.append(case)
        taken += fit
        if not fit:
            left.append(frames)
    return taken, left


def _by_percent(queue: list[Subject], request: Request) -> dict[str, list[Case]]:
    """Parts of whole subjects, as near to their percentage of the labelled images as these allow."""
    known = [frames for frames in queue if _has_labels(frames)]
    blank = [frames for frames in queue if not _has_labels(frames)]
    wanted = request.wanted()
    stretches = dict(zip(DEALT, _stretches(known, list(wanted.values()), 100), strict=False))
    for part, stretch in stretches.items():
        if wanted[part] and not stretch:
            raise UserError(
                f"split.{part} asks for {wanted[part]} percent, which is nearest to no subject at all: there are "
                f"{_census(list(chain.from_iterable(queue)))}; raise it, or lower one of {request.in_words()}"
            )
    parts = {part: [case for case in chain.from_iterable(stretches[part]) if case.labelled] for part in DEALT}
    return parts | {"unlabelled": list(chain.from_iterable([*stretches["unlabelled"], *blank]))}


def _fold(queue: list[Subject], request: Request) -> tuple[list[Case], list[Subject]]:
    """The test images of a fold, and the queue of all others, which begins behind it: validation changes as well."""
    *folds, blank = _stretches(queue, [1] * request.folds, request.folds)
    if not all(any(map(_has_labels, fold)) for fold in folds):
        raise UserError(
            f"split.folds is {request.folds}, which leaves a fold without a subject: there are "
            f"{_census(list(chain.from_iterable(queue)))}; lower it"
        )
    tested = folds[request.fold]
    others = [*folds[request.fold + 1 :], blank, *folds[: request.fold]]
    unlabelled = [frames for frames in tested if not _has_labels(frames)]
    return [case for case in chain.from_iterable(tested) if case.labelled], [*chain.from_iterable(others), *unlabelled]


def _stretches(queue: list[Subject], shares: Sequence[int], whole: int) -> list[list[Subject]]:
    """The queue cut after each share of its labelled images, where a subject ends nearest; and what is left."""
    ends = [0, *accumulate(sum(case.labelled for case in frames) for frames in queue)]
    cuts = [_nearest(ends, Fraction(ends[-1] * share, whole)) for share in accumulate(shares)]
    return [queue[first:last] for first, last in pairwise([0, *cuts, len(queue)])]


def _nearest(ends: Sequence[int], target: Fraction) -> int:
    after = bisect_left(ends, target)
    return after - 1 if after and target - ends[after - 1] <= ends[after] - target else after


def _check_cases(cases: Sequence[Case], request: Request) -> None:
    names = Counter(case.name for case in cases)
    if len(names) != len(cases):
        twice = names.most_common(1)[0][0]
        raise UserError(f"split: image name {twice!r} occurs twice in the dataset; names must be unique")
    if not any(case.labelled for case in cases):
        wanted = f"{request.labelled} {request.unit}"
        raise UserError(f"split.labelled asks for {wanted}, but none of {len(cases)} has labels")
    shown = set().union(*(case.shows for case in cases if case.labelled))
    _check_words("split.stratify", request.stratify, shown, "no labelled image shows")
    _check_words(
        "split.labelled_groups", request.labelled_groups, {case.group for case in cases}, "no image belongs to"
    )


def _check_words(key: str, words: Sequence[str], known: set[str], what: str) -> None:
    for word in words:
        if word not in known:
            among = ", ".join(sorted(known - {""})) or "nothing: the dataset has none"
            raise UserError(f"{key} names {word!r}, which {what}: choose from {among}")


def _too_few(part: str, room: dict[str, int], cases: Sequence[Case], request: Request) -> str:
    group, missing = max(room.items(), key=lambda pile: pile[1])
    number = request.wanted()[part]
    of_group = f" of group {group!r}" if len(room) > 1 else ""
    return (
        f"split.{part} asks for {number} images{of_group} but only {number - missing} are left for it: there are "
        f"{_census(cases)}; lower one of {request.in_words()}"
    )


def _census(cases: Sequence[Case]) -> str:
    subjects = len({case.subject for case in cases})
    return f"{len(cases)} images ({sum(case.labelled for case in cases)} labelled) of {subjects} subjects"
