
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "engine/backoff.h"
#include "tap.h"


#define MAX   UINT32_MAX
#define HALF  0x80000000u

#define EXP   RES_BACKOFF_EXPONENTIAL
#define LIN   RES_BACKOFF_LINEAR
#define CONST RES_BACKOFF_CONSTANT

#define FULL  RES_JITTER_FULL
#define NONE  RES_JITTER_NONE
#define EQUAL RES_JITTER_EQUAL
#define DECOR RES_JITTER_DECORRELATED
#define SPRD  RES_JITTER_SPREAD


typedef struct {
    res_backoff_t  b;           /* strategy, jitter, base, max, factor, % */
    uint32_t       n;
    uint32_t       previous;
    uint32_t       random;
    uint32_t       want;
} row_t;


static const row_t  rows[] = {

    /* growth */

    { { EXP, NONE, 100, 0, 2000, 0 },       1, 0, 0,   100 },
    { { EXP, NONE, 100, 0, 2000, 0 },       2, 0, 0,   200 },
    { { EXP, NONE, 100, 0, 2000, 0 },       3, 0, 0,   400 },
    { { EXP, NONE, 100, 0, 2000, 0 },      11, 0, 0,   102400 },
    { { EXP, NONE, 100, 0, 1500, 0 },       2, 0, 0,   150 },
    { { EXP, NONE, 100, 0, 1500, 0 },       3, 0, 0,   225 },
    { { EXP, NONE, 100, 0, 1500, 0 },       4, 0, 0,   337 },
    { { EXP, NONE, 100, 0, 1500, 0 },       5, 0, 0,   506 },
    { { EXP, NONE, 100, 0, 3000, 0 },       5, 0, 0,   8100 },
    { { EXP, NONE, 100, 0, 10000, 0 },      4, 0, 0,   100000 },
    { { EXP, NONE, 100, 0, 1000, 0 },       1, 0, 0,   100 },
    { { EXP, NONE, 100, 0, 1000, 0 },       9, 0, 0,   100 },
    { { EXP, NONE, 1, 0, 1500, 0 },         2, 0, 0,   1 },
    { { EXP, NONE, 1, 0, 1500, 0 },         3, 0, 0,   2 },
    { { EXP, NONE, 1, 0, 1500, 0 },         4, 0, 0,   3 },
    { { EXP, NONE, 1, 0, 1500, 0 },         5, 0, 0,   5 },

    { { LIN, NONE, 100, 0, 2000, 0 },       1, 0, 0,   100 },
    { { LIN, NONE, 100, 0, 2000, 0 },       2, 0, 0,   200 },
    { { LIN, NONE, 100, 0, 2000, 0 },       7, 0, 0,   700 },

    { { CONST, NONE, 100, 0, 2000, 0 },     1, 0, 0,   100 },
    { { CONST, NONE, 100, 0, 2000, 0 },     9, 0, 0,   100 },

    /* the bound: below, at, above */

    { { EXP, NONE, 100, 401, 2000, 0 },     3, 0, 0,   400 },
    { { EXP, NONE, 100, 400, 2000, 0 },     3, 0, 0,   400 },
    { { EXP, NONE, 100, 399, 2000, 0 },     3, 0, 0,   399 },
    { { EXP, NONE, 100, 400, 2000, 0 },     4, 0, 0,   400 },
    { { EXP, NONE, 9999, 19999, 2000, 0 },  2, 0, 0,   19998 },
    { { EXP, NONE, 100, 350, 2000, 0 },    50, 0, 0,   350 },
    { { EXP, NONE, 500, 350, 2000, 0 },     1, 0, 0,   350 },
    { { EXP, NONE, 500, 350, 1000, 0 },     1, 0, 0,   350 },
    { { LIN, NONE, 100, 301, 0, 0 },        3, 0, 0,   300 },
    { { LIN, NONE, 100, 300, 0, 0 },        3, 0, 0,   300 },
    { { LIN, NONE, 100, 299, 0, 0 },        3, 0, 0,   299 },
    { { CONST, NONE, 100, 101, 0, 0 },      3, 0, 0,   100 },
    { { CONST, NONE, 100, 99, 0, 0 },       3, 0, 0,   99 },

    /* saturation, and loops that must end */

    { { EXP, NONE, 1, 0, 2000, 0 },        32, 0, 0,   HALF },
    { { EXP, NONE, 1, 0, 2000, 0 },        33, 0, 0,   MAX },
    { { EXP, NONE, 1, 0, 2000, 0 },       MAX, 0, 0,   MAX },
    { { EXP, NONE, 1, 0, 1001, 0 },       MAX, 0, 0,   MAX },
    { { EXP, NONE, 1, 5, 1001, 0 },       MAX, 0, 0,   5 },
    { { EXP, NONE, 7, 0, 1000, 0 },       MAX, 0, 0,   7 },
    { { EXP, NONE, 0, 0, 2000, 0 },       MAX, 0, 0,   0 },
    { { EXP, NONE, 7, 0, 0, 0 },          MAX, 0, 0,   7 },
    { { EXP, NONE, MAX, 0, MAX, 0 },        1, 0, 0,   MAX },
    { { EXP, NONE, MAX, MAX, MAX, 0 },    MAX, 0, 0,   MAX },
    { { EXP, NONE, 1, 0, MAX, 0 },          2, 0, 0,   4294967 },
    { { EXP, NONE, 1, 0, MAX, 0 },          3, 0, 0,   MAX },
    { { LIN, NONE, MAX, 0, 0, 0 },        MAX, 0, 0,   MAX },
    { { LIN, NONE, 2, 0, 0, 0 },         HALF, 0, 0,   MAX },
    { { LIN, NONE, 1, 0, 0, 0 },          MAX, 0, 0,   MAX },
    { { CONST, NONE, MAX, 0, 0, 0 },      MAX, 0, 0,   MAX },

    /* full: 0 to v */

    { { CONST, FULL, 1000, 0, 0, 0 },       1, 0, 0,    0 },
    { { CONST, FULL, 1000, 0, 0, 0 },       1, 0, HALF, 500 },
    { { CONST, FULL, 1000, 0, 0, 0 },       1, 0, MAX,  1000 },
    { { CONST, FULL, 1, 0, 0, 0 },          1, 0, HALF - 1, 0 },
    { { CONST, FULL, 1, 0, 0, 0 },          1, 0, HALF, 1 },
    { { CONST, FULL, 0, 0, 0, 0 },          1, 0, MAX,  0 },
    { { CONST, FULL, MAX, 0, 0, 0 },        1, 0, 0,    0 },
    { { CONST, FULL, MAX, 0, 0, 0 },        1, 0, HALF, HALF },
    { { CONST, FULL, MAX, 0, 0, 0 },        1, 0, MAX,  MAX },
    { { EXP, FULL, 100, 300, 2000, 0 },     3, 0, MAX,  300 },

    /* equal: v/2 to v */

    { { CONST, EQUAL, 1000, 0, 0, 0 },      1, 0, 0,    500 },
    { { CONST, EQUAL, 1000, 0, 0, 0 },      1, 0, HALF, 750 },
    { { CONST, EQUAL, 1000, 0, 0, 0 },      1, 0, MAX,  1000 },
    { { CONST, EQUAL, 7, 0, 0, 0 },         1, 0, 0,    3 },
    { { CONST, EQUAL, 7, 0, 0, 0 },         1, 0, MAX,  7 },
    { { CONST, EQUAL, MAX, 0, 0, 0 },       1, 0, 0,    MAX / 2 },
    { { CONST, EQUAL, MAX, 0, 0, 0 },       1, 0, MAX,  MAX },
    { { LIN, EQUAL, 100, 250, 0, 0 },       9, 0, MAX,  250 },

    /* decorrelated: base to three times the last, the bound after that */

    { { EXP, DECOR, 100, 0, 2000, 0 },      1, 0, 0,    100 },
    { { EXP, DECOR, 100, 0, 2000, 0 },      1, 0, HALF, 200 },
    { { EXP, DECOR, 100, 0, 2000, 0 },      1, 0, MAX,  300 },
    { { EXP, DECOR, 100, 0, 2000, 0 },      9, 0, MAX,  300 },
    { { EXP, DECOR, 100, 0, 2000, 0 },      2, 300, 0,  100 },
    { { EXP, DECOR, 100, 0, 2000, 0 },      2, 300, MAX, 900 },
    { { EXP, DECOR, 100, 500, 2000, 0 },    2, 300, MAX, 500 },
    { { EXP, DECOR, 100, 500, 2000, 0 },    2, 300, 0x40000000, 300 },
    { { EXP, DECOR, 100, 500, 2000, 0 },    2, 300, HALF, 500 },
    { { EXP, DECOR, 100, 0, 2000, 0 },      2, 20, MAX, 100 },
    { { EXP, DECOR, 100, 0, 2000, 0 },      2, 34, MAX, 102 },
    { { EXP, DECOR, 100, 50, 2000, 0 },     1, 0, 0,    50 },
    { { EXP, DECOR, 0, 0, 2000, 0 },        1, 0, MAX,  0 },
    { { EXP, DECOR, 1, 0, 2000, 0 },        2, MAX, 0,  1 },
    { { EXP, DECOR, 1, 0, 2000, 0 },        2, MAX, MAX, MAX },
    { { EXP, DECOR, 0, 0, 2000, 0 },        2, MAX, 0x40000000, 3221225471 },
    { { EXP, DECOR, MAX, 0, 2000, 0 },      2, MAX, 0,  MAX },
    { { EXP, DECOR, MAX, 0, 2000, 0 },      2, MAX, MAX, MAX },

    /* spread: v less and more a share, never above the bound */

    { { CONST, SPRD, 1000, 0, 0, 30 },      1, 0, 0,    700 },
    { { CONST, SPRD, 1000, 0, 0, 30 },      1, 0, HALF, 1000 },
    { { CONST, SPRD, 1000, 0, 0, 30 },      1, 0, MAX,  1300 },
    { { CONST, SPRD, 1000, 1100, 0, 30 },   1, 0, MAX,  1100 },
    { { CONST, SPRD, 1000, 1100, 0, 30 },   1, 0, 0,    700 },
    { { CONST, SPRD, 1000, 900, 0, 30 },    1, 0, 0,    630 },
    { { CONST, SPRD, 1000, 900, 0, 30 },    1, 0, MAX,  900 },
    { { CONST, SPRD, 1000, 0, 0, 0 },       1, 0, 0,    1000 },
    { { CONST, SPRD, 1000, 0, 0, 0 },       1, 0, MAX,  1000 },
    { { CONST, SPRD, 1000, 0, 0, 100 },     1, 0, 0,    0 },
    { { CONST, SPRD, 1000, 0, 0, 100 },     1, 0, MAX,  2000 },
    { { CONST, SPRD, 1000, 0, 0, 101 },     1, 0, 0,    0 },
    { { CONST, SPRD, 1000, 0, 0, MAX },     1, 0, MAX,  2000 },
    { { CONST, SPRD, MAX, 0, 0, 100 },      1, 0, 0,    0 },
    { { CONST, SPRD, MAX, 0, 0, 100 },      1, 0, 0x40000000, HALF - 1 },
    { { CONST, SPRD, MAX, 0, 0, 100 },      1, 0, MAX,  MAX },
    { { CONST, SPRD, 0, 0, 0, 100 },        1, 0, MAX,  0 }
};


