"""The keys that a release names, as verifiers: of PoPs' logs, of jurisdictions' logs, of witnesses.

Without a shard a key stands for its log in every month, as policies write it; with one it is the
key under which that shard signs.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

from selvedge.fabric import (
    BadProof,
    JurisdictionLog,
    Release,
    jurisdiction_origin,
    log_of,
    pop_origin,
)
from selvedge.tlog.bundle import read_bundle
from selvedge.tlog.checkpoints import read_checkpoint
from selvedge.tlog.notes import COSIGNATURE, ED25519, Verifier
from selvedge.tlog.proofs import read_proof
from selvedge.tlog.trust import policy_text


def pop_keys(release: Release, pop_id: str, shard: str = "") -> list[Verifier]:
    """Of the log of one PoP."""
    name = pop_origin(release.log_domain, release.fleet, pop_id, shard).rstrip("/")
    return [_verifier(name, public) for public in release.pop(pop_id).log_keys]


def jurisdiction_keys(release: Release, log: JurisdictionLog, shard: str = "") -> list[Verifier]:
    """Of the log of one jurisdiction."""
    name = jurisdiction_origin(release.log_domain, release.fleet, log.id, shard).rstrip("/")
    return [_verifier(name, public) for public in log.public_keys]


def witness_keys(log: JurisdictionLog) -> list[Verifier]:
    """Of its witnesses. Raises `BadProof` of one that is no key."""
    return [Verifier.parse(witness.key) for witness in log.witnesses]


def operator_verifier(release: Release, public: str) -> Verifier:
    """The operator's key, by which lists of keys are signed; ``public`` is base64."""
    return _verifier(f"{release.log_domain}/{release.fleet}/operator", public)


def log_named(release: Release, log_id: str) -> JurisdictionLog | None:
    """The log of that jurisdiction in a release."""
    return next((log for log in release.logs if log.id == log_id), None)


def keys_at(release: Release, origin: str) -> list[Verifier]:
    """All that may have signed under an origin by this release, witnesses too."""
    base, _, shard = origin.rpartition("/")
    kind, log_id = base.split("/")[-2:] if base.count("/") > 1 else ("", "")
    found: list[Verifier] = []
    if kind == "pop" and any(pop.id == log_id for pop in release.pops):
        found = pop_keys(release, log_id, shard)
    log = log_named(release, log_id)
    if kind == "jurisdiction" and log is not None:
        found = [*jurisdiction_keys(release, log, shard), *witness_keys(log)]
    return [key for key in found if key.kind == COSIGNATURE or key.name == origin]


def jurisdiction_of(bundle: bytes) -> str | None:
    """The jurisdiction whose log a bundle says it is of; nothing of the bundle is believed."""
    try:
        checkpoint, _ = read_checkpoint(read_proof(read_bundle(bundle).jurisdiction).checkpoint)
    except BadProof:
        return None
    return checkpoint.origin.split("/")[-2] if checkpoint.origin.count("/") > 1 else None


def release_policy(
    releases: Sequence[Release], log_id: str, *, pops: Sequence[str] | None = None, shard: str = ""
) -> str:
    """The policy of one jurisdiction: its log, the logs of its PoPs (or of some), its witnesses.

    By each of the releases in turn, the quorum by the first that names the log: beside the release
    that serves, the one that a receipt names may have had other keys. Raises `BadProof` where none
    names the log.
    """
    logs: dict[bytes, Verifier] = {}
    witnesses: dict[bytes, Verifier] = {}
    quorum: int | None = None
    for release in releases:
        log = log_named(release, log_id)
        if log is None:
            continue
        quorum = log.quorum if quorum is None else quorum
        ids = [
            pop.id
            for pop in release.pops
            if (log_of(release.logs, pop.country) is log if pops is None else pop.id in pops)
        ]
        found = [key for pop_id in ids for key in pop_keys(release, pop_id, shard)]
        for key in [*jurisdiction_keys(release, log, shard), *found]:
            logs.setdefault(key.public, key)
        for key in witness_keys(log):
            witnesses.setdefault(key.public, key)
    if quorum is None:
        raise BadProof("release", f"names no log {log_id!r}; add it under 'logs:' and publish")
    numbers = " and ".join(str(release.version) for release in releases)
    about = f"jurisdiction {log_id} of {releases[0].fleet}, release {numbers}"
    return policy_text(logs.values(), [*witnesses.values()], quorum, about=about)


def _verifier(name: str, public: str) -> Verifier:
    return Verifier(name, ED25519, base64.b64decode(public))
