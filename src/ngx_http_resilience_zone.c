
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"
#include "ngx_http_resilience_limit.h"
#include <openssl/rand.h>
#include <sys/wait.h>


/*
 * The shared zone: the table of breakers, the providers' counters, the
 * attempts in flight and the states of limits.
 *
 * All is read and written under the slab pool's mutex, the one lock that the
 * master frees when a worker dies with it, for a handful of instructions and
 * never across I/O or a log line.  After such a death the next one to enter
 * repairs the table and the counts.
 */


#define NGX_HTTP_RESILIENCE_ZONE_VERSION  5
#define NGX_HTTP_RESILIENCE_ZONE_MIN      (32 * ngx_pagesize)
#define NGX_HTTP_RESILIENCE_ZONE_TURNS    16    /* then one may as well sleep */


static char *ngx_http_resilience_zone_name(ngx_conf_t *cf,
    ngx_http_resilience_main_conf_t *rmcf, ngx_str_t *value);
static ngx_int_t ngx_http_resilience_zone_init(ngx_shm_zone_t *shm_zone,
    void *data);
static ngx_int_t ngx_http_resilience_zone_create(
    ngx_http_resilience_zone_t *zone);
static ngx_uint_t ngx_http_resilience_zone_blocks(
    ngx_http_resilience_zone_t *zone);
static ngx_uint_t ngx_http_resilience_zone_spare(
    ngx_http_resilience_zone_t *zone);
static ngx_http_resilience_zone_t *ngx_http_resilience_zone_old(
    ngx_shm_zone_t *shm_zone);
static ngx_int_t ngx_http_resilience_zone_copy(ngx_http_resilience_zone_t *to,
    ngx_http_resilience_zone_t *from);
static ngx_int_t ngx_http_resilience_zone_names(
    ngx_http_resilience_zone_t *zone);
static ngx_int_t ngx_http_resilience_zone_providers(
    ngx_http_resilience_zone_t *zone);
static ngx_http_resilience_counters_t *ngx_http_resilience_zone_provider(
    ngx_http_resilience_zone_t *zone, ngx_str_t *name);
static void ngx_http_resilience_zone_begin(
    ngx_http_resilience_shared_t *shared,
    ngx_http_resilience_counters_t *provider,
    uint32_t moved[RES_BREAKER_STATES]);
static void ngx_http_resilience_zone_repair(ngx_http_resilience_zone_t *zone);
static void ngx_http_resilience_zone_lock(ngx_shmtx_t *mutex);
static void ngx_http_resilience_zone_free(ngx_shmtx_t *mutex);


