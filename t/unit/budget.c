
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "engine/budget.h"
#include "tap.h"

#include <stdlib.h>


#define MAX      UINT32_MAX

#define BUCKETS  (RES_BUDGET_WINDOW + 1)


static const res_budget_conf_t  usual = { .percent = 20, .min = 3 };


static void
calls(res_budget_t *b, uint64_t now, int n)
{
    while (n-- > 0) {
        res_budget_call(b, now);
    }
}


/* how many are granted of so many asked for */

static int
grants(res_budget_t *b, const res_budget_conf_t *conf, uint64_t now, int n)
{
    int  granted;

    for (granted = 0; n > 0; n--) {
        granted += res_budget_retry(b, conf, now);
    }

    return granted;
}


typedef struct {
    uint32_t  percent;
    uint32_t  min;
    int       calls;
    int       granted;
} share_t;


static const share_t  shares[] = {

    { 20, 3, 0, 30 },
    { 20, 3, 1, 30 },
    { 20, 3, 4, 30 },
    { 20, 3, 5, 31 },
    { 20, 3, 9, 31 },
    { 20, 3, 10, 32 },
    { 20, 3, 1000, 230 },

    { 20, 0, 0, 0 },
    { 20, 0, 4, 0 },
    { 20, 0, 5, 1 },
    { 20, 0, 9, 1 },
    { 20, 0, 10, 2 },

    { 1, 0, 99, 0 },
    { 1, 0, 100, 1 },
    { 1, 0, 199, 1 },
    { 33, 0, 3, 0 },
    { 33, 0, 4, 1 },
    { 33, 0, 100, 33 },
    { 99, 0, 1, 0 },
    { 99, 0, 2, 1 },
    { 99, 0, 100, 99 },
    { 100, 0, 1, 1 },
    { 100, 0, 777, 777 },
    { 150, 0, 1, 1 },
    { 150, 0, 2, 3 },
    { 1000, 0, 7, 70 },
    { 1001, 0, 7, 70 },
    { MAX, 0, 7, 70 },

    { 0, 0, 1000, 0 },
    { 0, 1, 0, 10 },
    { 0, 1, 1000, 10 },
    { 0, 2, 1000, 20 },
    { 0, 100, 0, 1000 },
    { 0, MAX, 0, 2000 },
    { MAX, MAX, 2000, 2000 }
};


static void
test_shares(void)
{
    size_t             i;
    const share_t     *r;
    res_budget_t       b;
    res_budget_conf_t  conf;

    for (i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
        r = &shares[i];

        conf.percent = r->percent;
        conf.min = r->min;

        memset(&b, 0, sizeof(res_budget_t));

        calls(&b, 5000, r->calls);

        is_int(grants(&b, &conf, 5000, 2000), r->granted,
               "%u%% of %d calls and %u a second", r->percent, r->calls,
               r->min);

        is_int(res_budget_retry(&b, &conf, 5000), r->granted == 2000,
               "and then no more");
    }
}


static void
test_zero(void)
{
    res_budget_t       b, zero;
    res_budget_conf_t  none;

    memset(&b, 0, sizeof(res_budget_t));
    memset(&zero, 0, sizeof(res_budget_t));
    memset(&none, 0, sizeof(res_budget_conf_t));

    is_int(grants(&b, &none, 123456, 10), 0, "zero of zero");
    is_int(b.second, 123, "a refusal is a time seen");
    b.second = 0;
    ok(memcmp(&b, &zero, sizeof(res_budget_t)) == 0,
       "and leaves no other trace");

    is_int(grants(&b, &usual, 0, 100), 30, "zero is ready at time 0");

    memset(&b, 0, sizeof(res_budget_t));
    is_int(grants(&b, &usual, 999, 100), 30, "zero is ready at 999");

    memset(&b, 0, sizeof(res_budget_t));
    is_int(grants(&b, &usual, (uint64_t) 1 << 62, 100), 30,
           "zero is ready at any time");
    is_int(grants(&b, &usual, UINT64_MAX, 100), 30, "and at the end of it");
    is_int(grants(&b, &usual, UINT64_MAX, 100), 0, "but once");
}


