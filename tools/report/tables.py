"""Tables: what every figure stands on, and what each output format shows.

A cell is a raw value; columns say how it is written. So markdown, CSV and HTML show the same numbers,
and CSV shows all their digits.
"""

from dataclasses import dataclass, field
from typing import Literal

Basis = Literal["measured", "predicted", "given"]  # given: a name or a size that was asked for
Cell = str | int | float | None


@dataclass(frozen=True)
class Column:
    name: str
    unit: str = ""
    basis: Basis = "measured"

    @property
    def title(self) -> str:
        """As a table's head: a predicted number says so where it stands."""
        title = f"{self.name}, {self.unit}" if self.unit else self.name
        return f"{title} (predicted)" if self.basis == "predicted" else title


def given(name: str, unit: str = "") -> Column:
    return Column(name, unit, "given")


@dataclass
class Table:
    columns: list[Column]
    rows: list[list[Cell]] = field(default_factory=list)


def write(cell: Cell) -> str:
    """For people: four significant digits, and thousands in groups."""
    if cell is None:
        return "–"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int) or cell == int(cell) and abs(cell) < 1e15:
        return f"{int(cell):,}"
    if abs(cell) >= 1000:
        return f"{cell:,.0f}"
    return f"{cell:.4g}" if abs(cell) >= 1e-3 else f"{cell:.3e}"


@dataclass
class Figure:
    """A heading, what it means, a chart or none (see report.js), and its table."""

    id: str
    title: str
    basis: str  # "measured", "predicted", or "measured and predicted"; "" where nothing is a number
    caption: str
    table: Table
    chart: dict | None = None
