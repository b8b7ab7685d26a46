"""What a job leaves when its training goes wrong, and where it is kept."""

import os
import shutil
from pathlib import Path

FAILED = "failed"  # in a job's folder, and in its stage's for all that failed


def keep_failed(aside: Path, folder: Path) -> str:
    """Move what a job left in `failed` to its stage's folder; where it is, in words.

    aside: where the job worked; folder: where it would have been, STAGE/jobs/SLUG. It
    becomes STAGE/failed/SLUG, in place of what is there. Returns "" if there is nothing.
    """
    left, kept = aside / FAILED, folder.parent.parent / FAILED / folder.name
    if not left.is_dir():
        return ""
    shutil.rmtree(kept, ignore_errors=True)
    kept.parent.mkdir(parents=True, exist_ok=True)
    os.replace(left, kept)
    place = "/".join(kept.parts[-3:])
    return f"; its batch is kept in {place} of the run"
