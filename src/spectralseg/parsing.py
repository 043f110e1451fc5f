"""Reading of untrusted YAML and JSON with bounded time and memory.

With aliases of aliases and merged mappings, a YAML file of a few lines can expand to more values than fit into memory.
Values are counted before anything is built from them.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from spectralseg.errors import InputError
from spectralseg.files import read_text

MAX_BYTES = 2**18  # of a YAML file; the largest study of this repository has 2**13
MAX_VALUES = 100_000  # of a YAML file, with aliases and merged mappings written out
MAX_DEPTH = 64  # of nested lists and mappings
MAX_JSON_BYTES = 2**26
_LONGEST_INTEGER = 100  # characters
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_yaml(path: Path) -> Any:
    """Read a YAML file without duplicate keys.

    Raises:
        InputError: the file is missing, not a regular file, too large or not valid.
    """
    text = read_text(path, MAX_BYTES)
    try:
        return yaml.load(text, _BoundedLoader)
    except RecursionError:
        raise _too_deep(path) from None
    # The parser can raise nearly any exception on damaged files; the block contains parsing only.
    except Exception as error:
        raise InputError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())})") from None


def read_json(path: Path, most: int = MAX_JSON_BYTES, remedy: str = "give an intact file of its kind") -> Any:
    """Read a JSON file with finite numbers and without duplicate keys.

    Raises:
        InputError: the file is missing, not a regular file, larger than ``most`` bytes or not valid; the message ends
            with the remedy.
    """
    text = read_text(path, most, remedy)
    try:
        return parse_json(text)
    except (RecursionError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({' '.join(str(error).split())[:200]}); {remedy}") from None


def parse_json(text: str) -> Any:
    """The value of JSON text with finite numbers, without duplicate keys and with valid Unicode only.

    Raises:
        ValueError: the text is not valid.
        RecursionError: it is nested too deeply.
    """
    value = json.loads(text, parse_constant=_finite, parse_float=_finite, object_pairs_hook=_unique_keys)
    if _SURROGATE.search(text):  # valid in pairs only; half of one could not be written to any file
        json.dumps(value, ensure_ascii=False).encode()
    return value


def refuse_expanding(value: Any, source: str) -> None:
    """Reject lists and mappings that expand to too many values through shared parts, or that contain themselves.

    For values that another parser built from YAML, in which aliases take no memory until they are written out.

    Raises:
        InputError: names ``source``.
    """
    sizes: dict[int, tuple[int, int]] = {}  # number of values and depth, by identity

    def measure(part: Any, depth: int) -> tuple[int, int]:
        if isinstance(part, str) or not isinstance(part, Mapping | Sequence):
            return 1, 0
        if depth > MAX_DEPTH:
            raise _too_deep(source)
        if id(part) not in sizes:
            children = part.values() if isinstance(part, Mapping) else part
            sizes[id(part)] = _total_size([measure(child, depth + 1) for child in children])
        return sizes[id(part)]

    values, depth = measure(value, 0)
    if depth > MAX_DEPTH:
        raise _too_deep(source)
    if values > MAX_VALUES:
        raise InputError(f"{source}: {_TOO_MANY}")


_TOO_MANY = f"contains more than {MAX_VALUES} values once aliases and merged mappings are written out; write fewer"


def _too_deep(source: object) -> InputError:
    return InputError(f"{source}: lists or mappings are nested more than {MAX_DEPTH} levels deep; use fewer levels")


def _total_size(parts: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Number of values and depth of a list or mapping, from those of its parts."""
    return 1 + sum(values for values, _ in parts), 1 + max((depth for _, depth in parts), default=0)


class _BoundedLoader(yaml.SafeLoader):
    """Rejects values that exceed the limits, and duplicate keys, of which YAML would take the last."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._depth = 0
        self._sizes: dict[int, tuple[int, int]] = {}  # number of values and depth of complete nodes, by identity

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise RecursionError
        alias = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None and id(node) not in self._sizes:
            if alias:
                raise yaml.YAMLError(f"line {node.start_mark.line + 1}: a value contains itself")
            self._sizes[id(node)] = self._size(node)
        return node

    def _size(self, node: yaml.Node) -> tuple[int, int]:
        if isinstance(node, yaml.ScalarNode):
            node.value.encode()  # fails for half of a surrogate pair, which could not be written to any file
            return 1, 0
        children = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
        values, depth = _total_size([self._sizes[id(child)] for child in children])
        if depth > MAX_DEPTH:
            raise RecursionError
        if values > MAX_VALUES:
            raise yaml.YAMLError(_TOO_MANY)
        return values, depth

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.YAMLError(f"line {key.start_mark.line + 1}: a key is a list or a mapping; use text")
            if (key.tag, key.value) in keys:
                raise yaml.YAMLError(f"line {key.start_mark.line + 1}: duplicate key '{key.value}'; keep one")
            keys.add((key.tag, key.value))
        return node


def _integer(loader: _BoundedLoader, node: yaml.ScalarNode) -> int:
    if len(node.value) > _LONGEST_INTEGER:
        raise yaml.YAMLError(f"line {node.start_mark.line + 1}: an integer of {len(node.value)} digits")
    return int(loader.construct_yaml_int(node))


_BoundedLoader.add_constructor("tag:yaml.org,2002:int", _integer)


def _finite(number: str) -> float:
    if math.isfinite(value := float(number)):
        return value
    raise ValueError(f"{number[:20]} is not a finite number")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"duplicate key '{name[:100]}'")
    return mapping
