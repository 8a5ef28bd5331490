
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "quorum.h"

#include <string.h>


static res_vote_t *res_quorum_place(res_quorum_t *q, uint64_t hash);
static int res_quorum_reached(const res_quorum_t *q,
    const res_quorum_conf_t *conf, uint64_t now);


int
res_quorum_vote(res_quorum_t *q, const res_quorum_conf_t *conf, uint64_t now,
    uint64_t hash, int failed)
{
    res_vote_t  *vote;

    vote = res_quorum_place(q, hash);

    vote->at = now;
    vote->tenant = hash >> 32;
    vote->failed = failed != 0;
    vote->used = 1;

    return failed && res_quorum_reached(q, conf, now);
}


/* the tenant's own, or an empty one, or the oldest */

static res_vote_t *
res_quorum_place(res_quorum_t *q, uint64_t hash)
{
    uint32_t     i;
    res_vote_t  *vote, *place;

    vote = &q->votes[hash % (RES_QUORUM_VOTES / RES_QUORUM_WAYS)
                     * RES_QUORUM_WAYS];
    place = vote;

    for (i = 0; i < RES_QUORUM_WAYS; i++) {

        if (vote[i].used && vote[i].tenant == (uint32_t) (hash >> 32)) {
            return &vote[i];
        }

        if (place->used && (!vote[i].used || vote[i].at < place->at)) {
            place = &vote[i];
        }
    }

    return place;
}


static int
res_quorum_reached(const res_quorum_t *q, const res_quorum_conf_t *conf,
    uint64_t now)
{
    uint32_t           i, heard, failing;
    const res_vote_t  *vote;

    heard = 0;
    failing = 0;

    for (i = 0; i < RES_QUORUM_VOTES; i++) {
        vote = &q->votes[i];

        if (!vote->used || now > vote->at + conf->window) {
            continue;
        }

        heard++;
        failing += vote->failed;
    }

    return failing >= conf->tenants
           && (uint64_t) failing * 100 >= (uint64_t) conf->share * heard;
}


void
res_quorum_clear(res_quorum_t *q)
{
    memset(q, 0, sizeof(res_quorum_t));
}
