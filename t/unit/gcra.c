
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "engine/gcra.h"
#include "tap.h"

#include <stdlib.h>


#define MAX      UINT32_MAX
#define UNITS    RES_GCRA_MAX
#define NEVER    (-1)

#define MINUTE   60000
#define DAY      86400000


typedef unsigned __int128  wide_t;


static uint64_t  seed;


static uint32_t
number(uint32_t limit)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;

    return (uint32_t) ((seed >> 16) % limit);
}


/*
 * Scripts: takes, T, and settlements, S, of units at times.  Each is played
 * at several times of the day, with the same results.
 */

#define STEPS  8

typedef struct {
    char      op;                   /* 0: the end */
    uint64_t  at;                   /* ms */
    int64_t   units;
    int64_t   retry_after;          /* 0: allowed */
    uint32_t  remaining;
    uint64_t  reset;
} step_t;

typedef struct {
    const char       *name;
    res_gcra_conf_t   conf;         /* limit, period, burst */
    step_t            steps[STEPS];
} script_t;


static const script_t  scripts[] = {

    { "one a second", { 1, 1000, 0 }, {
        { 'T', 0, 1, 0, 0, 1000 },
        { 'T', 0, 1, 1000, 0, 1000 },
        { 'T', 1, 1, 999, 0, 999 },
        { 'T', 999, 1, 1, 0, 1 },
        { 'T', 1000, 1, 0, 0, 1000 },
        { 'T', 1999, 1, 1, 0, 1 },
        { 'T', 5000, 1, 0, 0, 1000 },
        { 'T', 5001, 1, 999, 0, 999 } } },

    { "a hundred a minute, ten at once", { 100, MINUTE, 9 }, {
        { 'T', 0, 1, 0, 9, 600 },
        { 'T', 0, 4, 0, 5, 3000 },
        { 'T', 0, 6, 600, 5, 3000 },
        { 'T', 599, 6, 1, 5, 2401 },
        { 'T', 600, 6, 0, 0, 6000 },
        { 'T', 600, 10, 6000, 0, 6000 },
        { 'T', 6599, 10, 1, 9, 1 },
        { 'T', 6600, 10, 0, 0, 6000 } } },

    { "more than there can be", { 100, MINUTE, 9 }, {
        { 'T', 0, 10, 0, 0, 6000 },
        { 'T', 0, 11, NEVER, 0, 6000 },
        { 'T', 0, MAX, NEVER, 0, 6000 },
        { 'T', 3000, 11, NEVER, 5, 3000 },
        { 'T', 9000, 11, NEVER, 10, 0 },
        { 'T', 9000, UNITS + (int64_t) 1, NEVER, 10, 0 },
        { 'T', 9000, 10, 0, 0, 6000 } } },

    { "looking takes nothing", { 100, MINUTE, 9 }, {
        { 'T', 0, 0, 0, 10, 0 },
        { 'T', 0, 3, 0, 7, 1800 },
        { 'T', 0, 0, 0, 7, 1800 },
        { 'T', 1200, 0, 0, 9, 600 },
        { 'T', 1200, 9, 0, 0, 6000 },
        { 'T', 1200, 0, 0, 0, 6000 },
        { 'T', 9000, 0, 0, 10, 0 } } },

    { "three a second: T is rounded down", { 3, 1000, 2 }, {
        { 'T', 0, 1, 0, 2, 334 },
        { 'T', 0, 1, 0, 1, 667 },
        { 'T', 0, 1, 0, 0, 1000 },
        { 'T', 0, 1, 334, 0, 1000 },
        { 'T', 333, 1, 1, 0, 667 },
        { 'T', 334, 1, 0, 0, 1000 },
        { 'T', 1334, 3, 0, 0, 1000 },
        { 'T', 1334, 3, 1000, 0, 1000 } } },

    { "seven in 2 ms", { 7, 2, 6 }, {
        { 'T', 0, 7, 0, 0, 2 },
        { 'T', 0, 1, 1, 0, 2 },
        { 'T', 1, 3, 0, 0, 2 },
        { 'T', 1, 1, 1, 0, 2 },
        { 'T', 2, 4, 0, 0, 2 },
        { 'T', 3, 3, 0, 0, 2 } } },

    { "tokens", { 100000, MINUTE, 99999 }, {
        { 'T', 0, 60000, 0, 40000, 36000 },
        { 'T', 0, 60000, 12000, 40000, 36000 },
        { 'S', 3000, -20000, 0, 65000, 21000 },
        { 'T', 3000, 60000, 0, 5000, 57000 },
        { 'S', 3000, 25000, 12000, 0, 72000 },
        { 'T', 3000, 1, 12001, 0, 72000 },
        { 'T', 3000, 0, 12000, 0, 72000 },
        { 'T', 15001, 1, 0, 0, 60000 } } },

    { "tokens given back", { 100000, MINUTE, 99999 }, {
        { 'T', 0, 50000, 0, 50000, 30000 },
        { 'S', 0, -50000, 0, 100000, 0 },
        { 'S', 0, -50000, 0, 100000, 0 },
        { 'T', 0, 100000, 0, 0, 60000 },
        { 'S', 30000, -60000, 0, 100000, 0 },
        { 'T', 30000, 100000, 0, 0, 60000 },
        { 'S', 30000, INT64_MIN, 0, 100000, 0 },
        { 'S', 30000, 0, 0, 100000, 0 } } },

    { "owed at most ten periods", { 100000, MINUTE, 99999 }, {
        { 'S', 0, 1000000, 540000, 0, 600000 },
        { 'S', 0, 100000, 600000, 0, 660000 },
        { 'S', 0, 1, 600000, 0, 660000 },
        { 'S', 0, INT64_MAX, 600000, 0, 660000 },
        { 'T', 0, 100000, 660000, 0, 660000 },
        { 'T', 600000, 0, 0, 0, 60000 },
        { 'T', 600000, 100000, 60000, 0, 60000 },
        { 'T', 660000, 100000, 0, 0, 60000 } } },

    { "a settlement at rest", { 10, 1000, 9 }, {
        { 'S', 50000, 0, 0, 10, 0 },
        { 'S', 50000, -7, 0, 10, 0 },
        { 'S', 90000, 3, 0, 7, 300 },
        { 'S', 90300, 3, 0, 7, 300 },
        { 'S', 90600, 20, 1000, 0, 2000 } } },

    { "a thousand a day", { 1000, DAY, 0 }, {
        { 'T', 0, 1, 0, 0, 86400 },
        { 'T', 86399, 1, 1, 0, 1 },
        { 'T', 86400, 1, 0, 0, 86400 } } },

    { "the most units", { UNITS, 1000, UNITS - 1 }, {
        { 'T', 0, UNITS, 0, 0, 1000 },
        { 'T', 0, 1, 1, 0, 1000 },
        { 'T', 1, 1, 0, 999999, 1000 },
        { 'T', 1, 1000000, 1, 999999, 1000 },
        { 'T', 1000, UNITS, 1, 999999999, 1 },
        { 'T', 1001, UNITS, 0, 0, 1000 } } },

    { "the longest period", { 1, MAX, 9 }, {
        { 'T', 0, 10, 0, 0, (uint64_t) MAX * 10 },
        { 'T', 0, 1, MAX, 0, (uint64_t) MAX * 10 },
        { 'T', (uint64_t) MAX - 1, 1, 1, 0, (uint64_t) MAX * 9 + 1 },
        { 'T', MAX, 1, 0, 0, (uint64_t) MAX * 10 } } },

    { "no limit", { 0, 1000, 5 }, {
        { 'T', 0, 1, 0, MAX, 0 },
        { 'T', 0, MAX, 0, MAX, 0 },
        { 'S', 0, INT64_MAX, 0, MAX, 0 },
        { 'T', 0, MAX, 0, MAX, 0 } } },

    /* numbers that make no sense */

    { "no period is 1 ms", { 10, 0, 9 }, {
        { 'T', 0, 10, 0, 0, 1 },
        { 'T', 0, 1, 1, 0, 1 },
        { 'T', 1, 10, 0, 0, 1 } } },

    { "more than a unit a ns", { UNITS, 1, UNITS - 1 }, {
        { 'T', 0, UNITS, 0, 0, 1000 },
        { 'T', 500, 500000000, 0, 0, 1000 } } },

    { "too many units", { MAX, 1000, MAX }, {
        { 'T', 0, UNITS, 0, 0, 1000 },
        { 'T', 0, UNITS + (int64_t) 1, NEVER, 0, 1000 },
        { 'T', 1000, UNITS, 0, 0, 1000 } } },

    { "longer than ages", { 1, MAX, MAX }, {
        { 'T', 0, 1, 0, 267, MAX },
        { 'T', 0, UNITS, MAX, 267, MAX } } }
};


