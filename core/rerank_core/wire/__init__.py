"""The formats of the rerank HTTP API, shared by client and server: one module per dialect."""
