"""The seam for optional libraries: whoever lacks one learns which extra brings it."""

from __future__ import annotations

from types import TracebackType

from rerank_core.errors import MissingDependencyError, missing_dependency

_PACKAGES = {
    "docx": "python-docx",
    "haystack": "haystack-ai",
    "llama_index": "llama-index-core",
    "opentelemetry": "opentelemetry-api",
    "sklearn": "scikit-learn",
}
"""What is installed under another name than it is imported under, underscores apart."""


class optional:  # noqa: N801  (reads as a statement: with optional("the HTML report", extra="eval"))
    """A block of imports that need an extra; nothing else belongs in it.

    Args:
        what: what the libraries are for; the message begins with it.
        extra: the extra of ``rerank-plugins`` that installs them.

    Raises:
        MissingDependencyError: when one is not installed, or is and cannot be imported; the cause is chained.
    """

    def __init__(self, what: str, *, extra: str) -> None:
        self._what = what
        self._extra = extra

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        # A broken library raises whatever it likes: a shared object that is absent is an OSError.
        if not isinstance(error, Exception) or isinstance(error, MissingDependencyError):
            return
        library = (getattr(error, "name", None) or "").partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and library:
            library = _PACKAGES.get(library, library.replace("_", "-"))
            raise missing_dependency(library, extra=self._extra, what=self._what) from error
        raise MissingDependencyError(
            f"{self._what} needs a library that is installed and cannot be imported: {type(error).__name__}: {error}. "
            f"Run: pip install --force-reinstall 'rerank-plugins[{self._extra}]'"
        ) from error
