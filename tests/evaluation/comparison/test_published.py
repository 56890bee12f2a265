"""The paper's rows: complete, and checked for their arithmetic."""

from __future__ import annotations

import pytest

from dynaip.evaluation.comparison.published import (
    Product,
    distinguishable_ratio,
    published,
    published_products,
    published_tables,
)
from dynaip.evaluation.tables import write_tables


def test_all_rows_are_there() -> None:
    data = published()
    assert [len(data[table]) for table in ("table1", "table2", "table4")] == [18, 7, 17]
    assert data["table1"][-1] == {
        "method": "DynaIP",
        "single": [0.696, 0.934, 0.650],
        "multi": [0.617, 0.997, 0.615],
    }
    assert {row["method"] for row in data["table4"]} < {row["method"] for row in data["table1"]}


def test_one_printed_product_is_inconsistent() -> None:
    products = published_products()
    wrong = [product for product in products if product.off]
    assert [(product.method, product.printed) for product in wrong] == [("Textual Inversion", 0.22)]
    assert wrong[0].cp * wrong[0].pf == pytest.approx(0.243, abs=5e-4)
    assert len(products) == 39


def test_rounding_of_three_digits_is_forgiven_and_no_more() -> None:
    for printed, wrong in ((0.250, False), (0.251, False), (0.252, True), (0.248, True)):
        assert bool(Product("table1", "m", "single", 0.5, 0.5, printed).off) == wrong


def test_pages_show_it() -> None:
    page = write_tables(published_tables(), "markdown")
    assert "| table1 | Textual Inversion | single | 0.384 | 0.633 | 0.243 | 0.220 |" in page
    assert "38 of 39 printed products" in page


@pytest.mark.parametrize(("ties", "largest"), [(0.0, 0.852), (0.2, 0.887), (0.4, 0.915)])
def test_what_six_hundred_votes_can_tell(ties: float, largest: float) -> None:
    assert distinguishable_ratio(600, ties) == pytest.approx(largest, abs=6e-4)
