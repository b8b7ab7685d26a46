"""What a model of the hub says that is to be read of it, looked at before it is read."""

from pathlib import Path

from huggingface_hub import hf_hub_download, is_offline_mode
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from helpers.core import model_files

CHECKS = {
    model_files.ADAPTER: model_files.check_adapter,
    model_files.CONFIG: model_files.check_config,
    model_files.INDEX: model_files.check_index,
}


def check_files(name: str, commit: str) -> None:
    """Raise ModelError for a folder or a hub name whose files may not be read.

    Of the hub only what says what to read is fetched first, at the commit.
    """
    if Path(name).is_dir():
        model_files.check_model(Path(name))
        return
    for file, check in CHECKS.items():
        if found := fetched(name, commit, file):
            check(found)


def fetched(name: str, commit: str, file: str) -> Path | None:
    """One file of a hub name at a commit; None if it has none of this name.

    Raises ModelError if the hub does not say so. Offline, what the cache lacks is not
    there: the library cannot read it either.
    """
    with model_files.told_in_one_line(f"{name}@{commit}", "a model"):
        try:
            return Path(hf_hub_download(name, file, revision=commit))
        except LocalEntryNotFoundError:  # neither in the cache nor reachable
            if is_offline_mode():
                return None
            raise
        except EntryNotFoundError:
            return None
