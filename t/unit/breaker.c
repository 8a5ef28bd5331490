
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "engine/breaker.h"
#include "tap.h"

#include <stddef.h>
#include <stdlib.h>


#define MAX  UINT32_MAX


#define SUCCESS  RES_RESULT_SUCCESS
#define FAILURE  RES_RESULT_FAILURE
#define NEUTRAL  RES_RESULT_NEUTRAL


static const res_breaker_conf_t  usual = {
    .failures = 5,
    .error_rate = 50,
    .window = 100,
    .min_calls = 20,
    .open = 1000,
    .open_max = 5000,
    .probes = 3,
    .successes = 2
};


/* what the last call changed */

static res_transition_t  last;


static res_admit_e
admit(res_breaker_t *b, const res_breaker_conf_t *conf, uint64_t now,
    uint64_t lease, res_permit_t *permit)
{
    memset(&last, 0xee, sizeof(res_transition_t));

    return res_breaker_admit(b, conf, now, lease, permit, &last);
}


static int
record(res_breaker_t *b, const res_breaker_conf_t *conf, uint64_t now,
    const res_permit_t *permit, res_result_e result)
{
    memset(&last, 0xee, sizeof(res_transition_t));

    return res_breaker_record(b, conf, now, permit, result, 1, 0, &last);
}


static void
is_change(res_breaker_state_e from, res_breaker_state_e to,
    res_breaker_reason_e reason, const char *text)
{
    ok(last.changed == 1 && last.from == from && last.to == to
       && last.reason == reason, "%s: %s to %s, %s", text,
       res_breaker_state_name(from), res_breaker_state_name(to),
       res_breaker_reason_name(reason));
}


static void
is_unchanged(const char *text)
{
    ok(last.changed == 0, "%s: no change of state", text);
}


/* one attempt from admission to outcome; its record's return, or -1 */

static int
attempt(res_breaker_t *b, const res_breaker_conf_t *conf, uint64_t now,
    res_result_e result)
{
    res_permit_t  permit;

    if (admit(b, conf, now, 100, &permit) != RES_ADMIT_YES) {
        return -1;
    }

    return record(b, conf, now, &permit, result);
}


static void
trip(res_breaker_t *b, const res_breaker_conf_t *conf, uint64_t now)
{
    while (b->state == RES_CLOSED) {
        (void) attempt(b, conf, now, FAILURE);
    }
}


/* an open breaker of 1000 ms, its permit at 2000 with a lease of 100 ms */

static res_permit_t
half_open(res_breaker_t *b, const res_breaker_conf_t *conf)
{
    res_permit_t  permit;

    res_breaker_init(b, 0);
    trip(b, conf, 1000);
    (void) admit(b, conf, 2000, 100, &permit);

    return permit;
}


/*
 * Outcomes of a closed breaker: a number says how many of the next letter,
 * S success, F failure, f failure that isn't its call's first, N neutral.
 * The last one, and only that one, opens it for the reason given.
 */

typedef struct {
    uint32_t              failures;
    uint32_t              error_rate;
    uint32_t              window;
    uint32_t              min_calls;
    const char           *outcomes;
    res_breaker_reason_e  reason;
} trip_t;


static const trip_t  trips[] = {

    /* failures in a row */

    { 5, 0, 100, 20, "4F", RES_REASON_NONE },
    { 5, 0, 100, 20, "5F", RES_REASON_FAILURES },
    { 5, 0, 100, 20, "4FS4F", RES_REASON_NONE },
    { 5, 0, 100, 20, "4FS5F", RES_REASON_FAILURES },
    { 5, 0, 100, 20, "4F9N", RES_REASON_NONE },
    { 5, 0, 100, 20, "4F9NF", RES_REASON_FAILURES },
    { 5, 0, 100, 20, "4F9f", RES_REASON_NONE },
    { 5, 0, 100, 20, "4F9fF", RES_REASON_FAILURES },
    { 5, 0, 100, 20, "4f4F", RES_REASON_NONE },
    { 5, 0, 100, 20, "4f5F", RES_REASON_FAILURES },
    { 1, 0, 100, 20, "9S9N9f", RES_REASON_NONE },
    { 1, 0, 100, 20, "F", RES_REASON_FAILURES },
    { 2, 0, 100, 20, "FSFSFSF", RES_REASON_NONE },
    { 2, 0, 100, 20, "FSFSFSFF", RES_REASON_FAILURES },
    { 300, 0, 256, 1, "299F", RES_REASON_NONE },
    { 300, 0, 256, 1, "300F", RES_REASON_FAILURES },
    { 0, 0, 100, 1, "600F600f", RES_REASON_NONE },
    { MAX, 0, 100, 1, "600F", RES_REASON_NONE },

    /* the share of failures */

    { 0, 50, 10, 4, "3F", RES_REASON_NONE },
    { 0, 50, 10, 4, "4F", RES_REASON_ERROR_RATE },
    { 0, 50, 10, 4, "4f", RES_REASON_ERROR_RATE },
    { 0, 50, 10, 4, "3F9N", RES_REASON_NONE },
    { 0, 50, 10, 4, "2FSS", RES_REASON_ERROR_RATE },
    { 0, 50, 10, 4, "SFSF", RES_REASON_ERROR_RATE },
    { 0, 50, 10, 4, "FSSSS", RES_REASON_NONE },
    { 0, 50, 10, 4, "FSSSF", RES_REASON_NONE },
    { 0, 50, 10, 4, "FSSSFF", RES_REASON_ERROR_RATE },
    { 0, 51, 10, 4, "2F2S", RES_REASON_NONE },
    { 0, 49, 10, 4, "2F2S", RES_REASON_ERROR_RATE },
    { 0, 33, 3, 3, "FSS", RES_REASON_ERROR_RATE },
    { 0, 34, 3, 3, "FSSFSS", RES_REASON_NONE },
    { 0, 66, 3, 3, "FFS", RES_REASON_ERROR_RATE },
    { 0, 67, 3, 3, "FFSFFS", RES_REASON_NONE },
    { 0, 100, 10, 10, "S9F", RES_REASON_NONE },
    { 0, 100, 10, 10, "S10F", RES_REASON_ERROR_RATE },
    { 0, 1, 100, 100, "99S", RES_REASON_NONE },
    { 0, 1, 100, 100, "500S", RES_REASON_NONE },
    { 0, 1, 100, 100, "99SF", RES_REASON_ERROR_RATE },
    { 0, 2, 100, 100, "99SF99SF99SF", RES_REASON_NONE },
    { 0, 2, 100, 100, "99SF98SF", RES_REASON_ERROR_RATE },
    { 0, 101, 100, 1, "600F", RES_REASON_NONE },
    { 0, MAX, 256, 1, "600F", RES_REASON_NONE },

    /* both: the row is looked at first */

    { 4, 50, 10, 4, "4F", RES_REASON_FAILURES },
    { 5, 50, 10, 4, "4F", RES_REASON_ERROR_RATE },
    { 3, 50, 10, 4, "3F", RES_REASON_FAILURES },
    { 3, 50, 10, 4, "FFSF", RES_REASON_ERROR_RATE },

    /* the window slides */

    { 0, 50, 4, 4, "SSSFSSSFSSSFSSS", RES_REASON_NONE },
    { 0, 50, 4, 4, "SSSFSSSFF", RES_REASON_ERROR_RATE },
    { 0, 75, 4, 4, "FFSSFFSS", RES_REASON_NONE },
    { 0, 75, 4, 4, "FFSSFFSSFFF", RES_REASON_ERROR_RATE },
    { 0, 50, 64, 64, "33S31F", RES_REASON_NONE },
    { 0, 50, 64, 64, "33S32F", RES_REASON_ERROR_RATE },
    { 0, 50, 65, 65, "33S32F", RES_REASON_NONE },
    { 0, 50, 65, 65, "33S33F", RES_REASON_ERROR_RATE },
    { 0, 100, 255, 255, "600S254F", RES_REASON_NONE },
    { 0, 100, 255, 255, "600S255F", RES_REASON_ERROR_RATE },
    { 0, 50, 256, 256, "129S127F", RES_REASON_NONE },
    { 0, 50, 256, 256, "128S128F", RES_REASON_ERROR_RATE },
    { 0, 50, 256, 256, "129S128F", RES_REASON_ERROR_RATE },
    { 0, 50, 256, 256, "1000S127F", RES_REASON_NONE },
    { 0, 50, 256, 256, "1000S128F", RES_REASON_ERROR_RATE },
    { 0, 100, 256, 256, "S255F", RES_REASON_NONE },
    { 0, 100, 256, 256, "S256F", RES_REASON_ERROR_RATE },
    { 0, 100, 256, 1, "S256f", RES_REASON_ERROR_RATE },

    /* numbers that make no sense */

    { 0, 100, 10, 0, "F", RES_REASON_ERROR_RATE },
    { 0, 100, 10, 0, "N9S9N", RES_REASON_NONE },
    { 0, 100, 4, 10, "3F", RES_REASON_NONE },
    { 0, 100, 4, 10, "4F", RES_REASON_ERROR_RATE },
    { 0, 100, 4, MAX, "S4F", RES_REASON_ERROR_RATE },
    { 0, 100, 0, 0, "S", RES_REASON_NONE },
    { 0, 100, 0, 0, "SF", RES_REASON_ERROR_RATE },
    { 0, 100, 0, 9, "SF", RES_REASON_ERROR_RATE },
    { 0, 100, 257, 257, "255F", RES_REASON_NONE },
    { 0, 100, 257, 257, "256F", RES_REASON_ERROR_RATE },
    { 0, 100, MAX, MAX, "600SN256F", RES_REASON_ERROR_RATE },
    { 0, 100, 65536, 1, "SF", RES_REASON_NONE }
};


