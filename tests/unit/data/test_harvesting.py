"""Harvest on files written here, and golden strings of descriptions and prompts."""

import ast
from pathlib import Path
from textwrap import dedent

import pandas as pd
import pytest

from helpers.data.code.descriptions import code_documents, code_prompt, describe
from helpers.data.code.harvesting import FUNCTION_COLUMNS, harvest
from helpers.data.hh import DataError

ODD = '''
    import functools

    @functools.lru_cache(maxsize=None)
    def cached(n):  # a comment
        """Return n, remembered. Second sentence."""
        total = n
        return total

    async def fetch(reader, *, limit=10, **options):
        async for line in reader:
            yield line

    class Stack:
        """A class."""

        def pop(self):
            if not self.items:
                raise IndexError("empty")
            return self.items.pop()

        def __len__(self):
            size = len(self.items)
            return size

        def only_words(self):
            """Nothing but a docstring."""

        class Node:
            def link(self, other):
                self.next = other
                other.previous = self

    def outer(values):
        def inner(value):
            double = 2 * value
            return double

        return map(inner, values)

    try:
        import fast
    except ImportError:
        def fallback(a, /, b, *rest):
            print(a)
            print(b)

    def short():
        return 1
'''


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text), encoding="utf-8")


@pytest.fixture
def odd(tmp_path: Path) -> pd.DataFrame:
    write(tmp_path, "odd.py", ODD)
    return harvest(tmp_path)


def row(functions: pd.DataFrame, name: str) -> dict:
    return functions.set_index("name", drop=False).loc[name].to_dict()


def test_harvest_finds_every_kind_of_function(odd: pd.DataFrame) -> None:
    assert list(odd.columns) == list(FUNCTION_COLUMNS)
    names = ["cached", "fetch", "Stack.pop", "Stack.Node.link", "outer", "fallback"]
    assert odd["name"].tolist() == names
    expected = {"special method": 1, "docstring only": 1, "too short": 1}
    assert odd.attrs["drops"] == expected


def test_code_is_dedented_and_without_docstring_or_comment(odd: pd.DataFrame) -> None:
    cached = row(odd, "cached")
    assert cached["code"] == (
        "@functools.lru_cache(maxsize=None)\n"
        "def cached(n):\n"
        "    total = n\n"
        "    return total"
    )
    assert cached["docstring"] == "Return n, remembered. Second sentence."
    assert (cached["path"], cached["line"]) == ("odd.py", 5)
    for code in odd["code"]:
        ast.parse(code)


def test_tabs_and_spaces_give_the_same_code_once(tmp_path: Path) -> None:
    write(tmp_path, "a.py", "def f(x):\n    y = x\n    return y\n")
    write(tmp_path, "b.py", "def f( x ):\n\ty = x # same\n\n\treturn (y)\n")
    functions = harvest(tmp_path)
    assert len(functions) == 1
    assert functions.attrs["drops"] == {"duplicate": 1}


def test_bad_files_are_counted_and_tests_are_not_read(tmp_path: Path) -> None:
    write(tmp_path, "good.py", "def f(x):\n    y = x\n    return y\n")
    write(tmp_path, "python2.py", "print 'hello'\n")
    (tmp_path / "null.py").write_bytes(b"x = '\0'\n")
    (tmp_path / "latin.py").write_bytes(b"x = '\xe9'  # no coding line\n")
    write(tmp_path, "test/more.py", "def g(x):\n    y = x\n    return y + 1\n")
    write(tmp_path, "test_it.py", "def h(x):\n    y = x\n    return y + 2\n")
    write(tmp_path, "site-packages/p.py", "def i(x):\n    y = x\n    return y + 3\n")
    functions = harvest(tmp_path)
    assert functions["name"].tolist() == ["f"]
    assert functions.attrs["drops"] == {"file cannot be parsed": 3}


