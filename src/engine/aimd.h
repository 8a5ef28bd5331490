
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */

/*
 * Adaptive concurrency limit: additive increase, multiplicative decrease, as
 * AIMDLimit of Netflix's concurrency-limits has it:
 *
 *   dropped, or latency > latency_over     limit = limit * backoff
 *   else, if inflight * 2 >= limit         limit is raised
 *
 * within min..max.  It never rises while less than half of it is used: that
 * teaches nothing.
 *
 * There, each good sample raises the limit by 1 and each bad one cuts it.
 * Here both go by the round, as in D. Chiu, R. Jain, "Analysis of the
 * Increase and Decrease Algorithms for Congestion Avoidance", 1989, and TCP:
 *
 *  -  A good sample raises it by 1/limit, so a round of as many samples as
 *     the limit raises it by 1.  By 1 a sample, it would double with each
 *     round, and settle where 1 - f = f * limit * (1 - backoff), f being the
 *     share of dropped samples: a third of all for a limit of 20 and a
 *     backoff of 0.9.  Here it settles where (1 - f) / limit is that: at a
 *     fortieth.
 *
 *  -  A bad sample of an attempt that began before the last cut, or in the
 *     same ms, speaks of the limit of that time and doesn't cut again, so
 *     that twenty attempts refused at once count as one piece of news, and
 *     not as 0.9^20.
 *
 * Plain memory: the caller holds the lock of whatever the struct lives in.
 * An all-zero state starts with the initial limit.  Times are in ms,
 * monotonic over all processes; a step back is taken for none.
 */


#ifndef RES_AIMD_H_INCLUDED
#define RES_AIMD_H_INCLUDED


#include <stdint.h>


#define RES_AIMD_MAX  100000


typedef struct {
    uint32_t  min;              /* 1..max */
    uint32_t  max;              /* ..RES_AIMD_MAX */
    uint32_t  initial;          /* min..max */
    uint32_t  backoff;          /* thousandths, 500..999 */
    uint32_t  latency_over;     /* ms; 0: latency isn't looked at */
} res_aimd_conf_t;


typedef struct {
    uint64_t  limit;            /* millionths; 0: the initial one */
    uint64_t  cut;              /* ms, the last decrease; 0: none */
} res_aimd_t;


/*
 * Adds a sample: an attempt that ended at now after so many ms.  dropped: it
 * was refused for load (429, 503, 529) or timed out; one that says nothing of
 * the provider's load, as a client's abort, is not to be added.  inflight: all
 * attempts in flight when it ended, itself included.
 */
void res_aimd_record(res_aimd_t *a, const res_aimd_conf_t *conf,
    uint64_t latency, int dropped, uint32_t inflight, uint64_t now);

/* How many attempts may be in flight, min..max. */
uint32_t res_aimd_limit(const res_aimd_t *a, const res_aimd_conf_t *conf);


#endif /* RES_AIMD_H_INCLUDED */
