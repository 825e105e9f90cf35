"""The command line of the data: prepare, list, describe, audit, split.

Nothing heavy is imported before a command needs it.
"""

import argparse
import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any


def data_dir(args: argparse.Namespace) -> pathlib.Path:
    """The folder of prepared data: `--data-dir`, else $FETAL_JAX_DATA, else the default."""
    from input_pipeline.dataset import default_data_dir

    return args.data_dir or default_data_dir()


def add(commands) -> None:
    """Adds `data` and its actions to the parser's commands."""
    parser = commands.add_parser("data", help="prepare, list, describe, audit and split datasets")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_prepare(actions)
    actions.add_parser("list", help="the datasets, and which are prepared").set_defaults(run=_list)
    describe = _add_action(actions, "describe", _describe, "counts, sizes, classes, a contact sheet, a first config")
    audit = _add_action(actions, "audit", _audit, "duplicates, leaks between parts, odd masks and spacings")
    audit.add_argument("--splits", type=pathlib.Path, metavar="FILE", help="a split to check: JSON, or CSV name,part")
    for action in (describe, audit):
        action.add_argument("--out", type=pathlib.Path, help="folder of what it writes (runs/ACTION/NAME)")
    _add_split(actions)


def _add_action(actions, name: str, run, text: str) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=text, allow_abbrev=False)
    parser.add_argument("dataset", help="name, name/config or name:key=value, e.g. hc18")
    parser.set_defaults(run=run)
    return parser


def _add_prepare(actions) -> None:
    prepare = _add_action(actions, "prepare", _prepare, "check raw files and write them as records")
    source = prepare.add_mutually_exclusive_group()
    source.add_argument("--source", help="your folder in the layout the dataset is published in")
    source.add_argument(
        "--download", action="store_true", help="fetch the published files first, where that is allowed"
    )
    prepare.add_argument("--overwrite", action="store_true", help="prepare again what is there already")
    prepare.add_argument("--keep-going", action="store_true", help="list bad files and prepare the rest")


def _add_split(actions) -> None:
    split = _add_action(actions, "split", _split, "assign the images to parts by subject and write the manifest")
    split.add_argument("--protocol", required=True, help="a published one, e.g. trans_thalamic: see docs/data.md")
    split.add_argument("--seed", type=int, default=0)
    split.add_argument("--out", type=pathlib.Path, required=True, metavar="FILE.json")


def _prepare(args: argparse.Namespace) -> None:
    from input_pipeline import builders
    from input_pipeline.builders.common import SPLIT
    from input_pipeline.dataset import prepare

    source = _downloaded(args) if args.download else args.source
    builder = prepare(args.dataset, data_dir(args), source, overwrite=args.overwrite, keep_going=args.keep_going)
    unit = builders.facts(args.dataset, data_dir(args)).unit
    print(f"{args.dataset}: {builder.info.splits[SPLIT].num_examples} {unit} in {builder.data_dir}")


def _downloaded(args: argparse.Namespace) -> str:
    """Where the published files of the dataset lie, once they are fetched and checked."""
    from fetal_jax.core.types import UserError
    from input_pipeline.builders import canonical
    from input_pipeline.download import RECORDS, download

    name = canonical(args.dataset).partition("/")[0]
    if name not in RECORDS:
        raise UserError(f"dataset {name!r} is not offered for download: give --source (there are {', '.join(RECORDS)})")
    return str(_innermost(download(RECORDS[name], data_dir(args) / "downloads" / name)))


def _innermost(folder: pathlib.Path) -> pathlib.Path:
    """The folder itself, or the one that an archive wrapped all its files in."""
    from input_pipeline.download import MARKER

    inside = [path for path in folder.iterdir() if path.name != MARKER]
    return _innermost(inside[0]) if len(inside) == 1 and inside[0].is_dir() else folder


def _list(args: argparse.Namespace) -> None:
    from input_pipeline.dataset import list_datasets

    for line in list_datasets(data_dir(args)):
        print(line)


def _describe(args: argparse.Namespace) -> None:
    from input_pipeline.dataset import Dataset
    from input_pipeline.fingerprint import extract_fingerprint, plan, write_config, write_sheet

    dataset = Dataset(args.dataset, data_dir(args))
    fingerprint, out = extract_fingerprint(dataset), _out(args, dataset.name)
    print(*fingerprint.lines(), sep="\n")
    _write(out / "description.json", fingerprint.to_json())
    write_sheet(out / "contact_sheet.png", dataset, fingerprint)
    print(f"contact sheet: {out / 'contact_sheet.png'}")
    planned = plan(fingerprint)
    print(*planned.lines(), sep="\n")
    if not planned.why_no_config:
        write_config(out / "config.py", dataset.name, planned)
        print(f"try: fetal-jax train --config {out / 'config.py'} --workdir runs/NAME")


def _audit(args: argparse.Namespace) -> None:
    from input_pipeline.audit import audit, read_parts, write_sheet
    from input_pipeline.dataset import Dataset

    parts = read_parts(args.splits) if args.splits else None
    dataset = Dataset(args.dataset, data_dir(args))
    found, out = audit(dataset, parts), _out(args, dataset.name)
    print(*found.lines(), sep="\n")
    _write(out / "audit.json", found.to_json())
    write_sheet(out / "audit.png", dataset, found)
    print(f"pictures: {out / 'audit.png'}")


def _split(args: argparse.Namespace) -> None:
    from configs.common import SPLITS
    from fetal_jax.core.types import UserError
    from input_pipeline.dataset import Dataset
    from input_pipeline.split_assignment import make_splits
    from input_pipeline.splits import Request

    published: Mapping[str, Any] = SPLITS
    if args.protocol not in published:
        raise UserError(f"--protocol {args.protocol} is unknown: choose one of {', '.join(published)}")
    request = Request.from_dict({**published[args.protocol], "seed": args.seed})
    dataset = Dataset(args.dataset, data_dir(args))
    shown = tuple(word for word in request.stratify if word in dataset.facts.foreground)
    request = dataclasses.replace(request, stratify=shown)  # a variant may lack a structure of the protocol
    splits = make_splits(dataset.split_items(), request, dataset.version)
    if args.out.is_dir() or not args.out.parent.is_dir():
        raise UserError(f"--out {args.out} cannot be written: give a file in a folder that exists")
    splits.save(args.out)
    for part, n in splits.n_images.items():
        print(f"{part:12}{n:8} images of {splits.n_subjects[part]} subjects")
    print(f"{args.out}: split {splits.hash[:16]} of {dataset.version}")


def _write(path: pathlib.Path, text: str) -> None:
    from fetal_jax.core.atomic import replacing_file

    with replacing_file(path) as partial:
        partial.write_text(text)


def _out(args: argparse.Namespace, dataset: str) -> pathlib.Path:
    out = args.out or pathlib.Path("runs", args.action, dataset.replace("/", "_"))
    out.mkdir(parents=True, exist_ok=True)
    return out
