/* The upstream that every target is measured against: an engine that costs next to nothing.
 *
 *     mock PORT
 *
 * One thread, epoll, HTTP/1.1 with keep-alive. The model's name says what is answered, because it
 * is the one word that every gateway hands on unchanged:
 *     json          one JSON answer of about 0.5 KB (json-N: with N bytes of text)
 *     sse-C-G       a stream of C chunks, one each G microseconds (0: as fast as they can be written)
 *     sse-C-0-B     the same, B chunks in each write
 * A chunk's text is the time at which it was written (CLOCK_MONOTONIC, ns, 20 digits), so that the
 * load generator, on the same machine, knows its delay exactly. No limit is enforced here but the
 * size of a body; this serves a measurement and nothing else.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define BODY_MAX (16u << 20)
#define EVENTS 512
#define STAMP 20

typedef struct {
    int fd;
    char *in;
    size_t in_len, in_cap;
    char *out; /* what a socket did not take yet */
    size_t out_len, out_cap;
    int blocked;
    /* the stream that runs, if chunks > sent */
    int streaming, usage, chunks, sent, burst;
    int64_t gap_ns, due_ns;
    int at; /* place in the heap, or in the list of fast streams; -1 for none */
    char model[64];
    char chunk[1200]; /* one chunk as it is sent, but for its time */
    size_t chunk_len, stamp_at;
} Conn;

