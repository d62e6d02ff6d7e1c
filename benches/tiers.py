#!/usr/bin/env python3
"""Measures what memory, Redis and store are worth to tinyns, and what they cost.

Four questions, each answered by the real programs on one machine and its loopback interface:

1.  visible    When does another node show a change? Two nodes share a Redis and a DynamoDB (an
               emulator), or a PostgreSQL, with and without Redis. Of 1,000 changes by one node every second is a link whose absence the other
               has just answered, and every other a new URL for a link that the other has just
               answered. These answers must have come from memory: else there would be nothing to be
               seen. Once the API has replied the other node is asked without pause until it gives the
               new URL. Two times are measured: from the reply, which a client sees that registers
               a link and passes it on, and from the sending of the request. A question and its answer
               are part of both.

2.  queries    What does an answer cost? Queries per second say as much of the load as of the server, so
               here they are divided by the processor time that the server has used, its own and the
               kernel's on its behalf (on the loopback interface a packet is delivered in the time of
               its sender). The server has one core to itself; dnsperf has the other, which it shares
               with Redis where there is one, so that the rates tell little: where dnsperf is the
               slower one the server is idle for a part of the time, and takes fewer packets at once
               than it could. Every configuration must prove from its own counters that its answers
               came from where it says: memory would be quick at answering for Redis. PowerDNS, if it
               is there, serves the same names from SQLite with its caches off, next to tinyns with
               SQLite alone; as it asks its database for the zone's SOA as well, it has more to do.

3.  warm       How long does it take to load all links into an empty Redis at the start, how much memory
               does that need on both sides, and how long do those wait who ask meanwhile? The server
               is started first and Redis after it, so that the server's memory can be read before.
               Queries are sent by the clock, one a hundredth of a second: if each waited for the one
               before, a pause of the server would be seen by one query alone.

4.  register   How many links can be registered in a second? By 8 clients that each have one request
               under way, and by one request for many links. What is acknowledged is on disk; so the
               header tells what a flush of this disk takes.

It wants a machine that does nothing else. The rounds of a part go through its configurations in turn,
so that what the machine does beside falls on all of them. Figures are medians of the rounds, with the
lowest and the highest beside, since three rounds give no better measure of spread.

What this does not tell: networks have delays and losses that the loopback interface has not; a real
DynamoDB answers within milliseconds, each call at a price, where the emulator takes a core of this
machine; clients and servers share few cores but in part 2. Criterion, which measures functions, was
turned down for this: nearly all of the time is spent between processes.

    benches/tiers.py                          all of it, with the release build, in --help's sizes
    benches/tiers.py --only queries,register  some parts
    benches/tiers.py --quick                  whether it all works; the figures mean little
    benches/tiers.py --install                installs PowerDNS and PostgreSQL first (Debian)
    benches/tiers.py --self-test              whether it reads and reckons rightly

The table goes to standard output, in Markdown; progress and faults go to standard error. A fault ends
its part and makes the exit status 1. Needed are redis-server, PostgreSQL, dnsperf, taskset, and the
DynamoDB emulator, which tests/run.sh builds.
"""

import argparse
import collections
import contextlib
import dataclasses
import http.client
import itertools
import json
import os
import random
import selectors
import shutil
import statistics
import subprocess
import sys
import time
import traceback

import apparatus
import report
from apparatus import (
    NXDOMAIN, ORIGIN, ROOT, Connection, Emulator, Fault, Metrics, Postgres, PowerDns, Prober, Redis,
    Resolver, Tinyns, dnsperf, free_port, redis_section, register_batch, sqlite_section)
from report import Figures, quantile, tell

# How long a change may take to show, in seconds. It is less than the time for which a node takes a
# name to be absent, so that an expired entry cannot look like a change that was seen.
VISIBLE_SECONDS = 4
# The part of all answers that must have come from where a configuration says.
LEAST_SHARE = 0.9
# How many queries are drawn before they repeat.
DRAWN = 500_000
# How many clients register links at once.
CLIENTS = 8
# The cores of the part "queries".
SERVER_CORE, LOAD_CORE = 0, 1
# A seed, so that runs differ in what is measured alone.
SEED = 20_260

# What --install installs, and the service that comes with it.
POWERDNS = (["pdns-server", "pdns-backend-sqlite3"], "pdns.service")
POSTGRES = (["postgresql"], "postgresql.service")


