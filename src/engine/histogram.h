
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */

/*
 * Latency histogram: counts in buckets of fixed bounds, since the beginning
 * for exposition, and of the last one to two minutes for percentiles.
 *
 * The bounds are the preferred numbers R10 of ISO 3, ten a decade, from 1 ms
 * to 600 s, so that a percentile, told as one number for all of its bucket,
 * is within 13 % of the exact one; the last bucket has no bound.
 *
 * The recent counts are in two windows that take turns each 60 s; a window
 * says which minute it counts, so nothing has to sweep.
 *
 * Atomic: none of the functions needs a lock; all counts are relaxed.  The
 * totals miss no sample.  The recent view may miss a few: those that come
 * while the first writer of a minute is emptying the window for it, which is
 * the time of some sixty stores; and should that writer be killed right then,
 * the rest of that minute.
 *
 * All-zero memory is an empty histogram.  Times and latencies are in ms; the
 * time is monotonic over all processes, a step back is taken for none.
 */


#ifndef RES_HISTOGRAM_H_INCLUDED
#define RES_HISTOGRAM_H_INCLUDED


#include <stdint.h>


#define RES_HISTOGRAM_BUCKETS  57
#define RES_HISTOGRAM_WINDOW   60000        /* ms */
#define RES_HISTOGRAM_INF      UINT32_MAX   /* the bound of the last bucket */


typedef struct {
    uint64_t  minute;           /* that it counts * 2, + 1: being emptied */
    uint32_t  counts[RES_HISTOGRAM_BUCKETS];
} res_histogram_window_t;


typedef struct {
    uint64_t                sum;            /* ms */
    uint64_t                counts[RES_HISTOGRAM_BUCKETS];
    res_histogram_window_t  windows[2];
} res_histogram_t;


typedef struct {
    uint64_t  sum;              /* ms */
    uint64_t  counts[RES_HISTOGRAM_BUCKETS];    /* cumulative: up to and with
                                                   the bound; the last one is
                                                   the count of all samples */
} res_histogram_total_t;


/* The greatest latency in ms that bucket i, from 0, holds. */
uint32_t res_histogram_bound(unsigned i);

/* Adds a sample; one above UINT32_MAX ms is taken for that. */
void res_histogram_record(res_histogram_t *h, uint64_t ms, uint64_t now);

/*
 * The latency in ms that so many thousandths (0..1000) of the recent samples
 * don't exceed, by nearest rank; -1 if there are fewer than min_samples of
 * them, or none.  Above 600 s it is 600 s.
 */
int64_t res_histogram_percentile(const res_histogram_t *h, uint32_t permille,
    uint64_t min_samples, uint64_t now);

/* Forgets the recent samples: what comes is timed by another clock. */
void res_histogram_forget(res_histogram_t *h);

/* Since the beginning. */
void res_histogram_total(const res_histogram_t *h, res_histogram_total_t *t);


#endif /* RES_HISTOGRAM_H_INCLUDED */
