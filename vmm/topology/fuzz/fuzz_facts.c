/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest says of its machine. What is accepted is sorted, printable and like itself. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/topology/facts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    struct errctx ec = { 0 };
    struct facts f;

    assert(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    if (facts_parse(text, &f, &ec) < 0) {
        assert(ec.msg[0] != '\0');
    } else {
        for (size_t i = 0; i < f.n; i++) {
            assert(f.list[i].name[0] != '\0' && f.list[i].value[0] != '\0');
            assert(i == 0 || strcmp(f.list[i - 1].name, f.list[i].name) < 0);
            assert(strchr(f.list[i].value, '\033') == NULL);
        }
        assert(facts_compare(&f, &f, NULL, NULL) == 0);
        facts_fini(&f);
    }
    free(text);
    return 0;
}
