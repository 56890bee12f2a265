"""`dynaip judge`: have a vision-language model score a method's pictures."""

from __future__ import annotations

import dataclasses
import functools
import json
import operator
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dynaip.apps.cli.drawing import progress_bar
from dynaip.apps.cli.loading import quiet_libraries

if TYPE_CHECKING:
    from dynaip.evaluation.judges.endpoint import Ask
    from dynaip.evaluation.judges.protocols import Protocol
    from dynaip.evaluation.judges.questions import Judge, Question
    from dynaip.evaluation.judges.rubrics import Rubrics
    from dynaip.evaluation.judges.running import Estimate, Tally
    from dynaip.evaluation.judges.selftest import Summary

KEY_VARIABLE = "DYNAIP_JUDGE_KEY"


def judge(
    folder: Annotated[Path, typer.Argument(help="Result folder.")],
    protocol: Annotated[str, typer.Option(help="dynaip, dreambenchpp or strict.")] = "dynaip",
    model: Annotated[
        list[str] | None,
        typer.Option("--judge", help="Judge's model, repeatable; else the protocol's."),
    ] = None,
    endpoint: Annotated[
        list[str] | None,
        typer.Option(
            help="Address with /v1, one for all judges or one each; else in this process."
        ),
    ] = None,
    server: Annotated[
        str, typer.Option(help="Kind of endpoint: vllm, sglang, transformers, openai.")
    ] = "vllm",
    revision: Annotated[str, typer.Option(help="Of weights and server, kept with scores.")] = "",
    rubrics: Annotated[
        Path | None, typer.Option(help="Checkout of DreamBench++, for its official rubrics.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Questions at once.")] = 8,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for an answer.")] = 120,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what it would take.")
    ] = False,
    seconds_per_call: Annotated[float, typer.Option(min=0, help="For the estimate of time.")] = 2.0,
    price_in: Annotated[float, typer.Option(min=0, help="Of a million prompt tokens.")] = 0.0,
    price_out: Annotated[float, typer.Option(min=0, help="Of a million answer tokens.")] = 0.0,
    self_test: Annotated[bool, typer.Option(help="First ask what is known.")] = True,
    despite_self_test: Annotated[
        bool, typer.Option("--despite-self-test", help="Go on with a judge that failed it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Have judges score concept preservation and prompt following; stopped, it goes on.

    The endpoint's key is read from DYNAIP_JUDGE_KEY.
    """
    from dynaip.evaluation.benchmarks.results import Results
    from dynaip.evaluation.judges.questions import Judge, ask_about
    from dynaip.evaluation.judges.running import estimate
    from dynaip.evaluation.judges.selftest import self_test_questions

    how, words = _protocol(protocol, rubrics)
    results = Results.open(folder)
    questions = list(ask_about(results, how, words))
    if not questions:
        raise ValueError(f"{folder} has no pictures yet; make them with `dynaip bench run`.")
    names = model or list(how.judges)
    addresses = _one_each(endpoint or [], names)
    outcome: dict[str, Any] = {"pictures_missing": len(results.missing()), "judges": {}}
    for name, address in zip(names, addresses, strict=True):
        who = Judge(model=name, revision=revision)
        path = results.scores_path(f"{how.name}-{_file_name(who.name)}")
        known = folder / "selftest" / path.name
        if dry_run:
            pace = {"concurrency": concurrency, "seconds_per_call": seconds_per_call}
            parts = [estimate(questions, who, how, path, **pace)]
            if self_test:
                parts.append(estimate(self_test_questions(results, words), who, how, known, **pace))
            outcome["judges"][name] = _cost(parts, price_in, price_out)
            continue
        ask = _open(name, address, server, timeout)
        asked: dict[str, Any] = {}
        if self_test:
            asked["self_test"] = _self_test(
                results, words, who, how, ask, known, concurrency, despite_self_test
            )
        tally = _ask("Judging", questions, who, how, ask, path, concurrency)
        if tally.unanswered:
            raise ValueError(
                f"{name} answered none of the {tally.statuses['transport']} questions that were "
                f"left ({tally.failure}); run the same command again once it does."
            )
        outcome["judges"][name] = asked | {
            "attempts": tally.asked,
            "reused": tally.reused,
            **tally.statuses,
            "scores": str(path),
        }
    _report(outcome, as_json)


def _protocol(name: str, checkout: Path | None) -> tuple[Protocol, Rubrics]:
    from dynaip.evaluation.judges.protocols import get_protocol
    from dynaip.evaluation.judges.rubrics import OURS, official_rubrics

    how = get_protocol(name)
    if checkout is not None:
        # Other rubrics make other scores: under another name they share no table with ours.
        named = how if how.official else dataclasses.replace(how, name=f"{name}-official")
        return named, official_rubrics(checkout)
    if how.official:
        raise ValueError(
            f"The protocol {name} uses DreamBench++'s own rubrics; give its checkout as --rubrics."
        )
    return how, OURS


def _open(name: str, address: str | None, server: str, timeout: float) -> Ask:
    if address is None:
        quiet_libraries()
        from dynaip.evaluation.judges.local import LocalJudge

        return LocalJudge(name)
    from dynaip.evaluation.judges.endpoint import Endpoint

    key = os.environ.get(KEY_VARIABLE, "none")
    return Endpoint(address, name, server=server, api_key=key, timeout=timeout)


def _ask(
    what: str,
    questions: list[Question],
    who: Judge,
    how: Protocol,
    ask: Ask,
    path: Path,
    concurrency: int,
) -> Tally:
    from dynaip.evaluation.judges.running import ask_all

    with progress_bar() as progress:
        bar = progress.add_task(f"{what}, {who.model}", total=len(questions))
        return ask_all(
            questions,
            who,
            how,
            ask,
            path,
            concurrency=concurrency,
            on_question=lambda: progress.advance(bar),
        )


def _self_test(
    results: Any,
    words: Rubrics,
    who: Judge,
    how: Protocol,
    ask: Ask,
    path: Path,
    concurrency: int,
    despite: bool,
) -> dict[str, Any]:
    from dynaip.evaluation.judges.selftest import self_test_questions, summarise
    from dynaip.evaluation.scores import read_scores

    questions = self_test_questions(results, words)
    _ask("Self-test", questions, who, how, ask, path, concurrency)
    found: Summary = summarise(questions, read_scores(path).rows)
    if found.failed and not despite:
        raise ValueError(
            f"The judge {who.model} failed its self-test ({'; '.join(found.failed)}); its answers "
            f"are in {path}. Use another judge, or --despite-self-test."
        )
    return {"means": dict(found.means), "failed": list(found.failed), "answers": str(path)}


def _cost(parts: list[Estimate], price_in: float, price_out: float) -> dict[str, Any]:
    """What the questions take, and after them the self-test's, if it is asked."""
    would = functools.reduce(operator.add, parts)
    cost = (would.prompt_tokens * price_in + would.answer_tokens * price_out) / 1e6
    return {
        "calls": would.calls,
        "of_them_self_test": would.calls - parts[0].calls,
        "prompt_tokens": would.prompt_tokens,
        "answer_tokens_at_most": would.answer_tokens,
        "hours": round(would.seconds / 3600, 3),
        **({"cost_at_most": round(cost, 2)} if cost else {}),
    }


def _report(outcome: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(outcome, indent=2))
        return
    if missing := outcome["pictures_missing"]:
        typer.echo(
            f"{missing} pictures of the manifest are missing; they were not judged.", err=True
        )
    for name, values in outcome["judges"].items():
        typer.echo(name)
        for key, value in values.items():
            shown = _found(value) if key == "self_test" else value
            typer.echo(f"  {key.replace('_', ' ')}: {shown}")


def _found(self_test: dict[str, Any]) -> str:
    """A self-test in one line, in the judge's own points."""
    means = ", ".join(f"{kind} {4 * mean:.2f}" for kind, mean in self_test["means"].items())
    return f"{'; '.join(self_test['failed']) or 'passed'} (of 4 points: {means})"


def _one_each(endpoints: list[str], names: list[str]) -> list[str | None]:
    if not endpoints:
        return [None] * len(names)
    if len(endpoints) not in (1, len(names)):
        raise ValueError(
            f"--endpoint was given {len(endpoints)} times for {len(names)} judge(s); give one for "
            "all, or one each."
        )
    return [*endpoints] * (len(names) if len(endpoints) == 1 else 1)


def _file_name(model: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip("-.")
