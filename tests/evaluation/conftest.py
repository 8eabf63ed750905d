from __future__ import annotations

import json

import pytest

TEXTS = {
    "d1": "Refunds are paid within five working days.",
    "d2": "The parcel was delivered on Monday.",
    "d3": "Cats purr when they are content.",
    "d4": "Dogs bark at strangers.",
    "d5": "Our office is closed on public holidays.",
    "d6": "Money, money, money.",
}
QUERIES = {"q1": "When do I get my money back?", "q2": "feline pets", "q3": "when is the office closed"}
QRELS = {"q1": {"d1": 2, "d6": 0}, "q2": {"d3": 1}, "q3": {"d5": 1, "d2": 0}}


@pytest.fixture
def beir(tmp_path):
    """A folder in BEIR layout."""
    folder = tmp_path / "help-desk"
    (folder / "qrels").mkdir(parents=True)
    lines = [json.dumps({"_id": name, "title": "", "text": text}) for name, text in TEXTS.items()]
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    (folder / "queries.jsonl").write_text(
        "\n".join(json.dumps({"_id": name, "text": text}) for name, text in {**QUERIES, "q9": "not judged"}.items())
    )
    rows = [f"{query}\t{document}\t{grade}" for query, grades in QRELS.items() for document, grade in grades.items()]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(rows))
    return folder


@pytest.fixture
def hand_written(tmp_path):
    """Five queries somebody wrote in five minutes."""
    rows = [
        {
            "query": "money back",
            "documents": ["Refunds take days.", "Cats purr.", "Money sings."],
            "relevant": [0],
        },
        {"query": "feline pets", "documents": ["Dogs bark.", "Cats purr."], "grades": [0, 2]},
        {
            "query": "closed days",
            "documents": ["We open at nine.", "It is closed on holidays."],
            "relevant": [1],
        },
        {"query": "loud dogs", "documents": ["Dogs bark.", "Cats purr."], "relevant": [0]},
        {"query": "nothing fits", "documents": ["Cats purr.", "Dogs bark."], "relevant": []},
    ]
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    return file
