"""The words of the cards on the hub; `cards` fills them in."""

LIMITS = """\
- It is small and was trained to compare methods, not to be used. It says false and
  offensive things.
- The intervals are over examples and seeds; the weights are those of seed {seed} alone.
- {data_limit}
"""
BUILT_IN_LIMIT = (
    "It has read generated dialogues only (synthetic data): it knows no world."
)
REAL_LIMIT = (
    "HH-RLHF's two subsets enter in the proportions of the source: a model that has seen "
    "almost only one of them has learned its taste."
)
MODEL = """\
---
{metadata}
---

# {title}

{what} One of the models of an executable book that compares CodePMP, DPO and PPO on
helpfulness and harmlessness; run `{run}`, seed {seed}.

| | |
|---|---|
| data | {source} |
| commit of the data | {commit} |
| models | {models} |
| judge of replies | {judge} |
| made with | {versions} |
| commit of the code | {code} |

## Measured

95 % intervals over examples and {seeds} seeds; per-example numbers of the training are in
`records.parquet`.

{measured}

## Limits

{limits}
"""
PAIRS = """\
---
{metadata}
---

# CodePMP pairs

{count:,} preference pairs without a human label: a description of a Python function, the
answer of a stronger writer (chosen) and of a weaker one (rejected). "Stronger is better"
is the only label; no code was run. The functions are those of Python's standard library;
the writers: {strong} and {weak}. Run `{run}`.

Columns: id, prompt, chosen, rejected, split; {held:,} pairs are held out (`test`).
"""
