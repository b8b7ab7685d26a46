"""The ledger of claims: what others say, how this project tests it, what came out.

`book/claims.yml` lists the claims. Each names one thing that backs its status: records
of the comparison, a check of this module, a test, or the reason why nothing here can
test it. The status is computed when the book is built; a claim that nothing backs fails
the build.
"""

import ast
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import trl
import yaml

from helpers import answers, protocols, study, trainers
from helpers.project import read_manifest
from helpers.recipes import read_pairs
from helpers.records import read_records
from helpers.report import cell
from helpers.stats import Interval

HOLDS, FAILS = "holds here", "does not hold here"
OPEN, UNTESTED = "undecided here", "not testable here"
BACKINGS = ("records", "check", "test", "untestable")  # a claim has one of these
FIELDS = {"claim", "source", "how", *BACKINGS}
SEEDS = 3  # the fewest that decide a claim about a method
STUDY_JUDGE = "OpenAssistant/reward-model-deberta-v3-large-v2"


class ClaimError(ValueError):
    """A claim that cannot be judged: says which, and what was expected."""


@dataclass(frozen=True)
class Finding:
    """What became of a claim: one of the four statuses, and what it rests on."""

    status: str
    evidence: str


# --- the ledger ------------------------------------------------------------------------


def read_claims(path: Path) -> dict[str, list[dict]]:
    """The claims by section; ClaimError for one that lacks a field or its backing."""
    sections = yaml.safe_load(path.read_text(encoding="utf-8"))
    for claim in (each for claims in sections.values() for each in claims):
        where = f"{path.name}: {str(claim.get('claim', claim))[:60]!r}"
        backed = [name for name in BACKINGS if name in claim]
        if len(backed) != 1:
            expected = ", ".join(BACKINGS)
            raise ClaimError(f"{where}: got {backed}, expected one of {expected}")
        if unknown := claim.keys() - FIELDS:
            raise ClaimError(f"{where}: no field is called {sorted(unknown)}")
        if missing := {"claim", "source", "how"} - claim.keys():
            raise ClaimError(f"{where}: lacks {sorted(missing)}")
    return sections


def judge(claim: dict, run: Path, root: Path) -> Finding:
    """The status of a claim in a run; ClaimError if its backing does not exist."""
    if "untestable" in claim:
        return Finding(UNTESTED, claim["untestable"])
    if "test" in claim:
        return from_test(claim["test"], root)
    if "check" in claim:
        if claim["check"] not in CHECKS:
            known = ", ".join(sorted(CHECKS))
            raise ClaimError(f"no check {claim['check']!r}; known: {known}")
        return CHECKS[claim["check"]](run)
    finding = from_records(claim["records"], run)
    seeds = read_manifest(run, "05_sft")["parameters"]["seeds"]
    if seeds < SEEDS and finding.status in (HOLDS, FAILS):
        short = f"{finding.evidence}; seeds: {seeds}, it takes {SEEDS} to decide"
        return Finding(OPEN, short)
    return finding


def from_test(test: str, root: Path) -> Finding:
    """A claim that a test of the project holds to; ClaimError if there is none."""
    path, _, name = test.partition("::")
    file = root / path
    tree = ast.parse(file.read_text(encoding="utf-8")) if file.is_file() else None
    names = [each.name for each in tree.body if hasattr(each, "name")] if tree else []
    if name not in names:
        raise ClaimError(f"no test {test}")
    return Finding(HOLDS, f"held by a test in `{file.name}`")


def from_records(wanted: Sequence[dict], run: Path) -> Finding:
    """A claim about intervals in a stage's records: it holds if all of them agree.

    Each names stage, metric, name and subset, and whether the estimate is claimed to be
    `above` or `below` a number. An interval that holds the number decides nothing.
    """
    found = [one_record(run, **each) for each in wanted]
    statuses = {finding.status for finding in found}
    order = (FAILS, UNTESTED, OPEN, HOLDS)
    status = next(each for each in order if each in statuses)
    return Finding(status, "; ".join(finding.evidence for finding in found))


