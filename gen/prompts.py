"""Weighted and long prompts for pipelines that read with CLIP alone (SD 1.5, SDXL).

`(word:1.2)`, `(word)` and `[word]` are read as AUTOMATIC1111 reads them; what is longer than CLIP's
75 tokens is read in parts of 75, which are put one after the other.
"""

import inspect
import re
from collections.abc import Sequence
from typing import Any

from provenance.errors import UsageError

# modules/prompt_parser.py of AUTOMATIC1111/stable-diffusion-webui
_PIECE = re.compile(
    r"\\\(|\\\)|\\\[|\\]|\\\\|\\|\(|\[|:\s*([+-]?[.\d]+)\s*\)|\)|]|[^\\()\[\]:]+|:", re.VERBOSE
)
_WEIGHTED = re.compile(r"\([^()]*:\s*[+-]?[.\d]+\s*\)")
_ROUND, _SQUARE = 1.1, 1 / 1.1
_ROOM = 75  # tokens, beside begin and end

Piece = tuple[str, float]


def pieces(text: str) -> list[Piece]:
    """The prompt's parts with their weights; neighbours of one weight are joined."""
    found: list[list[Any]] = []
    round_, square = [], []

    def times(start: int, factor: float) -> None:
        for each in found[start:]:
            each[1] *= factor

    for match in _PIECE.finditer(text):
        word, weight = match.group(0), match.group(1)
        if word.startswith("\\"):
            found.append([word[1:], 1.0])
        elif word == "(":
            round_.append(len(found))
        elif word == "[":
            square.append(len(found))
        elif weight is not None and round_:
            times(round_.pop(), _number(weight))
        elif word == ")" and round_:
            times(round_.pop(), _ROUND)
        elif word == "]" and square:
            times(square.pop(), _SQUARE)
        else:
            found.append([word, 1.0])
    for start in round_:
        times(start, _ROUND)
    for start in square:
        times(start, _SQUARE)
    return _joined(found)


def plain_words(text: str) -> str:
    """The prompt without weights, if it has any with a number."""
    return "".join(words for words, _ in pieces(text)) if _WEIGHTED.search(text) else text


def reads_weights(pipeline: Any) -> bool:
    """Whether the pipeline's only encoders are CLIP's, as in SD 1.5 and SDXL."""
    return type(pipeline).__name__.removesuffix("Pipeline").removesuffix("Img2Img") in (
        "StableDiffusion",
        "StableDiffusionXL",
    )


def require_read(pipeline: Any, *texts: str) -> None:
    """Raises UsageError for weights that the pipeline would read as words."""
    if not reads_weights(pipeline) and any(map(_WEIGHTED.search, texts)):
        raise UsageError(
            f"{type(pipeline).__name__} does not take weights such as (word:1.2); say it in words"
        )


def reading(pipeline: Any, most: int, *texts: str) -> dict[str, Any]:
    """The pipeline's argument for prompts that are longer than T5 reads unasked.

    Raises UsageError for what it would leave out: pipelines cut without a word.
    """
    asked = inspect.signature(pipeline.__call__).parameters.get("max_sequence_length")
    parts = pipeline.components.items()
    tokenizers = [part for name, part in parts if name.startswith("tokenizer") and part is not None]
    reader = next((each for each in tokenizers if type(each).__name__.startswith("T5")), None)
    if reads_weights(pipeline) or asked is None or not tokenizers:
        return {}
    if reader is None:
        reader, most = tokenizers[0], 77
    longest = max(len(reader(text, truncation=False, verbose=False).input_ids) for text in texts)
    if longest > most:
        raise UsageError(
            f"the prompt has {longest} tokens; {type(pipeline).__name__} reads {most} here"
        )
    return {"max_sequence_length": most} if longest > asked.default else {}


