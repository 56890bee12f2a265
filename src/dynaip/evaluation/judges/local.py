"""A judge in this process: any vision-language model of transformers."""

from __future__ import annotations

import base64
import threading
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from dynaip.evaluation.judges.answers import Candidate, Reply
from dynaip.evaluation.judges.endpoint import CANDIDATES
from dynaip.evaluation.judges.questions import Message


class LocalJudge:
    """Asks a model that is loaded here, one question at a time.

    Args:
        model: Folder or hub id.
        device: Where it runs; by default the accelerator, if there is one.
        dtype: By default what the weights are stored in.
    """

    def __init__(
        self, model: str, *, device: str | None = None, dtype: torch.dtype | str = "auto"
    ) -> None:
        where = device or torch.accelerator.current_accelerator() or "cpu"
        self.processor: Any = AutoProcessor.from_pretrained(model)
        loaded: Any = AutoModelForImageTextToText.from_pretrained(model, dtype=dtype)
        self.model = loaded.to(where).eval()
        self._turn = threading.Lock()

    @torch.no_grad()
    def __call__(
        self,
        messages: Sequence[Message],
        *,
        temperature: float,
        max_tokens: int,
        seed: int,
        candidates: bool,
    ) -> Reply:
        """See `Ask`."""
        inputs = self.processor.apply_chat_template(
            [_with_pictures(message) for message in messages],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        ).to(self.model.device)
        sampling = {"temperature": temperature, "top_p": 1.0, "top_k": 0} if temperature else {}
        with self._turn:
            torch.manual_seed(seed)
            output = self.model.generate(
                **inputs,
                do_sample=bool(temperature),
                max_new_tokens=max_tokens,
                return_dict_in_generate=True,
                output_logits=candidates,
                repetition_penalty=1.0,  # else the model's own
                **sampling,
            )
        start = inputs["input_ids"].shape[1]
        tokens = output.sequences[0, start:]
        return Reply(
            text=self.processor.decode(tokens, skip_special_tokens=True),
            finish="length" if len(tokens) >= max_tokens else "stop",
            candidates=[self._likeliest(logits[0]) for logits in output.logits or ()],
            prompt_tokens=start,
            answer_tokens=len(tokens),
        )

    def _likeliest(self, logits: torch.Tensor) -> list[Candidate]:
        logprobs = logits.float().log_softmax(-1)
        best = logprobs.topk(min(CANDIDATES, len(logprobs)))
        return [
            Candidate(self.processor.decode([token]), float(value))
            for token, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]


def _with_pictures(message: Message) -> dict[str, Any]:
    """A message in transformers' form: pictures themselves in place of data URLs."""
    content = [
        {"type": "image", "image": _decode(part["image_url"]["url"])}
        if part["type"] == "image_url"
        else part
        for part in message["content"]
    ]
    return {"role": message["role"], "content": content}


def _decode(url: str) -> Image.Image:
    _, _, data = url.partition(",")
    return Image.open(BytesIO(base64.b64decode(data))).convert("RGB")
