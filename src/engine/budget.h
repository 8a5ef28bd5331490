
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */

/*
 * The retry budget: retries and hedges are at most a share of calls, so that
 * they can't multiply the load on a provider that is down.
 *
 * Calls and retries are counted in buckets of one second of the clock.  The
 * eleven of them that end with the current second hold the last 10 s at any
 * moment.  A retry is granted when, it included,
 *
 *   retries <= calls * percent / 100 + min * 10
 *
 * over these buckets.  It follows that within any 10 s whatever there are
 *
 *   at most percent of the calls of the 11 s before the last retry in them,
 *   and 10 * min more
 *
 * retries.  In the long run, the free ones are thus 10 * min in 11 s.
 *
 * The share and the reserve of so many a second are those of the RetryBudget
 * of Finagle; a window takes the place of its token bucket, as it has a bound
 * that can be stated.
 *
 * Plain memory: the caller holds the lock of whatever the struct lives in.
 * An all-zero budget is ready.  Times are in ms, monotonic over all
 * processes; a step back is taken for none.
 */


#ifndef RES_BUDGET_H_INCLUDED
#define RES_BUDGET_H_INCLUDED


#include <stdint.h>


#define RES_BUDGET_WINDOW   10      /* seconds */
#define RES_BUDGET_PERCENT  1000    /* at most */


typedef struct {
    uint32_t             percent;   /* 0..RES_BUDGET_PERCENT, of calls */
    uint32_t             min;       /* retries a second that are free */
} res_budget_conf_t;


typedef struct {
    uint64_t             second;    /* of the clock, that it counts */
    uint32_t             calls;
    uint32_t             retries;
} res_budget_bucket_t;


typedef struct {
    uint64_t             second;    /* the latest seen */
    res_budget_bucket_t  buckets[RES_BUDGET_WINDOW + 1];
} res_budget_t;


/* Counts a call: once, when its first attempt starts. */
void res_budget_call(res_budget_t *b, uint64_t now);

/* 1: a retry or a hedge may start, and is counted; 0: it may not. */
int res_budget_retry(res_budget_t *b, const res_budget_conf_t *conf,
    uint64_t now);

/*
 * Takes back a retry that was granted at that time and then never sent.  No
 * effect when it is out of the window.
 */
void res_budget_undo(res_budget_t *b, uint64_t granted);


#endif /* RES_BUDGET_H_INCLUDED */
