from __future__ import annotations

import time
from typing import Any

import pytest

from scaffold_tools.errors import BadInput, EnvironmentLacks, ScaffoldError
from scaffold_tools.source.headers import read_table
from scaffold_tools.source.hub import Hub, HubFiles, Limits
from scaffold_tools.source.retry import RetryPolicy, retry_after
from support.loopback_hub import LoopbackHub
from support.safetensors_bytes import safetensors_bytes, sharded

NAME = "org/model"
CONFIG = b'{"model_type": "llama"}'


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def hub(loopback_hub: LoopbackHub, waits: list[float]) -> Hub:
    return client(loopback_hub, waits, Limits(silence=30.0, body=60.0))


@pytest.fixture
def impatient(loopback_hub: LoopbackHub, waits: list[float]) -> Hub:
    return client(loopback_hub, waits, Limits(silence=1.0, body=2.0))


def client(loopback_hub: LoopbackHub, waits: list[float], limits: Limits) -> Hub:
    return Hub(loopback_hub.endpoint, retry=RetryPolicy(sleep=waits.append), limits=limits)


def config(files: HubFiles) -> bytes:
    return files.read("config.json", limit=1000)


def test_everything_is_read_at_the_commit_that_the_revision_had_first(loopback_hub: LoopbackHub, hub: Hub) -> None:
    first = loopback_hub.add(
        NAME, {"config.json": b"{}", "model.safetensors": safetensors_bytes({"a": ("F32", (1,))})}
    )
    files = hub.pin(NAME, None)
    loopback_hub.add(NAME, {"config.json": b"moved", "other": b""})
    assert files.revision == first and len(first) == 40
    assert config(files) == b"{}"
    assert read_table(files) is not None
    paths = [seen.path for seen in loopback_hub.seen]
    assert paths[0] == f"/api/models/{NAME}"
    assert all(first in path for path in paths[1:]) and "main" not in "".join(paths[1:])


def test_a_branch_a_tag_and_a_pull_request_resolve_to_their_commits(loopback_hub: LoopbackHub, hub: Hub) -> None:
    loopback_hub.add(NAME, {"config.json": b"main"})
    for revision in ("v1.0", "refs/pr/3"):
        commit = loopback_hub.add(NAME, {"config.json": revision.encode()}, revision=revision)
        assert hub.pin(NAME, revision).revision == commit
        assert config(hub.pin(NAME, commit)) == revision.encode()


def test_no_request_is_made_but_the_ones_needed(loopback_hub: LoopbackHub, hub: Hub) -> None:
    loopback_hub.add(NAME, {"config.json": CONFIG})
    config(hub.pin(NAME, None))
    assert [seen.path.split("?")[0] for seen in loopback_hub.seen] == [
        f"/api/models/{NAME}",
        f"/{NAME}/resolve/{hub.pin(NAME, None).revision}/config.json",
    ]


def test_headers_come_by_ranges_through_the_redirect_and_never_the_weights(
    loopback_hub: LoopbackHub, hub: Hub
) -> None:
    weights = safetensors_bytes({"big": ("F32", (1000, 1000))})
    loopback_hub.add(NAME, {"model.safetensors": weights})
    table = read_table(hub.pin(NAME, None))
    assert table is not None and table.tensors[0].shape == (1000, 1000)
    asked = [seen for seen in loopback_hub.seen if "model.safetensors" in seen.path]
    assert [seen.path.split("/")[1] for seen in asked] == ["org", "cdn"]
    assert {seen.range for seen in asked} == {"bytes=0-99999"}


def test_a_long_header_takes_a_second_range(loopback_hub: LoopbackHub, hub: Hub) -> None:
    many = {f"layers.{index}.weight": ("F32", (1,)) for index in range(3000)}
    loopback_hub.add(NAME, {"model.safetensors": safetensors_bytes(many)})
    table = read_table(hub.pin(NAME, None))
    assert table is not None and len(table.tensors) == 3000
    ranges = [seen.range for seen in loopback_hub.seen if seen.path.startswith("/cdn/")]
    assert ranges[0] == "bytes=0-99999" and ranges[1].startswith("bytes=100000-") and len(ranges) == 2


@pytest.mark.parametrize("count", [1, 3000])
def test_a_server_that_ignores_ranges_is_read_no_further_than_needed(
    loopback_hub: LoopbackHub, hub: Hub, count: int
) -> None:
    many = {f"layers.{index}.weight": ("F32", (1,)) for index in range(count)} | {"z": ("U8", (50_000_000,))}
    loopback_hub.add(NAME, {"model.safetensors": safetensors_bytes(many)})
    loopback_hub.fail("^/cdn/", times=9, ignore_range=True)
    table = read_table(hub.pin(NAME, None))
    assert table is not None and len(table.tensors) == count + 1


