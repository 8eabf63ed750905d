"""Chat templates of language models that rerank, as their authors publish them.

sentence-transformers renders them with the roles ``system`` (the instruction), ``query`` and ``document``.
"""

from __future__ import annotations

_QUERY = "{{ (messages | selectattr('role', 'eq', 'query') | first).content }}"
_DOCUMENT = "{{ (messages | selectattr('role', 'eq', 'document') | first).content }}"
_INSTRUCTION = "messages | selectattr('role', 'eq', 'system') | map(attribute='content') | first"

QWEN3_INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"

QWEN3 = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
    f"<Instruct>: {{{{ {_INSTRUCTION} | default('{QWEN3_INSTRUCTION}', true) }}}}\n"
    f"<Query>: {_QUERY}\n<Document>: {_DOCUMENT}"
    "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n{{ '' }}"
)
"""Qwen3-Reranker: asks for ``yes`` or ``no``. The empty expression keeps the last line break, which Jinja drops."""

MXBAI = (
    "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n"
    f"{{% set instruction = {_INSTRUCTION} %}}{{% if instruction %}}instruction: {{{{ instruction }}}}\n{{{{ '' }}}}"
    "{% endif %}"
    f"query: {_QUERY}\ndocument: {_DOCUMENT}\n"
    "You are a search relevance expert who evaluates how well documents match search queries. For each query-document "
    "pair, carefully analyze the semantic relationship between them, then provide your binary relevance judgment "
    "(0 for not relevant, 1 for relevant).\nRelevance:<|im_end|>\n<|im_start|>assistant\n{{ '' }}"
)
"""mxbai-rerank v2: asks for ``1`` or ``0``; the task stands behind the document."""

ZERANK = (
    "<|im_start|>system\n{{ (messages | selectattr('role', 'eq', 'query') | first).content | trim }}<|im_end|>\n"
    "<|im_start|>user\n{{ (messages | selectattr('role', 'eq', 'document') | first).content | trim }}<|im_end|>\n"
    "<|im_start|>assistant\n{{ '' }}"
)
"""zerank: the query is the system's message and the document the user's; the answer is ``Yes``, or it is not."""
