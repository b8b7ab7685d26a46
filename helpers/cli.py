"""The command `prefbook`: all commands, as they are in `commands`."""

import typer

from helpers.commands import keeping, listing, running

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="CodePMP, DPO and PPO on the same preference pairs, as a book that runs.",
)
for commands in (running, listing, keeping):
    app.add_typer(commands.app)

if __name__ == "__main__":
    app()
