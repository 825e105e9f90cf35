"""Writes constraints-X.Y.txt for the Python that runs it: what pip installs today for this project and its tools.

Run by `make constraints`. Nothing is installed.
"""

import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXTRAS = ".[dev,docs]"  # of the accelerators, JAX itself pins what belongs to its version
HEADER = """\
# Every version that `make quickstart`, `make test` and `make docs` install with Python {python}.
# Written by pip's resolver on Linux x86-64; to refresh: make constraints PYTHON=python{python} VENV=.venv-{python}
"""


def resolve() -> list[str]:
    """`name==version` of each distribution, the project itself left out, by name."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--dry-run", "--ignore-installed", "--report", "-", EXTRAS]
    report = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout)
    found = [item["metadata"] for item in report["install"] if "dir_info" not in item["download_info"]]
    return sorted(f"{_normal(item['name'])}=={item['version']}" for item in found)


def _normal(name: str) -> str:
    """The name as PyPI compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    pins = resolve()
    path = ROOT / f"constraints-{python}.txt"
    path.write_text(HEADER.format(python=python) + "\n".join(pins) + "\n", encoding="utf-8")
    print(f"{path.name}: {len(pins)} distributions")


if __name__ == "__main__":
    main()
