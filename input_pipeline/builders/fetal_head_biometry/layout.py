"""Finds the images, masks and pixel sizes of one plane in a folder as published, unpacked in any of the usual ways.

Each plane is published as an archive of its own: images of 959 x 661 pixels, copies of the original size, and a dozen
exports of the annotation, one of which are the coloured masks.
"""

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from fetal_jax.core.types import UserError

PLANES = ("trans-thalamic", "trans-cerebellum", "trans-ventricular", "diverse")
FOLDERS = {plane: plane.replace("-", "") for plane in PLANES} | {"diverse": "diversefetalheadimages"}
# Parts of the names of annotation exports, all of which hold PNGs of the images' names.
MASKS = re.compile(r"segment|mask")
EXPORTS = re.compile(
    r"segment|mask|pascal|cityscape|cityspace|gtfine|coco|yolo|camvid|kitti|voc|icdar|labelme|cvat|ade20k"
)
ORIGINAL_SIZE = re.compile(r"or[ig]+inal[^a-z]*size")  # also as it is misspelt there


@dataclasses.dataclass(frozen=True)
class Layout:
    images: Path
    masks: Path
    labelmap: Path | None  # the colours of the masks
    pixel_sizes: Path | None


def find_layout(source: Path, plane: str) -> Layout:
    """The folders of a plane. Raises UserError, one line, if one is missing or several fit."""
    if not source.is_dir():
        raise UserError(f"{source}: no such folder; expected the one into which the dataset was unpacked")
    root = _plane_folder(source, plane)
    holders = sorted({path.parent for path in root.rglob("*.png") if not path.name.startswith(".")})
    masks = _one(root, "masks", [folder for folder in holders if _is_masks(folder.relative_to(root))], _is_class_mask)
    others = [folder for folder in holders if not _matches(folder.relative_to(root), EXPORTS, ORIGINAL_SIZE)]
    images = _one(
        root, "images", others, lambda folder: _letters(folder.name) == FOLDERS[plane] or "959" in folder.name
    )
    labelmap = next((path for path in (masks / "labelmap.txt", masks.parent / "labelmap.txt") if path.is_file()), None)
    tables = [path for path in sorted(root.rglob("*.csv")) if re.search(r"pixel[^a-z]*size", path.name.lower())]
    return Layout(images, masks, labelmap, tables[0] if tables else None)


def _letters(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())


def _plane_folder(source: Path, plane: str) -> Path:
    """The outermost folder of the plane's name, which may be `source` itself."""
    if _letters(source.name) == FOLDERS[plane]:
        return source
    folders = [path for depth in ("*", "*/*") for path in sorted(source.glob(depth)) if path.is_dir()]
    found = next((path for path in folders if _letters(path.name) == FOLDERS[plane]), None)
    if found is None:
        example = "Diverse Fetal Head Images" if plane == "diverse" else plane.capitalize()
        raise UserError(f"{source}: has no folder {example}/: unpack {example}.zip of the dataset there")
    return found


def _matches(relative: Path, *patterns: re.Pattern) -> bool:
    return any(pattern.search(part.lower()) for part in relative.parts for pattern in patterns)


def _is_masks(relative: Path) -> bool:
    """Whether it holds masks by class, and not those by instance, which are beside them in the same export."""
    return _matches(relative, MASKS) and _letters(relative.name) != "segmentationobject"


def _is_class_mask(folder: Path) -> bool:
    """Whether it is in the export of masks, and not in that of PASCAL VOC, which holds them too."""
    return _letters(folder.name) == "segmentationclass" and bool(MASKS.search(folder.parent.name.lower()))


def _one(root: Path, what: str, folders: Sequence[Path], prefer: Callable[[Path], bool]) -> Path:
    found = [folder for folder in folders if prefer(folder)] or list(folders)
    if not found:
        hint = "unpack the archive …Segmentation….zip there" if what == "masks" else "unpack its archive again"
        raise UserError(f"{root}: has no folder of PNG {what}: {hint}")
    if len(found) > 1:
        names = ", ".join(str(folder.relative_to(root)) for folder in found[:3])
        raise UserError(f"{root}: has {len(found)} folders that may be the {what} ({names}): leave only one there")
    return found[0]
