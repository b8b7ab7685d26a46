"""Hostile text everywhere: pages run no script, ask for nothing, and show it literally.

Data in a folder with a hostile name, with hostile prompts and replies, go through the
first two stages; their pages, one of all that `report` can show, and the generated pages
that show parameters are built as a small book of their own.
"""

import json
import re
import shutil
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest

from helpers.book import build, recorded_runs
from helpers.book.measured import measurement
from helpers.core import escape
from helpers.core.manifests import manifest_file, read_manifest
from helpers.core.paths import ROOT, Project
from helpers.core.places import shown
from helpers.data.synthetic import corpus
from helpers.publish.card_templates import PAIRS
from helpers.runs.pipeline import ThisInterpreter
from helpers.runs.staleness import notebook_file
from tests.book.conftest import HOME, SECRETS, prefbook, served
from tests.book.test_private import leaks
from tests.toys import write_notebook

pytestmark = [pytest.mark.slow, pytest.mark.browser]

NAME = "test-hostile"
PWNED = "window.__pwned=1"
# as a folder can be called: no slash
FOLDER = (
    f"planted4data <img src=x onerror={PWNED}> <script>{PWNED}<script> "
    f"[a](javascript:{PWNED}) ![b](c.png) `d` {{cite}}`rafailov2023dpo` {{glue:text}}`e` "
    r"| f | $\frac{g}{h}$ \(i\) **j** {k} &lt; \|"
)
NOTE = f"</p></div><script>{PWNED}</script>{FOLDER} <img src=http://127.0.0.1:9/l.png>"
# what no parameter may hold, but data, models and files may
SPOILED = NOTE.replace(FOLDER, f"{FOLDER} \x1b[31m\x07")
LINES = (
    f":::{{note}}\n# {SPOILED}\n```{{raw}} html\n<script>{PWNED}</script>\n```\n$$x$$\n"
)
EVERYTHING = """\
import pandas as pd
from matplotlib import pyplot as plt

from helpers.book import report
from helpers.figures import panels, style

panels.style()
text, lines = {text!r}, {lines!r}
report.keep(__import__("pathlib").Path({kept!r}))
report.say("{{name}}", name=text)
report.say("A sentence with {{words}} and **{{number}}**.", words=lines, number=0.5)
frame = pd.DataFrame({{text: [text, 0.25]}}, index=[text, "plain"])
report.table(frame, text)
report.dialogue(text + lines, {{text: text + lines, "empty": ""}})
figure, axis = plt.subplots()
axis.plot([0, 1], label=text.split("\\x1b")[0])
axis.set(title=text.split("\\x1b")[0], xlabel="$x$")
axis.set_yticks([0, 1], ["$\\\\frac{{", "b"])
style.legend_below(style.tidy(figure), axis, "$y$")
"""


def hostile_data(place: Path) -> Path:
    """A folder in the layout of HH-RLHF, whose dialogues are hostile, too."""
    bad = f" <script>{PWNED}</script> <img src=x onerror={PWNED}> $m$ \x1b[31m"
    turn = "\n\nAssistant:"
    for subset, name in {
        "helpful": "helpful-base",
        "harmless": "harmless-base",
    }.items():
        for split, count in (("train", 40), ("test", 12)):
            file = place / name / f"{split}.jsonl"
            file.parent.mkdir(parents=True, exist_ok=True)
            rows = [
                {
                    side: row[side].replace(turn, f"{bad}{turn}", 1) + bad
                    for side in ("chosen", "rejected")
                }
                for row in corpus.transcripts(subset, split, count, 0)
            ]
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return place


