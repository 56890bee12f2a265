"""What `dynaip inspect` says of weights: whose they are, for which base, how much memory."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from dynaip.adapter.convention import ForeignConfig, Shapes, recognise
from dynaip.apps.cli.facts import Facts
from dynaip.hosts import memory

PICKLES = (".bin", ".pt", ".pth", ".ckpt")


def describe_shapes(path: Path, shapes: Shapes, size: Facts) -> Facts:
    """Facts about a file of tensors: a published adapter's, or just its size.

    Raises:
        ValueError: It is an image-prompt adapter that dynaip cannot run.
    """
    try:
        config = recognise(shapes)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if config is None:
        own = "fusion.experts.0.0.weight" in shapes or "blocks.0.to_k.weight" in shapes
        kind = "weights of a DynaIP adapter; its folder says more" if own else "weights"
        return {"kind": kind, **size}
    return {
        "kind": f"{config.name} image-prompt adapter",
        "base": _base(config),
        **size,
        "image_encoder": f"{config.convention.encoder} ({config.convention.encoder_output})",
        "tokens": f"{config.tokens} of width {config.token_dim}",
        "convention": {
            **dataclasses.asdict(config.convention),
            "gated": config.convention.gated,
            "bias": config.bias,
        },
        "memory": {
            "weights": size["bytes"],
            "keys_and_values_per_subject": memory.prompt_bytes(
                config.blocks, config.inner_dim, config.tokens
            ),
        },
    }


def describe_card(path: Path) -> Facts:
    """Facts about a subject card: what of its granularity is open, and whose it is.

    Raises:
        ValueError: It is truncated or damaged.
    """
    from dynaip.adapter.card import SubjectCard

    card = SubjectCard.load(path)
    _, views, tokens, width = card.tokens.shape
    return {
        "kind": "subject card",
        "fused": card.fused,
        "views": views,
        "tokens": f"{tokens} of width {width}",
        "coefficients": [round(value, 4) for value in card.coefficients.float().mean(0).tolist()],
        "precision": str(card.tokens.dtype).removeprefix("torch."),
        "fusion_sha256": card.fusion_sha256,
    }


def describe_pickle(path: Path) -> Facts:
    """Facts about a pickle, and how to be rid of it.

    Raises:
        ValueError: It holds more than plain tensors, or is damaged.
    """
    from dynaip.adapter.foreign import read_tensors

    tensors = read_tensors(path, "meta")
    size = {
        "parameters": sum(tensor.numel() for tensor in tensors.values()),
        "bytes": path.stat().st_size,
        "precision": ", ".join(sorted({str(t.dtype).split(".")[-1] for t in tensors.values()})),
    }
    facts = describe_shapes(path, {name: tuple(t.shape) for name, t in tensors.items()}, size)
    offer = "a pickle of plain tensors"
    if not facts["kind"].startswith("weights"):
        offer += f"; `dynaip convert {path.name}` writes it as safetensors"
    return {**facts, "file": offer}


def describe_adapter(config: Facts) -> Facts:
    """Base and memory of one of our own adapters, from its `config.json`.

    Raises:
        ValueError: The config lacks a size.
    """
    if missing := sorted({"heads", "head_dim", "double_blocks", "single_blocks"} - config.keys()):
        raise ValueError(f"The adapter's config lacks: {', '.join(missing)}; copy it again.")
    width = config["heads"] * config["head_dim"]
    blocks = config["double_blocks"] + config["single_blocks"]
    return {
        "base": (
            f"{config['double_blocks']} double and {config['single_blocks']} single blocks, "
            f"{config['heads']} heads of {config['head_dim']}"
        ),
        "keys_and_values_per_token": memory.prompt_bytes(blocks, width, tokens=1),
    }


def describe_base(name: str, subjects: int) -> Facts:
    """Parameters and memory of a base with an adapter of the paper's shape, as arithmetic.

    Raises:
        ValueError: The base is not known by that name.
    """
    if name not in memory.BASES:
        raise ValueError(f"--base is one of {', '.join(memory.BASES)}; got {name!r}.")
    shape = memory.BASES[name]
    parts = memory.parts(shape)
    return {
        "kind": f"{name} with a DynaIP adapter: arithmetic, not a measurement",
        "sites": f"{shape.double_blocks} double + {shape.single_blocks} single = {shape.blocks}",
        "parameters": parts,
        "adapter_parameters": sum(n for part, n in parts.items() if part.startswith("adapter")),
        "subjects": subjects,
        "keys_and_values_bytes": subjects * memory.prompt_bytes(shape.blocks, shape.width),
        "memory": memory.modes(shape, subjects),
        "note": "weights, keys and values; activations come on top",
    }


def _base(config: ForeignConfig) -> str:
    kind = "double" if config.convention.single_rows is None else "double and single"
    blocks = f"{config.blocks} {kind} blocks of width {config.inner_dim}"
    for shape in memory.BASES.values():
        sites = shape.double_blocks if kind == "double" else shape.blocks
        if (config.blocks, config.inner_dim) == (sites, shape.width):
            return f"FLUX.1 ({blocks})"
    return blocks
