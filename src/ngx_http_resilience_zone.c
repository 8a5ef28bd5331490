
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"
#include <openssl/rand.h>


/*
 * The shared zone: the table of breakers and the providers' counters.
 *
 * The breakers are read and written under the slab pool's mutex, the one lock
 * that the master frees when a worker dies with it, for a handful of
 * instructions and never across I/O or a log line.  The table repairs itself
 * after such a death.  Thresholds are never in the zone: a reload applies new
 * ones to old state at once.
 */


#define NGX_HTTP_RESILIENCE_ZONE_VERSION  1
#define NGX_HTTP_RESILIENCE_ZONE_MIN      (32 * ngx_pagesize)

/* pages left to the slab allocator, for the providers' counters */
#define NGX_HTTP_RESILIENCE_ZONE_SPARE    12


static ngx_int_t ngx_http_resilience_zone_init(ngx_shm_zone_t *shm_zone,
    void *data);
static ngx_int_t ngx_http_resilience_zone_create(
    ngx_http_resilience_zone_t *zone);
static ngx_int_t ngx_http_resilience_zone_providers(
    ngx_http_resilience_zone_t *zone);
static void ngx_http_resilience_zone_key(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step, res_key_t *key);
static void ngx_http_resilience_zone_take(ngx_http_resilience_zone_t *zone,
    res_cell_t *cell, ngx_http_resilience_ticket_t *ticket);
static res_cell_t *ngx_http_resilience_zone_cell(
    ngx_http_resilience_zone_t *zone, ngx_http_resilience_ticket_t *ticket);
static void ngx_http_resilience_zone_log(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step, res_transition_t *t, uint64_t wait);
static void ngx_http_resilience_zone_evicted(ngx_http_resilience_call_t *call);


char *
ngx_http_resilience_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_resilience_main_conf_t *rmcf = conf;

    u_char      *p;
    ssize_t      size;
    ngx_str_t   *value, s;
    ngx_uint_t   i;

    if (rmcf->zone_name.len) {
        return "is duplicate";
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "zone=", 5) == 0) {

            rmcf->zone_name.data = value[i].data + 5;

            p = (u_char *) ngx_strchr(rmcf->zone_name.data, ':');

            if (p == NULL || p == rmcf->zone_name.data) {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "invalid zone \"%V\", use "
                                   "\"zone=name:size\"", &value[i]);
                return NGX_CONF_ERROR;
            }

            rmcf->zone_name.len = p - rmcf->zone_name.data;

            s.data = p + 1;
            s.len = value[i].data + value[i].len - s.data;

            size = ngx_parse_size(&s);

            if (size == NGX_ERROR) {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "invalid zone size \"%V\"", &value[i]);
                return NGX_CONF_ERROR;
            }

            if (size < (ssize_t) NGX_HTTP_RESILIENCE_ZONE_MIN) {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "zone \"%V\" is too small, it must have "
                                   "at least %uz bytes", &value[i],
                                   (size_t) NGX_HTTP_RESILIENCE_ZONE_MIN);
                return NGX_CONF_ERROR;
            }

            rmcf->zone_size = size;
            continue;
        }

        if (ngx_strncmp(value[i].data, "state=", 6) == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"state=\" of \"resilience_zone\" is not "
                               "supported yet");
            return NGX_CONF_ERROR;
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\"", &value[i]);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


ngx_int_t
ngx_http_resilience_zone_add(ngx_conf_t *cf,
    ngx_http_resilience_main_conf_t *rmcf)
{
    ngx_http_resilience_zone_t  *zone;

    if (rmcf->zone_name.len == 0) {
        ngx_str_set(&rmcf->zone_name, "resilience");
        rmcf->zone_size = 8 * 1024 * 1024;
    }

    zone = ngx_pcalloc(cf->pool, sizeof(ngx_http_resilience_zone_t));
    if (zone == NULL) {
        return NGX_ERROR;
    }

    zone->shm_zone = ngx_shared_memory_add(cf, &rmcf->zone_name,
                                           rmcf->zone_size,
                                           &ngx_http_resilience_module);
    if (zone->shm_zone == NULL) {
        return NGX_ERROR;
    }

    zone->provider_list = &rmcf->providers;
    zone->shm_zone->init = ngx_http_resilience_zone_init;
    zone->shm_zone->data = zone;

    rmcf->zone = zone;

    return NGX_OK;
}


