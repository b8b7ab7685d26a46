"""Hostile text stays text: in Markdown as MyST reads it, in HTML, on a terminal."""

import html
import re

import pytest
from docutils import nodes
from docutils.core import publish_doctree
from hypothesis import given
from hypothesis import strategies as st
from myst_parser.parsers.docutils_ import Parser

from helpers.core import escape

HOSTILE = [
    "<script>window.__pwned = 1</script>",
    '<img src=x onerror="window.__pwned = 1">',
    "[x](javascript:alert(1)) ![x](http://127.0.0.1/x.png) <http://127.0.0.1>",
    "{cite}`rafailov2023dpo` {glue:text}`page::name:s` {x} {{x}}",
    "```{raw} html\n<b>x</b>\n```",
    "`code` ``more`` *a* _b_ **c** __d__ ~~e~~",
    "$x$ $$y$$ \\(z\\) \\[z\\] \\frac{a}{b}",
    "a | b || c \\| d \\\\| e |",
    "# heading",
    "- item",
    "1. item",
    "1) item",
    ":::{note}",
    "+++ break",
    "---",
    "===",
    "% comment",
    "(target)=",
    "[^1]: note",
    "&lt; &amp; &#36;",
    "ends in a backslash \\",
    "> quote",
    "| a | b |",
    "    indented",
    "a\n\n# heading\n- item",
]


def read(text: str) -> nodes.document:
    """Markdown as the book reads it: MyST with the extensions of `_config.yml`."""
    extensions = ["dollarmath", "colon_fence", "deflist"]
    settings = {"myst_enable_extensions": extensions, "report_level": 5}
    return publish_doctree(text, parser=Parser(), settings_overrides=settings)


def shown(text: str) -> str:
    """How text reads on one line."""
    return " ".join(escape.one_line(text).split())


@pytest.mark.parametrize("text", HOSTILE)
def test_text_in_a_sentence_is_one_paragraph_of_text(text: str) -> None:
    for before, after in (("", ""), ("From ", "; then *more*.")):
        (only,) = read(f"{before}{escape.markdown(text)}{after}").children
        assert isinstance(only, nodes.paragraph)
        kinds = {type(each) for each in only.findall()}
        assert kinds <= {nodes.paragraph, nodes.Text, nodes.emphasis}
        said = " ".join(only.astext().split())
        assert said == f"{before}{shown(text)}{after.replace('*', '')}".strip()


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("target", [escape.markdown, escape.code])
def test_text_in_a_table_is_one_cell_of_text(target, text: str) -> None:
    document = read(f"| a | b |\n|---|---|\n| {target(text)} | end |")
    *_, last = document.findall(nodes.row)
    first, end = last.children
    assert end.astext() == "end"
    assert " ".join(first.astext().split()) == shown(text)
    kinds = {type(each) for each in first.findall()}
    assert kinds <= {nodes.entry, nodes.paragraph, nodes.literal, nodes.Text}


@given(st.text(alphabet=r"\`*_{}[]<>$|~&#!:%=+-^().1 ax" + "\n", max_size=12))
def test_no_text_is_more_than_text(text: str) -> None:
    document = read(f"{escape.markdown(text)}a")
    assert " ".join(document.astext().split()) == " ".join(f"{shown(text)}a".split())
    (only,) = document.children
    assert {type(each) for each in only.findall()} <= {nodes.paragraph, nodes.Text}


@pytest.mark.parametrize("text", HOSTILE)
def test_html_gets_no_tag_and_no_attribute(text: str) -> None:
    found = escape.html(text, keep="\n")
    assert not re.search(r"[<>\"']", found)
    assert html.unescape(found) == text


def test_a_terminal_and_a_page_obey_no_codes() -> None:
    text = "\x1b[31mred\x1b]0;title\x07\r\x08 \x9b2J\u202eabc\x7f\ttab\nline"
    found = escape.terminal(text)
    assert found.startswith("␛[31mred␛]0;title␇␍␈") and found.endswith("␡\ttab\nline")
    for each in (found, escape.html(text), escape.markdown(text), escape.code(text)):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e]", each)
    assert escape.visible("half \ud800").encode() == "half \ufffd".encode()


@pytest.mark.parametrize(
    "text",
    [
        "sft_dpo",
        "ppo (base)",
        "0.512 (95% interval 0.498 to 0.526)",
        "(not run)",
        "-0.5",
    ],
)
def test_the_books_own_words_stay_as_they_are(text: str) -> None:
    assert escape.markdown(text) == escape.html(text) == text
    assert escape.code(text) == f"`{text}`"
