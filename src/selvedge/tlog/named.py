"""The keys that a release names, as verifiers: of PoPs' logs, of jurisdictions' logs, of witnesses.

Without a shard a key stands for its log in every month, as policies write it; with one it is the
key under which that shard signs.
"""

from __future__ import annotations

import base64

from selvedge.fabric import BadProof, JurisdictionLog, Release, jurisdiction_origin, pop_origin
from selvedge.tlog.bundle import read_bundle
from selvedge.tlog.checkpoints import read_checkpoint
from selvedge.tlog.notes import ED25519, Verifier
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


def jurisdiction_of(release: Release, bundle: bytes) -> JurisdictionLog | None:
    """The log of this release that a bundle says it is of; nothing of the bundle is believed."""
    try:
        checkpoint, _ = read_checkpoint(read_proof(read_bundle(bundle).jurisdiction).checkpoint)
    except BadProof:
        return None
    for log in release.logs:
        name = jurisdiction_origin(release.log_domain, release.fleet, log.id, "")
        if checkpoint.origin.startswith(name):
            return log
    return None


def release_policy(
    release: Release, log: JurisdictionLog, *, pops: list[str] | None = None, shard: str = ""
) -> str:
    """The policy of one jurisdiction: its log, the logs of its PoPs (or of some), its witnesses."""
    ids = [pop.id for pop in release.pops if pop.country in log.countries] if pops is None else pops
    keys = [key for pop_id in ids for key in pop_keys(release, pop_id, shard)]
    about = f"jurisdiction {log.id} of {release.fleet}, release {release.version}"
    logs = [*jurisdiction_keys(release, log, shard), *keys]
    return policy_text(logs, witness_keys(log), log.quorum, about=about)


def _verifier(name: str, public: str) -> Verifier:
    return Verifier(name, ED25519, base64.b64decode(public))
