"""A small Sphinx extension: no page loads the same script twice.

The book's theme and its extensions each add theirs; a script that is run twice declares
its names again, and the browser's console reports an error on every page.
"""

from sphinx.application import Sphinx


def keep_first(app: Sphinx, page: str, template: str, context: dict, doctree) -> None:
    """Leave the first of equal scripts in a page's context."""
    scripts = {}
    for script in context.get("script_files", []):
        body = getattr(script, "attributes", {}).get("body")
        name = getattr(script, "filename", script) or ""
        scripts.setdefault((name, body), script)
    context["script_files"] = list(scripts.values())


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx; late, after everyone else has added theirs."""
    app.connect("html-page-context", keep_first, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
