"""Backends: one padded block of token ids in, one logit per row out."""
