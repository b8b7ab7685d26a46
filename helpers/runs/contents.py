"""What a finished stage gives, as digests that can be compared."""

from pathlib import Path

import pandas as pd

from helpers.core.digests import Inventory, digest, inventory
from helpers.core.records import MEASURED


def holdings(folder: Path) -> Inventory:
    """The files of a stage that is finished, but for the logs that trackers write."""
    return {
        name: each
        for name, each in inventory(folder).items()
        if "runs" not in Path(name).parts and name != "manifest.json"
    }


def results(files: Inventory, records: pd.DataFrame) -> dict[str, str]:
    """What a stage gives, as digests: its content, and apart from it what it took.

    A stage that was run again and gave the same leaves later ones as they are. Figures
    are no content.
    """
    timed = records["metric"].isin(MEASURED)
    content = {
        name: digest_of
        for name, (_, digest_of, _) in files.items()
        if Path(name).name not in ("records.parquet", "job.json")
        and "figures" not in Path(name).parts
    }
    both = [content, frame_digest(records[~timed])]
    return {"content": digest(both), "seconds": frame_digest(records[timed])}


def frame_digest(frame: pd.DataFrame) -> str:
    """SHA-256 of the values of a table, in their order."""
    hashes = pd.util.hash_pandas_object(frame, index=False)
    return digest(hashes.tolist())