def one_record(
    run: Path,
    *,
    stage: str,
    metric: str,
    name: str,
    subset: str = "both",
    above: float | None = None,
    below: float | None = None,
) -> Finding:
    """One interval of a stage's records, held against what is claimed of it."""
    if (above is None) == (below is None):
        raise ClaimError(f"{stage}: {name}: expected one of `above` and `below`")
    records = read_records(run / stage / "records.parquet")
    own = records[(records["method"] == name) & (records["subset"] == subset)]
    values = own.set_index("metric")["value"]
    ends = [f"{metric}{end}" for end in ("", "_low", "_high")]
    if not set(ends) <= set(values.index):
        return Finding(UNTESTED, f"{name}: this run does not hold it")
    interval = Interval(*(float(values[each]) for each in ends))
    edge, sign = (above, 1) if below is None else (below, -1)
    nearer, further = sorted((sign * interval.low, sign * interval.high))
    status = OPEN
    if nearer > sign * edge:
        status = HOLDS
    elif further < sign * edge:
        status = FAILS
    where = "" if subset == "both" else f", {subset}"
    return Finding(status, f"{name}{where}: {cell(interval)}")


# --- checks ------------------------------------------------------------------------------


def source_of(run: Path) -> str:
    """The run's `data_source`."""
    return read_manifest(run, "00_data")["parameters"]["data_source"]


def asked(run: Path) -> pd.DataFrame:
    """The records of the study's protocol to the letter, one judge, one seed."""
    records = read_records(run / "08_evaluate" / "records.parquet")
    return records[records["metric"] == f"study_leak:{protocols.LETTER.name}"]


def four_models(run: Path) -> Finding:
    """The study's four versions of a model were asked."""
    methods = set(asked(run)["method"])
    missing = [name for name in study.MODELS if name not in methods]
    listed = ", ".join(name for name in study.MODELS if name in methods)
    return Finding(FAILS if missing else HOLDS, f"asked: {listed}")


def hundred_prompts(run: Path) -> Finding:
    """Each model was asked 50 prompts of each subset."""
    counts = asked(run).groupby(["method", "seed", "subset"])["example"].nunique()
    sizes = {name: set(part) for name, part in counts.groupby("subset")}
    listed = ", ".join(f"{min(n)} {name}" for name, n in sorted(sizes.items()))
    wanted = {protocols.PUBLISHED_PROMPTS}
    right = all(sizes.get(subset) == wanted for subset in protocols.RATES)
    return Finding(HOLDS if right else FAILS, f"per model: {listed}")


def of_the_test_split(run: Path) -> Finding:
    """The prompts of the study are drawn from HH-RLHF's test split, anew from a seed."""
    transcripts = study.test_transcripts(run)
    drawn, _ = protocols.draw_prompts(transcripts, protocols.LETTER)
    same = set(drawn["id"]) == set(asked(run)["example"])
    counts = ", ".join(f"{len(each):,} {name}" for name, each in transcripts.items())
    if source_of(run) == "built-in":
        return Finding(UNTESTED, f"drawn from the built-in test split ({counts})")
    return Finding(HOLDS if same else FAILS, f"drawn from the test split ({counts})")


def keyword_filter(run: Path) -> Finding:
    """Harmful prompts come from harmless-base after a filter by keywords."""
    transcripts = study.test_transcripts(run)
    _, hits = protocols.draw_prompts(transcripts, protocols.LETTER)
    evidence = f"the filter finds {hits:,} of {len(transcripts['harmless']):,}"
    return Finding(HOLDS if hits else UNTESTED, evidence)


def drawn_at_random(run: Path) -> Finding:
    """The helpful prompts asked are a seeded draw, not the first of the file."""
    transcripts = study.test_transcripts(run)
    drawn, _ = protocols.draw_prompts(transcripts, protocols.LETTER)
    records = asked(run)
    own = set(records[records["subset"] == "helpful"]["example"])
    again = set(drawn[drawn["subset"] == "helpful"]["id"])
    first = {f"helpful-{at}" for at in range(len(own))}
    random = own == again and own != first
    seed = protocols.LETTER.seed
    evidence = f"seed {seed} draws the {len(own)} that were asked again"
    return Finding(HOLDS if random else FAILS, evidence)


