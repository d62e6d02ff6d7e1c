"""What benches/tiers.py and benches/compare.py measure with: programs that are stopped again, and
clients that are quick.

The clients know as much of DNS, HTTP and Redis as the measures need, and no more. General ones would
do, but for their time: they are part of what is measured, and on a small machine they take it from the
server. All of it stays on the loopback interface.
"""

import collections
import contextlib
import glob
import http.client
import itertools
import json
import os
import re
import select
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HOST = "127.0.0.1"
# How the names of our directories begin.
WORKSPACE = "tinyns-bench-"
# The user that has no rights.
NOBODY = 65_534
ORIGIN = "s.example.com"
TOKEN = "bench-token-0123456789abcdef"

# How long a program may take to begin, and to end when it is asked to.
START_SECONDS = 30
STOP_SECONDS = 20
# How long a client waits for an answer, in seconds: by DNS as long as resolvers do, by HTTP longer than
# the server's own deadlines.
DNS_SECONDS = 2
HTTP_SECONDS = 60
# How often a port is tried that another program may take first.
PORT_TRIES = 20

TYPE_A = 1
TYPE_TXT = 16
TYPE_OPT = 41
EDNS_SIZE = 1232
EDNS_DO = 0x8000
CLASS_IN = 1
NOERROR = 0
NXDOMAIN = 3


class Fault(Exception):
    """What was measured cannot be used, or nothing could be measured."""


# ---- Programs, and their end ---------------------------------------------------------------------

_running = []
_shielded = False
_interrupted = False


