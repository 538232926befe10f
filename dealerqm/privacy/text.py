"""Personal data in free text: found in its NFKC form, masked in place.

Full-width digits, separators and invisible characters hide nothing; only what was found is
replaced, so the rest of the text keeps every character.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date

import numpy as np
import pandas as pd

_SEP = r"[ \-._·•]?"
_PROVINCES = "京津冀晋蒙辽吉黑沪苏浙皖闽赣鲁豫鄂湘粤桂琼渝川贵云藏陕甘青宁新使"
_ANY = re.compile(r"\d|[@＠]|[零〇一二三四五六七八九幺]{7}|微信|(?i:wechat|weixin|vx|wx|qq)")


def _digits(text: str) -> str:
    return re.sub(r"[^0-9A-Za-z]", "", text).upper()


def _is_resident_id(text: str) -> bool:
    number = _digits(text)
    weights = [pow(2, 17 - i, 11) for i in range(17)]
    total = sum(int(digit) * weight for digit, weight in zip(number[:17], weights, strict=True))
    try:
        date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    return "10X98765432"[total % 11] == number[17]


def _is_card(text: str) -> bool:
    number = _digits(text)
    doubled = [int(digit) * (1 + i % 2) for i, digit in enumerate(reversed(number))]
    return sum(n - 9 if n > 9 else n for n in doubled) % 10 == 0  # noqa: PLR2004


_VIN_VALUES = {
    **{str(digit): digit for digit in range(10)},
    **dict(zip("ABCDEFGH", range(1, 9), strict=True)),
    **dict(zip("JKLMN", range(1, 6), strict=True)), "P": 7, "R": 9,
    **dict(zip("STUVWXYZ", range(2, 10), strict=True)),
}  # fmt: skip
_VIN_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)


def _is_vin(text: str) -> bool:
    vin = _digits(text)
    total = sum(_VIN_VALUES[c] * w for c, w in zip(vin, _VIN_WEIGHTS, strict=True))
    digit = "0123456789X"[total % 11]
    return vin[8] == digit and vin[:3].isalnum() and not vin.isdigit() and vin[-4:].isdigit()


def _is_mobile(text: str) -> bool:
    groups = [len(group) for group in re.findall(r"\d+", text)]
    if groups and groups[0] == 2 and len(groups) > 1 and sum(groups) > 11:  # noqa: PLR2004
        groups = groups[1:]
    return groups[0] >= 3 or set(groups) == {1}  # noqa: PLR2004


def _always(text: str) -> bool:
    return bool(text)


_VIN_CHAR = "[A-HJ-NPR-Z0-9]"
_LOCAL = r"[A-Za-z0-9._%+\-]"
_DETECTORS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = tuple(
    (kind, re.compile(pattern, re.IGNORECASE), check)
    for kind, pattern, check in (
        ("email", rf"(?<!{_LOCAL}){_LOCAL}{{1,64}}@[A-Z0-9\-]{{1,63}}"
         r"(?:\.[A-Z0-9\-]{1,63}){1,5}", _always),
        ("resident_id", rf"(?<![0-9A-Z])[1-9](?:{_SEP}\d){{16}}{_SEP}[\dX](?![0-9A-Z])",
         _is_resident_id),
        ("bank_card", rf"(?<!\d)62(?:{_SEP}\d){{14,17}}(?!\d)", _is_card),
        ("bank_card", rf"(?<!\d)(?:4\d|5[1-5]|35)(?:{_SEP}\d){{14}}(?!\d)", _is_card),
        ("vin", rf"(?<![A-Z0-9]){_VIN_CHAR}{{17}}(?![A-Z0-9])", _is_vin),
        ("vin", rf"(?<![A-Z0-9]){_VIN_CHAR}{{3}}{_SEP}{_VIN_CHAR}{{6}}{_SEP}{_VIN_CHAR}{{8}}"
         "(?![A-Z0-9])", _is_vin),
        ("mobile", rf"(?<!\d)(?:(?:\+|00)?86{_SEP})?1{_SEP}[3-9](?:{_SEP}\d){{9}}(?!\d)",
         _is_mobile),
        ("mobile", "(?:[一幺][三四五六七八九](?:[零〇一二三四五六七八九幺]){9})", _always),
        ("landline",
         rf"(?<!\d)(?<!\d\.)(?:\(0[1-9]\d{{1,2}}\)|0[1-9]\d{{1,2}}){_SEP}[2-9]\d{{6,7}}(?!\d)",
         _always),
        ("plate",
         rf"[{_PROVINCES}][A-Z]{_SEP}(?=[A-Z]{{0,4}}\d)(?:[A-HJ-NP-Z0-9]{{5}}|[A-HJ-K][A-HJ-NP-Z0-9]"
         r"\d{4}|\d{5}[A-HJ-K]|[A-HJ-NP-Z0-9]{4}[学警港澳挂试超])(?![A-Z0-9])", _always),
        ("wechat", r"(?:微信|(?<![A-Z0-9])(?:wechat|weixin|vx|wx))\s{0,2}(?:号码|号|id|:)"
         r"(?:\s|[:是为]){0,3}[A-Z][A-Z0-9_\-]{5,19}", _always),
        ("wechat", r"(?:微信|(?<![A-Z0-9])(?:wechat|weixin|vx|wx))(?:\s|[是为_]){0,3}"
         r"(?=[A-Z_\-]{0,18}\d)[A-Z][A-Z0-9_\-]{5,19}", _always),
        ("qq", r"(?<![A-Z0-9])qq(?:\s|号码|号|:|是|为){0,4}[1-9]\d{4,11}(?!\d)", _always),
        ("passport", r"(?:护照|passport)(?:\s|号码|号|no\.?|:|是|为|#){0,4}[A-Z]{1,2}\d{7,8}(?!\d)",
         _always),
    )
)  # fmt: skip


def mask(text: str) -> tuple[str, tuple[str, ...]]:
    """Replace personal numbers and addresses in a text by the name of their kind.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    (str, tuple of str)
        The text with ``[mobile]``, ``[plate]`` and so on, and the kinds found, in order of place.

    Notes
    -----
    Resident ids, VINs and bank cards must pass their check digit, so part and order numbers stay
    readable. Every pattern is bounded: the time is linear in the length of the text.

    Examples
    --------
    >>> mask("请回电138-0013-8000，订单20240613182530")
    ('请回电[mobile]，订单20240613182530', ('mobile',))
    """
    if not _ANY.search(text):
        return text, ()
    plain, places = _plain(text)
    taken: list[tuple[int, int, str]] = []
    for kind, start, end in _found(plain):
        if all(end <= first or start >= last for first, last, _ in taken):
            taken.append((start, end, kind))
    taken.sort()
    parts, last = [], 0
    for start, end, kind in taken:
        parts += [text[last : places[start]], f"[{kind}]"]
        last = places[end - 1] + 1
    return "".join([*parts, text[last:]]), tuple(kind for _, _, kind in taken)


def _found(plain: str) -> Iterator[tuple[str, int, int]]:
    for kind, pattern, check in _DETECTORS:
        for match in pattern.finditer(plain):
            if check(match[0]):
                yield kind, match.start(), match.end()


def _plain(text: str) -> tuple[str, list[int]]:
    """Return the NFKC text without invisible characters, and where each character came from."""
    if text.isascii():
        return text, list(range(len(text)))
    letters: list[str] = []
    places: list[int] = []
    for place, letter in enumerate(text):
        sort = unicodedata.category(letter)
        if sort == "Cf":
            continue
        # a circled or raised number beside a number is no digit of it
        for part in letter if sort == "No" else unicodedata.normalize("NFKC", letter):
            letters.append(part)
            places.append(place)
    return "".join(letters), places


def mask_all(values: pd.Series) -> tuple[pd.Series, dict[str, int]]:
    """Mask a column of texts, each distinct text once.

    Parameters
    ----------
    values : Series of str
        Any length, with missing values.

    Returns
    -------
    (Series of str, dict)
        The masked texts with the same index, and how many of each kind were masked.

    Examples
    --------
    >>> texts, counts = mask_all(pd.Series(["车牌沪A12345", None, "好"]))
    >>> list(texts), counts
    (['车牌[plate]', nan, '好'], {'plate': 1})
    """
    codes, words = pd.factorize(values)
    masked = [mask(str(word)) for word in words]
    table = np.array([*(text for text, _ in masked), None], dtype=object)
    times = np.bincount(codes[codes >= 0], minlength=len(words))
    counts: Counter[str] = Counter()
    for (_, kinds), n in zip(masked, times, strict=True):
        for kind in kinds:
            counts[kind] += int(n)
    series = pd.Series(table[codes], index=values.index, dtype="str", name=values.name)
    return series, dict(sorted(counts.items()))
