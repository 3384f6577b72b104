/* The load generator: one thread, epoll, HTTP/1.1 with keep-alive; the result is JSON on stdout.
 *
 *     load closed  PORT REQUEST -c 64 -t 5           a request as soon as the one before is answered
 *     load open    PORT REQUEST -c 64 -t 5 -r 1000   constant rate; latency counts from the moment at
 *                                                    which a request was due, sent or not
 *     load streams PORT REQUEST -c 16 -t 5 -n 100    streams of n chunks, again and again
 *     load streams ... -o                            each stream once, all within -t seconds
 *
 * REQUEST is a file with one whole request. -w excludes the first seconds from the figures, -s
 * spreads the first sends over so many microseconds, at random (seed -x), so that paced streams do
 * not all speak at once. A stream is good when its status is 200, every chunk came and `[DONE]` was
 * last. Chunks carry the time at which the mock wrote them. -i is the silence, in seconds, after
 * which an answer counts as lost.
 */
#define _GNU_SOURCE
#include "histogram.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 512
#define HEAD_MAX 16384
#define LINE_MAX_ 4096
#define STAMP 20
#define GRACE_NS 15000000000LL

enum state { CLOSED, CONNECTING, IDLE, SENDING, READING };
enum phase { HEAD, LENGTH, SIZE, DATA, DATA_END, TRAILER, TO_CLOSE };

typedef struct {
    int fd, status, chunks, done, sse, close_after, fresh;
    enum state state;
    enum phase phase;
    size_t sent, text_len;
    int64_t due_ns, begun_ns, seen_ns, left;
    char text[HEAD_MAX]; /* the head; then the size of a chunk, or the line of an event so far */
    char line[LINE_MAX_];
    size_t line_len;
} Conn;

typedef struct {
    uint64_t requests, errors, not_2xx, refused, lost, incomplete, reconnects, chunks, unfinished;
    uint64_t all_requests, all_chunks; /* measured or not: what CPU is divided by */
} Counts;

static enum { CLOSED_LOOP, OPEN_LOOP, STREAMS } mode;
static int connections = 1, expected, once, port;
static double seconds = 5, warm_s, rate = 100, silence_s = 30;
static int64_t spread_ns, started_ns, measured_ns, end_ns, now;
static uint64_t seed = 1, issued, waiting;
static char *request;
static size_t request_len;
static Conn *conns;
static int *idle, idle_len, poll_fd, timer_fd, over;
static Counts counts;
static Histogram latency, ttft, delay;

static int64_t clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t next_random(void) { /* splitmix64 (Steele, Lea, Flood 2014) */
    uint64_t z = seed += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

static int counted(void) { return now >= measured_ns && now <= end_ns; }

static void begin(Conn *c);

static void connect_to(Conn *c) {
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) die("socket");
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->state = CONNECTING;
    c->fresh = 1;
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS) die("connect");
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.u32 = (uint32_t)(c - conns)};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &e);
}

static void watch(Conn *c, uint32_t events) {
    struct epoll_event e = {.events = events, .data.u32 = (uint32_t)(c - conns)};
    epoll_ctl(poll_fd, EPOLL_CTL_MOD, c->fd, &e);
}

static void shut(Conn *c) {
    if (c->state == CLOSED) return;
    close(c->fd);
    c->state = CLOSED;
}

/* An answer came, or never will: the next thing for this connection. */
static void next(Conn *c) {
    if (mode == OPEN_LOOP) {
        if (waiting) {
            waiting--;
            c->due_ns = started_ns + (int64_t)((double)(issued - waiting - 1) * 1e9 / rate);
            begin(c);
        } else {
            if (c->state != CLOSED) c->state = IDLE;
            idle[idle_len++] = (int)(c - conns);
        }
    } else if (once || now >= end_ns) {
        shut(c);
        over++;
    } else {
        c->due_ns = now;
        begin(c);
    }
}

static void fail(Conn *c, uint64_t *kind) {
    counts.errors++;
    ++*kind;
    shut(c);
    next(c);
}

static void push(Conn *c) {
    while (c->sent < request_len) {
        ssize_t n = send(c->fd, request + c->sent, request_len - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            watch(c, EPOLLIN | EPOLLOUT);
            return;
        }
        if (n < 0) { /* a kept connection that the other side had closed is none of its faults */
            shut(c);
            if (c->fresh) {
                fail(c, &counts.lost);
            } else {
                counts.reconnects++;
                connect_to(c);
            }
            return;
        }
        c->sent += (size_t)n;
        if (c->sent < request_len) continue;
    }
    if (c->state == SENDING) watch(c, EPOLLIN);
    c->state = READING;
}

