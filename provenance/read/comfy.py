"""Reads ComfyUI: its graph, followed through its links to sampler, model, LoRAs, prompts, seed.

`prompt` is what was run; `workflow` is the drawing of it, used where there is no `prompt`.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from provenance.read.comfy_workflow import as_prompt
from provenance.read.found import (
    Carried,
    Found,
    Parent,
    Text,
    lora_from,
    recipe_from,
    text_of,
    whole,
)
from provenance.read.graph import Graph, Node, is_graph
from provenance.recipe import Lora, Recipe

_EXIF = ("Make", "Model", "ImageDescription", "UserComment", "Software")
_SEED = ("seed", "noise_seed")
_LATENT = ("latent_image", "samples", "latent", "optional_latent", "latents")
_MODEL = ("model", "MODEL", "model1", "base_model", "model_opt", "unet", "pipe", "basic_pipe")
_FILES = ("ckpt_name", "unet_name", "base_ckpt_name", "gguf_name", "model_name", "model_path",
          "checkpoint", "air", "model_air")  # fmt: skip
_WORDS = (("text",), ("text_g", "text_l"), ("t5xxl", "clip_l"), ("prompt",), ("populated_text",))
_STRENGTHS = ("strength_model", "strength", "lora_strength", "lora_model_strength", "lora_wt")
_CONDITIONS = ("conditioning", "conditioning_1", "conditioning_2", "conditioning_to",
               "conditioning_from", "conditioning1", "conditioning2", "cond", "pipe",
               "basic_pipe")  # fmt: skip


def read_comfy(carried: Carried) -> Iterator[Found]:
    texts = list(_candidates(carried))
    graphs = [(text, Graph(values)) for text, values in texts if is_graph(values)]
    if not graphs:
        graphs = [(text, Graph(as_prompt(values))) for text, values in texts if "nodes" in values]
    yield from (_found(graph, text) for text, graph in graphs if graph.nodes)


def _candidates(carried: Carried) -> Iterator[tuple[Text, dict[str, Any]]]:
    """Every JSON object that could be a graph: by key in PNG, by prefix in EXIF."""
    for text in carried.under("prompt", "workflow", "parameters", *_EXIF):
        name = text.text.lstrip()[:9].lower().partition(":")[0]
        if name in ("prompt", "workflow"):
            body = text.text.partition(":")[2]
            text = replace(text, key=f"{text.key} {name}", text=body)
        if text.object:
            yield text, text.object


def _found(graph: Graph, text: Text) -> Found:
    samplers = _samplers(graph)
    main = _base(graph, samplers)
    settings: dict[str, Any] = {"nodes": len(graph.nodes), "samplers": len(samplers)}
    if main:
        sigmas = graph.next(main, "sigmas")
        settings |= {
            "denoise": _first(graph.value(main, "denoise"), graph.value(sigmas, "denoise")),
            "distilled guidance": _distilled(graph, main),
        }
    return Found(
        tool="ComfyUI",
        source=text.where,
        raw=text.text,
        recipe=_recipe(graph, main) if main else None,
        settings={key: value for key, value in settings.items() if value is not None},
        parents=tuple(_parents(graph, main)) if main else (),
    )


def _samplers(graph: Graph) -> list[Node]:
    """Those that led to a saved picture, the nearest to it first."""
    savers = [
        n for n in graph.nodes.values() if "save" in n.kind.lower() and n.kind != "SaveLatent"
    ]
    ends = savers or [n for n in graph.nodes.values() if "preview" in n.kind.lower()]
    found = [node for node in graph.upstream(*ends) if _samples(node)]
    return found or [node for node in graph.nodes.values() if _samples(node)]


def _samples(node: Node) -> bool:
    given = node.inputs.keys()
    seeded = bool(given & {"seed", "noise_seed", "noise"}) and bool(given & {"steps", "sigmas"})
    return seeded or ("sampler" in node.kind.lower() and bool(given & {"seed", "noise_seed"}))


def _base(graph: Graph, samplers: list[Node]) -> Node | None:
    """The sampler that starts the picture: no other comes before it."""
    names = {node.name for node in samplers}
    for node in samplers[:10]:
        before = graph.upstream(graph.next(node, *_LATENT))
        if not any(each.name in names for each in before if each is not node):
            return node
    return samplers[-1] if samplers else None


def _recipe(graph: Graph, main: Node) -> Recipe:
    guider = graph.next(main, "guider")
    sigmas = graph.next(main, "sigmas")
    models = _models(graph, graph.next(main, *_MODEL) or graph.next(guider or main, *_MODEL))
    scales = (graph.value(main, "cfg"), graph.value(guider, "cfg"), _distilled(graph, main))
    return recipe_from(
        _prompt(graph, main, guider, "positive"),
        negative=_prompt(graph, main, guider, "negative"),
        model=next((name for node in models if (name := _file(graph, node))), None),
        seed=_seed(graph, main),
        steps=_first(graph.value(main, "steps"), graph.value(sigmas, "steps")),
        guidance=_first(*scales),
        sampler=graph.value(main, "sampler_name")
        or graph.value(graph.next(main, "sampler"), "sampler_name"),
        scheduler=graph.value(main, "scheduler") or graph.value(sigmas, "scheduler"),
        size=_size(graph, main),
        loras=[lora for node in reversed(models) for lora in _loras(graph, node)],
    )


def _seed(graph: Graph, main: Node) -> int | None:
    """A negative one stands for a choice that was made when it ran."""
    noise = graph.next(main, "noise")
    return whole(_first(graph.value(main, *_SEED), graph.value(noise, *_SEED)), 0, 2**64)


def _first(*values: Any) -> Any:
    """The first that is known; zero is known."""
    return next((value for value in values if value is not None), None)


def _models(graph: Graph, node: Node | None) -> list[Node]:
    """The nodes that the model came through, from the sampler back to its file."""
    chain: list[Node] = []
    while node and node not in chain and len(chain) < 200:
        chain.append(node)
        if stack := graph.next(node, "lora_stack"):
            chain += [each for each in islice(graph.upstream(stack), 50) if each not in chain]
        node = None if _file(graph, node) else graph.next(node, *_MODEL)
    return chain


def _file(graph: Graph, node: Node) -> str | None:
    named = text_of(graph.value(node, *_FILES))
    literal = node.inputs.get("model")
    return named or (text_of(literal) if isinstance(literal, str) else None)


def _loras(graph: Graph, node: Node) -> Iterator[Lora]:
    """One by `lora_name`; several by number, also as rgthree's {"on", "lora", "strength"}."""
    given = node.inputs
    if lora := lora_from(graph.value(node, "lora_name"), _strength(graph, node, *_STRENGTHS)):
        yield lora
    for number in range(1, 51):
        each = given.get(f"lora_{number}", given.get(f"lora_name_{number}"))
        if isinstance(each, dict):
            lora = (
                lora_from(each.get("lora"), each.get("strength")) if each.get("on", True) else None
            )
        elif given.get(f"switch_{number}") in ("Off", False):
            lora = None
        else:
            names = (f"model_weight_{number}", f"lora_wt_{number}", f"strength_{number}",
                     f"model_str_{number}", f"lora_{number}_strength")  # fmt: skip
            lora = lora_from(each, _strength(graph, node, *names))
        if lora:
            yield lora


