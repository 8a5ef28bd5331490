
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


/*
 * The traffic that wrk cannot make.
 *
 *   traffic serve
 *       a server of event streams on a free port of 127.0.0.1, which it
 *       prints.  A path with "/idle" in it gets one event and silence, any
 *       other one gets events that say when they were written.
 *
 *   traffic stream port path connections seconds
 *       reads such streams, prints p50, p99 and maximum of the events' delay
 *       and how many there were.
 *
 *   traffic rate port path connections seconds requests-a-second [body]
 *       requests at a fixed rate, each timed from the moment it was due, so
 *       that a server that falls behind does not hide it; prints p50, p99 and
 *       maximum of the time, and how many there were.  With the name of a
 *       file as body: POST.
 *
 * All times in ns.
 */


#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>


#define BENCH_CONNECTIONS  4096
#define BENCH_BUFFER       (64 * 1024)
#define BENCH_EVENTS       512
#define BENCH_TICK         500000       /* ns between any two events */
#define BENCH_WARM         10           /* percent that are not counted */
#define BENCH_PIECE        (64 * 1024)  /* of a big body, and the pause after */
#define BENCH_PAUSE        500000       /* it: what a gigabit a second brings */

#define BENCH_HEADER                                                          \
    "HTTP/1.1 200 OK\r\n"                                                     \
    "Content-Type: text/event-stream\r\n"                                     \
    "Transfer-Encoding: chunked\r\n"                                          \
    "\r\n"

#define BENCH_EVENT                                                           \
    "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\","      \
    "\"created\":1694268190,\"model\":\"gpt-5\",\"choices\":[{\"index\":0,"   \
    "\"delta\":{\"content\":\"%020llu\"},\"finish_reason\":null}]}\n\n"

#define BENCH_STAMP  "\"content\":\""


typedef struct {
    int        fd;
    unsigned   busy:1;              /* client: waits for an answer */
    int        slot;                /* server: of the streams, -1: none */

    size_t     len;                 /* bytes in buf */
    size_t     left;                /* of a body */
    unsigned   body:1;              /* the header has been read */
    uint64_t   due;                 /* client: when the request was */
    char      *buf;
} bench_connection_t;


typedef struct {
    uint64_t  *values;
    size_t     n;
    size_t     size;
} bench_samples_t;


static bench_connection_t  *bench_connections[BENCH_CONNECTIONS];


static void
bench_die(const char *what)
{
    perror(what);
    exit(1);
}


static uint64_t
bench_ns(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}


static void
bench_sample(bench_samples_t *s, uint64_t value)
{
    if (s->n == s->size) {
        s->size = s->size ? 2 * s->size : 65536;
        s->values = realloc(s->values, s->size * sizeof(uint64_t));

        if (s->values == NULL) {
            bench_die("realloc");
        }
    }

    s->values[s->n++] = value;
}


static int
bench_compare(const void *a, const void *b)
{
    uint64_t  x = *(const uint64_t *) a, y = *(const uint64_t *) b;

    return (x > y) - (x < y);
}


static int
bench_print(bench_samples_t *s)
{
    size_t  skip;

    skip = s->n * BENCH_WARM / 100;

    s->values += skip;
    s->n -= skip;

    if (s->n < 100) {
        fprintf(stderr, "too few samples: %zu\n", s->n);
        return 1;
    }

    qsort(s->values, s->n, sizeof(uint64_t), bench_compare);

    printf("%llu %llu %llu %zu\n",
           (unsigned long long) s->values[s->n / 2],
           (unsigned long long) s->values[s->n * 99 / 100],
           (unsigned long long) s->values[s->n - 1], s->n);

    return 0;
}


static int
bench_epoll_add(int ep, int fd)
{
    struct epoll_event  ee;

    memset(&ee, 0, sizeof(ee));

    ee.events = EPOLLIN;
    ee.data.fd = fd;

    return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ee);
}


static bench_connection_t *
bench_connection(int ep, int fd)
{
    int                  on;
    bench_connection_t  *c;

    on = 1;

    if (fd >= BENCH_CONNECTIONS) {
        fprintf(stderr, "too many connections\n");
        exit(1);
    }

    (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(int));
    (void) fcntl(fd, F_SETFL, O_NONBLOCK);

    c = calloc(1, sizeof(bench_connection_t));

    if (c == NULL || (c->buf = malloc(BENCH_BUFFER)) == NULL
        || bench_epoll_add(ep, fd) == -1)
    {
        bench_die("connection");
    }

    c->fd = fd;
    c->slot = -1;

    bench_connections[fd] = c;

    return c;
}


