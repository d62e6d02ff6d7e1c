/* A UDP echo: sets QR in what comes and sends it back. It is the floor for benches/compare.py: no
 * server can answer with less than the system calls that this one makes, and all of its time is the
 * kernel's. It takes and gives up to BATCH packets a call, as servers do that are quick.
 *
 *     echo PORT WORKERS
 *
 * Each worker has a thread and a socket of its own on 127.0.0.1. It runs until it is killed. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

enum { BATCH = 64, PACKET = 4096, HEADER = 12, MAX_WORKERS = 64 };

static int port;

static _Noreturn void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int bound_socket(void)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0)
        fail("socket");
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("bind");
    return fd;
}

/* Sends all of them. One that cannot be sent is left out; the client counts it as lost. */
static void send_all(int fd, struct mmsghdr *messages, int count)
{
    while (count > 0) {
        int sent = sendmmsg(fd, messages, count, 0);
        if (sent <= 0)
            sent = 1;
        messages += sent;
        count -= sent;
    }
}

static _Noreturn void *work(void *unused)
{
    static _Thread_local uint8_t packets[BATCH][PACKET];
    static _Thread_local struct sockaddr_in peers[BATCH];
    struct mmsghdr messages[BATCH] = {0};
    struct iovec parts[BATCH];
    int fd = bound_socket();
    (void)unused;
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){packets[i], PACKET};
        messages[i].msg_hdr = (struct msghdr){
            .msg_name = &peers[i], .msg_namelen = sizeof peers[i],
            .msg_iov = &parts[i], .msg_iovlen = 1,
        };
    }
    for (;;) {
        int count = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
        if (count < 0 && errno != EINTR)
            fail("recvmmsg");
        for (int i = 0; i < count; i++) {
            parts[i].iov_len = messages[i].msg_len;
            if (messages[i].msg_len >= HEADER)
                packets[i][2] |= 0x80; /* QR, RFC 1035 §4.1.1 */
        }
        send_all(fd, messages, count);
        for (int i = 0; i < count; i++) {
            parts[i].iov_len = PACKET;
            messages[i].msg_hdr.msg_namelen = sizeof peers[i];
        }
    }
}

int main(int argc, char **argv)
{
    int workers = argc == 3 ? atoi(argv[2]) : 0;
    port = argc == 3 ? atoi(argv[1]) : 0;
    if (port < 1 || port > 65535 || workers < 1 || workers > MAX_WORKERS) {
        fprintf(stderr, "usage: echo PORT WORKERS\n");
        return 2;
    }
    for (int i = 1; i < workers; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, NULL) != 0)
            fail("pthread_create");
    }
    work(NULL);
}
