"""The architecture defends itself: each check lists its findings and is shown a bad example."""

import ast
import functools
import graphlib
import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "dealerqm"

MODULE_LINES = 400
FUNCTION_LINES = 60
MEDIAN_FUNCTION_LINES = 10
PARAMETERS = 6
CELL_LINES = 4
CODE_CELLS = 12

# who may import what: first part of the path below dealerqm/
IMPORTERS = {
    "matplotlib": {"plot"},
    "duckdb": {"store"},
    "narwhals": {"facts"},
    "openpyxl": {"ingest", "publish", "registers", "simulate"},
    "python_calamine": {"ingest"},
    "csv": {"ingest"},
}
ONE_IMPORTER = ("matplotlib", "duckdb", "narwhals", "python_calamine")
FILE_READERS = {"read_csv", "read_excel", "read_table", "read_fwf", "ExcelFile"}
LOGIC = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.For, ast.AsyncFor,
    ast.While, ast.Try, ast.TryStar, ast.With, ast.AsyncWith, ast.ListComp, ast.SetComp,
    ast.DictComp, ast.GeneratorExp,
)  # fmt: skip

# Written with [] in the middle, so that this file does not find itself.
FORBIDDEN = {
    "package-registry host": r"pypi[.]org|pythonhosted[.]|conda[.]org|npmjs[.]org|[.]tsinghua[.]",
    "absolute path": r"(?<![\w.>)}\]-])/(?:home|Users|root|work|opt|tmp|private)/\w"
    r"|\b[A-Z]:\\+Users",
    "unfinished work": r"\b(?:T[O]DO|F[I]XME)\b",
}
NOT_OURS = ("tests/reference/", "tests/corpus/")
OTHER_LOCKS = {"uv.lock", "pylock.toml", "poetry.lock"}  # they name hosts


# ---------------------------------------------------------------- reading the tree


@functools.cache
def modules(package):
    """Path below the package -> syntax tree, of every module."""
    paths = sorted(package.rglob("*.py"))
    return {p.relative_to(package): ast.parse(p.read_text(encoding="utf-8")) for p in paths}


@pytest.fixture(scope="module", autouse=True)
def _forget_trees():
    yield
    modules.cache_clear()


def dotted(path):
    """Import name below the package: plan/read.py -> plan.read, plan/__init__.py -> plan."""
    return ".".join(path.with_suffix("").parts).removesuffix("__init__").removesuffix(".")


def functions(tree):
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def imports(nodes):
    """(line, full name) of everything that these nodes import."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def run_on_import(node):
    """Nodes that run when the module is imported: no function bodies, no TYPE_CHECKING blocks."""
    for child in ast.iter_child_nodes(node):
        function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if not function and not typing_only:
            yield child
            yield from run_on_import(child)


def public(node):
    """The module's functions and classes, and the methods of those classes, that users may call."""
    for child in node.body:
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        if isinstance(child, kinds) and not child.name.startswith("_"):
            yield child
            if isinstance(child, ast.ClassDef):
                yield from public(child)


