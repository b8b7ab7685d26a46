"""The page "What can I change?": every command of it works, in the order of the page.

Executed on a copy of the shared run, at the smoke tier; of runs that go on through all
stages only what the page speaks of. Sweeps have tests of their own.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.core.manifests import read_manifest
from helpers.core.paths import ROOT
from helpers.runs.sweeps import copy_run
from tests.book.conftest import NAME, prefbook

pytestmark = pytest.mark.slow

PAGE = (ROOT / "book" / "change.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    for line in block.strip().splitlines()
]
RUN, PAIRS, MODEL = "test-change", "runs/.my_pairs", "runs/.my_model"
# what the page calls them -> what they are called here
HERE = {"cpu": RUN, "mine": f"{RUN}-mine", "llama": f"{RUN}-llama", "beta": f"{RUN}-b"}
HERE |= {"my_pairs": PAIRS, "my_model": MODEL, "200": "20"}


def of(program: str, word: str) -> list[str]:
    """The one command of the page that begins so and holds a word, in words, as here."""
    (line,) = [
        each for each in COMMANDS if each.startswith(program) and word in each.split()
    ]
    return [here(each) for each in shlex.split(line)[1:]]


def here(word: str) -> str:
    """A word of a command, or what it gives to a name, as it is called here."""
    name, equals, value = word.rpartition("=")
    return f"{name}{equals}{HERE.get(value, value)}"


def prefbook_does(*arguments: str) -> str:
    """What the command prints, when all is well."""
    done = prefbook(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def python(word: str) -> str:
    """What a file of the page says."""
    given = [sys.executable, *of("python", word)]
    done = subprocess.run(given, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def clear() -> None:
    """Remove what the commands make here."""
    runs = [f"runs/{name}" for name in HERE.values() if name.startswith(RUN)]
    for place in (*runs, PAIRS, MODEL):
        shutil.rmtree(ROOT / place, ignore_errors=True)


@pytest.fixture(scope="module")
def own(run: Path) -> Iterator[Path]:
    """A copy of the shared run to change."""
    clear()
    copy_run(ROOT / "runs" / NAME, ROOT / "runs" / RUN)
    yield ROOT / "runs" / RUN
    clear()


def test_a_number(own: Path) -> None:
    given = of("prefbook run", "06_dpo.beta=0.3")
    said = prefbook_does(*given, "--run", RUN, "--tier", "smoke", "--only", "06")
    assert "05_sft" not in said and "06_dpo: done" in said
    assert "06_dpo" in prefbook_does(*of("prefbook", "status"), "--run", RUN)
    assert "beta" in prefbook_does(*of("prefbook", "params"))
    assert read_manifest(own, "06_dpo")["parameters"]["beta"] == 0.3


def test_pairs_of_your_own(own: Path) -> None:
    python("book/examples/my_pairs.py")
    given = of("prefbook run", "data_source=my_pairs")
    prefbook_does(*given, "--tier", "smoke")
    note = "Sums and PINs, made up."
    made = read_manifest(ROOT / "runs" / HERE["mine"], "00_data")
    assert made["parameters"]["data_note"] == note and note in given[-1]
    kept = (ROOT / PAIRS / "helpful-base" / "train.jsonl").read_text().splitlines()
    assert len(kept) == 200 and set(json.loads(kept[0])) == {"chosen", "rejected"}


def test_a_base_model_of_your_own(own: Path) -> None:
    python("book/examples/my_model.py")
    prefbook_does(*of("prefbook run", "pretrained=my_model"), "--tier", "smoke")
    job = next((ROOT / "runs" / HERE["llama"] / "01_base_model" / "jobs").iterdir())
    assert json.loads((job / "config.json").read_text())["model_type"] == "llama"


def test_a_method_of_your_own(own: Path) -> None:
    said = python("book/examples/my_method.py").splitlines()
    assert said[0].startswith("By truth, ") and len(said) == 3
    assert all("95% interval" in line for line in said[1:])


def test_a_judge_of_your_own(own: Path) -> None:
    said = python("book/examples/my_judge.py")
    assert said.startswith("Accuracy on test pairs; one half is a coin:\n")
    for policy in ("base", "sft", "sft_dpo", "ppo"):
        assert f"\n{policy} " in said


def test_no_command_of_the_page_is_left_out() -> None:
    tested = [
        of("prefbook", "params"),
        of("prefbook", "status"),
        of("prefbook run", "06_dpo.beta=0.3"),
        of("prefbook run", "data_source=my_pairs"),
        of("prefbook run", "pretrained=my_model"),
        *(of("python", f"book/examples/my_{each}.py") for each in ("pairs", "model")),
        *(of("python", f"book/examples/my_{each}.py") for each in ("method", "judge")),
    ]
    elsewhere = [each for each in COMMANDS if each.split()[1] == "sweep"]
    assert len(tested) + len(elsewhere) == len(COMMANDS)