static void
test_script(const script_t *s, uint64_t base)
{
    int                i, same;
    uint64_t           now;
    res_gcra_t         g;
    const step_t      *p;
    res_gcra_result_t  r;

    memset(&g, 0, sizeof(res_gcra_t));

    for (i = 0; i < STEPS && s->steps[i].op; i++) {
        p = &s->steps[i];
        now = base + p->at;

        memset(&r, 0xee, sizeof(res_gcra_result_t));

        if (p->op == 'T') {
            is_int(res_gcra_take(&g, &s->conf, (uint32_t) p->units, now, &r),
                   p->retry_after == 0, "%s, %llu + %llu: take %lld",
                   s->name, (unsigned long long) base,
                   (unsigned long long) p->at, (long long) p->units);

        } else {
            res_gcra_settle(&g, &s->conf, p->units, now);
            (void) res_gcra_take(&g, &s->conf, 0, now, &r);
        }

        same = (r.allowed == (p->retry_after == 0)
                && r.retry_after == p->retry_after
                && r.remaining == p->remaining && r.reset == p->reset);

        ok(same,
           "%s, %llu + %llu, %c %lld: retry after %lld, %u remain, reset %llu",
           s->name, (unsigned long long) base, (unsigned long long) p->at,
           p->op, (long long) p->units, (long long) p->retry_after,
           p->remaining, (unsigned long long) p->reset);

        if (!same) {
            printf("# got retry after %lld, %u remain, reset %llu\n",
                   (long long) r.retry_after, r.remaining,
                   (unsigned long long) r.reset);
        }
    }
}


