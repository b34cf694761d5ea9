"""The report: one file, readable, nothing from outside becomes markup."""

import re
from html.parser import HTMLParser

from models.experiments.watch import look
from services.jobs.experiments.plots import forest, narrowing, ticks
from services.jobs.experiments.report import report
from support.experiment_shop import ExperimentShop, experiment

EVIL = '<img src=x onerror=alert(1)>"&'


class Balanced(HTMLParser):
    """Counts what is opened and not closed."""

    VOID = frozenset({"meta", "line", "circle", "polygon", "polyline"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)


def made() -> str:
    shop = ExperimentShop(experiment(description=EVIL, hypothesis=EVIL))
    record = None
    for _ in range(5):
        shop.day(300, Order_Completed={"a": 0.2, "b": 0.4}, Complained={"a": 0.1, "b": 0.1})
        shop.pass_time(2)
        seen = look(record, shop.experiments[0], shop.counts(), shop.watermark)
        record = seen.record
    assert seen.document is not None
    return report(seen.document, record)


def test_it_is_one_file_that_says_the_verdict() -> None:
    text = made()
    page = Balanced()
    page.feed(text)
    assert page.open == []
    assert "svg" in page.tags
    assert not {"script", "img", "link", "iframe"} & page.tags
    assert not re.search(r"""(src|href)\s*=|url\(|https?://""", text.replace("src=x", ""))
    assert "<img" not in text
    assert "b is better on ordered: +" in text
    assert text.count("<svg") == 2
    assert "1,500" in text
    assert "hold however often somebody looks" in text


def test_plots_of_nothing_are_nothing() -> None:
    assert forest([]) == ""
    assert narrowing([], "ordered", ["b"]) == ""
    assert ticks(0, 3000) == [0, 1000, 2000, 3000]
