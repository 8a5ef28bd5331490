
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience_limit.h"
#include <openssl/rand.h>


/*
 * What the zone has for limits: their states, and what is counted of each.
 * Without a limit in the configuration there is nothing of it.
 */


#define NGX_HTTP_RESILIENCE_LIMIT_SHARE  16     /* of the zone, a part */


static ngx_http_resilience_limits_t *ngx_http_resilience_limit_zone_alloc(
    ngx_http_resilience_zone_t *zone, size_t *bytes);
static ngx_int_t ngx_http_resilience_limit_zone_late(
    ngx_http_resilience_zone_t *zone);
static ngx_http_resilience_limited_t *ngx_http_resilience_limit_zone_add(
    ngx_http_resilience_limits_t *limits, ngx_str_t *name);
static ngx_http_resilience_limited_t *ngx_http_resilience_limit_zone_find(
    ngx_http_resilience_limits_t *limits, u_char *name, size_t len);
static void ngx_http_resilience_limit_zone_keys(
    ngx_http_resilience_zone_t *zone);


ngx_int_t
ngx_http_resilience_limit_zone_create(ngx_http_resilience_zone_t *zone)
{
    size_t                         bytes;
    u_char                         random[16];
    ngx_http_resilience_limits_t  *limits;

    if (RAND_bytes(random, sizeof(random)) != 1) {
        return NGX_ERROR;
    }

    bytes = zone->shm_zone->shm.size / NGX_HTTP_RESILIENCE_LIMIT_SHARE;

    limits = ngx_http_resilience_limit_zone_alloc(zone, &bytes);
    if (limits == NULL) {
        return NGX_ERROR;
    }

    res_limiter_init(limits->limiter, res_limiter_sets(bytes), random);

    zone->shared->limits = limits;

    return NGX_OK;
}


/* under the lock, if others know the zone already; at most so many bytes */

static ngx_http_resilience_limits_t *
ngx_http_resilience_limit_zone_alloc(ngx_http_resilience_zone_t *zone,
    size_t *bytes)
{
    ngx_http_resilience_limits_t  *limits;

    limits = ngx_slab_calloc_locked(zone->shpool,
                                    sizeof(ngx_http_resilience_limits_t));
    if (limits == NULL) {
        return NULL;
    }

    for (*bytes -= *bytes % ngx_pagesize; *bytes; *bytes -= ngx_pagesize) {

        limits->limiter = ngx_slab_alloc_locked(zone->shpool, *bytes);

        if (limits->limiter) {
            return limits;
        }
    }

    ngx_slab_free_locked(zone->shpool, limits);

    return NULL;
}


/*
 * The zone was made without limits, and most pages were given away then: half
 * of those that are left has to do.
 */

static ngx_int_t
ngx_http_resilience_limit_zone_late(ngx_http_resilience_zone_t *zone)
{
    size_t                         bytes, left;
    u_char                         random[16];
    ngx_http_resilience_limits_t  *limits;

    if (RAND_bytes(random, sizeof(random)) != 1) {
        return NGX_ERROR;
    }

    bytes = zone->shm_zone->shm.size / NGX_HTTP_RESILIENCE_LIMIT_SHARE;

    ngx_http_resilience_zone_enter(zone);

    left = zone->shpool->pfree / 2 * ngx_pagesize;
    bytes = ngx_min(bytes, left);

    limits = ngx_http_resilience_limit_zone_alloc(zone, &bytes);

    ngx_http_resilience_zone_leave(zone);

    if (limits == NULL) {
        ngx_log_error(NGX_LOG_EMERG, zone->shm_zone->shm.log, 0,
                      "zone \"%V\" was made without limits and has no room "
                      "for them, give it another size",
                      &zone->shm_zone->shm.name);
        return NGX_ERROR;
    }

    res_limiter_init(limits->limiter, res_limiter_sets(bytes), random);

    zone->shared->limits = limits;

    ngx_log_error(NGX_LOG_NOTICE, zone->shm_zone->shm.log, 0,
                  "zone \"%V\" was made without limits and has room for %uD "
                  "keys of them, with another size it has more",
                  &zone->shm_zone->shm.name,
                  limits->limiter->sets * RES_LIMITER_WAYS);

    return NGX_OK;
}


