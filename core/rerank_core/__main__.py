"""``python -m rerank_core``: the same as ``rerank``."""

from rerank_core.cli import main

if __name__ == "__main__":
    main()