static void
test_rows(void)
{
    size_t        i;
    const row_t  *r;

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        r = &rows[i];

        is_int(res_backoff_delay(&r->b, r->n, r->previous, r->random),
               r->want, "strategy %d jitter %d base %u max %u factor %u "
               "spread %u, retry %u after %u, random %u",
               r->b.strategy, r->b.jitter, r->b.base, r->b.max, r->b.factor,
               r->b.spread, r->n, r->previous, r->random);
    }
}


/* what is asked of numbers that no row has is: the formulae, within 1/1000 */

static void
test_growth(void)
{
    int            bad;
    uint32_t       n, base, factor, got, before;
    long double    want;
    res_backoff_t  b;

    memset(&b, 0, sizeof(res_backoff_t));

    b.strategy = RES_BACKOFF_EXPONENTIAL;
    b.jitter = RES_JITTER_NONE;

    bad = 0;

    for (base = 10; base < 100000; base = base * 3 + 1) {
        for (factor = 1500; factor < 100000; factor = factor * 2 + 1) {

            b.base = base;
            b.factor = factor;

            want = base;
            before = 0;

            for (n = 1; n < 70; n++) {
                got = res_backoff_delay(&b, n, 0, 12345);

                if (got < before) {
                    bad++;
                }

                if (want > UINT32_MAX * 1.001L) {
                    bad += (got != UINT32_MAX);

                } else if (got > want || got < want * 0.999L - 1) {
                    bad += (got != UINT32_MAX || want < UINT32_MAX * 0.999L);
                }

                before = got;
                want *= (long double) factor / 1000;
            }
        }
    }

    is_int(bad, 0, "exponential growth over many bases and factors");
}


