"""Texts of the command line as values: what `-p name=text` means for a parameter."""

import re

from helpers.config.parameters import Parameter, check
from helpers.core.inputs import decimal, integer

ITEM = re.compile(r"""'([^'"]*)'|"([^'"]*)"|([^][,'"]+)""")  # of a list


def parse_text(parameter: Parameter, text: str) -> object:
    """The value that `-p name=text` means; lists as `1,2,3` or `[1, 2, 3]`."""
    if not parameter.is_list:
        return check(parameter, _parse_item(parameter, text, text))
    inner = text.strip()
    if inner.startswith("[") and inner.endswith("]"):
        inner = inner[1:-1].strip()
    found = [ITEM.fullmatch(item.strip()) for item in inner.split(",") if inner]
    if None in found:
        raise parameter.refuse(text, ", as 1,2 or [1, 2]")
    items = [next(each for each in item.groups() if each is not None) for item in found]
    return check(parameter, [_parse_item(parameter, item, text) for item in items])


def _parse_item(parameter: Parameter, item: str, text: str) -> object:
    """One item of a text as the parameter's type."""
    if parameter.kind is bool:
        words = {"true": True, "false": False}
        if item.lower() not in words:
            raise parameter.refuse(text, ": true or false")
        return words[item.lower()]
    read = {int: integer, float: decimal, str: str}[parameter.kind]
    try:
        return read(item if parameter.kind is str else item.strip())
    except ValueError:
        raise parameter.refuse(text) from None
