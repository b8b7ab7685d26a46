"""What a notebook shows and what the book quotes: sentences, tables, dialogues.

No number is typed: `say` prints a sentence whose numbers are computed values, and glues
each under its name so that any page of the book can quote it.
"""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
from IPython.display import HTML, Markdown, display
from matplotlib.figure import Figure
from myst_nb import glue

from helpers.core import escape
from helpers.core.markdown_tables import markdown_table
from helpers.figures.hover import as_svg
from helpers.methods import title
from helpers.statistics.flags import table as flagged
from helpers.statistics.formats import cell, number, unbroken

LONG = 15  # rows that a table shows at most without being opened

glued: dict[str, str] = {}  # what this notebook has glued so far
kept_in: list[Path] = []  # where this notebook keeps what it shows, if anywhere


def say(sentence: str, **values: object) -> None:
    """Show a Markdown sentence with `{name}` filled in, and glue every value as text.

    A value is a number, an Interval or a string; `{name}` shows what the book will quote
    as `` {glue:text}`page::name:s` ``. A string is shown as it is, never as markup. Raises
    ValueError if a name of this notebook is used again for another value.
    """
    texts = {name: escape.one_line(number(each)) for name, each in values.items()}
    for name, text in texts.items():
        if name not in glued:
            glue(name, text, display=False)
        if glued.setdefault(name, text) != text:
            raise ValueError(
                f"{name} is glued as {glued[name]!r} and again as {text!r}"
            )
    shown = {name: plain(values[name], text) for name, text in texts.items()}
    said = sentence.format(**shown)
    display(Markdown(said))
    keep_text(said)


def table(frame: pd.DataFrame, caption: str, digits: int = 3) -> None:
    """Show a table with its caption; intervals and numbers formatted alike everywhere.

    Intervals are 95 % intervals, as everywhere in the book. Where a label or a cell is
    the name of a method in records, its title stands (`methods.title`). A table of more
    than `LONG` rows is folded: it is there to be looked up.
    """

    def in_html(value: object) -> str:
        return whole(value, escape.html(cell(titled(value), digits)))

    def in_markdown(value: object) -> str:
        return whole(value, plain(value, cell(titled(value), digits)))

    page, kept = (
        frame.map(target).rename(columns=target, index=target)
        for target in (in_html, in_markdown)
    )
    with pd.option_context("display.max_colwidth", None):  # none is cut in an entity
        look = {"border": 0, "classes": f"dataframe {escape.LITERAL}"}
        body = page.to_html(escape=False, **look)
    if len(frame) > LONG:
        rows = f"<summary>{len(frame)} rows</summary>"
        body = f'<details class="long {escape.LITERAL}">{rows}{body}</details>'
    head = f'<p class="{escape.LITERAL}"><em>{escape.html(caption)}</em></p>'
    display(HTML(head + body))
    rows = markdown_table(kept.reset_index())
    keep_text(f"*{escape.markdown(caption)}*\n\n{rows}")


def whole(value: object, text: str) -> str:
    """The text of a value: a string may go over several lines, a number or interval not."""
    return text if isinstance(value, str) else unbroken(text)


def titled(value: object) -> object:
    """The title of a method's name; anything else as it is."""
    return title(value) if isinstance(value, str) else value


def plain(value: object, text: str) -> str:
    """The text of a value for Markdown: of a string escaped, of a number as it is."""
    return escape.markdown(text) if isinstance(value, str) else text


def flags(records: pd.DataFrame) -> None:
    """Show what looks wrong in the jobs of a stage, or that nothing is flagged."""
    found = flagged(records)
    if found.empty:
        say("No job of this stage is flagged as one that looks wrong.")
    else:
        table(found.set_index("flag"), "Flagged: these jobs finished, but look wrong")


def keep(folder: Path) -> None:
    """From here on, put every table and sentence also into `folder`, as Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    kept_in[:] = [folder]


def keep_text(text: str) -> None:
    """Put Markdown into the folder of `keep`, if one is given, after what is there."""
    for folder in kept_in:
        path = folder / f"{len(list(folder.iterdir())):02d}.md"
        path.write_text(f"\n{text}\n", encoding="utf-8")


def dialogue(prompt: str, replies: dict[str, str]) -> None:
    """Show a prompt and the replies to it, escaped: data never becomes markup."""
    parts = [f"<pre>{block(prompt)}</pre>"]
    for name, reply in replies.items():
        parts.append(f'<p class="{escape.LITERAL}"><b>{escape.html(name)}</b></p>')
        parts.append(f"<pre>{block(reply) or '(empty)'}</pre>")
    display(HTML("".join(parts)))


def browser(beside: pd.DataFrame, prompts: int) -> None:
    """Prompts to open one by one, each with all replies to it and their scores; escaped.

    beside: columns prompt, subset, name, reply; what else there is are scores. The first
    prompts of each subset in turn; the first is open. Needs no script.
    """
    own = {subset: part["prompt"].unique() for subset, part in beside.groupby("subset")}
    turns = (prompt for both in zip(*own.values()) for prompt in both)
    for place, prompt in enumerate(list(turns)[:prompts]):
        part = beside[beside["prompt"] == prompt].drop(columns="prompt")
        display(HTML(opened(prompt, part, "open" if place == 0 else "")))


def opened(prompt: str, part: pd.DataFrame, state: str) -> str:
    """One prompt of `browser` as HTML."""
    last = prompt.strip().split("\n\n")
    asked = next(
        (each for each in reversed(last) if each.startswith("Human")), last[-1]
    )
    head = f"{part['subset'].iloc[0]}: {asked.removeprefix('Human:').strip()}"
    scores = [name for name in part.columns if name not in ("subset", "name", "reply")]
    rows = []
    for row in part.to_dict("records"):
        cells = "".join(
            f"<td>{escape.html(cell(row[name], 2))}</td>" for name in scores
        )
        name = escape.html(title(row["name"]))
        reply = block(row["reply"]) or "(empty)"
        rows.append(f"<tr><th scope='row'>{name}</th><td>{reply}</td>{cells}</tr>")
    names = ("policy", "reply", *map(title, scores))
    titles = "".join(f"<th scope='col'>{escape.html(name)}</th>" for name in names)
    return (
        f"<details class='replies {escape.LITERAL}' {state}>"
        f"<summary>{escape.html(head)}</summary><pre>{block(prompt)}</pre>"
        f"<table class='dataframe'><thead><tr>{titles}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        "</details>"
    )


def hover(figure: Figure, told: Sequence[str], alt: str, caption: str) -> None:
    """Show a figure of `figures.hover` that says its numbers where a pointer rests."""
    below = f'<figcaption class="{escape.LITERAL}">{escape.html(caption)}</figcaption>'
    drawn = as_svg(figure, told, alt)
    display(HTML(f'<figure class="hover">{drawn}{below}</figure>'))


def source(function: Callable) -> None:
    """Show a function as it stands in the project, with the module that holds it."""
    where = function.__module__.replace(".", "/")
    code = inspect.getsource(function).rstrip()
    display(Markdown(f"```python\n# {where}.py\n{code}\n```"))


def block(text: str) -> str:
    """A text of several lines as HTML for a `<pre>`."""
    return escape.html(text.strip(), keep="\n\t")