def tracked(root):
    """Files that git tracks and that are there, as text paths below the root."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True)
    names = listing.stdout.decode("utf-8").split("\0")
    return [name for name in names if name and (root / name).is_file()]


# ---------------------------------------------------------------- checks: lists of findings


def import_cycles(package):
    """Modules that import each other when they are imported."""
    trees = {dotted(path): tree for path, tree in modules(package).items()}
    graph = {name: set(targets(tree, trees, package.name)) - {name} for name, tree in trees.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return [" <- ".join(name or package.name for name in error.args[1])]
    return []


def targets(tree, known, package):
    """Modules of the package that this one imports: the longest part of the name that is one."""
    for _, name in imports(run_on_import(tree)):
        first, *rest = name.split(".")
        if first == package:
            tails = (".".join(rest[:length]) for length in range(len(rest), -1, -1))
            yield next((tail for tail in tails if tail in known), "")


def foreign_imports(package):
    """Imports of a library by a module that is not its importer, and files read outside ingest."""
    found = []
    for path, tree in modules(package).items():
        importer = path.parts[0].removesuffix(".py")
        for line, name in imports(ast.walk(tree)):
            allowed = IMPORTERS.get(name.split(".")[0])
            if name.startswith("statsmodels.api") or (allowed and importer not in allowed):
                found.append(f"{path}:{line} imports {name}")
        calls = (n for n in ast.walk(tree) if isinstance(n, ast.Attribute))
        readers = [n for n in calls if n.attr in FILE_READERS and importer != "ingest"]
        found += [f"{path}:{node.lineno} reads a file by {node.attr}" for node in readers]
    return found


def several_importers(package):
    """Libraries that more than one module imports, of those that have one importer."""
    found = {library: set() for library in ONE_IMPORTER}
    for path, tree in modules(package).items():
        for _, name in imports(ast.walk(tree)):
            found.get(name.split(".")[0], set()).add(str(path))
    return [f"{lib} in {', '.join(sorted(p))}" for lib, p in found.items() if len(p) > 1]


def long_modules(package):
    paths = sorted(package.rglob("*.py"))
    lengths = {p: len(p.read_text(encoding="utf-8").splitlines()) for p in paths}
    return [
        f"{path.relative_to(package)} has {length} lines"
        for path, length in lengths.items()
        if length > MODULE_LINES
    ]


def code_lines(function):
    """Lines of a function without its docstring."""
    doc = function.body[0] if ast.get_docstring(function) is not None else None
    return span(function) - (span(doc) if doc else 0)


def span(node):
    return node.end_lineno - node.lineno + 1


def long_functions(package):
    """Functions over the longest allowed, and the median if it is over its own bar."""
    lengths = {
        f"{path}:{node.lineno} {node.name}": code_lines(node)
        for path, tree in modules(package).items()
        for node in functions(tree)
    }
    found = [f"{where} has {n} lines" for where, n in lengths.items() if n > FUNCTION_LINES]
    median = statistics.median(lengths.values()) if lengths else 0
    return found + [f"median function has {median:g} lines"] * (median > MEDIAN_FUNCTION_LINES)


def parameters(function):
    listed = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
    starred = [arg for arg in (function.args.vararg, function.args.kwarg) if arg]
    return [arg.arg for arg in listed + starred if arg.arg not in ("self", "cls")]


def many_parameters(package):
    return [
        f"{path}:{node.lineno} {node.name} has {len(parameters(node))} parameters"
        for path, tree in modules(package).items()
        for node in functions(tree)
        if len(parameters(node)) > PARAMETERS
    ]


def undocumented(package):
    """Modules and public names without docstring, functions without its sections."""
    found = []
    for path, tree in modules(package).items():
        found += [f"{path} has no docstring"] if tree.body and not ast.get_docstring(tree) else []
        nodes = [(f"{path}:{node.lineno} {node.name}", node) for node in public(tree)]
        found += [
            f"{where} has no docstring" for where, node in nodes if not ast.get_docstring(node)
        ]
        if path.parts[0] not in ("cli.py", "cli"):  # there the docstring is the help text
            found += [
                f"{w} lacks {name}" for w, n in nodes if n in tree.body for name in lacking(n)
            ]
    return found


def lacking(node):
    """Sections that the docstring of a function lacks."""
    doc = ast.get_docstring(node)
    if isinstance(node, ast.ClassDef) or not doc:
        return []
    returns = node.returns is not None and ast.unparse(node.returns) not in ("None", "NoReturn")
    needed = ["Parameters"] * bool(parameters(node)) + ["Returns"] * returns
    doc = doc.replace("\nYields\n------\n", "\nReturns\n-------\n")
    return [name for name in needed if f"\n{name}\n{'-' * len(name)}\n" not in doc]


def asserts(package):
    return [
        f"{path}:{node.lineno} asserts; raise an error that says what to do"
        for path, tree in modules(package).items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
    ]


def prints(package):
    return [
        f"{path}:{node.lineno} prints"
        for path, tree in modules(package).items()
        if path.parts[0] not in ("cli.py", "cli")
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id == "print"
    ]


def thick_notebooks(folder):
    """Notebooks with logic, long cells or many code cells."""
    found = []
    for path in sorted(folder.glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        if len(sources) > CODE_CELLS:
            found.append(f"{path.name} has {len(sources)} code cells")
        for number, source in enumerate(sources, 1):
            found += [f"{path.name}, code cell {number}: {fault}" for fault in cell_faults(source)]
    return found


def cell_faults(source):
    if len(source.splitlines()) > CELL_LINES:
        yield f"{len(source.splitlines())} lines"
    try:
        tree = ast.parse(source)
    except SyntaxError:
        yield "not plain Python"
    else:
        yield from (type(node).__name__ for node in ast.walk(tree) if isinstance(node, LOGIC))


def forbidden_words(root, names):
    """Tracked text files that name a registry, a path of one machine, or unfinished work."""
    patterns = {kind: re.compile(words.encode()) for kind, words in FORBIDDEN.items()}
    found = [f"{name} is tracked" for name in names if Path(name).name in OTHER_LOCKS]
    for name in names:
        content = (root / name).read_bytes()
        if name.startswith(NOT_OURS) or b"\0" in content:
            continue
        hits = ((kind, pattern.search(content)) for kind, pattern in patterns.items())
        found += [
            f"{name}: {kind} {hit[0].decode(errors='replace')!r}" for kind, hit in hits if hit
        ]
    return found


def broken_layers(root):
    """What import-linter says of the package in this folder when a contract is broken."""
    code = "from importlinter.cli import lint_imports_command as run; run()"
    arguments = ["--no-cache", "--config", str(ROOT / "pyproject.toml")]
    env = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", code, *arguments]
    result = subprocess.run(
        command, cwd=root, env=env, capture_output=True, encoding="utf-8", check=False
    )
    return (result.stdout + result.stderr).splitlines() if result.returncode else []


# ---------------------------------------------------------------- this project passes


@pytest.mark.parametrize(
    "check",
    [
        import_cycles, foreign_imports, several_importers, long_modules, long_functions,
        many_parameters, undocumented, asserts, prints,
    ],
)  # fmt: skip
def test_package_keeps(check):
    assert check(PACKAGE) == []


def test_layers_are_kept():
    assert broken_layers(ROOT) == []


def test_notebooks_are_thin():
    assert thick_notebooks(ROOT / "notebooks") == []


def test_tracked_files_name_no_registry_no_machine_and_no_unfinished_work():
    assert forbidden_words(ROOT, tracked(ROOT)) == []


def test_statsmodels_is_never_imported_whole_in_tests_and_tools():
    found = foreign_imports(ROOT / "tests") + foreign_imports(ROOT / "tools")
    assert [text for text in found if "statsmodels" in text] == []


# ---------------------------------------------------------------- each check can fail


def plant(folder, **sources):
    """A package `dealerqm` with these modules; a double underscore stands for a folder."""
    package = folder / "dealerqm"
    for name, source in {"__init__": "", **sources}.items():
        path = package / (name if name == "__init__" else name.replace("__", "/", 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".py").write_text(source, encoding="utf-8")
    return package


def function(lines, name="f"):
    return f"def {name}():\n" + "    x = 1\n" * (lines - 1)


@pytest.mark.parametrize(
    ("check", "sources", "finding"),
    [
        (import_cycles, {"a": "from dealerqm import b", "b": "import dealerqm.a"}, "a <- b <- a"),
        (import_cycles, {"a__x": "from dealerqm.b import y", "b": "from dealerqm.a.x import z"},
         "a.x <- b <- a.x"),
        (foreign_imports, {"kpi": "import matplotlib.pyplot"}, "kpi.py:1 imports matplotlib"),
        (foreign_imports, {"facts": "def f():\n    import duckdb"}, "facts.py:2 imports duckdb"),
        (foreign_imports, {"kpi": "from narwhals import col"}, "kpi.py:1 imports narwhals.col"),
        (foreign_imports, {"report": "from openpyxl import x"}, "report.py:1 imports openpyxl.x"),
        (foreign_imports, {"store": "import csv"}, "store.py:1 imports csv"),
        (foreign_imports, {"kpi": "import statsmodels.api as sm"}, "imports statsmodels.api"),
        (foreign_imports, {"kpi": "from statsmodels import api"}, "imports statsmodels.api"),
        (foreign_imports, {"kpi": "pd.read_csv('x')"}, "kpi.py:1 reads a file by read_csv"),
        (several_importers, {"plot__a": "import matplotlib", "plot__b": "from matplotlib import x"},
         "matplotlib in plot/a.py, plot/b.py"),
        (long_modules, {"kpi": "x = 1\n" * 401}, "kpi.py has 401 lines"),
        (long_functions, {"kpi": function(61)}, "kpi.py:1 f has 61 lines"),
        (long_functions, {"kpi": function(11)}, "median function has 11 lines"),
        (many_parameters, {"kpi": "def f(a, b, /, c, d, *e, f, g): ..."}, "f has 7 parameters"),
        (undocumented, {"kpi": "x = 1"}, "kpi.py has no docstring"),
        (undocumented, {"kpi": '"""K."""\ndef f(): ...'}, "kpi.py:2 f has no docstring"),
        (undocumented, {"kpi": '"""K."""\nclass A:\n "A."\n def f(self): ...'}, "kpi.py:4 f has"),
        (undocumented, {"kpi": '"""K."""\ndef f(x) -> None:\n "F."'}, "f lacks Parameters"),
        (undocumented, {"kpi": '"""K."""\ndef f() -> int:\n "F."'}, "f lacks Returns"),
        (asserts, {"kpi": "def f(x):\n    assert x"}, "kpi.py:2 asserts"),
        (prints, {"kpi": "print(1)"}, "kpi.py:1 prints"),
    ],
)  # fmt: skip
def test_check_sees(tmp_path, check, sources, finding):
    assert any(finding in text for text in check(plant(tmp_path, **sources)))


def test_checks_are_silent_where_the_rules_are_kept(tmp_path):
    documented = '"F.\n\nParameters\n----------\nx : int\n\nYields\n------\nint\n"'.replace(
        '"', '"""'
    )
    package = plant(
        tmp_path,
        errors='"""E."""\nif TYPE_CHECKING:\n    from dealerqm import plot\n',
        plot='"""P."""\nimport matplotlib\nfrom dealerqm import errors\n',
        ingest__csv='"""I."""\nimport csv\npd.read_csv("x")\n',
        cli='"""C."""\ndef main(a):\n    """Help."""\n    print(1)\n',
        kpi=f'"""K."""\ndef f(x) -> Iterator[int]:\n    {documented}\n' + function(5, "_g"),
    )
    checks = (import_cycles, foreign_imports, long_modules, long_functions, undocumented, prints)
    assert [finding for check in checks for finding in check(package)] == []


