"""What goes with the last user of a model."""

from __future__ import annotations

import gc
import shutil

from rerank_core.inference.loading import LoadOptions, load_model
from rerank_core.models.source import BUNDLED


def test_a_model_that_nobody_holds_is_closed_and_loaded_again(tmp_path):
    shutil.copytree(BUNDLED["rerank-tiny-en-v1"], tmp_path / "model")
    options = LoadOptions(model=tmp_path / "model", backend="onnx")
    loaded = load_model(options)
    assert load_model(options).seconds is None
    backend = loaded.backend
    del loaded
    gc.collect()
    assert backend._session is None
    assert load_model(options).seconds is not None
