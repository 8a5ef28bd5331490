
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "engine/aimd.h"
#include "tap.h"

#include <stdlib.h>


#define MAX   UINT32_MAX
#define MOST  RES_AIMD_MAX
#define ONE   1000000


static const res_aimd_conf_t  usual = {
    .min = 1,
    .max = 200,
    .initial = 20,
    .backoff = 900,
    .latency_over = 5000
};


static uint64_t  seed;


static uint32_t
number(uint32_t limit)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;

    return (uint32_t) ((seed >> 16) % limit);
}


typedef struct {
    uint32_t  min;
    uint32_t  max;
    uint32_t  initial;
    uint64_t  kept;
    uint32_t  limit;
} bound_t;


static const bound_t  bounds[] = {

    /* what an all-zero state starts with */

    { 1, 200, 20, 0, 20 },
    { 20, 200, 20, 0, 20 },
    { 1, 20, 20, 0, 20 },
    { 30, 200, 20, 0, 30 },
    { 1, 10, 20, 0, 10 },
    { 1, 200, 1, 0, 1 },
    { 1, 200, 0, 0, 1 },
    { 7, 7, 7, 0, 7 },
    { 1, MOST, MOST, 0, MOST },

    /* what another configuration has left */

    { 1, 200, 20, 50 * ONE, 50 },
    { 1, 200, 20, 50 * ONE + 999999, 50 },
    { 1, 200, 20, 51 * ONE - 1, 50 },
    { 1, 200, 20, 1, 1 },
    { 1, 200, 20, ONE - 1, 1 },
    { 1, 200, 20, ONE, 1 },
    { 60, 200, 20, 50 * ONE, 60 },
    { 1, 40, 20, 50 * ONE, 40 },
    { 1, 200, 20, UINT64_MAX, 200 },

    /* numbers that make no sense */

    { 0, 200, 0, 0, 1 },
    { 0, 0, 0, 0, 1 },
    { 0, 0, 20, 0, 1 },
    { 0, 200, 20, 1, 1 },
    { 50, 10, 20, 0, 10 },
    { 50, 0, 20, 0, 1 },
    { 1, MOST + 1, MOST + 1, 0, MOST },
    { MAX, MAX, MAX, 0, MOST },
    { 1, MAX, 20, UINT64_MAX, MOST },
    { 1, MAX, MAX, 0, MOST }
};


static void
test_bounds(void)
{
    size_t           i;
    res_aimd_t       a;
    const bound_t   *r;
    res_aimd_conf_t  conf;

    for (i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
        r = &bounds[i];

        conf = usual;
        conf.min = r->min;
        conf.max = r->max;
        conf.initial = r->initial;

        memset(&a, 0, sizeof(res_aimd_t));
        a.limit = r->kept;

        is_int(res_aimd_limit(&a, &conf), r->limit,
               "%u to %u, at first %u, kept %llu: %u", r->min, r->max,
               r->initial, (unsigned long long) r->kept, r->limit);

        is_int((long long) a.limit, (long long) r->kept,
               "looking changes nothing");
    }
}


/* one sample at 10000 ms, after a cut at so many ms (0: none) */

typedef struct {
    uint64_t  limit;                /* millionths */
    uint64_t  cut;
    uint64_t  latency;
    int       dropped;
    uint32_t  inflight;
    uint64_t  want;
} sample_t;


