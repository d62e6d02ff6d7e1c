#!/usr/bin/env python3
"""Measures when a link that was made in one region shows in another, with the real programs on one machine.

Each region has a tinyns and a Redis of its own. The time between the regions is chosen, because the loopback interface has
none:

* PostgreSQL: the writer is in region A, and a streaming replica in region B, which applies each change so many milliseconds
  after its commit (recovery_min_apply_delay). A replica that is a second late is not measured: the server in B then reads
  changes from the writer, which is not far away here.
* DynamoDB: a table in each region (emulators). A process reads the stream of the one in A, and puts each item into the one
  in B so many milliseconds after it has read it, as DynamoDB does for global tables.

Of the changes in A every second is a link whose absence the server in B has just answered, and every other a new URL for a
link that it has just answered. Once the API in A has replied, the server in B is asked without pause until it gives the new
URL. Two times are told: from the reply, and what remains of it without the chosen delay. The second one is what tinyns and
the store add. With DynamoDB it has the pause between two reads of the stream, which is half a second.

    benches/regions.py              all of it, with the release build
    benches/regions.py --quick      whether it works; the figures mean little

The table goes to standard output, in Markdown; progress and faults go to standard error. It wants a machine that does
nothing else. Needed are redis-server, PostgreSQL, and the DynamoDB emulator, which tests/run.sh builds.
"""

import argparse
import collections
import contextlib
import http.client
import json
import os
import sys
import time

import apparatus
from apparatus import (
    HOST, NXDOMAIN, ROOT, Connection, Emulator, Fault, Postgres, PostgresReplica, Program, Redis, Resolver, Tinyns)
from report import Figures, quantile, tell
from tiers import body, code, url

# How long a new server has before anything changes, in seconds.
SETTLING = 3
# How long a change may take to show beyond the delay, in seconds.
PATIENCE = 10
TABLE = "tinyUrl"
# How often the replicating process reads the stream, in seconds.
REPLICATOR_PAUSE = 0.005


def postgres_regions(stack, bench, delay):
    """The [store] sections of both regions."""
    directory = bench.path(f"postgres-{delay}")
    writer = stack.enter_context(Postgres(directory))
    replica = stack.enter_context(PostgresReplica(writer, directory, delay))
    here = writer.section()
    return here, here + f'replica_url = "{replica.url()}"\nreplica_lag = 60\n'


def dynamodb_regions(stack, bench, delay):
    """The same. The replicating process starts when the servers have made the tables."""
    directory = bench.path(f"dynamodb-{delay}")
    tables = [stack.enter_context(Emulator(bench.emulator, directory)) for _ in range(2)]
    command = [sys.executable, os.path.abspath(__file__), "--replicate",
               *(str(table.port) for table in tables), str(delay)]
    bench.later = lambda: stack.enter_context(Program(command, directory))
    return tuple(table.section() for table in tables)


# With the chosen delays, in milliseconds.
STORES = (("PostgreSQL", postgres_regions, (0, 100)), ("DynamoDB emulators", dynamodb_regions, (0, 100, 1_000)))


class Bench:
    """What the parts need."""

    def __init__(self, arguments, directory):
        self.rounds, self.changes = (1, 20) if arguments.quick else (2, 50)
        self.binary, self.emulator, self.directory = arguments.binary, arguments.emulator, directory
        self.later = lambda: None

    def path(self, name):
        """A directory of its own."""
        path = os.path.join(self.directory, name)
        os.makedirs(path, exist_ok=True)
        return path


def measure(bench):
    """All stores with all delays."""
    figures = Figures()
    for label, regions, delay in ((*store, delay) for *store, delays in STORES for delay in delays):
        with contextlib.ExitStack() as stack:
            bench.later = lambda: None
            sections = regions(stack, bench, delay)
            servers = []
            for name, store in zip("ab", sections):
                directory = bench.path(f"{label}-{delay}-{name}".replace(" ", "-"))
                redis = stack.enter_context(Redis(directory))
                lines = f'{store}{redis.section()}[server]\nname = "{name}1"\nregion = "{name}"\n'
                servers.append(stack.enter_context(Tinyns(bench.binary, directory, lines)))
            near, far = servers
            for server in servers:
                server.wait_for_answers(server.dns)
                server.wait_until(lambda server=server: server.metrics().of("feed_following") == 1)
            # The servers have made the tables.
            bench.later()
            # A server reads changes from the writer until its replica has those that it knows.
            time.sleep(SETTLING + 3 * delay / 1_000)
            for turn in range(bench.rounds):
                times = watch(near, far, turn * bench.changes, bench.changes)
                report(figures, f"{label}, {delay:,} ms between the regions", times, delay)
                tell(f"{label}, {delay} ms, round {turn + 1} of {bench.rounds}")
    return figures


