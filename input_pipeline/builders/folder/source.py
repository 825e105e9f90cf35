"""Reads and checks the user's folder, all of it before anything is written."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from fetal_jax.core.types import DatasetFacts, UserError
from input_pipeline.builders import common
from input_pipeline.builders.folder.masks import class_ids
from input_pipeline.builders.folder.settings import PALETTE, SUBJECTS, Settings, read_settings
from input_pipeline.formats.files import read, stem
from input_pipeline.formats.stack import Stack

IMAGES, MASKS, UNLABELLED = "images", "masks", "unlabelled"
REMEDY = "correct or remove these files"
FACTS = DatasetFacts(
    name="folder",
    title="your own images and masks",
    classes=("background", "foreground"),
    colours=((0, 0, 0), (230, 159, 0)),
    subject_rule="the name up to the first underscore",
    licence="yours",
    citation="",
    spacing="of the table or the settings, else as the file says, else unknown",
)


@dataclasses.dataclass(frozen=True)
class Item:
    """An image file, and its mask if it is labelled."""

    path: Path
    mask: Path | None
    subject: str
    spacing_mm: tuple[float, float] | None  # as the user says; None: as the file says
    settings: Settings

    @property
    def stem(self) -> str:
        return stem(self.path)


@dataclasses.dataclass(frozen=True)
class Frame:
    """One image of a file."""

    name: str
    image: UInt8[np.ndarray, "h w"]
    labels: UInt8[np.ndarray, "h w"]
    spacing_mm: tuple[float, float]
    is_binary: bool  # its mask has the values 0 and 255


def read_source(source: str | Path) -> common.SourceReport:
    """All files of the folder, with their classes, colours and subject rule.

    Raises UserError if it does not have this layout, or all its masks are empty.
    """
    source = Path(source)
    _check_layout(source)
    settings = read_settings(source)
    problems: list[str] = []
    file_of: dict[str, str] = {}
    good, highest, binary, numbered = [], 0, "", ""
    for item in _pair(source, settings, problems):
        try:
            frames = [(frame.name, int(frame.labels.max()), frame.is_binary) for frame in read_frames(item)]
            _check_names([name for name, _, _ in frames], item, file_of)
        except ValueError as error:
            problems.append(str(error))
            continue
        good.append(item)
        mask = item.mask.name if item.mask else ""
        for _, top, is_binary in frames:
            highest = max(highest, top)
            binary = mask if is_binary else binary
            numbered = mask if top > 1 else numbered
    if binary and numbered:
        styles = f"{MASKS}/{binary} has 0 and 255, {MASKS}/{numbered} has class ids"
        raise UserError(f"{source}: {styles}: use one of the two")
    if good and not highest and not problems:
        raise UserError(f"{source / MASKS}: all masks are empty, there is nothing to learn from them: draw some")
    return common.SourceReport(good, problems, remedy=REMEDY, facts=_facts(settings, highest))


def _check_names(names: list[str], item: Item, file_of: dict[str, str]) -> None:
    """Raises ValueError where a frame would have the name of another file's frame; else adds the names to `file_of`."""
    for name in names:
        if name in file_of:
            raise ValueError(f"{item.path.name} would be called {name}, as a frame of {file_of[name]} is: rename it")
    file_of.update(dict.fromkeys(names, item.path.name))


def _facts(settings: Settings, highest: int) -> DatasetFacts:
    classes = settings.classes or _default_classes(highest)
    palette = ((0, 0, 0), *(PALETTE[i % len(PALETTE)] for i in range(len(classes) - 1)))
    return dataclasses.replace(
        FACTS, classes=classes, colours=settings.colours or palette, subject_rule=settings.subject_rule
    )


def read_frames(item: Item) -> Iterator[Frame]:
    """The frames of a file with their labels. Raises ValueError that names the file if it or its mask is wrong."""
    settings = item.settings
    stack = _read(item.path, item.path.name)
    grey = stack.grey()
    labels, is_binary = np.zeros_like(grey), False
    if item.mask is not None:
        where = f"{MASKS}/{item.mask.name}"
        mask = _read(item.mask, where, indices=not settings.colours)
        _check_fit(stack, mask, where)
        try:
            labels = class_ids(mask, settings)
        except ValueError as error:
            raise ValueError(f"{where} {error}") from error
        is_binary = not settings.colours and 255 in mask.frames
    for i, (image, ids) in enumerate(zip(grey, labels, strict=True)):
        name = f"{item.stem}_{i:03d}" if stack.is_volume else item.stem
        yield Frame(name, image, ids, item.spacing_mm or stack.spacing_mm, is_binary)