static void
test_scripts(void)
{
    size_t  i, k;

    static const uint64_t  bases[] = {
        0, 1, 999999937, 1735689600000, 10000000000000
    };

    for (i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
        for (k = 0; k < sizeof(bases) / sizeof(bases[0]); k++) {
            test_script(&scripts[i], bases[k]);
        }
    }
}


static void
test_zero(void)
{
    res_gcra_t         g;
    res_gcra_result_t  r;

    static const res_gcra_conf_t  conf = { 10, 1000, 4 }, none = { 0, 0, 0 };

    memset(&g, 0, sizeof(res_gcra_t));

    (void) res_gcra_take(&g, &conf, 0, 1234, &r);
    is_int(r.remaining, 5, "zero has all of its burst");
    is_int(g.tat, 0, "looking stores nothing");

    (void) res_gcra_take(&g, &conf, 6, 1234, &r);
    is_int(g.tat, 0, "a refusal stores nothing");

    (void) res_gcra_take(&g, &none, 6, 1234, &r);
    res_gcra_settle(&g, &none, 6, 1234);
    is_int(g.tat, 0, "no limit stores nothing");

    (void) res_gcra_take(&g, &conf, 2, 1234, &r);
    is_int(g.tat, 1434000000, "TAT is in ns");

    is_int(res_gcra_idle(&g, 1433), 0, "not idle before that");
    is_int(res_gcra_idle(&g, 1434), 1, "idle then");
}


/*
 * What was kept from another configuration, and a step back of the clock,
 * only cost a wait, which has an end.
 */

