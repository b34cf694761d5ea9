from __future__ import annotations

import io
import re
from dataclasses import replace

import msgspec
from rich.console import Console

from config.definitions import Experiment
from models.decisions import Cause, ChurnAlert, MessageCommand, OfferDecision, RankedOffer
from models.experiments.sums import Moments, Proportion
from services.demo.figures import Figures
from services.demo.live import LatencySamples
from services.demo.summary import AuditVerdict, Latency, Learning, Summary, experiment_lines, render, share_of
from services.demo.verdict import AlertVerdict, OfferVerdict
from support.cards import card_of, shares

CAUSE = Cause("event", "e1", "Order Completed", 0)


def experiment(*, simulated: bool = True) -> Experiment:
    return Experiment.model_validate(
        {
            "id": "subject",
            "variants": [{"id": "general", "weight": 0.5}, {"id": "named", "weight": 0.5}],
            "expose_on": "message",
            "metrics": [
                {"id": "revenue", "event": "Order Completed", "within": "7d", "kind": "revenue"},
                {"id": "clicked", "event": "Email Link Clicked", "within": "7d"},
            ],
            "simulated": simulated,
            "planted": {"clicked": 0.1} if simulated else {},
        }
    )


CARD = card_of(
    experiment(),
    {
        "general": {"clicked": shares(1000, 100), "revenue": Moments(1000, (0,), (0,))},
        "named": {"clicked": shares(1000, 200), "revenue": Moments(1000, (0,), (0,))},
    },
)


def message(identifier: str, campaign: str = "cart", suppressed: str | None = None) -> bytes:
    command = MessageCommand(
        "SendEmail" if suppressed is None else "MessageSuppressed",
        identifier, "u1", campaign, "1", "email", "t", None, None, "marketing", 0, 1, None, None, {}, "", CAUSE,
        suppressed,
    )  # fmt: skip
    return msgspec.json.encode(command)


def feedback(name: str, identifier: str, campaign: str = "cart", **more: object) -> bytes:
    properties = {"message_id": identifier, "campaign_id": campaign, **more}
    return msgspec.json.encode({"type": "track", "event": name, "userId": "u1", "properties": properties})


def figures() -> Figures:
    found = Figures()
    for number in range(4):
        found.add_message(message(f"m{number}"))
    found.add_message(message("m0"))  # lies twice in the log
    found.add_message(message("m8", suppressed="no_consent"))
    found.add_message(message("m9", suppressed="frequency_cap"))
    for name, many in (("Email Delivered", 3), ("Email Opened", 2), ("Email Link Clicked", 1)):
        for number in range(many):
            found.add_feedback(feedback(name, f"m{number}"))
            found.add_feedback(feedback(name, f"m{number}"))
    for _ in range(2):
        found.add_purchase(feedback("Simulated Order", "m0", revenue=12.34))
    found.add_purchase(b'{"type":"track","event":"Order Completed","userId":"u1","properties":{"revenue":99}}')
    found.add_feedback(b'{"type":"tick","timestamp":"2010-01-01T00:00:00.000Z"}')
    alert = ChurnAlert("a1", "u1", 5, 0.8, True, 90, [], {"campaign": "win-back"}, CAUSE, 3)
    offers = [RankedOffer("for-you", item, "Mug", 1.0, "", 0.9) for item in ("22064", None, "22064", "22065")]
    for _ in range(2):
        found.add_alert(msgspec.json.encode(alert))
        found.add_offers(msgspec.json.encode(OfferDecision("o1", "u1", 7, offers, CAUSE, 3)))
    return found


def summary() -> Summary:
    return Summary(
        start_ms=1_259_625_600_000,
        end_ms=1_291_924_860_000,
        counts={"Order Completed": 19_215, "Product Viewed": 5, "Product Added": 5, "Product Viewed (simulated)": 2},
        users=4_383,
        revenue_minor=883_200_326,
        refunds_minor=1_234,
        lines_total=525_461,
        lines_without_customer=107_927,
        figures=figures(),
        counters={
            "camp:cart": {"decided": 7},
        },
        experiments=[experiment()],
        cards={"subject": CARD},
        names={"22064": "Pink doughnut trinket pot"},
        alerts=AlertVerdict(
            Proportion(400, 300), Proportion(100, 70), Proportion(300, 230), Proportion(5000, 2500), 12
        ),
        offers=OfferVerdict(Proportion(1000, 500), Proportion(1000, 300), {"22064": 9}),
        reminders=Proportion(50, 49),
        learning=Learning(True, 5_000, 1_275_000_000_000, 1_267_000_000_000),
        wall_s=200.0,
        events=850_000,
        log_latency=Latency(12.0, 90.0),
        kairos_latency=Latency(3.0, 20.0),
        audit=AuditVerdict(True, ("zero differences",)),
    )  # fmt: skip


