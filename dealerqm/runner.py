"""Running notebooks: parameters checked first, nothing of this machine in what is saved."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from dealerqm.errors import ParameterError, unknown

TIMEOUT_S = 600
QUIET = ["--IPKernelApp.log_level=50"]
_KEEP = ("tags",)
_NOTEBOOK_METADATA = ("kernelspec", "language_info")


def notebooks(folder: Path) -> list[Path]:
    """Return the notebooks of a folder in order.

    Parameters
    ----------
    folder : Path
        Where they lie.

    Returns
    -------
    list of Path
        Sorted by name.

    Raises
    ------
    ParameterError
        If there is none.
    """
    found = sorted(folder.glob("[0-9]*.ipynb"))
    if not found:
        raise ParameterError(f"notebooks: found none in {folder.name!r}; expected 00_….ipynb.")
    return found


def home(project: Path) -> Path:
    """Return the folder of the notebooks of a project: its own, else the product's.

    Parameters
    ----------
    project : Path
        Project folder.

    Returns
    -------
    Path
        ``<project>/notebooks`` when it exists, else the folder beside the package.
    """
    own = project / "notebooks"
    return own if own.is_dir() else Path(__file__).resolve().parents[1] / "notebooks"


def check_parameters(given: Iterable[str], paths: Iterable[Path]) -> None:
    """Refuse a parameter that no notebook knows.

    Parameters
    ----------
    given : iterable of str
        Names given by the caller.
    paths : iterable of Path
        Notebooks to run.

    Raises
    ------
    ParameterError
        Naming the known parameters.
    """
    known = {name for path in paths for name in parameters(path)}
    for name in given:
        if name not in known:
            raise ParameterError(unknown("parameter", name, known))


def parameters(path: Path) -> dict[str, str]:
    """Return the parameters of a notebook and their defaults as written.

    Parameters
    ----------
    path : Path
        Notebook with a cell tagged ``parameters``.

    Returns
    -------
    dict of str to str
        Name to the literal in the cell.
    """
    import papermill

    found = papermill.inspect_notebook(str(path))
    return {name: str(spec["default"]) for name, spec in found.items()}


def execute(path: Path, values: Mapping[str, Any], *, folder: Path) -> Any:  # noqa: ANN401
    """Run a notebook with parameters and return it without traces of the machine.

    Parameters
    ----------
    path : Path
        The notebook; it is not changed.
    values : mapping
        Parameters; those that the notebook does not know are left out.
    folder : Path
        Working folder of the kernel.

    Returns
    -------
    NotebookNode
        Executed and cleaned.

    Raises
    ------
    papermill.exceptions.PapermillExecutionError
        If a cell fails.
    """
    import papermill

    known = parameters(path)
    logging.getLogger("papermill").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = papermill.execute_notebook(
            str(path), None, {k: v for k, v in values.items() if k in known}, cwd=str(folder),
            kernel_name="python3", progress_bar=False, execution_timeout=TIMEOUT_S,
            extra_arguments=QUIET,
        )  # fmt: skip
    return clean(done)


def attempt(path: Path, values: Mapping[str, Any], *, folder: Path) -> tuple[Any, str]:
    """Run a notebook and tell why when it fails, so that the others go on.

    Parameters
    ----------
    path, values, folder
        As in ``execute``.

    Returns
    -------
    (dict or None, str)
        The executed notebook as plain data and an empty reason, or None and one line.
    """
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    try:
        return json.loads(json.dumps(execute(path, values, folder=folder))), ""
    except PapermillExecutionError as error:
        return None, f"cell {error.exec_count}: {error.ename}: {error.evalue}"
    except (CellTimeoutError, DeadKernelError) as error:
        return None, str(error).splitlines()[0]


def clean(notebook: Any) -> Any:  # noqa: ANN401
    """Remove paths, timings and random ids from an executed notebook.

    Parameters
    ----------
    notebook : NotebookNode
        Changed in place.

    Returns
    -------
    NotebookNode
        The same notebook.
    """
    metadata = notebook["metadata"]
    notebook["metadata"] = {k: metadata[k] for k in _NOTEBOOK_METADATA if k in metadata}
    info = notebook["metadata"].get("language_info", {})
    for key in ("version",):
        info.pop(key, None)
    for index, cell in enumerate(notebook["cells"]):
        cell["metadata"] = {k: v for k, v in cell["metadata"].items() if k in _KEEP and v}
        cell["id"] = f"cell-{index:02d}"
        for output in cell.get("outputs", ()):
            output.get("metadata", {}).clear()
    return notebook


def refresh(folder: Path, *, done: Callable[[Path], None] = lambda _: None) -> list[Path]:
    """Run the committed notebooks with their own parameters and save their outputs.

    Parameters
    ----------
    folder : Path
        Folder of the notebooks, and of their kernels.
    done : callable
        Called with each notebook when it is saved.

    Returns
    -------
    list of Path
        The notebooks whose text changed.
    """
    import nbformat

    changed = []
    for path in notebooks(folder):
        text = nbformat.writes(execute(path, {}, folder=folder)) + "\n"  # type: ignore[no-untyped-call]
        if text != path.read_text(encoding="utf-8"):
            path.write_text(text, encoding="utf-8", newline="\n")
            changed.append(path)
        done(path)
    return changed