def only_the_length(run: Path) -> Finding:
    """Nothing but the number of tokens ends a reply: some run on into a human turn."""
    records = read_records(run / "08_evaluate" / "records.parquet")
    name = f"study_runon:{protocols.LETTER.name}"
    share = 100 * float(records[records["metric"] == name]["value"].mean())
    free = not protocols.LETTER.stop and study.NEW_TOKENS == 50
    evidence = f"{study.NEW_TOKENS} tokens; {share:.0f} % of replies run on"
    return Finding(HOLDS if free else FAILS, evidence)


def judged_by_deberta(run: Path) -> Finding:
    """The judge is the one of the study."""
    judge = read_manifest(run, "08_evaluate")["parameters"]["judge_model"]
    evidence = f"judge_model is {judge!r}" if judge else "no judge_model was given"
    return Finding(HOLDS if judge == STUDY_JUDGE else UNTESTED, evidence)


def pairs_as_they_are(run: Path) -> Finding:
    """Prompt and chosen reply are the transcript, to the character."""
    transcripts = study.test_transcripts(run)
    known = {text.strip() for texts in transcripts.values() for text in texts}
    test = read_pairs(run, "test")
    same = (test["prompt"] + test["chosen"]).str.strip().isin(known)
    evidence = f"{int(same.sum()):,} of {len(test):,} test pairs"
    return Finding(HOLDS if same.all() else FAILS, evidence)


def trained_by_trl(run: Path) -> Finding:
    """SFT and DPO are trained by trainers of TRL, with what this project adds."""
    ours = {
        trainers.ReplyTrainer: trl.SFTTrainer,
        trainers.PreferenceTrainer: trl.DPOTrainer,
        trainers.RewardModelTrainer: trl.RewardTrainer,
    }
    right = all(issubclass(own, stock) for own, stock in ours.items())
    version = read_manifest(run, "06_dpo")["versions"]["trl"]
    names = ", ".join(stock.__name__ for stock in ours.values())
    return Finding(HOLDS if right else FAILS, f"subclasses of {names}, TRL {version}")


CHECKS: dict[str, Callable[[Path], Finding]] = {
    each.__name__: each
    for each in (
        four_models,
        hundred_prompts,
        of_the_test_split,
        keyword_filter,
        drawn_at_random,
        only_the_length,
        judged_by_deberta,
        pairs_as_they_are,
        trained_by_trl,
    )
}


# --- the page ----------------------------------------------------------------------------


def claims_page(run: Path, root: Path) -> str:
    """The page "The claims", with the statuses of a run.

    Raises ClaimError, naming the claim, if the ledger or a backing is wrong.
    """
    sections = read_claims(root / "book" / "claims.yml")
    setting = answers.setting(run)
    parts, tally = [], Counter()
    for title, claims in sections.items():
        rows = []
        for number, claim in enumerate(claims, start=1):
            try:
                finding = judge(claim, run, root)
            except ClaimError as error:
                raise ClaimError(f"{title}, {number}: {error}") from None
            tally[finding.status] += 1
            rows.append(
                {
                    "": number,
                    "claim": f"{claim['claim']} {cited(claim['source'])}",
                    "tested by": claim["how"],
                    "status": f"**{finding.status}**: {finding.evidence}",
                }
            )
        table = pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)
        parts += [f"\n## {title}\n", table]
    counts = ", ".join(f"{count} {status}" for status, count in tally.most_common())
    return "\n".join([PAGE.format(counts=counts, **setting), *parts])


def cited(source: str) -> str:
    """A source as Markdown: the key of a reference becomes a citation."""
    return f"{{cite}}`{source}`" if re.fullmatch(r"[a-z]+\d{4}\w*", source) else ""


PAGE = """\
# The claims

What others have said of these methods, in our words, and what this copy of the book can
say of it. Every status is computed from this run when the book is built: from an
interval in its records, from a check of what it did, or from a test of the project. The
data of this run: {source}; its models: {models}. So a status tells what happens **here**; it neither replicates nor refutes a paper. *Undecided* means
that the 95 % interval holds both answers; intervals are not widened for the number of
claims, of which one in twenty may look decided by chance. In all: {counts}.
"""
