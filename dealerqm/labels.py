"""Words in every language: the only door to ``labels.toml``.

Statistics never hold sentences; the edge asks here. A key that is missing in one language is an
error on load, so no reader meets half a translation.
"""

from __future__ import annotations

import string
import tomllib
from functools import cache
from importlib import resources
from typing import Any

from dealerqm.errors import ParameterError, TableError, unknown


@cache
def _file() -> dict[str, Any]:
    text = resources.files("dealerqm").joinpath("labels.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@cache
def _catalogue() -> dict[str, dict[str, str]]:
    return check(_file())


def check(raw: dict[str, Any], where: str = "labels.toml") -> dict[str, dict[str, str]]:
    """Flatten a label file and refuse keys that lack a language or differ in their fields.

    Parameters
    ----------
    raw : dict
        The parsed file: ``languages`` (list of codes) and nested tables down to
        ``{code: text}``.
    where : str
        File name for messages.

    Returns
    -------
    dict
        Dotted key to ``{language: text}``.

    Raises
    ------
    TableError
        If a key lacks a language, has an unknown one, or its ``{fields}`` differ.

    Examples
    --------
    >>> check({"languages": ["en", "zh"], "a": {"b": {"en": "hi {x}", "zh": "你好 {x}"}}})
    {'a.b': {'en': 'hi {x}', 'zh': '你好 {x}'}}
    """
    codes = [str(code) for code in raw["languages"]]
    flat: dict[str, dict[str, str]] = {}
    stack: list[tuple[tuple[str, ...], Any]] = [
        ((key,), value) for key, value in raw.items() if key != "languages"
    ]
    while stack:
        path, value = stack.pop()
        if not isinstance(value, dict):
            raise TableError(f"{where} [{'.'.join(path)}]: found text, expected a table.")
        if all(isinstance(text, str) for text in value.values()):
            flat[".".join(path)] = _complete(where, ".".join(path), value, codes)
        else:
            stack.extend(((*path, key), inner) for key, inner in value.items())
    return dict(sorted(flat.items()))


def _complete(where: str, key: str, texts: dict[str, str], codes: list[str]) -> dict[str, str]:
    if set(texts) != set(codes):
        raise TableError(f"{where} [{key}]: has {sorted(texts)}, expected all of {codes}.")
    fields = {code: _fields(texts[code]) for code in codes}
    if len(set(fields.values())) > 1:
        raise TableError(f"{where} [{key}]: the fields differ between languages: {fields}.")
    return texts


def _fields(text: str) -> frozenset[str]:
    return frozenset(name for _, name, _, _ in string.Formatter().parse(text) if name)


def languages() -> list[str]:
    """Return the language codes of the label file.

    Returns
    -------
    list of str
        Codes in the order of the file.

    Examples
    --------
    >>> languages()
    ['zh', 'en']
    """
    return list(_file()["languages"])


def keys() -> list[str]:
    """Return every known label key.

    Returns
    -------
    list of str
        Dotted keys, sorted.

    Examples
    --------
    >>> "verdict.met" in keys()
    True
    """
    return list(_catalogue())


def text(key: str, lang: str, **values: object) -> str:
    """Return the words of a key in one language, with its fields filled in.

    Parameters
    ----------
    key : str
        Dotted key of ``labels.toml``.
    lang : str
        Language code.
    **values : object
        Values of the ``{fields}`` in the text.

    Returns
    -------
    str
        The sentence or word.

    Raises
    ------
    TableError
        If the key is unknown.
    ParameterError
        If the language is unknown.

    Examples
    --------
    >>> text("verdict.met", "en")
    'met'
    """
    catalogue = _catalogue()
    if key not in catalogue:
        raise TableError(unknown("labels.toml", key, catalogue))
    if lang not in catalogue[key]:
        raise ParameterError(unknown("language", lang, catalogue[key]))
    return catalogue[key][lang].format(**values)
