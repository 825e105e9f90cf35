"""Prediction of MRI scans: label maps in the voxels and the orientation of each file, a table, pictures if wanted."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from fetal_jax.core.atomic import replacing_file
from fetal_jax.core.types import UserError
from fetal_jax.inference.outputs import Row, check_outputs, reading, write_table
from fetal_jax.inference.overlay import outline, write_png
from fetal_jax.inference.predictor import Predictor
from fetal_jax.inference.segmenter import InferenceConfig, Segmentation
from input_pipeline.formats import SUFFIXES, stem
from input_pipeline.formats.volume import Volume, labels_file, read_volume, to_16_bits

MODALITIES = ("T1w", "T2w")  # the channels of a network that takes two, in this order


@dataclasses.dataclass(frozen=True)
class Scan:
    """The files of one scan, one per channel."""

    name: str
    files: tuple[Path, ...]

    def read(self) -> tuple[np.ndarray, Volume]:
        """The image uint16 [d h w c], in the grey values that preparation gives it, and where its voxels lie.

        Raises UserError naming a file that is missing, cannot be read, or does not lie as the others.
        """
        volumes, channels = [], []
        for file in self.files:
            with reading(file):
                volumes.append(read_volume(file))
                channels.append(to_16_bits(volumes[-1].voxels))
            if not volumes[-1].lies_as(volumes[0]):
                raise UserError(f"{file} lies differently in space than {self.files[0].name}: register it first")
        return np.stack(channels, axis=-1), volumes[0]


def predict_scans(predictor: Predictor, paths: Sequence[Path], out: Path, *, overlay: bool) -> Iterator[str]:
    """Segments scans; yields a line for each.

    A network of one channel takes NIfTI files, or folders of them; one of two takes folders, however deep, in which T1w
    and T2w of a scan lie side by side, NAME_T1w.nii.gz and NAME_T2w.nii.gz or without a name. What is segmented is
    called NAME, else after its folder.

    Writes `out/NAME.nii.gz` (class ids 0..C-1, in the voxels of the file), `out/NAME_overlay.png` (the middle sagittal
    slice) if `overlay`, and `out/predictions.csv` with one row per scan and class. Every scan is read once before
    anything is written, and one is in memory at a time.

    Raises UserError naming the file that is missing, cannot be read, or would overwrite another's labels.
    """
    scans = find_scans(paths, predictor.config.facts.channels)
    check_outputs(((scan.files[0], f"{scan.name}.nii.gz") for scan in scans), out)
    for scan in scans:
        scan.read()
    out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for scan in scans:
        image, volume = scan.read()
        segmentation = predictor(image, volume.spacing_mm)
        with replacing_file(out / f"{scan.name}.nii.gz") as partial:
            partial.write_bytes(labels_file(segmentation.labels, volume, scan.files[0]))
        if overlay:
            write_png(out / f"{scan.name}_overlay.png", _middle(image, segmentation, predictor.config))
        rows += _rows(scan, segmentation, predictor.config)
        yield f"{scan.files[0]} -> {out / scan.name}.nii.gz"
    write_table(out / "predictions.csv", rows)


def find_scans(paths: Sequence[Path], channels: int) -> list[Scan]:
    """The scans that are meant by files and folders. Raises UserError where one is none."""
    scans = []
    for path in paths:
        if not path.exists():
            raise UserError(f"{path} does not exist: give NIfTI files or folders of them")
        found = _single(path) if channels == 1 else _paired(path)
        if not found:
            expected = "NIfTI files" if channels == 1 else "T1w.nii.gz and T2w.nii.gz, side by side"
            raise UserError(f"{path} holds no scan for this model: it takes a folder of {expected}")
        scans += found
    return scans


def _single(path: Path) -> list[Scan]:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [Scan(stem(file), (file,)) for file in files if _is_nifti(file)]


def _paired(path: Path) -> list[Scan]:
    """T1w files with the T2w files of the same name beside them."""
    if not path.is_dir():
        raise UserError(f"{path} is one file and this model takes T1w and T2w together: give the folder of both")
    files = {file: stem(file) for file in sorted(path.rglob("*")) if _is_nifti(file)}
    scans = []
    for first, name in files.items():
        prefix = name.removesuffix(MODALITIES[0])
        if prefix == name:
            continue
        partner = prefix + MODALITIES[1]
        second = [file for file, other in files.items() if file.parent == first.parent and other == partner]
        if not second:
            raise UserError(f"{first} has no {partner}.nii.gz beside it: this model takes both")
        parts = first.parent.relative_to(path).parts
        scans.append(Scan(prefix.rstrip("_") or "_".join(parts) or path.resolve().name, (first, second[0])))
    return scans


def _is_nifti(file: Path) -> bool:
    return file.name.lower().endswith(SUFFIXES["NIfTI"]) and not file.name.startswith(".") and file.is_file()


def _middle(image: np.ndarray, segmentation: Segmentation, config: InferenceConfig) -> np.ndarray:
    """The outlines of the middle slice."""
    middle = len(image) // 2
    grey = (image[middle, ..., 0] >> 8).astype(np.uint8)
    return outline(grey, [(segmentation.labels[middle], config.facts.colours)])


def _rows(scan: Scan, segmentation: Segmentation, config: InferenceConfig) -> list[Row]:
    rows = []
    for i, structure in enumerate(config.facts.classes):
        if i:
            mask, size = segmentation.labels == i, segmentation.volume_ml[structure]
            rows.append(
                {
                    "name": scan.name,
                    "file": str(scan.files[0]),
                    "class": structure,
                    "voxels": int(mask.sum()),
                    "volume_ml": "" if size is None else f"{size:.3f}",
                    "confidence": f"{segmentation.probs[..., i][mask].mean():.4f}" if mask.any() else "",
                }
            )
    return rows
