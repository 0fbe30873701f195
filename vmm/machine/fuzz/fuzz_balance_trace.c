/* SPDX-License-Identifier: Apache-2.0 */
/* A trace, line by line: whatever it is, it is refused, or decided on. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "vmm/machine/balance_replay.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *at = (const char *)data, *end = at + size;
    struct balance_replay *replay;
    size_t snapshots, decisions;
    int r = balance_replay_new(&replay, NULL);

    while (r >= 0 && at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        const size_t len = stop != NULL ? (size_t)(stop - at) : (size_t)(end - at);

        r = balance_replay_line(replay, at, len, NULL);
        assert(r <= 1);
        at += len + 1;
    }
    balance_replay_counts(replay, &snapshots, &decisions);
    assert(decisions <= snapshots);
    balance_replay_free(replay);
    return 0;
}