def obey_signals():
    """Has Ctrl-C and its kin end the run by an exception, so that everything is stopped and removed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)


def _interrupt(_number, _frame):
    """The first signal counts; those after it must not disturb the clearing up."""
    global _interrupted
    if _interrupted:
        return
    _interrupted = True
    if not _shielded:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _shield():
    """Delays a signal until a started program is known, so that the program can be stopped."""
    global _shielded
    _shielded = True
    try:
        yield
    finally:
        _shielded = False
    if _interrupted:
        raise KeyboardInterrupt


@contextlib.contextmanager
def workspace(parent=None):
    """A new directory. In the end it is gone and no program runs any more, however that came."""
    directory = None
    try:
        with _shield():
            directory = tempfile.mkdtemp(prefix=WORKSPACE, dir=parent)
        yield directory
    finally:
        with _shield():
            for program in reversed(list(_running)):
                program.close()
            if directory:
                shutil.rmtree(directory)


class Program:
    """A program that runs until it is closed. What it says goes to a file."""

    # What asks it to end.
    end_signal = signal.SIGTERM

    def __init__(self, command, directory, core=None, env=None):
        if core is not None:
            command = ["taskset", "-c", str(core), *command]
        self.name = os.path.basename(command[0] if core is None else command[3])
        with _shield(), tempfile.NamedTemporaryFile(dir=directory, suffix=".log", delete=False) as log:
            self.log = log.name
            # A session of its own: Ctrl-C on a terminal is for us, and we stop it in our own time.
            self.process = subprocess.Popen(
                command, cwd=directory, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True)
            _running.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def pid(self):
        """Of the program itself: taskset becomes what it starts."""
        return self.process.pid

    def close(self):
        """Asks it to end, and makes it if it does not. Tells if it has ended already."""
        if self not in _running:
            return
        if (status := self.process.poll()) is not None:
            print(f"{self.name} has ended by itself, with status {status}:\n{self.said()[-2000:]}",
                  file=sys.stderr)
        self.process.send_signal(self.end_signal)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            # With what it has started: the first process leads the group.
            os.killpg(self.pid, signal.SIGKILL)
            self.process.wait()
        _running.remove(self)

    def said(self):
        """What it has logged."""
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def wait_until(self, condition, seconds=START_SECONDS):
        """What `condition` gives, as soon as that is something; a Fault if the program ends before."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := condition():
                return found
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        else:
            # Nobody has it yet who would close it.
            self.close()
        raise Fault(f"{self.name} does not start:\n{self.said()[-2000:]}")

    def wait_for_answers(self, port, seconds=START_SECONDS):
        """Waits until it answers by DNS with something else than an error, which it may do some time
        after it has begun to listen."""
        def answers():
            with contextlib.suppress(Fault, OSError), Resolver(port) as resolver:
                return resolver.ask("any").rcode in (NOERROR, NXDOMAIN)
            return False

        self.wait_until(answers, seconds)

    def processes(self):
        """The process and all that have come from it: they are in its session."""
        for pid in filter(str.isdecimal, os.listdir("/proc")):
            # One that ends meanwhile is none.
            with contextlib.suppress(OSError):
                if os.getsid(int(pid)) == self.pid:
                    yield int(pid)

    def cpu_seconds(self):
        """The processor time of all its processes and threads so far, their own and the kernel's on
        their behalf."""
        ticks = 0
        for pid in self.processes():
            with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                # The name of the program comes second, in parentheses, and may hold anything.
                fields = file.read().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def resident_mib(self, which="VmRSS"):
        """Its memory that is resident now, or at most so far with "VmHWM"."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            return int(re.search(rf"^{which}:\s+(\d+) kB", file.read(), re.MULTILINE)[1]) / 1024

    def resident_mib_together(self):
        """The resident memory of all its processes, where a page that n of them share counts as one
        n-th in each: of one process alone little less than VmRSS."""
        total = 0
        for pid in self.processes():
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
                total += int(re.search(r"^Pss:\s+(\d+) kB", file.read(), re.MULTILINE)[1])
        return total / 1024


def free_port():
    """A port that is free for TCP and UDP just now."""
    for _ in range(PORT_TRIES):
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind((HOST, 0))
            port = tcp.getsockname()[1]
            with contextlib.suppress(OSError):
                udp.bind((HOST, port))
                return port
    raise Fault("no port is free for both TCP and UDP")


def listens(port):
    """Whether connections to a port are accepted."""
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


class Redis(Program):
    """A Redis that keeps nothing on disk."""

    def __init__(self, directory, core=None, port=None):
        self.port = port or free_port()
        super().__init__(
            ["redis-server", "--bind", HOST, "--port", str(self.port), "--save", "",
             "--appendonly", "no"], directory, core)
        self.wait_until(lambda: listens(self.port))

    def section(self, more=""):
        """The [redis] section that leads to it."""
        return redis_section(self.port, more)

    def links(self):
        """How many links it holds; all other keys together are a handful."""
        return int(self._ask("DBSIZE"))

    def link_bytes(self):
        """The memory that it uses beyond what it has used when empty."""
        info = self._ask("INFO memory")
        used, empty = (int(re.search(rf"^{key}:(\d+)", info, re.MULTILINE)[1])
                       for key in ("used_memory", "used_memory_startup"))
        return used - empty

    def _ask(self, command):
        """An inline command; the reply is a number or one text."""
        with socket.create_connection((HOST, self.port), HTTP_SECONDS) as connection:
            connection.sendall(f"{command}\r\n".encode())
            with connection.makefile("rb") as replies:
                first = replies.readline().decode().strip()
                if first.startswith(":"):
                    return first[1:]
                if first.startswith("$"):
                    return replies.read(int(first[1:])).decode()
        raise Fault(f"Redis answers {first!r} to {command}")


def redis_section(port, more=""):
    """A [redis] section for a Redis that need not be there yet."""
    return f'[redis]\nurl = "redis://{HOST}:{port}"\n{more}\n'


def sqlite_section(file):
    """The [store] section for an embedded store."""
    return f'[store]\nkind = "sqlite"\npath = "{file}"\n'


def postgres_program(name):
    """The newest one of PostgreSQL's programs, which Debian keeps out of PATH; none if it is not there."""
    def version(path):
        return [int(part) for part in path.split("/")[4].split(".") if part.isdecimal()]

    found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), key=version)
    return found[-1] if found else shutil.which(name)


def run_psql(port, statement):
    """Runs a statement as the owner of a PostgreSQL server."""
    return subprocess.run(
        [postgres_program("psql"), "-h", HOST, "-p", str(port), "-U", "postgres", "-Xqc", statement],
        capture_output=True, text=True)


