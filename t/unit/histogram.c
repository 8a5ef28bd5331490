
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "engine/histogram.h"
#include "tap.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>


#define BUCKETS  RES_HISTOGRAM_BUCKETS
#define MINUTE   RES_HISTOGRAM_WINDOW
#define LAST     600000


static uint64_t  seed = 0x9e3779b97f4a7c15;


static uint32_t
number(uint32_t limit)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;

    return (uint32_t) ((seed >> 16) % limit);
}


static uint64_t
recent(const res_histogram_t *h, uint64_t now)
{
    uint64_t  low, high, middle;

    /* the least min_samples that is too much, less one */

    low = 0;
    high = 1 << 24;

    while (low < high) {
        middle = (low + high + 1) / 2;

        if (res_histogram_percentile(h, 500, middle, now) >= 0) {
            low = middle;

        } else {
            high = middle - 1;
        }
    }

    return low;
}


/* the bucket of the only sample */

static int
bucket(const res_histogram_t *h)
{
    int                    i;
    res_histogram_total_t  t;

    res_histogram_total(h, &t);

    for (i = 0; i < BUCKETS && t.counts[i] == 0; i++) { /* void */ }

    return (t.counts[BUCKETS - 1] == 1) ? i : -1;
}


static void
test_bounds(void)
{
    int              bad;
    unsigned         i, k;
    uint32_t         bound, next, decade;
    res_histogram_t  h;

    static const uint32_t  r10[] = {
        100, 125, 160, 200, 250, 315, 400, 500, 630, 800
    };

    is_int(res_histogram_bound(0), 1, "from 1 ms");
    is_int(res_histogram_bound(BUCKETS - 2), LAST, "to 600 s");
    is_int(res_histogram_bound(BUCKETS - 1), RES_HISTOGRAM_INF, "and beyond");
    is_int(res_histogram_bound(BUCKETS), RES_HISTOGRAM_INF, "no such bucket");
    is_int(res_histogram_bound(UINT32_MAX), RES_HISTOGRAM_INF,
           "nor such a one");

    ok(BUCKETS <= 64, "%d buckets", BUCKETS);

    /* ten a decade, in whole ms, each once */

    bad = 0;
    bound = 0;
    i = 0;

    for (decade = 1; decade <= 100000; decade *= 10) {
        for (k = 0; k < 10 && bound < LAST; k++) {
            next = (r10[k] * decade + 50) / 100;

            if (next == bound) {
                continue;
            }

            bound = next < LAST ? next : LAST;
            bad += (res_histogram_bound(i++) != bound);
        }
    }

    is_int(bad, 0, "bounds are preferred numbers");
    is_int(i, BUCKETS - 1, "all of them");

    for (i = 0; i < BUCKETS - 1; i++) {
        bound = res_histogram_bound(i);

        memset(&h, 0, sizeof(res_histogram_t));
        res_histogram_record(&h, bound, 0);
        is_int(bucket(&h), i, "%u is in its bucket", bound);

        memset(&h, 0, sizeof(res_histogram_t));
        res_histogram_record(&h, bound + 1, 0);
        is_int(bucket(&h), i + 1, "%u is in the next", bound + 1);
    }

    memset(&h, 0, sizeof(res_histogram_t));
    res_histogram_record(&h, 0, 0);
    is_int(bucket(&h), 0, "0 is in the first");

    memset(&h, 0, sizeof(res_histogram_t));
    res_histogram_record(&h, UINT64_MAX, 0);
    is_int(bucket(&h), BUCKETS - 1, "all there is is in the last");
}


