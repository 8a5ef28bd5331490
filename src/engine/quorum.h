
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


/*
 * Do enough tenants say that a provider is in trouble?
 *
 * Each tenant has one vote, its latest outcome, and it counts for a while: a
 * tenant that fails a thousand times says no more than one that fails once.
 * The votes lie in a small table, in one of a few places given by the tenant's
 * hash; where there are too many tenants, the oldest vote goes.  So it may
 * take more tenants than are asked for, and never fewer.
 *
 * Plain memory and no lock, as the breaker; all zero is an empty one.
 */


#ifndef RES_QUORUM_H_INCLUDED
#define RES_QUORUM_H_INCLUDED


#include <stdint.h>


#define RES_QUORUM_VOTES  32
#define RES_QUORUM_WAYS   4         /* places that a vote may be in */


typedef struct {
    uint64_t              at;          /* ms */
    uint32_t              tenant;      /* of its hash */
    uint8_t               failed;
    uint8_t               used;
} res_vote_t;

typedef struct {
    res_vote_t            votes[RES_QUORUM_VOTES];
} res_quorum_t;

typedef struct {
    uint32_t              tenants;     /* failing ones it takes at least,
                                          2..RES_QUORUM_VOTES / 2 */
    uint32_t              share;       /* of those heard of, percent, that
                                          must be failing, 0..100 */
    uint32_t              window;      /* ms a vote counts */
} res_quorum_conf_t;


/*
 * A tenant's attempt has failed or has not; hash is of the tenant alone or of
 * it and the provider, as res_table_hash().  Returns 1 if this was a failure
 * and enough others are failing, too.
 */
int res_quorum_vote(res_quorum_t *q, const res_quorum_conf_t *conf,
    uint64_t now, uint64_t hash, int failed);

/* Forgets all votes. */
void res_quorum_clear(res_quorum_t *q);


#endif /* RES_QUORUM_H_INCLUDED */
