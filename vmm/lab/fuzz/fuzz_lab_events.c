/* SPDX-License-Identifier: Apache-2.0 */
/* Events of a lab, as a file has them. What is accepted is in order, and reads back as itself. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/lab/lab_events.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct lab_events events;
    char *text = malloc(size + 1), one[LAB_EVENT_TEXT];
    struct errctx ec = { 0 };

    assert(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    events.n = 0;
    if (lab_events_parse(&events, text, &ec) < 0)
        assert(ec.msg[0] != '\0');
    assert(events.n <= LAB_EVENTS_MAX);
    for (size_t i = 0; i < events.n; i++) {
        static struct lab_events again;

        again.n = 0;
        assert(i == 0 || events.list[i - 1].at_ns <= events.list[i].at_ns);
        assert(lab_events_add(&again, lab_event_format(&events.list[i], one), NULL) == 0);
        assert(again.list[0].at_ns == events.list[i].at_ns &&
               again.list[0].kind == events.list[i].kind && again.list[0].id == events.list[i].id &&
               again.list[0].host == events.list[i].host &&
               again.list[0].bytes == events.list[i].bytes);
    }
    free(text);
    return 0;
}
