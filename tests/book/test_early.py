"""The pages of a run that goes on."""

import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helpers.book import meanwhile
from helpers.book.build import BookError
from helpers.book.early import build_early, sphinx_here
from helpers.book.meanwhile import EarlyBook, pages_meanwhile
from helpers.core.paths import STAGES, Project

DONE = ("00_data", "01_base_model", "02_code_pairs")


@pytest.fixture(scope="module")
def pages(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of a run whose first stages are done."""
    begun = tmp_path_factory.mktemp("begun")
    for part in (*DONE, "notebooks"):
        shutil.copytree(run / part, begun / part)
    stamp = begun / "book" / "built.sha256"
    stamp.parent.mkdir()
    stamp.write_text("of another book")
    front = build_early(begun, DONE)
    assert front == begun / "book" / "_build" / "html" / "index.html"
    assert front.is_file() and not stamp.exists()
    return front.parent


def text_of(pages: Path, name: str) -> str:
    return (pages / f"{name}.html").read_text("utf-8")


def test_the_front_page_says_how_far_the_run_is(pages: Path) -> None:
    page = text_of(pages, "book/index")
    assert "how does a CodePMP-pretrained reward model compare" in page
    assert f"{len(DONE)} of {len(STAGES)} chapters have their results" in page
    table = page[page.index("<table") : page.index("</table")]
    assert table.count(">there<") == len(DONE)
    assert table.count(">not yet<") == len(STAGES) - len(DONE)
    assert re.search(r'06_dpo.html">(<[^>]*>)*06 · Direct preference', table)


def test_chapters_that_are_done_show_results_others_their_source(pages: Path) -> None:
    for stage in STAGES:
        page = text_of(pages, f"notebooks/{stage}")
        done = stage in DONE
        assert ('class="cell_output' in page) == done, stage
        assert ("has not come to this chapter yet" in page) != done, stage
        assert "<h1" in page and re.search("highlight-i?python", page)


def test_pages_that_need_the_whole_run_say_so(pages: Path) -> None:
    for name in ("claims", "costs", "real", "reproducibility"):
        page = text_of(pages, f"book/{name}")
        assert "This page comes when all stages" in page
    assert "06_dpo.beta" in text_of(pages, "book/parameters")


def test_what_sphinx_refuses_is_told(tmp_path: Path) -> None:
    (tmp_path / "_config.yml").write_text("title: [")
    with pytest.raises(BookError):
        sphinx_here(tmp_path)


# --- beside a run ----------------------------------------------------------------------

BUILDER = """
import pathlib, sys, time
run, *done = sys.argv[1:]
here = pathlib.Path(run)
(here / f"built-{len(done)}").touch()
while (here / "slow").exists():
    time.sleep(0.02)
if (here / "broken").exists():
    sys.exit("one line\\nthe reason")
(here / f"ended-{len(done)}").touch()
print("the/front/page")
"""


@pytest.fixture
def early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EarlyBook]:
    """Builds with a small module in place of Sphinx; `said` holds what it says."""
    (tmp_path / "small_builder.py").write_text(BUILDER)
    monkeypatch.setattr(meanwhile, "BUILDER", "small_builder")
    monkeypatch.setattr(meanwhile, "REST", 0)
    project = Project(tmp_path, stages={"a": (), "b": ("a",), "c": ()})
    said: list[str] = []
    book = EarlyBook(project, tmp_path, said.append)
    book.heard = said
    yield book
    book.close()


def until(holds: Callable[[], bool]) -> None:
    """Wait for something that a process does."""
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def built(early: EarlyBook) -> set[str]:
    return {each.name for each in early.run.glob("built-*")}


def test_the_place_is_said_once(early: EarlyBook) -> None:
    for done in (["a"], ["a", "b"]):
        early.stage_ended(done)
        early.thread.join(60)
    assert built(early) == {"built-1", "built-2"}
    assert early.heard == ["pages of what is done: the/front/page"]


def test_builds_come_one_at_a_time_and_rest(early: EarlyBook, monkeypatch) -> None:
    (early.run / "slow").touch()
    early.stage_ended(["a"])
    until(lambda: built(early) == {"built-1"})
    early.stage_ended(["a", "b"])  # the first still goes on
    monkeypatch.setattr(meanwhile, "REST", 10**6)
    (early.run / "slow").unlink()
    early.thread.join(60)
    early.stage_ended(["a", "b"])  # it has ended just now
    assert built(early) == {"built-1"}


def test_the_last_stage_builds_none(early: EarlyBook) -> None:
    early.stage_ended(["a", "b", "c"])
    assert early.thread is None


def test_a_build_that_fails_disturbs_nothing(early: EarlyBook) -> None:
    (early.run / "broken").touch()
    early.stage_ended(["a"])
    early.thread.join(60)
    assert early.heard == ["pages come at the end: the reason"]


def test_a_run_that_ends_ends_its_build(early: EarlyBook) -> None:
    (early.run / "slow").touch()
    beside = pages_meanwhile(early.project, early.run, early.heard.append)
    with pytest.raises(KeyboardInterrupt), beside as ended:
        ended(["a"])
        until(lambda: built(early) == {"built-1"})
        raise KeyboardInterrupt
    (early.run / "slow").unlink()
    time.sleep(0.3)  # in which it would have ended by itself
    assert not list(early.run.glob("ended-*")) and early.heard == []


def test_the_module_that_builds_is_there() -> None:
    assert meanwhile.BUILDER in sys.modules  # imported above, by its name
