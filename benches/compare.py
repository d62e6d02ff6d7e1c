#!/usr/bin/env python3
"""Puts tinyns beside other name servers, under the same loads for the same names.

benches/compare.sh installs what this needs, builds tinyns, and runs it. Each server answers from
memory for the same links, on the loopback interface: Knot DNS, NSD, BIND and PowerDNS from a zone file
(benches/servers.py has their configurations), tinyns from its SQLite store, of which every name was
asked for once before. A UDP echo is the floor.

What is measured is queries per second of the server's processor time, its own and the kernel's on its
behalf, over all of its threads and processes. Queries per second of the clock say as much of the load
as of the server: here the server has one core and dnsperf the other, and where dnsperf is the slower
one the server waits. (It then takes fewer packets at once, which costs it something; the tables tell
what part of a core a server has used.) The loads:

hot     TXT for 100,000 links in random order
edns    the same with EDNS, DO and a client cookie (RFC 7873)
zipf    TXT for 1,000,000 links, the n-th of them 1/n times as often as the first
absent  codes that do not exist, each asked for once
signed  hot with EDNS and DO, the zone signed by one key, ECDSA P-256: Knot once with a zone that it has
        signed when it loaded it, and once with its module that signs as it answers
signed-absent
        the same for codes that do not exist, each asked for once; tinyns without its bounds on signatures
routed  addresses with EDNS and a client subnet (RFC 7871) in each query, by tinyns alone: once as many links
        as in hot without pools, and once a 200th of the links, whose addresses depend on which of 200 networks the
        client is in, so that there are as many different answers
two     hot, where server and dnsperf share both cores, and the server has two threads or processes that
        answer: what there is of queries per second is what dnsperf leaves of the machine
tail    how long answers take at 80 % of the rate that Knot reaches at most, by the clock whether or not
        those before were answered (benches/openloop.c): one rate for all servers, so that one that is
        slower than Knot is nearer to its limit. A query counts from when it was due, and one without an
        answer as if that had come after two seconds.

In each round all servers are started anew, so that no figure hangs on where things came to lie in
memory, and then are loaded one after the other, in another order each round. Ratios are taken within
a round, since what the machine does beside changes over time, and the result is their median. Before a
server is loaded it must give right answers; a run with other rcodes than it should have, or with more
than a thousandth of its queries lost, does not count and makes the exit status 1. It wants a machine
that does nothing else; all of it takes three quarters of an hour.

With --instructions callgrind counts the instructions a query instead: of user space alone, which the
kernel's work for a packet exceeds, but exactly. What two runs with different numbers of queries
differ by is put down to the queries.

What this does not tell: the loopback interface is no network card, whose driver works for a server as
well; dnsperf is one client, where resolvers are many. There is no load beside the queries: no changes
of links, no transfers of zones.

    benches/compare.sh                                      all of it
    benches/compare.sh --loads hot --servers tinyns,knot --rounds 3
    benches/compare.sh --tinyns before=PATH --tinyns after=PATH      two builds in one run
    benches/compare.sh --quick                              whether it works; the figures mean little
    benches/compare.py --self-test                          whether it reads and reckons rightly

The tables go to standard output, in Markdown; progress and faults go to standard error.
"""

import argparse
import collections
import contextlib
import dataclasses
import itertools
import json
import os
import random
import re
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import time

import apparatus
import report
import servers
from apparatus import (
    HOST, NOERROR, NXDOMAIN, ORIGIN, ROOT, TYPE_A, Fault, Resolver, Tinyns, dnsperf, txt_query,
    with_edns)
from report import median, number, spread, tell

# The cores, where each has its own; and where they share.
SERVER_CORE, LOAD_CORE, BOTH_CORES = "0", "1", "0,1"
# How many of the queries of a run may be lost.
MOST_LOST = 0.001
# How many links are looked at before a server is loaded.
LOOKED_AT = 20
# The part of tinyns' answers that may come from its store where memory should have them.
MOST_FROM_STORE = 0.01
# The part of Knot's greatest rate at which latencies are measured.
TAIL_PART = 0.8
# A cookie of a client: option 10 with 8 bytes (RFC 7873 §4).
COOKIE = bytes.fromhex("000a0008" "0123456789abcdef")
# A seed, so that runs differ in what is measured alone.
SEED = 20_260

OTHERS = {
    "knot": servers.Knot,
    "nsd": servers.Nsd,
    "bind": servers.Named,
    "pdns": servers.PowerDns,
    "echo": servers.Echo,
}
# What all others are measured by.
REFERENCES = ("knot", "nsd", "echo")

# What a load asks, of which data; with which options of dnsperf; and the rcode that is right.
Kind = collections.namedtuple("Kind", "title data options rcode")
KINDS = {
    "hot": Kind("TXT, {links} links in random order", "few", (), "NOERROR"),
    "edns": Kind("the same with EDNS, DO and a client cookie", "few",
                 ("-e", "-D", "-E", f"10:{COOKIE[4:].hex()}"), "NOERROR"),
    "zipf": Kind("TXT, {links} links, Zipf", "many", (), "NOERROR"),
    "absent": Kind("TXT, absent codes beside {links} links", "many", (), "NXDOMAIN"),
}
# In a signed zone; of codes that do not exist those that sign as they answer say NOERROR (RFC 9824 §3.1).
SIGNED = {
    "signed": Kind("signed: TXT with EDNS and DO, {links} links in random order, zone signed", "few",
                   ("-e", "-D"), "NOERROR"),
    "signed-absent": Kind("signed-absent: TXT with EDNS and DO, absent codes beside {links} links, zone "
                          "signed", "few", ("-e", "-D"), "NOERROR"),
}
# How many pools there are, each for a network of its own, in the load "routed".
POOLS = 200
LOADS = (*KINDS, *SIGNED, "routed", "two", "tail")

