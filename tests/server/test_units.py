"""The parts that need no server: keys, rate limits, admission, settings."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
import typer.main
from hypothesis import given
from hypothesis import strategies as st

from rerank_core import AuthenticationError, InvalidRequestError, OverloadedError, RateLimitError
from rerank_core.cli import serve
from rerank_core.server import create_app, run
from rerank_core.server.admission import Admission
from rerank_core.server.environment import check_environment
from rerank_core.server.keys import KeyRing, LocalLimits, TokenBucket
from rerank_core.server.settings import ServerSettings, load_settings


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def admitted(ring, headers):
    return asyncio.run(ring.admit(headers))


@given(st.integers(1, 1000), st.lists(st.floats(0, 5), max_size=200))
def test_a_bucket_never_lets_more_through_than_its_rate(per_minute, pauses):
    clock = Clock()
    bucket = TokenBucket(per_minute, clock)
    passed = 0
    for pause in pauses:
        clock.now += pause
        passed += bucket.take() == 0.0
    assert passed <= per_minute + per_minute * sum(pauses) / 60 + 1e-6


def test_a_bucket_keeps_its_promise():
    clock = Clock()
    bucket = TokenBucket(1, clock)
    assert bucket.take() == 0.0
    wait = bucket.take()
    assert 0 < wait <= 60
    clock.now += wait + 1e-6
    assert bucket.take() == 0.0


def test_an_empty_ring_lets_everybody_in():
    admitted(KeyRing(), {})


def test_a_ring_knows_its_keys_only_by_digest():
    ring = KeyRing()
    ring.add("sesame-4711")
    admitted(ring, {"authorization": "Bearer sesame-4711"})
    with pytest.raises(AuthenticationError):
        admitted(ring, {"authorization": "Bearer sesame"})
    assert "sesame" not in repr(ring) + repr(vars(ring))


def test_a_key_that_is_used_too_often_waits():
    clock = Clock()
    ring = KeyRing(rate_limit=1, limits=LocalLimits(clock))
    ring.add("a")
    admitted(ring, {"x-api-key": "a"})
    with pytest.raises(RateLimitError) as caught:
        admitted(ring, {"x-api-key": "a"})
    clock.now += caught.value.retry_after + 1e-6
    admitted(ring, {"x-api-key": "a"})


@pytest.mark.parametrize(
    "content",
    [
        "", "# only a comment\n", "key 0\n", "key x\n", "one two three\n", "key -3", "key \u00b2", "key \u0663",
        "key " + "9" * 5000, "schl\u00fcssel", "\ufeff", "\x00\x01",
    ],
)  # fmt: skip
def test_a_key_file_that_is_none(tmp_path, content):
    file = tmp_path / "keys"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidRequestError) as caught:
        KeyRing().add_file(file)
    assert caught.value.param == "api_keys_file"
    assert "two" not in str(caught.value)
    assert "schl" not in str(caught.value)


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path):
    file = tmp_path / "keys"
    file.write_text("sesame-4711 5\n", encoding="utf-8-sig")
    ring = KeyRing()
    ring.add_file(file)
    admitted(ring, {"x-api-key": "sesame-4711"})


@pytest.mark.parametrize("key", ["schl\u00fcssel", "two words", "", "tab\t"])
def test_a_key_that_no_client_can_send_is_refused_without_repeating_it(key):
    with pytest.raises(InvalidRequestError, match="printable ASCII") as caught:
        ServerSettings(api_keys=(key,)).key_ring()
    assert not key or key not in str(caught.value)


def test_a_key_may_hold_a_number_sign(tmp_path):
    file = tmp_path / "keys"
    file.write_text("ab#cdef 5 # whose it is\n#commented\n")
    ring = KeyRing()
    ring.add_file(file)
    admitted(ring, {"x-api-key": "ab#cdef"})
    for wrong in ("ab", "commented", "#commented"):
        with pytest.raises(AuthenticationError):
            admitted(ring, {"x-api-key": wrong})


def test_a_key_file_that_is_missing(tmp_path):
    with pytest.raises(InvalidRequestError, match="cannot read"):
        KeyRing().add_file(tmp_path / "none")


def test_retry_after_follows_the_pace():
    clock = Clock()
    queue = Admission(100, 10, clock)
    with queue.admitted(50):
        clock.now += 25.0
    with queue.admitted(100):
        assert queue.estimated_wait() == pytest.approx(50.0)
        with pytest.raises(OverloadedError) as caught, queue.admitted(1):
            pass
        assert caught.value.retry_after == 50.0
    assert (queue.pairs, queue.requests, queue.estimated_wait()) == (0, 0, 0.0)


def test_failed_work_frees_its_place_and_does_not_count_as_done():
    clock = Clock()
    queue = Admission(100, 10, clock)
    with suppress(KeyError), queue.admitted(40):
        clock.now += 1
        raise KeyError
    assert (queue.pairs, queue.requests) == (0, 0)


@given(st.lists(st.integers(1, 60), max_size=30))
def test_what_is_admitted_never_exceeds_the_limits(sizes):
    queue = Admission(100, 5, Clock())
    held = []
    for size in sizes:
        place = queue.admitted(size)
        try:
            place.__enter__()
        except OverloadedError:
            continue
        held.append(place)
        assert queue.pairs <= 100
        assert queue.requests <= 5
    for place in held:
        place.__exit__(None, None, None)
    assert (queue.pairs, queue.requests) == (0, 0)


def test_settings_from_the_environment(monkeypatch):
    monkeypatch.setenv("RERANK_MODELS", "a=rerank-mini-en-v1,rerank-mini-en-v1")
    monkeypatch.setenv("RERANK_PORT", "9000")
    monkeypatch.setenv("RERANK_API_KEYS", "sesame-4711, other")
    settings = load_settings()
    assert settings.served == {"a": "rerank-mini-en-v1", "rerank-mini-en-v1": "rerank-mini-en-v1"}
    assert settings.port == 9000
    assert len(settings.key_ring()) == 2
    assert "sesame" not in repr(settings)


@pytest.mark.parametrize("value", ["", " ", " , ", ",,"])
def test_keys_that_are_none_do_not_open_the_server(monkeypatch, value):
    monkeypatch.setenv("RERANK_API_KEYS", value)
    with pytest.raises(InvalidRequestError, match="holds no key"):
        load_settings()


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("RERANK_API_KEY", "RERANK_API_KEYS"),
        ("rerank_api_key", "RERANK_API_KEYS"),
        ("RERANK_MAX_DOCUMENT", "RERANK_MAX_DOCUMENTS"),
        ("RERANK_REQUESTS_TIMEOUT", "RERANK_REQUEST_TIMEOUT"),
        ("RERANK_NOAUTH", "RERANK_NO_AUTH"),
    ],
)
def test_a_variable_that_nobody_reads_is_an_error_that_says_which_one_is_meant(monkeypatch, variable, meant):
    monkeypatch.setenv(variable, "sesame-4711")
    with pytest.raises(InvalidRequestError) as caught:
        load_settings()
    assert variable in str(caught.value)
    assert f"Did you mean {meant!r}?" in str(caught.value)
    assert "sesame" not in str(caught.value)
    with pytest.raises(InvalidRequestError):
        create_app()


def test_a_name_that_resembles_nothing_has_no_suggestion(monkeypatch):
    monkeypatch.setenv("RERANK_QQQQQQQQQQQQQQQQQQ", "1")
    with pytest.raises(InvalidRequestError, match=r"RERANK_QQQQQQQQQQQQQQQQQQ: there is no such setting\.$"):
        load_settings()


def test_every_setting_is_a_variable():
    for name in ServerSettings.model_fields:
        check_environment({f"RERANK_{name.upper()}": "x"}, ServerSettings.model_fields)


def test_what_kubernetes_says_of_a_service_is_no_setting():
    said = {
        "RERANK_SERVICE_HOST": "10.0.0.1",
        "RERANK_SERVICE_PORT": "8000",
        "RERANK_SERVICE_PORT_HTTP": "8000",
        "RERANK_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "RERANK_PORT_8000_TCP_PROTO": "tcp",
        "RERANK_API_PORT": "tcp://10.0.0.1:8000",
        "RERANK_API_SERVICE_HOST": "10.0.0.1",
        "PATH": "/bin",
    }
    check_environment(said, ServerSettings.model_fields)
    with pytest.raises(InvalidRequestError, match="enableServiceLinks"):
        check_environment({"RERANK_PORT": "tcp://10.0.0.1:8000"}, ServerSettings.model_fields)


def test_a_variable_in_small_letters_wins_over_a_file_as_well(monkeypatch, tmp_path):
    file = tmp_path / "rerank.toml"
    file.write_text("port = 1\n")
    monkeypatch.setenv("rerank_port", "9000")
    assert load_settings(file).port == 9000


def test_arguments_win_over_the_environment_and_that_over_a_file(monkeypatch, tmp_path):
    file = tmp_path / "rerank.toml"
    file.write_text('port = 1\nhost = "127.0.0.2"\nmax_documents = 7\nmodels = ["rerank-mini-en-v1"]\n')
    monkeypatch.setenv("RERANK_HOST", "127.0.0.3")
    settings = load_settings(file, port=3, max_documents=None)
    assert (settings.port, settings.host, settings.max_documents) == (3, "127.0.0.3", 7)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"models": ("nope",)}, "rerank-mini-en-v1, rerank-tiny-en-v1, rerank-small-en-v2"),
        (
            {"models": ("rerank-mini-v1",)},
            r"^models: unknown model 'rerank-mini-v1'\. Did you mean 'rerank-mini-en-v1'\? Known",
        ),
        ({"models": ("=x",)}, "NAME=MODEL"),
        (
            {"models": ("two=rerank-tiny-en-v1>rerank-mini-v1",)},
            r"^models: unknown model 'rerank-mini-v1'\. Did you mean 'rerank-mini-en-v1'\?.* CHEAP>EXPENSIVE",
        ),
        ({"models": ("a=rerank-mini-en-v1", "a=bge-reranker-v2")}, "twice"),
        ({"models": ()}, "at least one"),
        ({"port": 70_000}, "port"),
        ({"max_documents": 0}, "max_documents"),
        ({"request_timeout": 0}, "request_timeout"),
        ({"no_such_thing": 1}, "no such setting"),
        ({"max_document": 1}, r"no such setting\. Did you mean 'max_documents'\?$"),
        ({"max_connections": 0}, "max_connections"),
        ({"header_timeout": 0}, "header_timeout"),
        ({"drain_seconds": float("inf")}, "drain_seconds"),
        ({"request_timeout": 1e300}, "request_timeout"),
        ({"backend": "tensorflow"}, "backend"),
        ({"options": ["no-model.dtype=int8"]}, r"^options: no model is served as 'no-model'\. Served are rerank-mini"),
        ({"options": ["rerank-mini-en-v.dtype=int8"]}, r"Did you mean 'rerank-mini-en-v1'\?"),
        ({"options": ["rerank-mini-en-v1.dtyp=int8"]}, r"there is no option 'dtyp'\. Did you mean 'dtype'\?$"),
        ({"options": ["rerank-mini-en-v1.zzzz=int8"]}, r"there is no option 'zzzz'\.$"),
        ({"options": ["rerank-mini-en-v1.dtype=int4"]}, r"^options\.rerank-mini-en-v1\.dtype: Input should be"),
        ({"options": ["dtype=int8"]}, r"^options: dtype=int8 is not NAME\.OPTION=VALUE\.$"),
        ({"options": "{"}, "^options: expected JSON such as"),
        ({"options": {"rerank-mini-en-v1": 3}}, "^options.rerank-mini-en-v1: Input should be a valid dictionary"),
    ],
)
def test_settings_that_are_wrong(given, message):
    with pytest.raises(InvalidRequestError, match=message):
        load_settings(**given)


MODELS = ("fast=rerank-mini-en-v1", "other.name=rerank-mini-en-v1")


def options_from(form, tmp_path, monkeypatch):
    """Settings with the same options for one model: from a file, the environment, or the command."""
    if form == "file":
        (tmp_path / "rerank.toml").write_text('threads = 1\n[options."other.name"]\nprompt = ""\nthreads = 2\n')
        return load_settings(tmp_path / "rerank.toml", models=MODELS)
    if form == "environment":
        monkeypatch.setenv("RERANK_THREADS", "1")
        monkeypatch.setenv("RERANK_OPTIONS", '{"other.name": {"prompt": "", "threads": 2}}')
        return load_settings(models=MODELS)
    return load_settings(models=MODELS, threads=1, options=["other.name.prompt=", "other.name.threads=2"])


@pytest.mark.parametrize("form", ["file", "environment", "command"])
def test_each_model_may_have_options_of_its_own(form, tmp_path, monkeypatch):
    settings = options_from(form, tmp_path, monkeypatch)
    app = create_app(settings)
    fast, other = (model.reranker.scorer.options for model in app.state.server.served.models)
    assert (fast.prompt, fast.threads) == (None, 1)
    assert (other.prompt, other.threads) == ("", 2)


@pytest.mark.parametrize("content", ["port = ", None])
def test_a_settings_file_that_is_wrong(tmp_path, content):
    file = tmp_path / "rerank.toml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InvalidRequestError, match=r"rerank\.toml"):
        load_settings(file)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (str, "No such file or directory"),
        (lambda file: file.mkdir(), "Is a directory"),
        (lambda file: file.symlink_to(file), "Too many levels of symbolic links"),
        (lambda file: file.write_bytes(b"\xff\xfe k"), "not (UTF-8|valid TOML)"),
    ],
)
def test_files_that_cannot_be_read_are_named_with_the_reason(tmp_path, spoil, reason):
    file = tmp_path / "file"
    spoil(file)
    with pytest.raises(InvalidRequestError, match=f"the API keys in .*file: .*{reason}"):
        KeyRing().add_file(file)
    with pytest.raises(InvalidRequestError, match=f"the settings in .*file: .*{reason}"):
        load_settings(file)


def test_a_system_that_grants_fewer_files_than_it_says_gets_fewer_connections(monkeypatch):
    """As macOS does: its limit is infinite, and refuses what is above another one."""
    resource = pytest.importorskip("resource")

    def refused(_kind, _limits):
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (1128, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refused)
    connections, backlog = run._connections_allowed(20_000)
    assert connections == 500
    # An event loop accepts a whole backlog at once, and does so a few times before it counts and closes the first.
    assert 3 * backlog < 1128 - connections


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "example.com"])  # noqa: S104  (refused)
def test_an_open_server_stays_at_home(host):
    settings = ServerSettings(host=host)
    with pytest.raises(InvalidRequestError, match="without API keys"):
        settings.check_address(settings.key_ring())
    for safe in (ServerSettings(host=host, no_auth=True), ServerSettings(host=host, api_keys=("k",))):
        safe.check_address(safe.key_ring())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.9.9.9"])
def test_a_loopback_address_needs_no_keys(host):
    ServerSettings(host=host).check_address(ServerSettings().key_ring())


def test_every_setting_is_an_option_of_the_command():
    command = typer.main.get_command(serve.app).commands["serve"]
    options = {parameter.name for parameter in command.params} - {"config", "help", "ray", "replicas"}
    assert options == set(ServerSettings.model_fields) - {"api_keys"}  # keys are never on a command line
