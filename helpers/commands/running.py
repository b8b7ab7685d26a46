"""Commands that train: run, rerun, sweep, tune."""

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from helpers.commands.options import Files, Given, Run, Tier
from helpers.commands.terminal import (
    interruptible,
    one_line_errors,
    project_of,
    run_name,
)

app = typer.Typer()


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