# Keys of the configuration that only some builds of tinyns know, with values that leave room for all
# links of this comparison. The default is for a small machine.
WANTED_KEYS = ("cache.answers_mib=1024",)


@dataclasses.dataclass
class Sizes:
    """How much is measured."""

    rounds: int = 5
    seconds: float = 8
    few: int = 100_000
    many: int = 1_000_000
    # How many queries are drawn before they repeat.
    drawn: int = 500_000
    drawn_zipf: int = 3_000_000
    # More than a server can answer in a run, or those answered first might be in a cache.
    absent: int = 3_000_000
    # For callgrind: links, and the queries of the two runs.
    traced_links: int = 10_000
    traced: tuple = (10_000, 50_000)


QUICK = Sizes(rounds=2, seconds=2, many=100_000, drawn_zipf=500_000, absent=1_000_000,
              traced_links=1_000, traced=(2_000, 6_000))


# ---- Links and queries ---------------------------------------------------------------------------

BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
PAIRS = [first + second for first in BASE36 for second in BASE36]


def code(fold):
    """A code as tinyns makes it of a fold: eight digits in base 36."""
    digits = []
    for _ in range(4):
        fold, pair = divmod(fold, len(PAIRS))
        digits.append(PAIRS[pair])
    return "".join(reversed(digits))


def draw_codes(count):
    """So many different codes, in random order as folds are: neighbours in popularity are no neighbours
    in a tree."""
    return [code(fold) for fold in random.Random(SEED).sample(range(36**8), count)]


def url(n):
    """Where link n leads; of usual length."""
    return f"https://example.net/articles/2026/{n:08}/a-title-of-some-words?edition=0"


class Data:
    """A set of links, as the servers read it, and queries for it."""

    def __init__(self, directory, links, absent):
        os.makedirs(directory)
        codes = draw_codes(links + absent)
        self.directory, self.links = directory, links
        self.codes, self.absent = codes[:links], codes[links:]
        self.zone = os.path.join(directory, "zone")
        servers.write_zone(self.zone, self.records())
        # Each name once.
        self.once = self.queries("once", self.codes)

    def records(self):
        """All codes and URLs."""
        return ((code, url(n)) for n, code in enumerate(self.codes))

    def queries(self, name, codes):
        """A file of queries for dnsperf; gives its path."""
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="ascii") as file:
            file.writelines(f"{code}.{ORIGIN} TXT\n" for code in codes)
        return path

    def store(self, tinyns):
        """The keys for a store that has the links. It is made on first use, with the schema of that
        build, and then filled without it: by the API that would take minutes."""
        directory = os.path.join(self.directory, tinyns.label)
        file = os.path.join(directory, "links.sqlite")
        keys = ['store.kind="sqlite"', f'store.path="{file}"']
        if not os.path.exists(file):
            os.makedirs(directory)
            with Tinyns(tinyns.binary, directory, sections(keys)):
                pass
            rows = sorted((ORIGIN, code, link, 0, "bench", 1) for code, link in self.records())
            with contextlib.closing(sqlite3.connect(file)) as database:
                database.execute("PRAGMA synchronous = OFF")
                database.executemany(
                    "INSERT INTO link (origin, code, url, created_at, created_by, version)"
                    " VALUES (?, ?, ?, ?, ?, ?)", rows)
                database.commit()
        return keys


def make_data(bench, name, loads):
    """A set of links, with the files of queries for these loads: those that are measured, and those
    some seconds before. These are drawn apart, or a cache would be filled with the very queries that
    count."""
    sizes = bench.sizes
    generator = random.Random(SEED)
    began = time.monotonic()
    absent = sizes.absent + sizes.drawn if {"absent", "signed-absent"} & set(loads) else LOOKED_AT
    data = Data(os.path.join(bench.directory, name), getattr(sizes, name), absent)
    files = {}
    for load in loads:
        if load.endswith("absent"):
            measured, before = data.absent[:sizes.absent], data.absent[sizes.absent:]
            files[load] = data.queries(load, measured), data.queries(f"{load}-before", before)
            continue
        if load == "zipf":
            weights = list(itertools.accumulate(1 / n for n in range(1, data.links + 1)))
            drawn = generator.choices(data.codes, cum_weights=weights, k=sizes.drawn + sizes.drawn_zipf)
        else:
            drawn = generator.choices(data.codes, k=2 * sizes.drawn)
        files[load] = (data.queries(load, drawn[sizes.drawn:]),
                       data.queries(f"{load}-before", drawn[:sizes.drawn]))
    # Some are asked for before a load; the millions are of no use any more.
    data.absent = data.absent[:LOOKED_AT]
    tell(f"{data.links:,} links and their queries made in {time.monotonic() - began:.0f} s")
    return data, files


