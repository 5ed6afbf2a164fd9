#!/usr/bin/env python3
"""Takes out one guard after the other and shows that a test fails without it: `tests/mutants/run.py [--check] [NAME…]`.

Works on a copy of the sources under `target/mutants`, so that nothing of yours is touched. Each mutant costs a small
build and the tests that are named for it, which must fail; the whole takes about an hour on two cores. A mutant
that does not build, or whose text is no longer in the code, is an error: a guard that was moved has to be found again.
`--check` only looks whether texts and tests are still there, which takes no time.
Needs what `cargo test` needs; with `IMOTRIZ_TEST_KAFKA` no broker is started for each mutant.
"""

import shutil
import subprocess
import sys
import time
from pathlib import Path

from guards import GUARDS

PROJECT = Path(__file__).resolve().parents[2]
COPY = PROJECT / "target" / "mutants"
COPIED = ["Cargo.toml", "Cargo.lock", "README.md", "docker-compose.yml", "src", "schemas", "tests", "benches", "examples"]
DEADLINE = 600


def refresh():
    """Copies the project and leaves what was built; times are kept, so that only what changed is built anew."""
    COPY.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        source, copy = PROJECT / name, COPY / name
        if source.is_dir():
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(source, copy)
        else:
            shutil.copy2(source, copy)


def cargo(*arguments):
    return subprocess.run(
        ["cargo", "test", "--quiet", *arguments],
        cwd=COPY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=DEADLINE,
    )


def misplaced():
    """What is wrong with the list itself."""
    sources = "".join(path.read_text() for folder in ["src", "tests"] for path in (PROJECT / folder).rglob("*.rs"))
    for guard in GUARDS:
        found = (PROJECT / guard.file).read_text().count(guard.old)
        if found != 1:
            yield f"{guard.name}: its text is {found} times in {guard.file}"
        name = guard.test.rpartition("::")[2]
        # Without a name it is all of a module.
        if name and f"fn {name}(" not in sources:
            yield f"{guard.name}: there is no test {guard.test}"


def outcome(guard):
    """`killed`, `SURVIVED`, or what stands in the way of telling."""
    path = COPY / guard.file
    text = path.read_text()
    path.write_text(text.replace(guard.old, guard.new))
    try:
        built = cargo("--no-run", *guard.target())
        if built.returncode != 0:
            return "ERROR: it does not build\n" + built.stdout[-2000:]
        return "killed" if cargo(*guard.target(), guard.test).returncode != 0 else "SURVIVED"
    except subprocess.TimeoutExpired:
        # A test that waits for ever for what the guard would have brought.
        return "killed"
    finally:
        path.write_text(text)


def main():
    if wrong := list(misplaced()):
        sys.exit("\n".join(wrong))
    if sys.argv[1:] == ["--check"]:
        sys.exit(0)
    wanted = [guard for guard in GUARDS if not sys.argv[1:] or guard.name in sys.argv[1:]]
    refresh()
    killed = 0
    print("| guard taken out | test | outcome |\n|---|---|---|")
    for guard in wanted:
        start = time.monotonic()
        verdict = outcome(guard)
        killed += verdict == "killed"
        print(f"| {guard.name} | `{guard.test}` | {verdict} ({time.monotonic() - start:.0f} s) |", flush=True)
    print(f"\n{killed} of {len(wanted)} killed")
    sys.exit(0 if killed == len(wanted) else 1)


if __name__ == "__main__":
    main()
