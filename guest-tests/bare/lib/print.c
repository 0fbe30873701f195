/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text to the serial port and the guest's verdict.
 *
 * A piece of text is formatted into a buffer and sent at once. A lock keeps the pieces of several
 * CPUs apart.
 */
#include <stdarg.h>

#include "guest-tests/bare/lib/bare.h"

enum { LINE_BYTES = 2048 };

static volatile uint32_t out_lock;
static unsigned checks, failures;

static void lock(volatile uint32_t *l)
{
    while (__atomic_exchange_n(l, 1, __ATOMIC_ACQUIRE))
        cpu_pause();
}

static void unlock(volatile uint32_t *l)
{
    __atomic_store_n(l, 0, __ATOMIC_RELEASE);
}

void out_unlock(void)
{
    unlock(&out_lock);
}

struct sink {
    char *buf;
    size_t len, size;
};

static void put(struct sink *s, char c)
{
    if (s->len < s->size)
        s->buf[s->len++] = c;
}

static void put_number(struct sink *s, uint64_t v, unsigned base, bool negative, unsigned width,
                       char fill)
{
    char digits[24];
    unsigned n = 0;

    do {
        digits[n++] = "0123456789abcdef"[v % base];
        v /= base;
    } while (v != 0);
    if (negative)
        put(s, '-');
    while (width > n && width < 24) {
        put(s, fill);
        width--;
    }
    while (n > 0)
        put(s, digits[--n]);
}

static void put_text(struct sink *s, const char *text)
{
    while (*text != '\0')
        put(s, *text++);
}

/* One conversion behind '%'; returns the last character used. */
static const char *put_conversion(struct sink *s, const char *f, va_list *ap)
{
    unsigned width = 0, longs = 0;
    char fill = ' ';
    int64_t d;

    if (*f == '0')
        fill = *f++;
    while (*f >= '0' && *f <= '9')
        width = width * 10 + (unsigned)(*f++ - '0');
    while (*f == 'l' || *f == 'z') {
        longs++;
        f++;
    }
    switch (*f) {
    case 's':
        put_text(s, va_arg(*ap, const char *));
        break;
    case 'c':
        put(s, (char)va_arg(*ap, int));
        break;
    case 'd':
        d = longs ? va_arg(*ap, int64_t) : va_arg(*ap, int);
        put_number(s, d < 0 ? 0 - (uint64_t)d : (uint64_t)d, 10, d < 0, width, fill);
        break;
    case 'u':
    case 'x':
        put_number(s, longs ? va_arg(*ap, uint64_t) : va_arg(*ap, unsigned), *f == 'x' ? 16 : 10,
                   false, width, fill);
        break;
    default:
        put(s, *f);
    }
    return f;
}

size_t format_text(char *buf, size_t size, const char *f, __builtin_va_list ap)
{
    struct sink s = { .buf = buf, .size = size };
    va_list args;

    va_copy(args, ap);
    for (; *f != '\0'; f++) {
        if (*f != '%')
            put(&s, *f);
        else
            f = put_conversion(&s, f + 1, &args);
    }
    va_end(args);
    return s.len;
}

/* Prefix, text and end of line as one piece. */
static void line(const char *prefix, const char *format, va_list ap, const char *end)
{
    static char buf[LINE_BYTES];
    size_t n;

    lock(&out_lock);
    n = strlen(prefix);
    memcpy(buf, prefix, n);
    n += format_text(buf + n, sizeof(buf) - n - 1, format, ap);
    memcpy(buf + n, end, strlen(end));
    n += strlen(end);
    serial_send(buf, n);
    unlock(&out_lock);
}

void out(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    line("", format, ap, "");
    va_end(ap);
}

void fact(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    line("fact ", format, ap, "\n");
    va_end(ap);
}

void note(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    line("# ", format, ap, "\n");
    va_end(ap);
}

bool ok(bool good, const char *format, ...)
{
    char text[200];
    va_list ap;
    size_t n;

    checks++;
    failures += !good;
    va_start(ap, format);
    n = format_text(text, sizeof(text) - 1, format, ap);
    va_end(ap);
    text[n] = '\0';
    out("%s %u - %s\n", good ? "ok" : "not ok", checks, text);
    return good;
}

void skip(const char *what, const char *why)
{
    checks++;
    out("ok %u - %s # skip %s\n", checks, what, why);
}

void tap_done(void)
{
    out("1..%u\n", checks);
    exit_with(failures != 0);
}

void tap_skip_all(const char *why)
{
    out("1..0 # skip %s\n", why);
    exit_with(0);
}