@pytest.mark.parametrize(
    ("source", "finding"),
    [
        ("def f(): ...", "FunctionDef"),
        ("class A: ...", "ClassDef"),
        ("for x in y: ...", "For"),
        ("while x: ...", "While"),
        ("try: ...\nfinally: ...", "Try"),
        ("with x: ...", "With"),
        ("f(lambda: 1)", "Lambda"),
        ("[x for x in y]", "ListComp"),
        ("{x: 1 for x in y}", "DictComp"),
        ("sum(x for x in y)", "GeneratorExp"),
        ("a\nb\nc\nd\ne", "5 lines"),
        ("!ls", "not plain Python"),
    ],
)
def test_notebook_check_sees(tmp_path, source, finding):
    cells = [{"cell_type": "markdown", "source": []}, {"cell_type": "code", "source": [source]}]
    (tmp_path / "01.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8")
    assert thick_notebooks(tmp_path) == [f"01.ipynb, code cell 1: {finding}"]


def test_notebook_check_counts_code_cells(tmp_path):
    cells = [{"cell_type": "code", "source": ["x"]}] * 13
    (tmp_path / "01.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8")
    assert thick_notebooks(tmp_path) == ["01.ipynb has 13 code cells"]


@pytest.mark.parametrize(
    "text",
    [
        "see https://pypi" + ".org/project",
        "open('/ho" + "me/ann/data')",
        "cd /wo" + "rk/main",
        "C:\\" + "Users\\ann",
        "# TO" + "DO: later",
    ],
)
def test_word_check_sees(tmp_path, text):
    (tmp_path / "a.md").write_text(text, encoding="utf-8")
    assert len(forbidden_words(tmp_path, ["a.md"])) == 1