static void
test_zero(void)
{
    unsigned               i;
    uint64_t               sum;
    res_histogram_t        h, zero;
    res_histogram_total_t  t;

    memset(&h, 0, sizeof(res_histogram_t));
    memset(&zero, 0, sizeof(res_histogram_t));
    memset(&t, 0xee, sizeof(res_histogram_total_t));

    is_int(res_histogram_percentile(&h, 950, 0, 0), -1, "zero has none");
    is_int(res_histogram_percentile(&h, 950, 1, 0), -1, "zero has not one");
    is_int(res_histogram_percentile(&h, 0, 0, 5 * MINUTE), -1,
           "zero has none later on");
    is_int(res_histogram_percentile(&h, 950, 0, UINT64_MAX), -1,
           "zero never has one");

    res_histogram_total(&h, &t);

    sum = t.sum;

    for (i = 0; i < BUCKETS; i++) {
        sum += t.counts[i];
    }

    is_int(sum, 0, "zero has no totals");
    ok(memcmp(&h, &zero, sizeof(res_histogram_t)) == 0,
       "looking leaves no trace");

    for (i = 0; i < 5; i++) {
        memset(&h, 0, sizeof(res_histogram_t));
        res_histogram_record(&h, 77, i * MINUTE);
        is_int(recent(&h, i * MINUTE), 1, "zero is ready in minute %u", i);
    }
}


static void
test_totals(void)
{
    int                    i, bad;
    unsigned               k;
    uint64_t               sum, counts[BUCKETS];
    uint32_t               ms;
    res_histogram_t        h;
    res_histogram_total_t  t;

    memset(&h, 0, sizeof(res_histogram_t));
    memset(counts, 0, sizeof(counts));

    sum = 0;

    for (i = 0; i < 20000; i++) {
        ms = number(1 << number(22));

        res_histogram_record(&h, ms, (uint64_t) number(100) * 7777);

        sum += ms;

        for (k = 0; k < BUCKETS; k++) {
            counts[k] += (ms <= res_histogram_bound(k));
        }
    }

    res_histogram_total(&h, &t);

    is_int(t.sum, sum, "the sum");
    is_int(t.counts[BUCKETS - 1], 20000, "the count");

    bad = 0;

    for (k = 0; k < BUCKETS; k++) {
        bad += (t.counts[k] != counts[k]);
    }

    is_int(bad, 0, "samples up to each bound");

    res_histogram_record(&h, UINT32_MAX, 0);
    res_histogram_record(&h, (uint64_t) UINT32_MAX + 1, 0);
    res_histogram_record(&h, UINT64_MAX, 0);

    res_histogram_total(&h, &t);
    is_int(t.sum - sum, 3 * (uint64_t) UINT32_MAX,
           "a sample is UINT32_MAX at most");
}


/* the one sample as told, and the error */

static void
test_error(void)
{
    int              bad;
    double           error, most, low, high;
    int64_t          got;
    unsigned         i;
    uint64_t         ms;
    res_histogram_t  h;

    bad = 0;
    most = 0;

    for (ms = 1; ms <= LAST; ms += 1 + ms / 500) {
        memset(&h, 0, sizeof(res_histogram_t));
        res_histogram_record(&h, ms, 1000);

        got = res_histogram_percentile(&h, 950, 1, 1000);
        error = (got > (int64_t) ms ? (double) got - (double) ms
                                    : (double) ms - (double) got)
                / (double) ms;

        most = error > most ? error : most;
        bad += (ms <= 6 && got != (int64_t) ms);
    }

    ok(most <= 0.13, "an error of %.1f%% at most", most * 100);
    is_int(bad, 0, "none up to 6 ms");

    bad = 0;

    for (i = 1; i < BUCKETS - 1; i++) {
        low = res_histogram_bound(i - 1) + 1;
        high = res_histogram_bound(i);

        memset(&h, 0, sizeof(res_histogram_t));
        res_histogram_record(&h, (uint64_t) high, 1000);

        bad += (res_histogram_percentile(&h, 950, 1, 1000)
                != (int64_t) (2 / (1 / low + 1 / high) + 0.5));
    }

    is_int(bad, 0, "a bucket is told by its harmonic mean");

    memset(&h, 0, sizeof(res_histogram_t));
    res_histogram_record(&h, 0, 1000);
    is_int(res_histogram_percentile(&h, 950, 1, 1000), 1, "0 is told as 1");

    for (ms = LAST + 1; ms != 0; ms *= 2) {
        memset(&h, 0, sizeof(res_histogram_t));
        res_histogram_record(&h, ms, 1000);

        if (res_histogram_percentile(&h, 950, 1, 1000) != LAST) {
            break;
        }
    }

    is_int(ms, 0, "all beyond 600 s is told as 600 s");
}


