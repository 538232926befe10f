"""Messages that name what was found and the nearest known words."""

import inspect

import pytest

from dealerqm import errors
from dealerqm.errors import DealerqmError, nearest, unknown

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, DealerqmError) and kind is not DealerqmError
]


def test_every_error_is_caught_as_one_and_has_the_exit_code_of_its_kind():
    assert len(KINDS) >= 8
    codes = {kind.__name__: kind.exit_code for kind in KINDS}
    assert codes.pop("ParameterError") == 2
    assert set(codes.values()) == {1}


@pytest.mark.parametrize(
    ("word", "words", "expected"),
    [
        ("shrae", ["mean", "share"], ["share"]),
        ("qarter", ["month", "quarter"], ["quarter"]),
        ("zzzz", ["share", "rate"], []),
        (5, ["share", "5"], ["5"]),
        (["a"], ["share"], []),
    ],
)
def test_nearest_words_come_best_first(word, words, expected):
    assert nearest(word, words) == expected


def test_at_most_n_words_come_back():
    assert nearest("item_0", [f"item_{i}" for i in range(9)], n=2) == ["item_0", "item_8"]


def test_message_names_place_word_nearest_and_all_allowed_words_in_order():
    message = unknown("plan.toml [kpi.a] stat", "meen", ["rate", "mean"])
    assert message == (
        "plan.toml [kpi.a] stat: 'meen' is not known. Nearest: mean. Allowed: mean, rate."
    )


def test_message_without_a_near_word_still_lists_what_is_allowed():
    assert unknown("here", "xyz", ["rate"]) == "here: 'xyz' is not known. Allowed: rate."


def test_long_lists_are_cut_and_say_so():
    message = unknown("here", "word_7x", [f"word_{i:02}" for i in range(60)])
    assert message.endswith("word_39 ….")
    assert "word_40" not in message.partition("Allowed")[2]
