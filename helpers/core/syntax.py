"""Syntax trees of Python: their statements, and what is the same code but for its prose."""

import ast
from collections.abc import Iterator

PARTS = ("body", "orelse", "finalbody", "handlers", "cases")  # that hold statements


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """A tree and every statement in it, however deep; no expression is visited."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for part in PARTS:
            waiting.extend(getattr(node, part, ()))


def drop_docstrings(tree: ast.Module) -> None:
    """Take the docstrings out of a tree, in place."""
    kinds = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in statements(tree):
        if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
