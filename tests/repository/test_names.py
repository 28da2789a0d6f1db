"""Identifiers say what they hold."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "adsr_hf"

# Pronouns and participles that a reader has to look up.
SAY_NOTHING = {"one", "own", "told", "mine", "theirs", "its", "subject", "thing", "stuff", "foo", "tmp"}


def names_given(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every variable, argument, function and class that a file names, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.lineno, node.name


def test_the_reading_finds_each_kind_of_name() -> None:
    tree = ast.parse("def told(own):\n    for one in own:\n        mine = one\n")
    assert sorted(name for _, name in names_given(tree)) == ["mine", "one", "own", "told"]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_name_says_nothing(path: Path) -> None:
    found = [f"{line}: {name}" for line, name in names_given(ast.parse(path.read_text())) if name in SAY_NOTHING]
    assert found == []
