"""MkDocs hook: pages that are not in docs/.

- `api/PACKAGE.md`: the public modules of each package, from their docstrings;
- `datasets/NAME.md`: README.md of each dataset builder;
- `changelog.md` and `contributing.md` from the top folder.
"""

import pathlib
import re
from collections.abc import Iterator
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("fetal_jax", "input_pipeline", "configs")
TOP = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}
BUILDERS = "input_pipeline/builders"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fills the empty groups of the navigation."""
    _group(config.nav, "Datasets").extend(sorted(_datasets()))
    _group(config.nav, "Reference").extend({package: _api(package)} for package in _packages())
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Adds the pages."""
    for package, modules in _packages().items():
        files.append(File.generated(config, _api(package), content=_api_page(package, modules)))
    for uri, path in _datasets().items():
        files.append(File.generated(config, uri, content=path.read_text(encoding="utf-8")))
    for uri, name in TOP.items():
        text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lets links to a builder's README.md, which hold on GitHub, lead to its page here."""
    return re.sub(rf"\]\(\.\./{BUILDERS}/(\w+)/README\.md", r"](datasets/\1.md", markdown)


def _group(nav: Any, name: str) -> list[Any]:
    """The pages of the group `name`, wherever it is."""
    return next(group for group in _groups(nav, name))


def _groups(nav: Any, name: str) -> Iterator[list[Any]]:
    for entry in nav:
        for title, below in entry.items() if isinstance(entry, dict) else ():
            if title == name:
                yield below
            elif isinstance(below, list):
                yield from _groups(below, name)


def _datasets() -> dict[str, pathlib.Path]:
    return {f"datasets/{path.parent.name}.md": path for path in (ROOT / BUILDERS).glob("*/README.md")}


def _api(package: str) -> str:
    return f"api/{package}.md"


def _packages() -> dict[str, list[str]]:
    """The public modules of each package, by dotted name; a package's own module is the first."""
    found: dict[str, list[str]] = {}
    for top in PACKAGES:
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            package = ".".join(parts[:-1])
            if not any(part.startswith("_") for part in (parts[:-1] if is_package else parts)):
                modules = found.setdefault(package, [package])
                modules += [] if is_package else [".".join(parts)]
    return found


def _api_page(package: str, modules: list[str]) -> str:
    return f"# {package}\n\n" + "".join(f"::: {module}\n\n" for module in modules)
