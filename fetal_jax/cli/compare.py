"""The command line: `compare` runs, and `check-table` of published numbers."""

import argparse
import pathlib


def add(commands) -> None:
    """Adds both commands."""
    _add_compare(commands)
    _add_check_table(commands)


def _add_compare(commands) -> None:
    parser = commands.add_parser("compare", help="paired tests of runs on the same test images", allow_abbrev=False)
    parser.add_argument(
        "workdirs", nargs="+", type=pathlib.Path, metavar="RUN", help="workdirs; the first is compared to"
    )
    parser.add_argument("--metric", default="dice", help="a column of per_image.csv (default: %(default)s)")
    parser.add_argument(
        "--out", type=pathlib.Path, metavar="FILE.html", help="default: comparison.html in the first RUN"
    )
    parser.set_defaults(run=_compare)


def _add_check_table(commands) -> None:
    parser = commands.add_parser(
        "check-table", help="contradictions in a table of published scores", allow_abbrev=False
    )
    parser.add_argument("table", type=pathlib.Path, metavar="FILE.csv", help="its columns: docs/check_table.md")
    parser.set_defaults(run=_check_table)


def _compare(args: argparse.Namespace) -> None:
    from fetal_jax.reporting.compare import compare

    print(*compare(args.workdirs, metric=args.metric, out=args.out), sep="\n")


def _check_table(args: argparse.Namespace) -> None:
    from fetal_jax.statistics.table_check import check_table

    print(*check_table(args.table), sep="\n")
