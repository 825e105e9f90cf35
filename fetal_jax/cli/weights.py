"""The command line of pretrained weights: fetch, import, show.

Nothing heavy is imported before a command needs it.
"""

import argparse
import pathlib


def add(commands) -> None:
    """Adds `weights` and its actions to the parser's commands."""
    parser = commands.add_parser("weights", help="fetch, import and show pretrained encoders")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    fetch = actions.add_parser("fetch", help="the ImageNet weights of an encoder, once", allow_abbrev=False)
    fetch.add_argument("encoder", help="efficientnet_b0 to b4, resnet18, resnet34 or resnet50")
    fetch.set_defaults(run=_fetch)
    _add_import(actions)
    show = actions.add_parser("show", help="whose weights a file holds", allow_abbrev=False)
    show.add_argument("file", type=pathlib.Path, metavar="FILE.npz")
    show.set_defaults(run=_show)


def _add_import(actions) -> None:
    parser = actions.add_parser("import", help="Keras' .h5 or .safetensors to one checked .npz", allow_abbrev=False)
    parser.add_argument("file", type=pathlib.Path, help="as published; see docs/weights.md for names")
    parser.add_argument("--encoder", required=True, help="efficientnet_b0, timm_efficientnet_b0, resnet18, ...")
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="FILE.npz")
    parser.add_argument("--source", default="", metavar="TEXT", help="where the file is from, kept in the header")
    parser.add_argument("--any-hash", action="store_true", help="take a Keras file that is not the official one")
    parser.add_argument(
        "--normalization", help="of PyTorch weights: imagenet, half or lite; by default as the encoder was trained"
    )
    parser.set_defaults(run=_import)


def _fetch(args: argparse.Namespace) -> None:
    from fetal_jax.pretrained import imagenet, import_weights
    from input_pipeline.download.claim import claimed
    from input_pipeline.download.fetch import Patience, fetch, remote_file

    published, out = imagenet.published_file(args.encoder), imagenet.fetched_file(args.encoder)
    found = imagenet.fetched(args.encoder)
    header = found[0] if found else None
    if header is None:
        folder = out.parent / f"{args.encoder}.download"
        with claimed(folder):
            file = fetch(remote_file(published.url, published.checksum, Patience()), folder, Patience())
            # A pickle is taken where its publisher states a hash, torchvision 8 digits of it; none is ever run.
            kind = "torch" if file.suffix == ".pth" else None
            header = import_weights(file, args.encoder, out, source=published.url, kind=kind)
            file.unlink()
    _print(header)
    print(f"{out}\nuse: --config.model.encoder={args.encoder} --config.model.pretrained=imagenet")


def _import(args: argparse.Namespace) -> None:
    from fetal_jax.pretrained import import_weights

    header = import_weights(
        args.file,
        args.encoder,
        args.out,
        source=args.source,
        any_hash=args.any_hash,
        normalization=args.normalization,
    )
    _print(header)
    print(f"use: --config.model.encoder={args.encoder} --config.model.pretrained={args.out}")


def _show(args: argparse.Namespace) -> None:
    from fetal_jax.pretrained import read_header

    _print(read_header(args.file))


def _print(header: dict) -> None:
    for name, value in header.items():
        print(f"{name:16}{value}")
