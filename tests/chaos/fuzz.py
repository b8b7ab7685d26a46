"""Bad input by the hundred thousand: python -m tests.chaos.fuzz --seed 0 --inputs 100000.

Valid inputs are spoiled and given to what reads them. Each is accepted or refused in one
line; whatever else happens is wrong, and its name is printed: `--only NAME` repeats it.
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from helpers.core.inputs import InputError
from tests.chaos.parsers import BY_NAME, PARSERS

SECONDS, LETTERS = 1.0, 500  # the most that a refusal may take, and be


# --- what became of them ----------------------------------------------------------------


def outcome(read: Callable[[], object]) -> tuple[str, str]:
    """`accepted`, `refused` or `wrong`, and what was said."""
    started = time.process_time()
    try:
        read()
        found, said = "accepted", ""
    except InputError as error:
        found, said = "refused", str(error)
    except Exception as error:  # noqa: BLE001  whatever it is, it is counted
        return "wrong", f"{type(error).__name__}: {error}"
    took = time.process_time() - started
    if took > SECONDS:
        return "wrong", f"{found} after {took:.1f} s: {said}"
    if found == "refused" and not (said.isprintable() and 10 < len(said) <= LETTERS):
        return "wrong", f"refused in {len(said)} characters: {said!r}"
    return found, said


def tried(name: str, folder: Path) -> tuple[str, str]:
    """What becomes of the input that is called `PARSER-SEED-NUMBER`."""
    parser = BY_NAME[name.partition("-")[0]]
    made = parser.make(random.Random(name))
    return outcome(lambda: parser.read(made, folder))


def run(seed: int, inputs: int, say: Callable[[str], None] = print) -> list[dict]:
    """Try so many inputs; a row for every parser: parser, inputs, refused, accepted, wrong."""
    rows = []
    for parser in PARSERS:
        count, found = max(1, inputs * parser.share // 100), Counter()
        with TemporaryDirectory() as folder:
            for number in range(count):
                name = f"{parser.name}-{seed}-{number}"
                became, said = tried(name, Path(folder))
                found[became] += 1
                if became == "wrong":
                    say(f"wrong: {name}: {said[:300]!r}")
        kinds = {kind: found[kind] for kind in ("refused", "accepted", "wrong")}
        rows.append({"parser": parser.name, "inputs": count, **kinds})
    return rows


def as_faults(rows: list[dict]) -> list[dict]:
    """The rows as those of other faults: fault, tries, wrong, outcome."""
    words = "{refused} refused in one line, {accepted} accepted"
    return [
        {
            "fault": f"spoiled input: {row['parser']}",
            "tries": row["inputs"],
            "wrong": row["wrong"],
            "outcome": words.format(**row),
        }
        for row in rows
    ]


def main(arguments: list[str] | None = None) -> int:
    """Print what became of all inputs; 1 if anything was wrong."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--inputs", type=int, default=100_000)
    options.add_argument("--only", help="the name of one input, as settings-0-17")
    options.add_argument("--json", type=Path, help="write the rows into this file")
    given = options.parse_args(arguments)
    if given.only:
        with TemporaryDirectory() as folder:
            made = BY_NAME[given.only.partition("-")[0]].make(random.Random(given.only))
            became, said = tried(given.only, Path(folder))
        print(f"{made!r}\n{became}: {said}")
        return int(became == "wrong")
    rows = run(given.seed, given.inputs)
    for row in as_faults(rows):
        print(f"{row['fault']}: {row['tries']} tries, {row['outcome']}")
    if given.json:
        given.json.write_text(json.dumps(as_faults(rows), indent=1) + "\n", "utf-8")
    return int(any(row["wrong"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