static ngx_int_t
ngx_http_resilience_zone_init(ngx_shm_zone_t *shm_zone, void *data)
{
    ngx_http_resilience_zone_t *old = data;

    ngx_http_resilience_zone_t  *zone;

    zone = shm_zone->data;

    if (old) {
        zone->shared = old->shared;
        zone->shpool = old->shpool;

        return ngx_http_resilience_zone_providers(zone);
    }

    zone->shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    if (shm_zone->shm.exists) {
        zone->shared = zone->shpool->data;

        return ngx_http_resilience_zone_providers(zone);
    }

    if (ngx_http_resilience_zone_create(zone) != NGX_OK) {
        ngx_log_error(NGX_LOG_EMERG, shm_zone->shm.log, 0,
                      "zone \"%V\" is too small", &shm_zone->shm.name);
        return NGX_ERROR;
    }

    return ngx_http_resilience_zone_providers(zone);
}


static ngx_int_t
ngx_http_resilience_zone_create(ngx_http_resilience_zone_t *zone)
{
    u_char                         random[16];
    size_t                         bytes;
    uint32_t                       capacity;
    ngx_http_resilience_shared_t  *shared;

    zone->shpool->log_nomem = 0;

    shared = ngx_slab_calloc(zone->shpool,
                             sizeof(ngx_http_resilience_shared_t));
    if (shared == NULL || zone->shpool->pfree <= NGX_HTTP_RESILIENCE_ZONE_SPARE)
    {
        return NGX_ERROR;
    }

    bytes = (zone->shpool->pfree - NGX_HTTP_RESILIENCE_ZONE_SPARE)
            * ngx_pagesize;

    capacity = res_table_capacity(bytes);
    if (capacity == 0) {
        return NGX_ERROR;
    }

    shared->table = ngx_slab_alloc(zone->shpool, res_table_bytes(capacity));
    if (shared->table == NULL) {
        return NGX_ERROR;
    }

    if (RAND_bytes(shared->hmac_key, sizeof(shared->hmac_key)) != 1
        || RAND_bytes(random, sizeof(random)) != 1)
    {
        return NGX_ERROR;
    }

    res_table_init(shared->table, capacity, random);

    shared->version = NGX_HTTP_RESILIENCE_ZONE_VERSION;

    zone->shared = shared;
    zone->shpool->data = shared;

    return NGX_OK;
}


/* a provider is known by its name, so that its state outlives a reload */

static ngx_int_t
ngx_http_resilience_zone_providers(ngx_http_resilience_zone_t *zone)
{
    ngx_uint_t                        i, n;
    ngx_http_resilience_shared_t     *shared;
    ngx_http_resilience_counters_t   *counters;
    ngx_http_resilience_provider_t  **providers, *provider;

    shared = zone->shared;
    providers = zone->provider_list->elts;

    for (i = 0; i < zone->provider_list->nelts; i++) {

        provider = providers[i];

        for (n = 0; n < shared->nproviders; n++) {
            counters = shared->providers[n];

            if (counters->len == provider->name.len
                && ngx_memcmp(counters->name, provider->name.data,
                              provider->name.len) == 0)
            {
                provider->counters = counters;
                break;
            }
        }

        if (provider->counters) {
            continue;
        }

        if (shared->nproviders == NGX_HTTP_RESILIENCE_PROVIDERS) {
            ngx_log_error(NGX_LOG_EMERG, zone->shm_zone->shm.log, 0,
                          "zone \"%V\" remembers %d providers, there is no "
                          "place for \"%V\" before a restart",
                          &zone->shm_zone->shm.name,
                          NGX_HTTP_RESILIENCE_PROVIDERS, &provider->name);
            return NGX_ERROR;
        }

        counters = ngx_slab_calloc(zone->shpool,
                                   sizeof(ngx_http_resilience_counters_t));
        if (counters == NULL) {
            ngx_log_error(NGX_LOG_EMERG, zone->shm_zone->shm.log, 0,
                          "zone \"%V\" is too small for provider \"%V\"",
                          &zone->shm_zone->shm.name, &provider->name);
            return NGX_ERROR;
        }

        ngx_memcpy(counters->name, provider->name.data, provider->name.len);
        counters->len = provider->name.len;
        counters->number = shared->nproviders;

        shared->providers[shared->nproviders++] = counters;
        provider->counters = counters;
    }

    return NGX_OK;
}


