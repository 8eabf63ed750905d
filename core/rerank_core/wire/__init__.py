"""The formats of the rerank HTTP API and its dialects, shared by client and server: one module per dialect."""
