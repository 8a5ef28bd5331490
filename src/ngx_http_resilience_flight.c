
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"


/*
 * Attempts in flight, one entry each, in blocks that belong to one process at
 * a time: what a worker that died has left behind is known, and taken back.
 *
 * All of it is under the zone's lock.  The entries are the truth, the counts
 * in cells and providers are sums of them: when a worker died inside of the
 * lock they are summed up anew.  An attempt for which there is no entry left
 * is not counted.
 *
 * The blocks are made with the zone: what the slab allocator does is not safe
 * from the death of a worker.
 */


#define NGX_HTTP_RESILIENCE_SWEEP  1000     /* ms between two looks */


static ngx_http_resilience_block_t *ngx_http_resilience_flight_block(
    ngx_http_resilience_shared_t *shared);
static void ngx_http_resilience_flight_uncount(
    ngx_http_resilience_shared_t *shared,
    ngx_http_resilience_flight_t *flight);
static ngx_uint_t ngx_http_resilience_flight_known(
    ngx_http_resilience_shared_t *shared,
    ngx_http_resilience_flight_t *flight);
static void ngx_http_resilience_flight_empty(
    ngx_http_resilience_block_t *block);
static void ngx_http_resilience_flight_reclaim(
    ngx_http_resilience_zone_t *zone, ngx_pid_t pid);
static void ngx_http_resilience_flight_sweep(
    ngx_http_resilience_zone_t *zone, ngx_log_t *log);
static void ngx_http_resilience_flight_timer(ngx_event_t *ev);


static ngx_event_t                    ngx_http_resilience_flight_event;
static ngx_connection_t               ngx_http_resilience_flight_dumb;

/* this process's block that had room last, and the zone it is of */

static ngx_http_resilience_block_t   *ngx_http_resilience_flight_last;
static ngx_http_resilience_shared_t  *ngx_http_resilience_flight_shared;


void
ngx_http_resilience_flight_take(ngx_http_resilience_zone_t *zone,
    ngx_http_resilience_ticket_t *ticket, ngx_uint_t provider)
{
    ngx_http_resilience_block_t   *block;
    ngx_http_resilience_flight_t  *flight;

    block = ngx_http_resilience_flight_block(zone->shared);

    ticket->block = block;

    if (block == NULL) {
        return;
    }

    flight = &block->flights[block->free];

    ticket->flight = block->free;

    block->free = flight->next;
    block->used++;

    flight->cell = ticket->cell;
    flight->incarnation = ticket->incarnation;
    flight->provider = provider;

    /* here ends what a death may leave half-done: it is no entry yet */

    ngx_memory_barrier();

    flight->used = 1;

    zone->shared->providers[provider]->inflight++;
    res_table_cell(zone->shared->table, ticket->cell)->inflight++;
}


void
ngx_http_resilience_flight_give(ngx_http_resilience_zone_t *zone,
    ngx_http_resilience_ticket_t *ticket, ngx_uint_t provider)
{
    ngx_http_resilience_block_t   *block;
    ngx_http_resilience_flight_t  *flight;

    block = ticket->block;

    if (block == NULL) {
        return;
    }

    flight = &block->flights[ticket->flight];

    ngx_http_resilience_flight_uncount(zone->shared, flight);

    flight->used = 0;
    flight->next = block->free;

    block->free = ticket->flight;
    block->used--;
}


static void
ngx_http_resilience_flight_uncount(ngx_http_resilience_shared_t *shared,
    ngx_http_resilience_flight_t *flight)
{
    res_cell_t                      *cell;
    ngx_http_resilience_counters_t  *provider;

    if (!ngx_http_resilience_flight_known(shared, flight)) {
        return;
    }

    provider = shared->providers[flight->provider];

    if (provider->inflight) {
        provider->inflight--;
    }

    cell = res_table_cell(shared->table, flight->cell);

    if (cell->incarnation == flight->incarnation && cell->inflight) {
        cell->inflight--;
    }
}


/* of a provider and a cell that there are */

static ngx_uint_t
ngx_http_resilience_flight_known(ngx_http_resilience_shared_t *shared,
    ngx_http_resilience_flight_t *flight)
{
    return flight->provider < shared->nproviders
           && flight->cell < shared->table->capacity;
}


/* one of this process that has room */

static ngx_http_resilience_block_t *
ngx_http_resilience_flight_block(ngx_http_resilience_shared_t *shared)
{
    ngx_uint_t                    i;
    ngx_http_resilience_block_t  *block, *spare;

    if (ngx_http_resilience_flight_shared == shared) {
        block = ngx_http_resilience_flight_last;

        if (block->pid == ngx_pid
            && block->used < NGX_HTTP_RESILIENCE_FLIGHTS)
        {
            return block;
        }
    }

    spare = NULL;

    for (i = 0; i < shared->nblocks; i++) {
        block = &shared->blocks[i];

        if (block->pid == ngx_pid
            && block->used < NGX_HTTP_RESILIENCE_FLIGHTS)
        {
            spare = block;
            break;
        }

        if (block->pid == 0 && spare == NULL) {
            spare = block;
        }
    }

    if (spare) {
        spare->pid = ngx_pid;

        ngx_http_resilience_flight_last = spare;
        ngx_http_resilience_flight_shared = shared;
    }

    return spare;
}


void
ngx_http_resilience_flight_init(ngx_http_resilience_shared_t *shared)
{
    ngx_uint_t  i;

    for (i = 0; i < shared->nblocks; i++) {
        ngx_http_resilience_flight_empty(&shared->blocks[i]);
    }
}


