
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"


/*
 * What is counted of chains: calls by their outcome, how many attempts they
 * took, and moves from one provider to the next.
 *
 * Like a provider, a chain is known by its name, so that its counts outlive a
 * reload.  All are found or made when a configuration is read; calls count in
 * them without a lock.
 */


static ngx_int_t ngx_http_resilience_tally_chain(
    ngx_http_resilience_zone_t *zone, ngx_http_resilience_chain_t *chain);
static ngx_int_t ngx_http_resilience_tally_moves(
    ngx_http_resilience_zone_t *zone, ngx_http_resilience_chain_t *chain);
static ngx_http_resilience_tally_t *ngx_http_resilience_tally_find(
    ngx_http_resilience_shared_t *shared, u_char *name, size_t len);
static ngx_http_resilience_move_t *ngx_http_resilience_tally_find_move(
    ngx_http_resilience_shared_t *shared, ngx_uint_t chain, ngx_uint_t from,
    ngx_uint_t to);
static ngx_http_resilience_move_t *ngx_http_resilience_tally_add_move(
    ngx_http_resilience_zone_t *zone, ngx_uint_t chain, ngx_uint_t from,
    ngx_uint_t to);
static ngx_uint_t ngx_http_resilience_tally_has_move(
    ngx_http_resilience_chain_t *chain, ngx_uint_t from, ngx_uint_t to);
static ngx_int_t ngx_http_resilience_tally_full(
    ngx_http_resilience_zone_t *zone, ngx_http_resilience_chain_t *chain);


const uint32_t  ngx_http_resilience_tries[NGX_HTTP_RESILIENCE_RUNGS] = {
    0, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, UINT32_MAX
};

const uint32_t  ngx_http_resilience_open_times[NGX_HTTP_RESILIENCE_RUNGS] = {
    1000, 2500, 5000, 10000, 15000, 30000, 60000, 120000, 300000, 600000,
    1800000, 3600000, UINT32_MAX
};


size_t
ngx_http_resilience_tally_bytes(ngx_array_t *chains)
{
    size_t                         bytes;
    ngx_uint_t                     i, n;
    ngx_http_resilience_chain_t  **chain;

    chain = chains->elts;
    bytes = 0;

    for (i = 0; i < chains->nelts; i++) {
        n = chain[i]->steps.nelts;
        n = (chain[i]->balance == NGX_HTTP_RESILIENCE_ORDER) ? n : n * n;

        bytes += sizeof(ngx_http_resilience_tally_t)
                 + n * sizeof(ngx_http_resilience_move_t);
    }

    return bytes;
}


