
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
#define REFUSED  RES_RESULT_REFUSED


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

    return res_breaker_admit(b, conf, now, lease, 0, permit, &last);
}


static int
tell(res_breaker_t *b, const res_breaker_conf_t *conf, uint64_t now,
    const res_permit_t *permit, res_result_e result, int first, uint32_t hint,
    uint32_t random)
{
    res_report_t  report;

    memset(&last, 0xee, sizeof(res_transition_t));

    report.result = result;
    report.first = first;
    report.hint = hint;
    report.random = random;

    return res_breaker_record(b, conf, now, permit, &report, &last);
}


static int
record(res_breaker_t *b, const res_breaker_conf_t *conf, uint64_t now,
    const res_permit_t *permit, res_result_e result)
{
    return tell(b, conf, now, permit, result, 1, 0, 0);
}


static void
slow(res_breaker_t *b, const res_breaker_conf_t *conf, uint64_t now,
    res_permit_t *permit, uint32_t hint, uint32_t random)
{
    res_report_t  report;

    memset(&last, 0xee, sizeof(res_transition_t));
    memset(&report, 0xee, sizeof(res_report_t));

    report.hint = hint;
    report.random = random;

    res_breaker_slow(b, conf, now, permit, &report, &last);
}


/* opens it for what others say */

static void
trip_now(res_breaker_t *b, const res_breaker_conf_t *conf, uint64_t now,
    uint32_t hint, uint32_t random)
{
    res_report_t  report;

    memset(&last, 0xee, sizeof(res_transition_t));
    memset(&report, 0xee, sizeof(res_report_t));

    report.hint = hint;
    report.random = random;

    res_breaker_trip(b, conf, now, &report, RES_REASON_TENANTS, &last);
}


static void
force(res_breaker_t *b, res_forced_e forced, uint64_t now)
{
    memset(&last, 0xee, sizeof(res_transition_t));

    res_breaker_force(b, forced, now, &last);
}


static void
reset(res_breaker_t *b, uint64_t now)
{
    memset(&last, 0xee, sizeof(res_transition_t));

    res_breaker_reset(b, now, &last);
}


/*
 * The end of an attempt was seen before it was over.  What comes after is of
 * the generation that is current then, if the breaker is closed.
 */