/* ranks: of samples 1, 2, 3, 4, 5, of which each has a bucket */

typedef struct {
    uint32_t  permille;
    int64_t   want[6];              /* of 0 to 5 samples */
} rank_t;


static const rank_t  ranks[] = {
    { 0, { -1, 1, 1, 1, 1, 1 } },
    { 1, { -1, 1, 1, 1, 1, 1 } },
    { 200, { -1, 1, 1, 1, 1, 1 } },
    { 201, { -1, 1, 1, 1, 1, 2 } },
    { 250, { -1, 1, 1, 1, 1, 2 } },
    { 251, { -1, 1, 1, 1, 2, 2 } },
    { 400, { -1, 1, 1, 2, 2, 2 } },
    { 401, { -1, 1, 1, 2, 2, 3 } },
    { 500, { -1, 1, 1, 2, 2, 3 } },
    { 501, { -1, 1, 2, 2, 3, 3 } },
    { 800, { -1, 1, 2, 3, 4, 4 } },
    { 801, { -1, 1, 2, 3, 4, 5 } },
    { 950, { -1, 1, 2, 3, 4, 5 } },
    { 999, { -1, 1, 2, 3, 4, 5 } },
    { 1000, { -1, 1, 2, 3, 4, 5 } },
    { 1001, { -1, 1, 2, 3, 4, 5 } },
    { UINT32_MAX, { -1, 1, 2, 3, 4, 5 } }
};


static void
test_ranks(void)
{
    int              n, k;
    size_t           i;
    res_histogram_t  h;

    for (i = 0; i < sizeof(ranks) / sizeof(ranks[0]); i++) {
        for (n = 0; n <= 5; n++) {

            memset(&h, 0, sizeof(res_histogram_t));

            for (k = n; k > 0; k--) {
                res_histogram_record(&h, (uint64_t) k, 0);
            }

            is_int(res_histogram_percentile(&h, ranks[i].permille, 0, 0),
                   ranks[i].want[n], "%u thousandths of %d",
                   ranks[i].permille, n);

            is_int(res_histogram_percentile(&h, ranks[i].permille,
                                            (uint64_t) n, 0),
                   ranks[i].want[n], "%d are enough", n);

            is_int(res_histogram_percentile(&h, ranks[i].permille,
                                            (uint64_t) n + 1, 0),
                   -1, "%d are not", n);
        }
    }

    memset(&h, 0, sizeof(res_histogram_t));

    for (k = 0; k < 2000; k++) {
        res_histogram_record(&h, k ? 2 : 1, 0);
    }

    res_histogram_record(&h, 5, 0);

    is_int(res_histogram_percentile(&h, 0, 1, 0), 1, "0 thousandths of 2001");
    is_int(res_histogram_percentile(&h, 1, 1, 0), 2, "the third of 2001");
    is_int(res_histogram_percentile(&h, 999, 1, 0), 2, "the 1999th of 2001");
    is_int(res_histogram_percentile(&h, 1000, 1, 0), 5, "the last of 2001");
    is_int(res_histogram_percentile(&h, 1001, 1, 0), 5, "no more than that");

    memset(&h, 0, sizeof(res_histogram_t));
    res_histogram_record(&h, 1, 0);

    for (k = 0; k < 1000; k++) {
        res_histogram_record(&h, 2, 0);
    }

    is_int(res_histogram_percentile(&h, 1, 1, 0), 2, "the second of 1001");

    memset(&h, 0, sizeof(res_histogram_t));
    res_histogram_record(&h, 5, 0);
    is_int(res_histogram_percentile(&h, 0, 1, 0), 5,
           "the least is in a later bucket");
    is_int(res_histogram_percentile(&h, 500, UINT64_MAX, 0), -1,
           "there are never so many");
}


static int
compare(const void *a, const void *b)
{
    uint32_t  x, y;

    x = *(const uint32_t *) a;
    y = *(const uint32_t *) b;

    return (x > y) - (x < y);
}


