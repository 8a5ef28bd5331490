
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "engine/hint.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>


/*
 * Whatever a header says, the wait is none, or one within bounds; and white
 * space around it changes nothing.  The clock is one of three.
 */


#define check(cond)  do { if (!(cond)) { abort(); } } while (0)


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static const uint64_t  clocks[] = {
    0, 1795219200000, (uint64_t) 253402300799 * 1000
};


/* all that a value may be read as */

static void
fuzz_read(const uint8_t *data, size_t size, uint64_t now, int64_t *ms)
{
    ms[0] = res_hint_retry_after(data, size, now);
    ms[1] = res_hint_ms(data, size);
    ms[2] = res_hint_duration(data, size);
    ms[3] = res_hint_timestamp(data, size, now);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t    i, n;
    int64_t   ms[4], wide[4], later[4];
    uint8_t  *copy;

    copy = malloc(size + 4);
    check(copy != NULL);

    memcpy(copy, " \t", 2);

    if (size) {
        memcpy(copy + 2, data, size);
    }

    memcpy(copy + 2 + size, "\t ", 2);

    for (i = 0; i < sizeof(clocks) / sizeof(clocks[0]); i++) {

        fuzz_read(data, size, clocks[i], ms);
        fuzz_read(copy, size + 4, clocks[i], wide);
        fuzz_read(data, size, clocks[i] + 1000, later);

        for (n = 0; n < 4; n++) {
            check(ms[n] >= -1 && ms[n] <= RES_HINT_MAX);
            check(wide[n] == ms[n]);
        }

        /* a second later no time is further away, and spans are as long */

        check(later[1] == ms[1] && later[2] == ms[2]);
        check(later[3] <= ms[3]);
    }

    free(copy);

    return 0;
}
