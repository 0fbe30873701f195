/* SPDX-License-Identifier: Apache-2.0 */
/* Ends with the code from the command line ("code=7"); the host checks the exit status. */
#include "guest-tests/bare/lib/bare.h"

void guest_main(void)
{
    uint8_t code = (uint8_t)text_number(boot.cmdline, "code", 0);

    fact("cmdline=%s", boot.cmdline);
    fact("code=%u", code);
    exit_with(code);
}
