/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Motorola MC146818. Time is the host's UTC plus an offset that the guest's writes set, in
 * whole seconds; binary and BCD, 12 and 24 hours. Interrupts: update-ended and alarm once a
 * second, periodic at the rate of register A, all from one timer on the main loop, armed only
 * while register B enables one of them, so an idle clock costs nothing.
 *
 * Threads: registers under the lock, from vCPU threads and the loop.
 */
#include "devices/rtc.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "devices/snapshot.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

enum {
    REG_SEC, REG_SEC_ALARM, REG_MIN, REG_MIN_ALARM, REG_HOUR, REG_HOUR_ALARM,
    REG_WDAY, REG_MDAY, REG_MONTH, REG_YEAR, REG_A, REG_B, REG_C, REG_D,
    REG_CENTURY = 0x32,
    CMOS_BYTES = 128,
    A_UIP = 0x80, A_DIVIDER = 0x20, A_RATE = 0x0f,
    B_SET = 0x80, B_PIE = 0x40, B_AIE = 0x20, B_UIE = 0x10, B_BINARY = 0x04, B_24H = 0x02,
    C_IRQ = 0x80, C_PF = 0x40, C_AF = 0x20, C_UF = 0x10,
    D_VALID = 0x80,
    HOUR_PM = 0x80,
    ALARM_ANY = 0xc0, /* both top bits: matches always */
};

/* Farther from now than any year that the registers can say (0 to 25,755). */
#define OFFSET_MAX_S 1000000000000ll

struct rtc {
    struct device dev;
    struct evloop *loop;
    struct evloop_timer *timer; /* main loop only */
    const struct irq_line_ops *irq;
    void *irq_ctx;
    uint32_t line;

    pthread_mutex_t lock; /* covers everything below */
    uint8_t index;
    uint8_t cmos[CMOS_BYTES];
    int64_t offset_s;     /* guest time minus host time */
    int64_t last_second;  /* of the guest's time for which UF and AF were raised */
    uint64_t next_periodic_ns;
    bool posted; /* a message to re-arm the timer is on its way */
};

/* Not time(2): that one lags behind by up to a clock tick, so that a timer which fires right after
 * a second's begin would still see the last one. */
static int64_t host_now(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_REALTIME, &ts);
    return ts.tv_sec;
}

static int64_t guest_now(const struct rtc *rtc)
{
    return host_now() + rtc->offset_s;
}

static uint8_t encode(const struct rtc *rtc, int v)
{
    return (uint8_t)(rtc->cmos[REG_B] & B_BINARY ? v : v / 10 << 4 | v % 10);
}

static int decode(const struct rtc *rtc, uint8_t v)
{
    return rtc->cmos[REG_B] & B_BINARY ? v : (v >> 4) * 10 + (v & 0xf);
}

static uint8_t encode_hour(const struct rtc *rtc, int hour)
{
    if (rtc->cmos[REG_B] & B_24H)
        return encode(rtc, hour);
    return encode(rtc, hour % 12 == 0 ? 12 : hour % 12) | (hour >= 12 ? HOUR_PM : 0);
}

static int decode_hour(const struct rtc *rtc, uint8_t v)
{
    if (rtc->cmos[REG_B] & B_24H)
        return decode(rtc, v);
    return decode(rtc, v & ~HOUR_PM & 0xff) % 12 + (v & HOUR_PM ? 12 : 0);
}

/* Fill the time registers from the clock. */
static void load_time_locked(struct rtc *rtc)
{
    time_t t = (time_t)guest_now(rtc);
    struct tm tm;
    int year;

    if (rtc->cmos[REG_B] & B_SET || gmtime_r(&t, &tm) == NULL)
        return;
    rtc->cmos[REG_SEC] = encode(rtc, tm.tm_sec);
    rtc->cmos[REG_MIN] = encode(rtc, tm.tm_min);
    rtc->cmos[REG_HOUR] = encode_hour(rtc, tm.tm_hour);
    rtc->cmos[REG_WDAY] = encode(rtc, tm.tm_wday + 1);
    rtc->cmos[REG_MDAY] = encode(rtc, tm.tm_mday);
    rtc->cmos[REG_MONTH] = encode(rtc, tm.tm_mon + 1);
    year = MAX(tm.tm_year + 1900, 0); /* a month of 0 in year 0 is the year before */
    rtc->cmos[REG_YEAR] = encode(rtc, year % 100);
    rtc->cmos[REG_CENTURY] = encode(rtc, year / 100);
}

/* Take the time registers as the guest's new time. */
static void store_time_locked(struct rtc *rtc)
{
    struct tm tm = {
        .tm_sec = decode(rtc, rtc->cmos[REG_SEC]),
        .tm_min = decode(rtc, rtc->cmos[REG_MIN]),
        .tm_hour = decode_hour(rtc, rtc->cmos[REG_HOUR]),
        .tm_mday = decode(rtc, rtc->cmos[REG_MDAY]),
        .tm_mon = decode(rtc, rtc->cmos[REG_MONTH]) - 1,
        .tm_year = decode(rtc, rtc->cmos[REG_CENTURY]) * 100 + decode(rtc, rtc->cmos[REG_YEAR]) -
                   1900,
    };

    rtc->offset_s = (int64_t)timegm(&tm) - host_now();
}

