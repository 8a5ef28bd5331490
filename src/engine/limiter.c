
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "limiter.h"
#include "siphash.h"

#include <string.h>


static res_limiter_entry_t *res_limiter_entry(res_limiter_t *l, uint64_t hash,
    uint64_t now);
static res_limiter_set_t *res_limiter_set(const res_limiter_t *l, uint32_t n);


uint32_t
res_limiter_sets(size_t bytes)
{
    uint64_t  sets;

    if (bytes < sizeof(res_limiter_t)) {
        return 0;
    }

    sets = (bytes - sizeof(res_limiter_t)) / sizeof(res_limiter_set_t);

    return sets < UINT32_MAX ? (uint32_t) sets : UINT32_MAX;
}


size_t
res_limiter_bytes(uint32_t sets)
{
    return sizeof(res_limiter_t) + (size_t) sets * sizeof(res_limiter_set_t);
}


void
res_limiter_init(res_limiter_t *l, uint32_t sets,
    const unsigned char random[16])
{
    memset(l, 0, res_limiter_bytes(sets));

    l->sets = sets;

    res_siphash_key(l->key, random);
}


int
res_limiter_take(res_limiter_t *l, uint64_t hash, const res_gcra_conf_t *conf,
    uint32_t cost, uint64_t now, res_gcra_result_t *r)
{
    res_gcra_t            none;
    res_limiter_entry_t  *entry;

    entry = res_limiter_entry(l, hash, now);

    if (entry) {
        return res_gcra_take(&entry->gcra, conf, cost, now, r);
    }

    none.tat = 0;
    l->full++;

    return res_gcra_take(&none, conf, cost, now, r);
}


void
res_limiter_settle(res_limiter_t *l, uint64_t hash,
    const res_gcra_conf_t *conf, int64_t delta, uint64_t now)
{
    res_limiter_entry_t  *entry;

    entry = res_limiter_entry(l, hash, now);

    if (entry) {
        res_gcra_settle(&entry->gcra, conf, delta, now);

    } else if (delta > 0) {
        l->full++;
    }
}


void
res_limiter_copy(res_limiter_t *l, const res_limiter_t *from, uint64_t now)
{
    uint32_t              n;
    unsigned              way;
    res_limiter_entry_t  *old, *entry;

    l->key[0] = from->key[0];
    l->key[1] = from->key[1];
    l->full = from->full;

    for (n = 0; n < from->sets; n++) {
        for (way = 0; way < RES_LIMITER_WAYS; way++) {

            old = &res_limiter_set(from, n)->entries[way];

            if (res_gcra_idle(&old->gcra, now)) {
                continue;
            }

            entry = res_limiter_entry(l, old->hash, now);

            if (entry) {
                entry->gcra = old->gcra;
            }
        }
    }
}


/* the state of that hash, made if need be; NULL: there is no place for it */

static res_limiter_entry_t *
res_limiter_entry(res_limiter_t *l, uint64_t hash, uint64_t now)
{
    unsigned              way;
    res_limiter_set_t    *set;
    res_limiter_entry_t  *entry, *idle;

    set = res_limiter_set(l, (uint32_t) ((hash >> 32) * l->sets >> 32));
    idle = NULL;

    for (way = 0; way < RES_LIMITER_WAYS; way++) {
        entry = &set->entries[way];

        if (entry->hash == hash) {
            return entry;
        }

        if (idle == NULL && res_gcra_idle(&entry->gcra, now)) {
            idle = entry;
        }
    }

    if (idle) {
        idle->hash = hash;
    }

    return idle;
}


static res_limiter_set_t *
res_limiter_set(const res_limiter_t *l, uint32_t n)
{
    return (res_limiter_set_t *) (l + 1) + n;
}
