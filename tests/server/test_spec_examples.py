"""The examples of the API's specification, word for word but for the host and the key."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from serving import serving

KEY = "ask_your_api_key"

CURL = """
curl --request POST \\
  --url https://api.assisters.dev/v1/rerank \\
  --header 'Content-Type: application/json' \\
  --data '
{
  "model": "<string>",
  "query": "<string>",
  "documents": [
    {}
  ],
  "top_n": 123,
  "return_documents": true
}
'
"""

BASIC = """
import requests

response = requests.post(
    "https://api.assisters.dev/v1/rerank",
    headers={
        "Authorization": "Bearer ask_your_api_key",
        "Content-Type": "application/json"
    },
    json={
        "model": "bge-reranker-v2",
        "query": "What is machine learning?",
        "documents": [
            "Machine learning is a subset of artificial intelligence.",
            "The weather today is sunny and warm.",
            "Deep learning uses neural networks.",
            "Cats are popular pets worldwide."
        ]
    }
)

results = response.json()["results"]
for r in results:
    print(f"Score: {r['relevance_score']:.4f} - {r['document']['text'][:50]}...")
"""

TOP_N = """
response = requests.post(
    "https://api.assisters.dev/v1/rerank",
    headers={"Authorization": "Bearer ask_your_api_key"},
    json={
        "model": "bge-reranker-v2",
        "query": "Python programming",
        "documents": documents,
        "top_n": 3  # Only return top 3 results
    }
)
"""


@pytest.fixture(scope="module")
def guarded():
    with serving(models=("bge-reranker-v2=rerank-mini-en-v1",), api_keys=(KEY,)) as served:
        yield served


def run(example, guarded, **names):
    exec(example.replace("https://api.assisters.dev", guarded.url), names)  # noqa: S102  (the example is the test)
    return names


def test_basic_reranking(guarded, capsys):
    response = run(BASIC, guarded)["response"]
    assert response.status_code == 200
    assert [line.split(" - ")[1] for line in capsys.readouterr().out.splitlines()] == [
        "Machine learning is a subset of artificial intelli...",
        "Deep learning uses neural networks....",
        "The weather today is sunny and warm....",
        "Cats are popular pets worldwide....",
    ]


def test_with_top_n(guarded):
    import requests

    documents = ["Python is a programming language.", "A python is a snake.", "Rust.", "Java.", "Snakes lay eggs."]
    response = run(TOP_N, guarded, requests=requests, documents=documents)["response"]
    assert response.status_code == 200
    assert response.json()["results"][0]["index"] == 0
    assert len(response.json()["results"]) == 3


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_curl(guarded):
    """The placeholders of the specification's command stand for values; these are the example's."""
    body = {
        "model": "bge-reranker-v2",
        "query": "What is machine learning?",
        "documents": [{"text": "Cats are popular."}, {"text": "It is a subset of artificial intelligence."}],
        "top_n": 123,
        "return_documents": True,
    }
    before, _, after = CURL.partition("--data '\n")
    command = f"{before}--data '\n{json.dumps(body)}\n'".replace("https://api.assisters.dev", guarded.url)
    command = command.replace(
        "--request POST", f"--noproxy '*' --silent --header 'Authorization: Bearer {KEY}' --request POST"
    )
    assert after.strip().endswith("'")
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert [result["index"] for result in answer["results"]] == [1, 0]
    assert answer["results"][0]["document"] == body["documents"][1]


def test_errors_word_for_word(guarded):
    headers = {"authorization": f"Bearer {KEY}"}
    body = {"model": "bge-reranker-v2", "query": "q", "documents": ["x"] * 101}
    error = guarded.http.post("/v1/rerank", json=body, headers=headers).json()["error"]
    assert error == {
        "message": "Too many documents. Maximum is 100.",
        "type": "invalid_request_error",
        "code": "too_many_documents",
        "param": "documents",
    }
    error = guarded.http.post("/v1/rerank", json={**body, "query": ""}, headers=headers).json()["error"]
    assert error == {
        "message": "Query cannot be empty",
        "type": "invalid_request_error",
        "code": "empty_query",
        "param": "query",
    }
