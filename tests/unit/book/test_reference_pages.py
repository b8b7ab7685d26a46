"""Pages that are made from the sources."""

from pathlib import Path

from helpers.book import reference_pages
from helpers.core.paths import ROOT


def test_the_package_is_listed_with_what_it_is_for(tmp_path: Path) -> None:
    package = tmp_path / "helpers"
    package.mkdir()
    for room in reference_pages.ROOMS:
        (package / f"{room}.py").write_text(f'"""The room {room}."""\n')
    (package / "losses.py").write_text(
        '''"""Losses, `pure`."""
def dpo(ratios, /, beta: float, *more, eta=0.0, **kept) -> float:
    """Minus log sigmoid.

    More of it.
    """
def bare(*, only): pass
def _hidden(): pass
class Kept:
    """Holds $x$."""
'''
    )
    page = reference_pages.api_page(package)
    assert page.index("## methods") < page.index("## losses") < page.index("## cli")
    assert "**`helpers.losses`**: Losses, `pure`." in page
    assert "- `dpo(ratios, beta, *more, eta, **kept)`: Minus log sigmoid.\n" in page
    assert "- `bare(*, only)`: –" in page and "_hidden" not in page
    assert "- `Kept`: Holds \\$x\\$." in page and "More of it" not in page


def test_the_true_package_has_all_its_rooms() -> None:
    page = reference_pages.api_page(ROOT / "helpers")
    assert "`preference.ipo" not in page and "- `ipo(chosen_logratios" in page
    assert "**`helpers.trainers.ppo.trainer`**" in page


def test_the_entry_to_cite_is_that_of_the_project() -> None:
    page = reference_pages.cite_page(ROOT)
    assert "@software{preference_book," in page and "version = {0.1.0}" in page
    assert "title = {CodePMP, DPO and PPO on HH-RLHF" in page