static void
test_kept(void)
{
    res_gcra_t         g;
    res_gcra_result_t  r;

    static const res_gcra_conf_t  day = { 1000, DAY, 999 };
    static const res_gcra_conf_t  second = { 1000, 1000, 999 };
    static const res_gcra_conf_t  tenfold = { 10000, DAY, 9999 };

    memset(&g, 0, sizeof(res_gcra_t));

    (void) res_gcra_take(&g, &day, 1000, 5000, &r);
    is_int(r.reset, DAY, "a day's worth is taken");

    (void) res_gcra_take(&g, &tenfold, 1, 5000, &r);
    is_int(r.retry_after, 8640, "by the day still: the next unit's time");

    (void) res_gcra_take(&g, &second, 1, 5000, &r);
    is_int(r.retry_after, 10001, "by the second now: ten periods");
    is_int(r.remaining, 0, "none remain until then");
    is_int(r.reset, 11000, "and one more for all of it");

    (void) res_gcra_take(&g, &second, 1, 9000, &r);
    is_int(r.retry_after, 6001, "they go by");
    is_int(res_gcra_take(&g, &second, 1, 15000, &r), 0, "and by");
    is_int(res_gcra_take(&g, &second, 1, 15001, &r), 1, "and are over");

    (void) res_gcra_take(&g, &day, 1000, 2 * (uint64_t) DAY, &r);
    res_gcra_settle(&g, &second, 0, 2 * (uint64_t) DAY);
    is_int(g.tat, (2 * (uint64_t) DAY + 11000) * 1000000,
           "a settlement keeps ten periods");

    memset(&g, 0, sizeof(res_gcra_t));

    (void) res_gcra_take(&g, &second, 1000, 50000, &r);
    (void) res_gcra_take(&g, &second, 1, 49990, &r);
    is_int(r.retry_after, 11, "a step back costs what it was long");
    (void) res_gcra_take(&g, &second, 1, 5, &r);
    is_int(r.retry_after, 10001, "ten periods at most");
    is_int(r.reset, 11000, "and one more for all of it");

    g.tat = UINT64_MAX;
    (void) res_gcra_take(&g, &second, 1, 50000, &r);
    is_int(r.retry_after, 10001, "whatever is kept");
}


/* units * T, rounded down to a ns, with room enough */

static wide_t
exact(const res_gcra_conf_t *conf, uint64_t units)
{
    return (wide_t) units * conf->period * 1000000 / conf->limit;
}


static uint64_t
up(wide_t ns)
{
    return (uint64_t) ((ns + 999999) / 1000000);
}


static void
random_conf(res_gcra_conf_t *conf)
{
    static const uint32_t  limits[] = {
        1, 2, 3, 7, 10, 60, 97, 100, 1000, 4999, 90000, 2000000, 999999937
    };

    static const uint32_t  periods[] = {
        1, 2, 7, 10, 1000, 1001, MINUTE, 3600000, DAY
    };

    do {
        conf->limit = limits[number(13)];
        conf->period = periods[number(9)];
        conf->burst = number(2) ? conf->limit - 1 : number(1 << number(20));

    } while (conf->limit > (uint64_t) conf->period * 1000000
             || conf->burst >= UNITS
             || exact(conf, (uint64_t) conf->burst + 1)
                > (wide_t) 1000000000 * 1000000);
}


/* random takes and settlements, against the definition in wide numbers */