static const sample_t  samples[] = {

    /* a good one: by one over the limit */

    { 20 * ONE, 0, 100, 0, 20, 20050000 },
    { 0, 0, 100, 0, 20, 20050000 },
    { 1 * ONE, 0, 100, 0, 1, 2 * ONE },
    { 2 * ONE, 0, 100, 0, 2, 2500000 },
    { 2500000, 0, 100, 0, 2, 2900000 },
    { 100 * ONE, 0, 100, 0, 100, 100010000 },
    { 199 * ONE, 0, 100, 0, 100, 199005025 },
    { 199999999, 0, 100, 0, 100, 200 * ONE },
    { 200 * ONE, 0, 100, 0, 100, 200 * ONE },

    /* if half of the limit is used */

    { 20 * ONE, 0, 100, 0, 9, 20 * ONE },
    { 20 * ONE, 0, 100, 0, 10, 20050000 },
    { 21 * ONE - 1, 0, 100, 0, 9, 21 * ONE - 1 },
    { 21 * ONE - 1, 0, 100, 0, 10, 21047618 },
    { 21 * ONE, 0, 100, 0, 10, 21 * ONE },
    { 21 * ONE, 0, 100, 0, 11, 21047619 },
    { 20 * ONE, 0, 100, 0, 0, 20 * ONE },
    { 20 * ONE, 0, 100, 0, MAX, 20050000 },
    { 1 * ONE, 0, 100, 0, 0, 1 * ONE },

    /* a drop */

    { 20 * ONE, 0, 100, 1, 20, 18 * ONE },
    { 0, 0, 100, 1, 20, 18 * ONE },
    { 20 * ONE, 0, 100, 1, 0, 18 * ONE },
    { 20 * ONE, 0, 100, -1, 20, 18 * ONE },
    { 18 * ONE, 0, 100, 1, 20, 16200000 },
    { 2 * ONE, 0, 100, 1, 20, 1800000 },
    { 1100000, 0, 100, 1, 20, 1 * ONE },
    { 1 * ONE, 0, 100, 1, 20, 1 * ONE },
    { UINT64_MAX, 0, 100, 1, 20, 180 * ONE },

    /* too slow */

    { 20 * ONE, 0, 4999, 0, 20, 20050000 },
    { 20 * ONE, 0, 5000, 0, 20, 20050000 },
    { 20 * ONE, 0, 5001, 0, 20, 18 * ONE },
    { 20 * ONE, 0, UINT64_MAX, 0, 20, 18 * ONE },
    { 20 * ONE, 0, 0, 0, 20, 20050000 },

    /* it began before the last cut, or with it, or after */

    { 20 * ONE, 9900, 101, 1, 20, 20 * ONE },
    { 20 * ONE, 9900, 100, 1, 20, 20 * ONE },
    { 20 * ONE, 9900, 99, 1, 20, 18 * ONE },
    { 20 * ONE, 4998, 5002, 0, 20, 20 * ONE },
    { 20 * ONE, 4998, 5001, 0, 20, 18 * ONE },
    { 20 * ONE, 10000, 0, 1, 20, 20 * ONE },
    { 20 * ONE, 9999, 0, 1, 20, 18 * ONE },
    { 20 * ONE, 1, 10000, 1, 20, 20 * ONE },
    { 20 * ONE, 1, 10001, 1, 20, 20 * ONE },
    { 20 * ONE, 1, UINT64_MAX, 1, 20, 20 * ONE },
    { 20 * ONE, 1, 9998, 1, 20, 18 * ONE },

    /* the last cut is ahead: the clock has stepped back */

    { 20 * ONE, 12000, 1, 1, 20, 20 * ONE },

    /* a good one has no regard to it */

    { 20 * ONE, 9900, 101, 0, 20, 20050000 },
    { 20 * ONE, 12000, 101, 0, 20, 20050000 }
};


static void
test_samples(void)
{
    size_t           i;
    uint64_t         cut;
    res_aimd_t       a;
    const sample_t  *r;

    for (i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        r = &samples[i];

        a.limit = r->limit;
        a.cut = r->cut;

        res_aimd_record(&a, &usual, r->latency, r->dropped, r->inflight,
                        10000);

        is_int(res_aimd_limit(&a, &usual), (long long) (r->want / ONE),
               "row %d: the limit", (int) i);

        if (a.limit == r->limit) {
            ok(r->want == a.limit || r->want == 200 * ONE, "row %d: kept",
               (int) i);

        } else {
            is_int((long long) a.limit, (long long) r->want,
                   "row %d: in millionths", (int) i);
        }

        cut = (r->want < r->limit || (r->limit == 0 && r->want < 20 * ONE)
               || (r->dropped && r->limit == ONE))
              ? 10000 : r->cut;

        is_int((long long) a.cut, (long long) cut, "row %d: the cut",
               (int) i);
    }
}


static void
test_conf(void)
{
    res_aimd_t       a;
    res_aimd_conf_t  conf;

    conf = usual;
    conf.latency_over = 0;

    memset(&a, 0, sizeof(res_aimd_t));
    res_aimd_record(&a, &conf, UINT64_MAX, 0, 20, 10000);
    is_int((long long) a.limit, 20050000, "latency isn't looked at");

    conf.backoff = 0;
    res_aimd_record(&a, &conf, 1, 1, 20, 10000);
    is_int((long long) a.limit, ONE, "to nothing is to the least");
    is_int(res_aimd_limit(&a, &conf), 1, "and not to the first");

    conf.backoff = 1000;
    res_aimd_record(&a, &conf, 1, 1, 20, 20000);
    is_int((long long) a.limit, ONE, "no cut");

    memset(&a, 0, sizeof(res_aimd_t));
    conf.backoff = MAX;
    res_aimd_record(&a, &conf, 1, 1, 20, 20000);
    is_int((long long) a.limit, 20 * ONE, "never a rise");

    conf.backoff = 500;
    res_aimd_record(&a, &conf, 1, 1, 20, 30000);
    is_int((long long) a.limit, 10 * ONE, "by half");

    /* its bounds hold for the next sample, and are kept with it */

    conf.min = 15;
    conf.max = 100;
    res_aimd_record(&a, &conf, 1, 0, 100, 30000);
    is_int((long long) a.limit, 15066666, "from another least");

    conf.min = 1;
    conf.max = 12;
    res_aimd_record(&a, &conf, 1, 1, 100, 40000);
    is_int((long long) a.limit, 6 * ONE, "from another most");

    /* the widest */

    conf.max = MOST;
    conf.backoff = 999;
    a.limit = (uint64_t) MOST * ONE - 5;
    res_aimd_record(&a, &conf, 1, 0, MAX, 50000);
    is_int((long long) a.limit, (long long) MOST * ONE, "up to the most");

    a.limit = (uint64_t) 50000 * ONE;
    res_aimd_record(&a, &conf, 1, 0, MAX, 50000);
    is_int((long long) a.limit, (long long) 50000 * ONE + 20,
           "there is always a rise");

    a.limit = (uint64_t) MOST * ONE;
    res_aimd_record(&a, &conf, 1, 1, MAX, 60000);
    is_int((long long) a.limit, (long long) MOST * 999000, "and a fall");
}


