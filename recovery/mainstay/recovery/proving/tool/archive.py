"""The archive of the tool: the very modules that prove dumps here, and nothing else."""

from __future__ import annotations

import io
import zipfile
from importlib.util import find_spec

MODULES = (
    "mainstay.inventory",
    "mainstay.inventory.errors",
    "mainstay.inventory.redaction",
    "mainstay.recovery",
    "mainstay.recovery.proving",
    "mainstay.recovery.proving.asserting",
    "mainstay.recovery.proving.attempt",
    "mainstay.recovery.proving.mariadb",
    "mainstay.recovery.proving.pgbase",
    "mainstay.recovery.proving.pgdump",
    "mainstay.recovery.proving.postgres",
    "mainstay.recovery.proving.processes",
    "mainstay.recovery.proving.scratch",
    "mainstay.recovery.proving.sqlite",
    "mainstay.recovery.proving.sqlite_asking",
    "mainstay.recovery.proving.tool",
    "mainstay.recovery.proving.tool.handed",
    "mainstay.recovery.proving.tool.holding",
    "mainstay.recovery.proving.tool.main",
    "mainstay.recovery.proving.tool.watcher",
    "mainstay.recovery.proving.trying",
    "mainstay.recovery.proving.waiting",
    "mainstay.recovery.proving.watching",
    "mainstay.recovery.words",
    "mainstay.runner",
    "mainstay.runner.calling_off",
    "mainstay.runner.shell",
    "mainstay.runner.shell.printable",
    "mainstay.runner.shell.quote",
    "mainstay.runner.verdict",
    "mainstay.runner.words",
)
"""All of mainstay that is imported there."""
# Any Python 3 can read this, and say what is lacking.
MAIN = """\
import sys

if sys.version_info < (3, 11):
    sys.stderr.write("it needs Python 3.11 or newer, and python3 is %d.%d here\\n" % sys.version_info[:2])
    sys.exit(69)
try:
    from mainstay.recovery.proving.tool.main import main
except ImportError:
    sys.stderr.write("python3 is not whole here: %s\\n" % sys.exc_info()[1])
    sys.exit(69)
sys.exit(main(sys.argv[1:]))
"""
_EPOCH = (1980, 1, 1, 0, 0, 0)


def build() -> bytes:
    """The same bytes whenever it is the same code. From wherever mainstay was imported."""
    # mainstay is a namespace of several folders; as a package of its own, another one's on that machine is not mixed in.
    files = {"__main__.py": MAIN.encode(), "mainstay/__init__.py": b""}
    files.update(_file(name) for name in MODULES)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(files):
            archive.writestr(zipfile.ZipInfo(path, _EPOCH), files[path])
    return made.getvalue()


def _file(name: str) -> tuple[str, bytes]:
    """Its path in the archive and its source."""
    spec = find_spec(name)
    source = spec.loader.get_source(name) if spec and spec.loader else None  # type: ignore[attr-defined] # InspectLoader
    if spec is None or source is None:
        raise RuntimeError(f"there is no source of {name}")
    path = name.replace(".", "/")
    return (f"{path}/__init__.py" if spec.submodule_search_locations is not None else f"{path}.py"), source.encode()