@pytest.fixture(scope="module")
def run() -> Path:
    """A run of 00 and 01 on hostile data, in a place and with secrets nobody may learn."""
    folder = ROOT / "runs" / NAME
    shutil.rmtree(folder, ignore_errors=True)
    data = hostile_data(HOME / "planted5place" / FOLDER)
    given = ["-p", f"data_source={data}", "-p", f"data_note={NOTE}", "--tier", "smoke"]
    stages = ["--only", "00", "--only", "01"]
    environment = SECRETS | {"HOME": str(HOME)}
    done = prefbook("run", "--run", NAME, *given, *stages, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_run_tells_nobody_where_its_data_are(run: Path, tmp_path: Path) -> None:
    for stage in ("00_data", "01_base_model"):
        shutil.copy(notebook_file(run, stage), tmp_path / f"{stage}.ipynb")
        shutil.copy(manifest_file(run, stage), tmp_path / f"{stage}.json")
    shutil.copy(run / "00_data" / "pairs.parquet", tmp_path / "pairs.parquet")
    planted = (*SECRETS.values(), HOME.name, "planted5place", str(ROOT))
    assert leaks(tmp_path, planted) == []
    data = str(HOME / "planted5place" / FOLDER)
    given = json.loads((tmp_path / "00_data.json").read_text())["parameters"]
    assert given["data_source"] == shown(data, ROOT) != data
    # while the run itself still knows: its stages are not stale, and later ones read on
    assert read_manifest(run, "00_data")["parameters"]["data_source"] == data
    done = prefbook("status", "--run", NAME, **SECRETS, HOME=str(HOME))
    states = [line.split()[1] for line in done.stdout.splitlines()[1:3]]
    assert states == ["done", "done"], done.stdout
    assert "\x1b" not in done.stdout


def test_a_stage_that_fails_leaves_a_notebook_without_places(run, tmp_path) -> None:
    data = hostile_data(HOME / "planted5place" / "broken")
    (data / "helpful-base" / "train.jsonl").write_text("no JSON\n")
    name = f"{NAME}-broken"
    shutil.rmtree(ROOT / "runs" / name, ignore_errors=True)
    given = ["-p", f"data_source={data}", "--only", "00", "--tier", "smoke"]
    done = prefbook("run", "--run", name, *given, **SECRETS, HOME=str(HOME))
    assert done.returncode == 1 and "line 1: not JSON" in done.stderr
    shutil.copytree(ROOT / "runs" / name / "notebooks", tmp_path / "notebooks")
    shutil.rmtree(ROOT / "runs" / name)
    text = (tmp_path / "notebooks" / "00_data.ipynb").read_text("utf-8")
    assert "DataError" in text and "line 1: not JSON" in text
    planted = (
        *SECRETS.values(),
        HOME.name,
        "planted5place",
        str(ROOT),
        "/site-packages",
    )
    assert leaks(tmp_path, planted) == []


# --- a book of it ------------------------------------------------------------------------


def everything(folder: Path, kept: Path) -> None:
    """A page of all that `report` and a figure can show, executed."""
    cells = EVERYTHING.format(text=SPOILED, lines=LINES, kept=str(kept)), "figure"
    source = write_notebook(folder / "source.ipynb", "x: int = 1  # a number", *cells)
    content = nbformat.read(source, as_version=4)
    content.cells.insert(0, nbformat.v4.new_markdown_cell("# Everything"))
    nbformat.write(content, source)
    papermill.execute_notebook(
        source,
        folder / "everything.ipynb",
        cwd=ROOT,
        kernel_name="python3",
        kernel_manager_class=ThisInterpreter,
        progress_bar=False,
    )
    source.unlink()


def generated(run: Path, tree: Path) -> dict[str, str]:
    """The generated pages that show a parameter, a name or a recorded text."""
    folder = tree / "recorded" / "runs" / "bad"
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    for each in (tree / "kept").iterdir():
        shutil.copy(each, folder / "tables" / each.name)
    manifest = read_manifest(run, "00_data")
    about = {
        "name": "bad",
        "kind": f"real pairs, fine-tuned here from {SPOILED}",
        "data": recorded_runs.data_of(run),
        "parameters": recorded_runs.changed_parameters({"00_data": manifest}),
        "date": "2026-01-01",
        "seconds": 60,
        "commits": "no repository",
        **{name: manifest[name] for name in ("cpu_count", "device", "versions")},
    }
    measured = tree / "measured"
    measured.mkdir(exist_ok=True)
    table = pd.DataFrame({"method": [SPOILED, "-0.5"], SPOILED: ["a", LINES]})
    table.to_csv(measured / "table.csv")
    about |= {"title": "Measured", "text": "Once.", "command": "python x.py"}
    for place in (folder, measured):
        (place / "about.json").write_text(json.dumps(about))
    project = Project(tree / "project")
    bad = NOTE.replace("=", "~")  # with which Papermill would not read the line
    line = f"x: str = {bad!r}  # {escape.visible(bad)}"
    write_notebook(project.notebook("00_bad"), line)
    made = {"started": "2026-01-01T00:00", "records": 1, "key": "a" * 64}
    made |= {"platform": SPOILED, "python": LINES, "device": SPOILED, "cpu_count": 2}
    writer = escape.markdown(SPOILED)
    card = PAIRS.format(
        metadata="", count=1, held=1, strong=writer, weak=writer, run="x"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "STAGES", {"00_bad": ()})
        parameters = build.parameter_page(project.root)
    return {
        "recorded": "# Recorded\n" + recorded_runs.run_section(folder),
        "measured": "# Measured\n" + "\n".join(measurement(measured)),
        "parameters": parameters,
        "machine": build.reproducibility_page({"00_data": made | {"versions": {}}}),
        "card": card.split("---\n", 2)[2],
    }


@pytest.fixture(scope="module")
def site(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built pages, with the book's own configuration."""
    tree = tmp_path_factory.mktemp("hostile")
    shutil.copytree(ROOT / "book" / "_static", tree / "book" / "_static")
    shutil.copy(ROOT / "book" / "references.bib", tree / "book" / "references.bib")
    shutil.copy(ROOT / "_config.yml", tree / "_config.yml")
    for stage in ("00_data", "01_base_model"):
        build.stage_notebook(notebook_file(run, stage), tree / f"{stage}.ipynb")
    everything(tree, tree / "kept")
    pages = generated(run, tree)
    quoted = "{glue:text}`everything.ipynb::name:s`"
    pages["index"] = f"# Index\n\nQuoted: {quoted}\n\n```{{bibliography}}\n```\n"
    for name, text in pages.items():
        (tree / f"{name}.md").write_text(text, encoding="utf-8")
    names = ["00_data", "01_base_model", "everything", *pages]
    chapters = [{"file": name} for name in names if name != "index"]
    parts = [{"caption": "Hostile", "chapters": chapters}]
    contents = {"format": "jb-book", "root": "index", "parts": parts}
    (tree / "_toc.yml").write_text(json.dumps(contents))
    build.run_sphinx(tree)
    return tree / "_build" / "html"


# page -> how often the folder's name, or the note that holds it, must be there to read
PAGES = {
    "index": 1,
    "00_data": 2,
    "01_base_model": 0,
    "everything": 6,
    "recorded": 4,
    "measured": 3,
    "parameters": 1,
    "machine": 3,
    "card": 2,
}


def formulas_of(page: str) -> int:
    """How many formulas a page's own words have; the data's have none."""
    source = ROOT / "notebooks" / f"{page}.ipynb"
    if not source.exists():
        return 0
    cells = nbformat.read(source, as_version=4).cells
    words = "".join(each.source for each in cells if each.cell_type == "markdown")
    return len(re.findall(r"(\$\$?)[^$]+\1", words))


@pytest.mark.parametrize("page", PAGES)
def test_hostile_text_is_only_text(browser, site: Path, page: str) -> None:
    tab = browser.new_page()
    asked, wrong = [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("dialog", lambda dialog: wrong.append(dialog.message))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    with served(site) as address:
        tab.goto(f"{address}/{page}.html", wait_until="load")
        tab.wait_for_timeout(500)
        text = tab.locator("article").text_content()
        links = tab.eval_on_selector_all("a", "all => all.map(each => each.href)")
        images = tab.eval_on_selector_all("article img", "all => all.map(i => i.src)")
        pwned = tab.evaluate("window.__pwned")
        formulas = tab.locator("article .math").count()
    tab.close()
    assert pwned is None and not wrong, wrong
    assert all(url.startswith((f"{address}/_", "data:", address)) for url in asked), (
        asked
    )
    assert not [url for url in asked if url.endswith(("/x", "c.png", "l.png"))]
    assert not [link for link in links if link.startswith("javascript:")]
    assert all(f"{address}/_images/" in each for each in images)
    assert formulas == formulas_of(page), "a dollar is a dollar"
    said = " ".join(text.replace("~", "=").split())
    literal = " ".join(escape.visible(FOLDER).split())
    assert said.count(literal) >= PAGES[page], (said.count(literal), said)
