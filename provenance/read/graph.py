"""A ComfyUI graph: nodes by their ids, and values found by following links.

Every walk visits a node once, and all walks of a graph end after so many steps, so hostile graphs
(cycles, fans) take a bounded time.
Knows the nodes' shape, not what a recipe is.
"""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

MAX_NODES = 2_000
MAX_INPUTS = 200  # of one node
MAX_STEPS = 500_000  # inputs that are looked at in all
_GENERIC = ("value", "Value", "int", "float", "number", "INT", "FLOAT", "a")
_TEXTS = ("populated_text", "text", "string", "prompt", "value", "String", "Text", "STRING",
          "text_0", "positive_prompt", "wildcard_text")  # fmt: skip
_PIECE = re.compile(r"(?:text|string|prompt)_?[a-z0-9]?", re.IGNORECASE)
_JOINS = re.compile(r"concat|combine|join|append", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Node:
    """One node: `inputs` are literals or links, which are lists [node id, slot]."""

    name: str
    kind: str
    inputs: dict[str, Any]


class Graph:
    """The nodes of one prompt."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.nodes = {
            str(name): Node(str(name), each["class_type"], _first(each["inputs"]))
            for name, each in list(values.items())[:MAX_NODES]
            if isinstance(each, dict)
            and isinstance(each.get("inputs"), dict)
            and isinstance(each.get("class_type"), str)
        }
        self._steps = MAX_STEPS

    def _spent(self, inputs: int) -> bool:
        """Takes so many steps; whether there are none left."""
        self._steps -= inputs + 1
        return self._steps < 0

    def to(self, link: Any) -> Node | None:
        """The node that a link leads to; None for what is no link."""
        if not isinstance(link, list) or len(link) != 2 or not isinstance(link[0], str | int):
            return None
        return self.nodes.get(str(link[0]))

    def next(self, node: Node, *names: str) -> Node | None:
        """The node behind the first of these inputs that is a link."""
        return next((to for name in names if (to := self.to(node.inputs.get(name)))), None)

    def upstream(self, *starts: Node | None) -> Iterator[Node]:
        """These nodes and all that they depend on, the nearest first."""
        waiting = deque(node for node in starts if node)
        seen = {node.name for node in waiting}
        while waiting:
            node = waiting.popleft()
            if self._spent(len(node.inputs)):
                return
            yield node
            for given in node.inputs.values():
                if (to := self.to(given)) and to.name not in seen:
                    seen.add(to.name)
                    waiting.append(to)

    def value(self, node: Node | None, *names: str) -> Any:
        """The literal under the first of these names that has one, here or behind links."""
        return self._value(node, names, set()) if node else None

    def _value(self, node: Node, names: tuple[str, ...], seen: set[str]) -> Any:
        waiting = [node]
        while waiting:
            node = waiting.pop()
            if node.name in seen:
                continue
            seen.add(node.name)
            wanted = names if len(seen) == 1 else (*names, *_GENERIC)
            if self._spent(len(wanted)):
                return None
            for name in wanted:
                given = _literal(node.inputs.get(name))
                if given is not None:
                    return given
            links = [self.to(node.inputs.get(name)) for name in wanted]
            waiting += [to for to in reversed(links) if to]
        return None

    def text(self, node: Node | None, *names: str) -> str | None:
        """Like `value`, for text; nodes that join texts are joined."""
        return self._text(node, names, set(), 0) if node else None

    def _text(self, node: Node, names: tuple[str, ...], seen: set[str], depth: int) -> str | None:
        if node.name in seen or depth > 50 or self._spent(len(_TEXTS)):
            return None
        seen.add(node.name)
        if depth and _JOINS.search(node.kind):
            return self._joined(node, seen, depth)
        for name in names if depth == 0 else _TEXTS:
            given = node.inputs.get(name)
            if isinstance(given, str):
                return given
            to = self.to(given)
            if to and (text := self._text(to, names, seen, depth + 1)) is not None:
                return text
        return None

    def _joined(self, node: Node, seen: set[str], depth: int) -> str:
        glue = next(
            (node.inputs[key] for key in ("delimiter", "separator") if key in node.inputs), ""
        )
        pieces: list[str] = []
        for name, given in node.inputs.items():
            if _PIECE.fullmatch(name):
                to = self.to(given)
                piece = self._text(to, (), seen, depth + 1) if to else given
                pieces += [piece] if isinstance(piece, str) and piece else []
        return (glue if isinstance(glue, str) else "").join(pieces)


def is_graph(values: dict[str, Any]) -> bool:
    """Whether the JSON object is a prompt as ComfyUI's API takes it."""
    return any(
        isinstance(each, dict) and "class_type" in each and isinstance(each.get("inputs"), dict)
        for each in list(values.values())[:100]
    )


def _first(inputs: dict[str, Any]) -> dict[str, Any]:
    return dict(islice(inputs.items(), MAX_INPUTS))


def _literal(given: Any) -> Any:
    if isinstance(given, dict):  # pysssss's loaders: {"content": name, "image": …}
        given = given.get("content")
    return given if isinstance(given, str | int | float) else None
