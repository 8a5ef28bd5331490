
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "engine/ewma.h"
#include "tap.h"

#include <math.h>
#include <stdlib.h>


#define MAX      UINT32_MAX
#define HALF     0x80000000u
#define UNKNOWN  RES_EWMA_UNKNOWN


static uint64_t  seed = 0x9e3779b97f4a7c15;


static uint32_t
number(uint32_t limit)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;

    return (uint32_t) ((seed >> 16) % limit);
}


/* to a millionth, and a unit */

static int
near(uint64_t got, long double want)
{
    return got <= want * 1.000001L + 1 && got >= want * 0.999999L - 1;
}


static void
test_zero(void)
{
    res_ewma_t  e, zero;

    memset(&e, 0, sizeof(res_ewma_t));
    memset(&zero, 0, sizeof(res_ewma_t));

    is_int(res_ewma_cost(&e, 0, 0, 1000), 0, "zero is tried first");
    is_int(res_ewma_cost(&e, 0, 123456, 1000), 0, "at any time");
    is_int(res_ewma_cost(&e, 0, UINT64_MAX, 0), 0, "with any tau");

    ok(res_ewma_cost(&e, 1, 5, 1000) == UNKNOWN + 1, "but once");
    ok(res_ewma_cost(&e, 2, 5, 1000) == UNKNOWN + 2, "then by requests");
    ok(res_ewma_cost(&e, MAX, 5, 1000) == UNKNOWN + MAX, "any number");

    ok(memcmp(&e, &zero, sizeof(res_ewma_t)) == 0, "asking leaves no trace");

    res_ewma_record(&e, 0, 7000, 1000);

    is_int(e.value, 1, "a sample of 0 is one");
    is_int(res_ewma_cost(&e, 0, 7000, 1000), 1, "its cost");
    is_int(res_ewma_cost(&e, 9, 7000, 1000), 10, "and that of more");
    is_int(res_ewma_cost(&e, 0, 8000, 1000), 0, "and that of later");
}


/* samples at their times, e^-1 is 0.367879441 */

#define SAMPLES  4

typedef struct {
    uint32_t  tau;
    struct {
        uint64_t  at;
        uint64_t  ms;
    }         samples[SAMPLES];
    uint64_t  at;
    uint64_t  value;
} sample_t;


static const sample_t  samples[] = {

    /* the first one */

    { 1000, { { 0, 100 } }, 0, 100000 },
    { 1000, { { 5000, 100 } }, 5000, 100000 },
    { 0, { { 5000, 100 } }, 5000, 100000 },
    { 1000, { { 5000, MAX } }, 5000, 4294967295000 },
    { 1000, { { 5000, (uint64_t) MAX + 1 } }, 5000, 4294967295000 },
    { 1000, { { 5000, UINT64_MAX } }, 5000, 4294967295000 },

    /* a higher one replaces it, whenever it comes */

    { 1000, { { 5000, 100 }, { 5000, 101 } }, 5000, 101000 },
    { 1000, { { 5000, 100 }, { 5001, 101 } }, 5001, 101000 },
    { 1000, { { 5000, 100 }, { 5001, 7000 } }, 5001, 7000000 },
    { 1000, { { 5000, 100 }, { 99999, 101 } }, 99999, 101000 },
    { 1000, { { 5000, 100 }, { 4000, 101 } }, 5000, 101000 },
    { 0, { { 5000, 100 }, { 5001, 101 } }, 5001, 101000 },

    /* an equal one changes nothing */

    { 1000, { { 5000, 100 }, { 6000, 100 } }, 6000, 100000 },

    /* a lower one draws it down */

    { 1000, { { 5000, 100 }, { 6000, 50 } }, 6000, 68393 },
    { 1000, { { 5000, 100 }, { 6000, 0 } }, 6000, 36788 },
    { 2000, { { 5000, 100 }, { 7000, 50 } }, 7000, 68393 },
    { 1000, { { 5000, 100 }, { 5500, 50 } }, 5500, 80326 },
    { 1000, { { 5000, 100 }, { 5001, 50 } }, 5001, 99950 },
    { 1000, { { 5000, 100 }, { 8000, 50 } }, 8000, 52489 },
    { 1000, { { 5000, 100 }, { 15000, 50 } }, 15000, 50002 },
    { 1000, { { 5000, 100 }, { 35000, 50 } }, 35000, 50000 },
    { 1000, { { 5000, 100 }, { 99999999999, 50 } }, 99999999999, 50000 },
    { 1000, { { 5000, 100 }, { UINT64_MAX, 50 } }, UINT64_MAX, 50000 },
    { 1000, { { 5000, 100 }, { 6000, 50 }, { 7000, 50 } }, 7000, 56766 },
    { 1000, { { 5000, 100 }, { 6000, 50 }, { 7000, 70 } }, 7000, 70000 },
    { 1000, { { 5000, 100 }, { 6000, 50 }, { 7000, 68 } }, 7000, 68144 },
    { MAX, { { 0, 100 }, { MAX, 50 } }, MAX, 68393 },
    { 1, { { 5000, 100 }, { 5001, 50 } }, 5001, 68393 },

    /* the same instant, or a step back: only peaks count */

    { 1000, { { 5000, 100 }, { 5000, 50 } }, 5000, 100000 },
    { 1000, { { 5000, 100 }, { 4000, 50 } }, 5000, 100000 },
    { 1000, { { 5000, 100 }, { 4000, 50 }, { 6000, 50 } }, 6000, 68393 },

    /* without memory */

    { 0, { { 5000, 100 }, { 5001, 50 } }, 5001, 50000 },
    { 0, { { 5000, 100 }, { 5001, 50 }, { 5001, 40 } }, 5001, 50000 },
    { 0, { { 5000, 100 }, { 5063, 50 }, { 5070, 40 } }, 5070, 40000 }
};


