"""Writes a plan as a config file, for the user to edit."""

import json
import os
import pathlib
import textwrap
from typing import Any

from fetal_jax.core.atomic import replacing_file
from fetal_jax.core.types import UserError
from input_pipeline.fingerprint.planner import Plan

HEAD = '''"""A first config for {dataset}, made by `fetal-jax data describe` from its fingerprint. Yours to edit.

    fetal-jax train --config {path} --workdir runs/NAME

The protocol is SS_CASE_UNet's, the values below are set by rules; no score was looked at.
"""

from ml_collections import ConfigDict

from configs import ss_case_unet
from configs.common import parse_argument
from fetal_jax.core.config import override


def get_config(argument: str = "") -> ConfigDict:
    """Argument: size (network pixels)."""
{size_reason}
    size = parse_argument(argument, size={size})["size"]
    config = ss_case_unet.get_config(f"dataset={dataset},size={{size}}")
'''


def write_config(path: str | os.PathLike, dataset: str, planned: Plan) -> None:
    """Writes a Python file that `fetal-jax train --config` takes, atomically; the folder must exist.

    Raises UserError where the plan has no config.
    """
    if planned.why_no_config:
        raise UserError(f"no config is suggested for {dataset}: {planned.why_no_config}")
    blocks = [(each.values, _comment(each.reason)) for each in planned.settings]
    size_reason = next(comment for values, comment in blocks if "size" in values)
    where, size = pathlib.Path(path).as_posix(), planned.values["size"]
    text = HEAD.format(dataset=dataset, path=where, size=size, size_reason=size_reason)
    for values, comment in blocks:
        if "size" not in values:
            text += "\n".join([comment, *(_setting(key, value) for key, value in values.items()), ""])
    with replacing_file(path) as partial:
        partial.write_text(text + "    return config\n")


def _comment(reason: str) -> str:
    return textwrap.fill(reason[0].upper() + reason[1:] + ".", 116, initial_indent="    # ", subsequent_indent="    # ")


def _setting(key: str, value: Any) -> str:
    """The line that sets a key; stages, and keys inside of a group, are overrides of what this config builds on."""
    if key == "stages" or "." in key:
        return f'    override(config, "{key}", {_source(value)})'
    return f"    config.{key} = {_source(value)}"


def _source(value: Any) -> str:
    """A string, a number, or a tuple of strings as Python source."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_source, value))}{',' if len(value) == 1 else ''})"
    return json.dumps(value, ensure_ascii=False)
