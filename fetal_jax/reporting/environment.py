"""How pages are written: every text from outside is escaped, and a name that nobody gave is an error."""

from pathlib import Path

import jinja2


def environment(folder: Path) -> jinja2.Environment:
    """Of the templates in a folder."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