/* calls and retries count until their second is over by ten more */

typedef struct {
    uint64_t  at;
    uint64_t  last;                 /* ms at which they still count */
} expiry_t;


static const expiry_t  expiries[] = {
    { 0, 10999 }, { 1, 10999 }, { 999, 10999 },
    { 1000, 11999 }, { 1001, 11999 }, { 1999, 11999 },
    { 10000, 20999 }, { 11000, 21999 }, { 999999, 1009999 },
    { 1000000, 1010999 }, { 4294967295999, 4294967305999 }
};


static void
test_expiry(void)
{
    int                i;
    uint64_t           at, last, now;
    res_budget_t       b;
    res_budget_conf_t  conf;

    conf.percent = 100;
    conf.min = 0;

    for (i = 0; i < (int) (sizeof(expiries) / sizeof(expiries[0])); i++) {
        at = expiries[i].at;
        last = expiries[i].last;

        ok(last - at >= 10000 && last - at <= 10999,
           "10 s and less than a second more");

        for (now = at; now <= last; now += 333) {
            memset(&b, 0, sizeof(res_budget_t));
            calls(&b, at, 7);

            if (grants(&b, &conf, now, 10) != 7) {
                break;
            }
        }

        ok(now > last, "calls at %llu count on and on",
           (unsigned long long) at);

        memset(&b, 0, sizeof(res_budget_t));
        calls(&b, at, 7);
        is_int(grants(&b, &conf, last, 10), 7, "calls at %llu count at %llu",
               (unsigned long long) at, (unsigned long long) last);

        memset(&b, 0, sizeof(res_budget_t));
        calls(&b, at, 7);
        is_int(grants(&b, &conf, last + 1, 10), 0,
               "calls at %llu count no more at %llu",
               (unsigned long long) at, (unsigned long long) last + 1);

        memset(&b, 0, sizeof(res_budget_t));
        (void) grants(&b, &usual, at, 100);
        is_int(grants(&b, &usual, last, 100), 0,
               "retries at %llu count at %llu",
               (unsigned long long) at, (unsigned long long) last);
        is_int(grants(&b, &usual, last + 1, 100), 30,
               "retries at %llu count no more at %llu",
               (unsigned long long) at, (unsigned long long) last + 1);
    }
}


/* any gap, of any number of turns of the ring */

static void
test_gaps(void)
{
    int           bad;
    uint64_t      gap, now;
    res_budget_t  b;

    memset(&b, 0, sizeof(res_budget_t));

    now = 500;
    bad = (grants(&b, &usual, now, 100) != 30);

    for (gap = 11; gap < 300; gap++) {
        now += gap * 1000;
        bad += (grants(&b, &usual, now, 100) != 30);
        bad += (grants(&b, &usual, now + 10499, 100) != 0);
    }

    is_int(bad, 0, "all is forgotten after a gap of any length");

    memset(&b, 0, sizeof(res_budget_t));
    bad = 0;

    for (now = 0; now < 30000; now += 1000) {
        calls(&b, now, 50);
        bad += (grants(&b, &usual, now, 100)
                != (now == 0 ? 40 : now % 11000 == 0 ? 40 : 10));
    }

    is_int(bad, 0, "what a second took comes back when it is over");
}


