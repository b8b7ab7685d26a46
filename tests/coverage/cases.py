"""All simulations: one list for the long table, its short part for `make test`.

Another module joins by its list of `Case` here.
"""

from tests.coverage import comparisons, equal_kl, means

CASES = [
    *means.MEANS,
    *means.JUDGES,
    *means.RATES,
    *comparisons.WINS,
    *comparisons.LABELS,
    *comparisons.CALIBRATION,
    *comparisons.CAS,
    *comparisons.POWER,
    *equal_kl.EQUAL_KL,
]
SHORT = [case for case in CASES if case.short]