static void
test_samples(void)
{
    int              k;
    size_t           i;
    res_ewma_t       e;
    const sample_t  *r;

    for (i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        r = &samples[i];

        memset(&e, 0, sizeof(res_ewma_t));

        for (k = 0; k < SAMPLES && (k == 0 || r->samples[k].at); k++) {
            res_ewma_record(&e, r->samples[k].ms, r->samples[k].at, r->tau);
        }

        ok(e.value >= r->value - 1 && e.value <= r->value + 1,
           "row %d: %d samples give %llu", (int) i, k,
           (unsigned long long) r->value);
        ok(e.at == r->at, "row %d: the last one at %llu", (int) i,
           (unsigned long long) r->at);
        ok(res_ewma_cost(&e, 0, r->at, r->tau) == e.value,
           "row %d: which is the cost then", (int) i);
    }
}


static void
test_cost(void)
{
    int           bad, more, less;
    size_t        i, k, n;
    uint64_t      cost, last, now;
    res_ewma_t    e;
    long double   want;

    static const uint32_t  taus[] = {
        1, 2, 3, 10, 999, 1000, 10000, 60000, 600000, 86400000, MAX
    };

    static const uint64_t  times[] = {
        0, 1, 2, 3, 7, 10, 50, 100, 500, 999, 1000, 1001, 3000, 10000, 50000,
        63000, 64000, 65000, 640000, 1000000, 100000000, 10000000000,
        (uint64_t) MAX * 63, (uint64_t) MAX * 65, (uint64_t) 1 << 62
    };

    static const uint32_t  inflight[] = { 0, 1, 2, 9, 100, 65536, MAX };

    bad = 0;
    more = 0;
    less = 0;

    e.at = 5000;

    for (e.value = 1; e.value < 4294967295001; e.value = e.value * 7 + 3) {
        for (i = 0; i < sizeof(taus) / sizeof(taus[0]); i++) {
            for (n = 0; n < sizeof(inflight) / sizeof(inflight[0]); n++) {

                last = UINT64_MAX;

                for (k = 0; k < sizeof(times) / sizeof(times[0]); k++) {
                    now = e.at + times[k];

                    cost = res_ewma_cost(&e, inflight[n], now, taus[i]);
                    want = e.value
                           * expl(-(long double) times[k] / taus[i])
                           * ((long double) inflight[n] + 1);

                    if (want > (long double) UNKNOWN) {
                        bad += (cost != UNKNOWN);

                    } else {
                        bad += !near(cost, want);
                    }

                    more += (cost > last);
                    less += (n > 0 && cost < res_ewma_cost(&e, inflight[n - 1],
                                                           now, taus[i]));
                    last = cost;
                }
            }
        }
    }

    is_int(bad, 0, "the cost is as the exponential has it");
    is_int(more, 0, "it never rises with time");
    is_int(less, 0, "it never falls with requests in flight");

    e.value = 100000;

    is_int(res_ewma_cost(&e, 0, 4999, 1000), 100000, "a step back is none");
    is_int(res_ewma_cost(&e, 2, 0, 1000), 300000, "however long");
    is_int(res_ewma_cost(&e, 0, 5000, 0), 100000, "no tau, at once");
    is_int(res_ewma_cost(&e, 0, 5001, 0), 0, "no tau, later");

    e.value = 4294967295000;
    ok(res_ewma_cost(&e, MAX, 5000, 1000) <= UNKNOWN,
       "a known one never costs more than an unknown");
}