typedef struct {
    res_jitter_e   jitter;
    uint32_t       low;
    uint32_t       high;
} range_t;


/* each jitter fills its range, evenly and from end to end */

static void
test_ranges(void)
{
    static const range_t  ranges[] = {
        { RES_JITTER_FULL, 0, 99 },
        { RES_JITTER_NONE, 99, 99 },
        { RES_JITTER_EQUAL, 49, 99 },
        { RES_JITTER_DECORRELATED, 99, 240 },
        { RES_JITTER_SPREAD, 75, 123 }
    };

    int            even, inside;
    size_t         i;
    uint32_t       k, v, count, least, most, hits[512];
    res_backoff_t  b;

    memset(&b, 0, sizeof(res_backoff_t));

    b.strategy = RES_BACKOFF_CONSTANT;
    b.base = 99;
    b.spread = 25;

    for (i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        b.jitter = ranges[i].jitter;

        memset(hits, 0, sizeof(hits));
        inside = 1;

        for (k = 0; k < 1 << 18; k++) {
            v = res_backoff_delay(&b, 1, 80, (k << 14) + (k & 0x3fff));

            if (v < ranges[i].low || v > ranges[i].high) {
                inside = 0;
                continue;
            }

            hits[v]++;
        }

        ok(inside, "jitter %d stays in its range", ranges[i].jitter);

        count = ranges[i].high - ranges[i].low + 1;
        least = (1 << 18) / count * 99 / 100;
        most = (1 << 18) / count * 101 / 100 + 1;
        even = 1;

        for (v = ranges[i].low; v <= ranges[i].high; v++) {
            if (hits[v] < least || hits[v] > most) {
                even = 0;
            }
        }

        ok(even, "jitter %d fills its range evenly", ranges[i].jitter);
    }
}