# ---- Servers -------------------------------------------------------------------------------------

class Build:
    """A build of tinyns, and how it is started."""

    warm_seconds = 1

    def __init__(self, label, binary, keys, directory):
        self.label, self.binary = label, binary
        self.keys = [key for key in keys if self._knows(key, directory)]

    def _knows(self, key, directory):
        """Whether the configuration may have this key."""
        path = os.path.join(directory, "probe.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f'[[zone]]\norigin = "{ORIGIN}"\nredirect_host = "r"\n'
                       f'file = "{ROOT}/zones/{ORIGIN}.zone"\n{sections([key])}')
        run = subprocess.run([self.binary, "check", "--config", path], check=False,
                             stdin=subprocess.DEVNULL, capture_output=True)
        if run.returncode != 0:
            tell(f"{self.label} does not take {key}")
        return run.returncode == 0

    def start(self, bench, data, core, under=()):
        """A server with the links of `data`, none of which is in memory yet."""
        keys = [*data.store(self), "cache.memory_mib=4096", "cache.refresh=86400", *self.keys]
        directory = os.path.join(bench.directory, self.label)
        os.makedirs(directory, exist_ok=True)
        return Tinyns(self.binary, directory, sections(keys), core, under)


class Other:
    """Another server, and how it is started."""

    def __init__(self, label):
        self.label, self.kind = label, OTHERS[label]
        self.warm_seconds = self.kind.warm_seconds

    def start(self, bench, data, core, under=()):
        """A server with the links of `data`."""
        directory = os.path.join(bench.directory, self.label)
        workers = len(core.split(","))
        return self.kind(directory, data.zone, workers, core, under)


def sections(keys):
    """TOML from keys of the form section.key=value. Of those that are the same the last one counts."""
    tables = {}
    for key in keys:
        section, name, value = re.fullmatch(r"(\w+)\.(\w+)=(.*)", key).groups()
        tables.setdefault(section, {})[name] = value
    return "".join(f"[{section}]\n" + "".join(f"{name} = {value}\n" for name, value in table.items())
                   for section, table in tables.items())


def start(stack, bench, entrant, data, core=SERVER_CORE):
    """A server that gives right answers. tinyns reads a link from its store when it is first asked for,
    and then has it in memory, where the others have theirs from the start."""
    server = stack.enter_context(entrant.start(bench, data, core))
    if isinstance(entrant, Build):
        dnsperf(server.dns, data.once, BOTH_CORES if core == BOTH_CORES else LOAD_CORE, times=1)
    check_served(entrant, server, data)
    return server


def check_served(entrant, server, data):
    """All must give the same: the CNAME and the URL behind it, or that there is none."""
    if entrant.label == "echo":
        return
    sample = random.Random(SEED).sample(range(data.links), LOOKED_AT)
    with Resolver(server.dns) as resolver:
        for n in sample:
            for options in (None, COOKIE):
                answer = resolver.ask(data.codes[n], options)
                if not answer.leads_to(url(n)):
                    raise Fault(f"answers {data.codes[n]} with rcode {answer.rcode}, not its URL")
                if answer.has_edns() != (options is not None):
                    raise Fault("its answer has an OPT record, or has none, against the query")
        for absent in data.absent:
            if (rcode := resolver.ask(absent).rcode) != NXDOMAIN:
                raise Fault(f"answers {absent}, which does not exist, with rcode {rcode}")


# ---- Measures ------------------------------------------------------------------------------------

@dataclasses.dataclass
class Bench:
    """What all parts need: sizes, servers, and a directory that is gone afterwards."""

    sizes: Sizes
    entrants: list
    directory: str
    rate: float = None
    faults: int = 0

    def order(self, turn):
        """The servers in the order of a round: each has its turn at each place, now before and now
        after its neighbours."""
        first = turn % len(self.entrants)
        order = self.entrants[first:] + self.entrants[:first]
        return order[::-1] if turn % 2 else order

    def rounds(self):
        """The numbers of the rounds."""
        return range(self.sizes.rounds)

    @contextlib.contextmanager
    def fault_of(self, label, what):
        """What does not work with one server must not be the end of the others."""
        try:
            yield
        except (Fault, OSError) as fault:
            self.faults += 1
            tell(f"FAULT: {label}, {what}: {fault}")


class Table:
    """What a load has shown: the runs of each server, by round."""

    def __init__(self, title):
        self.title, self.runs = title, {}

    def add(self, label, turn, run):
        """One run."""
        self.runs.setdefault(label, {})[turn] = run

    def values(self, label, figure):
        """A figure in all rounds."""
        return [getattr(run, figure) for run in self.runs[label].values()]

    def ratios(self, label, to, figure):
        """The ratio of a figure to another server's, in each round that has both."""
        ours, theirs = self.runs[label], self.runs[to]
        return [getattr(ours[turn], figure) / getattr(theirs[turn], figure)
                for turn in ours if turn in theirs]

    def ratio(self, label, to, figure):
        """Their median and spread, for people."""
        ratios = self.ratios(label, to, figure)
        if label == to or not ratios:
            return "–"
        return (f"{statistics.median(ratios):.2f} "
                f"({min(ratios):.2f} – {max(ratios):.2f})")


Run = collections.namedtuple("Run", "per_cpu per_second busy response_bytes lost")


