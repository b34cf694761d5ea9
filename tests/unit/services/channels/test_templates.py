"""Templates: every one that ships renders; what is missing is an error with a name; nothing runs that should not."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from config.loader import load_definitions
from config.settings import PACKAGE_CONFIG_DIR
from services.channels.templates import TemplateFailedError, Templates
from services.channels.tokens import Tokens
from support.messages import message

FOLDER = PACKAGE_CONFIG_DIR / "templates"
TOKENS = Tokens("test")
NAMES = sorted(path.name for path in FOLDER.iterdir() if not path.name.startswith("_"))
ITEMS = [
    {"id": "1", "name": "WHITE HANGING HEART T-LIGHT HOLDER", "price": 2.55, "reason": "bought together"},
    {"id": "2", "name": "Tea & <b>Toast</b>", "price": 1234.5},
]
VOID = {"meta", "br", "img", "hr"}


class Balance(HTMLParser):
    """Fails when tags are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def templates() -> Templates:
    return Templates(FOLDER, TOKENS, "https://shop.example.com/")


def variants(name: str) -> list[str | None]:
    folder = FOLDER / name / "variants"
    return [None, *(sorted(path.name for path in folder.iterdir()) if folder.exists() else [])]


@pytest.mark.parametrize("items", [[], ITEMS[:1], ITEMS * 3], ids=["none", "one", "many"])
@pytest.mark.parametrize(("name", "variant"), [(name, v) for name in NAMES for v in variants(name)])
def test_every_template_renders(
    templates: Templates, name: str, variant: str | None, items: list[dict[str, object]]
) -> None:
    for who in ("Emma", ""):
        data = {"name": who, "items": items, "currency": "GBP"}
        rendered = templates.render(message(template=name, variant=variant, data=data))
        balance = Balance()
        balance.feed(rendered.html)
        assert balance.open == []
        assert 5 < len(rendered.subject) < 80
        assert "\n" not in rendered.subject + rendered.push
        assert rendered.push
        assert "You get this because" in rendered.html
        assert "You get this because" in rendered.text
        assert len(rendered.html.encode()) < 100_000  # larger mails are cut by mail programs
        assert "http" not in rendered.html.replace("https://shop.example.com", "")  # nothing is fetched
        if items and name != "welcome":
            assert "£2.55" in rendered.html
            assert "£2.55" in rendered.text
            assert "White hanging heart t-light holder" in rendered.html


def test_every_campaign_has_its_template_and_every_message_experiment_its_texts() -> None:
    definitions = load_definitions(PACKAGE_CONFIG_DIR)
    assert {campaign.template for campaign in definitions.campaigns} <= set(NAMES)


def test_marketing_can_be_unsubscribed_and_a_receipt_is_none(templates: Templates) -> None:
    marketing = templates.render(message())
    assert marketing.unsubscribe_url is not None
    assert marketing.unsubscribe_url in marketing.html
    assert marketing.unsubscribe_url in marketing.text
    token = marketing.unsubscribe_url.removeprefix("https://shop.example.com/u/")
    link = TOKENS.read("unsubscribe", token)
    assert (link.user, link.message, link.campaign) == ("u1", message().id, "win-back")
    receipt = templates.render(message(purpose="transactional"))
    assert receipt.unsubscribe_url is None
    assert "nsubscribe" not in receipt.html + receipt.text


def test_the_same_command_is_written_the_same_way(templates: Templates) -> None:
    assert templates.render(message()) == templates.render(message())


def test_names_of_products_and_people_are_text_not_markup(templates: Templates) -> None:
    data = {"name": "<script>alert(1)</script>", "items": ITEMS, "currency": "GBP"}
    rendered = templates.render(message(template="abandoned-cart", data=data))
    assert "<script>" not in rendered.html
    assert "Tea &amp; &lt;b&gt;Toast&lt;/b&gt;" in rendered.html
    assert "Tea & <b>Toast</b>" in rendered.text


def test_variants_change_the_subject(templates: Templates) -> None:
    data = {"items": ITEMS, "name": "Emma"}
    general = templates.render(message(template="abandoned-cart", variant="general", data=data))
    named = templates.render(message(template="abandoned-cart", variant="names-product", data=data))
    assert general.subject == "You left something in your basket"
    assert named.subject == "White hanging heart t-light holder is still in your basket"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("{{ nothing_like_it }}", "'nothing_like_it' is undefined"),
        ("{{ items[0].colour }}", "no attribute 'colour'"),
        ("{% if %}", "Expected an expression"),
        ("{% include 'elsewhere.txt' %}", "elsewhere.txt"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ items.append(1) }}", "unsafe"),
        ("{{ 'a' | money }}", "body.txt"),
        ("{{ 1 // 0 }}", "body.txt"),
        ("{% include '../../settings.py' %}", "settings.py"),
    ],
)
def test_a_wrong_template_says_what_is_wrong(tmp_path: Path, body: str, says: str) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    for name in ("subject.txt", "body.html", "body.txt"):
        (folder / name).write_text("ok")
    (folder / "body.txt").write_text(body)
    with pytest.raises(TemplateFailedError, match=r"template bad/body\.txt") as error:
        Templates(tmp_path, TOKENS, "https://x.example").render(message(template="bad"))
    assert says in str(error.value)


def test_a_channel_needs_its_parts_and_no_others(tmp_path: Path) -> None:
    folder = tmp_path / "short"
    folder.mkdir()
    (folder / "subject.txt").write_text("Hello")
    (folder / "push.txt").write_text("Hello {{ name }}")
    made = Templates(tmp_path, TOKENS, "https://x.example")
    assert made.render(message(template="short", channel="push")).push == "Hello Emma"
    with pytest.raises(TemplateFailedError, match=r"short/body\.html: there is no file"):
        made.render(message(template="short"))