static void
test_undo(void)
{
    res_budget_t  b, copy;

    memset(&b, 0, sizeof(res_budget_t));

    is_int(grants(&b, &usual, 1500, 29), 29, "29 at 1500");
    is_int(grants(&b, &usual, 2500, 9), 1, "1 at 2500");

    res_budget_undo(&b, 1500);
    is_int(grants(&b, &usual, 3500, 9), 1, "one back, one more");

    res_budget_undo(&b, 1999);
    res_budget_undo(&b, 1000);
    is_int(grants(&b, &usual, 3500, 9), 2, "two of the same second");

    res_budget_undo(&b, 2500);
    copy = b;
    res_budget_undo(&b, 2500);
    ok(memcmp(&b, &copy, sizeof(res_budget_t)) == 0,
       "no more than were granted");
    is_int(grants(&b, &usual, 3500, 9), 1, "no more than were granted");

    copy = b;
    res_budget_undo(&b, 4500);
    res_budget_undo(&b, 12500);
    res_budget_undo(&b, 1500 + 22000);
    res_budget_undo(&b, 0);
    ok(memcmp(&b, &copy, sizeof(res_budget_t)) == 0,
       "none where none was granted");

    is_int(grants(&b, &usual, 13500, 99), 26, "26 at 13500");
    copy = b;
    res_budget_undo(&b, 2500);
    ok(memcmp(&b, &copy, sizeof(res_budget_t)) == 0,
       "none out of the window");

    is_int(grants(&b, &usual, 13999, 9), 0, "and nothing is left");
    is_int(grants(&b, &usual, 14500, 9), 4, "but what the fourth second had");
}


static void
test_time_back(void)
{
    res_budget_t       b;
    res_budget_conf_t  conf;

    conf.percent = 100;
    conf.min = 0;

    memset(&b, 0, sizeof(res_budget_t));

    calls(&b, 50000, 5);
    calls(&b, 1000, 5);
    is_int(grants(&b, &conf, 2, 20), 10, "a step back is none");
    is_int(grants(&b, &conf, 50000, 20), 0, "for retries either");
    is_int(b.second, 50, "time stands still");

    calls(&b, 60999, 1);
    is_int(grants(&b, &conf, 60999, 20), 1, "10 s later all count");

    calls(&b, 61000, 1);
    is_int(grants(&b, &conf, 61000, 20), 1, "11 s later the last ones do");

    /* granted at a step back, taken back at its own time */

    memset(&b, 0, sizeof(res_budget_t));

    is_int(grants(&b, &usual, 10500, 10), 10, "10 at 10500");
    is_int(grants(&b, &usual, 12500, 1), 1, "1 at 12500");
    is_int(grants(&b, &usual, 10999, 100), 19, "19 at 10999, after 12500");

    res_budget_undo(&b, 10999);
    is_int(grants(&b, &usual, 12999, 9), 1, "one comes back");
    is_int(grants(&b, &usual, 21999, 9), 9,
           "those of 10500, less the one that was taken for it");
    is_int(grants(&b, &usual, 22999, 99), 0, "the others are of 12500");
}


static void
test_limits(void)
{
    res_budget_t       b;
    res_budget_conf_t  conf;

    memset(&b, 0, sizeof(res_budget_t));

    conf.percent = MAX;
    conf.min = MAX;

    calls(&b, 1000, 1);
    b.buckets[1].calls = MAX;
    res_budget_call(&b, 1000);
    is_int(b.buckets[1].calls, MAX, "calls stop at their greatest number");

    b.buckets[1].retries = MAX - 1;
    is_int(res_budget_retry(&b, &conf, 1000), 1, "the last of retries");
    is_int(b.buckets[1].retries, MAX, "is counted");
    is_int(res_budget_retry(&b, &conf, 1000), 0, "there can't be more");
    is_int(b.buckets[1].retries, MAX, "nor are there");
    is_int(res_budget_retry(&b, &conf, 2000), 1, "in that second");

    /* no sum overflows */

    memset(&b, 0xff, sizeof(res_budget_t));

    for (b.second = 0; b.second < BUCKETS; b.second++) {
        b.buckets[b.second].second = b.second;
        b.buckets[b.second].retries = 0;
    }

    b.second = 10;
    conf.min = 0;
    is_int(res_budget_retry(&b, &conf, 10000), 1, "calls without number");

    for (b.second = 0; b.second < BUCKETS; b.second++) {
        b.buckets[b.second].calls = 0;
        b.buckets[b.second].retries = MAX;
    }

    b.second = 10;
    conf.min = 1;
    is_int(res_budget_retry(&b, &conf, 10000), 0, "retries without number");
}