static Conn **conns, **heap, **fast;
static int conns_cap, heap_len, fast_len, waiting_cap;
static int poll_fd, timer_fd, rearm;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void die(const char *what) {
    fprintf(stderr, "mock: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void *grown(void *old, size_t size) {
    void *new = realloc(old, size);
    if (!new) die("memory");
    return new;
}

/* A heap of paced streams by when their next chunk is due. */

static void place(int at, Conn *c) {
    heap[at] = c;
    c->at = at;
}

static void rise(int at) {
    Conn *c = heap[at];
    while (at > 0 && heap[(at - 1) / 2]->due_ns > c->due_ns) {
        place(at, heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    place(at, c);
}

static void sink(int at) {
    Conn *c = heap[at];
    for (;;) {
        int child = 2 * at + 1;
        if (child >= heap_len) break;
        if (child + 1 < heap_len && heap[child + 1]->due_ns < heap[child]->due_ns) child++;
        if (heap[child]->due_ns >= c->due_ns) break;
        place(at, heap[child]);
        at = child;
    }
    place(at, c);
}

static void wait_turn(Conn *c) {
    if (heap_len + 1 >= waiting_cap || fast_len + 1 >= waiting_cap) {
        waiting_cap = waiting_cap ? waiting_cap * 2 : 1024;
        heap = grown(heap, waiting_cap * sizeof *heap);
        fast = grown(fast, waiting_cap * sizeof *fast);
    }
    if (c->gap_ns) {
        place(heap_len, c);
        rise(heap_len++);
        rearm |= c->at == 0;
    } else {
        c->at = fast_len;
        fast[fast_len++] = c;
    }
}

static void leave_turn(Conn *c) {
    int at = c->at;
    if (at < 0) return;
    c->at = -1;
    if (c->gap_ns) {
        Conn *last = heap[--heap_len];
        if (last == c) return;
        place(at, last);
        sink(at);
        rise(last->at);
    } else {
        Conn *last = fast[--fast_len];
        if (last == c) return;
        fast[at] = last;
        last->at = at;
    }
}

static void drop(Conn *c) {
    leave_turn(c);
    close(c->fd);
    conns[c->fd] = NULL;
    free(c->in);
    free(c->out);
    free(c);
}

static void watch(Conn *c, int blocked) {
    if (c->blocked == blocked) return;
    c->blocked = blocked;
    struct epoll_event e = {.events = EPOLLIN | (blocked ? EPOLLOUT : 0), .data.fd = c->fd};
    epoll_ctl(poll_fd, EPOLL_CTL_MOD, c->fd, &e);
}

/* 0, or -1 where the connection broke. What the socket does not take is kept. */
static int put(Conn *c, const char *data, size_t len) {
    size_t done = 0;
    if (!c->blocked) {
        ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN) return -1;
        done = n < 0 ? 0 : (size_t)n;
        if (done == len) return 0;
    }
    if (c->out_len + len - done > c->out_cap) {
        c->out_cap = (c->out_len + len - done) * 2;
        c->out = grown(c->out, c->out_cap);
    }
    memcpy(c->out + c->out_len, data + done, len - done);
    c->out_len += len - done;
    watch(c, 1);
    return 0;
}

static int put_rest(Conn *c) {
    ssize_t n = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL);
    if (n < 0) return errno == EAGAIN ? 0 : -1;
    c->out_len -= (size_t)n;
    memmove(c->out, c->out + n, c->out_len);
    if (!c->out_len) {
        watch(c, 0);
        if (c->streaming && c->at < 0) wait_turn(c);
    }
    return 0;
}

/* One HTTP chunk that holds one server-sent event. */
static size_t event(char *to, const char *data) {
    size_t len = strlen(data);
    return (size_t)sprintf(to, "%zx\r\ndata: %s\n\n\r\n", len + 8, data);
}

static size_t piece(char *to, const char *model, const char *choices, const char *usage) {
    char data[1024];
    sprintf(data,
            "{\"id\":\"chatcmpl-mock\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"
            "\"model\":\"%s\",\"choices\":[%s]%s}",
            model, choices, usage);
    return event(to, data);
}

static void prepare(Conn *c) {
    char choice[256];
    sprintf(choice,
            "{\"index\":0,\"delta\":{\"content\":\"%0*d\"},\"finish_reason\":null}", STAMP, 0);
    c->chunk_len = piece(c->chunk, c->model, choice, "");
    c->stamp_at = (size_t)(strstr(c->chunk, "\"content\":\"") - c->chunk) + 11;
}

static size_t stamped(char *to, const Conn *c) {
    memcpy(to, c->chunk, c->chunk_len);
    char *digit = to + c->stamp_at + STAMP;
    for (int64_t left = now_ns(); left; left /= 10) *--digit = (char)('0' + left % 10);
    return c->chunk_len;
}

/* The next write of a stream; -1 where the connection broke. */
static int stream_on(Conn *c) {
    static char out[1 << 16];
    size_t n = 0;
    if (c->sent == 0) {
        n += (size_t)sprintf(out,
                             "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                             "cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n");
        n += piece(out + n, c->model,
                   "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
                   "\"finish_reason\":null}",
                   "");
    }
    for (int i = 0; i < c->burst && c->sent < c->chunks; i++, c->sent++) {
        n += stamped(out + n, c);
    }
    if (c->sent == c->chunks) {
        n += piece(out + n, c->model, "{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}", "");
        if (c->usage) {
            char usage[128];
            sprintf(usage,
                    ",\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":%d,"
                    "\"total_tokens\":%d}",
                    c->chunks, c->chunks + 9);
            n += piece(out + n, c->model, "", usage);
        }
        n += event(out + n, "[DONE]");
        n += (size_t)sprintf(out + n, "0\r\n\r\n");
        c->streaming = 0;
    }
    return put(c, out, n);
}

static int answer_json(Conn *c, size_t text_len) {
    char *out = grown(NULL, text_len + 1024), *text = grown(NULL, text_len + 1);
    memset(text, 'a', text_len);
    text[text_len] = 0;
    char *body = out + 256;
    int len = sprintf(body,
                      "{\"id\":\"chatcmpl-mock\",\"object\":\"chat.completion\","
                      "\"created\":1700000000,\"model\":\"%s\",\"choices\":[{\"index\":0,"
                      "\"message\":{\"role\":\"assistant\",\"content\":\"%s\"},"
                      "\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{"
                      "\"prompt_tokens\":9,\"completion_tokens\":12,\"total_tokens\":21}}",
                      c->model, text);
    char head[256];
    int n = sprintf(head,
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                    "content-length: %d\r\n\r\n",
                    len);
    memcpy(body - n, head, (size_t)n);
    int rc = put(c, body - n, (size_t)(n + len));
    free(out);
    free(text);
    return rc;
}

static int answer(Conn *c, const char *body, size_t len) {
    const char *at = memmem(body, len, "\"model\"", 7);
    const char *end = body + len;
    strcpy(c->model, "json");
    if (at) {
        for (at += 7; at < end && (*at == ':' || *at == ' '); at++) {}
        size_t n = 0;
        for (at++; at < end && *at != '"' && n < sizeof c->model - 1; at++) c->model[n++] = *at;
        c->model[n] = 0;
    }
    int gap_us = 0;
    c->burst = 1;
    int found = sscanf(c->model, "sse-%d-%d-%d", &c->chunks, &gap_us, &c->burst);
    if (found < 2) {
        int text = 250;
        sscanf(c->model, "json-%d", &text);
        return answer_json(c, (size_t)text);
    }
    c->sent = 0;
    c->gap_ns = gap_us * 1000LL;
    c->usage = memmem(body, len, "include_usage", 13) != NULL;
    c->streaming = 1;
    prepare(c);
    c->due_ns = now_ns() + c->gap_ns;
    if (c->burst < 1 || c->burst > 100) c->burst = 1;
    if (stream_on(c)) return -1;
    if (c->streaming) wait_turn(c);
    return 0;
}

/* Where the body ends, counted from the head's end; -1 where more must come. */
static ssize_t body_end(const char *head, size_t head_len, const char *body, size_t have) {
    char *text = strndupa(head, head_len);
    char *length = strcasestr(text, "\r\ncontent-length:");
    if (length) {
        size_t len = strtoul(length + 17, NULL, 10);
        return have >= len ? (ssize_t)len : -1;
    }
    if (!strcasestr(text, "\r\ntransfer-encoding:")) return 0;
    const char *end = memmem(body, have, "\r\n0\r\n\r\n", 7);
    return end ? end - body + 7 : -1;
}

static int take(Conn *c) {
    while (!c->streaming && c->in_len) {
        char *end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
        if (!end) return 0;
        size_t head = (size_t)(end - c->in) + 4;
        ssize_t body = body_end(c->in, head, c->in + head, c->in_len - head);
        if (body < 0) return c->in_len > BODY_MAX ? -1 : 0;
        if (answer(c, c->in + head, (size_t)body)) return -1;
        size_t used = head + (size_t)body;
        c->in_len -= used;
        memmove(c->in, c->in + used, c->in_len);
    }
    return 0;
}

static int readable(Conn *c) {
    if (c->in_cap - c->in_len < 4096) {
        c->in_cap = c->in_cap ? c->in_cap * 2 : 8192;
        c->in = grown(c->in, c->in_cap);
    }
    ssize_t n = recv(c->fd, c->in + c->in_len, c->in_cap - c->in_len, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN)) return -1;
    if (n > 0) c->in_len += (size_t)n;
    return n > 0 ? take(c) : 0;
}

static void welcome(int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (fd >= conns_cap) {
            int cap = fd * 2 + 64;
            conns = grown(conns, (size_t)cap * sizeof *conns);
            memset(conns + conns_cap, 0, (size_t)(cap - conns_cap) * sizeof *conns);
            conns_cap = cap;
        }
        Conn *c = calloc(1, sizeof *c);
        if (!c) die("memory");
        c->fd = fd;
        c->at = -1;
        conns[fd] = c;
        struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &e);
    }
}

