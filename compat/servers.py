"""How each of other people's servers is started with our checkpoint, and ours with the bundled model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from compat.checkpoint import MAX_TOKENS, MODEL
from compat.environments import BUILD, INFINITY, LITELLM, LLAMACPP, VLLM, Environment
from compat.processes import free_port, running

KEY = "sk-compat-4f1c2a"  # LiteLLM refuses short ones
OUR_MODEL = "bge-reranker-v2"
NATIVE = "/v1/rerank"


@dataclass(frozen=True)
class Server:
    """A server that nobody here wrote.

    Attributes:
        name: what the table and the recording call it.
        environment: where it is installed.
        providers: our dialects that it speaks; the first one is recorded.
        start: serves a checkpoint as long as the context lasts; gives its address.
        tolerance: how far its scores may be from our engine's on the same checkpoint.
        most: documents it takes at once, where it has a limit.
        cuts: whether it cuts long documents when asked to.
        reads_empty: whether it reads an empty document as the reference does: as the second text of a pair.
        wrong_key: the error our client raises there for a wrong key.
    """

    name: str
    environment: Environment
    providers: tuple[str, ...]
    start: Callable[[Path], AbstractContextManager[str]]
    tolerance: float = 1e-6
    most: int | None = None
    cuts: bool = True
    reads_empty: bool = True
    wrong_key: str = "AuthenticationError"


@contextmanager
def ours(keys: Path) -> Iterator[str]:
    """Our server with the bundled model and a file of keys."""
    port = free_port()
    command = [Path(sys.executable).with_name("rerank"), "serve", "--port", port, "--api-keys-file", keys]
    command += ["--model", f"{OUR_MODEL}=rerank-mini-en-v1"]
    with running("ours", command, f"http://127.0.0.1:{port}/ready", seconds=60):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def infinity(checkpoint: Path) -> Iterator[str]:
    """Infinity, with torch."""
    port = free_port()
    command = [INFINITY.folder / "bin" / "infinity_emb", "v2", "--model-id", checkpoint, "--served-model-name", MODEL]
    command += ["--device", "cpu", "--engine", "torch", "--no-bettertransformer", "--no-compile", "--no-model-warmup"]
    command += ["--host", "127.0.0.1", "--port", port, "--api-key", KEY]
    with running("infinity", command, f"http://127.0.0.1:{port}/health", seconds=180):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def llamacpp(checkpoint: Path) -> Iterator[str]:
    """llama.cpp's server, in xllamacpp."""
    port = free_port()
    script = Path(__file__).with_name("llamacpp_server.py")
    command = [LLAMACPP.python, script, checkpoint, MODEL, port, KEY]
    with running("llamacpp", command, f"http://127.0.0.1:{port}/health", seconds=60):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def vllm(checkpoint: Path) -> Iterator[str]:
    """The CPU build of vLLM."""
    port = free_port()
    command = [VLLM.folder / "bin" / "vllm", "serve", checkpoint, "--served-model-name", MODEL, "--api-key", KEY]
    command += ["--host", "127.0.0.1", "--port", port, "--max-model-len", MAX_TOKENS, "--runner", "pooling"]
    command += ["--dtype", "float32", "--enforce-eager"]
    env = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    with running("vllm", command, f"http://127.0.0.1:{port}/health", seconds=300, env=env):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def litellm_before_infinity(checkpoint: Path) -> Iterator[str]:
    """LiteLLM's proxy, with Infinity behind it."""
    with infinity(checkpoint) as upstream, _litellm("infinity", f"infinity/{MODEL}", upstream, KEY) as url:
        yield url


@contextmanager
def litellm_before_ours(keys: Path) -> Iterator[str]:
    """LiteLLM's proxy, with our own server behind it; the bundled model is called what the checkpoint is called."""
    with ours(keys) as upstream, _litellm("ours", f"cohere/{OUR_MODEL}", upstream, "good") as url:
        yield url


@contextmanager
def _litellm(behind: str, model: str, upstream: str, key: str) -> Iterator[str]:
    port = free_port()
    config = BUILD / f"litellm-{behind}.yaml"
    config.write_text(
        f"model_list:\n- model_name: {MODEL}\n  litellm_params:\n    model: {model}\n    api_base: {upstream}\n"
        f"    api_key: {key}\ngeneral_settings:\n  master_key: {KEY}\n"
    )
    command = [LITELLM.folder / "bin" / "litellm", "--config", config, "--host", "127.0.0.1", "--port", port]
    with running(f"litellm-{behind}", command, f"http://127.0.0.1:{port}/health/liveliness", seconds=180):
        yield f"http://127.0.0.1:{port}"


SERVERS = (
    Server("infinity", INFINITY, ("infinity",), infinity, most=2048),
    # Its GELU is a table of 16-bit values. It cuts nothing: a pair that is too long is an error.
    Server("llamacpp", LLAMACPP, ("llamacpp",), llamacpp, tolerance=1e-3, cuts=False),
    # An empty document makes it score the query alone, without the separator that ends a second text.
    Server("vllm", VLLM, ("vllm", "vllm-score"), vllm, reads_empty=False),
    # Without a database it cannot tell a wrong key from one it does not know yet, and answers 400.
    Server("litellm", LITELLM, ("litellm",), litellm_before_infinity, most=2048, wrong_key="InvalidRequestError"),
)
