"""Made-up words: personal data with valid check digits, and comments with some of it planted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from dealerqm.world import Words, World

_ID_WEIGHTS = np.array([7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2])
_ID_CHECK = np.array(list("10X98765432"))
_VIN_SIGNS = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"
_VIN_VALUES = np.array([*range(1, 9), *range(1, 6), 7, 9, *range(2, 10), *range(10)])
_VIN_WEIGHTS = np.array([8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2])
_VIN_CHECK = np.array(list("0123456789X"))
_DIGITS, _LETTERS = "0123456789", "ABCDEFGHJKLMNPQRSTUVWXYZ"
_GOOD, _MIDDLE = 9, 6  # scores from which a comment is friendly, or neither


class Identities:
    """Made-up personal data from a stream of chance.

    Mobile numbers lie under a prefix that is not given out to people, identity numbers in an area
    that does not exist, vehicle numbers with a maker that does not exist; all check digits fit.
    """

    def __init__(self, rng: np.random.Generator, made: dict[str, list[str]]) -> None:
        """Take the stream and the lists of names."""
        self.rng, self.made = rng, made

    def names(self, n: int) -> Words:
        """Return names of persons."""
        last = self.rng.choice(list(self.made["surnames"]), n)
        return np.asarray(np.char.add(last, self.rng.choice(self.made["given"], n)))

    def phones(self, n: int) -> Words:
        """Return mobile numbers, all different."""
        tail = np.char.zfill(self.rng.choice(10**8, n, replace=False).astype(str), 8)
        return np.asarray(np.char.add(self.made["mobile_prefix"], tail))

    def id_numbers(self, n: int) -> Words:
        """Return identity numbers of 18 signs with a valid check digit."""
        rng = self.rng
        born = pd.Timestamp("1950-01-01") + pd.to_timedelta(rng.integers(0, 19_000, n), unit="D")
        area = np.char.zfill(rng.integers(0, 10**4, n).astype(str), 4)
        body = np.char.add(self.made["id_prefix"], area)
        body = np.char.add(body, born.strftime("%Y%m%d").to_numpy(dtype=str))
        body = np.char.add(body, np.char.zfill(rng.integers(1, 1000, n).astype(str), 3))
        digits = np.array([list(text) for text in body], dtype=np.int64)
        return np.asarray(np.char.add(body, _ID_CHECK[digits @ _ID_WEIGHTS % _ID_CHECK.size]))

    def vins(self, n: int) -> Words:
        """Return vehicle identification numbers of 17 signs with a valid check digit."""
        signs = self.rng.integers(0, len(_VIN_SIGNS), (n, _VIN_WEIGHTS.size))
        signs[:, :3] = [_VIN_SIGNS.index(sign) for sign in self.made["vin_maker"]]
        signs[:, 11:] = self.rng.integers(len(_VIN_SIGNS) - 10, len(_VIN_SIGNS), (n, 6))
        text = np.array(list(_VIN_SIGNS))[signs]
        text[:, 8] = _VIN_CHECK[_VIN_VALUES[signs] @ _VIN_WEIGHTS % _VIN_CHECK.size]
        return _joined(text)

    def plates(self, n: int) -> Words:
        """Return number plates: province, letter, a digit and four more signs."""
        signs = self.rng.choice(list(_LETTERS + _DIGITS), (n, 7))
        signs[:, 0] = self.rng.choice(list(self.made["provinces"]), n)
        signs[:, 1] = self.rng.choice(list(_LETTERS), n)
        signs[:, 2] = self.rng.choice(list(_DIGITS), n)
        return _joined(signs)


def _joined(signs: Words) -> Words:
    return np.ascontiguousarray(signs).view(f"U{signs.shape[1]}").ravel()


class Writer:
    """Writes comments from the grammar of the settings, and plants personal data in a few."""

    def __init__(self, world: World, table: str) -> None:
        """Take the stream of a table's texts."""
        self.rng, self.made, self.table = (
            world.rng(f"text {table}"),
            world.section("comments"),
            table,
        )
        self.english = world.section("survey")["english"]
        self.identities = Identities(self.rng, world.section("identities"))
        self.planted: list[dict[str, str]] = []

    def comment(self, score: float, row: str, facts: Sequence[str]) -> str:
        """Write a comment that fits an overall score and what the customer went through."""
        mood = "good" if score >= _GOOD else "mid" if score >= _MIDDLE else "bad"
        language = "en" if self.rng.random() < self.english else "zh"
        more = int(self.rng.binomial(2, self.made["more_share"]))
        topics = [mood, *facts, *["more"] * more]
        said = [self._say(self._any(self.made[f"{language}_{topic}"])) for topic in topics]
        return self._leak((" " if language == "en" else "").join(said), row)

    def complaint(self, subtype: str, row: str) -> str:
        """Write the text of a complaint."""
        return self._leak(self._say(self._any(self.made["complaint"][subtype])), row)

    def _any(self, words: list[str]) -> str:
        return words[int(self.rng.random() * len(words))]

    def _say(self, pattern: str) -> str:
        while "{" in pattern:
            before, rest = pattern.split("{", 1)
            name, after = rest.split("}", 1)
            pattern = before + self._any(self.made["words"][name]) + after
        return pattern

    def _leak(self, text: str, row: str) -> str:
        """Plant personal data into a small share of the texts, and remember it."""
        if self.rng.random() >= self.made["personal_share"]:
            return text
        kind = self._any(list(self.made["personal"]))
        value = self._value(kind)
        self.planted.append({"table": self.table, "row": row, "kind": kind, "value": value})
        return text + self._any(self.made["personal"][kind]).replace("{value}", value)

    def _value(self, kind: str) -> str:
        made, number = self.identities, str(self.rng.integers(10**7, 10**8))
        makers: dict[str, Any] = {
            "mobile": made.phones, "id_number": made.id_numbers, "plate": made.plates,
            "vin": made.vins,
        }  # fmt: skip
        if kind in makers:
            return str(makers[kind](1)[0])
        return f"user{number}@example.com" if kind == "email" else f"wxid_{number}"
