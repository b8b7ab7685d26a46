"""What the book shows: formats, escaping, and glued numbers."""

import html
import re

import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from markdown_it import MarkdownIt
from myst_nb.core.variables import format_plain_text

from helpers.book import report
from helpers.core import escape
from helpers.core.records import tidy
from helpers.losses import preference
from helpers.statistics import formats
from helpers.statistics.intervals import Interval


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict, dict]]:
    """What is displayed, as (data, metadata) in order, without a notebook."""
    found = []

    def publish(data: dict, metadata: dict | None = None, **_: object) -> None:
        found.append((data, metadata or {}))

    monkeypatch.setattr(report, "glued", {})
    monkeypatch.setattr(report, "kept_in", [])
    shell = InteractiveShell.instance()
    monkeypatch.setattr(shell.display_pub, "publish", publish)
    return found


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.12345, "0.123"),
        (12345, "12,345"),
        ("plain", "plain"),
        (Interval(0.5, 0.4, 0.6), "0.500 (95% interval 0.400 to 0.600)"),
    ],
)
def test_numbers_look_alike_everywhere(value, text):
    assert formats.number(value) == text


def test_a_dialogue_cannot_become_markup(shown):
    report.dialogue("<script>alert(1)</script>", {"<b>": "a < b & c"})
    page = shown[0][0]["text/html"]
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert "a &lt; b &amp; c" in page


def test_a_table_escapes_its_cells_and_names(shown):
    frame = pd.DataFrame({"<i>x</i>": ["<b>1</b>", 2.0, None]})
    report.table(frame, "A & B")
    page = shown[0][0]["text/html"]
    assert "<b>" not in page and "<i>" not in page
    assert "A &amp; B" in page and "2.000" in page and "–" in page


def test_a_long_table_is_folded_and_says_how_long_it_is(shown, tmp_path):
    report.keep(tmp_path)
    for rows in (report.LONG, report.LONG + 1):
        report.table(pd.DataFrame({"x": range(rows)}), "Many")
    pages = [data["text/html"] for data, _ in shown]
    assert "<details" not in pages[0]
    assert re.search("</em></p><details [^>]*><summary>16 rows</summary><tab", pages[1])
    assert pages[1].endswith("</details>")
    kept = (tmp_path / "00.md").read_text()  # recorded: a page that folds by itself
    assert "<details" not in kept and len(in_words(kept).split()) > 2 * report.LONG


def test_what_is_flagged_is_shown_with_its_job(shown):
    row = {"metric": "flag_far_from_reference", "method": "<b>", "value": 99.0}
    report.flags(tidy([row, {"metric": "kl", "value": 99.0}]))
    page = shown[0][0]["text/html"]
    assert "far from its reference" in page and "99.000" in page
    assert "<td>&lt;b&gt;</td>" in page and "<b>" not in page
    report.flags(tidy([{"metric": "kl", "value": 99.0}]))
    assert "No job of this stage is flagged" in shown[1][0]["text/markdown"]


def test_a_sentence_glues_every_value_under_its_name(shown):
    report.say("It is {share} of {count}.", share=0.5, count=1200)
    glued = {about["scrapbook"]["name"]: data for data, about in shown if about}
    quoted = {
        name: format_plain_text(data["application/papermill.record/text/plain"], "s")
        for name, data in glued.items()
    }
    # as the book quotes them: no digit lost, no comma taken for a tuple's
    assert quoted == {"share": "0.500", "count": "1,200"}
    assert shown[-1][0]["text/markdown"] == "It is 0.500 of 1,200."
    report.say("Again {share}.", share=0.5)
    assert len(shown) == 4  # quoted once, said twice
    with pytest.raises(ValueError, match="share is glued as '0.500'"):
        report.say("Now {share}.", share=0.6)


def test_what_is_shown_can_be_kept_in_its_order(shown, tmp_path):
    report.say("Before.")
    report.keep(tmp_path / "tables")
    report.table(pd.DataFrame({"a": [0.5]}, index=["x | y"]), "First")
    report.say("Then {n}.", n=3)
    texts = [path.read_text() for path in sorted((tmp_path / "tables").iterdir())]
    assert len(texts) == 2 and texts[1] == "\nThen 3.\n"
    assert texts[0].startswith("\n*First*\n\n|") and "0.500" in texts[0]


def test_an_interval_stays_on_one_line_where_words_may_not(shown, tmp_path):
    report.keep(tmp_path / "tables")
    frame = pd.DataFrame({"a b": [Interval(0.5, 0.25, 0.75)], "why": ["two words"]})
    report.table(frame, "First")
    (kept,) = (tmp_path / "tables").iterdir()
    for text in (kept.read_text(), shown[-1][0]["text/html"]):
        assert "0.500\u00a0[0.250,\u00a00.750]" in text and "two words" in text


