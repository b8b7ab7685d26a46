"""What tests share: a small project of tiny notebooks, in a folder of its own."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from helpers.core.paths import ROOT, Project
from tests.toys import toy_project

# Many tests compare numbers to 1e-5, which half precision on a GPU does not keep. Where
# the variable is set by hand, they run there all the same.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

# two processes of tests share the cores; a test that asks for threads gets them
os.environ.setdefault("OMP_NUM_THREADS", "1")

SLOW_FILES = ("test_launched", "test_sweeps", "test_runs", "test_pairs", "test_ppo")
SLOW_FILES += ("test_flops", "test_online", "test_recorded", "test_codepairs")
SLOW_FILES += ("test_claims", "test_recipes", "test_weights", "test_tuning")
SLOW_FILES += ("test_generate", "test_named_tests", "test_methods", "test_pipeline")
SLOW_FILES += ("test_pair_files", "test_ppo_variants", "test_answers", "test_gate")
SLOW_FILES += ("test_watched", "test_flagged", "test_staleness", "test_interrupts")
SLOW = ("tests/book", "tests/conformance", "tests/coverage", "tests/colab")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what takes more than seconds, and what looks at the book in a browser.

    One file begins the run that those of `tests/book` share; the others come last, so
    that no process waits for it.
    """
    first = ("test_cards", "test_lookalikes")
    items.sort(key=lambda i: "tests/book" in str(i.path) and i.path.stem not in first)
    for item in items:
        folder = item.path.relative_to(ROOT).parent.as_posix()
        if folder in SLOW or item.path.stem in SLOW_FILES:
            item.add_marker(pytest.mark.slow)
        if item.path.stem == "test_site":
            item.add_marker(pytest.mark.browser)


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[..., Project]:
    """Makes a project from stage -> inputs; each stage records its parameter `x`."""
    return partial(toy_project, tmp_path)


@pytest.fixture(autouse=True)
def kernels_find_helpers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels that a test starts elsewhere import this package."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", path)
