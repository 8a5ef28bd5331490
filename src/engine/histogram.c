
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "histogram.h"

#include <string.h>


#define res_histogram_load(p)    __atomic_load_n(p, __ATOMIC_RELAXED)
#define res_histogram_add(p, n)                                               \
    (void) __atomic_fetch_add(p, n, __ATOMIC_RELAXED)


static unsigned res_histogram_find(uint64_t ms);
static uint64_t res_histogram_middle(unsigned i);
static uint64_t res_histogram_minute(const res_histogram_t *h, uint64_t now);
static int res_histogram_turn(res_histogram_window_t *w, uint64_t minute);


static const uint32_t  res_histogram_bounds[RES_HISTOGRAM_BUCKETS] = {
    1, 2, 3, 4, 5, 6, 8,
    10, 13, 16, 20, 25, 32, 40, 50, 63, 80,
    100, 125, 160, 200, 250, 315, 400, 500, 630, 800,
    1000, 1250, 1600, 2000, 2500, 3150, 4000, 5000, 6300, 8000,
    10000, 12500, 16000, 20000, 25000, 31500, 40000, 50000, 63000, 80000,
    100000, 125000, 160000, 200000, 250000, 315000, 400000, 500000, 600000,
    RES_HISTOGRAM_INF
};


uint32_t
res_histogram_bound(unsigned i)
{
    return i < RES_HISTOGRAM_BUCKETS ? res_histogram_bounds[i]
                                     : RES_HISTOGRAM_INF;
}


void
res_histogram_record(res_histogram_t *h, uint64_t ms, uint64_t now)
{
    unsigned                 i;
    uint64_t                 minute;
    res_histogram_window_t  *w;

    if (ms > UINT32_MAX) {
        ms = UINT32_MAX;
    }

    i = res_histogram_find(ms);

    res_histogram_add(&h->sum, ms);
    res_histogram_add(&h->counts[i], 1);

    minute = res_histogram_minute(h, now);
    w = &h->windows[minute & 1];

    if (res_histogram_turn(w, minute)) {
        res_histogram_add(&w->counts[i], 1);
    }
}


int64_t
res_histogram_percentile(const res_histogram_t *h, uint32_t permille,
    uint64_t min_samples, uint64_t now)
{
    unsigned                       i, k;
    uint64_t                       minute, samples, rank;
    uint64_t                       counts[RES_HISTOGRAM_BUCKETS];
    const res_histogram_window_t  *w;

    memset(counts, 0, sizeof(counts));

    samples = 0;
    minute = res_histogram_minute(h, now);

    for (k = 0; k < 2; k++) {
        w = &h->windows[(minute - k) & 1];

        if (res_histogram_load(&w->minute) != (minute - k) << 1) {
            continue;
        }

        for (i = 0; i < RES_HISTOGRAM_BUCKETS; i++) {
            counts[i] += res_histogram_load(&w->counts[i]);
        }
    }

    for (i = 0; i < RES_HISTOGRAM_BUCKETS; i++) {
        samples += counts[i];
    }

    if (samples == 0 || samples < min_samples) {
        return -1;
    }

    if (permille > 1000) {
        permille = 1000;
    }

    rank = (samples * permille + 999) / 1000;

    if (rank == 0) {
        rank = 1;
    }

    for (i = 0; i < RES_HISTOGRAM_BUCKETS - 1; i++) {

        if (counts[i] >= rank) {
            break;
        }

        rank -= counts[i];
    }

    return (int64_t) res_histogram_middle(i);
}


void
res_histogram_forget(res_histogram_t *h)
{
    memset(h->windows, 0, sizeof(h->windows));
}


void
res_histogram_total(const res_histogram_t *h, res_histogram_total_t *t)
{
    unsigned  i;
    uint64_t  count;

    count = 0;

    for (i = 0; i < RES_HISTOGRAM_BUCKETS; i++) {
        count += res_histogram_load(&h->counts[i]);
        t->counts[i] = count;
    }

    t->sum = res_histogram_load(&h->sum);
}


/* the first bucket whose bound is not less */

static unsigned
res_histogram_find(uint64_t ms)
{
    unsigned  low, high, middle;

    low = 0;
    high = RES_HISTOGRAM_BUCKETS - 1;

    while (low < high) {
        middle = (low + high) / 2;

        if (res_histogram_bounds[middle] < ms) {
            low = middle + 1;

        } else {
            high = middle;
        }
    }

    return low;
}


/*
 * What is told for all that the bucket holds, from a to b: their harmonic
 * mean is off by the same share of either, (b - a) / (b + a).
 */

static uint64_t
res_histogram_middle(unsigned i)
{
    uint64_t  a, b;

    if (i == RES_HISTOGRAM_BUCKETS - 1) {
        return res_histogram_bounds[i - 1];
    }

    b = res_histogram_bounds[i];
    a = i ? res_histogram_bounds[i - 1] + 1 : b;

    return (2 * a * b + (a + b) / 2) / (a + b);
}


/* the current one; a window that is ahead of the clock says that it is over */

static uint64_t
res_histogram_minute(const res_histogram_t *h, uint64_t now)
{
    unsigned  i;
    uint64_t  minute, seen;

    minute = now / RES_HISTOGRAM_WINDOW;

    for (i = 0; i < 2; i++) {
        seen = res_histogram_load(&h->windows[i].minute) >> 1;

        if (minute < seen) {
            minute = seen;
        }
    }

    return minute;
}


/* makes the window count that minute; 0 if it can't be counted in now */

static int
res_histogram_turn(res_histogram_window_t *w, uint64_t minute)
{
    unsigned  i;
    uint64_t  seen, busy;

    seen = __atomic_load_n(&w->minute, __ATOMIC_ACQUIRE);

    if (seen == minute << 1) {
        return 1;
    }

    busy = minute << 1 | 1;

    if (seen >> 1 >= minute
        || !__atomic_compare_exchange_n(&w->minute, &seen, busy, 0,
                                        __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
    {
        return 0;
    }

    for (i = 0; i < RES_HISTOGRAM_BUCKETS; i++) {
        __atomic_store_n(&w->counts[i], 0, __ATOMIC_RELAXED);
    }

    return __atomic_compare_exchange_n(&w->minute, &busy, minute << 1, 0,
                                       __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}
