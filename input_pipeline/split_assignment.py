"""Assigns whole subjects to the parts of a split; no subject is in two of them.

Subjects are ordered by a hash of the seed and their own name, so neither the order of the files nor a new subject
reshuffles the others. Test takes subjects from the front of that order until it has its images, then validation, then
labelled, then unlabelled; a part that asks for all that are left comes last. Frames of a subject that its part does
not need any more, or cannot use, are `unused`. Test and validation are assigned first, so they stay the same for any
numbers of labelled and unlabelled images.

Stratified, every stretch of the order holds each stratum in its proportion: the subject of rank i among the n of its
stratum is at (i + u) / n, u in [0, 1) from its own hash. Of k >= 2 strata, one that is the share p of all subjects
is off by at most 2 (1 + p (k - 2)) subjects in a part. A new subject shifts the others of its stratum by less than
1 / n and keeps their order.

Folds and percentages cut the order at the end of the subject that is nearest to the share of labelled images. Where
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
from input_pipeline.splits import ALL, ASSIGNED, PARTS, Request, Splits


@dataclasses.dataclass(frozen=True)
class SplitItem:
    """One image, with what its assignment depends on."""

    name: str
    subject: str
    labelled: bool
    shows: frozenset[str] = frozenset()  # the structures in its labels
    group: str = ""  # an age, a site


Subject = tuple[SplitItem, ...]  # its frames, sorted by name


def make_splits(items: Sequence[SplitItem], request: Request, dataset: str = "") -> Splits:
    """Assigns images to parts by whole subjects, as `request` asks; the rule is in the module's docstring.

    An image without labels can only be `unlabelled`; asked for percent, subjects without any label are all
    `unlabelled`, beside the percentages. The labels of a labelled image in `unlabelled` must not be used: hiding them
    is the caller's. Raises UserError if there are too few images or subjects, no labels at all, a name that occurs
    twice, or a structure or group that does not occur.
    """
    request.check()
    _check_items(items, request)
    queue, test = _in_order(items, request), {}
    if request.folds:
        test["test"], queue = _fold(queue, request)
    assign = _by_percent if request.unit == "percent" else _by_count
    parts = assign(queue, request) | test
    assigned = {item.name for part in ASSIGNED for item in parts[part]}
    parts["unused"] = [item for item in items if item.name not in assigned]
    return Splits(
        dataset,
        request.seed,
        {part: tuple(sorted(item.name for item in parts[part])) for part in PARTS},
        {part: len({item.subject for item in parts[part]}) for part in PARTS},
        request,
        {word: {part: sum(_shows(item, word) for item in parts[part]) for part in PARTS} for word in request.stratify},
    )


def _shows(item: SplitItem, structure: str) -> bool:
    return item.labelled and structure in item.shows


def _in_order(items: Sequence[SplitItem], request: Request) -> list[Subject]:
    """All subjects in the order of assignment; those of a stratum are ordered by hash and evenly spread."""
    frames = defaultdict(list)
    for item in sorted(items, key=lambda item: item.name):
        frames[item.subject].append(item)
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


def _stratum(frames: Sequence[SplitItem], request: Request) -> Hashable:
    """What is balanced over the parts: whether a subject has labels, the requested structures in them, its groups."""
    if not (request.stratify or request.labelled_groups):
        return None
    shown = frozenset(word for word in request.stratify if any(_shows(item, word) for item in frames))
    return _has_labels(frames), shown, frozenset(item.group for item in frames)


def _has_labels(frames: Sequence[SplitItem]) -> bool:
    return any(item.labelled for item in frames)


def _by_count(queue: list[Subject], request: Request) -> dict[str, list[SplitItem]]:
    """Parts of exactly the requested numbers of images. Raises UserError if there are too few."""
    wanted, parts = request.wanted(), {}
    items = list(chain.from_iterable(queue))
    for part in sorted(ASSIGNED, key=lambda part: wanted[part] == ALL):
        per_group = part == "test" and request.labelled_groups
        piles = sorted({item.group for item in items}) if per_group else [""]
        room = dict.fromkeys(piles, len(items) if wanted[part] == ALL else wanted[part])
        parts[part], queue = _take(queue, room, _pile(part, request))
        if wanted[part] != ALL and any(room.values()):
            raise UserError(_too_few(part, room, items, request))
    if not parts["labelled"]:
        asked = request.in_words()
        raise UserError(f"split.labelled asks for all images that are left, but none is: lower one of {asked}")
    return parts


def _pile(part: str, request: Request) -> Callable[[SplitItem], str | None]:
    """What the images of a part are counted by: their group, nothing (""), or None where the part cannot use one."""
    if part == "unlabelled":
        return lambda item: ""
    if part == "test":
        return lambda item: (item.group if request.labelled_groups else "") if item.labelled else None
    groups = request.labelled_groups
    return lambda item: "" if item.labelled and (not groups or item.group in groups) else None


def _take(
    queue: list[Subject], room: dict[str, int], pile: Callable[[SplitItem], str | None]
) -> tuple[list[SplitItem], list[Subject]]:
    """The images taken, and the subjects that are left. `room` counts down to 0 by what `pile` says of an image."""
    taken: list[SplitItem] = []
    left: list[Subject] = []
    for frames in queue:
        fit = []
        for item in frames:
            key = pile(item)
            if key is not None and room.get(key, 0) > 0:
                room[key] -= 1
                fit.append(item)
        taken += fit
        if not fit:
            left.append(frames)
    return taken, left


def _by_percent(queue: list[Subject], request: Request) -> dict[str, list[SplitItem]]:
    """Parts of whole subjects, as near to their percentage of the labelled images as these allow."""
    labelled = [frames for frames in queue if _has_labels(frames)]
    unlabelled = [frames for frames in queue if not _has_labels(frames)]
    wanted = request.wanted()
    stretches = dict(zip(ASSIGNED, _stretches(labelled, list(wanted.values()), 100), strict=False))
    for part, stretch in stretches.items():
        if wanted[part] and not stretch:
            raise UserError(
                f"split.{part} asks for {wanted[part]} percent, which is nearest to no subject at all: there are "
                f"{_census(list(chain.from_iterable(queue)))}; raise it, or lower one of {request.in_words()}"
            )
    parts = {part: [item for item in chain.from_iterable(stretches[part]) if item.labelled] for part in ASSIGNED}
    return parts | {"unlabelled": list(chain.from_iterable([*stretches["unlabelled"], *unlabelled]))}


def _fold(queue: list[Subject], request: Request) -> tuple[list[SplitItem], list[Subject]]:
    """The test images of a fold, and all other subjects, those behind the fold first: validation changes as well."""
    *folds, rest = _stretches(queue, [1] * request.folds, request.folds)
    if not all(any(map(_has_labels, fold)) for fold in folds):
        raise UserError(
            f"split.folds is {request.folds}, which leaves a fold without a subject: there are "
            f"{_census(list(chain.from_iterable(queue)))}; lower it"
        )
    tested = folds[request.fold]
    others = [*folds[request.fold + 1 :], rest, *folds[: request.fold]]
    unlabelled = [frames for frames in tested if not _has_labels(frames)]
    return [item for item in chain.from_iterable(tested) if item.labelled], [*chain.from_iterable(others), *unlabelled]


def _stretches(queue: list[Subject], shares: Sequence[int], whole: int) -> list[list[Subject]]:
    """The subjects cut after each share of the labelled images, at the nearest end of a subject; and the rest."""
    ends = [0, *accumulate(sum(item.labelled for item in frames) for frames in queue)]
    cuts = [_nearest(ends, Fraction(ends[-1] * share, whole)) for share in accumulate(shares)]
    return [queue[first:last] for first, last in pairwise([0, *cuts, len(queue)])]


def _nearest(ends: Sequence[int], target: Fraction) -> int:
    after = bisect_left(ends, target)
    return after - 1 if after and target - ends[after - 1] <= ends[after] - target else after


def _check_items(items: Sequence[SplitItem], request: Request) -> None:
    names = Counter(item.name for item in items)
    if len(names) != len(items):
        twice = names.most_common(1)[0][0]
        raise UserError(f"split: image name {twice!r} occurs twice in the dataset; names must be unique")
    if not any(item.labelled for item in items):
        wanted = f"{request.labelled} {request.unit}"
        raise UserError(f"split.labelled asks for {wanted}, but none of {len(items)} has labels")
    shown = {structure for item in items if item.labelled for structure in item.shows}
    _check_words("split.stratify", request.stratify, shown, "no labelled image shows")
    _check_words(
        "split.labelled_groups", request.labelled_groups, {item.group for item in items}, "no image belongs to"
    )


def _check_words(key: str, words: Sequence[str], known: set[str], what: str) -> None:
    for word in words:
        if word not in known:
            among = ", ".join(sorted(known - {""})) or "nothing: the dataset has none"
            raise UserError(f"{key} names {word!r}, which {what}: choose from {among}")


def _too_few(part: str, room: dict[str, int], items: Sequence[SplitItem], request: Request) -> str:
    group, missing = max(room.items(), key=lambda pile: pile[1])
    number = request.wanted()[part]
    of_group = f" of group {group!r}" if len(room) > 1 else ""
    return (
        f"split.{part} asks for {number} images{of_group} but only {number - missing} are left for it: there are "
        f"{_census(items)}; lower one of {request.in_words()}"
    )


def _census(items: Sequence[SplitItem]) -> str:
    subjects = len({item.subject for item in items})
    return f"{len(items)} images ({sum(item.labelled for item in items)} labelled) of {subjects} subjects"
