"""Load and check everything that marketers wrote: all mistakes at once, each with file, line and remedy."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import ValidationError

from config.definitions import Campaign, Churn, Definition, Definitions, Experiment, Goal, Offer, Policy
from config.goal import MOST_GOALS
from config.problems import ConditionFault, DefinitionError, schema_mistakes, suggestion
from config.webhook import Webhook
from config.yaml_source import Location, Source, YamlFaultError, read_source

__all__ = ["ConditionFault", "DefinitionError", "load_definitions", "load_webhooks"]

ConditionCheck = Callable[[str], ConditionFault | None]
_Model = TypeVar("_Model", bound=Definition)

_SUFFIXES = (".yaml", ".yml")
_FOLDERS = ("campaigns", "offers", "experiments", "goals", "webhooks")
_SINGLE = ("churn", "policy")


class _Loaded(NamedTuple):
    """A checked definition and where it was written."""

    value: Definition
    source: Source

    def mistake(self, location: Location, message: str, remedy: str) -> DefinitionError:
        return DefinitionError(self.source.path, self.source.line_of(location), message, remedy)


def load_definitions(
    config_dir: Path, check_condition: ConditionCheck | None = None, *, check_templates: bool = True
) -> Definitions:
    """Load `campaigns/`, `offers/`, `experiments/`, `goals/`, `churn.yaml` and `policy.yaml` of a folder.

    `webhooks/` is checked with them and read by :func:`load_webhooks`.

    Parameters
    ----------
    config_dir : the folder. A folder or file that is absent stands for no entries or the defaults.
    check_condition : says what is wrong with a condition, None if nothing; see
        :func:`models.campaigns.conditions.condition_fault`.
    check_templates : whether each campaign's template must exist in `templates/`.

    Raises
    ------
    DefinitionError
        With the first mistake, and all further ones in `others`.
    """
    mistakes: list[DefinitionError] = []
    if not config_dir.is_dir():
        remedy = "the path of a folder with campaigns/, offers/, experiments/ and goals/"
        raise DefinitionError(config_dir, 1, "there is no such folder", remedy)
    mistakes.extend(_stray_files(config_dir))
    campaigns = [_load(path, Campaign, mistakes) for path in _files(config_dir / "campaigns")]
    offers = [_load(path, Offer, mistakes) for path in _files(config_dir / "offers")]
    experiments = [_load(path, Experiment, mistakes) for path in _files(config_dir / "experiments")]
    goals = [_load(path, Goal, mistakes) for path in _files(config_dir / "goals")]
    webhooks = [_load(path, Webhook, mistakes) for path in _files(config_dir / "webhooks")]
    churn = [_load(path, Churn, mistakes) for path in _files(config_dir, ("churn",))]
    policy = [_load(path, Policy, mistakes) for path in _files(config_dir, ("policy",))]

    every = (*campaigns, *offers, *experiments, *goals, *webhooks, *churn, *policy)
    loaded = [one for one in every if one is not None]
    if check_condition is not None:
        mistakes.extend(_conditions(loaded, check_condition))
    if check_templates:
        mistakes.extend(_templates(loaded, config_dir / "templates"))
    mistakes.extend(_same_ids(loaded))
    mistakes.extend(_rulings(loaded))
    mistakes.extend(_too_many_goals(loaded))
    # A reference to a file that could not be read would be a second complaint about one mistake.
    if not mistakes:
        mistakes.extend(_references(loaded))
    if mistakes:
        raise DefinitionError.of(mistakes)
    return Definitions(
        campaigns=_of(Campaign, loaded),
        offers=_of(Offer, loaded),
        experiments=_of(Experiment, loaded),
        goals=_of(Goal, loaded),
        churn=next(iter(_of(Churn, loaded)), Churn()),
        policy=next(iter(_of(Policy, loaded)), Policy()),
    )


def load_webhooks(config_dir: Path) -> tuple[Webhook, ...]:
    """Load `webhooks/` of a folder: they are no rule that anything is decided by, so no part of the definitions.

    Raises
    ------
    DefinitionError
        With the first mistake, and all further ones in `others`.
    """
    mistakes: list[DefinitionError] = []
    files = [_load(path, Webhook, mistakes) for path in _files(config_dir / "webhooks")]
    loaded = [one for one in files if one is not None]
    mistakes.extend(_same_ids(loaded))
    if mistakes:
        raise DefinitionError.of(mistakes)
    return _of(Webhook, loaded)


def _of(model: type[_Model], loaded: list[_Loaded]) -> tuple[_Model, ...]:
    return tuple(one.value for one in loaded if isinstance(one.value, model))


def _files(folder: Path, stems: tuple[str, ...] = ()) -> list[Path]:
    """YAML files by name, so that the order never depends on the file system."""
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if path.suffix in _SUFFIXES and not path.name.startswith("."))
    return sorted(path for path in found if not stems or path.stem in stems)


def _stray_files(config_dir: Path) -> Iterator[DefinitionError]:
    for path in _files(config_dir):
        if path.stem not in _SINGLE:
            yield DefinitionError(path, 1, "Kairos reads no file of this name here", suggestion(path.stem, _SINGLE))
    for name in _SINGLE:
        twice = _files(config_dir, (name,))[1:]
        yield from (DefinitionError(path, 1, f"there are two files for {name}", "one of them") for path in twice)
    for folder in sorted(path for path in config_dir.iterdir() if path.is_dir()):
        if folder.name not in (*_FOLDERS, "templates") and _files(folder):
            remedy = suggestion(folder.name, _FOLDERS)
            yield DefinitionError(folder, 1, "Kairos reads no folder of this name", remedy)


def _load(path: Path, model: type[Definition], mistakes: list[DefinitionError]) -> _Loaded | None:
    try:
        source = read_source(path)
    except YamlFaultError as fault:
        mistakes.append(DefinitionError(path, fault.line, fault.message, fault.remedy))
        return None
    try:
        return _Loaded(model.model_validate(source.tree), source)
    except ValidationError as error:
        mistakes.extend(schema_mistakes(error, model, source))
        return None


def _conditions(loaded: list[_Loaded], check: ConditionCheck) -> Iterator[DefinitionError]:
    for one in loaded:
        text = one.value.when if isinstance(one.value, Campaign | Offer | Experiment | Goal) else None
        fault = check(text) if text is not None else None
        if fault is not None:
            line = one.source.line_within(("when",), fault.line)
            yield DefinitionError(one.source.path, line, fault.message, fault.remedy)


def template_names(templates: Path) -> set[str]:
    """Names that `template:` may have: of files and folders up to the first dot, but for `_shared` ones."""
    if not templates.is_dir():
        return set()
    names = {path.name.split(".")[0] for path in templates.iterdir()}
    return {name for name in names if name and not name.startswith("_")}


def _templates(loaded: list[_Loaded], templates: Path) -> Iterator[DefinitionError]:
    known = template_names(templates)
    for one in loaded:
        if isinstance(one.value, Campaign) and one.value.template not in known:
            name = one.value.template
            remedy = suggestion(name, known) if known else f"a template {templates / name}.html"
            yield one.mistake(("template",), f"there is no template {name!r} in {templates}", remedy)


def _same_ids(loaded: list[_Loaded]) -> Iterator[DefinitionError]:
    first: dict[tuple[type, str], Path] = {}
    for one in loaded:
        if not isinstance(one.value, Campaign | Offer | Experiment | Goal | Webhook):
            continue
        key = (type(one.value), one.value.id)
        if key in first:
            message = f"the id {one.value.id!r} is taken by {first[key].name}"
            yield one.mistake(("id",), message, "another id")
        else:
            first[key] = one.source.path


# Facts that are learned: labels must not hang on them, and other services tell variants by the definition alone.
_LEARNED = re.compile(r"user\s*\.\s*(expected_value|expected_next_order_days|segment|portrait)\b")
# What stands under a name of the definitions: `user.propensity['buy-again']`, `user.variant['cart-subject']`.
_LOOKED_UP = re.compile(r"""user\s*\.\s*(propensity|variant|uplift)\b(?:\s*\[\s*["\x27]([^"\x27]*)["\x27]\s*\])?""")
_NOT_IN: dict[str, tuple[type[Definition], ...]] = {
    "propensity": (Experiment,),
    "variant": (Experiment, Goal),
    "uplift": (Experiment, Goal),
}
_WRITTEN_IN = {
    "propensity": ("goal", "a file goals/{}.yaml"),
    "variant": ("experiment", "a file experiments/{}.yaml"),
    "uplift": ("campaign with a control group", "control: an-experiment, in the campaign {}"),
}
_A: dict[type[Definition], str] = {Experiment: "an experiment", Goal: "a goal"}


def _too_many_goals(loaded: list[_Loaded]) -> Iterator[DefinitionError]:
    """Each goal costs every profile some bytes: there is an end to them, and their numbers must differ."""
    goals = [one for one in loaded if isinstance(one.value, Goal)]
    for one in goals[MOST_GOALS:]:
        yield one.mistake(("id",), f"there are more than {MOST_GOALS} goals", "fewer files in goals/")
    codes: dict[int, str] = {}
    for one in goals:
        if isinstance(one.value, Goal) and codes.setdefault(one.value.code, one.value.id) != one.value.id:
            message = f"it has the same number as the goal {codes[one.value.code]!r} (a rare accident)"
            yield one.mistake(("id",), message, "another id")


def _wrong_lookups(one: _Loaded, known: Mapping[str, Collection[str]]) -> Iterator[DefinitionError]:
    text = (one.value.when if isinstance(one.value, Campaign | Offer | Experiment | Goal) else None) or ""
    if isinstance(one.value, Experiment | Goal):
        for found in _LEARNED.finditer(text):
            line = one.source.line_within(("when",), text.count("\n", 0, found.start()) + 1)
            message = f"{_A[type(one.value)]} cannot ask for user.{found[1]}"
            yield DefinitionError(one.source.path, line, message, "a condition such as: user.orders >= 1")
    for found in _LOOKED_UP.finditer(text):
        fact, name = found[1], found[2]
        line = one.source.line_within(("when",), text.count("\n", 0, found.start()) + 1)
        kind, place = _WRITTEN_IN[fact]
        if isinstance(one.value, _NOT_IN[fact]):
            # Other services tell variants by the definition alone; what is learned must not hang on what is tried.
            message = f"{_A[type(one.value)]} cannot ask for {'an' if fact == 'uplift' else 'a'} {fact}"
            yield DefinitionError(one.source.path, line, message, "a condition such as: user.orders >= 1")
        elif name is not None and name not in known[fact]:
            remedy = suggestion(name, known[fact]) if known[fact] else place.format(name)
            yield DefinitionError(one.source.path, line, f"there is no {kind} {name!r}", remedy)


_REVIEW = re.compile(r"(?<![\w.])review\s*\.")
REVIEWED = "Product Reviewed"


def _reviews_elsewhere(one: _Loaded) -> Iterator[DefinitionError]:
    """Only a campaign that a review starts at once has a review to look at."""
    value = one.value
    text = (value.when if isinstance(value, Campaign | Offer | Experiment | Goal) else None) or ""
    found = _REVIEW.search(re.sub(r"""(["\x27])(?:\\.|(?!\1).)*\1""", "", text))
    if found is None:
        return
    if not isinstance(value, Campaign) or (value.trigger.on, value.trigger.event) != ("event", REVIEWED):
        remedy = f"trigger: {{on: event, event: {REVIEWED}}} in a campaign; elsewhere user.sentiment"
        yield one.mistake(("when",), "there is no `review` here", remedy)


def _references(loaded: list[_Loaded]) -> Iterator[DefinitionError]:
    campaigns = {campaign.id: campaign for campaign in _of(Campaign, loaded)}
    experiments = {experiment.id: experiment for experiment in _of(Experiment, loaded)}
    holdout = any(policy.holdout for policy in _of(Policy, loaded))
    controlled = {one.id for one in campaigns.values() if one.control or (holdout and one.purpose == "marketing")}
    looked_up = {
        "propensity": {goal.id for goal in _of(Goal, loaded)},
        "variant": set(experiments),
        "uplift": controlled,
    }
    for one in loaded:
        yield from _wrong_lookups(one, looked_up)
        yield from _reviews_elsewhere(one)
        if isinstance(one.value, Campaign) and one.value.min_uplift is not None and one.value.id not in controlled:
            message = "nobody can tell what the message changes without users who do not get it"
            yield one.mistake(("min_uplift",), message, "control: an-experiment, or a holdout in policy.yaml")
        yield from (
            one.mistake((key,), f"there is no experiment {name!r}", suggestion(name, experiments))
            for key, name in _experiments_of(one.value)
            if name not in experiments
        )
        match one.value:
            case Campaign(experiment=str(name)) if name in experiments and experiments[name].expose_on.event:
                message = f"the experiment {name!r} counts users at an event, not at a message"
                yield one.mistake(("experiment",), message, f"expose_on: message, in the experiment {name!r}")
            case Churn(action=action) if action is not None and action.campaign not in campaigns:
                message = f"there is no campaign {action.campaign!r}"
                yield one.mistake(("action", "campaign"), message, suggestion(action.campaign, campaigns))
            case Churn(action=action) if action is not None and campaigns[action.campaign].trigger.on != "alert":
                message = f"the campaign {action.campaign!r} is not started by alerts"
                yield one.mistake(("action", "campaign"), message, f"trigger: {{on: alert}}, in {action.campaign!r}")
            case Experiment(metrics=metrics):
                for index, metric in enumerate(metrics):
                    if metric.campaign is not None and metric.campaign not in campaigns:
                        message = f"there is no campaign {metric.campaign!r}"
                        remedy = suggestion(metric.campaign, campaigns)
                        yield one.mistake(("metrics", index, "campaign"), message, remedy)
            case _:
                pass


def _experiments_of(value: Definition) -> Iterator[tuple[str, str]]:
    """Experiments that a definition refers to, with the keys that name them."""
    match value:
        case Campaign(experiment=experiment, control=control):
            names = {"experiment": experiment, "control": control}
        case Policy(holdout=holdout):
            names = {"holdout": holdout}
        case _:
            names = {}
    yield from ((key, name) for key, name in names.items() if name is not None)


def _rulings(loaded: list[_Loaded]) -> Iterator[DefinitionError]:
    for one in loaded:
        if isinstance(one.value, Experiment) and one.value.ruling is not None:
            yield one.mistake(("ruling",), "`ruling` is Kairos's own note about a running experiment", "nothing here")


def place_of(config_dir: Path, experiment: str, key: str) -> tuple[Path, int]:
    """File and line of a key of an experiment, for an error that is found after loading."""
    for path in _files(config_dir / "experiments"):
        try:
            source = read_source(path)
        except YamlFaultError:
            continue
        if source.tree.get("id") == experiment:
            return path, source.line_of((key,))
    return config_dir / "experiments", 1