def length(pipeline: Any, prompt: str, negative: str) -> int | None:
    """In how many parts the longer of both is read; None where the pipeline reads them itself.

    None for prompts that are short and have no weights, so that their pixels are diffusers' own.
    """
    if not reads_weights(pipeline):
        return None
    parts = [pieces(prompt), pieces(negative)]
    tokenizer = pipeline.tokenizer
    tokens = max(len(_tokens(tokenizer, pipeline, part)[0]) for part in parts)
    plain = all(p in ([], [(t, 1.0)]) for p, t in zip(parts, (prompt, negative), strict=True))
    if tokens <= _room(tokenizer) and plain:
        return None
    return -(-tokens // _room(tokenizer))


def encoded(pipeline: Any, texts: Sequence[tuple[str, str]]) -> dict[str, Any] | None:
    """The pipeline's arguments instead of prompts and negative prompts, all of one `length`.

    None where the pipeline reads them itself.
    """
    import torch

    if length(pipeline, *texts[0]) is None:
        return None
    made = [_encode(pipeline, [pieces(prompt), pieces(negative)]) for prompt, negative in texts]
    return {name: torch.cat([each[name] for each in made]) for name in made[0]}


def _encode(pipeline: Any, parts: list[list[Piece]]) -> dict[str, Any]:
    import torch

    pairs = [(pipeline.tokenizer, pipeline.text_encoder)]
    if hasattr(pipeline, "tokenizer_2"):
        pairs.append((pipeline.tokenizer_2, pipeline.text_encoder_2))
    embeds: list[list[Any]] = [[], []]
    pooled: list[Any] = [None, None]
    with torch.no_grad():
        for tokenizer, encoder in pairs:
            read = [_tokens(tokenizer, pipeline, part) for part in parts]
            room = _room(tokenizer)
            count = max(1, *(-(-len(ids) // room) for ids, _ in read))
            for number, (ids, weights) in enumerate(read):
                made, pooled[number] = _encoded(
                    tokenizer, encoder, ids, weights, count, deep=len(pairs) == 2
                )
                embeds[number].append(made)
    names = ("prompt_embeds", "negative_prompt_embeds")
    given = {name: torch.cat(made, -1) for name, made in zip(names, embeds, strict=True)}
    if len(pairs) == 2:
        given |= {"pooled_prompt_embeds": pooled[0], "negative_pooled_prompt_embeds": pooled[1]}
    return given


def _encoded(
    tokenizer: Any, encoder: Any, ids: list[int], weights: list[float], count: int, *, deep: bool
) -> tuple[Any, Any]:
    """(1, count * (room + 2), width) hidden states, and the pooled ones of the first part.

    A weight moves a token away from, or towards, what the empty prompt has in its place, as in
    ComfyUI's comfy/sd1_clip.py: unlike keeping the mean, this divides by nothing.
    """
    import torch

    room, made, pooled = _room(tokenizer), [], None
    for part in range(count):
        here = slice(part * room, (part + 1) * room)
        hidden, first = _states(tokenizer, encoder, ids[here], deep=deep)
        pooled = first if pooled is None else pooled
        if any(weight != 1 for weight in weights[here]):
            rest = [1.0] * (room + 1 - len(weights[here]))
            factors = torch.tensor([1.0, *weights[here], *rest]).to(hidden)[None, :, None]
            empty, _ = _states(tokenizer, encoder, [], deep=deep)
            hidden = empty + (hidden - empty) * factors
        made.append(hidden)
    return torch.cat(made, 1), pooled


def _states(tokenizer: Any, encoder: Any, ids: list[int], *, deep: bool) -> tuple[Any, Any]:
    """Begin, the tokens, end, padding → hidden states (the last but one if `deep`), pooled ones."""
    import torch

    end = [tokenizer.eos_token_id] + [tokenizer.pad_token_id] * (_room(tokenizer) - len(ids))
    row = torch.tensor([[tokenizer.bos_token_id, *ids, *end]], device=encoder.device)
    out = encoder(row, output_hidden_states=deep)
    return (out.hidden_states[-2] if deep else out[0]), out[0]


def _tokens(tokenizer: Any, pipeline: Any, parts: list[Piece]) -> tuple[list[int], list[float]]:
    ids: list[int] = []
    weights: list[float] = []
    for text, weight in parts:
        words = pipeline.maybe_convert_prompt(text, tokenizer)
        new = tokenizer(words, add_special_tokens=False, truncation=False, verbose=False).input_ids
        ids += new
        weights += [weight] * len(new)
    return ids, weights


def _room(tokenizer: Any) -> int:
    return min(_ROOM, int(tokenizer.model_max_length) - 2)


def _joined(found: list[list[Any]]) -> list[Piece]:
    joined: list[Piece] = []
    for text, weight in found:
        if joined and joined[-1][1] == weight:
            joined[-1] = (joined[-1][0] + text, weight)
        else:
            joined.append((text, weight))
    return joined


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{text!r} is no weight; one is written as in (word:1.2)") from None
