#!/usr/bin/env python3
"""Takes out one guard after the other and shows that a test fails without it: `tests/mutants/run.py [--check] [NAME…]`.

Works on a copy of the sources under `target/mutants`, so that nothing of yours is touched. Each mutant costs a small
build and the tests that are named for it, which must fail; the whole takes about an hour on two cores. A mutant that
does not build, or whose comment is no longer in the code, is an error: a guard that was lost has to be found again.
`--check` only looks whether guards and tests are still there, and tests the edits, which takes no time.
Needs what the tests that it runs need; with `IMOTRIZ_TEST_KAFKA` no broker is started for each mutant.
"""

import re
import shutil
import subprocess
import sys
import time
import unittest
from pathlib import Path

from edits import guarded
from guards import GUARDS

PROJECT = Path(__file__).resolve().parents[2]
COPY = PROJECT / "target" / "mutants"
COPIED = ["Cargo.toml", "Cargo.lock", "build.rs", "README.md", "SECURITY.md", "docs", "docker-compose.yml", "src", "schemas", "tests", "benches", "examples"]
DEADLINE = 600


def refresh():
    """Copies the project and leaves what was built; times are kept, so that only what changed is built anew."""
    COPY.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        source, copy = PROJECT / name, COPY / name
        if source.is_dir():
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(source, copy)
        elif source.exists():
            shutil.copy2(source, copy)


def cargo(*arguments, deadline=None):
    return subprocess.run(
        ["cargo", "test", "--quiet", *arguments],
        cwd=COPY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=deadline,
    )


def sources(folder):
    return {path: path.read_text() for path in folder.rglob("*.rs")}


def marked(files):
    """The guards that comments name, each with its file."""
    comment = re.compile(r"^[ \t]*// guard: (.+)$", re.MULTILINE)
    return [(name, path) for path, text in files.items() for name in comment.findall(text)]


def mutant(guard, files):
    """The file of the guard, and its text without it."""
    paths = [path for name, path in marked(files) if name == guard.name]
    if len(paths) != 1:
        raise ValueError(f"there are {len(paths)} comments `// guard: {guard.name}`")
    text = files[paths[0]]
    new = guard.edit(text, guarded(text, guard.name))
    if new == text:
        raise ValueError("taking it out changes nothing")
    return paths[0], new


def tests(suite):
    """The tests of a suite by the paths under which cargo knows them."""
    root = PROJECT / ("src" if suite == "lib" else f"tests/{suite}")
    test = re.compile(r"#\[(?:tokio::)?test\b[^\n]*\]\s+(?:#\[[^\n]*\]\s+)*(?:async )?fn (\w+)")
    for path, text in sources(root).items():
        module = [part for part in path.relative_to(root).with_suffix("").parts if part not in ("lib", "main")]
        inner = ["tests"] if "\nmod tests {" in text else []
        yield from ("::".join([*module, *inner, name]) for name in test.findall(text))


def misplaced():
    """What is wrong with the list itself."""
    files = sources(PROJECT / "src")
    known = [guard.name for guard in GUARDS]
    for name in sorted({name for name in known if known.count(name) > 1}):
        yield f"{name}: guards.py has it more than once"
    for name, path in marked(files):
        if name not in known:
            yield f"{name}: {path.relative_to(PROJECT)} has a comment for it, and guards.py does not know it"
    of_suite = {suite: list(tests(suite)) for suite in {guard.suite for guard in GUARDS}}
    for guard in GUARDS:
        try:
            mutant(guard, files)
        except ValueError as error:
            yield f"{guard.name}: {error}"
        if not any(guard.test in test for test in of_suite[guard.suite]):
            yield f"{guard.name}: there is no test {guard.test}"


def outcome(guard):
    """`killed`, `SURVIVED`, or what stands in the way of telling."""
    path, new = mutant(guard, sources(COPY / "src"))
    text = path.read_text()
    path.write_text(new)
    try:
        built = cargo("--no-run", *guard.target())
        if built.returncode != 0:
            return "ERROR: it does not build\n" + built.stdout[-2000:]
        return "killed" if cargo(*guard.target(), guard.test, deadline=DEADLINE).returncode != 0 else "SURVIVED"
    except subprocess.TimeoutExpired:
        # A test that waits for ever for what the guard would have brought.
        return "killed"
    finally:
        path.write_text(text)


def main():
    if wrong := list(misplaced()):
        sys.exit("\n".join(wrong))
    if sys.argv[1:] == ["--check"]:
        unittest.main("test_edits", argv=sys.argv[:1])
    names = sys.argv[1:] or [guard.name for guard in GUARDS]
    if unknown := set(names) - {guard.name for guard in GUARDS}:
        sys.exit(f"no such guards: {', '.join(sorted(unknown))}")
    wanted = [guard for guard in GUARDS if guard.name in names]
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