@dataclasses.dataclass
class Sizes:
    """How much is measured."""

    rounds: int = 3
    # An even number: each second one changes what the one before has made.
    changes: int = 1_000
    names: int = 100_000
    load_seconds: int = 10
    links: int = 1_000_000
    # The emulator takes some 250 links a second: a write costs it more than it costs tinyns.
    dynamo_links: int = 20_000
    register_seconds: int = 10
    batch: int = 100_000
    dynamo_batch: int = 2_000


# The names stay: with fewer of them, memory would answer what Redis is to answer.
QUICK = Sizes(rounds=2, changes=100, load_seconds=2, links=50_000, dynamo_links=5_000,
              register_seconds=2, batch=5_000, dynamo_batch=500)


@dataclasses.dataclass
class Bench:
    """What all parts need: sizes, programs, and a directory that is gone afterwards."""

    sizes: Sizes
    binary: str
    emulator: str
    directory: str

    def path(self, *names):
        """A directory of its own in there."""
        path = os.path.join(self.directory, *names)
        os.makedirs(path, exist_ok=True)
        return path


# ---- Links ---------------------------------------------------------------------------------------

# The number of codes of eight digits, and a number without a common factor, about the golden section of it: so its
# multiples are spread evenly.
CODES = 36 ** 8
SPREAD = 1_743_541_808_807
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def code(n):
    """The code of link n: spread over all codes, as folded codes are."""
    fold, digits = n * SPREAD % CODES, []
    for _ in range(8):
        fold, digit = divmod(fold, 36)
        digits.append(DIGITS[digit])
    return "".join(reversed(digits))


def url(n, edition=0):
    """Where link n leads; of usual length."""
    return f"https://example.net/articles/2026/{n:08}/a-title-of-some-words?edition={edition}"


def body(n, edition=0, own_code=True):
    """The JSON that registers link n."""
    link = {"url": url(n, edition)}
    if own_code:
        link["code"] = code(n)
    return json.dumps(link)


def fill(bench, sections, count):
    """Has a server register links 0 to `count`, and stops it."""
    with Tinyns(bench.binary, bench.directory, sections) as server:
        took = register_batch(server.admin, map(body, itertools.count()), count)
    tell(f"{count:,} links registered in {took:.1f} s")


# ---- 1. Registration to visible on another node --------------------------------------------------

def visible(bench):
    """Two nodes, one store, and one Redis or none."""
    figures = Figures()
    for label, postgres, redis in (("DynamoDB emulator and Redis", False, True),
                                   ("PostgreSQL and Redis", True, True),
                                   ("PostgreSQL alone", True, False)):
        with contextlib.ExitStack() as stack:
            directory = bench.path(label.replace(" ", "-"))
            store = Postgres(directory) if postgres else Emulator(bench.emulator, directory)
            sections = stack.enter_context(store).section()
            if redis:
                sections += stack.enter_context(Redis(directory)).section()
            near, far = (stack.enter_context(Tinyns(bench.binary, directory, sections))
                         for _ in range(2))
            for node in (near, far):
                node.wait_for_answers(node.dns)
                if redis:
                    node.wait_for_load()
            # By Redis, or by the feed of the store.
            means = "changes" if redis else "feed"
            for turn in range(bench.sizes.rounds):
                first = turn * bench.sizes.changes
                seen = watch_changes(near, far, first, bench.sizes.changes, means)
                report_visible(figures, label, seen)
                tell(f"visible: {label}, round {turn + 1} of {bench.sizes.rounds}")
    return figures


Seen = collections.namedtuple("Seen", "after_reply after_sending first")


def watch_changes(near, far, start, count, means):
    """Makes changes at one node and looks for them at the other."""
    before = far.metrics()
    seen, old = [], 0
    with Connection(near.admin) as api, Resolver(far.dns) as resolver:
        for n in range(start, start + count):
            # A creation, and then a change of what it has made.
            link, edition = n - n % 2, n % 2
            if edition == 0:
                # The first question brings the absence into memory. A link is there already, since
                # it was waited for.
                check_before(resolver.ask(code(link)), link, edition)
            check_before(resolver.ask(code(link)), link, edition)
            sent = time.perf_counter()
            if edition == 0:
                status = api.call("POST", "/v1/links", body(link))
            else:
                change = json.dumps({"url": url(link, edition)})
                status = api.call("PATCH", f"/v1/links/{code(link)}", change)
            replied = time.perf_counter()
            if status != (201, 200)[edition]:
                raise Fault(f"the change of {code(link)} was answered with status {status}")
            asked = wait_for(resolver, link, edition, replied)
            now = time.perf_counter()
            seen.append(Seen(now - replied, now - sent, asked == 1))
            old += asked - 1
    check_seen(before, far.metrics(), count, old, means)
    return seen


