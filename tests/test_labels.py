"""Words in every language, complete or refused."""

import string

import pytest

from dealerqm import labels
from dealerqm.errors import ParameterError, TableError

KEYS = labels.keys()


def test_every_shipped_key_has_a_text_in_every_language():
    for key in KEYS:
        for lang in labels.languages():
            fields = {name for _, name, _, _ in string.Formatter().parse(_raw(key, lang)) if name}
            assert labels.text(key, lang, **dict.fromkeys(fields, 1)).strip()


def _raw(key, lang):
    class Echo(dict):
        def __missing__(self, name):
            return "{" + name + "}"

    return labels._catalogue()[key][lang].format_map(Echo())


def test_keys_are_sorted_and_the_languages_are_chinese_and_english():
    assert sorted(KEYS) == KEYS
    assert sorted(labels.languages()) == ["en", "zh"]


def test_chinese_texts_are_chinese_and_english_texts_are_not():
    def is_chinese(text):
        return any("\u4e00" <= letter <= "\u9fff" for letter in text)

    swapped = [key for key in KEYS if is_chinese(_raw(key, "en"))]
    assert swapped == []
    assert sum(is_chinese(_raw(key, "zh")) for key in KEYS) > 0.9 * len(KEYS)


def test_fields_are_filled_in():
    text = labels.text("plot.alt_last", "en", label="Churn", value="12%", period="2026Q3")
    assert all(word in text for word in ("Churn", "12%", "2026Q3"))
    assert "{" not in text


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"a": {"zh": "甲"}}, r"words.toml \[a\]: has \['zh'\], expected all of \['zh', 'en'\]"),
        ({"a": {"zh": "甲", "en": "A", "fr": "A"}}, r"\[a\]: has \['en', 'fr', 'zh'\]"),
        ({"a": {}}, r"\[a\]: has \[\], expected all of"),
        ({"a": {"b": {"zh": "{x}", "en": "{y}"}}}, r"\[a.b\]: the fields differ"),
        ({"a": "text"}, r"\[a\]: found text, expected a table"),
        ({"a": {"zh": "甲", "en": 3}}, "found text, expected a table"),
    ],
)
def test_an_incomplete_file_is_refused_with_its_key(body, message):
    with pytest.raises(TableError, match=message):
        labels.check({"languages": ["zh", "en"], **body}, "words.toml")


def test_an_unknown_key_names_the_nearest():
    with pytest.raises(TableError, match=r"'verdict.meet' is not known. Nearest: verdict.met"):
        labels.text("verdict.meet", "en")


def test_an_unknown_language_names_the_known_ones():
    with pytest.raises(ParameterError, match=r"language: 'de' is not known. .*Allowed: en, zh"):
        labels.text("verdict.met", "de")
