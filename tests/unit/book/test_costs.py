"""What it costs: a recorded measurement comes back on the page as it was measured."""

import json

import pandas as pd
import pytest

from helpers.book import cost_page, measured
from helpers.core import measurements
from helpers.core.paths import ROOT
from helpers.core.records import tidy, write_records


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["benchmarks/some.py", "compare", "--pairs", "9"])
    table = pd.DataFrame({"trainer": ["ours", "stock"], "pairs/s": [47.04, 11.8]})
    folder = tmp_path / "recorded"
    measurements.keep_measurement(
        table.set_index("trainer"), folder / "some", "Some", "Nine pairs."
    )
    return folder


def test_a_measurement_keeps_its_command_and_machine(kept) -> None:
    about = json.loads((kept / "some" / "about.json").read_text("utf-8"))
    assert about["command"] == "python benchmarks/some.py compare --pairs 9"
    assert about["cpu_count"] >= 1 and "torch" in about["versions"]
    assert [file.name for file in (kept / "some").glob(".*")] == []


def test_the_page_shows_stages_jobs_and_measurements(kept, tmp_path) -> None:
    rows = [
        {"method": "rm", "init": "base", "pairs": 9600, "seed": seed, "value": seconds}
        for seed, seconds in enumerate((10.0, 20.0))
    ]
    (tmp_path / "04_reward_model").mkdir()
    rows = [{"metric": "seconds", **row} for row in rows]
    rows += [{**row, "metric": "cpu_seconds", "value": 3.0} for row in rows]
    records = tidy(rows, stage="04_reward_model")
    write_records(records, tmp_path / "04_reward_model" / "records.parquet")
    manifest = {"seconds": 40.0, "job_seconds": 30.0, "peak_memory_mib": 512.0}
    page = cost_page.costs_page(tmp_path, {"04_reward_model": manifest}, kept)
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if line.startswith("|")
    ]
    assert ["04_reward_model", "40", "100%", "30", "512"] in cells
    assert [
        "04_reward_model",
        "reward model",
        "9,600",
        "2",
        "15.0",
        "3.0",
        "30",
    ] in cells
    assert ["ours", "47.04"] in cells and "## Some" in page
    assert "python benchmarks/some.py compare --pairs 9" in page


def test_a_kept_command_names_no_place_of_this_machine(tmp_path, monkeypatch) -> None:
    data = tmp_path / "planted" / "hh rlhf"
    data.mkdir(parents=True)
    typed = ["/planted/bin/prefbook", "tune", "--data", str(data), f"--out={data}/x"]
    monkeypatch.setenv("HOME", str(tmp_path / "planted"))
    command = measurements.typed([*typed, "--like", "../shared/hh", "a\n```\n\x1b"])
    assert "planted" not in command and "\n" not in command and "\x1b" not in command
    assert command.startswith("python prefbook tune --data 'hh rlhf (")
    assert "../shared/hh" in command  # it starts at the project
    package = [str(ROOT / "tests" / "chaos" / "__main__.py"), "--kills", "2"]
    assert measurements.typed(package) == "python -m tests.chaos --kills 2"


def test_hostile_cells_of_a_measurement_stay_cells(kept) -> None:
    file = kept / "some" / "table.csv"
    bad = "a | <b>c</b> {cite}`d` $e$"
    file.write_text(file.read_text().replace("stock", bad))
    page = "\n".join(measured.measurement(kept / "some"))
    assert r"a \| \<b\>c\</b\> \{cite\}\`d\` \$e\$" in page