def watch(near, far, start, count):
    """Makes changes in one region and waits for them in the other; gives the times in seconds."""
    times = []
    with Connection(near.admin) as api, Resolver(far.dns) as resolver:
        for n in range(start, start + count):
            link, edition = n - n % 2, n % 2
            before = resolver.ask(code(link))
            known = before.leads_to(url(link, 0)) if edition else before.rcode == NXDOMAIN
            if not known:
                raise Fault(f"before the change of {code(link)} region B answers with rcode {before.rcode}")
            if edition:
                change = json.dumps({"url": url(link, 1)})
                status = api.call("PATCH", f"/v1/links/{code(link)}", change)
            else:
                status = api.call("POST", "/v1/links", body(link))
            replied = time.perf_counter()
            if status != (201, 200)[edition]:
                raise Fault(f"the change of {code(link)} was answered with status {status}")
            while not resolver.ask(code(link)).leads_to(url(link, edition)):
                if time.perf_counter() - replied > PATIENCE:
                    raise Fault(f"{code(link)} does not show in region B")
            times.append(time.perf_counter() - replied)
    return times


def report(figures, label, times, delay):
    """The figures of a round."""
    for part, name in ((0.5, "p50"), (0.99, "p99"), (1.0, "max")):
        shown = 1_000 * quantile(times, part)
        figures.add(label, f"{name}, ms", shown)
        if delay:
            figures.add(label, f"{name} beyond the delay, ms", shown - delay)


# ---- The replicating process ---------------------------------------------------------------------

class Table:
    """A table of an emulator, by the protocol of DynamoDB."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE)

    def call(self, target, **arguments):
        """A call; the emulator checks no signature."""
        headers = {
            "X-Amz-Target": target, "X-Amz-Date": "20260101T000000Z",
            "Content-Type": "application/x-amz-json-1.0",
            "Authorization": "AWS4-HMAC-SHA256 Credential=bench/20260101/us-east-1/dynamodb/aws4_request, "
                             "SignedHeaders=host, Signature=0"}
        self.connection.request("POST", "/", json.dumps(arguments), headers)
        response = self.connection.getresponse()
        text = response.read().decode()
        if response.status != 200:
            raise Fault(f"{target}: {text}")
        return json.loads(text)

    def items(self, operation, **arguments):
        """A call about the table."""
        return self.call(f"DynamoDB_20120810.{operation}", TableName=TABLE, **arguments)

    def stream(self, operation, **arguments):
        """A call about its stream."""
        return self.call(f"DynamoDBStreams_20120810.{operation}", **arguments)


def replicate(source, target, delay):
    """Puts what changes in one table into the other, so many seconds later. It never ends."""
    source, target = Table(source), Table(target)
    arn = source.items("DescribeTable")["Table"]["LatestStreamArn"]
    iterators, waiting = {}, collections.deque()
    while True:
        for shard in source.stream("DescribeStream", StreamArn=arn)["StreamDescription"]["Shards"]:
            name = shard["ShardId"]
            if name not in iterators:
                iterators[name] = source.stream(
                    "GetShardIterator", StreamArn=arn, ShardId=name,
                    ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
            if iterators[name] is None:
                continue
            page = source.stream("GetRecords", ShardIterator=iterators[name])
            iterators[name] = page.get("NextShardIterator")
            due = time.monotonic() + delay
            waiting.extend((due, record) for record in page["Records"])
        while waiting and waiting[0][0] <= time.monotonic():
            change = waiting.popleft()[1]["dynamodb"]
            if "NewImage" in change:
                target.items("PutItem", Item=change["NewImage"])
            else:
                target.items("DeleteItem", Key=change["Keys"])
        time.sleep(REPLICATOR_PAUSE)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few changes, to see whether it works")
    parser.add_argument("--binary", default=os.path.join(ROOT, "target/release/tinyns"))
    parser.add_argument("--emulator", default=os.path.join(ROOT, "target/tools/bin/dynoxide"))
    parser.add_argument("--replicate", nargs=3, metavar=("FROM", "TO", "MS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.replicate:
        source, target, delay = map(int, arguments.replicate)
        replicate(source, target, delay / 1_000)
    apparatus.obey_signals()
    try:
        with apparatus.workspace() as directory:
            figures = measure(Bench(arguments, directory))
    except Fault as fault:
        sys.exit(f"regions: {fault}")
    print("| | figure | median of the rounds | lowest – highest |\n|---|---|--:|--:|")
    print("\n".join(figures.rows()))


if __name__ == "__main__":
    main()