def check_before(answer, link, edition):
    """The other node must know the state before the change."""
    if edition == 0:
        right = answer.rcode == NXDOMAIN
    else:
        right = answer.leads_to(url(link, edition - 1))
    if not right:
        raise Fault(f"before the change of {code(link)} the other node answers with rcode "
                    f"{answer.rcode} and something else than it should")


def wait_for(resolver, link, edition, since):
    """Asks until the answer is right; gives how often it asked."""
    for asked in itertools.count(1):
        if resolver.ask(code(link)).leads_to(url(link, edition)):
            return asked
        if time.perf_counter() - since > VISIBLE_SECONDS:
            raise Fault(f"{code(link)} does not show within {VISIBLE_SECONDS} s")


def check_seen(before, after, count, old, means):
    """The other node must have held the changed links, and have received the changes by the stream or the
    feed."""
    def grown(figure):
        return figure(after) - figure(before)

    # The last question before each change, and answers that were old, came from what the node holds.
    held = grown(lambda metrics: metrics.hits("Memory") + metrics.hits("Answers") + metrics.hits("Filter")) - old
    if held < 0.99 * count:
        raise Fault(f"the other node held {held:.0f} of {count} links and absences")
    read = "changes_seen_total" if means == "changes" else "feed_entries_total"
    seen = grown(lambda metrics: metrics.of(read))
    gaps = grown(lambda metrics: metrics.of(f"{means}_gaps_total"))
    if seen < count or gaps or after.of(f"{means}_following") != 1:
        raise Fault(f"the other node has seen {seen:.0f} of {count} changes, with {gaps:.0f} gaps")


def report_visible(figures, store, seen):
    """The figures of one round."""
    for clock, since in (("after_reply", "from the API's reply"),
                         ("after_sending", "from the sending of the request")):
        label = f"{store}, {since}"
        times = [getattr(one, clock) * 1000 for one in seen]
        for part, name in ((0.5, "p50"), (0.99, "p99"), (1.0, "max")):
            figures.add(label, f"{name}, ms", quantile(times, part))
    first = sum(one.first for one in seen) / len(seen)
    figures.add(f"{store}, shown by the first answer", "% of the changes", 100 * first)


# ---- 2. Queries per CPU-second -------------------------------------------------------------------

@dataclasses.dataclass
class Case:
    """A configuration of tinyns that answers from one tier."""

    label: str
    tier: str
    cache: str
    redis: bool = False
    # Whether every name is asked for once before it counts.
    warm: bool = False
    # The links are in PostgreSQL, otherwise in SQLite.
    postgres: bool = False


# The smallest memory that can be configured holds some 3,000 links, and here for a second at most.
NO_MEMORY = "[cache]\nanswers_mib = 0\nmemory_mib = 1\nrefresh = 1\nabsent = 0\n"
MEMORY = "[cache]\nanswers_mib = 0\nmemory_mib = 512\nrefresh = 86400\n"
ANSWERS = "[cache]\nanswers_mib = 512\nmemory_mib = 512\nrefresh = 86400\n"
CASES = (
    Case("memory misses, Redis hits", "Redis", NO_MEMORY, redis=True),
    Case("memory hits", "Memory", MEMORY, warm=True),
    Case("kept answers", "Answers", ANSWERS, warm=True),
    Case("SQLite alone", "Store", NO_MEMORY),
    Case("PostgreSQL alone", "Store", NO_MEMORY, postgres=True),
)


