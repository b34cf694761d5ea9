"""A virtual environment for each engine that is measured beside Kairos, made once and kept outside of the tree."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

PEERS = Path(__file__).resolve().parent / "peers"


def python_of(name: str, tell: Callable[[str], object] = print) -> Path:
    """Interpreter of the environment of `peers/<name>.txt`; made now (about a minute) if it is not there yet.

    Another requirement file or another Python is another environment.
    """
    requirements = PEERS / f"{name}.txt"
    version = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "kairos", "peers")
    folder = cache / f"{name}-{version}-{digest}"
    python = folder / "bin" / "python"
    if (folder / "ready").exists():
        return python
    tell(f"Installing {requirements.name} into {folder} ...")
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    # Without the caller's PYTHONPATH: pip would take packages that it finds there for installed ones.
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    options = ["--disable-pip-version-check", "--quiet", "--require-hashes"]
    subprocess.run([str(python), "-m", "pip", "install", *options, "-r", str(requirements)], check=True, env=env)
    (folder / "ready").touch()
    return python


def versions_of(python: Path, distributions: tuple[str, ...]) -> list[str]:
    """`name version` of each of `distributions` in an environment."""
    script = "import sys; from importlib.metadata import version; [print(n, version(n)) for n in sys.argv[1:]]"
    done = subprocess.run([python, "-c", script, *distributions], check=True, capture_output=True, text=True)
    return done.stdout.splitlines()