static void
ngx_http_resilience_flight_empty(ngx_http_resilience_block_t *block)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_RESILIENCE_FLIGHTS; i++) {
        block->flights[i].used = 0;
        block->flights[i].next = i + 1;
    }

    block->free = 0;
    block->used = 0;

    /* no one's, only when it is empty */

    ngx_memory_barrier();

    block->pid = 0;
}


void
ngx_http_resilience_flight_recount(ngx_http_resilience_zone_t *zone)
{
    uint32_t                       n;
    ngx_uint_t                     i, j, free;
    res_cell_t                    *cell;
    res_table_t                   *table;
    ngx_http_resilience_block_t   *block;
    ngx_http_resilience_flight_t  *flight;
    ngx_http_resilience_shared_t  *shared;

    shared = zone->shared;
    table = shared->table;

    for (n = 0; n < table->fresh; n++) {
        res_table_cell(table, n)->inflight = 0;
    }

    for (i = 0; i < shared->nproviders; i++) {
        shared->providers[i]->inflight = 0;
    }

    for (i = 0; i < shared->nblocks; i++) {
        block = &shared->blocks[i];

        free = NGX_HTTP_RESILIENCE_FLIGHTS;
        block->used = 0;

        for (j = NGX_HTTP_RESILIENCE_FLIGHTS; j-- > 0; /* void */) {
            flight = &block->flights[j];

            if (!flight->used) {
                flight->next = free;
                free = j;
                continue;
            }

            block->used++;

            if (!ngx_http_resilience_flight_known(shared, flight)) {
                continue;
            }

            shared->providers[flight->provider]->inflight++;

            cell = res_table_cell(table, flight->cell);

            if (cell->used && cell->incarnation == flight->incarnation) {
                cell->inflight++;
            }
        }

        block->free = free;
    }
}


/* all that a process has in flight is over */

static void
ngx_http_resilience_flight_reclaim(ngx_http_resilience_zone_t *zone,
    ngx_pid_t pid)
{
    ngx_uint_t                    i, j;
    ngx_http_resilience_block_t  *block;

    ngx_http_resilience_zone_enter(zone);

    for (i = 0; i < zone->shared->nblocks; i++) {
        block = &zone->shared->blocks[i];

        if (block->pid != pid) {
            continue;
        }

        for (j = 0; j < NGX_HTTP_RESILIENCE_FLIGHTS; j++) {
            if (block->flights[j].used) {
                ngx_http_resilience_flight_uncount(zone->shared,
                                                   &block->flights[j]);
            }
        }

        ngx_http_resilience_flight_empty(block);
    }

    ngx_http_resilience_zone_leave(zone);
}


/* takes back what processes that are gone had in flight */

static void
ngx_http_resilience_flight_sweep(ngx_http_resilience_zone_t *zone,
    ngx_log_t *log)
{
    ngx_pid_t                      pid;
    ngx_uint_t                     i;
    ngx_http_resilience_shared_t  *shared;

    shared = zone->shared;

    for (i = 0; i < shared->nblocks; i++) {

        /* a word that is read without the lock, and looked at again with it */

        pid = shared->blocks[i].pid;

        if (pid == 0 || pid == ngx_pid
            || !ngx_http_resilience_flight_gone(pid))
        {
            continue;
        }

        ngx_log_error(NGX_LOG_NOTICE, log, 0,
                      "attempts of process %P, which is gone, are over", pid);

        ngx_http_resilience_flight_reclaim(zone, pid);
    }
}


ngx_uint_t
ngx_http_resilience_flight_gone(ngx_pid_t pid)
{
    return kill(pid, 0) == -1 && ngx_errno == NGX_ESRCH;
}


static void
ngx_http_resilience_flight_timer(ngx_event_t *ev)
{
    ngx_http_resilience_zone_t  *zone;

    /* without a master a process outlives its cycle */

    zone = ngx_http_resilience_zone_get((ngx_cycle_t *) ngx_cycle);

    ev->log = ngx_cycle->log;

    if (zone) {
        ngx_http_resilience_flight_sweep(zone, ev->log);
    }

    ngx_add_timer(ev, NGX_HTTP_RESILIENCE_SWEEP);
}


void
ngx_http_resilience_flight_start(ngx_cycle_t *cycle)
{
    ngx_event_t                 *ev;
    ngx_http_resilience_zone_t  *zone;

    zone = ngx_http_resilience_zone_get(cycle);

    if (zone == NULL) {
        return;
    }

    /* a process that is gone may have had the id of this one */

    ngx_http_resilience_flight_reclaim(zone, ngx_pid);
    ngx_http_resilience_flight_sweep(zone, cycle->log);

    /* a worker that is spawned again looks at once, others are looked for */

    if (ngx_worker != 0) {
        return;
    }

    ev = &ngx_http_resilience_flight_event;

    ngx_memzero(ev, sizeof(ngx_event_t));

    ev->handler = ngx_http_resilience_flight_timer;
    ev->data = &ngx_http_resilience_flight_dumb;
    ev->log = cycle->log;
    ev->cancelable = 1;

    ngx_add_timer(ev, NGX_HTTP_RESILIENCE_SWEEP);
}


void
ngx_http_resilience_flight_stop(ngx_cycle_t *cycle)
{
    ngx_http_resilience_zone_t  *zone;

    zone = ngx_http_resilience_zone_get(cycle);

    if (zone) {
        ngx_http_resilience_flight_reclaim(zone, ngx_pid);
    }
}
