"""A small Sphinx extension: repairs of the theme's pages, after they are written.

For readers who do not see: the primary sidebar is no landmark, entries of the bibliography
have a role that is no longer one, and no key reaches a table that scrolls. For all: the
theme draws its icons with a font, and then a script of 1.5 MB draws them again; that one
is not loaded, nor what sets formulas on a page without any. A second time changes nothing.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx

REPAIRS = {
    r'<div id="pst-primary-sidebar" class=': (
        '<div id="pst-primary-sidebar" role="complementary" aria-label="Contents" class='
    ),
    r'role="doc-biblioentry"': 'role="listitem"',
    r'<div class="output text_html">': '<div class="output text_html" tabindex="0">',
    r'<script defer src="[^"]*/fontawesome\.js[^"]*"></script>\n?': "",
    r'<link rel="preload" [^>]*/fontawesome\.js[^>]*>\n?': "",
}
FORMULA = 'class="math '
SETS_FORMULAS = re.compile(r"<script [^>]*mathjax[^>]*></script>\n?")


def repair(app: Sphinx, error: Exception | None) -> None:
    """Repair every page of a build that went well."""
    if error is None:
        for page in Path(app.outdir).rglob("*.html"):
            text = page.read_text("utf-8")
            if (better := repaired(text)) != text:
                page.write_text(better, "utf-8")


def repaired(text: str) -> str:
    """A page's HTML with what `REPAIRS` has in place of what it found, and no more
    scripts than it needs."""
    for found, better in REPAIRS.items():
        text = re.sub(found, better, text)
    return text if FORMULA in text else SETS_FORMULAS.sub("", text)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("build-finished", repair)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
