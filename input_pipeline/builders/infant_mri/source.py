"""The user's folder: its layout is recognised, and every volume read and checked before anything is written."""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8, UInt16

from fetal_jax.core.types import DatasetFacts, UserError
from input_pipeline.builders import common
from input_pipeline.builders.infant_mri.bids import read_bids
from input_pipeline.builders.infant_mri.folders import read_age_folders, read_atlas
from input_pipeline.builders.infant_mri.scan import MODALITIES, Classes, Layout, Scan
from input_pipeline.builders.infant_mri.volumes import to_class_ids
from input_pipeline.formats.volume import Volume, read_volume, to_16_bits

EXPECTED = (
    "expected 24m/S001/T1w.nii.gz (age, subject), BIDS such as sub-X/ses-24m/anat/sub-X_ses-24m_T1w.nii.gz, or the "
    "fetal atlas such as NAME_GA21/srr.nii.gz"
)


@dataclasses.dataclass(frozen=True)
class Item:
    """A scan that was checked, with what `decode` needs."""

    scan: Scan
    modalities: tuple[str, ...]
    classes: Classes
    source: Path


@dataclasses.dataclass(frozen=True)
class Decoded:
    """The decoded volumes of a scan, its modalities stacked as channels."""

    image: UInt16[np.ndarray, "d h w c"]
    labels: UInt8[np.ndarray, "d h w"]  # class ids; all 0 if the scan has no labels
    first: Volume  # of the first modality, for its place in space


def read_source(source: str | Path, facts: DatasetFacts, modality: str = "") -> common.SourceReport:
    """All scans of the folder, and `facts` with their classes, colours, modalities and subject rule.

    With a `modality` only that one is read, else all that the scans have. Raises UserError if the folder has none of
    the known layouts.
    """
    source = Path(source)
    layout = _recognise(source)
    modalities = (modality,) if modality else _modalities(layout.scans)
    problems, items = list(layout.problems), []
    visits: dict[tuple[str, float, str], list[Scan]] = defaultdict(list)
    for scan in layout.scans:
        visits[scan.subject, scan.age.value, scan.age.unit].append(scan)
    for same in visits.values():
        if len(same) > 1:
            where = " and ".join(str(scan.folder.relative_to(source)) for scan in reversed(same))
            problems.append(f"{where} are the same subject at the same age: keep one")
    for scan in (scan for same in visits.values() if len(same) == 1 for scan in same):
        item = Item(scan, modalities, layout.classes, source)
        try:
            decode(item)
        except ValueError as error:
            problems.append(str(error))
        else:
            items.append(item)
    facts = dataclasses.replace(
        facts,
        classes=layout.classes.names,
        colours=layout.classes.colours,
        subject_rule=layout.subject_rule,
        channels=len(modalities),
        licence=layout.licence,
        citation=layout.citation,
    )
    return common.SourceReport(items, problems, layout.notes, "correct or remove these files", facts)


def decode(item: Item) -> Decoded:
    """Reads the files of a scan. Raises ValueError that names the file if one is wrong or they do not fit together."""
    scan, source = item.scan, item.source
    missing = [modality for modality in item.modalities if modality not in scan.images]
    if missing:
        instead = "".join(f" or prepare infant_mri:modality={name.lower()}" for name in list(scan.images)[:1])
        raise ValueError(f"{scan.name} has no {missing[0]}: add it{instead}")
    paths = [scan.images[modality] for modality in item.modalities]
    first, channels = _read(paths[0], source), []
    for path in paths:
        volume = first if path == paths[0] else _read(path, source)
        if not volume.lies_as(first):
            other = paths[0].relative_to(source)
            raise ValueError(f"{path.relative_to(source)} {_differs(volume, first)} {other}: register them")
        channels.append(_with_file_name(path, source, to_16_bits, volume.voxels))
    labels = _labels(item, first)
    return Decoded(np.stack(channels, axis=-1), labels, first)


def _labels(item: Item, image: Volume) -> UInt8[np.ndarray, "d h w"]:
    path = item.scan.labels
    if path is None:
        return np.zeros(image.voxels.shape, np.uint8)
    volume = _read(path, item.source)
    if not volume.lies_as(image):
        raise ValueError(f"{path.relative_to(item.source)} {_differs(volume, image)} its image")
    return _with_file_name(path, item.source, to_class_ids, volume.voxels, item.classes)


def _differs(volume: Volume, other: Volume) -> str:
    shape, other_shape = volume.voxels.shape, other.voxels.shape
    if shape != other_shape:
        return f"has shape {shape} and not {other_shape} as"
    return "has another affine than"


def _read(path: Path, source: Path) -> Volume:
    return _with_file_name(path, source, read_volume, path)


def _with_file_name(path: Path, source: Path, function: Callable, *args):
    """The result of the function; its ValueErrors are prefixed with the name of the file."""
    try:
        return function(*args)
    except ValueError as error:
        raise ValueError(f"{path.relative_to(source)} {error}") from error


def _recognise(source: Path) -> Layout:
    if not source.is_dir():
        raise UserError(f"{source}: no such folder; {EXPECTED}")
    for read in (read_bids, read_atlas, read_age_folders):
        layout = read(source)
        if layout is not None:
            return layout
    raise UserError(f"{source}: holds no scans; {EXPECTED}")


def _modalities(scans: Iterable[Scan]) -> tuple[str, ...]:
    """Every modality that any scan has; a scan without one of them is a problem."""
    found = {modality for scan in scans for modality in scan.images}
    return tuple(modality for modality in MODALITIES if modality in found) or MODALITIES[:1]
