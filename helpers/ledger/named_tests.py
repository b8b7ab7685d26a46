"""What a test of the project says now: it is run, and its result kept.

A claim that a test backs holds if that test passes with the code of this copy, not
because a test of that name exists.
"""

import ast
import importlib.util
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree

from helpers.core.atomic import write_json
from helpers.core.digests import digest, file_digest
from helpers.ledger.rule import FAILS, HOLDS, UNTESTED, Decision

SECONDS = 600  # the longest that a test may take
KEPT = "tested"  # folder of a run, for results by the digest of what they depend on


class NoTestError(ValueError):
    """A test that does not exist."""


def from_test(test: str, root: Path, run: Path) -> Decision:
    """What the test `FILE::NAME` of a project decides, run now or with the same code.

    Raises NoTestError if there is none.
    """
    path, _, name = test.partition("::")
    file = root / path
    tree = ast.parse(file.read_text(encoding="utf-8")) if file.is_file() else None
    names = [each.name for each in tree.body if hasattr(each, "name")] if tree else []
    if name not in names:
        raise NoTestError(f"no test {test}")
    if importlib.util.find_spec("pytest") is None:
        return Decision(UNTESTED, f"`{file.name}` was not run: pytest is not installed")
    kept = run / KEPT / f"{behind(test, root)}.json"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_json(run_test(test, root, kept.with_suffix(".xml")), kept)
    return decided(json.loads(kept.read_text(encoding="utf-8")), file.name)


def behind(test: str, root: Path) -> str:
    """Digest of what a test's result depends on: helpers, its file, what tests share."""
    files = [*root.glob("helpers/**/*.py"), *root.glob("tests/*.py")]
    files.append(root / test.partition("::")[0])
    listed = {each.relative_to(root).as_posix(): file_digest(each) for each in files}
    return digest([test, sys.version, listed])


def run_test(test: str, root: Path, report: Path) -> dict[str, int]:
    """Run one test in a process of its own: how often it passed, failed, was skipped.

    report: where pytest may put what it says, for as long as this takes.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += [f"--junitxml={report.resolve()}", test]
    paths = filter(None, [str(root), os.environ.get("PYTHONPATH")])
    settings = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    where = {"cwd": root, "env": settings, "timeout": SECONDS}
    try:
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(command, capture_output=True, check=False, **where)
        return counted(report)
    finally:
        report.unlink(missing_ok=True)


def counted(report: Path) -> dict[str, int]:
    """The numbers of a JUnit report; of one that is not there, none."""
    total = dict.fromkeys(("passed", "failed", "skipped"), 0)
    cases = ElementTree.parse(report).iter("testcase") if report.is_file() else ()
    for case in cases:
        kinds = {child.tag for child in case}
        failed = kinds & {"failure", "error"}
        total[
            "failed" if failed else "skipped" if "skipped" in kinds else "passed"
        ] += 1
    return total


def decided(counts: dict[str, int], name: str) -> Decision:
    """The status that a test's results give: one failure fails, a skip decides nothing."""
    if counts["failed"]:
        return Decision(FAILS, f"a test in `{name}` fails")
    if counts["skipped"] or not counts["passed"]:
        why = "skipped" if counts["skipped"] else "not run to its end"
        return Decision(UNTESTED, f"a test in `{name}` was {why}")
    return Decision(HOLDS, f"a test in `{name}` passes with this code")