static void
test_trip(const trip_t *row)
{
    int                 early, recorded, count, successes, failures;
    char                what;
    uint64_t            now;
    const char         *p;
    res_permit_t        permit;
    res_breaker_t       b;
    res_breaker_conf_t  conf;

    conf = usual;
    conf.failures = row->failures;
    conf.error_rate = row->error_rate;
    conf.window = row->window;
    conf.min_calls = row->min_calls;

    memset(&b, 0, sizeof(res_breaker_t));

    now = 5000;
    early = 0;
    recorded = 1;
    count = 0;
    successes = 0;
    failures = 0;

    for (p = row->outcomes; *p; count--) {

        if (count == 0) {
            count = (int) strtol(p, (char **) &p, 10);
            count = count ? count : 1;
        }

        what = *p;
        early += (b.state != RES_CLOSED);

        (void) admit(&b, &conf, ++now, 100, &permit);

        recorded &= res_breaker_record(&b, &conf, now, &permit,
                                       (what == 'S') ? SUCCESS
                                       : (what == 'N') ? NEUTRAL : FAILURE,
                                       what != 'f', 0, &last);

        successes += (what == 'S');
        failures += (what == 'F' || what == 'f');

        if (count == 1) {
            p++;
        }
    }

    ok(early == 0 && recorded, "%u %u%% %u/%u %s: not before the last",
       row->failures, row->error_rate, row->min_calls, row->window,
       row->outcomes);

    is_int(b.total_successes, successes, "%s: successes", row->outcomes);
    is_int(b.total_failures, failures, "%s: failures", row->outcomes);

    if (row->reason == RES_REASON_NONE) {
        ok(last.changed == 0 && b.state == RES_CLOSED && b.generation == 0
           && b.opened == 0 && b.since == 0,
           "%s: stays closed", row->outcomes);
        return;
    }

    is_change(RES_CLOSED, RES_OPEN, row->reason, row->outcomes);

    ok(b.state == RES_OPEN && b.generation == 1 && b.since == now
       && b.until == now + 1000 && b.opened == 1 && b.reopened == 1
       && b.closed == 0,
       "%s: open, of the next generation", row->outcomes);
}


static void
test_trips(void)
{
    size_t  i;

    for (i = 0; i < sizeof(trips) / sizeof(trips[0]); i++) {
        test_trip(&trips[i]);
    }
}


static void
test_zero(void)
{
    res_permit_t   permit;
    res_breaker_t  b, zero;

    memset(&b, 0xaa, sizeof(res_breaker_t));
    memset(&zero, 0, sizeof(res_breaker_t));

    res_breaker_init(&b, 12345);

    is_int(b.since, 12345, "init sets since");

    b.since = 0;
    ok(memcmp(&b, &zero, sizeof(res_breaker_t)) == 0,
       "init zeroes the rest");

    is_int(b.state, RES_CLOSED, "zero is closed");
    is_int(res_breaker_failed(&b), 0, "zero has no failures");
    is_int(res_breaker_idle(&b), 1, "zero is idle");
    is_int(res_breaker_wait(&b, &usual, 1000), 0, "zero needs no wait");

    is_int(admit(&b, &usual, 1000, 100, &permit), RES_ADMIT_YES,
           "zero admits");
    is_unchanged("zero admits");
    ok(permit.slot == -1 && permit.lease == 0 && permit.generation == 0,
       "a closed breaker's permit has no slot");

    ok(memcmp(&b, &zero, sizeof(res_breaker_t)) == 0,
       "a closed breaker's admission leaves no trace");

    is_int(record(&b, &usual, 1000, &permit, NEUTRAL), 1,
           "a neutral outcome is recorded");
    is_unchanged("a neutral outcome");

    ok(memcmp(&b, &zero, sizeof(res_breaker_t)) == 0,
       "a neutral outcome leaves no trace");
}


static void
test_open(void)
{
    res_permit_t   permit;
    res_breaker_t  b;

    res_breaker_init(&b, 0);
    trip(&b, &usual, 1000);

    is_int(b.until, 2000, "open until");
    is_int(res_breaker_idle(&b), 0, "open is not idle");
    is_int(res_breaker_failed(&b), 5, "open keeps its window");
    is_int(b.consecutive, 5, "open keeps its row of failures");

    is_int(res_breaker_wait(&b, &usual, 1000), 1000, "wait at opening");
    is_int(res_breaker_wait(&b, &usual, 1999), 1, "wait at until - 1");
    is_int(res_breaker_wait(&b, &usual, 2000), 0, "wait at until");
    is_int(res_breaker_wait(&b, &usual, 9999), 0, "wait after until");
    is_int(res_breaker_wait(&b, &usual, 1), 1000, "wait before opening");

    memset(&permit, 0xee, sizeof(res_permit_t));

    is_int(admit(&b, &usual, 1000, 100, &permit), RES_ADMIT_OPEN,
           "refused at opening");
    is_unchanged("refused at opening");
    is_int(admit(&b, &usual, 1999, 100, &permit), RES_ADMIT_OPEN,
           "refused at until - 1");
    is_int(admit(&b, &usual, 3, 100, &permit), RES_ADMIT_OPEN,
           "refused before opening");
    is_int(b.rejected, 3, "refusals are counted");
    is_int(b.generation, 1, "refusals start no generation");

    is_int(admit(&b, &usual, 2000, 100, &permit), RES_ADMIT_YES,
           "admitted at until");
    is_change(RES_OPEN, RES_HALF_OPEN, RES_REASON_OPEN_ELAPSED, "at until");

    ok(b.state == RES_HALF_OPEN && b.since == 2000 && b.generation == 2
       && b.rejected == 3, "half-open at until");
    ok(permit.slot == 0 && permit.lease == 100 && permit.generation == 2,
       "the first permit");
    is_int(res_breaker_idle(&b), 0, "half-open is not idle");
}