def run_once(bench, entrant, server, load, files):
    """One run of one load on one server."""
    kind = KINDS[load]
    measured, before = files
    # An echo has one answer to everything.
    rcode = "NOERROR" if entrant.label == "echo" else kind.rcode
    dnsperf(server.dns, before, LOAD_CORE, seconds=entrant.warm_seconds, more=kind.options, rcode=rcode)
    from_store = isinstance(entrant, Build) and server.metrics().asked("Store")
    run = timed(server, measured, LOAD_CORE, bench.sizes.seconds, kind.options, rcode)
    if isinstance(entrant, Build) and load != "absent":
        asked = (server.metrics().asked("Store") - from_store) / (run.per_second * bench.sizes.seconds)
        if asked > MOST_FROM_STORE:
            raise Fault(f"{100 * asked:.0f} % of the answers came from the store and not from memory")
    return run


def timed(server, queries, load_core, seconds, options=(), rcode="NOERROR"):
    """Loads a server and reckons what that took."""
    before = server.cpu_seconds()
    load = dnsperf(server.dns, queries, load_core, seconds=seconds, more=options, rcode=rcode)
    used = server.cpu_seconds() - before
    if load.lost > MOST_LOST * load.completed:
        raise Fault(f"{load.lost} of {load.completed} queries lost")
    busy = 100 * used / (load.completed / load.per_second)
    return Run(load.completed / used, load.per_second, busy, load.response_bytes, load.lost)


def measure_kinds(bench, data, files):
    """The loads for one set of links, on one core; and the memory that it takes."""
    tables = {load: Table(f"{load}: {KINDS[load].title.format(links=f'{data.links:,}')}")
              for load in files}
    memory = Table(f"memory with {data.links:,} links")
    for turn in bench.rounds():
        with contextlib.ExitStack() as stack:
            running = start_all(stack, bench, turn, data)
            loaded = {label: server.resident_mib_together() for label, (_, server) in running.items()}
            for load in files:
                for label, (entrant, server) in running.items():
                    with bench.fault_of(label, load):
                        tables[load].add(label, turn,
                                         run_once(bench, entrant, server, load, files[load]))
            for label, (_, server) in running.items():
                memory.add(label, turn, Memory(loaded[label], server.resident_mib_together()))
        tell(f"{', '.join(files)}: round {turn + 1} of {bench.sizes.rounds}")
    for table in tables.values():
        print_rates(table)
    print_memory(bench, data, memory)


def start_all(stack, bench, turn, data):
    """All servers, one after the other, in the order of a round; those that start."""
    running = {}
    for entrant in bench.order(turn):
        with bench.fault_of(entrant.label, "start"):
            running[entrant.label] = entrant, start(stack, bench, entrant, data)
    return running


def print_rates(table):
    """A load's table."""
    references = [label for label in REFERENCES if label in table.runs]
    heads = ["queries a CPU-second", "lowest – highest", *(f"to {label}" for label in references),
             "queries a second", "CPU time, % of a core", "bytes a reply", "lost"]
    print(f"\n**{table.title}**\n\n| | {' | '.join(heads)} |\n|---|{'--:|' * len(heads)}")
    for label in table.runs:
        per_cpu = table.values(label, "per_cpu")
        cells = [median(per_cpu), spread(per_cpu),
                 *(table.ratio(label, to, "per_cpu") for to in references),
                 median(table.values(label, "per_second")),
                 number(round(statistics.median(table.values(label, "busy")))),
                 median(table.values(label, "response_bytes")),
                 number(sum(table.values(label, "lost")))]
        print(f"| {label} | {' | '.join(cells)} |", flush=True)


# ---- Memory --------------------------------------------------------------------------------------

Memory = collections.namedtuple("Memory", "loaded after")


def print_memory(bench, data, table):
    """What the servers take with all links; of tinyns also what a link takes."""
    print(f"\n**{table.title}**\n\n| | resident when loaded, MiB | after the loads, MiB "
          "| bytes a link, when loaded |\n|---|--:|--:|--:|")
    for label in table.runs:
        loaded, after = (statistics.median(table.values(label, figure)) for figure in Memory._fields)
        print(f"| {label} | {number(loaded)} | {number(after)} | "
              f"{number(round(loaded * 2**20 / data.links))} |")
    empty = Data(os.path.join(data.directory, "empty"), 0, 0)
    for build in bench.entrants:
        if not isinstance(build, Build) or build.label not in table.runs:
            continue
        with bench.fault_of(build.label, "memory"):
            with build.start(bench, empty, SERVER_CORE) as server, Resolver(server.dns) as resolver:
                # What is taken only with the first query is no link's.
                resolver.ask("any")
                base = server.resident_mib_together()
            loaded = statistics.median(table.values(build.label, "loaded"))
            beyond = (loaded - base) * 2**20 / data.links - len(url(0))
            print(f"\n{build.label}: {number(base)} MiB without links; beyond that and the "
                  f"{len(url(0))} bytes of its URL, {number(round(beyond))} bytes a link.", flush=True)


# ---- Signed zones --------------------------------------------------------------------------------

