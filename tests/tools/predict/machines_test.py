"""The measured machines in the tree are off by what docs/prediction.md says, no more and no less."""

import pathlib
import re
import subprocess
import unittest

_PREDICT = "tools/predict/predict"
_MACHINES = pathlib.Path("tools/predict/machines")
_DOCUMENT = pathlib.Path("docs/prediction.md")


def _scored(name: str, held_out: str) -> dict[str, list[str]]:
    """By what was predicted, the cells: points, geomean, p90, p99, max, within, half-width."""
    done = subprocess.run(
        [_PREDICT, f"--machine={_MACHINES / name}.json", f"--score={_MACHINES / held_out}.heldout.json"],
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
    tables = re.findall(r"^\| (\w+) \|.*\n\|-.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    return {name: {cells[0]: cells[1:] for cells in
                   ([cell.strip() for cell in line.strip("|").split("|")] for line in rows.splitlines())}
            for name, rows in tables}


class MachinesTest(unittest.TestCase):
    def test_two_h200(self) -> None:
        tables = _documented("Two H200")
        self.assertEqual(set(tables), {"what", "later"})
        for name, held_out in (("what", "h200x2"), ("later", "h200x2.later")):
            scored = _scored("h200x2", held_out)
            self.assertIn("whole steps", tables[name])
            for what, cells in tables[name].items():
                points, geomean, p90, _, most, within, width = scored[what]
                whole = f"{float(within.rstrip(' %')):.0f} %"
                self.assertEqual(cells, [points, geomean, p90, most, whole, width], (name, what))


if __name__ == "__main__":
    unittest.main()