def queries(bench):
    """The same names from each tier, and from PowerDNS."""
    figures = Figures()
    count, seconds = bench.sizes.names, bench.sizes.load_seconds
    store = sqlite_section(os.path.join(bench.path("store"), "links.sqlite"))
    fill(bench, store, count)
    drawn, once = draw(bench, count)
    powerdns = None
    if apparatus.has_powerdns():
        powerdns = os.path.join(bench.path("powerdns"), "links.sqlite")
        PowerDns.fill(powerdns, ((code(n), url(n)) for n in range(count)))
    for turn in range(bench.sizes.rounds):
        for case in CASES:
            with contextlib.ExitStack() as stack:
                links = store
                if case.postgres:
                    server = stack.enter_context(Postgres(bench.path(f"postgres-{turn}"), LOAD_CORE))
                    links = server.section()
                    fill(bench, links, count)
                measure_case(bench, figures, case, links, drawn, once)
        if powerdns:
            with PowerDns(powerdns, bench.path("powerdns"), SERVER_CORE) as server:
                check_served(server, count)
                dnsperf(server.dns, drawn, LOAD_CORE, seconds=1)
                load, used = measured(server, drawn, seconds)
                report_queries(figures, "PowerDNS with SQLite, its caches off", load, used)
        tell(f"queries: round {turn + 1} of {bench.sizes.rounds}")
    if not powerdns:
        tell("queries: PowerDNS is not installed; --install does that")
    return figures


def draw(bench, count):
    """Files of queries: many, drawn uniformly at random; and each name once."""
    generator = random.Random(SEED)
    drawn, once = (os.path.join(bench.directory, name) for name in ("drawn", "once"))
    with open(drawn, "w", encoding="ascii") as file:
        file.writelines(f"{code(generator.randrange(count))}.{ORIGIN} TXT\n" for _ in range(DRAWN))
    with open(once, "w", encoding="ascii") as file:
        file.writelines(f"{code(n)}.{ORIGIN} TXT\n" for n in range(count))
    return drawn, once


def measure_case(bench, figures, case, store, drawn, once):
    """One round of one configuration."""
    with contextlib.ExitStack() as stack:
        sections, redis = store + case.cache, None
        if case.redis:
            redis = stack.enter_context(Redis(bench.directory, LOAD_CORE))
            sections += redis.section("warm_load_rate = 0")
        server = Tinyns(bench.binary, bench.directory, sections, SERVER_CORE)
        stack.enter_context(server)
        if redis:
            server.wait_for_load()
        if case.warm:
            dnsperf(server.dns, once, LOAD_CORE, times=1)
        check_served(server, bench.sizes.names)
        dnsperf(server.dns, drawn, LOAD_CORE, seconds=1)
        before, redis_before = server.metrics(), redis and redis.cpu_seconds()
        load, used = measured(server, drawn, bench.sizes.load_seconds)
        redis_used = redis and redis.cpu_seconds() - redis_before
        hits = server.metrics().hits(case.tier) - before.hits(case.tier)
    share = hits / load.completed
    if share < LEAST_SHARE:
        raise Fault(f"{case.label}: {case.tier} answered only {100 * share:.1f} % of the queries")
    report_queries(figures, case.label, load, used)
    figures.add(case.label, f"answered by {case.tier}, %", 100 * share)
    if redis:
        figures.add(case.label, "CPU time of Redis a query, µs", 1e6 * redis_used / load.completed)


def check_served(server, count):
    """All servers must give the same: the CNAME and the URL behind it."""
    with Resolver(server.dns) as resolver:
        for n in (0, count - 1):
            answer = resolver.ask(code(n))
            if not answer.leads_to(url(n)):
                raise Fault(f"{server.name} answers {code(n)} with rcode {answer.rcode}, not its URL")


def measured(server, drawn, seconds):
    """Loads a server, and gives the load and the processor time that it took."""
    before = server.cpu_seconds()
    load = dnsperf(server.dns, drawn, LOAD_CORE, seconds=seconds)
    return load, server.cpu_seconds() - before


def report_queries(figures, label, load, used):
    """The figures of one round of one configuration."""
    figures.add(label, "**queries a CPU-second**", load.completed / used)
    figures.add(label, "queries a second", load.per_second)
    figures.add(label, "mean latency, ms", load.latency_ms)
    figures.add(label, "lost queries", load.lost)


# ---- 3. The warm load ----------------------------------------------------------------------------

