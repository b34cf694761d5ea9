"""The real shop's year: invoices as they are in the file, and what had to be left out, counted.

References
----------
D. Chen, "Online Retail II", UCI Machine Learning Repository, 2012, DOI 10.24432/C5CG6D (CC BY 4.0).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

DATA = Path(__file__).resolve().parent / "data" / "online_retail_2009_2010.parquet"
CURRENCY = "GBP"

# A product's code is five digits, with or without letters after them. Everything else in the column is a
# booking: POST and DOT (postage), C2 (carriage), M (manual), D (discount), BANK CHARGES, ADJUST, TEST001,
# PADS, ...
_PRODUCT = re.compile(r"\d{5}[A-Za-z]*\Z")
SHIPPING_CODES = frozenset(("POST", "DOT", "C2"))


def is_product(stock_code: str) -> bool:
    """Whether a stock code stands for something a customer can want.

    Examples
    --------
    >>> is_product("85123A"), is_product("POST"), is_product("BANK CHARGES")
    (True, False, False)
    """
    return _PRODUCT.match(stock_code) is not None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an invoice; money in pence."""

    stock_code: str
    name: str
    quantity: int
    price_minor: int

    @property
    def amount_minor(self) -> int:
        """Pieces times price, pence; negative for what was taken back."""
        return self.quantity * self.price_minor


@dataclass(frozen=True, slots=True)
class Invoice:
    """One invoice of a known customer. `refund`: its number starts with C, it takes an order back."""

    number: str
    user: str
    at_ms: int
    country: str
    refund: bool
    lines: tuple[Line, ...]

    @property
    def items(self) -> tuple[Line, ...]:
        """Its products that were paid for: neither bookings (postage, ...) nor lines of price nought."""
        return tuple(line for line in self.lines if line.price_minor > 0 and is_product(line.stock_code))

    @property
    def total_minor(self) -> int:
        """Sum of all lines, pence; of a refund the sum given back."""
        total = sum(line.amount_minor for line in self.lines)
        return -total if self.refund else total

    @property
    def shipping_minor(self) -> int:
        """Part of the total that is postage and carriage, pence."""
        total = sum(line.amount_minor for line in self.lines if line.stock_code in SHIPPING_CODES)
        return -total if self.refund else total


@dataclass(frozen=True, slots=True)
class History:
    """The year.

    Parameters
    ----------
    invoices : of known customers, in order of time.
    lines_total : lines in the file.
    lines_without_customer : lines that name no customer (sales over the counter, marketplaces, corrections of
        the stock): nobody's behaviour can be learned from them, so they are left out.
    names : product's description by stock code, as the shop wrote it most often.
    """

    invoices: tuple[Invoice, ...]
    lines_total: int
    lines_without_customer: int
    names: dict[str, str]

    @property
    def start_ms(self) -> int:
        """Time of the first invoice, ms."""
        return self.invoices[0].at_ms

    @property
    def end_ms(self) -> int:
        """Time of the last invoice, ms."""
        return self.invoices[-1].at_ms

    @property
    def orders(self) -> tuple[Invoice, ...]:
        """Invoices that are orders, not refunds."""
        return tuple(invoice for invoice in self.invoices if not invoice.refund)


def load_history(path: Path = DATA) -> History:
    """Read the file.

    Raises
    ------
    FileNotFoundError
        The file is not where the package carries it.
    """
    table = pq.read_table(
        path,
        columns=[
            "invoice",
            "stock_code",
            "description",
            "quantity",
            "invoice_date",
            "price",
            "customer_id",
            "country",
        ],
    )
    total = table.num_rows
    table = table.filter(table["customer_id"].is_valid())
    # The file's clock is the shop's; it is taken as UTC.
    rows = list(
        zip(
            table["invoice"].to_pylist(),
            table["stock_code"].to_pylist(),
            table["description"].to_pylist(),
            table["quantity"].to_pylist(),
            table["invoice_date"].cast("timestamp[ms]").cast("int64").to_pylist(),
            table["price"].to_pylist(),
            table["customer_id"].cast("int64").to_pylist(),
            table["country"].to_pylist(),
            strict=True,
        )
    )
    names = _names((row[1], row[2]) for row in rows)
    by_number: dict[str, list[tuple[str, str, str, int, int, float, int, str]]] = {}
    for row in rows:  # two invoices written at the same time lie interleaved in the file
        by_number.setdefault(row[0], []).append(row)
    invoices = []
    for number, found in by_number.items():
        lines = tuple(Line(row[1].upper(), names[row[1].upper()], row[3], round(row[5] * 100)) for row in found)
        # A few invoices were written over two minutes: the first counts.
        invoices.append(Invoice(number, str(found[0][6]), found[0][4], found[0][7], number.startswith("C"), lines))
    invoices.sort(key=lambda invoice: invoice.at_ms)  # stable: equal times keep the file's order
    return History(tuple(invoices), total, total - len(rows), names)


def _names(pairs: Iterable[tuple[str, str | None]]) -> dict[str, str]:
    seen: dict[str, Counter[str]] = {}
    for code, description in pairs:
        text = " ".join((description or "").split())
        if text:
            seen.setdefault(code.upper(), Counter())[text] += 1
    return {code: names.most_common(1)[0][0].capitalize() for code, names in seen.items()}
