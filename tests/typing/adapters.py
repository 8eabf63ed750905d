"""What type checkers accept of the adapters' users, and what they do not: `make types` reads this; nothing runs it."""

from pathlib import Path

from haystack.utils import Secret
from pydantic import SecretStr

from rerank_core import Reranker
from rerank_core.scoring import ApiOptions, LocalOptions
from rerank_plugins.haystack import CrossEncoderRanker
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

CrossEncoderRanker(model="m", provider="cohere", api_key="k", top_k=3, threads=None)
CrossEncoderRanker("m", base_url="http://localhost", api_key=Secret.from_env_var("K"), timeout=3).threads = 2
CrossEncoderRanker(backend="tensorflow")  # type: ignore[arg-type]
CrossEncoderRanker(top_n=3)  # type: ignore[call-arg]

ApiOptions("http://localhost", SecretStr("k"), timeout=3.0)
ApiOptions("http://localhost", "k", 3.0)  # type: ignore[call-arg]
LocalOptions(long_documents="windows", dtype="int8", prompt="")
LocalOptions(dtype="int4")  # type: ignore[arg-type]

Reranker(Path("model"), api_key="k")
Reranker("m", provider="cohere", api_key=SecretStr("k"), on_failure="keep_order")
Reranker(long_documents="windows", backend="onnx", dtype="int8")
Reranker(long_documents="cut")  # type: ignore[arg-type]
Reranker(backend="tensorflow")  # type: ignore[arg-type]
Reranker(dtype="int4")  # type: ignore[arg-type]
Reranker(on_failure="ignore")  # type: ignore[arg-type]
Reranker(devise="cpu")  # type: ignore[call-arg]
Reranker(max_tokens="many")  # type: ignore[arg-type]
