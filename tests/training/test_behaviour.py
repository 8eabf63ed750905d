"""Rivals made by rule, and how a model is measured on them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from training.behaviour import RULES, Behaviour, Material, Rivals, behaviour_table, content, make, measure, names_in
from training.data import Example

QUERY = "How many kilometres did Ada Lovelace walk from London in 1842?"
ANSWER = "It is said that Ada Lovelace walked 30 kilometres to see Charles Babbage in 1842, from London."
TEXTS = [ANSWER, "There was a man called Alan Turing. He met Grace Hopper in Paris."]


NAMES = ("Alan Turing", "Grace Hopper", "Edsger Dijkstra", "Alan Kay", "Barbara Liskov", "Tony Hoare", "Jean Bartik")


def rival(kind: str, query: str = QUERY, answer: str = ANSWER) -> str | None:
    return RULES[kind](query, answer, Material(TEXTS, 3))


def test_a_rival_is_wrong_in_one_thing() -> None:
    assert rival("roles") == ANSWER.replace("Ada Lovelace", "-").replace("Charles Babbage", "Ada Lovelace").replace(
        "-", "Charles Babbage"
    )
    assert rival("unit") == ANSWER.replace("kilometres", "miles")
    assert rival("negation") == ANSWER.replace("is said", "is not said")
    changed = rival("number")
    assert changed is not None
    assert "1842" not in changed
    assert changed.split()[:12] == ANSWER.split()[:12]
    other = rival("entity")
    assert other in {ANSWER.replace("Ada Lovelace", name) for name in ("Alan Turing", "Grace Hopper")}


def test_a_rival_of_the_querys_own_words_says_nothing() -> None:
    assert QUERY in str(rival("echo"))
    assert sorted(str(rival("shuffled")).split()) == sorted(2 * QUERY.rstrip("?").split())
    assert "Ada Lovelace" in str(rival("disclaimed"))
    assert not content(str(rival("disclaimed"))) & (content(ANSWER) - content(QUERY))


def test_no_rival_is_made_where_a_rule_has_nothing_to_change() -> None:
    for kind in ("entity", "roles", "number", "unit", "negation", "disclaimed"):
        assert rival(kind, "what now", "nothing here") is None


def test_names_are_not_what_begins_a_sentence_nor_months() -> None:
    assert names_in("There came Alan Turing in May. Then he left for New York.") == ["Alan Turing", "New York"]


@given(st.text(), st.text(), st.sampled_from(sorted(RULES)))
def test_rules_take_any_text(query: str, answer: str, kind: str) -> None:
    made = RULES[kind](query, answer, Material([query, answer], 0))
    assert made is None or isinstance(made, str)


def test_the_suite_has_so_many_of_each_kind_and_the_same_again() -> None:
    rows = [
        Example(QUERY.replace("Ada Lovelace", name), (ANSWER.replace("Ada Lovelace", name),), ())
        for name in (
            f"{first} {last}" for first in ("Alan", "Grace", "Edsger") for last in ("Turing", "Hopper", "Dijkstra")
        )
    ]
    rows.append(Example("why is rain wet", ("because of water",), ("dogs", "rain is a wet thing", "a wet dog")))
    suite = make(rows, per_kind=7)
    assert suite == make(rows, per_kind=7)
    kinds = [item.kind for item in suite]
    assert {kind: kinds.count(kind) for kind in kinds} == dict.fromkeys(RULES, 7) | {"no_word": 1}
    assert suite[-1] == Rivals("no_word", "why is rain wet", "because of water", "rain is a wet thing")
    assert all(item.rival != item.answer for item in suite)


def test_mistakes_and_accepted_rivals_are_counted_apart() -> None:
    suite = [Rivals("a", "q", "1", rival) for rival in ("2", "0.5", "1", "-1")] + [Rivals("b", "q", "-2", "-3")]
    found = measure(suite, lambda _query, texts: [float(text) for text in texts])
    assert found == {"a": Behaviour(4, 0.5, 0.75), "b": Behaviour(1, 0.0, 0.0), "mean": Behaviour(5, 0.25, 0.375)}
    assert behaviour_table({"m": found}).splitlines()[2] == "| a | 4 | 50% (75%) |"
