"""Adapters that put the engine, :mod:`rerank_core`, into RAG frameworks: one module per framework."""
