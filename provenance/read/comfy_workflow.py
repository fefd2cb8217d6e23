"""ComfyUI's drawing of a graph (`workflow`) → the form that was run, for the nodes that matter.

In the drawing a node's settings are a bare list, in the order that the node's own code gives them.
"""

from typing import Any

from provenance.read.found import items_of

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
_OFF = (2, 4)  # a node's mode when it is muted or bypassed


def as_prompt(workflow: dict[str, Any]) -> dict[str, Any]:
    """Nodes by their ids, with named inputs and links as [node id, slot]."""
    nodes = [n for n in items_of(workflow.get("nodes"))[:MAX_NODES] if isinstance(n, dict)]
    links = _links(workflow.get("links"))
    return {
        str(node.get("id")): {
            "class_type": str(node.get("type")),
            "inputs": _settings(node) | _inputs(node, links),
        }
        for node in nodes
        if node.get("mode") not in _OFF
    }


def _links(values: Any) -> dict[str, list[Any]]:
    """[link, from node, from slot, to node, to slot, kind] by link."""
    found: dict[str, list[Any]] = {}
    for each in items_of(values):
        if isinstance(each, list) and len(each) >= 3:
            found[str(each[0])] = [str(each[1]), each[2]]
    return found


def _inputs(node: dict[str, Any], links: dict[str, list[Any]]) -> dict[str, Any]:
    inputs = [each for each in items_of(node.get("inputs")) if isinstance(each, dict)]
    return {
        str(each.get("name")): links[str(each.get("link"))]
        for each in inputs
        if str(each.get("link")) in links
    }


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
