"""The images that the stack is made of: pulled where a registry can be reached, else stand-ins under the same names."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

from engine import PROJECT, WORK, CannotRun, bootstrap

VERSION = tomllib.loads((PROJECT / "Cargo.toml").read_text())["package"]["version"]
STANDINS = Path(__file__).parent / "standins"
# Whoever has no stand-in is left out of the stack where it can't be pulled.
DISPENSABLE = {"kafka-ui", "grafana"}
PULL_DEADLINE = 600
# An old one, on purpose: the newer ones insist on the registry's parent project, which is not on Maven Central.
PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:2.8"
# With the tools: the health check is one of them.
KAFKA = ["org.apache.kafka:kafka_2.13", "org.apache.kafka:kafka-tools"]


def run(*command, **options):
    return subprocess.run(command, check=True, **options)


def prepare(engine):
    """Gets every image of the compose file but the program's own. Returns the services that can't be had."""
    config = json.loads(run(*engine.command("compose", "config", "--format", "json"), cwd=PROJECT,
                            capture_output=True, text=True).stdout)
    images = {name: service["image"] for name, service in config["services"].items() if "build" not in service}
    images = {name: image for name, image in images.items() if not image.startswith("imotriz-kafka:")}
    dockerfile = (PROJECT / "Dockerfile").read_text()
    images |= {name: re.search(rf"^ARG {name}=(.+)$", dockerfile, re.M)[1] for name in ("BUILD_IMAGE", "BASE_IMAGE")}
    missing = {name: image for name, image in images.items() if not is_there(engine, image)}
    if missing and not engine.standins:
        raise CannotRun(f"these images can't be pulled: {', '.join(missing.values())}")
    if missing.keys() - DISPENSABLE:
        print(f"no container registry can be reached: making {', '.join(sorted(set(missing) - DISPENSABLE))} of "
              f"Debian's packages and Maven Central's jars", flush=True)
        make_standins(engine, {name: image for name, image in missing.items() if name not in DISPENSABLE})
    return sorted(set(missing) & DISPENSABLE)


def build_release(engine, name):
    """The program's own image, with the Dockerfile as it stands. Returns it under all tags of a release: its version, its
    minor version, and `latest`."""
    commit = run("git", "rev-parse", "HEAD", cwd=PROJECT, capture_output=True, text=True).stdout.strip()
    images = [f"{name}:{tag}" for tag in (VERSION, VERSION.rpartition(".")[0], "latest")]
    run(*engine.command("buildx", "build", "--quiet", "--load", *engine.build_options, f"--build-arg=SOURCE_COMMIT={commit}",
                        f"--build-arg=VERSION={VERSION}", *(f"--tag={image}" for image in images), "."),
        cwd=PROJECT, stdout=subprocess.DEVNULL)
    return images


def is_there(engine, image):
    here = subprocess.run(engine.command("image", "inspect", image), capture_output=True)
    if here.returncode == 0:
        return True
    pulled = subprocess.run(engine.command("pull", "--quiet", image), capture_output=True, timeout=PULL_DEADLINE)
    return pulled.returncode == 0


def make_standins(engine, images):
    debian = WORK / "debian"
    if subprocess.run(engine.command("image", "inspect", "debian"), capture_output=True).returncode != 0:
        shutil.rmtree(debian, ignore_errors=True)
        bootstrap(debian, ["ca-certificates"])
        archive = subprocess.Popen(["tar", "-c", "-C", debian, "."], stdout=subprocess.PIPE)
        run(*engine.command("import", "-", "debian"), stdin=archive.stdout, stdout=subprocess.DEVNULL)
        shutil.rmtree(debian)
    for name, image in images.items():
        match name:
            case "BUILD_IMAGE":
                toolchain = run("rustc", "--print", "sysroot", capture_output=True, text=True).stdout.strip()
                build(engine, "rust", image, toolchain=toolchain, certificates="/etc/ssl/certs")
            case "BASE_IMAGE":
                build(engine, "distroless", image)
            case "kafka":
                tag = image.rpartition(":")[2]
                build(engine, "kafka", image, jars=jars("copy-dependencies", [f"{one}:{tag}" for one in KAFKA]))
            case "schema-registry":
                tag = image.rpartition(":")[2]
                build(engine, "apicurio", image, jars=jars("unpack", [f"io.apicurio:apicurio-registry-app:{tag}:tar.gz:all"]))
            case "prometheus":
                build(engine, "prometheus", image)


def jars(goal, artifacts):
    """What Maven Central has: these artifacts and what they depend on, or one of them unpacked. Below the project, where
    the engine sees it."""
    folder = WORK / "jars" / re.sub(r"[^\w.-]", "_", artifacts[0])
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        parts = [dict(zip(("groupId", "artifactId", "version"), artifact.split(":"))) for artifact in artifacts]
        wanted = "".join("<dependency>" + "".join(f"<{tag}>{text}</{tag}>" for tag, text in part.items()) + "</dependency>"
                         for part in parts if goal == "copy-dependencies")
        (folder / "pom.xml").write_text(
            "<project><modelVersion>4.0.0</modelVersion><groupId>test</groupId><artifactId>stack</artifactId>"
            f"<version>1</version><packaging>pom</packaging><dependencies>{wanted}</dependencies></project>")
        option = [f"-Dartifact={artifacts[0]}"] if goal == "unpack" else []
        run("mvn", "--quiet", "--batch-mode", f"{PLUGIN}:{goal}", *option, "-DoutputDirectory=jars", cwd=folder)
        (folder / "complete").touch()
    return folder / "jars"


def build(engine, name, image, **contexts):
    """The engine sees the project alone: what lies elsewhere is copied below it for as long as the build takes."""
    with_contexts = []
    for context, folder in contexts.items():
        if not Path(folder).is_relative_to(PROJECT):
            copy = WORK / "context" / context
            shutil.rmtree(copy, ignore_errors=True)
            ignore = shutil.ignore_patterns("share", "libexec", "private")
            shutil.copytree(folder, copy, symlinks=context != "certificates", ignore=ignore, ignore_dangling_symlinks=True)
            folder = copy
        with_contexts.append(f"--build-context={context}={folder}")
    print(f"building {image} ({name})", flush=True)
    try:
        run(*engine.command("buildx", "build", "--quiet", "--load", *engine.build_options, f"--tag={image}", *with_contexts,
                            f"--file={STANDINS / name}.Dockerfile", str(STANDINS)), stdout=subprocess.DEVNULL)
    finally:
        shutil.rmtree(WORK / "context", ignore_errors=True)
