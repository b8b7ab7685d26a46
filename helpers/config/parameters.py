"""A parameter of a notebook: its type, range and choices; and values held against it.

What a parameter allows becomes a type of pydantic's, which checks values and has a JSON
schema. All that is wrong is a ParameterError of one line: stage, name, what was given,
what was expected.
"""

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from helpers.core.inputs import (
    CONTROL,
    MOST_LETTERS,
    InputError,
    cut,
    quoted,
    shown,
)

TYPES = {"int": int, "float": float, "str": str, "bool": bool}
TYPES |= {f"list[{kind}]": TYPES[kind] for kind in ("int", "float", "str")}
ANY = "any number"  # of a list's items


class ParameterError(InputError):
    """A parameter, or its declaration, that is refused; the message is one line."""


@dataclass(frozen=True)
class Parameter:
    """One line of a `parameters` cell. `low` and `high` are None without a range."""

    stage: str
    name: str
    type: str
    default: object
    help: str
    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False
    choices: tuple = ()
    least: int = 1  # items of a list
    group: str = ""  # the title that it stands under

    @property
    def kind(self) -> type:
        """The Python type of the value, or of each item of a list."""
        return TYPES[self.type]

    @property
    def is_list(self) -> bool:
        """Whether the value is a list."""
        return self.type.startswith("list[")

    @cached_property
    def adapter(self) -> TypeAdapter:
        """What checks a value: strict, so that a bool is no number and a text no list.

        A number must be finite unless the range includes infinity; the items of a
        list differ.
        """
        bounds = {}
        if self.low is not None:
            bounds["gt" if self.low_open else "ge"] = self.kind(self.low)
        if self.high is not None and math.isfinite(self.high):
            bounds["lt" if self.high_open else "le"] = self.kind(self.high)
        if self.kind is float:
            bounds["allow_inf_nan"] = self.high == math.inf and not self.high_open
        if self.kind is str:
            bounds["max_length"] = MOST_LETTERS
        item = (
            Literal[self.choices]
            if self.choices
            else Annotated[self.kind, Field(**bounds)]
        )
        unique = Field(min_length=self.least, json_schema_extra={"uniqueItems": True})
        kind = Annotated[list[item], unique] if self.is_list else item
        return TypeAdapter(kind, config=ConfigDict(strict=True))

    def allowed(self) -> str:
        """The range or the choices in words, "" if the type is all that is asked."""
        if self.choices:
            how_many = "one" if self.least else "any"
            return f"{how_many} of {', '.join(map(str, self.choices))}"
        if self.low is None:
            return "" if self.least else ANY
        left, right = "[("[self.low_open], "])"[self.high_open]
        return f"in {left}{self.low:.15g}, {self.high:.15g}{right}"

    def meaning(self) -> str:
        """The help with the range or the choices, as the cell has it."""
        return f"{self.help}; {self.allowed()}" if self.allowed() else self.help

    def refuse(self, got: object, hint: str = "") -> ParameterError:
        """The error that says what was given and what was expected."""
        each = ", each" * bool(self.least) if self.is_list else ""
        expected = self.type + (f"{each} {self.allowed()}" if self.allowed() else "")
        return ParameterError(
            f"{self.stage}: {self.name}: got {quoted(got)}, expected {expected}{hint}"
        )


# --- holding values against it --------------------------------------------------------


def check(parameter: Parameter, value: object) -> object:
    """The value in its declared type, or ParameterError; an int may stand for a float."""
    try:
        found = parameter.adapter.validate_python(value)
    except ValidationError:
        raise parameter.refuse(value, hint(parameter, value)) from None
    items = found if parameter.is_list else [found]
    if any(CONTROL.search(item) for item in items if isinstance(item, str)):
        raise parameter.refuse(value, " without control characters")
    if len(set(items)) < len(items):
        raise parameter.refuse(value, ", none twice")
    return found


def hint(parameter: Parameter, value: object) -> str:
    """What else is expected of a value that has its type and is refused, in words."""
    if parameter.is_list and value == []:
        return ", at least one"
    if (
        parameter.kind is str
        and not parameter.choices
        and len(str(value)) > MOST_LETTERS
    ):
        return f" of at most {MOST_LETTERS} characters"
    return ""


def json_schema(schema: Mapping[str, Parameter]) -> dict:
    """The parameters of a notebook as JSON schema: for editors, forms and other tools."""
    properties = {
        name: each.adapter.json_schema()
        | {"description": each.help, "default": each.default}
        for name, each in schema.items()
    }
    return {"type": "object", "properties": properties, "additionalProperties": False}


def resolve(schema: Mapping[str, Parameter], given: Mapping[str, object]) -> dict:
    """All values of a notebook, checked: what is given, defaults for the rest."""
    stage = next(iter(schema.values())).stage if schema else "notebook"
    for name in given:
        if name not in schema:
            raise unknown(f"{stage}: {name}", name, schema, "a parameter of this stage")
    values = {name: each.default for name, each in schema.items()} | dict(given)
    return {name: check(schema[name], value) for name, value in values.items()}


def unknown(where: str, name: str, known: Iterable[str], what: str) -> ParameterError:
    """The error for a name that is not known, with the nearest one that is."""
    known = list(known)
    near = difflib.get_close_matches(name[:100], known, n=1, cutoff=0.5)
    listed = cut(f"known: {', '.join(known)}", 250)
    found = f"did you mean {near[0]}?" if near else listed
    return ParameterError(f"{shown(where)}: not {what}; {found}")