typedef struct {
    uint32_t  open;
    uint32_t  open_max;
    unsigned  openings;             /* before this one, since a close */
    uint32_t  random;
    uint64_t  time;
} open_time_t;


static const open_time_t  open_times[] = {

    { 1000, 5000, 0, 0, 1000 },
    { 1000, 5000, 1, 0, 2000 },
    { 1000, 5000, 2, 0, 4000 },
    { 1000, 5000, 3, 0, 5000 },
    { 1000, 5000, 4, 0, 5000 },
    { 1000, 8000, 3, 0, 8000 },
    { 1000, 8001, 4, 0, 8001 },
    { 1000, 5000, 255, 0, 5000 },
    { 1000, 5000, 600, 0, 5000 },

    /* jitter only adds, at most a tenth */

    { 1000, 5000, 0, 0x80000000, 1050 },
    { 1000, 5000, 0, MAX, 1099 },
    { 1000, 5000, 1, 0x80000000, 2100 },
    { 1000, 5000, 3, MAX, 5499 },
    { 9, 9, 0, MAX, 9 },
    { 11, 11, 0, MAX, 12 },
    { 100, 100, 0, 0x19999999, 100 },
    { 100, 100, 0, 0x1999999a, 101 },

    /* numbers that make no sense */

    { 1000, 999, 0, 0, 1000 },
    { 1000, 0, 5, 0, 1000 },
    { 0, 5000, 0, MAX, 0 },
    { 0, 5000, 300, MAX, 0 },

    /* the widest */

    { 1, MAX, 31, 0, 0x80000000 },
    { 1, MAX, 32, 0, MAX },
    { 1, MAX, 600, 0, MAX },
    { MAX, MAX, 0, 0, MAX },
    { MAX, MAX, 9, 0, MAX },
    { MAX, MAX, 9, MAX, 4724464024 },
    { 0x80000001, MAX, 1, 0, MAX }
};


static void
test_open_times(void)
{
    size_t              i;
    uint64_t            now;
    unsigned            n;
    const open_time_t  *row;
    res_permit_t        permit;
    res_breaker_t       b;
    res_breaker_conf_t  conf;

    for (i = 0; i < sizeof(open_times) / sizeof(open_times[0]); i++) {
        row = &open_times[i];

        conf = usual;
        conf.failures = 1;
        conf.open = row->open;
        conf.open_max = row->open_max;

        memset(&b, 0, sizeof(res_breaker_t));

        now = 77;

        for (n = 0; n < row->openings; n++) {
            (void) attempt(&b, &conf, now, FAILURE);
            now = b.until;
        }

        (void) admit(&b, &conf, now, 100, &permit);
        (void) res_breaker_record(&b, &conf, now + 3, &permit, FAILURE, 1,
                                  row->random, &last);

        is_int(b.until - (now + 3), row->time,
               "open %u to %u, after %u openings, random %u",
               row->open, row->open_max, row->openings, row->random);

        is_int(b.opened, row->openings + 1, "openings are counted");
        is_int(b.reopened, (row->openings < 255) ? row->openings + 1 : 255,
               "openings since the last close saturate");
    }
}


static void
test_reopen(void)
{
    unsigned            i;
    res_permit_t        permit;
    res_breaker_t       b;
    res_breaker_conf_t  conf;

    static const uint64_t  times[] = { 1000, 2000, 4000, 5000, 5000 };

    conf = usual;
    conf.successes = 1;

    res_breaker_init(&b, 0);
    trip(&b, &conf, 1000);

    for (i = 0; i < 5; i++) {
        is_int(b.until - b.since, times[i], "open time %u", i);

        (void) admit(&b, &conf, b.until - 1, 100, &permit);
        is_int(b.state, RES_OPEN, "open time %u not over", i);

        (void) admit(&b, &conf, b.until, 100, &permit);
        is_change(RES_OPEN, RES_HALF_OPEN, RES_REASON_OPEN_ELAPSED, "reopen");

        is_int(record(&b, &conf, b.until + 7, &permit, FAILURE), 1,
               "failed probe");
        is_change(RES_HALF_OPEN, RES_OPEN, RES_REASON_PROBE_FAILED, "reopen");

        is_int(b.generation, 3 + 2 * i, "generation after reopening %u", i);
    }

    is_int(attempt(&b, &conf, b.until, SUCCESS), 1, "good probe");
    is_change(RES_HALF_OPEN, RES_CLOSED, RES_REASON_PROBES_SUCCEEDED, "close");

    ok(b.state == RES_CLOSED && b.closed == 1 && b.opened == 6
       && b.reopened == 0 && b.consecutive == 0 && b.seen == 0
       && b.head == 0 && b.since == b.until && b.generation == 13
       && res_breaker_failed(&b) == 0, "closed anew");

    is_int(b.total_failures, 10, "failures of all states");
    is_int(b.total_successes, 1, "successes of all states");

    trip(&b, &conf, 90000);
    is_int(b.until, 91000, "the first open time after a close");
    is_int(b.total_failures, 15, "a closed breaker counts from nothing");
}


typedef struct {
    uint32_t  conf;
    int       permits;
} probes_t;


static const probes_t  probes[] = {
    { 0, 1 }, { 1, 1 }, { 2, 2 }, { 3, 3 }, { 15, 15 }, { 16, 16 },
    { 17, 16 }, { MAX, 16 }
};


static void
test_probes(void)
{
    int                 n;
    size_t              i;
    res_permit_t        permit, permits[17];
    res_breaker_t       b;
    res_breaker_conf_t  conf;

    for (i = 0; i < sizeof(probes) / sizeof(probes[0]); i++) {
        conf = usual;
        conf.probes = probes[i].conf;
        conf.successes = MAX;

        permits[0] = half_open(&b, &conf);

        for (n = 1; n < 17; n++) {

            is_int(res_breaker_wait(&b, &conf, 2000),
                   n == probes[i].permits ? 100 : 0,
                   "%u probes: wait with %d out", probes[i].conf, n);

            if (admit(&b, &conf, 2000, 100 + n, &permits[n])
                != RES_ADMIT_YES)
            {
                break;
            }

            is_int(permits[n].slot, n, "slot %d", n);
            is_unchanged("another probe");
        }

        is_int(n, probes[i].permits, "%u probes: permits", probes[i].conf);

        is_int(admit(&b, &conf, 2099, 100, &permit), RES_ADMIT_NO_PERMIT,
               "%u probes: no more", probes[i].conf);
        is_unchanged("no permit");
        is_int(b.rejected, 2, "refusals are counted");
        is_int(res_breaker_wait(&b, &conf, 2099), 1, "wait for the first");

        /* one back, one out: the slot just freed */

        is_int(record(&b, &conf, 2050, &permits[n - 1], SUCCESS), 1,
               "%u probes: the last succeeds", probes[i].conf);
        is_int(b.state, RES_HALF_OPEN, "not enough");
        is_int(res_breaker_wait(&b, &conf, 2050), 0, "a permit is free");

        is_int(admit(&b, &conf, 2060, 100, &permit), RES_ADMIT_YES,
               "admitted again");
        is_int(permit.slot, n - 1, "to the freed slot");
        is_int(permit.lease, 160, "with a lease of its own");

        is_int(record(&b, &conf, 2061, &permits[n - 1], SUCCESS), 0,
               "the former holder is dropped");
    }
}