/*
 * Brown-outs.  Each call fails with the probability of the phase, and so does
 * each of its retries; a failed one asks for another after a while.  A log of
 * what has been sent is kept, and nothing of the budget's own.
 */

#define HORIZON   200000            /* ms */
#define DELAY     4096
#define EVENTS    2000000
#define PHASES    6


typedef struct {
    uint32_t  length;               /* ms; 0: to the end */
    uint32_t  rate;                 /* calls a second */
    uint32_t  failing;              /* percent */
    uint32_t  burst;                /* calls at once, each other second */
} phase_t;


typedef struct {
    const char  *name;
    uint32_t     percent;
    uint32_t     min;
    uint32_t     retries;           /* asked for by one call at most */
    uint32_t     undone;            /* percent, never sent */
    uint32_t     back;              /* ms the clock may step back */
    uint32_t     least;             /* percent of calls that must be retried,
                                       as many are always asked for */
    phase_t      phases[PHASES];
} brownout_t;


static const brownout_t  brownouts[] = {

    { "all fails", 20, 3, 3, 0, 0, 20,
      { { 0, 500, 100, 0 } } },
    { "half fails", 20, 3, 3, 0, 0, 20,
      { { 0, 500, 50, 0 } } },
    { "a tenth fails", 20, 3, 3, 0, 0, 0,
      { { 0, 500, 10, 0 } } },
    { "all fails, no reserve", 20, 0, 3, 0, 0, 19,
      { { 0, 500, 100, 0 } } },
    { "all fails, nothing but a reserve", 0, 3, 3, 0, 0, 0,
      { { 0, 500, 100, 0 } } },
    { "all fails, few calls", 20, 3, 3, 0, 0, 0,
      { { 0, 3, 100, 0 } } },
    { "all fails, some calls a minute", 20, 3, 3, 0, 0, 100,
      { { 59000, 0, 0, 0 }, { 1000, 20, 100, 0 } } },
    { "all fails, all may be retried", 100, 0, 3, 0, 0, 98,
      { { 0, 300, 100, 0 } } },
    { "all fails, hedged and retried", 300, 1, 5, 0, 0, 280,
      { { 0, 100, 100, 0 } } },
    { "bursts", 20, 3, 3, 0, 0, 0,
      { { 0, 5, 100, 400 } } },
    { "bursts, no reserve", 10, 0, 3, 0, 0, 0,
      { { 0, 0, 50, 1000 } } },
    { "gaps", 20, 3, 3, 0, 0, 0,
      { { 7300, 300, 100, 0 }, { 9100, 0, 0, 0 },
        { 3700, 900, 100, 0 }, { 11000, 0, 0, 0 },
        { 30100, 200, 50, 0 }, { 25000, 0, 0, 0 } } },
    { "gaps just under the window", 20, 3, 3, 0, 0, 0,
      { { 1000, 1000, 100, 0 }, { 9001, 0, 0, 0 },
        { 999, 1000, 100, 0 }, { 9002, 0, 0, 0 },
        { 1, 9999, 100, 999 }, { 9998, 0, 0, 0 } } },
    { "load steps up", 20, 3, 3, 0, 0, 0,
      { { 40000, 10, 100, 0 }, { 40000, 1000, 100, 0 } } },
    { "load steps down", 20, 3, 3, 0, 0, 0,
      { { 40000, 1000, 100, 0 }, { 40000, 10, 100, 0 } } },
    { "failures begin and end", 20, 3, 3, 0, 0, 0,
      { { 30000, 400, 0, 0 }, { 20000, 400, 100, 0 },
        { 30000, 400, 50, 0 }, { 30000, 400, 1, 0 } } },
    { "some are never sent", 20, 3, 3, 30, 0, 19,
      { { 0, 500, 100, 0 } } },
    { "some are never sent, in gaps", 20, 1, 3, 60, 0, 0,
      { { 5200, 300, 100, 0 }, { 9100, 0, 0, 0 },
        { 3700, 900, 80, 0 } } },
    { "the clock steps back", 20, 3, 3, 0, 3000, 20,
      { { 0, 500, 100, 0 } } },
    { "the clock steps back a long way", 20, 3, 3, 10, 60000, 0,
      { { 5000, 500, 100, 100 }, { 9000, 0, 0, 0 } } }
};


