"""A recorded measurement as a section of a page."""

import json
from pathlib import Path

import pandas as pd

from helpers.core import escape
from helpers.core.markdown_tables import markdown_table
from helpers.methods import title


def in_words(text: str) -> str:
    """A cell or a title of a table for Markdown; a method by its title."""
    return escape.markdown(title(text))


def measurement(folder: Path) -> list[str]:
    """A recorded measurement as Markdown."""
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    table = pd.read_csv(folder / "table.csv", dtype=str).fillna("")
    table = table.replace({"True": "yes", "False": ""})
    table = table.map(in_words).rename(columns=in_words)
    packages = ("torch", "transformers", "trl")
    versions = ", ".join(f"{name} {about['versions'][name]}" for name in packages)
    machine = f"{about['cpu_count']} cores, device {about['device']}"
    return [
        f"\n## {about['title']}\n",
        f"{about['text']}\n",
        markdown_table(table),
        f"\nRecorded {about['date']} on {machine}, with {versions}:\n",
        f"```bash\n{about['command']}\n```\n",
    ]