def warm(bench):
    """All links from each store into an empty Redis."""
    figures = Figures()
    sqlite = sqlite_section(os.path.join(bench.path("store"), "links.sqlite"))
    with Emulator(bench.emulator, bench.directory) as emulator, Postgres(bench.directory) as postgres:
        dynamo, sizes = emulator.section(), bench.sizes
        fill(bench, sqlite, sizes.links)
        fill(bench, postgres.section(), sizes.links)
        fill(bench, dynamo, sizes.dynamo_links)
        for turn in range(sizes.rounds):
            load_once(bench, figures, f"{sizes.links:,} links from SQLite", sqlite, sizes.links)
            load_once(bench, figures, f"{sizes.links:,} links from PostgreSQL", postgres.section(),
                      sizes.links)
            load_once(bench, figures, f"{sizes.dynamo_links:,} links from the DynamoDB emulator",
                      dynamo, sizes.dynamo_links)
            tell(f"warm: round {turn + 1} of {sizes.rounds}")
    return figures


def load_once(bench, figures, label, store, links):
    """One load: its time, its memory, and how those fared who asked meanwhile."""
    port = free_port()
    sections = store + redis_section(port, "warm_load_rate = 0")
    generator = random.Random(SEED)
    asked = (code(generator.randrange(links)) for _ in itertools.count())
    with Tinyns(bench.binary, bench.directory, sections) as server:
        time.sleep(1)
        before = server.resident_mib()
        with Redis(bench.directory, port=port) as redis:
            began = wait_for_begin(server)
            with Prober(server.dns, asked) as prober:
                server.wait_for_load()
                took = time.perf_counter() - began
            held, held_bytes = redis.links(), redis.link_bytes()
        after, peak = server.resident_mib(), server.resident_mib("VmHWM")
    if held < links:
        raise Fault(f"after the load of {links} links Redis holds {held} keys")
    figures.add(label, "**links a second**", links / took)
    figures.add(label, "seconds", took)
    figures.add(label, "server's resident memory before, MiB", before)
    figures.add(label, "and after, MiB", after)
    figures.add(label, "and at most, MiB", peak)
    figures.add(label, "memory of Redis a link, bytes", held_bytes / links)
    for part, name in ((0.5, "p50"), (0.99, "p99"), (1.0, "max")):
        latency = quantile(prober.seconds, part) * 1000
        figures.add(label, f"queries meanwhile, {name}, ms", latency)
    figures.add(label, "queries meanwhile without an answer", prober.lost + prober.wrong)


def wait_for_begin(server):
    """The time at which a load was not yet seen to have begun, to within some milliseconds."""
    end = time.monotonic() + apparatus.START_SECONDS
    while time.monotonic() < end:
        now = time.perf_counter()
        if server.ready()["warm_load"]["state"] != "waiting":
            return now
        time.sleep(0.005)
    raise Fault("the warm load does not begin")


# ---- 4. Registration -----------------------------------------------------------------------------

def register(bench):
    """Links registered one by one, and many at once, with each store."""
    figures = Figures()
    for turn in range(bench.sizes.rounds):
        for label, store, redis in (("SQLite alone", None, False), ("SQLite and Redis", None, True),
                                    ("PostgreSQL alone", Postgres, False),
                                    ("PostgreSQL and Redis", Postgres, True),
                                    ("DynamoDB emulator and Redis", Emulator, True)):
            with contextlib.ExitStack() as stack:
                directory = bench.path(f"register-{turn}")
                stack.callback(shutil.rmtree, directory)
                sections = sqlite_section(os.path.join(directory, "links.sqlite"))
                if store:
                    program = [bench.emulator] if store is Emulator else []
                    sections = stack.enter_context(store(*program, directory)).section()
                if redis:
                    sections += stack.enter_context(Redis(directory)).section()
                server = stack.enter_context(Tinyns(bench.binary, directory, sections))
                batch = bench.sizes.dynamo_batch if store is Emulator else bench.sizes.batch
                register_both(bench.sizes, figures, label, server, batch)
        tell(f"register: round {turn + 1} of {bench.sizes.rounds}")
    return figures


def register_both(sizes, figures, label, server, batch):
    """One round with one store, which is empty at first."""
    links = (body(n, own_code=False) for n in itertools.count())
    latencies, took = register_singly(server.admin, links, sizes.register_seconds)
    figures.add(label, f"**links a second, {CLIENTS} clients**", len(latencies) / took)
    for part, name in ((0.5, "p50"), (0.99, "p99")):
        figures.add(label, f"{name} of these requests, ms", quantile(latencies, part) * 1000)
    took = register_batch(server.admin, links, batch)
    figures.add(label, f"**links a second, {batch:,} in one request**", batch / took)


