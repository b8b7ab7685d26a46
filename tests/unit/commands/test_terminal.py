"""What the command prints obeys no codes that stand in data or names."""

import pytest
import typer

from helpers.commands.terminal import one_line_errors, print_table
from helpers.config.parameters import ParameterError
from helpers.runs import watch

BAD = "\x1b[2J\x1b]0;title\x07\r\x9b"


def test_a_table_a_line_and_an_error_obey_no_codes(capsys) -> None:
    print_table([("stage", "state"), (BAD, "stale: " + BAD)])
    watch.say_on_terminal(BAD)
    with pytest.raises(typer.Exit), one_line_errors():
        raise ParameterError(f"data_source: {BAD}")
    told = capsys.readouterr()
    for text in (told.out, told.err):
        assert "␛[2J␛]0;title␇␍" in text
        assert not set("\x1b\x07\r\x9b") & set(text)


def test_columns_stay_aligned(capsys) -> None:
    print_table([("a", "b"), ("\x1b", "c"), ("dd", "e")])
    assert capsys.readouterr().out == "a   b\n␛   c\ndd  e\n"
