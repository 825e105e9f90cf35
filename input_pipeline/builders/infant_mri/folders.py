"""Layouts of plain folders: AGE/SUBJECT/T1w.nii.gz, and the fetal atlas as it is published."""

import re
from pathlib import Path

from fetal_jax.core.types import UserError
from input_pipeline.builders.folder.settings import PALETTE, SETTINGS, Settings, read_settings
from input_pipeline.builders.infant_mri.scan import (
    MODALITIES,
    Age,
    Classes,
    Layout,
    Scan,
    age_by_name,
    subfolders,
    volumes_in,
)
from input_pipeline.formats import stem

LABELS = "labels"
# Red, green and blue for CSF, GM and WM, as in figure 8 of the infant cerebellum paper.
TISSUES = Classes.numbered(("background", "csf", "gm", "wm"), ((0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)))

ATLAS_IMAGE, ATLAS_LABELS = "srr", "parcellation"
ATLAS_CLASSES = Classes.numbered(
    (
        "background",
        "white_matter",
        "intra_axial_csf",
        "cerebellum",
        "extra_axial_csf",
        "cortical_gm",
        "deep_gm",
        "brainstem",
        "corpus_callosum",
    ),
    ((0, 0, 0), *PALETTE, (255, 255, 255)),
)
ATLAS_CITATION = (
    "Fidon L, Viola E, Mufti N, et al. A spatio-temporal atlas of the developing fetal brain with spina bifida aperta. "
    "Open Research Europe 1: 123, 2021. doi:10.12688/openreseurope.13914.1"
)
_WEEKS = re.compile(r"GA(\d+)(?!\d)")


def read_age_folders(source: Path) -> Layout | None:
    """`24m/S001/T1w.nii.gz, T2w.nii.gz, labels.nii.gz`, or None if the folder is not like that."""
    known = {name.lower(): name for name in (*MODALITIES, LABELS)}
    problems: list[str] = []
    scans, others = [], []
    for folder in (inner for outer in subfolders(source) for inner in subfolders(outer)):
        files, other, unclear = _by_name(folder, known)
        others += other
        problems += unclear
        if unclear or not files:
            continue
        age = age_by_name(folder.parent.name)
        if age is None:
            problems.append(f"{folder.relative_to(source)} has no age: name the folder above it like 24m or 38w")
            continue
        labels = files.pop(LABELS, None)
        scans.append(Scan(f"{age.group}_{folder.name}", folder.name, age, files, labels))
    if not scans and not problems:
        return None
    notes = [f"{len(others)} more files were left alone, such as {others[0].relative_to(source)}"] if others else []
    return Layout(scans, _classes(source), "the folder in the folder of the age", problems, notes)


def _by_name(folder: Path, known: dict[str, str]) -> tuple[dict[str, Path], list[Path], list[str]]:
    """The files of a subject by kind, those of no kind, and the problems."""
    files: dict[str, Path] = {}
    others, problems = [], []
    for path in volumes_in(folder):
        kind = known.get(stem(path).lower())
        if kind is None:
            others.append(path)
        elif kind in files:
            where = f"{folder.parent.name}/{folder.name}"
            problems.append(f"{where}/{path.name} and {files[kind].name} are both its {kind}: keep one")
        else:
            files[kind] = path
    return files, others, problems


def _classes(source: Path) -> Classes:
    settings = read_settings(source)
    if settings != Settings(classes=settings.classes, colours=settings.colours):
        raise UserError(f"{source}: of {SETTINGS} only classes and colours are used here: remove the rest")
    if not settings.classes:
        return TISSUES
    colours = ((0, 0, 0), *(PALETTE[i % len(PALETTE)] for i in range(len(settings.classes) - 1)))
    return Classes.numbered(settings.classes, settings.colours or colours)


def read_atlas(source: Path) -> Layout | None:
    """`fetal_SB_atlas_GA21_notoperated/srr.nii.gz, parcellation.nii.gz`, or None if the folder is not like that."""
    scans, problems = [], []
    for folder in subfolders(source):
        files, _, unclear = _by_name(folder, {name: name for name in (ATLAS_IMAGE, ATLAS_LABELS)})
        if unclear and ATLAS_IMAGE in files:
            problems += unclear
        if unclear or ATLAS_IMAGE not in files:
            continue
        weeks = _WEEKS.search(folder.name)
        if weeks is None:
            problems.append(f"{folder.name} has no age: expected weeks of gestation in its name, like GA21")
            continue
        age = Age(float(weeks[1]), "weeks", f"GA{int(weeks[1])}")
        images = {"T2w": files[ATLAS_IMAGE]}
        scans.append(Scan(folder.name, folder.name[weeks.start() :], age, images, files.get(ATLAS_LABELS)))
    if not scans and not problems:
        return None
    rule = "the name of the folder from GA on: an age and a group of fetuses"
    return Layout(scans, ATLAS_CLASSES, rule, problems, licence="CC0 1.0", citation=ATLAS_CITATION)