def register_singly(port, links, seconds):
    """Clients that each send their next request when they have the answer to the last. Gives the
    latency of each request, and the time that all took."""
    latencies, sent = [], {}
    with contextlib.ExitStack() as stack:
        ready = stack.enter_context(selectors.DefaultSelector())
        began = time.perf_counter()
        for _ in range(CLIENTS):
            client = stack.enter_context(Connection(port))
            ready.register(client, selectors.EVENT_READ)
            sent[client] = time.perf_counter()
            client.send("POST", "/v1/links", next(links))
        while sent:
            events = ready.select(apparatus.HTTP_SECONDS)
            if not events:
                raise Fault(f"no response within {apparatus.HTTP_SECONDS} s")
            for key, _ in events:
                client = key.fileobj
                status = client.receive()
                if status is None:
                    continue
                now = time.perf_counter()
                if status != 201:
                    raise Fault(f"a registration was answered with status {status}")
                latencies.append(now - sent.pop(client))
                if now - began < seconds:
                    sent[client] = now
                    client.send("POST", "/v1/links", next(links))
        return latencies, time.perf_counter() - began


# ---- The whole -----------------------------------------------------------------------------------

Part = collections.namedtuple("Part", "measure title programs")
PARTS = {
    "visible": Part(visible, "Changes, until another node shows them",
                    ["redis-server", "postgres", "emulator"]),
    "queries": Part(queries, "Queries for each second of the server's CPU time",
                    ["redis-server", "postgres", "dnsperf", "taskset"]),
    "warm": Part(warm, "Warm load into an empty Redis", ["redis-server", "postgres", "emulator"]),
    "register": Part(register, "Registration", ["redis-server", "postgres", "emulator"]),
}


def flush_ms(directory):
    """How long a flush of a small write to this disk takes; the median of some."""
    times = []
    with open(os.path.join(directory, "flush"), "wb", buffering=0) as file:
        for _ in range(100):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


def circumstances(bench, directory):
    """What the figures hold for, in some lines of Markdown."""
    versions = report.versions((
        ("tinyns", [bench.binary, "--version"], ""),
        ("Redis", ["redis-server", "--version"], "v="),
        ("PostgreSQL", [apparatus.postgres_program("postgres") or "postgres", "--version"], ""),
        ("dnsperf", ["dnsperf", "-H"], ""),
        ("dynoxide", [bench.emulator, "--version"], ""),
        ("PowerDNS", ["pdns_server", "--version"], "Server "),
        ("Python", [sys.executable, "--version"], "")))
    yield f"{report.machine()}; a flush of 4 KiB to disk takes {flush_ms(directory):.2g} ms."
    yield f"{versions}; SHA-256 of the tinyns binary {report.digest(bench.binary)}"
    yield f"Medians of {bench.sizes.rounds} rounds; lowest and highest beside."


def run_part(name, bench):
    """One part: its rows of the table. False where it had a fault."""
    part = PARTS[name]
    began = time.monotonic()
    tell(f"{name}: begins")
    with apparatus.workspace(bench.directory) as directory:
        try:
            figures = part.measure(dataclasses.replace(bench, directory=directory))
        except Fault as fault:
            tell(f"{name}: FAULT: {fault}")
            return False
        except (OSError, http.client.HTTPException):
            # Most likely the server broke off. Only the place of that is known.
            tell(f"{name}: FAULT: {traceback.format_exc()}")
            return False
    print(f"| **{part.title}** | | | |", *figures.rows(), sep="\n", flush=True)
    tell(f"{name}: done in {time.monotonic() - began:.0f} s")
    return True