static uint32_t
sample(int kind)
{
    int       i;
    uint32_t  ms;

    switch (kind) {

    case 0:     /* even */
        return 1 + number(LAST);

    case 1:     /* quick ones, with a long tail */
        ms = 1;

        for (i = 0; i < 40; i++) {
            ms += ms * number(40) / 100 + number(2);
        }

        return ms < LAST ? ms : LAST;

    case 2:     /* two kinds */
        return number(20) ? 30 + number(20) : 9000 + number(3000);

    case 3:     /* a fixed one */
        return 1234;

    default:    /* any size */
        return 1 + number(1 << number(19));
    }
}


static void
test_percentiles(void)
{
    int              kind, n, i, bad, far;
    size_t           k;
    int64_t          got;
    uint32_t         samples[2000], exact, rank;
    res_histogram_t  h;

    static const uint32_t  permilles[] = {
        0, 1, 10, 250, 500, 750, 900, 950, 990, 999, 1000
    };

    for (kind = 0; kind < 5; kind++) {
        bad = 0;
        far = 0;

        for (n = 1; n <= 2000; n += 1 + n / 3) {

            memset(&h, 0, sizeof(res_histogram_t));

            for (i = 0; i < n; i++) {
                samples[i] = sample(kind);
                res_histogram_record(&h, samples[i], 90000 + number(MINUTE));
            }

            qsort(samples, (size_t) n, sizeof(uint32_t), compare);

            for (k = 0; k < sizeof(permilles) / sizeof(permilles[0]); k++) {
                rank = ((uint32_t) n * permilles[k] + 999) / 1000;
                exact = samples[rank ? rank - 1 : 0];

                got = res_histogram_percentile(&h, permilles[k],
                                               (uint64_t) n, 2 * MINUTE);

                bad += (got < 0);
                far += (got * 100 < exact * 87LL - 50
                        || got * 100 > exact * 113LL + 50);
            }
        }

        is_int(bad, 0, "percentiles of kind %d", kind);
        is_int(far, 0, "percentiles of kind %d are within 13%%", kind);
    }
}


/* a sample is seen to the end of the next minute */

typedef struct {
    uint64_t  at;
    uint64_t  now;
    int       seen;
} turn_t;


static const turn_t  turns[] = {
    { 0, 0, 1 },
    { 0, MINUTE - 1, 1 },
    { 0, MINUTE, 1 },
    { 0, 2 * MINUTE - 1, 1 },
    { 0, 2 * MINUTE, 0 },
    { 0, 3 * MINUTE, 0 },
    { MINUTE - 1, 2 * MINUTE - 1, 1 },
    { MINUTE - 1, 2 * MINUTE, 0 },
    { MINUTE, 3 * MINUTE - 1, 1 },
    { MINUTE, 3 * MINUTE, 0 },
    { MINUTE, 4 * MINUTE, 0 },
    { MINUTE, 5 * MINUTE, 0 },
    { 7 * MINUTE, 8 * MINUTE, 1 },
    { 7 * MINUTE, 9 * MINUTE, 0 },
    { 7 * MINUTE, 9 * MINUTE - 1, 1 },
    { 8 * MINUTE, 10 * MINUTE - 1, 1 },
    { 8 * MINUTE, 10 * MINUTE, 0 },
    { 8 * MINUTE, 100 * MINUTE, 0 },
    { 8 * MINUTE, 101 * MINUTE, 0 },

    /* a step back is none */

    { 8 * MINUTE, 8 * MINUTE - 1, 1 },
    { 8 * MINUTE, 5 * MINUTE, 1 },
    { 8 * MINUTE, 0, 1 }
};


static void
test_turns(void)
{
    size_t           i;
    const turn_t    *r;
    res_histogram_t  h;

    for (i = 0; i < sizeof(turns) / sizeof(turns[0]); i++) {
        r = &turns[i];

        memset(&h, 0, sizeof(res_histogram_t));
        res_histogram_record(&h, 100, r->at);

        is_int(recent(&h, r->now), r->seen, "a sample of %llu at %llu",
               (unsigned long long) r->at, (unsigned long long) r->now);

        /* and another one empties the window if it has to */

        res_histogram_record(&h, 100, r->now);

        is_int(recent(&h, r->now), r->seen + 1, "with one of that time");
    }

    memset(&h, 0, sizeof(res_histogram_t));
    res_histogram_record(&h, 100, 10 * MINUTE);
    res_histogram_record(&h, 100, 9 * MINUTE);
    res_histogram_record(&h, 100, 3 * MINUTE);
    is_int(recent(&h, 11 * MINUTE), 3, "samples of a step back are of now");
    is_int(recent(&h, 12 * MINUTE), 0, "and go with it");
}


