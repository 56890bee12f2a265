"""The paper's own Tables 1, 2 and 4 as data, and whether their arithmetic holds."""

from __future__ import annotations

import json
import math
from importlib.resources import files
from typing import Any, NamedTuple

from dynaip.evaluation.tables import Cell, Table

# Half a unit of the last printed digit.
ROUNDING = 0.0005
# Votes on each question and competitor: 20 users, 30 pairs each.
VOTES = 600
TIE_SHARES = (0.0, 0.2, 0.4)


class Product(NamedTuple):
    """One printed CP·PF beside the product of the printed CP and PF."""

    table: str
    method: str
    setting: str
    cp: float
    pf: float
    printed: float

    @property
    def off(self) -> float:
        """How far the printed product is from what rounded factors allow; 0 where it can be."""
        low = (self.cp - ROUNDING) * (self.pf - ROUNDING) - ROUNDING
        high = (self.cp + ROUNDING) * (self.pf + ROUNDING) + ROUNDING
        return max(low - self.printed, self.printed - high, 0.0)


def published() -> dict[str, Any]:
    """The tables as JSON values; `single` and `multi` hold CP, PF and CP·PF as printed."""
    text = (files("dynaip.evaluation.comparison") / "published.json").read_text()
    return json.loads(text)


def published_products() -> list[Product]:
    """All products that Tables 1 and 2 print; the full model stands in both."""
    data = published()
    return [
        Product(table, row["method"], setting, *row[setting])
        for table in ("table1", "table2")
        for row in data[table]
        for setting in ("single", "multi")
        if setting in row
    ]


def published_tables() -> list[Table]:
    """The paper's rows, its arithmetic, and what its user study could have told apart."""
    data = published()
    return [
        _score_table("Table 1 of the paper: methods", data["table1"]),
        _score_table("Table 2 of the paper: ablations", data["table2"]),
        _arithmetic_table(published_products()),
        _vote_table(data["table4"]),
    ]


def _score_table(title: str, rows: list[dict[str, Any]]) -> Table:
    nothing: list[Cell] = [None] * 3
    return Table(
        title=title,
        columns=(
            "method",
            *(f"{n}: {m}" for n in ("one", "several") for m in ("CP", "PF", "CP·PF")),
        ),
        rows=tuple(
            (row["method"], *row.get("single", nothing), *row.get("multi", nothing)) for row in rows
        ),
        notes=("As printed: judged by two models, without intervals.",),
    )


def _arithmetic_table(products: list[Product]) -> Table:
    wrong = [product for product in products if product.off]
    return Table(
        title="Printed products that their factors do not give",
        columns=("table", "method", "setting", "CP", "PF", "CP times PF", "printed", "off by"),
        rows=tuple(
            (p.table, p.method, p.setting, p.cp, p.pf, p.cp * p.pf, p.printed, p.off) for p in wrong
        ),
        notes=(
            f"{len(products) - len(wrong)} of {len(products)} printed products are the product of "
            "the printed means, within rounding; so the paper's CP·PF is a product of means. Hold "
            "nothing against the products above.",
        ),
    )


def _vote_table(rows: list[dict[str, Any]]) -> Table:
    limits = ", ".join(
        f"{distinguishable_ratio(VOTES, ties):.3f} with {ties:.0%} ties" for ties in TIE_SHARES
    )
    return Table(
        title="Table 4 of the paper: adjusted advantage ratios",
        columns=("method", "CP", "PF", "OS"),
        rows=tuple((row["method"], row["cp"], row["pf"], row["os"]) for row in rows),
        notes=(
            f"With {VOTES} votes a ratio can be told from 1 (95 %) if it is at most {limits}, even "
            "if all votes were independent. The paper gives neither ties nor intervals.",
        ),
    )


def distinguishable_ratio(votes: int, ties: float) -> float:
    """The ratio nearest to 1, from below, whose 95 % interval leaves 1 out.

    With A and B the shares of wins and losses, each with the ties, the variance of log(A / B) is
    (1 - ties) / (votes A B) for independent votes.

    Args:
        votes: Number of votes.
        ties: Their share that saw no difference.
    """
    low, high = 0.0, 1.0
    for _ in range(50):
        ratio = (low + high) / 2
        larger = (1 + ties) / (1 + ratio)
        error = math.sqrt((1 - ties) / (votes * ratio * larger**2))
        if math.log(ratio) + 1.96 * error < 0:
            low = ratio
        else:
            high = ratio
    return low
