"""The English texts of every error in the source code, as templates: literal text with numbered gaps.

In: the source files, as syntax trees. Out: templates such as "There is no {0} in {1}.", which `message_catalogs.py` writes beside their
translations. A text is what an error class is given as message, where and fix, or what any call is given as `where=` or `fix=`; names,
parameters, constants and calls in it are followed to the texts they may hold.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache, cached_property
from itertools import product
from pathlib import Path

MAX_FORMS = 6
"""Sentences that one f-string is written out to; with more, what varies is a gap, and its texts are templates of their own."""
MAX_DEPTH = 4
"""Names and calls that are followed to a text."""
ANSWERS = {"_response": slice(3, 6), "problem": slice(2, 5), "problems": slice(0, 2)}
"""Functions other than error classes that take texts, and which of their arguments."""
WORDS = (
    *("text", "image", "audio", "signal", "sound", "picture", "video", "mesh", "items", "users", "interactions", "events", "rows", "columns"),
    *("cells", "encoder", "model", "member", "metric", "classifier", "recommender", "detector", "fusion", "fusion layer", "backbone"),
    *("branch", "source", "labelled source", "channel", "class", "task", "table", "trial", "version", "user", "item", "bundle", "world", "checkpoint"),
)  # fmt: skip
"""Words that fill gaps such as "There is no {0} {1}."."""
FOREIGN = (
    "Input should be {0}",
    "Input should be {0} or {1}",
    "set it to {0} or {1}",
    "Input should be a valid integer",
    "Input should be a valid integer, unable to parse string as an integer",
    "Input should be a valid integer, got a number with a fractional part",
    "Input should be a valid number",
    "Input should be a valid number, unable to parse string as a number",
    "Input should be a valid string",
    "Input should be a valid boolean",
    "Input should be a valid list",
    "Input should be a valid tuple",
    "Input should be a valid dictionary",
    "Input should be greater than {0}",
    "Input should be greater than or equal to {0}",
    "Input should be less than {0}",
    "Input should be less than or equal to {0}",
    "a valid integer",
    "a valid number",
    "a valid string",
    "a valid boolean",
    "a valid list",
    "a valid tuple",
    "a valid dictionary",
    "greater than {0}",
    "greater than or equal to {0}",
    "less than {0}",
    "less than or equal to {0}",
    "Field required",
    "No such file or directory",
    "Permission denied",
    "Is a directory",
    "Not a directory",
    "No space left on device",
    "Read-only file system",
    "File name too long",
    "Address already in use",
    "Cannot assign requested address",
    "[Errno 111] Connection refused",
    "All connection attempts failed",
)
"""Texts of pydantic and of the system that errors repeat."""
GAP = "\0"
IS_TEXT = re.compile(r"""[A-Za-z]{2}[,;.]? ([a-z`("{\[]|\d|[A-Z]{2})|\0[,;]? [a-z]{2}|[a-z]{2} \0""").search
"""Two words, or a word beside a gap: other texts are names of settings, options and addresses, the same in every language."""
Functions = ast.FunctionDef | ast.AsyncFunctionDef


class ErrorTexts:
    """Finds the templates of a source tree.

    Args:
        source: Folder of the package.
    """

    def __init__(self, source: Path) -> None:
        self.trees = {file: ast.parse(file.read_text("utf-8")) for file in sorted(source.rglob("*.py"))}
        self._nodes = {tree: list(_scoped(tree)) for tree in self.trees.values()}
        self._by_scope: dict[ast.AST | None, list[ast.AST]] = {}
        for nodes in self._nodes.values():
            for scope, node in nodes:
                self._by_scope.setdefault(scope, []).append(node)
        self._inner: set[str] = set()
        self._known: dict[tuple[ast.AST, Functions | None, int], list[str]] = {}

    def templates(self) -> set[str]:
        """Return every template that has a word besides its gaps."""
        found = set[str]()
        for tree, scope, call in self._calls():
            for text in self._given(call):
                found |= set(self._forms(text, tree, scope))
        ours = {_numbered(form) for form in found | self._inner if IS_TEXT(form)}
        return ours | {*WORDS, *FOREIGN}

    @cached_property
    def _errors(self) -> set[str]:
        """Names of the error classes."""
        names, before = {"PenchantError"}, 0
        classes = [node for nodes in self._nodes.values() for _, node in nodes if isinstance(node, ast.ClassDef)]
        while len(names) > before:
            before = len(names)
            names |= {one.name for one in classes if any(_name(base) in names for base in one.bases)}
        return names

    @cached_property
    def _modules(self) -> dict[str | None, ast.Module]:
        """File of each module by the last two parts of its name."""
        return {".".join(file.with_suffix("").parts[-2:]): tree for file, tree in self.trees.items()}

    @cached_property
    def _imports(self) -> dict[ast.Module, dict[str, set[str]]]:
        return {
            tree: {
                ".".join((node.module or "").split(".")[-2:]): {one.name for one in node.names}
                for node in tree.body
                if isinstance(node, ast.ImportFrom)
            }
            for tree in self.trees.values()
        }

    @cached_property
    def _functions(self) -> dict[str, list[tuple[ast.Module, Functions]]]:
        found: dict[str, list[tuple[ast.Module, Functions]]] = {}
        for tree, nodes in self._nodes.items():
            for _, node in nodes:
                if isinstance(node, Functions):
                    found.setdefault(node.name, []).append((tree, node))
        return found

    @cached_property
    def _constants(self) -> dict[str, list[ast.expr]]:
        found: dict[str, list[ast.expr]] = {}
        for tree in self.trees.values():
            for node in tree.body:
                for name, value in _assigned(node):
                    if name.strip("_").isupper():
                        found.setdefault(name, []).append(value)
        return found

    @cached_property
    def _callers(self) -> dict[str, list[tuple[ast.Module, Functions | None, ast.Call]]]:
        found: dict[str, list[tuple[ast.Module, Functions | None, ast.Call]]] = {}
        for tree, scope, call in self._calls():
            found.setdefault(_name(call.func), []).append((tree, scope, call))
        return found

    def _calls(self) -> Iterator[tuple[ast.Module, Functions | None, ast.Call]]:
        for tree, nodes in self._nodes.items():
            yield from ((tree, scope, node) for scope, node in nodes if isinstance(node, ast.Call))

    def _given(self, call: ast.Call) -> Iterator[ast.expr]:
        name = _name(call.func)
        if name in self._errors or {"where", "fix"} <= {one.arg for one in call.keywords}:
            yield from call.args[:1]
            yield from (one.value for one in call.keywords if one.arg in ("message", "path"))
            for given in call.args:
                if isinstance(given, ast.Dict):
                    yield from given.values
        if name == "ValueError":  # of a validator of settings
            yield from call.args[:1]
        if name in ANSWERS:
            yield from call.args[ANSWERS[name]]
        yield from (one.value for one in call.keywords if one.arg in ("where", "fix"))

    def _forms(self, node: ast.AST | None, tree: ast.Module, scope: Functions | None, depth: int = 0) -> list[str]:
        """Return the texts an expression may hold, a gap for what is not known; nothing for one that is no text."""
        if node is None or depth > MAX_DEPTH:
            return []
        key = (node, scope, depth)
        if key not in self._known:
            self._known[key] = []  # what leads back to itself adds nothing
            self._known[key] = list(dict.fromkeys(self._found(node, tree, scope, depth)))
        return self._known[key]

    def _found(self, node: ast.AST, tree: ast.Module, scope: Functions | None, depth: int) -> list[str]:
        again = lambda inner: self._forms(inner, tree, scope, depth)  # noqa: E731
        if isinstance(node, ast.Constant):
            return [node.value] if isinstance(node.value, str) else []
        if isinstance(node, ast.JoinedStr):
            return self._joined(node.values, tree, scope, depth)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return self._joined([node.left, node.right], tree, scope, depth)
        if isinstance(node, ast.IfExp):
            return [*(again(node.body) or [GAP]), *(again(node.orelse) or [GAP])]
        if isinstance(node, ast.BoolOp):
            return [form for value in node.values for form in again(value) or [GAP]]
        if isinstance(node, ast.Subscript):
            text = node.slice
            if isinstance(text, ast.Slice):
                return again(node.value)
            table = self._constants.get(_name(node.value), [])
            return [form for one in table if isinstance(one, ast.Dict) for value in one.values for form in again(value)]
        if isinstance(node, ast.Name):
            return [f for t, s, value in self._held(node.id, tree, scope) for f in self._forms(value, t, s, depth + 1)]
        if isinstance(node, ast.Call):
            return self._called(node, tree, scope, depth)
        return []

    def _called(self, node: ast.Call, tree: ast.Module, scope: Functions | None, depth: int) -> list[str]:
        name = _name(node.func)
        method = node.func.value if isinstance(node.func, ast.Attribute) else None
        if name == "message":
            return [re.sub(r"\{[^}]*\}", GAP, form) for form in self._forms(node.args[0], tree, scope, depth)]
        if name == "join" and isinstance(method, ast.Constant) and re.search("[a-z]{2}", str(method.value)):
            return [GAP + f"{method.value}{GAP}" * more for more in range(3)]
        if name in ("replace", "rstrip", "removesuffix", "strip") and method is not None:
            return [re.sub(r"\{\w+\}", GAP, form) for form in self._forms(method, tree, scope, depth)]
        return [
            form
            for t, function in self._nearest_functions(name, tree)
            for value in _returned(function)
            for form in self._forms(value, t, function, depth + 1)
        ]

    def _nearest_functions(self, name: str, tree: ast.Module) -> list[tuple[ast.Module, Functions]]:
        """Return the functions of a name: those of the same file, else of the file it is imported from, else one that has the name alone."""
        every = self._functions.get(name, [])
        home = next((module for module, names in self._imports[tree].items() if name in names), None)
        here = [one for one in every if one[0] is tree] or [one for one in every if one[0] is self._modules.get(home)]
        return here or (every if len(every) == 1 else [])

    def _joined(self, parts: list[ast.expr], tree: ast.Module, scope: Functions | None, depth: int) -> list[str]:
        choices: list[list[str]] = []
        for part in parts:
            inner = part.value if isinstance(part, ast.FormattedValue) else part
            forms = list(dict.fromkeys(self._forms(inner, tree, scope, depth)))
            is_repr = isinstance(part, ast.FormattedValue) and part.conversion != -1
            choices.append([GAP] if is_repr else forms or [GAP])
        total = 1
        for forms in choices:
            total *= len(forms)
        if total > MAX_FORMS:
            for place, forms in enumerate(choices):
                if len(forms) > 1:
                    self._inner |= set(forms)
                    choices[place] = [GAP]
        return ["".join(form) for form in product(*choices)]

    def _held(
        self, name: str, tree: ast.Module, scope: Functions | None
    ) -> Iterator[tuple[ast.Module, Functions | None, ast.expr]]:
        """Yield what a name may be: assignments of its function, arguments of the callers, a constant."""
        is_found = False
        if scope is not None:
            for node in self._by_scope.get(scope, []):
                for target, value in _assigned(node):
                    if target == name:
                        is_found = True
                        yield tree, scope, value
                for target, value in self._unpacked(node, tree):
                    if target == name:
                        is_found = True
                        yield tree, None, value
            names = [one.arg for one in (*scope.args.posonlyargs, *scope.args.args)]
            given = (*scope.args.posonlyargs, *scope.args.args, *scope.args.kwonlyargs)
            types = {one.arg: ast.unparse(one.annotation) if one.annotation else "str" for one in given}
            if name in types:
                is_found = True
            if re.search("str|Message|Literal", types.get(name, "")):
                yield from self._passed(name, names, tree, scope)
        if not is_found:
            yield from ((tree, None, value) for value in self._constants.get(name, []))

    def _passed(
        self, name: str, names: list[str], tree: ast.Module, scope: Functions
    ) -> Iterator[tuple[ast.Module, Functions | None, ast.expr]]:
        known = [names.index(name)] if name in names else []
        shift = 1 if names[:1] in (["self"], ["cls"]) else 0
        called = scope.name
        if called == "__init__":
            called = next(node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and scope in node.body)
        is_private = called.startswith("_")
        for t, s, call in self._callers.get(called, []):
            if is_private and t is not tree:
                continue
            yield from ((t, s, call.args[k - shift]) for k in known if 0 <= k - shift < len(call.args))
            yield from ((t, s, one.value) for one in call.keywords if one.arg == name)

    def _unpacked(self, node: ast.AST, tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
        """Yield names and values of `for a, b in self.pairs()` and `a, b = pair()`."""
        if isinstance(node, ast.For):
            target, call = node.target, node.iter
        elif isinstance(node, ast.Assign):
            target, call = node.targets[0], node.value
        else:
            return
        if not isinstance(target, ast.Tuple) or not isinstance(call, ast.Call):
            return
        for _, function in self._nearest_functions(_name(call.func), tree):
            for value in _returned(function):
                rows = value.elts if isinstance(value, ast.List) else [value]
                for row in rows:
                    if isinstance(row, ast.Tuple):
                        yield from ((ast.unparse(t), v) for t, v in zip(target.elts, row.elts, strict=False))


def _scoped(tree: ast.AST, scope: Functions | None = None) -> Iterator[tuple[Functions | None, ast.AST]]:
    """Yield every node with the outermost function around it, so that a nested function sees its names."""
    for node in ast.iter_child_nodes(tree):
        yield scope, node
        yield from _scoped(node, node if scope is None and isinstance(node, Functions) else scope)


def _assigned(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name):
                yield target.id, node.value
            elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                yield from zip(map(ast.unparse, target.elts), node.value.elts, strict=False)
            elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.IfExp):
                for branch in (node.value.body, node.value.orelse):
                    if isinstance(branch, ast.Tuple):
                        yield from zip(map(ast.unparse, target.elts), branch.elts, strict=False)
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and isinstance(node.target, ast.Name) and node.value:
        yield node.target.id, node.value


@cache
def _returned(function: Functions) -> list[ast.expr]:
    found = (node for node in ast.walk(function) if isinstance(node, ast.Return | ast.Yield))
    return [node.value for node in found if node.value is not None]


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _numbered(form: str) -> str:
    """Return a form with numbered gaps; gaps without text between them are one."""
    pieces: Iterable[str] = re.sub(f"{GAP}+", GAP, form).split(GAP)
    first, *others = (piece.replace("{", "{{").replace("}", "}}") for piece in pieces)
    return first + "".join(f"{{{number}}}{piece}" for number, piece in enumerate(others))
