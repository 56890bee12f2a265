"""A task that is trained in no time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import Dataset

from dynaip.training.config import TrainingConfig

CONFIG = TrainingConfig(
    steps=8, batch_size=4, learning_rate=1e-2, ema_decay=0.9, log_every=1, precision="no", workers=0
)


class Noise(Dataset[dict[str, Any]]):
    """Row `i` is drawn from `(seed, i)`."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(self.seed * 1000 + index)
        return {"x": torch.randn(6, generator=generator)}


class Regression(nn.Module):
    """Learns to triple its input; `poison` makes the loss of that step not a number."""

    def __init__(
        self,
        *,
        poison: int | None = None,
        kill: int | None = None,
        by: signal.Signals = signal.SIGTERM,
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList([nn.Linear(6, 8), nn.Linear(8, 6)])
        self.frozen = nn.Linear(6, 6).requires_grad_(False)
        self.calls, self.poison, self.kill, self.by = 0, poison, kill, by

    def compile(self, **settings: Any) -> None:
        """Nothing here is worth it."""

    def dataset(self, seed: int) -> Dataset[dict[str, Any]]:
        return Noise(seed)

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        return {"x": torch.stack([sample["x"] for sample in samples])}

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        self.calls += 1
        if self.calls == self.kill:
            os.kill(os.getpid(), self.by)
        x = batch["x"]
        loss = (self.blocks[1](torch.tanh(self.blocks[0](x))) - 3 * x).square().mean()
        return {"loss": loss * (float("nan") if self.calls == self.poison else 1)}

    def diagnose(self, batch: dict[str, Any]) -> dict[str, float]:
        return {}

    def sample(self, path: Path) -> None:
        save_file(self.blocks.state_dict(), path)

    def export(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        save_file(self.blocks.state_dict(), folder / "weights.safetensors")


def in_two_processes(folder: Path, code: str) -> list[str]:
    """What two processes print that run a script together, the first one's lines first.

    What this module has is imported.
    """
    script = folder / "two.py"
    here = str(Path(__file__).parent)
    script.write_text(f"import sys\nsys.path.insert(0, {here!r})\nfrom regressing import *\n{code}")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    logs = tempfile.mkdtemp(dir=folder)
    apart = ["--redirects=1", f"--log-dir={logs}"]  # in one pipe they mix within a line
    with subprocess.Popen([*launch, *apart, str(script)], text=True, stderr=subprocess.PIPE) as run:
        try:
            _, errors = run.communicate(timeout=240)
        except subprocess.TimeoutExpired:
            run.terminate()  # which ends the two as well
            raise
    assert run.returncode == 0, errors
    return [
        line
        for log in sorted(Path(logs).rglob("stdout.log"))
        for line in log.read_text().splitlines()
    ]


def exported(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "export" / "weights.safetensors")
