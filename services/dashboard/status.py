"""Is all well? One answer, with what to do when it is not. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from models.parity import Parity
from services.dashboard import words
from services.dashboard.context import Latency, Level, ModelVersion, Problem, Proof, Sample, Status, Totals, Worker
from services.dashboard.outcomes import Funnel

STALLED_MS = 10_000
CATCH_UP_S = 60
SLOW_MS = 1_000
REFUSED_SHARE = 0.01


def away_status(address: str) -> Status:
    """Tell that Redis does not answer."""
    return Status(
        "away",
        "Redis is away",
        f"Nothing answers at {address}, so there is nothing true to show.",
        (
            Problem(
                "bad",
                "The state of Kairos lives in Redis, and it does not answer.",
                "Start Redis, or set KAIROS_REDIS__URL to where it runs. Workers wait and lose nothing, "
                "and this page comes back by itself.",
            ),
        ),
    )


def unreadable_status(reason: str) -> Status:
    """Tell that what lies in Redis was written by another version."""
    return Status(
        "away",
        "The state cannot be read",
        reason,
        (
            Problem(
                "bad",
                "Redis holds state of a version that this page does not know.",
                "Run the page in the same version of Kairos as the workers.",
            ),
        ),
    )


def build_status(
    workers: Sequence[Worker],
    totals: Totals,
    latency: Latency,
    proof: Proof,
    funnels: Sequence[Funnel],
    history: Sequence[Sample],
    models: Sequence[ModelVersion] = (),
    fairness: Sequence[Parity] = (),
) -> Status:
    """Judge the whole from its parts."""
    alive = [worker for worker in workers if worker.alive]
    deciding = any(worker.role == "decide" for worker in alive)
    nothing_yet = totals.events == 0 and totals.refused == 0 and totals.waiting == 0
    if nothing_yet and not workers:
        return Status("empty", "Nothing runs yet", "No worker has written to this Redis.")
    problems = (
        _silent(workers)
        + _undecided(deciding, workers)
        + _unbalanced(proof)
        + _stalled(deciding, totals, history)
        + _behind(totals)
        + _slow(latency)
        + _refused(totals)
        + _unknown(funnels)
        + _doubtful(models)
        + _uneven(fairness)
    )
    if nothing_yet and deciding and not problems:
        up = words.plural(len(alive), "worker")
        return Status("empty", "Ready for the first event", f"{up} up, nothing published yet.")
    bad = [problem for problem in problems if problem.level == "bad"]
    notes = [problem for problem in problems if problem.level == "note"]
    level: Level = "bad" if bad else "note" if notes else "ok"
    headline = {
        "bad": "Needs attention",
        "note": f"Running, with {'a remark' if len(notes) == 1 else f'{len(notes)} remarks'}",
        "ok": "All is well",
    }[level]
    return Status(level, headline, _evidence(alive, totals, proof), tuple(bad + notes))


def _evidence(alive: Sequence[Worker], totals: Totals, proof: Proof) -> str:
    parts = [f"{words.plural(len(alive), 'worker')} up"]
    if proof.total:
        balanced = sum(row.difference == 0 for row in proof.lanes)
        parts.append(
            f"every record of {words.plural(len(proof.lanes), 'lane')} is accounted for"
            if proof.balances
            else f"{balanced} of {words.plural(len(proof.lanes), 'lane')} balance"
        )
    on_the_way = words.plural(totals.waiting, "record")
    parts.append(f"{on_the_way} on the way" if totals.waiting else "nothing waits")
    return " · ".join(parts)


def _doubtful(models: Sequence[ModelVersion]) -> list[Problem]:
    return [
        Problem(
            "note", f"{model.title}: {model.state}.", "`kairos models health` tells more, docs/models.md what to do."
        )
        for model in models
        if model.state not in {"", "fine", "not learned yet"}
    ]


def _uneven(fairness: Sequence[Parity]) -> list[Problem]:
    return [
        Problem(
            "note",
            f"{one.what.capitalize()} differ by {one.attribute}: {one.groups[-1].value} gets {one.ratio or 0.0:.2f} of "
            f"what {one.groups[0].value} gets, {one.least:g} is tolerated.",
            "`kairos fairness` shows all groups; docs/campaigns.md, Policy.",
        )
        for one in fairness
        if one.verdict == "uneven"
    ]


def _silent(workers: Sequence[Worker]) -> list[Problem]:
    helped = {worker.role for worker in workers if worker.alive}
    return [
        Problem(
            "note" if worker.role in helped else "bad",
            f"Worker {worker.worker} ({worker.role}) has been silent since {worker.seen} UTC.",
            "Another worker of its role carries on; look at its log for the reason."
            if worker.role in helped
            else "Start it again (`kairos up` does) and look at its log; it goes on where it stopped.",
        )
        for worker in workers
        if not worker.alive
    ]


def _undecided(deciding: bool, workers: Sequence[Worker]) -> list[Problem]:
    # A silent decide worker says the same already.
    if deciding or any(worker.role == "decide" for worker in workers):
        return []
    return [
        Problem(
            "bad",
            "No worker decides: events wait in the log.",
            "Start one: `kairos up`, or `python -m streams decide`.",
        )
    ]


def _unbalanced(proof: Proof) -> list[Problem]:
    wrong = [row for row in proof.lanes if row.difference]
    if not wrong:
        return []
    named = words.listed([f"lane {row.lane} by {row.difference:+,}" for row in wrong])
    what = f"The proof ledger does not balance: {named}."
    return [Problem("bad", what, "Run `kairos audit`; it shows what differs.")]


def _stalled(deciding: bool, totals: Totals, history: Sequence[Sample]) -> list[Problem]:
    if not deciding or totals.waiting == 0 or not history:
        return []
    recent = [sample for sample in history if sample.at_ms > history[-1].at_ms - STALLED_MS]
    long_enough = history[-1].at_ms - history[0].at_ms >= STALLED_MS
    if not long_enough or any(sample.events_per_s > 0 for sample in recent):
        return []
    return [
        Problem(
            "bad",
            f"{words.plural(totals.waiting, 'record')} wait and none was applied for {STALLED_MS // 1000} s.",
            "Look at the log of the decide workers; `kairos doctor` checks Kafka and Redis.",
        )
    ]


def _behind(totals: Totals) -> list[Problem]:
    if totals.events_per_s <= 0 or totals.waiting / totals.events_per_s <= CATCH_UP_S:
        return []
    minutes = max(1, round(totals.waiting / totals.events_per_s / 60))
    return [
        Problem(
            "note",
            f"Decisions are behind: {words.plural(totals.waiting, 'record')} wait, "
            f"about {words.plural(minutes, 'minute')} at this speed.",
            "Start another worker if it keeps growing: `python -m streams decide`.",
        )
    ]


def _slow(latency: Latency) -> list[Problem]:
    if latency.kairos is None or latency.kairos.p99 <= SLOW_MS:
        return []
    return [
        Problem(
            "note",
            f"Decisions are slow: 1 in 100 takes longer than {words.duration(latency.kairos.p99)}.",
            "Redis or the machine is busy; see CPU and the lag below.",
        )
    ]


def _refused(totals: Totals) -> list[Problem]:
    if totals.refused <= REFUSED_SHARE * (totals.events + totals.refused):
        return []
    return [
        Problem(
            "note",
            f"{words.plural(totals.refused, 'record')} were refused.",
            "They lie in the topic dead-letters, each with its reason and position.",
        )
    ]


def _unknown(funnels: Sequence[Funnel]) -> list[Problem]:
    number = sum(funnel.unknown for funnel in funnels)
    if not number:
        return []
    return [
        Problem(
            "note",
            f"{words.plural(number, 'message')} handed over without a known outcome.",
            "They are never sent again on their own; a provider's feedback may still settle them.",
        )
    ]
