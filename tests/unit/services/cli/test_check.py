"""`kairos check`: what a marketer sees who has made a mistake."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from config.settings import PACKAGE_CONFIG_DIR

ROOT = Path(__file__).resolve().parents[4]
KAIROS = (sys.executable, "-c", "import sys; from services.cli import main; sys.exit(main())")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The shipped definitions, to make mistakes in."""
    made = tmp_path / "config"
    made.mkdir()
    for name in ("campaigns", "offers", "experiments", "templates"):
        shutil.copytree(PACKAGE_CONFIG_DIR / name, made / name)
    for name in ("churn.yaml", "policy.yaml"):
        shutil.copy(PACKAGE_CONFIG_DIR / name, made / name)
    return made


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*KAIROS, "check", str(folder)], cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_all_is_well(folder: Path) -> None:
    done = check(folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "5 campaigns" in done.stdout


def test_a_goal_that_goes_by_what_fairness_watches_is_named(folder: Path) -> None:
    policy = folder / "policy.yaml"
    policy.write_text(policy.read_text() + "\nfairness: {attribute: gender, values: [f, m]}\n")
    (folder / "goals").mkdir()
    goal = folder / "goals" / "buy.yaml"
    goal.write_text("id: buy\nevent: Order Completed\nhorizon: 30d\nattributes: [plan]\n")
    assert "note:" not in check(folder).stdout
    goal.write_text(goal.read_text().replace("plan", "gender, plan"))
    done = check(folder)
    assert done.returncode == 0
    assert "the goal 'buy' is learned from gender, by which policy.yaml tells groups apart" in done.stdout


def test_mistakes_are_told_with_file_line_and_remedy(folder: Path) -> None:
    """All of them at once, no traceback, exit code 2."""
    campaign = folder / "campaigns" / "welcome.yaml"
    lines = campaign.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("when:"))
    lines[at] = "when: user.ordrs == 0"
    campaign.write_text("\n".join(lines) + "\n")
    (folder / "policy.yaml").write_text("quiet_hours: {from: 25 o'clock}\n")
    done = check(folder)
    assert done.returncode == 2
    shown = " ".join(done.stderr.split())  # lines are folded at the width of the terminal
    assert f"welcome.yaml:{at + 1}" in shown
    assert "orders" in shown  # the remedy
    assert "policy.yaml:1" in shown
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    done = check(tmp_path / "nowhere")
    assert done.returncode == 2
    assert "there is no such folder" in " ".join(done.stderr.split())
