"""Records keep their columns and types, whatever rows they come from."""

import pandas as pd
import pytest

from helpers.core.records import COLUMNS, read_records, tidy, write_records


def test_rows_become_exactly_the_columns() -> None:
    rows = [{"metric": "loss", "value": 1, "step": 3}, {"metric": "kl", "seed": 1}]
    frame = tidy(rows, stage="06_dpo", seed=0)
    assert frame.dtypes.astype(str).to_dict() == COLUMNS
    assert frame["seed"].tolist() == [0, 1]
    assert frame["step"].isna().tolist() == [False, True]
    assert frame["subset"].tolist() == ["", ""]
    assert frame["value"].isna().tolist() == [False, True]


def test_no_rows_are_records_too() -> None:
    assert tidy([]).dtypes.astype(str).to_dict() == COLUMNS


def test_unknown_column_is_named() -> None:
    with pytest.raises(ValueError, match="'metrics'"):
        tidy([{"metrics": "loss"}])
    with pytest.raises(ValueError, match="'sead'"):
        tidy([{"metric": "loss"}], sead=0)


def test_fractions_are_no_seeds() -> None:
    with pytest.raises((TypeError, ValueError)):
        tidy([{"seed": 0.5}])


def test_round_trip(tmp_path) -> None:
    rows = [{"metric": "margin", "example": "h-1", "value": 0.1, "pairs": 250}]
    frame = tidy([*rows, {"metric": "loss", "value": float("inf")}], stage="x")
    write_records(frame, tmp_path / "records.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["records.parquet"]
    pd.testing.assert_frame_equal(read_records(tmp_path / "records.parquet"), frame)
