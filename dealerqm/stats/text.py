"""Themes of short texts, Chinese or English: words of a dictionary and a model on characters.

No segmenter and nothing downloaded: Chinese is looked at by its characters, so a new word needs
no list. Texts are cut into clauses, because one comment praises the wash and curses the price.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dealerqm.errors import MethodError

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
SHORTEST, LONGEST = 1, 4  # characters of an n-gram
STRENGTH = 30.0  # inverse of the ridge penalty; flat between 10 and 100 on the coded clauses
LEAST = 2  # examples of a theme
_STOPS = re.compile(r"[，。！？；：、…\n,.!?;:]+|(?<=\W)—+(?=\W)")


def clauses(text: str) -> list[str]:
    """Cut a text into clauses, in one spelling.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    list of str
        In NFKC form and small letters, without empty ones.

    Examples
    --------
    >>> clauses("服务不错，就是ＷＡＩＴ了很久！")
    ['服务不错', '就是wait了很久']
    """
    plain = unicodedata.normalize("NFKC", text).lower()
    parts = (" ".join(part.split()) for part in _STOPS.split(plain))
    return [part for part in parts if part]


def named(texts: Sequence[str], words: Sequence[str]) -> Flags:
    """Mark the clauses that hold one of the words.

    Parameters
    ----------
    texts : sequence of str
        Clauses in one spelling.
    words : sequence of str
        Chinese words match anywhere, others from the start of a word; no words match nothing.

    Returns
    -------
    ndarray of bool, shape (texts,)
        Which clauses.

    Examples
    --------
    >>> named(["a long wait", "he awaits us", "等了两小时"], ["wait", "等了"]).tolist()
    [True, False, True]
    """
    if not words:
        return np.zeros(len(texts), bool)
    spelled = [unicodedata.normalize("NFKC", word).lower() for word in words]
    parts = [re.escape(word) if not word[0].isascii() else rf"\b{re.escape(word)}"
             for word in spelled]  # fmt: skip
    pattern = re.compile("|".join(parts))
    return np.array([pattern.search(text) is not None for text in texts], bool)


@dataclass(frozen=True)
class Model:
    """A linear model of the themes on character n-grams.

    Attributes
    ----------
    grams : TfidfVectorizer
        Fitted on the coded clauses.
    slopes : ndarray, shape (grams, themes)
        Logistic coefficients.
    starts : ndarray, shape (themes,)
        Their intercepts.
    """

    grams: TfidfVectorizer
    slopes: Array
    starts: Array

    def chance(self, texts: Sequence[str]) -> Array:
        """Return the chance of each theme in each clause, shape (texts, themes)."""
        if not len(texts):
            return np.zeros((0, self.starts.size))
        logit = self.grams.transform(texts) @ self.slopes + self.starts
        return np.asarray(1 / (1 + np.exp(-logit)))


def train(texts: Sequence[str], codes: Flags) -> Model:
    """Learn the themes from coded clauses.

    Parameters
    ----------
    texts : sequence of str
        Clauses in one spelling.
    codes : ndarray of bool, shape (texts, themes)
        Which themes each holds; none is allowed.

    Returns
    -------
    Model
        The same clauses give the same model.

    Raises
    ------
    MethodError
        If a theme has fewer than two clauses or all of them.

    Notes
    -----
    Ridge-penalised logistic regression per theme on tf-idf of 1 to 4 characters inside words, the
    clauses with and without a theme weighted alike.

    Examples
    --------
    >>> codes = np.array([[True], [True], [False], [False]])
    >>> model = train(["等了很久", "久等", "价格高", "贵"], codes)
    >>> bool(model.chance(["等很久"])[0, 0] > 0.5)
    True
    """
    from sklearn.feature_extraction.text import TfidfVectorizer  # slow to import
    from sklearn.linear_model import LogisticRegression

    counts = codes.sum(axis=0)
    if ((counts < LEAST) | (len(texts) - counts < LEAST)).any():
        at = int(np.flatnonzero((counts < LEAST) | (len(texts) - counts < LEAST))[0])
        raise MethodError(
            f"themes: theme {at} has {int(counts[at])} of {len(texts)} coded clauses; expected "
            f"at least {LEAST} with and {LEAST} without it. Code more clauses."
        )
    grams = TfidfVectorizer(analyzer="char_wb", ngram_range=(SHORTEST, LONGEST), sublinear_tf=True)
    seen = grams.fit_transform(texts)
    fits = [
        LogisticRegression(C=STRENGTH, class_weight="balanced", solver="liblinear",
                           random_state=0).fit(seen, codes[:, theme])
        for theme in range(codes.shape[1])
    ]  # fmt: skip
    return Model(
        grams, np.column_stack([fit.coef_[0] for fit in fits]),
        np.array([float(fit.intercept_[0]) for fit in fits]),
    )  # fmt: skip


def cross_chance(texts: Sequence[str], codes: Flags, *, folds: int) -> Array:
    """Return the chance of each theme in each coded clause, from models that never saw it.

    Parameters
    ----------
    texts, codes
        As for ``train``.
    folds : int
        So many parts; each is coded by a model trained on the others.

    Returns
    -------
    ndarray, shape (texts, themes)
        Out-of-fold chances.

    Examples
    --------
    >>> codes = np.array([[True], [True], [False], [False]] * 2)
    >>> said = ["等了", "久等", "涨价", "贵", "干等", "等待", "加价", "价格"]
    >>> (cross_chance(said, codes, folds=2) > 0.5).ravel().tolist()
    [True, True, False, True, True, True, False, False]
    """
    out = np.zeros(codes.shape)
    for fold in range(folds):
        test = np.arange(len(texts)) % folds == fold
        model = train([t for t, held in zip(texts, test, strict=True) if not held], codes[~test])
        out[test] = model.chance([t for t, held in zip(texts, test, strict=True) if held])
    return out


def joined(place: NDArray[np.int64], codes: Flags, size: int) -> Flags:
    """Join the codes of clauses to codes of their texts.

    Parameters
    ----------
    place : ndarray of int, shape (clauses,)
        Text that each clause belongs to.
    codes : ndarray of bool, shape (clauses, themes)
        Themes of the clauses.
    size : int
        Number of texts.

    Returns
    -------
    ndarray of bool, shape (size, themes)
        A text holds the themes of all its clauses.

    Examples
    --------
    >>> joined(np.array([0, 0, 2]), np.array([[True], [False], [True]]), 3).ravel().tolist()
    [True, False, True]
    """
    out = np.zeros((size, codes.shape[1]), bool)
    np.logical_or.at(out, place, codes)
    return out


def dictionary(texts: Sequence[str], themes: Mapping[str, Sequence[str]]) -> Flags:
    """Code clauses by the words of each theme.

    Parameters
    ----------
    texts : sequence of str
        Clauses in one spelling.
    themes : mapping of str to sequence of str
        Theme to words.

    Returns
    -------
    ndarray of bool, shape (texts, themes)
        In the order of the themes.

    Examples
    --------
    >>> dictionary(["价格贵", "排队"], {"price": ["价格"], "waiting": ["排队"]}).tolist()
    [[True, False], [False, True]]
    """
    return np.column_stack([named(texts, words) for words in themes.values()])
