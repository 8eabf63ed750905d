"""Inference in this process: text pairs in, logits out."""