static void
test_model(uint64_t n)
{
    int                i, allowed;
    wide_t             tat, now_ns, next, tau, debt, ahead;
    uint32_t           cost, low, high, middle;
    int64_t            delta, retry;
    uint64_t           now, capacity;
    res_gcra_t         g, copy;
    const char        *differs;
    res_gcra_conf_t    conf;
    res_gcra_result_t  r, other;

    seed = n * 0x9e3779b97f4a7c15 + 1;

    differs = NULL;
    now = number(MAX);
    tat = 0;

    memset(&g, 0, sizeof(res_gcra_t));
    random_conf(&conf);

    for (i = 0; i < 20000 && differs == NULL; i++) {

        if (number(500) == 0) {
            random_conf(&conf);
        }

        capacity = (uint64_t) conf.burst + 1;
        tau = exact(&conf, capacity);
        debt = (wide_t) conf.period * 1000000 * 10;

        if (number(3)) {
            now += number(10) ? number(conf.period / 10 + 2)
                              : (uint64_t) (number(2000) * tau / 1000000000);
        }

        now_ns = (wide_t) now * 1000000;

        if (tat > now_ns + tau + debt) {
            tat = now_ns + tau + debt;
        }

        ahead = tat > now_ns ? tat - now_ns : 0;

        if (number(4) == 0) {
            delta = (int64_t) number((uint32_t) capacity)
                    * (number(20) ? 1 : 30) * (number(2) ? 1 : -1);

            res_gcra_settle(&g, &conf, delta, now);

            if (delta >= 0) {
                next = ahead + exact(&conf, delta < UNITS ? (uint64_t) delta
                                                          : UNITS);
                next = next < tau + debt ? next : tau + debt;

            } else {
                next = exact(&conf, -delta < UNITS ? (uint64_t) -delta
                                                   : UNITS);
                next = ahead > next ? ahead - next : 0;
            }

            tat = now_ns + next;
            differs = (g.tat != tat) ? "settled" : NULL;
            continue;
        }

        cost = number(3) ? number((uint32_t) (capacity / 10 + 2))
                         : number((uint32_t) capacity + 2);
        copy = g;

        allowed = res_gcra_take(&g, &conf, cost, now, &r);
        next = ahead + exact(&conf, cost);

        if (cost > capacity) {
            retry = NEVER;

        } else if (next <= tau) {
            retry = 0;

        } else {
            retry = (int64_t) up(next - tau);
        }

        if (retry == 0 && cost != 0) {
            tat = now_ns + next;
            ahead = next;
        }

        if (allowed != (retry == 0) || r.allowed != allowed
            || r.retry_after != retry)
        {
            differs = "answer";
            break;
        }

        if (g.tat != tat) {
            differs = "state";
            break;
        }

        if (r.reset != up(ahead)) {
            differs = "reset";
            break;
        }

        /* the most that would be allowed, by trying */

        low = 0;
        high = (uint32_t) capacity;

        while (low < high) {
            middle = high - (high - low) / 2;

            if (ahead + exact(&conf, middle) <= tau) {
                low = middle;

            } else {
                high = middle - 1;
            }
        }

        if (r.remaining != low) {
            differs = "remaining";
            break;
        }

        /* what was told comes true, and not before */

        if (retry > 0) {
            copy = g;

            if (res_gcra_take(&copy, &conf, cost, now + (uint64_t) retry - 1,
                              &other)
                || !res_gcra_take(&copy, &conf, cost, now + (uint64_t) retry,
                                  &other))
            {
                differs = "retry after";
                break;
            }
        }

        copy = g;

        if (r.remaining != 0
            && !res_gcra_take(&copy, &conf, r.remaining, now, &other))
        {
            differs = "not so much remains";
            break;
        }

        copy = g;

        if (res_gcra_take(&copy, &conf, r.remaining + 1, now, &other)) {
            differs = "more remains";
            break;
        }

        (void) res_gcra_take(&copy, &conf, 0, now + r.reset, &other);

        if (other.remaining != capacity || other.reset != 0) {
            differs = "not reset";
            break;
        }

        if (r.reset != 0) {
            (void) res_gcra_take(&copy, &conf, 0, now + r.reset - 1, &other);

            if (other.remaining == capacity || other.reset != 1) {
                differs = "reset before";
                break;
            }
        }
    }

    ok(differs == NULL, "like the model, seed %llu: %s at step %d",
       (unsigned long long) n, differs ? differs : "nothing else", i);
}


/*
 * The promise: between any two moments, what was allowed is no more than the
 * burst and what came back meanwhile, and less than 1 ns of T a take.  Kept
 * as a bucket that leaks, in billionths of units.
 */

typedef struct {
    const char       *name;
    res_gcra_conf_t   conf;
    uint32_t          cost;         /* 1 to so many */
    uint32_t          gap;          /* ms between takes, 0 to so many */
} load_t;


