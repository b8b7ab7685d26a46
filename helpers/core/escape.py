"""Text of data, models and parameters, made literal for the place that shows it.

One function a target. Numbers and sentences of the book's own do not go through here.
"""

import html as entities
import re

# what has a meaning in Markdown or MyST wherever it stands, a table's cell included
_SYNTAX = re.compile(r"[\\`*{}\[\]<>$|~&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
# and what has one at the start of a line: headings, lists, fences, targets, comments
_OPENING = re.compile(r"(?<=\d)[.)](?!\d)|[-+](?=[-+\s]|$)|[=:%#]|\((?=.*\)=)")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
# C1 controls, line separators, what turns the direction of text, halves of characters
_INVISIBLE = re.compile("[\x80-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
LITERAL = (
    "tex2jax_ignore mathjax_ignore"  # classes of HTML in which no formula is sought
)


def visible(text: str, keep: str = "") -> str:
    """Text without control characters: each as its symbol, `␛` for an escape.

    keep: controls that stay, such as a line end.
    """

    def symbol(match: re.Match) -> str:
        code = ord(match[0])
        if match[0] in keep:
            return match[0]
        return "\u2421" if code == 0x7F else chr(0x2400 + code)

    return _INVISIBLE.sub("\ufffd", _CONTROLS.sub(symbol, text))


def terminal(text: str) -> str:
    """For a terminal: it obeys no codes; line ends and tabs stay."""
    return visible(text, "\n\t")


def html(text: str, keep: str = "") -> str:
    """For HTML, in an element or an attribute's value; `keep` as in `visible`."""
    return entities.escape(visible(text, keep))


def one_line(text: str) -> str:
    """Visible, and on one line: line ends and tabs are blanks."""
    return visible(re.sub(r"\s*[\r\n\t]\s*", " ", text.strip()))


def markdown(text: str) -> str:
    """For a line of Markdown or MyST, also in a cell of a table or where a line begins."""
    shown = _SYNTAX.sub(r"\\\g<0>", one_line(text))
    opening = re.match(r"\d*", shown).end()
    if _OPENING.match(shown, opening):
        shown = f"{shown[:opening]}\\{shown[opening:]}"
    return shown


def code(text: str) -> str:
    """As code in a cell of a Markdown table, between more backticks than it has."""
    shown = one_line(text).replace("|", r"\|")
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    blank = " " if "`" in (shown[:1], shown[-1:]) else ""
    return f"{fence}{blank}{shown}{blank}{fence}"
