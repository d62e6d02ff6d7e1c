/* Asks a DNS server by UDP at a fixed rate, whether or not it answers, and tells how long the answers
 * took. dnsperf was tried for this, with -Q and -v: it sends what is due in bursts, so that its median
 * was a millisecond where the server takes some thirty microseconds, and at 145,000 queries a second it
 * fell behind by a fifth. Here a query counts from when it was due, and one that gets no answer as if
 * that had come after PATIENCE_S: a server must not look quick for what it has dropped.
 *
 *     openloop PORT FILE RATE SECONDS
 *
 * FILE has lines "name TXT", as for dnsperf. RATE is in queries a second. The server is at 127.0.0.1.
 * The result: how many were sent and answered, how many answers had another rcode than NOERROR, the
 * quantiles of the latency, and how late the client itself was in sending: where that is much, the
 * other figures are the client's. All times are in microseconds. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum {
    SOCKETS = 8,       /* as dnsperf -c 8: a server with several sockets gets work on each */
    BATCH = 16,        /* small, so that answers are looked for between */
    QUERIES = 1 << 20, /* of the file, before they repeat */
    NAME = 255,
    PACKET = 4096,
    PATIENCE_S = 2, /* the wait for the last answers; the histogram ends here */
    MICROS = PATIENCE_S * 1000000,
    MAX_RATE = 2000000,
    MAX_SECONDS = 600,
};

struct query {
    uint16_t length;
    uint8_t packet[78]; /* a header, a name of up to 60 bytes, type and class */
};

static struct query *queries;
static size_t query_count;
static int sockets[SOCKETS];
/* When the query of this socket and ID was due; 0 for none that waits. */
static uint64_t due_at[SOCKETS][1 << 16];
static uint16_t next_id[SOCKETS];
static uint32_t latencies[MICROS], lateness[MICROS];
static uint64_t sent, answered, wrong;

static _Noreturn void fail(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void count_in(uint32_t *histogram, uint64_t ns)
{
    uint64_t micros = ns / 1000;
    histogram[micros < MICROS ? micros : MICROS - 1]++;
}

/* Makes a TXT query for a name; 0 if it is too long. */
static int encode(struct query *query, const char *name)
{
    static const uint8_t header[12] = {[5] = 1}, end[5] = {0, 0, 16, 0, 1};
    size_t length = strlen(name);
    if (sizeof header + 1 + length + sizeof end > sizeof query->packet)
        return 0;
    memcpy(query->packet, header, sizeof header);
    uint8_t *at = query->packet + sizeof header;
    while (*name) {
        size_t label = strcspn(name, ".");
        *at++ = label;
        memcpy(at, name, label);
        at += label;
        name += label + (name[label] == '.');
    }
    memcpy(at, end, sizeof end);
    query->length = at + sizeof end - query->packet;
    return 1;
}

static void read_queries(const char *path)
{
    char name[NAME + 1];
    FILE *file = fopen(path, "r");
    queries = malloc(QUERIES * sizeof *queries);
    if (!file || !queries)
        fail(path);
    while (query_count < QUERIES && fscanf(file, "%255s TXT", name) == 1) {
        if (!encode(&queries[query_count++], name)) {
            fprintf(stderr, "too long a name: %s\n", name);
            exit(1);
        }
    }
    fclose(file);
    if (query_count == 0) {
        fprintf(stderr, "%s: no queries\n", path);
        exit(1);
    }
}

static void connect_all(int port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    for (int i = 0; i < SOCKETS; i++) {
        sockets[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (sockets[i] < 0 || connect(sockets[i], (struct sockaddr *)&address, sizeof address) < 0)
            fail("connect");
    }
}

/* Sends `count` queries by one socket; the first was due at `due`, the others `gap` later each. */
static void send_batch(int which, unsigned count, double due, double gap)
{
    static struct mmsghdr messages[BATCH];
    static struct iovec parts[BATCH];
    static size_t next;
    uint64_t now = now_ns();
    for (unsigned i = 0; i < count; i++) {
        struct query *query = &queries[next];
        next = next + 1 == query_count ? 0 : next + 1;
        uint16_t id = next_id[which]++;
        uint64_t at = due + i * gap;
        query->packet[0] = id >> 8;
        query->packet[1] = id;
        due_at[which][id] = at;
        count_in(lateness, now > at ? now - at : 0);
        parts[i] = (struct iovec){query->packet, query->length};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    }
    /* What the kernel does not take counts as sent, and is lost. */
    if (sendmmsg(sockets[which], messages, count, 0) < 0 && errno != ENOBUFS && errno != EAGAIN)
        fail("sendmmsg");
    sent += count;
}

static void receive(int which)
{
    static uint8_t packets[BATCH][PACKET];
    static struct mmsghdr messages[BATCH];
    static struct iovec parts[BATCH];
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){packets[i], PACKET};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    }
    int count = recvmmsg(sockets[which], messages, BATCH, MSG_DONTWAIT, NULL);
    if (count < 0 && errno != EAGAIN && errno != EINTR)
        fail("recvmmsg");
    uint64_t now = count > 0 ? now_ns() : 0;
    for (int i = 0; i < count; i++) {
        uint16_t id = packets[i][0] << 8 | packets[i][1];
        uint64_t since = due_at[which][id];
        if (messages[i].msg_len < 12 || since == 0)
            continue;
        due_at[which][id] = 0;
        answered++;
        wrong += (packets[i][3] & 0xf) != 0;
        count_in(latencies, now > since ? now - since : 0);
    }
}

static void run(double rate, double seconds)
{
    double gap = 1e9 / rate;
    uint64_t begin = now_ns(), total = rate * seconds, end = 0;
    for (int which = 0;; which = (which + 1) % SOCKETS) {
        uint64_t now = now_ns(), due = (now - begin) / gap;
        if (due > total)
            due = total;
        if (due > sent)
            send_batch(which, due - sent < BATCH ? due - sent : BATCH, begin + sent * gap, gap);
        receive(which);
        if (sent == total && end == 0)
            end = now_ns() + (uint64_t)PATIENCE_S * 1000000000;
        if (answered == total || (end && now_ns() > end))
            return;
    }
}

/* The value below which this part of what a histogram holds lies (nearest rank). */
static unsigned quantile(const uint32_t *histogram, double part)
{
    uint64_t all = 0, seen = 0;
    for (unsigned i = 0; i < MICROS; i++)
        all += histogram[i];
    for (unsigned i = 0; i < MICROS; i++)
        if ((seen += histogram[i]) > 0 && seen >= part * all)
            return i;
    return 0;
}

int main(int argc, char **argv)
{
    int port = argc == 5 ? atoi(argv[1]) : 0;
    double rate = argc == 5 ? atof(argv[3]) : 0, seconds = argc == 5 ? atof(argv[4]) : 0;
    if (port < 1 || port > 65535 || !(rate >= 1 && rate <= MAX_RATE)
        || !(seconds > 0 && seconds <= MAX_SECONDS)) {
        fprintf(stderr, "usage: openloop PORT FILE RATE SECONDS\n");
        return 2;
    }
    read_queries(argv[2]);
    connect_all(port);
    run(rate, seconds);
    latencies[MICROS - 1] += sent - answered;
    printf("{\"sent\": %lu, \"answered\": %lu, \"wrong\": %lu, \"p50\": %u, \"p99\": %u, "
           "\"p999\": %u, \"max\": %u, \"late_p99\": %u}\n",
           sent, answered, wrong, quantile(latencies, 0.5), quantile(latencies, 0.99),
           quantile(latencies, 0.999), quantile(latencies, 1), quantile(lateness, 0.99));
}