def test_the_bounds_hold_for_the_code(tmp_path: Path) -> None:
    body = "".join(f"    x{i} = {i}\n" for i in range(11))
    write(tmp_path, "a.py", f"def fits():\n{body}")
    write(tmp_path, "b.py", f"def long():\n{body}    return 1\n")
    write(tmp_path, "c.py", f"def wide():\n    x = '{'w' * 600}'\n    return x\n")
    functions = harvest(tmp_path)
    assert functions["name"].tolist() == ["fits"]
    assert functions.attrs["drops"] == {"too long": 2}
    assert len(harvest(tmp_path, max_lines=13, max_characters=700)) == 3


def test_draws_are_seeded_and_in_order(tmp_path: Path) -> None:
    for i in range(40):
        code = f"def f{i}(x):\n    y = x + {i}\n    return y\n"
        write(tmp_path, f"m{i:02}.py", code)
    first = harvest(tmp_path, limit=5, seed=1)
    assert len(first) == 5
    pd.testing.assert_frame_equal(first, harvest(tmp_path, limit=5, seed=1))
    assert first["path"].is_monotonic_increasing
    assert set(first["name"]) != set(harvest(tmp_path, limit=5, seed=2)["name"])
    assert len(harvest(tmp_path, limit=99)) == 40


def test_a_folder_that_has_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no function of 3-12 lines"):
        harvest(tmp_path)
    with pytest.raises(DataError, match="not a folder"):
        harvest(tmp_path / "missing")


def test_the_standard_library_has_enough() -> None:
    functions = harvest(limit=100, seed=0)
    assert len(functions) == 100 == functions["id"].nunique()
    assert functions["code"].str.len().max() <= 600
    prompts = [prompt for prompt, _ in code_documents(functions)]
    assert all("\n" not in describe(f) for f in functions.to_dict("records"))
    assert max(map(len, prompts)) < 250


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("Return n, remembered. Second sentence.", "Return n, remembered."),
        ("Read e.g. one\nline. Or two.", "Read e.g. one line."),
        ("A title\n\nThe rest.", "A title"),
        ("  \n", "Function f(x): returns y."),
        ("...", "Function f(x): returns y."),
    ],
)
def test_descriptions_from_docstrings(docstring: str, expected: str) -> None:
    function = {"name": "f", "code": "def f(x):\n    y = x\n    return y"}
    assert describe({**function, "docstring": docstring}) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "fetch",
            "Async function fetch(reader, limit, options): loops over reader, "
            + "yields line.",
        ),
        (
            "Stack.pop",
            "Method pop(self) of Stack: raises IndexError, returns self.items.pop().",
        ),
        (
            "Stack.Node.link",
            "Method link(self, other) of Stack.Node: sets self.next or other.previous.",
        ),
        ("outer", "Function outer(values): returns map(inner, values)."),
        ("fallback", "Function fallback(a, b, rest): calls print."),
    ],
)
def test_descriptions_written_from_code(
    odd: pd.DataFrame, name: str, expected: str
) -> None:
    assert describe(row(odd, name)) == expected


def test_long_descriptions_are_cut_at_a_word() -> None:
    text = describe({"name": "f", "code": "", "docstring": "word " * 60})
    assert len(text) <= 120
    assert text.endswith("word ...")


def test_the_prompt_to_the_letter() -> None:
    assert code_prompt("Return the sum.") == (
        "### Instruction: Write the Python function that is described.\n"
        "### Description: Return the sum.\n"
        "### Response:\n"
    )


def test_documents_are_prompt_and_code(odd: pd.DataFrame) -> None:
    documents = code_documents(odd)
    assert documents[0] == (
        code_prompt("Return n, remembered."),
        row(odd, "cached")["code"],
    )
    assert len(documents) == len(odd)


def test_functions_used_elsewhere_are_left_out(tmp_path: Path) -> None:
    for i in range(20):
        code = f"def f{i}(x):\n    y = x + {i}\n    return y\n"
        write(tmp_path, f"m{i:02}.py", code)
    read = set(harvest(tmp_path, limit=8, seed=0)["id"])
    rest = harvest(tmp_path, limit=99, seed=0, without=read)
    assert len(rest) == 12 and not read & set(rest["id"])
    assert rest.attrs["drops"] == {"used elsewhere": 8}
    with pytest.raises(DataError, match="beyond the 20 used elsewhere"):
        harvest(tmp_path, without=set(harvest(tmp_path)["id"]))