/* random samples, against the formula in another precision */

static void
test_model(void)
{
    int          i, bad, ahead;
    uint32_t     tau, ms;
    uint64_t     now, when, at;
    res_ewma_t   e;
    long double  v;

    bad = 0;
    ahead = 0;

    for (tau = 1; tau < 1000000; tau = tau * 3 + 1) {
        memset(&e, 0, sizeof(res_ewma_t));

        now = 1000;
        at = 0;
        v = 0;

        for (i = 0; i < 5000; i++) {
            now += number(number(10) ? tau / 10 + 2 : 3 * tau);
            when = number(20) ? now : now - number(1000);
            ms = number(1 << number(25));

            res_ewma_record(&e, ms, when, tau);

            if (ms * 1000.0L >= v) {
                v = ms * 1000.0L;

            } else if (when > at) {
                v = ms * 1000.0L
                    + (v - ms * 1000.0L)
                      * expl(-(long double) (when - at) / tau);
            }

            at = when > at ? when : at;

            /* ours loses less than 1 us a sample */

            bad += (e.at != at);
            bad += (e.value > v * 1.000001L + 2);
            bad += (e.value < v * 0.999999L - 2 - 1 / (1 - expl(-1.0L / tau)));
            ahead += (e.value < ms);
        }
    }

    is_int(bad, 0, "random samples give what the formula gives");
    is_int(ahead, 0, "never less than the last one");
}


/*
 * Providers behind two choices: which of them are chosen, with calls that
 * last as long as their provider's latency.
 */

#define PROVIDERS  4
#define CALLS      65536


typedef struct {
    uint32_t    latency[PROVIDERS]; /* ms */
    uint32_t    chosen[PROVIDERS];
    uint32_t    inflight[PROVIDERS];
    res_ewma_t  ewmas[PROVIDERS];
    uint64_t    now;
    uint8_t     ends[CALLS];        /* ring of ms: provider + 1, 0: none */
} farm_t;


static farm_t  farm;


/* one call a ms */

static void
run(uint32_t n, uint32_t ms, uint32_t tau)
{
    uint32_t  i, j, k;
    uint64_t  end;

    memset(farm.chosen, 0, sizeof(farm.chosen));

    while (ms-- > 0) {
        farm.now++;

        k = farm.ends[farm.now % CALLS];

        if (k != 0) {
            farm.ends[farm.now % CALLS] = 0;
            farm.inflight[k - 1]--;
            res_ewma_record(&farm.ewmas[k - 1], farm.latency[k - 1], farm.now,
                            tau);
        }

        res_pick_two(number(MAX), n, &i, &j);

        if (res_ewma_cost(&farm.ewmas[j], farm.inflight[j], farm.now, tau)
            < res_ewma_cost(&farm.ewmas[i], farm.inflight[i], farm.now, tau))
        {
            i = j;
        }

        for (end = farm.now + farm.latency[i]; farm.ends[end % CALLS]; end++) {
            /* void */
        }

        farm.ends[end % CALLS] = (uint8_t) (i + 1);
        farm.inflight[i]++;
        farm.chosen[i]++;
    }
}