static void begin(Conn *c) {
    c->sent = c->text_len = c->line_len = 0;
    c->chunks = c->done = c->sse = c->close_after = c->status = 0;
    c->phase = HEAD;
    c->begun_ns = c->seen_ns = now;
    if (c->state == CLOSED) {
        connect_to(c);
        return;
    }
    c->state = READING;
    push(c);
    if (c->state == READING && c->sent < request_len) c->state = SENDING;
}

static void finished(Conn *c) {
    int good = c->status >= 200 && c->status < 300;
    if (!good) {
        counts.not_2xx++;
        counts.errors++;
    } else if (mode == STREAMS && (!c->done || (expected && c->chunks != expected))) {
        counts.incomplete++;
        counts.errors++;
    } else if (mode == CLOSED_LOOP ? counted()
                                   : (mode == OPEN_LOOP ? c->due_ns : c->begun_ns) >= measured_ns) {
        counts.requests++;
        record(&latency, now - (mode == OPEN_LOOP ? c->due_ns : c->begun_ns));
    }
    counts.all_requests++;
    c->fresh = 0;
    if (c->close_after) shut(c);
    next(c);
}

static void take_line(Conn *c, const char *line, size_t len) {
    if (len < 6 || memcmp(line, "data:", 5)) return;
    if (memmem(line, len < 16 ? len : 16, "[DONE]", 6)) {
        c->done = 1;
        return;
    }
    const char *end = line + len, *at = memmem(line, len, "\"content\"", 9);
    if (!at) return;
    for (at += 9; at < end && (*at == ':' || *at == ' '); at++) {}
    if (end - at < STAMP + 2 || *at++ != '"' || at[STAMP] != '"') return;
    int64_t stamp = 0;
    for (int i = 0; i < STAMP; i++) {
        if (at[i] < '0' || at[i] > '9') return;
        stamp = stamp * 10 + (at[i] - '0');
    }
    c->chunks++;
    counts.all_chunks++;
    if (c->chunks == 1 && c->begun_ns >= measured_ns) record(&ttft, now - c->begun_ns);
    if (once ? now >= measured_ns : counted()) {
        counts.chunks++;
        record(&delay, now - stamp);
    }
}

static void take_text(Conn *c, const char *data, size_t len) {
    if (!c->sse) return;
    const char *end = data + len;
    while (data < end) {
        const char *stop = memchr(data, '\n', (size_t)(end - data));
        size_t part = (size_t)((stop ? stop : end) - data);
        if (!c->line_len && stop) {
            take_line(c, data, part);
        } else {
            size_t room = LINE_MAX_ - c->line_len, used = part < room ? part : room;
            memcpy(c->line + c->line_len, data, used);
            c->line_len += used;
            if (stop) {
                take_line(c, c->line, c->line_len);
                c->line_len = 0;
            }
        }
        data += part + (stop != NULL);
    }
}

static void read_head(Conn *c) {
    c->text[c->text_len] = 0;
    c->status = c->text_len > 12 ? atoi(c->text + 9) : 0;
    c->sse = strcasestr(c->text, "text/event-stream") != NULL;
    c->close_after = strcasestr(c->text, "\r\nconnection: close") != NULL;
    char *length = strcasestr(c->text, "\r\ncontent-length:");
    if (strcasestr(c->text, "\r\ntransfer-encoding: chunked")) {
        c->phase = SIZE;
    } else if (length) {
        c->phase = LENGTH;
        c->left = atoll(length + 17);
    } else {
        c->phase = TO_CLOSE;
    }
    c->text_len = 0;
}

/* One line of framing, collected in `text`: 1 when it is whole. */
static int take_frame(Conn *c, const char **data, const char *end) {
    while (*data < end) {
        char byte = *(*data)++;
        if (byte == '\n') return 1;
        if (c->text_len < HEAD_MAX - 1) c->text[c->text_len++] = byte;
    }
    return 0;
}

static int take_head(Conn *c, const char **data, const char *end) {
    while (*data < end && c->text_len < HEAD_MAX - 1) {
        c->text[c->text_len++] = *(*data)++;
        if (c->text_len >= 4 && !memcmp(c->text + c->text_len - 4, "\r\n\r\n", 4)) return 1;
    }
    return 0;
}

