"""The small mistakes that mutation testing plants: each is a syntax tree that differs from the source in one place.

Mistakes of logic alone: comparisons, boolean operators, conditions, arithmetic, numbers, filters, returned values,
statements left out, members left out of sets, tuples and dicts. Texts, annotations, decorators and `__all__` stay as
they are: messages are no decisions.
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from typing_extensions import override

__all__ = ["Mutant", "mutants", "planted"]

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
}
_NO_LOGIC = ("annotation", "returns", "decorator_list")
_PLACE_CHARACTERS = 80


@dataclass(frozen=True)
class Mutant:
    """One mistake: which node of the walk is replaced by what."""

    node: int
    line: int
    function: str
    before: str
    after: str
    replacement: ast.AST

    @override
    def __str__(self) -> str:
        """What tells it from the others of its file, wherever its line moves to."""
        return f"{self.function}: {self.before} -> {self.after}"


def mutants(source: str) -> list[Mutant]:
    """Return every mistake that can be planted in a module."""
    return [
        Mutant(index, _line(node), function, *_words(node, replacement), replacement)
        for index, (node, function) in enumerate(_logic(ast.parse(source), "module"))
        for replacement in _mistakes(node)
    ]


def planted(source: str, mutant: Mutant) -> ast.Module:
    """Return the module's tree with the mistake in it, its lines numbered as in the source."""
    tree = ast.parse(source)
    target = [node for node, _ in _logic(tree, "module")][mutant.node]
    replacement = ast.copy_location(mutant.replacement, target) if hasattr(target, "lineno") else mutant.replacement
    _Replace(target, replacement).generic_visit(tree)
    return ast.fix_missing_locations(tree)


class _Replace(ast.NodeTransformer):
    def __init__(self, target: ast.AST, replacement: ast.AST) -> None:
        self._target, self._replacement = target, replacement

    @override
    def visit(self, node: ast.AST) -> ast.AST:
        return self._replacement if node is self._target else super().generic_visit(node)


def _logic(node: ast.AST, function: str) -> Iterator[tuple[ast.AST, str]]:
    """Walk what may hold a mistake, each node with the qualified name of its function or class."""
    if _is_declaration(node):
        return
    yield node, function
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        function = node.name if function == "module" else f"{function}.{node.name}"
    for name, value in ast.iter_fields(node):
        if name not in _NO_LOGIC:
            parts = value.elts if name == "slice" and isinstance(value, ast.Tuple) else value  # types, or one key
            for child in parts if isinstance(parts, list) else [parts]:
                if isinstance(child, ast.AST):
                    yield from _logic(child, function)


def _is_declaration(node: ast.AST) -> bool:
    """Whether it is a docstring, `__all__`, or an import for annotations alone."""
    match node:
        case ast.Expr(value=ast.Constant()) | ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return True
        case _:
            return False


def _mistakes(node: ast.AST) -> Iterator[ast.AST]:
    for kind, mistake in _MISTAKES:
        if isinstance(node, kind):
            yield from mistake(node)


def _compared(node: ast.Compare) -> Iterator[ast.AST]:
    for index, operator in enumerate(node.ops):
        operators = [*node.ops[:index], _COMPARISONS[type(operator)](), *node.ops[index + 1 :]]
        yield ast.Compare(node.left, operators, node.comparators)


def _joined(node: ast.BoolOp) -> Iterator[ast.AST]:
    yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)


def _affirmed(node: ast.UnaryOp) -> Iterator[ast.AST]:
    if isinstance(node.op, ast.Not):
        yield node.operand


def _denied(node: ast.If | ast.IfExp | ast.While) -> Iterator[ast.AST]:
    """The other mistakes turn a comparison round; a plain value is denied here."""
    if isinstance(node.test, ast.Name | ast.Attribute | ast.Call | ast.Await | ast.NamedExpr):
        fields = dict(ast.iter_fields(node)) | {"test": ast.UnaryOp(ast.Not(), node.test)}
        yield type(node)(**fields)


def _calculated(node: ast.BinOp) -> Iterator[ast.AST]:
    if type(node.op) in _ARITHMETIC:
        yield ast.BinOp(node.left, _ARITHMETIC[type(node.op)](), node.right)


def _another_value(node: ast.Constant) -> Iterator[ast.AST]:
    if isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node.value, int | float):
        yield ast.Constant(node.value + 1)


def _unfiltered(node: ast.comprehension) -> Iterator[ast.AST]:
    if node.ifs:
        yield ast.comprehension(node.target, node.iter, [], node.is_async)


def _nothing_returned(node: ast.Return) -> Iterator[ast.AST]:
    if node.value and not (isinstance(node.value, ast.Constant) and node.value.value is None):
        yield ast.Return(ast.Constant(None))


def _less_one(node: ast.Set | ast.Tuple | ast.Dict) -> Iterator[ast.AST]:
    if isinstance(node, ast.Tuple) and not isinstance(node.ctx, ast.Load):
        return  # names that are bound
    for index in range(len(node.values if isinstance(node, ast.Dict) else node.elts)):
        fields = dict(ast.iter_fields(node))
        lists = {name: members for name, members in fields.items() if isinstance(members, list)}
        yield type(node)(**fields | {name: members[:index] + members[index + 1 :] for name, members in lists.items()})


def _left_out(node: ast.stmt) -> Iterator[ast.AST]:
    match node:
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.AugAssign() | ast.Delete():
            yield ast.Pass()
        case ast.Raise() | ast.Continue() | ast.Break():
            yield ast.Pass()
        case _:
            pass


_MISTAKES: tuple[tuple[type[ast.AST] | tuple[type[ast.AST], ...], Callable[..., Iterator[ast.AST]]], ...] = (
    (ast.Compare, _compared),
    (ast.BoolOp, _joined),
    (ast.UnaryOp, _affirmed),
    ((ast.If, ast.IfExp, ast.While), _denied),
    (ast.BinOp, _calculated),
    (ast.Constant, _another_value),
    (ast.comprehension, _unfiltered),
    (ast.Return, _nothing_returned),
    ((ast.Set, ast.Tuple, ast.Dict), _less_one),
    (ast.stmt, _left_out),
)


def _line(node: ast.AST) -> int:
    if isinstance(node, ast.comprehension):
        return node.target.lineno
    line: int = getattr(node, "lineno", 0)
    return line


def _words(node: ast.AST, replacement: ast.AST) -> tuple[str, str]:
    """What it says before and after; of what has many members, the one that is left out."""
    if not isinstance(node, ast.Set | ast.Tuple | ast.Dict):
        return _brief(node), _brief(replacement)
    kept = {id(part) for part in ast.iter_child_nodes(replacement)}
    return ": ".join(_brief(part) for part in ast.iter_child_nodes(node) if id(part) not in kept), "left out"


def _brief(node: ast.AST) -> str:
    """The first line of what it says: an `if` without what stands in it."""
    text = ast.unparse(node).strip().splitlines()[0]
    return text if len(text) <= _PLACE_CHARACTERS else f"{text[: _PLACE_CHARACTERS - 1]}…"
