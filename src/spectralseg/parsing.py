"""YAML and JSON of unknown origin, read with bounded time and memory.

A file of a few lines can stand for more values than any memory holds: aliases of aliases, and mappings that merge
others. They are counted before anything is built from them.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from spectralseg.errors import InputError
from spectralseg.files import read_text

MAX_BYTES = 2**18  # of a YAML file; the largest study of this repository has 2**13
MAX_VALUES = 100_000  # of a YAML file, with aliases and merged mappings written out
MAX_DEPTH = 64  # of lists and mappings in one another
MAX_JSON_BYTES = 2**26
_LONGEST_INTEGER = 100  # characters


def read_yaml(path: Path) -> Any:
    """Read a YAML file in which every key of a mapping is given once.

    Raises:
        InputError: the file is missing, is not a file, is too large or is not such YAML.
    """
    text = read_text(path, MAX_BYTES)
    try:
        return yaml.load(text, _BoundedLoader)
    except RecursionError:
        raise _too_deep(path) from None
    # A parser that meets garbage raises nearly any exception; the block holds parsing only.
    except Exception as error:
        raise InputError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())})") from None


def read_json(path: Path, most: int = MAX_JSON_BYTES, remedy: str = "give an intact file of its kind") -> Any:
    """Read a JSON file, in which numbers are finite and keys are given once.

    Raises:
        InputError: the file is missing, is not a file, has more than ``most`` bytes or is not such JSON; the message
            ends with the remedy.
    """
    text = read_text(path, most, remedy)
    try:
        return parse_json(text)
    except (RecursionError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({' '.join(str(error).split())[:200]}); {remedy}") from None


def parse_json(text: str) -> Any:
    """The value of JSON in which numbers are finite and keys are given once.

    Raises:
        ValueError: the text is not such JSON.
        RecursionError: it is nested too deep.
    """
    return json.loads(text, parse_constant=_finite, parse_float=_finite, object_pairs_hook=_unique_keys)


def refuse_expanding(value: Any, source: str) -> None:
    """Refuse lists and mappings that share parts so that they stand for too many values, or that hold themselves.

    For what another parser has built from YAML: its aliases take no memory before something walks over them.

    Raises:
        InputError: names ``source``.
    """
    measured: dict[int, tuple[int, int]] = {}  # values and depth by identity

    def measure(part: Any, depth: int) -> tuple[int, int]:
        if isinstance(part, str) or not isinstance(part, Mapping | Sequence):
            return 1, 0
        if depth > MAX_DEPTH:
            raise _too_deep(source)
        if id(part) not in measured:
            children = part.values() if isinstance(part, Mapping) else part
            measured[id(part)] = _sum_up([measure(child, depth + 1) for child in children])
        return measured[id(part)]

    values, depth = measure(value, 0)
    if depth > MAX_DEPTH:
        raise _too_deep(source)
    if values > MAX_VALUES:
        raise InputError(f"{source}: {_TOO_MANY}")


_TOO_MANY = f"holds more than {MAX_VALUES} values once aliases and merged mappings are written out; write fewer"


def _too_deep(source: object) -> InputError:
    return InputError(f"{source}: lists or mappings are nested more than {MAX_DEPTH} deep; write fewer levels")


def _sum_up(parts: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Values and depth of a list or mapping with such parts."""
    return 1 + sum(values for values, _ in parts), 1 + max((depth for _, depth in parts), default=0)


class _BoundedLoader(yaml.SafeLoader):
    """Refuses what expands beyond the limits, and a key that is given twice, of which YAML would take the last."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._depth = 0
        self._measured: dict[int, tuple[int, int]] = {}  # values and depth of complete nodes by identity

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise RecursionError
        alias = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None and id(node) not in self._measured:
            if alias:
                raise yaml.YAMLError(f"line {node.start_mark.line + 1}: a value that holds itself")
            self._measured[id(node)] = self._measure(node)
        return node

    def _measure(self, node: yaml.Node) -> tuple[int, int]:
        if isinstance(node, yaml.ScalarNode):
            return 1, 0
        children = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
        values, depth = _sum_up([self._measured[id(child)] for child in children])
        if depth > MAX_DEPTH:
            raise RecursionError
        if values > MAX_VALUES:
            raise yaml.YAMLError(_TOO_MANY)
        return values, depth

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.YAMLError(f"line {key.start_mark.line + 1}: a key is a list or a mapping; give text")
            if (key.tag, key.value) in seen:
                raise yaml.YAMLError(f"line {key.start_mark.line + 1}: key '{key.value}' is there twice; keep one")
            seen.add((key.tag, key.value))
        return node


def _integer(loader: _BoundedLoader, node: yaml.ScalarNode) -> int:
    if len(node.value) > _LONGEST_INTEGER:
        raise yaml.YAMLError(f"line {node.start_mark.line + 1}: a number of {len(node.value)} digits")
    return int(loader.construct_yaml_int(node))


_BoundedLoader.add_constructor("tag:yaml.org,2002:int", _integer)


def _finite(number: str) -> float:
    if math.isfinite(value := float(number)):
        return value
    raise ValueError(f"{number[:20]} is not a finite number")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"key '{name[:100]}' is there twice")
    return found