/* against counts of all minutes */

static void
test_model(void)
{
    int              i, bad;
    uint64_t         now, last, minute;
    res_histogram_t  h;

    static uint32_t  minutes[40000];

    memset(&h, 0, sizeof(res_histogram_t));

    bad = 0;
    last = 0;

    for (i = 0, now = 1; now < 35000ULL * MINUTE && i < 100000; i++) {

        now += (number(20) == 0) ? number(10 * MINUTE) : number(MINUTE);

        last = now / MINUTE > last ? now / MINUTE : last;
        res_histogram_record(&h, number(1000), now);
        minutes[last]++;

        if (number(5) == 0) {

            /* a worker whose clock is behind */

            res_histogram_record(&h, number(1000),
                                 now - number(now < 3 * MINUTE ? 1
                                                               : 3 * MINUTE));
            minutes[last]++;
        }

        if (number(4) == 0) {
            minute = now / MINUTE + number(3);

            bad += (recent(&h, minute * MINUTE + number(MINUTE))
                    != minutes[minute] + minutes[minute - 1]);
        }
    }

    ok(i > 10000, "%d samples, to minute %llu", i, (unsigned long long) last);
    is_int(bad, 0, "the last two minutes, as by the model");
}


/* a writer was killed while it emptied the window of minute 7 */

static void
test_death(void)
{
    res_histogram_t        h;
    res_histogram_total_t  t;

    memset(&h, 0, sizeof(res_histogram_t));

    res_histogram_record(&h, 100, 6 * MINUTE);
    h.windows[1].minute = 7 << 1 | 1;
    h.windows[1].counts[20] = 1000;

    is_int(recent(&h, 7 * MINUTE), 1, "what it counted isn't believed");

    res_histogram_record(&h, 100, 7 * MINUTE);
    res_histogram_record(&h, 100, 7 * MINUTE + 5);
    is_int(recent(&h, 7 * MINUTE + 9), 1, "the minute is gone");

    res_histogram_record(&h, 100, 6 * MINUTE);
    is_int(recent(&h, 7 * MINUTE + 9), 1, "it is that minute nevertheless");

    res_histogram_total(&h, &t);
    is_int(t.counts[BUCKETS - 1], 4, "the totals have all");

    res_histogram_record(&h, 100, 8 * MINUTE);
    is_int(recent(&h, 8 * MINUTE), 1, "the next one is as ever");

    res_histogram_record(&h, 100, 9 * MINUTE);
    is_int(recent(&h, 9 * MINUTE), 2, "and the next one, in that window");
}


/*
 * A writer that turns the window of minute 7 is watched instruction by
 * instruction.  It may die after each of its writes, and at some points
 * another one comes in between: nothing that the window had counted before is
 * believed, and the totals lose nothing.
 */

#define POINTS  8
#define STEPS   100000              /* at most: where an atomic operation is a
                                       loop, it may not end when watched */

typedef enum {
    DEATH = 0,                      /* it goes no further */
    SAME,                           /* a sample of that minute, then it ends */
    LATER                           /* one of a turn later, then it ends */
} between_e;


static const char *const  betweens[] = {
    "death", "another writer", "the next turn"
};


static void
between_prepare(res_histogram_t *h)
{
    int  i;

    memset(h, 0, sizeof(res_histogram_t));

    for (i = 0; i < 1000; i++) {
        res_histogram_record(h, 1 << i % 20, 5 * MINUTE);
    }

    res_histogram_record(h, 100, 6 * MINUTE);
}


static void
between_child(res_histogram_t *h)
{
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == -1) {
        _exit(2);
    }

    (void) raise(SIGSTOP);

    res_histogram_record(h, 100, 7 * MINUTE);

    (void) raise(SIGSTOP);

    _exit(1);
}


