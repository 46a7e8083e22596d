"""Stores made with python-tuf, and what it and securesystemslib say of patterns, bins and canonical JSON.

usage: peer.py store FOLDER KIND | peer.py oracle SEED
"""

import json
import random
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import quote

from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole, Delegations, Metadata, MetaFile, Root, Snapshot, SuccinctRoles, TargetFile, Targets, Timestamp)
from tuf.api.serialization.json import JSONSerializer

EXPIRES = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=30)


class Store:
    """Signs and writes metadata and targets into a folder."""

    def __init__(self, folder, consistent, hashes, pretty):
        self.folder, self.hashes, self.consistent = Path(folder), hashes, consistent
        self.serializer = JSONSerializer(compact=not pretty)
        (self.folder / "metadata").mkdir(parents=True)
        (self.folder / "targets").mkdir()
        self.root = Root(expires=EXPIRES, consistent_snapshot=consistent)
        self.snapshot = Snapshot(expires=EXPIRES)
        self.timestamp = Timestamp(expires=EXPIRES)
        self.targets = Targets(expires=EXPIRES)
        ed25519, ecdsa, rsa = CryptoSigner.generate_ed25519, CryptoSigner.generate_ecdsa, CryptoSigner.generate_rsa
        makers = {"root": [ed25519, ecdsa, rsa], "timestamp": [ed25519], "snapshot": [ecdsa], "targets": [ecdsa, ed25519]}
        self.signers = {}
        for role, kinds in makers.items():
            self.signers[role] = [make() for make in kinds]
            for signer in self.signers[role]:
                self.root.add_key(signer.public_key, role)
            self.root.roles[role].threshold = len(kinds)
        self.write("root", self.root)

    def write(self, name, signed, version=None):
        metadata = Metadata(signed)
        for signer in self.signers[name]:
            metadata.sign(signer, append=True)
        data = metadata.to_bytes(self.serializer)
        prefix = f"{signed.version}." if name == "root" or (self.consistent and name != "timestamp") else ""
        (self.folder / "metadata" / f"{prefix}{quote(name, '')}.json").write_bytes(data)
        if not self.hashes:
            return MetaFile(signed.version)
        return MetaFile.from_data(signed.version, data, ["sha256", "sha512"])

    def target(self, targets, path, data, algorithms=("sha256",)):
        file = TargetFile.from_data(path, data, list(algorithms))
        file.unrecognized_fields["custom"] = {"of": path}
        targets.targets[path] = file
        folder, _, name = path.rpartition("/")
        if self.consistent:
            name = f"{file.hashes[algorithms[0]]}.{name}"
        place = self.folder / "targets" / folder
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)

    def publish(self, roles):
        """Writes delegated roles, and all that is above them."""
        for name, signed in {**roles, "targets": self.targets}.items():
            self.snapshot.meta[f"{name}.json"] = self.write(name, signed)
        self.timestamp.snapshot_meta = self.write("snapshot", self.snapshot)
        self.write("timestamp", self.timestamp)


def lists(store):
    """Delegations by pattern, three deep, with a terminating one and a name that has to be quoted."""
    roles = {}

    def delegate(delegator, name, paths, terminating=False):
        signer = CryptoSigner.generate_ecdsa()
        store.signers[name] = [signer]
        roles[name] = Targets(expires=EXPIRES)
        if delegator.delegations is None:
            delegator.delegations = Delegations({}, {})
        delegator.delegations.roles[name] = DelegatedRole(name, [], 1, terminating, paths)
        delegator.add_key(signer.public_key, name)
        return roles[name]

    first = delegate(store.targets, "first", ["releases/*/*", "*.md"])
    last = delegate(store.targets, "team/x?", ["team/[a-c]*"], True)
    inner = delegate(first, "inner", ["releases/x/*"])
    innermost = delegate(inner, "innermost", ["releases/x/?.zip"])
    store.target(store.targets, "top.txt", b"top")
    store.target(first, "README.md", b"first")
    store.target(inner, "releases/x/other", b"inner")
    store.target(innermost, "releases/x/1.zip", b"innermost", ["sha512", "sha256"])
    store.target(last, "team/b", b"team", ["sha512"])
    store.target(last, "team/d", b"not for it to give")
    store.publish(roles)


