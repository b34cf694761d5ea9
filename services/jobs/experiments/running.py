"""Running experiments from outside: what they are, what the judge said last, and how a person stops one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from config.experiment import Experiment
from config.loader import load_definitions
from config.overrides import Override
from config.settings import Settings
from models.errors import ConfigurationError
from models.experiments.document import Document
from models.experiments.fields import counter_key
from models.experiments.record import Record
from models.experiments.segments import breakdown, twice_document
from services.bootstrap import settings_for
from services.state.counters import read_some_counters
from services.state.experiments import ExperimentStore
from services.state.lanes import read_watermarks
from services.state.redis_lane import Client, connect


@dataclass(frozen=True, slots=True)
class Running:
    """An experiment of the config folder and what is known of it.

    Parameters
    ----------
    card : of the judge's last look; None: it has not looked yet. override : decision in force. record : the judge's.
    """

    experiment: Experiment
    card: Document | None
    override: Override | None
    record: Record | None = None

    @property
    def status(self) -> str:
        """running, stopped or rolled_out; of the version in the file."""
        override = self.override
        if override is not None and override.version == self.experiment.version and override.status != "running":
            return override.status
        return "running" if self.experiment.enabled else "stopped"


@contextmanager
def _store(settings: Settings) -> Iterator[tuple[ExperimentStore, int]]:
    with _client(settings) as client:
        watermark = min(read_watermarks(client, settings.lanes).values(), default=0)
        yield ExperimentStore(client), watermark


@contextmanager
def _client(settings: Settings) -> Iterator[Client]:
    client = connect(settings.redis.url.get_secret_value(), settings.redis.timeout_ms)
    try:
        yield client
    finally:
        client.close()


def running(settings: Settings) -> list[Running]:
    """Every experiment of the config folder."""
    experiments = load_definitions(settings.config_dir, check_templates=False).experiments
    with _store(settings) as (store, _):
        overrides = store.overrides()
        cards = store.results(one.id for one in experiments)
    return [Running(one, _current(one, cards.get(one.id)), overrides.get(one.id)) for one in experiments]


def running_one(settings: Settings, name: str) -> Running:
    """One experiment, with the judge's record.

    Raises
    ------
    ConfigurationError
        There is none of this name.
    """
    experiment = known_experiment(settings, name)
    with _store(settings) as (store, _):
        _, record = store.load(name)
        return Running(experiment, _current(experiment, store.result(name)), store.overrides().get(name), record)


def result_of(name: str, data_dir: Path) -> Document:
    """Card of a running experiment, with parts of the users; raises as :func:`result_in`."""
    return result_in(settings_for(data_dir), name)[0]


def result_in(settings: Settings, name: str) -> tuple[Document, Record | None]:
    """Card of a running experiment, with parts of the users, and the judge's record.

    Raises
    ------
    ConfigurationError
        There is no experiment (and no file) of this name, or the judge has not looked at it yet.
    """
    one = running_one(settings, name)
    if one.card is None:
        remedy = "kairos health judge says whether a judge runs; it looks about once a second"
        raise ConfigurationError(f"not_judged: {name} was not looked at yet", remedy=remedy)
    return {**one.card, **parts_of(settings, one.experiment, one.card)}, one.record


def parts_of(settings: Settings, experiment: Experiment, card: Document) -> Document:
    """What the counters say of parts of the users, up to the card's watermark: `segments` and `shown_two`."""
    key = counter_key(experiment.key)
    with _client(settings) as client:
        counts = read_some_counters(client, settings.lanes, [key])[key]
    return {"segments": breakdown(counts, experiment, card["at"]), "shown_two": twice_document(counts, experiment)}


def stop(settings: Settings, name: str, reason: str, winner: str | None = None) -> Override:
    """Stop an experiment for good, or give everybody one variant; in force in decide within about a second.

    Raises
    ------
    ConfigurationError
        There is no such experiment or variant, or it was stopped before.
    """
    experiment = known_experiment(settings, name)
    if winner is not None and winner not in {variant.id for variant in experiment.variants}:
        names = ", ".join(variant.id for variant in experiment.variants)
        raise ConfigurationError(f"unknown_variant: {name} has no variant {winner!r}", remedy=f"one of {names}")
    with _store(settings) as (store, watermark):
        before = store.overrides().get(name)
        override = Override(
            experiment=name,
            version=experiment.version,
            status="stopped" if winner is None else "rolled_out",
            winner=winner,
            step=before.step if before is not None and before.version == experiment.version else 0,
            at=max(0, watermark),
            by="person",
            reason=reason,
        )
        if not store.decide(override):
            there = store.overrides()[name]
            raise ConfigurationError(
                f"already_decided: {name} is {there.status.replace('_', ' ')} ({there.reason})",
                remedy="raise `version:` in its file to begin anew",
            )
    return override


def known_experiment(settings: Settings, name: str) -> Experiment:
    """Definition of an experiment.

    Raises
    ------
    ConfigurationError
        There is none of this name.
    """
    experiments = load_definitions(settings.config_dir, check_templates=False).experiment_by_id
    if name not in experiments:
        known = ", ".join(experiments) or "none is defined"
        raise ConfigurationError(f"unknown_experiment: there is no experiment (and no file) {name!r}", remedy=known)
    return experiments[name]


def _current(experiment: Experiment, card: Document | None) -> Document | None:
    """The card, if it is of the version in the file."""
    return card if card is not None and card["version"] == experiment.version else None