/* what is wrong with what is left behind */

static const char *
between_check(res_histogram_t *h, between_e what)
{
    uint64_t               now, count, before;
    res_histogram_total_t  t;

    res_histogram_total(h, &t);

    count = t.counts[BUCKETS - 1] - 1001;
    now = (what == LATER ? 9 : 7) * MINUTE;
    before = recent(h, now);

    switch (what) {

    case DEATH:
        if (count > 1 || before < 1 || before > 1 + count) {
            return "what it counted";
        }

        res_histogram_record(h, 1, now);

        if (recent(h, now) < before || recent(h, now) > before + 1) {
            return "what another counts";
        }

        before = recent(h, now) - 1;
        break;

    case SAME:
        if (count != 2 || before < 2 || before > 3) {
            return "what both counted";
        }

        before--;
        break;

    case LATER:
        if (count != 2 || before > 2 || h->windows[1].minute != 9 << 1) {
            return "a minute that is over";
        }

        break;
    }

    /* from then on all is well */

    res_histogram_record(h, 1, now + MINUTE);

    if (recent(h, now + MINUTE) != before + 1) {
        return "the next minute";
    }

    res_histogram_record(h, 1, now + 2 * MINUTE);
    res_histogram_record(h, 1, now + 2 * MINUTE);

    return recent(h, now + 2 * MINUTE) == 3 ? NULL : "the minute after that";
}


/* the instructions it was watched for, or -1 */

static int
between_run(res_histogram_t *h, between_e what, int point,
    const char **wrong)
{
    int              status, stops, steps, writes;
    pid_t            pid;
    res_histogram_t  seen, copy;

    between_prepare(h);
    memcpy(&seen, h, sizeof(res_histogram_t));

    pid = fork();

    if (pid == 0) {
        between_child(h);
    }

    status = 0;
    stops = 0;
    steps = 0;
    writes = 0;

    while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {

        /* before and after the act */

        if (WSTOPSIG(status) == SIGSTOP && ++stops == 2) {
            (void) kill(pid, SIGKILL);
            continue;
        }

        if (what == DEATH) {

            if (*wrong == NULL
                && memcmp(h, &seen, sizeof(res_histogram_t)) != 0)
            {
                memcpy(&seen, h, sizeof(res_histogram_t));
                memcpy(&copy, h, sizeof(res_histogram_t));

                *wrong = between_check(&copy, what);
                writes++;
            }

        } else if (steps == point) {
            res_histogram_record(h, 100, (what == LATER ? 9 : 7) * MINUTE);

            (void) ptrace(PTRACE_CONT, pid, NULL, NULL);
            steps++;
            continue;
        }

        if (steps == STEPS) {
            (void) kill(pid, SIGKILL);
            (void) waitpid(pid, &status, 0);
            return -1;
        }

        (void) ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL);
        steps++;
    }

    if (pid == -1 || (WIFEXITED(status) && WEXITSTATUS(status) == 2)) {
        return -1;
    }

    if (what != DEATH) {

        /* it may have been at its end before the point */

        *wrong = steps > point ? between_check(h, what) : NULL;

    } else if (*wrong == NULL && (stops != 2 || writes < 20)) {
        *wrong = "it isn't watched";
    }

    return steps;
}


static void
test_betweens(void)
{
    int               what, i, n, steps, point;
    const char       *wrong;
    res_histogram_t  *h;

    h = mmap(NULL, sizeof(res_histogram_t), PROT_READ|PROT_WRITE,
             MAP_SHARED|MAP_ANONYMOUS, -1, 0);

    (void) fflush(stdout);

    wrong = NULL;
    steps = between_run(h, DEATH, 0, &wrong);

    if (steps == -1) {
        ok(1, "in between # SKIP nothing can be watched here");

    } else {
        ok(wrong == NULL, "%s in between: %s", betweens[DEATH],
           wrong ? wrong : "no harm");
    }

    for (what = SAME; what <= LATER && steps != -1; what++) {
        wrong = NULL;
        n = 0;

        for (i = 0; i < POINTS && wrong == NULL; i++) {
            point = steps * (2 * i + 1) / (2 * POINTS);
            n += (between_run(h, (between_e) what, point, &wrong) > point);
        }

        ok(wrong == NULL && n > POINTS / 2, "%s in between: %s, %d times",
           betweens[what], wrong ? wrong : "no harm", n);
    }

    (void) munmap(h, sizeof(res_histogram_t));
}


