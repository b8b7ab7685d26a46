"""Syntax trees of Python: what is the same code but for its prose."""

import ast


def drop_docstrings(tree: ast.Module) -> None:
    """Take the docstrings out of a tree, in place."""
    kinds = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in ast.walk(tree):
        if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