static void
test_fewer_probes(void)
{
    res_permit_t        permits[3], permit;
    res_breaker_t       b;
    res_breaker_conf_t  conf;

    permits[0] = half_open(&b, &usual);
    (void) admit(&b, &usual, 2000, 300, &permits[1]);
    (void) admit(&b, &usual, 2000, 200, &permits[2]);

    conf = usual;
    conf.probes = 1;

    is_int(res_breaker_wait(&b, &conf, 2000), 100,
           "wait for a slot still in use");
    is_int(res_breaker_wait(&b, &usual, 2100), 0, "wait for any slot");

    is_int(record(&b, &usual, 2001, &permits[2], NEUTRAL), 1,
           "a permit of more probes is good still");
    is_int(admit(&b, &conf, 2001, 100, &permit), RES_ADMIT_NO_PERMIT,
           "yet its slot is not given");
    is_int(record(&b, &conf, 2002, &permits[1], SUCCESS), 1,
           "another one is good still");
    is_int(record(&b, &conf, 2003, &permits[0], SUCCESS), 1,
           "and the last one closes");
    is_change(RES_HALF_OPEN, RES_CLOSED, RES_REASON_PROBES_SUCCEEDED,
              "fewer probes");
}


typedef struct {
    uint32_t  conf;
    unsigned  needed;
} successes_t;


static const successes_t  successes[] = {
    { 0, 1 }, { 1, 1 }, { 2, 2 }, { 3, 3 }, { 17, 17 }, { 254, 254 },
    { 255, 255 }, { 256, 255 }, { MAX, 255 }
};


static void
test_successes(void)
{
    size_t              i;
    unsigned            n;
    res_permit_t        permit;
    res_breaker_t       b;
    res_breaker_conf_t  conf;

    for (i = 0; i < sizeof(successes) / sizeof(successes[0]); i++) {
        conf = usual;
        conf.successes = successes[i].conf;

        permit = half_open(&b, &conf);
        (void) record(&b, &conf, 2000, &permit, NEUTRAL);

        for (n = 1; n <= 1000; n++) {
            is_int(attempt(&b, &conf, 2000 + n, NEUTRAL), 1, "neutral probe");
            is_unchanged("neutral probe");

            (void) attempt(&b, &conf, 2000 + n, SUCCESS);

            if (b.state != RES_HALF_OPEN) {
                break;
            }

            is_unchanged("one more good probe");
        }

        is_int(n, successes[i].needed, "%u successes", successes[i].conf);
        is_change(RES_HALF_OPEN, RES_CLOSED, RES_REASON_PROBES_SUCCEEDED,
                  "the last good probe");
        is_int(b.total_successes, n, "good probes are counted");
    }

    /* those of an earlier half-open do not count */

    (void) half_open(&b, &usual);
    (void) attempt(&b, &usual, 2001, SUCCESS);
    (void) attempt(&b, &usual, 2002, FAILURE);
    is_int(b.state, RES_OPEN, "one good, one bad");
    is_int(attempt(&b, &usual, b.until, SUCCESS), 1, "one good");
    is_int(b.state, RES_HALF_OPEN, "half-open counts from nothing");
    is_int(attempt(&b, &usual, b.until, SUCCESS), 1, "two good");
    is_int(b.state, RES_CLOSED, "closed");
}


static void
test_leases(void)
{
    res_permit_t        first, second, third;
    res_breaker_t       b;
    res_breaker_conf_t  conf;

    conf = usual;
    conf.probes = 1;

    /* one ms before its end a lease is good, at its end it is over */

    first = half_open(&b, &conf);
    is_int(admit(&b, &conf, 2099, 100, &second), RES_ADMIT_NO_PERMIT,
           "lent at lease - 1");
    is_int(record(&b, &conf, 2099, &first, SUCCESS), 1,
           "recorded at lease - 1");

    first = half_open(&b, &conf);
    is_int(record(&b, &conf, 2100, &first, FAILURE), 0,
           "dropped at lease");
    is_unchanged("dropped");
    ok(b.state == RES_HALF_OPEN && b.total_failures == 5,
       "dropped and not counted");

    is_int(admit(&b, &conf, 2100, 50, &second), RES_ADMIT_YES,
           "given to another at lease");
    is_int(second.slot, 0, "the same slot");
    is_int(second.lease, 150, "another lease");
    is_int(second.generation, first.generation, "the same generation");

    is_int(record(&b, &conf, 2101, &first, FAILURE), 0,
           "dropped while another holds the slot");
    is_int(record(&b, &conf, 2149, &second, SUCCESS), 1,
           "recorded for the other");
    is_int(b.succeeded, 1, "once");

    /* the first of several that is free or over */

    (void) half_open(&b, &usual);
    (void) admit(&b, &usual, 2000, 50, &second);
    (void) admit(&b, &usual, 2000, 70, &third);

    is_int(res_breaker_wait(&b, &usual, 2000), 50, "wait for the earliest");
    is_int(res_breaker_wait(&b, &usual, 2049), 1, "wait for the last ms");
    is_int(res_breaker_wait(&b, &usual, 2050), 0, "wait no more");

    is_int(admit(&b, &usual, 2069, 500, &second), RES_ADMIT_YES, "one over");
    is_int(second.slot, 1, "it is that slot");
    is_int(admit(&b, &usual, 2069, 500, &third), RES_ADMIT_NO_PERMIT,
           "only one over");
    is_int(res_breaker_wait(&b, &usual, 2069), 1, "wait for the next");
    is_int(admit(&b, &usual, 2200, 500, &third), RES_ADMIT_YES, "two over");
    is_int(third.slot, 0, "the first of them");

    /* the shortest and the longest */

    first = half_open(&b, &conf);
    (void) record(&b, &conf, 2000, &first, NEUTRAL);

    (void) admit(&b, &conf, 2000, 0, &first);
    is_int(first.lease, 1, "a lease is never 0");
    (void) admit(&b, &conf, 2001, UINT64_MAX, &first);
    is_int(first.lease, MAX, "a lease saturates");
    is_int(admit(&b, &conf, 2000u + 0x7fffffff, 1, &second),
           RES_ADMIT_NO_PERMIT, "a long lease");
    is_int(record(&b, &conf, 2000u + 0x7fffffff, &first, SUCCESS), 1,
           "is a good one");

    first = half_open(&b, &conf);
    (void) record(&b, &conf, 2000, &first, NEUTRAL);

    (void) admit(&b, &conf, 2000, (uint64_t) 1 << 32, &first);
    is_int(first.lease, MAX, "2^32 saturates");
    is_int(record(&b, &conf, 2000 + (uint64_t) MAX - 1, &first, NEUTRAL), 1,
           "good at its end - 1");
    is_int(record(&b, &conf, 2000 + (uint64_t) MAX, &first, NEUTRAL), 0,
           "given back already");
}


/*
 * Slots that are none, and what lies before and after the leases in memory
 * would do for one.
 */

static void
test_no_slots(void)
{
    char                *leases;
    uint32_t             value;
    res_permit_t         permit, probe;
    res_breaker_t        b[2];
    res_breaker_conf_t   conf;

    conf = usual;
    conf.successes = 9;

    probe = half_open(&b[0], &conf);

    leases = (char *) b + offsetof(res_breaker_t, leases);
    value = 50;

    memcpy(leases - 4, &value, 4);
    memcpy(leases + 4 * RES_BREAKER_PROBES, &value, 4);

    permit = probe;
    permit.lease = 50;

    permit.slot = -1;
    is_int(record(&b[0], &conf, 2001, &permit, FAILURE), 0, "slot -1");

    permit.slot = RES_BREAKER_PROBES;
    is_int(record(&b[0], &conf, 2001, &permit, FAILURE), 0, "slot 16");

    is_int(b[0].state, RES_HALF_OPEN, "no slots, no outcomes");
    is_int(record(&b[0], &conf, 2001, &probe, FAILURE), 1, "slot 0");
}


