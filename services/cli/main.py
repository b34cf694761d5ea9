"""The front door: commands by what they are for, and errors that say what to do."""

from __future__ import annotations

import sys

import typer
from pydantic import ValidationError
from rich.console import Console

from config.loader import DefinitionError
from config.settings import UnknownSettingError
from models.errors import KairosError
from services.bootstrap import BAD_INPUT, setting_faults
from services.cli import (
    audit,
    demand,
    fairness,
    letters,
    look,
    offers,
    ops,
    propensity,
    recommendations,
    repartition,
    restore,
    reviews,
    rules,
    run,
    segments,
    uplift,
    value,
)
from services.cli.alerts import alerts_app
from services.cli.experiment_watch import experiments_app
from services.cli.models import models_app
from services.cli.train import train_app
from services.jobs.evaluate.cli import evaluate_app

app = typer.Typer(
    name="kairos",
    help="Marketing automation in real time: profiles, churn alerts, offers, messages and experiments, per event.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command("demo", rich_help_panel="Run")(run.demo)
app.command("up", rich_help_panel="Run")(run.up)
app.command("worker", rich_help_panel="Run")(run.worker)
app.command("audit", rich_help_panel="Prove")(audit.audit)
app.command("fairness", rich_help_panel="Prove")(fairness.fairness)
app.add_typer(evaluate_app, rich_help_panel="Prove")
app.add_typer(train_app, rich_help_panel="Learn")
app.add_typer(models_app, rich_help_panel="Learn")
app.add_typer(experiments_app, rich_help_panel="Prove")
app.command("story", rich_help_panel="Look")(look.story)
app.command("why", rich_help_panel="Look")(look.why)
app.command("offers", rich_help_panel="Look")(offers.offers)
app.add_typer(offers.export_app, rich_help_panel="Look")
app.command("demand", rich_help_panel="Look")(demand.demand)
app.command("propensity", rich_help_panel="Look")(propensity.propensity)
app.command("recommendations", rich_help_panel="Look")(recommendations.recommendations)
app.command("reviews", rich_help_panel="Look")(reviews.reviews)
app.command("rules", rich_help_panel="Look")(rules.rules)
app.command("value", rich_help_panel="Look")(value.value)
app.command("segments", rich_help_panel="Look")(segments.segments)
app.command("uplift", rich_help_panel="Look")(uplift.uplift)
app.command("check", rich_help_panel="Operate")(ops.check)
app.command("health", rich_help_panel="Operate")(ops.health)
app.command("doctor", rich_help_panel="Operate")(ops.doctor)
app.add_typer(alerts_app, rich_help_panel="Operate")
app.add_typer(letters.letters_app, rich_help_panel="Operate")
app.command("repartition", rich_help_panel="Operate")(repartition.run_repartition)
app.command("restore", rich_help_panel="Operate")(restore.run_restore)
app.add_typer(ops.topics_app, rich_help_panel="Operate")


def main() -> None:
    """Run `kairos`; what a person can mend is told in a sentence, never as a traceback."""
    errors = Console(stderr=True, highlight=False)
    try:
        app()
    except DefinitionError as error:
        errors.print(str(error), style="red", markup=False, soft_wrap=True)
        sys.exit(BAD_INPUT)
    except (UnknownSettingError, ValidationError) as error:
        for fault in setting_faults(error):
            errors.print(fault, style="red", markup=False, soft_wrap=True)
        sys.exit(BAD_INPUT)
    except KairosError as error:
        errors.print(str(error), style="red", markup=False, soft_wrap=True)
        sys.exit(1)
