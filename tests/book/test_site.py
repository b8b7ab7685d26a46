"""The built book in a real browser: every page, its figures, links and console."""

import gzip
import re
import shutil

import pytest
from axe_core_python.sync_playwright import Axe

from helpers import methods
from helpers.core.paths import ROOT, STAGES
from helpers.core.yaml_files import read_yaml
from helpers.ledger import rule
from helpers.ledger.entries import read_ledger

CONTENTS = read_yaml(ROOT / "_toc.yml")
PAGES = [CONTENTS["root"]] + [
    chapter["file"] for part in CONTENTS["parts"] for chapter in part["chapters"]
]
CONFIG = read_yaml(ROOT / "_config.yml")
# names that only records and parameters have
KEYS = sorted(name for name in methods.names() if "_" in name or name.endswith(")"))
WITHOUT_CODE = """article => {
    const copy = article.cloneNode(true);
    copy.querySelectorAll("code, pre").forEach(each => each.remove());
    return copy.textContent;
}"""
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1366, "height": 900}
PAPER = {"width": 794, "height": 1123}  # A4 at 96 dots an inch
HEAVIEST = 1_000_000  # bytes of a page and all it loads, as a server sends them: packed
BEYOND = """width => [...document.querySelectorAll("article *")]
    .filter(each => each.getBoundingClientRect().right > width + 2)
    .map(each => each.outerHTML.slice(0, 120))"""
# what is bold on a page and is no heading
BOLD = """() => [...document.querySelectorAll("article *")]
    .filter(each => each.innerText && !each.closest("h1, h2, h3, dt, th")
        && Number(getComputedStyle(each).fontWeight) >= 600)
    .map(each => each.innerText)"""
NOT_DRAWN = "article figure:not(:has(img, svg))"
ASIDE = ".bd-sidebar-primary, .bd-sidebar-secondary, .header-article"


def faults(tab) -> dict[str, str]:
    """What axe finds wrong on a page, of any impact: rule -> its first place."""
    found = Axe().run(tab)["violations"]
    return {each["id"]: each["nodes"][0]["html"][:200] for each in found}


def packed(response) -> int:
    """What a server sends of a response: fonts as they are, the rest packed."""
    if response.status != 200:
        return 0
    body = response.body()
    return len(body if response.url.endswith("woff2") else gzip.compress(body))


def test_what_is_wrong_is_found(browser):
    tab = browser.new_page()
    tab.set_content("<main><h1>A</h1><img src='x.png'></main>")
    assert "image-alt" in faults(tab)
    tab.set_content("<article><figure>a table<figcaption>Fig. 1</figure></article>")
    assert tab.locator(NOT_DRAWN).count() == 1
    tab.close()


@pytest.mark.parametrize("page", PAGES)
def test_a_page_reads_well(browser, address, page):
    """No console error, nothing fetched from elsewhere, figures drawn, phone width.

    Nothing that axe finds wrong, on a desktop in light and on a phone in dark; not too
    heavy; on paper nothing is cut off at the edge, and what navigates is not on it.
    """
    tab = browser.new_page(viewport=DESKTOP)
    wrong: list[str] = []
    answers = []
    tab.on("response", lambda answer: answers.append(answer))
    tab.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("requestfailed", lambda r: wrong.append(f"failed: {r.url}"))
    tab.goto(f"{address}/{page}.html", wait_until="load")
    widths = tab.eval_on_selector_all(
        "article img", "all => all.map(each => each.naturalWidth)"
    )
    assert all(widths), widths
    told = tab.eval_on_selector_all("article img", "all => all.map(each => each.alt)")
    assert all(len(each.split()) > 3 for each in told), told
    assert not tab.locator(NOT_DRAWN).count(), "a caption numbers what is no picture"
    assert tab.locator("article h1").count() == 1
    text = tab.locator("article").inner_text()
    assert "glue:" not in text and "{cite}" not in text
    read = tab.locator("article").evaluate(WITHOUT_CODE)
    keys = [
        key for key in KEYS if re.search(rf"(?<![\w.]){re.escape(key)}(?!\w)", read)
    ]
    if page != "book/parameters":  # where they are values
        assert not keys, f"a reader meets the names of records: {keys}"
    if math := tab.locator("article .math").count():
        tab.wait_for_selector("mjx-container", state="attached")
        assert tab.locator("mjx-container").count() >= math
    assert not (found := faults(tab)), found
    weight = sum(map(packed, answers))
    assert len(answers) > 10 and weight < HEAVIEST, f"{weight:,} bytes"
    tab.set_viewport_size(PAPER)
    tab.emulate_media(media="print")
    assert not (found := tab.evaluate(BEYOND, PAPER["width"])), found
    assert not [each for each in tab.locator(ASIDE).all() if each.is_visible()]
    tab.emulate_media(media="screen", color_scheme="dark")
    tab.set_viewport_size(PHONE)
    tab.reload(wait_until="load")  # the theme looks at what scrolls when it starts
    assert not (found := faults(tab)), found
    overflow = "document.documentElement.scrollWidth - window.innerWidth"
    assert tab.evaluate(overflow) <= 1, "the page scrolls sideways on a phone"
    tab.close()
    assert not wrong, wrong