/* Nanoseconds between periodic interrupts; 0: off (MC146818, table 5). */
static uint64_t period_ns(const struct rtc *rtc)
{
    unsigned rate = rtc->cmos[REG_A] & A_RATE;

    if (rate == 0 || !(rtc->cmos[REG_B] & B_PIE))
        return 0;
    if (rate <= 2)
        rate += 7;
    return 1000000000ull * (1ull << (rate - 1)) / 32768;
}

static void raise_locked(struct rtc *rtc, uint8_t flags)
{
    rtc->cmos[REG_C] |= flags;
    if (!(rtc->cmos[REG_C] & rtc->cmos[REG_B] & (C_PF | C_AF | C_UF)) ||
        rtc->cmos[REG_C] & C_IRQ)
        return;
    rtc->cmos[REG_C] |= C_IRQ;
    rtc->irq->set(rtc->irq_ctx, rtc->line, true);
}

static bool alarm_matches(const struct rtc *rtc)
{
    static const uint8_t pairs[][2] = { { REG_SEC, REG_SEC_ALARM },
                                        { REG_MIN, REG_MIN_ALARM },
                                        { REG_HOUR, REG_HOUR_ALARM } };

    for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
        const uint8_t want = rtc->cmos[pairs[i][1]];

        if ((want & ALARM_ANY) != ALARM_ANY && want != rtc->cmos[pairs[i][0]])
            return false;
    }
    return true;
}

static void rearm(void *ctx);

static void on_timer(void *ctx)
{
    struct rtc *rtc = ctx;
    uint8_t flags = 0;

    {
        LOCK_SCOPE(&rtc->lock);
        const uint64_t now = evloop_now_ns(), period = period_ns(rtc);
        const int64_t second = guest_now(rtc);

        if (period != 0 && rtc->next_periodic_ns <= now) {
            flags |= C_PF;
            /* A late loop skips what it missed instead of delivering a burst. */
            rtc->next_periodic_ns += (1 + (now - rtc->next_periodic_ns) / period) * period;
        }
        if (second != rtc->last_second && !(rtc->cmos[REG_B] & B_SET)) {
            rtc->last_second = second;
            load_time_locked(rtc);
            flags |= C_UF | (alarm_matches(rtc) ? C_AF : 0);
        }
        if (flags != 0)
            raise_locked(rtc, flags);
    }
    rearm(rtc);
}

/* Main loop: set the timer to what the registers ask for now. */
static void rearm(void *ctx)
{
    struct rtc *rtc = ctx;
    uint64_t at = 0;

    {
        LOCK_SCOPE(&rtc->lock);
        const uint64_t now = evloop_now_ns(), period = period_ns(rtc);
        struct timespec wall;

        rtc->posted = false;
        if (period != 0) {
            if (rtc->next_periodic_ns == 0)
                rtc->next_periodic_ns = now + period;
            at = rtc->next_periodic_ns;
        } else {
            rtc->next_periodic_ns = 0;
        }
        if (rtc->cmos[REG_B] & (B_UIE | B_AIE)) {
            uint64_t tick;

            (void)clock_gettime(CLOCK_REALTIME, &wall);
            tick = now + 1000000000u - (uint64_t)wall.tv_nsec;
            at = at == 0 ? tick : MIN(at, tick);
        }
    }
    evloop_timer_arm(rtc->timer, at);
}

static void rtc_read(struct device *dev, uint64_t off, void *data, size_t size)
{
    struct rtc *rtc = container_of(dev, struct rtc, dev);
    LOCK_SCOPE(&rtc->lock);
    uint8_t v;

    memset(data, 0xff, size);
    if (off == 0)
        return; /* the index register is write-only */
    if (rtc->index <= REG_YEAR || rtc->index == REG_CENTURY)
        load_time_locked(rtc);
    v = rtc->cmos[rtc->index];
    if (rtc->index == REG_C) { /* reading it acknowledges everything */
        rtc->cmos[REG_C] = 0;
        rtc->irq->set(rtc->irq_ctx, rtc->line, false);
    }
    *(uint8_t *)data = v;
}

static bool write_reg_locked(struct rtc *rtc, uint8_t v)
{
    const uint8_t old_b = rtc->cmos[REG_B];

    switch (rtc->index) {
    case REG_A:
        rtc->cmos[REG_A] = v & ~A_UIP & 0xff;
        return true;
    case REG_B:
        if (v & B_SET && !(old_b & B_SET))
            load_time_locked(rtc); /* freeze at the present time */
        rtc->cmos[REG_B] = v;
        if (!(v & B_SET) && old_b & B_SET)
            store_time_locked(rtc);
        return true;
    case REG_C:
    case REG_D:
        return false; /* read-only */
    case REG_SEC: case REG_MIN: case REG_HOUR: case REG_WDAY:
    case REG_MDAY: case REG_MONTH: case REG_YEAR: case REG_CENTURY:
        load_time_locked(rtc);
        rtc->cmos[rtc->index] = v;
        if (!(rtc->cmos[REG_B] & B_SET))
            store_time_locked(rtc);
        return false;
    default:
        rtc->cmos[rtc->index] = v;
        return false;
    }
}