static const load_t  loads[] = {
    { "requests, far too many", { 10, 1000, 9 }, 1, 3 },
    { "requests, no burst", { 10, 1000, 0 }, 1, 3 },
    { "requests, T in parts of a ns", { 7, 1000, 6 }, 1, 10 },
    { "requests, as many as allowed", { 10, 1000, 9 }, 1, 200 },
    { "requests, a few", { 10, 1000, 9 }, 1, 2000 },
    { "requests, very many", { 50000, 1000, 49 }, 1, 1 },
    { "tokens", { 90000, MINUTE, 89999 }, 3000, 100 },
    { "tokens, very many", { 2000000, MINUTE, 1999999 }, 9000, 5 },
    { "tokens, T in parts of a ns", { 999999937, MINUTE, 99999 }, 90000, 5 }
};


static void
test_load(const load_t *l)
{
    int                i, over, idle;
    double             level, slack, share, rate;
    uint32_t           cost;
    uint64_t           now, last, start, taken, asked;
    res_gcra_t         g;
    res_gcra_result_t  r;

    seed = 0x9e3779b97f4a7c15;

    memset(&g, 0, sizeof(res_gcra_t));

    rate = (double) l->conf.limit / l->conf.period;

    start = 77777;
    now = start;
    last = now;
    level = 0;
    slack = 0;
    over = 0;
    idle = 0;
    taken = 0;
    asked = 0;

    for (i = 0; i < 100000; i++) {
        now += number(l->gap + 1);
        cost = 1 + number(l->cost);
        asked += cost;

        level -= rate * (double) (now - last);
        level = level > 0 ? level : 0;
        last = now;

        if (res_gcra_take(&g, &l->conf, cost, now, &r)) {
            level += cost;
            taken += cost;
            slack += rate / 1000000;

        } else {

            /* refused though there is room: for a unit, there is none */

            idle += (level + cost + 1e-6 < (double) l->conf.burst + 1);
        }

        over += (level > (double) l->conf.burst + 1 + slack + 1e-6);
    }

    is_int(over, 0, "%s: never above the limit", l->name);
    is_int(idle, 0, "%s: never refused below it", l->name);

    share = (double) (now - start) * rate + l->conf.burst + 1;

    ok((double) taken <= share + slack + 1e-6,
       "%s: %llu of %llu are taken, of %.0f that there were", l->name,
       (unsigned long long) taken, (unsigned long long) asked, share);

    if ((double) asked > share * 2) {
        ok((double) taken > share * 0.98, "%s: nothing is wasted", l->name);
    }
}


static void
test_loads(void)
{
    size_t  i;

    for (i = 0; i < sizeof(loads) / sizeof(loads[0]); i++) {
        test_load(&loads[i]);
    }
}


/*
 * Tokens by estimate, settled when a call ends: in the long run the rate is
 * that of the tokens used, whether the estimates are too high or too low.
 */

#define CALLS  64

static void
test_estimates(uint32_t estimate)
{
    int                i, k;
    double             share;
    int64_t            used[CALLS];
    uint64_t           now, ends[CALLS], total;
    res_gcra_t         g;
    res_gcra_result_t  r;

    static const res_gcra_conf_t  conf = { 60000, MINUTE, 59999 };

    seed = estimate;

    memset(&g, 0, sizeof(res_gcra_t));
    memset(ends, 0, sizeof(ends));

    total = 0;

    for (now = 1, i = 0; now < 3600000; now += 10, i++) {
        k = i % CALLS;

        if (ends[k] != 0) {

            if (now >= ends[k]) {
                res_gcra_settle(&g, &conf, used[k] - estimate, now);
                total += (uint64_t) used[k];
                ends[k] = 0;
            }

            continue;
        }

        if (res_gcra_take(&g, &conf, estimate, now, &r)) {
            used[k] = 1 + number(1999);
            ends[k] = now + 500 + number(5000);
        }
    }

    share = (double) now;

    ok(total > share * 0.95 && total < share * 1.05 + CALLS * 2000 + 60000,
       "estimates of %u: %llu tokens in an hour of %.0f", estimate,
       (unsigned long long) total, share);
}


int
main(void)
{
    uint64_t  n;

    test_zero();
    test_scripts();
    test_kept();

    for (n = 1; n <= 20; n++) {
        test_model(n);
    }

    test_loads();

    test_estimates(1);
    test_estimates(500);
    test_estimates(1000);
    test_estimates(2000);
    test_estimates(5000);

    return done_testing();
}