#define THREADS  4
#define SAMPLES  50000


static res_histogram_t  shared;
static uint64_t         ticks;      /* the common clock */
static uint64_t         tick;       /* ms */


static void *
writer(void *arg)
{
    uint64_t  i, n, now;

    n = *(uint64_t *) arg;

    for (i = 0; i < SAMPLES; i++) {
        now = __atomic_fetch_add(&ticks, 1, __ATOMIC_RELAXED) * tick;

        res_histogram_record(&shared, (i * 7 + n) % 1000, now);
    }

    return NULL;
}


static void
test_threads(uint64_t ms)
{
    int                    i, bad;
    uint64_t               n[THREADS], sum, k, now, seen;
    pthread_t              threads[THREADS];
    res_histogram_total_t  t;

    memset(&shared, 0, sizeof(res_histogram_t));

    ticks = 0;
    tick = ms;
    bad = 0;
    sum = 0;

    for (i = 0; i < THREADS; i++) {
        n[i] = (uint64_t) i;
        bad += (pthread_create(&threads[i], NULL, writer, &n[i]) != 0);

        for (k = 0; k < SAMPLES; k++) {
            sum += (k * 7 + n[i]) % 1000;
        }
    }

    for (i = 0; i < THREADS; i++) {
        bad += (pthread_join(threads[i], NULL) != 0);
    }

    is_int(bad, 0, "%d writers, %llu ms a sample", THREADS,
           (unsigned long long) ms);

    res_histogram_total(&shared, &t);
    is_int(t.counts[BUCKETS - 1], THREADS * SAMPLES, "all are counted");
    is_int(t.sum, sum, "all are summed");

    now = (ticks - 1) * ms;
    seen = recent(&shared, now);

    if (now < MINUTE) {
        is_int(seen, THREADS * SAMPLES, "all are recent");
        return;
    }

    ok(((shared.windows[0].minute | shared.windows[1].minute) & 1) == 0,
       "no window is left half empty");

    /* a writer that was kept waiting brings some of an earlier minute */

    ok(seen <= 2 * MINUTE / ms * 12 / 10,
       "%llu of the last two minutes are recent", (unsigned long long) seen);

    res_histogram_record(&shared, 1, now + MINUTE);
    ok(recent(&shared, now + MINUTE) > 0, "and more will be");
}


static void
test_forget(void)
{
    res_histogram_t        h;
    res_histogram_total_t  t;

    memset(&h, 0, sizeof(h));

    /* of a clock that was far ahead of the one that follows */

    res_histogram_record(&h, 100, 1000 * MINUTE);
    res_histogram_record(&h, 7, 2 * MINUTE);
    is_int(res_histogram_percentile(&h, 1000, 1, 2 * MINUTE),
           res_histogram_percentile(&h, 1000, 1, 1000 * MINUTE),
           "a time ahead is taken for now");

    res_histogram_forget(&h);
    is_int(res_histogram_percentile(&h, 500, 1, 2 * MINUTE), -1,
           "nothing recent is known");

    res_histogram_total(&h, &t);
    ok(t.counts[RES_HISTOGRAM_BUCKETS - 1] == 2 && t.sum == 107,
       "what was counted is");

    res_histogram_record(&h, 10, 2 * MINUTE);
    is_int(res_histogram_percentile(&h, 500, 1, 2 * MINUTE), 9,
           "what comes is timed by the new clock");
}


int
main(void)
{
    test_bounds();
    test_zero();
    test_totals();
    test_error();
    test_ranks();
    test_percentiles();
    test_turns();
    test_model();
    test_death();
    test_betweens();
    test_forget();

    test_threads(0);
    test_threads(1);
    test_threads(60);
    test_threads(1000);

    return done_testing();
}