/* Reads what came; 1 when the answer is over. */
static int take(Conn *c, const char *data, const char *end) {
    while (data < end || (c->phase == LENGTH && c->left == 0)) {
        size_t have = (size_t)(end - data);
        switch (c->phase) {
        case HEAD:
            if (take_head(c, &data, end)) read_head(c);
            break;
        case LENGTH:
        case DATA: {
            size_t part = have < (size_t)c->left ? have : (size_t)c->left;
            take_text(c, data, part);
            data += part;
            c->left -= (int64_t)part;
            if (c->left == 0 && c->phase == LENGTH) return 1;
            if (c->left == 0) c->phase = DATA_END;
            break;
        }
        case SIZE:
        case DATA_END:
        case TRAILER:
            if (!take_frame(c, &data, end)) break;
            c->text[c->text_len] = 0;
            if (c->phase == SIZE) {
                c->left = strtoll(c->text, NULL, 16);
                c->phase = c->left ? DATA : TRAILER;
            } else if (c->phase == DATA_END) {
                c->phase = SIZE;
            } else if (c->text_len <= 1) {
                return 1;
            }
            c->text_len = 0;
            break;
        case TO_CLOSE:
            take_text(c, data, have);
            data = end;
            break;
        }
    }
    return 0;
}

static void closed_by_peer(Conn *c) {
    if (c->state == IDLE) {
        counts.reconnects++;
        shut(c); /* stays in the list of idle ones; `begin` connects again */
    } else if (c->phase == TO_CLOSE) {
        c->close_after = 1;
        finished(c);
    } else if (c->phase == HEAD && !c->text_len && !c->fresh) {
        counts.reconnects++;
        shut(c);
        c->sent = 0;
        connect_to(c);
    } else {
        fail(c, &counts.lost);
    }
}

static void readable(Conn *c) {
    static char data[1 << 18];
    ssize_t n = recv(c->fd, data, sizeof data, 0);
    if (n < 0 && errno == EAGAIN) return;
    now = clock_ns();
    if (n <= 0) {
        closed_by_peer(c);
        return;
    }
    c->seen_ns = now;
    if (c->state != IDLE && take(c, data, data + n)) finished(c);
}

static void happened(Conn *c, uint32_t events) {
    if (c->state == CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) {
            fail(c, &counts.refused);
        } else if (events & EPOLLOUT) {
            c->state = SENDING;
            push(c);
        }
        return;
    }
    if (events & EPOLLOUT && c->state == SENDING) push(c);
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && c->state > CONNECTING) readable(c);
}

