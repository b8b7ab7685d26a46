"""The book as a site: time, links, keys, search; and that its checks find what is wrong."""

import time
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from helpers.book.pages_repaired import repaired
from tests.book.test_site import BEYOND, DESKTOP, PAGES, PAPER

pytestmark = [pytest.mark.slow, pytest.mark.browser]

# ms until the front page can be used, of the best of three visits, where a million
# additions take USUAL seconds; a slower machine has as much longer
SOONEST, USUAL = 2000, 0.07
# what a key can reach and an eye can see; what is folded away is neither
REACHED = """() => {
    const all = document.querySelectorAll(
        'a[href], button, summary, input, select, textarea, [tabindex="0"]');
    window.wanted = [...all].filter(each => {
        const box = each.getBoundingClientRect();
        return box.width > 0 && box.height > 0 && each.tabIndex >= 0 && !each.disabled
            && getComputedStyle(each).visibility !== "hidden"
            && !each.closest("[inert], dialog:not([open])")
            && !each.closest("details:not([open]) > :not(summary)");
    });
    window.met = new Set();
    document.addEventListener("focusin", event => window.met.add(event.target));
    return window.wanted.length;
}"""
MISSED = """() => window.wanted.filter(each => !window.met.has(each))
    .map(each => each.outerHTML.slice(0, 120))"""


# --- time and weight ---------------------------------------------------------------------


def slowness() -> float:
    """How many times longer than usual this machine takes, at least 1."""
    began, total = time.perf_counter(), 0
    for number in range(1_000_000):
        total += number
    return max(1.0, (time.perf_counter() - began) / USUAL)


def test_the_front_page_can_soon_be_used(browser, address):
    took = []
    for _ in range(3):
        tab = browser.new_page(viewport=DESKTOP)
        tab.goto(f"{address}/book/index.html", wait_until="load")
        timing = "performance.getEntriesByType('navigation')[0].domInteractive"
        took.append(tab.evaluate(timing))
        tab.close()
    assert min(took) < SOONEST * slowness(), took


def test_what_a_page_does_not_need_is_not_loaded():
    icons = '<script defer src="../_static/scripts/fontawesome.js?digest=1"></script>'
    sets = '<script defer="defer" src="../_static/mathjax/tex-chtml.js?v=2"></script>'
    formula = '<span class="math notranslate">x</span>'
    assert repaired(f"<p>{icons}{sets}</p>") == "<p></p>"
    assert repaired(f"<p>{icons}{sets}{formula}</p>") == f"<p>{sets}{formula}</p>"


# --- links -------------------------------------------------------------------------------


class Links(HTMLParser):
    """The links of a page, and the places in it that a link can lead to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        given = dict(attrs)
        self.places |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag in ("a", "link") and given.get("href"):
            self.links.add(given["href"])
        if tag in ("img", "script") and given.get("src"):
            self.links.add(given["src"])


def broken(pages: Iterable[Path]) -> list[str]:
    """The links within a book that lead nowhere: page and link."""
    read = {page.resolve(): Links(page.read_text("utf-8")) for page in pages}
    found = []
    for page, own in read.items():
        for link in own.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve()
            target = target if parts.path else page
            place = unquote(parts.fragment)
            there = read[target].places if target in read else {place}
            if not target.exists() or (place and place not in there):
                found.append(f"{page.name}: {link}")
    return found


def test_no_link_is_broken(site: Path):
    pages = [path for path in site.rglob("*.html") if "_static" not in path.parts]
    assert len(pages) > len(PAGES) and not (found := broken(pages)), found


def test_a_broken_link_is_found(tmp_path: Path):
    page = tmp_path / "a.html"
    page.write_text('<p id="x"><a href="#x"></a><a href="#y"></a><a href="b.html"></a>')
    assert sorted(broken([page])) == ["a.html: #y", "a.html: b.html"]


# --- keys, search, paper -----------------------------------------------------------------


@pytest.mark.parametrize("page", ["book/index", "book/claims", "notebooks/08_evaluate"])
def test_keys_reach_everything(browser, address, page):
    tab = browser.new_page(viewport=DESKTOP)
    tab.goto(f"{address}/{page}.html", wait_until="load")
    for _ in range(tab.evaluate(REACHED) + 40):
        tab.keyboard.press("Tab")
    missed = tab.evaluate(MISSED)
    tab.close()
    assert not missed, missed


@pytest.mark.parametrize(
    ("asked", "page"),
    [("implicit reward", "06_dpo.html"), ("labels", "04_reward_model.html")],
)
def test_search_finds(browser, address, asked, page):
    tab = browser.new_page(viewport=DESKTOP)
    tab.goto(f"{address}/search.html?q={asked}", wait_until="load")
    tab.wait_for_selector(f"#search-results a[href*='{page}']", timeout=15_000)
    tab.goto(f"{address}/search.html?q=nothingofthekind", wait_until="load")
    tab.wait_for_selector("text=did not match", timeout=15_000)
    assert not tab.locator("#search-results li a").count()
    tab.close()


def test_what_is_cut_off_on_paper_is_seen(browser):
    tab = browser.new_page(viewport=PAPER)
    tab.set_content("<article><p style='width: 900px'>wide</p></article>")
    assert tab.evaluate(BEYOND, PAPER["width"])
    tab.close()
