"""Reward models of a finished run against the rules of 00, as one table.

    prefbook run --run real -p data_source=Anthropic/hh-rlhf --only 04_reward_model ...
    python benchmarks/reward_models.py --run runs/real --out book/recorded/real/reward_models

Reads the records of 00 and 04 only, so it can be recorded before the policies are there.
"""

import sys
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from helpers.analysis import pair_scorers
from helpers.book import recorded_runs
from helpers.core import measurements
from helpers.core.manifests import read_manifest
from helpers.core.records import read_records
from helpers.statistics import compare, formats


def accuracies(run: Path) -> pd.DataFrame:
    """Accuracy on held-out pairs per subset: rows are scorers, with their pairs."""
    rewards = read_records(run / "04_reward_model" / "records.parquet")
    rules = read_records(run / "00_data" / "records.parquet")
    margins = compare.named(pd.concat([rewards, rules]).query("metric == 'margin'"))
    table = compare.accuracy_table(margins, by=["name", "pairs"])
    table["interval"] = table["interval"].map(formats.cell)
    return table.pivot(index=["name", "pairs"], columns="subset", values="interval")


def against_words(run: Path) -> str:
    """Reward models with all pairs minus the bag of words, on harmless pairs.

    Where no interval lies above zero for both, what each number of pairs gave is told.
    """
    rewards = read_records(run / "04_reward_model" / "records.parquet")
    rules = read_records(run / "00_data" / "records.parquet")
    rewards, words = (
        each[each["method"] == method]
        for each, method in ((rewards, "rm"), (rules, "bag of words"))
    )
    largest = rewards[rewards["pairs"] == rewards["pairs"].max()]
    both = compare.rightness(pd.concat([largest, words]))
    both = both.assign(name=both["init"].where(both["init"] != "", both["method"]))
    contrasts = [(start, "bag of words") for start in ("base", "codepmp")]
    table = compare.difference_table(both, contrasts).query("subset == 'harmless'")
    found = [
        f"{row.name.split(' ')[0]} start {formats.cell(row.interval)}"
        for row in table.itertuples(index=False)
    ]
    said = f"Reward model minus bag of words, harmless pairs: {'; '.join(found)}."
    if (table["low"] > 0).all():
        return said
    curve = compare.accuracy_table(rewards.query("init == 'base'"), by=["pairs"])
    curve = curve[curve["subset"] == "harmless"].sort_values("pairs")
    steps = ", ".join(
        f"{formats.cell(row.interval)} with {row.pairs:,}" for row in curve.itertuples()
    )
    return (
        f"{said} So it is not shown to have learned more than words. Accuracy of the base "
        f"start by number of pairs: {steps}."
    )


def gains(run: Path) -> str:
    """What CodePMP changes at each number of pairs, and what it is worth in labels."""
    rewards = read_records(run / "04_reward_model" / "records.parquet")
    rewards = rewards.query("method == 'rm'")
    table = pair_scorers.pretraining_gains(rewards).query("subset == 'both'")
    table = table[table["init"] == "codepmp"]
    parts = [
        f"{row.pairs:,} pairs {formats.cell(row.interval)}"
        for row in table.itertuples()
    ]
    worth = pair_scorers.label_worth(rewards, "codepmp")
    words = f"CodePMP minus base start, both subsets: {'; '.join(parts)}."
    if worth is not None:
        words += f" In labels that is a factor of {formats.cell(worth[0], 2)}."
    return words


def main(
    run: Annotated[Path, typer.Option(help="Folder of the run.")],
    out: Annotated[Path | None, typer.Option(help="Where to record.")] = None,
) -> None:
    """Print the table; with --out, keep it for the book."""
    table, words = accuracies(run), f"{gains(run)} {against_words(run)}"
    print(table.to_string(), words, sep="\n")
    if out is not None:
        about = read_manifest(run.resolve(), "01_base_model")
        shape = ", ".join(
            f"{name} {about['parameters'][name]}" for name in ("hidden", "layers")
        )
        text = (
            f"Data: {recorded_runs.data_of(run.resolve())}. Models: OPT trained here from "
            f"scratch ({shape}); the mean over seeds, with 95 % intervals over pairs and "
            f"seeds. {words}"
        )
        measurements.keep_measurement(table, out, "Reward models on real pairs", text)


if __name__ == "__main__":
    typer.run(main)
