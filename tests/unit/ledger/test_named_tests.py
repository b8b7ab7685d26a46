"""Claims that a test backs: the test is run, and only what passed holds."""

import importlib.util

import pytest

from helpers.ledger import named_tests
from helpers.ledger.named_tests import NoTestError, from_test
from helpers.ledger.rule import FAILS, HOLDS, UNTESTED

TESTS = """import pytest

def test_right():
    assert True

def test_wrong():
    assert False

@pytest.mark.skip
def test_left_out():
    assert True

@pytest.mark.parametrize("n", [1, 2])
def test_one_of_two(n):
    assert n == 1

def test_broken(no_such_fixture):
    assert True

@pytest.fixture
def no_test():
    return 1
"""


@pytest.fixture
def root(tmp_path):
    """A project with one file of tests."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "helpers").mkdir()
    (tmp_path / "helpers" / "own.py").write_text("x = 1\n")
    (tmp_path / "tests" / "test_own.py").write_text(TESTS)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("right", HOLDS),
        ("wrong", FAILS),
        ("left_out", UNTESTED),
        ("one_of_two", FAILS),
        ("broken", FAILS),
    ],
)
def test_a_status_is_that_of_the_test_when_run(root, name, status):
    test = f"tests/test_own.py::test_{name}"
    assert from_test(test, root, root / "run").status == status
    assert not list(root.glob("run/**/*.xml"))


def test_what_pytest_does_not_collect_holds_nothing(root):
    assert (
        from_test("tests/test_own.py::no_test", root, root / "run").status == UNTESTED
    )


def test_a_result_is_kept_until_the_code_changes(root, monkeypatch):
    test, runs = "tests/test_own.py::test_right", []
    run = named_tests.run_test
    counted = lambda *given: runs.append(given) or run(*given)
    monkeypatch.setattr(named_tests, "run_test", counted)
    for _ in range(2):
        assert from_test(test, root, root / "run").status == HOLDS
    assert len(runs) == 1
    (root / "helpers" / "own.py").write_text("x = 2\n")
    assert from_test(test, root, root / "run").status == HOLDS
    assert len(runs) == 2
    file = root / "tests" / "test_own.py"
    file.write_text(TESTS.replace("assert True", "assert False"))
    assert from_test(test, root, root / "run").status == FAILS


def test_without_pytest_a_test_decides_nothing(root, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    found = from_test("tests/test_own.py::test_right", root, root / "run")
    assert found.status == UNTESTED and "pytest is not installed" in found.evidence


def test_a_test_that_does_not_exist_is_an_error(root):
    for test in ("tests/test_own.py::test_none", "tests/test_none.py::test_right"):
        with pytest.raises(NoTestError, match=test):
            from_test(test, root, root / "run")


def test_a_test_that_takes_too_long_decides_nothing(root, monkeypatch):
    monkeypatch.setattr(named_tests, "SECONDS", 0.01)
    found = from_test("tests/test_own.py::test_right", root, root / "run")
    assert found.status == UNTESTED