ngx_int_t
ngx_http_resilience_tally_init(ngx_http_resilience_zone_t *zone)
{
    ngx_uint_t                     i;
    ngx_http_resilience_chain_t  **chains;

    chains = zone->chain_list->elts;

    for (i = 0; i < zone->chain_list->nelts; i++) {

        if (ngx_http_resilience_tally_chain(zone, chains[i]) != NGX_OK
            || ngx_http_resilience_tally_moves(zone, chains[i]) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_resilience_tally_chain(ngx_http_resilience_zone_t *zone,
    ngx_http_resilience_chain_t *chain)
{
    ngx_http_resilience_tally_t   *tally;
    ngx_http_resilience_shared_t  *shared;

    shared = zone->shared;

    tally = ngx_http_resilience_tally_find(shared, chain->name.data,
                                           chain->name.len);

    if (tally == NULL && shared->nchains < NGX_HTTP_RESILIENCE_CHAINS) {

        ngx_http_resilience_zone_enter(zone);

        tally = ngx_slab_calloc_locked(zone->shpool,
                                       sizeof(ngx_http_resilience_tally_t));
        if (tally) {
            ngx_memcpy(tally->name, chain->name.data, chain->name.len);
            tally->len = chain->name.len;
            tally->number = shared->nchains;

            shared->chains[shared->nchains++] = tally;
        }

        ngx_http_resilience_zone_leave(zone);
    }

    chain->tally = tally;

    return tally ? NGX_OK : ngx_http_resilience_tally_full(zone, chain);
}


static ngx_int_t
ngx_http_resilience_tally_moves(ngx_http_resilience_zone_t *zone,
    ngx_http_resilience_chain_t *chain)
{
    ngx_uint_t                    from, to, n, i;
    ngx_http_resilience_step_t   *steps;
    ngx_http_resilience_move_t  **move;

    steps = chain->steps.elts;
    n = chain->steps.nelts;

    for (i = 0; i < n * n; i++) {

        if (!ngx_http_resilience_tally_has_move(chain, i / n, i % n)) {
            continue;
        }

        from = steps[i / n].provider->counters->number;
        to = steps[i % n].provider->counters->number;

        move = &chain->moves[i];

        *move = ngx_http_resilience_tally_find_move(zone->shared,
                                                    chain->tally->number,
                                                    from, to);
        if (*move == NULL) {
            *move = ngx_http_resilience_tally_add_move(zone,
                                                       chain->tally->number,
                                                       from, to);
        }

        if (*move == NULL) {
            return ngx_http_resilience_tally_full(zone, chain);
        }
    }

    return NGX_OK;
}


/* in an order that is fixed calls go to the next provider only */

static ngx_uint_t
ngx_http_resilience_tally_has_move(ngx_http_resilience_chain_t *chain,
    ngx_uint_t from, ngx_uint_t to)
{
    return (chain->balance == NGX_HTTP_RESILIENCE_ORDER) ? to == from + 1
                                                         : to != from;
}


static ngx_int_t
ngx_http_resilience_tally_full(ngx_http_resilience_zone_t *zone,
    ngx_http_resilience_chain_t *chain)
{
    ngx_log_error(NGX_LOG_EMERG, zone->shm_zone->shm.log, 0,
                  "zone \"%V\" has no place for the counters of chain \"%V\" "
                  "before a restart, or is too small",
                  &zone->shm_zone->shm.name, &chain->name);

    return NGX_ERROR;
}


static ngx_http_resilience_tally_t *
ngx_http_resilience_tally_find(ngx_http_resilience_shared_t *shared,
    u_char *name, size_t len)
{
    ngx_uint_t                    i;
    ngx_http_resilience_tally_t  *tally;

    for (i = 0; i < shared->nchains; i++) {
        tally = shared->chains[i];

        if (tally->len == len && ngx_memcmp(tally->name, name, len) == 0) {
            return tally;
        }
    }

    return NULL;
}


static ngx_http_resilience_move_t *
ngx_http_resilience_tally_find_move(ngx_http_resilience_shared_t *shared,
    ngx_uint_t chain, ngx_uint_t from, ngx_uint_t to)
{
    ngx_http_resilience_move_t  *move;

    for (move = shared->moves; move; move = move->next) {
        if (move->chain == chain && move->from == from && move->to == to) {
            return move;
        }
    }

    return NULL;
}


static ngx_http_resilience_move_t *
ngx_http_resilience_tally_add_move(ngx_http_resilience_zone_t *zone,
    ngx_uint_t chain, ngx_uint_t from, ngx_uint_t to)
{
    ngx_http_resilience_move_t  *move;

    ngx_http_resilience_zone_enter(zone);

    move = ngx_slab_calloc_locked(zone->shpool,
                                  sizeof(ngx_http_resilience_move_t));
    if (move) {
        move->chain = (uint32_t) chain;
        move->from = (uint16_t) from;
        move->to = (uint16_t) to;
        move->next = zone->shared->moves;

        /* the list is read without the lock */

        ngx_memory_barrier();

        zone->shared->moves = move;
    }

    ngx_http_resilience_zone_leave(zone);

    return move;
}


ngx_http_resilience_tally_t *
ngx_http_resilience_tally_carry(ngx_http_resilience_shared_t *shared,
    ngx_http_resilience_tally_t *from)
{
    ngx_http_resilience_tally_t  *tally;

    tally = ngx_http_resilience_tally_find(shared, from->name, from->len);

    if (tally) {
        ngx_memcpy((void *) tally->outcomes, (void *) from->outcomes,
                   sizeof(tally->outcomes));
    }

    return tally;
}


void
ngx_http_resilience_tally_carry_move(ngx_http_resilience_shared_t *shared,
    ngx_http_resilience_tally_t *chain, ngx_uint_t from, ngx_uint_t to,
    ngx_atomic_uint_t count)
{
    ngx_http_resilience_move_t  *move;

    move = ngx_http_resilience_tally_find_move(shared, chain->number, from,
                                               to);
    if (move) {
        move->count = count;
    }
}


void
ngx_http_resilience_tally_copy(ngx_http_resilience_shared_t *to,
    ngx_http_resilience_shared_t *from, uint16_t *map)
{
    ngx_uint_t                    i;
    ngx_http_resilience_move_t   *move;
    ngx_http_resilience_tally_t  *tally;

    to->tries = from->tries;

    for (i = 0; i < from->nchains; i++) {

        tally = ngx_http_resilience_tally_carry(to, from->chains[i]);

        if (tally == NULL) {
            continue;
        }

        /* a provider that is not known has the number of none */

        for (move = from->moves; move; move = move->next) {
            if (move->chain == i) {
                ngx_http_resilience_tally_carry_move(to, tally,
                                                     map[move->from],
                                                     map[move->to],
                                                     move->count);
            }
        }
    }
}


void
ngx_http_resilience_tally_call(ngx_http_resilience_call_t *call)
{
    (void) ngx_atomic_fetch_add(&call->chain->tally->outcomes[call->outcome],
                                1);

    ngx_http_resilience_ladder_count(&call->zone->shared->tries,
                                     ngx_http_resilience_tries,
                                     call->attempts);
}


void
ngx_http_resilience_ladder_count(ngx_http_resilience_ladder_t *ladder,
    const uint32_t *bounds, ngx_atomic_uint_t value)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_RESILIENCE_RUNGS - 1; i++) {
        if (value <= bounds[i]) {
            break;
        }
    }

    (void) ngx_atomic_fetch_add(&ladder->counts[i], 1);
    (void) ngx_atomic_fetch_add(&ladder->sum, value);
}


void
ngx_http_resilience_tally_move(ngx_http_resilience_call_t *call)
{
    ngx_uint_t                     from, to;
    ngx_http_resilience_step_t    *steps;
    ngx_http_resilience_chain_t   *chain;

    chain = call->chain;
    steps = chain->steps.elts;

    from = call->steps[call->step] - steps;
    to = call->steps[call->step + 1] - steps;

    (void) ngx_atomic_fetch_add(
                        &chain->moves[from * chain->steps.nelts + to]->count,
                        1);
}
