"""The house keeps its shape: floors, no circles, small rooms, plain fronts."""

import ast
import statistics
import tomllib
from pathlib import Path

import pytest

import meanforce

SOURCE = Path(meanforce.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
TABLE = tomllib.loads((Path(__file__).parent / "floors.toml").read_text())
FLOOR = {room: number for number, rooms in enumerate(TABLE["floors"]) for room in rooms}


def module_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(p for p in parts if p != "__init__")


def imports_of(path: Path, *, at_top_only: bool = False) -> set[str]:
    """The meanforce modules a file imports, without the package's own name."""
    tree = ast.parse(path.read_text())
    found = set()
    for node in _top(tree) if at_top_only else ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "meanforce":
            base = node.module.removeprefix("meanforce").lstrip(".")
            for alias in node.names:
                name = f"{base}.{alias.name}".lstrip(".")
                place = SOURCE / name.replace(".", "/")
                is_module = place.with_suffix(".py").exists() or place.is_dir()
                found.add(name if is_module else base)
        elif isinstance(node, ast.Import):
            found |= {a.name.removeprefix("meanforce.") for a in node.names if a.name.startswith("meanforce.")}
    return found - {""}


def _top(tree: ast.Module) -> list[ast.stmt]:
    """What a file does when it is imported, with what it imports for its types alone."""
    return [inner for node in tree.body for inner in (node.body if isinstance(node, ast.If) else [node])]


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_come_from_floors_below(path):
    room = module_of(path).split(".")[0]
    if room in TABLE["outside"] or module_of(path) == "":
        return
    assert room in FLOOR, f"{room} stands on no floor: name it in floors.toml"
    for target in imports_of(path):
        other = target.split(".")[0]
        if other == room:
            continue
        assert other in FLOOR, f"{module_of(path)} imports {target}, which stands on no floor"
        allowed = FLOOR[other] < FLOOR[room] or [room, other] in TABLE["same_floor"]
        assert allowed, f"{module_of(path)} (floor {FLOOR[room] + 1}) imports {target} (floor {FLOOR[other] + 1})"


def test_no_circles():
    graph = {module_of(p): {m for m in imports_of(p, at_top_only=True) if m != module_of(p)} for p in FILES}
    done, path = set(), []

    def visit(module):
        assert module not in path, f"circle: {' -> '.join([*path[path.index(module) :], module])}"
        if module in done or module not in graph:
            return
        path.append(module)
        for other in sorted(graph[module]):
            visit(other)
        path.pop()
        done.add(module)

    for module in graph:
        visit(module)


@pytest.mark.parametrize("path", [p for p in FILES if p.name == "__init__.py"], ids=module_of)
def test_fronts_hold_re_exports_only(path):
    for node in ast.parse(path.read_text()).body:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_all = isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
        assert is_docstring or is_all or isinstance(node, ast.Import | ast.ImportFrom), f"line {node.lineno} of {path}"


def functions():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{module_of(path)}:{node.lineno} {node.name}", node


def test_rooms_are_small():
    lengths = {module_of(p): len(p.read_text().splitlines()) for p in FILES if p.name != "__init__.py"}
    assert {m: n for m, n in lengths.items() if n > 400} == {}
    assert statistics.median(lengths.values()) <= 200


def test_functions_are_small():
    sizes = {name: node.end_lineno - node.lineno + 1 for name, node in functions()}
    assert {name: n for name, n in sizes.items() if n > 80} == {}
    assert sum(n <= 50 for n in sizes.values()) >= 0.9 * len(sizes)


def test_functions_take_few_parameters():
    counts = {name: len(node.args.args) + len(node.args.kwonlyargs) for name, node in functions()}
    assert {name: n for name, n in counts.items() if n > 9} == {}


def test_nothing_is_pickled():
    for path in FILES:
        names = {a.name for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Import) for a in n.names}
        assert not names & {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}, path
        assert "allow_pickle=True" not in path.read_text(), path


def test_public_names():
    """The public face: a name here changes only with a line in the changelog."""
    expected = (Path(__file__).parent / "public_names.txt").read_text().split()
    assert sorted(meanforce.__all__) == sorted(expected)
    for name in meanforce.__all__:
        assert getattr(meanforce, name) is not None


def test_test_files_have_names_of_their_own():
    """pytest imports them by their names alone: two of one name are not collected."""
    names = [path.name for path in Path(__file__).parent.rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))