/* a breaker that is half-open for longer than leases can count */

static void
test_long_half_open(void)
{
    uint64_t       now;
    unsigned       i;
    res_permit_t   permit, old;
    res_breaker_t  b;

    permit = half_open(&b, &usual);
    (void) record(&b, &usual, 2000, &permit, NEUTRAL);

    now = 2000;

    for (i = 0; i < 20; i++) {
        is_int(res_breaker_wait(&b, &usual, now), 0, "month %u: no wait", i);

        is_int(admit(&b, &usual, now, 100, &permit), RES_ADMIT_YES,
               "month %u: admitted", i);
        is_unchanged("a month later");
        is_int(record(&b, &usual, now + 99, &permit, NEUTRAL), 1,
               "month %u: recorded", i);
        is_int(b.state, RES_HALF_OPEN, "month %u: half-open", i);

        now += (i % 2) ? 0x80000000 : 0x9a7ec800;
    }

    /* permits keep their slots over the change of count */

    (void) half_open(&b, &usual);
    now = 2000u + 0x7fffffff;

    (void) admit(&b, &usual, now, 1000, &old);
    (void) admit(&b, &usual, now, 1000, &permit);
    is_int(b.since, 2000, "counted from the beginning");

    now++;

    is_int(admit(&b, &usual, now, 400, &permit), RES_ADMIT_YES,
           "the last permit");
    is_int(b.since, now, "counted anew");
    is_int(permit.slot, 2, "to the last slot");
    is_int(permit.lease, 400, "with a new lease");
    is_int(res_breaker_wait(&b, &usual, now), 400, "all are out");
    is_int(record(&b, &usual, now, &old, FAILURE), 0,
           "an old permit's outcome is dropped");

    is_int(admit(&b, &usual, now + 399, 9, &old), RES_ADMIT_NO_PERMIT,
           "none is free");
    is_int(record(&b, &usual, now + 399, &permit, NEUTRAL), 1, "one back");
    is_int(admit(&b, &usual, now + 399, 9000, &permit), RES_ADMIT_YES,
           "one is free");
    is_int(res_breaker_wait(&b, &usual, now + 399), 600, "wait for the old");
    is_int(admit(&b, &usual, now + 998, 9, &old), RES_ADMIT_NO_PERMIT,
           "an old lease - 1");
    is_int(admit(&b, &usual, now + 999, 9, &old), RES_ADMIT_YES,
           "an old lease is over");
    is_int(old.slot, 0, "its slot is given");
    is_int(admit(&b, &usual, now + 999, 9, &old), RES_ADMIT_YES,
           "another old lease is over");
    is_int(admit(&b, &usual, now + 999, 9, &old), RES_ADMIT_NO_PERMIT,
           "the new one is not");

    /* a lease of the old count that reads like one of the new */

    old = half_open(&b, &usual);
    now = 2000u + 0x80000000;

    is_int(admit(&b, &usual, now, 100, &permit), RES_ADMIT_YES,
           "the same slot and lease, weeks later");
    ok(permit.slot == old.slot && permit.lease == old.lease,
       "read the same");
    is_int(record(&b, &usual, now, &old, FAILURE), 0, "the old is dropped");
    is_int(record(&b, &usual, now, &permit, FAILURE), 1, "the new is not");
}


/* an outcome counts in the state that its permit was given in, else not */

static void
test_generations(void)
{
    res_permit_t   closed, probe, other, late;
    res_breaker_t  b, before;

    res_breaker_init(&b, 0);
    (void) admit(&b, &usual, 1000, 100, &closed);
    trip(&b, &usual, 1000);

    before = b;

    is_int(record(&b, &usual, 1001, &closed, SUCCESS), 0,
           "closed permit, open");
    is_unchanged("closed permit, open");
    is_int(record(&b, &usual, 9000, &closed, FAILURE), 0,
           "closed permit, open time over");
    is_unchanged("closed permit, open time over");
    ok(memcmp(&b, &before, sizeof(res_breaker_t)) == 0, "no trace");

    late = closed;
    late.generation = b.generation;

    is_int(record(&b, &usual, 1001, &late, SUCCESS), 0,
           "an open breaker has no permits");
    ok(memcmp(&b, &before, sizeof(res_breaker_t)) == 0, "no trace");

    (void) admit(&b, &usual, 2000, 100, &probe);
    (void) admit(&b, &usual, 2000, 100, &other);

    before = b;

    is_int(record(&b, &usual, 2001, &closed, SUCCESS), 0,
           "closed permit, half-open");
    is_int(record(&b, &usual, 2001, &closed, FAILURE), 0,
           "closed permit, half-open");

    late = probe;
    late.slot = -1;
    is_int(record(&b, &usual, 2001, &late, SUCCESS), 0, "no slot, half-open");

    late.slot = RES_BREAKER_PROBES;
    is_int(record(&b, &usual, 2001, &late, SUCCESS), 0, "slot 16, half-open");

    late.slot = 2;
    is_int(record(&b, &usual, 2001, &late, SUCCESS), 0, "another's slot");

    late.lease = 0;
    is_int(record(&b, &usual, 2001, &late, SUCCESS), 0, "a free slot");

    late = probe;
    late.lease++;
    is_int(record(&b, &usual, 2001, &late, SUCCESS), 0, "another's lease");

    late = probe;
    late.generation++;
    is_int(record(&b, &usual, 2001, &late, SUCCESS), 0, "a later generation");

    ok(memcmp(&b, &before, sizeof(res_breaker_t)) == 0, "no trace");

    is_int(record(&b, &usual, 2001, &probe, SUCCESS), 1, "a probe");
    is_int(record(&b, &usual, 2001, &probe, SUCCESS), 0, "the same probe");
    is_int(b.state, RES_HALF_OPEN, "counts once");

    is_int(attempt(&b, &usual, 2002, SUCCESS), 1, "another one");
    is_int(b.state, RES_CLOSED, "closes");

    before = b;

    is_int(record(&b, &usual, 2002, &other, FAILURE), 0,
           "half-open permit, closed");
    is_int(record(&b, &usual, 2002, &closed, FAILURE), 0,
           "closed permit, closed again");
    ok(memcmp(&b, &before, sizeof(res_breaker_t)) == 0, "no trace");

    /* a failure voids the other probes */

    probe = half_open(&b, &usual);
    (void) admit(&b, &usual, 2000, 100, &other);
    (void) record(&b, &usual, 2001, &probe, FAILURE);

    is_int(record(&b, &usual, 2002, &other, SUCCESS), 0,
           "half-open permit, open again");

    (void) admit(&b, &usual, b.until, 100, &probe);
    is_int(record(&b, &usual, b.until + 1, &other, SUCCESS), 0,
           "half-open permit, half-open again");

    /* the count of generations may start anew */

    res_breaker_init(&b, 0);
    b.generation = MAX;

    (void) admit(&b, &usual, 0, 100, &closed);
    trip(&b, &usual, 1000);
    is_int(b.generation, 0, "generation 0 after the last");
    is_int(record(&b, &usual, 1001, &closed, SUCCESS), 0,
           "the last generation is another one");
}


/* a row of failures that nobody looks at does not begin anew */

static void
test_longest_row(void)
{
    res_breaker_t       b;
    res_breaker_conf_t  conf;

    conf = usual;
    conf.failures = 0;
    conf.error_rate = 0;

    res_breaker_init(&b, 0);
    b.consecutive = MAX - 1;

    (void) attempt(&b, &conf, 1, FAILURE);
    is_int(b.consecutive, MAX, "the longest row of failures");
    (void) attempt(&b, &conf, 1, FAILURE);
    is_int(b.consecutive, MAX, "is no longer after one more");
    (void) attempt(&b, &conf, 1, SUCCESS);
    is_int(b.consecutive, 0, "and over after a success");
}


