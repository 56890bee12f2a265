"""`python -m benchmarks`: times the base, ours and diffusers' own; prints and writes the table."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import Progress
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks import bases, contenders
from benchmarks.contenders import Bench, Contender
from benchmarks.report import Result, markdown
from benchmarks.timing import interleave, ready

console = Console(stderr=True)


def main(
    size: Annotated[
        str | None, typer.Option(help="flux (12 B), mid or tiny; flux on a GPU, else mid.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Measured steps of each contender.")] = 15,
    compile_blocks: Annotated[
        bool, typer.Option("--compile/--no-compile", help="Compiled blocks as well.")
    ] = True,
    fp8: Annotated[
        bool, typer.Option(help="Hold the base's weights in fp8 (diffusers' layerwise casting).")
    ] = False,
    dtype: Annotated[str, typer.Option(help="bfloat16 or float32.")] = "bfloat16",
    out: Annotated[Path, typer.Option(help="Folder for table.md and times.json.")] = Path(
        "out/benchmarks"
    ),
) -> None:
    """Measure what a reference costs."""
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    size = size or ("flux" if device.type == "cuda" else "mid")
    if size not in bases.SIZES or dtype not in ("bfloat16", "float32"):
        raise typer.BadParameter("--size is flux, mid or tiny; --dtype bfloat16 or float32.")
    result = measure(
        bases.SIZES[size],
        device,
        getattr(torch, dtype),
        rounds=rounds,
        compile_blocks=compile_blocks,
        fp8=fp8,
        label=f"{size}, random weights, {dtype}{', weights in fp8' if fp8 else ''}",
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / "table.md").write_text(markdown(result))
    (out / "times.json").write_text(json.dumps(result.to_dict(), indent=1))
    typer.echo(markdown(result))


def measure(
    size: bases.Size,
    device: torch.device,
    dtype: torch.dtype,
    *,
    rounds: int,
    compile_blocks: bool,
    label: str,
    fp8: bool = False,
    numbers: tuple[int, ...] = (1, 2, 3, 8),
) -> Result:
    """Builds everything once, runs everything once unmeasured, then measures in turn."""
    on_cpu = device.type == "cpu"
    wait = torch.accelerator.synchronize if not on_cpu else lambda: None
    # On a CPU other programs run beside: what counts is the time that the processor gave to us.
    clock = time.process_time if on_cpu else time.perf_counter
    with console.status("Making the base ..."):
        bench, setup = build(size, device, dtype, fp8, wait, clock)
        every = contenders.eager(bench, numbers)
        if compile_blocks:
            bench.transformer.compile_repeated_blocks()
            every += contenders.compiled(bench, numbers)
    shown = Progress(console=console, transient=True, disable=not console.is_terminal)
    with shown as progress:
        task = progress.add_task("Steps", total=len(every) * (rounds + 1))

        def tick() -> None:
            progress.advance(task)

        interleave(every, 1, wait, tick)
        times = interleave(every, rounds, wait, tick, clock)
    named = [contenders.BASE, contenders.name_subjects(max(numbers), 1.0)]
    return Result(
        machine=describe_machine(device),
        clock="processor time" if on_cpu else "wall time",
        base=f"{label}; {size.double} + {size.single} blocks of width {size.width}, "
        f"{size.image} image and {size.text} text tokens, references of {size.reference}",
        kernels={c.name: attention_kernels(c, wait) for c in every if c.name in named},
        times=times,
        setup=setup,
        memory=memory(bench, every, device),
    )


def build(
    size: bases.Size,
    device: torch.device,
    dtype: torch.dtype,
    fp8: bool,
    wait: Callable[[], None],
    clock: Callable[[], float],
) -> tuple[Bench, dict[str, float]]:
    """The base and the adapter, and how long one reference takes from pixels to K and V."""
    adapter = bases.build_adapter(size, device, dtype)
    encoder = bases.build_encoder(size, device, dtype)
    pixels = torch.rand(1, 3, size.encoder_image, size.encoder_image).to(device, dtype)

    def encode() -> Tensor:
        return adapter.encode(encoder(pixels, output_hidden_states=True).hidden_states).tokens

    with torch.inference_mode():
        tokens = encode()
        parts = {
            "image encoder, experts, router": median_seconds(encode, wait, clock),
            "keys and values": median_seconds(lambda: adapter.project(tokens), wait, clock),
        }
    parts["together"] = sum(parts.values())
    transformer = bases.build_transformer(size, device, dtype)
    if fp8:
        transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype)
    inputs = bases.step_inputs(size, device, dtype)
    bench = Bench(
        size=size, transformer=transformer, adapter=adapter, inputs=inputs, tokens=tokens.clone()
    )
    return bench, parts


def median_seconds(
    call: Callable[[], Any],
    wait: Callable[[], None],
    clock: Callable[[], float],
    repeats: int = 5,
) -> float:
    """After two calls that do not count."""
    seconds = []
    for index in range(repeats + 2):
        wait()
        start = clock()
        call()
        wait()
        if index > 1:
            seconds.append(clock() - start)
    return statistics.median(seconds)


def memory(bench: Bench, every: list[Contender], device: torch.device) -> dict[str, int]:
    """K and V of a reference, the adapter's weights, and on a GPU what a step needs on top."""
    prompt = bench.prompt(1, 1.0)
    found = {
        "keys and values of one reference": sum(t.nbytes for t in (*prompt.keys, *prompt.values)),
        "the adapter's weights": sum(p.nbytes for p in bench.adapter.parameters()),
    }
    if device.type != "cuda":
        return found
    for contender in every:
        with ready(contender):
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
            contender.step()
            peak = torch.cuda.max_memory_allocated(device) - before
        found[f"a step's activations, {contender.name}"] = peak
    return found


def attention_kernels(contender: Contender, wait: Callable[[], None]) -> list[str]:
    """Names of the attention operators that a step called."""
    with ready(contender), profile(activities=[ProfilerActivity.CPU]) as record:
        contender.step()
        wait()
    names = {event.key for event in record.key_averages()}
    return sorted(n.removeprefix("aten::") for n in names if "_attention" in n and "::_" in n)


def describe_machine(device: torch.device) -> str:
    """Processor, threads or card, and torch."""
    versions = f"torch {torch.__version__}"
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {versions}"
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} thread(s), {versions}"


if __name__ == "__main__":
    typer.run(main)