typedef struct {
    uint32_t      at;               /* ms */
    uint8_t       call;             /* else a retry */
    uint8_t       undone;
} event_t;


typedef struct {
    uint32_t      granted;          /* index of its event, 0: not an undo */
    uint32_t      raw;              /* ms by the clock when it was granted */
    uint32_t      left;             /* retries its call may still ask for */
    uint32_t      next;             /* of the same ms, or of the free ones */
} wish_t;


static event_t   events[EVENTS];
static uint32_t  n_events;

static wish_t    wishes[EVENTS];
static uint32_t  n_wishes;
static uint32_t  due[DELAY];        /* first wish of each ms, 0: none */
static uint32_t  spare;

static uint64_t  seed;


static uint32_t
number(uint32_t limit)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;

    return (uint32_t) ((seed >> 16) % limit);
}


static uint32_t
event(uint32_t at, int call)
{
    events[n_events].at = at;
    events[n_events].call = (uint8_t) call;
    events[n_events].undone = 0;

    return n_events++;
}


static void
wish(uint32_t at, uint32_t left, uint32_t granted, uint32_t raw)
{
    uint32_t  n;

    n = spare;

    if (n) {
        spare = wishes[n].next;

    } else {
        n = n_wishes++;
    }

    wishes[n].granted = granted;
    wishes[n].raw = raw;
    wishes[n].left = left;
    wishes[n].next = due[at % DELAY];

    due[at % DELAY] = n;
}


/*
 * In any 10 s, retries are at most percent of the calls of the 11 s before
 * the last of them, and 10 * min.  Windows that end with a retry are enough.
 */

static int
bound_broken(const brownout_t *w)
{
    int       broken;
    uint32_t  i, from10, from11;
    uint64_t  n_calls, n_retries;

    n_calls = 0;
    n_retries = 0;
    from10 = 1;
    from11 = 1;
    broken = 0;

    for (i = 1; i < n_events; i++) {

        n_calls += events[i].call;
        n_retries += !events[i].call && !events[i].undone;

        for ( /* void */ ; events[from10].at + 10000 <= events[i].at;
             from10++)
        {
            n_retries -= !events[from10].call && !events[from10].undone;
        }

        for ( /* void */ ; events[from11].at + 11000 <= events[i].at;
             from11++)
        {
            n_calls -= events[from11].call;
        }

        if (!events[i].call && !events[i].undone) {
            broken += (n_retries * 100
                       > n_calls * w->percent + w->min * 1000);
        }
    }

    return broken;
}


/* what may be granted at the second of at, from the log alone */

static int
grantable(const brownout_t *w, const uint32_t called[],
    const uint32_t retried[], uint32_t at)
{
    uint32_t  i, second, first;
    uint64_t  n_calls, n_retries;

    second = at / 1000;
    first = second > 10 ? second - 10 : 0;
    n_calls = 0;
    n_retries = 0;

    for (i = first; i <= second; i++) {
        n_calls += called[i];
        n_retries += retried[i];
    }

    return n_calls * w->percent + w->min * 1000 >= (n_retries + 1) * 100;
}


