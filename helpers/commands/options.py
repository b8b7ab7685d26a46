"""Options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

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
