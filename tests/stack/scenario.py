"""What is done to the stack, and the verdict."""

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections import Counter
from pathlib import Path

from engine import PROJECT, WORK
from images import VERSION

SANDBOX = "http://127.0.0.1:8080/_sandbox"
# The first, and those of the profile `cluster`.
PRODUCERS = {
    "producer": "http://127.0.0.1:9464",
    "producer-2": "http://127.0.0.1:9465",
    "producer-3": "http://127.0.0.1:9466",
}
PROMETHEUS = "http://127.0.0.1:9090"
REGISTRY = "http://127.0.0.1:8081/apis/ccompat/v7"
BROKER = "127.0.0.1:9092"
TOPIC = "imotriz.orders.v1"
# Of the compose project, and of the image as a release would have it.
NAME = "imotriz-stack-test"
# What the compose file calls it.
IMAGE = "imotriz-kafka:local"

# What the compose file's sandbox begins with, and how many come on top.
FIRST, MORE, LAST, SHARED = 500, 2500, 300, 900
KILLS = 10
TOKENS = ["sandbox-token", "rotated-secret-4711"]
HEALTHY_DEADLINE = 180
SETTLE_DEADLINE = 900
GROUP_DEADLINE = 120
# `cluster.session_timeout` is 45 s.
TAKE_OVER_DEADLINE = 120
# A stop in mid-drain waits for the read in flight, which takes the sandbox a second.
STOP_DEADLINE = 15
IMAGE_LIMIT = 45_000_000
HEALTH_CHECK_LIMIT = 0.020
HEALTH_CHECKS = 20


class FAILED(Exception):
    """What did not hold."""


def expect(holds, text):
    if not holds:
        raise FAILED(text)


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    urllib.request.urlopen(request, timeout=10).close()


def until(what, deadline, condition):
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        try:
            if found := condition():
                return found
        except OSError:
            # Somebody is just down.
            pass
        time.sleep(0.5)
    raise FAILED(f"waited {deadline} s in vain: {what}")


def status(producer):
    return get(f"{PRODUCERS[producer]}/status")


def owner(producers):
    """Which of them has the one shop's lane and can publish there, by its own word."""
    for producer in producers:
        if any(lane["stores"] and lane["state"] == "ready" for lane in status(producer)["lanes"].values()):
            return producer
    return None


