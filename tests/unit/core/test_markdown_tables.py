"""Tables in Markdown: cells are texts, and long ones may be stacked."""

from helpers.core.markdown_tables import markdown_table, stacked

ROWS = [{"key": "0123", "meaning": "1e5 of them"}]


def test_a_cell_that_looks_like_a_number_stays_as_it_is() -> None:
    line = markdown_table(ROWS).splitlines()[2]
    assert [cell.strip() for cell in line.strip("|").split("|")] == [
        "0123",
        "1e5 of them",
    ]


def test_a_stacked_table_says_what_it_is() -> None:
    first, _, *rows, _, last, end = stacked(ROWS, "claims").split("\n")
    assert (first, last, end) == (":::{container} stacked claims", ":::", "")
    assert "\n".join(rows) == markdown_table(ROWS)