static void
bench_close(bench_connection_t *c)
{
    bench_connections[c->fd] = NULL;

    (void) close(c->fd);

    free(c->buf);
    free(c);
}


static bench_connection_t *
bench_connect(int ep, const char *port)
{
    int                 fd;
    struct sockaddr_in  sin;

    memset(&sin, 0, sizeof(sin));

    sin.sin_family = AF_INET;
    sin.sin_port = htons((uint16_t) atoi(port));
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd == -1
        || connect(fd, (struct sockaddr *) &sin, sizeof(sin)) == -1)
    {
        bench_die("connect");
    }

    return bench_connection(ep, fd);
}


static void
bench_write(bench_connection_t *c, const char *data, size_t len)
{
    ssize_t        n;
    struct pollfd  pfd;

    while (len) {
        n = send(c->fd, data, len, MSG_NOSIGNAL);

        if (n == -1 && (errno == EAGAIN || errno == EINTR)) {
            pfd.fd = c->fd;
            pfd.events = POLLOUT;
            (void) poll(&pfd, 1, 1000);
            continue;
        }

        if (n == -1) {
            return;             /* its end will be read */
        }

        data += n;
        len -= n;
    }
}


/* a big body comes at the pace of a network */

static void
bench_send(bench_connection_t *c, const char *data, size_t len)
{
    struct timespec  ts = { 0, BENCH_PAUSE };

    while (len > BENCH_PIECE) {
        bench_write(c, data, BENCH_PIECE);
        (void) nanosleep(&ts, NULL);

        data += BENCH_PIECE;
        len -= BENCH_PIECE;
    }

    bench_write(c, data, len);
}


static int
bench_timer(int ep, uint64_t interval)
{
    int                fd;
    struct itimerspec  its;

    memset(&its, 0, sizeof(its));

    its.it_interval.tv_sec = interval / 1000000000;
    its.it_interval.tv_nsec = interval % 1000000000;
    its.it_value = its.it_interval;

    fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);

    if (fd == -1 || timerfd_settime(fd, 0, &its, NULL) == -1
        || bench_epoll_add(ep, fd) == -1)
    {
        bench_die("timerfd");
    }

    return fd;
}


static void
bench_expired(int fd)
{
    uint64_t  times;

    if (read(fd, &times, sizeof(times)) == -1 && errno != EAGAIN) {
        bench_die("read");
    }
}


/* fills the buffer; 0: the peer has closed */

static int
bench_read(bench_connection_t *c)
{
    ssize_t  n;

    n = recv(c->fd, c->buf + c->len, BENCH_BUFFER - 1 - c->len, 0);

    if (n == -1 && (errno == EAGAIN || errno == EINTR)) {
        return 1;
    }

    if (n <= 0) {
        return 0;
    }

    c->len += n;
    c->buf[c->len] = '\0';

    return 1;
}


static void
bench_drop(bench_connection_t *c, size_t n)
{
    memmove(c->buf, c->buf + n, c->len - n);
    c->len -= n;
    c->buf[c->len] = '\0';
}


/*
 * Reads one message with Content-Length, or none.  1: it is complete, its
 * header may be looked at; 0: not yet.
 */

static int
bench_message(bench_connection_t *c, char *line, size_t size)
{
    char    *end, *p;
    size_t   n;

    if (!c->body) {
        end = strstr(c->buf, "\r\n\r\n");

        if (end == NULL) {
            return 0;
        }

        n = strcspn(c->buf, "\r");
        n = (n < size - 1) ? n : size - 1;

        memcpy(line, c->buf, n);
        line[n] = '\0';

        *end = '\0';
        p = strcasestr(c->buf, "\r\ncontent-length:");

        c->left = p ? strtoul(p + sizeof("\r\ncontent-length:") - 1, NULL, 10)
                    : 0;
        c->body = 1;

        bench_drop(c, end + 4 - c->buf);
    }

    n = (c->len < c->left) ? c->len : c->left;

    c->left -= n;
    bench_drop(c, n);

    if (c->left) {
        return 0;
    }

    c->body = 0;

    return 1;
}


