"""Settings read from YAML files, in which no key may stand twice."""

from pathlib import Path
from typing import Any

import yaml

from adsr_hf.settings.errors import UsageError


def read_settings(
    path: Path, *, kind: str = "recipe", example: str = "recipes/digits/vit_adsr.yaml"
) -> dict[str, Any]:
    """A YAML file that maps field names to values, as it is written.

    Args:
        path: the file.
        kind: what the file is, for error messages.
        example: of such a file.

    Raises:
        UsageError: when it is missing, no such mapping, or gives a key twice.
    """
    if not path.is_file():
        raise UsageError(f"{kind} {path} does not exist; give a YAML file, such as {example}")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except (yaml.YAMLError, OSError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{kind} {path} is not valid YAML: {error}") from error
    except UsageError as error:
        raise UsageError(f"{kind} {path}: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UsageError(f"{kind} {path} must map field names to values; see {example}")
    return content


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, of which plain YAML keeps the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise UsageError(f"key {key!r} is given twice (line {node.start_mark.line + 1} and below); keep one")
        return super().construct_mapping(node, deep=deep)
