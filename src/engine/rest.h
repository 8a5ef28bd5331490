
/*
 * What rests: a small table of points in time by a hash, for all tenants or
 * for one of them.  It has fixed places; where they do not suffice the rest
 * that ends first is forgotten, and whatever it was for is asked once more.
 *
 * Plain memory and no lock: the caller holds the lock of whatever the struct
 * lives in, and passes the time.  An all-zero table is empty.
 */


#ifndef RES_REST_H_INCLUDED
#define RES_REST_H_INCLUDED


#include <stdint.h>


#define RES_REST_SETS  32
#define RES_REST_WAYS  8           /* of one set, a hash may be in any */

#define RES_REST_GONE  UINT32_MAX  /* an owner that is not known any more */


typedef struct {
    uint64_t              hash;
    uint32_t              tenant;      /* 0: all of them */
} res_rest_key_t;


typedef struct {
    res_rest_key_t        key;
    uint32_t              owner;       /* the caller's, to end them by */
    uint64_t              until;       /* ms, 0: the place is free */
} res_rest_t;


typedef struct {
    uint64_t              latest;      /* no rest ends later, ms */
    res_rest_t            rests[RES_REST_SETS][RES_REST_WAYS];
} res_rests_t;


/* Begins a rest until then, in ms; one that ends later stays as it is. */
void res_rest_begin(res_rests_t *rests, const res_rest_key_t *key,
    uint32_t owner, uint64_t until);

/* ms that are left of a rest; 0: there is none. */
uint64_t res_rest_left(const res_rests_t *rests, const res_rest_key_t *key,
    uint64_t now);

/* Ends all rests of an owner, or, if tenant is not 0, those for that one. */
void res_rest_end(res_rests_t *rests, uint32_t owner, uint32_t tenant);

/*
 * Takes over the rests that are for all tenants; owners[i], i < n: the number
 * that owner i has here, or RES_REST_GONE.
 */
void res_rest_copy(res_rests_t *rests, const res_rests_t *from,
    const uint32_t *owners, uint32_t n);


#endif /* RES_REST_H_INCLUDED */
