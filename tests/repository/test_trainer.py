"""There is one trainer class, short, whose every override of a hook says what it corrects."""

import ast
import inspect
from pathlib import Path

from transformers import Trainer

from adsr_hf import ADSRTrainer
from adsr_hf import trainer as trainer_module

SOURCE = Path(str(trainer_module.__file__)).read_text(encoding="utf-8")
LINES = SOURCE.splitlines()
LONGEST_FILE, LONGEST_OVERRIDE = 450, 20


def overrides() -> list[ast.FunctionDef]:
    """Methods of ADSRTrainer that Trainer has too, but for its constructor."""
    (found,) = (node for node in ast.parse(SOURCE).body if isinstance(node, ast.ClassDef))
    methods = [node for node in found.body if isinstance(node, ast.FunctionDef) and node.name != "__init__"]
    return [method for method in methods if hasattr(Trainer, method.name)]


def own_lines(method: ast.FunctionDef) -> list[str]:
    """The body's lines of code, docstring and comments left out."""
    first = method.body[1] if ast.get_docstring(method) else method.body[0]
    lines = LINES[first.lineno - 1 : method.end_lineno]
    return [line for line in lines if line.strip() and not line.strip().startswith("#")]


def test_no_class_stands_between() -> None:
    assert ADSRTrainer.__bases__ == (Trainer,)
    assert len(LINES) <= LONGEST_FILE


def test_every_override_is_here() -> None:
    inherited = [name for name, _ in inspect.getmembers(ADSRTrainer) if hasattr(Trainer, name)]
    changed = {
        name for name in inherited if getattr(ADSRTrainer, name) is not getattr(Trainer, name) and callable_name(name)
    }
    assert changed == {method.name for method in overrides()} | {"__init__"}


def callable_name(name: str) -> bool:
    return name == "__init__" or (not name.startswith("__") and inspect.isfunction(getattr(Trainer, name)))


def test_every_override_is_short_and_says_what_it_corrects() -> None:
    assert len(overrides()) > 20
    for method in overrides():
        commented = [line for line in LINES[method.lineno - 1 : method.end_lineno] if "# " in line]
        assert commented, f"{method.name} says in no comment what it corrects"
        assert len(own_lines(method)) <= LONGEST_OVERRIDE, f"{method.name} is long: ask an object"