static void
test_neutral(void)
{
    res_permit_t        permit;
    res_breaker_t       b;
    res_breaker_conf_t  conf;

    conf = usual;
    conf.probes = 1;
    conf.successes = 1;

    permit = half_open(&b, &conf);

    is_int(record(&b, &conf, 2010, &permit, NEUTRAL), 1, "neutral probe");
    is_unchanged("neutral probe");

    ok(b.state == RES_HALF_OPEN && b.succeeded == 0 && b.generation == 2
       && b.since == 2000 && b.total_successes == 0 && b.total_failures == 5,
       "moves nothing");

    is_int(record(&b, &conf, 2010, &permit, SUCCESS), 0,
           "its permit is back");
    is_int(admit(&b, &conf, 2010, 100, &permit), RES_ADMIT_YES,
           "and given anew");

    /* a good row of outcomes in a half-open breaker enters no window */

    is_int(record(&b, &conf, 2011, &permit, SUCCESS), 1, "good probe");
    ok(b.state == RES_CLOSED && b.seen == 0 && b.consecutive == 0,
       "closed with an empty window");
}


static void
test_off(void)
{
    int                 state;
    res_permit_t        permit, given;
    res_breaker_t       b, before;
    res_breaker_conf_t  off;

    off = usual;
    off.off = 1;

    for (state = RES_CLOSED; state <= RES_HALF_OPEN; state++) {

        given = half_open(&b, &usual);

        if (state != RES_HALF_OPEN) {
            res_breaker_init(&b, 0);
            (void) admit(&b, &usual, 500, 100, &given);
        }

        if (state == RES_OPEN) {
            trip(&b, &usual, 1000);
        }

        is_int(b.state, state, "off: state %d", state);

        before = b;

        is_int(res_breaker_wait(&b, &off, 1500), 0, "off: no wait");

        memset(&permit, 0xee, sizeof(res_permit_t));

        is_int(admit(&b, &off, 99999, 100, &permit), RES_ADMIT_YES,
               "off: admitted");
        is_unchanged("off: admitted");
        ok(permit.slot == -1 && permit.generation == b.generation
           && permit.lease == 0, "off: permit");

        is_int(record(&b, &off, 99999, &permit, NEUTRAL), 1, "off: neutral");
        ok(memcmp(&b, &before, sizeof(res_breaker_t)) == 0, "no trace");

        is_int(record(&b, &off, 99999, &permit, SUCCESS), 1, "off: success");
        is_unchanged("off: success");
        before.total_successes++;
        ok(memcmp(&b, &before, sizeof(res_breaker_t)) == 0, "counted only");

        given.generation--;
        is_int(record(&b, &off, 99999, &given, FAILURE), 1,
               "off: failure of whatever generation");
        is_unchanged("off: failure");
        before.total_failures++;
        ok(memcmp(&b, &before, sizeof(res_breaker_t)) == 0, "counted only");

        /* on again: such a permit is worth something if closed, else not */

        is_int(record(&b, &usual, 99999, &permit, FAILURE),
               state == RES_CLOSED, "on again");
        is_int(b.state, state, "on again: same state");
    }
}


static void
test_time_back(void)
{
    res_permit_t   permit, second;
    res_breaker_t  b;

    res_breaker_init(&b, 5000);
    trip(&b, &usual, 1000);

    is_int(b.since, 5000, "opened no earlier than closed");
    is_int(b.until, 6000, "open from then on");
    is_int(res_breaker_wait(&b, &usual, 0), 1000, "open: wait");
    is_int(admit(&b, &usual, 0, 100, &permit), RES_ADMIT_OPEN,
           "open: refused");

    (void) admit(&b, &usual, 6000, 100, &permit);

    is_int(admit(&b, &usual, 5999, 100, &second), RES_ADMIT_YES,
           "half-open: admitted");
    is_int(second.lease, 100, "half-open: as at its beginning");

    (void) admit(&b, &usual, 3, 100, &second);
    is_int(admit(&b, &usual, 0, 100, &second), RES_ADMIT_NO_PERMIT,
           "half-open: no permit");
    is_int(res_breaker_wait(&b, &usual, 0), 100, "half-open: wait");

    is_int(record(&b, &usual, 0, &permit, FAILURE), 1,
           "half-open: a lease is good");
    ok(b.state == RES_OPEN && b.since == 6000 && b.until == 8000,
       "reopened no earlier than half-opened");

    (void) admit(&b, &usual, 8000, 100, &permit);
    (void) record(&b, &usual, 10, &permit, SUCCESS);
    (void) attempt(&b, &usual, 9, SUCCESS);
    ok(b.state == RES_CLOSED && b.since == 8000,
       "closed no earlier than half-opened");
}


typedef struct {
    uint32_t     from;
    const char  *outcomes;          /* of at most 300 */
    uint32_t     to;
} resize_t;


static const resize_t  resizes[] = {
    { 8, "", 4 },
    { 8, "FS", 4 },
    { 8, "FSFS", 4 },
    { 8, "FFFFS", 4 },
    { 8, "FFFFSFSF", 4 },
    { 8, "SSSSFFFFS", 4 },
    { 8, "FSSFFSFSFFSSF", 4 },
    { 8, "FSSFFSFSFFSSF", 7 },
    { 8, "FSSFFSFSFFSSF", 9 },
    { 8, "FSSFFSFSFFSSF", 1 },
    { 8, "FSSFFSFSFFSSF", 0 },
    { 8, "FSSFFSFSFFSSF", 256 },
    { 8, "FSSFFSFSFFSSF", 5000 },
    { 1, "FSF", 8 },
    { 1, "FSFS", 8 },
    { 0, "FSF", 8 },
    { 64, "100F50S", 63 },
    { 64, "100F50S", 65 },
    { 65, "20F60S", 64 },
    { 128, "40F30S60F40S", 100 },
    { 128, "40F30S60F40S", 200 },
    { 256, "100F99S60F40S", 255 },
    { 256, "100F99S60F40S", 100 },
    { 256, "100F99S60F40S", 64 },
    { 256, "100F99S60F40S", 256 },
    { 300, "100F99S60F40S", 257 },
    { 255, "100F99S60F40S", 256 },
    { 100, "FFFSS", 50 }
};


static uint32_t
clamp(uint32_t window)
{
    return window < 1 ? 1 : (window > 256 ? 256 : window);
}


/*
 * The window changes in a reload: after it come successes, and each one
 * pushes out the oldest outcome once the ring is full.
 */

static void
test_resize(const resize_t *row)
{
    int                 bad;
    char                list[1024];
    size_t              i, n, len, count, keep, failed, window;
    const char         *p;
    res_breaker_t       b;
    res_breaker_conf_t  conf;

    conf = usual;
    conf.failures = 0;
    conf.error_rate = 0;
    conf.window = row->from;

    memset(&b, 0, sizeof(res_breaker_t));

    len = 0;

    for (p = row->outcomes; *p; p++) {
        count = strtoul(p, (char **) &p, 10);

        for (n = 0; n < (count ? count : 1); n++) {
            list[len++] = *p;
            (void) attempt(&b, &conf, 1, *p == 'F' ? FAILURE : SUCCESS);
        }
    }

    conf.window = row->to;

    window = clamp(row->to);
    keep = (len < clamp(row->from)) ? len : clamp(row->from);
    keep = (keep < window) ? keep : window;

    memmove(list, list + len - keep, keep);
    len = keep;
    bad = 0;

    for (n = 0; n < 2 * window; n++) {
        list[len++] = 'S';
        (void) attempt(&b, &conf, 1, SUCCESS);

        failed = 0;

        for (i = (len > window) ? len - window : 0; i < len; i++) {
            failed += (list[i] == 'F');
        }

        bad += (res_breaker_failed(&b) != failed
                || b.seen != (len < window ? len : window));
    }

    is_int(bad, 0, "window %u to %u: %s", row->from, row->to, row->outcomes);
}