char *
ngx_http_resilience_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_resilience_main_conf_t *rmcf = conf;

    ngx_str_t   *value;
    ngx_uint_t   i;

    if (rmcf->zone_name.len) {
        return "is duplicate";
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "zone=", 5) == 0
            && rmcf->zone_name.len == 0)
        {
            if (ngx_http_resilience_zone_name(cf, rmcf, &value[i])
                != NGX_CONF_OK)
            {
                return NGX_CONF_ERROR;
            }

            continue;
        }

        if (ngx_strncmp(value[i].data, "state=", 6) == 0
            && rmcf->zone_state.len == 0)
        {
            rmcf->zone_state.data = value[i].data + 6;
            rmcf->zone_state.len = value[i].len - 6;

            if (ngx_http_resilience_state_path(cf, &rmcf->zone_state)
                != NGX_OK)
            {
                return NGX_CONF_ERROR;
            }

            continue;
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\"", &value[i]);
        return NGX_CONF_ERROR;
    }

    if (rmcf->zone_name.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"resilience_zone\" wants \"zone=name:size\"");
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_resilience_zone_name(ngx_conf_t *cf,
    ngx_http_resilience_main_conf_t *rmcf, ngx_str_t *value)
{
    u_char     *p;
    ssize_t     size;
    ngx_str_t   s;

    rmcf->zone_name.data = value->data + 5;

    p = (u_char *) ngx_strchr(rmcf->zone_name.data, ':');

    if (p == NULL || p == rmcf->zone_name.data) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid zone \"%V\", use \"zone=name:size\"",
                           value);
        return NGX_CONF_ERROR;
    }

    rmcf->zone_name.len = p - rmcf->zone_name.data;

    s.data = p + 1;
    s.len = value->data + value->len - s.data;

    size = ngx_parse_size(&s);

    if (size == NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid zone size \"%V\"",
                           value);
        return NGX_CONF_ERROR;
    }

    if (size < (ssize_t) NGX_HTTP_RESILIENCE_ZONE_MIN) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "zone \"%V\" is too small, it must have at least "
                           "%uz bytes", value,
                           (size_t) NGX_HTTP_RESILIENCE_ZONE_MIN);
        return NGX_CONF_ERROR;
    }

    rmcf->zone_size = size;

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

    zone->cycle = cf->cycle;
    zone->state = rmcf->zone_state;
    zone->provider_list = &rmcf->providers;
    zone->limit_list = &rmcf->limits;
    zone->chain_list = &rmcf->chains;
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

    if (zone->state.len) {
        ngx_http_resilience_state_check(zone, shm_zone->shm.log);
    }

    if (old) {
        zone->shared = old->shared;
        zone->shpool = old->shpool;

        return ngx_http_resilience_zone_names(zone);
    }

    zone->shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    if (shm_zone->shm.exists) {
        zone->shared = zone->shpool->data;

        return ngx_http_resilience_zone_names(zone);
    }

    if (ngx_http_resilience_zone_create(zone) != NGX_OK) {
        ngx_log_error(NGX_LOG_EMERG, shm_zone->shm.log, 0,
                      "zone \"%V\" is too small", &shm_zone->shm.name);
        return NGX_ERROR;
    }

    if (ngx_http_resilience_zone_names(zone) != NGX_OK) {
        return NGX_ERROR;
    }

    old = ngx_http_resilience_zone_old(shm_zone);

    if (old && ngx_http_resilience_zone_copy(zone, old) == NGX_OK) {
        return NGX_OK;
    }

    if (zone->state.len && !ngx_test_config) {
        ngx_http_resilience_state_load(zone, shm_zone->shm.log);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_resilience_zone_names(ngx_http_resilience_zone_t *zone)
{
    if (ngx_http_resilience_zone_providers(zone) != NGX_OK
        || ngx_http_resilience_tally_init(zone) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_resilience_limit_zone_names(zone);
}


static ngx_int_t
ngx_http_resilience_zone_create(ngx_http_resilience_zone_t *zone)
{
    u_char                         random[16];
    size_t                         bytes;
    uint32_t                       capacity;
    ngx_uint_t                     spare;
    ngx_http_resilience_shared_t  *shared;

    zone->shpool->log_nomem = 0;

    shared = ngx_slab_calloc(zone->shpool,
                             sizeof(ngx_http_resilience_shared_t));
    if (shared == NULL) {
        return NGX_ERROR;
    }

    shared->nblocks = ngx_http_resilience_zone_blocks(zone);

    bytes = shared->nblocks * sizeof(ngx_http_resilience_block_t);

    shared->blocks = ngx_slab_alloc(zone->shpool, bytes);
    if (shared->blocks == NULL) {
        return NGX_ERROR;
    }

    ngx_http_resilience_flight_init(shared);

    zone->shared = shared;

    if (zone->limit_list->nelts
        && ngx_http_resilience_limit_zone_create(zone) != NGX_OK)
    {
        return NGX_ERROR;
    }

    spare = ngx_http_resilience_zone_spare(zone);

    if (zone->shpool->pfree <= spare) {
        return NGX_ERROR;
    }

    bytes = (zone->shpool->pfree - spare) * ngx_pagesize;

    capacity = res_table_capacity(bytes);
    if (capacity == 0) {
        return NGX_ERROR;
    }

    shared->table = ngx_slab_alloc(zone->shpool, res_table_bytes(capacity));
    if (shared->table == NULL) {
        return NGX_ERROR;
    }

    if (RAND_bytes(shared->hmac_key, sizeof(shared->hmac_key)) != 1
        || RAND_bytes(shared->id, sizeof(shared->id)) != 1
        || RAND_bytes(random, sizeof(random)) != 1)
    {
        return NGX_ERROR;
    }

    res_table_init(shared->table, capacity, random);

    shared->version = NGX_HTTP_RESILIENCE_ZONE_VERSION;

    zone->shpool->data = shared;

    return NGX_OK;
}


/*
 * For the attempts in flight: an attempt takes two connections, and old
 * workers may have as many as new ones.  A small zone gives what it can.
 */

static ngx_uint_t
ngx_http_resilience_zone_blocks(ngx_http_resilience_zone_t *zone)
{
    ngx_uint_t        n;
    ngx_core_conf_t  *ccf;

    ccf = (ngx_core_conf_t *) ngx_get_conf(zone->cycle->conf_ctx,
                                           ngx_core_module);

    n = 1 + zone->cycle->connection_n / NGX_HTTP_RESILIENCE_FLIGHTS;
    n *= ngx_max(ccf->worker_processes, 1);

    return ngx_min(n, zone->shpool->pfree / 4);
}


/*
 * Pages that the table leaves to the slab allocator, for the providers and
 * chains of this configuration and some of later ones.
 */

static ngx_uint_t
ngx_http_resilience_zone_spare(ngx_http_resilience_zone_t *zone)
{
    size_t      each, chains;
    ngx_uint_t  pages;

    each = sizeof(ngx_http_resilience_counters_t);

    each = (each > ngx_pagesize / 2) ? ngx_align(each, ngx_pagesize)
                                     : ngx_align(each, ngx_pagesize / 4);

    chains = ngx_http_resilience_tally_bytes(zone->chain_list);

    pages = 6 + (zone->provider_list->nelts + 15) * each / ngx_pagesize
            + chains / ngx_pagesize;

    return ngx_min(pages, zone->shpool->pfree / 2);
}


/* the zone of this name in the cycle that is replaced, if there is one */

static ngx_http_resilience_zone_t *
ngx_http_resilience_zone_old(ngx_shm_zone_t *shm_zone)
{
    ngx_uint_t        i;
    ngx_shm_zone_t   *old;
    ngx_list_part_t  *part;

    /* in here the current cycle is still the old one */

    part = (ngx_list_part_t *) &ngx_cycle->shared_memory.part;

    for ( /* void */ ; part; part = part->next) {

        old = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (old[i].tag == shm_zone->tag && old[i].data
                && old[i].shm.name.len == shm_zone->shm.name.len
                && ngx_strncmp(old[i].shm.name.data, shm_zone->shm.name.data,
                               old[i].shm.name.len)
                   == 0)
            {
                return old[i].data;
            }
        }
    }

    return NULL;
}


/*
 * The zone has another size: what is known goes into the new one.  What old
 * workers learn from now on stays in theirs.
 */

static ngx_int_t
ngx_http_resilience_zone_copy(ngx_http_resilience_zone_t *to,
    ngx_http_resilience_zone_t *from)
{
    uint16_t                         map[NGX_HTTP_RESILIENCE_PROVIDERS];
    uint32_t                         owners[NGX_HTTP_RESILIENCE_PROVIDERS];
    ngx_uint_t                       i;
    ngx_http_resilience_counters_t  *old, *new;

    if (from->shared == NULL
        || from->shared->version != NGX_HTTP_RESILIENCE_ZONE_VERSION)
    {
        return NGX_DECLINED;
    }

    ngx_http_resilience_zone_enter(from);

    for (i = 0; i < from->shared->nproviders; i++) {

        old = from->shared->providers[i];
        new = ngx_http_resilience_zone_find(to->shared, old->name, old->len);

        if (new == NULL) {
            map[i] = RES_NO_PROVIDER;
            owners[i] = RES_REST_GONE;
            continue;
        }

        map[i] = (uint16_t) new->number;
        owners[i] = (uint32_t) new->number;

        ngx_http_resilience_zone_carry(to->shared, new, old);
    }

    ngx_http_resilience_tally_copy(to->shared, from->shared, map);

    ngx_memcpy(to->shared->hmac_key, from->shared->hmac_key,
               sizeof(to->shared->hmac_key));
    ngx_memcpy(to->shared->id, from->shared->id, sizeof(to->shared->id));
    ngx_memcpy(to->shared->from, from->shared->from, sizeof(to->shared->from));

    res_table_copy(to->shared->table, from->shared->table, map, i);
    res_rest_copy(&to->shared->rests, &from->shared->rests, owners, i);

    ngx_http_resilience_limit_zone_copy(to, from);
    ngx_http_resilience_transition_copy(to->shared, from->shared, map);

    ngx_http_resilience_zone_leave(from);

    return NGX_OK;
}


void
ngx_http_resilience_zone_carry(ngx_http_resilience_shared_t *shared,
    ngx_http_resilience_counters_t *to, ngx_http_resilience_counters_t *from)
{
    ngx_memcpy((void *) &to->attempts, (void *) &from->attempts,
               offsetof(ngx_http_resilience_counters_t, budget)
               - offsetof(ngx_http_resilience_counters_t, attempts));

    to->epoch = from->epoch;
    to->forced = from->forced;
    to->breaker = from->breaker;

    ngx_http_resilience_zone_begin(shared, to, NULL);
}


/* a provider is known by its name, so that its state outlives a reload */

static ngx_int_t
ngx_http_resilience_zone_providers(ngx_http_resilience_zone_t *zone)
{
    ngx_uint_t                        i;
    ngx_http_resilience_provider_t  **providers, *provider;

    providers = zone->provider_list->elts;

    for (i = 0; i < zone->provider_list->nelts; i++) {

        provider = providers[i];

        provider->counters = ngx_http_resilience_zone_find(zone->shared,
                                                          provider->name.data,
                                                          provider->name.len);
        if (provider->counters) {
            continue;
        }

        if (zone->shared->nproviders == NGX_HTTP_RESILIENCE_PROVIDERS) {
            ngx_log_error(NGX_LOG_EMERG, zone->shm_zone->shm.log, 0,
                          "zone \"%V\" remembers %d providers, there is no "
                          "place for \"%V\" before a restart",
                          &zone->shm_zone->shm.name,
                          NGX_HTTP_RESILIENCE_PROVIDERS, &provider->name);
            return NGX_ERROR;
        }

        provider->counters = ngx_http_resilience_zone_provider(zone,
                                                              &provider->name);
        if (provider->counters == NULL) {
            ngx_log_error(NGX_LOG_EMERG, zone->shm_zone->shm.log, 0,
                          "zone \"%V\" is too small for provider \"%V\"",
                          &zone->shm_zone->shm.name, &provider->name);
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_http_resilience_counters_t *
ngx_http_resilience_zone_provider(ngx_http_resilience_zone_t *zone,
    ngx_str_t *name)
{
    ngx_http_resilience_shared_t    *shared;
    ngx_http_resilience_counters_t  *counters;

    shared = zone->shared;

    ngx_http_resilience_zone_enter(zone);

    counters = ngx_slab_calloc_locked(zone->shpool,
                                      sizeof(ngx_http_resilience_counters_t));
    if (counters) {
        ngx_memcpy(counters->name, name->data, name->len);
        counters->len = name->len;
        counters->number = shared->nproviders;

        res_breaker_init(&counters->breaker, ngx_current_msec);

        shared->providers[shared->nproviders++] = counters;
    }

    ngx_http_resilience_zone_leave(zone);

    return counters;
}


ngx_http_resilience_counters_t *
ngx_http_resilience_zone_find(ngx_http_resilience_shared_t *shared,
    u_char *name, size_t len)
{
    ngx_uint_t                       i;
    ngx_http_resilience_counters_t  *counters;

    for (i = 0; i < shared->nproviders; i++) {
        counters = shared->providers[i];

        if (counters->len == len
            && ngx_memcmp(counters->name, name, len) == 0)
        {
            return counters;
        }
    }

    return NULL;
}


ngx_http_resilience_zone_t *
ngx_http_resilience_zone_get(ngx_cycle_t *cycle)
{
    ngx_http_resilience_main_conf_t  *rmcf;

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NULL;
    }

    rmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_http_resilience_module);

    return rmcf ? rmcf->zone : NULL;
}


void
ngx_http_resilience_zone_enter(ngx_http_resilience_zone_t *zone)
{
    uint32_t  torn;

    ngx_http_resilience_zone_lock(&zone->shpool->mutex);

    torn = zone->shared->table->busy;

    if (torn) {
        ngx_http_resilience_zone_repair(zone);
    }

    res_table_enter(zone->shared->table);

    if (torn) {
        ngx_http_resilience_flight_recount(zone);
    }
}


/* of epochs the truth is what the providers say, the table has a copy */

static void
ngx_http_resilience_zone_repair(ngx_http_resilience_zone_t *zone)
{
    ngx_uint_t                     i;
    ngx_http_resilience_shared_t  *shared;

    shared = zone->shared;

    for (i = 0; i < shared->nproviders; i++) {
        ngx_http_resilience_zone_begin(shared, shared->providers[i], NULL);
    }
}


/*
 * As ngx_shmtx_lock(), but for two cases in which it waits for ever.  While
 * the master reads a configuration it is not told of the death of a worker,
 * and cannot free what that one held.  And after a reload with another size it
 * does not know the old zone any more, in which old workers are.
 */

static void
ngx_http_resilience_zone_lock(ngx_shmtx_t *mutex)
{
    ngx_uint_t  i, n, turn;

    for (turn = 0; /* void */ ; turn++) {

        for (n = 1; n < 2048; n <<= 1) {

            if (ngx_shmtx_trylock(mutex)) {
                return;
            }

            for (i = 0; i < n; i++) {
                ngx_cpu_pause();
            }
        }

        ngx_http_resilience_zone_free(mutex);

        if (turn < NGX_HTTP_RESILIENCE_ZONE_TURNS) {
            ngx_sched_yield();

        } else {
            ngx_msleep(1);
        }
    }
}


static void
ngx_http_resilience_zone_free(ngx_shmtx_t *mutex)
{
#if (NGX_HAVE_ATOMIC_OPS)

    ngx_pid_t   pid;
    siginfo_t   info;
    ngx_uint_t  gone;

    pid = (ngx_pid_t) *mutex->lock;

    if (pid <= 0 || pid == ngx_pid) {
        return;
    }

    if (ngx_process == NGX_PROCESS_MASTER) {

        /* its child may be dead and not buried yet */

        info.si_pid = 0;

        gone = (waitid(P_PID, pid, &info, WEXITED|WNOHANG|WNOWAIT) == 0
                && info.si_pid == pid);

    } else {
        gone = ngx_http_resilience_flight_gone(pid);
    }

    if (gone) {
        (void) ngx_shmtx_force_unlock(mutex, pid);
    }

#endif
}


void
ngx_http_resilience_zone_leave(ngx_http_resilience_zone_t *zone)
{
    res_table_leave(zone->shared->table);

    ngx_shmtx_unlock(&zone->shpool->mutex);
}


void
ngx_http_resilience_zone_settle(ngx_http_resilience_zone_t *zone,
    res_cell_t *cell)
{
    res_transition_t                 t;
    ngx_http_resilience_counters_t  *provider;

    provider = zone->shared->providers[cell->provider];

    if (cell->epoch == provider->epoch) {
        return;
    }

    cell->epoch = provider->epoch;

    res_breaker_reset(&cell->breaker, ngx_current_msec, &t);
    res_breaker_force(&cell->breaker, provider->forced, ngx_current_msec, &t);

    ngx_http_resilience_zone_changed(zone, cell, NULL);
}


void
ngx_http_resilience_zone_changed(ngx_http_resilience_zone_t *zone,
    res_cell_t *cell, res_transition_t *t)
{
    res_breaker_state_e              from;
    ngx_http_resilience_counters_t  *provider;

    provider = zone->shared->providers[cell->provider];

    from = res_table_settle(zone->shared->table, cell);

    if (cell->counted != from) {
        (void) ngx_atomic_fetch_add(
                              &provider->transitions[from][cell->counted], 1);
    }

    if (t && t->changed && t->from == RES_OPEN) {
        ngx_http_resilience_ladder_count(&provider->open,
                                         ngx_http_resilience_open_times,
                                         t->open);
    }
}


void
ngx_http_resilience_zone_epoch(ngx_http_resilience_zone_t *zone,
    ngx_http_resilience_counters_t *provider, res_forced_e forced)
{
    uint32_t             moved[RES_BREAKER_STATES];
    ngx_uint_t           i;
    res_breaker_state_e  state;

    provider->forced = forced;
    provider->epoch++;

    ngx_http_resilience_zone_begin(zone->shared, provider, moved);

    state = (forced == RES_FORCED_OPEN) ? RES_OPEN : RES_CLOSED;

    for (i = 0; i < RES_BREAKER_STATES; i++) {
        if (i != (ngx_uint_t) state && moved[i]) {
            (void) ngx_atomic_fetch_add(&provider->transitions[i][state],
                                        moved[i]);
        }
    }
}


/* the table is told of the provider's epoch */

static void
ngx_http_resilience_zone_begin(ngx_http_resilience_shared_t *shared,
    ngx_http_resilience_counters_t *provider,
    uint32_t moved[RES_BREAKER_STATES])
{
    res_table_epoch(shared->table, (uint16_t) provider->number,
                    provider->epoch, (provider->forced == RES_FORCED_OPEN)
                                         ? RES_OPEN : RES_CLOSED, moved);
}
