/* SPDX-License-Identifier: Apache-2.0 */
/* See ctl_client.h. The machine is not trusted either: length and time of a reply are bounded. */
#include "vmm/cli/ctl_client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/evloop.h"
#include "vmm/machine/control_dir.h"

static int wait_for(int fd, short events, uint64_t deadline_ns, const char *name, struct errctx *ec)
{
    for (;;) {
        struct pollfd p = { .fd = fd, .events = events };
        uint64_t now = evloop_now_ns();
        int ms = now < deadline_ns ? (int)((deadline_ns - now + 999999) / 1000000) : 0;
        int n = poll(&p, 1, ms);

        if (n > 0)
            return 0;
        if (n == 0)
            return errctx_set(ec, ETIMEDOUT, "%s does not answer", name);
        if (errno != EINTR)
            return errctx_set_os(ec, errno, "poll");
    }
}

static int send_all(int fd, const char *text, size_t len, uint64_t deadline_ns, const char *name,
                    struct errctx *ec)
{
    while (len > 0) {
        int r = wait_for(fd, POLLOUT, deadline_ns, name, ec);
        ssize_t n = r < 0 ? 0 : send(fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (r < 0)
            return r;
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return errctx_set_os(ec, errno, "ask %s", name);
        if (n > 0) {
            text += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

/* The reply's line in *ret_line, without the newline. */
static int receive_line(int fd, uint64_t deadline_ns, const char *name, char **ret_line,
                        size_t *ret_len, struct errctx *ec)
{
    CLEANUP_FREE char *buf = NULL;
    size_t len = 0, cap = 0;

    for (;;) {
        char *end;
        ssize_t n;
        int r = wait_for(fd, POLLIN, deadline_ns, name, ec);

        if (r < 0)
            return r;
        if (cap - len < 4096) {
            char *grown = cap < CTL_REPLY_MAX ? realloc(buf, cap * 2 + 8192) : NULL;

            if (grown == NULL)
                return errctx_set(ec, EPROTO, "the answer of %s is too long", name);
            buf = grown;
            cap = cap * 2 + 8192;
        }
        n = recv(fd, buf + len, cap - len, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n < 0)
            return errctx_set_os(ec, errno, "hear from %s", name);
        if (n == 0)
            return errctx_set(ec, EPROTO, "%s ended or closed the connection without an answer",
                              name);
        end = memchr(buf + len, '\n', (size_t)n);
        len += (size_t)n;
        if (end != NULL) {
            *ret_len = (size_t)(end - buf);
            *ret_line = take_ptr(buf);
            return 0;
        }
    }
}

static int judge_reply(const json_t *reply, const char *name, json_t **ret_result,
                       struct errctx *ec)
{
    const json_t *ok = json_object_get(reply, "ok");
    const char *error = json_string_value(json_object_get(reply, "error"));
    json_t *result = json_object_get(reply, "result");

    if (json_is_true(ok) && result != NULL) {
        *ret_result = json_incref(result);
        return 0;
    }
    if (json_is_false(ok) && error != NULL)
        return errctx_set(ec, ECANCELED, "%s: %.400s", name, error);
    return errctx_set(ec, EPROTO, "the answer of %s makes no sense", name);
}

int ctl_client_ask(const char *dir, const char *name, const char *command, int timeout_ms,
                   json_t **ret_result, struct errctx *ec)
{
    json_t *request = json_pack("{s:s}", "command", command);
    int r = ctl_client_request(dir, name, request, timeout_ms, ret_result, ec);

    json_decref(request);
    return r;
}

int ctl_client_request(const char *dir, const char *name, const json_t *request, int timeout_ms,
                       json_t **ret_result, struct errctx *ec)
{
    uint64_t deadline_ns = evloop_now_ns() + (uint64_t)timeout_ms * 1000000u;
    CLEANUP_CLOSE int fd = -1;
    CLEANUP_FREE char *line = NULL;
    CLEANUP_FREE char *text = request != NULL ? json_dumps(request, JSON_COMPACT) : NULL;
    char path[256];
    json_t *reply;
    size_t len = 0;
    int r;

    if (text == NULL)
        return errctx_set(ec, ENOMEM, "no memory for a request");
    r = control_dir_connect(dir != NULL ? dir : control_dir_path(path, sizeof(path)), name, &fd,
                            ec);
    if (r == 0)
        r = send_all(fd, text, strlen(text), deadline_ns, name, ec);
    if (r == 0)
        r = send_all(fd, "\n", 1, deadline_ns, name, ec);
    if (r == 0)
        r = receive_line(fd, deadline_ns, name, &line, &len, ec);
    if (r < 0)
        return r;
    reply = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
    r = judge_reply(reply, name, ret_result, ec);
    json_decref(reply);
    return r;
}
