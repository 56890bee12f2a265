"""Where bf16 is quick, and Muon where it is not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from dynaip.numerics import FullMuon, build_muon, multiplies_bf16, orthogonalised

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("known", "quick"),
    [
        ({"avx2": True, "avx512_f": True, "avx512_bf16": False}, False),
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"neon": True, "bf16": True}, True),
    ],
)
def test_a_processor_needs_instructions_of_its_own(known, quick, monkeypatch):
    monkeypatch.setattr(torch, "cpu", SimpleNamespace(get_capabilities=lambda: known))
    assert multiplies_bf16(CPU) is quick


def test_fp32_where_torch_cannot_tell(monkeypatch):
    monkeypatch.setattr(torch, "cpu", SimpleNamespace())
    assert not multiplies_bf16(CPU)


def test_cards_that_emulate_bf16_are_not_quick(monkeypatch):
    asked = []

    def emulates(*, including_emulation):
        asked.append(including_emulation)
        return including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", emulates)
    assert not multiplies_bf16(torch.device("cuda"))
    assert asked == [False]


def test_devices_that_nobody_measured_stay_in_fp32():
    assert not multiplies_bf16(torch.device("mps"))


@pytest.mark.parametrize("shape", [(24, 24), (40, 16), (16, 40)])
def test_muon_in_full_precision_is_torchs(shape):
    torch.manual_seed(0)
    start, target = torch.randn(2, *shape)
    ends = []
    for kind in (torch.optim.Muon, FullMuon):
        matrix = torch.nn.Parameter(start.clone())
        optimizer = kind([matrix], lr=0.05, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
        for _ in range(6):
            optimizer.zero_grad()
            (matrix - target).square().sum().backward()
            optimizer.step()
        ends.append(matrix.detach())
    moved = (ends[0] - start).norm()
    assert (ends[0] - ends[1]).norm() < 0.02 * moved
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


def test_states_of_both_muons_are_one():
    """A run may be resumed with either."""
    matrix = torch.nn.Parameter(torch.randn(4, 4))
    matrix.grad = torch.randn(4, 4)
    full, torchs = (
        kind([matrix], lr=0.1, adjust_lr_fn="match_rms_adamw")
        for kind in (FullMuon, torch.optim.Muon)
    )
    full.step()
    torchs.load_state_dict(full.state_dict())
    held = torchs.state[matrix]["momentum_buffer"]
    assert torch.equal(held, full.state[matrix]["momentum_buffer"])


@pytest.mark.parametrize(("quick", "kind"), [(True, torch.optim.Muon), (False, FullMuon)])
def test_muon_is_torchs_where_bf16_is_quick(quick, kind, monkeypatch):
    monkeypatch.setattr("dynaip.numerics.multiplies_bf16", lambda device: quick)
    matrix = torch.nn.Parameter(torch.randn(4, 4))
    made = build_muon([matrix], 0.1, 0.01)
    assert type(made) is kind
    assert made.param_groups[0]["adjust_lr_fn"] == "match_rms_adamw"
