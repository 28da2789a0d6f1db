"""Every public name has a short example in its docstring, and the example runs."""

import doctest
import importlib
import inspect
from typing import Any

import pytest

PUBLIC = ("adsr_hf", "adsr_hf.attacks", "adsr_hf.method", "adsr_hf.measures", "adsr_hf.evaluation")


def public_objects() -> list[tuple[str, Any]]:
    """Classes and functions that the public modules hand out, each once."""
    found = {}
    for module_name in PUBLIC:
        module = importlib.import_module(module_name)
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value) or inspect.isfunction(value):
                found[f"{module_name}.{name}"] = value
    return list(found.items())


@pytest.mark.parametrize(("name", "value"), [pytest.param(*entry, id=entry[0]) for entry in public_objects()])
def test_it_has_an_example_that_runs(name: str, value: Any) -> None:
    home = vars(importlib.import_module(value.__module__))
    examples = [
        found for found in doctest.DocTestFinder(recurse=False).find(value, name, globs=dict(home)) if found.examples
    ]
    assert examples, f"{name} has no example in its docstring"
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for example in examples:
        report: list[str] = []
        runner.run(example, out=report.append)
        assert not runner.failures, "".join(report)