def test_many_shards_are_read_side_by_side(loopback_hub: LoopbackHub, hub: Hub) -> None:
    shards = [{f"layers.{index}.weight": ("BF16", (4, 4))} for index in range(16)]
    loopback_hub.add(NAME, sharded(shards))
    loopback_hub.fail("^/cdn/", times=16, delay=0.3)
    table = read_table(hub.pin(NAME, None))
    assert table is not None and len(table.tensors) == 16
    assert loopback_hub.most_at_once > 1


def explained(hub: Hub, revision: str | None = None) -> ScaffoldError:
    with pytest.raises(ScaffoldError) as caught:
        config(hub.pin(NAME, revision))
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_missing_repository_and_a_private_one_look_the_same(loopback_hub: LoopbackHub, hub: Hub) -> None:
    missing = explained(hub)
    loopback_hub.add(NAME, {"config.json": CONFIG}, private=True, token="t")
    private = explained(hub)
    assert str(missing) == str(private)
    assert isinstance(missing, BadInput) and "or it is private" in str(missing)


def test_a_gated_repository_says_where_to_accept_its_licence(loopback_hub: LoopbackHub, hub: Hub) -> None:
    loopback_hub.add(NAME, {"config.json": CONFIG}, gated=True, token="t")
    error = explained(hub)
    assert isinstance(error, BadInput)
    assert "is gated" in str(error) and f"{loopback_hub.endpoint}/{NAME}" in str(error)


def test_an_unknown_revision_is_told_from_an_unknown_repository(loopback_hub: LoopbackHub, hub: Hub) -> None:
    loopback_hub.add(NAME, {"config.json": CONFIG})
    error = explained(hub, "no-such-branch")
    assert isinstance(error, BadInput) and "no such revision" in str(error) and "no-such-branch" in str(error)


def test_a_missing_file_is_named(loopback_hub: LoopbackHub, hub: Hub) -> None:
    loopback_hub.add(NAME, {"other": b""})
    assert "org/model/config.json is not there" in str(explained(hub))


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize("where", ["^/api/", "config.json"])
def test_a_server_in_trouble_is_asked_again_and_the_waits_grow(
    loopback_hub: LoopbackHub, hub: Hub, waits: list[float], status: int, where: str
) -> None:
    loopback_hub.add(NAME, {"config.json": CONFIG})
    loopback_hub.fail(where, status=status, times=3)
    assert config(hub.pin(NAME, None)) == CONFIG
    assert waits == [1.0, 2.0, 4.0]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_retries_end(loopback_hub: LoopbackHub, hub: Hub, waits: list[float], status: int) -> None:
    loopback_hub.fail("^/api/", status=status, times=99)
    error = explained(hub)
    assert isinstance(error, EnvironmentLacks) and str(status) in str(error)
    assert len(waits) == 3 and len(loopback_hub.seen) == 4


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_an_answer_that_will_not_change_is_not_asked_for_again(
    loopback_hub: LoopbackHub, hub: Hub, waits: list[float], status: int
) -> None:
    loopback_hub.add(NAME, {"config.json": CONFIG})
    loopback_hub.fail("config.json", status=status, times=99)
    explained(hub)
    assert waits == []


def test_retry_after_is_honoured_up_to_a_limit(loopback_hub: LoopbackHub, hub: Hub, waits: list[float]) -> None:
    loopback_hub.add(NAME, {"config.json": CONFIG})
    loopback_hub.fail("config.json", status=429, headers={"Retry-After": "7"})
    assert config(hub.pin(NAME, None)) == CONFIG
    assert waits == [7.0]
    loopback_hub.fail("config.json", status=429, headers={"Retry-After": "3600"}, times=9)
    assert "asks to wait 3600 s" in str(explained(hub))
    assert waits == [7.0]


def test_retry_after_may_be_a_date() -> None:
    assert retry_after({"Retry-After": "Thu, 01 Jan 1970 00:01:40 GMT"}, now=90.0) == 10.0
    assert retry_after({"Retry-After": "Thu, 01 Jan 1970 00:01:40 GMT"}, now=900.0) == 0.0
    assert [retry_after(headers) for headers in ({}, {"Retry-After": "soon"}, {"Retry-After": "-1"})] == [None] * 3


@pytest.mark.parametrize("fault", [{"cut_at": 5}, {"length": 500}, {"cut_at": 0}])
def test_a_body_that_is_cut_off_is_never_taken_for_the_file(
    loopback_hub: LoopbackHub, hub: Hub, waits: list[float], fault: dict[str, Any]
) -> None:
    loopback_hub.add(NAME, {"config.json": CONFIG})
    loopback_hub.fail("config.json", **fault)
    assert config(hub.pin(NAME, None)) == CONFIG
    assert len(waits) == 1
    loopback_hub.fail("config.json", times=99, **fault)
    error = explained(hub)
    assert isinstance(error, EnvironmentLacks) and "broke off" in str(error)


