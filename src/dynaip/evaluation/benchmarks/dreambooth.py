"""DreamBooth's benchmark: 30 subjects of several photographs each, under 25 prompts (750 cases).

Read from a checkout of the authors' data set; its prompts and classes come out of its own file.
"""

from __future__ import annotations

import re
from pathlib import Path

from dynaip.evaluation.benchmarks.manifest import Case, CaseSubject, Manifest
from dynaip.pictures import ENDINGS

LIVING = frozenset({"cat", "dog"})
SUBJECTS, PROMPTS = 30, 25
_LIST = re.compile(r"prompt_list = \[(.*?)\]", re.DOTALL)
_PROMPT = re.compile(r"'([^']+)'\.format\(unique_token, class_token\)")


def read_dreambooth(folder: Path, *, pictures: int = 4, seed: int = 0) -> Manifest:
    """Reads the data set; subjects whose folders are absent are left out, and counted.

    The prompts' unique token, which finetuning needs, is left out: "a {0} {1} in the snow" becomes
    "a dog in the snow".

    Args:
        folder: The checkout, or its `dataset` folder.
        pictures: For each prompt; the paper makes four.
        seed: The first picture's seed.

    Raises:
        ValueError: The folder is not the data set.
    """
    data = folder / "dataset" if (folder / "dataset").is_dir() else folder
    path = data / "prompts_and_classes.txt"
    if not path.is_file():
        raise ValueError(f"{folder} is not DreamBooth's data set: there is no {path.name} in it.")
    classes, prompts = _read_text(path)
    cases: list[Case] = []
    present = 0
    for name, noun in classes.items():
        views = tuple(sorted(f for f in (data / name).glob("*") if f.suffix.lower() in ENDINGS))
        if not views:
            continue
        present += 1
        kind = "animal" if noun in LIVING else "object"
        subject = CaseSubject(name=noun, category=noun, kind=kind, references=views)
        for index, template in enumerate(prompts[kind]):
            first = seed + len(cases) * pictures
            cases.append(
                Case(
                    id=f"{name}-{index:02d}",
                    prompt=template.replace("{0} ", "").replace("{1}", noun),
                    prompt_kind="look" if index >= PROMPTS - 5 else "scene",
                    seeds=tuple(range(first, first + pictures)),
                    subjects=(subject,),
                )
            )
    settings = {"seed": seed, "pictures": pictures, "subjects": present, "of": SUBJECTS}
    return Manifest(name="dreambooth", settings=settings, cases=tuple(cases))


def _read_text(path: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Subjects with their classes, and the prompts for objects and for animals."""
    text = path.read_text(encoding="utf-8")
    head, _, tail = text.partition("Object Prompts")
    rows = (line.split(",") for line in head.splitlines() if line.count(",") == 1)
    classes = {name.strip(): noun.strip() for name, noun in rows if name != "subject_name"}
    lists = [_PROMPT.findall(body) for body in _LIST.findall(tail)]
    if not classes or [len(prompts) for prompts in lists] != [PROMPTS, PROMPTS]:
        raise ValueError(
            f"{path} does not hold subjects, and {PROMPTS} prompts for objects and for animals."
        )
    return classes, {"object": lists[0], "animal": lists[1]}