def install():
    """Installs what is missing from Debian's packages, without starting what they bring."""
    missing = [] if apparatus.has_powerdns() else [POWERDNS]
    if not apparatus.postgres_program("postgres"):
        missing.append(POSTGRES)
    if not missing:
        return
    root = [] if os.geteuid() == 0 else ["sudo"]
    policy = "/usr/sbin/policy-rc.d"
    ours = not os.path.exists(policy)
    if ours:
        subprocess.run([*root, "tee", policy], check=True, text=True, stdout=subprocess.DEVNULL,
                       input="#!/bin/sh\nexit 101\n")
    try:
        if ours:
            subprocess.run([*root, "chmod", "755", policy], check=True)
        packages = [package for packages, _ in missing for package in packages]
        for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            subprocess.run([*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", *command],
                           check=True, stdout=sys.stderr)
        if os.path.isdir("/run/systemd/system"):
            # Otherwise the services would come back at every boot, and take their ports.
            services = [service for _, service in missing]
            subprocess.run([*root, "systemctl", "disable", "--quiet", "--now", *services],
                           check=True)
    finally:
        if ours:
            subprocess.run([*root, "rm", "-f", policy], check=True)


def check_programs(parts, binary, emulator):
    """Says what is missing before anything is begun."""
    programs = {"emulator": emulator, "postgres": apparatus.postgres_program("postgres") or "postgres"}
    needed = {binary} | {programs.get(name, name) for part in parts for name in PARTS[part].programs}
    missing = sorted(name for name in needed if not shutil.which(name))
    if missing:
        sys.exit(f"not there: {', '.join(missing)}; see --help")
    if "queries" in parts and not {SERVER_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        sys.exit(f"the part \"queries\" needs the cores {SERVER_CORE} and {LOAD_CORE}")


def self_test():
    """Shows that figures are read and reckoned rightly."""
    def check(found, expected):
        assert found == expected, f"{found!r} and not {expected!r}"

    metrics = Metrics('# TYPE x counter\ntinyns_x_total 3\n'
                      'tinyns_link_lookups_total{tier="Redis",result="Hit"} 12\n# EOF\n')
    check((metrics.of("x_total"), metrics.of("y_total")), (3.0, 0.0))
    check((metrics.lookups("Redis", "Hit"), metrics.lookups("Redis", "Miss")), (12.0, 0.0))
    apparatus.self_test()
    report.self_test()


def arguments():
    """The command line."""
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="PARTS", type=lambda text: text.split(","),
                        default=list(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see whether it works")
    parser.add_argument("--rounds", type=int, help=f"{Sizes.rounds}, or {QUICK.rounds} if quick")
    parser.add_argument("--links", type=int, metavar="N",
                        help=f"of the warm load; {Sizes.links}, or {QUICK.links} if quick")
    parser.add_argument("--dynamo-links", type=int, metavar="N",
                        help=f"the same; {Sizes.dynamo_links}, or {QUICK.dynamo_links} if quick")
    parser.add_argument("--binary", default=os.path.join(target, "release/tinyns"),
                        help="the server's program; target/release/tinyns")
    parser.add_argument("--emulator", default=os.path.join(target, "tools/bin/dynoxide"),
                        help="the DynamoDB emulator's; target/tools/bin/dynoxide")
    parser.add_argument("--dir", help="where the stores are, on the disk to measure; the usual "
                        "directory for temporary files")
    parser.add_argument("--install", action="store_true", help="install PowerDNS and PostgreSQL if they are not there")
    parser.add_argument("--self-test", action="store_true", help="check this program and nothing else")
    options = parser.parse_args()
    if unknown := set(options.only) - set(PARTS):
        parser.error(f"--only: there is no part {', '.join(sorted(unknown))}")
    for size in ("rounds", "links", "dynamo_links"):
        if (value := getattr(options, size)) is not None and value < 1:
            parser.error(f"--{size.replace('_', '-')}: {value} is too few")
    return options


def main():
    options = arguments()
    if options.self_test:
        self_test()
        return 0
    # pdns_server lives where only root looks by default.
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    binary, emulator = map(os.path.abspath, (options.binary, options.emulator))
    apparatus.obey_signals()
    if options.install:
        install()
    check_programs(options.only, binary, emulator)
    sizes = dataclasses.replace(QUICK if options.quick else Sizes(), **{
        size: getattr(options, size) for size in ("rounds", "links", "dynamo_links")
        if getattr(options, size) is not None})
    with apparatus.workspace(options.dir) as directory:
        bench = Bench(sizes, binary, emulator, directory)
        print(*circumstances(bench, directory), sep="\n")
        print("\n| | figure | median | lowest – highest |\n|---|---|--:|--:|", flush=True)
        done = [run_part(name, bench) for name in PARTS if name in options.only]
    return 0 if all(done) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
