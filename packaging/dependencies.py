"""What a release is made of, by Cargo's own account: for `packaging/sbom` and `packaging/licences`.

A release is built with `--features vendored` and `LIBZ_SYS_STATIC=1`, so four libraries written in C are linked in. Each
comes inside a crate, which is where their versions and licences are read.
"""

import functools
import hashlib
import json
import re
import subprocess
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
FEATURES = ["--features=vendored"]
LICENCE_FILE = re.compile(r"(LICEN[CS]E|COPYING|NOTICE|UNLICENSE)", re.IGNORECASE)


@dataclass
class Part:
    """A crate or a library, linked in or used to build."""

    name: str
    version: str
    licence: str
    purl: str
    # The archive that it came in, with its SHA-256; none for the project itself and the standard library.
    archive: str | None = None
    sha256: str | None = None
    repository: str | None = None
    description: str | None = None
    folder: Path | None = None
    # Whether its code is in the program. What is not has a part in building it.
    is_linked: bool = True
    needs: list[str] = field(default_factory=list)

    def texts(self):
        """Its licences and notices, by file name."""
        found = [path for path in self.folder.iterdir() if path.is_file() and LICENCE_FILE.match(path.name)]
        return {path.name: path.read_text(errors="replace") for path in sorted(found)}


# The crate, the library in it, where that is, its licence, and where it comes from. OpenSSL is built by a crate that
# itself is not linked.
LIBRARIES = [
    (
        "rdkafka-sys",
        "librdkafka",
        "librdkafka",
        "BSD-2-Clause AND BSD-3-Clause AND MIT AND Zlib AND Apache-2.0",
        "pkg:github/confluentinc/librdkafka@v{}",
        "https://github.com/confluentinc/librdkafka",
    ),
    (
        "openssl-src",
        "openssl",
        "openssl",
        "Apache-2.0",
        "pkg:github/openssl/openssl@openssl-{}",
        "https://github.com/openssl/openssl",
    ),
    ("zstd-sys", "zstd", "zstd", "BSD-3-Clause", "pkg:github/facebook/zstd@v{}", "https://github.com/facebook/zstd"),
    ("libz-sys", "zlib", "src/zlib", "Zlib", "pkg:github/madler/zlib@v{}", "https://github.com/madler/zlib"),
]


def output(*command):
    return subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.PIPE, text=True).stdout


def host():
    return re.search(r"^host: (.*)$", output("rustc", "-vV"), re.MULTILINE)[1]


def parts(target):
    """All parts of a release for this target; the project itself comes first."""
    command = ["cargo", "metadata", "--locked", "--format-version=1", *FEATURES]
    metadata = json.loads(output(*command, f"--filter-platform={target}"))
    used, linked = tree(target, "normal,build"), tree(target, "normal,no-proc-macro")
    # Metadata know what could be needed by any choice of features; the tree knows what is.
    packages = {one["id"]: one for one in metadata["packages"] if (one["name"], one["version"]) in used}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    order = sorted(packages.values(), key=lambda one: (one["id"] != root, one["name"], one["version"]))
    found = [crate(one, nodes[one["id"]], packages, (one["name"], one["version"]) in linked) for one in order]
    found[1:1] = [standard_library()]
    found[0].needs.append(found[1].purl)
    return found + libraries(found)


def tree(target, edges):
    """Name and version of each crate along these edges."""
    command = ["cargo", "tree", "--locked", "--prefix=none", f"--edges={edges}", f"--target={target}"]
    lines = output(*command, *FEATURES).splitlines()
    return {(line.split()[0], line.split()[1].removeprefix("v")) for line in lines if line}


def crate(package, node, packages, is_linked):
    needs = {to["pkg"] for to in node["deps"] if {kind["kind"] for kind in to["dep_kinds"]} != {"dev"}}
    name, version = package["name"], package["version"]
    sha256 = checksums().get((name, version))
    return Part(
        name=name,
        version=version,
        # As it was written before there was SPDX.
        licence=package["license"].replace("/", " OR "),
        purl=purl(package),
        archive=f"https://static.crates.io/crates/{name}/{name}-{version}.crate" if sha256 else None,
        sha256=sha256,
        repository=package["repository"],
        description=package["description"],
        folder=Path(package["manifest_path"]).parent,
        is_linked=is_linked,
        needs=sorted(purl(packages[to]) for to in needs & packages.keys()),
    )


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version'].replace('+', '%2B')}"


@functools.cache
def checksums():
    lock = tomllib.loads((PROJECT / "Cargo.lock").read_text())
    return {(one["name"], one["version"]): one["checksum"] for one in lock["package"] if "checksum" in one}


def standard_library():
    version = re.search(r"^release: (.*)$", output("rustc", "-vV"), re.MULTILINE)[1]
    return Part(
        name="rust-std",
        version=version,
        licence="MIT OR Apache-2.0",
        purl=f"pkg:github/rust-lang/rust@{version}",
        repository="https://github.com/rust-lang/rust",
        description="The standard library of Rust",
        folder=Path(output("rustc", "--print", "sysroot").strip()) / "share/doc/rust",
    )


def libraries(crates):
    found = []
    for name, library, folder, licence, place, repository in LIBRARIES:
        [carrier] = [part for part in crates if part.name == name]
        folder = carrier.folder / folder
        version = library_version(carrier, folder)
        part = Part(
            name=library,
            version=version,
            licence=licence,
            purl=place.format(version),
            archive=carrier.archive,
            sha256=carrier.sha256,
            repository=repository,
            description=f"The C library that {name} {carrier.version} builds from source",
            folder=folder,
        )
        carrier.needs.append(part.purl)
        found.append(part)
    return found


def library_version(carrier, folder):
    """From the crate's version where that says it, `4.10.0+2.12.1`; else from the library's header."""
    _, _, version = carrier.version.partition("+")
    if version:
        return version.removeprefix("zstd.")
    return re.search(r'#define ZLIB_VERSION "(.*)"', (folder / "zlib.h").read_text())[1]


def digest_of_lock():
    return hashlib.sha256((PROJECT / "Cargo.lock").read_bytes()).hexdigest()
