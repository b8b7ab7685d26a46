"""How many rows a GPU's memory has room for: what is planned and what is run agree."""


def replies_side_by_side(gigabytes: float) -> int:
    """How many replies are sampled at once.

    Their keys and values take 0.1 MB per token in OPT-350M. It changes speed, not replies.
    """
    return 256 if gigabytes > 40 else 64
