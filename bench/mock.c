/* mockllm.c - a cheap mock of POST /v1/chat/completions for load measurements.
 *
 *   cc -O2 -o mockllm mockllm.c && ./mockllm 8901          (listens on 127.0.0.1 only)
 *
 * One thread, epoll, HTTP/1.1 keep-alive, Content-Length bodies. The body is read
 * and sampled into a 64-bit hash (every 32nd byte), so that the same image sent
 * again is recognised; nothing is parsed. Control, all by GET:
 *
 *   /__set?latency=800&p429=0.10&p500=0.02&rps=20&tps=60000&cost=1500&burst=1&errlat=0
 *   /__reset    clears counters and the table of seen bodies, refills the bucket
 *   /__stats    counters as JSON
 *
 *   latency  ms before a 200        errlat  ms before a 429/500
 *   p429/p500  share of requests refused at random (fixed seed)
 *   rps/tps    token bucket: requests/s and tokens/s (0 = off); cost = tokens a request;
 *              burst = bucket size in seconds
 *   ra         seconds in retry-after of a random 429 (default 1; 0 = header left out)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAXFD 65536
#define HDR 16384
#define TAB (1u << 20)

typedef struct {
    int used, in_body, kind;            /* kind: 0 chat, 1 control/other */
    uint32_t gen;
    size_t hlen; char h[HDR];
    int64_t left, pos; uint64_t hash;
    char path[512];
} conn;
static conn *C[MAXFD];

typedef struct { double due; int fd; uint32_t gen; int status; double retry; } job;
static job *Q[2]; static size_t qh[2], qt[2], qcap = 1 << 20;   /* 0: 200s, 1: errors (both FIFO) */

static double latency = 0, errlat = 0, p429 = 0, p500 = 0, rps = 0, tps = 0, cost = 1500, burst = 1, ra = 1;
static double breq, btok, blast;
static uint64_t rng = 88172645463325252ULL;
static uint64_t n_req, n_200, n_429, n_500, n_bytes, n_conn, n_uniq, n_uniq_ok, n_again_ok;
static int64_t inflight, max_inflight;
static double t_first, t_last, t_last_ok;
static struct { uint64_t h; uint32_t sent, ok; } *tab;

static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }
static double rnd(void) { rng ^= rng << 13; rng ^= rng >> 7; rng ^= rng << 17; return (rng >> 11) / 9007199254740992.0; }

static uint32_t slot(uint64_t h) {
    if (!h) h = 1;
    uint32_t i = (uint32_t)(h ^ (h >> 32)) & (TAB - 1);
    while (tab[i].h && tab[i].h != h) i = (i + 1) & (TAB - 1);
    tab[i].h = h;
    return i;
}
static void refill(double t) {
    if (rps > 0) { breq += (t - blast) * rps; if (breq > rps * burst) breq = rps * burst; }
    if (tps > 0) { btok += (t - blast) * tps; if (btok > tps * burst) btok = tps * burst; }
    blast = t;
}
static void reset(void) {
    n_req = n_200 = n_429 = n_500 = n_bytes = n_conn = n_uniq = n_uniq_ok = n_again_ok = 0;
    max_inflight = 0; t_first = t_last = t_last_ok = 0; rng = 88172645463325252ULL;
    memset(tab, 0, sizeof *tab * TAB);
    breq = rps * burst; btok = tps * burst; blast = now();
}
static void closec(int fd) { if (C[fd]) { C[fd]->used = 0; C[fd]->gen++; } close(fd); }

static void put(int fd, const char *b, size_t n) {      /* small answers: the socket buffer takes them */
    while (n) { ssize_t k = write(fd, b, n); if (k <= 0) { if (k < 0 && errno == EINTR) continue; return; } b += k; n -= k; }
}
static const char *CONTENT =
  "{\\\"title\\\": \\\"Ceramic mug on a wooden table\\\", \\\"category\\\": \\\"kitchen/drinkware\\\", "
  "\\\"keywords\\\": [\\\"mug\\\", \\\"ceramic\\\", \\\"wood\\\", \\\"table\\\", \\\"morning light\\\", \\\"still life\\\", \\\"brown\\\", \\\"close-up\\\"], "
  "\\\"description\\\": \\\"A glazed ceramic mug stands on a wooden table by a window, with soft morning light from the left.\\\", "
  "\\\"colors\\\": [\\\"brown\\\", \\\"white\\\"], \\\"people\\\": 0}";

