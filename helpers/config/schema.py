"""The cell tagged `parameters` is the schema of a notebook: here it is read.

Every line of the cell reads `name: type = default  # meaning; in (0, 10]`, or ends in
`; one of: a, b`. For lists the range or the choices hold for each item, of which there is
at least one; with `; any of: a, b` or `; any number` there may be none. Where Colab shall
show a field, the meaning stands in the lines above, each after `@markdown`, and behind the
value stands `@param`: see `plain`. A line `@markdown ### Title` by itself begins a group.
"""

import ast
import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from helpers.config.parameters import (
    ANY,
    TYPES,
    Parameter,
    ParameterError,
    check,
)

NUMBER = r"[-+\w.]+"
RANGE = re.compile(rf"in ([\[(])({NUMBER}), *({NUMBER})([\])])")
CHOICES = re.compile(r"(one|any) of: *(.+)")
SAID = "# @markdown "
FIELD = re.compile(rf"^((?:{SAID}.+\n)+)(\w+: .+)  # @param .+$", re.MULTILINE)
GROUP = re.compile(rf"^{SAID}### (.+)(?=\n\n)", re.MULTILINE)  # a line is free below


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