class Stack:
    def __init__(self, engine, consumer, left_out, note):
        self.engine, self.consumer, self.note = engine, consumer, note
        self.secrets = WORK / "secrets"
        shutil.rmtree(self.secrets, ignore_errors=True)
        shutil.copytree(PROJECT / "examples/stack/sandbox-secrets", self.secrets)
        self.left_out = left_out
        self.use_profiles("sandbox")
        self.logs = ""

    def use_profiles(self, *profiles):
        """As if they stood in .env."""
        self.variables = {"COMPOSE_PROJECT_NAME": NAME, "COMPOSE_PROFILES": ",".join(profiles),
                          "STORE_SECRETS": str(self.secrets)}
        services = self.compose("config", "--services", capture=True).split()
        self.services = [service for service in services if service not in self.left_out]
        self.producers = [producer for producer in PRODUCERS if producer in self.services]

    def docker(self, *arguments, capture=False, check=True):
        result = subprocess.run(self.engine.command(*arguments), cwd=PROJECT, env=os.environ | self.variables, text=True,
                                stdout=subprocess.PIPE if capture else subprocess.DEVNULL, stderr=subprocess.PIPE)
        if check and result.returncode != 0:
            raise FAILED(f"docker {' '.join(arguments)}: {result.stderr.strip()[-2000:]}")
        return result.stdout if capture else result.returncode

    def compose(self, *arguments, capture=False):
        return self.docker("compose", "--progress=quiet", *arguments, capture=capture)

    def play(self):
        self.look_at_the_image()
        self.up()
        self.until_all_is_published(FIRST)
        self.kill_in_mid_drain()
        self.rotate_the_token()
        self.stop_in_mid_drain()
        self.share_the_lanes()
        self.kill_the_owner_for_long()
        self.down_and_up()
        self.judge()
        self.weigh_the_health_check()

    def up(self):
        start = time.monotonic()
        self.compose("up", "--detach", "--no-build", "--wait", f"--wait-timeout={HEALTHY_DEADLINE}", *self.services)
        self.note(f"all of {', '.join(self.services)} healthy after {time.monotonic() - start:.0f} s")

    def marked(self):
        return get(f"{SANDBOX}/state")["marked"]

    def until_all_is_published(self, least):
        def settled():
            shop, producers = get(f"{SANDBOX}/state"), {producer: status(producer) for producer in self.producers}
            spools = {producer: told["spool"] for producer, told in producers.items()}
            self.last = {"orders": shop["orders"], "pending": shop["pending"], "spools": spools,
                         "stores": [told["stores"] for told in producers.values()]}
            nothing_waits = shop["pending"] == 0 and all(spool and spool["pages"] == 0 for spool in spools.values())
            return shop["orders"] >= least and nothing_waits and self.count() == shop["orders"]
        until("every order is published", SETTLE_DEADLINE, settled)
        self.note(f"{self.marked()} orders, all published")

    def count(self):
        return len(set(self.keys()))

    def keys(self):
        return [event["key"] for event in self.events()]

    def events(self):
        command = [self.consumer, PROJECT / "tests/it/python/read_orders.py", BROKER, REGISTRY, TOPIC]
        lines = subprocess.run(command, capture_output=True, text=True)
        # While Kafka or the registry is down.
        if lines.returncode != 0:
            raise OSError(lines.stderr[-500:])
        return [json.loads(line) for line in lines.stdout.splitlines()]

    def kill_in_mid_drain(self):
        post(f"{SANDBOX}/orders", {"count": MORE})
        step = MORE // (KILLS + 3)
        for kill in range(1, KILLS + 1):
            reached = self.marked() + step
            until("the drain goes on", SETTLE_DEADLINE, lambda: self.marked() >= reached)
            expect(get(f"{SANDBOX}/state")["pending"] > 0, "the drain was over before the kill")
            self.compose("kill", "producer")
            self.compose("start", "producer")
            if kill == KILLS // 3:
                self.compose("restart", "kafka")
                self.note("Kafka was restarted in mid-drain")
            if kill == 2 * KILLS // 3:
                self.compose("kill", "kafka")
                self.compose("start", "kafka")
                self.note("Kafka was killed in mid-drain")
        self.note(f"the producer was killed {KILLS} times in mid-drain")
        self.until_all_is_published(FIRST + MORE)

    def rotate_the_token(self):
        new = self.secrets / "token.new"
        new.write_text(TOKENS[1])
        new.rename(self.secrets / "token")
        post(f"{SANDBOX}/token", {"token": TOKENS[1]})
        before = self.marked()
        post(f"{SANDBOX}/orders", {"count": LAST})
        until("the new token is used", SETTLE_DEADLINE, lambda: self.marked() >= before + 60)
        self.note("the token was rotated under the running producer")

    def stop_in_mid_drain(self):
        expect(get(f"{SANDBOX}/state")["pending"] > 0, "the drain was over before the stop")
        start = time.monotonic()
        self.compose("stop", "producer")
        took = time.monotonic() - start
        state = json.loads(self.docker("inspect", "--format={{json .State}}", self.container("producer"), capture=True))
        expect(state["ExitCode"] == 0 and took < STOP_DEADLINE, f"the stop took {took:.1f} s and ended with {state}")
        self.note(f"`docker stop` in mid-drain took {took:.1f} s, exit code 0")
        self.compose("start", "producer")

    def container(self, service):
        return self.compose("ps", "--all", "--quiet", service, capture=True).strip()

    def share_the_lanes(self):
        self.use_profiles("sandbox", "cluster")
        expect(self.producers == list(PRODUCERS), f"the profile has {self.producers}")
        self.up()
        until("three producers share the lanes", GROUP_DEADLINE, self.lanes_are_shared_out)
        self.note(f"the lanes are shared out: {self.last}")
        until("Prometheus asks all three", GROUP_DEADLINE, self.prometheus_asks_all)

    def lanes_are_shared_out(self):
        """Each of them hears so from Kafka, and the one that is to have the shop's lane says that it has."""
        # At the start there is no group, and none of its instances while Kafka does not tell.
        groups = [(status(producer)["group"] or {}).get("instances", []) for producer in self.producers]
        self.last = {instance["name"]: instance["lanes"] for instance in groups[0]}
        return (all(group == groups[0] for group in groups) and set(self.last) == set(self.producers)
                and all(self.last.values())
                and [instance["name"] for instance in groups[0] if instance["stores"]] == [owner(self.producers)])

    def prometheus_asks_all(self):
        targets = get(f"{PROMETHEUS}/api/v1/targets")["data"]["activeTargets"]
        asked = {target["labels"]["instance"] for target in targets if target["health"] == "up"}
        return asked == {f"{producer}:9464" for producer in self.producers}

    def kill_the_owner_for_long(self):
        """For longer than `cluster.session_timeout`, so that another one takes its lane over."""
        post(f"{SANDBOX}/orders", {"count": SHARED})
        reached = self.marked() + SHARED // 10
        until("the drain goes on", SETTLE_DEADLINE, lambda: self.marked() >= reached)
        dead = until("a producer has the shop's lane", GROUP_DEADLINE, lambda: owner(self.producers))
        self.compose("kill", dead)
        killed = time.monotonic()
        # Far more than its read in flight can mark: the rest waits for the new owner.
        expect(get(f"{SANDBOX}/state")["pending"] > SHARED // 2, "the drain was all but over before the kill")
        others = [producer for producer in self.producers if producer != dead]
        heir = until("another producer takes the shop's lane over", TAKE_OVER_DEADLINE, lambda: owner(others))
        taken, marked = time.monotonic() - killed, self.marked()
        until("the new owner reads", TAKE_OVER_DEADLINE, lambda: self.marked() > marked)
        self.note(f"{dead} was killed in mid-drain: {heir} had the shop's lane {taken:.0f} s later, and had read from it "
                  f"after {time.monotonic() - killed:.0f} s")
        self.compose("start", dead)
        self.until_all_is_published(FIRST + MORE + LAST + SHARED)
        until("the three share the lanes again", GROUP_DEADLINE, self.lanes_are_shared_out)
        self.note(f"the lanes are shared out again: {self.last}")

    def down_and_up(self):
        self.keep_logs()
        self.compose("down")
        left = self.docker("ps", "--all", "--quiet", f"--filter=label=com.docker.compose.project={NAME}", capture=True)
        expect(not left, f"`docker compose down` has left containers: {left.split()}")
        self.up()
        post(f"{SANDBOX}/orders", {"count": LAST})
        self.until_all_is_published(FIRST + MORE + LAST + SHARED + LAST)
        self.keep_logs()

    def judge(self):
        until("nobody adds an order meanwhile", SETTLE_DEADLINE, self.is_at_rest)
        orders, events = self.final
        seen = Counter((event["key"], event["event"]["revision"]) for event in events)
        lost = orders - {key for key, _ in seen}
        doubled = [event for event, count in seen.items() if count > 1]
        again = [key for key, revision in seen if revision > 1]
        self.note(f"{len(orders)} orders in the shop, {len(events)} events: {len(lost)} lost, {len(doubled)} doubled, "
                  f"{len(again)} with a second revision")
        expect(not lost and not doubled and not again and len(events) == len(orders), f"{lost} {doubled} {again}")
        personal = {value for event in events for value in (event["event"]["buyer"] or {}).values()
                    if isinstance(value, str) and len(value) > 6}
        expect(len(personal) > 100, "the sandbox has no buyers")
        # The sandbox tells its own token at the start, for whoever tries it out.
        logs = "\n".join(line for line in self.logs.splitlines() if "sandbox-1 " not in line)
        silent = [producer for producer in self.producers if f"{producer}-1 " not in logs]
        expect(not silent, f"there are no logs of {silent}")
        expect("other users can get at" not in logs, "the image leaves the spool open")
        told = [secret for secret in [*TOKENS, *personal] if secret in logs]
        expect(not told, f"{len(told)} tokens and buyers' values are in the logs, the first is {told[:1]}")
        self.note(f"{len(logs.splitlines())} lines of log without a token and without any of {len(personal)} "
                  "values of buyers")

    def is_at_rest(self):
        """More orders arrive all the time: taken are those that were in the shop before the events were read."""
        orders = {order["id"] for order in get(f"{SANDBOX}/orders") if not order["pending"]}
        events = [event for event in self.events() if event["key"] in orders]
        self.final = orders, events
        return {event["key"] for event in events} == orders

    def look_at_the_image(self):
        image = json.loads(self.docker("image", "inspect", IMAGE, capture=True))[0]
        expect(image["Config"]["User"] == "65532:65532", image["Config"]["User"])
        for shell in ["sh", "/bin/sh", "/bin/bash", "/busybox/sh"]:
            expect(self.docker("run", "--rm", f"--entrypoint={shell}", IMAGE, "-c", "true", check=False) == 127, shell)
        version = self.docker("run", "--rm", "--read-only", "--cap-drop=ALL", IMAGE, "--version", capture=True).strip()
        labels = image["Config"]["Labels"]
        commit = labels["org.opencontainers.image.revision"]
        expect(commit and commit[:12] in version, f"{version!r} does not tell the commit {commit}")
        labelled = labels["org.opencontainers.image.version"]
        expect(labelled == VERSION and VERSION in version.split(), f"{version!r}, and the label {labelled!r}")
        major, minor, _ = VERSION.split(".")
        tags = {f"{NAME}:{tag}" for tag in (VERSION, f"{major}.{minor}", "latest")}
        expect(tags <= set(image["RepoTags"]), f"the image has the tags {image['RepoTags']}")
        size = int(self.docker("image", "inspect", "--format={{.Size}}", IMAGE, capture=True))
        self.note(f"image: {', '.join(sorted(tags))}, {size / 1e6:.1f} MB unpacked, no shell, user 65532, {version}")
        expect(size <= IMAGE_LIMIT, f"the image is larger than {IMAGE_LIMIT / 1e6:.0f} MB")

    def weigh_the_health_check(self):
        """CPU time of the process itself: what the engine spends on entering the container is the same for all."""
        program = WORK / "imotriz-kafka"
        url = f"{PRODUCERS['producer']}/livez"
        container = self.docker("create", IMAGE, capture=True).strip()
        self.docker("cp", f"{container}:/usr/local/bin/imotriz-kafka", str(program))
        self.docker("rm", container)
        spent = self.cpu_of_children()
        for _ in range(HEALTH_CHECKS):
            subprocess.run(self.engine.at_home(program, "doctor", "--quick", f"--url={url}"), check=True,
                           stdout=subprocess.DEVNULL)
        each = (self.cpu_of_children() - spent) / HEALTH_CHECKS
        self.note(f"health check: {each * 1000:.1f} ms of CPU")
        expect(each < HEALTH_CHECK_LIMIT, f"the health check takes {each * 1000:.1f} ms of CPU")

    @staticmethod
    def cpu_of_children():
        times = os.times()
        return times.children_user + times.children_system

    def keep_logs(self):
        self.logs += self.compose("logs", "--no-color", "--timestamps", capture=True)

    def show_logs(self):
        """For whoever has to find out why."""
        self.keep_logs()
        (WORK / "services.log").write_text(self.logs)
        self.note(f"the logs of all services are in {WORK / 'services.log'}; last seen: {getattr(self, 'last', None)}")

    def remove(self):
        self.docker("compose", "down", "--volumes", "--timeout=10", check=False)
