"""What type checkers accept and refuse of the adapters' users: `make types` reads this; nothing runs it."""

from typing import assert_type

from haystack import Document as HaystackDocument
from haystack.utils import Secret
from langchain_core.documents import Document as LangChainDocument
from llama_index.core.schema import NodeWithScore, TextNode
from pydantic import SecretStr

from rerank_plugins import Reranker
from rerank_plugins.haystack import CrossEncoderRanker
from rerank_plugins.langchain import CrossEncoderCompressor, CrossEncoderScorer, RerankRetriever
from rerank_plugins.llama_index import CrossEncoderPostprocessor

postprocessor = CrossEncoderPostprocessor(top_n=3)
nodes = [NodeWithScore(node=TextNode(text="a text"))]
assert_type(postprocessor.postprocess_nodes(nodes, query_str="a query"), list[NodeWithScore])
assert_type(postprocessor.engine, Reranker)
CrossEncoderPostprocessor(model="m", base_url="http://localhost:8000", top_n=None)
CrossEncoderPostprocessor(model="m", provider="cohere", api_key="k")
CrossEncoderPostprocessor(model="m", provider="cohere", api_key=SecretStr("k"), top_n=3, long_documents="windows")
CrossEncoderPostprocessor(top_k=3)  # type: ignore[call-arg]
CrossEncoderPostprocessor(on_failure="ignore")  # type: ignore[arg-type]

compressor = CrossEncoderCompressor(top_n=3)
documents = [LangChainDocument(page_content="a text")]
assert_type(compressor.compress_documents(documents, "a query"), list[LangChainDocument])
CrossEncoderCompressor(model="m", provider="cohere", api_key="k")
CrossEncoderCompressor(api_key=SecretStr("k"), base_url="http://localhost", model="m", top_n=None)
CrossEncoderCompressor(reranker=Reranker())
CrossEncoderCompressor(api_key=3)  # type: ignore[arg-type]
CrossEncoderCompressor(backend="tensorflow")  # type: ignore[arg-type]
RerankRetriever(compressor=compressor)  # type: ignore[call-arg]
assert_type(CrossEncoderScorer(model="m", provider="cohere", api_key="k", logits=True).score([("q", "t")]), list[float])

ranker = CrossEncoderRanker(top_k=3)
ranker.run(query="a query", documents=[HaystackDocument(content="a text")], top_k=1)["documents"]
ranker.run("a query")  # type: ignore[call-arg]
CrossEncoderRanker(model="m", provider="cohere", api_key="k", top_k=3, threads=None)
CrossEncoderRanker("m", base_url="http://localhost", api_key=Secret.from_env_var("K"), timeout=3).threads = 2
CrossEncoderRanker(backend="tensorflow")  # type: ignore[arg-type]
CrossEncoderRanker(top_n=3)  # type: ignore[call-arg]
CrossEncoderRanker(top_k="3")  # type: ignore[arg-type]