/* no numbers whatever are above the bound, or grow smaller with the luck */

static void
test_bounds(void)
{
    static const uint32_t  values[] = {
        0, 1, 2, 999, 1000, 1001, 1500, 65536, 0x7fffffff, 0x80000000,
        0xfffffffe, 0xffffffff
    };

    int            strategy, jitter, high, shrunk;
    size_t         i, j, k;
    uint32_t       m, low, got;
    res_backoff_t  b;

    memset(&b, 0, sizeof(res_backoff_t));

    high = 0;
    shrunk = 0;

#define VALUES  (sizeof(values) / sizeof(values[0]))

    for (strategy = 0; strategy <= RES_BACKOFF_CONSTANT; strategy++) {
        for (jitter = 0; jitter <= RES_JITTER_SPREAD; jitter++) {
            for (i = 0; i < VALUES * VALUES; i++) {
                for (j = 0; j < VALUES * VALUES; j++) {

                    b.strategy = strategy;
                    b.jitter = jitter;
                    b.base = values[i % VALUES];
                    b.max = values[i / VALUES];
                    b.factor = values[j % VALUES];
                    b.spread = values[j % VALUES];
                    m = values[j / VALUES];

                    low = 0;

                    for (k = 0; k < VALUES; k += 3) {
                        got = res_backoff_delay(&b, m, m, values[k]);

                        high += (b.max != 0 && got > b.max);
                        shrunk += (got < low);

                        low = got;
                    }
                }
            }
        }
    }

    is_int(high, 0, "never above the bound");
    is_int(shrunk, 0, "never less with a greater random");
}


int
main(void)
{
    test_rows();
    test_growth();
    test_ranges();
    test_bounds();

    return done_testing();
}