static void
test_farm(void)
{
    uint32_t  i;

    memset(&farm, 0, sizeof(farm_t));

    for (i = 0; i < PROVIDERS; i++) {
        farm.latency[i] = 200;
    }

    /* none has answered yet: they share */

    run(PROVIDERS, 100, 10000);

    for (i = 0; i < PROVIDERS; i++) {
        ok(farm.chosen[i] >= 23 && farm.chosen[i] <= 27,
           "unknown provider %u has %u of 100", i, farm.chosen[i]);
    }

    run(PROVIDERS, 20000, 10000);

    for (i = 0; i < PROVIDERS; i++) {
        ok(farm.chosen[i] > 4000 && farm.chosen[i] < 6000,
           "equal provider %u has %u of 20000", i, farm.chosen[i]);
    }

    farm.latency[2] = 2000;

    run(PROVIDERS, 4000, 10000);
    run(PROVIDERS, 20000, 10000);
    ok(farm.chosen[2] > 0 && farm.chosen[2] < 1000,
       "one ten times as slow has %u of 20000", farm.chosen[2]);

    farm.latency[2] = 200;

    run(PROVIDERS, 60000, 10000);
    run(PROVIDERS, 20000, 10000);
    ok(farm.chosen[2] > 4000 && farm.chosen[2] < 6000,
       "once quick again, it has %u of 20000", farm.chosen[2]);

    /* a new one that doesn't answer gets one call, not all */

    memset(&farm.ewmas[3], 0, sizeof(res_ewma_t));
    farm.inflight[3] = 0;
    memset(farm.ends, 0, sizeof(farm.ends));
    memset(farm.inflight, 0, sizeof(farm.inflight));
    farm.latency[3] = 50000;

    run(PROVIDERS, 10000, 10000);
    is_int(farm.chosen[3], 1, "calls to a new one that is silent");
}


static void
test_pick_two(void)
{
    int       bad;
    uint32_t  n, i, j, k, least, most;

    static uint32_t  hits[64][64];

    static const uint32_t  edges[] = {
        0, 1, HALF - 1, HALF, HALF + 1, MAX - 1, MAX
    };

    for (n = 0; n < 2; n++) {
        for (k = 0; k < 7; k++) {
            i = 5;
            j = 5;
            res_pick_two(edges[k], n, &i, &j);
            ok(i == 0 && j == 0, "two of %u, random %u", n, edges[k]);
        }
    }

    bad = 0;

    for (n = 2; n <= 65536; n += 1 + n / 5) {
        for (k = 0; k < 7; k++) {
            res_pick_two(edges[k], n, &i, &j);
            bad += (i >= n || j >= n || i == j);
        }

        for (k = 0; k < 1000; k++) {
            res_pick_two(number(MAX), n, &i, &j);
            bad += (i >= n || j >= n || i == j);
        }
    }

    for (k = 0; k < 7; k++) {
        res_pick_two(edges[k], 65536, &i, &j);
        bad += (i >= 65536 || j >= 65536 || i == j);
    }

    is_int(bad, 0, "two different ones of any number");

    res_pick_two(0, 65536, &i, &j);
    ok(i == 0 && j == 1, "the first two of 65536");
    res_pick_two(MAX, 65536, &i, &j);
    ok(i == 65535 && j == 65534, "the last two of 65536");

    for (n = 2; n <= 40; n = n * 3 / 2 + 1) {
        memset(hits, 0, sizeof(hits));

        for (k = 0; k < 1 << 18; k++) {
            res_pick_two((k << 14) + (k & 0x3fff), n, &i, &j);
            hits[i][j]++;
        }

        least = (1 << 18) / (n * (n - 1)) * 97 / 100;
        most = (1 << 18) / (n * (n - 1)) * 103 / 100 + 1;
        bad = 0;

        for (i = 0; i < n; i++) {
            for (j = 0; j < n; j++) {
                bad += (i == j) ? hits[i][j] != 0
                                : hits[i][j] < least || hits[i][j] > most;
            }
        }

        is_int(bad, 0, "each pair of %u is as likely", n);
    }
}


#define WEIGHTS  5

typedef struct {
    uint32_t  n;
    uint32_t  weights[WEIGHTS];
    uint32_t  random;
    int       want;
} weight_t;