def _strength(graph: Graph, node: Node, *names: str) -> Any:
    given = [name for name in names if name in node.inputs]
    return graph.value(node, *given) if given else None


def _prompt(graph: Graph, main: Node, guider: Node | None, role: str) -> str | None:
    for node in (main, guider):
        if node is None:
            continue
        if isinstance(literal := node.inputs.get(role), str):
            return literal
        other = "conditioning" if role == "positive" else role
        link = node.inputs.get(role) or node.inputs.get(other)
        if graph.to(link):
            return "\n".join(dict.fromkeys(_words(graph, link, role, set()))) or None
    loader = graph.next(main, "pipe", "basic_pipe")
    return graph.text(loader, role) if loader else None


def _words(graph: Graph, link: Any, role: str, seen: set[str], depth: int = 0) -> Iterator[str]:
    """The texts behind a conditioning, through nodes that combine or change conditionings."""
    node = graph.to(link)
    if node is None or node.name in seen or depth > 100 or "ZeroOut" in node.kind:
        return
    seen.add(node.name)
    both = graph.to(node.inputs.get("positive")) and graph.to(node.inputs.get("negative"))
    if both and isinstance(link[1], int) and link[1] in (0, 1):
        role = ("positive", "negative")[link[1]]
    for names in (*_WORDS, (role,)):
        texts = [graph.text(node, name) for name in names if name in node.inputs]
        if found := [text for text in texts if text and text.strip()]:
            yield from dict.fromkeys(found)
            return
        if texts and names[0] != role and any(text is not None for text in texts):
            return  # an empty prompt is a prompt
    for name in (*_CONDITIONS, role):
        yield from _words(graph, node.inputs.get(name), role, seen, depth + 1)


def _distilled(graph: Graph, main: Node) -> Any:
    """The guidance that distilled models (FLUX) take with their prompt."""
    starts = [graph.next(main, "positive"), graph.next(graph.next(main, "guider") or main,
              "conditioning", "positive")]  # fmt: skip
    for node in graph.upstream(*starts):
        if "guidance" in node.inputs:
            return graph.value(node, "guidance")
    return None


def _size(graph: Graph, main: Node) -> tuple[Any, Any]:
    start = graph.next(main, *_LATENT)
    for node in graph.upstream(start):
        names = ("width", "height")
        if "empty_latent_width" in node.inputs:
            names = ("empty_latent_width", "empty_latent_height")
        if all(name in node.inputs for name in names):
            return graph.value(node, names[0]), graph.value(node, names[1])
    return None, None


def _parents(graph: Graph, main: Node) -> Iterator[Parent]:
    """The files that the sampler started from (image-to-image)."""
    for node in graph.upstream(graph.next(main, *_LATENT)):
        if node.kind.startswith("LoadImage") and (name := text_of(node.inputs.get("image"))):
            yield Parent(name, f"ComfyUI {node.kind}")
