"""What every number of a run has to be read with: data, models, seeds, judge."""

from os.path import isdir  # unlike Path's, False for a name that is too long
from pathlib import Path

from helpers.core.hub import plain_name
from helpers.core.manifests import read_manifest
from helpers.core.paths import ROOT
from helpers.data.hh import BUILT_IN
from helpers.methods import is_held_out
from helpers.runs import store


def setting(run: Path) -> dict[str, object]:
    """What every number of the run has to be read with: data, models, seeds, judge."""
    synthetic = store.data_source(run) == BUILT_IN
    start = read_manifest(run, "01_base_model")["parameters"].get("pretrained", "")
    origin = f"fine-tuned here from {plain_name(start)}"
    return {
        "source": "synthetic (built-in)" if synthetic else "real HH-RLHF",
        "models": origin if start else "trained here from scratch",
        "seeds": int(read_manifest(run, "05_sft")["parameters"]["seeds"]),
        "judge": judge_of(run),
        "note": data_note(run),
    }


def judge_of(run: Path) -> str:
    """Who decides between policies, in words."""
    panel = store.panel(run)
    learned = is_held_out(panel[0])
    return f"{len(panel)} held-out reward models" if learned else panel[0]


# as a review quotes the paper
AGREEMENT = (
    "Researchers and crowdworkers agreed on 63 % of its pairs (Bai et al. 2022)."
)


OFFENSIVE = "Dialogues of HH-RLHF that are shown can be offensive."


def data_note(run: Path) -> str:
    """What a page of results says of the data: where the splits are from, the ceiling."""
    given = read_manifest(run, "00_data")["parameters"]
    source = given["data_source"]
    if source == BUILT_IN:
        return "Labels are noisy by design: 00 shows the Bayes accuracy of each subset."
    own = "The splits are those of a folder whose origin this run was not told."
    if not isdir(ROOT / source):
        own = "The splits are the published ones."
    return f"{given['data_note'] or own} {AGREEMENT} {OFFENSIVE}"
