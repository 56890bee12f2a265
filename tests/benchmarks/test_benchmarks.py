"""The benchmark at its smallest: equal work is equal, and the arithmetic of its table."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

from benchmarks import __main__ as command
from benchmarks import contenders, stock
from benchmarks.bases import SIZES, build_transformer
from benchmarks.contenders import BASE, Bench, Contender
from benchmarks.report import Result, markdown
from benchmarks.timing import added_ratio, interleave, ratio
from dynaip.hosts import memory
from dynaip.hosts.flux import attach
from dynaip.hosts.sites import find_sites

CPU = torch.device("cpu")
TINY = SIZES["tiny"]


@pytest.fixture(scope="module")
def bench() -> Bench:
    torch.manual_seed(0)
    return command.build(TINY, CPU, torch.float32, False, lambda: None, lambda: 0.0)[0]


def run(contender: Contender) -> torch.Tensor:
    with contender.attached():
        return contender.step()


def test_the_full_size_is_flux() -> None:
    size = SIZES["flux"]
    count = memory.BASES["FLUX.1-dev"].parameters
    built = build_transformer(size, torch.device("meta"), torch.bfloat16)
    assert sum(parameter.numel() for parameter in built.parameters()) == count
    assert (size.image, size.reference, size.text_dim) == (4096, 577, 4096)


def test_the_middle_size_keeps_the_shares_of_the_work() -> None:
    """Widths and lengths all a sixth, within one in twenty of it."""
    flux, mid = SIZES["flux"], SIZES["mid"]
    for large, small in (
        (flux.width, mid.width),
        (flux.text_dim, mid.text_dim),
        (flux.image + flux.text, mid.image + mid.text),
        (flux.reference, mid.reference),
        (flux.encoder_dim, mid.encoder_dim),
    ):
        assert large / small == pytest.approx(6, rel=0.06)
    assert flux.single / flux.double == mid.single / mid.double == 2


def test_attached_contenders_change_the_step_and_leave_nothing(bench: Bench) -> None:
    base = bench.step()
    for contender in contenders.eager(bench, (1, 2))[1:]:
        assert not torch.equal(run(contender), base), contender.name
        assert torch.equal(bench.step(), base), contender.name


def test_projecting_anew_gives_the_same(bench: Bench) -> None:
    once = run(contenders.ours(bench, 1, 1.0))
    torch.testing.assert_close(run(contenders.uncached(bench)), once)


def test_stripes_cover_their_share(bench: Bench) -> None:
    for subjects, share in ((2, 1.0), (3, 0.5), (1, 0.5)):
        mask = bench.prompt(subjects, share).mask
        assert mask.sum(1).max() == 1
        assert mask.sum() / TINY.image == pytest.approx(share, abs=0.01)
        assert mask.any(-1).all()
    assert bench.prompt(1, 1.0).mask is None


def test_widened_processors_do_all_of_the_work(bench: Bench) -> None:
    """Every block attends over all image rows, and projects every reference anew."""
    calls = {"projections": 0}
    processors = stock.build_processors(
        bench.transformer, TINY.text_dim, TINY.text, references=3, widened=True
    )
    assert sorted(processors) == sorted(site.name for site in find_sites(bench.transformer))
    for processor in processors.values():
        processor.to_k_ip[0].register_forward_hook(
            lambda *_: calls.update(projections=calls["projections"] + 1)
        )
    with stock.attached(bench.transformer, processors):
        bench.step(joint_attention_kwargs={"ip_hidden_states": [bench.tokens] * 3})
    assert calls["projections"] == 3 * len(processors)


def test_the_widened_single_block_is_the_formula(bench: Bench) -> None:
    """Against our own addition with the same keys and values, in one block."""
    site = find_sites(bench.transformer)[-2]
    assert site.kind == "single"
    prompt = bench.prompt(1, 1.0)
    processor = stock.build_processors(
        bench.transformer, TINY.text_dim, TINY.text, references=1, widened=True
    )[site.name]
    maps = bench.adapter.blocks[site.index]
    with torch.no_grad():
        processor.to_v_ip[0].weight.copy_(maps.to_v.weight)
        processor.to_k_ip[0].weight.copy_(maps.to_k.weight)
        for linear in (processor.to_k_ip[0], processor.to_v_ip[0]):
            linear.bias.zero_()
        plain = processor.to_k_ip[0](bench.tokens).view(1, -1, site.heads, site.head_dim)
    keys = list(prompt.keys)
    keys[site.index] = plain.transpose(1, 2)[:, None]
    rows = torch.randn(1, TINY.text + TINY.image, TINY.width)
    rotary = tuple(torch.rand(TINY.text + TINY.image, TINY.head_dim) for _ in range(2))
    attention = bench.transformer.get_submodule(site.name)
    with torch.no_grad(), stock.attached(bench.transformer, {site.name: processor}):
        tokens = {"ip_hidden_states": [bench.tokens]}
        found = attention(rows, image_rotary_emb=rotary, **tokens)
    with torch.no_grad(), attach(bench.transformer, dataclasses.replace(prompt, keys=tuple(keys))):
        length = {"image_prompt_text_length": TINY.text}
        wanted = attention(rows, image_rotary_emb=rotary, **length)
    torch.testing.assert_close(found, wanted)


def ticking(name: str, log: list[str]) -> Contender:
    return Contender(name=name, attached=contextlib.nullcontext, step=lambda: log.append(name))


def test_contenders_take_turns() -> None:
    log: list[str] = []
    times = interleave([ticking(name, log) for name in "abc"], 6, lambda: None)
    rounds = [log[i : i + 3] for i in range(0, 18, 3)]
    assert all(sorted(each) == ["a", "b", "c"] for each in rounds)
    assert len({tuple(each) for each in rounds}) > 1
    assert {name: len(seconds) for name, seconds in times.items()} == dict.fromkeys("abc", 6)


def test_the_clock_is_the_one_given() -> None:
    ticks = iter(range(100))
    times = interleave([ticking("a", [])], 2, lambda: None, clock=lambda: float(next(ticks)))
    assert times == {"a": [1.0, 1.0]}


TIMES = {
    BASE: [1.0, 2.0, 1.0, 2.0],
    "N=1, full cover": [1.1, 2.2, 1.1, 2.2],
    "N=8, full cover": [1.2, 2.4, 1.2, 2.4],
    "diffusers' IP-Adapter": [1.1, 2.2, 1.1, 2.2],
    "diffusers' processor, equal work, N=1": [1.4, 2.4, 1.4, 2.4],
}


def test_ratios_are_by_round() -> None:
    assert ratio(TIMES, "N=1, full cover", BASE) == pytest.approx((1.1, 1.1, 1.1))
    added = added_ratio(TIMES, "N=1, full cover", "diffusers' processor, equal work, N=1", BASE)
    assert added == pytest.approx((0.15 / 0.4, 0.1 / 0.4, 0.2 / 0.4))


def test_the_table() -> None:
    result = Result(
        machine="a machine",
        base="a base",
        clock="wall time",
        kernels={BASE: ["flash"]},
        times=TIMES,
        setup={"together": 0.0123},
        memory={"keys": 404_140_032},
    )
    lines = markdown(result).splitlines()
    assert "| N=1, full cover | 1650.0 | 1.100 (1.100 to 1.100) | 1.04 / 1.025 |" in lines
    assert "| N=8 over N=1, full cover | 1.091 (1.091 to 1.091) | 1.02 |" in lines
    assert "| together | 12.3 |" in lines
    assert "| keys | 404.1 |" in lines


def test_one_command_prints_and_writes(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(command.main)
    options = ["--size", "tiny", "--rounds", "2", "--no-compile", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 0, result.output
    assert "| N=8, full cover |" in result.output
    assert (tmp_path / "table.md").read_text() in result.output
    kept: dict[str, Any] = json.loads((tmp_path / "times.json").read_text())
    assert len(kept["times"]) == 15
    assert any("flash_attention" in name for name in kept["kernels"][BASE])