ngx_int_t
ngx_http_resilience_limit_zone_names(ngx_http_resilience_zone_t *zone)
{
    ngx_uint_t                     i;
    ngx_http_resilience_limit_t   *limit, **list;

    if (zone->limit_list->nelts == 0) {
        return NGX_OK;
    }

    if (zone->shared->limits == NULL
        && ngx_http_resilience_limit_zone_late(zone) != NGX_OK)
    {
        return NGX_ERROR;
    }

    list = zone->limit_list->elts;

    for (i = 0; i < zone->limit_list->nelts; i++) {

        limit = list[i];

        limit->limited = ngx_http_resilience_limit_zone_add(
                                           zone->shared->limits, &limit->name);

        if (limit->limited == NULL) {
            ngx_log_error(NGX_LOG_EMERG, zone->shm_zone->shm.log, 0,
                          "zone \"%V\" remembers %d limits, there is no "
                          "place for \"%V\" before a restart",
                          &zone->shm_zone->shm.name,
                          NGX_HTTP_RESILIENCE_LIMITS, &limit->name);
            return NGX_ERROR;
        }
    }

    ngx_http_resilience_limit_zone_keys(zone);

    return NGX_OK;
}


/* a limit is known by its name, so that its state outlives a reload */

static ngx_http_resilience_limited_t *
ngx_http_resilience_limit_zone_add(ngx_http_resilience_limits_t *limits,
    ngx_str_t *name)
{
    ngx_http_resilience_limited_t  *limited;

    limited = ngx_http_resilience_limit_zone_find(limits, name->data,
                                                  name->len);

    if (limited || limits->n == NGX_HTTP_RESILIENCE_LIMITS) {
        return limited;
    }

    limited = &limits->limited[limits->n++];

    ngx_memcpy(limited->name, name->data, name->len);
    limited->len = name->len;

    return limited;
}


static ngx_http_resilience_limited_t *
ngx_http_resilience_limit_zone_find(ngx_http_resilience_limits_t *limits,
    u_char *name, size_t len)
{
    ngx_uint_t                      i;
    ngx_http_resilience_limited_t  *limited;

    for (i = 0; i < limits->n; i++) {
        limited = &limits->limited[i];

        if (limited->len == len && ngx_memcmp(limited->name, name, len) == 0) {
            return limited;
        }
    }

    return NULL;
}


/* a key of a limit of its own: what is counted by one is nothing to another */

static void
ngx_http_resilience_limit_zone_keys(ngx_http_resilience_zone_t *zone)
{
    uint64_t                      *key, turned[2];
    ngx_uint_t                     i;
    ngx_http_resilience_limit_t  **list;

    list = zone->limit_list->elts;
    key = zone->shared->limits->limiter->key;

    turned[0] = key[1];
    turned[1] = key[0];

    for (i = 0; i < zone->limit_list->nelts; i++) {
        list[i]->hash_key[0] = res_siphash(key, list[i]->name.data,
                                           list[i]->name.len);
        list[i]->hash_key[1] = res_siphash(turned, list[i]->name.data,
                                           list[i]->name.len);
    }
}


void
ngx_http_resilience_limit_zone_copy(ngx_http_resilience_zone_t *to,
    ngx_http_resilience_zone_t *from)
{
    ngx_uint_t                      i;
    ngx_http_resilience_limits_t   *old, *new;
    ngx_http_resilience_limited_t  *limited;

    old = from->shared->limits;
    new = to->shared->limits;

    if (old == NULL || new == NULL) {
        return;
    }

    res_limiter_copy(new->limiter, old->limiter, ngx_current_msec);

    for (i = 0; i < old->n; i++) {

        limited = ngx_http_resilience_limit_zone_find(new,
                                                      old->limited[i].name,
                                                      old->limited[i].len);
        if (limited) {
            *limited = old->limited[i];
        }
    }

    ngx_http_resilience_limit_zone_keys(to);
}