class SignedBuild(Build):
    """A build of tinyns whose zone is signed, without bounds on signatures."""

    def __init__(self, build):
        self.label, self.binary, self.keys = build.label, build.binary, build.keys

    def start(self, bench, data, core, under=()):
        keys = [*data.store(self), "cache.memory_mib=4096", "cache.refresh=86400", *self.keys]
        directory = os.path.join(bench.directory, f"{self.label}-signed")
        zone = f'[zone.dnssec]\nkeys = "{directory}/keys"\n'
        os.makedirs(directory, exist_ok=True)
        if not os.path.exists(os.path.join(directory, "keys")):
            path = os.path.join(directory, "keys.toml")
            with open(path, "w", encoding="utf-8") as file:
                file.write(f'[[zone]]\norigin = "{ORIGIN}"\nredirect_host = "r"\n'
                           f'file = "{ROOT}/zones/{ORIGIN}.zone"\n{zone}')
            run = subprocess.run([self.binary, "keys", "generate", "--config", path], check=False,
                                 stdin=subprocess.DEVNULL, capture_output=True, text=True)
            if run.returncode != 0:
                raise Fault(f"tinyns keys generate: {run.stderr}")
        unbounded = ("[signatures]\nper_second = 0\nper_client = 0\nmade_up_per_second = 0\n"
                     "made_up_per_client = 0\n")
        return Tinyns(self.binary, directory, zone + unbounded + sections(keys), core, under)


class SignedKnot(Other):
    """Knot in one of its two ways to sign."""

    def __init__(self, label, kind):
        self.label, self.kind, self.warm_seconds = label, kind, kind.warm_seconds


def measure_signed(bench, data, files):
    """Loads of a signed zone, on one core."""
    entrants = [SignedBuild(entrant) for entrant in bench.entrants if isinstance(entrant, Build)]
    if any(entrant.label == "knot" for entrant in bench.entrants):
        entrants += [SignedKnot("knot", servers.KnotSigned), SignedKnot("knot-online", servers.KnotOnline)]
    bench = dataclasses.replace(bench, entrants=entrants)
    tables = {load: Table(SIGNED[load].title.format(links=f"{data.links:,}")) for load in files}
    for turn in bench.rounds():
        for entrant in bench.order(turn):
            with bench.fault_of(entrant.label, "start"), contextlib.ExitStack() as stack:
                server = stack.enter_context(entrant.start(bench, data, SERVER_CORE))
                options = SIGNED["signed"].options
                # Every name twice: what is kept of it is kept then.
                dnsperf(server.dns, data.once, LOAD_CORE, times=2, more=options)
                for load, (measured, before) in files.items():
                    # A zone that was signed before is denied as zones always were.
                    is_plain = load == "signed-absent" and entrant.label == "knot"
                    rcode = "NXDOMAIN" if is_plain else SIGNED[load].rcode
                    with bench.fault_of(entrant.label, load):
                        dnsperf(server.dns, before, LOAD_CORE, seconds=1, more=options, rcode=rcode)
                        tables[load].add(entrant.label, turn, timed(
                            server, measured, LOAD_CORE, bench.sizes.seconds, options, rcode))
        tell(f"{', '.join(files)}: round {turn + 1} of {bench.sizes.rounds}")
    for table in tables.values():
        print_rates(table)
    return bench.faults


# ---- Addresses that depend on the client ---------------------------------------------------------

class RoutedBuild(Build):
    """A build of tinyns whose links have pools, or none."""

    def __init__(self, build, has_pools):
        self.label = f"{build.label}, {'with' if has_pools else 'without'} pools"
        self.build, self.has_pools = build, has_pools

    def start(self, bench, data, core, under=()):
        build = self.build
        # Statistics of many links cost more than those of few, whether or not there are pools.
        keys = [*data.store(build), "cache.memory_mib=4096", "cache.refresh=86400", *build.keys,
                "statistics.enabled=false"]
        directory = os.path.join(bench.directory, f"{build.label}-{self.has_pools}")
        os.makedirs(directory, exist_ok=True)
        zone = pools = ""
        if self.has_pools:
            zone = f"pools = {json.dumps([f'p{n}' for n in range(POOLS)])}\n"
            pools = "".join(f'[[pool]]\nname = "p{n}"\naddresses = ["192.0.2.{n}"]\n'
                            f'networks = ["10.{n}.0.0/16"]\n' for n in range(POOLS))
        return Tinyns(build.binary, directory, pools + sections(keys), core, under, zone=zone)


def address_queries(path, codes, networks):
    """A file of queries for addresses, with a client subnet each, in the form of DNS over TCP."""
    with open(path, "wb") as file:
        for code, network in zip(codes, networks):
            subnet = bytes((0, 8, 0, 7, 0, 1, 24, 0, 10, network, 0))
            query = with_edns(txt_query(f"{code}.{ORIGIN}", 0, TYPE_A), subnet)
            file.write(len(query).to_bytes(2, "big") + query)
    return path