res_admit_e
ngx_http_resilience_zone_admit(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step, ngx_msec_t lease,
    ngx_http_resilience_ticket_t *ticket, uint64_t *wait)
{
    res_key_t                      key;
    res_cell_t                    *cell;
    res_admit_e                    rc;
    res_table_t                   *table;
    ngx_uint_t                     evicted;
    res_transition_t               t;
    ngx_http_resilience_zone_t    *zone;

    zone = call->zone;
    table = zone->shared->table;

    ngx_http_resilience_zone_key(call, step, &key);

    ngx_memzero(&t, sizeof(res_transition_t));

    ngx_shmtx_lock(&zone->shpool->mutex);
    res_table_enter(table);

    evicted = table->evictions;

    cell = res_table_get(table, &key, ngx_current_msec);

    rc = res_breaker_admit(&cell->breaker, &step->policy->breaker,
                           ngx_current_msec, lease, &ticket->permit, &t);

    if (rc == RES_ADMIT_YES) {
        ngx_http_resilience_zone_take(zone, cell, ticket);

    } else {
        *wait = res_breaker_wait(&cell->breaker, &step->policy->breaker,
                                 ngx_current_msec);
    }

    if (t.changed) {
        res_table_settle(table, cell);
    }

    evicted = table->evictions - evicted;

    res_table_leave(table);
    ngx_shmtx_unlock(&zone->shpool->mutex);

    if (rc == RES_ADMIT_YES) {
        (void) ngx_atomic_fetch_add(&step->provider->counters->inflight, 1);
    }

    if (t.changed) {
        ngx_http_resilience_zone_log(call, step, &t, 0);
    }

    if (evicted) {
        ngx_http_resilience_zone_evicted(call);
    }

    return rc;
}


void
ngx_http_resilience_zone_force(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step, ngx_http_resilience_ticket_t *ticket)
{
    res_key_t                    key;
    res_cell_t                  *cell;
    res_table_t                 *table;
    ngx_http_resilience_zone_t  *zone;

    zone = call->zone;
    table = zone->shared->table;

    ngx_http_resilience_zone_key(call, step, &key);

    ngx_shmtx_lock(&zone->shpool->mutex);
    res_table_enter(table);

    cell = res_table_get(table, &key, ngx_current_msec);

    ngx_http_resilience_zone_take(zone, cell, ticket);

    /* of no generation that is or will be for long */

    ticket->permit.slot = -1;
    ticket->permit.generation = cell->breaker.generation - 1;

    res_table_leave(table);
    ngx_shmtx_unlock(&zone->shpool->mutex);

    (void) ngx_atomic_fetch_add(&step->provider->counters->inflight, 1);
}


static void
ngx_http_resilience_zone_key(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step, res_key_t *key)
{
    key->tenant = call->tenant.data;
    key->tenant_len = call->tenant.len;
    key->provider = step->provider->counters->number;
    key->hash = res_table_hash(call->zone->shared->table, key->tenant,
                               key->tenant_len, key->provider);
}


static void
ngx_http_resilience_zone_take(ngx_http_resilience_zone_t *zone,
    res_cell_t *cell, ngx_http_resilience_ticket_t *ticket)
{
    cell->inflight++;

    ticket->cell = res_table_number(zone->shared->table, cell);
    ticket->incarnation = cell->incarnation;
    ticket->held = 1;
}


