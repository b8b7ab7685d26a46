"""What a page may weigh, where its links lead, what keys, search and paper make of it."""

import gzip
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from helpers.book.pages_repaired import repaired
from tests.book.conftest import served
from tests.book.test_site import DESKTOP, PAGES

pytestmark = [pytest.mark.slow, pytest.mark.browser]

HEAVIEST = 1_000_000  # bytes of a page and all it loads, as a server sends them: packed
SOONEST = 2000  # ms until the front page can be used, of the best of three visits
PAPER = {"width": 794, "height": 1123}  # A4 at 96 dots an inch
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
BEYOND = """width => [...document.querySelectorAll("article *")]
    .filter(each => each.getBoundingClientRect().right > width + 2)
    .map(each => each.outerHTML.slice(0, 120))"""


@pytest.fixture(scope="module")
def address(site: Path):
    """The book served on this machine."""
    with served(site) as address:
        yield address


# --- weight and time ---------------------------------------------------------------------


def packed(response) -> int:
    """What a server sends of a response: fonts as they are, the rest packed."""
    if response.status != 200:
        return 0
    body = response.body()
    return len(body if response.url.endswith("woff2") else gzip.compress(body))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_light(browser, address, page):
    tab, answers = browser.new_page(viewport=DESKTOP), []
    tab.on("response", lambda answer: answers.append(answer))
    tab.goto(f"{address}/{page}.html", wait_until="load")
    weight = sum(map(packed, answers))
    tab.close()
    assert len(answers) > 10 and weight < HEAVIEST, f"{weight:,} bytes"


def test_the_front_page_can_soon_be_used(browser, address):
    took = []
    for _ in range(3):
        tab = browser.new_page(viewport=DESKTOP)
        tab.goto(f"{address}/book/index.html", wait_until="load")
        timing = "performance.getEntriesByType('navigation')[0].domInteractive"
        took.append(tab.evaluate(timing))
        tab.close()
    assert min(took) < SOONEST, took


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


@pytest.mark.parametrize("page", PAGES)
def test_a_page_can_be_printed(browser, address, page):
    """Nothing is cut off at the edge of the paper, and what navigates is not on it."""
    tab = browser.new_page(viewport=PAPER)
    tab.emulate_media(media="print")
    tab.goto(f"{address}/{page}.html", wait_until="load")
    beyond = tab.evaluate(BEYOND, PAPER["width"])
    aside = ".bd-sidebar-primary, .bd-sidebar-secondary, .header-article"
    shown = [each for each in tab.locator(aside).all() if each.is_visible()]
    tab.close()
    assert not beyond and not shown, beyond


def test_what_is_cut_off_on_paper_is_seen(browser):
    tab = browser.new_page(viewport=PAPER)
    tab.set_content("<article><p style='width: 900px'>wide</p></article>")
    assert tab.evaluate(BEYOND, PAPER["width"])
    tab.close()
