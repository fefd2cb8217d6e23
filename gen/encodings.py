"""What the text encoders make of a prompt, kept for the prompts that were read last.

Each text is read by itself, so that what it becomes does not depend on those beside it.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Any

_KEPT = 16  # texts, of each encoder: SDXL's second makes 7 MB of one
_ROW_BY_ROW = ("CLIPText", "T5", "UMT5", "MT5", "Bert")  # pad every text to the same length


def reads_alone(pipeline: Any) -> bool:
    """Whether every text becomes the same, whatever texts are read with it."""
    encoders = [
        type(part).__name__
        for name, part in pipeline.components.items()
        if name.startswith("text_encoder") and part is not None
    ]
    return all(each.startswith(_ROW_BY_ROW) for each in encoders)


def one_at_a_time(pipeline: Any) -> None:
    """Lets one thread at a time use a tokenizer: its padding is set anew by each call, for all."""
    for name, part in pipeline.components.items():
        if name.startswith("tokenizer") and hasattr(part, "_encode_plus"):
            part._encode_plus = partial(_alone, Lock(), part._encode_plus)


def _alone(lock: Any, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
    with lock:
        return call(*args, **named)


class Encodings:
    """Puts itself between a pipeline and its text encoders."""

    def __init__(self) -> None:
        self._held: OrderedDict[Any, Any] = OrderedDict()
        self._lock = Lock()
        self._own: dict[Any, Callable[..., Any]] = {}
        self._ours: dict[Any, Callable[..., Any]] = {}

    def put_on(self, pipeline: Any) -> None:
        """After what else takes the place of the encoders' `forward`.

        Again before each painting: diffusers puts its offloading on anew after the last.
        """
        for name, part in pipeline.components.items():
            if not (
                name.startswith("text_encoder") and type(part).__name__.startswith(_ROW_BY_ROW)
            ):
                continue
            if part.forward is not self._ours.get(part):
                self._own[part] = part.forward
                part.forward = self._ours[part] = partial(self._read, name, part.forward)

    def take_off(self) -> None:
        for part, forward in self._ours.items():
            if part.forward is forward:
                part.forward = self._own[part]
        self._ours.clear()

    def clear(self) -> None:
        """For when the encoders change, as by a LoRA."""
        with self._lock:
            self._held.clear()

    def _read(
        self, name: str, forward: Callable[..., Any], ids: Any, *args: Any, **named: Any
    ) -> Any:
        rows = []
        for row in range(len(ids)):

            def of(value: Any, row: int = row) -> Any:
                return value[row : row + 1] if hasattr(value, "shape") else value

            given = [of(each) for each in args]
            rest = {key: of(value) for key, value in named.items()}
            rows.append(self._row(name, forward, of(ids), given, rest))
        return _joined(rows, ids.device)

    def _row(
        self, name: str, forward: Callable[..., Any], ids: Any, args: list[Any], named: Any
    ) -> Any:
        key = name, *map(_mark, (ids, *args)), *((k, _mark(v)) for k, v in sorted(named.items()))
        with self._lock:
            if key not in self._held:
                self._held[key] = _moved(forward(ids, *args, **named), "cpu")
            self._held.move_to_end(key)
            while len(self._held) > _KEPT * max(1, len(self._own)):
                self._held.popitem(last=False)
            return self._held[key]


def _mark(value: Any) -> Any:
    return value.cpu().numpy().tobytes() if hasattr(value, "shape") else value


def _moved(out: Any, device: Any) -> Any:
    """A tensor, or tuples and mappings of them, on another device."""
    return _each([out], lambda tensors: tensors[0].to(device))


def _joined(outs: list[Any], device: Any) -> Any:
    import torch

    return _each(outs, lambda tensors: torch.cat(tensors).to(device))


def _each(outs: list[Any], act: Callable[[list[Any]], Any]) -> Any:
    """What `act` makes of the tensors that have the same place in each output."""
    first = outs[0]
    if first is None:
        return None
    if hasattr(first, "shape"):
        return act(outs)
    if isinstance(first, tuple | list):
        return type(first)(_each(list(same), act) for same in zip(*outs, strict=True))
    return type(first)(**{key: _each([out[key] for out in outs], act) for key in first})