def text_of(shown: Summary) -> str:
    console = Console(file=io.StringIO(), width=120)
    render(shown, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_funnel_counts_messages_and_not_records() -> None:
    found = figures()
    funnel = found.funnels["cart"]
    assert (funnel.decided, funnel.suppressed_total, len(funnel.commanded)) == (6, 2, 4)
    assert [funnel.at(stage) for stage in ("sent", "opened", "clicked", "ordered")] == [3, 2, 1, 1]
    assert funnel.unfinished == 1
    assert found.simulated_revenue_minor == 1_234
    assert len(found.alerts) == len(found.answers) == 1
    assert found.answers[0].items == ("22064", "22065")
    assert found.alerts[0].learned


def test_it_says_what_a_marketer_asks() -> None:
    text = " ".join(text_of(summary()).split())
    for said in (
        "1 Dec 2009 to 9 Dec 2010",
        "19,215 orders, £8,832,003, from the file",
        "107,927 of the file's 525,461 lines name no customer",
        "cart 7 2 1 3 2 1 1",  # decided, suppressed, waiting, sent, opened, clicked, ordered
        "1 no consent",
        "1 had enough messages",
        "simulator's orders (£12) are in no sum of real revenue",
        "of all alerts 75.0 % (300 of 400; 95 % interval 70.5 to 79.0 %)",
        "of all customers 50.0 % (2,500 of 5,000",
        "really left it by Kairos 98.0 % (49 of 50",
        "12 more alerts cannot be judged yet",
        "by Kairos 50.0 % (500 of 1,000",
        "by best sellers 30.0 %",
        "Pink doughnut trinket pot (9x)",
        "rule until 27 May 2010",
        "4,250 events/s",
        "p50 12.0 ms, p99 90.0 ms",
        "zero differences",
        "kairos story u1",
        "kairos why m0",
        "config/campaigns/abandoned-cart.yaml",
        "All is well",
    ):
        assert said in text, said
    assert not re.search(r"\b\d{5}[A-Z]?\b(?! ms)", text.replace("19,215", "")), "a stock code"


def test_it_says_when_learning_starts_and_what_went_wrong() -> None:
    shown = replace(
        summary(),
        learning=Learning(False, 0, None, 1_267_000_000_000),
        problems=("3 messages have no outcome",),
        audit=None,
    )
    text = " ".join(text_of(shown).split())
    assert "not learned yet" in text
    assert "24 Feb 2010 at the earliest" in text
    assert "did not end well: 3 messages have no outcome" in text
    assert "All is well" not in text
    assert "audit not run" in text


def test_the_planted_effect_stands_beside_the_measured_one() -> None:
    said = "\n".join(line.plain for line in experiment_lines(experiment(), CARD))
    assert "subject: subject, simulated reactions" in said
    assert "named is better on clicked: +100.0 % [" in said
    assert "clicked: +10.0 points planted, +10.0 measured" in said
    assert "2,000 matured users" in said


def test_without_users_it_says_so() -> None:
    said = [line.plain for line in experiment_lines(experiment(simulated=False), None)]
    assert said == ["subject: subject", "  nobody was exposed"]


def test_a_share_carries_wilsons_interval() -> None:
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(37, 219, method="wilson")
    assert share_of(Proportion(219, 37)).endswith(f"95 % interval {100 * low:.1f} to {100 * high:.1f} %)")
    assert share_of(Proportion(0, 0)) == "none yet"


def test_latency_takes_the_middle_of_the_medians_and_the_worst_tail() -> None:
    samples = LatencySamples()
    for p50, p99 in ((1.0, 5.0), (2.0, 50.0), (9.0, 10.0)):
        samples.add({"role": "decide", "latency_ms": {"p50": p50, "p99": p99, "n": 10}, "log_latency_ms": {"n": 0}})
        samples.add({"role": "deliver", "latency_ms": {"p50": 1000, "p99": 1000, "n": 1}})
    assert samples.of("latency_ms") == Latency(2.0, 50.0)
    assert samples.of("log_latency_ms") is None
