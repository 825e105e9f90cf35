"""The command line: `config`, what a config says, with the documentation of each setting; and its sweep."""

import argparse
import shlex
from collections.abc import Iterator


def add(commands) -> None:
    """Adds the command."""
    parser = commands.add_parser("config", help="show a config's settings, or list its sweep", allow_abbrev=False)
    add_arguments(parser)
    parser.add_argument("--sweep", action="store_true", help="list the points of the config's sweep() as commands")
    parser.set_defaults(run=_config)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that name a config and override its settings."""
    parser.add_argument("--config", required=True, help="configs/NAME.py[:key=value,...]")
    parser.add_argument(
        "--set",
        nargs=2,
        action="append",
        default=[],
        metavar=("KEY", "VALUE"),
        help="same as --config.KEY=VALUE",
    )


def overrides(args: argparse.Namespace) -> list[tuple[str, str]]:
    """The overrides of a command line, in order."""
    return [(key, value) for key, value in args.set]


def _config(args: argparse.Namespace) -> None:
    from fetal_jax.core import config, settings
    from fetal_jax.training.settings import RunSettings
    from fetal_jax.training.stages import make_stages

    values = config.load(args.config, overrides(args))
    make_stages(settings.from_dict(RunSettings, values))  # refused as training would refuse it
    if args.sweep:
        print(*_commands(args), sep="\n")
        return
    documentation = dict(settings.documented(RunSettings))
    for key, value in config.leaves(values):
        doc = documentation.get(_generic(key), "")
        print(f"{key} = {value!r}" + (f"  # {doc}" if doc else ""))


def _commands(args: argparse.Namespace) -> Iterator[str]:
    """One command for each point of the sweep, each loaded first: a wrong key is found before a night's work."""
    from fetal_jax.core import config

    for number, point in enumerate(config.sweep(args.config)):
        config.load(args.config, [*overrides(args), *point])
        words = [f"--config.{key}={value}" for key, value in [*overrides(args), *point]]
        yield shlex.join(
            ["fetal-jax", "train", "--config", args.config, *words, "--workdir", f"runs/sweep/{number:03d}"]
        )


def _generic(key: str) -> str:
    """The key under which a setting is documented: `stages.NAME.epochs` of `stages.decoder.epochs`."""
    parts = key.split(".")
    if parts[0] == "stages" and len(parts) > 2:
        parts[1] = "NAME"
    return ".".join(parts[:3] if parts[0] == "stages" else parts)
