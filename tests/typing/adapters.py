"""What type checkers accept of the adapters' users, and what they do not: `make types` reads this; nothing runs it."""

from pathlib import Path

from pydantic import SecretStr

from rerank_core import Reranker
from rerank_plugins.langchain import CrossEncoderCompressor, CrossEncoderScorer
from rerank_plugins.llama_index import CrossEncoderPostprocessor

CrossEncoderPostprocessor(model="m", provider="cohere", api_key="k")
CrossEncoderPostprocessor(model="m", provider="cohere", api_key=SecretStr("k"), top_n=3, long_documents="windows")
CrossEncoderCompressor(model="m", provider="cohere", api_key="k")
CrossEncoderCompressor(api_key=SecretStr("k"), base_url="http://localhost", model="m", top_n=None)
CrossEncoderScorer(model="m", provider="cohere", api_key="k", logits=True)
CrossEncoderPostprocessor(top_k=3)  # type: ignore[call-arg]
CrossEncoderCompressor(api_key=3)  # type: ignore[arg-type]
CrossEncoderCompressor(backend="tensorflow")  # type: ignore[arg-type]

Reranker(Path("model"), api_key="k")
Reranker("m", provider="cohere", api_key=SecretStr("k"), on_failure="keep_order")
Reranker(long_documents="windows", backend="onnx", dtype="int8")
Reranker(long_documents="cut")  # type: ignore[arg-type]
Reranker(backend="tensorflow")  # type: ignore[arg-type]
Reranker(dtype="int4")  # type: ignore[arg-type]
Reranker(on_failure="ignore")  # type: ignore[arg-type]
Reranker(devise="cpu")  # type: ignore[call-arg]
Reranker(max_tokens="many")  # type: ignore[arg-type]