def _read(path: Path, where: str, **kwargs) -> Stack:
    try:
        return read(path, **kwargs)
    except ValueError as error:
        raise ValueError(f"{where} {error}") from error


def _check_fit(image: Stack, mask: Stack, where: str) -> None:
    if mask.frames.shape[:3] != image.frames.shape[:3]:
        raise ValueError(f"{where} has shape {mask.shape}, its image has {image.shape}")
    if image.affine is not None and mask.affine is not None and not np.allclose(image.affine, mask.affine, atol=1e-3):
        raise ValueError(f"{where} lies elsewhere in space than its image: their affines differ")


def _default_classes(highest: int) -> tuple[str, ...]:
    if highest == 1:
        return ("background", "foreground")
    return ("background", *(f"class{i}" for i in range(1, highest + 1)))


def _check_layout(source: Path) -> None:
    expected = f"expected the folder that holds {IMAGES}/ and {MASKS}/"
    if not source.is_dir():
        raise UserError(f"{source}: no such folder; {expected}")
    for folder in (IMAGES, MASKS):
        if not (source / folder).is_dir():
            raise UserError(f"{source}: has no folder {folder}/; {expected}")
        if not _files(source / folder):
            raise UserError(f"{source / folder}: holds no files: labelled images need both an image and a mask")


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    for path in found:
        if not path.name.isprintable():
            raise UserError(f"{folder}: {path.name!r} has a character that cannot be printed: rename this file")
    return found


def _pair(source: Path, settings: Settings, problems: list[str]) -> list[Item]:
    """The items of a folder, sorted by name. Images and masks without a partner go to `problems`."""
    masks, unclear_masks = _by_stem(_files(source / MASKS), problems)
    images, unclear = _by_stem(_files(source / IMAGES) + _files(source / UNLABELLED), problems)
    labelled = {name for name, path in images.items() if path.parent.name == IMAGES}
    missing = sorted(labelled - masks.keys())
    problems += [
        f"{images[name].name} has no mask: move it to {UNLABELLED}/ or draw one"
        for name in missing
        if name not in unclear_masks
    ]
    problems += [f"{MASKS}/{masks[name].name} has no image" for name in sorted(masks.keys() - labelled - unclear)]
    rows = dict(settings.rows or {})
    items = []
    for name, path in sorted(images.items()):
        row = rows.pop(name, None) or rows.pop(path.name, None)
        if row is not None:
            subject, spacing_mm = row.subject, row.spacing_mm
        else:
            subject, spacing_mm = _subject(name, path, settings, problems), None
        if subject and name not in missing:
            items.append(Item(path, masks.get(name), subject, spacing_mm or settings.spacing_mm, settings))
    problems += [f"{name} is in {SUBJECTS} but has no file" for name in rows if stem(Path(name)) not in unclear]
    return items


def _by_stem(paths: list[Path], problems: list[str]) -> tuple[dict[str, Path], set[str]]:
    """Files by their names without suffix, and the names that several files share: none of these is taken."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        if path.is_file():
            found[stem(path)].append(path)
        else:
            problems.append(f"{path.parent.name}/{path.name} is not a file")
    unclear = {name for name, files in found.items() if len(files) > 1}
    for name in sorted(unclear):
        files = " and ".join(f"{path.parent.name}/{path.name}" for path in found[name])
        problems.append(f"{files} have the same name: keep one")
    return {name: files[0] for name, files in found.items() if name not in unclear}, unclear


def _subject(name: str, path: Path, settings: Settings, problems: list[str]) -> str:
    if settings.rows is not None:
        problems.append(f"{path.name} has no row in {SUBJECTS}")
        return ""
    match = settings.subject.search(name)
    subject = (match.group(1) or "").strip() if match else ""
    if not subject:
        problems.append(f"{path.name} has no subject: {settings.subject.pattern!r} finds none in its name")
    return subject