static const weight_t  weights[] = {

    { 0, { 1, 1, 1, 1, 1 }, 0, -1 },
    { 0, { 1, 1, 1, 1, 1 }, MAX, -1 },
    { 5, { 0, 0, 0, 0, 0 }, 0, -1 },
    { 5, { 0, 0, 0, 0, 0 }, MAX, -1 },
    { 1, { 0, 1, 1, 1, 1 }, 0, -1 },
    { 1, { 1, 1, 1, 1, 1 }, 0, 0 },
    { 1, { 1, 1, 1, 1, 1 }, MAX, 0 },
    { 1, { MAX, 1, 1, 1, 1 }, MAX, 0 },

    { 2, { 1, 1 }, 0, 0 },
    { 2, { 1, 1 }, HALF - 1, 0 },
    { 2, { 1, 1 }, HALF, 1 },
    { 2, { 1, 1 }, MAX, 1 },
    { 2, { 3, 1 }, 0xbfffffff, 0 },
    { 2, { 3, 1 }, 0xc0000000, 1 },
    { 2, { 1, 3 }, 0x3fffffff, 0 },
    { 2, { 1, 3 }, 0x40000000, 1 },
    { 4, { 1, 1, 1, 1 }, 0x7fffffff, 1 },
    { 4, { 1, 1, 1, 1 }, 0x80000000, 2 },

    { 3, { 0, 1, 0 }, 0, 1 },
    { 3, { 0, 1, 0 }, MAX, 1 },
    { 3, { 0, 0, 9 }, 0, 2 },
    { 3, { 9, 0, 0 }, MAX, 0 },
    { 5, { 0, 1, 0, 1, 0 }, 0, 1 },
    { 5, { 0, 1, 0, 1, 0 }, HALF - 1, 1 },
    { 5, { 0, 1, 0, 1, 0 }, HALF, 3 },
    { 5, { 0, 1, 0, 1, 0 }, MAX, 3 },

    /* sums of 32 bits and more */

    { 2, { MAX, 1 }, 0, 0 },
    { 2, { MAX, 1 }, MAX - 1, 0 },
    { 2, { MAX, 1 }, MAX, 1 },
    { 2, { 1, MAX }, 0, 0 },
    { 2, { 1, MAX }, 1, 1 },
    { 2, { MAX, MAX }, 0x7fffffff, 0 },
    { 2, { MAX, MAX }, 0x80000000, 1 },
    { 2, { MAX, MAX }, MAX, 1 },
    { 4, { MAX, MAX, MAX, MAX }, 0x3fffffff, 0 },
    { 4, { MAX, MAX, MAX, MAX }, 0x40000000, 1 },
    { 4, { MAX, MAX, MAX, MAX }, 0xbfffffff, 2 },
    { 4, { MAX, MAX, MAX, MAX }, 0xc0000000, 3 },
    { 5, { MAX, 0, MAX, 0, 0 }, MAX, 2 }
};


static void
test_pick_weighted(void)
{
    int              got, bad, zero;
    size_t           i;
    double           share;
    uint32_t         k, n, sum, hits[WEIGHTS], w[WEIGHTS];
    const weight_t  *r;

    for (i = 0; i < sizeof(weights) / sizeof(weights[0]); i++) {
        r = &weights[i];

        is_int(res_pick_weighted(r->weights, r->n, r->random), r->want,
               "row %d: of %u weights %u %u %u.., random %u", (int) i, r->n,
               r->weights[0], r->weights[1], r->weights[2], r->random);
    }

    bad = 0;
    zero = 0;

    for (i = 0; i < 100; i++) {
        n = 1 + number(WEIGHTS);
        sum = 0;

        for (k = 0; k < n; k++) {
            w[k] = number(3) ? number(1 << number(20)) : 0;
            sum += w[k];
        }

        memset(hits, 0, sizeof(hits));

        for (k = 0; k < 1 << 14; k++) {
            got = res_pick_weighted(w, n, (k << 18) + (k & 0x3fff) * 16);

            if (sum == 0) {
                bad += (got != -1);

            } else if (got < 0 || got >= (int) n) {
                bad++;

            } else {
                hits[got]++;
            }
        }

        for (k = 0; k < n && sum != 0; k++) {
            share = (double) w[k] / sum * (1 << 14);

            zero += (w[k] == 0 && hits[k] != 0);
            bad += (hits[k] > share + 2 || hits[k] + 2 < share);
        }
    }

    is_int(bad, 0, "each one by its share");
    is_int(zero, 0, "none without a weight");
}


int
main(void)
{
    test_zero();
    test_samples();
    test_cost();
    test_model();
    test_farm();
    test_pick_two();
    test_pick_weighted();

    return done_testing();
}