def measure_routed(bench):
    """Addresses of links, without pools and with many, on one core. Both have equally many answers."""
    sizes = bench.sizes
    data = Data(os.path.join(bench.directory, "routed"), sizes.few, LOOKED_AT)
    entrants = [RoutedBuild(build, has_pools) for build in bench.entrants if isinstance(build, Build)
                for has_pools in (False, True)]
    bench = dataclasses.replace(bench, entrants=entrants)
    generator = random.Random(SEED)
    files = {}
    for has_pools in (False, True):
        codes = data.codes[:sizes.few // POOLS] if has_pools else data.codes
        path = os.path.join(data.directory, f"subnets-{has_pools}")
        files[has_pools] = address_queries(path, generator.choices(codes, k=sizes.drawn),
                                           generator.choices(range(POOLS), k=sizes.drawn))
    table = Table(f"routed: A with a client subnet; {data.links:,} links without pools, and "
                  f"{data.links // POOLS:,} links with {POOLS} pools")
    for turn in bench.rounds():
        for entrant in bench.order(turn):
            with bench.fault_of(entrant.label, "routed"), entrant.start(bench, data, SERVER_CORE) as server:
                queries = files[entrant.has_pools]
                dnsperf(server.dns, data.once, LOAD_CORE, times=1)
                dnsperf(server.dns, queries, LOAD_CORE, times=3, more=("-B",))
                table.add(entrant.label, turn,
                          timed(server, queries, LOAD_CORE, sizes.seconds, ("-B",)))
        tell(f"routed: round {turn + 1} of {sizes.rounds}")
    print_rates(table)
    for without, with_pools in zip(entrants[::2], entrants[1::2]):
        if without.label in table.runs and with_pools.label in table.runs:
            print(f"\n{with_pools.label}, to {without.label}: "
                  f"{table.ratio(with_pools.label, without.label, 'per_cpu')}.", flush=True)
    shutil.rmtree(data.directory)
    return bench.faults


# ---- Two cores, and latencies --------------------------------------------------------------------

def measure_two(bench, data, files):
    """Servers with two threads or processes, each alone with dnsperf on both cores."""
    table = Table(f"two: TXT, {data.links:,} links in random order; the server and dnsperf share both "
                  "cores. Queries a second are what dnsperf leaves of the machine, and no limit of the "
                  "server")
    for turn in bench.rounds():
        for entrant in bench.order(turn):
            with bench.fault_of(entrant.label, "two"), contextlib.ExitStack() as stack:
                server = start(stack, bench, entrant, data, BOTH_CORES)
                dnsperf(server.dns, files[1], BOTH_CORES, seconds=entrant.warm_seconds)
                table.add(entrant.label, turn,
                          timed(server, files[0], BOTH_CORES, bench.sizes.seconds))
        tell(f"two: round {turn + 1} of {bench.sizes.rounds}")
    print_rates(table)


Tail = collections.namedtuple("Tail", "p50 p99 p999 max lost late_p99")


def measure_tail(bench, data, files):
    """Latencies at one rate for all servers."""
    openloop = servers.compiled("openloop", bench.directory)
    table = Table("tail")
    rates = []
    for turn in bench.rounds():
        with contextlib.ExitStack() as stack:
            running = start_all(stack, bench, turn, data)
            rate = bench.rate
            if rate is None:
                if "knot" not in running:
                    raise Fault("without Knot there is no rate; see --rate")
                server = running["knot"][1]
                dnsperf(server.dns, files[1], LOAD_CORE, seconds=1)
                rate = TAIL_PART * timed(server, files[0], LOAD_CORE, bench.sizes.seconds).per_second
            rates.append(rate)
            for label, (entrant, server) in running.items():
                with bench.fault_of(label, "tail"):
                    dnsperf(server.dns, files[1], LOAD_CORE, seconds=entrant.warm_seconds)
                    table.add(label, turn, ask_by_the_clock(
                        openloop, server, files[0], rate, bench.sizes.seconds))
        tell(f"tail: round {turn + 1} of {bench.sizes.rounds}")
    table.title = (f"tail: TXT, {data.links:,} links in random order, {median(rates)} queries a second "
                   f"({spread(rates)}) by the clock; latencies in µs, from when a query was due")
    print_tail(table)


def ask_by_the_clock(program, server, queries, rate, seconds):
    """One run of benches/openloop.c."""
    command = ["taskset", "-c", LOAD_CORE, program, str(server.dns), queries, str(rate), str(seconds)]
    run = subprocess.run(command, check=False, text=True, stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if run.returncode != 0:
        raise Fault(f"openloop fails: {run.stderr}")
    result = json.loads(run.stdout)
    if result["wrong"] or not result["answered"]:
        raise Fault(f"of {result['answered']} answers {result['wrong']} are not NOERROR")
    lost = 100 * (1 - result["answered"] / result["sent"])
    return Tail(*(result[key] for key in ("p50", "p99", "p999", "max")), lost, result["late_p99"])


def print_tail(table):
    """The table of latencies. The client's own lateness is part of them: where that is not small, the
    machine was not quiet, and the others say little."""
    print(f"\n**{table.title}**\n\n| | p50 | p99 | lowest – highest | p99 to knot | p99.9 | max "
          f"| lost, % | p99 of the client's own lateness |\n|---|{'--:|' * 8}")
    for label in table.runs:
        p50, p999, most, lost, late = (median(table.values(label, figure)) for figure in (
            "p50", "p999", "max", "lost", "late_p99"))
        p99 = table.values(label, "p99")
        to_knot = table.ratio(label, "knot", "p99") if "knot" in table.runs else "–"
        print(f"| {label} | {p50} | {median(p99)} | {spread(p99)} | {to_knot} | {p999} | {most} "
              f"| {lost} | {late} |", flush=True)


# ---- Instructions --------------------------------------------------------------------------------

# How many queries are sent before their answers are awaited, so that a server takes several at once,
# as it does under load.
BURST = 32
# How long a server may take to answer under callgrind.
TRACED_SECONDS = 60


def count_instructions(bench):
    """Instructions a query of each server, by callgrind."""
    sizes = bench.sizes
    data = Data(os.path.join(bench.directory, "traced"), sizes.traced_links, 0)
    print(f"\n**Instructions a query: user space alone, by callgrind; TXT, {data.links:,} links, "
          f"queries in bursts of {BURST}**\n\n| | instructions a query |\n|---|--:|")
    for entrant in bench.entrants:
        if entrant.label == "echo":
            continue
        counts = []
        with bench.fault_of(entrant.label, "callgrind"):
            for queries in sizes.traced:
                counts.append(traced(bench, entrant, data, queries))
        result = "cannot be run under callgrind"
        if len(counts) == len(sizes.traced):
            result = number(round((counts[1] - counts[0]) / (sizes.traced[1] - sizes.traced[0])))
        print(f"| {entrant.label} | {result} |", flush=True)
        tell(f"callgrind: {entrant.label} done")


def traced(bench, entrant, data, queries):
    """The instructions of a server from its start to its end, with so many queries between."""
    with apparatus.workspace(bench.directory) as directory:
        under = ["valgrind", "--quiet", "--tool=callgrind",
                 f"--callgrind-out-file={directory}/out.%p"]
        with entrant.start(bench, data, SERVER_CORE, under) as server:
            # Each name once first, so that what is kept in memory is there.
            ask_in_bursts(server.dns, data.codes)
            ask_in_bursts(server.dns, itertools.islice(itertools.cycle(data.codes), queries))
        return sum(instructions(os.path.join(directory, name)) for name in os.listdir(directory))


def ask_in_bursts(port, codes):
    """Asks for each of these codes."""
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.connect((HOST, port))
        client.settimeout(TRACED_SECONDS)
        while burst := list(itertools.islice(codes := iter(codes), BURST)):
            for number_, code_ in enumerate(burst):
                client.send(apparatus.txt_query(f"{code_}.{ORIGIN}", number_))
            for _ in burst:
                if (rcode := apparatus.Answer(client.recv(4096)).rcode) != NOERROR:
                    raise Fault(f"an answer with rcode {rcode}")


def instructions(path):
    """What a file of callgrind sums up."""
    with open(path, encoding="utf-8", errors="replace") as file:
        found = re.findall(r"^(?:summary|totals): (\d+)", file.read(), re.MULTILINE)
    if not found:
        raise Fault("callgrind has no output")
    return int(found[-1])


# ---- The whole -----------------------------------------------------------------------------------

def measure(bench, loads):
    """All that is asked for. What two loads share is made once."""
    kinds = [load for load in loads if load in KINDS]
    few = [load for load in kinds if KINDS[load].data == "few"]
    shared = [load for load in ("two", "tail") if load in loads]
    signed = [load for load in SIGNED if load in loads]
    if signed:
        data, files = make_data(bench, "few", signed)
        bench.faults = measure_signed(bench, data, files)
        shutil.rmtree(data.directory)
    if "routed" in loads:
        bench.faults = measure_routed(bench)
    if few or shared:
        needed = ["hot"] if shared and "hot" not in few else []
        data, files = make_data(bench, "few", few + needed)
        if few:
            measure_kinds(bench, data, {load: files[load] for load in few})
        for load in shared:
            with bench.fault_of(load, "all"):
                {"two": measure_two, "tail": measure_tail}[load](bench, data, files["hot"])
        shutil.rmtree(data.directory)
    if many := [load for load in kinds if KINDS[load].data == "many"]:
        data, files = make_data(bench, "many", many)
        measure_kinds(bench, data, files)
        shutil.rmtree(data.directory)


def circumstances(bench, instructions_too):
    """What the figures hold for, in some lines of Markdown."""
    yield f"{report.machine()}."
    yield report.versions((
        ("Knot DNS", ["knotd", "-V"], "version "),
        ("NSD", ["nsd", "-v"], "version "),
        ("BIND", ["named", "-v"], "BIND "),
        ("PowerDNS", ["pdns_server", "--version"], "Server "),
        ("dnsperf", ["dnsperf", "-H"], ""))) + "."
    for build in bench.entrants:
        if isinstance(build, Build):
            keys = f"; with {', '.join(build.keys)}" if build.keys else ""
            version = report.versions([("tinyns", [build.binary, "--version"], "")])
            yield f"{build.label}: {version}, SHA-256 {report.digest(build.binary)}{keys}."
    if not instructions_too:
        yield (f"Medians of {bench.sizes.rounds} rounds of {number(bench.sizes.seconds)} s; lowest and "
               "highest beside.")


def check_programs(bench, loads, instructions_too):
    """Says what is missing before anything is begun."""
    programs = {"knot": "knotd", "nsd": "nsd", "bind": "named", "pdns": "pdns_server", "echo": "cc"}
    needed = {programs.get(entrant.label, "taskset") for entrant in bench.entrants}
    needed |= {"dnsperf", "taskset"} | ({"cc"} if "tail" in loads else set())
    needed |= {"valgrind"} if instructions_too else set()
    if missing := sorted(name for name in needed if not shutil.which(name)):
        sys.exit(f"not there: {', '.join(missing)}; benches/compare.sh installs them, or leave "
                 "servers out by --servers")
    if not {0, 1} <= os.sched_getaffinity(0):
        sys.exit("the cores 0 and 1 are needed")


def self_test():
    """Shows that codes are made and figures reckoned rightly."""
    def check(found, expected):
        assert found == expected, f"{found!r} and not {expected!r}"

    check([code(0), code(35), code(36**8 - 1), code(36**2)],
          ["00000000", "0000000z", "zzzzzzzz", "00000100"])
    check(len(set(draw_codes(1000))), 1000)
    check(sections(["b.x=1", "a.y=\"z\"", "b.w=2", "b.x=3"]), '[b]\nx = 3\nw = 2\n[a]\ny = "z"\n')
    table = Table("")
    for turn, (ours, theirs) in enumerate(((4, 2), (3, 3), (10, 2))):
        table.add("a", turn, Memory(ours, 0))
        table.add("b", turn, Memory(theirs, 0))
    table.add("a", 3, Memory(100, 0))
    check(table.ratios("a", "b", "loaded"), [2, 1, 5])
    check(table.ratio("a", "b", "loaded"), "2.00 (1.00 – 5.00)")
    bench = Bench(QUICK, ["a", "b", "c"], "")
    check([bench.order(turn) for turn in range(3)],
          [["a", "b", "c"], ["a", "c", "b"], ["c", "a", "b"]])
    apparatus.self_test()
    report.self_test()


def arguments():
    """The command line."""
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loads", metavar="LOADS", type=lambda text: text.split(","),
                        default=list(LOADS), help=f"some of {','.join(LOADS)}")
    parser.add_argument("--servers", metavar="SERVERS", type=lambda text: text.split(","),
                        default=["tinyns", *OTHERS],
                        help=f"some of tinyns,{','.join(OTHERS)}; tinyns stands for all its builds")
    parser.add_argument("--tinyns", metavar="[LABEL=]PATH", action="append",
                        help="a build to measure; may be there several times, with labels")
    parser.add_argument("--key", metavar="SECTION.KEY=VALUE", action="append", default=[],
                        help="for tinyns' configuration, in [cache] or [store], where the build knows "
                        f"it; there is {', '.join(WANTED_KEYS)} already")
    parser.add_argument("--rounds", type=int, help=f"{Sizes.rounds}, or {QUICK.rounds} if quick")
    parser.add_argument("--seconds", type=float,
                        help=f"of a run; {Sizes.seconds}, or {QUICK.seconds} if quick")
    parser.add_argument("--rate", type=float, help="of the load \"tail\", in queries a second; "
                        f"{TAIL_PART:.0%} of what Knot reaches".replace("%", "%%"))
    parser.add_argument("--instructions", action="store_true",
                        help="count instructions by callgrind, instead of the loads")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see whether it works")
    parser.add_argument("--dir", help="where files are made, some hundred MB; the usual directory for "
                        "temporary files")
    parser.add_argument("--self-test", action="store_true", help="check this program and nothing else")
    options = parser.parse_args()
    for given, known, what in ((options.loads, LOADS, "loads"),
                               (options.servers, ("tinyns", *OTHERS), "servers")):
        if unknown := set(given) - set(known):
            parser.error(f"--{what}: there is no {', '.join(sorted(unknown))}")
    if bad := [key for key in options.key if not re.fullmatch(r"\w+\.\w+=.+", key)]:
        parser.error(f"--key: {bad[0]} is not of the form SECTION.KEY=VALUE")
    if (options.rounds or 1) < 1 or not 1 <= (options.seconds or 1) <= 600:
        parser.error("at least one round, and 1 to 600 seconds")
    options.builds = {}
    for build in options.tinyns or [os.path.join(target, "release/tinyns")]:
        label, _, path = build.rpartition("=")
        label = label or "tinyns"
        if label in OTHERS or label in options.builds or not re.fullmatch(r"[\w.-]+", label):
            parser.error(f"--tinyns: {label} cannot be a label, or is one already")
        if not shutil.which(path):
            parser.error(f"--tinyns: {path} is no program")
        options.builds[label] = os.path.abspath(path)
    return options


def main():
    # Servers live where only root looks by default.
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    options = arguments()
    if options.self_test:
        self_test()
        return 0
    apparatus.obey_signals()
    sizes = QUICK if options.quick else Sizes()
    sizes = dataclasses.replace(sizes, rounds=options.rounds or sizes.rounds,
                                seconds=options.seconds or sizes.seconds)
    with apparatus.workspace(options.dir) as directory:
        entrants = []
        if "tinyns" in options.servers:
            keys = [*WANTED_KEYS, *options.key]
            entrants += [Build(label, path, keys, directory) for label, path in options.builds.items()]
        entrants += [Other(label) for label in OTHERS if label in options.servers]
        bench = Bench(sizes, entrants, directory, options.rate)
        check_programs(bench, options.loads, options.instructions)
        print(*circumstances(bench, options.instructions), sep="\n", flush=True)
        if options.instructions:
            count_instructions(bench)
        else:
            measure(bench, options.loads)
    return 1 if bench.faults else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