def test_word_check_passes_over_other_peoples_files_and_binaries(tmp_path):
    (tmp_path / "tests" / "reference").mkdir(parents=True)
    (tmp_path / "tests" / "reference" / "a.json").write_text("pypi" + ".org", encoding="utf-8")
    (tmp_path / "a.png").write_bytes(b"\0pypi" + b".org")
    (tmp_path / "a.md").write_text("data/work/x and ../tmp/x", encoding="utf-8")
    assert forbidden_words(tmp_path, ["tests/reference/a.json", "a.png", "a.md"]) == []


def test_word_check_sees_another_lock(tmp_path):
    (tmp_path / "uv.lock").touch()
    assert forbidden_words(tmp_path, ["uv.lock"]) == ["uv.lock is tracked"]


@pytest.mark.parametrize(
    ("sources", "finding"),
    [
        ({"kpi": "import dealerqm.plot", "plot": ""}, "dealerqm.kpi -> dealerqm.plot (l.1)"),
        ({"kpi": "from dealerqm import spc", "spc": ""}, "dealerqm.kpi -> dealerqm.spc (l.1)"),
        ({"unplaced": ""}, "unplaced"),
    ],
)
def test_layer_check_sees(tmp_path, sources, finding):
    plant(tmp_path, **sources)
    assert any(finding in line for line in broken_layers(tmp_path))


def test_layer_check_lets_downward_imports_pass(tmp_path):
    plant(tmp_path, cli="from dealerqm import kpi", kpi="import dealerqm.errors", errors="")
    assert broken_layers(tmp_path) == []
