"""The plan of a run in words: its tables, what must fit into memory, what it rests on."""

import pandas as pd

from helpers.planning.estimate import REAL
from helpers.planning.machines import GPUS, LAUNCH, MACHINES, Work


def plan_table(found: list[Work]) -> pd.DataFrame:
    """Per stage, and together: jobs, millions of tokens, PFLOP, minutes on each machine."""
    rows = [
        {
            "stage": each.stage,
            "jobs": each.jobs,
            "trained": each.trained / 1e6,
            "read": each.read / 1e6,
            "sampled": each.sampled / 1e6,
            "PFLOP": each.flops / 1e15,
            **{name: one.seconds(each) / 60 for name, one in MACHINES.items()},
        }
        for each in found
    ]
    table = pd.DataFrame(rows).groupby("stage", sort=False).sum()
    table = pd.concat([table, table.sum().to_frame("together").T])
    return table.astype({"jobs": int}).rename_axis("stage")


def plan_text(found: list[Work], *machines: str) -> str:
    """`plan_table` as Markdown, with the times of some machines, or of all."""
    others = [name for name in MACHINES if machines and name not in machines]
    table = plan_table(found).drop(columns=others)
    return table.astype(object).to_markdown(floatfmt=".1f")  # else jobs become floats


# what lies in memory side by side, as (trained by Adam, frozen) models
IN_MEMORY = {
    "SFT, CodePMP, reward model, DPO (its reference is read before)": (1, 0),
    "PPO: policy and critic, reference and reward model": (2, 2),
    "PPO with adapters: policy, its own reference, and reward model": (0, 2),
}


def memory_table(parameters: float) -> pd.DataFrame:
    """GB of weights: 16 bytes a parameter trained by Adam, 4 of a frozen one.

    What a batch needs comes on top; with activation checkpointing it is little.
    """
    rows = {
        what: parameters * (16 * trained + 4 * frozen) / 1e9
        for what, (trained, frozen) in IN_MEMORY.items()
    }
    return pd.Series(rows, name="GB").rename_axis("training").to_frame()


def assumed() -> str:
    """What the estimates rest on, in words."""
    listed = " or ".join(sorted({str(gpu.replies) for gpu in GPUS.values()}, key=int))
    shares = " and ".join(f"{g.share:.0%} ({n})" for n, g in GPUS.items())
    return (
        f"Estimated for prompts of {REAL.prompt} tokens and replies of {REAL.reply}, one job "
        f"at a time. On GPUs, models are trained and read at {shares} of the peak in 16 bits: "
        "what an H200 reached at the settings of these tiers, carried over by data sheets; "
        "for the T4 in the time in which it computed, for the H100 in the whole time. "
        f"Assumed, not measured, are {1000 * LAUNCH:.0f} ms or more for each token of "
        f"{listed} replies. Two cores were measured with SmolLM2-135M in float32; with "
        "bfloat16 in hardware they take less. Twice as long, or half, would be no "
        "surprise. Tokens are in millions, times in minutes."
    )