static void
test_resizes(void)
{
    size_t  i;

    for (i = 0; i < sizeof(resizes) / sizeof(resizes[0]); i++) {
        test_resize(&resizes[i]);
    }
}


typedef struct {
    uint16_t  window;
    uint16_t  head;
    uint16_t  seen;
} torn_t;


/* what a writer leaves behind that was killed while it resized the ring */

static void
test_torn(void)
{
    static const torn_t  torn[] = {
        { 10, 10, 10 }, { 10, 11, 3 }, { 10, 3, 11 }, { 10, 255, 10 },
        { 10, 65535, 65535 }, { 0, 1, 0 }, { 0, 0, 1 }, { 257, 3, 3 },
        { 257, 256, 257 }, { 65535, 300, 300 }, { 65535, 65535, 65535 }
    };

    size_t              i;
    uint32_t            k;
    res_breaker_t       b;
    res_breaker_conf_t  conf;

    conf = usual;
    conf.window = 10;
    conf.failures = 0;
    conf.error_rate = 0;

    for (i = 0; i < sizeof(torn) / sizeof(torn[0]); i++) {
        for (k = 5; k <= 256; k += 251) {

            res_breaker_init(&b, 0);
            memset(b.failed, 0xff, sizeof(b.failed));

            b.window = torn[i].window;
            b.head = torn[i].head;
            b.seen = torn[i].seen;

            conf.window = k;

            (void) attempt(&b, &conf, 1, SUCCESS);
            ok(b.seen == 1 && b.window == k && b.head == 1
               && res_breaker_failed(&b) == 0,
               "ring %u/%u/%u is taken for an empty one", torn[i].window,
               torn[i].head, torn[i].seen);
        }
    }

    /* a state that is none does not lock anyone out */

    res_breaker_init(&b, 0);
    b.state = 3;
    is_int(attempt(&b, &conf, 1, SUCCESS), 1, "unknown state admits");
    is_int(res_breaker_wait(&b, &conf, 1), 0, "unknown state: no wait");
}


static void
test_names(void)
{
    is_str(res_breaker_state_name(RES_CLOSED), "closed", "closed");
    is_str(res_breaker_state_name(RES_OPEN), "open", "open");
    is_str(res_breaker_state_name(RES_HALF_OPEN), "half_open", "half_open");
    is_str(res_breaker_state_name(3), "unknown", "state 3");
    is_str(res_breaker_state_name(MAX), "unknown", "last state");

    is_str(res_breaker_reason_name(RES_REASON_NONE), "none", "none");
    is_str(res_breaker_reason_name(RES_REASON_FAILURES), "failures",
           "failures");
    is_str(res_breaker_reason_name(RES_REASON_ERROR_RATE), "error_rate",
           "error_rate");
    is_str(res_breaker_reason_name(RES_REASON_PROBE_FAILED), "probe_failed",
           "probe_failed");
    is_str(res_breaker_reason_name(RES_REASON_PROBES_SUCCEEDED),
           "probes_succeeded", "probes_succeeded");
    is_str(res_breaker_reason_name(RES_REASON_OPEN_ELAPSED), "open_elapsed",
           "open_elapsed");
    is_str(res_breaker_reason_name(6), "unknown", "reason 6");
    is_str(res_breaker_reason_name(MAX), "unknown", "last reason");
}


/*
 * The model: what a breaker is, said the simple way.  Time is absolute, every
 * permit is known by its holder, outcomes are a list.
 */

#define HOLDERS  40


typedef struct {
    int           out;
    res_permit_t  permit;
    int           epoch;            /* of the model */
    int           slot;
    int           serial;           /* of this giving of the slot */
} holder_t;


typedef struct {
    int           state;
    int           epoch;
    uint64_t      since;
    uint64_t      until;

    char          list[RES_BREAKER_WINDOW];
    int           listed;
    uint64_t      row;              /* failures in a row */
    int           good;
    int           openings;

    uint64_t      ends[RES_BREAKER_PROBES];
    int           serials[RES_BREAKER_PROBES];
    int           given;

    uint64_t      successes;
    uint64_t      failures;
    uint64_t      rejected;
    uint64_t      opened;
    uint64_t      closed;

    int           changed;
    int           from;
    int           reason;
} model_t;


static void
model_change(model_t *m, int state, int reason, uint64_t now)
{
    m->changed = 1;
    m->from = m->state;
    m->reason = reason;

    m->state = state;
    m->epoch++;
    m->since = now;
}


static void
model_open(model_t *m, const res_breaker_conf_t *conf, int reason,
    uint64_t now, uint32_t random)
{
    int       i;
    uint64_t  time, cap;

    cap = (conf->open_max < conf->open) ? conf->open : conf->open_max;
    time = conf->open;

    for (i = 0; i < m->openings && time < cap; i++) {
        time = time + time;
    }

    time = (time > cap) ? cap : time;

    m->until = now + time + time * random / 42949672960u;
    m->openings++;
    m->opened++;

    model_change(m, RES_OPEN, reason, now);
}


static int
model_probes(const res_breaker_conf_t *conf)
{
    return conf->probes == 0 ? 1 : (conf->probes > 16 ? 16 : conf->probes);
}


static res_admit_e
model_admit(model_t *m, const res_breaker_conf_t *conf, uint64_t now,
    uint64_t lease, holder_t *h)
{
    int  i;

    m->changed = 0;

    h->epoch = m->epoch;
    h->slot = -1;

    if (conf->off) {
        return RES_ADMIT_YES;
    }

    now = (now < m->since) ? m->since : now;

    if (m->state == RES_OPEN) {
        if (now < m->until) {
            m->rejected++;
            return RES_ADMIT_OPEN;
        }

        model_change(m, RES_HALF_OPEN, RES_REASON_OPEN_ELAPSED, now);

        m->good = 0;
        memset(m->ends, 0, sizeof(m->ends));
        h->epoch = m->epoch;
    }

    if (m->state == RES_CLOSED) {
        return RES_ADMIT_YES;
    }

    for (i = 0; i < model_probes(conf); i++) {
        if (m->ends[i] == 0 || now >= m->ends[i]) {
            m->ends[i] = now + (lease ? lease : 1);
            m->serials[i] = ++m->given;

            h->slot = i;
            h->serial = m->given;

            return RES_ADMIT_YES;
        }
    }

    m->rejected++;

    return RES_ADMIT_NO_PERMIT;
}


static void
model_list(model_t *m, const res_breaker_conf_t *conf, char outcome)
{
    int  window;

    window = clamp(conf->window);

    if (m->listed > window) {
        memmove(m->list, m->list + m->listed - window, window);
        m->listed = window;
    }

    if (m->listed == window) {
        memmove(m->list, m->list + 1, window - 1);
        m->listed--;
    }

    m->list[m->listed++] = outcome;
}


static int
model_failed(const model_t *m)
{
    int  i, n;

    for (i = 0, n = 0; i < m->listed; i++) {
        n += (m->list[i] == 'F');
    }

    return n;
}