void
ngx_http_resilience_zone_record(ngx_http_resilience_attempt_t *a,
    res_result_e result)
{
    uint64_t                       wait;
    res_cell_t                    *cell;
    res_table_t                   *table;
    res_transition_t               t;
    ngx_http_resilience_zone_t    *zone;

    if (!a->ticket.held) {
        return;
    }

    a->ticket.held = 0;

    if (a->ticket.counted && result == RES_RESULT_SUCCESS) {
        result = RES_RESULT_NEUTRAL;
    }

    zone = a->call->zone;
    table = zone->shared->table;
    wait = 0;

    ngx_memzero(&t, sizeof(res_transition_t));

    ngx_shmtx_lock(&zone->shpool->mutex);
    res_table_enter(table);

    cell = ngx_http_resilience_zone_cell(zone, &a->ticket);

    if (cell) {
        if (cell->inflight) {
            cell->inflight--;
        }

        (void) res_breaker_record(&cell->breaker, &a->step->policy->breaker,
                                  ngx_current_msec, &a->ticket.permit, result,
                                  !a->failed_before, ngx_http_resilience_random(),
                                  &t);
        if (t.changed) {
            res_table_settle(table, cell);
            wait = res_breaker_wait(&cell->breaker, &a->step->policy->breaker,
                                    ngx_current_msec);
        }
    }

    res_table_leave(table);
    ngx_shmtx_unlock(&zone->shpool->mutex);

    (void) ngx_atomic_fetch_add(&a->step->provider->counters->inflight, -1);

    if (t.changed) {
        ngx_http_resilience_zone_log(a->call, a->step, &t, wait);
    }
}


void
ngx_http_resilience_zone_commit(ngx_http_resilience_attempt_t *a)
{
    res_cell_t                    *cell;
    res_table_t                   *table;
    res_transition_t               t;
    ngx_http_resilience_zone_t    *zone;

    if (!a->ticket.held || a->ticket.permit.slot < 0) {
        return;
    }

    zone = a->call->zone;
    table = zone->shared->table;

    ngx_memzero(&t, sizeof(res_transition_t));

    ngx_shmtx_lock(&zone->shpool->mutex);
    res_table_enter(table);

    cell = ngx_http_resilience_zone_cell(zone, &a->ticket);

    if (cell) {
        (void) res_breaker_record(&cell->breaker, &a->step->policy->breaker,
                                  ngx_current_msec, &a->ticket.permit,
                                  RES_RESULT_SUCCESS, 1,
                                  ngx_http_resilience_random(), &t);
        if (t.changed) {
            res_table_settle(table, cell);
        }

        /* while other probes are still out, the rest of it is no news */

        a->ticket.permit.slot = -1;
        a->ticket.permit.lease = 0;
        a->ticket.permit.generation = cell->breaker.generation
                                     - (cell->breaker.state != RES_CLOSED);
        a->ticket.counted = 1;
    }

    res_table_leave(table);
    ngx_shmtx_unlock(&zone->shpool->mutex);

    if (t.changed) {
        ngx_http_resilience_zone_log(a->call, a->step, &t, 0);
    }
}


/* the cell that a ticket was for, NULL when it was given up since */

static res_cell_t *
ngx_http_resilience_zone_cell(ngx_http_resilience_zone_t *zone,
    ngx_http_resilience_ticket_t *ticket)
{
    res_cell_t  *cell;

    cell = res_table_cell(zone->shared->table, ticket->cell);

    return (cell->used && cell->incarnation == ticket->incarnation) ? cell
                                                                    : NULL;
}


static void
ngx_http_resilience_zone_log(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step, res_transition_t *t, uint64_t wait)
{
    ngx_log_error(NGX_LOG_WARN, call->request->connection->log, 0,
                  "breaker of tenant \"%V\" and provider \"%V\" went from %s "
                  "to %s: %s, next attempt in %uLms",
                  &call->tenant, &step->provider->name,
                  res_breaker_state_name(t->from),
                  res_breaker_state_name(t->to),
                  res_breaker_reason_name(t->reason), wait);
}


/* a zone that is too small says so once a minute */

static void
ngx_http_resilience_zone_evicted(ngx_http_resilience_call_t *call)
{
    ngx_atomic_uint_t              last, now;
    ngx_http_resilience_shared_t  *shared;

    shared = call->zone->shared;

    now = ngx_time();
    last = shared->eviction_logged;

    if (now - last < 60
        || !ngx_atomic_cmp_set(&shared->eviction_logged, last, now))
    {
        return;
    }

    ngx_log_error(NGX_LOG_WARN, call->request->connection->log, 0,
                  "zone \"%V\" is full with %uD breakers, the least recently "
                  "used are forgotten, %uL so far",
                  &call->zone->shm_zone->shm.name,
                  shared->table->capacity, shared->table->evictions);
}
