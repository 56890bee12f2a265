"""Where bf16 is quick, and Muon where it is not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from dynaip.numerics import build_muon, orthogonalised, quick_in_bf16

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("known", "quick"),
    [
        ({"avx2": True, "avx512_f": True, "avx512_bf16": False}, False),
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"neon": True, "bf16": True}, False),  # ARM, not measured
    ],
)
def test_a_processor_needs_instructions_of_its_own(known, quick, monkeypatch):
    monkeypatch.setattr(torch, "cpu", SimpleNamespace(get_capabilities=lambda: known))
    assert quick_in_bf16(CPU) is quick


def test_fp32_where_torch_cannot_tell(monkeypatch):
    monkeypatch.setattr(torch, "cpu", SimpleNamespace())
    assert not quick_in_bf16(CPU)


def test_cards_that_emulate_bf16_are_not_quick(monkeypatch):
    asked = []

    def emulates(*, including_emulation):
        asked.append(including_emulation)
        return including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", emulates)
    assert not quick_in_bf16(torch.device("cuda"))
    assert asked == [False]


def test_devices_that_nobody_measured_stay_in_fp32():
    assert not quick_in_bf16(torch.device("mps"))


@pytest.mark.parametrize("shape", [(24, 24), (40, 16), (16, 40)])
def test_muon_in_fp32_is_torchs_but_for_its_rounding(shape):
    """Gradients turn at every step, so momentum counts: without Nesterov's, ends are 0.2 apart."""
    ends = []
    for bf16 in (True, False):
        torch.manual_seed(0)
        matrix = torch.nn.Parameter(torch.randn(shape))
        start = matrix.detach().clone()
        optimizer = build_muon([matrix], 0.05, 0.1, bf16=bf16)
        for _ in range(6):
            matrix.grad = torch.randn(shape)
            optimizer.step()
        ends.append(matrix.detach())
    moved = (ends[0] - start).norm()
    assert 0 < (ends[0] - ends[1]).norm() < 0.02 * moved
    assert moved > 1


def test_orthogonalised_keeps_directions_and_evens_out_sizes():
    torch.manual_seed(0)
    matrix = torch.randn(12, 20)
    made = orthogonalised(matrix, (3.4445, -4.775, 2.0315), 5, 1e-7)
    left, sizes, right = torch.linalg.svd(matrix, full_matrices=False)
    along = (left.T @ made @ right.T).diagonal()
    assert ((along > 0.6) & (along < 1.3)).all()
    assert (sizes.max() / sizes.min()) > 3
    assert (left.T @ made @ right.T - along.diag()).abs().max() < 1e-4


def test_states_of_both_muons_have_one_form():
    matrix = torch.nn.Parameter(torch.randn(4, 4))
    matrix.grad = torch.randn(4, 4)
    mine, torchs = (build_muon([matrix], 0.1, 0.0, bf16=bf16) for bf16 in (False, True))
    assert type(torchs) is torch.optim.Muon
    mine.step()
    torchs.load_state_dict(mine.state_dict())
    held = torchs.state[matrix]["momentum_buffer"]
    assert torch.equal(held, mine.state[matrix]["momentum_buffer"])
