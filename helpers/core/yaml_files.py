"""YAML as this project reads it: one loader for all of it, and only what is plain.

Scalars are those of YAML 1.2's core schema, so that `1e-3` is a number and `yes`, `1:30`
and `2026-01-01` are texts. Refused are anchors, aliases, tags, merge keys, a key that
comes twice or is no text, a second document, numbers with a leading zero, and what is too
long or too deep to be meant.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import yaml

from helpers.core.inputs import (
    CONTROL,
    DECIMAL,
    MOST_DIGITS,
    InputError,
    decimal,
    integer,
    quoted,
    read_text,
    shown,
)

MOST_LEVELS = 20
MOST_BYTES = 250_000  # ten times the longest file of the project; read within seconds
UNREADABLE = re.compile(rf"(?![\t\n\r]){CONTROL.pattern}|[\ufffe\uffff]")


def read_yaml(path: Path) -> object:
    """What a YAML file holds; InputError, in one line with file and line, if it is none.

    Mappings are `Lined`; a file without content is None.
    """
    return parse_yaml(read_text(path, MOST_BYTES), shown(path))


def text_at(path: Path, key: str) -> str:
    """The text in a YAML file under a key as `repository.url`, a level for each dot.

    InputError, naming file and key, where there is none.
    """
    found = read_yaml(path)
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    if not isinstance(found, str) or not found:
        raise InputError(f"{shown(path)}: {key} is {quoted(found)}, expected a text")
    return found


def parse_yaml(text: str, where: str) -> object:
    """As `read_yaml`, of a text; `where` is how an error calls it."""
    if found := UNREADABLE.search(text):
        line = text.count("\n", 0, found.start()) + 1
        got = f"the control character {found[0]!r}"
        raise InputError(f"{where}: line {line}: {got}, expected text")
    loader = PlainLoader(text)
    try:
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        why = shown(": ".join(filter(None, [error.context, error.problem])), 250)
        raise InputError(f"{where}: line {mark.line + 1}: {why}") from None
    except (ValueError, OverflowError):  # of chr(), for an escape as \UFFFFFFFF
        why = "an escape that stands for no character, expected text"
        raise InputError(f"{where}: line {loader.line + 1}: {why}") from None
    finally:
        loader.dispose()


def refused(node: yaml.Node | yaml.Event, why: str) -> yaml.MarkedYAMLError:
    """The error for something at its place in the file."""
    return yaml.MarkedYAMLError(problem=why, problem_mark=node.start_mark)


class Lined(dict):
    """A mapping that knows the line of each key in its file."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, int] = {}


class PlainLoader(yaml.SafeLoader):
    """PyYAML's safe loader without what this project does not read."""

    yaml_implicit_resolvers: ClassVar[dict] = {}  # not those of YAML 1.1
    level = 0

    def compose_node(self, parent: object, index: object) -> yaml.Node:
        """One node of the document, if it is plain and not too deep."""
        event = self.peek_event()
        if event.anchor:
            raise refused(event, "an anchor or alias, expected it written out")
        if event.tag:
            raise refused(event, f"the tag {quoted(event.tag)}, expected a plain value")
        if self.level >= MOST_LEVELS:
            raise refused(event, f"expected at most {MOST_LEVELS} levels of nesting")
        self.level += 1
        node = super().compose_node(parent, index)
        self.level -= 1
        return node

    def mapping(self, node: yaml.MappingNode) -> Iterator[Lined]:
        """A mapping of texts, none twice; PyYAML wants it before it is filled."""
        found = Lined()
        yield found
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise refused(key_node, f"the key {quoted(key)}, expected text")
            if key == "<<":
                raise refused(key_node, "a merge key, expected its values written out")
            if key in found:
                raise refused(key_node, f"the key {quoted(key)} comes twice")
            found[key] = self.construct_object(value_node)
            found.lines[key] = key_node.start_mark.line + 1

    def whole(self, node: yaml.ScalarNode) -> int:
        """An integer: decimal, 0o17 or 0xff."""
        text = node.value
        try:
            if text[:2] in ("0o", "0x") and len(text) <= MOST_DIGITS:
                return int(text, 0)
            return integer(text)
        except ValueError:
            expected = f"no leading zero and at most {MOST_DIGITS} digits"
            raise refused(node, f"got {quoted(text)}, expected {expected}") from None

    def real(self, node: yaml.ScalarNode) -> float:
        """A number with a point or an exponent, `.inf` or `.nan`."""
        text = re.sub(r"\.(?=[a-z])", "", node.value.lower())
        try:
            return decimal(text)
        except ValueError:
            expected = f"a number of at most {MOST_DIGITS} digits"
            raise refused(node, f"got {quoted(text)}, expected {expected}") from None

    def text(self, node: yaml.ScalarNode) -> str:
        """A text; escapes stand for no control character but a line end or a tab."""
        if found := UNREADABLE.search(node.value):
            raise refused(node, f"the control character {found[0]!r}, expected text")
        return node.value


for _kind, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", DECIMAL.pattern, list("-+.0123456789")),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
):
    PlainLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(rf"(?:{_pattern})\Z"), _first
    )
for _kind, _read in (
    ("map", PlainLoader.mapping),
    ("int", PlainLoader.whole),
    ("float", PlainLoader.real),
    ("str", PlainLoader.text),
):
    PlainLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _read)