static void go_on(Conn *c) {
    if (c->blocked && c->gap_ns) return; /* its turn comes again, one gap later */
    if (!c->blocked && stream_on(c)) {
        drop(c);
    } else if (c->blocked && c->streaming) {
        if (!c->gap_ns) leave_turn(c); /* until the socket takes more */
    } else if (!c->streaming) {
        leave_turn(c);
        if (take(c)) drop(c);
    }
}

static void run_due(void) {
    int64_t now = now_ns();
    rearm = 0;
    while (heap_len && heap[0]->due_ns <= now) {
        Conn *c = heap[0];
        c->due_ns += c->gap_ns;
        sink(0);
        go_on(c);
    }
    struct itimerspec when = {0};
    if (heap_len) {
        when.it_value.tv_sec = heap[0]->due_ns / 1000000000LL;
        when.it_value.tv_nsec = heap[0]->due_ns % 1000000000LL;
    }
    timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, (struct sockaddr *)&to, sizeof to) || listen(fd, 4096)) die("listen");
    return fd;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: mock PORT\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int listener = listen_on(atoi(argv[1]));
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = listener}, found[EVENTS];
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, listener, &e);
    e.data.fd = timer_fd;
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, timer_fd, &e);
    puts("ready");
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(poll_fd, found, EVENTS, fast_len ? 0 : -1);
        int timed = 0;
        for (int i = 0; i < n; i++) {
            int fd = found[i].data.fd;
            if (fd == listener) {
                welcome(listener);
            } else if (fd == timer_fd) {
                uint64_t times;
                if (read(timer_fd, &times, sizeof times) < 0) continue;
                timed = 1;
            } else if (fd < conns_cap && conns[fd]) {
                Conn *c = conns[fd];
                if (found[i].events & EPOLLOUT && put_rest(c)) {
                    drop(c);
                } else if (found[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && readable(c)) {
                    drop(c);
                }
            }
        }
        if (timed || rearm) run_due();
        /* One write for each fast stream in turn, from the end: one that ends leaves its place. */
        for (int i = fast_len - 1; i >= 0; i--) {
            if (i < fast_len) go_on(fast[i]);
        }
    }
}