def prefixes(store):
    """Hashed bins by prefixes of hashes: 16 roles of 16 prefixes each."""
    signer, roles = CryptoSigner.generate_ed25519(), {}
    store.targets.delegations = Delegations({}, {})
    for first in range(16):
        name = f"bins-{first:x}"
        listed = [f"{first:x}{second:x}" for second in range(16)]
        store.targets.delegations.roles[name] = DelegatedRole(name, [], 1, True, None, listed)
        store.targets.add_key(signer.public_key, name)
        store.signers[name], roles[name] = [signer], Targets(expires=EXPIRES)
    fill(store, roles, lambda path: next(
        name for name, role in store.targets.delegations.roles.items() if role.is_delegated_path(path)))


def bins(store):
    """Hashed bins by number (TAP 15)."""
    signer, roles = CryptoSigner.generate_ed25519(), {}
    succinct = SuccinctRoles([], 1, 5, "bin")
    store.targets.delegations = Delegations({}, None, succinct)
    store.targets.add_key(signer.public_key)
    for name in succinct.get_roles():
        store.signers[name], roles[name] = [signer], Targets(expires=EXPIRES)
    fill(store, roles, succinct.get_role_for_target)


def fill(store, roles, role_of):
    for number in range(60):
        path = f"pkg/package-{number}.json"
        store.target(roles[role_of(path)], path, f"content {number}".encode())
    store.publish(roles)


def rotated(store):
    """Two more roots, of which each has other keys for root and timestamp."""
    for _ in range(2):
        old = store.signers["root"]
        for role in ["root", "timestamp"]:
            for signer in store.signers[role]:
                store.root.revoke_key(signer.public_key.keyid, role)
            new = [CryptoSigner.generate_ed25519() for _ in store.signers[role]]
            for signer in new:
                store.root.add_key(signer.public_key, role)
            store.signers[role] = new
        store.root.version += 1
        new, store.signers["root"] = store.signers["root"], old + store.signers["root"]
        store.write("root", store.root)
        store.signers["root"] = new
    lists(store)


def make(folder, kind):
    shape, _, options = kind.partition("-")
    store = Store(folder, "plain" not in options, "hashes" in options, "pretty" in options)
    {"lists": lists, "prefixes": prefixes, "bins": bins, "rotated": rotated}[shape](store)


def oracle(seed):
    """Prints answers of python-tuf to random questions, a JSON array a line."""
    chance = random.Random(seed)
    say = lambda *answer: print(json.dumps(answer))
    for _ in range(3000):
        text = lambda length, letters: "".join(chance.choice(letters) for _ in range(chance.randrange(length)))
        pattern, path = text(9, "ab*?[]!-/"), text(7, "ab!]-/")
        say("pattern", pattern, path, DelegatedRole._is_target_in_pathpattern(path, pattern))
    for number in range(500):
        bits, path = chance.randrange(1, 33), f"päth/{number}"
        say("bin", bits, path, SuccinctRoles([], 1, bits, "b").get_role_for_target(path))
    letters = 'ab"\\/\n\t\x00\x7f\u00e9\u0301\u2028\uffff\U0001f600'

    def value(depth):
        kind = chance.randrange(8 if depth else 5)
        if kind == 0:
            return chance.choice([None, True, False])
        if kind == 1:
            return chance.choice([0, -1, 2**63, 2**64 - 1, -(2**63), chance.randrange(10**6)])
        if kind < 5:
            return "".join(chance.choice(letters) for _ in range(chance.randrange(5)))
        if kind == 5:
            return [value(depth - 1) for _ in range(chance.randrange(4))]
        keys = ["".join(chance.choice(letters) for _ in range(chance.randrange(4))) for _ in range(4)]
        return {key: value(depth - 1) for key in keys}

    for _ in range(1500):
        document = value(4)
        say("canonical", json.dumps(document, ensure_ascii=chance.random() < 0.5), encode_canonical(document))


if sys.argv[1] == "store":
    make(*sys.argv[2:])
else:
    oracle(int(sys.argv[2]))