static void
bench_event(bench_connection_t *c, const char *header)
{
    int   n;
    char  event[512], chunk[1024];

    n = snprintf(event, sizeof(event), BENCH_EVENT,
                 (unsigned long long) bench_ns());

    n = snprintf(chunk, sizeof(chunk), "%s%x\r\n%s\r\n", header, n, event);

    bench_write(c, chunk, n);
}


static void
bench_serve(void)
{
    int                   ep, fd, ls, i, n, tick, ready, on;
    char                  line[256];
    socklen_t             len;
    struct sockaddr_in    sin;
    bench_connection_t   *c, **streams;
    struct epoll_event    events[BENCH_EVENTS];

    streams = calloc(BENCH_CONNECTIONS, sizeof(bench_connection_t *));
    n = 0;
    tick = 0;
    on = 1;

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    ep = epoll_create1(0);
    ls = socket(AF_INET, SOCK_STREAM, 0);
    len = sizeof(sin);

    if (streams == NULL || ep == -1 || ls == -1
        || setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == -1
        || bind(ls, (struct sockaddr *) &sin, sizeof(sin)) == -1
        || listen(ls, 1024) == -1
        || getsockname(ls, (struct sockaddr *) &sin, &len) == -1
        || bench_epoll_add(ep, ls) == -1)
    {
        bench_die("listen");
    }

    fd = bench_timer(ep, BENCH_TICK);

    printf("%u\n", ntohs(sin.sin_port));
    (void) fflush(stdout);

    for ( ;; ) {

        ready = epoll_wait(ep, events, BENCH_EVENTS, -1);

        for (i = 0; i < ready; i++) {

            if (events[i].data.fd == ls) {
                on = accept(ls, NULL, NULL);

                if (on != -1) {
                    (void) bench_connection(ep, on);
                }

                continue;
            }

            if (events[i].data.fd == fd) {
                bench_expired(fd);

                if (n) {
                    tick = (tick + 1) % n;
                    bench_event(streams[tick], "");
                }

                continue;
            }

            c = bench_connections[events[i].data.fd];

            if (c == NULL) {
                continue;
            }

            if (!bench_read(c)) {

                if (c->slot >= 0) {
                    streams[c->slot] = streams[--n];
                    streams[c->slot]->slot = c->slot;
                }

                bench_close(c);
                continue;
            }

            if (bench_message(c, line, sizeof(line))) {
                bench_event(c, BENCH_HEADER);

                if (strstr(line, "/idle") == NULL) {
                    c->slot = n;
                    streams[n++] = c;
                }
            }
        }
    }
}


static int
bench_stream(const char *port, const char *path, int connections,
    double seconds)
{
    int                  ep, i, ready, timeout;
    char                 request[512], *p, *last;
    uint64_t             now, end;
    bench_samples_t      samples;
    bench_connection_t  *c;
    struct epoll_event   events[BENCH_EVENTS];

    memset(&samples, 0, sizeof(samples));

    ep = epoll_create1(0);

    for (i = 0; i < connections; i++) {
        c = bench_connect(ep, port);

        bench_write(c, request, snprintf(request, sizeof(request),
                        "GET %s HTTP/1.1\r\nHost: bench\r\n\r\n", path));
    }

    end = bench_ns() + (uint64_t) (seconds * 1e9);

    while ((now = bench_ns()) < end) {

        timeout = (int) ((end - now) / 1000000) + 1;

        ready = epoll_wait(ep, events, BENCH_EVENTS, timeout);

        for (i = 0; i < ready; i++) {
            c = bench_connections[events[i].data.fd];

            if (!bench_read(c)) {
                fprintf(stderr, "a stream has ended\n");
                return 1;
            }

            now = bench_ns();
            last = c->buf;

            for ( ;; ) {
                p = strstr(last, BENCH_STAMP);

                if (p == NULL || strchr(p, '\n') == NULL) {
                    break;
                }

                p += sizeof(BENCH_STAMP) - 1;
                last = p;

                bench_sample(&samples, now - strtoull(p, NULL, 10));
            }

            /* a line that is cut is kept for its rest */

            p = strrchr(c->buf, '\n');

            if (p) {
                bench_drop(c, p + 1 - c->buf);
            }
        }
    }

    return bench_print(&samples);
}