/* a round of as many samples as the limit raises it by one */

static void
test_rounds(void)
{
    int              bad;
    uint32_t         limit, round, i;
    res_aimd_t       a;
    res_aimd_conf_t  conf;

    conf = usual;
    conf.max = 2000;
    conf.initial = 1;

    memset(&a, 0, sizeof(res_aimd_t));

    bad = 0;

    for (limit = 1; limit < 2000; limit++) {
        round = 0;

        while (res_aimd_limit(&a, &conf) == limit) {
            res_aimd_record(&a, &conf, 10, 0, limit, 1000);
            round++;
        }

        bad += (res_aimd_limit(&a, &conf) != limit + 1);
        bad += (round < limit || round > limit + 1 + limit / 500);
    }

    is_int(bad, 0, "1 to 2000, each one in as many samples");

    for (i = 0; i < 10000; i++) {
        res_aimd_record(&a, &conf, 10, 0, 2000, 1000);
    }

    is_int(res_aimd_limit(&a, &conf), 2000, "and no further");

    /* twenty refused at once are one piece of news */

    memset(&a, 0, sizeof(res_aimd_t));

    for (i = 0; i < 20; i++) {
        res_aimd_record(&a, &usual, 50, 1, 20 - i, 1000 + i);
    }

    is_int(res_aimd_limit(&a, &usual), 18, "twenty that began together");

    for (i = 0; i < 20; i++) {
        res_aimd_record(&a, &usual, 50, 1, 20 - i, 1051 + i);
    }

    is_int(res_aimd_limit(&a, &usual), 16, "twenty that came after");

    for (i = 0; i < 1000; i++) {
        res_aimd_record(&a, &usual, 50, 1, 1, 2000 + 51 * i);
    }

    is_int(res_aimd_limit(&a, &usual), 1, "one by one, down to the least");
    is_int((long long) a.limit, ONE, "and no further");
}


/* random samples, against the definition in another precision */

static void
test_model(uint64_t n)
{
    int              i, bad, dropped, rises, cuts;
    uint32_t         inflight, limit;
    uint64_t         now, when, latency, before;
    res_aimd_t       a;
    long double      v, cut, low, high;
    res_aimd_conf_t  conf;

    seed = n * 0x9e3779b97f4a7c15 + 1;

    memset(&a, 0, sizeof(res_aimd_t));

    conf = usual;
    cut = -1;
    now = 1000;
    bad = 0;
    rises = 0;
    cuts = 0;

    for (i = 0; i < 50000 && bad == 0; i++) {

        if (number(2000) == 0) {
            conf.min = 1 + number(30);
            conf.max = conf.min + number(1 << number(17));
            conf.max = conf.max < MOST ? conf.max : MOST;
            conf.initial = conf.min + number(conf.max - conf.min + 1);
            conf.backoff = 500 + number(500);
            conf.latency_over = number(3) ? number(10000) : 0;
        }

        now += number(50);
        when = number(20) ? now : now - number(1000);
        latency = number(4) ? number(300) : number(20000);
        dropped = (number(40) == 0);

        low = conf.min;
        high = conf.max;

        before = a.limit;

        v = before ? (long double) before / ONE : conf.initial;
        v = v < low ? low : v > high ? high : v;

        limit = res_aimd_limit(&a, &conf);
        bad += (limit > v + 0.001 || limit + 1 < v - 0.001);

        inflight = limit / 2 + number(limit + 1) - number(limit / 2 + 1);

        res_aimd_record(&a, &conf, latency, dropped, inflight, when);

        if (dropped || (conf.latency_over && latency > conf.latency_over)) {

            if (cut >= 0 && (long double) when - latency <= cut) {
                bad += (a.limit != before);
                continue;
            }

            v = v * conf.backoff / 1000;
            cut = when;
            cuts++;

        } else {

            if (inflight < limit / 2.0) {
                bad += (a.limit != before);
                continue;
            }

            v += 1 / v;
            rises++;
        }

        v = v < low ? low : v > high ? high : v;

        bad += (a.limit < v * ONE - 1.001L || a.limit > v * ONE + 0.001L);
    }

    is_int(bad, 0, "like the model, seed %llu, %d steps",
           (unsigned long long) n, i);
    ok(rises > 1000 && cuts > 100, "seed %llu: %d rises, %d cuts",
       (unsigned long long) n, rises, cuts);
}


