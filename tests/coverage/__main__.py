"""The table of simulated coverage: python -m tests.coverage [repetitions] [words].

words: only cases that have them in their name.
"""

import sys

import pandas as pd
from joblib import Parallel, delayed

from tests.coverage.cases import CASES
from tests.coverage.simulate import measured, wrong


def main(repetitions: str = "2000", words: str = "") -> int:
    """Print the table and what is not as stated; 1 if anything is not."""
    asked = [(case, int(repetitions)) for case in CASES if words in case.name]
    rows = Parallel(-1)(delayed(measured)(*each) for each in asked)
    print(pd.DataFrame(rows).to_markdown(index=False, floatfmt=".3f"))
    found = [wrong(case, row) for (case, _), row in zip(asked, rows)]
    print(*filter(None, found), sep="\n")
    return int(any(found))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