static void arm(int64_t at) {
    struct itimerspec when = {0};
    when.it_value.tv_sec = at / 1000000000LL;
    when.it_value.tv_nsec = at % 1000000000LL;
    timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

/* Open loop: everything that is due by now. */
static void run_due(void) {
    for (;;) {
        int64_t due = started_ns + (int64_t)((double)issued * 1e9 / rate);
        if (due > now) {
            arm(due < end_ns ? due : end_ns);
            return;
        }
        if (due >= end_ns) return;
        issued++;
        if (idle_len) {
            Conn *c = &conns[idle[--idle_len]];
            c->due_ns = due;
            begin(c);
        } else {
            waiting++;
        }
    }
}

static int by_time(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The first sends of a closed loop, spread. */
static void run_starts(void) {
    static int64_t *starts;
    static int at;
    if (!starts) {
        starts = malloc((size_t)connections * sizeof *starts);
        for (int i = 0; i < connections; i++) {
            uint64_t after = spread_ns ? next_random() % (uint64_t)spread_ns : 0;
            starts[i] = started_ns + (int64_t)after;
        }
        qsort(starts, (size_t)connections, sizeof *starts, by_time);
    }
    for (; at < connections && starts[at] <= now; at++) begin(&conns[at]);
    if (at < connections) arm(starts[at]);
}

/* Answers that say nothing any more. */
static void look_for_silent(void) {
    for (int i = 0; i < connections; i++) {
        Conn *c = &conns[i];
        int busy = c->state == CONNECTING || c->state == SENDING || c->state == READING;
        if (busy && (double)(now - c->seen_ns) > silence_s * 1e9) fail(c, &counts.lost);
    }
}

static int all_over(void) {
    if (mode == OPEN_LOOP) return now >= end_ns && idle_len == connections && !waiting;
    return over == connections;
}

static void run(void) {
    struct epoll_event found[EVENTS];
    int64_t looked_ns = now, last_ns = end_ns + (once ? 0 : GRACE_NS);
    while (!all_over() && now < last_ns) {
        int n = epoll_wait(poll_fd, found, EVENTS, 20);
        now = clock_ns();
        for (int i = 0; i < n; i++) {
            if (found[i].data.u32 != UINT32_MAX) {
                happened(&conns[found[i].data.u32], found[i].events);
                continue;
            }
            uint64_t times;
            if (read(timer_fd, &times, sizeof times) < 0) continue;
            if (mode == OPEN_LOOP) run_due();
            else run_starts();
        }
        if (now - looked_ns > 1000000000LL) {
            looked_ns = now;
            look_for_silent();
        }
    }
    for (int i = 0; i < connections; i++) {
        counts.unfinished += conns[i].state == SENDING || conns[i].state == READING;
    }
    counts.unfinished += waiting;
    counts.errors += counts.unfinished;
}

static void say(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu_s = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                   (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    double took_s = (double)(((once ? now : end_ns) - measured_ns)) / 1e9;
    printf("{\"seconds\":%.6f,\"cpu_s\":%.3f,\"requests\":%lu,\"errors\":%lu,\"not_2xx\":%lu,"
           "\"refused\":%lu,\"lost\":%lu,\"incomplete\":%lu,\"unfinished\":%lu,"
           "\"reconnects\":%lu,\"chunks\":%lu,\"all_requests\":%lu,\"all_chunks\":%lu,"
           "\"rps\":%.3f,\"chunks_per_s\":%.3f,",
           took_s, cpu_s, counts.requests, counts.errors, counts.not_2xx, counts.refused,
           counts.lost, counts.incomplete, counts.unfinished, counts.reconnects, counts.chunks,
           counts.all_requests, counts.all_chunks, (double)counts.requests / took_s, (double)counts.chunks / took_s);
    show(&latency, "latency");
    printf(",");
    show(&ttft, "ttft");
    printf(",");
    show(&delay, "delay");
    printf("}\n");
}

static void read_request(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat facts;
    if (fd < 0 || fstat(fd, &facts)) die(path);
    request = malloc((size_t)facts.st_size + 1);
    if (!request) die("memory");
    while (request_len < (size_t)facts.st_size) {
        ssize_t n = read(fd, request + request_len, (size_t)facts.st_size - request_len);
        if (n <= 0) die(path);
        request_len += (size_t)n;
    }
    close(fd);
}

static void read_options(int argc, char **argv) {
    static const char *const names[] = {"closed", "open", "streams"};
    int known = 3;
    for (int i = 0; argc > 3 && i < 3; i++) {
        if (!strcmp(argv[1], names[i])) known = i;
    }
    if (known == 3) {
        fprintf(stderr, "usage: load closed|open|streams PORT REQUEST [-c connections] "
                        "[-t seconds] [-w warm] [-r rate] [-n chunks] [-s spread_us] [-x seed] "
                        "[-i silence] [-o]\n");
        exit(2);
    }
    mode = (typeof(mode))known;
    port = atoi(argv[2]);
    read_request(argv[3]);
    optind = 4;
    for (int option; (option = getopt(argc, argv, "c:t:w:r:n:s:x:i:o")) != -1;) {
        switch (option) {
        case 'c': connections = atoi(optarg); break;
        case 't': seconds = atof(optarg); break;
        case 'w': warm_s = atof(optarg); break;
        case 'r': rate = atof(optarg); break;
        case 'n': expected = atoi(optarg); break;
        case 's': spread_ns = atoll(optarg) * 1000; break;
        case 'x': seed = strtoull(optarg, NULL, 10); break;
        case 'i': silence_s = atof(optarg); break;
        case 'o': once = 1; break;
        default: exit(2);
        }
    }
    if (connections < 1 || rate <= 0) die("-c and -r are above 0");
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    conns = calloc((size_t)connections, sizeof *conns);
    idle = calloc((size_t)connections, sizeof *idle);
    if (!conns || !idle) die("memory");
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = UINT32_MAX};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, timer_fd, &e);
    now = started_ns = clock_ns();
    measured_ns = started_ns + (int64_t)(warm_s * 1e9);
    end_ns = measured_ns + (int64_t)(seconds * 1e9);
    if (mode == OPEN_LOOP) {
        for (int i = 0; i < connections; i++) idle[idle_len++] = i;
        run_due();
    } else {
        run_starts();
    }
    run();
    say();
    return 0;
}
