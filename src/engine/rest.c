
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "rest.h"

#include <stddef.h>


static unsigned res_rest_set(const res_rest_key_t *key);
static int res_rest_is(const res_rest_t *rest, const res_rest_key_t *key);


void
res_rest_begin(res_rests_t *rests, const res_rest_key_t *key, uint32_t owner,
    uint64_t until)
{
    unsigned     i;
    res_rest_t  *set, *place;

    set = rests->rests[res_rest_set(key)];
    place = &set[0];

    for (i = 0; i < RES_REST_WAYS; i++) {

        if (res_rest_is(&set[i], key)) {

            if (until <= set[i].until) {
                return;
            }

            place = &set[i];
            break;
        }

        if (set[i].until < place->until) {
            place = &set[i];
        }
    }

    place->key = *key;
    place->owner = owner;
    place->until = until;

    if (until > rests->latest) {
        rests->latest = until;
    }
}


uint64_t
res_rest_left(const res_rests_t *rests, const res_rest_key_t *key,
    uint64_t now)
{
    unsigned           i;
    const res_rest_t  *set;

    /* most of the time nothing rests at all */

    if (now >= rests->latest) {
        return 0;
    }

    set = rests->rests[res_rest_set(key)];

    for (i = 0; i < RES_REST_WAYS; i++) {
        if (res_rest_is(&set[i], key)) {
            return (set[i].until > now) ? set[i].until - now : 0;
        }
    }

    return 0;
}


void
res_rest_end(res_rests_t *rests, uint32_t owner, uint32_t tenant)
{
    unsigned     i;
    res_rest_t  *rest;

    for (i = 0; i < RES_REST_SETS * RES_REST_WAYS; i++) {

        rest = &rests->rests[i / RES_REST_WAYS][i % RES_REST_WAYS];

        if (rest->owner == owner
            && (tenant == 0 || rest->key.tenant == tenant))
        {
            rest->until = 0;
        }
    }
}


void
res_rest_copy(res_rests_t *rests, const res_rests_t *from,
    const uint32_t *owners, uint32_t n)
{
    unsigned           i;
    const res_rest_t  *rest;

    for (i = 0; i < RES_REST_SETS * RES_REST_WAYS; i++) {

        rest = &from->rests[i / RES_REST_WAYS][i % RES_REST_WAYS];

        if (rest->until != 0 && rest->key.tenant == 0 && rest->owner < n
            && owners[rest->owner] != RES_REST_GONE)
        {
            res_rest_begin(rests, &rest->key, owners[rest->owner],
                           rest->until);
        }
    }
}


static unsigned
res_rest_set(const res_rest_key_t *key)
{
    uint64_t  h;

    /* both are hashes: any of their bits will do */

    h = key->hash ^ key->tenant;

    return (unsigned) ((h ^ (h >> 32)) % RES_REST_SETS);
}


static int
res_rest_is(const res_rest_t *rest, const res_rest_key_t *key)
{
    return rest->until != 0
           && rest->key.hash == key->hash
           && rest->key.tenant == key->tenant;
}
