
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */

/*
 * Rate limit: so many units (requests, tokens) a period, by the generic cell
 * rate algorithm (ITU-T I.371) with a cost as throttled (Go) has it:
 *
 *   T = period / limit,  tau = T * (burst + 1)
 *   next = max(now, TAT) + cost * T
 *   allowed if next - tau <= now, and then TAT = next
 *
 * A unit comes back each T; burst + 1 are to be had at once.  All is counted
 * in whole nanoseconds: cost * T as a whole is rounded down, so what is let
 * through in the long run is off by less than 1 ns / T a take.
 *
 * After res_gcra_settle() more may be owed than there was.  No more than ten
 * periods' worth of that is ever believed, so that neither one monstrous
 * charge nor a state of another configuration (a limit that was by the day
 * and is by the second now) shuts the door for long.
 *
 * Plain memory: the caller holds the lock of whatever the struct lives in.
 * An all-zero state has all of its burst.  Times are in ms, monotonic over
 * all processes; one number can't tell a step back, which costs as much more
 * of a wait as it was long, within the same bound.
 */


#ifndef RES_GCRA_H_INCLUDED
#define RES_GCRA_H_INCLUDED


#include <stdint.h>


#define RES_GCRA_MAX   1000000000   /* units */
#define RES_GCRA_DEBT  10           /* periods */


/* what T comes to must be 1 ns at least, and tau 30 years at most */

typedef struct {
    uint32_t  limit;        /* units a period, 1..RES_GCRA_MAX; 0: no limit */
    uint32_t  period;       /* ms, >= 1 */
    uint32_t  burst;        /* units beyond the first, 0..RES_GCRA_MAX - 1 */
} res_gcra_conf_t;


typedef struct {
    uint64_t  tat;          /* ns, theoretical arrival time */
} res_gcra_t;


typedef struct {
    int       allowed;
    int64_t   retry_after;  /* ms until the same would be allowed if nothing
                               else came; 0: it was, -1: it never is */
    uint32_t  remaining;    /* the most that would be allowed now */
    uint64_t  reset;        /* ms until all of the burst is back */
} res_gcra_result_t;


/* 1: the state says no more than an all-zero one. */
int res_gcra_idle(const res_gcra_t *g, uint64_t now);

/*
 * Takes so many units if they are to be had, else none.  cost 0 takes nothing
 * and is allowed unless something is owed.  Returns r->allowed.  Without a
 * limit all is allowed and nothing stored, and UINT32_MAX remain.
 */
int res_gcra_take(res_gcra_t *g, const res_gcra_conf_t *conf, uint32_t cost,
    uint64_t now, res_gcra_result_t *r);

/*
 * Charges units (or, when negative, gives them back) that have turned out to
 * be used (or not) after a take of an estimate.  What is charged may be more
 * than is left: the next takes wait for it.  What is given back never makes
 * more than the burst.  One over RES_GCRA_MAX units is taken for that.
 */
void res_gcra_settle(res_gcra_t *g, const res_gcra_conf_t *conf,
    int64_t delta, uint64_t now);


#endif /* RES_GCRA_H_INCLUDED */