static int
judge(res_breaker_t *b, const res_breaker_conf_t *conf, uint64_t now,
    res_permit_t *permit)
{
    if (!record(b, conf, now, permit, SUCCESS)) {
        return 0;
    }

    permit->slot = -1;
    permit->lease = 0;
    permit->judged = 1;
    permit->generation = b->generation - (b->state != RES_CLOSED);

    return 1;
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

        recorded &= tell(&b, &conf, now, &permit,
                         (what == 'S') ? SUCCESS
                         : (what == 'N') ? NEUTRAL : FAILURE,
                         what != 'f', 0, 0);

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


/* for how long it refused, and what it is shown as */

static void
test_open_for(void)
{
    res_permit_t   permit;
    res_breaker_t  b;

    res_breaker_init(&b, 0);
    trip(&b, &usual, 1000);
    is_int(last.open, 0, "it was not open before");

    (void) admit(&b, &usual, 7000, 100, &permit);
    is_int(last.open, 1000, "open for its time, however late the next came");
    is_int(res_breaker_shown(&b), RES_HALF_OPEN, "shown as half-open");

    (void) record(&b, &usual, 7050, &permit, FAILURE);
    is_int(last.open, 0, "open again: half-open was not open");
    is_int(res_breaker_shown(&b), RES_OPEN, "shown as open");

    reset(&b, 7300);
    is_int(last.open, 250, "open until it was reset");
    is_int(res_breaker_shown(&b), RES_CLOSED, "shown as closed");

    trip(&b, &usual, 8000);
    reset(&b, 3);
    is_int(last.open, 0, "a step back in time is taken for none");

    force(&b, RES_FORCED_OPEN, 9000);
    is_int(res_breaker_shown(&b), RES_OPEN, "shown as forced open");
    force(&b, RES_FORCED_CLOSED, 9500);
    ok(last.changed == 0 && last.open == 0, "it had not opened by itself");
    is_int(res_breaker_shown(&b), RES_CLOSED, "shown as forced closed");

    b.forced = RES_FORCED_NONE;
    b.state = 77;
    is_int(res_breaker_shown(&b), RES_CLOSED, "no state is taken for closed");
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
        (void) tell(&b, &conf, now + 3, &permit, FAILURE, 1, 0, row->random);

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
    is_int(b.generation, 3, "as a new generation");
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


static void
tear(res_breaker_t *b, const torn_t *torn)
{
    memset(b->failed, 0xff, sizeof(b->failed));
    memset(b->slow, 0xff, sizeof(b->slow));

    b->window = torn->window;
    b->head = torn->head;
    b->seen = torn->seen;
}


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
    res_permit_t        permit;
    res_breaker_t       b;
    res_breaker_conf_t  conf;

    conf = usual;
    conf.window = 10;
    conf.failures = 0;
    conf.error_rate = 0;

    for (i = 0; i < sizeof(torn) / sizeof(torn[0]); i++) {
        for (k = 5; k <= 256; k += 251) {

            res_breaker_init(&b, 0);
            tear(&b, &torn[i]);

            conf.window = k;

            (void) attempt(&b, &conf, 1, SUCCESS);
            ok(b.seen == 1 && b.window == k && b.head == 1
               && res_breaker_failed(&b) == 0 && res_breaker_slowed(&b) == 0,
               "ring %u/%u/%u is taken for an empty one", torn[i].window,
               torn[i].head, torn[i].seen);

            /* an outcome that was in it, and one that becomes slow */

            res_breaker_init(&b, 0);

            (void) admit(&b, &conf, 1, 100, &permit);
            slow(&b, &conf, 1, &permit, 0, 0);
            tear(&b, &torn[i]);

            is_int(record(&b, &conf, 1, &permit, FAILURE), 1,
                   "a failure of a slow one");
            ok(b.seen == 0 && b.window == k && b.head == 0
               && res_breaker_failed(&b) == 0 && res_breaker_slowed(&b) == 0
               && b.total_failures == 1,
               "ring %u/%u/%u: its sample is gone", torn[i].window,
               torn[i].head, torn[i].seen);

            tear(&b, &torn[i]);
            (void) admit(&b, &conf, 1, 100, &permit);
            slow(&b, &conf, 1, &permit, 0, 0);

            ok(b.seen == 1 && b.window == k && b.head == 1
               && res_breaker_failed(&b) == 0 && res_breaker_slowed(&b) == 1,
               "ring %u/%u/%u: a slow one", torn[i].window, torn[i].head,
               torn[i].seen);
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
    is_str(res_breaker_reason_name(RES_REASON_SLOW_RATE), "slow_rate",
           "slow_rate");
    is_str(res_breaker_reason_name(RES_REASON_TENANTS), "tenants",
           "tenants");
    is_str(res_breaker_reason_name(RES_REASON_PROBE_FAILED), "probe_failed",
           "probe_failed");
    is_str(res_breaker_reason_name(RES_REASON_PROBES_SUCCEEDED),
           "probes_succeeded", "probes_succeeded");
    is_str(res_breaker_reason_name(RES_REASON_OPEN_ELAPSED), "open_elapsed",
           "open_elapsed");
    is_str(res_breaker_reason_name(RES_REASON_ADMIN), "admin", "admin");
    is_str(res_breaker_reason_name(9), "unknown", "reason 9");
    is_str(res_breaker_reason_name(MAX), "unknown", "last reason");

    is_str(res_breaker_forced_name(RES_FORCED_NONE), "none", "not forced");
    is_str(res_breaker_forced_name(RES_FORCED_OPEN), "open", "forced open");
    is_str(res_breaker_forced_name(RES_FORCED_CLOSED), "closed",
           "forced closed");
    is_str(res_breaker_forced_name(RES_FORCED_DISABLED), "disabled",
           "disabled");
    is_str(res_breaker_forced_name(4), "unknown", "forced 4");
    is_str(res_breaker_forced_name(MAX), "unknown", "last forced");
}


/*
 * Stories: what is done to a breaker, and what is then so, word by word.
 *
 *     failures=5    sets a field of the configuration; hint and random of
 *                   the reports to come, turn: the random of admissions to
 *                   come, lease: theirs
 *     +100 -100     so many ms later, or earlier
 *     Aa            an attempt, named a, is admitted; or is not: Oa (open),
 *                   Pa (no permit), Za (the provider rests)
 *     Sa Fa fa      it ends: success, failure, failure but not the first of
 *     Na Ra         its call, neutral, refused
 *     sa Ja         it is slow; it is judged to be a success and goes on
 *     xSa           the same, but is dropped
 *     9S            nine attempts, admitted and ended
 *     ~500          the provider asks to be left alone for so many ms
 *     !open         forced, so too !closed, !disabled, !auto; !reset, !trip
 *     closed        the state is: closed, open, half_open
 *     seen:4        the number is, see numbers[]; so too reason: and forced:
 */

typedef struct {
    const char  *name;
    const char  *words;
} story_t;


typedef struct {
    res_breaker_t         b;
    res_breaker_conf_t    conf;
    uint64_t              now;
    uint64_t              lease;
    uint32_t              turn;
    uint32_t              hint;
    uint32_t              random;
    unsigned              reason;      /* of the last change */
    res_permit_t          permits[26];
} play_t;


typedef struct {
    const char  *name;
    size_t       offset;
} field_t;


#define CONF(field)  { #field, offsetof(res_breaker_conf_t, field) }
#define PLAY(field)  { #field, offsetof(play_t, field) }


static const field_t  conf_fields[] = {
    CONF(failures), CONF(error_rate), CONF(slow_rate), CONF(window),
    CONF(min_calls), CONF(open), CONF(open_max), CONF(probes),
    CONF(successes), CONF(ramp)
};

static const field_t  play_fields[] = {
    PLAY(turn), PLAY(hint), PLAY(random)
};


static int
play_set(play_t *play, const char *name, const char *value)
{
    size_t         i;
    unsigned long  n;

    n = strtoul(value, NULL, 10);

    for (i = 0; i < sizeof(conf_fields) / sizeof(field_t); i++) {
        if (strcmp(name, conf_fields[i].name) == 0) {
            *(uint32_t *) ((char *) &play->conf + conf_fields[i].offset)
                = (uint32_t) n;
            return 1;
        }
    }

    for (i = 0; i < sizeof(play_fields) / sizeof(field_t); i++) {
        if (strcmp(name, play_fields[i].name) == 0) {
            *(uint32_t *) ((char *) play + play_fields[i].offset)
                = (uint32_t) n;
            return 1;
        }
    }

    if (strcmp(name, "lease") == 0) {
        play->lease = n;
        return 1;
    }

    if (strcmp(name, "off") == 0) {
        play->conf.off = (n != 0);
        return 1;
    }

    return 0;
}


static int
play_is(const play_t *play, const char *name, const char *value)
{
    size_t                i;
    const res_breaker_t  *b;

    b = &play->b;

    const struct {
        const char  *name;
        uint64_t     value;
    } numbers[] = {
        { "seen", b->seen },
        { "failed", res_breaker_failed(b) },
        { "slow", res_breaker_slowed(b) },
        { "row", b->consecutive },
        { "good", b->total_successes },
        { "bad", b->total_failures },
        { "probes", b->succeeded },
        { "rejected", b->rejected },
        { "opened", b->opened },
        { "reopened", b->reopened },
        { "closed", b->closed },
        { "generation", b->generation },
        { "idle", (uint64_t) res_breaker_idle(b) },
        { "wait", res_breaker_wait(b, &play->conf, play->now) },
        { "since", b->since },
        { "changed", last.changed }
    };

    if (strcmp(name, "reason") == 0) {
        return strcmp(value, res_breaker_reason_name(play->reason)) == 0;
    }

    if (strcmp(name, "forced") == 0) {
        return strcmp(value, res_breaker_forced_name(b->forced)) == 0;
    }

    for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (strcmp(name, numbers[i].name) == 0) {
            return numbers[i].value == strtoull(value, NULL, 10);
        }
    }

    return 0;
}


static int
play_say(play_t *play, const char *what)
{
    res_breaker_t  *b;

    b = &play->b;

    if (strcmp(what, "open") == 0) {
        force(b, RES_FORCED_OPEN, play->now);

    } else if (strcmp(what, "closed") == 0) {
        force(b, RES_FORCED_CLOSED, play->now);

    } else if (strcmp(what, "disabled") == 0) {
        force(b, RES_FORCED_DISABLED, play->now);

    } else if (strcmp(what, "auto") == 0) {
        force(b, RES_FORCED_NONE, play->now);

    } else if (strcmp(what, "reset") == 0) {
        reset(b, play->now);

    } else if (strcmp(what, "trip") == 0) {
        trip_now(b, &play->conf, play->now, play->hint, play->random);

    } else {
        return 0;
    }

    return 1;
}


static int
play_admit(play_t *play, res_permit_t *permit)
{
    memset(&last, 0xee, sizeof(res_transition_t));
    memset(permit, 0xee, sizeof(res_permit_t));

    return res_breaker_admit(&play->b, &play->conf, play->now, play->lease,
                             play->turn, permit, &last);
}


static int
play_record(play_t *play, char what, const res_permit_t *permit)
{
    res_result_e  result;

    switch (what) {

    case 'S':
        result = SUCCESS;
        break;

    case 'N':
        result = NEUTRAL;
        break;

    case 'R':
        result = REFUSED;
        break;

    default: /* F, f */
        result = FAILURE;
        break;
    }

    return tell(&play->b, &play->conf, play->now, permit, result,
                what == 'F', play->hint, play->random);
}


static int
play_attempts(play_t *play, unsigned long n, char what)
{
    res_permit_t  permit;

    while (n--) {
        if (play_admit(play, &permit) != RES_ADMIT_YES
            || play_record(play, what, &permit) != 1)
        {
            return 0;
        }
    }

    return 1;
}


/* a letter of what is done, and one of the attempt */

static int
play_act(play_t *play, const char *act, int recorded)
{
    res_permit_t  *permit;

    if (act[0] == '\0' || act[1] < 'a' || act[1] > 'z' || act[2] != '\0') {
        return 0;
    }

    permit = &play->permits[act[1] - 'a'];

    switch (act[0]) {

    case 'A':
        return play_admit(play, permit) == RES_ADMIT_YES;

    case 'O':
        return play_admit(play, permit) == RES_ADMIT_OPEN;

    case 'P':
        return play_admit(play, permit) == RES_ADMIT_NO_PERMIT;

    case 'Z':
        return play_admit(play, permit) == RES_ADMIT_RESTING;

    case 's':
        slow(&play->b, &play->conf, play->now, permit, play->hint,
             play->random);
        return 1;

    case 'J':
        return judge(&play->b, &play->conf, play->now, permit) == recorded;

    case 'S':
    case 'F':
    case 'f':
    case 'N':
    case 'R':
        return play_record(play, act[0], permit) == recorded;

    default:
        return 0;
    }
}


/* 1: it was so, and could be done */

static int
play_word(play_t *play, char *word)
{
    char           *rest;
    unsigned long   n;

    if (*word >= '0' && *word <= '9') {
        n = strtoul(word, &rest, 10);
        return play_attempts(play, n, *rest);
    }

    switch (*word) {

    case '+':
        play->now += strtoul(word + 1, NULL, 10);
        return 1;

    case '-':
        play->now -= strtoul(word + 1, NULL, 10);
        return 1;

    case '~':
        res_breaker_rest(&play->b, play->now,
                         (uint32_t) strtoul(word + 1, NULL, 10));
        return 1;

    case '!':
        return play_say(play, word + 1);

    case 'x':
        return play_act(play, word + 1, 0);
    }

    rest = strpbrk(word, "=:");

    if (rest) {
        n = (*rest == '=');
        *rest++ = '\0';

        return n ? play_set(play, word, rest) : play_is(play, word, rest);
    }

    if (strcmp(word, "closed") == 0 || strcmp(word, "open") == 0
        || strcmp(word, "half_open") == 0)
    {
        return strcmp(word, res_breaker_state_name(play->b.state)) == 0;
    }

    return play_act(play, word, 1);
}


static void
test_story(const story_t *story, const char *before)
{
    int          n;
    char         words[1024], copy[64], *word, *save;
    play_t       play;
    const char  *wrong;

    memset(&play, 0, sizeof(play_t));

    play.conf = usual;
    play.now = 1000;
    play.lease = 100;

    res_breaker_init(&play.b, play.now);

    n = snprintf(words, sizeof(words), "%s %s", before, story->words);

    if (n < 0 || (size_t) n >= sizeof(words)) {
        ok(0, "%s: too long", story->name);
        return;
    }

    memset(&last, 0, sizeof(res_transition_t));

    wrong = NULL;
    n = 0;

    for (word = strtok_r(words, " ", &save); word;
         word = strtok_r(NULL, " ", &save))
    {
        n++;
        (void) snprintf(copy, sizeof(copy), "%s", word);

        if (!play_word(&play, word)) {
            wrong = copy;
            break;
        }

        if (last.changed > 1) {
            wrong = "what changed";
            break;
        }

        if (last.changed) {
            play.reason = last.reason;
        }
    }

    if (!ok(wrong == NULL, "%s", story->name)) {
        printf("# word %d, %s, of: %s %s\n", n, wrong, before, story->words);
        printf("# %s, seen %u, failed %u, slow %u, row %u, generation %u\n",
               res_breaker_state_name(play.b.state), play.b.seen,
               res_breaker_failed(&play.b), res_breaker_slowed(&play.b),
               play.b.consecutive, play.b.generation);
    }
}


#define test_stories(stories, before)                                         \
    do {                                                                      \
        size_t  story;                                                        \
                                                                              \
        for (story = 0; story < sizeof(stories) / sizeof(story_t); story++) { \
            test_story(&(stories)[story], before);                            \
        }                                                                     \
    } while (0)


/* slow_rate 50 % of four at least, of ten at most */

static const story_t  slow_rates[] = {

    { "one slow of four is less than half",
      "Aa sa 3S closed seen:4 slow:1 failed:0" },
    { "two of four are half, and a success may be the one that opens",
      "Aa sa Ab sb 1S closed seen:3 1S open reason:slow_rate seen:4 slow:2 "
      "failed:0 opened:1 generation:1" },
    { "half is less than 51 %",
      "slow_rate=51 Aa sa Ab sb 2S closed seen:4 slow:2" },
    { "half is more than 49 %",
      "slow_rate=49 Aa sa Ab sb 2S open reason:slow_rate" },
    { "one that runs still opens it",
      "Aa Ab 2S sa closed sb open changed:1 reason:slow_rate good:2 bad:0 "
      "xSa xFb good:2 bad:0" },
    { "not with fewer than min_calls",
      "Aa sa Ab sb Ac sc closed seen:3 slow:3 Ad sd open seen:4" },
    { "all of them",
      "slow_rate=100 window=4 1S Aa sa Ab sb Ac sc closed Ad sd open" },
    { "one of a hundred",
      "slow_rate=1 window=100 min_calls=100 99S closed Aa sa open" },
    { "one of a hundred is less than 2 %",
      "slow_rate=2 window=100 min_calls=100 99S Aa sa 98S Ab sb open" },
    { "no rate: not looked at",
      "slow_rate=0 Aa sa Ab sb Ac sc Ad sd Ae se closed seen:5 slow:5" },
    { "a rate that none can have",
      "slow_rate=101 Aa sa Ab sb Ac sc Ad sd Ae se closed" },
    { "min_calls 0",
      "min_calls=0 Aa sa open seen:1" },

    /* it is in the window once */

    { "slow, then success: one sample",
      "Aa sa seen:1 slow:1 good:0 Sa seen:1 slow:1 failed:0 good:1 bad:0" },
    { "slow, then failure: the same sample, failed",
      "Aa sa Fa seen:1 slow:1 failed:1 row:1 good:0 bad:1" },
    { "slow, then a later failure of its call",
      "Aa sa fa seen:1 slow:1 failed:1 row:0 bad:1" },
    { "slow, then neutral",
      "Aa sa Na seen:1 slow:1 failed:0 row:0 good:0 bad:0" },
    { "slow, then refused",
      "Aa sa Ra seen:1 slow:1 failed:0 row:0 good:0 bad:0" },
    { "slow twice: once",
      "Aa sa sa seen:1 slow:1 Fa seen:1 slow:1 failed:1" },
    { "slow does not touch the row of failures",
      "failures=3 2F row:2 Aa sa row:2 closed Sa row:0" },
    { "slow and failed are two bits of one sample",
      "slow_rate=0 Aa sa Ab Sb Fa seen:2 slow:1 failed:1" },
    { "fast, and no sample of a slow one is touched",
      "Aa sa Ab Fb seen:2 slow:1 failed:1 Sa seen:2 slow:1 failed:1" },

    /* others came in between */

    { "the failure finds its sample after others",
      "Aa sa 3S Fa seen:4 slow:1 failed:1 row:1" },
    { "it is that sample which goes first",
      "slow_rate=0 window=4 Aa sa 2S Fa failed:1 seen:3 "
      "1S seen:4 failed:1 slow:1 1S seen:4 failed:0 slow:0" },
    { "and not the one after it",
      "slow_rate=0 window=4 1S Aa sa 2S Fa 1S failed:1 1S failed:0" },
    { "the oldest of a full window",
      "slow_rate=0 window=4 6S Aa sa 3S Fa seen:4 failed:1 slow:1 "
      "1S seen:4 failed:0 slow:0" },
    { "as many as a window after it: it is not there any more",
      "slow_rate=0 window=4 6S Aa sa 4S Fa seen:4 failed:0 slow:0 row:1 "
      "bad:1" },
    { "after many windows",
      "slow_rate=0 window=4 Aa sa 50S Fa seen:4 failed:0 row:1 bad:1" },
    { "after many windows its failure opens it all the same",
      "slow_rate=0 window=4 failures=1 Aa sa 50S Fa open reason:failures" },
    { "the other samples stay what they were",
      "slow_rate=0 1F Aa sa 1F Fa seen:3 failed:3 slow:1" },
    { "two slow ones, the later fails",
      "slow_rate=0 window=4 Aa sa Ab sb Fb 2S seen:4 failed:1 slow:2 "
      "1S failed:1 slow:1 1S failed:0 slow:0" },
    { "two slow ones, the earlier fails",
      "slow_rate=0 window=4 Aa sa Ab sb Fa 2S seen:4 failed:1 slow:2 "
      "1S failed:0 slow:1 1S failed:0 slow:0" },
    { "a window of one",
      "slow_rate=0 window=1 Aa sa Fa seen:1 failed:1" },
    { "a window of one, and another came",
      "slow_rate=0 window=1 Aa sa 1S Fa seen:1 failed:0 slow:0" },
    { "the widest window",
      "slow_rate=0 window=256 99S Aa sa 255S Fa seen:256 failed:1 slow:1 "
      "1S failed:0 slow:0" },
    { "the widest window and one more",
      "slow_rate=0 window=256 99S Aa sa 256S Fa seen:256 failed:0" },

    /* the window has another size by then */

    { "a smaller window, it is in",
      "slow_rate=0 window=8 Aa sa 2S window=4 Fa seen:3 failed:1 slow:1" },
    { "a smaller window, it is the last that is in",
      "slow_rate=0 window=8 Aa sa 3S window=4 Fa seen:4 failed:1 slow:1 "
      "1S failed:0 slow:0" },
    { "a smaller window, it is not",
      "slow_rate=0 window=8 Aa sa 4S window=4 Fa seen:4 failed:0 slow:0 "
      "row:1" },
    { "a smaller window out of a full ring",
      "slow_rate=0 window=8 11S Aa sa 3S window=4 Fa seen:4 failed:1 "
      "1S failed:0" },
    { "a larger window",
      "slow_rate=0 window=4 9S Aa sa 3S window=8 Fa seen:4 failed:1 "
      "4S seen:8 failed:1 1S seen:8 failed:0" },
    { "a larger window, it went before",
      "slow_rate=0 window=4 Aa sa 4S window=8 Fa seen:4 failed:0 slow:0" },
    { "two sizes later",
      "slow_rate=0 window=8 12S Aa sa 2S window=5 1S window=100 Fa seen:5 "
      "failed:1 slow:1" },
    { "a rate is one of the window as it is now",
      "window=8 6S Aa sa Ab sb closed seen:8 slow:2 window=4 Sa open "
      "reason:slow_rate seen:4 slow:2" },
    { "and not of what is out of it",
      "slow_rate=0 window=8 Aa sa Ab sb 4S slow_rate=30 window=4 Sa closed "
      "seen:4 slow:0" },

    /* what opens it, and why it says so */

    { "a row of failures is looked at first",
      "failures=1 error_rate=50 min_calls=2 Aa sa 1F open reason:failures" },
    { "then the failures' share",
      "error_rate=50 min_calls=2 Aa sa 1F open reason:error_rate" },
    { "then that of the slow",
      "error_rate=51 min_calls=2 Aa sa 1F open reason:slow_rate" },
    { "a slow one that fails may open it",
      "slow_rate=0 error_rate=50 min_calls=2 Aa sa 1S closed Fa open "
      "reason:error_rate seen:2" },
    { "a slow one that succeeds may open it",
      "Aa sa Ab sb closed min_calls=2 Sa open reason:slow_rate" },

    /* where it does nothing */

    { "slow in half-open",
      "failures=1 1F +1000 Aa half_open seen:1 sa changed:0 seen:1 slow:0 "
      "Sa half_open Ab sb Sb closed seen:0 slow:0" },
    { "slow in half-open, then failed: a failed probe, once",
      "failures=1 1F +1000 Aa sa Fa open reason:probe_failed bad:2 seen:1" },
    { "slow when open",
      "failures=1 Aa 1F open sa changed:0 seen:1 slow:0 xSa xFa" },
    { "slow of a probe when closed",
      "failures=1 1F +1000 Aa Ab Ac Sa Sb closed sc seen:0 slow:0 xFc" },
    { "slow of one admitted before it opened and closed",
      "failures=1 successes=1 Aa 1F +1000 1S closed sa seen:0 slow:0 xFa" },
    { "slow of one admitted before a reset",
      "Aa !reset sa seen:0 slow:0 xFa" },
    { "slow, then a reset",
      "Aa sa slow:1 !reset seen:0 slow:0 5S xFa seen:5 failed:0 slow:0" },
    { "slow in a state that was forced",
      "!closed Aa sa seen:1 slow:1 Fa seen:1 failed:1" },
    { "slow when it is switched off",
      "off=1 Aa sa seen:0 slow:0 off=0 Sa seen:1 slow:0" },
    { "slow when it is disabled",
      "!disabled Aa sa seen:0 slow:0 Fa seen:0 bad:0" },

    /* a slow one's report says how long it is open */

    { "the hint of a slow one",
      "hint=5000 min_calls=1 Aa sa open wait:5000" },
    { "the jitter of a slow one",
      "random=2147483648 min_calls=1 Aa sa open wait:1050" }
};


static const story_t  refusals[] = {

    { "refused when closed: neutral",
      "Aa Ra closed changed:0 seen:0 row:0 good:0 bad:0" },
    { "refused in a row of failures: the row goes on",
      "4F 9R row:4 seen:4 closed 1F open reason:failures" },
    { "refused dilutes no rate",
      "failures=0 min_calls=4 window=4 2F 9R 1S closed 1S open" },
    { "a refused probe has failed",
      "5F +1000 Aa Ra open reason:probe_failed changed:1 opened:2 bad:5 "
      "good:0 wait:2000" },
    { "a refused probe, after a good one",
      "5F +1000 Aa Ab Sa half_open Rb open good:1 bad:5" },
    { "a refused probe, and for how long",
      "5F +1000 hint=9000 Aa Ra open wait:9000 +8999 Ob +1 Ab half_open" },
    { "a refused probe's other ones are void",
      "5F +1000 Aa Ab Ra xSb open" },
    { "refused, of another generation",
      "Aa 5F +1000 Ab xRa half_open Sb" },
    { "refused after its lease",
      "5F +1000 Aa +100 xRa half_open" }
};


static const story_t  rests[] = {

    { "no attempt while it rests",
      "~500 Za closed rejected:1 wait:500 +499 Za wait:1 +1 wait:0 Aa "
      "rejected:2 Sa closed" },
    { "its rest is no failure",
      "4F ~10 +10 row:4 seen:4 closed bad:4 idle:1" },
    { "attempts that run end as ever",
      "Aa Ab ~500 Sa Fb good:1 bad:1 row:1" },
    { "a shorter wait changes nothing",
      "~500 ~200 wait:500 +400 ~50 wait:100 Za +100 Aa" },
    { "one as long changes nothing",
      "~500 +400 ~100 wait:100 +100 Aa" },
    { "a longer one does",
      "~500 ~501 wait:501 +400 ~102 wait:102 +101 Za +1 Aa" },
    { "a wait of nothing",
      "~0 Aa wait:0" },
    { "a wait of nothing after another",
      "~500 ~0 wait:500 Za" },
    { "the longest",
      "~4294967295 wait:4294967295 Za +4294967294 Za wait:1 +1 Aa" },
    { "asked again when it is over",
      "~500 +500 Aa ~500 Zb wait:500 +500 Ab" },

    { "no probe while it rests",
      "5F +1000 Aa half_open ~300 Zb wait:300 Na +299 Zb +1 Ab half_open" },
    { "a probe that is out ends as ever",
      "5F +1000 Aa Ab ~300 Sa half_open Sb closed" },
    { "good probes do not end a rest",
      "5F +1000 successes=1 Aa ~300 Sa closed wait:300 Zb +300 Ab" },
    { "when all probes are out, it is the later of both",
      "5F +1000 probes=1 Aa wait:100 ~30 wait:100 Zb +30 Pb wait:70 "
      "~200 wait:200 Zb +70 Zb wait:130 +130 Ab" },
    { "an open one that rests does not half-open",
      "5F ~3000 wait:3000 +1000 Za open +1999 Za open wait:1 +1 Aa "
      "half_open" },
    { "an open one that rests less long than that",
      "5F ~500 Za wait:1000 +500 Oa wait:500 +500 Aa half_open" },

    { "a reset ends it",
      "~500 Za !reset wait:0 Aa" },
    { "a reset of an open one ends it",
      "5F ~5000 !reset closed wait:0 Aa" },
    { "to be forced ends it",
      "~500 !closed wait:0 Aa !auto wait:0 Aa" },
    { "what is forced knows no rest",
      "!closed ~500 wait:0 Aa !disabled ~500 wait:0 Aa !auto Aa" },
    { "switched off, it does not look at it",
      "~500 off=1 wait:0 Aa off=0 wait:500 Zb" },
    { "time goes back",
      "-400 ~500 wait:500 +400 wait:500 Za +500 Aa" }
};


/* of 1000 ms, closed by one good probe just now */

static const story_t  ramps[] = {

    { "at first a tenth",
      "turn=429496729 Aa turn=429496730 Pa closed changed:0 rejected:1 "
      "wait:0" },
    { "at first, the least and the most",
      "turn=0 Aa turn=4294967295 Pa" },
    { "half-way 55 %",
      "+500 turn=2362232012 Aa turn=2362232013 Pa" },
    { "at the last ms 99.9 %",
      "+999 turn=4290672328 Aa turn=4290672329 Pa turn=4294967295 Pa" },
    { "then all",
      "+1000 turn=4294967295 Aa wait:0 +99999 Aa" },
    { "time goes back: as at first",
      "-700 turn=429496729 Aa turn=429496730 Pa" },
    { "another length",
      "ramp=2000 +1000 turn=2362232012 Aa turn=2362232013 Pa" },
    { "no length",
      "ramp=0 turn=4294967295 Aa" },
    { "the least length",
      "ramp=1 turn=4294967295 Pa +1 Aa" },
    { "the longest",
      "ramp=4294967295 turn=4290672329 +4294967294 Pa turn=4290672328 Aa "
      "turn=4294967295 +1 Aa" },
    { "its attempts count as ever",
      "turn=0 Aa Fa open" },
    { "a refusal is no outcome",
      "turn=4294967295 Pa Pb Pc rejected:3 seen:0 row:0 good:1" },
    { "a reset ends it",
      "!reset turn=4294967295 Aa" },
    { "to be forced ends it",
      "!open !auto turn=4294967295 Aa" },
    { "forced closed",
      "!closed turn=4294967295 Aa" },
    { "switched off",
      "off=1 turn=4294967295 Aa off=0 Pb" },
    { "a probe has no such turn to wait for",
      "turn=0 1F open +9999 turn=4294967295 Aa half_open Sa closed Pb" },
    { "tripped and closed again: from a tenth again",
      "!trip open +9999 1S closed turn=429496729 Aa turn=429496730 Pb" },
    { "rest comes first",
      "~5000 turn=0 Za wait:5000 +5000 turn=4294967295 Aa" }
};


static const story_t  never_ramps[] = {

    { "a new breaker has no ramp",
      "ramp=1000 turn=4294967295 Aa" },
    { "nor one that was never open",
      "ramp=1000 turn=4294967295 9S 4F 1S Aa" },
    { "nor one that an administrator closed",
      "ramp=1000 turn=4294967295 5F !reset closed Aa" },
    { "nor one that was half-open then",
      "ramp=1000 turn=4294967295 5F +1000 Aa !reset closed Ab" },
    { "nor an open one",
      "ramp=1000 turn=4294967295 5F Oa +1000 Aa half_open Ab Ac Pd" }
};


static const story_t  forces[] = {

    { "forced open refuses all",
      "!open forced:open closed idle:0 Oa rejected:1 wait:1000 "
      "+99999 Oa changed:0 wait:1000 rejected:2" },
    { "forced open: what was admitted is dropped",
      "Aa !open xSa xFa xNa good:0 bad:0 seen:0" },
    { "forced open is what it is though switched off",
      "off=1 !open Oa" },
    { "forced open, then not any more",
      "!open Oa !auto forced:none closed wait:0 Aa Sa good:1 seen:1" },
    { "forced open, then reset",
      "!open !reset forced:none closed Aa Sa good:1" },
    { "forced open knows no trip and no slow one",
      "Aa !open !trip sa opened:0 seen:0 !auto Ab" },

    { "forced closed admits all and counts",
      "!closed forced:closed idle:0 600F closed bad:600 row:600 seen:100 "
      "failed:100 opened:0 wait:0 rejected:0" },
    { "forced closed, and no rate opens it",
      "failures=0 min_calls=1 !closed 9F closed opened:0 seen:9" },
    { "forced closed, and no slow one opens it",
      "slow_rate=1 min_calls=1 !closed Aa sa closed Sa closed slow:1" },
    { "forced closed, and no trip",
      "!closed !trip changed:0 closed opened:0" },
    { "forced closed, then not any more: it begins anew",
      "!closed 600F !auto closed seen:0 failed:0 row:0 bad:600 4F closed "
      "1F open" },
    { "forced closed: what was admitted before is dropped",
      "Aa !closed xFa bad:0" },

    { "disabled admits all and counts nothing",
      "!disabled forced:disabled idle:0 600F 600S 9N 9R closed bad:0 good:0 "
      "row:0 seen:0 opened:0 wait:0 rejected:0 generation:1" },
    { "disabled: what was admitted before counts as little",
      "Aa !disabled Fa Sa bad:0 good:0 seen:0" },
    { "disabled, then not any more",
      "!disabled 600F !auto closed 4F closed 1F open" },
    { "disabled: nor does it open for others",
      "!disabled !trip changed:0 closed" },

    { "what was admitted in a forced state is dropped after it",
      "!closed Aa !auto xFa !disabled Ab !auto xFb !open !closed Ac !disabled "
      "!auto xSc good:0 bad:0" },
    { "or after one forced into another",
      "!disabled Aa !closed xFa seen:0" },

    { "forced open while open: that is a close by an administrator",
      "5F open !open closed changed:1 reason:admin closed:1 Oa" },
    { "forced closed while open",
      "5F open !closed closed changed:1 reason:admin closed:1 Aa Sa" },
    { "disabled while half-open",
      "5F +1000 Aa Ab half_open !disabled closed reason:admin closed:1 Fa "
      "bad:5 !auto xSb" },
    { "forced while closed is no change of state",
      "!open changed:0 closed:0 !closed changed:0 closed:0 !disabled "
      "changed:0 closed:0 !auto changed:0 closed:0 generation:4" },
    { "the same again is nothing",
      "!open generation:1 Oa !open changed:0 generation:1 rejected:1" },
    { "auto when it is that",
      "4F Aa !auto changed:0 generation:0 row:4 Fa open" },
    { "auto when it is that, open",
      "5F !auto open generation:1 Oa" },
    { "its totals stay",
      "3F 2S Aa !open Ob !auto bad:3 good:2 rejected:1 seen:0 row:0" }
};


static const story_t  resets[] = {

    { "reset of a closed one",
      "4F 2S 3F !reset closed changed:0 closed:0 seen:0 failed:0 row:0 bad:7 "
      "good:2 generation:1 idle:1 4F closed 1F open" },
    { "reset of a closed one drops what runs",
      "Aa !reset xSa xFa good:0 bad:0" },
    { "reset of an open one",
      "5F Oa !reset closed changed:1 reason:admin opened:1 closed:1 "
      "rejected:1 bad:5 seen:0 wait:0 Aa Sa good:1" },
    { "reset of a half-open one",
      "5F +1000 Aa Ab !reset closed changed:1 reason:admin closed:1 xSa xFb "
      "good:0 bad:5 seen:0 wait:0" },
    { "reset of slow ones",
      "Aa sa Ab sb slow:2 !reset slow:0 seen:0" },
    { "the first open time again",
      "failures=1 1F +1000 Aa Fa wait:2000 reopened:2 !reset reopened:0 "
      "1F wait:1000" },
    { "good probes of before are forgotten",
      "5F +1000 Aa Sa probes:1 !reset 5F +1000 Ab Sb half_open Ac Sc closed" },
    { "leases of before are forgotten",
      "probes=1 lease=99999 5F +1000 Aa Pb !reset 5F +1000 Ab half_open" },
    { "time goes back",
      "-500 5F !reset since:1000 closed" }
};


static const story_t  judgements[] = {

    { "a probe that is judged closes it",
      "Ja closed changed:1 reason:probes_succeeded good:1 seen:0" },
    { "its success is not counted again",
      "Ja Sa closed changed:0 good:1 bad:1 seen:0 row:0" },
    { "its failure is counted",
      "Ja Fa closed changed:0 good:1 bad:2 seen:1 failed:1 row:1" },
    { "its failure, of a call that failed before",
      "Ja fa bad:2 seen:1 failed:1 row:0" },
    { "its failure may open it",
      "Ja failures=1 Fa open reason:failures" },
    { "given up, it moves nothing",
      "Ja Na closed good:1 bad:1 seen:0 row:0" },
    { "refused, it moves nothing",
      "Ja Ra closed good:1 bad:1 seen:0 row:0" },
    { "its success ends no row of failures",
      "Ja 3F Sa row:3 closed 2F open reason:failures" },
    { "its success is no sample",
      "Ja error_rate=100 min_calls=2 failures=0 1F Sa 1F open" },
    { "it may be slow, then end well",
      "Ja sa seen:1 slow:1 Sa seen:1 slow:1 failed:0 good:1" },
    { "it may be slow, then fail",
      "Ja sa seen:1 slow:1 Fa seen:1 slow:1 failed:1 bad:2" },
    { "it may be slow and be the one that opens it",
      "Ja slow_rate=100 min_calls=1 sa open reason:slow_rate xFa" },

    { "while others are still out, its end is no news",
      "successes=2 Ja half_open good:1 probes:1 xFa xSa half_open bad:1 "
      "probes:1" },
    { "nor is it later",
      "successes=2 Ja Ab Sb closed xFa xSa seen:0 bad:1" },
    { "its slot is free",
      "successes=2 probes=1 Ja Ab half_open Pc" },
    { "others fail: its end is no news",
      "successes=2 Ab Ja Fb open xFa xSa bad:2" },
    { "opened again since",
      "Ja !trip open xFa xSa" },
    { "opened and half-open since",
      "Ja !trip +9999 Ab half_open xFa xSa half_open" },
    { "reset since",
      "Ja !reset xFa xSa seen:0" },
    { "forced since",
      "Ja !closed xFa xSa seen:0" },
    { "a lease that was over: it is not judged",
      "+100 xJa half_open xFa xSa good:0" },
    { "a second judgement",
      "successes=2 Ja xJa half_open probes:1" }
};


static const story_t  trips_now[] = {

    { "opened for a reason of the caller's",
      "!trip open changed:1 reason:tenants opened:1 reopened:1 generation:1 "
      "wait:1000 Oa seen:0 row:0" },
    { "what runs is dropped",
      "Aa !trip xSa xFa good:0 bad:0" },
    { "then half-open and closed as ever",
      "!trip +1000 Aa half_open Sa Ab Sb closed" },
    { "an open one",
      "5F !trip changed:0 open opened:1 generation:1 reason:failures" },
    { "a half-open one",
      "5F +1000 Aa !trip changed:0 half_open opened:1 Sa" },
    { "a forced one",
      "!open !trip changed:0 !closed !trip changed:0 !disabled !trip "
      "changed:0 opened:0" },
    { "one that is switched off",
      "off=1 !trip changed:0 closed opened:0 off=0 !trip open" },
    { "for how long",
      "hint=7000 !trip wait:7000 +6999 Oa +1 Aa half_open" },
    { "with jitter",
      "random=2147483648 !trip wait:1050" },
    { "time goes back",
      "-500 !trip since:1000 +500 wait:1000" }
};


static const story_t  offs[] = {

    { "off: admits all and counts totals",
      "off=1 600F closed bad:600 row:0 seen:0 opened:0 600S good:600 9N 9R" },
    { "off while open",
      "5F open off=1 wait:0 Aa Fa open bad:6 off=0 wait:1000 Ob" },
    { "off while half-open: no probe",
      "5F +1000 Aa half_open off=1 Ab Ac Ad Ae Fb Fc half_open off=0 "
      "Sa half_open probes:1" },
    { "off does not half-open",
      "5F off=1 +9999 Aa open Sa open generation:1" },
    { "off while disabled: that counts",
      "off=1 !disabled Aa Fa bad:0" }
};


/*
 * As resilience4j says of its circuit breaker (count-based window; its
 * documentation and what its tests state).  Two things are others here: the
 * first failed probe opens, where there the probes' rates decide, and an
 * outcome of before a change of state is dropped, where there it is counted.
 */

static const story_t  resilience4j[] = {

    { "no rate below the minimum number of calls",
      "min_calls=5 4F closed 1F open reason:error_rate" },
    { "a failure rate equal to the threshold opens",
      "min_calls=4 2S 1F closed 1F open reason:error_rate" },
    { "one below it does not",
      "min_calls=4 error_rate=51 2S 2F closed seen:4 failed:2" },
    { "the rates are looked at after a success, too",
      "min_calls=4 2F 1S closed 1S open reason:error_rate" },
    { "the window is of the last calls",
      "window=4 min_calls=4 4S 1F closed 1F open" },
    { "a failure that left the window is forgotten",
      "window=4 min_calls=4 1F 4S 1F closed seen:4 failed:1" },
    { "the minimum is no more than the window",
      "window=4 min_calls=100 3F closed 1F open" },
    { "a slow call rate equal to the threshold opens",
      "error_rate=0 slow_rate=50 min_calls=4 2S Aa sa closed Ab sb open "
      "reason:slow_rate" },
    { "a slow call that fails is slow and failed, and one call",
      "min_calls=9 Aa sa Fa seen:1 slow:1 failed:1" },
    { "when open, calls are not permitted, and counted as that",
      "min_calls=4 4F open Oa Ob Oc rejected:3 seen:4 failed:4" },
    { "half-open not before the wait is over, and by a call",
      "min_calls=4 4F open +999 Oa open +1 open Aa half_open "
      "reason:open_elapsed" },
    { "half-open however late that call is",
      "min_calls=4 4F +3600000 open Aa half_open" },
    { "so many calls are permitted when half-open, and no more",
      "min_calls=4 probes=3 4F +1000 Aa Ab Ac Pd Pe rejected:2" },
    { "all of them good: closed, and with an empty window",
      "min_calls=4 probes=3 successes=3 4F +1000 Aa Ab Ac Sa Sb half_open Sc "
      "closed seen:0 row:0" },
    { "an ignored outcome gives the permission back",
      "min_calls=4 probes=1 4F +1000 Aa Pb Na half_open Ab Pc Nb Ac" },
    { "an ignored outcome is no call",
      "min_calls=5 4F 50N closed seen:4 failed:4 1F open" },
    { "the waits grow by the function of the openings",
      "min_calls=1 open=500 open_max=9000 1F wait:500 +500 1F wait:1000 "
      "+1000 1F wait:2000 +2000 1F wait:4000" },
    { "and are the first again after it was closed",
      "min_calls=1 open=500 successes=1 1F +500 1F wait:1000 +1000 1S closed "
      "1F wait:500" },
    { "forced open: no call is permitted, ever",
      "!open Oa +3600000 Oa rejected:2" },
    { "disabled: all are permitted, none is recorded",
      "min_calls=1 !disabled 50F closed seen:0 bad:0" },
    { "metrics only: all are permitted and recorded, none opens it",
      "min_calls=1 !closed 50F closed seen:10 failed:10 bad:50" },
    { "to the state that it is in: no event",
      "!open !open changed:0 generation:1 !reset !disabled !disabled "
      "changed:0 generation:3" },
    { "reset: closed, and all of its window forgotten",
      "min_calls=4 3F !reset closed seen:0 3F closed seen:3 1F open !reset "
      "closed seen:0" }
};


/*
 * As gobreaker says of itself (version 2, its README and what its tests
 * state); its default opens after more than five failures in a row.  Two
 * things are others here: the open times grow, unless open_max says no, and
 * a half-open permit that is not given back ends by itself.
 */

static const story_t  gobreaker[] = {

    { "five failures in a row are not more than five",
      "5F closed row:5 1F open reason:failures" },
    { "a success between them",
      "5F 1S row:0 5F closed 1F open" },
    { "open until the timeout",
      "6F +59999 Oa open +1 Aa half_open" },
    { "a failure when half-open opens it, for as long again",
      "6F +60000 Aa Fa open reason:probe_failed wait:60000 +59999 Ob +1 Ab "
      "half_open" },
    { "MaxRequests counts those that are outstanding",
      "6F +60000 Aa Ab Ac Pd Pe half_open rejected:2" },
    { "MaxRequests of one",
      "probes=1 successes=1 6F +60000 Aa Pb Sa closed Ab Ac Ad" },
    { "as many consecutive successes close it",
      "6F +60000 Aa Sa half_open Ab Sb half_open Ac Sc closed "
      "reason:probes_succeeded row:0 seen:0" },
    { "also when they end in another order",
      "6F +60000 Aa Ab Ac Sc Sa half_open Sb closed" },
    { "two successes and a failure do not",
      "6F +60000 Aa Ab Ac Sc Sa Fb open" },
    { "and are not kept for the next half-open",
      "6F +60000 Aa Ab Ac Sc Sa Fb +60000 Aa Sa half_open Ab Sb half_open "
      "Ac Sc closed" },
    { "a success of a closed generation when open",
      "Aa 6F xSa open good:0" },
    { "a success of a closed generation when half-open",
      "Aa 6F +60000 Ab Ac Sb Sc xSa half_open good:2" },
    { "a failure of a closed generation when half-open",
      "Aa 6F +60000 Ab xFa half_open bad:6" },
    { "a failure of a half-open generation when closed",
      "probes=4 6F +60000 Aa Ab Ac Ad Sa Sb Sc closed xFd row:0 bad:6" },
    { "a success of a half-open generation in the next one",
      "6F +60000 Aa Ab Fa +60000 Ac xSb half_open probes:0" },
    { "a failure of a closed generation when closed again",
      "successes=1 Aa 6F +60000 1S closed xFa row:0" },
    { "an excluded error moves nothing and frees its place",
      "probes=1 6F +60000 Aa Na half_open Ab Pc" },
    { "an excluded error is none of a row",
      "5F 9N row:5 closed 1F open" }
};


static void
test_all_stories(void)
{
    test_stories(slow_rates, "failures=0 error_rate=0 slow_rate=50 window=10 "
                 "min_calls=4");
    test_stories(refusals, "");
    test_stories(rests, "");
    test_stories(ramps, "ramp=1000 failures=1 successes=1 1F +1000 1S closed");
    test_stories(never_ramps, "");
    test_stories(forces, "");
    test_stories(resets, "");
    test_stories(judgements, "failures=1 successes=1 1F +1000 Aa half_open "
                 "failures=5");
    test_stories(trips_now, "");
    test_stories(offs, "");
    test_stories(resilience4j, "failures=0 error_rate=50 window=10 "
                 "min_calls=10 open_max=9000");
    test_stories(gobreaker, "failures=6 error_rate=0 open=60000 "
                 "open_max=60000 probes=3 successes=3 lease=60000");
}


typedef struct {
    uint32_t  open;
    uint32_t  open_max;
    uint32_t  hint;
    uint32_t  random;
    uint64_t  time;
} hint_t;


static const hint_t  hints[] = {
    { 1000, 5000, 0, 0, 1000 },
    { 1000, 5000, 1, 0, 1000 },
    { 1000, 5000, 999, 0, 1000 },
    { 1000, 5000, 1000, 0, 1000 },
    { 1000, 5000, 1001, 0, 1001 },
    { 1000, 5000, 5000, 0, 5000 },
    { 1000, 5000, 60000, 0, 60000 },
    { 1000, 5000, 60000, 0x80000000, 63000 },
    { 1000, 5000, 60000, MAX, 65999 },
    { 1000, 5000, 999, MAX, 1099 },
    { 0, 0, 500, 0, 500 },
    { 0, 0, 0, MAX, 0 },
    { 1, 1, MAX, 0, MAX },
    { 1, 1, MAX, MAX, 4724464024 },
    { MAX, MAX, MAX, MAX, 4724464024 },
    { MAX, MAX, 1, 0, MAX }
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


/* an open time is never shorter than what was said, and jitter only adds */

static void
test_hints(void)
{
    int                 i, how, bad;
    size_t              k;
    uint64_t            least, time;
    uint32_t            hint, random;
    const hint_t       *row;
    res_permit_t        permit;
    res_breaker_t       b;
    res_breaker_conf_t  conf;

    conf = usual;
    conf.failures = 1;

    for (k = 0; k < sizeof(hints) / sizeof(hints[0]); k++) {
        row = &hints[k];

        conf.open = row->open;
        conf.open_max = row->open_max;

        res_breaker_init(&b, 1000);
        (void) admit(&b, &conf, 1000, 100, &permit);
        (void) tell(&b, &conf, 1000, &permit, FAILURE, 1, row->hint,
                    row->random);

        is_int(b.until - 1000, row->time, "open %u, hint %u, random %u",
               row->open, row->hint, row->random);
    }

    /* whatever opens it */

    seed = 7;

    for (how = 0; how < 5; how++) {
        bad = 0;

        for (i = 0; i < 20000; i++) {

            hint = number(5) ? number(20000) : number(MAX);
            random = number(9) ? number(MAX) : MAX;

            conf = usual;
            conf.failures = 1;
            conf.slow_rate = 1;
            conf.min_calls = 1;
            conf.open = number(10000);
            conf.open_max = conf.open + number(10000);

            res_breaker_init(&b, 0);

            least = conf.open;

            if (how > 2) {
                trip(&b, &conf, 0);

                least = 2 * (uint64_t) conf.open;
                least = least < conf.open_max ? least : conf.open_max;
            }

            (void) admit(&b, &conf, b.until, 100, &permit);

            switch (how) {

            case 0:
                (void) tell(&b, &conf, 20000, &permit, FAILURE, 1, hint,
                            random);
                break;

            case 1:
                slow(&b, &conf, 20000, &permit, hint, random);
                break;

            case 2:
                trip_now(&b, &conf, 20000, hint, random);
                break;

            default:
                (void) tell(&b, &conf, b.since, &permit,
                            how == 3 ? FAILURE : REFUSED, 1, hint, random);
                break;
            }

            least = least < hint ? hint : least;
            time = b.until - b.since;

            bad += (b.state != RES_OPEN || time < least
                    || time > least + least / 10);
        }

        is_int(bad, 0, "opened in way %d: long enough, and not too long",
               how);
    }

    /* a hint is for one opening */

    conf = usual;
    conf.failures = 1;

    res_breaker_init(&b, 0);
    (void) admit(&b, &conf, 0, 100, &permit);
    (void) tell(&b, &conf, 0, &permit, FAILURE, 1, 90000, 0);
    is_int(b.until, 90000, "as long as the hint");
    (void) attempt(&b, &conf, 90000, FAILURE);
    is_int(b.until, 92000, "then as long as a second opening is");

    /* and not for one that does not open */

    res_breaker_init(&b, 0);
    (void) admit(&b, &usual, 0, 100, &permit);
    (void) tell(&b, &usual, 0, &permit, FAILURE, 1, 90000, 0);
    is_int(res_breaker_wait(&b, &usual, 0), 0, "closed with a hint");
    trip(&b, &usual, 1);
    is_int(b.until, 1001, "then opened without");
}


/* of many evenly spread turns, as many as should be are admitted */

static void
test_ramp_shares(void)
{
    int                 n, yes;
    uint64_t            elapsed;
    res_permit_t        permit;
    res_breaker_t       b, before;
    res_breaker_conf_t  conf;

    conf = usual;
    conf.failures = 1;
    conf.successes = 1;
    conf.ramp = 1000;

    res_breaker_init(&b, 0);
    trip(&b, &conf, 1000);
    (void) attempt(&b, &conf, 2000, SUCCESS);
    is_int(b.state, RES_CLOSED, "closed by a probe");

    for (elapsed = 0; elapsed <= 1100; elapsed += 50) {
        yes = 0;
        before = b;

        for (n = 0; n < 10000; n++) {
            yes += (res_breaker_admit(&b, &conf, 2000 + elapsed, 100,
                                      (uint32_t) n * 429496u, &permit, &last)
                    == RES_ADMIT_YES);
        }

        ok(yes >= (elapsed < 1000 ? 999 + 9 * (int) elapsed : 10000)
           && yes <= (elapsed < 1000 ? 1001 + 9 * (int) elapsed : 10000),
           "after %d ms of the ramp %d of 10000", (int) elapsed, yes);

        before.rejected += 10000 - (uint64_t) yes;
        ok(memcmp(&b, &before, sizeof(res_breaker_t)) == 0,
           "the refused are counted, that is all");
    }
}


/* what a permit may be of, and what may become of its generation */

typedef enum {
    PERMIT_CLOSED = 0,
    PERMIT_PROBE,
    PERMIT_JUDGED,
    PERMIT_FORCED,
    PERMITS
} permit_e;


static const char  *permit_names[] = { "closed", "probe", "judged", "forced" };


static void
prepare_permit(permit_e what, res_breaker_t *b, res_permit_t *permit)
{
    res_breaker_conf_t  conf;

    conf = usual;
    conf.successes = 1;

    res_breaker_init(b, 0);

    switch (what) {

    case PERMIT_CLOSED:
        (void) admit(b, &conf, 2000, 100, permit);
        break;

    case PERMIT_PROBE:
        *permit = half_open(b, &conf);
        break;

    case PERMIT_JUDGED:
        *permit = half_open(b, &conf);
        (void) judge(b, &conf, 2000, permit);
        break;

    default: /* PERMIT_FORCED */
        force(b, RES_FORCED_CLOSED, 2000);
        (void) admit(b, &conf, 2000, 100, permit);
        break;
    }
}


typedef struct {
    const char  *name;
    const char  *words;             /* of a story, at the time 2000 */
} change_t;


static const change_t  changes[] = {
    { "forced open", "!auto !open" },
    { "forced closed", "!auto !closed" },
    { "reset", "!reset" },
    { "reset twice", "!reset !reset" },
    { "forced and back", "!auto !closed !auto" },
    { "disabled and back", "!disabled !auto" },
    { "opened", "!auto 9F !trip open" },
    { "opened and half-open", "!auto 9F !trip +9999 Aa half_open" },
    { "opened and closed", "!auto 9F !trip +9999 Aa Sa Ab Sb closed" },
    { "opened and reset", "!auto 9F !trip !reset" }
};


static void
test_changes(void)
{
    char           words[128], *word, *save;
    size_t         i;
    play_t         play;
    permit_e       what;
    res_permit_t   permit;
    res_result_e   result;
    res_breaker_t  before;

    for (i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        for (what = 0; what < PERMITS; what++) {

            memset(&play, 0, sizeof(play_t));

            play.conf = usual;
            play.conf.failures = 0;
            play.now = 2000;
            play.lease = 100;

            prepare_permit(what, &play.b, &permit);

            is_int(play.b.generation == permit.generation, 1,
                   "%s, then %s: first of the generation",
                   permit_names[what], changes[i].name);

            (void) snprintf(words, sizeof(words), "%s", changes[i].words);

            for (word = strtok_r(words, " ", &save); word;
                 word = strtok_r(NULL, " ", &save))
            {
                /* "9F" and "!trip" are for one that is closed, and no more */

                (void) play_word(&play, word);
            }

            before = play.b;

            for (result = SUCCESS; result <= REFUSED; result++) {
                is_int(record(&play.b, &play.conf, play.now, &permit, result),
                       0, "%s, then %s: result %d is dropped",
                       permit_names[what], changes[i].name, result);
                is_unchanged("dropped");
            }

            slow(&play.b, &play.conf, play.now, &permit, 0, 0);
            is_unchanged("slow");
            is_int(permit.slow, 0, "not taken for slow");

            ok(memcmp(&play.b, &before, sizeof(res_breaker_t)) == 0,
               "%s, then %s: no trace", permit_names[what], changes[i].name);
        }
    }
}


/* from each state that may be forced to each other one */

static void
test_forced(void)
{
    int            state, from, to;
    play_t         play;
    res_breaker_t  before, *b;

    for (state = RES_CLOSED; state <= RES_HALF_OPEN; state++) {
        for (from = RES_FORCED_NONE; from <= RES_FORCED_DISABLED; from++) {
            for (to = RES_FORCED_NONE; to <= RES_FORCED_DISABLED + 1; to++) {

                memset(&play, 0, sizeof(play_t));

                play.conf = usual;
                b = &play.b;

                (void) half_open(b, &usual);

                if (state == RES_CLOSED) {
                    (void) attempt(b, &usual, 2001, SUCCESS);
                    (void) attempt(b, &usual, 2001, SUCCESS);
                    (void) attempt(b, &usual, 2001, FAILURE);

                } else if (state == RES_OPEN) {
                    (void) attempt(b, &usual, 2001, FAILURE);
                }

                is_int(b->state, state, "state %d", state);

                if (from != RES_FORCED_NONE) {

                    force(b, from, 2002);

                    ok(b->state == RES_CLOSED && b->forced == from
                       && last.changed == (state != RES_CLOSED)
                       && !res_breaker_idle(b)
                       && b->seen == 0 && b->consecutive == 0,
                       "state %d, forced %d", state, from);
                }

                before = *b;

                if (to > RES_FORCED_DISABLED) {
                    reset(b, 2003);

                } else {
                    force(b, to, 2003);
                }

                if (from == to) {
                    is_unchanged("the same again");
                    ok(memcmp(b, &before, sizeof(res_breaker_t)) == 0,
                       "state %d, forced %d again: no trace", state, from);
                    continue;
                }

                ok(b->state == RES_CLOSED
                   && b->forced == (to > RES_FORCED_DISABLED ? 0 : to)
                   && last.changed == (before.state != RES_CLOSED)
                   && b->generation == before.generation + 1
                   && b->since == 2003 && b->seen == 0 && b->consecutive == 0
                   && b->reopened == 0 && b->ramping == 0 && b->rest == 0
                   && b->closed == before.closed
                                   + (before.state != RES_CLOSED)
                   && b->opened == before.opened
                   && b->total_successes == before.total_successes
                   && b->total_failures == before.total_failures
                   && b->rejected == before.rejected
                   && res_breaker_idle(b)
                      == (to == 0 || to > RES_FORCED_DISABLED),
                   "state %d, forced %d, then %d", state, from, to);
            }
        }
    }
}


/*
 * The model: what a breaker is, said the simple way.  Time is absolute, every
 * permit is known by its holder, outcomes are a list and each one has a
 * number.
 */

#define HOLDERS  40


typedef struct {
    int           out;
    res_permit_t  permit;
    int           epoch;            /* of the model */
    int           slot;
    int           serial;           /* of this giving of the slot */
    uint64_t      sample;           /* of the list, when slow */
    int           judged;
} holder_t;


typedef struct {
    uint64_t      number;
    int           failed;
    int           slow;
} sample_t;


typedef struct {
    int           state;
    int           forced;
    int           epoch;
    uint64_t      since;
    uint64_t      until;
    uint64_t      rest;
    int           probed;           /* closed by its probes */

    sample_t      list[RES_BREAKER_WINDOW + 1];
    int           listed;
    uint64_t      samples;
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


/* what a step is about */

typedef struct {
    const res_breaker_conf_t  *conf;
    uint64_t                   now;
    res_report_t               report;
} step_t;


static uint64_t
model_now(const model_t *m, uint64_t now)
{
    return (now < m->since) ? m->since : now;
}


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
model_open(model_t *m, const step_t *s, int reason)
{
    int       i;
    uint64_t  time, cap, now;

    now = model_now(m, s->now);
    cap = s->conf->open_max;
    cap = (cap < s->conf->open) ? s->conf->open : cap;
    time = s->conf->open;

    for (i = 0; i < m->openings && time < cap; i++) {
        time = time + time;
    }

    time = (time > cap) ? cap : time;
    time = (time < s->report.hint) ? s->report.hint : time;

    m->until = now + time + time * s->report.random / 42949672960u;
    m->openings++;
    m->opened++;

    model_change(m, RES_OPEN, reason, now);
}


static void
model_close(model_t *m, int reason, uint64_t now)
{
    m->listed = 0;
    m->row = 0;
    m->openings = 0;
    m->probed = (reason == RES_REASON_PROBES_SUCCEEDED);

    model_change(m, RES_CLOSED, reason, now);
}


static int
model_probes(const res_breaker_conf_t *conf)
{
    return conf->probes == 0 ? 1 : (conf->probes > 16 ? 16 : conf->probes);
}


/* 1: refused, 0: not, -1: so near to the share that it may be either */

static int
model_ramps(const model_t *m, const step_t *s)
{
    double  share, turn;

    if (!m->probed || model_now(m, s->now) - m->since >= s->conf->ramp) {
        return 0;
    }

    share = 0.1 + 0.9 * (double) (model_now(m, s->now) - m->since)
                  / s->conf->ramp;
    turn = s->report.random / 4294967296.0;

    return turn > share ? 1 : (turn < share - 0.001 ? 0 : -1);
}


static res_admit_e
model_admit(model_t *m, const step_t *s, uint64_t lease, holder_t *h, int rc)
{
    int       i, ramps;
    uint64_t  now;

    m->changed = 0;

    h->epoch = m->epoch;
    h->slot = -1;
    h->sample = 0;
    h->judged = 0;

    if (m->forced == RES_FORCED_OPEN) {
        m->rejected++;
        return RES_ADMIT_OPEN;
    }

    if (s->conf->off || m->forced != RES_FORCED_NONE) {
        return RES_ADMIT_YES;
    }

    now = model_now(m, s->now);

    if (now < m->rest) {
        m->rejected++;
        return RES_ADMIT_RESTING;
    }

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
        ramps = model_ramps(m, s);

        if (ramps == -1) {
            ramps = (rc == RES_ADMIT_NO_PERMIT);
        }

        m->rejected += (uint64_t) ramps;

        return ramps ? RES_ADMIT_NO_PERMIT : RES_ADMIT_YES;
    }

    for (i = 0; i < model_probes(s->conf); i++) {
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


/* as many as the window has now, the newest */

static void
model_fit(model_t *m, const step_t *s)
{
    int  window;

    window = clamp(s->conf->window);

    if (m->listed > window) {
        memmove(m->list, m->list + m->listed - window,
                (size_t) window * sizeof(sample_t));
        m->listed = window;
    }
}


static uint64_t
model_list(model_t *m, const step_t *s, int failed, int slow)
{
    sample_t  *sample;

    sample = &m->list[m->listed++];

    sample->number = ++m->samples;
    sample->failed = failed;
    sample->slow = slow;

    model_fit(m, s);

    return m->samples;
}


static int
model_failed(const model_t *m)
{
    int  i, n;

    for (i = 0, n = 0; i < m->listed; i++) {
        n += m->list[i].failed;
    }

    return n;
}


static int
model_slowed(const model_t *m)
{
    int  i, n;

    for (i = 0, n = 0; i < m->listed; i++) {
        n += m->list[i].slow;
    }

    return n;
}


static void
model_check(model_t *m, const step_t *s)
{
    int       window;
    uint64_t  least;

    window = clamp(s->conf->window);

    least = s->conf->min_calls == 0 ? 1 : s->conf->min_calls;
    least = least > (uint64_t) window ? (uint64_t) window : least;

    if (m->forced != RES_FORCED_NONE) {
        return;
    }

    if (s->conf->failures > 0 && m->row >= s->conf->failures) {
        model_open(m, s, RES_REASON_FAILURES);

    } else if (m->listed == 0 || m->listed < (int) least) {
        return;

    } else if (s->conf->error_rate > 0
               && model_failed(m) * 100.0 / m->listed
                  >= s->conf->error_rate - 1e-9)
    {
        model_open(m, s, RES_REASON_ERROR_RATE);

    } else if (s->conf->slow_rate > 0
               && model_slowed(m) * 100.0 / m->listed
                  >= s->conf->slow_rate - 1e-9)
    {
        model_open(m, s, RES_REASON_SLOW_RATE);
    }
}


static int
model_closed_record(model_t *m, const step_t *s, const holder_t *h)
{
    int  i, failed;

    if (s->report.result == NEUTRAL || s->report.result == REFUSED) {
        return 1;
    }

    failed = (s->report.result == FAILURE);

    if (!failed && h->judged) {
        return 1;
    }

    if (failed) {
        m->failures++;
        m->row += (s->report.first != 0);

    } else {
        m->successes++;
        m->row = 0;
    }

    model_fit(m, s);

    if (h->sample == 0) {
        (void) model_list(m, s, failed, 0);
    }

    for (i = 0; i < m->listed; i++) {
        if (h->sample != 0 && m->list[i].number == h->sample && failed) {
            m->list[i].failed = 1;
        }
    }

    model_check(m, s);

    return 1;
}


static int
model_record(model_t *m, const step_t *s, const holder_t *h)
{
    uint64_t      now, needed;
    res_result_e  result;

    m->changed = 0;
    result = s->report.result;

    if (m->forced == RES_FORCED_DISABLED) {
        return 1;
    }

    if (s->conf->off) {
        m->successes += (result == SUCCESS);
        m->failures += (result == FAILURE);
        return 1;
    }

    now = model_now(m, s->now);

    if (h->epoch != m->epoch || m->state == RES_OPEN) {
        return 0;
    }

    if (m->state == RES_CLOSED) {
        return model_closed_record(m, s, h);
    }

    if (h->slot == -1 || m->ends[h->slot] == 0
        || m->serials[h->slot] != h->serial || now >= m->ends[h->slot])
    {
        return 0;
    }

    m->ends[h->slot] = 0;

    if (result == FAILURE || result == REFUSED) {
        m->failures += (result == FAILURE);
        model_open(m, s, RES_REASON_PROBE_FAILED);
        return 1;
    }

    if (result == SUCCESS) {
        m->successes++;
        m->good++;

        needed = s->conf->successes ? s->conf->successes : 1;

        if ((uint64_t) m->good >= needed) {
            m->closed++;
            model_close(m, RES_REASON_PROBES_SUCCEEDED, now);
        }
    }

    return 1;
}


static int
model_judge(model_t *m, const step_t *s, holder_t *h)
{
    if (!model_record(m, s, h)) {
        return 0;
    }

    h->judged = 1;
    h->slot = -1;
    h->epoch = (m->state == RES_CLOSED) ? m->epoch : m->epoch - 1;

    return 1;
}


static void
model_slow(model_t *m, const step_t *s, holder_t *h)
{
    m->changed = 0;

    if (s->conf->off || m->forced == RES_FORCED_DISABLED || h->sample != 0
        || h->epoch != m->epoch || m->state != RES_CLOSED)
    {
        return;
    }

    h->sample = model_list(m, s, 0, 1);

    model_check(m, s);
}


static void
model_reset(model_t *m, uint64_t now)
{
    m->changed = 0;
    m->forced = RES_FORCED_NONE;
    m->rest = 0;

    if (m->state != RES_CLOSED) {
        m->closed++;
        model_close(m, RES_REASON_ADMIN, model_now(m, now));
        return;
    }

    model_close(m, RES_REASON_ADMIN, model_now(m, now));
    m->changed = 0;
}


static void
model_force(model_t *m, int forced, uint64_t now)
{
    m->changed = 0;

    if (m->forced != forced) {
        model_reset(m, now);
        m->forced = forced;
    }
}


static void
model_rest(model_t *m, uint64_t now, uint32_t hint)
{
    m->changed = 0;

    if (model_now(m, now) + hint > m->rest) {
        m->rest = model_now(m, now) + hint;
    }
}


static uint64_t
model_wait(const model_t *m, const res_breaker_conf_t *conf, uint64_t now)
{
    int       i;
    uint64_t  first, least;

    if (m->forced == RES_FORCED_OPEN) {
        return conf->open;
    }

    if (conf->off || m->forced != RES_FORCED_NONE) {
        return 0;
    }

    now = model_now(m, now);
    first = (m->rest > now) ? m->rest : now;

    if (m->state == RES_OPEN) {
        first = (m->until > first) ? m->until : first;
    }

    if (m->state == RES_HALF_OPEN) {
        least = UINT64_MAX;

        for (i = 0; i < model_probes(conf); i++) {
            least = (m->ends[i] < least) ? m->ends[i] : least;
        }

        first = (least > first) ? least : first;
    }

    return first - now;
}


/* NULL when the breaker is what the model says */

static const char *
model_differs(const model_t *m, const res_breaker_t *b)
{
    int  openings;

    openings = (m->openings < 255) ? m->openings : 255;

    if (b->state != m->state || b->forced != m->forced) {
        return "state";
    }

    if (b->generation != (uint32_t) m->epoch) {
        return "generation";
    }

    if (b->since != m->since || b->rest != m->rest
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
        || res_breaker_failed(b) != (uint32_t) model_failed(m)
        || res_breaker_slowed(b) != (uint32_t) model_slowed(m))
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


static void
random_conf(res_breaker_conf_t *conf)
{
    static const uint32_t  windows[] = {
        0, 1, 2, 7, 10, 63, 64, 65, 100, 128, 255, 256, 257, 9999
    };

    conf->failures = number(3) ? number(8) : 0;
    conf->error_rate = number(3) ? 1 + number(100) : 0;
    conf->slow_rate = number(3) ? 1 + number(100) : 0;
    conf->window = windows[number(14)];
    conf->min_calls = number(2) ? number(20) : number(300);
    conf->open = number(200);
    conf->open_max = number(2000);
    conf->probes = number(19);
    conf->successes = number(6);
    conf->ramp = number(2) ? number(500) : 0;
    conf->off = (number(12) == 0);
}


typedef enum {
    DID_ADMIT = 0,
    DID_REFUSE,
    DID_WAIT,
    DID_RAMP,
    DID_RECORD,
    DID_DROP,
    DID_SLOW,
    DID_JUDGE,
    DID_REST,
    DID_FORCE,
    DID_RESET,
    DID_TRIP,
    DID
} did_e;


static const char  *did_names[] = {
    "admitted", "refused", "refused for its rest", "refused for its ramp",
    "recorded", "dropped", "slow", "judged", "told to rest", "forced",
    "reset", "tripped"
};


/* what is said of all attempts; 0: nothing */

static int
model_event(model_t *m, res_breaker_t *b, const step_t *s, int *did)
{
    uint32_t      hint;
    res_forced_e  forced;

    switch (number(1000)) {

    case 0:
    case 1:
        hint = number(3) ? number(100) : number(2000);

        memset(&last, 0, sizeof(res_transition_t));
        res_breaker_rest(b, s->now, hint);
        model_rest(m, s->now, hint);

        did[DID_REST]++;
        return 1;

    case 2:
    case 3:
        forced = number(2) ? RES_FORCED_NONE : 1 + number(3);

        force(b, forced, s->now);
        model_force(m, forced, s->now);

        did[DID_FORCE] += (forced != RES_FORCED_NONE);
        return 1;

    case 4:
        reset(b, s->now);
        model_reset(m, s->now);

        did[DID_RESET]++;
        return 1;

    case 5:
    case 6:
    case 7:
    case 8:
        m->changed = 0;
        memset(&last, 0xee, sizeof(res_transition_t));

        if (!s->conf->off && m->forced == RES_FORCED_NONE
            && m->state == RES_CLOSED)
        {
            model_open(m, s, RES_REASON_TENANTS);
            did[DID_TRIP]++;
        }

        res_breaker_trip(b, s->conf, s->now, &s->report, RES_REASON_TENANTS,
                         &last);
        return 1;

    default:
        return 0;
    }
}


/* something that happens to an attempt that runs; what differs, or NULL */

static const char *
model_goes_on(model_t *m, res_breaker_t *b, const step_t *s, holder_t *h,
    int *did)
{
    int            rc;
    uint64_t       samples;
    res_permit_t  *permit;

    permit = &h->permit;

    switch (number(10)) {

    case 0:
    case 1:
        samples = m->samples;

        slow(b, s->conf, s->now, permit, s->report.hint, s->report.random);
        model_slow(m, s, h);

        did[DID_SLOW] += (m->samples != samples);

        return (permit->slow != 0) == (h->sample != 0) ? NULL : "slow";

    case 2:
        if (permit->slot < 0) {
            break;
        }

        rc = judge(b, s->conf, s->now, permit);

        /* it is a plain success */

        ((step_t *) s)->report.result = SUCCESS;
        ((step_t *) s)->report.first = 1;
        ((step_t *) s)->report.hint = 0;
        ((step_t *) s)->report.random = 0;

        did[DID_JUDGE] += rc;

        return rc == model_judge(m, s, h) ? NULL : "judgement";
    }

    h->out = 0;

    rc = tell(b, s->conf, s->now, permit, s->report.result, s->report.first,
              s->report.hint, s->report.random);

    did[rc ? DID_RECORD : DID_DROP]++;

    return rc == model_record(m, s, h) ? NULL : "answer";
}


static void
random_step(step_t *s, const res_breaker_conf_t *conf, uint64_t now,
    uint32_t luck)
{
    s->conf = conf;
    s->now = (number(20) == 0) ? now - number(3000) : now;

    s->report.result = (number(10) == 0) ? NEUTRAL
                       : (number(40) == 0) ? REFUSED
                       : (number(100) < luck) ? FAILURE : SUCCESS;
    s->report.first = (number(3) != 0);
    s->report.hint = (number(4) == 0) ? number(400) : 0;
    s->report.random = number(3) ? number(UINT32_MAX) : MAX * number(2);
}


static void
test_model(uint64_t n)
{
    int                 i, at, rc, did[DID], turns[3];
    step_t              s;
    model_t             m;
    uint32_t            luck;
    uint64_t            now, lease;
    holder_t            holders[HOLDERS], *h;
    const char         *differs;
    res_breaker_t       b;
    res_breaker_conf_t  conf;

    seed = n * 0x9e3779b97f4a7c15 + 1;

    memset(&b, 0, sizeof(res_breaker_t));
    memset(&m, 0, sizeof(model_t));
    memset(holders, 0, sizeof(holders));
    memset(turns, 0, sizeof(turns));
    memset(did, 0, sizeof(did));

    conf = usual;
    now = 100000;
    luck = 50;
    differs = NULL;

    for (at = 0; at < 200000; at++) {

        now += (number(50) == 0) ? number(2000) : number(8);

        if (number(300) == 0) {
            random_conf(&conf);
        }

        if (number(100) == 0) {
            luck = number(101);
        }

        random_step(&s, &conf, now, luck);

        h = &holders[number(HOLDERS)];

        if (model_event(&m, &b, &s, did)) {
            /* void */

        } else if (h->out && number(20) == 0) {

            /* it is never heard of again */

            h->out = 0;
            continue;

        } else if (h->out) {
            differs = model_goes_on(&m, &b, &s, h, did);

        } else {
            lease = number(2) ? number(30) : number(3000);

            memset(&last, 0xee, sizeof(res_transition_t));

            rc = res_breaker_admit(&b, &conf, s.now, lease, s.report.random,
                                   &h->permit, &last);

            if (rc != (int) model_admit(&m, &s, lease, h, rc)) {
                differs = "admission";

            } else if (rc == RES_ADMIT_YES && h->permit.slot != h->slot) {
                differs = "slot";
            }

            h->out = (rc == RES_ADMIT_YES);

            did[rc == RES_ADMIT_YES ? DID_ADMIT : DID_REFUSE]++;
            did[DID_WAIT] += (rc == RES_ADMIT_RESTING);
            did[DID_RAMP] += (rc == RES_ADMIT_NO_PERMIT
                              && b.state == RES_CLOSED);
        }

        if (differs == NULL) {
            differs = model_differs(&m, &b);
        }

        if (differs == NULL
            && (res_breaker_wait(&b, &conf, s.now)
                != model_wait(&m, &conf, s.now)
                || res_breaker_idle(&b)
                   != (m.state == RES_CLOSED && !m.forced)))
        {
            differs = "wait";
        }

        if (differs) {
            break;
        }

        turns[m.state]++;
    }

    ok(differs == NULL, "like the model, seed %llu: %s at step %d",
       (unsigned long long) n, differs ? differs : "nothing else", at);

    for (i = 0; i < 3; i++) {
        ok(turns[i] > 5000, "seed %llu: often enough %s, %d times",
           (unsigned long long) n, res_breaker_state_name((unsigned) i),
           turns[i]);
    }

    for (i = 0; i < DID; i++) {
        ok(did[i] > 50, "seed %llu: often enough %s, %d times",
           (unsigned long long) n, did_names[i], did[i]);
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
    test_open_for();
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

    test_all_stories();
    test_hints();
    test_ramp_shares();
    test_changes();
    test_forced();

    for (n = 1; n <= 10; n++) {
        test_model(n);
    }

    return done_testing();
}