static int
model_closed_record(model_t *m, const res_breaker_conf_t *conf, uint64_t now,
    res_result_e result, int first, uint32_t random)
{
    int       window;
    uint64_t  least;

    window = clamp(conf->window);

    if (result == NEUTRAL) {
        return 1;
    }

    if (result == SUCCESS) {
        m->successes++;
        m->row = 0;

    } else {
        m->failures++;
        m->row += (first != 0);
    }

    model_list(m, conf, result == SUCCESS ? 'S' : 'F');

    least = conf->min_calls == 0 ? 1 : conf->min_calls;
    least = least > (uint64_t) window ? (uint64_t) window : least;

    if (conf->failures > 0 && m->row >= conf->failures) {
        model_open(m, conf, RES_REASON_FAILURES, now, random);

    } else if (conf->error_rate > 0 && m->listed >= (int) least
               && model_failed(m) * 100.0 / m->listed
                  >= conf->error_rate - 1e-9)
    {
        model_open(m, conf, RES_REASON_ERROR_RATE, now, random);
    }

    return 1;
}


static int
model_record(model_t *m, const res_breaker_conf_t *conf, uint64_t now,
    const holder_t *h, res_result_e result, int first, uint32_t random)
{
    uint64_t  needed;

    m->changed = 0;

    if (conf->off) {
        m->successes += (result == SUCCESS);
        m->failures += (result == FAILURE);
        return 1;
    }

    now = (now < m->since) ? m->since : now;

    if (h->epoch != m->epoch || m->state == RES_OPEN) {
        return 0;
    }

    if (m->state == RES_CLOSED) {
        return model_closed_record(m, conf, now, result, first, random);
    }

    if (h->slot == -1 || m->ends[h->slot] == 0
        || m->serials[h->slot] != h->serial || now >= m->ends[h->slot])
    {
        return 0;
    }

    m->ends[h->slot] = 0;

    if (result == FAILURE) {
        m->failures++;
        model_open(m, conf, RES_REASON_PROBE_FAILED, now, random);
        return 1;
    }

    if (result == SUCCESS) {
        m->successes++;
        m->good++;

        needed = conf->successes ? conf->successes : 1;

        if ((uint64_t) m->good >= needed) {
            m->listed = 0;
            m->row = 0;
            m->openings = 0;
            m->closed++;

            model_change(m, RES_CLOSED, RES_REASON_PROBES_SUCCEEDED, now);
        }
    }

    return 1;
}


static uint64_t
model_wait(const model_t *m, const res_breaker_conf_t *conf, uint64_t now)
{
    int       i;
    uint64_t  least;

    now = (now < m->since) ? m->since : now;

    if (conf->off || m->state == RES_CLOSED) {
        return 0;
    }

    if (m->state == RES_OPEN) {
        return (now < m->until) ? m->until - now : 0;
    }

    least = UINT64_MAX;

    for (i = 0; i < model_probes(conf); i++) {
        if (m->ends[i] <= now) {
            return 0;
        }

        if (m->ends[i] - now < least) {
            least = m->ends[i] - now;
        }
    }

    return least;
}


/* 0 when the breaker is what the model says */

static const char *
model_differs(const model_t *m, const res_breaker_t *b)
{
    int  openings;

    openings = (m->openings < 255) ? m->openings : 255;

    if (b->state != m->state) {
        return "state";
    }

    if (b->generation != (uint32_t) m->epoch) {
        return "generation";
    }

    if (b->since != m->since
        || (m->state == RES_OPEN && b->until != m->until))
    {
        return "time";
    }

    if (b->opened != m->opened || b->closed != m->closed
        || b->reopened != openings)
    {
        return "openings";
    }

    if (b->total_successes != m->successes
        || b->total_failures != m->failures || b->rejected != m->rejected)
    {
        return "counters";
    }

    if (m->state == RES_CLOSED && b->consecutive != m->row) {
        return "consecutive";
    }

    if (b->seen != m->listed
        || res_breaker_failed(b) != (uint32_t) model_failed(m))
    {
        return "window";
    }

    if (last.changed != m->changed
        || (m->changed && (last.from != m->from || last.to != m->state
                           || last.reason != m->reason)))
    {
        return "transition";
    }

    return NULL;
}


static uint64_t  seed;


static uint32_t
number(uint32_t limit)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;

    return (uint32_t) ((seed >> 16) % limit);
}


static void
random_conf(res_breaker_conf_t *conf)
{
    static const uint32_t  windows[] = {
        0, 1, 2, 7, 10, 63, 64, 65, 100, 128, 255, 256, 257, 9999
    };

    conf->failures = number(3) ? number(8) : 0;
    conf->error_rate = number(3) ? 1 + number(100) : 0;
    conf->window = windows[number(14)];
    conf->min_calls = number(2) ? number(20) : number(300);
    conf->open = number(200);
    conf->open_max = number(2000);
    conf->probes = number(19);
    conf->successes = number(6);
    conf->off = (number(12) == 0);
}


static void
test_model(uint64_t n)
{
    int                 step, rc, want, first, turns[3];
    size_t              i;
    model_t             m;
    uint32_t            random, luck;
    uint64_t            now, when, lease;
    holder_t            holders[HOLDERS], *h;
    const char         *differs;
    res_result_e        result;
    res_breaker_t       b;
    res_breaker_conf_t  conf;

    seed = n * 0x9e3779b97f4a7c15 + 1;

    memset(&b, 0, sizeof(res_breaker_t));
    memset(&m, 0, sizeof(model_t));
    memset(holders, 0, sizeof(holders));
    memset(turns, 0, sizeof(turns));

    conf = usual;
    now = 100000;
    luck = 50;
    differs = NULL;

    for (step = 0; step < 200000; step++) {

        now += (number(50) == 0) ? number(2000) : number(8);
        when = (number(20) == 0) ? now - number(3000) : now;

        if (number(300) == 0) {
            random_conf(&conf);
        }

        if (number(100) == 0) {
            luck = number(101);
        }

        h = &holders[number(HOLDERS)];

        if (h->out) {

            /* it ends, or it is never heard of again */

            h->out = 0;

            if (number(20) == 0) {
                continue;
            }

            result = (number(10) == 0) ? NEUTRAL
                     : (number(100) < luck ? FAILURE : SUCCESS);
            first = number(3) != 0;
            random = number(3) ? number(UINT32_MAX) : MAX * number(2);

            rc = res_breaker_record(&b, &conf, when, &h->permit, result,
                                    first, random, &last);
            want = model_record(&m, &conf, when, h, result, first, random);

        } else {
            lease = number(2) ? number(30) : number(3000);

            rc = admit(&b, &conf, when, lease, &h->permit);
            want = model_admit(&m, &conf, when, lease, h);

            h->out = (rc == RES_ADMIT_YES);

            if (rc == RES_ADMIT_YES && h->permit.slot != h->slot) {
                differs = "slot";
                break;
            }
        }

        if (rc != want) {
            differs = "answer";
            break;
        }

        differs = model_differs(&m, &b);
        if (differs) {
            break;
        }

        if (res_breaker_wait(&b, &conf, when) != model_wait(&m, &conf, when)
            || res_breaker_idle(&b) != (m.state == RES_CLOSED))
        {
            differs = "wait";
            break;
        }

        turns[m.state]++;
    }

    ok(differs == NULL, "like the model, seed %llu: %s at step %d",
       (unsigned long long) n, differs ? differs : "nothing else", step);

    for (i = 0; i < 3; i++) {
        ok(turns[i] > 5000, "seed %llu: often enough %s",
           (unsigned long long) n, res_breaker_state_name((unsigned) i));
    }

    ok(m.closed > 100, "seed %llu: often enough closed again",
       (unsigned long long) n);
}


int
main(void)
{
    uint64_t  n;

    test_zero();
    test_trips();
    test_open();
    test_open_times();
    test_reopen();
    test_probes();
    test_fewer_probes();
    test_successes();
    test_leases();
    test_no_slots();
    test_long_half_open();
    test_generations();
    test_longest_row();
    test_neutral();
    test_off();
    test_time_back();
    test_resizes();
    test_torn();
    test_names();

    for (n = 1; n <= 10; n++) {
        test_model(n);
    }

    return done_testing();
}
