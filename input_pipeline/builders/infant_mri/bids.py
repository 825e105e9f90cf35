"""Layout of BIDS folders: `sub-X[/ses-Y]/anat/sub-X[_ses-Y][_...]_T1w.nii.gz, _T2w.nii.gz, _dseg.nii.gz`.

Files are in the folder itself, in derivatives/, or in derivatives/PIPELINE/; a derivative takes precedence over a raw
file, and the subject's own space over a template's.
"""

import dataclasses
import re
from collections import defaultdict
from pathlib import Path

from fetal_jax.core.types import UserError
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
from input_pipeline.builders.infant_mri.tables import DEFAULT_CLASSES, age_of, read_classes

LABELS = "dseg"
FILE = re.compile(r"(?P<entities>[A-Za-z]+-[^_]+(?:_[A-Za-z]+-[^_]+)*)_(?P<suffix>[A-Za-z0-9]+)\.nii(?:\.gz)?")
OWN_SPACES = ("T1w", "orig", "")  # of the subject's head; an image that is registered to the T1w comes first
PLAIN = ("sub", "ses", "space")


@dataclasses.dataclass(frozen=True)
class File:
    """A volume and the parts of its name."""

    path: Path
    suffix: str  # T1w, T2w or dseg
    entities: dict[str, str]
    root: Path
    is_raw: bool

    @property
    def space(self) -> str:
        return self.entities.get("space", "")

    @property
    def rank(self) -> tuple[bool, bool, int]:
        """The lowest is taken: derived, registered to the T1w, with the fewest entities."""
        return self.is_raw, self.space != "T1w", len(set(self.entities) - set(PLAIN))


def read_bids(source: Path) -> Layout | None:
    """The layout of a BIDS folder, or None if it is not one.

    Raises UserError if two tables of classes differ.
    """
    roots = [*subfolders(source / "derivatives"), source / "derivatives", source]
    by_session: dict[tuple[str, str], list[File]] = defaultdict(list)
    for root in roots:
        for file in _files(root, is_raw=root == source):
            by_session[file.entities["sub"], file.entities.get("ses", "")].append(file)
    if not by_session:
        return None
    problems: list[str] = []
    scans, segmentations = [], []
    for (subject, session), files in sorted(by_session.items()):
        name = f"sub-{subject}" + (f"_ses-{session}" if session else "")
        try:
            chosen = _choose(files)
            age = _age(roots, f"sub-{subject}", session)
        except ValueError as error:
            problems.append(f"{name}: {error}")
            continue
        images = {suffix: file.path for suffix, file in chosen.items() if suffix in MODALITIES}
        labels = chosen.get(LABELS)
        segmentations += [labels] if labels else []
        scans.append(Scan(name, f"sub-{subject}", age, images, labels.path if labels else None))
    rule = "the entity sub- of the name: sessions of one subject stay together"
    return Layout(scans, _classes(segmentations), rule, problems)


def _files(root: Path, is_raw: bool) -> list[File]:
    """The volumes in all anat folders whose names are those of BIDS."""
    found = []
    for subject in subfolders(root):
        if not subject.name.startswith("sub-"):
            continue
        for folder in (subject, *(path for path in subfolders(subject) if path.name.startswith("ses-"))):
            for path in volumes_in(folder / "anat"):
                match = FILE.fullmatch(path.name)
                if match and match["suffix"] in (*MODALITIES, LABELS):
                    entities = dict(part.split("-", 1) for part in match["entities"].split("_"))
                    if "sub" in entities:
                        found.append(File(path, match["suffix"], entities, root, is_raw))
    return found


def _choose(files: list[File]) -> dict[str, File]:
    """The file of each suffix, all in one space. Raises ValueError where several are equally good."""
    spaces = sorted({file.space for file in files if file.suffix in MODALITIES})
    if not any(space in OWN_SPACES for space in spaces) and len(spaces) > 1:
        raise ValueError(f"has images in several spaces ({', '.join(spaces)}): keep one")
    wanted = OWN_SPACES if any(space in OWN_SPACES for space in spaces) else spaces
    chosen = {}
    for suffix in (*MODALITIES, LABELS):
        found = sorted((file for file in files if file.suffix == suffix and file.space in wanted), key=lambda f: f.rank)
        if len(found) > 1 and found[0].rank == found[1].rank:
            raise ValueError(f"{found[0].path.name} and {found[1].path.name} would both be its {suffix}: keep one")
        if found:
            chosen[suffix] = found[0]
    if not chosen:
        raise ValueError("has no T1w and no T2w")
    return chosen


def _age(roots: list[Path], participant: str, session: str) -> Age:
    """The age in sessions.tsv, else in the name of the session, else in participants.tsv.

    Its group is that of the session's name if there is one: a visit at 24 months may be at 23.4. Raises ValueError if
    there is none.
    """
    named = age_by_name(session)
    visits = [age_of(root / participant / f"{participant}_sessions.tsv", participant, session) for root in roots]
    for age in filter(None, visits):
        return dataclasses.replace(age, group=named.group) if named else age
    participants = [named] if named else [age_of(root / "participants.tsv", participant, session) for root in roots]
    for age in filter(None, participants):
        return age
    raise ValueError(f"no age: name the session like ses-24m, or write age_months in {participant}_sessions.tsv")


def _classes(segmentations: list[File]) -> Classes:
    """The classes in the tables beside or above the segmentations, which must agree."""
    tables = {_table(file) for file in segmentations}
    found = {path: read_classes(path) if path else DEFAULT_CLASSES for path in sorted(tables, key=str)}
    paths = list(found)
    for path in paths[1:]:
        if found[path] != found[paths[0]]:
            raise UserError(f"{path} and {paths[0]} name different classes: make them equal")
    return found[paths[0]] if found else DEFAULT_CLASSES


def _table(file: File) -> Path | None:
    """The dseg.tsv of a file: in its folder or one above, with no entity that the file does not have."""
    folder = file.path.parent
    while True:
        fitting = [path for path in sorted(folder.glob(f"*{LABELS}.tsv")) if _entities(path) <= file.entities.items()]
        if fitting:
            return max(fitting, key=lambda path: len(_entities(path)))
        if folder == file.root:
            return None
        folder = folder.parent


def _entities(path: Path) -> set[tuple[str, str]]:
    """The entities in a table's name; `dseg.tsv` has none."""
    parts = (part.partition("-") for part in path.stem.split("_")[:-1])
    return {(key, value) for key, dash, value in parts if dash}
