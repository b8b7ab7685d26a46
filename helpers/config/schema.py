"""The cell tagged `parameters` is the schema: read it, and hold values against it.

Every line of the cell reads `name: type = default  # meaning; in (0, 10]`, or ends in
`; one of: a, b`. For lists the range or the choices hold for each item, of which there is
at least one; with `; any of: a, b` or `; any number` there may be none. Where Colab shall
show a field, the meaning stands in the lines above, each after `@markdown`, and behind the
value stands `@param`: see `plain`. A line `@markdown ### Title` by itself begins a group.
What is read becomes a type of pydantic's, which checks values and has a JSON schema. All
that is wrong is a ParameterError of one line: stage, name, what was given, what was
expected.
"""

import ast
import difflib
import logging
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
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
NUMBER = r"[-+\w.]+"
RANGE = re.compile(rf"in ([\[(])({NUMBER}), *({NUMBER})([\])])")
CHOICES = re.compile(r"(one|any) of: *(.+)")
ANY = "any number"  # of a list's items
SAID = "# @markdown "
FIELD = re.compile(rf"^((?:{SAID}.+\n)+)(\w+: .+)  # @param .+$", re.MULTILINE)
GROUP = re.compile(rf"^{SAID}### (.+)(?=\n\n)", re.MULTILINE)  # a line is free below


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


# --- reading a notebook's schema ------------------------------------------------------


def read_schema(notebook: Path) -> dict[str, Parameter]:
    """The parameters that a notebook declares, in its order.

    Raises ParameterError if a line of the cell lacks its type or its meaning, cannot be
    read by Papermill, or if a default breaks its own rule.
    """
    from papermill.translators import PythonTranslator

    stage = notebook.stem
    form = parameters_cell(notebook)
    source, groups = plain(form), groups_of(form)
    logging.getLogger("papermill").setLevel(logging.ERROR)
    found = {each.name: each for each in PythonTranslator.inspect({"source": source})}
    for name in assigned_names(source):
        if name not in found:
            hint = "Papermill cannot read this line; is there a `=` in its comment?"
            raise ParameterError(f"{stage}: {name}: {hint}")
    schema = {}
    for name, line in found.items():
        read = declared(stage, **line._asdict())
        schema[name] = replace(read, group=groups.get(name, ""))
        check(schema[name], schema[name].default)
    return schema


def plain(source: str) -> str:
    """The source of a cell without the fields of its form on Colab.

    `# @markdown meaning`, then `x: int = 1  # @param {...}`, becomes the one line
    `x: int = 1  # meaning`. A meaning may go over several such lines. The title of a
    group becomes a comment.
    """
    return FIELD.sub(one_line, GROUP.sub(r"# \1", source))


def groups_of(source: str) -> dict[str, str]:
    """The title that each parameter of a cell stands under, where there are titles."""
    _, *parts = GROUP.split(source)
    titled = zip(parts[::2], parts[1::2])
    return {name: title for title, part in titled for name in assigned_names(part)}


def one_line(field: re.Match[str]) -> str:
    """A field of a form, as FIELD finds it, with its meaning behind it."""
    said, parameter = field.groups()
    meaning = " ".join(line.removeprefix(SAID) for line in said.splitlines())
    return f"{parameter}  # {meaning}"


def parameters_cell(notebook: Path) -> str:
    """The source of the cell tagged `parameters`; ParameterError if there is none."""
    import nbformat

    for cell in nbformat.read(notebook, as_version=4).cells:
        if declares(cell):
            return cell.source
    raise ParameterError(f"{notebook.stem}: no cell is tagged `parameters`")


def declares(cell: Mapping) -> bool:
    """Whether a cell of a notebook is the one tagged `parameters`."""
    return "parameters" in cell["metadata"].get("tags", [])


def assigned_names(source: str) -> list[str]:
    """The names that the cell assigns, in order."""
    names = []
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else [node]
        names += [each.id for each in targets if isinstance(each, ast.Name)]
        if isinstance(node, ast.AnnAssign):
            names.append(node.target.id)
    return names


def declared(
    stage: str, name: str, inferred_type_name: str, default: str, help: str
) -> Parameter:
    """A parameter from what Papermill read of its line."""
    where = f"{stage}: {name}"
    if inferred_type_name not in TYPES:
        got = "no type" if inferred_type_name == "None" else inferred_type_name
        raise ParameterError(f"{where}: got {got}, expected one of {', '.join(TYPES)}")
    meaning, _, rule = help.rpartition("; ")
    ruled = RANGE.fullmatch(rule) or CHOICES.fullmatch(rule) or rule == ANY
    if not ruled:
        meaning = help
    if not meaning.strip() or re.search(
        r"\b(in [\[(][\w.-]+,|(one|any) of: )", meaning
    ):
        expected = "`# meaning`, `# meaning; in [1, 20]` or `# meaning; one of: a, b`"
        raise ParameterError(f"{where}: got the comment {help!r}, expected {expected}")
    try:
        value = ast.literal_eval(default)
    except (ValueError, SyntaxError):
        raise ParameterError(
            f"{where}: got the default {default}, expected a plain value"
        ) from None
    parameter = Parameter(stage, name, inferred_type_name, value, meaning)
    return with_rule(parameter, rule) if ruled else parameter


def with_rule(parameter: Parameter, rule: str) -> Parameter:
    """The parameter with the range or choices that its comment ends in."""
    kind, fields = parameter.kind, dict(vars(parameter))
    try:
        if match := RANGE.fullmatch(rule):
            if kind not in (int, float):
                raise ValueError
            fields["low"], fields["high"] = float(match[2]), float(match[3])
            fields["low_open"], fields["high_open"] = match[1] == "(", match[4] == ")"
            return Parameter(**fields)
        if rule.startswith("any"):
            fields["least"] = 0
            if not parameter.is_list:
                raise ValueError
        if rule != ANY:
            listed = CHOICES.fullmatch(rule)[2]
            fields["choices"] = tuple(kind(item.strip()) for item in listed.split(","))
    except ValueError:
        where = f"{parameter.stage}: {parameter.name}"
        message = f"{where}: `{rule}` does not fit its type {parameter.type}"
        raise ParameterError(message) from None
    return Parameter(**fields)


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
