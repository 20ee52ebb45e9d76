"""JSON from a file, checked where it is used."""

import json
from typing import Any, Iterator

from tools.common.program import UserError


def refuse_constant(constant: str) -> Any:
    """For json.loads, which reads NaN and Infinity, though JSON has none."""
    raise ValueError(f"{constant} is not JSON")


def parse(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=refuse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


class Node:
    """A JSON value that knows where it came from, so that what is missing can be named."""

    def __init__(self, value: Any, where: str, path: str = "") -> None:
        self.value = value
        self.where = where
        self.path = path

    def fail(self, problem: str) -> UserError:
        return UserError(f"{self.where}: {self.path or 'the object'} {problem}")

    def at(self, key: str) -> "Node":
        path = f"{self.path}.{key}" if self.path else key
        if not isinstance(self.value, dict):
            raise self.fail("is not an object")
        if key not in self.value:
            raise UserError(f"{self.where}: {path} is missing; is this the file of another tool?")
        return Node(self.value[key], self.where, path)

    def items(self) -> Iterator["Node"]:
        if not isinstance(self.value, list):
            raise self.fail("is not an array")
        for i, value in enumerate(self.value):
            yield Node(value, self.where, f"{self.path}[{i}]")

    def has(self, key: str) -> bool:
        return isinstance(self.value, dict) and self.value.get(key) is not None

    def number(self, key: str) -> float:
        node = self.at(key)
        good = isinstance(node.value, (int, float)) and not isinstance(node.value, bool)
        if not good or not abs(node.value) < 1e300:  # as NaN is not, nor a number beyond all floats
            raise node.fail(f"is {json.dumps(node.value)}, not a finite number")
        return node.value

    def positive(self, key: str) -> float:
        number = self.number(key)
        if number <= 0:
            raise self.at(key).fail(f"is {number}, not above 0")
        return number

    def integer(self, key: str) -> int:
        number = self.number(key)
        if number != int(number):
            raise self.at(key).fail(f"is {number}, not an integer")
        return int(number)

    def numbers(self, key: str) -> list[float]:
        """The whole array, each of its values a finite number."""
        values = {str(i): item.value for i, item in enumerate(self.at(key).items())}
        of_array = Node(values, self.where, self.at(key).path)
        return [of_array.number(i) for i in values]

    def text(self, key: str) -> str:
        node = self.at(key)
        if not isinstance(node.value, str):
            raise node.fail(f"is {json.dumps(node.value)}, not a string")
        return node.value

    def object(self, key: str) -> dict[str, Any]:
        node = self.at(key)
        if not isinstance(node.value, dict):
            raise node.fail("is not an object")
        return node.value
