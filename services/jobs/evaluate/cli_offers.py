"""The `kairos evaluate` commands for recommendations and offers: next-basket, next-item, bandit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from services.bootstrap import DATA_DIR, settings_for
from services.jobs.evaluate.bandit import evaluate_bandit, log_of
from services.jobs.evaluate.cli import evaluate_app
from services.jobs.evaluate.interactions import read_interactions
from services.jobs.evaluate.present import finish, watched
from services.jobs.evaluate.recommend import evaluate_next_basket, evaluate_next_item
from services.jobs.evaluate.tables import read_table
from services.jobs.experiments.log import recorded
from services.jobs.offer_log import AMONG, newest_question, read_choices, table_of

Json = Annotated[Path | None, typer.Option("--json", help="Write the result here, too.")]
Columns = Annotated[str, typer.Option(help="Column mapping, e.g. item_id=stock_code,name=description.")]
Where = Annotated[list[str] | None, typer.Option(help="Keep rows that satisfy this, e.g. 'quantity>0'.")]
From = Annotated[float, typer.Option(help="Share of the baskets or events, from the first, that only teach.")]


@evaluate_app.command("next-basket")
def next_basket(
    data: Annotated[Path, typer.Option(help="CSV, Parquet or JSON lines: customer_id, basket_id, item_id, timestamp.")],
    json_path: Json = None,
    columns: Columns = "",
    where: Where = None,
    score_from: From = 0.5,
) -> None:
    """Next basket: which items will a customer order, of all and of those new to the customer? NDCG@10."""
    wanted = ("customer_id", "basket_id", "item_id", "timestamp")
    with watched("next-basket", "basket", data) as told:
        result = evaluate_next_basket(read_interactions(data, columns, where or [], wanted), score_from, told)
    finish(result, json_path)


@evaluate_app.command("next-item")
def next_item(
    data: Annotated[Path, typer.Option(help="CSV, Parquet or JSON lines: user_id, item_id, timestamp.")],
    json_path: Json = None,
    columns: Columns = "",
    where: Where = None,
    score_from: From = 0.5,
    repeats: Annotated[str, typer.Option(help="allow, or exclude: items that the user had are not ranked.")] = "allow",
) -> None:
    """Next item: which one does a user take next? One target per event."""
    if repeats not in {"allow", "exclude"}:
        raise typer.BadParameter("allow or exclude", param_hint="--repeats")
    mode = cast("Literal['allow', 'exclude']", repeats)
    with watched("next-item", "event", data) as told:
        history = read_interactions(data, columns, where or [], ("user_id", "item_id", "timestamp"))
        result = evaluate_next_item(history, mode, score_from, told)
    finish(result, json_path)


@evaluate_app.command()
def bandit(  # noqa: PLR0913, PLR0917 - one parameter per option
    data: Annotated[
        Path | None, typer.Option(help="CSV, Parquet or JSON lines: action, reward, propensity and context.")
    ] = None,
    experiment: Annotated[str, typer.Option(help="Instead of a file: what was recorded of this experiment.")] = "",
    json_path: Json = None,
    columns: Annotated[str, typer.Option(help="Column mapping, e.g. action=variant,propensity=p.")] = "",
    context: Annotated[str, typer.Option(help="Context columns a,b; without it, all others.")] = "",
    seeds: Annotated[int, typer.Option(min=1, help="Shuffles of the file.")] = 10,
    metric: Annotated[str, typer.Option(help="Reward of an experiment; without it, what its bandit goes by.")] = "",
    from_log: Annotated[
        bool,
        typer.Option("--from-log", help="Instead of a file: the service's own log of offers that a bandit put first."),
    ] = False,
    among: Annotated[
        str, typer.Option(help="Column with the actions there were, blanks between; without it, all.")
    ] = "",
    prefer: Annotated[str, typer.Option(help="A policy to judge beside: the first of a,b,c that could be taken.")] = "",
    data_dir: Annotated[Path, typer.Option(help="Folder of the running stack.")] = DATA_DIR,
) -> None:
    """Bandit: what would Kairos have earned in place of the policy that wrote the log? Replay, IPS, SNIPS, DR.

    With --experiment the log is that of the running service: whom it gave which variant, with which probability, and
    what the user brought until the window closed. Context: hour and weekday of the exposure. With --from-log it is that
    of the offers: which one came first, out of which, how likely that was, and what came of it.
    """
    names, preferred = _listed(context), _listed(prefer)
    if (data is not None) + bool(experiment) + from_log != 1:
        raise typer.BadParameter("one of --data, --experiment and --from-log")
    path = data or Path(experiment or "topic training")
    with watched("bandit", "shuffle", path) as told:
        if from_log:
            table = table_of(newest_question(read_choices(settings_for(data_dir).kafka.bootstrap)))
            among = AMONG
        else:
            table = read_table(path) if data is not None else recorded(experiment, data_dir, metric)
        result = evaluate_bandit(log_of(table, path, columns, names, among), seeds, told, preferred)
    finish(result, json_path)


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
