
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#ifndef NGX_HTTP_RESILIENCE_LIMIT_H_INCLUDED
#define NGX_HTTP_RESILIENCE_LIMIT_H_INCLUDED


#include "ngx_http_resilience.h"
#include "engine/gcra.h"
#include "engine/limiter.h"
#include "engine/siphash.h"
#include "llm/estimate.h"


#define NGX_HTTP_RESILIENCE_LIMITS  64    /* a zone knows at most */


/* what the zone has for limits; see ngx_http_resilience_limit_zone.c */

typedef struct {
    u_char                           name[NGX_HTTP_RESILIENCE_NAME];
    size_t                           len;
    ngx_atomic_t                     refused;
    ngx_atomic_t                     dry;      /* would have been */
} ngx_http_resilience_limited_t;

struct ngx_http_resilience_limits_s {
    res_limiter_t                   *limiter;
    ngx_atomic_t                     full_logged;       /* seconds */
    ngx_uint_t                       n;
    ngx_http_resilience_limited_t    limited[NGX_HTTP_RESILIENCE_LIMITS];
};


/* resilience_limit */

typedef struct {
    ngx_str_t                        name;
    ngx_str_t                        kind;
    ngx_str_t                        rate;     /* as written */
    ngx_str_t                        burst;
    ngx_str_t                        key_text;
    ngx_http_resilience_place_t      place;

    ngx_uint_t                       tokens;   /* or else requests */
    res_gcra_conf_t                  conf;
    ngx_http_complex_value_t        *key;      /* NULL: the tenant */

    uint64_t                         hash_key[2];
    ngx_http_resilience_limited_t   *limited;
} ngx_http_resilience_limit_t;


/* ngx_http_resilience_limit_conf.c */

char *ngx_http_resilience_limit(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* ngx_http_resilience_limit_zone.c */

/* of a new zone that no one knows yet: takes what limits need of it */
ngx_int_t ngx_http_resilience_limit_zone_create(
    ngx_http_resilience_zone_t *zone);

/* gives each limit of the configuration its place in the zone */
ngx_int_t ngx_http_resilience_limit_zone_names(
    ngx_http_resilience_zone_t *zone);

/* under the lock of the old zone: what is known goes into a new one */
void ngx_http_resilience_limit_zone_copy(ngx_http_resilience_zone_t *to,
    ngx_http_resilience_zone_t *from);

/* ngx_http_resilience_limit.c */

ngx_int_t ngx_http_resilience_limit_init(ngx_conf_t *cf);


#endif /* NGX_HTTP_RESILIENCE_LIMIT_H_INCLUDED */
