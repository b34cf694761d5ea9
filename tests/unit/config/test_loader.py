"""What a marketer gets wrong, and what Kairos says: file, line, what to write instead."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from config.definitions import Churn, Definitions, Policy
from config.loader import DefinitionError, load_definitions
from models.campaigns.conditions import condition_fault

CAMPAIGN = """\
id: thanks
trigger: {on: event, event: Order Completed}
channel: email
template: thanks
"""
EXPERIMENT = """\
id: subject
variants:
  - {id: a, weight: 0.5}
  - {id: b, weight: 0.5}
expose_on: message
metrics:
  - {id: clicked, event: Email Link Clicked, within: 7d}
"""
OFFER = "id: gift\nkind: item\ntext: 'Take {item}'\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "templates/thanks.html", "hello")
    write(tmp_path / "templates/_layout.html", "frame")
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def refused(folder: Path) -> DefinitionError:
    with pytest.raises(DefinitionError) as caught:
        load_definitions(folder, condition_fault)
    return caught.value


def test_an_empty_folder_is_the_defaults(folder: Path) -> None:
    assert load_definitions(folder) == Definitions(churn=Churn(), policy=Policy())


def test_a_good_folder(folder: Path) -> None:
    write(folder / "campaigns/b.yaml", CAMPAIGN + "experiment: subject\nwhen: user.orders == 1\n")
    write(folder / "campaigns/a.yml", CAMPAIGN.replace("id: thanks", "id: first"))
    write(folder / "experiments/e.yaml", EXPERIMENT)
    write(folder / "offers/o.yaml", OFFER + "valid_from: 2010-11-01\nvalid_until: 2010-11-01\n")
    write(folder / "policy.yaml", 'quiet_hours: {from: "21:00", to: "08:00"}\n')
    found = load_definitions(folder, condition_fault)
    assert [campaign.id for campaign in found.campaigns] == ["first", "thanks"]
    assert found.campaigns[0].expires_after_ms == 86_400_000
    assert found.policy.quiet_hours is not None
    assert (found.policy.quiet_hours.from_minute, found.policy.quiet_hours.to_minute) == (1260, 480)
    assert found.experiments[0].seed == "subject"
    offer = found.offers[0]
    assert [offer.valid_at(at) for at in (1_288_569_599_999, 1_288_569_600_000, 1_288_656_000_000)] == [
        False,
        True,
        False,
    ]
    again = Definitions.from_json(found.to_json())
    assert again == found
    assert again.to_json() == found.to_json()
    assert again.version() == found.version()


def test_the_version_changes_with_any_word(folder: Path) -> None:
    path = write(folder / "campaigns/a.yaml", CAMPAIGN)
    before = load_definitions(folder).version()
    assert load_definitions(folder).version() == before
    write(path, CAMPAIGN + "priority: 1\n")
    assert load_definitions(folder).version() != before


# (where, text, line, part of the message, part of the remedy)
MISTAKES = {
    "not yaml": ("campaigns/a.yaml", "id: [x\nchannel: email\n", 2, "not YAML", "key: value"),
    "tab": ("campaigns/a.yaml", "id: x\n\ttrigger: y\n", 2, "not YAML", "spaces"),
    "colon in a text": ("offers/a.yaml", "id: x\ntext: for you: {item}\n", 2, "not YAML", "quotes"),
    "empty": ("campaigns/a.yaml", "# nothing yet\n", 1, "empty", "key: value"),
    "a list": ("campaigns/a.yaml", "- id: x\n", 1, "no keys", "key: value"),
    "a key twice": ("campaigns/a.yaml", CAMPAIGN + "channel: push\n", 5, 'duplicate key "channel"', "once"),
    "deep": ("campaigns/a.yaml", "id:\n  " + "[" * 30 + "]" * 30, 2, "nested", "flatter"),
    "two documents": ("campaigns/a.yaml", "id: x\n---\nid: y\n", 2, "not YAML", "key: value"),
    "unknown key": (
        "campaigns/a.yaml",
        CAMPAIGN + "chanel: x\n",
        5,
        "unknown key `chanel`",
        "did you mean channel?",
    ),
    "unknown inner key": (
        "campaigns/a.yaml",
        CAMPAIGN.replace("{on: event, event: Order Completed}", "\n  on: timer\n  event: X\n  afer: 1h"),
        5,
        "unknown key `afer`",
        "did you mean after?",
    ),
    "unknown key in a list": (
        "experiments/a.yaml",
        EXPERIMENT.replace("  - {id: b, weight: 0.5}", "  - id: b\n    weigth: 0.5"),
        5,
        "unknown key `weigth`",
        "did you mean weight?",
    ),
    "missing": (
        "campaigns/a.yaml",
        "id: x\nchannel: log\ntemplate: thanks\n",
        1,
        "`trigger` is missing",
        "trigger: {on",
    ),
    "wrong word": (
        "campaigns/a.yaml",
        CAMPAIGN.replace("channel: email", "channel: emial"),
        3,
        "`channel` cannot be 'emial'",
        "channel: email",
    ),
    "wrong type": (
        "campaigns/a.yaml",
        CAMPAIGN + "priority: high\n",
        5,
        "`priority` is 'high'",
        "priority: 10",
    ),
    "no keys inside": (
        "campaigns/a.yaml",
        "id: x\ntrigger: event\nchannel: log\ntemplate: thanks\n",
        2,
        "`trigger` needs keys",
        "trigger: {on",
    ),
    "no list": (
        "campaigns/a.yaml",
        CAMPAIGN.replace("{on: event, event: Order Completed}", "{on: timer, event: X, after: 1h, unless: Y}"),
        2,
        "`unless` needs a list",
        "unless: [Y]",
    ),
    "no slug": (
        "campaigns/a.yaml",
        CAMPAIGN.replace("id: thanks", "id: Many Thanks!"),
        1,
        "small letters",
        "id: many-thanks",
    ),
    "duration": ("campaigns/a.yaml", CAMPAIGN + "expires_after: 24\n", 5, "24 is not a duration", "45m"),
    "duration in a cap": (
        "campaigns/a.yaml",
        CAMPAIGN + "cap:\n  max: 1\n  per: a week\n",
        7,
        "not a duration",
        "7d",
    ),
    "timer without time": (
        "campaigns/a.yaml",
        CAMPAIGN.replace("on: event,", "on: timer,"),
        2,
        "needs the time to wait",
        "after: 45m",
    ),
    "event without name": (
        "campaigns/a.yaml",
        CAMPAIGN.replace(", event: Order Completed", ""),
        2,
        "event's name",
        "event:",
    ),
    "alert with event": (
        "campaigns/a.yaml",
        CAMPAIGN.replace("on: event,", "on: alert,"),
        2,
        "no event",
        "on: alert",
    ),
    "after on an event": (
        "campaigns/a.yaml",
        CAMPAIGN.replace("on: event,", "on: event, after: 1h,"),
        2,
        "belong to a timer",
        "on: timer",
    ),
    "condition": (
        "campaigns/a.yaml",
        CAMPAIGN + "when: user.orders ==\n",
        5,
        "breaks off at column 15",
        "user.orders",
    ),
    "condition, third line": (
        "campaigns/a.yaml",
        CAMPAIGN + "when: |\n  user.orders == 1 &&\n  user.ordrs == 2\n",
        7,
        "no field `ordrs`",
        "did you mean orders?",
    ),
    "condition, folded": (
        "campaigns/a.yaml",
        CAMPAIGN + "when: >-\n  orders == 1 &&\n  user.orders == 2\n",
        6,
        "`orders` is unknown",
        "user.orders",
    ),
    "condition of an offer": (
        "offers/a.yaml",
        OFFER + "when: usr.orders == 1\n",
        4,
        "`usr` is unknown",
        "mean user?",
    ),
    "template": (
        "campaigns/a.yaml",
        CAMPAIGN.replace("template: thanks", "template: thnks"),
        4,
        "no template",
        "mean thanks?",
    ),
    "layout as template": (
        "campaigns/a.yaml",
        CAMPAIGN.replace("template: thanks", "template: layout"),
        4,
        "no template",
        "thanks",
    ),
    "experiment": (
        "campaigns/a.yaml",
        CAMPAIGN + "experiment: subjct\n",
        5,
        "no experiment 'subjct'",
        "one of",
    ),
    "control": ("campaigns/a.yaml", CAMPAIGN + "control: subjct\n", 5, "no experiment 'subjct'", "one of"),
    "holdout": ("policy.yaml", "holdout: nobody\n", 1, "no experiment 'nobody'", "one of"),
    "condition of an experiment": (
        "experiments/a.yaml",
        EXPERIMENT + "when: user.orders >> 1\n",
        8,
        "cannot be read from column 14",
        "a condition such as",
    ),
    "ruling": (
        "experiments/a.yaml",
        EXPERIMENT + "ruling: {status: stopped}\n",
        8,
        "Kairos's own note",
        "nothing here",
    ),
    "weights": (
        "experiments/a.yaml",
        EXPERIMENT.replace("b, weight: 0.5", "b, weight: 0.4"),
        1,
        "add up to 0.9",
        "0.5",
    ),
    "one variant": (
        "experiments/a.yaml",
        EXPERIMENT.replace("  - {id: a, weight: 0.5}\n  - {id: b, weight: 0.5}\n", "  - {id: a, weight: 1.0}\n"),
        2,
        "`variants` is",
        "variants: [",
    ),
    "variant twice": (
        "experiments/a.yaml",
        EXPERIMENT.replace("id: b", "id: a"),
        1,
        "two variants have the id 'a'",
        "own",
    ),
    "variants of one code": (
        "experiments/a.yaml",
        EXPERIMENT.replace("id: a", "id: v88").replace("id: b", "id: v146"),
        1,
        "two ids of variants have the same short code",
        "another id",
    ),
    "exposure": (
        "experiments/a.yaml",
        EXPERIMENT.replace("expose_on: message", "expose_on: mail"),
        5,
        "'mail'",
        "message",
    ),
    "planted": (
        "experiments/a.yaml",
        EXPERIMENT + "planted: {klicked: 0.1}\n",
        1,
        "planted names 'klicked'",
        "id",
    ),
    "metric of no campaign": (
        "experiments/a.yaml",
        EXPERIMENT.replace("within: 7d", "within: 7d, campaign: nobody"),
        7,
        "no campaign 'nobody'",
        "one of",
    ),
    "variant of no experiment": (
        "offers/a.yaml",
        OFFER + "when: user.variant['subjct'] == 'b'\n",
        4,
        "there is no experiment 'subjct'",
        "a file experiments/subjct.yaml",
    ),
    "experiment that asks for a variant": (
        "experiments/a.yaml",
        EXPERIMENT + "when: user.variant['subject'] == 'b'\n",
        8,
        "an experiment cannot ask for a variant",
        "user.orders",
    ),
    "discount of nothing": (
        "offers/a.yaml",
        OFFER.replace("kind: item", "kind: discount"),
        1,
        "either percent",
        "percent",
    ),
    "percent of an item": ("offers/a.yaml", OFFER + "percent: 10\n", 1, "belong to a discount", "discount"),
    "budget of an item": ("offers/a.yaml", OFFER + "budget_minor: 100\n", 1, "only discounts spend a budget", "stock"),
    "margin of a delivery": (
        "offers/a.yaml",
        OFFER.replace("kind: item", "kind: shipping") + "margin: 0.5\n",
        1,
        "belongs to offers of products",
        "item",
    ),
    "ends before it begins": (
        "offers/a.yaml",
        OFFER + "valid_from: 2010-12-02\nvalid_until: 2010-12-01\n",
        1,
        "before valid_from",
        "later",
    ),
    "placeholder": ("offers/a.yaml", OFFER.replace("{item}", "{price}"), 1, "only the placeholder", "{item}"),
    "half a brace": ("offers/a.yaml", OFFER.replace("{item}", "{item"), 1, "no partner", "{item}"),
    "date": ("offers/a.yaml", OFFER + "valid_from: 1 May\n", 4, "'1 May' is not a date", "2010-11-01"),
    "churn without hysteresis": (
        "churn.yaml",
        "alert_at: 0.5\nclear_below: 0.6\n",
        1,
        "flicker",
        "clear_below",
    ),
    "probability": ("churn.yaml", "alert_at: 70\n", 1, "`alert_at` is 70", "alert_at: 0.7"),
    "infinite": ("churn.yaml", "alert_at: .nan\n", 1, "`alert_at` is nan", "alert_at: 0.7"),
    "action": ("churn.yaml", "action:\n  campaign: thanks\n", 2, "no campaign 'thanks'", "one of"),
    "time zone": ("policy.yaml", "default_timezone: Europe/Lodnon\n", 1, "not a time zone", "Europe/London"),
    "clock": (
        "policy.yaml",
        'quiet_hours:\n  from: "21:00"\n  to: 8\n',
        3,
        "8 is not a time of day",
        "21:00",
    ),
    "file name": ("polcy.yaml", "size: 1\n", 1, "no file of this name", "did you mean policy?"),
    "folder name": ("campaign/a.yaml", CAMPAIGN, 1, "no folder of this name", "did you mean campaigns?"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_told_with_file_line_and_remedy(folder: Path, case: str) -> None:
    name, text, line, message, remedy = MISTAKES[case]
    path = write(folder / name, text)
    if case == "folder name":
        path = path.parent
    error = refused(folder)
    assert error.others == ()
    assert (error.path, error.line) == (path, line)
    assert message in error.message
    assert remedy in error.remedy
    code = f" [{error.code}]" if error.code else ""
    assert str(error) == f"{path}:{line}: {error.message}{code}\n  write: {error.remedy}"


def test_all_mistakes_are_told_at_once(folder: Path) -> None:
    write(folder / "campaigns/a.yaml", CAMPAIGN.replace("email", "pigeon") + "when: 1 +\nprio: 1\n")
    write(folder / "churn.yaml", "alert_at: 2\n")
    error = refused(folder)
    places = [(one.path.name, one.line) for one in (error, *error.others)]
    assert places == [("a.yaml", 3), ("a.yaml", 6), ("churn.yaml", 1)]
    assert str(error).count("\n  write: ") == 3


def test_two_campaigns_with_one_id(folder: Path) -> None:
    write(folder / "campaigns/a.yaml", CAMPAIGN)
    second = write(folder / "campaigns/b.yaml", "# the same\n" + CAMPAIGN)
    error = refused(folder)
    assert (error.path, error.line) == (second, 2)
    assert "taken by a.yaml" in error.message


def test_a_retention_action_must_listen_to_alerts(folder: Path) -> None:
    write(folder / "campaigns/a.yaml", CAMPAIGN)
    write(folder / "churn.yaml", "action: {campaign: thanks}\n")
    assert "not started by alerts" in refused(folder).message


def test_a_message_takes_the_variant_of_a_message_experiment_only(folder: Path) -> None:
    write(folder / "campaigns/a.yaml", CAMPAIGN + "experiment: subject\n")
    write(
        folder / "experiments/e.yaml",
        EXPERIMENT.replace("expose_on: message", "expose_on: {event: Product Viewed}"),
    )
    error = refused(folder)
    assert error.line == 5
    assert "at an event, not at a message" in error.message


def test_a_reference_into_a_broken_file_is_no_second_mistake(folder: Path) -> None:
    write(folder / "campaigns/a.yaml", CAMPAIGN + "experiment: subject\n")
    write(folder / "experiments/e.yaml", EXPERIMENT + "oops: 1\n")
    error = refused(folder)
    assert error.path.name == "e.yaml"
    assert error.others == ()


def test_a_file_that_is_not_text(folder: Path) -> None:
    path = folder / "campaigns/a.yaml"
    path.parent.mkdir()
    path.write_bytes(b"id: \xff\xfe\n")
    assert "UTF-8" in refused(folder).message


def test_nothing_changes_after_loading(folder: Path) -> None:
    write(folder / "campaigns/a.yaml", CAMPAIGN)
    campaign = load_definitions(folder).campaigns[0]
    with pytest.raises(ValueError, match="frozen"):
        campaign.priority = 3


# What the demo shows is what ships.
