"""A judge behind an OpenAI-compatible endpoint: vLLM, SGLang, `transformers serve`, OpenAI."""

from __future__ import annotations

import dataclasses
import email.utils
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import openai

from dynaip.evaluation.judges.answers import Candidate, Reply
from dynaip.evaluation.judges.questions import Message

# Answers of a server that it is busy or ill, and may be asked again.
PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
# Answers that may be about one question, such as a picture that is too large.
REJECTED = frozenset({400, 413})
CANDIDATES = 20


class TransportError(Exception):
    """A question did not get through, or its answer did not come back.

    Attributes:
        retry_after: Seconds that the server asked to wait, where it did.
        rejected: Whether the server has read the question and will not have it, so that asking
            again does not help.
    """

    def __init__(
        self, message: str, retry_after: float | None = None, *, rejected: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.rejected = rejected


class RefusedError(Exception):
    """The server refused the question for what it shows or says."""


@runtime_checkable
class Ask(Protocol):
    """Puts one question to a judge."""

    def __call__(
        self,
        messages: Sequence[Message],
        *,
        temperature: float,
        max_tokens: int,
        seed: int,
        candidates: bool,
    ) -> Reply:
        """The answer.

        Raises:
            TransportError: It did not get through.
            RefusedError: It will not be answered.
            ValueError: The endpoint cannot be used like this at all.
        """
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Server:
    """What a kind of server understands.

    Attributes:
        extra: Settings that must be said, because the server would take the model's own otherwise.
        candidates: Whether it gives token probabilities.
        length: What it calls the longest answer.
    """

    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    candidates: bool = True
    length: str = "max_tokens"


# Without these, vLLM and SGLang sample as the model's generation_config.json says.
PLAIN = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
SERVERS: dict[str, Server] = {
    "vllm": Server(extra=PLAIN),
    "sglang": Server(extra=PLAIN),
    # Its word for no repetition penalty, which it would take from the same file.
    "transformers": Server(extra={"frequency_penalty": 0.0}, candidates=False),
    "openai": Server(length="max_completion_tokens"),
}


class Endpoint:
    """Asks over HTTP; safe to call from several threads.

    Args:
        url: Up to and with `/v1`.
        model: As the server names it.
        server: A key of `SERVERS`.
        api_key: Where the server wants one.
        timeout: Seconds to wait for an answer.

    Raises:
        ValueError: The kind of server is unknown.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        server: str = "vllm",
        api_key: str = "none",
        timeout: float = 120.0,
    ) -> None:
        if server not in SERVERS:
            raise ValueError(f"--server is one of {', '.join(SERVERS)}; got {server!r}.")
        self.url, self.model, self.server = url, model, SERVERS[server]
        # Every attempt is ours to record, so the library makes none of its own.
        self._client = openai.OpenAI(base_url=url, api_key=api_key, timeout=timeout, max_retries=0)

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
        if candidates and not self.server.candidates:
            raise ValueError(
                "This protocol needs token probabilities, which this kind of server does not give; "
                "use vLLM, or another protocol."
            )
        options: dict[str, Any] = {self.server.length: max_tokens, "temperature": temperature}
        options |= {"top_p": 1.0, "seed": seed}
        if candidates:
            options |= {"logprobs": True, "top_logprobs": CANDIDATES}
        if self.server.extra:
            options["extra_body"] = dict(self.server.extra)
        create: Any = self._client.chat.completions.create
        try:
            answer = create(model=self.model, messages=list(messages), **options)
        except openai.APIStatusError as error:
            raise self._meaning(error) from error
        except (openai.APIError, ValueError) as error:  # no connection, cut off, or not JSON
            raise TransportError(f"{type(error).__name__}: {error}") from error
        return _reply(answer)

    def _meaning(self, error: openai.APIStatusError) -> Exception:
        """What an error of the server means for the run."""
        if error.status_code in PASSING:
            return TransportError(str(error), _seconds(error.response.headers.get("retry-after")))
        body = str(error.body).lower()
        if error.status_code in (400, 403) and ("content" in body and "policy" in body):
            return RefusedError(str(error))
        if error.status_code in REJECTED:
            return TransportError(str(error), rejected=True)
        return ValueError(
            f"The endpoint {self.url} refuses to work ({error.status_code}: {error}); check its "
            "address, key, model's name and kind (--server)."
        )


def _reply(answer: Any) -> Reply:
    try:
        choice = answer.choices[0]
        refusal = getattr(choice.message, "refusal", None)
        usage = answer.usage
        return Reply(
            text=choice.message.content or refusal or "",
            finish="content_filter" if refusal else choice.finish_reason or "stop",
            candidates=[
                [Candidate(each.token, each.logprob) for each in token.top_logprobs]
                for token in (choice.logprobs.content if choice.logprobs else None) or ()
            ],
            prompt_tokens=usage.prompt_tokens if usage else 0,
            answer_tokens=usage.completion_tokens if usage else 0,
        )
    except (AttributeError, IndexError, TypeError) as error:
        raise TransportError(
            f"The answer has not the form of a chat completion ({error})."
        ) from error


def _seconds(header: str | None) -> float | None:
    """Of a Retry-After, which is a number of seconds or a date; anything else says nothing."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        return max(email.utils.parsedate_to_datetime(header).timestamp() - time.time(), 0.0)
    except ValueError:
        return None
