"""The tidy record: the one form in which everything measured is kept.

Long form, one number a row. Per-example scores name their pair, so that every interval
can be computed again; an estimate leaves `example` and `seed` empty and has its bounds
beside it. What a number is of stands in columns of its own, never inside `metric`.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from helpers.core.atomic import damaged, whole

COLUMNS: dict[str, str] = {
    "stage": "str",
    "method": "str",
    "init": "str",
    "pairs": "Int64",
    "strength": "float64",  # beta of DPO, tau of IPO, KL weight of PPO, N
    "seed": "Int64",
    "subset": "str",
    "example": "str",
    "step": "Int64",
    "metric": "str",
    "judge": "str",  # who scored a reply; of a proxy, its reward model's start
    "decoding": "str",  # greedy, sampled, or drawn: one of best-of-N's
    "protocol": "str",  # of the OPT-350M study
    "opponent": "str",  # of a difference or a win rate: whom it is against
    "value": "float64",
    "low": "float64",  # bounds of an estimate, of 95 %
    "high": "float64",
    "error": "float64",  # its standard error
    "p": "float64",  # two-sided, of no difference
    "seeds": "Int64",  # over how many seeds it is
    "n": "Int64",  # and over how many examples
}

PROCESSOR = "cpu_seconds"  # user and system, all threads, of a job but its examinations
ABOVE_IDLE = "memory_above_idle_mib"  # a job's peak less what the libraries hold
# metrics that tell of the machine: they differ from run to run, and nothing else does
MEASURED = ("seconds", PROCESSOR, "peak_memory_mib", ABOVE_IDLE)


def tidy(rows: Iterable[Mapping] | pd.DataFrame, **common: object) -> pd.DataFrame:
    """Records from rows: exactly the columns and dtypes of `COLUMNS`, in order.

    `common` fills the columns that a row does not give itself. Text that is not given
    is "", a number that is not given is missing. Raises ValueError for an unknown
    column.
    """
    frame = rows.copy() if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
    unknown = [name for name in [*frame.columns, *common] if name not in COLUMNS]
    if unknown:
        known = ", ".join(COLUMNS)
        raise ValueError(f"a record has no column {unknown[0]!r}; it has {known}")
    for name, value in common.items():
        given = frame[name] if name in frame else pd.Series(None, frame.index, object)
        frame[name] = given.astype(object).where(given.notna(), value)
    frame = frame.reindex(columns=list(COLUMNS))
    text = [name for name, dtype in COLUMNS.items() if dtype == "str"]
    frame[text] = frame[text].astype(object).where(frame[text].notna(), "")
    return frame.astype(COLUMNS).reset_index(drop=True)


def select(records: pd.DataFrame, metric: str = "", **columns: object) -> pd.DataFrame:
    """The records of a metric whose columns hold what is said; of all metrics if "".

    A list stands for any of its values: `select(records, "reward", judge=["a", "b"])`.
    Raises KeyError for a column that records do not have.
    """
    wanted = columns | ({"metric": metric} if metric else {})
    kept = pd.Series(True, records.index)
    for name, value in wanted.items():
        values = value if isinstance(value, list | tuple) else [value]
        kept &= records[name].isin(values)
    return records[kept]


def example_rows(
    pairs: pd.DataFrame, metric: str, values: Iterable[float], **common: object
) -> list[dict]:
    """Per-example records of one metric; `values` in the order of `pairs`.

    common: further columns, such as judge and decoding.
    """
    keys = zip(pairs["id"], pairs["subset"], values, strict=True)
    common = {"metric": metric, **common}
    return [
        {**common, "example": example, "subset": subset, "value": float(value)}
        for example, subset, value in keys
    ]


def write_records(frame: pd.DataFrame, path: Path) -> None:
    """Write records as Parquet; the file appears whole or not at all."""
    with whole(path) as aside:
        tidy(frame).to_parquet(aside)


def read_records(path: Path) -> pd.DataFrame:
    """The records of a file that `write_records` wrote; Damaged if they are none."""
    return tidy(read_table(path))


def read_table(path: Path, *columns: str) -> pd.DataFrame:
    """A table of ours, or some columns of it.

    Raises FileNotFoundError if there is none, Damaged if the file holds none.
    """
    try:
        return pd.read_parquet(path, columns=list(columns) or None)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # what pyarrow says of bytes that are none
        raise damaged(path, "it is no table") from error