def test_numbers_of_many_digits_are_shown_by_their_order():
    assert formats.cell(-0.0001) == "0.000"
    assert formats.cell(2.0**50) == "1e+15" and formats.cell(123456.0) == "123456.000"
    assert formats.cell(Interval(1.0, 0.0, 2.0**50)) == "1.000 [0.000, 1e+15]"


def test_a_bound_that_cannot_be_given_is_said_so():
    wide = Interval(2.0, 0.5, float("inf"))
    assert formats.cell(wide) == "2.000 [0.500, no bound]"
    assert formats.number(wide) == "2.000 (95% interval 0.500 to no bound)"


HOSTILE = "<img src=x> `{cite}`x`` | $y$ [a](javascript:b) {z} **c** \x1b[31m"
LITERAL = HOSTILE.replace("\x1b", "\u241b")


def in_words(markdown: str) -> str:
    """What a reader of rendered Markdown sees, as the book's notebooks render it."""
    rendered = MarkdownIt("commonmark").enable("table").render(markdown)
    return html.unescape(re.sub("<[^>]*>", "", rendered)).strip()


def test_a_string_in_a_sentence_is_never_markup(shown, tmp_path):
    report.keep(tmp_path)
    report.say("From {name}: *{share}*.", name=HOSTILE, share=0.5)
    said = shown[-1][0]["text/markdown"]
    assert in_words(said) == f"From {LITERAL}: 0.500."
    assert "<em>0.500</em>" in MarkdownIt("commonmark").render(
        said
    )  # ours stays markup
    assert (tmp_path / "00.md").read_text() == f"\n{said}\n"
    glued = shown[0][0]["application/papermill.record/text/plain"]
    assert format_plain_text(glued, "s") == LITERAL  # which a role shows as it is


def test_a_string_in_a_kept_table_is_one_cell(shown, tmp_path):
    report.keep(tmp_path)
    long = "&" * 60  # nothing is cut inside an entity
    frame = pd.DataFrame({HOSTILE: [HOSTILE, 0.5, long]}, index=["a", HOSTILE, "b"])
    report.table(frame, HOSTILE)
    kept = (tmp_path / "00.md").read_text()
    caption, *lines = in_words(kept).splitlines()
    assert caption == LITERAL
    cells = [line for line in lines if line]
    assert cells == ["index", LITERAL, "a", LITERAL, LITERAL, "0.500", "b", long]
    page = shown[0][0]["text/html"]
    assert "<img" not in page and page.count(escape.html(HOSTILE)) == 4
    assert escape.html(long) in page and "mathjax_ignore" in page


def test_a_dialogue_keeps_lines_and_shows_codes(shown):
    report.dialogue("a\n\x1b[31mb", {HOSTILE: f"c\n{HOSTILE}"})
    page = shown[0][0]["text/html"]
    assert "<pre>a\n\u241b[31mb</pre>" in page and "<img" not in page
    assert f"<pre>c\n{escape.html(HOSTILE)}</pre>" in page


def test_replies_are_opened_one_prompt_at_a_time(shown) -> None:
    hostile = "<script>alert(1)</script>\n\nHuman: again"
    rows = [
        {"prompt": f"\n\nHuman: {subset} {at}{hostile}\n\nAssistant:", "subset": subset}
        | {"name": name, "reply": hostile * (name == "sft"), "truth": 1.234}
        for subset in ("helpful", "harmless")
        for at in range(3)
        for name in ("sft", "ppo (base)")
    ]
    report.browser(pd.DataFrame(rows), prompts=4)
    pages = [data["text/html"] for data, _ in shown]
    assert (
        len(pages) == 4 and sum("open" in each.partition(">")[0] for each in pages) == 1
    )
    assert [each.partition("<summary>")[2][:8] for each in pages[:2]] == [
        "harmless",
        "helpful:",
    ]
    assert "<script>" not in "".join(pages) and "(empty)" in pages[0]
    assert "<th scope='row'>PPO</th>" in pages[0] and "<td>1.23</td>" in pages[0]


def test_a_function_is_shown_from_its_source(shown) -> None:
    report.source(preference.ipo)
    page = shown[0][0]["text/markdown"]
    assert page.startswith("```python\n# helpers/losses/preference.py\ndef ipo(")


def test_an_interval_stays_on_one_line_and_words_do_not(shown) -> None:
    row = {"interval": Interval(0.5, 0.4, 0.6), "why": "two words"}
    report.table(pd.DataFrame([row]), "One")
    page = shown[0][0]["text/html"]
    assert "0.500\u00a0[0.400,\u00a00.600]" in page and "two words" in page