class Postgres(Program):
    """A PostgreSQL with its default settings, with a database for the links and data of its own."""

    # Ends the sessions, where SIGTERM waits for them.
    end_signal = signal.SIGINT

    def __init__(self, directory, core=None):
        self.port = free_port()
        path = directory
        # PostgreSQL refuses to run as root; the other user has to reach its data in our workspaces.
        while os.geteuid() == 0 and WORKSPACE in path:
            os.chmod(path, os.stat(path).st_mode | 0o011)
            path = os.path.dirname(path)
        data = tempfile.mkdtemp(prefix="postgres-", dir=directory)
        if os.geteuid() == 0:
            os.chown(data, NOBODY, NOBODY)
        made = subprocess.run(
            [*self.as_user(), postgres_program("initdb"), "-D", f"{data}/data", "-U", "postgres",
             "-A", "trust", "-E", "UTF8", "--locale=C"], cwd="/", capture_output=True, text=True)
        if made.returncode:
            raise Fault(f"initdb: {made.stderr[-2000:]}")
        super().__init__(
            [*self.as_user(), postgres_program("postgres"), "-D", f"{data}/data", "-h", HOST,
             "-p", str(self.port), "-k", data], data, core)
        self.name = "postgres"
        self.wait_until(lambda: run_psql(self.port, "SELECT 1").returncode == 0)
        for statement in ("CREATE ROLE tinyns LOGIN", "CREATE DATABASE tinyns OWNER tinyns"):
            if (done := run_psql(self.port, statement)).returncode:
                raise Fault(f"{statement}: {done.stderr}")

    @staticmethod
    def as_user():
        """What to put before a command, so that it does not run as root."""
        ids = ["--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
        return ["setpriv", *ids] if os.geteuid() == 0 else []

    def section(self):
        """The [store] section that leads to it. There is no bound on reads, since they are measured."""
        url = f"postgresql://tinyns@{HOST}:{self.port}/tinyns?sslmode=disable"
        return f'[store]\nkind = "postgresql"\nurl = "{url}"\nreads_per_second = 0\n'


class PostgresReplica(Program):
    """A streaming replica, which applies each change `delay` milliseconds after its commit."""

    end_signal = signal.SIGINT

    def __init__(self, writer, directory, delay):
        self.port = free_port()
        data = tempfile.mkdtemp(prefix="replica-", dir=directory)
        if os.geteuid() == 0:
            os.chown(data, NOBODY, NOBODY)
        source = f"host={HOST} port={writer.port} user=postgres"
        made = subprocess.run(
            [*Postgres.as_user(), postgres_program("pg_basebackup"), "-D", f"{data}/data", "-d", source,
             "-R", "-c", "fast"], cwd="/", capture_output=True, text=True)
        if made.returncode:
            raise Fault(f"pg_basebackup: {made.stderr[-2000:]}")
        super().__init__(
            [*Postgres.as_user(), postgres_program("postgres"), "-D", f"{data}/data", "-h", HOST,
             "-p", str(self.port), "-k", data, "-c", f"recovery_min_apply_delay={delay}"], data)
        self.name = "postgres"
        self.wait_until(lambda: run_psql(self.port, "SELECT 1").returncode == 0)

    def url(self):
        """Where links are read from it."""
        return f"postgresql://tinyns@{HOST}:{self.port}/tinyns?sslmode=disable"


class Emulator(Program):
    """A DynamoDB in memory."""

    def __init__(self, program, directory):
        self.port = free_port()
        super().__init__([program, "serve", "--host", HOST, "--port", str(self.port)], directory)
        self.wait_until(lambda: listens(self.port))

    def section(self):
        """The [store] section that leads to it. There is no bound on reads, since none is measured."""
        return (f'[store]\nkind = "dynamodb"\nregion = "us-east-1"\ncreate_table = true\n'
                f'endpoint_url = "http://{HOST}:{self.port}"\nreads_per_second = 0\n')


class Tinyns(Program):
    """A node with the zone of the repository; its configuration is the default but for `sections`.
    It runs under the command `under` if there is one. `redirect` is the section of the redirect host, and
    `zone` more lines of the zone's."""

    def __init__(self, binary, directory, sections, core=None, under=(), redirect="listen = []", zone=""):
        config = tempfile.NamedTemporaryFile("w", dir=directory, suffix=".toml", delete=False)
        with config:
            config.write(
                f'[dns]\nlisten = "{HOST}:0"\n'
                f'[[zone]]\norigin = "{ORIGIN}"\nredirect_host = "r"\n'
                f'file = "{ROOT}/zones/{ORIGIN}.zone"\n{zone}'
                f'[admin]\nlisten = "{HOST}:0"\ntoken_file = "{directory}/admin.token"\n'
                f'[redirect]\n{redirect}\n{sections}')
        # Nothing of the user's own settings: neither for tinyns nor for AWS.
        env = {
            "PATH": os.environ["PATH"], "HOME": directory, "TINYNS_ADMIN_TOKEN": TOKEN,
            "AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench",
        }
        command = [*under, binary, "serve", "--log-format", "json", "--config", config.name]
        super().__init__(command, directory, core, env)
        self.dns, self.admin = self.wait_until(self._ports)

    def _ports(self):
        """Where it listens, as its log tells; none as long as it does not."""
        found = [self.port_of(what) for what in ("DNS over UDP and TCP", "admin API")]
        return all(found) and found

    def port_of(self, what):
        """The port of a service, as its log tells; none as long as it does not."""
        for line in self.said().splitlines():
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if event.get("message") == what:
                    return int(event["address"].rpartition(":")[2])
        return None

    def read(self, path):
        """What it says at a path that needs no token."""
        connection = http.client.HTTPConnection(HOST, self.admin, timeout=HTTP_SECONDS)
        with contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            text = response.read().decode()
        if response.status != 200:
            raise Fault(f"{path}: status {response.status}: {text}")
        return text

    def ready(self):
        """What /readyz says of it."""
        return json.loads(self.read("/readyz"))

    def metrics(self):
        """Its figures."""
        return Metrics(self.read("/metrics"))

    def wait_for_load(self):
        """Waits until its warm load is done, however long that takes as long as it moves on."""
        last, end = None, time.monotonic() + START_SECONDS
        while (load := self.ready()["warm_load"])["state"] != "done":
            if load["state"] in ("off", "full", "failed") or time.monotonic() > end:
                raise Fault(f"the warm load is not done: {load}")
            if load["links"] != last:
                last, end = load["links"], time.monotonic() + START_SECONDS
            time.sleep(0.05)
        return load["links"]


class Metrics:
    """The figures of a node at some time."""

    def __init__(self, text):
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        self.figures = {series: float(value) for series, _, value in lines}

    def of(self, series):
        """One figure; zero where nothing was counted yet."""
        return self.figures.get(f"tinyns_{series}", 0.0)

    def hits(self, tier):
        """How many queries this tier knew the answer to; "Answers" are those that are kept encoded."""
        if tier == "Answers":
            return self.of("dns_hot_answers_total")
        return self.lookups(tier, "Hit")

    def lookups(self, tier, result):
        """How many look-ups of links ended so."""
        return self.of(f'link_lookups_total{{tier="{tier}",result="{result}"}}')

    def asked(self, tier):
        """How many look-ups of links there were in a tier."""
        series = f'tinyns_link_lookups_total{{tier="{tier}",'
        return sum(value for name, value in self.figures.items() if name.startswith(series))


# Where Debian's package of PowerDNS's backend has its schema.
POWERDNS_SCHEMA = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql"


def has_powerdns():
    """Whether PowerDNS and its SQLite backend are installed."""
    return bool(shutil.which("pdns_server")) and os.path.exists(POWERDNS_SCHEMA)


class PowerDns(Program):
    """PowerDNS that serves links out of SQLite, and asks it for every query."""

    def __init__(self, file, directory, core=None):
        self.dns = free_port()
        settings = {
            "config-dir": directory, "socket-dir": directory, "daemon": "no", "guardian": "no",
            "local-address": HOST, "local-port": self.dns, "launch": "gsqlite3",
            "gsqlite3-database": file, "gsqlite3-dnssec": "no",
            # Its caches are off: of packets, of records, of what is not there. Which zones there are
            # it still knows, for so does tinyns.
            "cache-ttl": 0, "query-cache-ttl": 0, "negquery-cache-ttl": 0,
            # It has one core. With one distributor thread the look-up is made where the query came
            # in, without a queue between, which was the quickest way of those tried.
            "receiver-threads": 1, "distributor-threads": 1,
            "loglevel": 3, "disable-syslog": "yes", "version-string": "anonymous",
        }
        command = ["pdns_server", *(f"--{key}={value}" for key, value in settings.items())]
        super().__init__(command, directory, core)
        self.wait_for_answers(self.dns)

    @staticmethod
    def fill(file, links):
        """Makes a database with the records that tinyns gives for these codes and URLs; with a
        write-ahead log, as tinyns has it."""
        records = [(1, ORIGIN, "SOA", f"ns1.{ORIGIN} hostmaster.{ORIGIN} 1 7200 900 1209600 60"),
                   (1, ORIGIN, "NS", f"ns1.{ORIGIN}"), (1, f"ns1.{ORIGIN}", "A", "192.0.2.1")]
        for code, url in links:
            records.append((1, f"{code}.{ORIGIN}", "CNAME", f"{code}.r.{ORIGIN}"))
            records.append((1, f"{code}.r.{ORIGIN}", "TXT", f'"{url}"'))
        with contextlib.closing(sqlite3.connect(file)) as database:
            database.execute("PRAGMA journal_mode = WAL")
            with open(POWERDNS_SCHEMA, encoding="utf-8") as schema:
                database.executescript(schema.read())
            database.execute("INSERT INTO domains(id, name, type) VALUES (1, ?, 'NATIVE')", (ORIGIN,))
            database.executemany(
                "INSERT INTO records(domain_id, name, type, content, ttl) VALUES (?, ?, ?, ?, 300)",
                records)
            database.execute("ANALYZE")
            database.commit()


# ---- DNS -----------------------------------------------------------------------------------------

def txt_query(name, number, qtype=TYPE_TXT):
    """A query for the records of a name, usually TXT, without EDNS."""
    labels = b"".join(bytes([len(label)]) + label for label in name.encode().split(b"."))
    header = struct.pack("!6H", number, 0, 1, 0, 0, 0)
    return header + labels + b"\0" + struct.pack("!2H", qtype, CLASS_IN)


def with_edns(query, options):
    """The query with an OPT record (RFC 6891) that has the DO bit and these options, as bytes."""
    opt = struct.pack("!BHHIH", 0, TYPE_OPT, EDNS_SIZE, EDNS_DO, len(options)) + options
    return query[:10] + (1).to_bytes(2, "big") + query[12:] + opt


class Answer:
    """A reply to a TXT query."""

    def __init__(self, packet):
        self.packet = packet
        self.rcode = packet[3] & 0xF

    def leads_to(self, url):
        """Whether it has this URL. One of up to 255 bytes is one string, and stands there as it is."""
        text = url.encode()
        return self.rcode == NOERROR and bytes([len(text)]) + text in self.packet

    def has_edns(self):
        """Whether there is an OPT record, as far as its owner and type tell."""
        additional = int.from_bytes(self.packet[10:12], "big")
        return additional > 0 and b"\0" + TYPE_OPT.to_bytes(2, "big") in self.packet[12:]


class Resolver:
    """Asks one server by UDP, a question at a time."""

    def __init__(self, port):
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.connect((HOST, port))
        self.socket.settimeout(DNS_SECONDS)
        self.number = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def ask(self, code, options=None):
        """The answer about a link; a Fault if there is none in time. With EDNS if there are options."""
        self.number = (self.number + 1) % 65536
        query = txt_query(f"{code}.{ORIGIN}", self.number)
        self.socket.send(query if options is None else with_edns(query, options))
        while True:
            try:
                packet = self.socket.recv(4096)
            except TimeoutError as error:
                raise Fault(f"no answer about {code} within {DNS_SECONDS} s") from error
            if packet[:2] == self.number.to_bytes(2, "big"):
                return Answer(packet)


class Prober(threading.Thread):
    """Asks about one link after the other, one each `interval` seconds whether or not those before
    were answered: what waits for a slow answer would not see how slow the next ones are."""

    def __init__(self, port, codes, interval=0.01):
        super().__init__(daemon=True)
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.connect((HOST, port))
        self.codes, self.interval = codes, interval
        self.done = threading.Event()
        self.waiting = {}
        self.seconds, self.lost, self.wrong = [], 0, 0

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        """Ends it when the last question is answered or lost."""
        self.done.set()
        self.join()
        self.socket.close()

    def run(self):
        number, due = 0, time.perf_counter()
        while not self.done.is_set() or self.waiting:
            now = time.perf_counter()
            if now >= due and not self.done.is_set():
                number = (number + 1) % 65536
                self.waiting[number] = now
                self.socket.send(txt_query(f"{next(self.codes)}.{ORIGIN}", number))
                due += self.interval
            self._receive(max(0.0, min(due - time.perf_counter(), self.interval)))

    def _receive(self, patience):
        """Takes one answer, if one comes, and gives up those that are too late."""
        if select.select([self.socket], [], [], patience)[0]:
            packet, now = self.socket.recv(4096), time.perf_counter()
            since = self.waiting.pop(int.from_bytes(packet[:2], "big"), None)
            if since is not None:
                self.seconds.append(now - since)
                self.wrong += Answer(packet).rcode != NOERROR
        while self.waiting:
            oldest = next(iter(self.waiting))
            if time.perf_counter() - self.waiting[oldest] < DNS_SECONDS:
                break
            del self.waiting[oldest]
            self.lost += 1


Load = collections.namedtuple("Load", "completed lost per_second latency_ms response_bytes")


def dnsperf(port, queries, core, seconds=None, times=None, more=(), rcode="NOERROR"):
    """Loads a server with the queries of a file, for some time or so often; with `more` options.
    All answers must have this rcode."""
    bound = ["-l", str(seconds)] if seconds else ["-n", str(times)]
    command = ["taskset", "-c", str(core), "dnsperf", "-s", HOST, "-p", str(port), "-d", queries,
               "-c", "8", "-q", "200", "-T", "1", "-t", str(DNS_SECONDS), *bound, *more]
    run = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if run.returncode != 0:
        raise Fault(f"dnsperf fails:\n{run.stdout[-2000:]}")
    return read_dnsperf(run.stdout, rcode)


def read_dnsperf(text, rcode="NOERROR"):
    """The figures of a run; a Fault if anything but this rcode was answered."""
    def figure(label):
        found = re.search(rf"^\s*{label}\s+([0-9.]+)", text, re.MULTILINE)
        if not found:
            raise Fault(f"dnsperf does not tell {label!r}:\n{text[-2000:]}")
        return float(found[1])

    completed = int(figure("Queries completed:"))
    codes = re.search(r"Response codes:[ \t]*(.*)", text)
    if completed == 0 or codes[1].strip() != f"{rcode} {completed} (100.00%)":
        raise Fault(f"not all of {completed} answers are {rcode}: {codes[1] if codes else 'none'}")
    return Load(completed, int(figure("Queries lost:")), figure("Queries per second:"),
                figure(r"Average Latency \(s\):") * 1000,
                int(figure(r"Average packet size:\s+request \d+, response")))


# ---- HTTP ----------------------------------------------------------------------------------------

class Connection:
    """A connection to the admin API that is kept, with one request under way at a time."""

    def __init__(self, port):
        self.socket = socket.create_connection((HOST, port), HTTP_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def fileno(self):
        """So that it can be waited for."""
        return self.socket.fileno()

    def send(self, method, path, body):
        """Sends a request with a JSON body."""
        self.socket.sendall(
            f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {TOKEN}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())

    def receive(self):
        """Takes what has come, and waits for some if nothing has. Gives the status when the response
        is there as a whole."""
        data = self.socket.recv(65536)
        if not data:
            raise Fault("the server has closed a connection")
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end:
            return None
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if not length:
            raise Fault(f"a response without a length: {head}")
        if len(body) < int(length[1]):
            return None
        self.received = b""
        return int(head.split(b" ", 2)[1])

    def call(self, method, path, body):
        """Sends a request and waits for the status of its response."""
        self.send(method, path, body)
        while (status := self.receive()) is None:
            pass
        return status


def register_batch(port, links, count):
    """Registers `count` links in one request, and gives the seconds that it took. `links` gives the
    JSON of each."""
    connection = http.client.HTTPConnection(HOST, port, timeout=HTTP_SECONDS)
    with contextlib.closing(connection):
        connection.putrequest("POST", "/v1/links:batch")
        connection.putheader("Authorization", f"Bearer {TOKEN}")
        connection.putheader("Content-Type", "application/x-ndjson")
        connection.putheader("Transfer-Encoding", "chunked")
        began = time.perf_counter()
        connection.endheaders()
        # The server takes lines only as fast as its results are taken, so both go on at once.
        sender = threading.Thread(target=_send_lines, args=(connection.sock, links, count), daemon=True)
        sender.start()
        made, last = _count_made(connection.getresponse())
        took = time.perf_counter() - began
        sender.join()
    if made != count:
        raise Fault(f"{made} of {count} links were made; the last result: {last}")
    return took


def _send_lines(sock, links, count):
    links = itertools.islice(links, count)
    # Where the connection breaks, the response breaks as well, and who reads it tells.
    with contextlib.suppress(OSError):
        while piece := "".join(f"{link}\n" for link in itertools.islice(links, 500)).encode():
            sock.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        sock.sendall(b"0\r\n\r\n")


def _count_made(response):
    """How many results say 201, and the last line."""
    made, rest, last = 0, b"", b""
    while data := response.read1(1 << 18):
        *lines, rest = (rest + data).split(b"\n")
        made += sum(b'"status":201,' in line for line in lines)
        last = lines[-1] if lines else last
    return made, last.decode()


def self_test():
    """Shows that these clients read and write rightly."""
    def check(found, expected):
        assert found == expected, f"{found!r} and not {expected!r}"

    def refused(text):
        try:
            read_dnsperf(text)
        except Fault:
            return True
        return False

    query = txt_query("a.bc", 258)
    check(query, b"\1\2\0\0\0\1\0\0\0\0\0\0" b"\1a\2bc\0" b"\0\x10\0\1")
    check(with_edns(query, b"op"), b"\1\2\0\0\0\1\0\0\0\0\0\1" b"\1a\2bc\0" b"\0\x10\0\1"
          b"\0\0\x29\x04\xd0\0\0\x80\0\0\2op")
    head = bytes([1, 2, 0x84, NOERROR]) + bytes(8)
    check(Answer(head + b"\x0ahttp://a/b").leads_to("http://a/b"), True)
    check(Answer(head + b"\x0bhttp://a/bc").leads_to("http://a/b"), False)
    check(Answer(head[:3] + bytes([NXDOMAIN])).rcode, NXDOMAIN)
    check([Answer(with_edns(query, b"")).has_edns(), Answer(query).has_edns()], [True, False])
    run = """
  Queries completed:    990 (99.00%)
  Queries lost:         10 (1.00%)

  Response codes:       NOERROR 990 (100.00%)
  Average packet size:  request 40, response 152
  Queries per second:   495.000000
  Average Latency (s):  0.004000 (min 0.000100, max 0.030000)
"""
    check(read_dnsperf(run), Load(990, 10, 495.0, 4.0, 152))
    mixed = "NOERROR 980 (98.99%), SERVFAIL 10 (1.01%)"
    check(refused(run.replace("NOERROR 990 (100.00%)", mixed)), True)
    check(refused(run.replace("NOERROR", "NXDOMAIN")), True)
    check(refused(run.replace("lost", "gone")), True)
