#!/usr/bin/env python3
"""Puts the redirect host of tinyns beside nginx and Caddy.

benches/redirect.sh installs what this needs, builds tinyns, and runs it. tinyns has its links in the SQLite
store, and each name was asked for once before. nginx has one worker and `return 302` from a `map` of the
same names. Caddy's `map` compares one name after the other, so Caddy makes the destination from the host
instead, which is less work than a look-up. All three write their access logs, in their usual formats, to
files in one directory. All have the same certificate, ECDSA P-256.

What is measured is redirects, or handshakes, per second of the server's processor time, its own and the
kernel's on its behalf, over all of its threads and processes. The server has one core and the load the
other. The loads:

clear   HTTP/1.1 without TLS, 64 kept connections, 100,000 links in turn (wrk)
tls     the same by TLS 1.3 (wrk)
h2      HTTP/2 by TLS 1.3, 16 kept connections with 16 streams each, one link (h2load)
full    TLS 1.3: a connection, a full handshake, one request, the end; 8 clients
resumed the same, but each handshake resumes a session by a ticket
flood   of tinyns alone: DNS queries beside a flood of ClientHellos, each of which makes the server compute a
        full handshake that the client does not finish; dnsperf and the flood share the other core

In each round all servers are started anew, and are loaded one after the other, in another order each
round. Ratios are taken within a round, and the median of those is printed. A run with another status than
302, or with an error, does not count and makes the exit status 1.

    benches/redirect.sh                                     all of it
    benches/redirect.sh --loads clear,tls --servers tinyns,nginx --rounds 3
    benches/redirect.sh --tinyns before=PATH --tinyns after=PATH     two builds in one run
    benches/redirect.sh --quick                             whether it works; the figures mean little
    benches/redirect.py --self-test                         whether it reads the output of the tools

The tables go to standard output, in Markdown; progress and faults go to standard error.
"""

import argparse
import collections
import contextlib
import dataclasses
import multiprocessing
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time

import apparatus
import compare
import report
from apparatus import HOST, ORIGIN, ROOT, Fault, Program, Tinyns, dnsperf, free_port
from compare import LOAD_CORE, SERVER_CORE, Bench, Data, Table, sections, url
from report import median, number, spread, tell

Load = collections.namedtuple("Load", "title unit")
LOADS = {
    "clear": Load("HTTP/1.1, 64 kept connections, {links} links", "redirects"),
    "tls": Load("HTTP/1.1 by TLS 1.3, 64 kept connections, {links} links", "redirects"),
    "h2": Load("HTTP/2 by TLS 1.3, 16 kept connections with 16 streams each, one link", "redirects"),
    "full": Load("TLS 1.3, full handshakes with one request each, 8 clients", "handshakes"),
    "resumed": Load("TLS 1.3, resumed handshakes with one request each, 8 clients", "handshakes"),
}
FLOOD = "flood"
# The queries a second for the latencies beside a flood.
FLOOD_QUERIES = 2_000
CONNECTIONS = 64
H2_CONNECTIONS, H2_STREAMS = 16, 16
CLIENTS = 8
# How long a server is loaded before that counts, in seconds.
WARM_SECONDS = 1


@dataclasses.dataclass
class Sizes:
    """How much is measured."""

    rounds: int = 5
    seconds: float = 8
    few: int = 100_000


QUICK = Sizes(rounds=2, seconds=2, few=10_000)


# ---- Servers -------------------------------------------------------------------------------------

def make_certificate(directory):
    """A certificate for all links, and its key."""
    names = f"subjectAltName=DNS:{ORIGIN},DNS:*.{ORIGIN}"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "30", "-subj", "/CN=bench", "-addext", names, "-keyout", f"{directory}/key.pem",
         "-out", f"{directory}/chain.pem"],
        check=True, stdin=subprocess.DEVNULL, capture_output=True)


class Build:
    """A build of tinyns, and how it is started."""

    def __init__(self, label, binary):
        self.label, self.binary = label, binary

    def start(self, bench, data):
        """A server whose links are in memory."""
        keys = [*data.store(self), "cache.memory_mib=4096", "cache.refresh=86400"]
        https = (f'[https]\nlisten = "{HOST}:0"\ncertificate = "{bench.directory}/chain.pem"\n'
                 f'key = "{bench.directory}/key.pem"\n')
        redirect = f'listen = "{HOST}:0"\nconnections_per_client = 1024\n'
        server = Tinyns(self.binary, bench.directory, https + sections(keys), SERVER_CORE,
                        redirect=redirect)
        server.clear = server.port_of("redirect host")
        server.tls = server.port_of("redirect host by HTTPS")
        dnsperf(server.dns, data.once, LOAD_CORE, times=1)
        return server