static void answer(int fd, int status, double retry) {
    static char out[8192], body[4096]; static uint64_t id;
    int bl, n; double t = now(); refill(t);
    if (status == 200)
        bl = snprintf(body, sizeof body,
            "{\"id\":\"chatcmpl-mock%llu\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"gpt-4o-mini\","
            "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"%s\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"}],"
            "\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":120,\"total_tokens\":%d},\"system_fingerprint\":\"fp_mock\"}",
            (unsigned long long)++id, CONTENT, (int)cost - 120, (int)cost);
    else if (status == 429)
        bl = snprintf(body, sizeof body, "{\"error\":{\"message\":\"Rate limit reached for gpt-4o-mini on requests per min (RPM). Please try again in %.0fms.\",\"type\":\"requests\",\"param\":null,\"code\":\"rate_limit_exceeded\"}}", retry * 1e3);
    else
        bl = snprintf(body, sizeof body, "{\"error\":{\"message\":\"The server had an error while processing your request.\",\"type\":\"server_error\",\"param\":null,\"code\":null}}");
    n = snprintf(out, sizeof out, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nx-request-id: req_%llu\r\n",
        status, status == 200 ? "OK" : status == 429 ? "Too Many Requests" : "Internal Server Error", bl, (unsigned long long)id);
    if (rps > 0) n += snprintf(out + n, sizeof out - n,
        "x-ratelimit-limit-requests: %.0f\r\nx-ratelimit-remaining-requests: %.0f\r\nx-ratelimit-reset-requests: %.0fms\r\n",
        rps * 60, breq < 0 ? 0 : breq, (rps * burst - breq) / rps * 1e3);
    if (tps > 0) n += snprintf(out + n, sizeof out - n,
        "x-ratelimit-limit-tokens: %.0f\r\nx-ratelimit-remaining-tokens: %.0f\r\nx-ratelimit-reset-tokens: %.0fms\r\n",
        tps * 60, btok < 0 ? 0 : btok, (tps * burst - btok) / tps * 1e3);
    if (status == 429 && retry > 0) n += snprintf(out + n, sizeof out - n, "retry-after: %d\r\nretry-after-ms: %.0f\r\n", (int)(retry + 0.999), retry * 1e3);
    n += snprintf(out + n, sizeof out - n, "\r\n");
    memcpy(out + n, body, bl);
    put(fd, out, n + bl);
}
static void enqueue(int q, double due, int fd, int status, double retry) {
    Q[q][qt[q]++ & (qcap - 1)] = (job){due, fd, C[fd]->gen, status, retry};
}
static void chat_done(int fd) {                          /* a whole request has been read */
    conn *c = C[fd]; double t = now(); int status = 200; double retry = ra;
    n_req++; if (!t_first) t_first = t; t_last = t;
    uint32_t s = slot(c->hash); if (!tab[s].sent++) n_uniq++;
    double r = rnd();
    if (r < p429) status = 429; else if (r < p429 + p500) status = 500;
    else if (rps > 0 || tps > 0) {
        refill(t);
        if ((rps > 0 && breq < 1) || (tps > 0 && btok < cost)) {
            double a = rps > 0 && breq < 1 ? (1 - breq) / rps : 0, b = tps > 0 && btok < cost ? (cost - btok) / tps : 0;
            status = 429; retry = a > b ? a : b;
        } else { breq -= 1; btok -= cost; }
    }
    if (status == 200) { n_200++; if (!tab[s].ok++) n_uniq_ok++; else n_again_ok++; } else if (status == 429) n_429++; else n_500++;
    if (++inflight > max_inflight) max_inflight = inflight;
    enqueue(status == 200 ? 0 : 1, t + (status == 200 ? latency : errlat) / 1e3, fd, status, retry);
}
static double arg(const char *q, const char *k, double old) {
    char b[32]; snprintf(b, sizeof b, "%s=", k); size_t n = strlen(b);
    for (const char *p = q; (p = strstr(p, b)); p++) if (p[-1] == '?' || p[-1] == '&') return atof(p + n);
    return old;
}
static void control(int fd) {
    conn *c = C[fd]; static char out[4096], b[3072]; int n;
    if (!strncmp(c->path, "/__set", 6)) {
#define A(x) x = arg(c->path, #x, x)
        A(latency); A(errlat); A(p429); A(p500); A(rps); A(tps); A(cost); A(burst); A(ra); reset();
    } else if (!strncmp(c->path, "/__reset", 8)) reset();
    struct rusage u; getrusage(RUSAGE_SELF, &u);
    if (!strncmp(c->path, "/v1/models", 10)) n = snprintf(b, sizeof b, "{\"object\":\"list\",\"data\":[{\"id\":\"gpt-4o-mini\",\"object\":\"model\",\"created\":1,\"owned_by\":\"mock\"}]}");
    else n = snprintf(b, sizeof b, "{\"requests\":%llu,\"ok\":%llu,\"r429\":%llu,\"r500\":%llu,\"unique\":%llu,\"unique_ok\":%llu,\"again_after_ok\":%llu,"
        "\"bytes\":%llu,\"conns\":%llu,\"max_inflight\":%lld,\"span_s\":%.3f,\"cpu_s\":%.3f,\"latency\":%g,\"p429\":%g,\"p500\":%g,\"rps\":%g,\"tps\":%g,\"cost\":%g}\n",
        (unsigned long long)n_req, (unsigned long long)n_200, (unsigned long long)n_429, (unsigned long long)n_500, (unsigned long long)n_uniq,
        (unsigned long long)n_uniq_ok, (unsigned long long)n_again_ok, (unsigned long long)n_bytes, (unsigned long long)n_conn, (long long)max_inflight,
        (t_last_ok > t_last ? t_last_ok : t_last) - t_first, u.ru_utime.tv_sec + u.ru_utime.tv_usec / 1e6 + u.ru_stime.tv_sec + u.ru_stime.tv_usec / 1e6,
        latency, p429, p500, rps, tps, cost);
    int k = snprintf(out, sizeof out, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", n, b);
    put(fd, out, k);
}
static void body_bytes(conn *c, const unsigned char *p, int64_t n) {
    int64_t i = (32 - (c->pos & 31)) & 31; uint64_t h = c->hash;
    for (; i < n; i += 32) h = (h ^ p[i]) * 1099511628211ULL;
    c->hash = h; c->pos += n; c->left -= n; n_bytes += n;
}
static void finish(int fd) {
    conn *c = C[fd]; int k = c->kind;
    c->in_body = 0; c->hlen = 0;
    if (k) control(fd); else chat_done(fd);
}
static void on_read(int fd) {
    static unsigned char buf[1 << 20]; conn *c = C[fd];
    for (;;) {
        if (c->in_body) {
            ssize_t k = read(fd, buf, (size_t)c->left < sizeof buf ? (size_t)c->left : sizeof buf);
            if (k == 0) { closec(fd); return; }
            if (k < 0) { if (errno != EAGAIN) closec(fd); return; }
            body_bytes(c, buf, k);
            if (!c->left) { finish(fd); return; }
            continue;
        }
        if (c->hlen >= HDR - 1) { closec(fd); return; }
        ssize_t k = read(fd, c->h + c->hlen, HDR - 1 - c->hlen);
        if (k == 0) { closec(fd); return; }
        if (k < 0) { if (errno != EAGAIN) closec(fd); return; }
        c->hlen += k; c->h[c->hlen] = 0;
        char *e = memmem(c->h, c->hlen, "\r\n\r\n", 4);
        if (!e) continue;
        e += 4; size_t extra = c->h + c->hlen - e; char sv = *e; *e = 0;
        char *cl = strcasestr(c->h, "\r\ncontent-length:");
        c->left = cl ? atoll(cl + 17) : 0; c->pos = 0; c->hash = 1469598103934665603ULL;
        char *sp = strchr(c->h, ' '); size_t pl = sp ? strcspn(sp + 1, " \r\n") : 0;
        if (pl >= sizeof c->path) pl = sizeof c->path - 1;
        memcpy(c->path, sp ? sp + 1 : "", pl); c->path[pl] = 0;
        c->kind = !(c->h[0] == 'P' && strstr(c->path, "/chat/completions")); *e = sv;
        c->in_body = 1;
        if (extra) body_bytes(c, (unsigned char *)e, (int64_t)extra < c->left ? (int64_t)extra : c->left);
        if (!c->left) { finish(fd); return; }
    }
}
int main(int argc, char **argv) {
    int port = argc > 1 ? atoi(argv[1]) : 8901, one = 1;
    signal(SIGPIPE, SIG_IGN);
    tab = calloc(TAB, sizeof *tab); Q[0] = malloc(sizeof(job) * qcap); Q[1] = malloc(sizeof(job) * qcap);
    int ls = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(ls, (void *)&a, sizeof a) || listen(ls, 4096)) { perror("bind"); return 1; }
    int ep = epoll_create1(0); struct epoll_event ev = {.events = EPOLLIN, .data.fd = ls}, evs[256];
    epoll_ctl(ep, EPOLL_CTL_ADD, ls, &ev); reset();
    for (;;) {
        double next = -1;
        for (int q = 0; q < 2; q++) {
            while (qh[q] != qt[q]) {
                job *j = &Q[q][qh[q] & (qcap - 1)]; double t = now();
                if (j->due > t) { double d = j->due - t; if (next < 0 || d < next) next = d; break; }
                qh[q]++; inflight--;
                if (C[j->fd] && C[j->fd]->used && C[j->fd]->gen == j->gen) { answer(j->fd, j->status, j->retry); t_last_ok = t; }
            }
        }
        int n = epoll_wait(ep, evs, 256, next < 0 ? -1 : (int)(next * 1e3 + 0.999));
        for (int i = 0; i < n; i++) {
            int fd = evs[i].data.fd;
            if (fd != ls) { if (C[fd] && C[fd]->used) on_read(fd); continue; }
            int s;
            while ((s = accept4(ls, 0, 0, SOCK_NONBLOCK)) >= 0) {
                if (s >= MAXFD) { close(s); continue; }
                setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                if (!C[s]) C[s] = calloc(1, sizeof(conn));
                uint32_t g = C[s]->gen; C[s]->used = 1; C[s]->in_body = 0; C[s]->hlen = 0; C[s]->gen = g; n_conn++;
                struct epoll_event e = {.events = EPOLLIN, .data.fd = s}; epoll_ctl(ep, EPOLL_CTL_ADD, s, &e);
            }
        }
    }
}