/*
 * A provider that takes so many at a time and refuses the others after 20 ms,
 * and more calls waiting than it can take.
 */

#define RING  1024

typedef struct {
    res_aimd_t       a;
    res_aimd_conf_t  conf;
    uint64_t         now;
    uint32_t         inflight;
    uint32_t         serving;
    struct {
        uint32_t     good;
        uint32_t     refused;
        uint64_t     latencies;     /* of the good ones, summed */
    }                ends[RING];
    uint64_t         good;
    uint64_t         refused;
    uint64_t         served;        /* calls * ms */
} farm_t;


static farm_t  farm;


static void
end(uint32_t n, uint64_t latency, int dropped)
{
    while (n-- > 0) {
        res_aimd_record(&farm.a, &farm.conf, latency, dropped, farm.inflight,
                        farm.now);
        farm.inflight--;

        if (dropped) {
            farm.refused++;

        } else {
            farm.serving--;
            farm.good++;
        }
    }
}


static void
run(uint32_t capacity, uint32_t waiting, uint32_t ms)
{
    uint32_t  slot, latency;

    farm.good = 0;
    farm.refused = 0;
    farm.served = 0;

    while (ms-- > 0) {
        farm.now++;
        slot = farm.now % RING;

        if (farm.ends[slot].good) {
            end(farm.ends[slot].good,
                farm.ends[slot].latencies / farm.ends[slot].good, 0);
        }

        end(farm.ends[slot].refused, 20, 1);

        memset(&farm.ends[slot], 0, sizeof(farm.ends[0]));

        while (farm.inflight < res_aimd_limit(&farm.a, &farm.conf)
               && farm.inflight < waiting)
        {
            farm.inflight++;

            if (farm.serving < capacity) {
                farm.serving++;
                latency = 100 + number(200);
                slot = (farm.now + latency) % RING;
                farm.ends[slot].good++;
                farm.ends[slot].latencies += latency;

            } else {
                farm.ends[(farm.now + 20) % RING].refused++;
            }
        }

        farm.served += farm.serving;
    }
}


static void
is_used(uint32_t capacity, uint32_t ms, uint32_t refused, const char *text)
{
    ok(farm.served * 100 > (uint64_t) capacity * ms * 85,
       "%s: %llu%% of a capacity of %u is used", text,
       (unsigned long long) (farm.served * 100 / ((uint64_t) capacity * ms)),
       capacity);

    ok(farm.refused * 100 <= (farm.good + farm.refused) * refused,
       "%s: %llu of %llu are refused", text,
       (unsigned long long) farm.refused,
       (unsigned long long) (farm.good + farm.refused));
}


static void
test_farm(void)
{
    seed = 0x9e3779b97f4a7c15;

    memset(&farm, 0, sizeof(farm_t));

    farm.conf = usual;

    run(40, 1000, 20000);
    run(40, 1000, 60000);
    is_used(40, 60000, 1, "steady");

    run(10, 1000, 5000);
    run(10, 1000, 60000);
    is_used(10, 60000, 10, "less than before");

    run(150, 1000, 60000);
    run(150, 1000, 60000);
    is_used(150, 60000, 1, "more than before");

    run(500, 1000, 60000);
    run(500, 1000, 60000);
    is_int(res_aimd_limit(&farm.a, &farm.conf), 200, "the most there is");
    is_int((long long) farm.refused, 0, "and none refused");

    run(0, 1000, 20000);
    is_int(res_aimd_limit(&farm.a, &farm.conf), 1, "none at all: the least");

    /* what isn't used isn't known */

    memset(&farm, 0, sizeof(farm_t));
    farm.conf = usual;

    run(1000, 30, 200000);
    ok(res_aimd_limit(&farm.a, &farm.conf) <= 61,
       "30 calls raise it to %u", res_aimd_limit(&farm.a, &farm.conf));

    run(1000, 10, 200000);
    ok(res_aimd_limit(&farm.a, &farm.conf) <= 61,
       "fewer leave it at %u", res_aimd_limit(&farm.a, &farm.conf));
}


int
main(void)
{
    uint64_t  n;

    test_bounds();
    test_samples();
    test_conf();
    test_rounds();

    for (n = 1; n <= 5; n++) {
        test_model(n);
    }

    test_farm();

    return done_testing();
}