def test_a_header_that_is_cut_off_is_asked_for_again(loopback_hub: LoopbackHub, hub: Hub, waits: list[float]) -> None:
    loopback_hub.add(NAME, {"model.safetensors": safetensors_bytes({"a": ("F32", (1,))})})
    loopback_hub.fail("^/cdn/", cut_at=20)
    assert read_table(hub.pin(NAME, None)) is not None
    assert len(waits) == 1


def test_a_server_that_says_nothing_times_out(loopback_hub: LoopbackHub, impatient: Hub) -> None:
    loopback_hub.add(NAME, {"config.json": CONFIG})
    loopback_hub.fail("config.json", delay=2.0, times=99)
    error = explained(impatient)
    assert isinstance(error, EnvironmentLacks) and "did not answer in time" in str(error)


def test_a_server_that_trickles_bytes_is_given_up(loopback_hub: LoopbackHub, impatient: Hub) -> None:
    loopback_hub.add(NAME, {"config.json": CONFIG * 40})
    loopback_hub.fail("config.json", trickle=(1, 0.02), times=99)
    start = time.perf_counter()
    assert "broke off" in str(explained(impatient))
    assert time.perf_counter() - start < 15  # 18 s were it read to its end


def test_a_file_larger_than_its_limit_is_not_read(loopback_hub: LoopbackHub, hub: Hub) -> None:
    loopback_hub.add(NAME, {"config.json": b" " * 5000})
    assert "5,000 bytes" in str(explained(hub))
    loopback_hub.fail("config.json", ignore_range=True)
    assert "5,000 bytes" in str(explained(hub))


def test_an_empty_file_is_empty(loopback_hub: LoopbackHub, hub: Hub) -> None:
    loopback_hub.add(NAME, {"config.json": b""})
    assert config(hub.pin(NAME, None)) == b""


def test_a_hub_that_is_not_there_is_said_so(loopback_hub: LoopbackHub, waits: list[float]) -> None:
    hub = Hub("http://127.0.0.1:9", retry=RetryPolicy(sleep=waits.append))
    error = explained(hub)
    assert isinstance(error, EnvironmentLacks) and "cannot reach http://127.0.0.1:9" in str(error)
    assert len(waits) == 3


def test_a_host_that_does_not_exist_is_asked_once(loopback_hub: LoopbackHub, waits: list[float]) -> None:
    error = explained(Hub("http://no-such-host.invalid", retry=RetryPolicy(sleep=waits.append)))
    assert isinstance(error, EnvironmentLacks) and "cannot reach" in str(error)
    assert waits == []


def test_asking_again_is_reported(loopback_hub: LoopbackHub, waits: list[float]) -> None:
    loopback_hub.add(NAME, {"config.json": CONFIG})
    loopback_hub.fail("config.json", status=503)
    lines: list[str] = []
    hub = Hub(loopback_hub.endpoint, retry=RetryPolicy(sleep=waits.append), on_progress=lines.append)
    config(hub.pin(NAME, None))
    assert lines == [f"{loopback_hub.endpoint} did not send {NAME}/config.json; asking again in 1 s"]


def test_a_mirror_that_compresses_unasked_is_understood_within_the_limit(loopback_hub: LoopbackHub, hub: Hub) -> None:
    loopback_hub.add(NAME, {"config.json": CONFIG, "bomb": b" " * 50_000_000})
    loopback_hub.fail("config.json", ignore_range=True, compress=True)
    assert config(hub.pin(NAME, None)) == CONFIG
    loopback_hub.fail("bomb", ignore_range=True, compress=True)
    with pytest.raises(BadInput, match="more than the 1,000 accepted"):
        hub.pin(NAME, None).read("bomb", limit=1000)
    loopback_hub.fail("config.json", compress=True)
    assert "compresses parts of files" in str(explained(hub))


def test_offline_mode_is_said_so(loopback_hub: LoopbackHub, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    error = explained(hub)
    assert isinstance(error, EnvironmentLacks) and "HF_HUB_OFFLINE" in str(error)
    assert loopback_hub.seen == []


def test_an_endpoint_that_is_no_hub_is_said_so(loopback_hub: LoopbackHub, hub: Hub) -> None:
    loopback_hub.fail("^/api/", status=200)  # the body is `{}`
    error = explained(hub)
    assert isinstance(error, BadInput) and "is HF_ENDPOINT a hub?" in str(error)


def test_a_redirect_in_a_circle_ends(loopback_hub: LoopbackHub, hub: Hub) -> None:
    loopback_hub.add(NAME, {"config.json": CONFIG})
    loopback_hub.fail("config.json", redirect="/x/y/resolve/main/config.json", times=999)
    assert "in a circle" in str(explained(hub))
