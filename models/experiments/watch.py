"""One look at a running experiment: from its counters and what was remembered to the card, the decision and the event.

Pure: the same record, counters and watermark give the same result. So it does not matter who looks, how often, or
whether a look was lost; two judges that looked at once differ at most in which of them wrote first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import xxhash
from msgspec.structs import replace

from config.experiment import Experiment
from config.overrides import Override
from models.experiments.allocation import BIASED, allocation_document, next_shares
from models.experiments.document import Document, card_document
from models.experiments.reading import Counted, plan_of
from models.experiments.record import Point, Record, Told, VerdictChanged, event_of
from models.experiments.steps import next_step, of_step
from models.experiments.verdict import Card, judge

POINTS = 200
# So many matured users without a single value are more than bad luck for any metric worth testing.
SILENT_USERS = 1000
# Verdicts after which nothing is gained by going on, for a file that says what to do then.
STOPS = frozenset({"harm", "worse"})


@dataclass(frozen=True, slots=True)
class Look:
    """Result of a look: the new record, and the card as everybody is shown it; None: as it was published, finally."""

    record: Record
    document: Document | None


def look(
    record: Record | None,
    experiment: Experiment,
    counts: Mapping[str, int],
    watermark: int,
    override: Override | None = None,
) -> Look:
    """Look at an experiment.

    Parameters
    ----------
    record : what the look before left; None, or one of another version: the first look.
    counts : counters of this version, added over the lanes, read after `watermark`.
    watermark : event time up to which all lanes have counted, ms.
    override : decision that lies in Redis; it may be a person's.
    """
    if record is None or record.version != experiment.version:
        record = Record(experiment=experiment.id, version=experiment.version, plan=plan_of(experiment))
    if not record.since:
        # Until somebody is exposed the file may still change; from then on the plan is what it was.
        record = replace(record, plan=plan_of(experiment))
    record = _with_decision(record, override)
    now = of_step(counts, experiment, watermark, record.decided)
    if now.exposed and not record.since:
        record = replace(record, since=max(1, watermark))
    before = record
    over = _is_over(record, experiment, watermark)
    finished = over and bool(now.exposed) and not now.open
    if finished or record.final:
        record = _finalised(record, now, watermark, finished=finished)
        if record.final == before.final and _status(record, experiment) == record.told.status:
            return Look(before, None)
    card, memories = judge(record.plan, now.reading(record.plan, watermark, finished=finished), record.remembered())
    record = replace(record, memories=[(*which, memory) for which, memory in memories.items()])
    if experiment.rollout and not finished:
        card, move = next_step(record.plan, experiment, counts, watermark, record.decided, card)
    else:
        move = _automatic(experiment, card, watermark) or next_shares(experiment, now, watermark, record.decided)
    if not over:
        memories_end = bool(experiment.rollout) and move is not None and move.step != record.told.step
        record = _with_decision(record, move)
        if memories_end:
            # Users of another step are another population: its looks begin anew.
            record = replace(record, memories=[])
    record = _plotted(record, card, watermark)
    document = document_of(record, experiment, card, now, watermark)
    return Look(_told(record, card, document, watermark), document)


def _is_over(record: Record, experiment: Experiment, watermark: int) -> bool:
    """Whether nobody new is exposed any more."""
    return _status(record, experiment) != "running" or _past_end(experiment, watermark)


def _status(record: Record, experiment: Experiment) -> str:
    decided = record.decided
    if decided is not None and decided.status != "running":
        return decided.status
    return "running" if experiment.enabled else "stopped"


def _past_end(experiment: Experiment, watermark: int) -> bool:
    return experiment.end_ms is not None and watermark >= experiment.end_ms


def _with_decision(record: Record, override: Override | None) -> Record:
    if override is None or override.version != record.version or not override.follows(record.decided):
        return record
    return replace(record, override=override.model_dump_json())


def _automatic(experiment: Experiment, card: Card, watermark: int) -> Override | None:
    """What the file wants to be done about this verdict."""
    if experiment.on_verdict == "none":
        return None
    rolls_out = card.verdict == "better" and experiment.on_verdict == "roll_out"
    if not rolls_out and card.verdict not in STOPS:
        return None
    return Override(
        experiment=experiment.id,
        version=experiment.version,
        status="rolled_out" if rolls_out else "stopped",
        winner=card.variant if rolls_out else None,
        at=watermark,
        reason=card.sentence,
    )


def _finalised(record: Record, now: Counted, watermark: int, *, finished: bool) -> Record:
    """Give the result of a finished experiment a version; another one only where the sums became others.

    Below the watermark of the result the counters are older than what was published (Redis went back in time): they
    say nothing until they have caught up.
    """
    if not finished or (record.final and watermark < record.final_at):
        return record
    digest = xxhash.xxh3_128_hexdigest(repr((sorted(now.users.items()), _sorted(now))).encode())
    if digest == record.final_sums:
        return record
    return replace(record, final=record.final + 1, final_at=watermark, final_sums=digest)


def _sorted(now: Counted) -> list[Any]:
    return [(variant, sorted(arm.items())) for variant, arm in sorted(now.matured.items())]


def _plotted(record: Record, card: Card, watermark: int) -> Record:
    """Add a point when the matured users have grown by 1 % of the plan or a fiftieth, and thin out what is too long."""
    points = record.points
    before = points[-1].matured if points else 0
    if card.matured - before < max(1.0, 0.01 * (card.planned or 0), 0.02 * before):
        return record
    rows: list[tuple[str, str, float | None, float | None, float | None]] = []
    for line in card.lines:
        compared = line.comparison
        relative = compared.lift is not None and compared.lift_interval is not None
        value = compared.lift if relative else None
        low, high = compared.lift_interval if relative and compared.lift_interval is not None else (None, None)
        rows.append((compared.variant, compared.metric.id, value, low, high))
    points = [*points, Point(watermark, card.matured, rows)]
    if len(points) > POINTS:
        points = [*points[:-1:2], points[-1]]
    return replace(record, points=points)


def document_of(record: Record, experiment: Experiment, card: Card, now: Counted, watermark: int) -> Document:
    """The card as everybody is shown it."""
    decided = record.decided
    document = card_document(card, record.plan, now.matured, now.users)
    changed: tuple[str, ...] = (
        ()
        if plan_of(experiment) == record.plan
        else ("The file's plan is not the frozen one; it counts for a new version.",)
    )
    changed += tuple(_silent(experiment, now))
    if experiment.allocation is not None:
        changed += (BIASED,) if len(now.epochs) > 1 else ()
        document["allocation"] = allocation_document(experiment, now, decided)
        document["sample_ratio"]["weights"] = dict(now.shares)
    return {
        "experiment": experiment.id,
        "version": record.version,
        "description": experiment.description,
        "hypothesis": experiment.hypothesis,
        "simulated": experiment.simulated,
        "status": _status(record, experiment),
        "reason": decided.reason if decided is not None else "",
        "override": None if decided is None else decided.model_dump(mode="json"),
        "since": record.since or None,
        "at": watermark,
        "final": record.final,
        "final_sums": record.final_sums,
        **document,
        "cautions": [*document["cautions"], *changed],
        "twice": dict(now.twice),
    }


def _silent(experiment: Experiment, now: Counted) -> Iterator[str]:
    """Metrics of which nobody has anything yet, though enough users have had their time: perhaps nobody sends them."""
    for metric in experiment.metrics:
        arms = [arm[metric.id] for arm in now.matured.values() if metric.id in arm]
        users = sum(moments.n for moments in arms)
        if users >= SILENT_USERS and not any(moments.sums[0] for moments in arms):
            yield (
                f"None of {users:,} users has anything of {metric.id}: does anybody send the event {metric.event!r}, "
                "spelled like this?"
            )


def _told(record: Record, card: Card, document: Document, watermark: int) -> Record:
    """Note an event where the verdict, the status or the final result is another one than was told."""
    if not record.since and document["status"] == "running":
        return record  # nobody is exposed: there is nothing to tell
    decided = record.decided
    told = Told(
        verdict=card.verdict,
        variant=card.variant if card.verdict in {"better", "worse", "mixed", "harm"} else None,
        status=document["status"],
        step=decided.step if decided is not None else 0,
        final=record.final,
    )
    if told == record.told:
        return record
    event = event_of(record, told, document, watermark)
    return replace(record, number=event.number, told=told, outbox=[*record.outbox, event])


def adopted(record: Record | None, experiment: Experiment, event: VerdictChanged) -> Record | None:
    """The record after what was published, where Redis does not know it (it was lost, or went back in time).

    What was published stands: its number, its decision, its final result. What the looks remembered is as old as
    Redis's; the intervals are wider for it, never wrong. None: there is nothing to adopt.
    """
    if event.version != experiment.version or (record is not None and record.version > event.version):
        return None
    if record is None or record.version != event.version:
        record = Record(experiment=experiment.id, version=experiment.version, plan=plan_of(experiment))
    if record.number >= event.number:
        return None
    told = Told(
        verdict=event.verdict,
        variant=event.variant,
        status=event.status,
        step=(event.override or {}).get("step", 0),
        final=event.final,
    )
    record = replace(record, number=event.number, told=told, outbox=[])
    if event.override is not None:
        record = _with_decision(record, Override.model_validate(event.override))
    if event.final:
        record = replace(
            record, final=event.final, final_at=event.at, final_sums=str(event.result.get("final_sums", ""))
        )
    return record
