"""The house's plan, read from the imports themselves: which room may import from which, and no circle anywhere."""

import ast
import graphlib
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "adsr_hf"

# From left to right: a room may import from those before it, and from none after it. docs/architecture.md says why.
ORDER = (
    *("_version", "settings", "records", "measures", "networks", "fine_tuning", "data", "attacks", "method"),
    *("config", "training", "publishing", "trainer", "runs"),
    *("evaluation", "metrics", "decision", "study", "report", "onboarding", "cli", "__main__"),
)
# What is measured, compared and decided knows records, and nothing of how they came about.
TRAINING_SIDE = frozenset({"config", "training", "publishing", "trainer", "runs"})
MEASURING_SIDE = frozenset({"evaluation", "metrics", "decision"})
# Names that stood in adsr_hf.evaluation before and are promised to stay, fetched when they are asked for.
FORMER_HOMES = {
    ("adsr_hf.evaluation", "adsr_hf.decision.compare"),
    ("adsr_hf.evaluation", "adsr_hf.decision.gate"),
}
AT_THE_ROOT = {"__init__.py", "__main__.py", "_version.py", "py.typed", "config.py", "trainer.py"}


def module_name(path: Path) -> str:
    parts = ("adsr_hf", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}
DOTTED = re.compile(r"adsr_hf(\.\w+)+")


def imported_modules(source: str) -> set[str]:
    """Modules of this package that a file names, in imports anywhere in it or in strings that hold nothing else."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name comes from"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in MODULES else str(node.module))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and DOTTED.fullmatch(node.value):
            found.add(node.value)
    return found & MODULES.keys()


IMPORTS = {name: imported_modules(path.read_text(encoding="utf-8")) - {name} for name, path in MODULES.items()}


def room(module: str) -> str | None:
    """The first name below the package; None for the package itself, which hands out what others hold."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def test_every_kind_of_import_is_read() -> None:
    source = 'import adsr_hf.config\ndef f():\n    from adsr_hf.attacks import pgd, PGD\nHOME = "adsr_hf.trainer"\n'
    assert imported_modules(source) == {"adsr_hf.config", "adsr_hf.attacks.pgd", "adsr_hf.attacks", "adsr_hf.trainer"}


def test_every_room_has_its_place_and_only_six_files_stand_at_the_root() -> None:
    assert {room(module) for module in MODULES} - {None} == set(ORDER)
    assert {path.name for path in PACKAGE.iterdir() if path.is_file()} == AT_THE_ROOT


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_run_from_right_to_left(module: str) -> None:
    importer = room(module)
    for imported in sorted(IMPORTS[module]):
        target = room(imported)
        if importer is None or target is None or importer == target or (module, imported) in FORMER_HOMES:
            continue
        assert ORDER.index(target) < ORDER.index(importer), f"{module} imports {imported}, which stands right of it"
        crosses = importer in MEASURING_SIDE and target in TRAINING_SIDE
        assert not crosses, f"{module} imports {imported}: what measures knows nothing of what trains"


def test_no_circle_between_files() -> None:
    graph = {
        module: {imported for imported in names if (module, imported) not in FORMER_HOMES}
        for module, names in IMPORTS.items()
    }
    # The package itself hands out what others hold, when it is asked.
    for names in graph.values():
        names.discard("adsr_hf")
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))
