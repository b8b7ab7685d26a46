"""Google Colab: install what it lacks, and keep runs where a lost session leaves them.

Every notebook begins with the same cell, which fetches the project and calls `set_up`.
This module needs nothing but the standard library and `packaging`: at that point there
is nothing else.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

from helpers.core.atomic import write_text

KEPT = ("torch", "numpy", "pandas")  # Colab's own are never replaced
DRIVE = Path("/content/drive/MyDrive")  # where Drive is, once mounted

CELL = """\
# Only on Colab: fetches the project and what it lacks; elsewhere it does nothing.
import os
import subprocess
import sys

keep = ""  # @param {{type:"string"}}
if "google.colab" in sys.modules:
    home = os.environ.get("PREFBOOK_HOME", "/content/prefbook")
    url, branch = "{url}", "{branch}"
    fetch = ["git", "clone", "--quiet", "--depth=1", f"--branch={{branch}}", url, home]
    os.path.exists(home) or subprocess.run(fetch, check=True)
    sys.path.insert(0, home)
    from helpers.publish.colab import set_up

    set_up(home, keep)"""


class Address(NamedTuple):
    """Where the project is fetched from, and who opens its notebooks."""

    url: str
    branch: str
    colab: str


def address_in(config: Path) -> Address:
    """What `_config.yml` says of it; InputError where it does not."""
    from helpers.core.yaml_files import text_at  # Colab may have no YAML yet

    keys = ("repository.url", "repository.branch", "launch_buttons.colab_url")
    return Address(*(text_at(config, key) for key in keys))


def install_cell(address: Address) -> str:
    """The first code cell of every notebook, for a repository."""
    return CELL.format(url=address.url, branch=address.branch)


def write_cells(address: Address, notebooks: Sequence[Path]) -> int:
    """Give every notebook the first cell for a repository; how many changed."""
    changed = 0
    for path in notebooks:
        content = json.loads(path.read_text(encoding="utf-8"))
        (cell,) = (
            each
            for each in content["cells"]
            if "remove-cell" in each["metadata"].get("tags", [])
        )
        lines = install_cell(address).splitlines(keepends=True)
        if cell["source"] != lines:
            cell["source"] = lines
            text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
            write_text(text, path)
            changed += 1
    return changed


def write_link(address: Address, readme: Path) -> bool:
    """Let the README's link lead to Colab with this repository; whether it changed."""
    place = address.url.partition("github.com/")[2]
    start = f"{address.colab}/github/"
    text = readme.read_text(encoding="utf-8")
    link = f"{start}{place}/blob/{address.branch}/notebooks/"
    changed = re.sub(rf"{re.escape(start)}\S+?/notebooks/", link, text)
    if changed != text:
        write_text(changed, readme)
    return changed != text


def set_up(home: str | Path, keep: str = "", drive: Path = DRIVE) -> None:
    """Install what is missing, make `home` the current folder, keep its runs.

    keep: a folder for the runs; by default one on Drive, if Drive is mounted. Says what
    it did. Raises CalledProcessError if pip fails.
    """
    root = Path(home)
    missing = lacking(root / "pyproject.toml")
    if missing:
        print(f"installing {', '.join(sorted(missing))}", flush=True)
        install(root, missing)
    kept = ", ".join(f"{name} {version(name)}" for name in KEPT)
    print(f"ready; kept as they were: {kept}")
    if loaded := outdated_modules():
        print(
            f"{', '.join(loaded)} had been loaded before: restart the session once "
            "(Runtime > Restart session), then run all cells"
        )
    print(keep_runs(root, keep, drive))
    os.chdir(root)
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))


# --- packages --------------------------------------------------------------------------


def requirements(pyproject: Path) -> list[Requirement]:
    """What the project needs to run its notebooks."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    return [Requirement(each) for each in project["dependencies"]]


def installed(name: str) -> str | None:
    """The version of a package, None if it is not there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def lacking(pyproject: Path) -> dict[str, Requirement]:
    """The packages that are not there or out of range, but for those that are kept.

    Raises RuntimeError if one of those is out of range: this runtime is too old.
    """
    found = {}
    for need in requirements(pyproject):
        have = installed(need.name)
        if have and need.specifier.contains(have, prereleases=True):
            continue
        if have and need.name in KEPT:
            raise RuntimeError(
                f"this runtime has {need.name} {have}, the project needs {need}; choose "
                "a newer runtime version"
            )
        found[need.name] = need
    return found


def install(root: Path, missing: dict[str, Requirement]) -> None:
    """Install packages at the pins of constraints.txt, without touching those kept."""
    pins = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    held = [line for line in pins if may_pin(line, missing)]
    held += [f"{name}=={version(name)}" for name in KEPT if installed(name)]
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(held) + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--quiet"]
        command += ["-c", str(constraints), *map(str, missing.values())]
        subprocess.run(command, check=True)


def may_pin(line: str, missing: dict[str, Requirement]) -> bool:
    """Whether a pin holds for a package that is missing, or is not there at all.

    What Colab has in range stays as it is, whatever version the book was made with.
    """
    name = line.partition("==")[0].strip()
    if not name or name.startswith("#") or name in KEPT:
        return False
    return name in missing or installed(name) is None


def outdated_modules() -> list[str]:
    """Modules in memory that are older than what is installed now.

    Colab may load pyarrow before the first cell; a loaded library cannot be replaced.
    """
    names = ("pyarrow", "datasets", "transformers", "accelerate", "peft")
    return [
        name
        for name in names
        if name in sys.modules and sys.modules[name].__version__ != installed(name)
    ]


# --- runs ------------------------------------------------------------------------------


def keep_runs(root: Path, keep: str, drive: Path) -> str:
    """Let `root/runs` be the folder `keep`, or one on Drive; says where runs are.

    Raises FileExistsError if there are runs in `root` already.
    """
    runs = root / "runs"
    if not keep and not drive.is_dir():
        return (
            f"runs are in {runs} and end with the session; to keep them, mount Drive "
            "before this cell, or name a folder in `keep`"
        )
    place = Path(keep) if keep else drive / "prefbook-runs"
    place.mkdir(parents=True, exist_ok=True)
    if runs.is_symlink():
        runs.unlink()
    elif runs.is_dir():
        if any(runs.iterdir()):
            raise FileExistsError(f"{runs} holds runs: move them to {place} first")
        runs.rmdir()
    runs.symlink_to(place, target_is_directory=True)
    return f"runs are kept in {place}; what is finished there is not done again"
