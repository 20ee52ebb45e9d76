"""Writes a report as HTML, markdown or CSV."""

import csv
import io
import json
import pathlib

import jinja2

from tools.common.program import UserError, reason
from tools.report.build import Report
from tools.report.tables import Cell, Figure, write

# Of Debian's libjs-chart.js.
CHART_JS = pathlib.Path("/usr/share/javascript/chart.js/chart.min.js")
_HERE = pathlib.Path(__file__).parent


def to_html(report: Report) -> str:
    try:
        chart_js = CHART_JS.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{CHART_JS}: {reason(error)}; the Debian package libjs-chart.js brings it"
        ) from error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["write"] = write
    return environment.get_template("report.html.j2").render(
        report=report,
        charts=_for_script({f.id: f.chart for f in report.figures if f.chart}),
        chart_js=chart_js,
        css=(_HERE / "report.css").read_text(encoding="utf-8"),
        script=(_HERE / "report.js").read_text(encoding="utf-8"),
    )


def _for_script(value: object) -> str:
    """JSON that no text from a file can end the <script> around it with."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")


def _markdown_cell(text: str) -> str:
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").split())


def _markdown_figure(figure: Figure) -> list[str]:
    basis = f" ({figure.basis})" if figure.basis else ""
    lines = [f"## {figure.title}{basis}", ""]
    if figure.caption:
        lines += [figure.caption, ""]
    columns = figure.table.columns
    lines.append("| " + " | ".join(_markdown_cell(c.title) for c in columns) + " |")
    lines.append("|" + " --- |" * len(columns))
    for row in figure.table.rows:
        lines.append("| " + " | ".join(_markdown_cell(write(cell)) for cell in row) + " |")
    return [*lines, ""]


def to_markdown(report: Report) -> str:
    lines = [f"# {report.title}", ""]
    if report.headline:
        lines += [" ".join(report.headline), ""]
    for figure in report.figures:
        lines += _markdown_figure(figure)
    return "\n".join(lines)


def to_csv(report: Report) -> str:
    """One number a line, with all its digits. What it is about stands in a column for each fact,
    named as in the tables: which those are depends on which figures there are."""
    figures = [figure for figure in report.figures if _has_numbers(figure)]
    facts = dict.fromkeys(
        column.name
        for figure in figures
        for column in figure.table.columns
        if column.basis == "given"
    )
    out = io.StringIO()
    fields = ["figure", *facts, "quantity", "unit", "basis", "value"]
    writer = csv.DictWriter(out, fields, restval="", lineterminator="\n")
    writer.writeheader()
    for figure in figures:
        columns = figure.table.columns
        for row in figure.table.rows:
            known: dict[str, Cell] = {
                column.name: cell for column, cell in zip(columns, row) if column.basis == "given"
            }
            for column, cell in zip(columns, row):
                if column.basis != "given" and cell is not None:
                    number = {"quantity": column.name, "unit": column.unit, "basis": column.basis}
                    writer.writerow({"figure": figure.id, **known, **number, "value": cell})
    return out.getvalue()


def _has_numbers(figure: Figure) -> bool:
    return any(column.basis != "given" for column in figure.table.columns)