static void rtc_write(struct device *dev, uint64_t off, const void *data, size_t size)
{
    struct rtc *rtc = container_of(dev, struct rtc, dev);
    const uint8_t v = *(const uint8_t *)data;
    bool post = false;

    (void)size;
    {
        LOCK_SCOPE(&rtc->lock);
        if (off == 0) {
            rtc->index = v & (CMOS_BYTES - 1);
            return;
        }
        /* One message at a time, so that a guest cannot fill the loop's queue. */
        if (write_reg_locked(rtc, v) && !rtc->posted)
            rtc->posted = post = true;
    }
    if (post && evloop_post(rtc->loop, rearm, rtc) < 0) {
        LOCK_SCOPE(&rtc->lock);
        rtc->posted = false;
    }
}

static void rtc_reset(struct device *dev)
{
    struct rtc *rtc = container_of(dev, struct rtc, dev);

    {
        LOCK_SCOPE(&rtc->lock);
        rtc->index = 0;
        memset(rtc->cmos, 0, sizeof(rtc->cmos));
        rtc->cmos[REG_A] = A_DIVIDER | 6; /* 1024 Hz, as firmware leaves it */
        rtc->cmos[REG_B] = B_24H;
        rtc->cmos[REG_D] = D_VALID;
        rtc->irq->set(rtc->irq_ctx, rtc->line, false);
    }
    rearm(rtc); /* main thread, or before the loop runs */
}

static int rtc_save(struct device *dev, struct snapshot_writer *w, struct errctx *ec)
{
    struct rtc *rtc = container_of(dev, struct rtc, dev);
    LOCK_SCOPE(&rtc->lock);

    (void)ec;
    snapshot_put_u8(w, rtc->index);
    snapshot_put_bytes(w, rtc->cmos, sizeof(rtc->cmos));
    snapshot_put_u64(w, (uint64_t)rtc->offset_s);
    return 0;
}

static int rtc_load(struct device *dev, struct snapshot_reader *r, uint32_t version,
                    struct errctx *ec)
{
    struct rtc *rtc = container_of(dev, struct rtc, dev);

    (void)version;
    {
        LOCK_SCOPE(&rtc->lock);
        const uint8_t index = snapshot_get_u8(r);
        uint8_t cmos[CMOS_BYTES];
        int64_t offset_s;

        snapshot_get_bytes(r, cmos, sizeof(cmos));
        offset_s = (int64_t)snapshot_get_u64(r);
        if (offset_s < -OFFSET_MAX_S || offset_s > OFFSET_MAX_S)
            return errctx_set(ec, EINVAL, "a time that no clock register can say");
        rtc->index = index & (CMOS_BYTES - 1);
        memcpy(rtc->cmos, cmos, sizeof(cmos));
        rtc->cmos[REG_A] &= A_UIP ^ 0xff;
        rtc->offset_s = offset_s;
        rtc->next_periodic_ns = 0;
        rtc->irq->set(rtc->irq_ctx, rtc->line, rtc->cmos[REG_C] & C_IRQ);
    }
    rearm(rtc);
    return 0;
}

static void rtc_destroy(struct device *dev)
{
    struct rtc *rtc = container_of(dev, struct rtc, dev);

    evloop_timer_free(rtc->timer);
    (void)pthread_mutex_destroy(&rtc->lock);
    free(rtc);
}

static const struct device_ops rtc_ops = {
    .type = "rtc",
    .version = 1,
    .read = rtc_read,
    .write = rtc_write,
    .reset = rtc_reset,
    .save = rtc_save,
    .load = rtc_load,
    .destroy = rtc_destroy,
};

int rtc_new(struct evloop *loop, uint32_t line, const struct irq_line_ops *irq, void *irq_ctx,
            struct device **ret_dev, struct errctx *ec)
{
    struct rtc *rtc = calloc(1, sizeof(*rtc));
    int r;

    if (rtc == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the clock");
    rtc->dev = (struct device){ .ops = &rtc_ops, .name = "rtc" };
    rtc->loop = loop;
    rtc->irq = irq;
    rtc->irq_ctx = irq_ctx;
    rtc->line = line;
    (void)pthread_mutex_init(&rtc->lock, NULL);
    /* gmtime_r() reads the time zone file at its first use, which would be on a vCPU's thread,
     * where no file may be opened any more. */
    tzset();
    r = evloop_timer_new(loop, on_timer, rtc, &rtc->timer, ec);
    if (r < 0) {
        (void)pthread_mutex_destroy(&rtc->lock);
        free(rtc);
        return r;
    }
    rtc_reset(&rtc->dev);
    *ret_dev = &rtc->dev;
    return 0;
}