static char *
bench_request(const char *path, const char *file, size_t *len)
{
    int          fd, n;
    char        *request;
    size_t       size;
    ssize_t      got;
    struct stat  st;

    fd = -1;
    size = 0;

    if (file) {
        fd = open(file, O_RDONLY);

        if (fd == -1 || fstat(fd, &st) == -1) {
            bench_die(file);
        }

        size = st.st_size;
    }

    request = malloc(512 + size);
    if (request == NULL) {
        bench_die("malloc");
    }

    n = snprintf(request, 512, "%s %s HTTP/1.1\r\nHost: bench\r\n",
                 file ? "POST" : "GET", path);

    if (file) {
        n += snprintf(request + n, 512 - n,
                      "Content-Type: application/json\r\n"
                      "Content-Length: %zu\r\n", size);
    }

    n += snprintf(request + n, 512 - n, "\r\n");

    if (file) {
        got = read(fd, request + n, size);

        if (got != (ssize_t) size) {
            bench_die(file);
        }

        (void) close(fd);
    }

    *len = n + size;

    return request;
}


static int
bench_rate(const char *port, const char *path, int connections,
    double seconds, double rate, const char *file)
{
    int                   ep, fd, i, ready, nfree;
    char                  line[256], *request;
    size_t                len;
    uint64_t              start, now, end, interval, due, sent, total;
    bench_samples_t       samples;
    bench_connection_t   *c, **idle;
    struct epoll_event    events[BENCH_EVENTS];

    memset(&samples, 0, sizeof(samples));

    request = bench_request(path, file, &len);
    interval = (uint64_t) (1e9 / rate);
    total = (uint64_t) (seconds * rate);

    idle = calloc(connections, sizeof(bench_connection_t *));
    ep = epoll_create1(0);

    if (idle == NULL || ep == -1) {
        bench_die("epoll");
    }

    for (nfree = 0; nfree < connections; nfree++) {
        idle[nfree] = bench_connect(ep, port);
    }

    fd = bench_timer(ep, interval);

    sent = 0;
    start = bench_ns();
    end = start + (uint64_t) ((2 * seconds + 5) * 1e9);

    while (samples.n < total) {

        now = bench_ns();

        if (now > end) {
            fprintf(stderr, "%zu of %llu requests were answered in time\n",
                    samples.n, (unsigned long long) total);
            return 1;
        }

        due = (now - start) / interval;
        due = (due < total) ? due : total;

        while (sent < due && nfree) {
            c = idle[--nfree];
            c->due = start + (sent + 1) * interval;
            c->busy = 1;

            bench_send(c, request, len);
            sent++;
        }

        ready = epoll_wait(ep, events, BENCH_EVENTS, 1000);

        for (i = 0; i < ready; i++) {

            if (events[i].data.fd == fd) {
                bench_expired(fd);
                continue;
            }

            c = bench_connections[events[i].data.fd];

            if (!bench_read(c) || !c->busy) {
                fprintf(stderr, "a connection was closed\n");
                return 1;
            }

            if (!bench_message(c, line, sizeof(line))) {
                continue;
            }

            if (strstr(line, " 200 ") == NULL) {
                fprintf(stderr, "%s\n", line);
                return 1;
            }

            bench_sample(&samples, bench_ns() - c->due);

            c->busy = 0;
            idle[nfree++] = c;
        }
    }

    return bench_print(&samples);
}


int
main(int argc, char **argv)
{
    (void) prctl(PR_SET_PDEATHSIG, SIGTERM);

    if (argc == 2 && strcmp(argv[1], "serve") == 0) {
        bench_serve();
    }

    if (argc == 6 && strcmp(argv[1], "stream") == 0) {
        return bench_stream(argv[2], argv[3], atoi(argv[4]), atof(argv[5]));
    }

    if ((argc == 7 || argc == 8) && strcmp(argv[1], "rate") == 0) {
        return bench_rate(argv[2], argv[3], atoi(argv[4]), atof(argv[5]),
                          atof(argv[6]), argc == 8 ? argv[7] : NULL);
    }

    fprintf(stderr, "usage: traffic serve\n"
            "       traffic stream port path connections seconds\n"
            "       traffic rate port path connections seconds rate [body]\n");

    return 2;
}
