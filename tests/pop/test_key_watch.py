"""Keys between releases at a PoP: revoked at once, kept on its disk, and never taken back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from selvedge.adapters import DELTA_FILE, seal_delta, write_atomically
from selvedge.fabric import Key, KeyDelta, Refused, Revocation
from selvedge.ledger import hash_secret, write_key
from selvedge.pop import key_watch, process
from tests.pop.test_process import OPERATOR, Site
from tests.support.fleets import NOW_US

PEPPER = bytes(32)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


def make_key(name: str, **changes: Any) -> Key:  # Any: fields of Key
    fields: dict[str, Any] = {"tenant": "free", "data_class": "default"}
    return Key(id=name, hash=hash_secret(PEPPER, name, "s"), **(fields | changes))


def write_delta(
    site: Site, serial: int, *keys: Key, operator: bytes = OPERATOR, **changes: Any
) -> Path:  # Any: fields of KeyDelta
    fields: dict[str, Any] = {"fleet": "example", "release": 1, "made_us": NOW_US}
    rows = tuple(msgspec.Raw(msgspec.json.encode(key)) for key in keys)
    made = KeyDelta(serial=serial, keys=rows, **(fields | changes))
    path = Path(site.settings.release_file).with_name(DELTA_FILE)
    write_atomically(path, seal_delta(made, operator))
    return path


def gone(*names: str) -> tuple[Revocation, ...]:
    return tuple(Revocation(name, NOW_US + 1) for name in names)


def code(site: Site, name: str) -> str | None:
    view = site.state.view
    assert view is not None
    found = view.keyring.admit(f"Bearer {write_key(name, 's')}", NOW_US)
    return found.code if isinstance(found, Refused) else None


def serve(site: Site, version: int = 1, made_us: int = NOW_US, *keys: Key) -> None:
    release = site.release(version)
    release = msgspec.structs.replace(
        release, keys=(*release.keys, make_key("held"), *keys), made_us=made_us
    )
    site.lay_down(release)
    site.keeper.look()


def refused(site: Site) -> int:
    line = b"selvedge_key_deltas_refused_total "
    shown = site.state.metrics.render().splitlines()
    return int(float(next(one for one in shown if one.startswith(line)).split()[1]))


def test_a_delta_adds_and_revokes_and_is_kept(site: Site) -> None:
    serve(site)
    before = site.state.view
    path = write_delta(site, 1, make_key("new"), revoked=gone("held"))
    site.keeper.keys.look()
    assert (code(site, "new"), code(site, "held")) == (None, "invalid_api_key")
    assert site.state.view is not before  # what is remembered of a view's keys is forgotten with it
    path.unlink()
    site.restart()
    site.keeper.load()
    assert (code(site, "new"), code(site, "held")) == (None, "invalid_api_key")
    assert refused(site) == 0


def test_a_look_that_finds_nothing_new_reads_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(site)
    write_delta(site, 1, revoked=gone("held"))
    site.keeper.keys.look()
    monkeypatch.setattr(Path, "open", None)
    view = site.state.view
    for _ in range(3):
        site.keeper.keys.look()
    assert site.state.view is view


@pytest.mark.parametrize("kind", ["unsigned", "another's", "broken", "older", "another fleet"])
def test_a_bad_delta_leaves_what_was_revoked(
    site: Site, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    serve(site)
    path = write_delta(site, 5, make_key("new"), revoked=gone("held"))
    site.keeper.keys.look()
    if kind == "unsigned":
        path.write_bytes(path.read_bytes().replace(b'"serial":5', b'"serial":6'))
        said = "its signature is not the operator's"
    elif kind == "another's":
        write_delta(site, 6, operator=bytes(32))
        said = "its signature is not the operator's"
    elif kind == "broken":
        path.write_bytes(b"{")
        said = "is not a signed delta"
    elif kind == "older":
        write_delta(site, 4)
        said = "serial: 4 is older than 5"
    else:
        write_delta(site, 6, fleet="other")
        said = "fleet: 'other' is not 'example'"
    site.keeper.keys.look()
    assert (code(site, "new"), code(site, "held")) == (None, "invalid_api_key")
    assert refused(site) == 1
    assert said in caplog.text
    site.restart()
    site.keeper.load()
    assert (code(site, "new"), code(site, "held")) == (None, "invalid_api_key")


def test_a_damaged_kept_delta_gives_way_and_revocations_stay(site: Site) -> None:
    serve(site)
    path = write_delta(site, 1, revoked=gone("held"))
    site.keeper.keys.look()
    path.unlink()
    kept = Path(site.settings.state_dir) / "release" / DELTA_FILE
    kept.write_bytes(b"{")
    site.restart()
    site.keeper.load()
    assert code(site, "held") == "invalid_api_key"
    assert refused(site) == 1


def test_a_full_disk_does_not_keep_a_key_alive(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    serve(site)
    write_delta(site, 1, revoked=gone("held"))
    (Path(site.settings.state_dir) / "release").rename(Path(site.settings.state_dir) / "away")
    (Path(site.settings.state_dir) / "release").write_bytes(b"")
    site.keeper.keys.look()
    assert code(site, "held") == "invalid_api_key"
    assert "in use, but not kept" in caplog.text


def test_a_delta_ahead_fetches_its_release(site: Site) -> None:
    serve(site)
    release = site.release(2)
    keys = (*release.keys, make_key("in-two"))
    site.lay_down(msgspec.structs.replace(release, keys=keys, made_us=NOW_US))
    write_delta(site, 2, make_key("new"), release=2)
    site.keeper.keys.look()
    assert site.version == 2
    assert (code(site, "in-two"), code(site, "new")) == (None, None)


def test_a_delta_ahead_of_what_came_asks_to_wait(site: Site) -> None:
    serve(site)
    write_delta(site, 2, release=2)
    site.keeper.keys.look()
    assert (code(site, "held"), code(site, "in-two")) == (None, "not_ready")


def test_a_pop_without_a_release_admits_nobody_and_refuses_nobody(site: Site) -> None:
    write_delta(site, 1, make_key("new"), revoked=gone("held"))
    site.keeper.load()
    assert site.state.view is None  # the app answers 503 then: see test_pages
    serve(site)
    assert (code(site, "new"), code(site, "held")) == (None, "invalid_api_key")


def test_a_new_release_keeps_what_was_revoked_after_its_making(site: Site) -> None:
    serve(site)
    write_delta(site, 1, revoked=gone("held"))
    site.keeper.keys.look()
    serve(site, 2, NOW_US)
    assert code(site, "held") == "invalid_api_key"
    serve(site, 3, NOW_US + 2)
    assert code(site, "held") is None


def test_a_revoked_key_stops_within_a_look(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """In virtual time: however an act falls between two looks, it is seen by the next."""
    serve(site)
    now_s = 0.0
    acts = {0.0: "a", 0.1: "b", 0.249: "c", 0.26: "d", 1.75: "e"}
    names = list(acts.values())
    write_delta(site, 1, *(make_key(name) for name in names))
    site.keeper.keys.look()
    late: dict[str, float] = {}
    done = asyncio.Event()

    async def sleep(delay_s: float) -> None:
        nonlocal now_s
        for at_s, name in list(acts.items()):
            if code(site, name) is not None:
                late[name] = now_s - at_s
                del acts[at_s]
        if not acts:
            done.set()
            await asyncio.Event().wait()
        now_s += delay_s
        past = [name for at_s, name in acts.items() if at_s <= now_s]
        if past:
            living = [make_key(name) for name in names if name not in (*late, *past)]
            write_delta(site, int(now_s * 1000) + 2, *living, revoked=gone(*late, *past))

    monkeypatch.setattr(key_watch.asyncio, "sleep", sleep)

    async def watch() -> None:
        task = asyncio.get_running_loop().create_task(site.keeper.keys.watch())
        await done.wait()
        task.cancel()
        await asyncio.wait([task])

    with asyncio.Runner() as runner:  # not `support.loop.run`: it sleeps, as only the test may here
        runner.run(watch())
    assert set(late) == set(names)
    assert max(late.values()) <= key_watch.KEYS_POLL_S


def test_what_is_told(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    serve(site)
    with caplog.at_level(logging.INFO):
        write_delta(site, 1, make_key("new"), make_key("bad", tenant="x"), revoked=gone("held"))
        site.keeper.keys.look()
        site.keeper.keys.look()
    assert caplog.text.count("keys by delta 1: 1 revoked, 1 added, 0 narrowed") == 1
    assert "1 keys of it do not hold: bad" in caplog.text
    assert refused(site) == 1


def test_a_delta_that_cannot_be_read_for_a_moment_is_read_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a process is out of file descriptors: its keys are revoked when it has some."""
    serve(site)
    write_delta(site, 2, revoked=gone("held"))
    opened = Path.open

    def none_left(self: Path, *given: Any, **named: Any) -> Any:  # Any: as `open` has it
        if self.name == DELTA_FILE:
            raise OSError(24, "Too many open files")
        return opened(self, *given, **named)

    monkeypatch.setattr(Path, "open", none_left)
    site.keeper.keys.look()
    monkeypatch.undo()
    site.keeper.keys.look()
    assert code(site, "held") == "invalid_api_key"


def test_kept_revocations_that_are_no_text_give_way_to_the_kept_delta(site: Site) -> None:
    serve(site)
    write_delta(site, 1, revoked=gone("held"))
    site.keeper.keys.look()
    kept = Path(site.settings.state_dir) / "release" / "revoked-keys.json"
    kept.write_bytes(b'{"\xff":1}')
    site.restart()
    site.keeper.load()
    assert code(site, "held") == "invalid_api_key"


def test_a_fault_of_ours_does_not_end_the_watch(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else no key would be revoked any more, and nobody would know."""
    looks: list[str] = []

    def look() -> None:
        looks.append("")
        if len(looks) > 2:
            raise asyncio.CancelledError
        raise RuntimeError("never thought of")

    monkeypatch.setattr(key_watch, "KEYS_POLL_S", 0)
    monkeypatch.setattr(process, "RELEASE_POLL_S", 0)
    for watched in (site.keeper.keys, site.keeper):
        looks.clear()
        monkeypatch.setattr(watched, "look", look)
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(watched.watch())
    assert b"selvedge_internal_faults_total 4" in site.state.metrics.render()