class Web(Program):
    """A web server with the same links. `command` writes its configuration and gives its command line."""

    def __init__(self, bench, data):
        self.clear, self.tls = free_port(), free_port()
        env = {"PATH": os.environ["PATH"], "HOME": bench.directory}
        super().__init__(self.command(bench.directory, data), bench.directory, SERVER_CORE, env)
        self.wait_until(lambda: apparatus.listens(self.clear) and apparatus.listens(self.tls))


def _write(directory, name, text):
    path = os.path.join(directory, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


class Nginx(Web):
    """nginx. Connections have no limit on requests, which is 1,000 by default."""

    def command(self, directory, data):
        names = "".join(f"{code}.{ORIGIN} {link};\n" for code, link in data.records())
        listed = _write(directory, "nginx.map", names)
        return ["nginx", "-p", directory, "-e", "stderr", "-c", _write(directory, "nginx.conf", f"""
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 4096; }}
http {{
    access_log {directory}/nginx.log;
    client_body_temp_path {directory}/nginx.body;
    proxy_temp_path {directory}/nginx.proxy;
    fastcgi_temp_path {directory}/nginx.fastcgi;
    uwsgi_temp_path {directory}/nginx.uwsgi;
    scgi_temp_path {directory}/nginx.scgi;
    keepalive_requests 1000000000;
    map_hash_max_size 262144;
    map_hash_bucket_size 128;
    map $host $target {{ include {listed}; }}
    ssl_certificate {directory}/chain.pem;
    ssl_certificate_key {directory}/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    server {{
        listen {HOST}:{self.clear};
        listen {HOST}:{self.tls} ssl http2;
        if ($target = "") {{ return 404; }}
        return 302 $target;
    }}
}}
""")]


class Caddy(Web):
    """Caddy, which makes the destination from the host."""

    def command(self, directory, data):
        target = url(0).replace("00000000", "{labels.3}")
        return ["caddy", "run", "--adapter", "caddyfile", "--config",
                _write(directory, "Caddyfile", f"""
{{
    admin off
    auto_https off
}}
(links) {{
    log {{
        output file {directory}/caddy.log {{
            roll_disabled
        }}
    }}
    redir {target} 302
}}
http://*.{ORIGIN}:{self.clear} {{
    bind {HOST}
    import links
}}
https://*.{ORIGIN}:{self.tls} {{
    bind {HOST}
    tls {directory}/chain.pem {directory}/key.pem
    import links
}}
""")]


class Other:
    """Another server, and how it is started."""

    def __init__(self, label):
        self.label = label

    def start(self, bench, data):
        """A server with the links of `data`."""
        return {"nginx": Nginx, "caddy": Caddy}[self.label](bench, data)


# ---- Loads ---------------------------------------------------------------------------------------

Run = collections.namedtuple("Run", "per_cpu per_second busy")

# Sends requests for all codes of a file in turn, each to its host, on connections to the loopback interface.
WRK_SCRIPT = """
function wrk.resolve(host, service)
    wrk.addrs = wrk.lookup("%s", service)
end
local requests, at = {}, 0
function init(args)
    for code in io.lines("%s") do
        requests[#requests + 1] = "GET / HTTP/1.1\\r\\nHost: " .. code .. ".%s\\r\\n\\r\\n"
    end
end
function request()
    at = at %% #requests + 1
    return requests[at]
end
"""


def wrk(bench, data, port, scheme, seconds):
    """Loads a server by HTTP/1.1; gives the number of redirects and the seconds."""
    script = os.path.join(data.directory, "wrk.lua")
    if not os.path.exists(script):
        codes = _write(data.directory, "codes", "".join(f"{code}\n" for code in data.codes))
        _write(data.directory, "wrk.lua", WRK_SCRIPT % (HOST, codes, ORIGIN))
    return read_wrk(run(["wrk", "-t", "1", "-c", str(CONNECTIONS), "-d", f"{seconds:.0f}s", "-s", script,
                         f"{scheme}://{data.codes[0]}.{ORIGIN}:{port}/"]))


def read_wrk(text):
    """The number of redirects and the seconds."""
    found = re.search(r"(\d+) requests in ([\d.]+)(m|s)", text)
    if not found or "Non-2xx" in text or "Socket errors" in text:
        raise Fault(f"wrk says: {text}")
    return int(found[1]), float(found[2]) * (60 if found[3] == "m" else 1)


def h2load(bench, data, port, seconds):
    """Loads a server by HTTP/2; gives the number of redirects and the seconds."""
    return read_h2load(run(
        ["h2load", "-t", "1", "-c", str(H2_CONNECTIONS), "-m", str(H2_STREAMS), "-D", f"{seconds:.0f}",
         f"--connect-to={HOST}:{port}", f"https://{data.codes[0]}.{ORIGIN}:{port}/"]))


def read_h2load(text):
    """The number of redirects and the seconds."""
    took = re.search(r"finished in ([\d.]+)(ms|s),", text)
    codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
    if not took or not codes or [codes[1], codes[3], codes[4]] != ["0"] * 3 or "Application protocol: h2" not in text:
        raise Fault(f"h2load says: {text}")
    return int(codes[2]), float(took[1]) / (1000 if took[2] == "ms" else 1)


def run(command):
    """What a program says that loads a server."""
    done = subprocess.run(["taskset", "-c", LOAD_CORE, *command], check=False, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise Fault(f"{command[0]} fails: {done.stdout}")
    return done.stdout


def handshakes(bench, data, port, seconds, resume):
    """Opens connections; gives the number of handshakes and the seconds."""
    host = f"{data.codes[0]}.{ORIGIN}"
    began = time.monotonic()
    with multiprocessing.Pool(CLIENTS, initializer=reset_signals) as pool:
        job = (port, host, f"{bench.directory}/chain.pem", began + seconds, resume)
        results = pool.map(shake, [job] * CLIENTS, chunksize=1)
    took = time.monotonic() - began
    if faults := [result for result in results if isinstance(result, str)]:
        raise Fault(faults[0])
    return sum(results), took


def reset_signals():
    """Undoes `obey_signals` in a child: the parent clears up."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_DFL)


def shake(job):
    """One client: opens one connection after the other until a time. Gives their number, or what is
    wrong."""
    port, host, authority, end, resume = job
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    context = ssl.create_default_context(cafile=authority)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    session, number_ = None, 0
    while time.monotonic() < end:
        try:
            with socket.create_connection((HOST, port)) as tcp, \
                    context.wrap_socket(tcp, server_hostname=host, session=session) as tls:
                if tls.session_reused != (session is not None):
                    return "a session was resumed against the plan, or was not"
                tls.sendall(request)
                response = tls.recv(4096)
                if not response.startswith(b"HTTP/1.1 302"):
                    return f"the response is {response[:100]}"
                # Each ticket is used once (RFC 8446 §C.4).
                session = tls.session if resume else None
        except OSError as error:
            return f"{type(error).__name__}: {error}"
        number_ += 1
    return number_


def flood(job):
    """One client of a flood: it sends the same ClientHello on one connection after the other, and closes
    each when the server has answered. Gives the number of answers."""
    port, host, end = job
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    hello = ssl.MemoryBIO()
    context = ssl.create_default_context()
    client = context.wrap_bio(ssl.MemoryBIO(), hello, server_hostname=host)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    hello, answers = hello.read(), 0
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port)) as tcp:
            tcp.sendall(hello)
            answers += bool(tcp.recv(1))
            # No state is left in TIME_WAIT.
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return answers


def load_once(bench, data, server, load, seconds):
    """Loads a server; gives the number of redirects or handshakes and the seconds."""
    if load in ("clear", "tls"):
        scheme = "http" if load == "clear" else "https"
        return wrk(bench, data, getattr(server, load), scheme, seconds)
    if load == "h2":
        return h2load(bench, data, server.tls, seconds)
    return handshakes(bench, data, server.tls, seconds, load == "resumed")


def timed(bench, data, server, load):
    """One run of one load on one server."""
    load_once(bench, data, server, load, WARM_SECONDS)
    before = server.cpu_seconds()
    done, took = load_once(bench, data, server, load, bench.sizes.seconds)
    used = server.cpu_seconds() - before
    return Run(done / used, done / took, 100 * used / took)


# ---- The whole -----------------------------------------------------------------------------------

def measure(bench, loads):
    """All loads."""
    data = Data(os.path.join(bench.directory, "data"), bench.sizes.few, 0)
    tables = {load: Table(LOADS[load].title.format(links=f"{data.links:,}")) for load in loads}
    for turn in bench.rounds():
        for entrant in bench.order(turn):
            with bench.fault_of(entrant.label, "start"), entrant.start(bench, data) as server:
                for load in loads:
                    with bench.fault_of(entrant.label, load):
                        tables[load].add(entrant.label, turn, timed(bench, data, server, load))
            empty_logs(bench.directory)
        tell(f"round {turn + 1} of {bench.sizes.rounds}")
    for load, table in tables.items():
        print_table(table, LOADS[load].unit)


Beside = collections.namedtuple("Beside", "most latency lost handshakes")


def measure_flood(bench):
    """DNS alone, and beside a flood of handshakes."""
    data = Data(os.path.join(bench.directory, "flooded"), 10_000, 0)
    rows = {}
    for turn in bench.rounds():
        for entrant in bench.order(turn):
            if not isinstance(entrant, Build):
                continue
            with bench.fault_of(entrant.label, FLOOD), entrant.start(bench, data) as server:
                for beside in ("alone", "beside the flood"):
                    run_ = dns_beside(bench, data, server, beside != "alone")
                    rows.setdefault((entrant.label, beside), []).append(run_)
            empty_logs(bench.directory)
        tell(f"flood: round {turn + 1} of {bench.sizes.rounds}")
    print("\n**DNS beside a flood of ClientHellos**\n\n| | | queries a second | latency at "
          f"{number(FLOOD_QUERIES)} queries a second, ms | lost, % | handshakes a second |\n"
          "|---|---|--:|--:|--:|--:|")
    for (label, beside), runs in rows.items():
        cells = [median([getattr(run_, figure) for run_ in runs]) for figure in Beside._fields]
        print(f"| {label} | {beside} | {' | '.join(cells)} |", flush=True)


def dns_beside(bench, data, server, flooded):
    """The queries that a server answers, and how quickly at a low rate."""
    seconds = bench.sizes.seconds
    with multiprocessing.Pool(CLIENTS, initializer=reset_signals) as pool:
        began = time.monotonic()
        job = (server.tls, f"{data.codes[0]}.{ORIGIN}", began + 2 * seconds + 1)
        flooding = pool.map_async(flood, [job] * CLIENTS, chunksize=1) if flooded else None
        if flooded:
            time.sleep(1)
        most = dnsperf(server.dns, data.once, LOAD_CORE, seconds=seconds)
        rate = dnsperf(server.dns, data.once, LOAD_CORE, seconds=seconds,
                       more=("-Q", str(FLOOD_QUERIES)))
        answers = sum(flooding.get()) if flooded else 0
    took = time.monotonic() - began
    lost = 100 * rate.lost / (rate.completed + rate.lost)
    return Beside(most.per_second, rate.latency_ms, lost, answers / took)


def empty_logs(directory):
    """Empties the logs of servers that have ended: some hundred megabytes for each load."""
    for name in os.listdir(directory):
        if name.endswith(".log"):
            os.truncate(os.path.join(directory, name), 0)


def print_table(table, unit):
    """A load's table."""
    references = [label for label in ("nginx", "before") if label in table.runs]
    heads = [f"{unit} a CPU-second", "lowest – highest", *(f"to {label}" for label in references),
             f"{unit} a second", "CPU time, % of a core"]
    print(f"\n**{table.title}**\n\n| | {' | '.join(heads)} |\n|---|{'--:|' * len(heads)}")
    for label in table.runs:
        per_cpu = table.values(label, "per_cpu")
        cells = [median(per_cpu), spread(per_cpu),
                 *(table.ratio(label, to, "per_cpu") for to in references),
                 median(table.values(label, "per_second")),
                 number(round(sorted(table.values(label, "busy"))[len(per_cpu) // 2]))]
        print(f"| {label} | {' | '.join(cells)} |", flush=True)


def circumstances(bench):
    """What the figures hold for, in some lines of Markdown."""
    yield f"{report.machine()}."
    yield report.versions((
        ("nginx", ["nginx", "-v"], "nginx/"),
        ("Caddy", ["caddy", "version"], ""),
        ("wrk", ["wrk", "-v"], "debian/"),
        ("nghttp2", ["h2load", "--version"], "nghttp2/"),
        ("OpenSSL of nginx", ["openssl", "version"], "OpenSSL "))) + "."
    for build in bench.entrants:
        if isinstance(build, Build):
            version = report.versions([("tinyns", [build.binary, "--version"], "")])
            yield f"{build.label}: {version}, SHA-256 {report.digest(build.binary)}."
    yield (f"Medians of {bench.sizes.rounds} rounds of {number(bench.sizes.seconds)} s; lowest and "
           "highest beside.")


def self_test():
    """Shows that the output of the tools is read correctly."""
    def check(found, expected):
        assert found == expected, f"{found!r} and not {expected!r}"

    def refused(read, text):
        try:
            read(text)
        except Fault:
            return True
        return False

    text = "  1000 requests in 2.00s, 1.2MB read\nRequests/sec:    500.00\n"
    check(read_wrk(text), (1000, 2.0))
    check(read_wrk(text.replace("2.00s", "1.50m")), (1000, 90.0))
    check(refused(read_wrk, text + "  Non-2xx or 3xx responses: 1\n"), True)
    check(refused(read_wrk, text + "  Socket errors: connect 0, read 1, write 0, timeout 0\n"), True)
    check(refused(read_wrk, "unable to connect"), True)
    text = ("Application protocol: h2\nfinished in 2.00s, 500.00 req/s, 1.2MB/s\n"
            "status codes: 0 2xx, 1000 3xx, 0 4xx, 0 5xx\n")
    check(read_h2load(text), (1000, 2.0))
    check(refused(read_h2load, text.replace("0 5xx", "1 5xx")), True)
    check(refused(read_h2load, text.replace("0 2xx", "1 2xx")), True)
    check(refused(read_h2load, text.replace("h2\n", "http/1.1\n")), True)
    apparatus.self_test()
    compare.self_test()


def arguments():
    """The command line."""
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loads", metavar="LOADS", type=lambda text: text.split(","),
                        default=[*LOADS, FLOOD], help=f"some of {','.join((*LOADS, FLOOD))}")
    parser.add_argument("--servers", metavar="SERVERS", type=lambda text: text.split(","),
                        default=["tinyns", "nginx", "caddy"],
                        help="some of tinyns,nginx,caddy; tinyns stands for all its builds")
    parser.add_argument("--tinyns", metavar="[LABEL=]PATH", action="append",
                        help="a build to measure; may be there several times, with labels")
    parser.add_argument("--rounds", type=int, help=f"{Sizes.rounds}, or {QUICK.rounds} if quick")
    parser.add_argument("--seconds", type=float,
                        help=f"of a run; {Sizes.seconds}, or {QUICK.seconds} if quick")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see whether it works")
    parser.add_argument("--dir", help="where files are made, some gigabytes of logs; the usual directory "
                        "for temporary files")
    parser.add_argument("--self-test", action="store_true", help="check this program and nothing else")
    options = parser.parse_args()
    for given, known, what in ((options.loads, (*LOADS, FLOOD), "loads"),
                               (options.servers, ("tinyns", "nginx", "caddy"), "servers")):
        if unknown := set(given) - set(known):
            parser.error(f"--{what}: there is no {', '.join(sorted(unknown))}")
    if (options.rounds or 1) < 1 or not 1 <= (options.seconds or 1) <= 600:
        parser.error("at least one round, and 1 to 600 seconds")
    options.builds = {}
    for build in options.tinyns or [os.path.join(target, "release/tinyns")]:
        label, _, path = build.rpartition("=")
        label = label or "tinyns"
        if label in ("nginx", "caddy") or label in options.builds or not re.fullmatch(r"[\w.-]+", label):
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
    needed = {"dnsperf", "taskset", "openssl", "wrk", "h2load", *options.servers} - {"tinyns"}
    if missing := sorted(name for name in needed if not shutil.which(name)):
        sys.exit(f"not there: {', '.join(missing)}; benches/redirect.sh installs them")
    with apparatus.workspace(options.dir) as directory:
        # nginx's worker has another user if root starts it, and reads none of these files before.
        make_certificate(directory)
        entrants = []
        if "tinyns" in options.servers:
            entrants += [Build(label, path) for label, path in options.builds.items()]
        entrants += [Other(label) for label in ("nginx", "caddy") if label in options.servers]
        bench = Bench(sizes, entrants, directory)
        print(*circumstances(bench), sep="\n", flush=True)
        with contextlib.chdir(directory):
            if loads := [load for load in options.loads if load != FLOOD]:
                measure(bench, loads)
            if FLOOD in options.loads:
                measure_flood(bench)
    return 1 if bench.faults else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
