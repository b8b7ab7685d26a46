"""When a claim counts as decided: from intervals and p-values to verdicts, one rule.

- A claim has one or more *parts*: each says that a true value lies above, or below, an
  edge. It **holds here** if all parts are shown (its p is then the largest of theirs). It
  **does not hold here** if at least one is shown to lie on the other side (p is the
  smallest, times the number of parts: parts share the level of their claim). It is
  **equivalent here** if every part's true value is shown to lie nearer to its edge than
  the smallest effect of interest, by two one-sided tests.
- p-values of a direction are two-sided, so that a claim may err in either direction with
  5 % in all. They are the recorded ones, or Student's t with the degrees of freedom that
  the interval's width and its standard error imply; where the error is unknown, with one
  less than there are seeds.
- The least of the three is the p of the claim. Claims are tested in *families* that are
  fixed before the run, and Holm's correction (1979) is over all claims of a family: the
  chance that any of its verdicts is wrong is at most 5 %. A verdict needs an adjusted p
  below 0.05; without one the claim is **not decided here**. An effect that is shown to be
  there, and at the strictest level of Holm to be smaller than what is of interest, counts
  as equivalent.
- A claim one of whose parts was not run is **not testable here**. A judge that fails its
  gate on held-out pairs, fewer than three seeds, or a number that could not be given
  leave it not decided. Such claims still count in the size of their family, with a p of
  1: what is left out helps no other.
- What the code makes true whatever a run finds is **by construction**, and is no result.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, isnan, nan

from scipy.special import ndtr, ndtri, stdtr, stdtridf, stdtrit

from helpers.statistics.intervals import Interval, holm

RULE = __doc__.partition("\n\n")[2]  # as the page of claims prints it
ALPHA = 0.05  # of a family
SEEDS = 3  # the fewest that decide

HOLDS, FAILS = "holds here", "does not hold here"
EQUIVALENT, OPEN = "equivalent here", "not decided here"
UNTESTED, CONSTRUCTED = "not testable here", "by construction"
STATUSES = (HOLDS, FAILS, EQUIVALENT, OPEN, UNTESTED, CONSTRUCTED)
KEYS = {"holds": HOLDS, "fails": FAILS, "equivalent": EQUIVALENT}  # in claims.yml


@dataclass(frozen=True)
class Decision:
    """What became of a claim.

    evidence: what it rests on; why: why it is not decided or not testable; p: after
    Holm, nan where nothing was tested; near: the status that an undecided claim would
    have if it had been asked alone; words: the verdict in the claim's own words.
    """

    status: str
    evidence: str = ""
    why: str = ""
    p: float = nan
    near: str = ""
    words: str = ""


@dataclass(frozen=True)
class Part:
    """That a true value lies above (sign 1) or below (sign -1) an edge, and its interval.

    p: recorded, two-sided, of the true value being the edge; nan if none was.
    """

    interval: Interval
    edge: float = 0.0
    sign: int = 1
    p: float = nan


@dataclass(frozen=True)
class Case:
    """A claim of a family: its parts and its smallest effect of interest.

    left_out: the status, OPEN or UNTESTED, of a claim that is not tested, and why.
    """

    parts: Sequence[Part]
    least: float
    left_out: tuple[str, str] = ("", "")


# --- one interval ----------------------------------------------------------------------


def one_sided(interval: Interval, value: float, sign: int) -> float:
    """p of the hypothesis that the true value does not lie beyond `value`.

    sign 1: above it, -1: below it. Student's t by the half of the interval that faces
    `value`, so that p is (1 - level) / 2 where the bound is the value. A half that is
    zero, missing or infinite shows nothing.
    """
    estimate, below = interval.estimate, value < interval.estimate
    half = estimate - interval.low if below else interval.high - estimate
    if not (isfinite(half) and half > 0):
        return 1.0
    error, freedom = spread(half, interval)
    gap = sign * (estimate - value) / error
    return float(ndtr(-gap) if freedom == inf else stdtr(freedom, -gap))


def spread(half: float, interval: Interval) -> tuple[float, float]:
    """Standard error, and degrees of freedom of Student's t, behind half a width.

    The t whose quantile is half / error. At least one degree of freedom: where the width
    would need fewer, the error is made larger. An interval narrower than a normal one
    keeps its error. Where it is unknown (nan), it is that of t with seeds - 1 degrees,
    or normal where the seeds are unknown, too.
    """
    error, upper = interval.error, (1 + interval.level) / 2
    normal, widest = ndtri(upper), stdtrit(1, upper)
    if isnan(error) or error <= 0:
        freedom = interval.seeds - 1 if interval.seeds > 1 else inf
        return half / (stdtrit(freedom, upper) if freedom < inf else normal), freedom
    if half / error <= normal * (1 + 1e-6):
        return error, inf
    if half / error >= widest:
        return half / widest, 1.0
    return error, float(stdtridf(upper, half / error))


def directed(part: Part) -> tuple[float, float]:
    """Two-sided p of the part in the claimed direction, and in the other one.

    One of them is 1: an estimate shows nothing on the side where it does not lie.
    """
    ahead = part.sign * (part.interval.estimate - part.edge)
    if not ahead > 0 and not ahead < 0:
        return 1.0, 1.0
    sign = part.sign if ahead > 0 else -part.sign
    p = part.p
    if isnan(p):
        p = min(1.0, 2 * one_sided(part.interval, part.edge, sign))
    return (p, 1.0) if ahead > 0 else (1.0, p)


def near(part: Part, least: float) -> float:
    """p that the true value lies nearer to the edge than `least`: two one-sided tests."""
    return max(
        one_sided(part.interval, part.edge - sign * least, sign) for sign in (1, -1)
    )


# --- claims and families -------------------------------------------------------------------


def p_values(parts: Sequence[Part], least: float) -> dict[str, float]:
    """p of each status that can be shown of a claim with these parts."""
    ahead, behind = zip(*map(directed, parts))
    return {
        HOLDS: max(ahead),
        FAILS: min(1.0, len(parts) * min(behind)),
        EQUIVALENT: max(near(part, least) for part in parts),
    }


def shown(case: Case, size: int) -> tuple[str, float]:
    """The status that a claim of a family of `size` would have, and its p."""
    found = p_values(case.parts, case.least)
    if found[EQUIVALENT] < ALPHA / size:
        return EQUIVALENT, found[EQUIVALENT]
    return min(found.items(), key=lambda each: each[1])


def decide(family: Mapping[str, Case]) -> dict[str, Decision]:
    """The decisions on all claims of one family, by name, by the rule above."""
    tested = {
        name: shown(case, len(family))
        for name, case in family.items()
        if not case.left_out[0]
    }
    adjusted = holm([tested.get(name, ("", 1.0))[1] for name in family])
    decisions = {}
    for (name, case), p in zip(family.items(), adjusted):
        if name not in tested:
            status, why = case.left_out
            decisions[name] = Decision(status, why=why)
        elif p < ALPHA:
            decisions[name] = Decision(tested[name][0], p=float(p))
        else:
            status, alone = tested[name]
            near = status if alone < ALPHA else ""
            why = f"p is {p:.2f}, {len(family)} questions being asked together"
            decisions[name] = Decision(OPEN, why=why, p=float(p), near=near)
    return decisions


def in_words(decision: Decision, words: Mapping[str, str]) -> str:
    """A decision in the words of its claim (`KEYS`); why, where there is none."""
    own = {KEYS[key]: text for key, text in words.items()}
    if decision.status in own:
        return own[decision.status]
    if decision.status == OPEN:
        near = f"{own[decision.near]}, if asked alone; " if decision.near in own else ""
        return f"not decided: {near}{decision.why}"
    if decision.status == UNTESTED:
        return f"{UNTESTED}: {decision.why}"
    return decision.status.removesuffix(" here")
