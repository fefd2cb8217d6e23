"""ComfyUI's drawing of a graph (`workflow`) → the form that was run, for the nodes that matter.

In the drawing a node's settings are a bare list, in the order that the node's own code gives them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from provenance.read.found import items_of, object_of

MAX_NODES = 2_000

# comfyui nodes.py and comfy_extras/nodes_custom_sampler.py; None is a control without a name.
_WIDGETS: dict[str, tuple[str | None, ...]] = {
    "KSampler": ("seed", None, "steps", "cfg", "sampler_name", "scheduler", "denoise"),
    "KSamplerAdvanced": ("add_noise", "noise_seed", None, "steps", "cfg", "sampler_name",
                         "scheduler", "start_at_step", "end_at_step"),
    "SamplerCustom": ("add_noise", "noise_seed", None, "cfg"),
    "RandomNoise": ("noise_seed", None),
    "KSamplerSelect": ("sampler_name",),
    "BasicScheduler": ("scheduler", "steps", "denoise"),
    "CFGGuider": ("cfg",),
    "FluxGuidance": ("guidance",),
    "CheckpointLoader": ("config_name", "ckpt_name"),
    "CheckpointLoaderSimple": ("ckpt_name",),
    "UNETLoader": ("unet_name", "weight_dtype"),
    "LoraLoader": ("lora_name", "strength_model", "strength_clip"),
    "LoraLoaderModelOnly": ("lora_name", "strength_model"),
    "CLIPTextEncode": ("text",),
    "EmptyLatentImage": ("width", "height", "batch_size"),
    "EmptySD3LatentImage": ("width", "height", "batch_size"),
    "LoadImage": ("image",),
    "PrimitiveNode": ("value",),
}  # fmt: skip
_MUTED, _BYPASSED = 2, 4  # a node's mode


@dataclass(frozen=True)
class _Link:
    """Where a link comes from, and the kind of what it carries."""

    node: str
    slot: Any
    kind: str


def as_prompt(workflow: dict[str, Any]) -> dict[str, Any]:
    """Nodes by their ids, with named inputs and links as [node id, slot]."""
    nodes = [n for n in items_of(workflow.get("nodes"))[:MAX_NODES] if isinstance(n, dict)]
    links = _links(workflow.get("links"))
    _pass_by([node for node in nodes if node.get("mode") == _BYPASSED], links)
    return {
        str(node.get("id")): {
            "class_type": str(node.get("type")),
            "inputs": _settings(node) | _inputs(node, links),
        }
        for node in nodes
        if node.get("mode") not in (_MUTED, _BYPASSED)
    }


def _links(values: Any) -> dict[str, _Link]:
    """[link, from node, from slot, to node, to slot, kind] by link."""
    return {
        str(each[0]): _Link(str(each[1]), each[2], str(each[5]) if len(each) > 5 else "")
        for each in items_of(values)
        if isinstance(each, list) and len(each) >= 3
    }


def _pass_by(bypassed: list[dict[str, Any]], links: dict[str, _Link]) -> None:
    """Lets the links out of bypassed nodes come from where these nodes' own inputs do."""
    names = {str(node.get("id")) for node in bypassed}
    ways = _ways(bypassed, links)
    for name in list(links):
        path = []
        while (link := links.get(name)) and link.node in names:
            path.append(name)
            del links[name]  # each is walked once: circles end
            first = ways.get((link.node, None, link.kind), "")
            name = ways.get((link.node, str(link.slot), link.kind), first)
        if link:
            links.update(dict.fromkeys(path, link))


def _ways(
    bypassed: list[dict[str, Any]], links: Mapping[str, _Link]
) -> dict[tuple[str, str | None, str], str]:
    """The links into nodes by node, slot and kind; the first of a kind has no slot too.

    ComfyUI takes the input of the output's slot where it is of its kind, else the first that is.
    """
    ways: dict[tuple[str, str | None, str], str] = {}
    for node in bypassed:
        for slot, each in enumerate(items_of(node.get("inputs"))):
            name = str(object_of(each).get("link"))
            if link := links.get(name):
                ways[str(node.get("id")), str(slot), link.kind] = name
                ways.setdefault((str(node.get("id")), None, link.kind), name)
    return ways


def _inputs(node: dict[str, Any], links: Mapping[str, _Link]) -> dict[str, Any]:
    given = {
        str(each.get("name")): links.get(str(each.get("link")))
        for each in map(object_of, items_of(node.get("inputs")))
    }
    return {name: [link.node, link.slot] for name, link in given.items() if link}


def _settings(node: dict[str, Any]) -> dict[str, Any]:
    values = node.get("widgets_values")
    if isinstance(values, dict):
        return {str(key): value for key, value in values.items()}
    names = _WIDGETS.get(str(node.get("type")), ())
    return {
        name: value
        for name, value in zip(names, items_of(values), strict=False)
        if name is not None
    }