@pytest.mark.parametrize("stage", STAGES)
def test_the_colab_button_opens_the_clean_source(browser, address, stage):
    tab = browser.new_page()
    tab.goto(f"{address}/notebooks/{stage}.html", wait_until="load")
    links = tab.eval_on_selector_all("a", "all => all.map(each => each.href)")
    repository = CONFIG["repository"]["url"].removeprefix("https://github.com/")
    branch = CONFIG["repository"]["branch"]
    source = f"github/{repository}/blob/{branch}/notebooks/{stage}.ipynb"
    tab.close()
    assert [link for link in links if link.endswith(source)], source


def test_the_front_page_gives_the_answer_and_a_figure(browser, address):
    tab = browser.new_page()
    tab.goto(f"{address}/index.html", wait_until="load")
    tab.wait_for_url("**/book/index.html")
    text = tab.locator("article").inner_text()
    assert "Intervals are 95 %" in text and "synthetic (built-in) data" in text
    assert tab.locator("article figure img").count() == 1
    table = tab.locator("article table").first
    assert table.locator("tbody tr").count() == 3
    heads = table.locator("th").all_inner_texts()
    assert heads[1] == "real pairs" and heads[2].startswith("this run: synthetic")
    assert "0.718" in table.inner_text() and "Xu" in table.inner_text()
    assert tab.locator("article strong").count() == 0
    assert not (loud := tab.evaluate(BOLD)), loud
    tab.add_style_tag(
        content="article span.pasted-text { font-weight: bold !important }"
    )
    assert "1" in tab.evaluate(BOLD)  # the number of seeds
    tab.close()


def test_pages_do_not_show_how_colab_is_set_up(browser, address):
    tab = browser.new_page()
    tab.goto(f"{address}/notebooks/06_dpo.html", wait_until="load")
    text = tab.locator("article").text_content()
    seen = tab.locator("article").inner_text()
    tab.close()
    assert "google.colab" not in text and "stage.run_jobs(dpo.dpo" in seen
    assert "@param" not in text and "beta: float = 0.1  # DPO temperature" in text
    assert "beta: float = " not in seen, "the parameters are folded"


def test_every_claim_has_a_status_and_what_it_rests_on(browser, address):
    tab = browser.new_page()
    tab.goto(f"{address}/book/claims.html", wait_until="load")
    cells = tab.locator("article table tbody td:last-child").all_inner_texts()
    tab.close()
    ledger = read_ledger(ROOT / "book" / "claims.yml")
    sections = list(ledger.sections.values())
    cells = cells[: -len(ledger.families) - len(ledger.least)]  # these tables come last
    assert len(cells) == sum(map(len, sections))
    for cell in cells:
        status, _, evidence = cell.partition(":")
        assert status in rule.STATUSES and evidence.strip(), cell


def test_a_claim_that_nothing_backs_fails_the_build(run, tmp_path):
    from helpers.book.build import BookError, build_book

    for name in ("book", "notebooks", "_toc.yml", "_config.yml"):
        link = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        link(ROOT / name, tmp_path / name)
    ledger = tmp_path / "book" / "claims.yml"
    text = ledger.read_text(encoding="utf-8")
    ledger.write_text(text.replace("check: four_models", "check: five_models"))
    copy = tmp_path / "runs" / "copy"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("jobs", "book"))
    with pytest.raises(BookError, match="claims.yml: .*, 1: no check 'five_models'"):
        build_book(copy, tmp_path)
    assert not (copy / "book" / "_build").exists()


def test_kinds_of_numbers_have_columns_of_their_own(browser, address):
    tab = browser.new_page()
    tab.goto(f"{address}/book/real.html", wait_until="load")
    heads = tab.locator("article table").first.locator("th").all_inner_texts()
    tab.close()
    assert heads[:2] == ["quantity", "reported"]
    assert heads[2].startswith("this run: synthetic")


def test_a_missing_page_fails_the_build(site, tmp_path):
    from helpers.book.build import BookError, check_pages

    shutil.copy(ROOT / "_toc.yml", tmp_path / "_toc.yml")
    shutil.copytree(site, tmp_path / "html")
    check_pages(tmp_path, tmp_path / "html")
    (tmp_path / "html" / "notebooks" / "06_dpo.html").unlink()
    with pytest.raises(BookError, match="06_dpo"):
        check_pages(tmp_path, tmp_path / "html")
    (tmp_path / "html" / "notebooks" / "06_dpo.html").write_text("<html></html>")
    with pytest.raises(BookError, match="missing from the built book, or empty"):
        check_pages(tmp_path, tmp_path / "html")
