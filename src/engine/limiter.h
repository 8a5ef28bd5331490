
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */

/*
 * The states of rate limits, each found by a hash of whose it is.
 *
 * A state whose TAT is not in the future says the same as none: its place is
 * free without a word.  So nothing is ever given up, nothing has to be swept,
 * and what counts is how many keys have taken something that has not come back
 * yet.  A key has eight places, those of two cache lines side by side, given
 * by its hash.  When all are taken by others, what it asks for is let through
 * and counted in "full": a limit that lacks memory must not be an outage.
 *
 * Two keys with one hash of 64 bits would share a state; the hash must be
 * keyed, or strangers could choose them, and the places they go to.
 *
 * Plain memory: the caller holds a lock.  One that dies with it leaves a unit
 * counted or not, and nothing to repair.
 */


#ifndef RES_LIMITER_H_INCLUDED
#define RES_LIMITER_H_INCLUDED


#include <stddef.h>
#include <stdint.h>

#include "gcra.h"


#define RES_LIMITER_WAYS  8
#define RES_LIMITER_SET   128           /* bytes */


typedef struct {
    uint64_t             hash;
    res_gcra_t           gcra;
} res_limiter_entry_t;

typedef struct {
    res_limiter_entry_t  entries[RES_LIMITER_WAYS];
} res_limiter_set_t;

_Static_assert(sizeof(res_limiter_set_t) == RES_LIMITER_SET,
               "a set is two cache lines");


/* memory of it is to be aligned to a set */

typedef struct {
    uint64_t             key[2];        /* for the caller's hashes */
    uint64_t             full;          /* takes that found no place */
    uint32_t             sets;
    unsigned char        unused[RES_LIMITER_SET - 28];
    /* followed by the sets */
} res_limiter_t;

_Static_assert(sizeof(res_limiter_t) == RES_LIMITER_SET,
               "the sets are aligned");


/* Sets that fit in so many bytes, 0 when not even one does. */
uint32_t res_limiter_sets(size_t bytes);

/* Bytes that so many sets take. */
size_t res_limiter_bytes(uint32_t sets);

/* random: 16 bytes that become the key. */
void res_limiter_init(res_limiter_t *l, uint32_t sets,
    const unsigned char random[16]);

/* As res_gcra_take(), of the state of that hash; now in ms. */
int res_limiter_take(res_limiter_t *l, uint64_t hash,
    const res_gcra_conf_t *conf, uint32_t cost, uint64_t now,
    res_gcra_result_t *r);

/* As res_gcra_settle(), of the state of that hash; now in ms. */
void res_limiter_settle(res_limiter_t *l, uint64_t hash,
    const res_gcra_conf_t *conf, int64_t delta, uint64_t now);

/*
 * Takes over the key and as many states as there is place for.
 * O(sets of from).
 */
void res_limiter_copy(res_limiter_t *l, const res_limiter_t *from,
    uint64_t now);


#endif /* RES_LIMITER_H_INCLUDED */
