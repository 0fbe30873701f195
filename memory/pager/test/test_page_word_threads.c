/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads at one word, for the thread sanitizer: the word alone orders who may touch the page,
 * which here is plain memory that is overwritten while it is "away".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "memory/pager/page_word.h"

enum { CONTENT = 0x5a, GONE = 0xee, ROUNDS = 20000, READERS = 2 };

struct shared {
    page_word word;
    uint8_t page[64], copy[64]; /* plain on purpose */
    _Atomic bool quit;
    _Atomic int evicted, filled, cancelled, wrong;
};

static bool is_all(const uint8_t *p, uint8_t byte)
{
    for (int i = 0; i < 64; i++)
        if (p[i] != byte)
            return false;
    return true;
}

static void *evictor(void *arg)
{
    struct shared *s = arg;

    for (int i = 0; i < ROUNDS; i++) {
        if (!page_arm(&s->word)) {
            (void)sched_yield();
            continue;
        }
        memcpy(s->copy, s->page, sizeof(s->copy));
        if (!page_keep(&s->word, 1) || !page_punch(&s->word)) {
            atomic_fetch_add(&s->cancelled, 1);
            continue;
        }
        memset(s->page, GONE, sizeof(s->page));
        page_emptied(&s->word);
        atomic_fetch_add(&s->evicted, 1);
        (void)sched_yield();
    }
    atomic_store(&s->quit, true);
    return NULL;
}

static void *reader(void *arg)
{
    struct shared *s = arg;

    while (!atomic_load(&s->quit)) {
        uint32_t object;

        switch (page_touch(&s->word, &object)) {
        case PAGE_TOUCH_FILL:
            memcpy(s->page, s->copy, sizeof(s->page));
            page_filled(&s->word);
            atomic_fetch_add(&s->filled, 1);
            break;
        case PAGE_TOUCH_MAP:
            if (!is_all(s->page, CONTENT))
                atomic_fetch_add(&s->wrong, 1);
            page_touched(&s->word);
            break;
        default:
            (void)sched_yield();
        }
        if (page_lease(&s->word, &object)) {
            const enum page_state state = page_state(atomic_load(&s->word));

            if (state == PAGE_RESIDENT && !is_all(s->page, CONTENT))
                atomic_fetch_add(&s->wrong, 1);
            page_unlease(&s->word);
        }
        (void)sched_yield();
    }
    return NULL;
}

static void the_word_alone_orders_who_touches_the_page(void **state)
{
    pthread_t thread[READERS + 1];
    struct shared s;

    (void)state;
    memset(&s, 0, sizeof(s));
    memset(s.page, CONTENT, sizeof(s.page));
    assert_int_equal(pthread_create(&thread[READERS], NULL, evictor, &s), 0);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, reader, &s), 0);
    for (int i = 0; i <= READERS; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    assert_int_equal(s.wrong, 0);
    assert_true(s.filled <= s.evicted && s.filled + 1 >= s.evicted); /* the last may be away */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_word_alone_orders_who_touches_the_page),
    };
    return cmocka_run_group_tests_name("memory/pager/page_word threads", tests, NULL, NULL);
}
