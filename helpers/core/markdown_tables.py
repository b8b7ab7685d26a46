"""Tables in Markdown, as the generated pages have them."""

from collections.abc import Iterable, Mapping

import pandas as pd


def markdown_table(rows: pd.DataFrame | Iterable[Mapping]) -> str:
    """Rows as a table. Cells are texts: what looks like a number stays as it is."""
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)


def stacked(rows: pd.DataFrame | Iterable[Mapping], *names: str) -> str:
    """As `markdown_table`; on a phone the cells of a row stand below each other.

    names: further classes, by which `book.css` says there what each cell is.
    """
    classes = " ".join(["stacked", *names])
    return f":::{{container}} {classes}\n\n{markdown_table(rows)}\n\n:::\n"
