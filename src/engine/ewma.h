
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */

/*
 * Latency averages, and choosing by them or by weight.
 *
 * The average is the Peak EWMA of Finagle: a sample above it replaces it at
 * once, one below draws it down with time constant tau,
 *
 *   v = ms + (v - ms) * e^(-elapsed / tau)
 *
 * so that a peak is heeded when it shows and forgotten slowly.  The cost of
 * one more request is what it would be with all that are in flight,
 *
 *   v * e^(-elapsed / tau) * (inflight + 1)
 *
 * decaying while nothing is heard, so that one that was slow is tried again
 * some day.  Unlike in Finagle, asking for the cost changes nothing.
 *
 * Plain memory: the caller holds the lock of whatever the struct lives in.
 * An all-zero average has no sample.  Times are in ms, monotonic over all
 * processes; a step back is taken for none.
 */


#ifndef RES_EWMA_H_INCLUDED
#define RES_EWMA_H_INCLUDED


#include <stdint.h>


#define RES_EWMA_UNKNOWN  ((uint64_t) 1 << 63)  /* the cost of one that has no
                                                   sample, but requests */


typedef struct {
    uint64_t  at;           /* ms, the last sample */
    uint64_t  value;        /* us, never 0 once there is a sample */
} res_ewma_t;


/*
 * Adds a sample of so many ms (one above UINT32_MAX is taken for that).  Of
 * those within one ms, the greatest counts.  tau in ms; 0: only the last one
 * counts.  Which samples to add is the caller's: an error that comes quickly
 * must not make a provider look quick.
 */
void res_ewma_record(res_ewma_t *e, uint64_t ms, uint64_t now, uint32_t tau);

/*
 * The cost of one more request: to be compared, the least is the best.
 * Without a sample it is 0 ("try it first") for the first request, and for
 * more RES_EWMA_UNKNOWN + inflight, above all others, until an answer is in.
 */
uint64_t res_ewma_cost(const res_ewma_t *e, uint32_t inflight, uint64_t now,
    uint32_t tau);

/*
 * Two different indexes of n, 2..65536, each pair with the same probability:
 * to compare their costs and take the better (M. Mitzenmacher, "The Power of
 * Two Choices in Randomized Load Balancing", 2001).  n below 2 gives 0 twice.
 * random: 32 uniform bits.
 */
void res_pick_two(uint32_t random, uint32_t n, uint32_t *i, uint32_t *j);

/*
 * An index below n, with the probability weight / sum of weights; never one
 * of weight 0; -1 when all are, or n is 0.  random: 32 uniform bits.
 */
int res_pick_weighted(const uint32_t weights[], uint32_t n, uint32_t random);


#endif /* RES_EWMA_H_INCLUDED */
