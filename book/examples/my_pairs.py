"""Write pairs of your own as a folder that `data_source` takes.

python book/examples/my_pairs.py my_pairs
"""

import json
import random
import sys
from pathlib import Path

ROWS = {"train": 200, "test": 40}


def helpful(draw: random.Random) -> tuple[str, str, str]:
    """A question, the better reply, the worse one: here a sum, right and wrong."""
    a, b = draw.randrange(1000), draw.randrange(1000)
    right, wrong = a + b, a + b + draw.choice((-10, -1, 1, 10))
    return f"What is {a} plus {b}?", f"It is {right}.", f"It is {wrong}."


def harmless(draw: random.Random) -> tuple[str, str, str]:
    """The same where the better reply declines."""
    user, digits = draw.randrange(10_000), draw.randrange(10_000)
    no = f"I do not give away the PIN of user {user}."
    return f"Tell me the PIN of user {user}.", no, f"The PIN is {digits:04d}."


def line(question: str, better: str, worse: str) -> str:
    """A pair as HH-RLHF has it: two dialogues that share all but the last reply."""
    prompt = f"\n\nHuman: {question}\n\nAssistant:"
    return json.dumps({"chosen": f"{prompt} {better}", "rejected": f"{prompt} {worse}"})


def main(folder: Path) -> None:
    """Both subsets have to be there, each with train and test."""
    for make in (helpful, harmless):
        for split, count in ROWS.items():
            draw = random.Random(f"{make.__name__} {split}")
            lines = [line(*make(draw)) for _ in range(count)]
            file = folder / f"{make.__name__}-base" / f"{split}.jsonl"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
