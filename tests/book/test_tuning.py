"""The command `prefbook tune` on the smoke run: real trainings, scored and recorded."""

from pathlib import Path

import pandas as pd

from helpers.data.hh import SPLITS
from helpers.recipes.trials import SEED
from helpers.runs.store import read_pairs
from tests.book.conftest import prefbook


def test_a_trial_of_the_settings_as_they_are_is_the_model_of_the_stage(
    run: Path, tmp_path: Path
) -> None:
    """Its seed is one of the stage's, so SFT is trained again to the same weights."""
    given = ("--methods", "sft,rm,sft_dpo,ppo", "--factors", "1,3")
    done = prefbook("tune", "--run", run.name, *given, "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    table = pd.read_csv(tmp_path / "table.csv").set_index("method")
    assert table.index.unique().tolist() == ["sft", "rm", "sft_dpo", "ppo"]
    assert table["chosen"].groupby("method").sum().eq(1).all()
    same, other = table.loc["sft", "kl"]
    assert SEED == 0 and abs(same) < 1e-4 < other
    assert table.loc["rm", ["helpful", "harmless"]].stack().between(0, 1).all()
    assert table["n"].between(1, len(read_pairs(run, "dev"))).all()
    assert [path.name for path in (run / "tuning").iterdir()] == ["jobs"]
    assert not list((run / "tuning").rglob("*.safetensors"))  # only scores are kept


def test_no_pair_is_in_two_splits(run: Path) -> None:
    found = [set(read_pairs(run, split)["prompt"]) for split in SPLITS]
    assert all(found) and sum(map(len, found)) == len(set.union(*found))
