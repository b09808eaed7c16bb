"""Where a source file can be mutated: the smallest changes that a test should notice."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

SWAPS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.In: "not in",
    ast.NotIn: "in",
    ast.Is: "is not",
    ast.IsNot: "is",
}


@dataclass(frozen=True)
class Place:
    """One mutation: the text from (line, column) to (end_line, end_column), in bytes, becomes `text`."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int
    text: str
    kind: str

    def apply(self, source: bytes) -> bytes:
        lines = source.splitlines(keepends=True)
        start, end = lines[self.line - 1][: self.column], lines[self.end_line - 1][self.end_column :]
        return b"".join([*lines[: self.line - 1], start, self.text.encode(), end, *lines[self.end_line :]])


def find(file: str, source: bytes) -> Iterator[Place]:
    """Yield each place of a file."""
    for node in ast.walk(ast.parse(source)):
        for target, text, kind in _changes(node, source.decode()):
            assert target.end_lineno is not None
            assert target.end_col_offset is not None
            yield Place(file, target.lineno, target.col_offset, target.end_lineno, target.end_col_offset, text, kind)


def _changes(node: ast.AST, source: str) -> Iterator[tuple[ast.expr | ast.stmt, str, str]]:
    """Yield (what is replaced, the new text, the kind of mutation)."""

    def text(part: ast.AST) -> str:
        return ast.get_source_segment(source, part) or ""

    if isinstance(node, ast.If | ast.While | ast.IfExp) and not _is_for_types(node.test):
        yield node.test, f"(not ({text(node.test)}))", "negated condition"
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        swapped = f"({text(node.left)} {SWAPS[type(node.ops[0])]} {text(node.comparators[0])})"
        yield node, swapped, "swapped comparison"
    elif isinstance(node, ast.BoolOp):
        word = " or " if isinstance(node.op, ast.And) else " and "
        yield node, f"({word.join(f'({text(value)})' for value in node.values)})", "swapped and/or"
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and not _is_log(text(node)):
        yield node, "pass", "dropped call"
    elif isinstance(node, ast.Raise):
        yield node, "pass", "dropped raise"
    elif isinstance(node, ast.Return) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, bool):
        yield node, f"return {not node.value.value}", "swapped return"  # None in place of False changes nothing
    elif isinstance(node, ast.Return) and node.value is not None and text(node.value) != "None":
        yield node, "return None", "return None"


def _is_for_types(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def _is_log(statement: str) -> bool:
    """Whether a statement only writes a log line, which no test needs to notice."""
    return statement.startswith("logger.")
