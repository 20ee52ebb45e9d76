"""The measured machine in the tree is off by what docs/prediction.md says, no more and no less."""

import pathlib
import re
import subprocess
import unittest

_PREDICT = "tools/predict/predict"
_MACHINES = pathlib.Path("tools/predict/machines")
_DOCUMENT = pathlib.Path("docs/prediction.md")


def _scored(held_out: str, *more: str) -> dict[str, list[str]]:
    """By what was predicted, the cells: points, geomean, p90, p99, max, within, half-width."""
    done = subprocess.run(
        [_PREDICT, f"--machine={_MACHINES}/h200x2.json", f"--score={_MACHINES}/{held_out}.heldout.json", *more],
        stdout=subprocess.PIPE, text=True, check=True)
    rows = {}
    for line in done.stdout.splitlines():
        cells = [cell.strip() for cell in re.split(r"\s{2,}", line.strip())]
        if len(cells) == 9 and cells[1].isdigit():
            rows[cells[0]] = cells[1:8]
    return rows


def _documented(section: str) -> dict[str, dict[str, list[str]]]:
    """The same of the section's tables, by their first cell; they have no p99 and whole percents within."""
    text = _DOCUMENT.read_text().split(f"### {section}\n")[1].split("\n### ")[0]
    tables = re.findall(r"^\| ([\w ,]+) \| points \|.*\n\|-.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    return {name: {cells[0]: cells[1:] for cells in
                   ([cell.strip() for cell in line.strip("|").split("|")] for line in rows.splitlines())}
            for name, rows in tables}


class MachinesTest(unittest.TestCase):
    def _expect(self, documented: list[str], scored: list[str], what: str) -> None:
        points, geomean, p90, _, most, within, width = scored
        whole = f"{float(within.rstrip(' %')):.0f} %"
        self.assertEqual(documented, [points, geomean, p90, most, whole, width], what)

    def test_two_h200(self) -> None:
        tables = _documented("Two H200")
        self.assertEqual(set(tables), {"what", "steps, ops modelled", "steps, ops timed"})
        scored = _scored("h200x2")
        for what, cells in tables["what"].items():
            self._expect(cells, scored[what], what)
        for table, more in (("steps, ops modelled", []),
                            ("steps, ops timed", [f"--ops={_MACHINES}/h200x2.ops.json"])):
            self.assertEqual(set(tables[table]), {"`h200x2`", "`h200x2.first`", "`h200x2.second`"})
            for name, cells in tables[table].items():
                self._expect(cells, _scored(name.strip("`"), *more)["whole steps"], f"{table}, {name}")


if __name__ == "__main__":
    unittest.main()