static void
test_brownout(const brownout_t *w)
{
    int                other, granted;
    uint32_t           now, at, raw, phase, end, n, k, left, next, sent, asked;
    uint32_t           n_calls;
    res_budget_t       b;
    res_budget_conf_t  conf;

    static uint32_t  called[HORIZON / 1000 + 1], retried[HORIZON / 1000 + 1];

    seed = 0x9e3779b97f4a7c15;

    memset(&b, 0, sizeof(res_budget_t));
    memset(called, 0, sizeof(called));
    memset(retried, 0, sizeof(retried));
    memset(due, 0, sizeof(due));

    conf.percent = w->percent;
    conf.min = w->min;

    n_events = 1;
    n_wishes = 1;
    spare = 0;

    phase = 0;
    end = w->phases[0].length;
    other = 0;
    asked = 0;
    sent = 0;
    n_calls = 0;
    at = 0;

    for (now = 0; now < HORIZON; now++) {

        if (end != 0 && now == end) {
            phase = (phase + 1) % PHASES;

            if (w->phases[phase].length == 0) {
                phase = 0;
            }

            end = now + w->phases[phase].length;
        }

        /* the clock, and what the budget has to take it for */

        raw = now;

        if (w->back && number(10) == 0) {
            raw = now - number(now < w->back ? now + 1 : w->back);
        }

        n = (number(1000) < w->phases[phase].rate % 1000)
            + w->phases[phase].rate / 1000;

        if (now % 2000 == 0) {
            n += w->phases[phase].burst;
        }

        while (n-- > 0) {
            res_budget_call(&b, raw);
            at = raw > at ? raw : at;
            (void) event(at, 1);
            called[at / 1000]++;
            n_calls++;

            if (number(100) < w->phases[phase].failing) {
                wish(now + 1 + number(1500), w->retries, 0, 0);
            }
        }

        n = due[now % DELAY];
        due[now % DELAY] = 0;

        for ( /* void */ ; n != 0; n = next) {
            next = wishes[n].next;

            wishes[n].next = spare;
            spare = n;

            if (wishes[n].granted) {

                /*
                 * Never sent.  The budget may take it out of an earlier
                 * second than it had put it in, or not at all; that grants
                 * less, so the log of seconds is not to be compared with.
                 */

                k = wishes[n].granted;

                res_budget_undo(&b, wishes[n].raw);
                events[k].undone = 1;
                retried[events[k].at / 1000]--;
                sent--;
                continue;
            }

            left = wishes[n].left;

            granted = res_budget_retry(&b, &conf, raw);
            at = raw > at ? raw : at;
            asked++;

            other += (granted > grantable(w, called, retried, at));

            if (w->undone == 0 || w->back == 0) {
                other += (granted < grantable(w, called, retried, at));
            }

            if (!granted) {
                continue;
            }

            k = event(at, 0);
            retried[at / 1000]++;
            sent++;

            if (number(100) < w->undone) {

                /* at times after it has left the window */

                wish(now + 1 + number(number(4) ? 200 : DELAY - 2), 0, k,
                     raw);
                continue;
            }

            if (left > 1 && number(100) < w->phases[phase].failing) {
                wish(now + 1 + number(1500), left - 1, 0, 0);
            }
        }
    }

    ok(n_events < EVENTS && n_wishes < EVENTS && asked > 0,
       "%s: %u calls, %u retries asked for, %u sent", w->name, n_calls,
       asked, sent);

    is_int(other, 0, "%s: as by the log", w->name);
    is_int(bound_broken(w), 0, "%s: within the bound", w->name);

    ok((uint64_t) sent * 100
       <= (uint64_t) n_calls * w->percent
          + (uint64_t) w->min * 1000 * (HORIZON / 11000 + 1),
       "%s: within the share on the whole", w->name);

    ok((uint64_t) sent * 100 >= (uint64_t) n_calls * w->least,
       "%s: %u%% at least", w->name, w->least);
}


static void
test_brownouts(void)
{
    size_t  i;

    for (i = 0; i < sizeof(brownouts) / sizeof(brownouts[0]); i++) {
        test_brownout(&brownouts[i]);
    }
}


int
main(void)
{
    test_zero();
    test_shares();
    test_expiry();
    test_gaps();
    test_undo();
    test_time_back();
    test_limits();
    test_brownouts();

    return done_testing();
}
