"""A small Sphinx extension: what screen readers stumble over in the theme's pages.

The primary sidebar is no landmark, entries of the bibliography have a role that is no
longer one, and no key reaches a table that scrolls. They are repaired in the pages that were written; a second time changes
nothing.
"""

from pathlib import Path

from sphinx.application import Sphinx

REPAIRS = {
    '<div id="pst-primary-sidebar" class=': (
        '<div id="pst-primary-sidebar" role="complementary" aria-label="Contents" class='
    ),
    'role="doc-biblioentry"': 'role="listitem"',
    '<div class="output text_html">': '<div class="output text_html" tabindex="0">',
}


def repair(app: Sphinx, error: Exception | None) -> None:
    """Repair every page of a build that went well."""
    if error is None:
        for page in Path(app.outdir).rglob("*.html"):
            text = page.read_text("utf-8")
            if (better := repaired(text)) != text:
                page.write_text(better, "utf-8")


def repaired(text: str) -> str:
    """A page's HTML with what `REPAIRS` has in place of what it found."""
    for found, better in REPAIRS.items():
        text = text.replace(found, better)
    return text


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("build-finished", repair)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
